//! Streams with dependency descriptors: decode targets, and frames that are forwarded when what they refer to was.

use wire::dd::{Active, Indication, Structure};

use super::{Verdict, Wanted};
use crate::clock::ahead;
use crate::packet::{Frame, Packet};
use crate::sublayers::Sublayers;

/// Which decode targets are sent is told with so many frames after it changed: losses are repaired by then, or a keyframe
/// comes.
const TOLD_FRAMES: u8 = 8;

/// A decode target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Target {
    index: u8,
    spatial: u8,
    temporal: u8,
}

impl Target {
    fn of(structure: &Structure, index: u8) -> Option<Self> {
        let (spatial, temporal) = *structure.layers.get(usize::from(index))?;
        Some(Self { index, spatial, temporal })
    }

    fn rank(self) -> (u8, u8, u8) {
        (self.spatial, self.temporal, self.index)
    }

    /// Nothing of `other` is lost by it.
    fn covers(self, other: Self) -> bool {
        self.spatial >= other.spatial && self.temporal >= other.temporal
    }
}

#[derive(Debug, Default)]
pub(crate) struct Described {
    generation: u32,
    /// What is sent; `None`: nothing that could be decoded.
    target: Option<Target>,
    turns: Turns,
    frames: Frames,
    /// The picture of which the last packet was forwarded.
    finished: Option<u32>,
    /// So many frames are still to tell which decode targets are sent.
    to_tell: u8,
    /// The receiver was told that some are not.
    told_less: bool,
}

impl Described {
    pub fn layers(&self) -> Option<(u8, u8)> {
        self.target.map(|target| (target.spatial, target.temporal))
    }

    pub fn needs_keyframe(&self, wanted: Wanted, within: &Sublayers) -> bool {
        let Some(structure) = within.structure() else { return false };
        let Some(goal) = best(structure, within.active(), wanted) else { return false };
        let Some(target) = self.target else { return true };
        let received = structure.within.get(usize::from(target.index)).copied().unwrap_or(0);
        goal.spatial != target.spatial && received & 1 << goal.index == 0
    }

    pub fn decide(
        &mut self,
        packet: &Packet<'_>,
        frame: &Frame,
        wanted: Wanted,
        within: &Sublayers,
    ) -> Verdict {
        let mut first = false;
        if self.frames.find(frame.number) == State::Unknown {
            first = true;
            let new = self.frames.is_new(frame.number);
            if let Some(structure) = within.structure().filter(|_| new) {
                let goal = best(structure, within.active(), wanted);
                self.turn(packet, frame, structure, goal, wanted.hasty);
            }
            self.frames.add(frame.number, self.takes(frame));
        }
        match self.recall(packet, frame) {
            Verdict::Forward { last, .. } => {
                self.note_end(packet, last);
                Verdict::Forward { last, active: self.active(frame, first, within) }
            }
            Verdict::Withhold { .. } => Verdict::Withhold { first },
        }
    }

    /// A packet of a keyframe that cannot be read yet: what comes next of it is what everybody gets.
    pub fn pass(&mut self, packet: &Packet<'_>, last: bool) -> Verdict {
        self.note_end(packet, last);
        Verdict::Forward { last, active: None }
    }

    fn note_end(&mut self, packet: &Packet<'_>, last: bool) {
        let timestamp = packet.received.timestamp;
        let newest = self.finished.is_none_or(|finished| ahead(timestamp, finished) > 0);
        if newest && (last || packet.received.marker) {
            self.finished = Some(timestamp);
        }
    }

    pub fn recall(&self, packet: &Packet<'_>, frame: &Frame) -> Verdict {
        let forwarded = match self.frames.find(frame.number) {
            State::Forwarded => true,
            State::Withheld => false,
            State::Unknown => self.takes(frame),
        };
        if forwarded {
            let timestamp = packet.received.timestamp;
            let target = || self.turns.of_picture(frame.number, timestamp);
            let last = frame.end && target().is_some_and(|target| target.spatial == frame.template.spatial);
            Verdict::Forward { last, active: None }
        } else {
            Verdict::Withhold { first: false }
        }
    }

