//! What a room remembers of calls of the server API, as long as it lives.

use std::collections::{BTreeMap, VecDeque};

use base::Identity;

/// Messages of which it is remembered that they were sent: a call is tried again within seconds.
const MAX_NONCES: usize = 1_024;
/// Longest name of a call, in bytes; SDKs send 16.
pub(crate) const MAX_NONCE: usize = 64;
/// Participants whose tokens were revoked; as many as a room may have.
const MAX_REVOKED: usize = 10_000;

/// The names of the last calls that sent something.
#[derive(Default)]
pub(crate) struct Nonces(VecDeque<Vec<u8>>);

impl Nonces {
    /// `false`: it was said before.
    pub fn note(&mut self, nonce: Vec<u8>) -> bool {
        if nonce.is_empty() {
            return true;
        }
        if self.0.contains(&nonce) {
            return false;
        }
        if self.0.len() >= MAX_NONCES {
            self.0.pop_front();
        }
        self.0.push_back(nonce);
        true
    }
}

/// Before when tokens of participants are not good any more, in seconds since 1970.
#[derive(Default)]
pub(crate) struct Revoked(BTreeMap<Identity, u64>);

impl Revoked {
    /// Tokens of this participant made before `before_s` are taken back. At the bound nothing more is remembered: room for others
    /// must not be made by forgetting somebody who was thrown out.
    pub fn add(&mut self, identity: &Identity, before_s: u64) {
        if before_s > 0 && (self.0.len() < MAX_REVOKED || self.0.contains_key(identity)) {
            let known = self.0.entry(identity.clone()).or_default();
            *known = before_s.max(*known);
        }
    }

    /// Was a token made at `issued_s` taken back?
    pub fn has(&self, identity: &Identity, issued_s: u64) -> bool {
        self.0.get(identity).is_some_and(|before| issued_s < *before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_calls_are_remembered() {
        let mut nonces = Nonces::default();
        assert!(nonces.note(b"first".to_vec()) && !nonces.note(b"first".to_vec()));
        assert!(nonces.note(Vec::new()) && nonces.note(Vec::new()), "without a name each is another");
        for number in 0..MAX_NONCES {
            assert!(nonces.note(number.to_be_bytes().to_vec()));
        }
        assert_eq!(nonces.0.len(), MAX_NONCES);
        assert!(nonces.note(b"first".to_vec()), "forgotten");
    }

    #[test]
    fn tokens_of_before_are_taken_back_and_the_latest_time_holds() {
        let (mut revoked, ann) = (Revoked::default(), Identity::new("ann"));
        revoked.add(&ann, 0);
        assert!(!revoked.has(&ann, 0));
        revoked.add(&ann, 100);
        revoked.add(&ann, 50);
        assert!(revoked.has(&ann, 99) && !revoked.has(&ann, 100));
        assert!(!revoked.has(&Identity::new("bob"), 0));
        (0..2 * MAX_REVOKED).for_each(|number| revoked.add(&Identity::new(number.to_string()), 1));
        revoked.add(&ann, 200);
        assert!(revoked.0.len() == MAX_REVOKED && revoked.has(&ann, 199));
    }
}
