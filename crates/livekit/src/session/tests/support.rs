//! A session with everything around it made up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::model::{Notice, Participant, Permissions, RoomInfo, Track, TrackSource};
use base::{CodecKind, Identity, MediaKind, ParticipantId, RoomId, RoomName, TrackId, UnixMillis};
use contract::media::{Fingerprint, Sections, WorkerInfo};
use contract::session::{ControlHandle, Event, PublishTrack, Request};
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::config::{Config, State};
use crate::params::{Client, Params};
use crate::session::{Effects, Session, Start};

pub const NOW: UnixMillis = UnixMillis(1_760_000_000_123);
pub const CHROMIUM_V1_FIRST: &str = include_str!("../../../../sdp/tests/offers/chromium_sdk_first.sdp");
pub const CHROMIUM_V1_PUBLISH: &str = include_str!("../../../../sdp/tests/offers/chromium_v1_publish.sdp");
pub const CHROMIUM_V0_PUBLISH: &str = include_str!("../../../../sdp/tests/offers/chromium_v0_publish.sdp");
pub const CHROMIUM_STOPPED: &str = include_str!("../../../../sdp/tests/offers/chromium_stopped.sdp");
pub const FIREFOX_V1_FIRST: &str = include_str!("../../../../sdp/tests/offers/firefox_v1_first.sdp");
pub const FIREFOX_V1_PUBLISH: &str = include_str!("../../../../sdp/tests/offers/firefox_v1_publish.sdp");

/// A session under test with its clock.
pub struct Bench {
    pub session: Session,
    pub now: Instant,
}

const CHROMIUM: &str = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";

pub fn client(sdk: Sdk, protocol: i32) -> Client {
    Client {
        sdk,
        version: "2.23.0".to_owned(),
        protocol,
        os: String::new(),
        device_model: String::new(),
        browser: String::new(),
        user_agent: if sdk == Sdk::Js { CHROMIUM.to_owned() } else { String::new() },
        abilities: base::model::Abilities::default(),
    }
}

pub fn firefox() -> Client {
    Client { user_agent: "Mozilla/5.0 Gecko/20100101 Firefox/153.0".to_owned(), ..client(Sdk::Js, 17) }
}

pub fn params(single: bool, client: Client) -> Params {
    Params {
        client,
        single,
        auto_subscribe: true,
        auto_subscribe_data: false,
        adaptive_stream: false,
        allow_pause: None,
        reconnect: false,
        participant_sid: String::new(),
        reconnect_reason: 0,
        sync_state: None,
        metadata: String::new(),
        attributes: BTreeMap::new(),
        tracks: Vec::new(),
        offer: None,
    }
}

