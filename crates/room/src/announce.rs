//! Telling everybody about everybody: folded where it can wait, at once where negotiation waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::model::{LeaveReason, Notice, Participant};
use base::{Identity, ParticipantId, TrackId};

use crate::lifecycle::depart;
use crate::throttle::Throttle;
use crate::{Event, Room};

/// What each participant of a small room adds to the window for people: N changes told to N participants stay below 200 N
/// notices a second.
const SMALL_ROOM: Duration = Duration::from_millis(5);
/// The window for people in rooms of middle size: longer than people notice in a list of hundreds is not needed there.
const MIDDLE_ROOM: Duration = Duration::from_secs(1);
/// What each participant of a large room adds to it: such a room tells a thousand notices a second.
const LARGE_ROOM: Duration = Duration::from_millis(1);
/// Longest time that a change of somebody who publishes nothing waits to be told; what LiveKit's server takes in any room.
const LONGEST_WINDOW: Duration = Duration::from_secs(3);

/// So many times in a row tracks are told at once: microphone, camera and shared screen of two people need not wait.
const TRACKS_AT_ONCE: u32 = 8;
/// What each participant adds to the window for tracks after that.
const TRACK_WINDOW: Duration = Duration::from_millis(1);
/// Longest time that tracks wait: media is waited for.
const LONGEST_TRACK_WINDOW: Duration = Duration::from_millis(200);

/// How often the numbers in the room's own data are told.
const INFO_INTERVAL: Duration = Duration::from_secs(5);

/// How long changes of people are collected in a room of this size, after one that was told at once.
pub fn fold_window(participants: usize) -> Duration {
    let count = u32::try_from(participants).unwrap_or(u32::MAX);
    let small = SMALL_ROOM.saturating_mul(count).min(MIDDLE_ROOM);
    small.max(LARGE_ROOM.saturating_mul(count)).min(LONGEST_WINDOW)
}

/// How long tracks that come or go are collected in a room of this size, after a few that were told at once.
pub fn track_window(participants: usize) -> Duration {
    let count = u32::try_from(participants).unwrap_or(u32::MAX);
    TRACK_WINDOW.saturating_mul(count).min(LONGEST_TRACK_WINDOW)
}

/// Changes that wait to be told together.
pub(crate) struct Fold {
    pending: BTreeMap<ParticipantId, Change>,
    /// Negotiated tracks that wait to be announced, in order. Bounded by the tracks that participants may have pending.
    tracks: Vec<(ParticipantId, TrackId)>,
    people_due: Throttle,
    tracks_due: Throttle,
}

impl Default for Fold {
    fn default() -> Self {
        Self {
            pending: BTreeMap::new(),
            tracks: Vec::new(),
            people_due: Throttle::default(),
            tracks_due: Throttle::new(TRACKS_AT_ONCE),
        }
    }
}

struct Change {
    /// The room's sequence at the (latest) change: who joined later knows it.
    sequence: u64,
    /// Set while its arrival waits too: who joined before this sequence does not know it at all.
    unknown_before: Option<u64>,
    /// It left; otherwise the current value is told.
    left: Option<Arc<Participant>>,
}

impl Fold {
    pub fn due(&self) -> Option<Instant> {
        [self.people_due.due(), self.tracks_due.due()].into_iter().flatten().min()
    }

    fn put(&mut self, id: ParticipantId, change: Change) {
        self.pending.insert(id, change);
    }

    /// The tracks of `id` that wait to be announced, which are forgotten.
    pub fn take_tracks(&mut self, id: ParticipantId) -> Vec<TrackId> {
        self.tracks.extract_if(.., |(of, _)| *of == id).map(|(_, track)| track).collect()
    }

    /// Forgets what waits about `id`. Returns since when its arrival waited.
    fn forget(&mut self, id: ParticipantId) -> Option<u64> {
        self.pending.remove(&id).and_then(|change| change.unknown_before)
    }

    /// Somebody left and comes back before it was told: as if it had been replaced. Returns since when its arrival waited,
    /// and its last value.
    fn forget_departure(&mut self, identity: &Identity) -> Option<(Option<u64>, Arc<Participant>)> {
        let is_same = |change: &Change| {
            change.left.as_ref().is_some_and(|participant| participant.identity == *identity)
        };
        let id = *self.pending.iter().find(|(_, change)| is_same(change))?.0;
        let change = self.pending.remove(&id)?;
        Some((change.unknown_before, change.left?))
    }
}

