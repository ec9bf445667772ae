//! Participants that go on in another room: taken out of one with what they publish, taken into the other as they are.

use std::sync::Arc;
use std::time::Instant;

use base::model::{LeaveReason, Notice, Participant, ParticipantState, Track};
use base::{ParticipantId, TrackId, UnixMillis};

use crate::lifecycle::depart;
use crate::member::{Member, is_holder};
use crate::{JoinRefused, Room, Welcome};

/// A participant between two rooms.
pub struct Mover {
    /// It has announced nothing: its tracks are among those that wait for it.
    member: Member,
    /// Those of them that are negotiated, in order.
    negotiated: Vec<TrackId>,
}

impl Mover {
    /// As it was last, but for its tracks.
    pub fn participant(&self) -> &Arc<Participant> {
        &self.member.value
    }
}

/// Why a room does not take a mover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveRefused {
    /// Somebody of this identity is there.
    IdentityTaken,
    /// As it would not be let in if it came by itself.
    Join(JoinRefused),
}

impl Room {
    /// Would [`Self::move_in`] take this participant? Nothing changes.
    ///
    /// # Errors
    /// See [`MoveRefused`].
    pub fn check_move(&self, participant: &Participant) -> Result<(), MoveRefused> {
        if self.find(&participant.identity).is_some() {
            return Err(MoveRefused::IdentityTaken);
        }
        let fits = participant.tracks.len() <= self.limits.tracks
            && participant.data_tracks.len() <= self.limits.data_tracks
            && self.fits(&participant.metadata, &participant.attributes);
        if !fits {
            return Err(MoveRefused::Join(JoinRefused::LimitExceeded));
        }
        let counts = is_holder(participant.kind, &participant.permissions);
        self.check_places(self.members.len(), self.holders, counts).map_err(MoveRefused::Join)
    }

    /// Takes a participant out that goes on elsewhere. It is told what it receives no more, and nothing after that; to the others
    /// it leaves. `None`: there is none.
    pub fn move_out(&mut self, now: Instant, id: ParticipantId) -> Option<Mover> {
        let subscribed: Vec<_> = self.subscriptions(id).collect();
        for track in subscribed {
            self.tell(id, Notice::Unsubscribe { track });
        }
        self.take_data_handles(id);
        let waiting = self.fold.take_tracks(id);
        let mut member = self.extract(id, LeaveReason::Moved)?;
        let mut gone = Arc::clone(&member.value);
        depart(Arc::make_mut(&mut gone), LeaveReason::Moved);
        if member.is_visible() {
            self.announce_departure(now, gone, member.value.is_publisher());
        }
        self.recount(now);
        let announced = std::mem::take(&mut Arc::make_mut(&mut member.value).tracks);
        let negotiated = announced.iter().map(|track| track.id).chain(waiting).collect();
        member.pending.splice(0..0, announced);
        Some(Mover { member, negotiated })
    }

    /// Takes a participant in with its tracks, as one that joins and publishes them. Whoever drives this room tells it the welcome
    /// before anything else; in it are its tracks already.
    ///
    /// # Errors
    /// See [`MoveRefused`]; nothing has changed then, and the mover comes back.
    pub fn move_in(
        &mut self,
        now: Instant,
        mover: Mover,
        joined_at: UnixMillis,
    ) -> Result<Welcome, (MoveRefused, Box<Mover>)> {
        if let Err(refused) = self.check_move(mover.participant()) {
            return Err((refused, Box::new(mover)));
        }
        let Mover { member, negotiated } = mover;
        let mut member = member.moved();
        let value = Arc::make_mut(&mut member.value);
        value.joined_at = joined_at;
        value.version = value.version.wrapping_add(1);
        let (id, identity, active) =
            (value.id, value.identity.clone(), value.state == ParticipantState::Active);
        if !active {
            self.activations.insert((member.activation, id));
        }
        let data_tracks = value.data_tracks.clone();
        let is_negotiated = |track: &&Track| negotiated.contains(&track.id);
        let tracks = member.pending.iter().filter(is_negotiated).cloned().collect();
        let predecessor = self.untold_departure(&identity);
        self.members.insert(id, member);
        self.by_identity.insert(identity, id);
        self.recount(now);
        self.number(id);
        if active {
            self.tell_joined(id);
        }
        let mut welcome = self.welcome(id);
        Arc::make_mut(&mut welcome.participant).tracks = tracks;
        self.subscribe_newcomer(now, id);
        self.subscribe_newcomer_to_data(id);
        self.take_in_data_tracks(id, &data_tracks);
        self.announce_arrival(now, id, predecessor);
        if !data_tracks.is_empty() {
            self.announce_tracks(now, id);
        }
        self.announce_tracks_soon(now, id, &negotiated);
        Ok(welcome)
    }
}
