//! A seeded generator and damage to valid packets, for tests of the parsers.

/// xorshift64*: small, seeded, the same everywhere.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// 0..`end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// Hands `check` the packet cut off at every length, and with every single bit flipped.
pub(crate) fn damaged(packet: &[u8], mut check: impl FnMut(&[u8])) {
    for len in 0..=packet.len() {
        check(&packet[..len]);
    }
    let mut copy = packet.to_vec();
    for bit in 0..packet.len() * 8 {
        copy[bit / 8] ^= 1 << (bit % 8);
        check(&copy);
        copy[bit / 8] ^= 1 << (bit % 8);
    }
}
