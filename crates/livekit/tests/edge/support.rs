//! A listener, an invented control plane, and clients for both protocols.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::model::{LeaveReason, Participant, ParticipantKind, RoomInfo, Track, TrackSource};
use base::{CodecKind, Identity, MediaKind, NodeId, ParticipantId, RoomId, RoomName, TrackId, UnixMillis};
use contract::events::{Follower, RoomEvents};
use contract::media::{Fingerprint, WorkerInfo};
use contract::session::{
    AdminRefused, AdminRequest, Call, ControlHandle, Event, Join, JoinError, Joined, Reply, Request,
    RpcFailure, Session,
};
use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message as Told;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub const NOW: UnixMillis = UnixMillis(1_760_000_000_123);

/// A server under test.
pub struct Server {
    pub address: SocketAddr,
    pub metrics: Arc<livekit::Metrics>,
    pub sessions: livekit::Sessions,
    /// Joins that reached the control plane, with the ends that the room holds.
    pub joins: async_channel::Receiver<Seat>,
    /// What the server API asked of the control plane.
    pub asked: async_channel::Receiver<AdminRequest>,
    /// Tells what happens in rooms.
    pub events: RoomEvents,
    /// Hears what anybody tells.
    pub told: Follower,
    state: livekit::State,
}

/// What the room holds of a joined participant.
pub struct Seat {
    pub join: Join,
    pub requests: async_channel::Receiver<(ParticipantId, Request)>,
    pub events: async_channel::Sender<Event>,
}

impl Seat {
    /// The next request that `pick` takes.
    pub async fn request<T>(&self, pick: impl Fn(Request) -> Option<T>) -> T {
        loop {
            let (_, request) = self.requests.recv().await.expect("the session lives");
            if let Some(found) = pick(request) {
                return found;
            }
        }
    }

    /// The reason with which the participant leaves.
    pub async fn left(&self) -> LeaveReason {
        self.request(|request| match request {
            Request::Leave(reason) => Some(reason),
            _ => None,
        })
        .await
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::with(livekit::Config {
            node: NodeId(1),
            linger: Duration::from_millis(50),
            ..Default::default()
        })
        .await
    }

    pub async fn with(config: livekit::Config) -> Self {
        let (calls, inbox) = async_channel::bounded(16);
        let (seats, joins) = async_channel::bounded(16);
        let (asks, asked) = async_channel::unbounded();
        tokio::spawn(control(inbox, seats, asks));
        let keys = auth::ApiKeys::development();
        let mut events = RoomEvents::default();
        let (followed, others) = (events.follow(), events.follow());
        let state = livekit::State::new(ControlHandle::new(calls), keys, || NOW, config)
            .with_agents(followed, events.clone());
        let (metrics, sessions) = (state.metrics.clone(), state.sessions.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = livekit::router(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, metrics, sessions, joins, asked, events, told: others, state }
    }

    /// The server sends its agents' workers away.
    pub async fn stop_agents(&self) {
        self.state.stop_agents().await;
    }

    /// A plain HTTP request: status, headers in lower case, body.
    pub async fn http(&self, head: &str, body: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        let head = format!(
            "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("writes");
        stream.write_all(body).await.expect("writes");
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.expect("reads");
        let text = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("a response");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    /// GET with an Origin.
    pub async fn get(&self, path: &str) -> (u16, String, String) {
        self.http(&format!("GET {path} HTTP/1.1\r\nOrigin: https://app.example"), b"").await
    }

    pub async fn connect(&self, path: &str) -> Client {
        self.try_connect(path).await.expect("the upgrade succeeds")
    }

    /// `Err`: status and text of the refusal.
    pub async fn try_connect(&self, path: &str) -> Result<Client, (u16, String)> {
        open(self.address, path).await
    }
}

/// `Err`: status and text of the refusal.
pub async fn open(address: SocketAddr, path: &str) -> Result<Client, (u16, String)> {
    match tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await {
        Ok((socket, _)) => Ok(Client { socket }),
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
            let text = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            Err((response.status().as_u16(), text.into_owned()))
        }
        Err(other) => panic!("{other}"),
    }
}

/// A client on the signal socket.
pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub async fn ask(&mut self, message: proto::signal_request::Message) {
        let request = proto::SignalRequest { message: Some(message) };
        self.send(Frame::Binary(request.encode_to_vec().into())).await;
    }

    /// Like [`Self::ask`], where the server may have closed the socket.
    pub async fn try_ask(&mut self, message: proto::signal_request::Message) {
        let request = proto::SignalRequest { message: Some(message) };
        let _ = self.socket.send(Frame::Binary(request.encode_to_vec().into())).await;
    }

    pub async fn send(&mut self, frame: Frame) {
        self.socket.send(frame).await.expect("the socket takes it");
    }

    /// The next message; `None` when the server closes, which it must do with code 1000.
    pub async fn told(&mut self) -> Option<Told> {
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(10), self.socket.next()).await;
            match frame.expect("something within 10 s")?.ok()? {
                Frame::Binary(bytes) => {
                    let response = proto::SignalResponse::decode(bytes.as_ref()).expect("a signal response");
                    return Some(response.message.expect("a message"));
                }
                Frame::Close(close) => {
                    assert_eq!(u16::from(close.expect("a close frame").code), 1000);
                    return None;
                }
                _ => {}
            }
        }
    }

    /// The next message that `pick` takes.
    pub async fn until<T>(&mut self, pick: impl Fn(Told) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.told().await.expect("the socket is open")) {
                return found;
            }
        }
    }
}

