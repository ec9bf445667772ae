//! How many commands a connection may give.

use std::time::Instant;

/// A bucket of tokens: full at the start, refilled over time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// Thousandths of tokens that are there.
    level: u64,
    since: Instant,
}

impl Bucket {
    pub fn new(now: Instant, burst: u32) -> Self {
        Self { level: u64::from(burst) * 1_000, since: now }
    }

    /// Takes one; the error is when there will be one, in milliseconds.
    pub fn take(&mut self, now: Instant, rate: u32, burst: u32) -> Result<(), u64> {
        let elapsed = now.saturating_duration_since(self.since).as_millis() as u64;
        self.since = now;
        let refilled = self.level.saturating_add(elapsed.saturating_mul(u64::from(rate)));
        self.level = refilled.min(u64::from(burst) * 1_000);
        if self.level >= 1_000 {
            self.level -= 1_000;
            return Ok(());
        }
        Err((1_000 - self.level).div_ceil(u64::from(rate.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 5);
        let passed = (0..10).filter(|_| bucket.take(start, 10, 5).is_ok()).count();
        assert_eq!((passed, bucket.take(start, 10, 5)), (5, Err(100)));
        let later = start + Duration::from_secs(60);
        let passed = (0..10).filter(|_| bucket.take(later, 10, 5).is_ok()).count();
        assert_eq!(passed, 5, "a minute of silence saves up no more than the burst");
        assert!((1..=100).all(|n| bucket.take(later + Duration::from_millis(100 * n), 10, 5).is_ok()));
    }
}
