//! Phase 4: does the loss grow with our rate? Loss that does not is the path's own (radio, policing of others) and no
//! reason to send less; loss that does is a bottleneck without a queue, which the delay cannot show.
//!
//! Two explanations of the last five seconds are compared by their likelihood, in the manner of libwebrtc's second
//! loss-based estimator:
//!
//! ```text
//!  no limit:   every packet is lost with probability p
//!  limit B:    with probability p, and of what is sent above B all the rest
//! ```

/// Observations that are looked at, each of this length at least, and of this many packets.
const WINDOW: usize = 20;
const LENGTH_US: i64 = 250_000;
const MIN_PACKETS: f64 = 8.0;
/// Nothing to explain below this share.
const LITTLE: f64 = 0.02;
/// The older an observation, the less it counts.
const AGEING: f64 = 0.95;
/// By how much (natural logarithm of the odds) a limit must explain better.
const MARGIN: f64 = 3.0;
/// More random loss than this is doubted, the more packets the more: until lower rates show the same loss.
const PLAUSIBLE: f64 = 0.10;
const DOUBT: f64 = 0.6;
/// Observations are looked at for so long.
const KEEP_US: i64 = 5_000_000;
/// Growth per second of a limit that no longer explains anything, and for how long it is kept then.
const GROWTH: f64 = 1.2;
const FORGET_US: i64 = 2_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Observation {
    /// Sent, in bit/s.
    rate: f64,
    packets: f64,
    lost: f64,
    end_us: i64,
}

/// Loss-based control.
#[derive(Clone, Debug, Default)]
pub(super) struct LossControl {
    observations: [Observation; WINDOW],
    count: usize,
    start_us: Option<i64>,
    end_us: i64,
    bytes: u64,
    packets: f64,
    lost: f64,
    limit: Option<f64>,
    limited_us: i64,
}

impl LossControl {
    /// The fate of a packet, sent at this time.
    pub(super) fn add(&mut self, sent_us: i64, size: u32, lost: bool, was_lost: bool) {
        if was_lost {
            self.lost = (self.lost - 1.0).max(0.0);
            return;
        }
        self.start_us.get_or_insert(sent_us);
        self.end_us = self.end_us.max(sent_us);
        self.bytes += u64::from(size);
        self.packets += 1.0;
        self.lost += f64::from(u8::from(lost));
    }

    /// The rate above which loss begins, if there is one; `current` is the rate that is sent at now, in bit/s.
    pub(super) fn update(&mut self, current: f64) -> Option<f64> {
        let Some(start) = self.start_us else { return self.limit };
        let length_us = self.end_us - start;
        if length_us < LENGTH_US || self.packets < MIN_PACKETS {
            return self.limit;
        }
        let rate = self.bytes as f64 * 8_000_000.0 / length_us as f64;
        self.observations[self.count % WINDOW] =
            Observation { rate, packets: self.packets, lost: self.lost, end_us: self.end_us };
        self.count += 1;
        (self.start_us, self.bytes, self.packets, self.lost) = (None, 0, 0.0, 0.0);
        self.decide(current, length_us.min(KEEP_US) as f64 / 1_000_000.0);
        self.limit
    }

    fn decide(&mut self, current: f64, seconds: f64) {
        let grown = self.limit.map(|limit| limit * GROWTH.powf(seconds));
        let mean = self.mean_loss();
        let found = (mean >= LITTLE).then(|| self.find_limit(mean)).flatten();
        match (found, grown) {
            (Some(found), _) => {
                // More is not allowed than was, but what else keeps the rate lower for now is no limit of the path.
                self.limit = Some(self.limit.map_or(found, |limit| found.min(limit.max(current))));
                self.limited_us = self.end_us;
            }
            (None, Some(grown)) if self.end_us - self.limited_us < FORGET_US => self.limit = Some(grown),
            (None, _) => self.limit = None,
        }
    }

    fn weighted(&self) -> impl Iterator<Item = (f64, &Observation)> {
        let known = self.count.min(WINDOW);
        let newest = (0..known)
            .map(|age| (AGEING.powi(age as i32), &self.observations[(self.count - 1 - age) % WINDOW]));
        newest.take_while(|(_, o)| self.end_us - o.end_us < KEEP_US)
    }

