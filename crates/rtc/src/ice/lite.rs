//! Our ICE-lite responder (RFC 8445 section 2.5, checks after section 7.3).
//!
//! - A check is answered when its user fragment and integrity fit the current local credentials, or, during a restart,
//!   the previous ones: these hold until a check with the new ones nominates.
//! - Media goes to the source of the latest authenticated nominating check, at once, whatever its priority: a client that
//!   changed its network must not wait for its old pair to die.
//! - We are always the controlled side, and send no checks that could settle a conflict of roles. Who says that it is controlled
//!   too (the ESP32 SDK answers offers so, whatever they say of us) nominates nothing: its first address is taken, and another
//!   one when that is silent or after a restart.
//! - Nothing is ever sent but answers, each to the source of its check: a success of at most 24 bytes more than the
//!   request, or, to a sender that knows our user fragment but not the password, a 401 of 48 bytes, fewer than a check
//!   with its integrity has.
//!
//! Remote candidates are not needed: every source is peer-reflexive to us.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::StunMessage;

use super::{IceEvent, stun};
use crate::{Counters, IceCredentials};

/// Without an authenticated check or RTCP for this long the path to the other side is broken, and the owner is told. Browsers
/// check every 2.5 to 5 s, and report every 1 to 5 s.
pub(crate) const INTERRUPTED: Duration = Duration::from_secs(15);
/// The agent itself lives on for so long, for a restart from another network, or a check over the old one: together the 30 s
/// for which RFC 7675 (section 5.1) gives consent. How long a participant may be cut off is its owner's decision.
pub(crate) const GIVEN_UP: Duration = Duration::from_secs(15);
/// How long the first check may take once the other side's credentials are known.
pub(crate) const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(30);
/// Without a check for this long the address of a side that nominates none is given up for another one of its.
const SILENT: Duration = Duration::from_secs(5);
/// Addresses that may belong to the peer at one time: a client with two interfaces, IPv4 and IPv6, before and after a
/// change of network. The one that was silent longest makes room.
const MAX_SOURCES: usize = 16;
/// Answers waiting to be sent; the owner drains them after every datagram.
const MAX_ANSWERS: usize = 32;
/// Transactions remembered, so that a repeated or replayed check does not move media back: four bytes each, three
/// quarters of an hour of a browser's checks on one pair. An older check that somebody overheard could still move media,
/// until the client's next one moves it back.
const MAX_TRANSACTIONS: usize = 1_024;

struct Source {
    address: SocketAddr,
    last_check: Instant,
}

/// The responder.
pub(crate) struct Lite {
    local: IceCredentials,
    /// The credentials before a restart, until the restart is nominated.
    previous: Option<IceCredentials>,
    sources: Vec<Source>,
    nominated: Option<SocketAddr>,
    /// When the path is broken, or the agent dead; pushed on by every authenticated check, and by [`Self::heard`]. `None` until the remote side is
    /// known.
    deadline: Option<Instant>,
    /// The path is broken, and the owner knows.
    interrupted: bool,
    dead: bool,
    /// Their checksums. That two are equal by chance costs one check once in 2^22.
    transactions: VecDeque<u32>,
    answers: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<IceEvent>,
}

