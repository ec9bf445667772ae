//! The delivery rule: when an event of a channel may be handed on.
//!
//! [`Causal`] stands for one place at which a channel's events are applied or delivered: the owner of its partition in a region, a node,
//! a device's stream. Events come in from every region's log, in any order, twice, with gaps; they leave so that
//! **nothing leaves before what it was sent after, or a hole in its place**.
//!
//! Event `e` of region `r` leaves iff the event before it in `r`'s log (`prev`) was the last of `r` to leave, and for every other region
//! `q` what left covers `e.depends[q]`, or a hole that left reaches it. Why a vector with one entry per region is enough, however many
//! people write: whoever answered a message had received it, so it was committed before the answer was appended; it stands earlier in
//! the same log, or within what the owner had applied of another.
//!
//! **It is driven like this:** after every [`Causal::offer`], and whenever a hold may have ended, call [`Causal::next`] until it gives
//! nothing; fetch what [`Causal::gaps`] names from the log and offer it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Hlc;
use crate::event::{Content, Event};
use crate::format::{Encoded, Malformed, Reader};
use crate::place::{Cursor, EventId, Lineage, Mark, Place, Region, Vector};

/// Events of one region that may wait here. More are in the log, and come back as a gap: a bound on memory, not on what is delivered.
pub const WAITING: usize = 1_024;

/// Holes of one region that are remembered. A hole is forgotten when what it stood for has come; what a lost epoch took with it never
/// does, and a region that loses its log so often has other troubles.
const CROSSED: usize = 64;

/// Where a channel's events are applied or delivered.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Causal {
    applied: Vector,
    clock: Hlc,
    /// `None` rather than empty: every stream of every connection has a value like this, and most have nothing more.
    more: Option<Box<More>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct More {
    /// Holes that left and are not filled: how far they reach.
    crossed: BTreeMap<Region, Vec<Place>>,
    waiting: BTreeMap<Region, BTreeMap<Place, Arc<Event>>>,
}

static NOTHING: More = More { crossed: BTreeMap::new(), waiting: BTreeMap::new() };

impl Default for More {
    fn default() -> Self {
        NOTHING.clone()
    }
}

impl Encoded for Causal {
    fn put(&self, out: &mut Vec<u8>) {
        self.applied.put(out);
        self.clock.put(out);
        self.more().crossed.put(out);
        self.more().waiting.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (applied, clock) = (Encoded::get(reader)?, Encoded::get(reader)?);
        let more = More { crossed: Encoded::get(reader)?, waiting: Encoded::get(reader)? };
        let mut causal = Self { applied, clock, more: Some(Box::new(more)) };
        causal.tidy();
        Ok(causal)
    }
}

/// What became of an event that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// It waits, perhaps for nothing.
    Taken,
    /// It has left already, or waits already.
    Known,
    /// Too many wait. It is in the log.
    Full,
    /// Its log goes on from before the place that was reached: what lies between was lost, and nothing of this log can leave.
    Lost,
}

/// Whether an event that the rule lets go is held for another reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// It is not.
    Go,
    /// It waits for something of another channel.
    Wait,
    /// It waited for something of another channel in vain.
    Unmet,
}

/// An event that leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// It.
    pub event: Arc<Event>,
    /// It was missing, and somebody had been told so here.
    pub late: bool,
    /// What it was to come after, in another channel, did not come.
    pub unmet: bool,
    /// False for a hole of which nothing is missing here: it moves the cursor and is not shown.
    pub shown: bool,
}

/// Entries of a log that are not here: those after `after` up to and including `upto`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Whose log.
    pub region: Region,
    /// The last entry of the channel that is here.
    pub after: Option<Place>,
    /// The last that is missing.
    pub upto: Option<Place>,
}

/// Why a cursor cannot be resumed from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reset {
    /// It is of a log that was lost or restored, beyond what is left of it.
    Epoch,
    /// What comes after it was removed by retention.
    Retention,
    /// It is too far behind.
    TooFar,
    /// The connection is too slow for the channel.
    Slow,
}

