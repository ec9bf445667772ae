//! The congestion window of Cubic (RFC 9438), in segments.

use std::time::{Duration, Instant};

/// RFC 9438 section 4.1: in segments per second cubed.
const C: f64 = 0.4;
/// RFC 9438 section 4.6.
const BETA: f64 = 0.7;
/// RFC 9438 section 4.3: makes the Reno-friendly window grow as Reno would with its halving.
const RENO_GROWTH: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// RFC 6928.
const INITIAL: f64 = 10.0;
/// RFC 9438 section 4.6.
const LEAST: f64 = 2.0;

pub struct Cubic {
    window: f64,
    threshold: f64,
    /// Where the last loss happened.
    peak: f64,
    epoch: Option<Epoch>,
}

/// A stretch of congestion avoidance.
struct Epoch {
    start: Instant,
    /// The plateau of the curve, and the seconds until it.
    plateau: f64,
    until: f64,
    /// What Reno's window would be.
    reno: f64,
    /// The window before the loss.
    prior: f64,
}

impl Default for Cubic {
    fn default() -> Self {
        Self { window: INITIAL, threshold: f64::INFINITY, peak: 0.0, epoch: None }
    }
}

impl Cubic {
    pub fn window(&self) -> f64 {
        self.window
    }

    /// Where recovery goes to.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// So many segments were acknowledged while the window was full.
    pub fn acknowledged(&mut self, now: Instant, segments: u64, round_trip: Duration) {
        let segments = segments as f64;
        if self.window < self.threshold {
            self.window = (self.window + segments).min(self.threshold.max(self.window));
            return;
        }
        let (window, peak) = (self.window, self.peak);
        let epoch = self.epoch.get_or_insert_with(|| Epoch::new(now, window, peak));
        self.window = epoch.grow(now, segments, window, round_trip);
    }

    /// A segment was lost, for the first time in a round trip.
    pub fn lost(&mut self) {
        // Fast convergence (section 4.7): a flow that lost below its last peak leaves room for others.
        self.peak = if self.window < self.peak { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.threshold = (self.window * BETA).max(LEAST);
        self.window = self.threshold;
        self.epoch = None;
    }

    /// Nothing came back (section 4.8).
    pub fn timed_out(&mut self) {
        self.lost();
        self.window = 1.0;
    }

    /// Nothing was sent for longer than the timeout (RFC 5681 section 4.1).
    pub fn restart(&mut self) {
        self.window = self.window.min(INITIAL);
        self.epoch = None;
    }
}

impl Epoch {
    fn new(start: Instant, window: f64, peak: f64) -> Self {
        let plateau = peak.max(window);
        Self { start, plateau, until: ((plateau - window) / C).cbrt(), reno: window, prior: plateau }
    }

    /// The window after `segments` more were acknowledged (sections 4.2 to 4.5).
    fn grow(&mut self, now: Instant, segments: f64, window: f64, round_trip: Duration) -> f64 {
        let time = now.saturating_duration_since(self.start).as_secs_f64();
        let growth = if self.reno < self.prior { RENO_GROWTH } else { 1.0 };
        self.reno += growth * segments / window;
        if self.curve(time) < self.reno {
            return window.max(self.reno);
        }
        let target = self.curve(time + round_trip.as_secs_f64()).clamp(window, 1.5 * window);
        window + segments * (target - window) / window
    }

    fn curve(&self, time: f64) -> f64 {
        C * (time - self.until).powi(3) + self.plateau
    }
}
