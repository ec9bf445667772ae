//! Connecting to a room, and the handle to it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use base::model::DataKind;
use base::{MediaKind, Mid, NtpTime};
use bytes::Bytes;
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message;
use rtc::{Certificate, WallClock};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::counters::{Counters, Shared, Stage, Timing};
use crate::data;
use crate::driver::{Driver, Pending, Request};
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, PublishError};
use crate::event::{Ended, Event, Events, Participant};
use crate::join;
use crate::media::{self, Command, Frame, Sender, Thread};
use crate::negotiation::{Negotiation, Uplink};
use crate::options::{LocalTrack, Options};
use crate::socket::{self, Dialled, Incoming, Socket};

/// Events that wait to be read: some seconds of several tracks.
const EVENTS: usize = 4_096;
/// Requests that wait for the task behind the room.
const REQUESTS: usize = 64;
/// A client's socket carries a handful of tracks: a quarter of a second of 16 Mbit/s.
const SOCKET: udp::Options =
    udp::Options { receive_buffer: 512 * 1024, send_buffer: 512 * 1024, coalesce: true, timestamps: false };

/// A participant's place in a room. Dropping it leaves.
pub struct Room {
    requests: mpsc::Sender<Request>,
    media: Sender,
    shared: Arc<Shared>,
    published: Vec<Publication>,
    sid: String,
    name: String,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Room({} in {})", self.sid, self.name)
    }
}

/// A published track: where its frames go in.
#[derive(Clone)]
pub struct Publication {
    mid: Mid,
    /// Our own id for it.
    pub(crate) cid: Arc<str>,
    kind: MediaKind,
    sid: Arc<OnceLock<String>>,
    media: Sender,
}

impl Publication {
    pub(crate) fn new(mid: Mid, cid: Arc<str>, kind: MediaKind, media: Sender) -> Self {
        Self { mid, cid, kind, sid: Arc::default(), media }
    }

    pub(crate) fn set_sid(&self, sid: &str) {
        self.sid.get_or_init(|| sid.to_owned());
    }

    /// Our own id for it.
    pub fn cid(&self) -> &str {
        &self.cid
    }

    /// The server's id for it; `None` until it has answered, which for tracks published with the join may be after
    /// `connect` returned.
    pub fn sid(&self) -> Option<&str> {
        self.sid.get().map(String::as_str)
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// Sends one encoded frame: an Opus packet, or a VP8 frame, which is cut into packets. `timestamp`: when it was
    /// captured, in units of the codec's RTP clock (48 or 90 kHz) from an arbitrary start. `false`: the session is over, or
    /// so many frames wait that this one was dropped.
    pub fn send(&self, frame: impl Into<Bytes>, timestamp: u32) -> bool {
        self.send_with_level(frame, timestamp, None)
    }

    /// The same, with the loudness of an audio frame (RFC 6464): 0 (loudest) to 127 (silent), in -dBov.
    pub fn send_with_level(&self, frame: impl Into<Bytes>, timestamp: u32, level: Option<u8>) -> bool {
        // The V bit says that somebody speaks; 30 dB below the loudest is where speech ends in practice.
        let level = level.map(|level| level.min(127) | if level < 60 { 0x80 } else { 0 });
        self.media.send(Command::Frame(Frame { mid: self.mid, timestamp, level, payload: frame.into() }))
    }
}

impl Room {
    /// Joins the room that `token` is for, over LiveKit's signal protocol version 1, and returns when media and both data
    /// channels are up. `url` is the server's address, `ws://…` or `wss://…`. Needs a tokio runtime, which it must not
    /// outlive; media has a thread of its own.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(url: &str, token: &str, options: Options) -> Result<(Self, Events), ConnectError> {
        let started = Instant::now();
        let limit = options.timeout;
        timeout(limit, Box::pin(establish(started, url, token, options)))
            .await
            .unwrap_or(Err(ConnectError::TimedOut))
    }

