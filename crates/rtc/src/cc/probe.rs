//! Phase 5: when to ask the path for more than is sent, and how fast. A probe is a short burst of padding (and whatever
//! media leaves meanwhile) at a chosen rate; what it finds is measured in `cluster`.

use std::collections::VecDeque;

use super::cluster::ProbeResult;

/// Length of a probe: long enough that a tick of the receiver's clock, and the 30 ms of jitter of RFC 8867, do not decide
/// its result (with 20 ms, the way from 300 kbit/s to 2 Mbit/s took 3 s under jitter, with this it takes 1.3 s); short
/// enough that a full link gets no more queue than this.
const LENGTH_US: i64 = 32_000;
/// One that is to find out whether there is more beside other senders lasts longer than a frame of theirs, lest it fit
/// into a gap between two.
const CAREFUL_LENGTH_US: i64 = 40_000;
const MIN_BYTES: f64 = 1_400.0;
const MAX_BYTES: f64 = 60_000.0;
const MIN_PACKETS: u32 = 5;
/// It leaves in bursts of this length.
const STEP_US: i64 = 2_000;
/// Rates of the first two, and of later ones, as multiples of the estimate.
const FIRST: [f64; 2] = [3.0, 6.0];
const FURTHER: f64 = 2.0;
const CAREFUL: f64 = 1.35;
/// Slower probes would take too long.
const MIN_BPS: f64 = 150_000.0;
/// No more is asked for than this multiple of what is wanted.
const ABOVE_WANTED: f64 = 1.2;
/// A probe that found this share of its rate is followed by a faster one at once.
const WORTH_MORE: f64 = 0.7;
/// Time between probes while more is wanted; it doubles as long as they find nothing.
const INTERVAL_US: i64 = 1_000_000;
const MAX_INTERVAL_US: i64 = 4_000_000;
/// A sender that has found the capacity runs into it every few seconds. Only when it has not for so long is there reason
/// to ask for more: the probes of many such senders would disturb each other.
const AFTER_DECREASE_US: i64 = 4_000_000;
/// Senders on one link are met by its limit at one time. Each waits for its own part of this before it asks, lest all
/// ask together and each take all that is free.
const SPREAD_US: i64 = 4_000_000;
/// But once after a large decrease, when the queue is empty again.
const AFTER_DROP_US: i64 = 1_500_000;
/// A result that is that much above the estimate before makes the next probe soon.
const WORTH_REPEATING: f64 = 1.1;
/// A probe that has not left by then is given up.
const MAX_SENDING_US: i64 = 300_000;
/// And one whose feedback has not come then, a round trip apart, is evaluated as it is.
const MAX_AWAITED_US: i64 = 500_000;
/// Probes sent and not measured yet.
const MAX_AWAITED: usize = 3;
/// Numbers that tags have room for.
pub(super) const CLUSTER_MASK: u8 = 0x3F;

/// What the planner must know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub(super) now_us: i64,
    /// In bit/s.
    pub(super) estimate: f64,
    pub(super) max: f64,
    /// From when on nothing speaks against more, if no feedback comes until then.
    pub(super) calm_from_us: i64,
    /// When the rate last fell, and the rate before if that was by much and it has not been asked for since.
    pub(super) decreased_us: Option<i64>,
    pub(super) dropped: Option<f64>,
    /// It has grown beyond what the path carried when it was full.
    pub(super) beyond: bool,
    pub(super) rtt_us: i64,
    /// The sender uses what it may and has met the limit of the path before: only a change of the path, or of other
    /// senders on it, can give it more.
    pub(super) saturating: bool,
}

impl Situation {
    fn is_calm(&self) -> bool {
        self.now_us >= self.calm_from_us
    }
}

/// A probe that waits to begin.
#[derive(Clone, Copy, Debug)]
struct Plan {
    bps: f64,
    length_us: i64,
    careful: bool,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    number: u8,
    bps: f64,
    planned_us: i64,
    started_us: Option<i64>,
    bytes: f64,
    packets: u32,
    min_bytes: f64,
    careful: bool,
}

/// A probe that has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) number: u8,
    pub(super) bps: f64,
    pub(super) until_us: i64,
    /// Others may be asking, too.
    pub(super) careful: bool,
}

