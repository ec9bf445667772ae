//! Phase 3b: beside somebody who keeps the queue full, as TCP does, whoever obeys the delay is pushed off the link. There
//! our rate follows the law of that somebody: Cubic (RFC 9438) as a rate.
//!
//! ```text
//!  rate │            ╭──╮ lost             after a loss: 0.7 of what arrived, and no more until the queue no longer falls.
//!       │        ╭───╯  │        ╭───      A queue that was ours alone is empty then, and the mode is over; one that
//!       │      ╭─╯      │      ╭─╯         TCP fills stands, and the rate grows again.
//!       │     ╭╯        ╰──────╯
//!       └──────────────────────────▶ time
//! ```

/// The mode begins when the queue was never shorter than this for seconds, and was longer by [`MOVING_US`] on average, and
/// ends when it was shorter than half of it.
const STANDING_US: i64 = 80_000;
/// A longer route has delay that stands still; a queue that TCP fills moves.
const MOVING_US: f64 = 25_000.0;
/// After so long without feedback it is another day.
const STALE_US: i64 = 3_000_000;
/// Time constant of that average.
const AVERAGE_US: f64 = 3_000_000.0;
/// RFC 9438 section 5: segments per second cubed, what a loss leaves, and the segment.
const CUBIC: f64 = 0.4;
const BETA: f64 = 0.7;
const SEGMENT_BITS: f64 = 1_460.0 * 8.0;
/// The queue grows again when it is so much longer than it was at its shortest since our cut, smoothed with this time
/// constant. Should it neither fall nor grow for so long (or two round trips), nobody fills it: the route is longer.
const GROWN_US: f64 = 8_000.0;
const GROWN_SEGMENTS: f64 = 0.25;
const SMOOTHING_US: f64 = 150_000.0;
const STILL_US: i64 = 2_000_000;

/// What is known when a feedback has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    pub(super) now_us: i64,
    pub(super) rtt_us: i64,
    /// Queue over the least of the last seconds, and that over the least that is known.
    pub(super) queue_us: i64,
    pub(super) standing_us: i64,
    /// When the newest packet was sent that is now known to be lost.
    pub(super) lost_us: Option<i64>,
    /// In bit/s: now, and the most lately.
    pub(super) acked: f64,
    pub(super) carried: f64,
}

impl Signs {
    fn over_least_us(&self) -> f64 {
        self.queue_us as f64 + self.standing_us as f64
    }
}

/// The state while competing.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    /// When it began to grow, and the rates before the loss and after it.
    start_us: i64,
    most: f64,
    least: f64,
    /// Its round trip.
    rtt_us: f64,
    /// Packets sent earlier belong to the last loss.
    cut_us: i64,
    draining: Option<Drain>,
}

/// We sent less than our share, to see who fills the queue.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// Queue over the least that is known, smoothed; its least, and when that was.
    queue_us: f64,
    least_us: f64,
    since_us: i64,
    updated_us: i64,
}

/// What the mode says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Verdict {
    /// Nobody fills the queue.
    Alone,
    /// Nobody does, and what seemed to be queue is the way's own delay.
    LongerRoute,
    /// Somebody does; this rate, in bit/s, holds against that.
    Rate(f64),
}

/// Are there others who fill the queue, and what rate holds against them?
#[derive(Clone, Debug, Default)]
pub(super) struct Compete {
    average_us: f64,
    updated_us: i64,
    epoch: Option<Epoch>,
}

impl Compete {
    pub(super) fn is_active(&self) -> bool {
        self.epoch.is_some()
    }

