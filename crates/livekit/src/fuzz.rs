//! Entry points for fuzzing: each takes any bytes as what a client sends, lets a session handle them as it would, and panics when
//! something that must hold does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::Message as Frame;
use base::model::{Participant, Permissions, RoomInfo};
use base::{Identity, ParticipantId, RoomId, RoomName, TrackId, UnixMillis};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use contract::media::{Fingerprint, WorkerInfo};
use contract::session::{ControlHandle, Event, Request};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Ask;
use prost::Message as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::config::{Config, State};
use crate::frames::{self, Form, Incoming};
use crate::params::{Params, Query};
use crate::session::{Session, Start};

const NOW: UnixMillis = UnixMillis(1_760_000_000_123);
/// Frames of one input; more make it no more telling.
const MAX_FRAMES: usize = 64;

/// Frames of the signal socket, one after the other: a byte that says text (odd) or binary, two of length (big-endian), content.
/// What is left over is one binary frame.
pub fn signal_frames(now: Instant, mut bytes: &[u8]) {
    let mut driven = Driven::new(now, Params::two_for_fuzzing());
    let mut form = Form::Binary;
    for _ in 0..MAX_FRAMES {
        let Some(frame) = next_frame(&mut bytes) else { return };
        match frames::decode(&frame, &mut form) {
            Incoming::Request(request) => match *request {
                Some(ask) => driven.session.ask(ask, driven.now),
                None => driven.session.unknown_request(),
            },
            Incoming::Malformed => driven.session.malformed_frame(),
            Incoming::Keepalive | Incoming::Closed => {}
        }
        if driven.perform(form) {
            return;
        }
    }
}

/// Frames of a worker of agents on `/agent`, as in [`signal_frames`].
pub fn worker_messages(now: Instant, mut bytes: &[u8]) {
    crate::jobs::fuzz::frames(now, std::iter::from_fn(|| next_frame(&mut bytes)).take(MAX_FRAMES));
}

/// A join request: as it stands in the query, as the bytes in its wrapping, plain and compressed, and as query attributes.
pub fn join_request(now: Instant, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let wrap = |compression| {
        let wrapped = proto::WrappedJoinRequest { compression, join_request: bytes.to_vec() };
        URL_SAFE.encode(wrapped.encode_to_vec())
    };
    for (join_request, attributes) in
        [(text.clone(), ""), (wrap(0), ""), (wrap(1), ""), (String::new(), text.as_str())]
    {
        let mut query = Query::with_attributes(attributes);
        query.join_request = join_request;
        if let Ok(params) = Params::from_query(&query, "") {
            assert!(params.client.describe().len() < 8_192);
            let mut driven = Driven::new(now, params);
            driven.perform(Form::Json);
        }
    }
}

/// A session description: the client's offer on one and on two connections, twice, and its answer to ours.
pub fn sdp_offer(now: Instant, bytes: &[u8]) {
    let sdp = String::from_utf8_lossy(bytes).into_owned();
    let description = |id| proto::SessionDescription { sdp: sdp.clone(), id, ..Default::default() };
    for single in [true, false] {
        let params = Params { single, ..Params::two_for_fuzzing() };
        let mut driven = Driven::new(now, params);
        let asks = [Ask::Offer(description(1)), Ask::Answer(description(0)), Ask::Offer(description(2))];
        for ask in asks {
            driven.session.ask(ask, driven.now);
            if driven.perform(Form::Binary) {
                break;
            }
        }
    }
}

fn next_frame(bytes: &mut &[u8]) -> Option<Frame> {
    if bytes.is_empty() {
        return None;
    }
    let Some((head, rest)) = bytes.split_first_chunk::<3>() else {
        let rest = std::mem::take(bytes);
        return Some(Frame::Binary(rest.to_vec().into()));
    };
    let length = usize::from(u16::from_be_bytes([head[1], head[2]])).min(rest.len());
    let (content, rest) = rest.split_at(length);
    *bytes = rest;
    Some(match head[0] & 1 {
        0 => Frame::Binary(content.to_vec().into()),
        _ => Frame::Text(String::from_utf8_lossy(content).into_owned().into()),
    })
}

/// A session whose room says yes to everything.
struct Driven {
    session: Session,
    now: Instant,
    tracks: u64,
}

impl Driven {
    fn new(now: Instant, params: Params) -> Self {
        let (calls, _) = async_channel::bounded(1);
        let keys = auth::ApiKeys::development();
        let state = State::new(ControlHandle::new(calls), keys, || NOW, Config::default());
        let claims = auth::Claims::join("ada", "room").valid_for(NOW, Duration::from_secs(3_600));
        let start = Start {
            params,
            token: auth::Verified { api_key: auth::DEVELOPMENT_KEY.to_owned(), claims },
            participant: Arc::new(somebody()),
            room: room(),
            others: Vec::new(),
            worker: WorkerInfo {
                index: 0,
                candidates: vec![([192, 0, 2, 7], 7_882).into()],
                fingerprint: Fingerprint([7; 32]),
            },
        };
        let mut session = Session::new(state, start, now, StdRng::seed_from_u64(1));
        session.begin(now);
        let mut driven = Self { session, now, tracks: 0 };
        driven.perform(Form::Binary);
        driven
    }

    /// Performs what the session wants, and lets the time pass that it waits for. `true`: it is over.
    fn perform(&mut self, form: Form) -> bool {
        for _ in 0..MAX_FRAMES {
            let effects = self.session.take_effects();
            for frame in effects.frames {
                let _ = frames::encode(frame, form);
            }
            if effects.end.is_some() {
                return true;
            }
            let asked = effects.requests.into_iter().filter_map(|request| self.answer(request));
            let answers: Vec<Event> = asked.collect();
            if answers.is_empty() {
                break;
            }
            answers.into_iter().for_each(|event| self.session.event(event, self.now));
        }
        self.now += Duration::from_millis(20);
        if self.session.poll_timeout().is_some_and(|at| at <= self.now) {
            self.session.handle_timeout(self.now);
        }
        false
    }

    fn answer(&mut self, request: Request) -> Option<Event> {
        Some(match request {
            Request::Publish(asked) => {
                self.tracks += 1;
                let track = Arc::new(asked.clone().into_track(TrackId(self.tracks)));
                Event::Published { cid: asked.cid, outcome: Ok(track) }
            }
            Request::ChangeMetadata { request_id, .. } => {
                Event::MetadataChanged { request_id, allowed: true }
            }
            _ => return None,
        })
    }
}

fn somebody() -> Participant {
    let permissions = Permissions {
        publish: true,
        subscribe: true,
        publish_data: true,
        update_own_metadata: true,
        ..Permissions::default()
    };
    Participant { permissions, joined_at: NOW, ..Participant::new(ParticipantId(1), Identity::new("ada")) }
}

fn room() -> RoomInfo {
    RoomInfo {
        id: RoomId(9),
        name: RoomName::new("room"),
        metadata: String::new(),
        empty_timeout_s: 300,
        departure_timeout_s: 20,
        max_participants: 0,
        created_at: NOW,
        participants: 1,
        publishers: 0,
        recording: false,
    }
}