async fn control(
    calls: async_channel::Receiver<Call>,
    seats: async_channel::Sender<Seat>,
    asks: async_channel::Sender<AdminRequest>,
) {
    while let Ok(call) = calls.recv().await {
        match call {
            Call::Join(call) => {
                let answer = join(call.join, &seats).await;
                let _ = call.reply.send(answer).await;
            }
            Call::Admin(request) => {
                // Whoever holds a request holds its answer: those that are to be dropped are not kept.
                let is_dropped = |identity: &Identity| identity.as_str() == "busy";
                if !matches!(&request, AdminRequest::RemoveParticipant { identity, .. } if is_dropped(identity))
                {
                    let _ = asks.try_send(request.clone());
                }
                admin(request).await;
            }
        }
    }
}

/// Rooms are `full` (nobody may join), `gone` (does not exist), `busy` (nor can it be made) or any other (one may).
fn check_join(join: &Join) -> Result<(), JoinError> {
    match join.room.as_str() {
        "full" => Err(JoinError::RoomFull),
        "gone" if !join.create => Err(JoinError::NoSuchRoom),
        "busy" => Err(JoinError::Unavailable),
        _ => Ok(()),
    }
}

async fn join(join: Join, seats: &async_channel::Sender<Seat>) -> Result<Joined, JoinError> {
    check_join(&join)?;
    let id = ParticipantId(1);
    let (requests, request_inbox) = async_channel::bounded(256);
    let (event_outbox, events) = async_channel::bounded(256);
    let joined = Joined {
        participant: Arc::new(participant(&join)),
        room: room(join.room.as_str(), 0),
        others: Vec::new(),
        worker: WorkerInfo {
            index: 0,
            candidates: vec!["192.0.2.7:7882".parse().expect("an address")],
            fingerprint: Fingerprint([7; 32]),
        },
        session: Session::new(id, requests),
        events,
    };
    let _ = seats.send(Seat { join, requests: request_inbox, events: event_outbox }).await;
    Ok(joined)
}

fn participant(join: &Join) -> Participant {
    Participant {
        name: join.name.clone(),
        metadata: join.metadata.clone(),
        attributes: join.attributes.clone(),
        permissions: join.permissions.clone(),
        joined_at: NOW,
        ..Participant::new(ParticipantId(1), join.identity.clone())
    }
}

pub fn room(name: &str, max_participants: u32) -> RoomInfo {
    RoomInfo {
        id: RoomId(5),
        name: RoomName::new(name),
        metadata: String::new(),
        empty_timeout_s: 300,
        departure_timeout_s: 20,
        max_participants,
        created_at: NOW,
        participants: 2,
        publishers: 1,
        recording: false,
    }
}