    /// The tracks of [`Options::publish`], in their order. Frames may be sent at once.
    pub fn published(&self) -> &[Publication] {
        &self.published
    }

    /// Our session's id.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// The room's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Publishes a track; returns when the server has accepted and negotiated it.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, track: LocalTrack) -> Result<Publication, PublishError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Publish { track, reply }).await.map_err(|()| PublishError::Ended)?;
        answer.await.unwrap_or(Err(PublishError::Ended))
    }

    /// Subscribes to tracks by their ids, or ends that. `false`: the session is over.
    pub async fn subscribe(&self, tracks: Vec<String>, subscribe: bool) -> bool {
        self.request(Request::Subscribe { tracks, subscribe }).await.is_ok()
    }

    /// Sends a data message of up to about 60 kB to these identities, or to everybody else when there are none. `false`: the
    /// session is over, or so much waits that this was dropped.
    pub fn send_data(&self, kind: DataKind, topic: &str, payload: impl Into<Bytes>, to: &[&str]) -> bool {
        let to = to.iter().map(|identity| (*identity).to_owned()).collect();
        let message = data::Outgoing { kind, topic: topic.to_owned(), to, payload: payload.into() };
        self.media.send(Command::Message(message))
    }

    /// Sends a signal request as it is, for what has no method of its own. `false`: the session is over.
    pub async fn signal(&self, message: proto::signal_request::Message) -> bool {
        self.request(Request::Raw(Box::new(message))).await.is_ok()
    }

    /// How long connecting took, from the call of [`Room::connect`].
    pub fn timing(&self) -> Timing {
        self.shared.timing()
    }

    /// What arrived since the beginning.
    pub fn counters(&self) -> Counters {
        self.shared.counters().clone()
    }

    /// Leaves, and returns when the server has been told.
    pub async fn leave(self) {
        let (reply, done) = oneshot::channel();
        if self.request(Request::Leave(reply)).await.is_ok() {
            // An error means that the session ended by itself.
            let _ = done.await;
        }
    }

    async fn request(&self, request: Request) -> Result<(), ()> {
        self.requests.send(request).await.map_err(|_| ())
    }
}

/// A connection before its join: everything that the offer needs.
struct Preparation {
    media: Thread,
    negotiation: Negotiation,
    shared: Arc<Shared>,
    event_sender: async_channel::Sender<Event>,
    pending: Vec<Pending>,
}

async fn establish(
    started: Instant,
    url: &str,
    token: &str,
    options: Options,
) -> Result<(Room, Events), ConnectError> {
    let dialled = socket::dial(url).await?;
    let (event_sender, events) = async_channel::bounded(EVENTS);
    let mut preparation = prepare(started, &options, &dialled, event_sender)?;
    let mut socket = ask_to_join(dialled, token, &options, &mut preparation).await?;
    let join = joined(&mut socket).await?;
    let Preparation { mut media, negotiation, shared, event_sender, pending } = preparation;
    shared.reached(Stage::Joined, Instant::now());
    for info in &join.other_participants {
        // The queue is empty; a room of thousands fills it, and its tail comes with updates.
        let _ = event_sender.try_send(Event::Participant(Participant::from_proto(info)));
    }
    let (requests, asked) = mpsc::channel(REQUESTS);
    let room = Room {
        requests,
        media: media.sender.clone(),
        shared,
        published: pending.iter().map(|pending| pending.publication.clone()).collect(),
        sid: join.participant.map(|me| me.sid).unwrap_or_default(),
        name: join.room.map(|room| room.name).unwrap_or_default(),
    };
    let ready = media.ready.take();
    let me = room.sid.clone();
    let driver = Driver { socket, negotiation, media, events: event_sender, requests: asked, pending, me };
    tokio::spawn(driver.run((join.ping_interval, join.ping_timeout)));
    let up = match ready {
        Some(ready) => ready.await.is_ok(),
        None => false,
    };
    if up { Ok((room, events)) } else { Err(ConnectError::Ended(why(&events).await)) }
}

