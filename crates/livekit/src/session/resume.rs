//! A client whose socket broke, and who comes back: what it is told, in which order, and what it says that it has.
//!
//! Its connections carry on meanwhile, and nobody else hears of it.

use std::time::{Duration, Instant};

use base::model::{LeaveReason, TrackSettings};
use base::{Identity, TrackId};
use contract::session::Request;
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message;

use crate::metrics::count;
use crate::params::Params;
use crate::{ids, join, translate};

use super::away::Away;
use super::simulate::FailingResume;
use super::uploads::MAX_TRACKS;
use super::{End, Session, Socket, action};

/// A client that pings every 5 s and from which nothing comes for this long has lost its socket, whatever the socket says.
/// A frozen page's browser still answers WebSocket pings, so those do not count.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// Own tracks that were taken down lately and whose publisher may not know it.
const MAX_TAKEN_DOWN: usize = MAX_TRACKS;

/// What a client that comes back says of itself.
pub(crate) struct Return {
    pub token: auth::Verified,
    pub params: Params,
}

impl Session {
    /// The socket is gone without a Leave. `unsent`: what it had not taken. `page_gone`: the client said that it goes away,
    /// as browsers do when a page is closed.
    pub fn lose_socket(&mut self, unsent: Vec<Message>, page_gone: bool, now: Instant) {
        let reason = LeaveReason::SignalClosed;
        if self.media_deadline.is_some() || self.closed_media.is_some() {
            count(&self.metrics().severed);
            return self.finish(End { leave: None, reason: Some(reason) });
        }
        let config = &self.state.config;
        let time = if page_gone { config.linger } else { config.resume_window };
        self.away.get_or_insert_with(|| Away::new(now + time, reason, unsent));
    }

    /// The client has come back before anybody noticed that its socket is gone.
    pub fn change_socket(&mut self, unsent: Vec<Message>, now: Instant) {
        self.away.get_or_insert_with(|| Away::new(now, LeaveReason::SignalClosed, unsent));
    }

    /// When a client that pings is taken for gone.
    pub(super) fn silent_at(&self) -> Option<Instant> {
        let pings = self.pings && self.away.is_none();
        pings.then(|| self.heard_at + SILENCE)
    }

    /// The client has not come back.
    pub(super) fn give_up_waiting(&mut self, reason: LeaveReason) {
        count(&self.metrics().severed);
        self.finish(End { leave: None, reason: Some(reason) });
    }

    /// Tells the client something on which it comes back, in one way or the other, and waits for that.
    pub(super) fn part(&mut self, reason: LeaveReason, action: proto::leave_request::Action, now: Instant) {
        let leave = self.leave(reason, action);
        self.frame(Message::Leave(leave));
        self.effects.socket = Socket::Close;
        self.away = Some(Away::new(now + self.state.config.linger, reason, Vec::new()));
    }

    /// No path leads to the client, whose socket may live: it resumes at once, with new credentials, or its place is given up.
    pub(super) fn media_interrupted(&mut self, now: Instant) {
        let reason = LeaveReason::ConnectionTimeout;
        let until = now + self.state.config.linger;
        match &mut self.away {
            Some(away) => {
                away.until = away.until.min(until);
                away.reason = reason;
            }
            None => self.part(reason, proto::leave_request::Action::Resume, now),
        }
    }

    /// The client is to go on elsewhere; where that is here, it resumes.
    pub(super) fn migrate(&mut self, now: Instant) {
        self.part(LeaveReason::Migration, action(LeaveReason::Migration), now);
    }

    /// The client and we do not agree on what there is: it must join anew. Until it does, its place is kept, so that the others
    /// do not see it go.
    fn send_to_join(&mut self, now: Instant) {
        count(&self.metrics().resumes_refused);
        self.part(LeaveReason::StateMismatch, action(LeaveReason::StateMismatch), now);
    }

    /// The client is back, on a new socket.
    pub fn resume(&mut self, back: Return, now: Instant) {
        let failing = self.failing_resume.take();
        if failing == Some(FailingResume::Silent) {
            self.effects.socket = Socket::Lost;
            return;
        }
        let Some(missed) = self.away.take().map(Away::into_missed) else { return };
        let Return { token, params } = back;
        let update = self.everybody(now);
        let (Some(mut missed), Some(update), true) = (missed, update, params.single == self.params.single)
        else {
            return self.send_to_join(now);
        };
        count(&self.metrics().resumed);
        tracing::debug!(participant = %self.me.id, reason = params.reconnect_reason, "session resumed");
        self.token = token;
        // Its token may be of before it was moved.
        let room = self.room.name.clone();
        self.be_for(&room);
        self.heard_at = now;
        self.frame(Message::Reconnect(join::reconnect_response(self)));
        let before = missed.len();
        missed.retain(|message| !matches!(message, Message::RoomMoved(_)));
        if missed.len() < before {
            // As it is now, and before all that is about the new room.
            let told = self.room_moved();
            self.frame(told);
        }
        self.frame(Message::Update(update));
        self.frame(Message::RoomUpdate(proto::RoomUpdate { room: Some(translate::room(&self.room)) }));
        self.refresh_token();
        missed.into_iter().for_each(|message| self.frame(message));
        self.repeat_told(now);
        self.restart_ice(now);
        self.take_rest(params, now);
        if failing == Some(FailingResume::Told) {
            self.effects.socket = Socket::Lost;
        }
    }