    /// A frame ahead of all others: what is sent may change with it.
    fn turn(
        &mut self,
        packet: &Packet<'_>,
        frame: &Frame,
        structure: &Structure,
        goal: Option<Target>,
        hasty: bool,
    ) {
        if frame.generation != self.generation {
            self.generation = frame.generation;
            self.set_target(packet, frame, None);
        }
        let Some(goal) = goal.filter(|goal| self.target != Some(*goal)) else { return };
        let picture_is_over = self.finished == Some(packet.received.timestamp);
        let allowed = |to: Target| {
            let climbs = to.spatial > self.target.map_or(0, |target| target.spatial);
            frame.template.indication(to.index) == Indication::Switch && !(climbs && picture_is_over)
        };
        if !self.can_decode(frame) {
            return;
        }
        let next = if allowed(goal) {
            Some(goal)
        } else {
            let steps = (0..structure.targets).filter_map(|index| Target::of(structure, index));
            // On the way up anything is better than what is sent; on the way down one step is enough, and in haste the fewest
            // frames of the spatial layer that cannot be left yet.
            let better = |step: &Target| {
                goal.covers(*step)
                    && self.target.is_none_or(|target| step.covers(target) && *step != target)
                    && allowed(*step)
            };
            let fewer = |step: &Target| {
                self.target.is_some_and(|target| {
                    step.spatial == target.spatial
                        && goal.spatial < target.spatial
                        && step.temporal < target.temporal
                }) && allowed(*step)
            };
            match steps.clone().filter(better).max_by_key(|step| step.rank()) {
                None if hasty => steps.filter(fewer).min_by_key(|step| step.rank()),
                better => better,
            }
        };
        if next.is_some() {
            self.set_target(packet, frame, next);
        }
    }

    fn set_target(&mut self, packet: &Packet<'_>, frame: &Frame, target: Option<Target>) {
        let timestamp = packet.received.timestamp;
        self.turns.add(Turn { first: frame.number, timestamp, generation: frame.generation, target });
        self.target = target;
        self.to_tell = TOLD_FRAMES;
    }

    /// All that it refers to was forwarded.
    fn can_decode(&self, frame: &Frame) -> bool {
        self.references(frame).all(|number| self.frames.find(number) == State::Forwarded)
    }

    /// It belongs to what was sent when it was its turn, and nothing that it refers to was withheld. What is lost may still come.
    fn takes(&self, frame: &Frame) -> bool {
        let Some(turn) = self.turns.at(frame.number) else { return false };
        let belongs = |target: Target| {
            // Targets of another structure mean other things, but a keyframe can do without any; some of it may have been sent.
            let same = turn.generation == frame.generation;
            if same { frame.template.is_in(target.index) } else { frame.structured }
        };
        turn.target.is_some_and(belongs)
            && self.references(frame).all(|number| self.frames.find(number) != State::Withheld)
    }

    fn references(&self, frame: &Frame) -> impl Iterator<Item = u64> {
        let number = frame.number;
        let differences = frame.template.differences.as_slice().iter();
        differences.map(move |difference| number.saturating_sub(u64::from(*difference)))
    }

    /// The decode targets that a packet has to tell, if any.
    fn active(&mut self, frame: &Frame, first: bool, within: &Sublayers) -> Option<Active> {
        let due = self.to_tell > 0 || frame.structured || frame.tells;
        if !due || frame.generation != self.generation {
            return None;
        }
        let (structure, target) = (within.structure()?, self.target?);
        self.to_tell = self.to_tell.saturating_sub(u8::from(first));
        let sent = structure.within.get(usize::from(target.index))? & within.active();
        // A structure begins with all of them.
        let news = sent != structure.all() || frame.tells || self.told_less && !frame.structured;
        self.told_less = sent != structure.all() || self.told_less && !frame.structured;
        Active::new(sent, structure.targets).filter(|_| news)
    }
}

