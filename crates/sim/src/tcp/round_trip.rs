//! The round trip and the retransmission timeout (RFC 6298).

use std::time::Duration;

/// Linux' least timeout; RFC 6298 section 2.4 says 1 s, which no stack in use keeps.
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(60);
/// Before the first sample (RFC 6298 section 2.1).
const INITIAL: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    /// Timeouts without progress since.
    backoff: u32,
}

impl RoundTrip {
    pub fn sample(&mut self, sample: Duration) {
        match self.smoothed {
            None => (self.smoothed, self.variation) = (Some(sample), sample / 2),
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
        self.backoff = 0;
    }

    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    pub fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(16);
    }

    pub fn timeout(&self) -> Duration {
        let plain = self.smoothed.map_or(INITIAL, |smoothed| (smoothed + self.variation * 4).max(LEAST));
        (plain * (1 << self.backoff)).min(MOST)
    }
}
