//! Who gets which step: values in, values out. Told in `docs/allocation.md`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;

use super::ladder::Step;

/// A lowest step that costs more than this is not one that everybody gets before anybody gets more.
pub(super) const LARGE: u32 = 400_000;
/// The same for what is being sent, so that it is not now the one and now the other.
const LARGE_SENT: u32 = 500_000;
/// So much more weighs a step that is being sent: equals do not change places.
const SENT: f32 = 1.5;

/// More important is greater: the receiver's own priority, then where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Class {
    pub priority: u32,
    pub screen: bool,
}

/// What is sent of a stream so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Before {
    /// It was not among those to be chosen from.
    New,
    /// Nothing, for want of bandwidth.
    Paused,
    /// Up to this step of its ladder.
    Sent(u8),
}

/// One video of a receiver.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub class: Class,
    /// Within its class, positive.
    pub weight: f32,
    pub before: Before,
    /// It may begin whatever the estimate.
    pub trusted: bool,
    /// It is never paused.
    pub firm: bool,
    /// Its steps among all; not empty.
    pub ladder: Range<usize>,
}

impl Stream {
    /// Steps that are sent.
    fn sent(&self) -> usize {
        match self.before {
            Before::Sent(step) => usize::from(step) + 1,
            _ => 0,
        }
    }

    /// How many steps are sent when more are than these. Nothing goes over to a higher level for a part of its frames: it would
    /// wait for the keyframe for little. A screen is read, and does.
    fn next(&self, ladder: &[Step], count: usize) -> usize {
        let level = |at: usize| ladder.get(at).map(|step| step.level);
        let begins = count >= self.sent() && self.sent() > 0 && level(count) > level(self.sent() - 1);
        if !begins || self.class.screen {
            return count + 1;
        }
        let same = ladder[count..].iter().take_while(|step| Some(step.level) == level(count));
        count + same.count()
    }

    fn order(&self) -> impl Ord {
        // Weights are positive, and the bits of positive floats are in their order.
        (Reverse(self.class), Reverse(self.weight.to_bits()), self.sent() == 0)
    }
}

/// What there is for video, in bits per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// For what is being sent.
    pub keep: u64,
    /// For the lowest steps of it; no less than `keep`.
    pub lowest: u64,
    /// For all, if it is to be more.
    pub climb: u64,
    /// The same for the lowest steps of what is paused.
    pub resume: u64,
    /// For the lowest steps of streams that are trusted.
    pub trust: u64,
}