/// What became of the probe by a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// It goes on.
    More(u8),
    /// That was its last packet.
    Last(u8),
}

/// Decides on probes.
#[derive(Clone, Debug)]
pub(super) struct Planner {
    wanted: f64,
    planned: VecDeque<Plan>,
    active: Option<Active>,
    awaited: VecDeque<Awaited>,
    next_us: i64,
    interval_us: i64,
    number: u8,
    begun: bool,
    /// When [`Self::tick`] was called last.
    ticked_us: i64,
}

impl Planner {
    pub(super) fn new() -> Self {
        Self {
            wanted: 0.0,
            planned: VecDeque::new(),
            active: None,
            awaited: VecDeque::new(),
            next_us: 0,
            interval_us: INTERVAL_US,
            number: 0,
            begun: false,
            ticked_us: 0,
        }
    }

    /// What the application would send if it could; probing stops at it.
    pub(super) fn set_wanted(&mut self, wanted: f64, s: &Situation) {
        let more = wanted > self.wanted * 1.2;
        self.wanted = wanted;
        if more {
            self.interval_us = INTERVAL_US;
            self.next_us = self.next_us.min(s.now_us + INTERVAL_US / 10);
        }
        if !self.begun && self.wants_more(s) {
            self.begun = true;
            self.next_us = s.now_us + INTERVAL_US;
            for factor in FIRST {
                self.plan(s.estimate * factor, s);
            }
        }
    }

    fn wants_more(&self, s: &Situation) -> bool {
        self.wanted.min(s.max) > s.estimate * 1.02
    }

    /// More than this has no use; `None`: nothing was said.
    pub(super) fn useful(&self) -> Option<f64> {
        (self.wanted > 0.0).then_some(self.wanted * ABOVE_WANTED)
    }

    fn plan(&mut self, bps: f64, s: &Situation) {
        let bps = bps.max(MIN_BPS).min(self.wanted * ABOVE_WANTED).min(s.max);
        let repeated = self.planned.back().is_some_and(|last| bps < last.bps * 1.1);
        if self.planned.len() < FIRST.len() && !repeated {
            let length_us = if s.saturating { CAREFUL_LENGTH_US } else { LENGTH_US };
            let careful = s.saturating && s.dropped.is_none();
            self.planned.push_back(Plan { bps, length_us, careful });
        }
    }

    fn plan_further(&mut self, s: &Situation) {
        let factor = if s.saturating { CAREFUL } else { FURTHER };
        let again = s.dropped.map_or(0.0, |rate| rate * 0.85);
        self.plan((s.estimate * factor).max(again), s);
    }

    /// Time passes: gives up what takes too long, plans what is due. Returns a number that a new probe has.
    pub(super) fn tick(&mut self, s: &Situation) -> Option<u8> {
        self.ticked_us = s.now_us;
        if self.active.is_some_and(|active| s.now_us - active.begin_us() > MAX_SENDING_US) {
            self.active = None;
            self.fruitless(s);
        }
        if !s.is_calm() {
            // What was planned for another situation.
            self.planned.clear();
        } else if self.is_quiet() && self.wants_more(s) && s.now_us >= self.due_us(s) {
            self.plan_further(s);
            self.next_us = s.now_us + self.interval_us;
        }
        self.begin(s)
    }

    /// When the next periodic probe is due.
    fn due_us(&self, s: &Situation) -> i64 {
        let soon = s.dropped.is_some() || s.beyond;
        let after = |at| if soon { AFTER_DROP_US } else { AFTER_DECREASE_US + spread_us(at) };
        let settled = s.decreased_us.map_or(0, |at| at + after(at));
        if s.dropped.is_some() { settled } else { settled.max(self.next_us) }
    }

    fn is_quiet(&self) -> bool {
        self.planned.is_empty() && self.active.is_none() && self.awaited.is_empty()
    }

