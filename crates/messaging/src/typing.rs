//! Who is typing: one folded frame every three seconds, whoever many type.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base::UserId;

/// At most one frame in this time.
pub const WINDOW: Duration = Duration::from_secs(3);

/// Who has not said so again for this long is not typing. Clients forget a frame after the same time, so that no frame says "stopped".
pub const EXPIRY: Duration = Duration::from_secs(6);

/// Above this many members nobody is told who types: the names would change with every frame, and mean nothing to most.
pub const MEMBERS: usize = 250;

/// Names in a frame.
const NAMES: usize = 2;

/// Who is typing in one channel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Typing {
    typists: BTreeMap<UserId, Instant>,
    told: Option<Instant>,
    /// Somebody has said so since the last frame.
    fresh: bool,
}

/// "Ann, Bob and 3 others", to the connections that have the channel open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Some of them.
    pub names: Vec<UserId>,
    /// How many others.
    pub more: usize,
}

impl Typing {
    /// Somebody types, in a channel of so many.
    pub fn typing(&mut self, now: Instant, user: &UserId, members: usize) {
        if members <= MEMBERS {
            self.typists.insert(user.clone(), now);
            self.fresh = true;
        }
    }

    /// Somebody sent what they typed, or left.
    pub fn stopped(&mut self, user: &UserId) {
        self.typists.remove(user);
    }

    /// When to be called again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let last = self.typists.values().max().filter(|_| self.fresh)?;
        Some(self.told.map_or(*last, |told| told + WINDOW))
    }

    /// What is to be told now.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Frame> {
        self.typists.retain(|_, last| now < *last + EXPIRY);
        if self.poll_timeout().is_none_or(|due| due > now) {
            return None;
        }
        (self.told, self.fresh) = (Some(now), false);
        let names: Vec<UserId> = self.typists.keys().take(NAMES).cloned().collect();
        let more = self.typists.len() - names.len();
        Some(Frame { names, more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::user;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_first_is_told_at_once_and_then_one_frame_every_three_seconds() {
        let (mut typing, start) = (Typing::default(), Instant::now());
        let mut frames = 0;
        for tenth in 0..300 {
            let now = start + Duration::from_millis(tenth * 100);
            typing.typing(now, &user(&format!("u{}", tenth % 40)), 100);
            frames += usize::from(typing.handle_timeout(now).is_some());
        }
        assert_eq!(frames, 10, "thirty seconds of forty people");
    }

    #[test]
    fn a_frame_has_two_names_and_how_many_others() {
        let (mut typing, now) = (Typing::default(), Instant::now());
        ["ann", "bob", "eve", "joe"].iter().for_each(|name| typing.typing(now, &user(name), 10));
        assert_eq!(
            typing.handle_timeout(now),
            Some(Frame { names: vec![user("ann"), user("bob")], more: 2 })
        );
    }

    #[test]
    fn nothing_is_told_of_who_stopped_or_has_been_silent_or_in_a_large_channel() {
        let (mut typing, now) = (Typing::default(), Instant::now());
        typing.typing(now, &user("ann"), MEMBERS + 1);
        typing.typing(now, &user("bob"), 10);
        typing.stopped(&user("bob"));
        assert_eq!(typing.handle_timeout(now), None);
        typing.typing(now, &user("eve"), 10);
        assert_eq!(typing.handle_timeout(now + seconds(6)), None);
        assert_eq!(typing.poll_timeout(), None);
    }
}
