//! The sessions that live, by whose they are: a client that resumes on another socket finds its own here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender};
use axum::extract::ws::WebSocket;
use base::{Identity, ParticipantId, RoomName};

use crate::session::Return;

/// Clients that came back for one session and wait for its task. It takes the newest; older ones have given up.
const ARRIVALS: usize = 4;

/// Rooms under which a session is found that was moved: that it is in, and the one before.
const KNOWN_ROOMS: usize = 2;

/// A client that came back.
pub(crate) struct Arrival {
    pub socket: WebSocket,
    /// What it says of itself.
    pub back: Return,
}

/// All that live in this process. One per room and identity: a newer one takes the place of an older one.
#[derive(Clone, Default)]
pub(crate) struct Living(Arc<Mutex<Entries>>);

type Key = (RoomName, Identity);
type Entries = BTreeMap<Key, Entry>;

struct Entry {
    participant: ParticipantId,
    arrivals: Sender<Arrival>,
}

/// Where a client that comes back belongs.
pub(crate) enum Found {
    /// To this session.
    There(Sender<Arrival>),
    /// Another session of its identity has taken the place of its own.
    Replaced,
    /// Nowhere: its session is over, or was elsewhere.
    Nowhere,
}

/// Keeps a session in the list until it is dropped.
pub(crate) struct Listed {
    living: Living,
    /// The newest last.
    keys: Vec<Key>,
    participant: ParticipantId,
    sender: Sender<Arrival>,
    pub arrivals: Receiver<Arrival>,
}

impl Living {
    /// Lists a session.
    pub fn enter(&self, room: RoomName, identity: Identity, participant: ParticipantId) -> Listed {
        let (sender, arrivals) = async_channel::bounded(ARRIVALS);
        let key = (room, identity);
        self.entries().insert(key.clone(), Entry { participant, arrivals: sender.clone() });
        Listed { living: self.clone(), keys: vec![key], participant, sender, arrivals }
    }

    /// The session of this identity; `participant`: it must be this one. Clients of old protocols do not say which.
    pub fn find(&self, key: &Key, participant: Option<ParticipantId>) -> Found {
        match self.entries().get(key) {
            None => Found::Nowhere,
            Some(entry) if participant.is_none_or(|id| id == entry.participant) => {
                Found::There(entry.arrivals.clone())
            }
            Some(_) => Found::Replaced,
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Insertions and removals leave it whole whatever panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed {
    /// The session was moved to another room. Its client may not know that yet: it is found under the room before, too.
    pub fn move_to(&mut self, room: RoomName) {
        let identity = self.keys.last().map_or_else(|| Identity::new(""), |(_, identity)| identity.clone());
        let key = (room, identity);
        let entry = Entry { participant: self.participant, arrivals: self.sender.clone() };
        self.living.entries().insert(key.clone(), entry);
        self.keys.retain(|known| *known != key);
        self.keys.push(key);
        if self.keys.len() > KNOWN_ROOMS {
            let forgotten = self.keys.remove(0);
            self.remove(&forgotten);
        }
    }

    fn remove(&self, key: &Key) {
        let mut entries = self.living.entries();
        if entries.get(key).is_some_and(|entry| entry.participant == self.participant) {
            entries.remove(key);
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.arrivals.close();
        self.keys.iter().for_each(|key| self.remove(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        (RoomName::new("room"), Identity::new("ada"))
    }

    #[test]
    fn a_session_that_was_replaced_is_told_so_and_its_end_does_not_hide_the_new_one() {
        let living = Living::default();
        let (old, new) = (ParticipantId(1), ParticipantId(2));
        let first = living.enter(key().0, key().1, old);
        assert!(matches!(living.find(&key(), Some(old)), Found::There(_)));
        let second = living.enter(key().0, key().1, new);
        assert!(matches!(living.find(&key(), Some(old)), Found::Replaced));
        drop(first);
        assert!(matches!(living.find(&key(), Some(new)), Found::There(_)));
        assert!(matches!(living.find(&key(), None), Found::There(_)));
        drop(second);
        assert!(matches!(living.find(&key(), Some(new)), Found::Nowhere));
        assert!(living.entries().is_empty());
    }

    #[test]
    fn a_session_that_was_moved_is_found_in_its_room_and_in_the_one_before() {
        let living = Living::default();
        let in_room = |room: &str| (RoomName::new(room), key().1);
        let found =
            |room: &str| matches!(living.find(&in_room(room), Some(ParticipantId(1))), Found::There(_));
        let mut moved = living.enter(key().0, key().1, ParticipantId(1));
        moved.move_to(RoomName::new("second"));
        assert!(found("room") && found("second"));
        moved.move_to(RoomName::new("third"));
        assert!(!found("room") && found("second") && found("third"));
        moved.move_to(RoomName::new("second"));
        assert!(found("second") && found("third"));
        let newer = living.enter(in_room("third").0, key().1, ParticipantId(2));
        drop(moved);
        assert!(!found("second"));
        assert!(matches!(living.find(&in_room("third"), Some(ParticipantId(2))), Found::There(_)));
        drop(newer);
        assert!(living.entries().is_empty());
    }
}
