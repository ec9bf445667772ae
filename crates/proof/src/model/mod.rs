//! The model of the delivery rule: a channel in a few regions, a few people, everything that can happen to a handful of messages.
//!
//! What delivers is the real `messaging::causal`; owners and logs are reduced to what matters for order: an owner has one append on its way,
//! expecting a length of the log; entries reach every node and every owner late, in any order at nodes; people send, move to another region,
//! and come back with their cursors. One failure of each run: an owner is replaced while its append is under way, a region is cut off (and
//! may heal), a log loses its tail and goes on in a new epoch.
//!
//! The oracle is kept apart from all that: what each person had received or sent when they sent something. [`Broken`] takes one
//! safeguard away; then the checker has to find a violation, or it shows nothing.

mod check;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::{ChannelId, DeviceId, UserId};
use messaging::causal::Causal;
use messaging::event::{Content, Event};
use messaging::place::{Cursor, EventId, Lineage, Place, Region, Vector};

use crate::explore::{Found, Model, explore};

/// How much there is of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Regions.
    pub regions: usize,
    /// People; they begin spread over the regions.
    pub people: usize,
    /// Messages, whoever sends them.
    pub messages: u8,
    /// Which failure may happen, once.
    pub failure: Failure,
    /// How often somebody moves to another region.
    pub moves: u8,
}

/// What may go wrong, once, at any moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Nothing.
    None,
    /// An owner is replaced; its append may still arrive.
    Owner,
    /// A region is cut off from the others; it may heal.
    Cut,
    /// A log loses its last entries.
    Loss,
}

/// Which safeguard is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// None: the rule as it is.
    Nothing,
    /// Events are delivered when they are sent to the log.
    DeliverBeforeCommit,
    /// The owner does not look at what the sender has seen.
    ForgetSeen,
    /// A node passes over what it misses.
    SkipGap,
    /// A log that lost its tail goes on under the old epoch.
    ReuseEpoch,
    /// The log takes an append whatever its length.
    NoCompare,
    /// A new owner serves what it read, without a barrier.
    NoBarrier,
    /// A client resumes from what an answer proved.
    TokenAsCursor,
    /// The owner appends what depends on more than it has applied.
    AppendAhead,
}

impl Broken {
    /// All that have to be found out, each with a space in which it shows.
    pub const CONTROLS: [(Self, Shape); 8] = {
        const fn shape(failure: Failure, moves: u8) -> Shape {
            Shape { regions: 2, people: 2, messages: 2, failure, moves }
        }
        [
            (Self::DeliverBeforeCommit, shape(Failure::Owner, 0)),
            (Self::ForgetSeen, shape(Failure::None, 1)),
            (Self::SkipGap, shape(Failure::None, 0)),
            (Self::ReuseEpoch, shape(Failure::Loss, 0)),
            (Self::NoCompare, shape(Failure::Owner, 0)),
            (Self::NoBarrier, shape(Failure::Owner, 0)),
            (Self::TokenAsCursor, shape(Failure::None, 1)),
            (Self::AppendAhead, shape(Failure::Cut, 1)),
        ]
    };
}

