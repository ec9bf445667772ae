//! Is the application sending less than it may? Then what arrives says nothing of how much would.

use std::time::Instant;

/// Sending less than this share of the target is limited by the application.
const SHARE: f64 = 0.65;
/// The budget holds what may be sent in this time.
const WINDOW_US: i64 = 500_000;
/// Unused shares of the budget at which the limitation begins and ends.
const BEGINS: f64 = 0.8;
const ENDS: f64 = 0.5;

/// A budget that the target fills and packets use.
#[derive(Clone, Debug)]
pub(super) struct AppLimited {
    last: Instant,
    /// Bits per second that would not be limited, and what the budget holds at most, in bits.
    rate: i64,
    size: i64,
    /// Unused, in bits; negative when more was sent.
    budget: i64,
    limited: bool,
}

impl AppLimited {
    pub(super) fn new(now: Instant, target_bps: f64) -> Self {
        let mut limited = Self { last: now, rate: 0, size: 0, budget: 0, limited: false };
        limited.set_target(target_bps);
        limited
    }

    pub(super) fn set_target(&mut self, target_bps: f64) {
        self.rate = (target_bps * SHARE) as i64;
        let size = (self.rate * WINDOW_US / 1_000_000).max(1);
        // The same share stays unused.
        self.budget = (self.budget as f64 * size as f64 / self.size.max(1) as f64) as i64;
        self.size = size;
    }

    /// A packet leaves.
    #[inline]
    pub(super) fn on_sent(&mut self, now: Instant, size: usize) {
        self.fill(now);
        self.budget = (self.budget - size as i64 * 8).max(-self.size);
    }

    /// Time passes.
    #[inline]
    fn fill(&mut self, now: Instant) {
        if now <= self.last {
            return;
        }
        let elapsed_us = ((now - self.last).as_micros() as i64).min(2 * WINDOW_US);
        self.last = now;
        self.budget = (self.budget + self.rate * elapsed_us / 1_000_000).min(self.size);
    }

    /// What [`Self::is_limited`] would say then.
    pub(super) fn is_limited_at(&self, now: Instant) -> bool {
        let mut then = self.clone();
        then.is_limited(now)
    }

    /// What [`Self::is_limited`] said last.
    pub(super) fn was_limited(&self) -> bool {
        self.limited
    }

    pub(super) fn is_limited(&mut self, now: Instant) -> bool {
        self.fill(now);
        let unused = self.budget as f64 / self.size as f64;
        if unused > BEGINS {
            self.limited = true;
        } else if unused < ENDS {
            self.limited = false;
        }
        self.limited
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A second of packets, one each 10 ms.
    fn second(limited: &mut AppLimited, at: &mut Instant, kbps: usize) -> bool {
        for _ in 0..100 {
            *at += Duration::from_millis(10);
            limited.on_sent(*at, kbps * 10 / 8);
        }
        limited.is_limited(*at)
    }

    #[test]
    fn sending_half_of_the_target_is_limited_and_sending_most_of_it_is_not() {
        let mut now = Instant::now();
        let mut limited = AppLimited::new(now, 1_000_000.0);
        assert!(!second(&mut limited, &mut now, 900));
        second(&mut limited, &mut now, 300);
        second(&mut limited, &mut now, 300);
        assert!(second(&mut limited, &mut now, 300));
        assert!(!second(&mut limited, &mut now, 1_000));
        now += Duration::from_secs(3_600);
        assert!(limited.is_limited(now), "silence");
    }
}