pub fn offer(sdp: &str, id: u32) -> proto::SessionDescription {
    proto::SessionDescription { r#type: "offer".to_owned(), sdp: sdp.to_owned(), id, ..Default::default() }
}

pub fn everything() -> Permissions {
    Permissions { publish: true, subscribe: true, publish_data: true, ..Permissions::default() }
}

pub fn person(number: u64, permissions: Permissions) -> Participant {
    let identity = Identity::new(format!("person-{number}"));
    Participant { permissions, joined_at: NOW, ..Participant::new(ParticipantId(number), identity) }
}

pub fn track(number: u64, kind: MediaKind, codec: CodecKind) -> Track {
    let video = kind == MediaKind::Video;
    Track {
        source: if video { TrackSource::Camera } else { TrackSource::Microphone },
        width: if video { 1280 } else { 0 },
        height: if video { 720 } else { 0 },
        cid: format!("cid-{number}"),
        ..Track::new(TrackId(number), kind, codec)
    }
}

pub fn room() -> RoomInfo {
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

impl Bench {
    pub fn new(params: Params) -> Self {
        Self::with(params, everything(), Vec::new())
    }

    pub fn with(params: Params, permissions: Permissions, others: Vec<Participant>) -> Self {
        Self::configured(Config::default(), params, permissions, others)
    }

    pub fn configured(
        config: Config,
        params: Params,
        permissions: Permissions,
        others: Vec<Participant>,
    ) -> Self {
        let (calls, _) = async_channel::bounded(1);
        let config = Config { node: base::NodeId(3), ..config };
        let state = State::new(ControlHandle::new(calls), auth::ApiKeys::development(), || NOW, config);
        let mut claims = auth::Claims::join("person-1", "room").valid_for(NOW, Duration::from_secs(3_600));
        claims.kind = "standard".to_owned();
        claims.attributes.insert("colour".to_owned(), "green".to_owned());
        claims.extra.insert("kindDetails".to_owned(), serde_json::json!(["x"]));
        let start = Start {
            params,
            token: auth::Verified { api_key: "devkey".to_owned(), claims },
            participant: Arc::new(person(1, permissions)),
            room: room(),
            others: others.into_iter().map(Arc::new).collect(),
            worker: WorkerInfo {
                index: 0,
                candidates: vec!["192.0.2.7:7882".parse().expect("an address")],
                fingerprint: Fingerprint([7; 32]),
            },
        };
        let now = Instant::now();
        let session = Session::new(state, start, now, StdRng::seed_from_u64(1));
        Self { session, now }
    }

    /// Begins and returns what came of it.
    pub fn begin(&mut self) -> Effects {
        self.session.begin(self.now);
        self.take()
    }

    pub fn ask(&mut self, ask: Ask) -> Effects {
        self.session.ask(ask, self.now);
        self.take()
    }

    pub fn event(&mut self, event: Event) -> Effects {
        self.session.event(event, self.now);
        self.take()
    }

    pub fn notice(&mut self, notice: Notice) -> Effects {
        self.event(Event::Notice(notice))
    }

    /// Lets time pass and performs what is due on the way.
    pub fn pass(&mut self, time: Duration) -> Effects {
        let end = self.now + time;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
        }
        self.now = end;
        self.take()
    }

    /// Everybody hears of the publisher, then the track is to be received.
    pub fn subscribe(&mut self, publisher: u64, track: Track) -> Effects {
        let mut person = person(publisher, everything());
        person.tracks.push(track.clone());
        let publisher = Arc::new(person);
        self.session.event(Event::Notice(Notice::Participants(vec![publisher.clone()])), self.now);
        let track = Arc::new(track);
        self.session.event(Event::Notice(Notice::Subscribe { publisher, track }), self.now);
        self.take()
    }

    /// The room accepts what was last asked to be published, as track `number`.
    pub fn accept(&mut self, publish: &PublishTrack, number: u64) -> Effects {
        let accepted = Track {
            cid: publish.cid.clone(),
            width: publish.width,
            height: publish.height,
            ..track(number, publish.kind, publish.codec)
        };
        self.event(Event::Published { cid: publish.cid.clone(), outcome: Ok(Arc::new(accepted)) })
    }

    fn take(&mut self) -> Effects {
        self.session.take_effects()
    }
}

pub fn published(effects: &Effects) -> Option<PublishTrack> {
    effects.requests.iter().find_map(|request| match request {
        Request::Publish(publish) => Some(publish.clone()),
        _ => None,
    })
}

/// The sections that were last set.
pub fn sections(effects: &Effects) -> Option<Sections> {
    effects.requests.iter().rev().find_map(|request| match request {
        Request::SetSections { sections, .. } => Some(sections.clone()),
        _ => None,
    })
}

pub fn answer(effects: &Effects) -> Option<proto::SessionDescription> {
    effects.frames.iter().find_map(|frame| match frame {
        Message::Answer(answer) => Some(answer.clone()),
        _ => None,
    })
}

pub fn offered(effects: &Effects) -> Option<proto::SessionDescription> {
    effects.frames.iter().find_map(|frame| match frame {
        Message::Offer(offer) => Some(offer.clone()),
        _ => None,
    })
}

pub fn join(effects: &Effects) -> proto::JoinResponse {
    match effects.frames.first() {
        Some(Message::Join(join)) => join.clone(),
        other => panic!("the first frame is not a join: {other:?}"),
    }
}

/// Position of the first frame for which `is` holds.
pub fn position(effects: &Effects, is: impl Fn(&Message) -> bool) -> Option<usize> {
    effects.frames.iter().position(is)
}

pub fn add_track(cid: &str, kind: proto::TrackType) -> proto::AddTrackRequest {
    let video = kind == proto::TrackType::Video;
    proto::AddTrackRequest {
        cid: cid.to_owned(),
        r#type: kind as i32,
        width: if video { 1280 } else { 0 },
        height: if video { 720 } else { 0 },
        ..Default::default()
    }
}

/// What a client answers to an offer of ours: everything that is sent is received.
pub fn client_answer(offer: &proto::SessionDescription) -> proto::SessionDescription {
    let sdp = offer
        .sdp
        .replace("a=sendonly", "a=recvonly")
        .replace("a=setup:actpass", "a=setup:active")
        .lines()
        .filter(|line| !line.starts_with("a=ssrc") && !line.starts_with("a=msid:") && *line != "a=ice-lite")
        .map(|line| format!("{line}\r\n"))
        .collect();
    proto::SessionDescription { r#type: "answer".to_owned(), sdp, id: offer.id, ..Default::default() }
}

/// The track id in the `a=msid` of the section with this mid.
pub fn msid(sdp: &str, mid: &str) -> String {
    let description = sdp::parse(sdp).expect("parses");
    let section = description.sections.iter().find(|section| section.mid.as_str() == mid).expect("this mid");
    section.msid.as_ref().expect("an msid").track.clone()
}

/// The frame that tells which tracks of this publisher flow.
pub fn stream_states(publisher: u64, tracks: &[(u64, bool)]) -> Message {
    let state = |(track, active): &(u64, bool)| proto::StreamStateInfo {
        participant_sid: format!("PA_{}", ParticipantId(publisher)),
        track_sid: format!("TR_{}", TrackId(*track)),
        state: if *active { proto::StreamState::Active } else { proto::StreamState::Paused } as i32,
    };
    let stream_states = tracks.iter().map(state).collect();
    Message::StreamStateUpdate(proto::StreamStateUpdate { stream_states })
}

/// Adds a recvonly audio section to a recorded offer, as a client does that was asked to.
pub fn with_another_audio_section(sdp: &str, mid: &str) -> String {
    let start = sdp.find("m=audio").expect("an audio section");
    let end = start + 1 + sdp[start + 1..].find("m=").expect("another section");
    let section = sdp[start..end].replace("a=mid:0\r\n", &format!("a=mid:{mid}\r\n"));
    let group_end = sdp.find("a=group:BUNDLE").expect("a group");
    let line_end = group_end + sdp[group_end..].find("\r\n").expect("a line end");
    format!("{} {mid}{}{section}", &sdp[..line_end], &sdp[line_end..])
}
