//! Phase 3: additive increase, multiplicative decrease (draft-ietf-rmcat-gcc-02 section 5.5).

use super::capacity::Capacity;
use super::compete::{Compete, Signs, Verdict};
use super::trend::Usage;

/// Far from the capacity: growth per second.
const GROWTH: f64 = 1.08;
/// Near it: one packet of this many bits per response time, which is half the round trip and this:
/// with the whole of it, a sender far away would get a third of what one nearby gets.
const PACKET_BITS: f64 = 9_600.0;
const RESPONSE_US: f64 = 150_000.0;
/// Above this rate, more with its root: a large rate gets back within seconds too, and growth that is less than
/// proportional still brings unequal senders together.
const ROOT_BPS: f64 = 1_000_000.0;
/// The rate after overuse, of what arrived; less when there is a queue that this would not empty within a second.
const BACKOFF: f64 = 0.94;
/// Besides what empties the queue, so that it does not begin to grow again at once.
const MARGIN: f64 = 0.04;
const MIN_BACKOFF: f64 = 0.5;
const DRAIN_US: f64 = 1_000_000.0;
/// A long queue lowers the rate far below what the path carries; when it is gone, the rate is this share of what arrived.
const DRAINING_FROM_US: i64 = 120_000;
const DRAINED: f64 = 0.9;
/// A queue that takes longer to run empty was not ours alone.
const DRAINING_US: i64 = 2_000_000;
/// What arrives follows the rate a round trip and this later: a server has to ask for a keyframe first. A probe that found too much is corrected by this factor,
/// not by what arrived before it.
const CATCHING_UP_US: i64 = 550_000;
const JUST_RAISED: f64 = 0.8;
/// The rate grows to no more than this multiple of what arrives, or this much above it.
const HEADROOM: f64 = 1.5;
const HEADROOM_BPS: f64 = 10_000.0;
/// While the application sends little, less queue than this is noise: what arrives is no measure of the path then.
const NOISE_US: i64 = 40_000;
/// Overuse with less queue than this is jitter.
const QUEUED_US: i64 = 20_000;
/// More than this multiple of what the link carried when it was full: it is another link.
const BEYOND: f64 = 1.15;
/// A fall to less than this share is worth a question whether it is over.
const LARGE_DROP: f64 = 0.66;
/// What was carried is worth less each second.
const CARRIED_DECAY: f64 = 0.9;
/// With more than this, packets arrive at the bottleneck's rate exactly.
const QUEUE_US: i64 = 60_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Hold,
    Increase,
}

/// What the rate is decided from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    pub(super) now_us: i64,
    pub(super) usage: Usage,
    /// What arrives, in bit/s.
    pub(super) acked: Option<f64>,
    /// The same, less smoothed: exact while there is a queue.
    pub(super) bottleneck: Option<f64>,
    /// The application sends less than it may.
    pub(super) limited: bool,
    /// More than this has no use, in bit/s; as far as it is known.
    pub(super) useful: Option<f64>,
    pub(super) rtt_us: i64,
    /// Queue that sending less would take away.
    pub(super) queue_us: i64,
    /// Queue that is there whatever we send.
    pub(super) standing_us: i64,
    /// When the newest packet was sent that is now known to be lost.
    pub(super) lost_us: Option<i64>,
}

impl Input {
    /// What the rate may grow to, by what arrives.
    fn headroom(&self) -> Option<f64> {
        self.acked.map(|acked| (acked * HEADROOM).max(acked + HEADROOM_BPS))
    }

    fn signs(&self, rate: f64, carried: f64) -> Signs {
        Signs {
            now_us: self.now_us,
            rtt_us: self.rtt_us,
            queue_us: self.queue_us,
            standing_us: self.standing_us,
            lost_us: self.lost_us,
            acked: self.acked.unwrap_or(rate),
            carried,
        }
    }
}

/// The delay-based rate, in bit/s.
#[derive(Clone, Debug)]
pub(super) struct RateControl {
    rate: f64,
    min: f64,
    max: f64,
    state: State,
    capacity: Capacity,
    /// What arrived when the link was full last, in bit/s.
    full: Option<f64>,
    compete: Compete,
    updated_us: i64,
    decreased_us: Option<i64>,
    dropped: Option<f64>,
    /// When a probe raised the rate last.
    raised_us: Option<i64>,
    /// The most that arrived lately; decays.
    carried: f64,
    /// Since when the rate is lower than the path carries, so that a queue runs empty, and what it will be after that.
    draining: Option<(i64, f64)>,
}

