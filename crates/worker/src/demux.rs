//! Hop 2: which peer a datagram belongs to.
//!
//! The first byte tells the class (RFC 7983). STUN checks name our user fragment, which finds the peer wherever the check
//! comes from; everything else is routed by its source address, and only addresses from which an authenticated check came
//! have a route. What has no route is counted and dropped. Strangers get an answer to two things: who names a fragment of ours without its
//! password is told so, now and then, and who asks for its own address is told that.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::question::is_question;
use crate::slots::PeerKey;

/// What the first byte says (RFC 7983 section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Stun,
    /// DTLS, RTP or RTCP.
    Peer,
    Unknown,
}

impl Class {
    pub(crate) fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::Stun,
            Some(20..=63 | 128..=191) => Self::Peer,
            _ => Self::Unknown,
        }
    }
}

/// Why a datagram has no peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lost {
    /// No protocol of ours.
    Class,
    /// Somebody asks at which address we see it.
    Question,
    /// A check for a user fragment that nobody here has, or a STUN message that names none, from an unknown address.
    User,
    /// DTLS or SRTP from an address that no authenticated check came from.
    Source,
}

/// Addresses and user fragments to peers. Bounded by the peers: each has a few of both.
#[derive(Default)]
pub(crate) struct Routes {
    /// Keyed with the standard library's random hash: the keys are chosen by strangers.
    addresses: HashMap<SocketAddr, PeerKey>,
    users: HashMap<Vec<u8>, PeerKey>,
}

impl Routes {
    pub(crate) fn find(&self, source: SocketAddr, datagram: &[u8]) -> Result<PeerKey, Lost> {
        let by_address = || self.addresses.get(&source).copied();
        match Class::of(datagram) {
            Class::Peer => by_address().ok_or(Lost::Source),
            // The fragment first: behind a NAT an address may pass from one client to another.
            Class::Stun => match local_user(datagram) {
                Some(user) => self.users.get(user).copied().ok_or(Lost::User),
                // Clients ask from the socket that they will use, too.
                None if is_question(datagram) => Err(Lost::Question),
                None => by_address().ok_or(Lost::User),
            },
            Class::Unknown => Err(Lost::Class),
        }
    }

    /// `false` when another peer has it.
    pub(crate) fn add_user(&mut self, user: &str, peer: PeerKey) -> bool {
        *self.users.entry(user.as_bytes().to_vec()).or_insert(peer) == peer
    }

    pub(crate) fn remove_user(&mut self, user: &str, peer: PeerKey) {
        if self.users.get(user.as_bytes()) == Some(&peer) {
            self.users.remove(user.as_bytes());
        }
    }

    /// The newest authenticated peer of an address has it.
    pub(crate) fn add_address(&mut self, address: SocketAddr, peer: PeerKey) {
        self.addresses.insert(address, peer);
    }

    pub(crate) fn remove_address(&mut self, address: SocketAddr, peer: PeerKey) {
        if self.addresses.get(&address) == Some(&peer) {
            self.addresses.remove(&address);
        }
    }
}