impl Causal {
    /// Begins at `cursor`, in a channel of which the log still has what is after `floor` and reaches to `head`.
    pub fn resume(lineage: &Lineage, cursor: &Cursor, floor: &Vector, head: &Vector) -> Result<Self, Reset> {
        let lost = |(region, mark): (Region, Mark)| {
            let newer = head.place(region).filter(|head| head.epoch > mark.place.epoch);
            newer.is_some_and(|head| !lineage.covers(region, head, mark.place))
        };
        if cursor.at.iter().any(lost) {
            return Err(Reset::Epoch);
        }
        if !cursor.at.covers_all(lineage, floor) {
            return Err(Reset::Retention);
        }
        let mut causal = Self { applied: cursor.at.clone(), clock: cursor.clock, ..Self::default() };
        for (region, holes) in &cursor.holes {
            for upto in holes {
                causal.cross(lineage, *region, *upto);
            }
        }
        Ok(causal)
    }

    fn more(&self) -> &More {
        self.more.as_deref().unwrap_or(&NOTHING)
    }

    /// Nothing more is no allocation.
    fn tidy(&mut self) {
        if self.more.as_deref() == Some(&NOTHING) {
            self.more = None;
        }
    }

    /// What has left.
    pub fn applied(&self) -> &Vector {
        &self.applied
    }

    /// Where a stream that is delivered here stands.
    pub fn cursor(&self) -> Cursor {
        Cursor { at: self.applied.clone(), clock: self.clock, holes: self.more().crossed.clone() }
    }

    /// The highest clock that has left.
    pub fn clock(&self) -> Hlc {
        self.clock
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.more().waiting.values().map(BTreeMap::len).sum()
    }

    /// Does this event wait?
    pub fn holds(&self, id: EventId) -> bool {
        self.more().waiting.get(&id.region).is_some_and(|queue| queue.contains_key(&id.place))
    }

    /// Do events of `region` wait?
    pub fn waits_in(&self, region: Region) -> bool {
        self.more().waiting.contains_key(&region)
    }

