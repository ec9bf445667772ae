//! Checks that came before their connection was known.
//!
//! A client hears of its connection from control and checks it at once, while the command that makes the connection may
//! still have some way to go. Full agents repeat a lost check after 50 ms or more, for which such a join would wait.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use udp::Datagram;

use crate::demux::local_user;

/// Checks that are kept. Strangers can push others out, which costs those a repetition, as if none were kept.
const MAX_CHECKS: usize = 32;
/// Longest check that is kept, in bytes: those of browsers have 100 to 200.
const MAX_LEN: usize = 512;
/// By then the client has repeated it.
const KEPT_FOR: Duration = Duration::from_millis(500);

/// A check that waits for its connection.
pub(crate) struct Check {
    at: Instant,
    pub(crate) source: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    pub(crate) bytes: Vec<u8>,
}

/// The last of them.
#[derive(Default)]
pub(crate) struct EarlyChecks {
    checks: Vec<Check>,
    /// The next to be overwritten, once there are as many as may be.
    next: usize,
}

impl EarlyChecks {
    /// Keeps a check for a user that nobody here has.
    pub(crate) fn keep(&mut self, now: Instant, datagram: &Datagram<'_>) {
        if datagram.bytes.len() > MAX_LEN || local_user(datagram.bytes).is_none() {
            return;
        }
        let (source, local) = (datagram.source, datagram.local);
        if self.checks.len() < MAX_CHECKS {
            self.checks.push(Check { at: now, source, local, bytes: datagram.bytes.to_vec() });
            return;
        }
        let check = &mut self.checks[self.next];
        self.next = (self.next + 1) % MAX_CHECKS;
        (check.at, check.source, check.local) = (now, source, local);
        check.bytes.clear();
        check.bytes.extend_from_slice(datagram.bytes);
    }

    /// Takes out those for this user, in the order in which they came.
    pub(crate) fn take(&mut self, now: Instant, user: &str) -> Vec<Check> {
        let is_for = |check: &mut Check| {
            now.saturating_duration_since(check.at) <= KEPT_FOR
                && local_user(&check.bytes) == Some(user.as_bytes())
        };
        let mut taken: Vec<Check> = self.checks.extract_if(.., is_for).collect();
        if !taken.is_empty() {
            self.next = 0;
            taken.sort_by_key(|check| check.at);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A check in as few bytes as tell its user.
    fn check(user: &str, filler: usize) -> Vec<u8> {
        let mut message = vec![0; 20];
        let name = format!("{user}:other");
        message.extend([0, 6, 0, name.len() as u8]);
        message.extend(name.as_bytes());
        message.resize(message.len().next_multiple_of(4) + filler, 0);
        message
    }

    fn keep(early: &mut EarlyChecks, now: Instant, port: u16, bytes: &mut [u8]) {
        early.keep(now, &Datagram { source: ([192, 0, 2, 1], port).into(), local: None, bytes });
    }

    #[test]
    fn a_check_is_kept_for_its_own_user_for_a_while_and_given_out_once() {
        let (mut early, now) = (EarlyChecks::default(), Instant::now());
        keep(&mut early, now, 1, &mut check("ann", 0));
        keep(&mut early, now, 2, &mut check("bob", 0));
        assert!(early.take(now, "eve").is_empty());
        let taken = early.take(now, "ann");
        assert_eq!(taken.iter().map(|check| check.source.port()).collect::<Vec<_>>(), [1]);
        assert!(early.take(now, "ann").is_empty());
        assert!(early.take(now + KEPT_FOR + Duration::from_millis(1), "bob").is_empty());
    }

    #[test]
    fn strangers_take_no_more_than_its_bounds() {
        let (mut early, now) = (EarlyChecks::default(), Instant::now());
        keep(&mut early, now, 1, &mut check("ann", MAX_LEN));
        keep(&mut early, now, 1, &mut [0; 100]);
        assert!(early.checks.is_empty(), "too large, and for nobody");
        for number in 0..1_000u16 {
            let at = now + Duration::from_micros(number.into());
            keep(&mut early, at, number, &mut check(if number % 2 == 0 { "ann" } else { "bob" }, 0));
        }
        assert_eq!(early.checks.len(), MAX_CHECKS);
        let taken = early.take(now, "ann");
        assert_eq!(taken.len(), MAX_CHECKS / 2);
        assert!(taken.is_sorted_by_key(|check| check.source.port()));
        assert_eq!(taken.last().map(|check| check.source.port()), Some(998), "the newest are kept");
    }
}
