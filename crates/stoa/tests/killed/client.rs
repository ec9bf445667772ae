//! A client that sends, is cut off, comes back with its cursor, sends again what was not answered, and records.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use auth::{Claims, DEVELOPMENT_KEY, DEVELOPMENT_SECRET, MessagingGrants};
use base::UnixMillis;
use messaging::causal::Reset;
use messaging::clock::Hlc;
use messaging::place::{Cursor, EventId, Mark, Place};
use proof::history::{Act, Got, Line};
use serde_json::{Value, json};
use wire::websocket::{self, Message, Opcode, Reader, Side};

pub const CHANNEL: &str = "room";

/// Sends that one client has under way.
const UNDER_WAY: usize = 16;
/// Between two of them.
const PACE: Duration = Duration::from_millis(11);
/// As long as reading waits.
const WAIT: Duration = Duration::from_millis(5);
/// As long as an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all clients share.
pub struct Desk {
    address: Mutex<SocketAddr>,
    lines: Mutex<Vec<Line>>,
    /// By client: messages without an answer, and messages received.
    pub waiting: Vec<AtomicUsize>,
    received: Vec<AtomicUsize>,
    pub accepted: AtomicU64,
    pub retried: AtomicU64,
    pub resumed: AtomicU64,
    /// Nothing new is sent any more.
    pub is_quiet: AtomicBool,
    pub is_over: AtomicBool,
}

impl Desk {
    pub fn new(address: SocketAddr) -> Self {
        let zeros = || (0..super::CLIENTS).map(|_| AtomicUsize::new(0)).collect();
        Self {
            address: Mutex::new(address),
            lines: Mutex::default(),
            waiting: zeros(),
            received: zeros(),
            accepted: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            is_quiet: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// The server listens elsewhere.
    pub fn moved(&self, address: SocketAddr) {
        *lock(&self.address) = address;
    }

    pub fn lines(&self) -> Vec<Line> {
        lock(&self.lines).clone()
    }

    /// Has every client received so many messages?
    pub fn received(&self, clients: usize, messages: usize) -> bool {
        self.received[..clients].iter().all(|received| received.load(Ordering::Relaxed) >= messages)
    }

    fn record(&self, client: usize, act: Act) {
        lock(&self.lines).push(Line { client, act });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn name(index: usize) -> String {
    format!("user{index}")
}

/// The message that an item is: whose, and which.
pub fn message_of(item: &Value) -> Option<u64> {
    let index: u64 = item["from"]["user"].as_str()?.strip_prefix("user")?.parse().ok()?;
    (item["kind"] == "message").then(|| item["csn"].as_u64().map(|csn| index * 1_000_000 + csn))?
}

fn token(user: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let messaging = Some(MessagingGrants::default());
    let claims = Claims { sub: user.to_owned(), messaging, ..Claims::default() };
    let claims = claims.valid_for(UnixMillis(now.as_millis() as u64), Duration::from_secs(3_600));
    auth::mint(DEVELOPMENT_KEY, DEVELOPMENT_SECRET, &claims)
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    reader: Reader,
    frames: VecDeque<Value>,
    next: u64,
}

impl Client {
    /// Connects a device; `None`: nobody is there.
    pub fn connect(address: SocketAddr, index: usize, device: &str, cursor: Option<&str>) -> Option<Self> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        let request = "GET /m/v1 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       sec-websocket-protocol: stoa.v1.json\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        stream.set_read_timeout(Some(WAIT)).ok()?;
        let (reader, frames) = (Reader::new(Side::Client, 16 << 20), VecDeque::new());
        let mut client = Self { stream, reader, frames, next: 0 };
        let resume: Vec<Value> =
            cursor.map(|cursor| json!({"channel": CHANNEL, "cursor": cursor})).into_iter().collect();
        let connect = json!({"token": token(&name(index)), "device": device, "resume": resume});
        let welcome = client.try_ask("connect", connect)?;
        let resumed = welcome["channels"].as_array().map_or(0, Vec::len);
        assert_eq!(resumed, resume.len(), "{welcome}");
        for channel in welcome["channels"].as_array().into_iter().flatten() {
            assert!(channel.get("error").is_none_or(Value::is_null), "a cursor was refused: {channel}");
        }
        Some(client)
    }

    fn send(&mut self, command: &str, map: &Value) -> Option<u64> {
        self.next += 1;
        let text = json!({"v": 1, "id": self.next, command: map}).to_string();
        let mut bytes = Vec::new();
        websocket::masked(Opcode::Text, [1, 2, 3, 4], text.as_bytes(), &mut bytes);
        self.stream.write_all(&bytes).ok()?;
        Some(self.next)
    }

    /// Asks, and waits for the `ok`; pushes that come meanwhile stay. `None`: the connection is over.
    fn try_ask(&mut self, command: &str, map: Value) -> Option<Value> {
        let id = self.send(command, &map)?;
        let mut others = VecDeque::new();
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "{command} is not answered");
            let Some(mut frame) = self.receive()? else { continue };
            if frame["id"] == id {
                others.append(&mut self.frames);
                self.frames = others;
                assert!(frame.get("ok").is_some(), "{command}: {frame}");
                return Some(frame["ok"].take());
            }
            others.push_back(frame);
        }
    }

    pub fn ask(&mut self, command: &str, map: Value) -> Value {
        self.try_ask(command, map).expect("the server is up")
    }

    /// All items that come until none has for so long.
    pub fn items(&mut self, quiet: Duration) -> Vec<Value> {
        let (mut items, mut last) = (Vec::new(), Instant::now());
        while last.elapsed() < quiet {
            let Some(frame) = self.receive().expect("the server is up") else { continue };
            if let Some(new) = frame["events"]["items"].as_array() {
                items.extend(new.iter().cloned());
                last = Instant::now();
            }
        }
        items
    }

    /// The next frame. `None`: the connection is over; nothing in it: there is none yet.
    fn receive(&mut self) -> Option<Option<Value>> {
        if let Some(frame) = self.frames.pop_front() {
            return Some(Some(frame));
        }
        let mut buffer = [0; 16 << 10];
        let count = match self.stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Some(None);
            }
            Err(_) => return None,
        };
        let (frames, mut is_open) = (&mut self.frames, true);
        let read = self.reader.read(&mut buffer[..count], |message| {
            match message {
                Message::Text(text) => frames.push_back(serde_json::from_str(text).expect("frames are JSON")),
                Message::Close(_) => is_open = false,
                _ => {}
            }
            true
        });
        assert_eq!(read, Ok(()), "the server breaks the protocol");
        if is_open { Some(self.frames.pop_front()) } else { None }
    }
}