impl RateControl {
    pub(super) fn new(start: f64, min: f64, max: f64) -> Self {
        Self {
            rate: start.clamp(min, max),
            min,
            max,
            state: State::Hold,
            capacity: Capacity::default(),
            full: None,
            compete: Compete::default(),
            updated_us: 0,
            decreased_us: None,
            dropped: None,
            raised_us: None,
            carried: 0.0,
            draining: None,
        }
    }

    pub(super) fn bps(&self) -> f64 {
        self.rate
    }

    /// When the rate last fell.
    pub(super) fn decreased_us(&self) -> Option<i64> {
        self.decreased_us
    }

    /// The link carries clearly more than it did when it was full last.
    pub(super) fn is_beyond_capacity(&self) -> bool {
        let known = self.full.map(|full| full.max(self.capacity.bps().unwrap_or(0.0)));
        known.is_some_and(|full| self.rate > full * BEYOND)
    }

    /// What a large decrease took away, until a probe has asked for it.
    pub(super) fn dropped(&self) -> Option<f64> {
        self.dropped
    }

    /// A probe asks for it.
    pub(super) fn forget_dropped(&mut self) {
        self.dropped = None;
    }

    /// True: the way has become longer; what was known of its delay is past.
    pub(super) fn update(&mut self, input: &Input) -> bool {
        let elapsed_us = (input.now_us - self.updated_us).clamp(0, 1_000_000) as f64;
        self.updated_us = input.now_us;
        let decayed = self.carried * CARRIED_DECAY.powf(elapsed_us / 1_000_000.0);
        self.carried = decayed.max(input.acked.unwrap_or(0.0));
        let verdict = self.compete.update(&input.signs(self.rate, self.carried), self.rate);
        match (verdict, input.usage) {
            (Verdict::Rate(rate), _) => self.hold_against(rate, input),

            (_, Usage::Over) => self.decrease(input),
            _ if self.is_drained(input) => {}
            (_, Usage::Under) => self.state = State::Hold,
            (_, Usage::Normal) if self.state == State::Hold => self.state = State::Increase,
            (_, Usage::Normal) => self.increase(input, elapsed_us),
        }
        verdict == Verdict::LongerRoute
    }

    /// The queue is gone for which the rate was lowered further than to what arrived: it is what it would have been without.
    fn is_drained(&mut self, input: &Input) -> bool {
        let Some((since, rate)) = self.draining.filter(|_| input.queue_us < QUEUED_US) else { return false };
        self.draining = None;
        let drained = input.now_us - since < DRAINING_US && rate > self.rate;
        if drained {
            self.state = State::Hold;
            self.rate = rate.min(self.max);
        }
        drained
    }

    /// Others fill the queue: the rate is theirs, not the delay's.
    fn hold_against(&mut self, rate: f64, input: &Input) {
        self.state = State::Hold;
        if rate < self.rate {
            self.decreased_us = Some(input.now_us);
            self.rate = rate.max(self.min);
        } else if !input.limited {
            self.rate = rate.min(input.headroom().unwrap_or(rate)).max(self.rate).min(self.max);
        }
    }

    /// Somebody else keeps the queue full.
    pub(super) fn is_competing(&self) -> bool {
        self.compete.is_active()
    }

    fn increase(&mut self, input: &Input, elapsed_us: f64) {
        let Some(acked) = input.acked.filter(|_| !input.limited) else { return };
        if self.capacity.bounds().is_some_and(|(_, high)| acked > high) {
            self.capacity.reset();
        }
        let seconds = elapsed_us / 1_000_000.0;
        let grown = if self.capacity.bps().is_some() {
            let per_second = PACKET_BITS * 1_000_000.0 / (input.rtt_us as f64 / 2.0 + RESPONSE_US);
            self.rate + per_second * (self.rate / ROOT_BPS).sqrt().max(1.0) * seconds
        } else {
            self.rate * GROWTH.powf(seconds)
        };
        let useful = input.useful.map_or(f64::INFINITY, |useful| useful.max(acked));
        let limit = input.headroom().unwrap_or(grown).min(useful);
        self.rate = grown.min(limit).max(self.rate).min(self.max);
    }

