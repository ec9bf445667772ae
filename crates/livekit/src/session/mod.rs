//! One participant's signalling session as a value: messages and events in, [`Effects`] out. No IO, no clock of its own.
//!
//! | file | what it does |
//! |---|---|
//! | `requests` | what the client asks |
//! | `events` | what the control plane tells |
//! | `uplink` | offers of the client and our answers |
//! | `subscriber` | two connections: our offers and the client's answers |
//! | `uploads`, `downlinks` | tables of tracks and sections |
//! | `backup` | the second codec of a track |
//! | `data` | messages on data channels |
//! | `data_tracks` | data tracks, published and received |
//! | `dynacast` | which layers a publisher is told to send |
//! | `streams` | which streams a receiver is told to be paused |
//! | `moving` | going on in another room |
//! | `connection` | credentials and numbering of one peer connection |
//! | `resume` | a client that comes back on another socket |
//! | `simulate` | failures that client SDKs play in their tests |
//! | `away` | what is kept for it meanwhile |
//!
//! Whoever drives a session performs its effects after every call, requests before frames, and calls
//! [`Session::handle_timeout`] when [`Session::poll_timeout`] has passed.

mod away;
mod backup;
mod connection;
mod data;
mod data_tracks;
mod downlinks;
mod dynacast;
mod events;
mod moving;
mod requests;
mod resume;
mod simulate;
mod streams;
mod subscriber;
#[cfg(test)]
mod tests;
mod uplink;
mod uploads;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::model::{DataHandle, LeaveReason, Participant, RoomInfo};
use base::{ParticipantId, RoomName, TrackId, UnixMillis};
use contract::media::{ChannelSpec, Sections, WorkerInfo};
use contract::session::{Request, Session as RoomHandle};
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message;
use rand::Rng;
use rand::rngs::StdRng;

use crate::config::State;
use crate::join;
use crate::metrics::{Metrics, count};
use crate::params::Params;
use crate::translate;

use away::{Away, Departures};
use connection::Connection;
use downlinks::Downlinks;
pub(crate) use resume::Return;
use simulate::FailingResume;
use subscriber::Subscriber;
use uploads::{MAX_TRACKS, Uploads};

/// How long changes are collected before they are negotiated.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// A client that does not answer an offer for this long must start over.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// A client that was asked for an offer and sends none for this long is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A fresh token is pushed this often.
const REFRESH: Duration = Duration::from_secs(300);
/// A participant whose client closed its media stays this long, for the Leave or the new join that follows.
const CLOSED_MEDIA_GRACE: Duration = Duration::from_secs(5);
/// Frames that cannot be decoded, before the session ends. Real clients send none.
const MALFORMED_TOLERATED: u32 = 10;

/// What is to be done, in this order: the room is changed, all requests, then all frames, then what becomes of the socket, then
/// the end.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// The requests go here from now on: the participant was moved to the room of this name.
    pub room: Option<(RoomName, RoomHandle)>,
    pub requests: Vec<Request>,
    pub frames: Vec<Message>,
    pub socket: Socket,
    pub end: Option<End>,
}

/// What becomes of the client's socket.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Socket {
    /// It stays.
    #[default]
    Keep,
    /// It is closed when everything is sent; the session goes on without one.
    Close,
    /// It counts as broken.
    Lost,
}

/// The session is over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct End {
    /// Told to the client before the socket closes.
    pub leave: Option<proto::LeaveRequest>,
    /// Told to the room, unless it was the room that said so.
    pub reason: Option<LeaveReason>,
}

/// How a session starts.
pub(crate) struct Start {
    pub params: Params,
    pub token: auth::Verified,
    pub participant: Arc<Participant>,
    pub room: RoomInfo,
    pub others: Vec<Arc<Participant>>,
    pub worker: WorkerInfo,
}

/// A simulated speaker update, for tests of client SDKs.
#[derive(Debug)]
struct SimulatedSpeech {
    until: Instant,
}