/// The last event says why a session ended.
async fn why(events: &Events) -> Ended {
    while let Ok(event) = events.recv().await {
        if let Event::Ended(why) = event {
            return why;
        }
    }
    Ended::Media("for an unknown reason".to_owned())
}

fn prepare(
    started: Instant,
    options: &Options,
    dialled: &Dialled,
    event_sender: async_channel::Sender<Event>,
) -> Result<Preparation, ConnectError> {
    let shared = Arc::new(Shared::new(started));
    let config = match &options.transport {
        Some(config) => config.clone(),
        None => fresh_transport()?,
    };
    let ip = options.ip.unwrap_or(dialled.local);
    let (endpoint, clock) = bind(ip, &config)?;
    let local = endpoint.credentials();
    let transport = sdp::Transport {
        ice: sdp::Ice { ufrag: local.ufrag.clone(), password: local.password.clone() },
        fingerprint: config.certificate().fingerprint(),
        candidates: vec![endpoint.socket().local_addr()],
    };
    let cname = format!("{:016x}", rand::random::<u64>());
    let mut negotiation = Negotiation::new(transport, rand::random(), cname);
    let media = media::spawn(endpoint, clock, shared.clone(), event_sender.clone(), options.packets)?;
    let mut pending = Vec::new();
    for track in &options.publish {
        let uplink = Uplink::random(track.kind);
        let cid = uplink.cid.clone();
        let Some(mid) = negotiation.add_uplink(uplink) else { break };
        pending.push(Pending {
            track: track.clone(),
            publication: Publication::new(mid, cid, track.kind, media.sender.clone()),
            published: false,
            negotiated: false,
            reply: None,
        });
    }
    negotiation.add_receivers(options.receive.0, options.receive.1);
    Ok(Preparation { media, negotiation, shared, event_sender, pending })
}

fn fresh_transport() -> Result<Arc<rtc::Config>, ConnectError> {
    let failed = |error: rtc::ConfigError| ConnectError::Media(error.to_string());
    let certificate = Certificate::generate(rand::random()).map_err(failed)?;
    rtc::Config::new(certificate).map(Arc::new).map_err(failed)
}

fn bind(ip: IpAddr, config: &Arc<rtc::Config>) -> Result<(Endpoint, WallClock), ConnectError> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let clock = WallClock { at: Instant::now(), ntp: NtpTime::from_unix(since_epoch) };
    let endpoint = Endpoint::bind(ip, &SOCKET, clock, config, rand::random())?;
    Ok((endpoint, clock))
}

async fn ask_to_join(
    dialled: Dialled,
    token: &str,
    options: &Options,
    preparation: &mut Preparation,
) -> Result<Socket, ConnectError> {
    let offer = preparation.negotiation.offer().expect("the first offer is always due");
    let tracks = preparation.pending.iter();
    let add_tracks =
        tracks.map(|pending| join::add_track(&pending.track, pending.publication.cid())).collect();
    let request = join::request(options.auto_subscribe, add_tracks, offer);
    let secured = dialled.secure(&options.trust).await?;
    preparation.shared.reached(Stage::Requested, Instant::now());
    secured.open(token, &request).await
}

/// The first message is a JoinResponse, or a Leave that says why there is none.
async fn joined(socket: &mut Socket) -> Result<proto::JoinResponse, ConnectError> {
    loop {
        match socket.next().await {
            Incoming::Message(message) => return first(message.map(|message| *message)),
            Incoming::Alive => {}
            Incoming::Closed(how) => return Err(ConnectError::Ended(Ended::Signal(how))),
        }
    }
}

fn first(message: Option<Message>) -> Result<proto::JoinResponse, ConnectError> {
    match message {
        Some(Message::Join(join)) => Ok(join),
        Some(Message::Leave(leave)) => {
            let reason = leave.reason().as_str_name().to_owned();
            Err(ConnectError::Ended(Ended::ByServer(reason)))
        }
        _ => Err(ConnectError::Protocol("the first message is no JoinResponse".to_owned())),
    }
}
