//! How much queue stands on the path: the one-way delay over its minimum of the last seconds, and that over the minimum
//! of the last minute.

/// Minima are taken over one to two of these. The drift of two clocks over the longer is a few milliseconds.
const WINDOW_US: i64 = 3_000_000;
const LONG_WINDOW_US: i64 = 30_000_000;
/// The least of the newest groups counts: what jitter adds is not queue.
const NEWEST: usize = 4;

/// Delays whose zero is unknown, since the clocks are not synchronised; differences mean something.
#[derive(Clone, Debug)]
pub(super) struct QueueDelay {
    newest: [i64; NEWEST],
    count: usize,
    recent: Minimum,
    long: Minimum,
}

impl Default for QueueDelay {
    fn default() -> Self {
        let (recent, long) = (Minimum::over(WINDOW_US), Minimum::over(LONG_WINDOW_US));
        Self { newest: [0; NEWEST], count: 0, recent, long }
    }
}

impl QueueDelay {
    /// A packet sent and arrived at these times. `competing`: others fill the queue, and may for long; what is known of the
    /// path without them is kept.
    pub(super) fn add(&mut self, sent_us: i64, arrival_us: i64, competing: bool) {
        let delay = arrival_us.saturating_sub(sent_us);
        self.recent.add(sent_us, delay);
        if competing {
            self.long.start_us = self.long.start_us.max(sent_us - self.long.window_us);
        }
        self.long.add(sent_us, delay);
        self.newest[self.count % NEWEST] = delay;
        self.count += 1;
    }

    /// The way has become longer: what it was is past.
    pub(super) fn forget_longest(&mut self) {
        self.long = Minimum { window_us: self.long.window_us, ..self.recent.clone() };
    }

    /// Queueing delay now that was not there all the last seconds: what sending less can take away.
    pub(super) fn queue_us(&self) -> i64 {
        let known = &self.newest[..self.count.min(NEWEST)];
        let (Some(newest), Some(base)) = (known.iter().min(), self.recent.get()) else { return 0 };
        newest.saturating_sub(base).max(0)
    }

    /// Queueing delay that was there all the last seconds, however little was sent: others keep the queue filled.
    pub(super) fn standing_us(&self) -> i64 {
        let (Some(recent), Some(long)) = (self.recent.get(), self.long.get()) else { return 0 };
        recent.saturating_sub(long)
    }
}

/// The minimum of the last one to two windows.
#[derive(Clone, Debug)]
struct Minimum {
    window_us: i64,
    start_us: i64,
    /// [`NONE`]: there was nothing in this window, or in the one before.
    current: i64,
    previous: i64,
}

const NONE: i64 = i64::MAX;

impl Minimum {
    fn over(window_us: i64) -> Self {
        Self { window_us, start_us: 0, current: NONE, previous: NONE }
    }

    fn add(&mut self, at_us: i64, value: i64) {
        if at_us - self.start_us > self.window_us {
            self.start_us = at_us;
            self.previous = std::mem::replace(&mut self.current, NONE);
        }
        self.current = self.current.min(value);
    }

    fn get(&self) -> Option<i64> {
        Some(self.current.min(self.previous)).filter(|least| *least != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_what_exceeds_the_least_delay_and_jitter_is_not() {
        let mut queue = QueueDelay::default();
        for i in 0..100 {
            queue.add(i * 10_000, i * 10_000 + 7_000_000 + (i % 3) * 9_000, false);
        }
        assert_eq!(queue.queue_us(), 0);
        for i in 100..110 {
            queue.add(i * 10_000, i * 10_000 + 7_080_000 + (i % 3) * 9_000, false);
        }
        assert_eq!(queue.queue_us(), 80_000);
    }

    #[test]
    fn a_queue_that_does_not_go_away_belongs_to_others() {
        let mut queue = QueueDelay::default();
        for i in 0..1_500 {
            queue.add(i * 10_000, i * 10_000 + if i < 100 { 0 } else { 150_000 }, false);
        }
        assert_eq!((queue.queue_us(), queue.standing_us()), (0, 150_000));
        for i in 1_500..8_000 {
            queue.add(i * 10_000, i * 10_000 + 150_000, false);
        }
        assert_eq!((queue.queue_us(), queue.standing_us()), (0, 0), "a longer route after all");
    }
}