    /// Places that the first waiting event of each region depends on and that are neither here nor declared missing.
    pub fn unmet_dependencies<'a>(
        &'a self,
        lineage: &'a Lineage,
    ) -> impl Iterator<Item = (Region, Place)> + 'a {
        let first = self.more().waiting.values().filter_map(|queue| queue.values().next());
        let unmet = move |(region, mark): &(Region, Mark)| !self.satisfies(lineage, *region, mark.place);
        first.flat_map(|event| event.depends.iter()).filter(unmet).map(|(region, mark)| (region, mark.place))
    }

    /// Is everything up to `place` of `region` here, or declared missing?
    pub fn satisfies(&self, lineage: &Lineage, region: Region, place: Place) -> bool {
        let reached = |at: Place| lineage.covers(region, at, place);
        self.applied.place(region).is_some_and(reached)
            || self.more().crossed.get(&region).is_some_and(|holes| holes.iter().any(|hole| reached(*hole)))
    }

    /// The first of these places that is neither here nor declared missing.
    pub fn unsatisfied(&self, lineage: &Lineage, wanted: &Vector) -> Option<(Region, Mark)> {
        wanted.iter().find(|(region, mark)| !self.satisfies(lineage, *region, mark.place))
    }

    /// What an event that is appended now by `region` depends on: what is here of all others, or declared missing.
    pub fn depends(&self, region: Region) -> Vector {
        let mut depends = self.applied.clone();
        depends.remove(region);
        for (other, holes) in &self.more().crossed {
            let reach = holes.iter().max().copied();
            let ahead = reach.filter(|reach| depends.place(*other).is_none_or(|place| *reach > place));
            if let Some(place) = ahead.filter(|_| *other != region) {
                let count = depends.get(*other).map_or(0, |mark| mark.count);
                depends.set(*other, Mark { place, count });
            }
        }
        depends
    }

    /// Takes an event of any region's log, in any order.
    pub fn offer(&mut self, lineage: &Lineage, event: Arc<Event>) -> Offer {
        let EventId { region, place } = event.id;
        if self.applied.covers(lineage, event.id) {
            return Offer::Known;
        }
        let forked = |at: Place| place.epoch > at.epoch && !lineage.covers(region, place, at);
        // An older epoch's event that is not covered was lost with it; a newer epoch that follows an earlier place lost what is here.
        if self.applied.place(region).is_some_and(|at| forked(at) || at.epoch > place.epoch) {
            return Offer::Lost;
        }
        let queue = self.more.get_or_insert_default().waiting.entry(region).or_default();
        if queue.contains_key(&place) {
            return Offer::Known;
        }
        if queue.len() >= WAITING {
            // The latest are fetched again when the gap before them is closed.
            match queue.last_key_value() {
                Some((last, _)) if *last > place => drop(queue.pop_last()),
                _ => return Offer::Full,
            }
        }
        queue.insert(place, event);
        Offer::Taken
    }

    /// The next event that may leave, of those the one that is displayed first; it has left then. `hold` is asked about events that the
    /// rule lets go.
    pub fn next(&mut self, lineage: &Lineage, mut hold: impl FnMut(&Event) -> Hold) -> Option<Delivery> {
        let mut best: Option<(Arc<Event>, Hold)> = None;
        for event in self.more().waiting.values().filter_map(|queue| queue.values().next()) {
            if !self.follows(lineage, event)
                || best.as_ref().is_some_and(|(best, _)| best.key() < event.key())
            {
                continue;
            }
            match hold(event) {
                Hold::Wait => {}
                verdict => best = Some((Arc::clone(event), verdict)),
            }
        }
        let (event, verdict) = best?;
        Some(self.leave(lineage, event, verdict == Hold::Unmet))
    }

    /// The rule.
    fn follows(&self, lineage: &Lineage, event: &Event) -> bool {
        self.applied.place(event.id.region) == event.prev
            && self.unsatisfied(lineage, &event.depends).is_none()
    }

    fn leave(&mut self, lineage: &Lineage, event: Arc<Event>, unmet: bool) -> Delivery {
        let EventId { region, place } = event.id;
        if let Some(more) = &mut self.more
            && let Some(queue) = more.waiting.get_mut(&region)
        {
            queue.remove(&place);
            if queue.is_empty() {
                more.waiting.remove(&region);
            }
        }
        let late = self
            .more()
            .crossed
            .get(&region)
            .is_some_and(|holes| holes.iter().any(|h| lineage.covers(region, *h, place)));
        self.applied.set(region, Mark { place, count: event.count });
        self.clock = self.clock.max(event.clock);
        self.fill(lineage, region, place);
        let shown = match &event.content {
            Content::Hole { region, upto, .. } => self.cross(lineage, *region, *upto),
            _ => true,
        };
        self.tidy();
        Delivery { event, late, unmet, shown }
    }

    /// Remembers a hole that left. False: nothing of it is missing here.
    fn cross(&mut self, lineage: &Lineage, region: Region, upto: Place) -> bool {
        let here = self.applied.place(region).is_some_and(|at| lineage.covers(region, at, upto));
        if here {
            return false;
        }
        let holes = self.more.get_or_insert_default().crossed.entry(region).or_default();
        if !holes.iter().any(|hole| lineage.covers(region, *hole, upto)) {
            holes.retain(|hole| !lineage.covers(region, upto, *hole));
            holes.truncate(CROSSED - 1);
            holes.push(upto);
        }
        true
    }

    /// Forgets holes that what is here reaches.
    fn fill(&mut self, lineage: &Lineage, region: Region, place: Place) {
        if let Some(more) = &mut self.more
            && let Some(holes) = more.crossed.get_mut(&region)
        {
            holes.retain(|hole| !lineage.covers(region, place, *hole));
            if holes.is_empty() {
                more.crossed.remove(&region);
            }
        }
    }

    /// An event that follows what is here at once, while nothing waits: it has left then. It is what [`Causal::offer`] and [`Causal::next`]
    /// would do, without a place to wait in.
    pub fn pass(&mut self, lineage: &Lineage, event: &Arc<Event>) -> Option<Delivery> {
        let EventId { region, place } = event.id;
        let next = self.applied.place(region).is_none_or(|at| at.epoch == place.epoch && at.n < place.n);
        let alone = self.more().waiting.is_empty();
        (alone && next && self.follows(lineage, event)).then(|| self.leave(lineage, Arc::clone(event), false))
    }

    /// Takes an event that the owner of its log appends right behind all that is here: it leaves at once.
    pub fn append(&mut self, lineage: &Lineage, event: &Arc<Event>) {
        self.leave(lineage, Arc::clone(event), false);
    }

    /// What is missing before the first that waits, by region.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> + '_ {
        self.more().waiting.iter().filter_map(|(region, queue)| {
            let first = queue.values().next()?;
            let after = self.applied.place(*region);
            (first.prev != after).then_some(Gap { region: *region, after, upto: first.prev })
        })
    }

    /// Drops what waits and can no longer leave, because it was covered by other means.
    pub fn prune(&mut self, lineage: &Lineage) {
        let applied = &self.applied;
        if let Some(more) = &mut self.more {
            more.waiting.retain(|_, queue| {
                queue.retain(|_, event| !applied.covers(lineage, event.id));
                !queue.is_empty()
            });
        }
        self.tidy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, dependent, id, message, region, vector};

    fn lineage() -> Lineage {
        Lineage::default()
    }

    /// Offers these, and names what leaves, in order: `!` late, `?` unmet, `-` not shown.
    fn pass(causal: &mut Causal, lineage: &Lineage, events: &[Event]) -> Vec<String> {
        let mut out = Vec::new();
        for event in events {
            causal.offer(lineage, Arc::new(event.clone()));
            drain(causal, lineage, &mut out);
        }
        out
    }

    fn drain(causal: &mut Causal, lineage: &Lineage, out: &mut Vec<String>) {
        while let Some(d) = causal.next(lineage, |_| Hold::Go) {
            let late = if d.late { "!" } else { "" };
            let hidden = if d.shown { "" } else { "-" };
            out.push(format!("{}{late}{hidden}", d.event.id));
        }
    }

    fn hole(at_n: u64, of: &str, known: Option<u64>, upto: u64) -> Event {
        let known = known.map(|n| at(1, n));
        let content = Content::Hole { region: region(of), known, upto: at(1, upto) };
        Event { content, ..message("us", 1, at_n) }
    }

    #[test]
    fn events_of_one_log_leave_in_its_order_whatever_order_they_come_in() {
        let mut causal = Causal::default();
        let [one, two, three] = [1, 2, 3].map(|n| message("eu", 1, n));
        let out = pass(&mut causal, &lineage(), &[three, two.clone(), one, two]);
        assert_eq!(out, ["eu.1.1", "eu.1.2", "eu.1.3"]);
    }

    #[test]
    fn a_gap_is_named_and_nothing_passes_over_it() {
        let mut causal = Causal::default();
        pass(&mut causal, &lineage(), &[message("eu", 1, 1), message("eu", 1, 4)]);
        let gaps: Vec<Gap> = causal.gaps().collect();
        assert_eq!(gaps, [Gap { region: region("eu"), after: Some(at(1, 1)), upto: Some(at(1, 3)) }]);
        let out = pass(&mut causal, &lineage(), &[message("eu", 1, 3), message("eu", 1, 2)]);
        assert_eq!(out, ["eu.1.2", "eu.1.3", "eu.1.4"]);
        assert_eq!(causal.gaps().count(), 0);
    }

    #[test]
    fn an_answer_from_another_region_waits_for_its_question() {
        let mut causal = Causal::default();
        let answer = dependent("us", 1, &["eu.1.2"]);
        assert_eq!(pass(&mut causal, &lineage(), &[answer, message("eu", 1, 1)]), ["eu.1.1"]);
        assert_eq!(pass(&mut causal, &lineage(), &[message("eu", 1, 2)]), ["eu.1.2", "us.1.1"]);
    }

    #[test]
    fn an_answer_to_an_answer_waits_for_both_over_three_regions() {
        let mut causal = Causal::default();
        let events =
            [dependent("ap", 1, &["eu.1.1", "us.1.1"]), dependent("us", 1, &["eu.1.1"]), message("eu", 1, 1)];
        assert_eq!(pass(&mut causal, &lineage(), &events), ["eu.1.1", "us.1.1", "ap.1.1"]);
    }

    #[test]
    fn a_hole_lets_the_answer_pass_and_what_returns_is_late() {
        let mut causal = Causal::default();
        let events = [message("eu", 1, 1), hole(1, "eu", Some(1), 3), dependent("us", 2, &["eu.1.3"])];
        assert_eq!(pass(&mut causal, &lineage(), &events), ["eu.1.1", "us.1.1", "us.1.2"]);
        let returned = [2, 3, 4].map(|n| message("eu", 1, n));
        assert_eq!(pass(&mut causal, &lineage(), &returned), ["eu.1.2!", "eu.1.3!", "eu.1.4"]);
    }

    #[test]
    fn who_has_what_the_hole_stands_for_is_shown_none() {
        let mut causal = Causal::default();
        let events =
            [message("eu", 1, 1), message("eu", 1, 2), hole(1, "eu", Some(1), 2), message("eu", 1, 3)];
        assert_eq!(pass(&mut causal, &lineage(), &events), ["eu.1.1", "eu.1.2", "us.1.1-", "eu.1.3"]);
    }

    #[test]
    fn late_is_marked_over_a_reconnect_on_a_node_that_knows_nothing_of_the_hole() {
        let resume = |causal: &Causal| {
            let none = Vector::default();
            Causal::resume(&lineage(), &causal.cursor(), &none, &none).expect("nothing was lost")
        };
        let mut crossed = Causal::default();
        pass(&mut crossed, &lineage(), &[message("eu", 1, 1), hole(1, "eu", Some(1), 3)]);
        let fill = [2, 3, 4].map(|n| message("eu", 1, n));
        let answer = [dependent("us", 2, &["eu.1.3"])];
        assert_eq!(pass(&mut resume(&crossed), &lineage(), &answer), ["us.1.2"]);
        assert_eq!(pass(&mut resume(&crossed), &lineage(), &fill), ["eu.1.2!", "eu.1.3!", "eu.1.4"]);
        let mut before = Causal::default();
        pass(&mut before, &lineage(), &[message("eu", 1, 1)]);
        assert_eq!(pass(&mut resume(&before), &lineage(), &fill), ["eu.1.2", "eu.1.3", "eu.1.4"]);
    }

    #[test]
    fn a_cursor_below_what_is_kept_is_reset_and_one_of_a_lost_epoch_too() {
        let mut lineage = Lineage::default();
        lineage.follow(region("eu"), 2, at(1, 40));
        let cursor = |place: &str| Cursor { at: vector(&[place]), ..Cursor::default() };
        let (floor, head) = (vector(&["eu.1.20"]), vector(&["eu.2.50"]));
        let resume = |place| Causal::resume(&lineage, &cursor(place), &floor, &head).err();
        assert_eq!(resume("eu.1.19"), Some(Reset::Retention));
        assert_eq!(resume("eu.1.20"), None);
        assert_eq!(resume("eu.1.40"), None);
        assert_eq!(resume("eu.1.41"), Some(Reset::Epoch));
        assert_eq!(resume("eu.2.60"), None, "beyond the head is for the owner of that log to judge");
    }

    #[test]
    fn an_epoch_that_took_back_what_is_here_lets_nothing_leave() {
        let mut lineage = Lineage::default();
        lineage.follow(region("eu"), 2, at(1, 1));
        let mut causal = Causal::default();
        pass(&mut causal, &lineage, &[message("eu", 1, 1), message("eu", 1, 2)]);
        let next = Event { prev: Some(at(1, 1)), ..message("eu", 2, 2) };
        assert_eq!(causal.offer(&lineage, Arc::new(next)), Offer::Lost);
    }

    #[test]
    fn an_event_that_is_held_stops_what_is_behind_it_and_nothing_else() {
        let mut causal = Causal::default();
        let events =
            [message("eu", 1, 1), message("eu", 1, 2), message("us", 1, 1), dependent("us", 2, &["eu.1.1"])];
        for event in events {
            causal.offer(&lineage(), Arc::new(event));
        }
        let held = |event: &Event| if event.id == id("eu.1.1") { Hold::Wait } else { Hold::Go };
        let first = causal.next(&lineage(), held).expect("it is concurrent");
        assert_eq!(first.event.id, id("us.1.1"));
        assert_eq!(causal.next(&lineage(), held), None);
        let unmet = causal.next(&lineage(), |_| Hold::Unmet).expect("it waits no longer");
        assert!(unmet.unmet && unmet.event.id == id("eu.1.1"));
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_comes_back_as_a_gap() {
        let mut causal = Causal::default();
        for n in 2..=WAITING as u64 + 10 {
            causal.offer(&lineage(), Arc::new(message("eu", 1, n)));
        }
        assert_eq!(causal.waiting(), WAITING);
        assert_eq!(causal.offer(&lineage(), Arc::new(message("eu", 1, 5_000))), Offer::Full);
        let out = pass(&mut causal, &lineage(), &[message("eu", 1, 1)]);
        assert_eq!(out.len(), WAITING, "the last gave way to the first");
        pass(&mut causal, &lineage(), &[message("eu", 1, 5_000)]);
        assert_eq!(causal.gaps().next().map(|gap| gap.after), Some(Some(at(1, WAITING as u64))));
    }

    #[test]
    fn what_is_appended_depends_on_all_other_regions_and_on_what_is_declared_missing() {
        let mut causal = Causal::default();
        pass(&mut causal, &lineage(), &[message("eu", 1, 1), hole(1, "eu", Some(1), 3)]);
        assert_eq!(causal.depends(region("us")).place(region("eu")), Some(at(1, 3)));
        assert_eq!(causal.depends(region("us")).place(region("us")), None);
    }
}