/// The session.
pub(crate) struct Session {
    state: State,
    params: Params,
    token: auth::Verified,
    rng: StdRng,
    effects: Effects,
    me: Arc<Participant>,
    room: RoomInfo,
    others: BTreeMap<ParticipantId, Arc<Participant>>,
    worker: WorkerInfo,
    publisher: Connection,
    subscriber: Option<Subscriber>,
    subscriber_primary: bool,
    uploads: Uploads,
    downlinks: Downlinks,
    /// What the publisher connection was last told to carry.
    sections: Sections,
    /// Ids of metadata changes and what was asked, until they are answered.
    changes: VecDeque<proto::UpdateParticipantMetadata>,
    /// When collected changes are to be negotiated.
    negotiate_at: Option<Instant>,
    /// One connection: the client was asked for an offer at this time and has not sent it.
    asked_at: Option<Instant>,
    /// One connection: the client has offered. It does so by itself at first.
    has_offered: bool,
    refresh_at: Instant,
    /// The media connection must be up by then; `None` when it is.
    media_deadline: Option<Instant>,
    /// The client closed its media; it must have left or come back by then.
    closed_media: Option<Instant>,
    speech: Option<SimulatedSpeech>,
    malformed: u32,
    /// Data tracks that the room is asked for, by the client's handle.
    data_pending: BTreeMap<u16, proto::PublishDataTrackRequest>,
    /// On its way into another room: requests that wait until it is there.
    moving: Option<Vec<Request>>,
    /// The data tracks that the client was last told to get.
    data_told: Vec<DataHandle>,
    /// Of the client's reliable messages.
    last_sequence: u32,
    /// The client has no socket; what it may miss is kept.
    away: Option<Away>,
    departures: Departures,
    /// Own tracks that the room took down lately.
    taken_down: VecDeque<TrackId>,
    /// A scenario that a client plays.
    failing_resume: Option<FailingResume>,
    /// The client has pinged.
    pings: bool,
    /// When it last said anything.
    heard_at: Instant,
}

impl Session {
    /// A session that has just been admitted. Its first effects are the connections and the Join.
    pub fn new(state: State, start: Start, now: Instant, mut rng: StdRng) -> Self {
        let Start { params, token, participant, room, others, worker } = start;
        let subscriber_primary =
            !params.single && params.client.protocol >= 3 && participant.permissions.subscribe;
        let publisher = Connection::new(&mut rng);
        let subscriber = (!params.single).then(|| Subscriber::new(Connection::new(&mut rng)));
        let exact = params.client.is_browser() && !params.client.may_be_firefox();
        let uploads = Uploads::new(exact, params.client.broken_encoder());
        let downlinks = Downlinks::new(&params.client);
        let mut session = Self {
            media_deadline: Some(now + state.config.media_deadline),
            state,
            params,
            token,
            rng,
            effects: Effects::default(),
            me: participant,
            room,
            others: others.into_iter().map(|other| (other.id, other)).collect(),
            worker,
            publisher,
            subscriber,
            subscriber_primary,
            uploads,
            downlinks,
            sections: Sections::default(),
            changes: VecDeque::new(),
            negotiate_at: None,
            asked_at: None,
            has_offered: false,
            refresh_at: now + REFRESH,
            closed_media: None,
            speech: None,
            malformed: 0,
            data_pending: BTreeMap::new(),
            data_told: Vec::new(),
            moving: None,
            last_sequence: 0,
            away: None,
            departures: Departures::default(),
            taken_down: VecDeque::new(),
            failing_resume: None,
            pings: false,
            heard_at: now,
        };
        session.greet();
        session
    }

    fn greet(&mut self) {
        self.request(self.publisher.add(Vec::new(), !self.subscriber_primary));
        if self.subscriber_primary {
            self.add_subscriber();
        }
        let others: Vec<_> = self.others.values().map(|other| translate::participant(other)).collect();
        let join = join::response(self, others);
        self.frame(Message::Join(join));
        self.refresh_token();
    }

    /// What follows the greeting, when everything that the room says at once has been taken in: the answer to an offer that
    /// came with the join, or our own first offer. Tracks that are published already are in it.
    pub fn begin(&mut self, now: Instant) {
        self.negotiate_at = None;
        for request in std::mem::take(&mut self.params.tracks).into_iter().take(MAX_TRACKS) {
            self.add_track(request, now);
        }
        if let Some(offer) = self.params.offer.take() {
            self.take_offer(offer, now);
        } else if self.subscriber_primary {
            self.make_offer(now);
        } else if self.params.single {
            // Its first offer is on its way (Firefox, React Native); being asked would make it add sections twice.
            self.asked_at = Some(now);
        } else if self.downlinks.need_description() {
            self.negotiate_soon(now);
        }
    }