/// The best decode target that is sent and wanted.
fn best(structure: &Structure, active: u32, wanted: Wanted) -> Option<Target> {
    let targets = (0..structure.targets).filter(|index| active & 1 << index != 0);
    let targets = targets.filter_map(|index| Target::of(structure, index));
    targets.filter(|target| wanted.has((target.spatial, target.temporal))).max_by_key(|target| target.rank())
}

/// What is sent changes.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// From this frame on.
    first: u64,
    /// Of its picture.
    timestamp: u32,
    /// Of the structure that describes it.
    generation: u32,
    target: Option<Target>,
}

/// The last changes, for frames that come late: they are judged by what held when they were sent, as were those that refer to them
/// and those that they refer to.
#[derive(Debug, Default)]
struct Turns {
    turns: [Option<Turn>; Self::KEPT],
    newest: usize,
}

impl Turns {
    /// Estimates and settings change what is sent a few times in a second at most, and a retransmission takes less.
    const KEPT: usize = 8;

    fn add(&mut self, turn: Turn) {
        if self.turns[self.newest].is_some_and(|newest| newest.first != turn.first) {
            self.newest = (self.newest + 1) % Self::KEPT;
        }
        self.turns[self.newest] = Some(turn);
    }

    /// The last up to a frame; `None` when it is forgotten.
    fn at(&self, number: u64) -> Option<&Turn> {
        self.newest_first().find(|turn| turn.first <= number)
    }

    /// What was sent of a frame's picture in the end.
    fn of_picture(&self, number: u64, timestamp: u32) -> Option<Target> {
        self.newest_first().find(|turn| turn.first <= number || turn.timestamp == timestamp)?.target
    }

    fn newest_first(&self) -> impl Iterator<Item = &Turn> {
        let (newer, older) = self.turns.split_at(self.newest + 1);
        newer.iter().rev().chain(older.iter().rev()).flatten()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not heard of, or forgotten as long ago as no frame refers to.
    Unknown,
    Forwarded,
    Withheld,
}

/// What became of the last frames.
#[derive(Debug, Default)]
struct Frames {
    /// `None` until the first.
    newest: Option<u64>,
    first: u64,
    /// Bit n for frame `newest - n`.
    known: u128,
    forwarded: u128,
}

impl Frames {
    fn is_new(&self, number: u64) -> bool {
        self.newest.is_none_or(|newest| number > newest)
    }

    fn find(&self, number: u64) -> State {
        let Some(newest) = self.newest.filter(|newest| number <= *newest) else { return State::Unknown };
        if number < self.first {
            // From before the receiver began.
            return State::Withheld;
        }
        match 1u128.checked_shl(u32::try_from(newest - number).unwrap_or(u32::MAX)) {
            Some(bit) if self.known & bit == 0 => State::Unknown,
            Some(bit) if self.forwarded & bit == 0 => State::Withheld,
            Some(_) => State::Forwarded,
            None => State::Unknown,
        }
    }

    fn add(&mut self, number: u64, forwarded: bool) {
        let newest = *self.newest.get_or_insert_with(|| {
            self.first = number;
            number
        });
        let ahead = u32::try_from(number.saturating_sub(newest)).unwrap_or(u32::MAX);
        self.known = self.known.checked_shl(ahead).unwrap_or(0);
        self.forwarded = self.forwarded.checked_shl(ahead).unwrap_or(0);
        let newest = newest.max(number);
        self.newest = Some(newest);
        let Some(bit) = 1u128.checked_shl(u32::try_from(newest - number).unwrap_or(u32::MAX)) else { return };
        self.known |= bit;
        if forwarded {
            self.forwarded |= bit;
        }
    }
}
