//! In the room that a forwarded participant is in.

use std::sync::Arc;

use base::model::LeaveReason;
use base::{ParticipantId, PeerId, RoomName};
use contract::session::{AdminRefused, Event};
use tokio::sync::{mpsc, watch};

use super::{Answer, ForwardId, Offer, Saying, Shared, Step, Visit, Wishes};
use crate::metrics::count;
use crate::room_task::RoomTask;
use crate::wanted::Asker;

/// Rooms in which one participant is shown at most: its worker handles each of its packets once for each.
const MAX_FORWARDS: usize = 16;
/// What it says that may wait for one of them; in messages of the largest size 16 MiB.
const MAX_SAYINGS: usize = 256;
/// Messages that may be lost leave this much to those that may not.
const RESERVE: usize = MAX_SAYINGS / 2;
/// With so many waiting it is not read any more...
const PAUSE_AT: usize = MAX_SAYINGS / 4;
/// ...until so few do.
const RESUME_AT: usize = MAX_SAYINGS / 16;

/// One participant in one other room.
pub(crate) struct Forward {
    of: ParticipantId,
    to: RoomName,
    shared: watch::Sender<Shared>,
    sayings: mpsc::Sender<Saying>,
    /// What was known of its connections when they were last looked at; see [`crate::relays::Relays::revision`].
    revision: u64,
}

impl Forward {
    fn waiting(&self) -> usize {
        MAX_SAYINGS - self.sayings.capacity()
    }
}

impl RoomTask {
    pub(crate) fn forwarding_step(&mut self, step: Step) {
        match step {
            Step::Check { participant, reply } => {
                let _ = reply.send(self.room.check_guest(&participant).map_err(crate::moving::refusal));
            }
            Step::Offer { participant, destination, reply } => {
                let _ = reply.send(self.offer(participant, destination));
            }
            Step::Admit { visit, reply } => {
                let admitted = self.admit(*visit);
                self.publish_info();
                let _ = reply.send(admitted);
            }
        }
    }

    fn offer(&mut self, id: ParticipantId, to: RoomName) -> Result<Offer, AdminRefused> {
        self.forget_ended_forwards();
        if self.forwards_of(id).count() >= MAX_FORWARDS {
            return Err(AdminRefused::ForwardedTooOften);
        }
        let seat = self.seats.get(&id).filter(|_| !self.departing.contains_key(&id));
        let (Some(seat), Some(guest)) = (seat, self.room.guest(id)) else { return Err(AdminRefused::Left) };
        let sources = Arc::new(self.relays.sources_of(id));
        let worker = Arc::clone(&seat.place.worker);
        let shared = Shared { guest, worker, sources, quality: seat.quality(), left: None };
        let (forward, info) = (ForwardId(rand::random()), self.room.info());
        let (home, home_name) = (info.id, info.name.clone());
        let visit = Visit { id: forward, home, home_name, shared: shared.clone() };
        let (sender, receiver) = watch::channel(shared);
        let (sayings, said) = mpsc::channel(MAX_SAYINGS);
        let revision = self.relays.revision();
        self.forwarding.out.insert(forward, Forward { of: id, to, shared: sender, sayings, revision });
        let answers = self.forwarding.answer_sender.clone();
        Ok(Offer { visit, shared: receiver, sayings: said, answers })
    }

    /// Tells the rooms that show somebody what has changed.
    pub(crate) fn share(&mut self) {
        if self.forwarding.out.is_empty() {
            return;
        }
        self.forget_ended_forwards();
        let revision = self.relays.revision();
        for forward in self.forwarding.out.values_mut() {
            let id = forward.of;
            let (Some(guest), Some(seat)) = (self.room.guest(id), self.seats.get(&id)) else { continue };
            let quality = seat.quality();
            let is_same_media = std::mem::replace(&mut forward.revision, revision) == revision;
            forward.shared.send_if_modified(|shared| {
                let sources = (!is_same_media).then(|| self.relays.sources_of(id));
                let sources = sources.filter(|sources| *sources != *shared.sources);
                let is_news =
                    !guest.is_unchanged(&shared.guest) || sources.is_some() || quality != shared.quality;
                (shared.guest, shared.quality) = (guest, quality);
                shared.worker = Arc::clone(&seat.place.worker);
                if let Some(sources) = sources {
                    shared.sources = Arc::new(sources);
                }
                is_news
            });
        }
    }

