//! What a partition's log says: channels and clock, built from its records and checkpointed with its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::ChannelId;

use crate::causal::{Hold, Offer};
use crate::channel::Channel;
use crate::clock::Hlc;
use crate::event::{Entry, Event, Record};
use crate::format::{Malformed, decode, encode, encoded_struct};
use crate::place::{Lineage, Place, Region};

/// The state of one partition in one region. Equal logs give equal states, whether read whole or from a checkpoint on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// In whose log.
    pub region: Region,
    /// The last record applied; `n` is 0 before the first.
    pub head: Place,
    /// The highest clock applied.
    pub clock: Hlc,
    /// How epochs follow each other.
    pub lineage: Lineage,
    /// The channels.
    pub channels: BTreeMap<ChannelId, Channel>,
}

encoded_struct!(State { region, head, clock, lineage, channels });

impl State {
    /// Before the first record of `epoch`.
    pub fn new(region: Region, epoch: u32) -> Self {
        let head = Place { epoch, n: 0 };
        Self { region, head, clock: Hlc::default(), lineage: Lineage::default(), channels: BTreeMap::new() }
    }

    /// A checkpoint: the bytes of all of it.
    pub fn checkpoint(&self) -> Vec<u8> {
        encode(self)
    }

    /// The state of a checkpoint.
    pub fn restore(bytes: &[u8]) -> Result<Self, Malformed> {
        decode(bytes)
    }

    /// Applies the next record of the own log.
    pub fn replay(&mut self, record: &Record) {
        self.head.n += 1;
        match &record.entry {
            Entry::Barrier => {}
            Entry::Event { event } => {
                self.offer(Arc::clone(event));
            }
            Entry::Marks { channel, marks } => {
                let Some(channel) = self.channels.get_mut(channel) else { return };
                marks.iter().for_each(|(user, mark)| channel.raise_mark(&self.lineage, user, mark));
            }
        }
    }

    /// Takes an event of any region's log; what the rule lets go is applied and returned.
    pub fn offer(&mut self, event: Arc<Event>) -> (Offer, Vec<Arc<Event>>) {
        let name = event.channel.clone();
        let channel = self.channels.entry(name.clone()).or_default();
        let offer = channel.causal_mut().offer(&self.lineage, event);
        (offer, self.release(&name))
    }

    /// Applies what the rule lets go now.
    pub(super) fn release(&mut self, channel: &ChannelId) -> Vec<Arc<Event>> {
        let mut applied = Vec::new();
        let Some(channel) = self.channels.get_mut(channel) else { return applied };
        while let Some(delivery) = channel.causal_mut().next(&self.lineage, |_| Hold::Go) {
            channel.delivered(&self.lineage, &delivery);
            self.clock = self.clock.max(delivery.event.clock);
            applied.push(delivery.event);
        }
        applied
    }

    /// Applies an event that the owner appends now.
    pub fn append(&mut self, event: &Arc<Event>) {
        let channel = self.channels.entry(event.channel.clone()).or_default();
        channel.append(&self.lineage, event);
        self.clock = self.clock.max(event.clock);
    }

    /// The log goes on in a new epoch, behind the last record applied: what it had beyond was lost.
    pub fn open_epoch(&mut self, epoch: u32) -> bool {
        let opened = self.lineage.follow(self.region, epoch, self.head);
        if opened {
            self.head.epoch = epoch;
        }
        opened
    }

    /// Do events of the own log wait for those of other regions that they depend on?
    pub fn is_behind(&self) -> bool {
        self.channels.values().any(|channel| channel.causal().waits_in(self.region))
    }
}
