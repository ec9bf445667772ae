//! The task of a connection: waits for its socket, reads commands, writes what waits.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wire::messaging::{BadCommand, Command, Encoding, Error, ErrorCode, NotAFrame, Request};
use wire::websocket::{Message, Reader, Side};

use super::work::{Outcome, Work};
use super::{Close, Connection, Socket};
use crate::commands;
use crate::metrics::count;
use crate::rate::Bucket;

/// What is read at once: on the stack, where an idle connection has none of it.
const READ: usize = 16 * 1024;

/// How long the other side may take to answer the end of a connection, or to take the last of what waits for it.
const PARTING: Duration = Duration::from_secs(2);

/// Errors in a row after which a connection is closed: a client that answers errors with errors would go on for ever.
const ERRORS: u32 = 100;

/// Reads and obeys. What of it is larger than a pointer is there only while there is work.
struct Hands {
    connection: Arc<Connection>,
    reader: Reader,
    work: Option<Box<Work>>,
    bucket: Bucket,
    errors: u32,
    greeted: bool,
}

enum Next {
    Socket { readable: bool },
    Bell,
    Answers(Vec<(u64, Outcome)>),
}

/// Serves a connection whose socket is its own.
pub(crate) async fn serve_tcp(connection: Arc<Connection>, before: Vec<u8>) {
    let mut hands = Hands::new(Arc::clone(&connection));
    hands.take(before);
    let Socket::Tcp(tcp) = &connection.socket else { return };
    while !hands.is_over() {
        let next = hands.wait(tcp).await;
        match next {
            Next::Socket { readable } => {
                hands.write();
                if readable && hands.read(tcp).is_err() {
                    break;
                }
            }
            Next::Bell => hands.write(),
            Next::Answers(answers) => hands.answer(answers),
        }
        hands.begin();
    }
    connection.end();
    part(&connection, tcp).await;
}

impl Hands {
    fn new(connection: Arc<Connection>) -> Self {
        let config = &connection.app.config;
        let reader = Reader::new(Side::Server, config.frame);
        let bucket = Bucket::new(Instant::now(), config.burst);
        Self { connection, reader, work: None, bucket, errors: 0, greeted: false }
    }

    /// Bytes wait that the socket has to take first, it is gone, or the end is decided.
    fn is_over(&self) -> bool {
        let state = self.connection.lock();
        state.broken || (state.closing.is_some())
    }

    async fn wait(&mut self, tcp: &TcpStream) -> Next {
        let full = self.connection.is_full();
        let waits = self.connection.lock().has_bytes();
        let interest = match (full, waits) {
            (true, _) => Interest::WRITABLE,
            (false, true) => Interest::READABLE | Interest::WRITABLE,
            (false, false) => Interest::READABLE,
        };
        let connection = &self.connection;
        let socket = async {
            let ready = tcp.ready(interest).await;
            Next::Socket {
                readable: !full && ready.is_ok_and(|ready| ready.is_readable() || ready.is_error()),
            }
        };
        match &mut self.work {
            None => tokio::select! {
                next = socket => next,
                () = connection.bell.notified() => Next::Bell,
            },
            Some(work) => tokio::select! {
                next = socket => next,
                () = connection.bell.notified() => Next::Bell,
                answers = work.answers() => Next::Answers(answers),
            },
        }
    }

    /// The socket takes more: first what waits, then what the session has.
    fn write(&self) {
        self.connection.go_on();
    }

