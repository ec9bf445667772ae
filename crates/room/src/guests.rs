//! Participants of other rooms that are shown in this one: they are told to everybody and their tracks can be received, while
//! they receive nothing. What they are is decided in their own room.

use std::sync::Arc;
use std::time::Instant;

use base::model::{DataTrack, KindDetail, Notice, Participant, ParticipantState, Track};
use base::{ParticipantId, TrackId, UnixMillis};

use crate::announce::Predecessor;
use crate::member::{Audience, Member};
use crate::{MoveRefused, Newcomer, Room};

/// A participant as its own room shows it to others.
#[derive(Clone)]
pub struct Guest {
    participant: Arc<Participant>,
    audience: Arc<Audience>,
}

impl Guest {
    /// As it is in its own room.
    pub fn participant(&self) -> &Arc<Participant> {
        &self.participant
    }

    /// Has nothing changed since? Costs nothing to ask.
    pub fn is_unchanged(&self, since: &Self) -> bool {
        Arc::ptr_eq(&self.participant, &since.participant) && Arc::ptr_eq(&self.audience, &since.audience)
    }
}

impl Room {
    /// What other rooms are to show of a participant. `None`: it is not there, or is a guest itself.
    pub fn guest(&self, id: ParticipantId) -> Option<Guest> {
        let member = self.members.get(&id).filter(|member| !member.is_guest)?;
        Some(Guest { participant: Arc::clone(&member.value), audience: Arc::clone(&member.audience) })
    }

    /// Is this somebody of another room?
    pub fn is_guest(&self, id: ParticipantId) -> bool {
        self.members.get(&id).is_some_and(|member| member.is_guest)
    }

    /// Would [`Self::admit_guest`] take this participant? `true`: it is here already. Nothing changes.
    ///
    /// # Errors
    /// See [`MoveRefused`].
    pub fn check_guest(&self, participant: &Participant) -> Result<bool, MoveRefused> {
        match self.is_guest(participant.id) {
            true => Ok(true),
            false => self.check_move(participant).map(|()| false),
        }
    }

    /// Shows a participant of another room, as one that joins and publishes what it publishes there. It is told nothing. It counts as
    /// any other participant, and goes by [`Room::leave`], or when its identity joins itself.
    ///
    /// # Errors
    /// See [`MoveRefused`]; nothing has changed then.
    pub fn admit_guest(
        &mut self,
        now: Instant,
        guest: &Guest,
        joined_at: UnixMillis,
    ) -> Result<(), MoveRefused> {
        self.check_move(&guest.participant)?;
        let predecessor = self.untold_departure(&guest.participant.identity);
        self.seat_guest(now, guest, joined_at, predecessor);
        Ok(())
    }

    /// In its own room another session has taken a guest's place, as it does here; to the others it never went.
    ///
    /// # Errors
    /// See [`MoveRefused`]: the identity is somebody else's here. Nothing has changed then.
    pub fn replace_guest(
        &mut self,
        now: Instant,
        old: ParticipantId,
        guest: &Guest,
        joined_at: UnixMillis,
    ) -> Result<(), MoveRefused> {
        let identity = &guest.participant.identity;
        if !self.is_guest(old) || self.find(identity) != Some(old) {
            return Err(MoveRefused::IdentityTaken);
        }
        let (predecessor, _) = self.replace(identity);
        self.seat_guest(now, guest, joined_at, predecessor);
        Ok(())
    }

    fn seat_guest(
        &mut self,
        now: Instant,
        guest: &Guest,
        joined_at: UnixMillis,
        predecessor: Option<Predecessor>,
    ) {
        let participant = &guest.participant;
        let (id, identity) = (participant.id, participant.identity.clone());
        let after = predecessor.as_ref().map_or(0, |predecessor| predecessor.next_version());
        let mut member = Member::new(newcomer(participant, joined_at), participant.version.max(after), now);
        member.is_guest = true;
        Arc::make_mut(&mut member.value).state = participant.state;
        self.members.insert(id, member);
        self.by_identity.insert(identity, id);
        self.recount(now);
        self.number(id);
        if participant.state == ParticipantState::Active {
            self.tell_joined(id);
        }
        self.announce_arrival(now, id, predecessor);
        self.update_guest(now, guest);
    }

