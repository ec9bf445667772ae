//! What the bottleneck carried when it was full: a smoothed rate with its spread.

/// Weight of a new sample, by where it comes from.
const WEIGHT_OVERUSE: f64 = 0.05;
const WEIGHT_PROBE: f64 = 0.5;
/// The spread is relative to the rate's root, as that of counted things is; in sqrt(kbit/s).
const SPREAD_MIN: f64 = 0.4;
const SPREAD_MAX: f64 = 2.5;
/// Rates within so many standard deviations are the same bottleneck.
const DEVIATIONS: f64 = 3.0;

/// Estimate of the link's capacity.
#[derive(Clone, Debug, Default)]
pub(super) struct Capacity {
    kbps: Option<f64>,
    spread: f64,
}

impl Capacity {
    /// The link was full while this arrived.
    pub(super) fn overused(&mut self, bps: f64) {
        self.add(bps, WEIGHT_OVERUSE);
    }

    /// A probe found this.
    pub(super) fn probed(&mut self, bps: f64) {
        self.add(bps, WEIGHT_PROBE);
    }

    fn add(&mut self, bps: f64, weight: f64) {
        let sample = bps / 1_000.0;
        let Some(before) = self.kbps else {
            self.kbps = Some(sample);
            self.spread = SPREAD_MIN;
            return;
        };
        let after = before + weight * (sample - before);
        let error = after - sample;
        let spread = (1.0 - weight) * self.spread + weight * error * error / after.max(1.0);
        self.kbps = Some(after);
        self.spread = spread.clamp(SPREAD_MIN, SPREAD_MAX);
    }

    pub(super) fn reset(&mut self) {
        self.kbps = None;
    }

    /// In bit/s.
    pub(super) fn bps(&self) -> Option<f64> {
        self.kbps.map(|kbps| kbps * 1_000.0)
    }

    /// Below and above this it is another link, in bit/s.
    pub(super) fn bounds(&self) -> Option<(f64, f64)> {
        let kbps = self.kbps?;
        let deviation = DEVIATIONS * (self.spread * kbps).sqrt();
        Some(((kbps - deviation).max(0.0) * 1_000.0, (kbps + deviation) * 1_000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_narrow_while_the_samples_agree() {
        let mut capacity = Capacity::default();
        assert_eq!(capacity.bounds(), None);
        for i in 0..200 {
            capacity.overused(1_000_000.0 + f64::from(i % 2) * 40_000.0);
        }
        let (low, high) = capacity.bounds().unwrap();
        assert!(low > 930_000.0 && high < 1_110_000.0, "{low} {high}");
        assert!(capacity.bps().is_some_and(|bps| (bps - 1_020_000.0).abs() < 5_000.0));
    }
}