    fn begin(&mut self, s: &Situation) -> Option<u8> {
        if self.active.is_some() || self.awaited.len() >= MAX_AWAITED {
            return None;
        }
        let Plan { bps, length_us, careful } = self.planned.pop_front()?;
        self.number = if self.number >= CLUSTER_MASK { 1 } else { self.number + 1 };
        self.active = Some(Active {
            number: self.number,
            bps,
            planned_us: s.now_us,
            started_us: None,
            bytes: 0.0,
            packets: 0,
            min_bytes: (bps * length_us as f64 / 8_000_000.0).clamp(MIN_BYTES, MAX_BYTES),
            careful,
        });
        Some(self.number)
    }

    /// Of the newest probe.
    pub(super) fn number(&self) -> u8 {
        self.number
    }

    #[inline]
    pub(super) fn is_sending(&self) -> bool {
        self.active.is_some()
    }

    /// Bytes that are to leave now to keep the probe at its rate, and that rate.
    pub(super) fn due(&self, now_us: i64) -> Option<(f64, f64)> {
        let active = self.active?;
        let elapsed_us = now_us - active.started_us.unwrap_or(now_us) + STEP_US;
        let due = active.bps * elapsed_us as f64 / 8_000_000.0 - active.bytes;
        (due >= 1.0).then_some((due, active.bps))
    }

    /// A packet left while a probe is being sent.
    pub(super) fn on_sent(&mut self, size: usize, s: &Situation) -> Option<Sent> {
        let active = self.active.as_mut()?;
        active.started_us.get_or_insert(s.now_us);
        active.bytes += size as f64;
        active.packets += 1;
        let number = active.number;
        if active.bytes < active.min_bytes || active.packets < MIN_PACKETS {
            return Some(Sent::More(number));
        }
        let until_us = s.now_us + MAX_AWAITED_US + s.rtt_us;
        let Active { bps, careful, .. } = *active;
        self.awaited.push_back(Awaited { number, bps, until_us, careful });
        self.active = None;
        Some(Sent::Last(number))
    }

    /// The oldest probe that has left.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        self.awaited.front().copied()
    }

    /// The oldest probe found this; `s.estimate`, which was `before`, has taken it over already.
    pub(super) fn on_result(&mut self, result: Option<ProbeResult>, before: f64, s: &Situation) {
        let Some(probe) = self.awaited.pop_front() else { return };
        if result.is_some_and(|result| result.bps > before * WORTH_REPEATING) {
            self.interval_us = INTERVAL_US / 2;
        }
        let worth_more =
            result.is_some_and(|r| !(probe.careful && r.saturated) && r.bps >= WORTH_MORE * probe.bps);
        if !worth_more {
            self.fruitless(s);
            return;
        }
        self.interval_us = INTERVAL_US;
        if s.is_calm() && self.wants_more(s) && self.is_quiet() {
            self.plan_further(s);
            self.next_us = s.now_us + INTERVAL_US;
        }
    }

    fn fruitless(&mut self, s: &Situation) {
        self.planned.clear();
        self.interval_us = (self.interval_us * 2).min(MAX_INTERVAL_US);
        self.next_us = s.now_us + self.interval_us;
    }

    /// When [`Self::tick`] or [`Self::due`] have something to say.
    pub(super) fn poll_timeout(&self, s: &Situation) -> Option<i64> {
        // An owner that has nothing to send it with is not called in a circle.
        let sending = self.active.map(|active| active.next_us().max(self.ticked_us + STEP_US));
        let awaited = self.awaited().map(|awaited| awaited.until_us);
        let next = (self.is_quiet() && self.wants_more(s)).then(|| self.due_us(s).max(s.calm_from_us));
        sending.into_iter().chain(awaited).chain(next).min()
    }
}

impl Active {
    fn begin_us(&self) -> i64 {
        self.started_us.unwrap_or(self.planned_us)
    }

    /// When the next step is due, or it is given up.
    fn next_us(&self) -> i64 {
        let step = (self.bytes * 8_000_000.0 / self.bps) as i64;
        let step = self.begin_us() + step;
        step.min(self.begin_us() + MAX_SENDING_US + 1)
    }
}