    fn decrease(&mut self, input: &Input) {
        self.state = State::Hold;
        // Not again before the last decrease can have been felt, unless far too much is sent.
        let too_soon =
            self.decreased_us.is_some_and(|at| input.now_us - at < input.rtt_us.clamp(10_000, 200_000));
        let queued = input.bottleneck.filter(|_| input.queue_us >= QUEUE_US);
        // What begins, or begins again, after a while of little is not in the mean yet.
        let arrives = input.acked.map(|acked| input.bottleneck.map_or(acked, |latest| latest.max(acked)));
        let acked = queued.or(arrives).unwrap_or(self.rate);
        if too_soon && acked > self.rate / 2.0 {
            return;
        }
        if input.queue_us < QUEUED_US {
            return;
        }
        let before = self.rate;
        let noise = input.limited && input.queue_us < NOISE_US;
        let after = if noise {
            // A share of itself, so that a queue that does grow is met, and noise costs little.
            before * BACKOFF
        } else {
            self.full(acked);
            let drains = 1.0 - MARGIN - input.queue_us as f64 / DRAIN_US;
            let after = acked * drains.clamp(MIN_BACKOFF, BACKOFF);
            if self.is_just_raised(input) { after.max(before * JUST_RAISED) } else { after }
        };
        if after >= before {
            // Less is sent than arrives: the queue is emptying already.
            return;
        }
        self.rate = after.max(self.min);
        let long = !noise && input.queue_us > DRAINING_FROM_US;
        self.draining = long.then_some((input.now_us, acked.min(before) * DRAINED));
        self.decreased_us = Some(input.now_us);
        let lost = before.min(self.carried);
        if self.rate < lost * LARGE_DROP {
            self.dropped = Some(self.dropped.map_or(lost, |rate| rate.max(lost)));
        }
    }

    /// What arrives has not caught up with the rate yet.
    fn is_just_raised(&self, input: &Input) -> bool {
        self.raised_us.is_some_and(|at| input.now_us - at < input.rtt_us + CATCHING_UP_US)
    }

    /// The link was full with this.
    fn full(&mut self, acked: f64) {
        if self.capacity.bounds().is_some_and(|(low, _)| acked < low) {
            self.capacity.reset();
        }
        self.capacity.overused(acked);
        self.full = Some(acked);
    }

    /// A probe has measured this. `saturated`: it had asked for more.
    pub(super) fn probed(&mut self, now_us: i64, rate: f64, saturated: bool) {
        if rate > self.rate {
            self.raised_us = Some(now_us);
        }
        if saturated {
            self.capacity.probed(rate);
        }
        self.draining = None;
        self.rate = rate.clamp(self.min, self.max);
    }

    /// Nothing is heard of what is sent.
    pub(super) fn silence(&mut self, factor: f64) {
        self.rate = (self.rate * factor).max(self.min);
        self.state = State::Hold;
        // What arrived before says nothing of a path that is silent now.
        self.draining = None;
    }