    /// A guest has changed in its own room.
    pub fn update_guest(&mut self, now: Instant, guest: &Guest) {
        let current = &guest.participant;
        if !self.is_guest(current.id) {
            return;
        }
        self.update_guests_profile(now, current);
        self.update_guests_tracks(now, current.id, &current.tracks);
        self.update_guests_data_tracks(now, current.id, &current.data_tracks);
        self.change_audience(now, current.id, Arc::clone(&guest.audience));
    }

    /// In another room that shows its publisher somebody has received this track: its publisher is told, if that is news.
    pub fn note_received(&mut self, track: TrackId) {
        let Some(publication) = self.tracks.get_mut(&track) else { return };
        if !std::mem::replace(&mut publication.had_subscriber, true) {
            let publisher = publication.publisher;
            self.tell(publisher, Notice::FirstSubscriber { track });
        }
    }

    fn update_guests_profile(&mut self, now: Instant, current: &Participant) {
        let Some(known) = self.participant(current.id) else { return };
        let profile = |of: &Participant| {
            (of.name.clone(), of.metadata.clone(), of.attributes.clone(), of.permissions.clone(), of.state)
        };
        let (was, is) = (profile(known), profile(current));
        if was == is {
            return;
        }
        let is_new = was.4 != ParticipantState::Active && is.4 == ParticipantState::Active;
        self.change(current.id, |participant| {
            (participant.name, participant.metadata, participant.attributes) = (is.0, is.1, is.2);
            (participant.permissions, participant.state) = (is.3, is.4);
        });
        if is_new {
            self.tell_joined(current.id);
        }
        self.recount(now);
        self.announce_change(now, current.id);
    }

    fn update_guests_tracks(&mut self, now: Instant, id: ParticipantId, current: &[Track]) {
        let Some(member) = self.members.get(&id) else { return };
        let known = member.value.tracks.iter().chain(&member.pending).map(|track| track.id);
        let gone: Vec<TrackId> =
            known.filter(|known| current.iter().all(|track| track.id != *known)).collect();
        for track in gone {
            self.unpublish(now, id, track);
        }
        let mut fresh = Vec::new();
        for track in current {
            if self.publisher(track.id) == Some(id) {
                self.replace_track(now, track);
                continue;
            }
            let Some(member) = self.members.get_mut(&id) else { return };
            match member.pending.iter_mut().find(|pending| pending.id == track.id) {
                Some(pending) => *pending = track.clone(),
                None => {
                    member.pending.push(track.clone());
                    fresh.push(track.id);
                }
            }
        }
        self.announce_tracks_soon(now, id, &fresh);
    }

    fn update_guests_data_tracks(&mut self, now: Instant, id: ParticipantId, current: &[DataTrack]) {
        let Some(known) = self.participant(id).map(|participant| participant.data_tracks.clone()) else {
            return;
        };
        for gone in known.iter().filter(|known| !current.contains(known)) {
            self.unpublish_data_track(now, id, gone.handle);
        }
        for fresh in current.iter().filter(|track| !known.contains(track)) {
            // Without a handle left it is shown without it.
            let _ = self.publish_data_track(now, id, fresh.clone());
        }
    }
}

fn newcomer(participant: &Participant, joined_at: UnixMillis) -> Newcomer {
    let mut kind_details = participant.kind_details.clone();
    kind_details.insert(KindDetail::Forwarded);
    Newcomer {
        id: participant.id,
        identity: participant.identity.clone(),
        name: participant.name.clone(),
        metadata: participant.metadata.clone(),
        attributes: participant.attributes.clone(),
        kind: participant.kind,
        kind_details,
        permissions: participant.permissions.clone(),
        auto_subscribe: false,
        auto_subscribe_data: false,
        abilities: participant.abilities.clone(),
        joined_at,
    }
}