/// What the others know of the identity that arrives.
pub(crate) struct Predecessor {
    /// Since when the arrival of the predecessor itself waits to be told.
    unknown_before: Option<u64>,
    /// Its last value.
    gone: Arc<Participant>,
}

impl Predecessor {
    /// The version that goes on after it.
    pub fn next_version(&self) -> u32 {
        self.gone.version.wrapping_add(1)
    }
}

impl Room {
    /// The predecessor of an arriving identity whose departure was not told yet.
    pub(crate) fn untold_departure(&mut self, identity: &Identity) -> Option<Predecessor> {
        let (unknown_before, gone) = self.fold.forget_departure(identity)?;
        Some(Predecessor { unknown_before, gone })
    }

    /// `id` goes without being reported as gone: the same identity takes its place.
    pub(crate) fn forget_untold(&mut self, gone: Arc<Participant>) -> Predecessor {
        Predecessor { unknown_before: self.fold.forget(gone.id), gone }
    }

    /// Tells the others that `id` is here.
    pub(crate) fn announce_arrival(
        &mut self,
        now: Instant,
        id: ParticipantId,
        predecessor: Option<Predecessor>,
    ) {
        let Some(member) = self.members.get(&id).filter(|member| member.is_visible()) else {
            return self.announce_replaced(now, predecessor);
        };
        let sequence = member.joined;
        // Others just lost its tracks and are about to renegotiate: they learn at once that it is back.
        let published = predecessor.as_ref().is_some_and(|old| old.gone.is_publisher());
        // Those who knew the predecessor know the identity.
        let unknown_before = predecessor.map_or(Some(sequence), |old| old.unknown_before);
        self.fold.put(id, Change { sequence, unknown_before, left: None });
        if published { self.request_tracks(now) } else { self.request_people(now) }
    }

    /// Somebody hidden took the place: to the others the identity is gone.
    fn announce_replaced(&mut self, now: Instant, predecessor: Option<Predecessor>) {
        let Some(Predecessor { unknown_before, mut gone }) = predecessor else { return };
        if gone.left.is_none() {
            depart(Arc::make_mut(&mut gone), LeaveReason::DuplicateIdentity);
        }
        let sequence = self.next_sequence();
        self.fold.put(gone.id, Change { sequence, unknown_before, left: Some(gone) });
        self.request_people(now);
    }

    /// Tells the participant now and the others soon that it changed.
    pub(crate) fn announce_change(&mut self, now: Instant, id: ParticipantId) {
        self.tell_itself(id);
        if self.put_change(id) {
            self.request_people(now);
        }
    }

    /// Tells the participant now, and the others as soon as tracks are told, that it has other tracks.
    pub(crate) fn announce_tracks(&mut self, now: Instant, id: ParticipantId) {
        self.tell_itself(id);
        self.put_change(id);
        self.request_tracks(now);
    }

    /// A track is negotiated: it is announced with others that come at the same time, and at once if it comes alone.
    pub(crate) fn announce_track_soon(&mut self, now: Instant, id: ParticipantId, track: TrackId) {
        self.announce_tracks_soon(now, id, &[track]);
    }

    /// The same of several of one participant.
    pub(crate) fn announce_tracks_soon(&mut self, now: Instant, id: ParticipantId, tracks: &[TrackId]) {
        if !tracks.is_empty() {
            self.fold.tracks.extend(tracks.iter().map(|track| (id, *track)));
            self.request_tracks(now);
        }
    }

    /// Tells the others that a visible participant is gone; as soon as tracks are told when it had any.
    pub(crate) fn announce_departure(&mut self, now: Instant, gone: Arc<Participant>, published: bool) {
        let (id, sequence) = (gone.id, self.next_sequence());
        let unknown_before = self.fold.forget(id);
        self.fold.put(id, Change { sequence, unknown_before, left: Some(gone) });
        if published { self.request_tracks(now) } else { self.request_people(now) }
    }