async fn admin(request: AdminRequest) {
    match request {
        AdminRequest::CheckJoin { join, reply } => {
            let _ = reply.send(check_join(&join)).await;
        }
        AdminRequest::ListRooms { names, reply } => {
            let all = [room("lobby", 0), room("full", 2)];
            let wanted = all.into_iter().filter(|room| names.is_empty() || names.contains(&room.name));
            let _ = reply.send(wanted.collect()).await;
        }
        AdminRequest::DeleteRoom { room, reply } => {
            let _ = reply.send(room.as_str() == "lobby").await;
        }
        AdminRequest::ListParticipants { reply, .. } => {
            let _ = reply.send(vec![Arc::new(ada())]).await;
        }
        AdminRequest::GetParticipant { identity, reply, .. } => {
            let _ = reply.send(if_ada(&identity).map(|()| Arc::new(ada()))).await;
        }
        AdminRequest::UpdateParticipant { identity, reply, .. } => {
            let _ = reply.send(if_ada(&identity).map(|()| Arc::new(ada()))).await;
        }
        AdminRequest::UpdateSubscriptions { identity, reply, .. } => {
            let _ = reply.send(if_ada(&identity)).await;
        }
        AdminRequest::MoveParticipant { identity, destination, create, reply, .. }
        | AdminRequest::ForwardParticipant { identity, destination, create, reply, .. } => {
            let there = create || destination.as_str() == "lounge";
            let found =
                if_ada(&identity).and_then(|()| there.then_some(()).ok_or(AdminRefused::NoDestination));
            let _ = reply.send(found).await;
        }
        AdminRequest::MuteTrack { muted: false, reply, .. } => {
            let _ = reply.send(Err(AdminRefused::UnmuteDisabled)).await;
        }
        AdminRequest::MuteTrack { track, reply, .. } => {
            let _ = reply.send(Ok(microphone(track))).await;
        }
        AdminRequest::CreateRoom { room: name, options, reply } => {
            let made = RoomInfo { metadata: options.metadata, participants: 0, ..room(name.as_str(), 0) };
            let _ = reply.send(Ok(made)).await;
        }
        AdminRequest::SetRoomMetadata { reply, .. } => {
            let _ = reply.send(Err(AdminRefused::LimitExceeded)).await;
        }
        AdminRequest::SendData { reply, .. } => {
            let _ = reply.send(Ok(())).await;
        }
        AdminRequest::PerformRpc { identity, reply, .. } => rpc(identity.as_str(), reply).await,
        // Dropped, as by a room with too many calls waiting.
        AdminRequest::RemoveParticipant { identity, .. } if identity.as_str() == "busy" => {}
        AdminRequest::RemoveParticipant { identity, reply, .. } => {
            let _ = reply.send(identity.as_str() == "ada").await;
        }
        AdminRequest::Snapshot { reply, .. } => {
            let _ = reply.send(None).await;
        }
    }
}

/// ada answers, bob is not there, cid leaves, dan does not know the procedure, and eve never answers.
async fn rpc(identity: &str, reply: Reply<Result<String, RpcFailure>>) {
    let answer = match identity {
        "ada" => Ok("result".to_owned()),
        "bob" => Err(RpcFailure::Refused(AdminRefused::NoSuchParticipant)),
        "cid" => Err(RpcFailure::Left),
        "dan" => {
            Err(RpcFailure::Error { code: 1_400, message: "no such method".to_owned(), data: String::new() })
        }
        _ => {
            tokio::spawn(async move { reply.closed().await });
            return;
        }
    };
    let _ = reply.send(answer).await;
}

fn if_ada(identity: &Identity) -> Result<(), AdminRefused> {
    match identity.as_str() {
        "ada" => Ok(()),
        _ => Err(AdminRefused::NoSuchParticipant),
    }
}

fn ada() -> Participant {
    let attributes = BTreeMap::from([("someKey".to_owned(), "aValue".to_owned())]);
    Participant { attributes, ..participant(&lobby_join()) }
}

fn microphone(id: TrackId) -> Track {
    Track {
        source: TrackSource::Microphone,
        name: "mic".to_owned(),
        muted: true,
        cid: "cid".to_owned(),
        ..Track::new(id, MediaKind::Audio, CodecKind::Opus)
    }
}

fn lobby_join() -> Join {
    Join {
        kind_details: Default::default(),
        room: RoomName::new("lobby"),
        create: false,
        options: Default::default(),
        identity: Identity::new("ada"),
        name: String::new(),
        metadata: String::new(),
        attributes: BTreeMap::new(),
        kind: ParticipantKind::Standard,
        issued_s: 0,
        permissions: Default::default(),
        auto_subscribe: true,
        auto_subscribe_data: false,
        abilities: base::model::Abilities::default(),
        client: String::new(),
    }
}

pub fn mint(claims: auth::Claims) -> String {
    let claims = claims.valid_for(NOW, Duration::from_secs(600));
    auth::mint(auth::DEVELOPMENT_KEY, auth::DEVELOPMENT_SECRET, &claims)
}

/// A token with which ada may join `room`.
pub fn token(room: &str) -> String {
    mint(auth::Claims::join("ada", room))
}

/// The query of a client on two connections.
pub fn two(room: &str) -> String {
    format!("/rtc?access_token={}&sdk=go&protocol=17&version=2.0.0", token(room))
}

/// A join request in its wrapping, as clients put it into the query.
pub fn wrapped(request: &proto::JoinRequest, gzip: bool) -> String {
    use base64::Engine as _;
    use std::io::Write as _;
    let mut bytes = request.encode_to_vec();
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&bytes).expect("memory takes it");
        bytes = encoder.finish().expect("memory takes it");
    }
    let wrapped = proto::WrappedJoinRequest { compression: i32::from(gzip), join_request: bytes };
    base64::engine::general_purpose::URL_SAFE.encode(wrapped.encode_to_vec())
}