    fn read(&mut self, tcp: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; READ];
        match tcp.try_read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.obey(&mut buffer[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What came with the request.
    fn take(&mut self, mut bytes: Vec<u8>) {
        self.obey(&mut bytes);
        self.begin();
    }

    fn obey(&mut self, bytes: &mut [u8]) {
        self.connection.heard();
        let mut reader = std::mem::replace(&mut self.reader, Reader::new(Side::Server, 0));
        let read = reader.read(bytes, |message| {
            self.message(message);
            self.connection.lock().closing.is_none()
        });
        self.reader = reader;
        if let Err(fault) = read {
            tracing::debug!(%fault, "a connection of messaging ended");
            count(&self.connection.app.metrics.broken);
            self.connection.close(Close::Malformed);
        }
    }

    fn message(&mut self, message: Message<'_>) {
        match message {
            Message::Text(text) if self.connection.encoding == Encoding::Json => self.frame(text.as_bytes()),
            Message::Binary(bytes) if self.connection.encoding == Encoding::Cbor => self.frame(bytes),
            Message::Text(_) | Message::Binary(_) => self.malformed(),
            Message::Ping(payload) => self.connection.pong(payload),
            Message::Pong(_) => {}
            Message::Close(_) => self.connection.close(Close::Normal),
        }
    }

    fn malformed(&self) {
        count(&self.connection.app.metrics.broken);
        self.connection.close(Close::Malformed);
    }

    fn frame(&mut self, bytes: &[u8]) {
        count(&self.connection.app.metrics.commands);
        match Request::read(self.connection.encoding, bytes) {
            Ok(Request { id, command }) => match command {
                Ok(command) => self.command(id, command),
                Err(bad) if self.greeted => self.refuse(id, bad_command(&bad)),
                Err(_) => self.malformed(),
            },
            Err(NotAFrame::Malformed) => self.malformed(),
            Err(NotAFrame::Version(_)) => self.connection.close(Close::Version),
        }
    }

    fn refuse(&mut self, id: u64, error: Error) {
        self.errors += 1;
        self.connection.answer(id, &Err(error));
        if self.errors > ERRORS {
            self.connection.close(Close::Errors);
        }
    }

    fn command(&mut self, id: u64, command: Command) {
        let config = &self.connection.app.config;
        let connects = matches!(command, Command::Connect(_));
        if connects == self.greeted {
            // It begins with `connect`, and has one.
            return self.malformed();
        }
        self.greeted = true;
        if let Err(millis) = self.bucket.take(Instant::now(), config.rate, config.burst) {
            return self
                .refuse(id, Error::later(ErrorCode::Rate, "too many commands: send less of them", millis));
        }
        let in_flight = self.work.as_ref().map_or(0, |work| work.len());
        if in_flight >= config.in_flight {
            let reason = "too many commands are not answered yet: wait for answers";
            return self.refuse(id, Error::later(ErrorCode::TooMany, reason, 100));
        }
        let (channel, pipelined) = commands::order(&command);
        self.work.get_or_insert_default().push(id, channel, pipelined, command);
    }

    /// Begins what may begin.
    fn begin(&mut self) {
        let Some(work) = &mut self.work else { return };
        let connection = &self.connection;
        work.start(|id, command| commands::begin(connection, id, command));
        if work.is_empty() {
            // Most connections have nothing to do most of the time.
            self.work = None;
        }
    }

    fn answer(&mut self, answers: Vec<(u64, Outcome)>) {
        for (id, outcome) in answers {
            let Outcome::Answer(answer) = outcome else { continue };
            match *answer {
                Ok(_) => {
                    self.errors = 0;
                    self.connection.answer(id, &answer);
                }
                Err(error) => self.refuse(id, error),
            }
        }
    }
}

/// What is said of a command that is none.
pub(crate) fn bad_command(bad: &BadCommand) -> Error {
    let code = match bad {
        BadCommand::Unknown(_) => ErrorCode::Unknown,
        BadCommand::Malformed(_) => ErrorCode::Malformed,
    };
    Error::last(code, bad.to_string())
}

/// Writes the last of what waits, and waits a little for the other side: closing with bytes unread would take back what was written.
async fn part(connection: &Connection, tcp: &TcpStream) {
    let parting = async {
        loop {
            let (done, broken) = {
                let mut state = connection.lock();
                (connection.flush(&mut state), state.broken)
            };
            if broken {
                return;
            }
            if done {
                break;
            }
            if tcp.writable().await.is_err() {
                return;
            }
        }
        let mut bin = [0; 1_024];
        while tcp.readable().await.is_ok() {
            match tcp.try_read(&mut bin) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = timeout(PARTING, Box::pin(parting)).await;
}

/// Serves a connection whose bytes pass through something else: TLS.
pub(crate) async fn serve_stream(
    connection: Arc<Connection>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    before: Vec<u8>,
) {
    let mut hands = Hands::new(Arc::clone(&connection));
    hands.take(before);
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut buffer = vec![0; READ / 4];
    loop {
        let out = {
            let mut state = connection.lock();
            connection.take_out(&mut state)
        };
        if !out.is_empty() {
            if writing.write_all(&out).await.is_err() {
                break;
            }
            connection.go_on();
            hands.begin();
            continue;
        }
        if hands.is_over() {
            break;
        }
        let none = async || -> Vec<(u64, Outcome)> { std::future::pending().await };
        let answers = async {
            match &mut hands.work {
                Some(work) => work.answers().await,
                None => none().await,
            }
        };
        tokio::select! {
            read = reading.read(&mut buffer) => match read {
                Ok(count) if count > 0 => hands.obey(&mut buffer[..count]),
                _ => break,
            },
            () = connection.bell.notified() => connection.go_on(),
            answers = answers => hands.answer(answers),
        }
        hands.begin();
    }
    connection.end();
    let _ = timeout(PARTING, writing.shutdown()).await;
}