    fn mean_loss(&self) -> f64 {
        share(self.weighted())
    }

    /// The limit that explains the loss better than chance does.
    fn find_limit(&self, mean: f64) -> Option<f64> {
        let chance = self.likelihood(f64::INFINITY, mean);
        // What got through when more than usual was lost is what a bottleneck carries.
        let lossy = self.weighted().filter(|(_, o)| o.lost >= mean * o.packets && o.packets > 0.0);
        let (mut weight, mut carried) = (0.0, 0.0);
        for (w, o) in lossy {
            weight += w * o.packets;
            carried += w * o.packets * o.rate * (1.0 - o.lost / o.packets);
        }
        let limit = (weight > 0.0).then(|| carried / weight)?;
        let below = share(self.weighted().filter(|(_, o)| o.rate <= limit));
        let explained = self.likelihood(limit, below.min(mean));
        (explained > chance + MARGIN).then_some(limit)
    }

    /// Logarithm of the probability of what was observed.
    fn likelihood(&self, limit: f64, inherent: f64) -> f64 {
        let mut sum = 0.0;
        for (weight, o) in self.weighted() {
            let excess = if o.rate > limit { (o.rate - limit) / o.rate } else { 0.0 };
            let p = (inherent + (1.0 - inherent) * excess).clamp(0.001, 0.999);
            sum += weight * (o.lost * p.ln() + (o.packets - o.lost) * (1.0 - p).ln());
            sum -= weight * o.packets * DOUBT * (inherent - PLAUSIBLE).max(0.0);
        }
        sum
    }
}

fn share<'a>(observations: impl Iterator<Item = (f64, &'a Observation)>) -> f64 {
    let (lost, packets) = observations.fold((0.0, 0.0), |(lost, packets), (weight, o)| {
        (lost + weight * o.lost, packets + weight * o.packets)
    });
    if packets > 0.0 { lost / packets } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as f64 / (1u64 << 31) as f64
        }
    }

    /// A sender that obeys the limit and otherwise grows by 8 % a second to `most`. Returns the mean rate and loss of
    /// the second half.
    fn run(seconds: i64, most: f64, seed: u64, loss_at: impl Fn(f64) -> f64) -> (f64, f64) {
        let (mut random, mut control) = (Random(seed), LossControl::default());
        let (mut rate, mut at_us) = (most / 2.0, 0.0);
        let (mut bits, mut packets, mut lost) = (0.0, 0.0, 0.0);
        let end = seconds as f64 * 1_000_000.0;
        while at_us < end {
            let step = 1_000.0 * 8.0 * 1_000_000.0 / rate;
            at_us += step;
            let is_lost = random.unit() < loss_at(rate);
            control.add(at_us as i64, 1_000, is_lost, false);
            rate = (rate * 1.08f64.powf(step / 1_000_000.0)).min(most);
            rate = control.update(rate).map_or(rate, |limit| rate.min(limit));
            if at_us > end / 2.0 {
                bits += 8_000.0;
                packets += 1.0;
                lost += f64::from(u8::from(is_lost));
            }
        }
        (bits / (end / 2.0) * 1_000_000.0, lost / packets)
    }

    #[test]
    fn random_loss_of_5_to_10_percent_costs_little() {
        for (loss, least) in [(0.02, 0.95), (0.05, 0.93), (0.10, 0.8)] {
            for seed in 1..6 {
                let (rate, _) = run(60, 1_000_000.0, seed, |_| loss);
                assert!(rate > least * 1_000_000.0, "{rate} at {loss}");
            }
        }
    }

    #[test]
    fn a_bottleneck_without_a_queue_is_found_by_its_loss() {
        for seed in 1..6 {
            let policer = |rate: f64| ((rate - 1_000_000.0) / rate).max(0.0);
            let (rate, lost) = run(60, 5_000_000.0, seed, policer);
            assert!((850_000.0..1_120_000.0).contains(&rate), "{rate}");
            assert!(lost < 0.08, "{lost}");
        }
    }

    #[test]
    fn when_most_is_lost_the_rate_falls() {
        let (rate, _) = run(30, 2_000_000.0, 1, |rate| if rate > 200_000.0 { 0.9 } else { 0.0 });
        assert!(rate < 400_000.0, "{rate}");
    }
}
