//! Who comes, who goes, and when the room is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::events::Happening;
use base::model::{LeaveReason, Notice, Participant, ParticipantState};
use base::{Identity, ParticipantId};

use crate::announce::Predecessor;
use crate::member::{Member, is_holder};
use crate::{ACTIVATION_TIMEOUT, Event, JoinRefused, Newcomer, Room, Welcome};

impl Room {
    /// Lets a participant in. A session of the same identity is closed first, and the others are not told that it went.
    ///
    /// # Errors
    /// See [`JoinRefused`]; nothing has changed then.
    pub fn join(&mut self, now: Instant, newcomer: Newcomer) -> Result<Welcome, JoinRefused> {
        self.check_join(&newcomer)?;
        let (id, identity) = (newcomer.id, newcomer.identity.clone());
        let (predecessor, version) = self.replace(&identity);
        let deadline = now + ACTIVATION_TIMEOUT;
        self.members.insert(id, Member::new(newcomer, version, deadline));
        self.by_identity.insert(identity, id);
        self.activations.insert((deadline, id));
        self.recount(now);
        self.number(id);
        let welcome = self.welcome(id);
        self.subscribe_newcomer(now, id);
        self.subscribe_newcomer_to_data(id);
        self.announce_arrival(now, id, predecessor);
        Ok(welcome)
    }

    /// Its primary media connection is up.
    pub fn activate(&mut self, now: Instant, id: ParticipantId) {
        let Some(member) = self.members.get(&id) else { return };
        if member.value.state != ParticipantState::Joined {
            return;
        }
        self.activations.remove(&(member.activation, id));
        self.change(id, |participant| participant.state = ParticipantState::Active);
        self.tell_joined(id);
        self.announce_change(now, id);
    }

    /// A participant goes, or is made to. `false`: there is none.
    pub fn leave(&mut self, now: Instant, id: ParticipantId, reason: LeaveReason) -> bool {
        let Some(gone) = self.take_out(id, reason) else { return false };
        let (visible, published) = (gone.is_visible(), gone.value.is_publisher());
        let mut value = gone.value;
        depart(Arc::make_mut(&mut value), reason);
        if visible {
            self.announce_departure(now, value, published);
        }
        self.recount(now);
        true
    }

    /// Everybody goes, and the room is over.
    pub fn close(&mut self, reason: LeaveReason) {
        if self.ended {
            return;
        }
        self.ended = true;
        for (id, member) in std::mem::take(&mut self.members) {
            self.tell_gone(&member.value, reason);
            self.tell(id, Notice::Closed(reason));
        }
        self.by_identity.clear();
        self.tracks.clear();
        self.data = Default::default();
        self.activations.clear();
        self.fold = Default::default();
        self.levels = Default::default();
        self.info_told = Default::default();
        self.vacant_until = None;
        self.holders = 0;
        self.info.participants = 0;
        self.info.publishers = 0;
        self.info.recording = false;
        self.happened(Happening::RoomFinished(reason));
        self.events.push_back(Event::Ended(reason));
    }

    pub(crate) fn remove_inactive(&mut self, now: Instant) {
        while let Some((at, id)) = self.activations.first().copied() {
            if at > now {
                break;
            }
            self.activations.pop_first();
            self.leave(now, id, LeaveReason::JoinFailure);
        }
    }

    pub(crate) fn end_if_vacant(&mut self, now: Instant) {
        if self.vacant_until.is_some_and(|at| at <= now) {
            self.close(LeaveReason::RoomClosed);
        }
    }

    /// Brings the numbers up to date after somebody came, went, or started or stopped publishing.
    pub(crate) fn recount(&mut self, now: Instant) {
        let before = self.info.clone();
        let visible = || self.members.values().filter(|member| member.is_visible());
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.info.participants = count(visible().count());
        self.info.publishers = count(visible().filter(|member| member.value.is_publisher()).count());
        self.info.recording = self.members.values().any(|member| member.value.permissions.recorder);
        self.holders = self.members.values().filter(|member| member.is_holder()).count();
        if self.holders > 0 {
            self.vacant_until = None;
        } else if self.vacant_until.is_none() {
            self.vacant_until = Some(now + Duration::from_secs(self.info.departure_timeout_s.into()));
        }
        if before != self.info {
            self.announce_info(now, before.recording != self.info.recording);
        }
    }

