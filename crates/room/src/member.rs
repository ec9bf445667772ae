//! A participant with what the room knows of it and nobody is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use base::model::{Participant, ParticipantKind, ParticipantState, Permissions, Track};
use base::{Identity, ParticipantId, TrackId};

use crate::Newcomer;
use crate::levels::Told;

pub(crate) struct Member {
    /// What others are told.
    pub value: Arc<Participant>,
    /// The room's sequence when it joined: its welcome said everything up to here.
    pub joined: u64,
    /// When it is removed unless it has become active.
    pub activation: Instant,
    /// Wants everything that it did not refuse.
    pub auto_subscribe: bool,
    /// Wants all data tracks that it did not refuse.
    pub auto_subscribe_data: bool,
    /// What it asked for data track by data track.
    pub data_wishes: BTreeMap<TrackId, bool>,
    /// What it asked for track by track; tracks that are gone are forgotten.
    pub wishes: BTreeMap<TrackId, bool>,
    /// What it receives.
    pub subscribed: BTreeSet<TrackId>,
    /// From whom it receives, and how many tracks.
    pub heard: BTreeMap<ParticipantId, u32>,
    /// Tracks whose media section is not negotiated yet.
    pub pending: Vec<Track>,
    /// Who may receive its tracks.
    pub audience: Arc<Audience>,
    /// It is in another room, and only shown in this one.
    pub is_guest: bool,
    /// What it was last told about speakers and connections.
    pub told: Told,
}

impl Member {
    pub fn new(newcomer: Newcomer, version: u32, activation: Instant) -> Self {
        let value = Participant {
            id: newcomer.id,
            identity: newcomer.identity,
            name: newcomer.name,
            metadata: newcomer.metadata,
            attributes: newcomer.attributes,
            state: ParticipantState::Joined,
            kind: newcomer.kind,
            kind_details: newcomer.kind_details,
            permissions: newcomer.permissions,
            tracks: Vec::new(),
            data_tracks: Vec::new(),
            abilities: newcomer.abilities,
            joined_at: newcomer.joined_at,
            version,
            left: None,
        };
        Self {
            value: Arc::new(value),
            joined: 0,
            activation,
            auto_subscribe: newcomer.auto_subscribe,
            auto_subscribe_data: newcomer.auto_subscribe_data,
            data_wishes: BTreeMap::new(),
            wishes: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            heard: BTreeMap::new(),
            pending: Vec::new(),
            audience: Arc::default(),
            is_guest: false,
            told: Told::default(),
        }
    }

    /// The same in another room, where it receives nothing yet and has wished for nothing.
    pub fn moved(self) -> Self {
        Self {
            joined: 0,
            data_wishes: BTreeMap::new(),
            wishes: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            heard: BTreeMap::new(),
            told: Told::default(),
            ..self
        }
    }

    pub fn is_visible(&self) -> bool {
        !self.value.permissions.hidden
    }

    /// Keeps the room open and counts against its limit.
    pub fn is_holder(&self) -> bool {
        is_holder(self.value.kind, &self.value.permissions)
    }

    pub fn wants(&self, track: TrackId) -> bool {
        self.wishes.get(&track).copied().unwrap_or(self.auto_subscribe)
    }
}

/// Recorders and agents serve the others: a room in which only they are left is empty.
pub(crate) fn is_holder(kind: ParticipantKind, permissions: &Permissions) -> bool {
    let serves = matches!(kind, ParticipantKind::Egress | ParticipantKind::Agent);
    !serves && !permissions.recorder && !permissions.agent
}

/// Who may receive a publisher's tracks.
pub(crate) struct Audience {
    pub all: bool,
    /// Otherwise these, and of each these tracks; no tracks = all of them.
    pub allowed: BTreeMap<Identity, BTreeSet<TrackId>>,
}

impl Default for Audience {
    fn default() -> Self {
        Self { all: true, allowed: BTreeMap::new() }
    }
}

impl Audience {
    pub fn admits(&self, identity: &Identity, track: TrackId) -> bool {
        self.all
            || self.allowed.get(identity).is_some_and(|tracks| tracks.is_empty() || tracks.contains(&track))
    }
}
