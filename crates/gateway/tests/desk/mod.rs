//! A gateway on a real log and real sockets, and clients that speak the protocol.
#![allow(dead_code, reason = "every file of tests uses a part")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth::{ApiKeys, Claims, DEVELOPMENT_KEY, DEVELOPMENT_SECRET, MessagingGrants};
use backplane::{EmbeddedLog, EmbeddedOwnership, EmbeddedQueue, Limits, Log as _};
use base::UnixMillis;
use channels::{Handle, Node};
use gateway::{Config, Gateway, Parts, Rooms};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wire::messaging::{Encoding, cbor};
use wire::websocket::{self, Message, Opcode, Reader, Side};

const PATIENCE: Duration = Duration::from_secs(20);

pub fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64)
}

/// A token of messaging, with these grants, good for so many seconds.
pub fn token_with(user: &str, grants: Option<MessagingGrants>, seconds: u64) -> String {
    let claims = Claims { sub: user.to_owned(), messaging: grants, ..Claims::default() };
    let claims = claims.valid_for(now(), Duration::from_secs(seconds));
    auth::mint(DEVELOPMENT_KEY, DEVELOPMENT_SECRET, &claims)
}

pub fn token(user: &str) -> String {
    token_with(user, Some(MessagingGrants::default()), 600)
}

/// Lets into rooms that there are not.
struct Doors;

impl Rooms for Doors {
    fn token(&self, user: &str, room: &str) -> String {
        format!("{user} into {room}")
    }
}

/// A server with a gateway.
pub struct Desk {
    pub address: SocketAddr,
    pub gateway: Gateway,
    pub node: Node,
    pub log: EmbeddedLog,
    pub handle: Handle,
    pub directory: Arc<TempDir>,
    server: JoinHandle<()>,
}