    /// What a join request may carry besides.
    fn take_rest(&mut self, params: Params, now: Instant) {
        if let Some(state) = params.sync_state {
            self.sync(&state, now);
        }
        for request in params.tracks.into_iter().take(MAX_TRACKS) {
            self.add_track(request, now);
        }
        if let Some(offer) = params.offer {
            self.take_offer(offer, now);
        }
    }

    /// Everybody who is there, the client itself too, and who left when it may not have heard it.
    fn everybody(&self, now: Instant) -> Option<proto::ParticipantUpdate> {
        let is_there = |identity: &Identity| self.others.values().any(|other| other.identity == *identity);
        let left = self.departures.recent(now)?.filter(|left| !is_there(&left.identity));
        let all = left.chain([&self.me]).chain(self.others.values());
        Some(proto::ParticipantUpdate {
            participants: all.map(|participant| translate::participant(participant)).collect(),
        })
    }

    /// What the client was told about its layers and its streams: the last of it may not have arrived.
    fn repeat_told(&mut self, now: Instant) {
        let own: Vec<TrackId> = self.uploads.accepted_tracks().map(|(_, track)| track.id).collect();
        own.into_iter().for_each(|track| self.repeat_demand(track));
        self.downlinks.forget_told_streams();
        self.downlinks.begin_streams(now);
        self.repeat_data_handles();
    }

    /// The connection on which we offer is restarted by us, the others by the client. On one connection, what is to be negotiated
    /// waits for the client's offer.
    pub(super) fn restart_ice(&mut self, now: Instant) {
        self.negotiate_at = None;
        if self.params.single {
            self.has_offered = false;
            self.asked_at = Some(now);
        } else if let Some(request) =
            self.subscriber.as_mut().and_then(|subscriber| subscriber.restart(&mut self.rng))
        {
            self.request(request);
            self.make_offer(now);
        } else if self.downlinks.need_description() {
            self.negotiate_soon(now);
        }
    }

    /// What the client has. Where that is not what we have, it joins anew.
    pub(super) fn sync(&mut self, state: &proto::SyncState, now: Instant) {
        if !self.sync_published(state) {
            return self.send_to_join(now);
        }
        let disabled = self.existing_tracks(&state.track_sids_disabled);
        if !disabled.is_empty() {
            let settings = TrackSettings { disabled: true, ..self.first_settings() };
            self.request(Request::TrackSettings { tracks: disabled, settings });
        }
        if let Some(update) = &state.subscription {
            let grouped = update.participant_tracks.iter().flat_map(|tracks| &tracks.track_sids);
            let tracks = self.existing_tracks(update.track_sids.iter().chain(grouped));
            if !tracks.is_empty() {
                self.request(Request::UpdateSubscription { tracks, subscribe: update.subscribe });
            }
        }
        if let Some(update) = &state.data_subscription {
            self.update_data_subscription(update);
        }
        self.sync_data_tracks(&state.publish_data_tracks);
        self.sync_data(state);
    }

    /// False: it publishes something of which we know nothing.
    fn sync_published(&mut self, state: &proto::SyncState) -> bool {
        let infos = state.publish_tracks.iter().filter_map(|published| published.track.as_ref());
        let sids = infos.map(|info| info.sid.as_str()).filter(|sid| !sid.is_empty());
        let known: Vec<Option<TrackId>> = sids.take(2 * MAX_TRACKS).map(ids::parse_track).collect();
        for track in &known {
            match *track {
                Some(track) if self.uploads.owns(track) => {}
                // It was taken down when the client could not hear it.
                Some(track) if self.taken_down.contains(&track) => self.tell_unpublished(track),
                _ => return false,
            }
        }
        let untold: Vec<_> = self
            .uploads
            .accepted_tracks()
            .filter(|(_, track)| !known.contains(&Some(track.id)))
            .map(|(cid, track)| translate::published(cid, track))
            .collect();
        untold.into_iter().for_each(|published| self.frame(Message::TrackPublished(published)));
        true
    }

    fn sync_data(&mut self, state: &proto::SyncState) {
        let received = state.datachannel_receive_states.iter().take(MAX_SENDERS);
        let received = received
            .filter_map(|state| Some((ids::parse_participant(&state.publisher_sid)?, state.last_seq)))
            .collect();
        self.request(Request::ReplayData { received });
    }

    /// Tracks of others that are there. The client may name some that went while it was away.
    fn existing_tracks<'a>(&self, sids: impl IntoIterator<Item = &'a String>) -> Vec<TrackId> {
        let exists = |track: &TrackId| {
            let mut all = self.others.values().flat_map(|other| &other.tracks);
            all.any(|known| known.id == *track)
        };
        let named = sids.into_iter().take(10 * MAX_TRACKS).filter_map(|sid| ids::parse_track(sid));
        named.filter(exists).collect()
    }

    /// An own track was taken down by the room.
    pub(super) fn note_taken_down(&mut self, track: TrackId) {
        if self.taken_down.len() >= MAX_TAKEN_DOWN {
            self.taken_down.pop_front();
        }
        self.taken_down.push_back(track);
    }
}

/// Most senders of data of which a client says what it has.
const MAX_SENDERS: usize = 10_000;
