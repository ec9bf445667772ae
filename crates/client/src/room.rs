//! Connecting to a room, and the handle to it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use base::NtpTime;
use base::model::DataKind;
use bytes::Bytes;
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message;
use rtc::{Certificate, WallClock};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::counters::{Counters, Shared, Stage, Timing};
use crate::data;
use crate::driver::{Driver, Place, Request, Rising, Session, Upload};
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, PublishError};
use crate::event::{Ended, Event, Events, Participant};
use crate::join;
use crate::known::Known;
use crate::media::{self, Command, Outlet, Replacement, Sender};
use crate::negotiation::{Negotiation, Uplink};
use crate::options::{LocalTrack, Options, TrackSettings};
use crate::publication::Publication;
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
    known: Arc<Known>,
    published: Vec<Publication>,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Room({} in {})", self.sid(), self.name())
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

    /// Our session's id; another one after a full reconnect.
    pub fn sid(&self) -> String {
        self.known.sid()
    }

    /// The room's name.
    pub fn name(&self) -> String {
        self.known.room()
    }

    /// Everybody else who is in the room, in the order of their identities.
    pub fn participants(&self) -> Vec<Participant> {
        self.known.others()
    }

    /// Publishes a track; returns when the server has accepted and negotiated it.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, track: LocalTrack) -> Result<Publication, PublishError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Publish { track: Box::new(track), reply })
            .await
            .map_err(|()| PublishError::Ended)?;
        answer.await.unwrap_or(Err(PublishError::Ended))
    }

    /// Subscribes to tracks by their ids, or ends that. `false`: the session is over.
    pub async fn subscribe(&self, tracks: Vec<String>, subscribe: bool) -> bool {
        self.request(Request::Subscribe { tracks, subscribe }).await.is_ok()
    }

    /// Says what is wanted of tracks: nothing for now, or a size, from which the server chooses a layer. `false`: the session is
    /// over.
    pub async fn set_track_settings(&self, tracks: Vec<String>, settings: TrackSettings) -> bool {
        self.request(Request::Settings { tracks, settings }).await.is_ok()
    }

    /// Asks for a keyframe of a track of somebody else, by its id. With [`Options::frames`] that is done when one is needed.
    pub fn request_keyframe(&self, track: &str) -> bool {
        self.media.send(Command::Keyframe(track.into()))
    }

    /// Changes our name, our metadata or our attributes, as far as the token allows it (`canUpdateOwnMetadata`); what is empty
    /// stays, and an attribute with an empty value is deleted. `false`: the session is over.
    pub async fn update(&self, name: &str, metadata: &str, attributes: &[(&str, &str)]) -> bool {
        let pairs = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let update = proto::UpdateParticipantMetadata {
            name: name.to_owned(),
            metadata: metadata.to_owned(),
            attributes: pairs.collect(),
            ..Default::default()
        };
        self.signal(proto::signal_request::Message::UpdateMetadata(update)).await
    }

    /// The network has changed: resumes the session at once, with a fresh socket for media, rather than when the silence on
    /// the old path is noticed. `false`: the session is over.
    pub async fn reconnect(&self) -> bool {
        self.request(Request::Reconnect).await.is_ok()
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

/// A connection that begins: its media, and what is negotiated.
pub(crate) struct Begun {
    pub replacement: Replacement,
    pub negotiation: Negotiation,
    pub ready: oneshot::Receiver<()>,
}

async fn establish(
    started: Instant,
    url: &str,
    token: &str,
    options: Options,
) -> Result<(Room, Events), ConnectError> {
    let dialled = socket::dial(url).await?;
    let (event_sender, events) = async_channel::bounded(EVENTS);
    let (requests, asked) = mpsc::channel(REQUESTS);
    let (shared, known) = (Arc::new(Shared::new(started)), Arc::new(Known::default()));
    let begun = begin(&options, options.ip.unwrap_or(dialled.local), 0)?;
    let outlet = Outlet {
        shared: shared.clone(),
        known: known.clone(),
        events: event_sender.clone(),
        packets: options.packets,
        frames: options.frames,
    };
    let media = media::spawn(begun.replacement, outlet)?;
    let mut negotiation = begun.negotiation;
    let uploads = uploads(&options, &mut negotiation, &media.sender, &requests.downgrade());
    negotiation.add_receivers(options.receive.0, options.receive.1);
    let mut socket = ask_to_join(dialled, token, &options, &mut negotiation, &uploads, &shared).await?;
    let join = joined(&mut socket).await?;
    shared.reached(Stage::Joined, Instant::now());
    for event in known.joined(&join) {
        // The queue is empty; a room of thousands fills it, and its tail comes with updates.
        let _ = event_sender.try_send(event);
    }
    let published = uploads.iter().map(|upload| upload.publication.clone()).collect();
    let (tell, up) = oneshot::channel();
    let sender = requests.downgrade();
    let room = Room { requests, media: media.sender.clone(), shared, known: known.clone(), published };
    let session = Session {
        place: Place { url: url.to_owned(), token: token.to_owned(), options },
        socket,
        negotiation,
        media,
        generation: 0,
        events: event_sender,
        known,
        uploads,
        subscriptions: BTreeMap::new(),
        settings: BTreeMap::new(),
        rising: Rising::First(tell),
        ready: Some(begun.ready),
        attempts: 0,
        ping: (join.ping_interval, join.ping_timeout),
    };
    let driver = Driver { session, requests: asked, sender, held: VecDeque::new() };
    tokio::spawn(driver.run());
    match up.await {
        Ok(()) => Ok((room, events)),
        Err(_) => Err(ConnectError::Ended(why(&events).await)),
    }
}

/// The tracks that are published with the join.
fn uploads(
    options: &Options,
    negotiation: &mut Negotiation,
    media: &Sender,
    requests: &mpsc::WeakSender<Request>,
) -> Vec<Upload> {
    let mut uploads = Vec::new();
    for track in &options.publish {
        let uplink = Uplink::random(track);
        let cid = uplink.cid.clone();
        if negotiation.add_uplink(uplink.clone()).is_none() {
            break;
        }
        uploads.push(Upload {
            track: track.clone(),
            uplink,
            publication: Publication::new(cid, track.kind, media.clone(), requests.clone()),
            info: None,
            negotiated: false,
            reply: None,
        });
    }
    uploads
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

/// A connection on a fresh socket of this address, with data channels alone.
pub(crate) fn begin(options: &Options, ip: IpAddr, generation: u32) -> Result<Begun, ConnectError> {
    let config = match &options.transport {
        Some(config) => config.clone(),
        None => fresh_transport()?,
    };
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let clock = WallClock { at: Instant::now(), ntp: NtpTime::from_unix(since_epoch) };
    let endpoint = Endpoint::bind(ip, &SOCKET, clock, &config, rand::random())?;
    let local = endpoint.credentials();
    let transport = sdp::Transport {
        ice: sdp::Ice { ufrag: local.ufrag.clone(), password: local.password.clone() },
        fingerprint: config.certificate().fingerprint(),
        candidates: vec![endpoint.socket().local_addr()],
    };
    let cname = format!("{:016x}", rand::random::<u64>());
    let negotiation = Negotiation::new(transport, rand::random(), cname);
    let (tell, ready) = oneshot::channel();
    Ok(Begun { replacement: Replacement { generation, endpoint, clock, ready: tell }, negotiation, ready })
}

/// A socket for media.
pub(crate) fn bind_socket(ip: IpAddr) -> Result<udp::Socket, ConnectError> {
    Ok(udp::Socket::bind(SocketAddr::new(ip, 0), &SOCKET)?)
}

fn fresh_transport() -> Result<Arc<rtc::Config>, ConnectError> {
    let failed = |error: rtc::ConfigError| ConnectError::Media(error.to_string());
    let certificate = Certificate::generate(rand::random()).map_err(failed)?;
    rtc::Config::new(certificate).map(Arc::new).map_err(failed)
}

async fn ask_to_join(
    dialled: Dialled,
    token: &str,
    options: &Options,
    negotiation: &mut Negotiation,
    uploads: &[Upload],
    shared: &Shared,
) -> Result<Socket, ConnectError> {
    let offer = negotiation.offer().expect("the first offer is always due");
    let tracks = uploads.iter();
    let add_tracks = tracks.map(|upload| join::add_track(&upload.track, upload.publication.cid())).collect();
    let request = join::request(options.auto_subscribe, add_tracks, offer);
    let secured = dialled.secure(&options.trust).await?;
    shared.reached(Stage::Requested, Instant::now());
    secured.open(token, &request).await
}

/// The first message is a JoinResponse, or a Leave that says why there is none.
pub(crate) async fn joined(socket: &mut Socket) -> Result<proto::JoinResponse, ConnectError> {
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