impl Lite {
    pub(crate) fn new(local: IceCredentials) -> Self {
        Self {
            local,
            previous: None,
            sources: Vec::new(),
            nominated: None,
            deadline: None,
            interrupted: false,
            dead: false,
            transactions: VecDeque::new(),
            answers: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The other side is known, so its checks are due. Its credentials themselves are of no use to a lite agent: it sends
    /// no checks, and what it answers is keyed by its own password.
    pub(crate) fn set_remote(&mut self, now: Instant) {
        self.deadline.get_or_insert(now + FIRST_CHECK_TIMEOUT);
    }

    pub(crate) fn restart(&mut self, now: Instant, local: IceCredentials) {
        if local == self.local {
            return;
        }
        // Whoever restarts has lost its network, perhaps most of the timeout ago, and is about to check from another.
        self.deadline = self.deadline.map(|deadline| deadline.max(now + INTERRUPTED));
        self.interrupted = false;
        let replaced = std::mem::replace(&mut self.local, local);
        // A second restart before the first was nominated: the nominated credentials are still the older ones.
        self.previous.get_or_insert(replaced);
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        counters: &mut Counters,
    ) {
        if self.dead {
            return;
        }
        if !stun::has_valid_fingerprint(datagram) {
            counters.stun_bad_fingerprint += 1;
            return;
        }
        let Ok(message) = StunMessage::parse(datagram) else {
            counters.stun_malformed += 1;
            return;
        };
        if !message.is_binding_request() {
            counters.stun_unexpected += 1;
            return;
        }
        self.receive_check(now, from, &message, transaction(datagram), counters);
    }

    /// Something of the other side, protected by the keys of its session, came from one of its addresses. That proves as much as a
    /// check that it is there and goes on, and there are those (libnice, in GStreamer) that check no more once they have a pair.
    pub(crate) fn heard(&mut self, now: Instant) {
        if self.nominated.is_some() && !self.dead {
            self.deadline = self.deadline.max(Some(now + INTERRUPTED));
            self.interrupted = false;
        }
    }

    fn receive_check(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &StunMessage<'_>,
        transaction: u32,
        counters: &mut Counters,
    ) {
        let Some(user) = message.split_username().map(|(local, _)| local) else {
            counters.stun_malformed += 1;
            return;
        };
        let current = user == self.local.ufrag;
        let Some(credentials) = self.credentials(user) else {
            counters.stun_unknown_user += 1;
            return;
        };
        if !message.verify(credentials.password.as_bytes(), stun::hmac_sha1) {
            counters.stun_unauthenticated += 1;
            self.answer(from, stun::unauthorized(message.trans_id()), counters);
            return;
        }
        let answer = stun::success(message.trans_id(), from, &credentials.password);
        self.answer(from, answer, counters);
        counters.stun_checks += 1;
        if self.is_repeated(transaction) {
            counters.stun_repeated += 1;
            return;
        }
        self.deadline = Some(now + INTERRUPTED);
        self.interrupted = false;
        self.validate(now, from);
        let waits = message.ice_controlled().is_some() && self.lacks_address(now, current);
        if message.use_candidate() || waits {
            self.nominate(from, current);
        }
    }

    /// Does media need an address, where nobody nominates one?
    fn lacks_address(&self, now: Instant, current: bool) -> bool {
        let restarted = current && self.previous.is_some();
        let nominated = self.sources.iter().find(|source| Some(source.address) == self.nominated);
        restarted || nominated.is_none_or(|source| source.last_check + SILENT <= now)
    }

    /// Are checks for this user fragment ours to answer?
    pub(crate) fn answers_to(&self, user: &str) -> bool {
        self.credentials(user).is_some()
    }

    fn credentials(&self, user: &str) -> Option<&IceCredentials> {
        [Some(&self.local), self.previous.as_ref()].into_iter().flatten().find(|c| c.ufrag == user)
    }

    fn answer(&mut self, to: SocketAddr, bytes: Vec<u8>, counters: &mut Counters) {
        if self.answers.len() == MAX_ANSWERS {
            counters.stun_answers_dropped += 1;
            return;
        }
        self.answers.push_back((to, bytes));
    }

    fn is_repeated(&mut self, transaction: u32) -> bool {
        if self.transactions.contains(&transaction) {
            return true;
        }
        if self.transactions.len() == MAX_TRANSACTIONS {
            self.transactions.pop_front();
        }
        self.transactions.push_back(transaction);
        false
    }

    /// Says so each time: another peer may have claimed the address meanwhile, with a forged source.
    fn validate(&mut self, now: Instant, from: SocketAddr) {
        match self.sources.iter_mut().find(|source| source.address == from) {
            Some(source) => source.last_check = now,
            None => {
                if self.sources.len() == MAX_SOURCES {
                    self.forget_one();
                }
                self.sources.push(Source { address: from, last_check: now });
            }
        }
        self.events.push_back(IceEvent::Validated(from));
    }

    fn forget_one(&mut self) {
        let silent = self
            .sources
            .iter()
            .enumerate()
            .filter(|(_, source)| Some(source.address) != self.nominated)
            .min_by_key(|(_, source)| source.last_check)
            .map(|(index, _)| index);
        if let Some(index) = silent {
            let source = self.sources.swap_remove(index);
            self.events.push_back(IceEvent::Forgotten(source.address));
        }
    }

    fn nominate(&mut self, from: SocketAddr, current: bool) {
        if !current && self.previous.is_none() {
            return;
        }
        if current {
            self.previous = None;
        }
        if self.nominated.is_none() {
            self.events.push_back(IceEvent::Connected);
        }
        self.nominated = Some(from);
    }

    pub(crate) fn is_valid(&self, from: SocketAddr) -> bool {
        // The nominated address first: nearly every datagram comes from there.
        self.nominated == Some(from) || self.sources.iter().any(|source| source.address == from)
    }

    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        let latest = || self.sources.iter().max_by_key(|source| source.last_check).map(|s| s.address);
        self.nominated.or_else(latest)
    }

    pub(crate) fn is_nominated(&self) -> bool {
        self.nominated.is_some()
    }

    pub(crate) fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let (to, answer) = self.answers.pop_front()?;
        out.extend_from_slice(&answer);
        Some(to)
    }

