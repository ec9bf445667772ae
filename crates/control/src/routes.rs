//! From a worker's event to the task of the room that it concerns. Nothing here waits: a room that is behind delays its own
//! events and nobody else's.
//!
//! What bounds a room's queue is credit: every connection may have so much in messages on the way to its adapter, and gets it
//! back as they are taken. A room pauses a connection long before its credit is used up; whoever goes on all the same loses
//! lossy messages first and its session then. All other events are a handful per connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{PeerId, RoomId};
use contract::media::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::data::RELIABLE;
use crate::metrics::{Metrics, count};

/// Units that one connection may have on the way: a message costs one, and one more per [`UNIT`]. In 16 MiB is what a client on a
/// fast network sends in the tenth of a second that a busy machine may take to pause it.
const CREDIT: usize = 16 * 1_024;
/// Bytes.
const UNIT: usize = 1_024;
/// Lossy messages leave this much to the reliable ones.
const RESERVE: usize = CREDIT / 2;

/// What a room hears.
pub(crate) enum Routed {
    /// An event, and what is given back when it is dropped.
    Event(Event, Option<Credit>),
    /// This connection did not stop sending messages.
    Flood(PeerId),
}

/// Held as long as a message is on the way.
pub(crate) type Credit = OwnedSemaphorePermit;

/// Which room a connection belongs to, and where that room's task listens.
#[derive(Default)]
pub(crate) struct Routes {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    peers: HashMap<PeerId, Peer>,
    rooms: HashMap<RoomId, mpsc::UnboundedSender<Routed>>,
}

struct Peer {
    room: RoomId,
    /// Index of its worker.
    worker: usize,
    credit: Arc<Semaphore>,
    /// What it said while it is between two rooms, in order; bounded like a room's queue.
    held: Option<Vec<Routed>>,
}

impl Routes {
    pub fn add_room(&self, room: RoomId, events: mpsc::UnboundedSender<Routed>) {
        self.tables().rooms.insert(room, events);
    }

    /// `false`: some connection has this id already.
    pub fn add_peer(&self, peer: PeerId, room: RoomId, worker: usize) -> bool {
        let mut tables = self.tables();
        let is_new = !tables.peers.contains_key(&peer);
        if is_new {
            let credit = Arc::new(Semaphore::new(CREDIT));
            tables.peers.insert(peer, Peer { room, worker, credit, held: None });
        }
        is_new
    }

    /// The connection leaves its room. Its events wait from now on; those before are in the room's queue.
    pub fn hold_peer(&self, peer: PeerId) {
        if let Some(peer) = self.tables().peers.get_mut(&peer) {
            peer.held.get_or_insert_default();
        }
    }

    /// The connection is in this room: what waited goes there, and all that follows.
    pub fn move_peer(&self, id: PeerId, room: RoomId) {
        let mut tables = self.tables();
        let Tables { peers, rooms } = &mut *tables;
        let Some(peer) = peers.get_mut(&id) else { return };
        peer.room = room;
        let held = peer.held.take().unwrap_or_default();
        if let Some(room) = rooms.get(&room) {
            // A room that is gone hears nothing.
            held.into_iter().for_each(|routed| drop(room.send(routed)));
        }
    }

    pub fn remove_peer(&self, peer: PeerId) {
        self.tables().peers.remove(&peer);
    }

    /// A room that ended in order has removed its connections before.
    pub fn remove_room(&self, room: RoomId) {
        self.tables().rooms.remove(&room);
    }

    /// A room that ended by a panic left connections behind: these, and the indexes of their workers.
    pub fn abandon_room(&self, room: RoomId) -> Vec<(PeerId, usize)> {
        let mut tables = self.tables();
        tables.rooms.remove(&room);
        tables.peers.extract_if(|_, peer| peer.room == room).map(|(id, peer)| (id, peer.worker)).collect()
    }

    fn pass(&self, event: Event, metrics: &Metrics) {
        let mut tables = self.tables();
        let Tables { peers, rooms } = &mut *tables;
        let mut peer = event.peer().and_then(|id| Some((id, peers.get_mut(&id)?)));
        let room = match (&event, &peer) {
            (
                Event::Speakers { room, .. } | Event::WantedLayer { room, .. } | Event::RoomLost { room, .. },
                _,
            ) => Some(room),
            (_, peer) => peer.as_ref().map(|(_, peer)| &peer.room),
        };
        let Some(room) = room.and_then(|room| rooms.get(room)) else {
            return count(&metrics.unrouted);
        };
        let routed = match (&peer, units(&event)) {
            (Some((id, peer)), Some(units)) => admit(*id, &peer.credit, units, event),
            _ => Some(Routed::Event(event, None)),
        };
        if let Some(held) = peer.as_mut().and_then(|(_, peer)| peer.held.as_mut()) {
            return held.extend(routed);
        }
        match routed.map(|routed| room.send(routed)) {
            Some(Ok(())) => {}
            Some(Err(_)) => count(&metrics.unrouted),
            None => count(&metrics.data_in_dropped),
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every critical section leaves the tables whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message, if there is credit for it. `None`: it is lost.
fn admit(peer: PeerId, credit: &Arc<Semaphore>, units: u32, event: Event) -> Option<Routed> {
    if is_lossy(&event) && credit.available_permits() < RESERVE {
        return None;
    }
    match Arc::clone(credit).try_acquire_many_owned(units) {
        Ok(credit) => Some(Routed::Event(event, Some(credit))),
        // Said once: without credit for good, it is not heard any more.
        Err(_) => (!credit.is_closed()).then(|| {
            credit.close();
            Routed::Flood(peer)
        }),
    }
}

/// What an event costs of which a client can make many.
fn units(event: &Event) -> Option<u32> {
    let bytes = match event {
        Event::Data { payload, .. } => payload.len(),
        Event::ChannelOpen { channel, .. } => channel.label.len(),
        _ => return None,
    };
    Some(u32::try_from(1 + bytes / UNIT).unwrap_or(u32::MAX))
}

/// A message that may be lost.
pub(crate) fn is_lossy(event: &Event) -> bool {
    matches!(event, Event::Data { label, .. } if &**label != RELIABLE)
}

/// Passes events on until the workers are gone.
pub(crate) async fn route(
    events: async_channel::Receiver<Event>,
    routes: Arc<Routes>,
    metrics: Arc<Metrics>,
) {
    while let Ok(event) = events.recv().await {
        routes.pass(event, &metrics);
    }
}