    /// What is to be done now. Leaves nothing behind.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let asked = self.asked_at.map(|at| at + ASK_AGAIN);
        let answer = self.subscriber.as_ref().and_then(Subscriber::answer_deadline);
        let speech = self.speech.as_ref().map(|speech| speech.until);
        let away = self.away.as_ref().map(|away| away.until);
        let told = [self.uploads.demand_due(), self.downlinks.stream_due(), away, self.silent_at()];
        let all = [self.negotiate_at, asked, answer, speech, self.media_deadline, self.closed_media];
        all.into_iter().chain(told).flatten().chain([self.refresh_at]).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.refresh_at <= now {
            self.refresh_at = now + REFRESH;
            self.refresh_token();
        }
        if due(self.silent_at()) {
            self.effects.socket = Socket::Lost;
            self.heard_at = now;
        }
        if let Some(away) = self.away.take_if(|away| away.until <= now) {
            self.give_up_waiting(away.reason);
        }
        if due(self.speech.as_ref().map(|speech| speech.until)) {
            self.speech = None;
            self.tell_own_speech(false);
        }
        if due(self.media_deadline) {
            self.media_deadline = None;
            count(&self.metrics().media_lost);
            self.end(LeaveReason::JoinFailure);
        }
        if due(self.closed_media) {
            self.closed_media = None;
            count(&self.metrics().media_lost);
            self.end(LeaveReason::ConnectionTimeout);
        }
        if self.subscriber.as_mut().is_some_and(|subscriber| subscriber.give_up(now)) {
            count(&self.metrics().media_lost);
            self.end(LeaveReason::MediaFailure);
        }
        if due(self.asked_at.map(|at| at + ASK_AGAIN)) {
            self.asked_at = None;
            self.negotiate_soon(now);
        }
        if due(self.negotiate_at) {
            self.negotiate_at = None;
            self.negotiate(now);
        }
        self.tell_demand(now);
        self.tell_streams(now);
    }

    /// A frame that could not be decoded.
    pub fn malformed_frame(&mut self) {
        count(&self.metrics().frames_malformed);
        self.malformed += 1;
        if self.malformed > MALFORMED_TOLERATED {
            self.expel(LeaveReason::StateMismatch, "too many frames that are not signal requests");
        }
    }

    fn metrics(&self) -> Arc<Metrics> {
        self.state.metrics.clone()
    }

    fn request(&mut self, request: Request) {
        match self.moving {
            None => self.effects.requests.push(request),
            Some(_) => self.wait_to_arrive(request),
        }
    }

    fn frame(&mut self, message: Message) {
        if !self.params.client.understands(&message) {
            return;
        }
        match &mut self.away {
            Some(away) => away.keep(message),
            None => self.effects.frames.push(message),
        }
    }

    /// A Leave for this client. One that sends it away from this server names those to which it may go.
    fn leave(&self, reason: LeaveReason, action: proto::leave_request::Action) -> proto::LeaveRequest {
        let elsewhere = matches!(reason, LeaveReason::ServerShutdown | LeaveReason::Migration)
            && action != proto::leave_request::Action::Disconnect;
        let regions = elsewhere.then(|| join::regions(&self.state.config)).flatten();
        proto::LeaveRequest { regions, ..leave(reason, action, self.params.client.protocol) }
    }

    /// Ends the session and tells both sides.
    fn end(&mut self, reason: LeaveReason) {
        let leave = self.leave(reason, action(reason));
        self.finish(End { leave: Some(leave), reason: Some(reason) });
    }

    /// Ends the session of a client that broke the protocol. It is not told to try again, which would repeat it.
    fn expel(&mut self, reason: LeaveReason, why: &str) {
        count(&self.metrics().expelled);
        tracing::info!(participant = %self.me.id, client = %self.params.client.describe(), why, "session ended");
        let leave = self.leave(reason, proto::leave_request::Action::Disconnect);
        self.finish(End { leave: Some(leave), reason: Some(reason) });
    }

    /// The first end holds.
    fn finish(&mut self, end: End) {
        self.effects.end.get_or_insert(end);
    }

    fn refresh_token(&mut self) {
        if let Some(token) = self.fresh_token() {
            self.frame(Message::RefreshToken(token));
        }
    }

    /// A token with which the participant joins as what it is now. `None`: its key is gone.
    fn fresh_token(&self) -> Option<String> {
        let secret = self.state.keys.secret(&self.token.api_key)?;
        let claims = self.token.claims.refreshed(&self.me, self.state.now());
        Some(auth::mint(&self.token.api_key, secret, &claims))
    }

    fn negotiate_soon(&mut self, now: Instant) {
        self.negotiate_at.get_or_insert(now + DEBOUNCE);
    }

    fn negotiate(&mut self, now: Instant) {
        if self.subscriber.is_some() {
            self.make_offer(now);
        } else {
            self.ask_for_offer(now);
        }
    }

    /// Two SSRCs that this participant's connections do not use for sending yet.
    fn fresh_ssrcs(&mut self) -> (u32, u32) {
        let mut next = || loop {
            let ssrc: u32 = self.rng.random();
            // 0 stands for "unknown" in several places of the protocol stack.
            if ssrc != 0 && !self.downlinks.uses(ssrc) {
                return ssrc;
            }
        };
        let first = next();
        let second = next();
        if first == second { (first, first.wrapping_add(1).max(1)) } else { (first, second) }
    }

    /// Says what the publisher connection carries, when that has changed.
    fn set_publisher_sections(&mut self) {
        let send = if self.subscriber.is_none() { self.downlinks.send_sections() } else { Vec::new() };
        let sections = Sections { receive: self.uploads.receive_sections(), send };
        if sections != self.sections {
            self.sections = sections.clone();
            self.request(Request::SetSections { peer: self.publisher.peer, sections });
        }
    }

    fn tell_own_speech(&mut self, active: bool) {
        let level = if active { 0.9 } else { 0.0 };
        let speaker = base::model::Speaker { participant: self.me.id, level, active };
        let speakers = vec![translate::speaker(&speaker)];
        self.frame(Message::SpeakersChanged(proto::SpeakersChanged { speakers }));
    }

    pub(crate) fn now_millis(&self) -> UnixMillis {
        self.state.now()
    }

    pub(crate) fn parts(&self) -> join::Parts<'_> {
        join::Parts {
            config: &self.state.config,
            me: &self.me,
            room: &self.room,
            subscriber_primary: self.subscriber_primary,
            stun: self
                .params
                .client
                .needs_ice_server()
                .then(|| self.worker.candidates.first().copied())
                .flatten(),
            broken_encoder: self.params.client.broken_encoder(),
        }
    }

    pub(crate) fn random_bytes(&mut self) -> Vec<u8> {
        self.rng.random::<[u8; 16]>().to_vec()
    }
}

