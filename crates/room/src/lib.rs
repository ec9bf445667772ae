//! One room: who is in it, what they may do, what they publish, who receives what, and what everybody is told.
//!
//! A [`Room`] is a value without clock, threads or IO. **It is driven like this:** after every call that takes `now`,
//! drain [`Room::poll_event`] until it is empty and carry the events out in order; call [`Room::handle_timeout`] when
//! [`Room::poll_timeout`] has come. `now` never goes backwards.
//!
//! What participants can rely on, in the order of their notices:
//! - a joining participant has its [`Welcome`] first; updates follow it and repeat nothing that it says;
//! - a `Subscribe` comes after the `Participants` (or the welcome) that names its track;
//! - when a track goes, `Unsubscribe` comes before the `Participants` that no longer names it; so does `DataHandles` when
//!   a data track goes, and when one comes it follows;
//! - somebody who is replaced by a session of the same identity is not reported as gone;
//! - hidden participants are reported to nobody but themselves;
//! - `Closed` is the last notice a participant gets.
//!
//! Arrivals, departures, mutes and metadata of participants are folded: a first change is told at once, further ones
//! together, in a window that grows with the room ([`fold_window`]). Tracks that come or go are folded in a shorter one, and only
//! when many do ([`track_window`]). What each participant is told in a second is bounded, whatever the others do.
//!
//! This crate knows nothing of connections, SDP, protocols or tokens.

mod announce;
mod data_tracks;
mod guests;
mod happenings;
mod levels;
mod lifecycle;
mod member;
mod moving;
mod profile;
mod subscribe;
mod throttle;
mod track;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::agents::Dispatch;
use base::events::Happening;
use base::model::{
    Abilities, KindDetail, LeaveReason, Notice, Participant, ParticipantKind, Permissions, RoomInfo,
};
pub use base::model::{DataTrackRefused, PublishRefused};
use base::{Identity, ParticipantId, TrackId, UnixMillis};

use announce::Fold;
pub use announce::{fold_window, track_window};
pub use data_tracks::DataRoute;
use data_tracks::DataTracks;
pub use guests::Guest;
use levels::Levels;
use member::Member;
pub use moving::{MoveRefused, Mover};
use throttle::Throttle;
use track::Publication;
pub use track::{MuteRefused, Negotiated};

/// A participant that does not get a media connection within this time is removed.
pub const ACTIVATION_TIMEOUT: Duration = Duration::from_secs(60);

/// What a room accepts. The defaults are LiveKit's where it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most participants, whatever the room's own limit says. Every join is told to everybody, so that the control
    /// plane of one room is quadratic; 10,000 is what one core tells within seconds.
    pub participants: usize,
    /// Tracks of one participant that are announced.
    pub tracks: usize,
    /// Data tracks of one participant.
    pub data_tracks: usize,
    /// Tracks of one participant that wait for their media section.
    pub pending_tracks: usize,
    /// Longest identity, display name, track name, stream name and cid, in bytes.
    pub name_bytes: usize,
    /// Metadata and attributes of a participant together, in bytes.
    pub metadata_bytes: usize,
    /// Identities that a publisher may name in its subscription permission.
    pub audience: usize,
    /// Layers of one track.
    pub layers: usize,
    /// The server may ask a publisher to unmute.
    pub remote_unmute: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            participants: 10_000,
            tracks: 100,
            data_tracks: 100,
            pending_tracks: 20,
            name_bytes: 256,
            metadata_bytes: 64 * 1024,
            audience: 10_000,
            layers: 8,
            remote_unmute: false,
        }
    }
}

/// A participant that wants in.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// Its session, random.
    pub id: ParticipantId,
    /// Who it is.
    pub identity: Identity,
    /// Display name.
    pub name: String,
    /// Metadata.
    pub metadata: String,
    /// Attributes.
    pub attributes: BTreeMap<String, String>,
    /// Kind of program.
    pub kind: ParticipantKind,
    /// More about that.
    pub kind_details: BTreeSet<KindDetail>,
    /// What it may do.
    pub permissions: Permissions,
    /// Subscribe to everything but data tracks.
    pub auto_subscribe: bool,
    /// Subscribe to all data tracks.
    pub auto_subscribe_data: bool,
    /// What its client can do.
    pub abilities: Abilities,
    /// The wall-clock time.
    pub joined_at: UnixMillis,
}

/// What a participant is told on joining.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The participant itself.
    pub participant: Arc<Participant>,
    /// The room.
    pub room: RoomInfo,
    /// The visible others.
    pub others: Vec<Arc<Participant>>,
}

/// Why a participant may not join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinRefused {
    /// No place left.
    Full,
    /// A name, metadata or attributes are larger than [`Limits`] allow.
    LimitExceeded,
    /// The room is over; a new one of the same name may be made.
    Ended,
}

/// What the shell is to carry out.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Tell this participant. After `Notice::Closed` it is gone: close its connections.
    Notice(ParticipantId, Notice),
    /// Forward this track's media, or do not.
    SetMuted {
        /// The track.
        track: TrackId,
        /// Muted?
        muted: bool,
    },
    /// Tell those who follow the room from outside.
    Happened(Happening),
    /// The room is over, and empty. The last event.
    Ended(LeaveReason),
}