/// A part of [`SPREAD_US`] that is each sender's own: the microsecond at which it met the limit decides.
fn spread_us(at_us: i64) -> i64 {
    let mixed = (at_us as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (((mixed >> 32) * SPREAD_US as u64) >> 32) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(now_ms: i64, estimate: f64) -> Situation {
        Situation {
            now_us: now_ms * 1_000,
            estimate,
            max: 1e8,
            calm_from_us: 0,
            decreased_us: None,
            dropped: None,
            beyond: false,
            rtt_us: 50_000,
            saturating: false,
        }
    }

    /// Sends a whole probe in packets of 250 bytes; its rate as sent.
    fn send(planner: &mut Planner, from_ms: i64) -> f64 {
        let (mut at_us, mut bytes) = (from_ms * 1_000, 0.0);
        loop {
            let s = Situation { now_us: at_us, ..situation(0, 0.0) };
            while planner.due(at_us).is_some() {
                bytes += 250.0;
                if let Some(Sent::Last(_)) = planner.on_sent(250, &s) {
                    return bytes * 8e6 / (at_us - from_ms * 1_000 + STEP_US) as f64;
                }
            }
            at_us = planner.poll_timeout(&s).expect("active").max(at_us + 1);
        }
    }

    #[test]
    fn the_first_two_are_of_3_and_6_times_the_estimate_and_a_good_one_is_followed_by_twice_its_result() {
        let mut planner = Planner::new();
        let s = situation(0, 300_000.0);
        assert_eq!(planner.tick(&s), None);
        planner.set_wanted(1e7, &s);
        for expected in [900_000.0, 1_800_000.0] {
            assert!(planner.tick(&s).is_some());
            let rate = send(&mut planner, 0);
            assert!((rate / expected - 1.0).abs() < 0.25, "{rate}");
        }
        planner.on_result(
            Some(ProbeResult { bps: 900_000.0, saturated: false }),
            1e9,
            &situation(100, 900_000.0),
        );
        assert_eq!(planner.tick(&situation(100, 900_000.0)), None, "the second is out");
        planner.on_result(Some(ProbeResult { bps: 1.8e6, saturated: false }), 1e9, &situation(110, 1.8e6));
        assert!(planner.tick(&situation(110, 1.8e6)).is_some());
        assert!((planner.due(110_000).unwrap().1 - 3.6e6).abs() < 1.0);
    }

    #[test]
    fn no_probe_asks_for_much_more_than_is_wanted() {
        let mut planner = Planner::new();
        let s = situation(0, 300_000.0);
        planner.set_wanted(500_000.0, &s);
        assert!(planner.tick(&s).is_some());
        assert!(planner.due(0).is_some_and(|(_, bps)| bps <= 600_000.0));
        send(&mut planner, 0);
        assert_eq!(planner.tick(&s), None);
        planner.on_result(
            Some(ProbeResult { bps: 600_000.0, saturated: false }),
            1e9,
            &situation(100, 600_000.0),
        );
        assert_eq!(planner.poll_timeout(&situation(100, 600_000.0)), None, "there is enough");
    }

    #[test]
    fn probes_that_find_nothing_become_rarer_but_never_end() {
        let mut planner = Planner::new();
        planner.set_wanted(1e7, &situation(0, 300_000.0));
        let mut begun = Vec::new();
        for now_ms in 0..60_000 {
            let s = situation(now_ms, 300_000.0);
            if planner.tick(&s).is_some() {
                begun.push(now_ms);
            }
            // Whoever should send it has nothing to send it with.
        }
        assert!(begun.len() >= 12, "{begun:?}");
        assert!(begun.windows(2).skip(3).all(|w| w[1] - w[0] >= 4_000), "{begun:?}");
    }

    #[test]
    fn after_a_large_drop_the_rate_before_it_is_asked_for() {
        let mut planner = Planner::new();
        planner.begun = true;
        planner.set_wanted(1e7, &situation(0, 500_000.0));
        let s = Situation { decreased_us: Some(900_000), dropped: Some(3e6), ..situation(1_000, 500_000.0) };
        assert_eq!(planner.tick(&s), None, "too early");
        let s = Situation { now_us: 3_000_000, ..s };
        assert!(planner.tick(&s).is_some());
        assert!(planner.due(3_000_000).is_some_and(|(_, bps)| (bps - 2.55e6).abs() < 1.0));
    }
}