/// The choice, and what it needs.
#[derive(Debug, Default)]
pub(super) struct Chooser {
    /// For each stream how many of its steps are sent: 0 is paused.
    pub chosen: Vec<u8>,
    /// What the choice costs, in bits per second, but for what only trust lets through.
    pub cost: u64,
    /// What only trust lets through.
    pub trusted: u64,
    /// What is sent did not fit any more.
    pub fell: bool,
    /// Not even the lowest steps of it.
    pub short: bool,
    /// What is sent costs, in bits per second.
    pub sent: u64,
    order: Vec<u32>,
    heap: BinaryHeap<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    gain: f32,
    stream: Reverse<u32>,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain.total_cmp(&other.gain).then(self.stream.cmp(&other.stream))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl Chooser {
    /// Chooses; streams are named by their places.
    pub fn choose(&mut self, limits: Limits, streams: &[Stream], steps: &[Step]) {
        self.chosen.clear();
        self.chosen.resize(streams.len(), 0);
        (self.cost, self.trusted) = (0, 0);
        let sent = streams.iter().filter(|stream| !stream.trusted);
        let sent = sent.map(|stream| cost(&steps[stream.ladder.clone()], stream.sent()));
        self.sent = sent.sum();
        self.fell = self.sent > limits.keep;
        let lowest = streams.iter().filter(|stream| !stream.trusted && stream.sent() > 0);
        let lowest = lowest.map(|stream| cost(&steps[stream.ladder.clone()], 1));
        self.short = self.fell && lowest.sum::<u64>() > limits.keep;
        self.order.clear();
        self.order.extend(0..streams.len() as u32);
        self.order.sort_by_cached_key(|at| streams[*at as usize].order());
        let mut round = Round { limits, streams, steps, falling: self.fell };
        let reserved = self.lowest(&round);
        round.falling |= self.trusted > 0;
        let mut from = 0;
        while from < self.order.len() {
            let class = streams[self.order[from] as usize].class;
            let same = |at: &u32| streams[*at as usize].class == class;
            let to = from + self.order[from..].iter().take_while(|at| same(at)).count();
            self.climb(&round, reserved, from..to);
            from = to;
        }
    }

    /// Everybody's lowest step. Returns what those need that were refused.
    fn lowest(&mut self, round: &Round<'_>) -> u64 {
        let mut reserved = 0;
        for at in &self.order {
            let stream = &round.streams[*at as usize];
            if round.is_large(stream) && !stream.trusted && !stream.firm {
                continue;
            }
            let cost = cost(&round.steps[stream.ladder.clone()], 1);
            let chosen = &mut self.chosen[*at as usize];
            if stream.firm || self.cost + cost <= round.limit(stream, 0) {
                (*chosen, self.cost) = (1, self.cost + cost);
            } else if stream.trusted && self.cost + self.trusted + cost <= round.limits.trust {
                (*chosen, self.trusted) = (1, self.trusted + cost);
            } else if !round.is_large(stream) {
                reserved += cost;
            }
        }
        reserved
    }

    /// Further steps of one class.
    fn climb(&mut self, round: &Round<'_>, reserved: u64, class: Range<usize>) {
        self.heap.clear();
        for at in &self.order[class] {
            let (stream, chosen) = (&round.streams[*at as usize], self.chosen[*at as usize]);
            // What only trust lets through goes no further.
            let further = chosen > 0 && !(stream.trusted && self.trusted > 0);
            if further || chosen == 0 && round.is_large(stream) {
                self.heap.extend(round.candidate(*at, chosen));
            }
        }
        while let Some(Candidate { stream: Reverse(at), .. }) = self.heap.pop() {
            let stream = &round.streams[at as usize];
            let chosen = &mut self.chosen[at as usize];
            let ladder = &round.steps[stream.ladder.clone()];
            let next = stream.next(ladder, usize::from(*chosen));
            let more = cost(ladder, next) - cost(ladder, usize::from(*chosen));
            if self.cost + more + reserved <= round.limit(stream, usize::from(*chosen)) {
                self.cost += more;
                *chosen = next as u8;
                self.heap.extend(round.candidate(at, *chosen));
            }
        }
    }
}

/// What the first `count` steps cost together.
fn cost(ladder: &[Step], count: usize) -> u64 {
    count.checked_sub(1).and_then(|last| ladder.get(last)).map_or(0, |step| u64::from(step.cost))
}

struct Round<'a> {
    limits: Limits,
    streams: &'a [Stream],
    steps: &'a [Step],
    /// Nothing climbs.
    falling: bool,
}

impl Round<'_> {
    fn is_large(&self, stream: &Stream) -> bool {
        let most = if stream.sent() > 0 { LARGE_SENT } else { LARGE };
        self.steps[stream.ladder.start].cost > most
    }

    /// Up to what the step behind the first `count` may bring the whole.
    fn limit(&self, stream: &Stream, count: usize) -> u64 {
        let Limits { keep, lowest, climb, resume, .. } = self.limits;
        match stream.before {
            Before::Sent(_) if count == 0 => lowest,
            Before::Sent(step) if count <= usize::from(step) => keep,
            Before::New if count == 0 => climb,
            _ if self.falling => 0,
            Before::Paused if count == 0 && !self.is_large(stream) => resume,
            _ => climb,
        }
    }

    fn candidate(&self, at: u32, count: u8) -> Option<Candidate> {
        let stream = &self.streams[at as usize];
        let step = self.steps[stream.ladder.clone()].get(usize::from(count))?;
        let sent = if usize::from(count) < stream.sent() { SENT } else { 1.0 };
        Some(Candidate { gain: step.gain * stream.weight * sent, stream: Reverse(at) })
    }
}