/// An entry of a log; `None` is a barrier.
type Entry = Option<Arc<Event>>;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Flight {
    expected: usize,
    entries: Vec<Entry>,
    /// Who waits for it; nobody after the owner is gone.
    sender: Option<usize>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Owner {
    causal: Causal,
    /// How much of its own log it knows.
    view: usize,
    flight: Option<Flight>,
    /// Its barrier is committed.
    serving: bool,
    /// The message that waits for what its sender has seen elsewhere.
    waiting: Option<(usize, Content, Vector)>,
}

/// Where people of a region are served.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Node {
    causal: Causal,
    delivered: Vec<Arc<Event>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Person {
    region: usize,
    causal: Causal,
    received: Vec<Arc<Event>>,
    /// What answers and cursors proved, to be presented with the next send.
    seen: Vector,
    /// A send without an answer.
    asked: bool,
    /// The last message sent.
    last: u8,
    /// Its owner is gone without an answer: it is sent again before anything else.
    again: bool,
    /// Messages known to the person, received in any life of the stream, or sent; with the events as which they were received. The oracle's.
    knows: BTreeMap<u8, BTreeSet<EventId>>,
}

/// All that matters at a moment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    logs: Vec<Vec<Entry>>,
    epochs: Vec<u32>,
    lineage: Lineage,
    owners: Vec<Owner>,
    /// Appends of owners that are gone.
    strays: Vec<Option<Flight>>,
    nodes: Vec<Node>,
    people: Vec<Person>,
    /// The region that is cut off.
    cut: Option<usize>,
    /// It never comes back.
    gone: bool,
    failed: bool,
    moves: u8,
    sent: u8,
    /// By message: those before it, with the events as which its sender had received them.
    before: BTreeMap<u8, BTreeMap<u8, BTreeSet<EventId>>>,
    /// By message: its events, lost ones too.
    ids: BTreeMap<u8, BTreeSet<EventId>>,
    /// Messages that were acknowledged or delivered to anybody: they last.
    lasting: BTreeSet<u8>,
}

/// A step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Somebody hands a message to the owner of their region.
    Send {
        /// Who.
        person: usize,
    },
    /// The owner's append reaches the log, and the answer the owner.
    Commit {
        /// Whose.
        region: usize,
    },
    /// It reaches the log, and the answer is lost.
    CommitUnheard {
        /// Whose.
        region: usize,
    },
    /// The append of an owner that is gone reaches the log.
    Stray {
        /// Whose.
        region: usize,
    },
    /// An owner applies the next entry of another region's log.
    Apply {
        /// Which owner.
        owner: usize,
        /// Of which log.
        log: usize,
    },
    /// A node hears of an entry.
    Carry {
        /// Which node.
        node: usize,
        /// Of which log.
        log: usize,
        /// Which entry.
        entry: usize,
    },
    /// Somebody receives the next event.
    Deliver {
        /// Who.
        person: usize,
    },
    /// Somebody's device connects to another region.
    Move {
        /// Who.
        person: usize,
        /// Where to.
        region: usize,
    },
    /// The owner declares missing what it waits for.
    Hole {
        /// Which owner.
        region: usize,
    },
    /// The owner is replaced by one that has read this much of the log.
    Replace {
        /// Whose owner.
        region: usize,
        /// How much.
        view: usize,
    },
    /// A region is cut off.
    Cut {
        /// Which.
        region: usize,
        /// It never comes back.
        lost: bool,
    },
    /// It is not any more.
    Heal,
    /// A log keeps only its first entries.
    Lose {
        /// Whose.
        region: usize,
        /// How many.
        keep: usize,
    },
}

/// The model: a shape, with a safeguard missing or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// How much there is.
    pub shape: Shape,
    /// What is missing.
    pub broken: Broken,
}

/// Explores a shape.
pub fn run(shape: Shape, broken: Broken, limit: usize) -> Found {
    explore(&Delivery { shape, broken }, limit)
}

/// The spaces to explore, each with the most states that are. The small ones of two regions without a lost log are seen whole.
pub fn spaces(large: bool) -> Vec<(Shape, usize)> {
    let (limit, messages, moves) = if large { (1_500_000, 3, 1) } else { (150_000, 2, 0) };
    let shape = |regions, messages, failure, moves| Shape { regions, people: 2, messages, failure, moves };
    // A move and a failure together, lost logs, three regions: more than fits into a short run.
    let part = if large { limit } else { 15_000 };
    let mut spaces = vec![
        (shape(2, messages, Failure::None, 1), limit),
        (shape(2, messages, Failure::Owner, moves), limit),
        (shape(2, messages, Failure::Cut, moves), limit),
        (shape(2, messages, Failure::Loss, moves), part),
    ];
    spaces
        .extend([Failure::Owner, Failure::Cut, Failure::Loss].map(|failure| (shape(2, 2, failure, 1), part)));
    spaces.push((shape(3, 2, Failure::Cut, 1), part));
    spaces
}

