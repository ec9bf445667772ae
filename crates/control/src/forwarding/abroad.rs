//! In the rooms in which a participant of another one is shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::model::{LeaveReason, Notice};
use base::{ParticipantId, PeerId, RoomId, RoomName, TrackId};
use contract::media::{Command, ForwardedTrack, RelayedTrack};
use contract::session::{AdminRefused, DataTarget, Event};
use tokio::sync::watch;

use super::{ForwardId, Invitation, News, Saying, Shared, Visit, Wishes};
use crate::door::wall_clock;
use crate::moving::refusal;
use crate::placement::Worker;
use crate::room_task::{RoomTask, now};

/// Somebody of another room.
pub(crate) struct Visitor {
    forward: ForwardId,
    home: RoomId,
    home_name: RoomName,
    worker: Arc<Worker>,
    /// What stands for its connections where tracks have to come from one.
    connection: PeerId,
    sources: Arc<BTreeMap<TrackId, RelayedTrack>>,
    wishes: watch::Sender<Wishes>,
}

impl RoomTask {
    /// Shows somebody of another room. `None`: it is shown already.
    pub(crate) fn admit(&mut self, visit: Visit) -> Result<Option<Invitation>, AdminRefused> {
        let Visit { id: forward, home, home_name, shared } = visit;
        let (id, worker) = (shared.guest.participant().id, Arc::clone(&shared.worker));
        if self.room.is_guest(id) {
            return Ok(None);
        }
        if !self.placement.reaches(&worker) {
            return Err(AdminRefused::Unavailable);
        }
        self.room.admit_guest(now(), &shared.guest, wall_clock()).map_err(refusal)?;
        self.placement.adopt(&worker);
        let (wishes, invited) = watch::channel(Wishes::default());
        let visitor = Visitor {
            forward,
            home,
            home_name,
            worker,
            connection: PeerId(rand::random()),
            sources: Arc::default(),
            wishes,
        };
        self.forwarding.visitors.insert(id, visitor);
        self.take_media(id, &shared);
        let news = self.forwarding.news_sender.clone();
        Ok(Some(Invitation { news, wishes: invited }))
    }

    /// What its own room says of a guest.
    pub(crate) fn hear_from_home(&mut self, forward: ForwardId, news: News) {
        let mut visitors = self.forwarding.visitors.iter();
        // It may be of one that is not shown any more, or again.
        let Some(id) = visitors.find(|(_, visitor)| visitor.forward == forward).map(|(id, _)| *id) else {
            return;
        };
        match news {
            News::Changed(shared) if shared.guest.participant().id != id => self.replace_guest(id, &shared),
            News::Changed(shared) => {
                self.room.update_guest(now(), &shared.guest);
                self.take_media(id, &shared);
            }
            News::Says(Saying::Message { kind, metrics, sequence, payload }) => {
                let target = DataTarget { metrics, ..DataTarget::default() };
                self.send_data(id, kind, &target, sequence, &payload);
            }
            News::Says(Saying::Packet(packet)) => self.pass_packet(id, packet),
            News::Gone(reason) => {
                self.room.leave(now(), id, reason);
            }
        }
    }

    /// At home another session has taken its place, perhaps on another worker.
    fn replace_guest(&mut self, old: ParticipantId, shared: &Shared) {
        let (new, worker) = (shared.guest.participant().id, Arc::clone(&shared.worker));
        if !self.placement.reaches(&worker)
            || self.room.replace_guest(now(), old, &shared.guest, wall_clock()).is_err()
        {
            self.room.leave(now(), old, LeaveReason::StateMismatch);
            return;
        }
        self.set_sources(old, &Arc::default());
        let Some(mut visitor) = self.forwarding.visitors.remove(&old) else { return };
        self.placement.leave(&visitor.worker);
        self.placement.adopt(&worker);
        self.forget_backpressure(old);
        visitor.worker = worker;
        self.forwarding.visitors.insert(new, visitor);
        self.hold_guest(new, false);
        self.take_media(new, shared);
    }

