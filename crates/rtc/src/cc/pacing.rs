//! How far a receiver may run ahead of its rate. Never a wait for a packet within budget.

use std::time::{Duration, Instant};

use base::Bitrate;

/// What may leave at once is what the rate carries in this time (and always one packet).
pub const QUANTUM: Duration = Duration::from_millis(5);
/// What was sent regardless (audio, probes) delays the rest by no more than this.
const MAX_AHEAD: Duration = Duration::from_millis(500);

/// One receiver's budget. Sent bytes occupy the link for as long as the rate needs to carry them; a packet may leave
/// while the link is free within [`QUANTUM`].
///
/// ```text
///  now            now + QUANTUM
///   │                 │
///   ├──────────┤free at here: go
///   ├─────────────────┼────────┤free at here: wait until it is QUANTUM away
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PacingBudget {
    free_at: Instant,
    /// Nanoseconds per byte.
    byte_ns: u64,
    ahead: Duration,
}

impl PacingBudget {
    /// Nothing was sent yet. `rate`: some factor above the estimate, so that frames leave faster than they play.
    pub fn new(now: Instant, rate: Bitrate) -> Self {
        Self { free_at: now, byte_ns: byte_ns(rate), ahead: QUANTUM }
    }

    /// Another measure than [`QUANTUM`] for how far it may run ahead.
    #[must_use]
    pub fn with_ahead(self, ahead: Duration) -> Self {
        Self { ahead, ..self }
    }

    /// Another rate from now on.
    pub fn set_rate(&mut self, rate: Bitrate) {
        self.byte_ns = byte_ns(rate);
    }

    /// May a packet of any size leave now?
    #[inline]
    pub fn has_room(&self, now: Instant) -> bool {
        self.free_at <= now + self.ahead
    }

    /// Would packets of so many bytes together leave the link free within the quantum? Then each of them may leave now.
    #[inline]
    pub fn fits(&self, now: Instant, size: usize) -> bool {
        self.free_at.max(now) + self.time(size) <= now + self.ahead
    }

    /// How long the rate needs to carry so much.
    #[inline]
    pub fn time(&self, size: usize) -> Duration {
        Duration::from_nanos((size as u64).saturating_mul(self.byte_ns))
    }

    /// When the rate has carried all that was sent; in the past when it has.
    pub fn free_at(&self) -> Instant {
        self.free_at
    }

    /// When the next may; in the past when it may now.
    pub fn room_at(&self) -> Instant {
        self.free_at.checked_sub(self.ahead).unwrap_or(self.free_at)
    }

    /// A packet leaves, within budget or, as audio does, whatever the budget is.
    #[inline]
    pub fn on_sent(&mut self, now: Instant, size: usize) {
        let busy = self.time(size);
        self.free_at = (self.free_at.max(now) + busy).min(now + self.ahead + MAX_AHEAD);
    }
}

fn byte_ns(rate: Bitrate) -> u64 {
    8_000_000_000 / rate.0.max(8_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_within_the_quantum_leaves_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut budget = PacingBudget::new(start, Bitrate::kbps(8_000));
        let at_once = (0..100).take_while(|_| {
            let room = budget.has_room(start);
            if room {
                budget.on_sent(start, 1_000);
            }
            room
        });
        assert_eq!(at_once.count(), 6, "5,000 bytes, and the one that crosses the line");
        assert_eq!(budget.room_at(), start + MS);
        let mut sent = 0;
        for ms in 1..=1_000 {
            while budget.has_room(start + ms * MS) {
                budget.on_sent(start + ms * MS, 1_000);
                sent += 1;
            }
        }
        assert_eq!(sent, 1_000);
    }

    #[test]
    fn what_goes_regardless_delays_the_rest_by_a_bounded_time() {
        let start = Instant::now();
        let mut budget = PacingBudget::new(start, Bitrate(0));
        for _ in 0..1_000 {
            budget.on_sent(start, 60_000);
        }
        assert!(!budget.has_room(start));
        assert!(budget.has_room(start + MAX_AHEAD));
    }

    #[test]
    fn an_idle_receiver_saves_nothing_up() {
        let start = Instant::now();
        let mut budget = PacingBudget::new(start, Bitrate::kbps(800));
        let later = start + Duration::from_secs(10);
        budget.on_sent(later, 1_000);
        assert!(!budget.has_room(later));
        assert_eq!(budget.room_at(), later + 5 * MS);
    }
}