/// The channels that we open on a connection on which we offer.
fn channels() -> Vec<ChannelSpec> {
    let channel = |label: &str, ordered, max_retransmits| ChannelSpec {
        label: label.to_owned(),
        ordered,
        max_retransmits,
    };
    vec![
        channel("_reliable", true, None),
        channel("_lossy", false, Some(0)),
        channel("_data_track", false, Some(0)),
    ]
}

/// What a client is to do when its session ends for `reason`.
pub(crate) fn action(reason: LeaveReason) -> proto::leave_request::Action {
    use proto::leave_request::Action;
    match reason {
        LeaveReason::ClientInitiated
        // Told to reconnect, the old client and the new one would throw each other out for ever.
        | LeaveReason::DuplicateIdentity
        | LeaveReason::ParticipantRemoved
        | LeaveReason::RoomDeleted
        | LeaveReason::RoomClosed => Action::Disconnect,
        LeaveReason::Migration => Action::Resume,
        LeaveReason::ServerShutdown
        | LeaveReason::StateMismatch
        | LeaveReason::JoinFailure
        | LeaveReason::SignalClosed
        | LeaveReason::ConnectionTimeout
        | LeaveReason::MediaFailure
        | LeaveReason::Moved => Action::Reconnect,
    }
}

/// A Leave as a client of this protocol number reads it: before 13 there is only `can_reconnect`.
pub(crate) fn leave(
    reason: LeaveReason,
    action: proto::leave_request::Action,
    protocol: i32,
) -> proto::LeaveRequest {
    let again = action != proto::leave_request::Action::Disconnect;
    proto::LeaveRequest {
        can_reconnect: again && protocol < 13,
        reason: translate::reason(reason) as i32,
        action: action as i32,
        regions: None,
    }
}