impl Desk {
    pub async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        Self::at(Arc::new(tempfile::tempdir().expect("a directory")), config, [7; 32]).await
    }

    pub async fn at(directory: Arc<TempDir>, config: Config, key: gateway::Key) -> Self {
        let settings = store::log::Settings { partitions: 4, ..Default::default() };
        let log = EmbeddedLog::open(&directory.path().join("log"), settings).expect("it opens");
        let owners =
            EmbeddedQueue::open(&directory.path().join("owners"), Limits::default()).expect("it opens");
        let ownership = EmbeddedOwnership::open(owners).await.expect("it opens");
        let index = index(&log, directory.path()).await;
        let region = "eu".parse().expect("it is a region");
        let node = Node::start(log.clone(), ownership, index, channels::Settings::new(region));
        let handle = node.handle();
        let keys = ApiKeys::development();
        let parts = Parts { handle: handle.clone(), keys, key, now, config, rooms: Some(Arc::new(Doors)) };
        let gateway = Gateway::start(parts);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let routes = gateway::router(&gateway);
        let server = tokio::spawn(async move { drop(axum::serve(listener, routes).await) });
        Self { address, gateway, node, log, handle, directory, server }
    }

    /// Ends in order; a server on the same directory may follow.
    pub async fn end(self) -> Arc<TempDir> {
        self.server.abort();
        self.gateway.stop().await;
        drop(self.handle);
        self.node.close().await;
        self.log.close().await;
        self.directory
    }

    /// A connection of somebody's device that was let in.
    pub async fn connect(&self, user: &str, device: &str) -> Client {
        let mut client = Client::open(self.address, Encoding::Json).await;
        let connected = client.ask("connect", json!({"token": token(user), "device": device})).await;
        assert_eq!(connected["ok"]["user"], user, "{connected}");
        client
    }

    /// A request by HTTP: status and answer.
    pub async fn post(&self, token: &str, command: &str, map: Value) -> (u16, Value) {
        let body = map.to_string();
        let request = format!(
            "POST /m/v1/{command} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time").expect("it answers");
        let answer = String::from_utf8(answer).expect("it is text");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

/// The index, once those of the server before have let it go.
async fn index(log: &EmbeddedLog, directory: &Path) -> store::Index {
    for _ in 0..100 {
        if let Ok(index) = channels::open_index(log, &directory.join("index")).await {
            return index;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the index does not open");
}

/// A client that keeps what it was pushed.
pub struct Client {
    pub stream: TcpStream,
    pub encoding: Encoding,
    reader: Reader,
    frames: VecDeque<Value>,
    pub pushes: VecDeque<Value>,
    pub closed: Option<u16>,
    pub answers_pings: bool,
    next: u64,
}

impl Client {
    pub async fn open(address: SocketAddr, encoding: Encoding) -> Self {
        Self::open_as(address, encoding, Some(encoding.subprotocol())).await
    }

    pub async fn open_as(address: SocketAddr, encoding: Encoding, subprotocol: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let subprotocol =
            subprotocol.map(|name| format!("sec-websocket-protocol: {name}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /m/v1 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{subprotocol}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("it answers"));
        }
        let head = String::from_utf8(head).expect("it is text").to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        // The example of RFC 6455, section 1.3.
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        Self {
            stream,
            encoding,
            reader: Reader::new(Side::Client, 16 << 20),
            frames: VecDeque::new(),
            pushes: VecDeque::new(),
            closed: None,
            answers_pings: true,
            next: 0,
        }
    }

    pub async fn send_raw(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut bytes = Vec::new();
        websocket::masked(opcode, [1, 2, 3, 4], payload, &mut bytes);
        // A server that has closed takes nothing.
        let _ = self.stream.write_all(&bytes).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        match self.encoding {
            Encoding::Json => self.send_raw(Opcode::Text, text.as_bytes()).await,
            Encoding::Cbor => {
                let mut bytes = Vec::new();
                cbor::from_json(text.as_bytes(), &mut bytes).expect("it is JSON");
                self.send_raw(Opcode::Binary, &bytes).await;
            }
        }
    }

    /// Sends a command; the answer has the number.
    pub async fn start(&mut self, command: &str, map: Value) -> u64 {
        self.next += 1;
        let mut frame = json!({"v": 1, "id": self.next});
        frame[command] = map;
        self.send_text(&frame.to_string()).await;
        self.next
    }

    /// Sends a command and waits for its answer.
    pub async fn ask(&mut self, command: &str, map: Value) -> Value {
        let id = self.start(command, map).await;
        self.answer(id).await
    }

    /// Waits for the answer to a command.
    pub async fn answer(&mut self, id: u64) -> Value {
        loop {
            let frame = self.frame().await.unwrap_or_else(|| panic!("closed {:?}", self.closed));
            if frame["id"] == id {
                return frame;
            }
            self.pushes.push_back(frame);
        }
    }

    /// The next push of this kind.
    pub async fn push(&mut self, kind: &str) -> Value {
        if let Some(at) = self.pushes.iter().position(|push| push.get(kind).is_some()) {
            return self.pushes.remove(at).expect("it is there")[kind].clone();
        }
        loop {
            let frame = self.frame().await.unwrap_or_else(|| panic!("closed {:?}", self.closed));
            match frame.get(kind) {
                Some(push) => return push.clone(),
                None => self.pushes.push_back(frame),
            }
        }
    }

    /// The next items of a channel's stream, so many of them.
    pub async fn items(&mut self, count: usize) -> Vec<Value> {
        let mut items = Vec::new();
        while items.len() < count {
            let events = self.push("events").await;
            items.extend(events["items"].as_array().expect("a list").iter().cloned());
        }
        items
    }

    /// Waits until the server closes; the code, if it gave one.
    pub async fn closing(&mut self) -> Option<u16> {
        while self.frame().await.is_some() {}
        self.closed
    }

    /// The next frame; `None`: the connection is over.
    pub async fn frame(&mut self) -> Option<Value> {
        timeout(PATIENCE, self.next_frame()).await.expect("in time")
    }

    async fn next_frame(&mut self) -> Option<Value> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            let count = self.stream.read(&mut buffer).await.unwrap_or(0);
            if count == 0 {
                return None;
            }
            let mut pings = Vec::new();
            let (frames, closed) = (&mut self.frames, &mut self.closed);
            self.reader
                .read(&mut buffer[..count], |message| {
                    match message {
                        Message::Text(text) => frames.push_back(serde_json::from_str(text).expect("JSON")),
                        Message::Binary(bytes) => {
                            let mut json = Vec::new();
                            cbor::to_json(bytes, &mut json).expect("CBOR");
                            frames.push_back(serde_json::from_slice(&json).expect("JSON"));
                        }
                        Message::Ping(payload) => pings.push(payload.to_vec()),
                        Message::Pong(_) => {}
                        Message::Close(code) => *closed = code,
                    }
                    true
                })
                .expect("the server keeps to the protocol");
            if self.answers_pings {
                for ping in pings {
                    self.send_raw(Opcode::Pong, &ping).await;
                }
            }
        }
    }
}

/// A send of a message.
pub fn message(channel: &str, csn: u64, text: &str) -> Value {
    json!({"channel": channel, "csn": csn, "body": {"text": text}})
}
