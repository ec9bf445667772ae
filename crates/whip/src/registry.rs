//! The sessions that run, by the last segment of their URL.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Protocol;
use crate::admission::Owner;
use crate::extensions::Feed;
use crate::task::Call;

/// How a session is reached.
#[derive(Clone)]
pub(crate) struct Entry {
    pub protocol: Protocol,
    pub owner: Owner,
    pub calls: async_channel::Sender<Call>,
    /// What players are told.
    pub feed: Feed,
}

/// All of them, and the places that are taken by sessions on their way.
#[derive(Clone)]
pub(crate) struct Registry {
    entries: Arc<Mutex<HashMap<String, Option<Entry>>>>,
    most: usize,
}

/// A session's place; given back when this is dropped.
pub(crate) struct Place {
    registry: Registry,
    id: String,
}

impl Registry {
    pub fn new(most: usize) -> Self {
        Self { entries: Arc::default(), most }
    }

    /// Takes a place. `None`: there are as many sessions as there may be.
    pub fn reserve(&self) -> Option<Place> {
        let id = unguessable();
        let mut entries = self.lock();
        if entries.len() >= self.most {
            return None;
        }
        entries.insert(id.clone(), None);
        Some(Place { registry: self.clone(), id })
    }

    /// The session with this id, of this protocol.
    pub fn find(&self, protocol: Protocol, id: &str) -> Option<Entry> {
        self.lock().get(id).cloned().flatten().filter(|entry| entry.protocol == protocol)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Option<Entry>>> {
        // Nothing panics while it is held; if it did, the map would still be whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An id that nobody guesses. A session's takes a token besides; a stream of events is open to whoever knows its own, since a
/// browser's EventSource cannot send a token.
pub(crate) fn unguessable() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Place {
    /// The last segment of the session's URL.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// From now on the session is found.
    pub fn open(&self, entry: Entry) {
        self.registry.lock().insert(self.id.clone(), Some(entry));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.id);
    }
}
