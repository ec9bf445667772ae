//! From a worker's event to the task of the room that it concerns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{PeerId, RoomId};
use contract::media::Event;
use tokio::sync::mpsc;

use crate::metrics::{Metrics, count};

/// Which room a connection belongs to, and where that room's task listens.
#[derive(Default)]
pub(crate) struct Routes {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    peers: HashMap<PeerId, RoomId>,
    rooms: HashMap<RoomId, mpsc::Sender<Event>>,
}

impl Routes {
    pub fn add_room(&self, room: RoomId, events: mpsc::Sender<Event>) {
        self.tables().rooms.insert(room, events);
    }

    /// `false`: some connection has this id already.
    pub fn add_peer(&self, peer: PeerId, room: RoomId) -> bool {
        let mut tables = self.tables();
        let is_new = !tables.peers.contains_key(&peer);
        if is_new {
            tables.peers.insert(peer, room);
        }
        is_new
    }

    pub fn remove_peer(&self, peer: PeerId) {
        self.tables().peers.remove(&peer);
    }

    /// A room that ended in order has removed its connections before.
    pub fn remove_room(&self, room: RoomId) {
        self.tables().rooms.remove(&room);
    }

    /// A room that ended by a panic left connections behind: these.
    pub fn abandon_room(&self, room: RoomId) -> Vec<PeerId> {
        let mut tables = self.tables();
        tables.rooms.remove(&room);
        tables.peers.extract_if(|_, of| *of == room).map(|(peer, _)| peer).collect()
    }

    fn find(&self, event: &Event) -> Option<mpsc::Sender<Event>> {
        let tables = self.tables();
        let room = match event {
            Event::Connected { peer, .. }
            | Event::FirstMedia { peer, .. }
            | Event::ChannelOpen { peer, .. }
            | Event::Data { peer, .. }
            | Event::Quality { peer, .. }
            | Event::Closed { peer, .. } => tables.peers.get(peer)?,
            Event::Speakers { room, .. } | Event::RoomLost { room } => room,
        };
        tables.rooms.get(room).cloned()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every critical section leaves the tables whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes events on until the workers are gone.
pub(crate) async fn route(
    events: async_channel::Receiver<Event>,
    routes: Arc<Routes>,
    metrics: Arc<Metrics>,
) {
    while let Ok(event) = events.recv().await {
        let sent = match routes.find(&event) {
            Some(room) => room.send(event).await.is_ok(),
            None => false,
        };
        if !sent {
            count(&metrics.unrouted);
        }
    }
}
