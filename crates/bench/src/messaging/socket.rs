//! A WebSocket that does little, so that thousands of them are not what is measured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use wire::messaging::{Command, Encoding, Incoming, Raw, Request};
use wire::websocket::{Message, Opcode, Reader, Side, masked};

/// Longest message of the server that is read.
const LIMIT: u32 = 4 << 20;
/// Bytes that are read at once.
const BUFFER: usize = 16 * 1024;
/// How long an answer may take: all connect at once.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Connections that come from one address of this machine: fewer than it has ports.
const PER_ADDRESS: usize = 5_000;

/// One connection.
pub struct Socket {
    stream: TcpStream,
    reader: Reader,
    requests: u64,
}

impl Socket {
    /// Connects and upgrades; `number` tells connections apart.
    pub async fn open(server: SocketAddr, number: usize) -> Result<Self, String> {
        let stream = connect(server, number).await?;
        let mut socket = Self { stream, reader: Reader::new(Side::Client, LIMIT), requests: 0 };
        let request = format!(
            "GET /m/v1 HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: stoa.v1.json\r\n\r\n"
        );
        socket.write(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.stream.read_u8().await.map_err(|error| format!("upgrade: {error}"))?);
        }
        match head.starts_with(b"HTTP/1.1 101") {
            true => Ok(socket),
            false => Err(format!("upgrade: {}", String::from_utf8_lossy(&head))),
        }
    }

    /// Sends a command and waits for its `ok`; what comes before that is dropped.
    pub async fn ask(&mut self, command: &Command) -> Result<Raw, String> {
        let id = self.tell(command).await?;
        let mut answer = None;
        tokio::time::timeout(
            PATIENCE,
            self.read_until(|text| {
                if let Ok(Incoming::Answer(of, result)) = Incoming::read(Encoding::Json, text.as_bytes())
                    && of == id
                {
                    answer = Some(result);
                }
                answer.is_some()
            }),
        )
        .await
        .map_err(|_| format!("no answer to {} within {PATIENCE:?}", command.name()))??;
        let answer = answer.ok_or("the connection ended before its answer")?;
        answer.map_err(|error| format!("{}: {}", command.name(), error.reason))
    }

    /// Sends a command; its number.
    pub async fn tell(&mut self, command: &Command) -> Result<u64, String> {
        self.requests += 1;
        let (mut frame, mut out) = (Vec::new(), Vec::new());
        Request::write(Encoding::Json, self.requests, command, &mut frame);
        masked(Opcode::Text, [1, 2, 3, 4], &frame, &mut out);
        self.write(&out).await?;
        Ok(self.requests)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).await.map_err(|error| format!("writing: {error}"))
    }

    /// Reads messages until `done` says so of one.
    pub async fn read_until(&mut self, mut done: impl FnMut(&str) -> bool) -> Result<(), String> {
        loop {
            self.stream.readable().await.map_err(|error| error.to_string())?;
            let Some(came) = self.read_some(&mut done)? else { continue };
            if !came.pongs.is_empty() {
                self.write(&came.pongs).await?;
            }
            if came.is_done {
                return Ok(());
            }
        }
    }

    /// What has come, without waiting: its buffer is nothing that each connection keeps.
    fn read_some(&mut self, done: &mut impl FnMut(&str) -> bool) -> Result<Option<Came>, String> {
        let mut buffer = [0; BUFFER];
        let count = match self.stream.try_read(&mut buffer) {
            Ok(0) => return Err("the server closed the connection".to_owned()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(format!("reading: {error}")),
        };
        let (mut came, mut closed) = (Came::default(), None);
        let read = self.reader.read(&mut buffer[..count], |message| {
            match message {
                Message::Text(text) => came.is_done |= done(text),
                Message::Ping(payload) => masked(Opcode::Pong, [0; 4], payload, &mut came.pongs),
                Message::Close(code) => closed = Some(code),
                Message::Binary(_) | Message::Pong(_) => {}
            }
            true
        });
        read.map_err(|fault| format!("the server's frames: {fault:?}"))?;
        match closed {
            Some(code) => Err(format!("the server closed the connection: {code:?}")),
            None => Ok(Some(came)),
        }
    }
}

/// What one read brought.
#[derive(Default)]
struct Came {
    is_done: bool,
    pongs: Vec<u8>,
}

/// A TCP connection from an address that still has ports.
pub async fn connect(server: SocketAddr, number: usize) -> Result<TcpStream, String> {
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 1, (number / PER_ADDRESS) as u8 + 1));
    let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
    socket.bind(SocketAddr::new(from, 0)).map_err(|error| format!("binding {from}: {error}"))?;
    let stream = socket.connect(server).await.map_err(|error| format!("connecting: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// Runs this for each number below `count`, so many at a time; the first error ends it.
pub async fn for_each<T, F>(count: usize, at_once: usize, task: impl Fn(usize) -> F) -> Result<Vec<T>, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let mut running = tokio::task::JoinSet::new();
    let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
    let mut next = 0;
    while next < count || !running.is_empty() {
        while next < count && running.len() < at_once {
            let (number, work) = (next, task(next));
            running.spawn(async move { (number, work.await) });
            next += 1;
        }
        if let Some(done) = running.join_next().await {
            let (number, result) = done.map_err(|error| error.to_string())?;
            results[number] = Some(result.map_err(|error| format!("connection {number}: {error}"))?);
        }
    }
    Ok(results.into_iter().flatten().collect())
}