    /// `rate` is the present one.
    pub(super) fn update(&mut self, signs: &Signs, rate: f64) -> Verdict {
        let elapsed_us = (signs.now_us - self.updated_us).max(0);
        if elapsed_us > STALE_US {
            *self = Self::default();
        }
        let elapsed_us = elapsed_us.min(1_000_000) as f64;
        self.updated_us = signs.now_us;
        self.average_us += (signs.queue_us as f64 - self.average_us) * (elapsed_us / AVERAGE_US);
        let least = if self.is_active() { STANDING_US / 2 } else { STANDING_US };
        let begins = self.is_active() || self.average_us >= MOVING_US;
        if signs.standing_us < least {
            *self = Self { updated_us: self.updated_us, ..Self::default() };
            return Verdict::Alone;
        }
        if !begins {
            return Verdict::Alone;
        }
        let epoch = self.epoch.get_or_insert_with(|| Epoch::begin(signs, rate));
        let verdict = epoch.update(signs, rate);
        if verdict == Verdict::LongerRoute {
            self.epoch = None;
        }
        verdict
    }
}

impl Epoch {
    fn begin(signs: &Signs, rate: f64) -> Self {
        let now_us = signs.now_us;
        let rtt_us = signs.rtt_us as f64;
        // Who gave way while the queue was being filled gets back there first.
        let most = rate.max(signs.carried);
        Self { start_us: now_us, most, least: rate, rtt_us, cut_us: now_us, draining: None }
    }

    fn update(&mut self, signs: &Signs, rate: f64) -> Verdict {
        if signs.lost_us.is_some_and(|sent| sent > self.cut_us) {
            self.cut(signs, rate);
        } else if let Some(drain) = &mut self.draining {
            drain.add(signs);
            if drain.is_still(signs) {
                return Verdict::LongerRoute;
            }
            if drain.has_grown(self.least) {
                self.draining = None;
                self.start_us = signs.now_us;
            }
        } else {
            return Verdict::Rate(self.grown(signs.now_us).max(rate));
        }
        Verdict::Rate(self.least)
    }

    fn cut(&mut self, signs: &Signs, rate: f64) {
        self.most = rate.max(signs.acked);
        // What arrives lags behind what is sent by a round trip.
        self.least = BETA * (signs.acked.min(rate) + rate) / 2.0;
        self.rtt_us = signs.rtt_us as f64;
        self.cut_us = signs.now_us + signs.rtt_us;
        self.draining = Some(Drain::begin(signs));
    }

    /// Cubic, and at least what Reno would do (RFC 9438 sections 4.2 and 4.3).
    fn grown(&self, now_us: i64) -> f64 {
        let segments = |bps: f64| bps * self.rtt_us / 1e6 / SEGMENT_BITS;
        let seconds = (now_us - self.start_us) as f64 / 1e6;
        let (most, least) = (segments(self.most), segments(self.least));
        let inflection = ((most - least) / CUBIC).cbrt();
        let cubic = CUBIC * (seconds - inflection).powi(3) + most;
        let reno = least + 3.0 * (1.0 - BETA) / (1.0 + BETA) * seconds * 1e6 / self.rtt_us;
        cubic.max(reno) * SEGMENT_BITS / (self.rtt_us / 1e6)
    }
}

impl Drain {
    /// What the cut does is seen a round trip later.
    fn begin(signs: &Signs) -> Self {
        let queue_us = signs.over_least_us();
        Self { queue_us, least_us: queue_us, since_us: signs.now_us + signs.rtt_us, updated_us: signs.now_us }
    }

    fn add(&mut self, signs: &Signs) {
        let elapsed_us = (signs.now_us - self.updated_us) as f64;
        self.updated_us = signs.now_us;
        let weight = (elapsed_us / SMOOTHING_US).min(1.0);
        self.queue_us += (signs.over_least_us() - self.queue_us) * weight;
        if self.queue_us < self.least_us || signs.now_us < self.since_us {
            self.least_us = self.queue_us;
            self.since_us = self.since_us.max(signs.now_us);
        }
    }

    /// `rate`: at which we send. The slower, the coarser is what we see.
    fn has_grown(&self, rate: f64) -> bool {
        let coarse_us = GROWN_SEGMENTS * SEGMENT_BITS * 1e6 / rate.max(1.0);
        self.queue_us > self.least_us + GROWN_US + coarse_us
    }

