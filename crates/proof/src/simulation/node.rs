//! A node: perhaps the owner of its region's partition, and a server of clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use messaging::causal::{Causal, Hold, Offer};
use messaging::event::Event;
use messaging::partition::Partition;
use messaging::place::{Cursor, EventId, Lineage, Vector};
use messaging::session::Session;

/// A client's stream on a node.
pub struct Stream {
    pub client: usize,
    pub session: Session,
    /// How much of the node's deliveries it has seen.
    pub next: usize,
    /// When the last frame of the connection arrives; the next not before.
    pub arrives: u64,
}

/// A running process, or one that crashed.
pub struct Node {
    pub region: usize,
    /// Which of its lives; what was on its way to an earlier one is lost.
    pub life: u64,
    pub alive: bool,
    /// When it died.
    pub died: u64,
    pub owner: Option<Partition>,
    pub incarnation: u64,
    pub causal: Causal,
    /// Where it began: what is below is not there to be read.
    pub base: Vector,
    pub delivered: Vec<Arc<Event>>,
    pub known: BTreeMap<EventId, Arc<Event>>,
    pub streams: BTreeMap<u64, Stream>,
    /// A read of what is missing is under way.
    pub repairing: bool,
    /// How wrong its wall clock is, in milliseconds.
    pub skew: i64,
}

impl Node {
    pub fn new(region: usize, skew: i64) -> Self {
        Self {
            region,
            life: 0,
            alive: true,
            died: 0,
            owner: None,
            incarnation: 0,
            causal: Causal::default(),
            base: Vector::default(),
            delivered: Vec::new(),
            known: BTreeMap::new(),
            streams: BTreeMap::new(),
            repairing: false,
            skew,
        }
    }

    /// Nothing in memory survives.
    pub fn crash(&mut self, now: u64) {
        let (region, life, skew) = (self.region, self.life + 1, self.skew);
        *self = Self { life, alive: false, died: now, ..Self::new(region, skew) };
    }

    /// A process begins, where the logs do.
    pub fn begin(&mut self, lineage: &Lineage, base: &Cursor) {
        let none = Vector::default();
        self.alive = true;
        self.causal = Causal::resume(lineage, base, &none, &none).unwrap_or_default();
        self.base = base.at.clone();
    }

    /// An event of some log came. True: it was new.
    pub fn learn(&mut self, lineage: &Lineage, event: &Arc<Event>) -> bool {
        if self.known.insert(event.id, Arc::clone(event)).is_some() {
            return false;
        }
        if self.causal.offer(lineage, Arc::clone(event)) == Offer::Full {
            self.known.remove(&event.id);
            return false;
        }
        while let Some(delivery) = self.causal.next(lineage, |_| Hold::Go) {
            self.delivered.push(delivery.event);
        }
        true
    }
}