/// The part of a STUN message's USERNAME before the colon: the fragment of the side that is asked (RFC 8445 section 7.2.2).
/// Total on any bytes; only what is needed for routing is looked at, the peer reads the message in full.
pub(crate) fn local_user(datagram: &[u8]) -> Option<&[u8]> {
    const HEADER: usize = 20;
    const USERNAME: u16 = 0x0006;
    /// A check carries some ten attributes.
    const MAX_ATTRIBUTES: usize = 24;
    let mut rest = datagram.get(HEADER..)?;
    for _ in 0..MAX_ATTRIBUTES {
        let (head, after) = rest.split_first_chunk::<4>()?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = after.get(..len)?;
        if kind == USERNAME {
            let colon = value.iter().position(|byte| *byte == b':')?;
            return value.get(..colon);
        }
        rest = after.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// STUN refusals that leave the worker at once at most, and how long until the next may. Clients have the right password; one
/// that has not repeats its check every few hundred ms.
const REFUSALS: u32 = 50;
const REFUSAL_INTERVAL: Duration = Duration::from_millis(20);

/// How many more STUN refusals may leave: their sources may be forged, and somebody else would get the answers.
#[derive(Default)]
pub(crate) struct Refusals {
    /// When all of [`REFUSALS`] may leave at once again.
    full_at: Option<Instant>,
}

impl Refusals {
    /// May this datagram leave? All but refusals may.
    pub(crate) fn admit(&mut self, now: Instant, datagram: &[u8]) -> bool {
        if !is_refusal(datagram) {
            return true;
        }
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let admitted = full_at.saturating_duration_since(now) <= REFUSAL_INTERVAL * (REFUSALS - 1);
        if admitted {
            self.full_at = Some(full_at + REFUSAL_INTERVAL);
        }
        admitted
    }
}

/// An error response (RFC 8489 section 5): both class bits are set.
fn is_refusal(datagram: &[u8]) -> bool {
    Class::of(datagram) == Class::Stun
        && matches!(datagram, [first, second, ..] if first & 0x01 != 0 && second & 0x10 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    fn check(user: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        message.extend([7; 12]);
        // PRIORITY, then USERNAME with its padding.
        message.extend([0, 0x24, 0, 4, 1, 2, 3, 4]);
        message.extend([0, 6, 0, user.len() as u8]);
        message.extend(user);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn a_check_finds_its_peer_by_fragment_from_any_address() {
        let mut slots = Slots::<PeerKey, ()>::default();
        let (a, b) = (slots.insert(()), slots.insert(()));
        let address: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let mut routes = Routes::default();
        assert!(routes.add_user("aaaa", a) && routes.add_user("bbbb", b));
        assert!(!routes.add_user("aaaa", b), "a fragment has one owner");
        assert_eq!(routes.find(address, &check(b"aaaa:x")), Ok(a));
        assert_eq!(routes.find(address, &[128, 0]), Err(Lost::Source));
        routes.add_address(address, a);
        assert_eq!(routes.find(address, &[128, 0]), Ok(a));
        assert_eq!(
            routes.find(address, &check(b"bbbb:x")),
            Ok(b),
            "the fragment counts more than the address"
        );
        assert_eq!(routes.find(address, &check(b"cccc:x")), Err(Lost::User));
        routes.remove_address(address, b);
        assert_eq!(routes.find(address, &[22, 0]), Ok(a), "only its owner gives an address up");
        routes.remove_user("aaaa", a);
        assert_eq!(routes.find(address, &check(b"aaaa:x")), Err(Lost::User));
        assert_eq!(routes.find(address, &[64, 0]), Err(Lost::Class));
        assert_eq!(routes.find(address, &[]), Err(Lost::Class));
    }

    #[test]
    fn refusals_leave_at_a_rate_and_answers_always() {
        let (mut refusals, mut now) = (Refusals::default(), Instant::now());
        let admitted = |refusals: &mut Refusals, now, kind: [u8; 2]| {
            (0..1_000).filter(|_| refusals.admit(now, &kind)).count()
        };
        assert_eq!(admitted(&mut refusals, now, [1, 0x11]), 50);
        assert_eq!(admitted(&mut refusals, now, [1, 1]), 1_000, "success responses");
        assert_eq!(admitted(&mut refusals, now, [22, 0x11]), 1_000, "DTLS");
        now += Duration::from_millis(100);
        assert_eq!(admitted(&mut refusals, now, [1, 0x11]), 5);
        now += Duration::from_secs(3_600);
        assert_eq!(admitted(&mut refusals, now, [1, 0x11]), 50);
    }

    #[test]
    fn no_bytes_make_the_reader_of_user_names_fail() {
        let whole = check(b"user:other");
        for len in 0..whole.len() {
            let _ = local_user(&whole[..len]);
        }
        let mut state = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..60)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8 & if state >> 55 & 1 == 0 { 0x0f } else { 0xff }
                })
                .collect();
            let _ = local_user(&bytes);
        }
        assert_eq!(local_user(&check(b"no colon")), None);
        assert_eq!(local_user(&check(b":")), Some(&b""[..]));
    }
}