    fn take_media(&mut self, id: ParticipantId, shared: &Shared) {
        self.set_sources(id, &shared.sources);
        if let Some(quality) = shared.quality {
            self.room.set_quality(now(), id, quality);
        }
    }

    /// Has its worker publish what it sends here, too.
    fn set_sources(&mut self, id: ParticipantId, sources: &Arc<BTreeMap<TrackId, RelayedTrack>>) {
        let Some(visitor) = self.forwarding.visitors.get_mut(&id) else { return };
        if Arc::ptr_eq(&visitor.sources, sources) {
            return;
        }
        let before = std::mem::replace(&mut visitor.sources, Arc::clone(sources));
        visitor.wishes.send_if_modified(|wishes| {
            let (wanted, backups) = (wishes.wanted.len(), wishes.backups.len());
            wishes.wanted.retain(|track, _| sources.contains_key(track));
            // What is sent needs not be asked for; should it end, it may be needed again.
            let is_sent = |track: &TrackId| sources.contains_key(&track.backup());
            wishes.backups.retain(|track| sources.contains_key(track) && !is_sent(track));
            wishes.received.retain(|track| sources.contains_key(track));
            (wanted, backups) != (wishes.wanted.len(), wishes.backups.len())
        });
        let (worker, home, room) = (Arc::clone(&visitor.worker), visitor.home, self.room.info().id);
        self.relays.set_sources(visitor.connection, &before, sources);
        for track in before.keys().filter(|track| !sources.contains_key(track)) {
            let command = Command::SetForwarded { room, track: *track, source: None };
            self.worker_command(&worker, command);
        }
        for (track, source) in sources.iter().filter(|(track, source)| before.get(track) != Some(source)) {
            let source = Some(ForwardedTrack { home, track: source.clone() });
            self.worker_command(&worker, Command::SetForwarded { room, track: *track, source });
            if self.room.is_muted(track.primary()) {
                self.worker_command(&worker, Command::SetMuted { room, track: *track, muted: true });
            }
        }
    }

    /// It is out of this room.
    pub(crate) fn dismiss(&mut self, id: ParticipantId) {
        self.set_sources(id, &Arc::default());
        let Some(visitor) = self.forwarding.visitors.remove(&id) else { return };
        self.placement.leave(&visitor.worker);
        self.forget_backpressure(id);
    }

    /// What the participants of this room bring about for a guest is for its own room; it has no adapter here.
    pub(crate) fn wish(&mut self, id: ParticipantId, event: &Event) {
        let Some(visitor) = self.forwarding.visitors.get(&id) else { return };
        visitor.wishes.send_if_modified(|wishes| match event {
            Event::WantedLayer { track, highest } => wishes.wanted.insert(*track, *highest) != Some(*highest),
            Event::BackupNeeded { track } => wishes.backups.insert(*track),
            Event::Notice(Notice::FirstSubscriber { track }) => wishes.received.insert(*track),
            _ => false,
        });
    }

    /// A guest is to say nothing for now, since some do not keep up, or may go on.
    pub(crate) fn hold_guest(&mut self, id: ParticipantId, held: bool) {
        if let Some(visitor) = self.forwarding.visitors.get(&id) {
            visitor.wishes.send_if_modified(|wishes| std::mem::replace(&mut wishes.held, held) != held);
        }
    }

    /// The worker of a guest.
    pub(crate) fn guests_worker(&self, id: ParticipantId) -> Option<&Arc<Worker>> {
        self.forwarding.visitors.get(&id).map(|visitor| &visitor.worker)
    }

    /// The guests whose media comes from this worker.
    pub(crate) fn guests_on(&self, worker: usize) -> Vec<ParticipantId> {
        let visitors = self.forwarding.visitors.iter();
        visitors.filter(|(_, visitor)| visitor.worker.index() == worker).map(|(id, _)| *id).collect()
    }

    /// The room that a guest is in.
    pub(crate) fn forwarded_from(&self, id: ParticipantId) -> Option<&RoomName> {
        self.forwarding.visitors.get(&id).map(|visitor| &visitor.home_name)
    }
}
