//! Tracks that cross from one worker of a room to others: see `docs/relay.md`.
//!
//! | what | where |
//! |---|---|
//! | the rings between two workers | [`link`] |
//! | at the publisher's worker: packets and states go out, wishes come in | [`outgoing`] |
//! | at the others: packets come in and are forwarded like any | [`incoming`] |

mod incoming;
pub(crate) mod link;
mod outgoing;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base::{RoomId, TrackId};
use contract::media::MAX_RELAY_WORKERS;

pub use link::Mesh;
use link::{Link, Message, Record};

use self::incoming::Incoming;
use self::outgoing::Outgoing;
use crate::slots::RoomKey;
use crate::tick::Worker;

/// Records taken from one other worker in one tick; the rest waits, so that our own datagrams are read meanwhile.
const MAX_PER_TICK: usize = 1_024;
/// What relays should know is told this often, whether it changed or not: a message may have been lost.
const TELL: Duration = Duration::from_millis(500);
/// Layers of which packets were lost on the way to one worker, for which keyframes will be asked. Receivers of further
/// ones ask themselves.
const MAX_LOST: usize = 64;

const _: () =
    assert!(MAX_RELAY_WORKERS <= sfu::RelaySet::MAX as usize, "a relay's number is its worker's index");

/// What a worker has to do with others.
pub(crate) struct Relays {
    mesh: Mesh,
    /// By the other's index.
    links: BTreeMap<usize, Peering>,
    tell_at: Option<Instant>,
    /// Scratch.
    bytes: Vec<u8>,
}

/// One other worker.
struct Peering {
    link: Link,
    /// Video that was lost on the way there.
    lost: Vec<(RoomId, TrackId, u8)>,
}

impl Peering {
    fn lose(&mut self, room: RoomId, track: TrackId, layer: u8) {
        let lost = (room, track, layer);
        if self.lost.len() < MAX_LOST && !self.lost.contains(&lost) {
            self.lost.push(lost);
        }
    }
}

impl Relays {
    pub(crate) fn new(mesh: Mesh) -> Self {
        Self { mesh, links: BTreeMap::new(), tell_at: None, bytes: Vec::new() }
    }

    /// Another worker has something for us.
    pub(crate) fn has_work(&self) -> bool {
        self.links.values().any(|peering| !peering.link.receiver.is_empty())
    }

    /// When [`Worker::tend_relays`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.tell_at
    }

    /// Wakes all for whom there is something.
    pub(crate) fn wake(&mut self) {
        self.links.values_mut().for_each(|peering| peering.link.sender.wake());
    }

    /// Is there a way to this worker? Makes it when there is none yet.
    fn reach(&mut self, own: usize, other: usize) -> bool {
        if other >= MAX_RELAY_WORKERS || own >= MAX_RELAY_WORKERS {
            return false;
        }
        if !self.links.contains_key(&other)
            && let Some(link) = self.mesh.open(own, other)
        {
            self.links.insert(other, Peering { link, lost: Vec::new() });
        }
        self.links.contains_key(&other)
    }

    fn say(&mut self, to: usize, room: RoomId, track: TrackId, message: Message) {
        if let Some(peering) = self.links.get_mut(&to) {
            peering.link.sender.message(room, track, message);
        }
    }
}

/// What crosses of one room.
#[derive(Default)]
pub(crate) struct RoomRelays {
    pub(crate) outgoing: BTreeMap<TrackId, Outgoing>,
    pub(crate) incoming: BTreeMap<TrackId, Incoming>,
}

impl RoomRelays {
    pub(crate) fn is_empty(&self) -> bool {
        self.outgoing.is_empty() && self.incoming.is_empty()
    }
}

impl Worker {
    /// Takes what other workers have for us.
    pub(crate) fn take_relayed(&mut self, now: Instant) {
        if self.relays.links.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.relays.bytes);
        let mut next = 0;
        while let Some(from) = self.relays.links.range(next..).next().map(|(index, _)| *index) {
            next = from + 1;
            for _ in 0..MAX_PER_TICK {
                let Some(peering) = self.relays.links.get_mut(&from) else { break };
                match peering.link.receiver.next(&mut bytes) {
                    Some(Record::Packet(packet)) => self.packet_relayed(now, from, &packet, &bytes),
                    Some(Record::Message(room, track, message)) => self.hear(now, from, room, track, message),
                    None => break,
                }
            }
        }
        self.relays.bytes = bytes;
    }

    fn hear(&mut self, now: Instant, from: usize, room: RoomId, track: TrackId, message: Message) {
        let Some(key) = self.rooms.find(room) else { return };
        match message {
            Message::Keyframe { layer } => self.relay_keyframe_wanted(now, from, (key, track), layer),
            Message::Wanted(layers) => self.relay_layers_wanted(now, from, (key, track), layers),
            Message::State { state, relayed } => self.hear_state(now, from, (key, track), &state, relayed),
            Message::Report { layer, ntp, rtp, at } => {
                self.hear_report(from, (key, track), layer, (ntp, rtp, at.min(now)));
            }
        }
    }

    /// The end of a tick: others are woken, and told what they may have missed.
    pub(crate) fn tend_relays(&mut self, now: Instant) {
        if self.relays.links.is_empty() {
            return;
        }
        self.ask_for_lost(now);
        if self.relays.tell_at.is_some_and(|at| at <= now) {
            self.tell_all(now);
        }
        self.relays.wake();
    }

    /// The room relays nothing any more, in either direction, and gets nothing from other rooms.
    pub(crate) fn end_relays(&mut self, now: Instant, room: RoomId) {
        let Some(key) = self.rooms.find(room) else { return };
        let Some(relays) = self.rooms.get(key).map(|room| &room.relays) else { return };
        let outgoing: Vec<TrackId> = relays.outgoing.keys().copied().collect();
        let incoming: Vec<TrackId> = relays.incoming.keys().copied().collect();
        outgoing.into_iter().for_each(|track| self.set_relay(now, room, track, &[]));
        incoming.into_iter().for_each(|track| self.set_relayed(now, room, track, None));
        if let Some(key) = self.rooms.find(room) {
            self.end_guests(now, key);
        }
    }

    /// Drops the room if nothing holds it any more.
    pub(crate) fn release_room(&mut self, key: RoomKey) {
        if let Some(room) = self.rooms.release(key) {
            crate::guard::discard(room);
        }
    }
}
