//! Phase 2: is the queue growing? The slope of the accumulated delay over arrival time, held against a threshold that
//! adapts to the delay variation which cross traffic makes (draft-ietf-rmcat-gcc-02 sections 5.3 and 5.4; the filter is
//! libwebrtc's least-squares line instead of the draft's Kalman filter).

use super::groups::Delta;

/// Groups that a line is laid through.
const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
/// Scales the slope to the threshold's unit, with the number of groups so far, up to [`MAX_GROUPS`].
const GAIN: f64 = 4.0;
const MAX_GROUPS: u64 = 60;
/// Overuse must last this long.
const OVERUSE_MS: f64 = 10.0;
const THRESHOLD_START: f64 = 12.5;
const THRESHOLD_MIN: f64 = 6.0;
const THRESHOLD_MAX: f64 = 600.0;
/// The threshold follows from above slowly and from below faster: both per millisecond.
const GAIN_UP: f64 = 0.0087;
const GAIN_DOWN: f64 = 0.039;
/// A spike that far above the threshold does not move it.
const MAX_ADAPT_OFFSET: f64 = 15.0;
const MAX_ADAPT_MS: f64 = 100.0;

/// What the delay says of the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Usage {
    /// Queues are emptying.
    Under,
    /// Neither.
    #[default]
    Normal,
    /// Queues are growing.
    Over,
}

/// Trend of the one-way delay.
#[derive(Clone, Debug)]
pub(super) struct Trend {
    /// Arrival in ms and smoothed delay in ms; a ring.
    points: [(f64, f64); WINDOW],
    groups: u64,
    first_arrival_us: i64,
    accumulated_ms: f64,
    smoothed_ms: f64,
    slope: f64,
    threshold: f64,
    adapted_at_us: Option<i64>,
    over_ms: Option<f64>,
    over_count: u32,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            points: [(0.0, 0.0); WINDOW],
            groups: 0,
            first_arrival_us: 0,
            accumulated_ms: 0.0,
            smoothed_ms: 0.0,
            slope: 0.0,
            threshold: THRESHOLD_START,
            adapted_at_us: None,
            over_ms: None,
            over_count: 0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    pub(super) fn add(&mut self, delta: &Delta) {
        if self.groups == 0 {
            self.first_arrival_us = delta.arrived_at_us;
        }
        self.accumulated_ms += (delta.arrival_us - delta.sent_us) as f64 / 1_000.0;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.accumulated_ms;
        let at_ms = (delta.arrived_at_us - self.first_arrival_us) as f64 / 1_000.0;
        self.points[self.groups as usize % WINDOW] = (at_ms, self.smoothed_ms);
        self.groups += 1;
        let before = self.slope;
        if self.groups as usize >= WINDOW {
            self.slope = slope(&self.points).unwrap_or(self.slope);
        }
        self.detect(before, delta);
    }

    fn detect(&mut self, slope_before: f64, delta: &Delta) {
        let scaled = self.groups.min(MAX_GROUPS) as f64 * self.slope * GAIN;
        if scaled > self.threshold {
            let sent_ms = delta.sent_us as f64 / 1_000.0;
            let over_ms = self.over_ms.map_or(sent_ms / 2.0, |ms| ms + sent_ms);
            self.over_ms = Some(over_ms);
            self.over_count += 1;
            if over_ms > OVERUSE_MS && self.over_count > 1 && self.slope >= slope_before {
                self.over_ms = Some(0.0);
                self.over_count = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_ms = None;
            self.over_count = 0;
            self.usage = if scaled < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.adapt(scaled.abs(), delta.arrived_at_us);
    }

    fn adapt(&mut self, scaled: f64, at_us: i64) {
        let last = self.adapted_at_us.replace(at_us).unwrap_or(at_us);
        if scaled > self.threshold + MAX_ADAPT_OFFSET {
            return;
        }
        let gain = if scaled < self.threshold { GAIN_DOWN } else { GAIN_UP };
        let elapsed_ms = ((at_us - last) as f64 / 1_000.0).clamp(0.0, MAX_ADAPT_MS);
        self.threshold += gain * (scaled - self.threshold) * elapsed_ms;
        self.threshold = self.threshold.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
    }
}

/// Slope of the line with the least squares; `None` when all points are at one time.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        above += (x - mean_x) * (y - mean_y);
        below += (x - mean_x) * (x - mean_x);
    }
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups every 20 ms whose delay grows by `growth_us` each.
    fn feed(trend: &mut Trend, from: i64, count: i64, growth_us: impl Fn(i64) -> i64) -> Vec<Usage> {
        let mut at = from;
        let mut usages = Vec::new();
        for i in 0..count {
            let arrival_us = 20_000 + growth_us(i);
            at += arrival_us;
            trend.add(&Delta { sent_us: 20_000, arrival_us, arrived_at_us: at });
            usages.push(trend.usage());
        }
        usages
    }

    #[test]
    fn a_growing_queue_is_overuse_and_an_emptying_one_underuse() {
        let mut trend = Trend::default();
        assert_eq!(feed(&mut trend, 0, 50, |_| 0), [Usage::Normal; 50]);
        let over = feed(&mut trend, 1_000_000, 30, |_| 5_000);
        let detected = over.iter().position(|usage| *usage == Usage::Over);
        assert!(detected.is_some_and(|groups| groups <= 10), "{over:?}");
        let under = feed(&mut trend, 2_000_000, 60, |i| if i < 30 { -5_000 } else { 0 });
        assert!(under.contains(&Usage::Under));
        assert_eq!(under[59], Usage::Normal);
    }

    #[test]
    fn delay_that_varies_without_growing_is_not_overuse() {
        let mut trend = Trend::default();
        let usages = feed(&mut trend, 0, 1_000, |i| if i % 2 == 0 { 8_000 } else { -8_000 });
        let over = usages.iter().filter(|usage| **usage == Usage::Over).count();
        assert!(over <= 2, "{over}");
    }

    #[test]
    fn the_threshold_rises_beside_a_flow_that_fills_the_queue_and_falls_when_it_is_gone() {
        let mut trend = Trend::default();
        // A saw of 2 s: half of the time the queue grows as a TCP flow makes it.
        feed(&mut trend, 0, 3_000, |i| if i % 100 < 50 { 1_000 } else { -1_000 });
        let beside = trend.threshold;
        feed(&mut trend, 60_000_000, 500, |_| 0);
        assert!(beside > 10.0 && trend.threshold < 7.0, "{beside} {}", trend.threshold);
    }
}
