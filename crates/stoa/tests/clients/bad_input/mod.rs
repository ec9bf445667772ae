//! Strangers, and people with a good token, who send what they should not, beside a call that must not notice.
//!
//! Every test starts a server of its own with a call on it, does harm, and then holds the server to the same:
//! the call lost nothing ([`crate::call::Call::was_undisturbed`]); no panic was caught or printed, the process lives, and
//! connections and memory are what they were ([`crate::server::Server::is_unharmed`]). What was refused is refused with a
//! status and a sentence, or shows as a counter in `/metrics`.

mod crowd;
mod datagrams;
mod greed;
mod http;
mod mallory;
mod signals;
mod stun;
mod tokens;

/// Bytes that look random and are the same in every run (splitmix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