    /// Another signal knows that more than this does not get through.
    pub(super) fn cap(&mut self, limit: f64) {
        self.rate = self.rate.min(limit.max(self.min));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(now_ms: i64, usage: Usage, acked: f64) -> Input {
        let rtt_us = 100_000;
        Input {
            now_us: now_ms * 1_000,
            usage,
            acked: Some(acked),
            bottleneck: Some(acked),
            limited: false,
            useful: None,
            rtt_us,
            queue_us: 0,
            standing_us: 0,
            lost_us: None,
        }
    }

    fn run(control: &mut RateControl, from_ms: i64, seconds: i64, acked: impl Fn(f64) -> f64) {
        for step in 0..seconds * 20 {
            control.update(&input(from_ms + step * 50, Usage::Normal, acked(control.bps())));
        }
    }

    #[test]
    fn it_grows_by_8_percent_a_second_until_it_knows_the_capacity_and_by_packets_then() {
        let mut control = RateControl::new(1_000_000.0, 30_000.0, 1e9);
        run(&mut control, 0, 10, |rate| rate);
        assert!((control.bps() / 1_000_000.0 - 1.08f64.powi(10)).abs() < 0.05, "{}", control.bps());
        control.update(&Input { queue_us: 25_000, ..input(10_000, Usage::Over, 2_000_000.0) });
        let after = control.bps();
        assert!((after - 0.935 * 2_000_000.0).abs() < 1.0, "{after}");
        run(&mut control, 10_050, 5, |rate| rate * 0.9);
        let per_second = (control.bps() - after) / 5.0;
        assert!((60_000.0..76_000.0).contains(&per_second), "{per_second}");
    }

    #[test]
    fn it_grows_to_one_and_a_half_of_what_arrives_and_not_at_all_while_the_application_is_the_limit() {
        let mut control = RateControl::new(1_000_000.0, 30_000.0, 1e9);
        run(&mut control, 0, 60, |_| 800_000.0);
        assert!((control.bps() - 1_200_000.0).abs() < 1.0, "{}", control.bps());
        let mut control = RateControl::new(1_000_000.0, 30_000.0, 1e9);
        for step in 0..1_000 {
            control.update(&Input { limited: true, ..input(step * 50, Usage::Normal, 900_000.0) });
        }
        assert!((control.bps() - 1_000_000.0).abs() < 1.0);
    }

    #[test]
    fn a_long_queue_is_emptied_within_a_second() {
        let mut control = RateControl::new(2_500_000.0, 30_000.0, 1e9);
        control.update(&Input { queue_us: 300_000, ..input(1_000, Usage::Over, 600_000.0) });
        assert!((control.bps() - 396_000.0).abs() < 1_000.0, "{}", control.bps());
    }

    #[test]
    fn what_was_carried_before_a_silence_does_not_come_back_when_the_queue_is_gone() {
        let mut control = RateControl::new(2_500_000.0, 30_000.0, 1e9);
        control.update(&Input { queue_us: 300_000, ..input(1_000, Usage::Over, 600_000.0) });
        control.silence(0.5);
        control.update(&input(2_500, Usage::Normal, 100_000.0));
        assert!(control.bps() < 200_000.0, "{}", control.bps());
    }

    #[test]
    fn overuse_without_a_queue_is_jitter_and_costs_nothing() {
        let mut control = RateControl::new(1_000_000.0, 30_000.0, 1e9);
        run(&mut control, 0, 1, |rate| rate);
        let before = control.bps();
        control.update(&Input { queue_us: 15_000, ..input(1_000, Usage::Over, 900_000.0) });
        assert!((control.bps() - before).abs() < 1.0, "{}", control.bps());
    }

    #[test]
    fn a_probe_that_found_too_much_is_not_corrected_by_what_arrived_before_it() {
        let mut control = RateControl::new(1_000_000.0, 30_000.0, 1e9);
        run(&mut control, 0, 1, |rate| rate);
        control.probed(1_000_000, 3_000_000.0, false);
        let over = Input { queue_us: 60_000, ..input(1_200, Usage::Over, 1_100_000.0) };
        control.update(&over);
        assert!((control.bps() - 2_400_000.0).abs() < 1.0, "{}", control.bps());
        // A path that has become slow meanwhile is believed when what arrives has had time to catch up.
        control.update(&Input { now_us: 1_700_000, ..over });
        assert!(control.bps() < 1_100_000.0, "{}", control.bps());
    }

    #[test]
    fn what_begins_to_arrive_after_a_while_of_little_is_not_taken_for_all_that_the_path_carries() {
        let mut control = RateControl::new(300_000.0, 30_000.0, 1e9);
        let begins =
            Input { bottleneck: Some(220_000.0), queue_us: 42_000, ..input(1_000, Usage::Over, 80_000.0) };
        control.update(&begins);
        assert!(control.bps() > 190_000.0, "{}", control.bps());
    }

    #[test]
    fn noise_while_the_application_sends_little_costs_a_share_not_everything() {
        let mut control = RateControl::new(5_000_000.0, 30_000.0, 1e9);
        let noise = Input { limited: true, ..input(1_000, Usage::Over, 100_000.0) };
        control.update(&noise);
        assert!(control.bps() > 4_000_000.0);
        control.update(&Input { queue_us: 100_000, now_us: 2_000_000, ..noise });
        assert!(control.bps() < 100_000.0, "a real queue");
    }
}