/// One life of a room.
pub struct Room {
    info: RoomInfo,
    limits: Limits,
    members: BTreeMap<ParticipantId, Member>,
    by_identity: BTreeMap<Identity, ParticipantId>,
    tracks: BTreeMap<TrackId, Publication>,
    data: DataTracks,
    /// Counts joins and changes: tells what a member's welcome already said.
    sequence: u64,
    fold: Fold,
    levels: Levels,
    info_told: Throttle,
    /// The sequence at the last change of `info`.
    info_changed: u64,
    /// When those that never came up are removed.
    activations: BTreeSet<(Instant, ParticipantId)>,
    /// When the room ends unless somebody comes.
    vacant_until: Option<Instant>,
    /// Participants that keep the room open.
    holders: usize,
    ended: bool,
    events: VecDeque<Event>,
}

impl Room {
    /// An empty room; its counts are kept by the room itself.
    pub fn new(now: Instant, info: RoomInfo, limits: Limits) -> Self {
        let vacant_until = Some(now + Duration::from_secs(info.empty_timeout_s.into()));
        let info = RoomInfo { participants: 0, publishers: 0, recording: false, ..info };
        Self {
            info,
            limits,
            members: BTreeMap::new(),
            by_identity: BTreeMap::new(),
            tracks: BTreeMap::new(),
            data: DataTracks::default(),
            sequence: 0,
            fold: Fold::default(),
            levels: Levels::default(),
            info_told: Throttle::default(),
            info_changed: 0,
            activations: BTreeSet::new(),
            vacant_until,
            holders: 0,
            ended: false,
            events: VecDeque::from([Event::Happened(Happening::RoomStarted { agents: Vec::new() })]),
        }
    }

    /// A new room, with the agents that its maker ordered: they are told with its start and are nothing to the room otherwise.
    #[must_use]
    pub fn with_agents(mut self, agents: Vec<Dispatch>) -> Self {
        if let Some(first) = self.events.front_mut() {
            *first = Event::Happened(Happening::RoomStarted { agents });
        }
        self
    }

    /// The room as it is told to participants and to the server API.
    pub fn info(&self) -> &RoomInfo {
        &self.info
    }

    /// No more joins; a new room of the same name may be made.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// All participants, hidden ones too, ordered by id.
    pub fn participants(&self) -> impl ExactSizeIterator<Item = &Arc<Participant>> {
        self.members.values().map(|member| &member.value)
    }

    /// A participant.
    pub fn participant(&self, id: ParticipantId) -> Option<&Arc<Participant>> {
        self.members.get(&id).map(|member| &member.value)
    }

    /// The session of an identity.
    pub fn find(&self, identity: &Identity) -> Option<ParticipantId> {
        self.by_identity.get(identity).copied()
    }

    /// The next thing to carry out.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Room::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let activation = self.activations.first().map(|(at, _)| *at);
        let told = [self.fold.due(), self.levels.due(), self.info_told.due()];
        told.into_iter().chain([activation, self.vacant_until]).flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.remove_inactive(now);
        self.flush_participants(now);
        self.flush_levels(now);
        self.flush_info(now);
        self.end_if_vacant(now);
    }

    /// Who gets a data message of `sender`: all others, or those of the named identities and sessions. Each once, never
    /// the sender; hidden ones too, guests never. `None`: the sender may not send data.
    pub fn receivers(
        &self,
        sender: ParticipantId,
        identities: &[Identity],
        participants: &[ParticipantId],
    ) -> Option<Vec<ParticipantId>> {
        self.members.get(&sender).filter(|member| member.value.permissions.publish_data)?;
        let mut receivers = self.addressed(identities, participants);
        receivers.retain(|id| *id != sender);
        Some(receivers)
    }

    /// Who gets a data message of the server: everybody, or those of the named identities and sessions. Each once,
    /// hidden ones too, guests never.
    pub fn addressed(&self, identities: &[Identity], participants: &[ParticipantId]) -> Vec<ParticipantId> {
        if identities.is_empty() && participants.is_empty() {
            let here = self.members.iter().filter(|(_, member)| !member.is_guest);
            return here.map(|(id, _)| *id).collect();
        }
        let named = identities.iter().filter_map(|identity| self.find(identity));
        let listed = participants.iter().copied().filter(|id| self.members.contains_key(id));
        let targets: BTreeSet<ParticipantId> = named.chain(listed).filter(|id| !self.is_guest(*id)).collect();
        targets.into_iter().collect()
    }

    fn tell(&mut self, participant: ParticipantId, notice: Notice) {
        self.events.push_back(Event::Notice(participant, notice));
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Changes a participant and the version by which others know that it changed.
    fn change(&mut self, id: ParticipantId, change: impl FnOnce(&mut Participant)) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let value = Arc::make_mut(&mut member.value);
        change(value);
        value.version = value.version.wrapping_add(1);
    }
}
