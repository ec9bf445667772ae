//! What arrives per second: a Bayesian estimate from short windows. A sample that is far from the estimate is believed
//! less, unless it is repeated.

/// The first sample takes longer, to begin near the truth.
const FIRST_WINDOW_US: i64 = 500_000;
const WINDOW_US: i64 = 150_000;
/// How uncertain a sample is, by its distance from the estimate relative to the larger of them. Falling samples while the application sends
/// little are doubted more: they say nothing of the path.
const UNCERTAINTY: f64 = 10.0;
const UNCERTAINTY_LIMITED: f64 = 20.0;
/// What the estimate's variance grows by per sample, in (kbit/s)^2.
const DRIFT: f64 = 5.0;
const FIRST_VARIANCE: f64 = 50.0;

/// Rate of the packets that the other side says have arrived, by its clock.
#[derive(Clone, Debug, Default)]
pub(super) struct AckedRate {
    window_start: Option<i64>,
    last_us: i64,
    bytes: u64,
    kbps: Option<f64>,
    variance: f64,
    /// The last sample as it was.
    latest: f64,
}

impl AckedRate {
    /// In arrival order; `limited`: the application sends less than it may.
    pub(super) fn add(&mut self, arrival_us: i64, size: u32, limited: bool) {
        let start = *self.window_start.get_or_insert(arrival_us);
        let length = if self.kbps.is_some() { WINDOW_US } else { FIRST_WINDOW_US };
        let elapsed = arrival_us.saturating_sub(start);
        if elapsed < 0 || arrival_us.saturating_sub(self.last_us).unsigned_abs() > 10 * FIRST_WINDOW_US as u64
        {
            // The clock was set, or nothing came for long: no rate over that gap.
            self.window_start = Some(arrival_us);
            self.bytes = 0;
        } else if elapsed >= length {
            let sample = self.bytes as f64 * 8_000.0 / elapsed as f64;
            self.learn(sample, limited);
            self.window_start = Some(arrival_us);
            self.bytes = 0;
        }
        self.last_us = arrival_us;
        self.bytes += u64::from(size);
    }

    fn learn(&mut self, sample: f64, limited: bool) {
        self.latest = sample;
        let Some(estimate) = self.kbps else {
            self.kbps = Some(sample);
            self.variance = FIRST_VARIANCE;
            return;
        };
        let scale = if limited && sample < estimate { UNCERTAINTY_LIMITED } else { UNCERTAINTY };
        let uncertainty = scale * (estimate - sample).abs() / estimate.max(sample).max(1.0);
        let sample_variance = (uncertainty * uncertainty).max(1.0);
        let predicted = self.variance + DRIFT;
        let total = sample_variance + predicted;
        self.kbps = Some((sample_variance * estimate + predicted * sample) / total);
        self.variance = sample_variance * predicted / total;
    }

    /// The last sample as it was, in bit/s. While packets queue it is exact: they arrive as fast as the bottleneck lets
    /// them, whatever was sent before.
    pub(super) fn latest_bps(&self) -> Option<f64> {
        self.kbps.map(|_| self.latest * 1_000.0)
    }

    /// In bit/s.
    pub(super) fn bps(&self) -> Option<f64> {
        self.kbps.map(|kbps| kbps * 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(rate: &mut AckedRate, from_ms: i64, to_ms: i64, bytes_per_10_ms: u32) {
        for at in (from_ms..to_ms).step_by(10) {
            rate.add(at * 1_000, bytes_per_10_ms, false);
        }
    }

    fn near(rate: &AckedRate, kbps: f64) -> bool {
        rate.bps().is_some_and(|bps| (bps / 1_000.0 / kbps - 1.0).abs() < 0.1)
    }

    #[test]
    fn it_is_known_after_half_a_second_and_follows_a_change_within_one() {
        let mut rate = AckedRate::default();
        feed(&mut rate, 0, 490, 1_250);
        assert_eq!(rate.bps(), None);
        feed(&mut rate, 490, 520, 1_250);
        assert!(near(&rate, 1_000.0), "{rate:?}");
        feed(&mut rate, 520, 3_000, 1_250);
        feed(&mut rate, 3_000, 4_000, 500);
        assert!(near(&rate, 400.0), "{rate:?}");
    }

    #[test]
    fn a_clock_that_is_set_makes_no_rate() {
        let mut rate = AckedRate::default();
        feed(&mut rate, 0, 2_000, 1_250);
        rate.add(i64::MAX, 1_250, false);
        rate.add(i64::MIN, 1_250, false);
        rate.add(0, 1_250, false);
        feed(&mut rate, 1, 1_000, 1_250);
        assert!(near(&rate, 1_000.0), "{rate:?}");
    }
}