    /// Tells what has waited long enough, and what waits beside it: it costs nobody another notice.
    pub(crate) fn flush_participants(&mut self, now: Instant) {
        let due = self.fold.due().is_some_and(|due| due <= now);
        if !due {
            return;
        }
        self.fold.people_due.told(now);
        if self.fold.tracks_due.due().is_some() {
            self.fold.tracks_due.told(now);
        }
        let negotiated = std::mem::take(&mut self.fold.tracks);
        let tracks = self.publish_negotiated(now, negotiated);
        let pending = std::mem::take(&mut self.fold.pending);
        self.tell_changes(&pending);
        // Who is told to receive a track has been told of it.
        for track in tracks {
            self.reconcile_track(now, track);
        }
        self.tell_data_handles();
    }

    /// Tells the room's own data to those whose welcome does not have it: now, or with the next numbers.
    pub(crate) fn announce_info(&mut self, now: Instant, at_once: bool) {
        let interval = if at_once { Duration::ZERO } else { INFO_INTERVAL };
        if at_once {
            // Brings forward what already waits.
            self.info_told = Throttle::default();
        }
        self.info_changed = self.next_sequence();
        self.info_told.request(now, interval);
    }

    pub(crate) fn flush_info(&mut self, now: Instant) {
        if self.info_told.take(now) {
            for (id, _) in self.members.iter().filter(|(_, member)| member.joined < self.info_changed) {
                self.events.push_back(Event::Notice(*id, Notice::Room(self.info.clone())));
            }
        }
    }

    fn request_people(&mut self, now: Instant) {
        self.fold.people_due.request(now, fold_window(self.members.len()));
    }

    /// What need not wait is told before this returns: negotiation goes on from here.
    fn request_tracks(&mut self, now: Instant) {
        self.fold.tracks_due.request(now, track_window(self.members.len()));
        if self.fold.tracks_due.due().is_some_and(|due| due <= now) {
            self.flush_participants(now);
        }
    }

    /// The others are to be told what `id` is when they are told of people. `false`: they do not hear of it.
    fn put_change(&mut self, id: ParticipantId) -> bool {
        if !self.members.get(&id).is_some_and(|member| member.is_visible()) {
            return false;
        }
        let sequence = self.next_sequence();
        let unknown_before = self.fold.forget(id);
        self.fold.put(id, Change { sequence, unknown_before, left: None });
        true
    }

    /// Makes tracks known that were negotiated and are still there. Returns them.
    fn publish_negotiated(&mut self, now: Instant, tracks: Vec<(ParticipantId, TrackId)>) -> Vec<TrackId> {
        let known = tracks.into_iter().filter(|(id, track)| self.publish_track(*id, *track));
        let known: Vec<(ParticipantId, TrackId)> = known.collect();
        if known.is_empty() {
            return Vec::new();
        }
        self.recount(now);
        let publishers: BTreeSet<ParticipantId> = known.iter().map(|(id, _)| *id).collect();
        for id in publishers {
            self.tell_itself(id);
            self.put_change(id);
        }
        known.into_iter().map(|(_, track)| track).collect()
    }

    fn tell_itself(&mut self, id: ParticipantId) {
        if let Some(member) = self.members.get(&id) {
            let notice = Notice::Participants(vec![Arc::clone(&member.value)]);
            self.tell(id, notice);
        }
    }

    fn tell_changes(&mut self, changes: &BTreeMap<ParticipantId, Change>) {
        // Those who left first: clients remove by identity, and the same identity may have arrived again.
        let current = |id: &ParticipantId| self.members.get(id).map(|member| &member.value);
        let gone = changes.values().filter_map(|change| Some((change, change.left.as_ref()?)));
        let here = changes.iter().filter_map(|(id, change)| match change.left {
            Some(_) => None,
            None => Some((change, current(id)?)),
        });
        let told: Vec<(&Change, &Arc<Participant>)> = gone.chain(here).collect();
        for (receiver, member) in &self.members {
            let news: Vec<Arc<Participant>> = told
                .iter()
                .filter(|(change, value)| value.id != *receiver && is_news(change, member.joined))
                .map(|(_, value)| Arc::clone(value))
                .collect();
            if !news.is_empty() {
                self.events.push_back(Event::Notice(*receiver, Notice::Participants(news)));
            }
        }
    }
}

/// Does this change say something to who joined at `joined`?
fn is_news(change: &Change, joined: u64) -> bool {
    let never_heard_of_it = change.unknown_before.is_some_and(|since| joined < since);
    joined < change.sequence && !(change.left.is_some() && never_heard_of_it)
}