    /// A participant sends something to everybody.
    pub(crate) fn say_abroad(&mut self, id: ParticipantId, saying: &Saying) {
        let may_be_lost = match saying {
            Saying::Message { kind, .. } => *kind == base::model::DataKind::Lossy,
            Saying::Packet(_) => true,
        };
        let mut is_behind = false;
        for forward in self.forwards_of(id) {
            let has_room = !may_be_lost || forward.sayings.capacity() > RESERVE;
            if !has_room || forward.sayings.try_send(saying.clone()).is_err() {
                count(&self.metrics.data_dropped);
            }
            is_behind |= forward.waiting() >= PAUSE_AT;
        }
        let Some(seat) = self.seats.get(&id).filter(|_| is_behind) else { return };
        let peers: Vec<PeerId> = seat.peers.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.pause(id, peer));
    }

    /// Is it shown anywhere?
    pub(crate) fn is_forwarded(&self, id: ParticipantId) -> bool {
        self.forwards_of(id).next().is_some()
    }

    /// The rooms in which it is shown.
    pub(crate) fn forwarded_to(&self, id: ParticipantId) -> impl Iterator<Item = &RoomName> {
        self.forwards_of(id).map(|forward| &forward.to)
    }

    /// Little of what it said waits.
    pub(crate) fn is_heard_abroad(&self, id: ParticipantId) -> bool {
        self.forwards_of(id).all(|forward| forward.sayings.is_closed() || forward.waiting() <= RESUME_AT)
    }

    fn forwards_of(&self, id: ParticipantId) -> impl Iterator<Item = &super::Forward> {
        self.forwarding.out.values().filter(move |forward| forward.of == id)
    }

    /// A participant is gone, and with it all that is shown of it; unless its identity goes on in another session.
    pub(crate) fn end_forwards(&mut self, id: ParticipantId, reason: LeaveReason) {
        for (key, mut forward) in
            self.forwarding.out.extract_if(.., |_, forward| forward.of == id).collect::<Vec<_>>()
        {
            let identity = forward.shared.borrow().guest.participant().identity.clone();
            let successor = self.room.find(&identity).filter(|successor| self.seats.contains_key(successor));
            match successor.filter(|_| reason == LeaveReason::DuplicateIdentity) {
                Some(successor) => {
                    forward.of = successor;
                    self.forwarding.out.insert(key, forward);
                }
                None => forward.shared.send_modify(|shared| shared.left = Some(reason)),
            }
        }
    }

    /// What other rooms say about their guests.
    pub(crate) fn hear_abroad(&mut self, id: ForwardId, answer: Answer) {
        match answer {
            Answer::Ended => self.forget_forward(id),
            Answer::Wishes(wishes) => self.hear_wishes(id, &wishes),
        }
    }

    fn hear_wishes(&mut self, forward: ForwardId, wishes: &Wishes) {
        let Some(id) = self.forwarding.out.get(&forward).map(|forward| forward.of) else { return };
        let is_own = |task: &Self, track: base::TrackId| task.room.publisher(track.primary()) == Some(id);
        for (track, highest) in &wishes.wanted {
            if is_own(self, *track) {
                self.layer_wanted_by(Asker::Forward(forward), *track, *highest);
            }
        }
        for track in &wishes.backups {
            if is_own(self, *track) && self.room.offers_backup(*track) && !self.room.has_backup(*track) {
                self.deliver(id, Event::BackupNeeded { track: *track });
            }
        }
        for track in &wishes.received {
            self.room.note_received(*track);
        }
    }

    fn forget_forward(&mut self, id: ForwardId) {
        if self.forwarding.out.remove(&id).is_some() {
            self.unwanted_by(Asker::Forward(id));
        }
    }

    /// Those that came to nothing, or whose bridge is gone.
    fn forget_ended_forwards(&mut self) {
        let out = self.forwarding.out.iter();
        let ended = out.filter(|(_, forward)| forward.sayings.is_closed()).map(|(id, _)| *id);
        for id in ended.collect::<Vec<ForwardId>>() {
            self.forget_forward(id);
        }
    }
}