    pub(crate) fn poll_event(&mut self) -> Option<IceEvent> {
        self.events.pop_front()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.dead || self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        if self.nominated.is_some() && !self.interrupted {
            self.interrupted = true;
            self.deadline = Some(now + GIVEN_UP);
            self.events.push_back(IceEvent::Interrupted);
        } else {
            self.dead = true;
            self.events.push_back(IceEvent::TimedOut);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline.filter(|_| !self.dead)
    }
}

/// Stands for the transaction id, bytes 8 to 20 of a STUN header, all of which may or may not be random.
fn transaction(datagram: &[u8]) -> u32 {
    stun::CRC.checksum(datagram.get(8..20).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use is::stun::{StunMessageBuilder, TransId};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn credentials(name: &str) -> IceCredentials {
        IceCredentials { ufrag: name.into(), password: format!("password of {name}, 22 characters") }
    }

    struct Bench {
        lite: Lite,
        now: Instant,
        counters: Counters,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            let mut lite = Lite::new(credentials("one"));
            lite.set_remote(now);
            Self { lite, now, counters: Counters::default() }
        }

        fn receive(&mut self, from: &str, datagram: &[u8]) -> Vec<Vec<u8>> {
            self.lite.receive(self.now, address(from), datagram, &mut self.counters);
            let mut answers = Vec::new();
            let mut out = Vec::new();
            while let Some(to) = self.lite.poll_transmit(&mut out) {
                assert_eq!(to, address(from), "answers go where the question came from");
                answers.push(std::mem::take(&mut out));
            }
            answers
        }

        fn check(&mut self, from: &str, user: &str, nominate: bool) -> Vec<Vec<u8>> {
            let datagram = check(user, &credentials(user), nominate);
            self.receive(from, &datagram)
        }

        fn events(&mut self) -> Vec<IceEvent> {
            std::iter::from_fn(|| self.lite.poll_event()).collect()
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn check(user: &str, credentials: &IceCredentials, nominate: bool) -> Vec<u8> {
        let username = format!("{user}:them");
        let mut builder =
            StunMessageBuilder::new().binding().request().username(&username).prio(7).ice_controlling(9);
        if nominate {
            builder = builder.use_candidate();
        }
        let mut bytes = vec![0; 300];
        let password = Some(credentials.password.as_bytes());
        let len = builder.build(TransId::new()).to_bytes(password, &mut bytes, stun::hmac_sha1).unwrap();
        bytes.truncate(len);
        bytes
    }

    const A: &str = "192.0.2.1:1000";
    const B: &str = "192.0.2.1:2000";

    #[test]
    fn a_check_is_answered_with_the_address_it_came_from() {
        let mut bench = Bench::new();
        for from in [A, "[2001:db8::1]:1000"] {
            let request = check("one", &credentials("one"), false);
            let answers = bench.receive(from, &request);
            let message = StunMessage::parse(&answers[0]).unwrap();
            assert!(message.is_successful_binding_response());
            assert_eq!(message.mapped_address(), Some(address(from)));
            assert!(message.verify(credentials("one").password.as_bytes(), stun::hmac_sha1));
            assert!(stun::has_valid_fingerprint(&answers[0]));
            assert!(answers[0].len() <= request.len() + 24);
        }
        assert!(bench.lite.is_valid(address(A)) && !bench.lite.is_valid(address(B)));
    }

    #[test]
    fn the_latest_nominated_address_wins_at_once() {
        let mut bench = Bench::new();
        bench.check(A, "one", false);
        assert_eq!(bench.lite.destination(), Some(address(A)), "validated, for the first flight of DTLS");
        bench.check(B, "one", true);
        assert_eq!(bench.lite.destination(), Some(address(B)));
        bench.check(A, "one", false);
        assert_eq!(
            bench.lite.destination(),
            Some(address(B)),
            "a check that does not nominate moves nothing"
        );
        bench.check(A, "one", true);
        assert_eq!(bench.lite.destination(), Some(address(A)));
        let (a, b) = (IceEvent::Validated(address(A)), IceEvent::Validated(address(B)));
        assert_eq!(bench.events(), [a, b, IceEvent::Connected, a, a], "whose an address is, is said again");
    }

    #[test]
    fn a_side_that_is_controlled_like_us_is_reached_where_its_checks_come_from() {
        let mut bench = Bench::new();
        let check = |bench: &mut Bench, from: &str, user: &str| {
            let username = format!("{user}:them");
            let builder = StunMessageBuilder::new().binding().request().username(&username).prio(7);
            let mut bytes = vec![0; 300];
            let message = builder.ice_controlled(9).build(TransId::new());
            let password = credentials(user).password;
            let len = message.to_bytes(Some(password.as_bytes()), &mut bytes, stun::hmac_sha1).unwrap();
            bench.receive(from, &bytes[..len]);
        };
        check(&mut bench, A, "one");
        assert!(bench.events().contains(&IceEvent::Connected));
        check(&mut bench, B, "one");
        assert_eq!(bench.lite.destination(), Some(address(A)), "the first one works");
        bench.now += 5 * SECOND;
        check(&mut bench, B, "one");
        assert_eq!(bench.lite.destination(), Some(address(B)), "the first one is silent");
        bench.lite.restart(bench.now, credentials("two"));
        check(&mut bench, A, "two");
        assert_eq!(bench.lite.destination(), Some(address(A)), "and after a restart");
    }

    #[test]
    fn a_check_that_comes_twice_is_answered_and_moves_nothing() {
        let mut bench = Bench::new();
        let first = check("one", &credentials("one"), true);
        bench.receive(A, &first);
        bench.check(B, "one", true);
        assert_eq!(bench.receive(A, &first).len(), 1);
        assert_eq!(bench.receive("198.51.100.7:7", &first).len(), 1, "replayed by somebody else");
        assert_eq!(bench.lite.destination(), Some(address(B)));
        assert!(!bench.lite.is_valid(address("198.51.100.7:7")));
        assert_eq!(bench.counters.stun_repeated, 2);
    }

    #[test]
    fn a_check_overheard_half_an_hour_ago_moves_nothing() {
        let mut bench = Bench::new();
        let overheard = check("one", &credentials("one"), true);
        bench.receive(A, &overheard);
        for _ in 0..30 * 60 * 2 / 5 {
            bench.now += SECOND * 5 / 2;
            bench.check(A, "one", true);
        }
        bench.receive("198.51.100.7:7", &overheard);
        assert_eq!(bench.lite.destination(), Some(address(A)));
        assert!(!bench.lite.is_valid(address("198.51.100.7:7")));
    }

    #[test]
    fn a_restart_gives_a_client_that_lost_its_network_time_to_come_back() {
        let mut bench = Bench::new();
        bench.check(A, "one", true);
        bench.now += 14 * SECOND;
        bench.lite.restart(bench.now, credentials("two"));
        bench.now += 14 * SECOND;
        bench.lite.handle_timeout(bench.now);
        assert!(!bench.events().contains(&IceEvent::TimedOut));
        bench.check(B, "two", true);
        assert_eq!(bench.lite.destination(), Some(address(B)));
    }

    #[test]
    fn old_and_new_credentials_hold_until_the_new_ones_nominate() {
        let mut bench = Bench::new();
        bench.check(A, "one", true);
        bench.lite.restart(bench.now, credentials("two"));
        bench.check(B, "one", true);
        assert_eq!(bench.lite.destination(), Some(address(B)), "the old ones still nominate");
        bench.check(A, "two", false);
        assert_eq!(bench.check(B, "one", true).len(), 1);
        bench.check(A, "two", true);
        assert_eq!(bench.lite.destination(), Some(address(A)));
        assert!(bench.check(B, "one", true).is_empty(), "now the old ones are gone");
        assert_eq!(bench.counters.stun_unknown_user, 1);
    }

    #[test]
    fn a_wrong_password_gets_a_short_401_and_nothing_else_happens() {
        let mut bench = Bench::new();
        let request = check("one", &credentials("two"), true);
        let answers = bench.receive(A, &request);
        let message = StunMessage::parse(&answers[0]).unwrap();
        assert_eq!(message.error_code().map(|(code, _)| code), Some(401));
        assert!(answers[0].len() < request.len());
        assert_eq!((bench.lite.destination(), bench.events()), (None, vec![]));
        assert_eq!(bench.counters.stun_unauthenticated, 1);
    }

    #[test]
    fn every_refusal_is_counted_and_silent() {
        let mut bench = Bench::new();
        let good = check("one", &credentials("one"), true);
        let mut no_fingerprint = good[..good.len() - 8].to_vec();
        let len = (no_fingerprint.len() - 20) as u16;
        no_fingerprint[2..4].copy_from_slice(&len.to_be_bytes());
        let mut wrong_fingerprint = good.clone();
        *wrong_fingerprint.last_mut().unwrap() ^= 1;
        let stranger = check("three", &credentials("three"), true);
        let response = stun::success(TransId::new(), address(A), "password");
        for bad in [&no_fingerprint, &wrong_fingerprint, &stranger, &response] {
            assert!(bench.receive(A, bad).is_empty());
        }
        let counted = (
            bench.counters.stun_bad_fingerprint,
            bench.counters.stun_unknown_user,
            bench.counters.stun_unexpected,
        );
        assert_eq!(counted, (2, 1, 1));
        assert!(!bench.lite.is_valid(address(A)));
    }

    #[test]
    fn a_broken_path_is_told_once_and_whoever_checks_again_has_never_been_away() {
        let mut bench = Bench::new();
        bench.check(A, "one", true);
        bench.events();
        for _ in 0..2 {
            bench.now += INTERRUPTED;
            bench.lite.handle_timeout(bench.now);
            assert_eq!(bench.events(), [IceEvent::Interrupted]);
            bench.now += GIVEN_UP - SECOND;
            bench.lite.handle_timeout(bench.now);
            assert_eq!(bench.events(), []);
            bench.check(B, "one", true);
            assert_eq!(bench.lite.destination(), Some(address(B)));
            assert_eq!(bench.events(), [IceEvent::Validated(address(B))]);
        }
        bench.now += INTERRUPTED;
        bench.lite.handle_timeout(bench.now);
        bench.now += GIVEN_UP - SECOND;
        bench.lite.restart(bench.now, credentials("two"));
        bench.now += INTERRUPTED;
        bench.lite.handle_timeout(bench.now);
        assert_eq!(
            bench.events(),
            [IceEvent::Interrupted, IceEvent::Interrupted],
            "a restart that came to nothing"
        );
        bench.now += GIVEN_UP;
        bench.lite.handle_timeout(bench.now);
        assert_eq!(bench.events(), [IceEvent::TimedOut]);
    }

    #[test]
    fn silence_ends_it_and_any_check_puts_that_off() {
        let mut bench = Bench::new();
        assert_eq!(bench.lite.poll_timeout(), Some(bench.now + FIRST_CHECK_TIMEOUT));
        for _ in 0..5 {
            bench.now += 14 * SECOND;
            bench.check(A, "one", false);
            bench.lite.handle_timeout(bench.now);
        }
        bench.now += 14 * SECOND;
        let replayed = check("one", &credentials("two"), true);
        bench.receive(A, &replayed);
        bench.lite.handle_timeout(bench.now);
        assert!(!bench.events().contains(&IceEvent::TimedOut));
        bench.now += SECOND;
        bench.lite.handle_timeout(bench.now);
        assert_eq!(bench.events(), [IceEvent::TimedOut]);
        assert_eq!(bench.lite.poll_timeout(), None);
        assert!(bench.check(A, "one", true).is_empty(), "the dead do not answer");
    }

    #[test]
    fn who_checks_no_more_is_there_as_long_as_it_is_heard() {
        let mut bench = Bench::new();
        bench.lite.heard(bench.now);
        assert_eq!(bench.lite.poll_timeout(), Some(bench.now + FIRST_CHECK_TIMEOUT), "it has no address yet");
        bench.check(A, "one", true);
        bench.events();
        for _ in 0..10 {
            bench.now += 14 * SECOND;
            bench.lite.heard(bench.now);
            bench.lite.handle_timeout(bench.now);
        }
        assert_eq!(bench.events(), []);
        bench.now += INTERRUPTED;
        bench.lite.handle_timeout(bench.now);
        assert_eq!(bench.events(), [IceEvent::Interrupted]);
        bench.lite.heard(bench.now);
        bench.now += GIVEN_UP - SECOND;
        bench.lite.handle_timeout(bench.now);
        assert_eq!(bench.events(), []);
        bench.now += INTERRUPTED + GIVEN_UP;
        bench.lite.handle_timeout(bench.now);
        bench.now += GIVEN_UP;
        bench.lite.handle_timeout(bench.now);
        assert_eq!(bench.events(), [IceEvent::Interrupted, IceEvent::TimedOut]);
        bench.lite.heard(bench.now);
        assert_eq!(bench.lite.poll_timeout(), None, "the dead hear nothing");
    }

    #[test]
    fn a_client_with_many_addresses_costs_bounded_memory() {
        let mut bench = Bench::new();
        bench.check(A, "one", true);
        for port in 3_000..3_100 {
            bench.now += Duration::from_millis(1);
            bench.check(&format!("192.0.2.9:{port}"), "one", false);
        }
        assert_eq!(bench.lite.sources.len(), MAX_SOURCES);
        assert!(bench.lite.is_valid(address(A)), "the nominated address is never pushed out");
        assert!(!bench.lite.is_valid(address("192.0.2.9:3000")));
        for _ in 0..MAX_TRANSACTIONS {
            bench.check(A, "one", true);
        }
        let forgotten = bench.events().iter().filter(|e| matches!(e, IceEvent::Forgotten(_))).count();
        assert_eq!(forgotten, 101 - MAX_SOURCES);
        assert_eq!(bench.lite.transactions.len(), MAX_TRANSACTIONS);
    }
}