/// What a device remembers over its connections.
struct Device<'a> {
    desk: &'a Desk,
    index: usize,
    cursor: Option<String>,
    /// What answers proved since the last send.
    token: Option<String>,
    csn: u64,
    pending: VecDeque<u64>,
    has_begun: bool,
}

/// A device's life.
pub fn run(desk: &Desk, index: usize) {
    let (cursor, token, pending) = (None, None, VecDeque::new());
    let mut device = Device { desk, index, cursor, token, csn: 0, pending, has_begun: false };
    while !desk.is_over.load(Ordering::Relaxed) {
        let address = *lock(&desk.address);
        match Client::connect(address, index, "phone", device.cursor.as_deref()) {
            Some(client) => device.live(client),
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
}

impl Device<'_> {
    /// Until the connection ends.
    fn live(&mut self, mut client: Client) {
        self.desk.record(self.index, Act::Stream);
        if self.cursor.is_some() {
            self.desk.resumed.fetch_add(1, Ordering::Relaxed);
        } else {
            let from = json!({"channel": CHANNEL, "from": {"last": 30}});
            let Some(ok) = client.try_ask("subscribe", from) else { return };
            self.cursor = ok["cursor"].as_str().map(str::to_owned);
        }
        // Requests of this connection, and the number that each sent.
        let mut asked: VecDeque<(u64, u64)> = VecDeque::new();
        for csn in self.pending.clone() {
            self.desk.retried.fetch_add(1, Ordering::Relaxed);
            let Some(id) = self.transmit(&mut client, csn, true) else { return };
            asked.push_back((id, csn));
        }
        let mut due = Instant::now();
        while !self.desk.is_over.load(Ordering::Relaxed) {
            let is_quiet = self.desk.is_quiet.load(Ordering::Relaxed);
            if !is_quiet && self.pending.len() < UNDER_WAY && Instant::now() >= due {
                due = Instant::now() + PACE;
                let csn = self.compose();
                let Some(id) = self.transmit(&mut client, csn, false) else { return };
                asked.push_back((id, csn));
            }
            match client.receive() {
                None => return,
                Some(None) => {}
                Some(Some(frame)) => {
                    if !self.take(&frame, &mut asked) {
                        // All that is not answered is sent again, in order, on a new connection.
                        return thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        }
    }

    fn compose(&mut self) -> u64 {
        self.csn += 1;
        self.pending.push_back(self.csn);
        self.desk.waiting[self.index].store(self.pending.len(), Ordering::Relaxed);
        self.desk.record(self.index, Act::Sent(self.message(self.csn)));
        self.csn
    }

    fn message(&self, csn: u64) -> u64 {
        self.index as u64 * 1_000_000 + csn
    }

    fn transmit(&mut self, client: &mut Client, csn: u64, again: bool) -> Option<u64> {
        // After a reconnect the cursor says what was received before it.
        let cursor = self.cursor.clone().filter(|_| again);
        let seen: Vec<String> = self.token.clone().into_iter().chain(cursor).collect();
        let body = json!({"text": format!("{} says {csn}", name(self.index))});
        client.send("send", &json!({"channel": CHANNEL, "csn": csn, "body": body, "seen": seen}))
    }

    /// False: a send was refused for a time, and those behind it with it.
    fn take(&mut self, frame: &Value, asked: &mut VecDeque<(u64, u64)>) -> bool {
        assert!(frame.get("reset").is_none(), "client {} was reset: {frame}", self.index);
        if let Some(events) = frame.get("events") {
            for item in events["items"].as_array().expect("a list") {
                self.got(item);
            }
            self.cursor = events["cursor"].as_str().map(str::to_owned);
        } else if let Some(id) = frame["id"].as_u64() {
            let (request, csn) = asked.pop_front().expect("nothing is answered that was not asked");
            assert_eq!(request, id, "answers come in order");
            let Some(ok) = frame.get("ok") else {
                assert_eq!(frame["error"]["final"], false, "send {csn} was refused: {frame}");
                return false;
            };
            self.accepted(csn, ok);
        }
        true
    }

    fn accepted(&mut self, csn: u64, ok: &Value) {
        let id: EventId = ok["event"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        self.token = ok["token"].as_str().map(str::to_owned);
        if self.pending.contains(&csn) {
            self.pending.retain(|pending| *pending != csn);
            self.desk.waiting[self.index].store(self.pending.len(), Ordering::Relaxed);
            self.desk.accepted.fetch_add(1, Ordering::Relaxed);
            self.desk.record(self.index, Act::Accepted(self.message(csn), id));
        }
    }

    fn got(&mut self, item: &Value) {
        let id: EventId = item["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let prev: Option<EventId> = item["prev"].as_str().map(|prev| prev.parse().expect("an id"));
        let clock =
            item["t"].as_str().and_then(|t| u64::from_str_radix(t, 16).ok()).map(Hlc).expect("a clock");
        let prev: Option<Place> = prev.map(|prev| prev.place);
        if !std::mem::replace(&mut self.has_begun, true) {
            self.begin(id, prev);
        }
        let message = message_of(item);
        let late = item["late"] == true;
        let got = Got { id, prev, clock, message, hole: None, late };
        self.desk.record(self.index, Act::Got(got));
        if message.is_some() {
            self.desk.received[self.index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where the first stream begins, as the checker is told it.
    fn begin(&self, id: EventId, prev: Option<Place>) {
        let at = prev.map(|place| (id.region, Mark { place, count: 0 })).into_iter().collect();
        let cursor = Cursor { at, ..Cursor::default() };
        self.desk.record(self.index, Act::Reset(Reset::Retention, cursor));
    }
}