    /// Would [`Self::join`] let it in? Nothing changes.
    ///
    /// # Errors
    /// Those of [`Self::join`].
    pub fn check_join(&self, newcomer: &Newcomer) -> Result<(), JoinRefused> {
        if self.ended {
            return Err(JoinRefused::Ended);
        }
        let limits = &self.limits;
        let names = [newcomer.identity.as_str(), &newcomer.name];
        if names.iter().any(|name| name.len() > limits.name_bytes)
            || !self.fits(&newcomer.metadata, &newcomer.attributes)
        {
            return Err(JoinRefused::LimitExceeded);
        }
        // Whoever is replaced makes room.
        let replaced = self.find(&newcomer.identity).and_then(|id| self.members.get(&id));
        let total = self.members.len() - usize::from(replaced.is_some());
        let holders = self.holders - usize::from(replaced.is_some_and(Member::is_holder));
        self.check_places(total, holders, is_holder(newcomer.kind, &newcomer.permissions))
    }

    /// Is there a place beside so many participants, of whom so many count against the room's limit as the newcomer does or
    /// does not?
    pub(crate) fn check_places(&self, total: usize, holders: usize, counts: bool) -> Result<(), JoinRefused> {
        let most = match self.info.max_participants {
            0 => usize::MAX,
            most => most as usize,
        };
        if self.ended {
            return Err(JoinRefused::Ended);
        }
        if total >= self.limits.participants || (counts && holders >= most) {
            return Err(JoinRefused::Full);
        }
        Ok(())
    }

    /// Closes the session that `identity` has, if any. Also returns the version at which its successor starts.
    pub(crate) fn replace(&mut self, identity: &Identity) -> (Option<Predecessor>, u32) {
        let Some(old) = self.find(identity) else {
            let predecessor = self.untold_departure(identity);
            let version = predecessor.as_ref().map_or(0, Predecessor::next_version);
            return (predecessor, version);
        };
        let Some(gone) = self.take_out(old, LeaveReason::DuplicateIdentity) else { return (None, 0) };
        let is_visible = gone.is_visible();
        let predecessor = self.forget_untold(gone.value);
        let version = predecessor.next_version();
        // Nobody knows an identity that was hidden.
        (is_visible.then_some(predecessor), version)
    }

    /// Takes a participant and its tracks out and closes it; the others are not told about the participant yet.
    fn take_out(&mut self, id: ParticipantId, reason: LeaveReason) -> Option<Member> {
        let member = self.extract(id, reason)?;
        self.tell(id, Notice::Closed(reason));
        Some(member)
    }

    /// The same without closing it.
    pub(crate) fn extract(&mut self, id: ParticipantId, reason: LeaveReason) -> Option<Member> {
        let member = self.members.remove(&id)?;
        if self.by_identity.get(&member.value.identity) == Some(&id) {
            self.by_identity.remove(&member.value.identity);
        }
        self.activations.remove(&(member.activation, id));
        self.forget_levels(id);
        self.tell_gone(&member.value, reason);
        for track in &member.value.tracks {
            self.drop_publication(track.id);
        }
        self.forget_data_tracks(id);
        Some(member)
    }

    /// From here on things are news to the newcomer.
    pub(crate) fn number(&mut self, id: ParticipantId) {
        let sequence = self.next_sequence();
        if let Some(member) = self.members.get_mut(&id) {
            member.joined = sequence;
        }
    }

    pub(crate) fn welcome(&self, id: ParticipantId) -> Welcome {
        let others = self.members.iter().filter(|(other, member)| **other != id && member.is_visible());
        Welcome {
            participant: Arc::clone(&self.members[&id].value),
            room: self.info.clone(),
            others: others.map(|(_, member)| Arc::clone(&member.value)).collect(),
        }
    }
}

pub(crate) fn depart(participant: &mut Participant, reason: LeaveReason) {
    participant.state = ParticipantState::Disconnected;
    participant.left = Some(reason);
    participant.tracks.clear();
    participant.data_tracks.clear();
    participant.version = participant.version.wrapping_add(1);
}
