//! A seeded network in virtual time: delay, jitter (which reorders), loss, duplication.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What the network does to a datagram.
#[derive(Clone, Copy)]
pub struct Conditions {
    pub delay: Duration,
    /// Up to this much more, evenly distributed, so that datagrams overtake each other.
    pub jitter: Duration,
    /// 0.0 to 1.0.
    pub loss: f64,
    pub duplication: f64,
}

pub const GOOD: Conditions =
    Conditions { delay: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0.0, duplication: 0.0 };

pub const BAD: Conditions = Conditions {
    delay: Duration::from_millis(25),
    jitter: Duration::from_millis(15),
    loss: 0.08,
    duplication: 0.02,
};

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / ((1u64 << 53) as f64) < probability
    }
}

pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub struct Network {
    pub conditions: Conditions,
    random: Random,
    /// By time of arrival, then in order of sending.
    on_the_way: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
}

impl Network {
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self { conditions, random: Random::new(seed), on_the_way: BTreeMap::new(), sent: 0 }
    }

    pub fn send(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if self.random.chance(self.conditions.duplication) {
            self.carry(now, Datagram { from, to, bytes: bytes.clone() });
        }
        if !self.random.chance(self.conditions.loss) {
            self.carry(now, Datagram { from, to, bytes });
        }
    }

    fn carry(&mut self, now: Instant, datagram: Datagram) {
        let jitter = self.conditions.jitter.as_micros() as u64;
        let extra = Duration::from_micros(if jitter == 0 { 0 } else { self.random.below(jitter) });
        self.sent += 1;
        self.on_the_way.insert((now + self.conditions.delay + extra, self.sent), datagram);
    }

    pub fn next_arrival(&self) -> Option<Instant> {
        self.on_the_way.first_key_value().map(|((at, _), _)| *at)
    }

    pub fn arrive(&mut self, now: Instant) -> Option<Datagram> {
        let entry = self.on_the_way.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}
