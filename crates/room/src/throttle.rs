//! Telling at once what comes alone, and together what comes in a burst.

use std::time::{Duration, Instant};

/// The first requests after a quiet time are due at once, further ones one per interval (GCRA, ITU-T I.371).
pub(crate) struct Throttle {
    /// So many in a row need not wait.
    burst: u32,
    interval: Duration,
    /// When a whole burst may be told again.
    full_at: Option<Instant>,
    due: Option<Instant>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Throttle {
    /// `burst`: at least 1.
    pub fn new(burst: u32) -> Self {
        Self { burst: burst.max(1), interval: Duration::ZERO, full_at: None, due: None }
    }

    /// Something is to be told.
    pub fn request(&mut self, now: Instant, interval: Duration) {
        if self.due.is_none() {
            self.interval = interval;
            // What was told with another interval counts as if it had been told with this one.
            let wait = interval * (self.burst - 1);
            let ready = self.full_at.and_then(|full| full.checked_sub(wait));
            self.due = Some(ready.map_or(now, |ready| ready.max(now)));
        }
    }

    /// When it is to be told.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// True when it is time; the caller tells it now.
    pub fn take(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.told(now);
        }
        is_due
    }

    /// What waits is told now, due or not.
    pub fn told(&mut self, now: Instant) {
        self.due = None;
        let full = self.full_at.map_or(now, |full| full.max(now)) + self.interval;
        // Telling early, again and again, is no debt.
        self.full_at = Some(full.min(now + self.interval * self.burst));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_at(burst: u32, asked_ms: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut throttle = Throttle::new(burst);
        let mut told = Vec::new();
        for at in asked_ms {
            while let Some(due) = throttle.due().filter(|due| *due <= start + ms(*at)) {
                assert!(throttle.take(due));
                told.push((due - start).as_millis() as u64);
            }
            throttle.request(start + ms(*at), ms(100));
        }
        let last = throttle.due().expect("something was asked");
        told.push((last - start).as_millis() as u64);
        told
    }

    #[test]
    fn what_comes_alone_is_told_at_once_and_a_burst_together() {
        assert_eq!(told_at(1, &[0, 10, 20, 30, 150, 500]), [0, 100, 200, 500]);
    }

    #[test]
    fn who_was_told_early_waits_no_longer_for_it() {
        let (now, interval) = (Instant::now(), Duration::from_millis(100));
        let mut throttle = Throttle::new(1);
        throttle.request(now, interval);
        (0..50).for_each(|_| throttle.told(now));
        throttle.request(now, interval);
        assert_eq!(throttle.due(), Some(now + interval));
    }

    #[test]
    fn a_few_in_a_row_need_not_wait_and_then_one_per_interval() {
        assert_eq!(told_at(3, &[0, 1, 2, 3, 4, 5, 110, 2_000]), [0, 1, 2, 100, 200, 2_000]);
    }
}