fn region(index: usize) -> Region {
    const NAMES: [&str; 4] = ["eu", "us", "ap", "sa"];
    NAMES[index].parse().expect("these are names of regions")
}

fn channel() -> ChannelId {
    ChannelId::new("room")
}

impl State {
    fn new(shape: Shape) -> Self {
        let person = |index: usize| Person {
            region: index % shape.regions,
            causal: Causal::default(),
            received: Vec::new(),
            seen: Vector::default(),
            asked: false,
            last: 0,
            again: false,
            knows: BTreeMap::new(),
        };
        let owner = Owner { serving: true, ..Owner::default() };
        Self {
            logs: vec![Vec::new(); shape.regions],
            epochs: vec![1; shape.regions],
            lineage: Lineage::default(),
            owners: vec![owner; shape.regions],
            strays: vec![None; shape.regions],
            nodes: vec![Node::default(); shape.regions],
            people: (0..shape.people).map(person).collect(),
            cut: None,
            gone: false,
            failed: false,
            moves: shape.moves,
            sent: 0,
            before: BTreeMap::new(),
            ids: BTreeMap::new(),
            lasting: BTreeSet::new(),
        }
    }

    /// Does what is in `from`'s log reach `to`?
    fn connected(&self, from: usize, to: usize) -> bool {
        from == to || (self.cut != Some(from) && self.cut != Some(to))
    }

    /// Can this event of `log` reach `to`: from its own region, or from another that has it?
    fn reaches(&self, log: usize, id: EventId, to: usize) -> bool {
        let has = |index: usize| {
            let covers = |causal: &Causal| causal.applied().covers(&self.lineage, id);
            covers(&self.nodes[index].causal) || covers(&self.owners[index].causal)
        };
        self.connected(log, to) || (0..self.nodes.len()).any(|via| self.connected(via, to) && has(via))
    }

    /// The place of the entry behind `length` others.
    fn place(&self, region: usize, length: usize) -> Place {
        Place { epoch: self.epochs[region], n: length as u64 + 1 }
    }

    fn resume(&self, cursor: &Cursor) -> Option<Causal> {
        Causal::resume(&self.lineage, cursor, &Vector::default(), &self.heads()).ok()
    }

    /// Where the logs end.
    fn heads(&self) -> Vector {
        let last = |(index, log): (usize, &Vec<Entry>)| {
            let place = Place { epoch: self.epochs[index], n: log.len() as u64 };
            (region(index), messaging::place::Mark { place, count: 0 })
        };
        self.logs.iter().enumerate().map(last).collect()
    }
}

/// The message that an event is.
fn message(event: &Event) -> Option<u8> {
    event.from.as_ref().map(|from| from.csn as u8)
}

fn sender(person: usize, message: u8) -> messaging::event::Sender {
    const NAMES: [&str; 4] = ["ann", "bob", "eve", "joe"];
    let (user, device) = (UserId::new(NAMES[person]), DeviceId::new("phone"));
    messaging::event::Sender { user, device, csn: u64::from(message) }
}

impl Model for Delivery {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        State::new(self.shape)
    }

    fn actions(&self, state: &State) -> Vec<Action> {
        step::actions(self, state)
    }

    fn step(&self, state: &State, action: &Action) -> Result<State, String> {
        step::step(self, state, action)
    }

    fn at_rest(&self, state: &State) -> Result<(), String> {
        check::at_rest(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_is_found_out() {
        for (broken, shape) in Broken::CONTROLS {
            let found = run(shape, broken, 200_000);
            let (wrong, way) = found.violation.unwrap_or_else(|| panic!("{broken:?} was not found out"));
            println!("{broken:?}: after {} states: {wrong}", found.states);
            println!("    {}", way.join(" > "));
        }
    }

    #[test]
    fn the_rule_holds_in_every_state_of_the_small_spaces() {
        for (shape, limit) in spaces(false) {
            let found = run(shape, Broken::Nothing, limit);
            println!(
                "{shape:?}: {} states, depth {}, complete: {}",
                found.states, found.depth, found.complete
            );
            assert_eq!(found.violation, None);
        }
    }
}