    fn is_still(&self, signs: &Signs) -> bool {
        signs.now_us - self.since_us > STILL_US.max(2 * signs.rtt_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEEDBACK_US: i64 = 50_000;

    /// A link of 2 Mbit/s with a queue of 300 ms, and the window of a TCP flow on it, as the time that the link needs for it.
    struct Link {
        now_us: i64,
        queue_us: f64,
        window_us: f64,
        compete: Compete,
        rate: f64,
    }

    impl Link {
        fn new(queue_us: f64, window_us: f64) -> Self {
            Self { now_us: 0, queue_us, window_us, compete: Compete::default(), rate: 300_000.0 }
        }

        /// The next feedback; `base_us` is added to the delay.
        fn step(&mut self, base_us: f64) -> Verdict {
            self.now_us += FEEDBACK_US;
            let others = self.window_us / (100_000.0 + self.queue_us);
            let filled = self.rate / 2e6 + others - 1.0;
            let queue_us = self.queue_us + filled * FEEDBACK_US as f64;
            self.queue_us = queue_us.clamp(0.0, 300_000.0);
            let full = queue_us > 300_000.0;
            self.window_us *= if full { BETA } else { 1.0 };
            self.window_us += if self.window_us > 0.0 { 1_000.0 } else { 0.0 };
            let signs = Signs {
                now_us: self.now_us,
                rtt_us: 100_000 + self.queue_us as i64,
                queue_us: 30_000,
                standing_us: (self.queue_us + base_us) as i64 - 30_000,
                lost_us: full.then_some(self.now_us - 50_000),
                acked: self.rate,
                carried: self.rate,
            };
            let verdict = self.compete.update(&signs, self.rate);
            if let Verdict::Rate(rate) = verdict {
                self.rate = rate;
            }
            verdict
        }
    }

    #[test]
    fn beside_others_who_fill_the_queue_the_rate_holds_its_own() {
        let mut link = Link::new(250_000.0, 300_000.0);
        let rates: Vec<f64> = (0..1_200)
            .map(|_| {
                link.step(0.0);
                link.rate
            })
            .collect();
        assert!(link.compete.is_active());
        let mean = rates[400..].iter().sum::<f64>() / 800.0;
        assert!((300_000.0..1_500_000.0).contains(&mean), "{mean}");
    }

    #[test]
    fn when_the_others_have_left_the_mode_ends_with_the_queue_empty() {
        let mut link = Link::new(250_000.0, 300_000.0);
        (0..400).for_each(|_| _ = link.step(0.0));
        link.window_us = 0.0;
        let ended = (0..600).position(|_| link.step(0.0) == Verdict::Alone);
        assert!(ended.is_some() && link.queue_us < 50_000.0, "{ended:?} {}", link.queue_us);
    }

    #[test]
    fn delay_that_stands_still_when_less_is_sent_is_a_longer_route() {
        let mut link = Link::new(250_000.0, 0.0);
        let ended =
            (0..2_000).find_map(|_| Some(link.step(150_000.0)).filter(|v| !matches!(v, Verdict::Rate(_))));
        assert_eq!(ended, Some(Verdict::Alone), "no evidence yet");
        let ended = (0..2_000).any(|_| link.step(150_000.0) == Verdict::LongerRoute);
        assert!(ended && !link.compete.is_active());
    }

    #[test]
    fn without_anything_in_the_queue_but_jitter_it_never_begins() {
        let mut compete = Compete::default();
        for step in 0..1_000 {
            let signs = Signs {
                now_us: step * FEEDBACK_US,
                rtt_us: 100_000,
                queue_us: step % 5 * 8_000,
                standing_us: 200_000,
                lost_us: None,
                acked: 1e6,
                carried: 1e6,
            };
            assert_eq!(compete.update(&signs, 1e6), Verdict::Alone);
        }
    }
}
