//! One connection: its socket, its streams, and the bytes that wait.
//!
//! An idle connection costs its streams and a task that waits for the socket; buffers are borrowed when there is something to read. Pushes
//! are written by whoever has them ([`Connection::offer`]), straight into the socket; what it does not take waits in the session, whose queue
//! is bounded, and the task goes on when the socket takes more.

pub(crate) mod task;
pub(crate) mod work;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use auth::MessagingGrants;
use base::{ChannelId, DeviceId, UserId};
use messaging::event::Event;
use messaging::fold::{About, Item};
use messaging::place::Lineage;
use messaging::session::{Frame, Session, Soft};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use wire::messaging::{Encoding, Error, Okay, Push, write_answer};
use wire::websocket::{self, Opcode};

use crate::app::App;
use crate::encode::{self, Cache, Framing};
use crate::metrics::count;
use crate::shard::Shard;

/// Bytes of answers and begun frames that may wait; beyond, no command is read. Pages of history are the largest.
pub(crate) const BACKLOG: usize = 256 * 1024;

/// Close codes (`docs/messaging-protocol.md`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Close {
    /// The server ends.
    Ends = 4000,
    /// It took too little.
    Slow = 4001,
    /// No answer to pings.
    Silent = 4002,
    /// The token was good once.
    Expired = 4003,
    /// A newer connection of the device.
    Replaced = 4500,
    /// No good token.
    Unauthorized = 4501,
    /// No frame, or one that is too large.
    Malformed = 4502,
    /// A version or subprotocol that is not known.
    Version = 4503,
    /// Too many errors.
    Errors = 4504,
    /// The other side ended it.
    Normal = 1000,
}

impl Close {
    fn reason(self) -> &'static str {
        match self {
            Self::Ends => "the server ends",
            Self::Slow => "too slow",
            Self::Silent => "no answer to pings",
            Self::Expired => "token expired",
            Self::Replaced => "replaced",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Errors => "too many errors",
            Self::Normal => "",
        }
    }
}

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Who {
    pub user: UserId,
    pub device: DeviceId,
    pub grants: Option<MessagingGrants>,
    /// When the token ends, in seconds since 1970.
    pub expires: u64,
}

/// Where bytes go.
pub(crate) enum Socket {
    /// They are written by whoever has them.
    Tcp(TcpStream),
    /// The task takes them: encrypted connections, and bodies of answers.
    Queued,
}

/// A connection. It is shared by its task, by the shard, and by what is being done for it.
pub(crate) struct Connection {
    pub id: u64,
    pub framing: Framing,
    pub encoding: Encoding,
    pub app: Arc<App>,
    pub shard: Arc<Shard>,
    pub socket: Socket,
    /// The task is to look: bytes wait that the socket did not take, or it is over.
    pub bell: Notify,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub who: Option<Arc<Who>>,
    pub session: Option<Box<Session>>,
    /// Bytes that the socket did not take yet, from `start` on.
    out: Vec<u8>,
    start: usize,
    /// Nothing of the session leaves now: an answer is to come first, or something is being looked up.
    pub held: bool,
    /// Channels of which somebody is to be told that something happened.
    touched: Option<Box<Touched>>,
    /// To be closed when all is written.
    pub closing: Option<Close>,
    /// The socket is gone.
    pub broken: bool,
    /// When something came last, in ticks of the shard.
    pub heard: u32,
    /// When the session wants to be called, as the shard knows it.
    due: Option<Instant>,
}

#[derive(Default)]
struct Touched {
    channels: BTreeSet<ChannelId>,
    running: bool,
}

impl Connection {
    pub fn new(
        app: Arc<App>,
        shard: Arc<Shard>,
        id: u64,
        (framing, encoding): (Framing, Encoding),
        socket: Socket,
    ) -> Arc<Self> {
        let state = State {
            who: None,
            session: None,
            out: Vec::new(),
            start: 0,
            held: false,
            touched: None,
            closing: None,
            broken: false,
            heard: shard.ticks(),
            due: None,
        };
        count(&app.metrics.open);
        let (bell, state) = (Notify::new(), Mutex::new(state));
        Arc::new(Self { id, framing, encoding, app, shard, socket, bell, state })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn who(&self) -> Option<Arc<Who>> {
        self.lock().who.clone()
    }

    fn how(&self) -> (Framing, Encoding) {
        (self.framing, self.encoding)
    }

    /// Writes an answer.
    pub fn answer(&self, id: u64, answer: &Result<Okay, Error>) {
        self.answer_in(&mut self.lock(), id, answer);
    }

    /// The same, by who has the state.
    pub fn answer_in(&self, state: &mut State, id: u64, answer: &Result<Okay, Error>) {
        if answer.is_err() {
            count(&self.app.metrics.errors);
        }
        let (mut frame, mut wrapped) = (Vec::new(), Vec::new());
        write_answer(self.encoding, id, answer, &mut frame);
        encode::wrap(self.framing, self.encoding, &frame, &mut wrapped);
        self.put(state, &wrapped);
    }

    /// Writes a push that is not in the session's queue. `lossy`: it is dropped where something waits.
    pub fn push(&self, push: &Push, lossy: bool) {
        let mut cache = Cache::default();
        let bytes = cache.push(self.how(), push);
        self.push_bytes(bytes, lossy);
    }

    fn push_bytes(&self, bytes: &[u8], lossy: bool) {
        let mut state = self.lock();
        let waits = state.start < state.out.len()
            || state.session.as_ref().is_some_and(|session| session.backlog() > 0);
        if !(lossy && waits) && state.who.is_some() && state.closing.is_none() {
            self.put(&mut state, bytes);
        }
    }

    /// Offers a committed event to the stream of its channel.
    pub fn offer(
        self: &Arc<Self>,
        now: Instant,
        lineage: &Lineage,
        event: &Arc<Event>,
        members: usize,
        cache: &mut Cache,
    ) {
        let mut state = self.lock();
        let Some(session) = state.live() else { return };
        let taken = session.offer(now, lineage, Arc::clone(event));
        count(&self.app.metrics.delivered);
        self.pump(&mut state, members, cache);
        drop(state);
        if !taken {
            self.shard.catch_up(self, &event.channel);
        }
    }

    /// Something that may be lost.
    pub fn soft(self: &Arc<Self>, soft: Soft, cache: &mut Cache) {
        let mut state = self.lock();
        let Some(session) = state.live() else { return };
        session.push_soft(soft);
        self.pump(&mut state, 0, cache);
    }

    /// The session's time has come.
    pub fn timeout(self: &Arc<Self>, now: Instant, lineage: &Lineage, members: impl Fn(&ChannelId) -> usize) {
        let mut state = self.lock();
        state.due = None;
        let Some(session) = state.live() else { return };
        session.handle_timeout(now, lineage);
        let mut cache = Cache::default();
        self.pump_with(&mut state, members, &mut cache);
    }

    /// Writes what the session has, as long as the socket takes it.
    pub fn pump(self: &Arc<Self>, state: &mut State, members: usize, cache: &mut Cache) {
        self.pump_with(state, |_| members, cache);
    }

    fn pump_with(
        self: &Arc<Self>,
        state: &mut State,
        members: impl Fn(&ChannelId) -> usize,
        cache: &mut Cache,
    ) {
        while !state.held && self.takes_more(state) {
            let Some(frame) = state.live().and_then(|session| session.poll_frame()) else { break };
            self.put_frame(state, frame, &members, cache);
        }
        let Some(session) = &state.session else { return };
        if session.is_over() && state.closing.is_none() {
            count(&self.app.metrics.slow);
            self.close_in(state, Close::Slow);
        } else if let Some(due) = session.poll_timeout()
            && state.due.is_none_or(|known| due < known)
        {
            state.due = Some(due);
            self.shard.wake_at(due, self);
        }
    }

    fn put_frame(
        self: &Arc<Self>,
        state: &mut State,
        frame: Frame,
        members: &impl Fn(&ChannelId) -> usize,
        cache: &mut Cache,
    ) {
        let with = (&self.app.sealer, &*self.app.metrics);
        match &frame {
            Frame::Items { items, .. } if items.iter().any(is_reactions) => {
                state.held = true;
                tokio::spawn(Arc::clone(self).put_reactions(frame));
            }
            Frame::Items { channel, items, cursor } => {
                let bytes = cache.items(self.how(), with, channel, items, cursor, members(channel));
                self.put(state, bytes);
            }
            Frame::Soft(Soft::Touch { channel }) => self.touch(state, channel.clone()),
            _ => {
                self.note(&frame);
                if let Some(push) = encode::push(with.0, &frame) {
                    self.put(state, cache.push(self.how(), &push));
                }
            }
        }
    }

    fn note(&self, frame: &Frame) {
        use messaging::causal::Reset;
        let metrics = &self.app.metrics;
        match frame {
            Frame::Reset { why, .. } => count(match why {
                Reset::Epoch => &metrics.reset_epoch,
                Reset::Retention => &metrics.reset_retention,
                Reset::TooFar => &metrics.reset_too_far,
                Reset::Slow => &metrics.reset_slow,
            }),
            Frame::Removed { channel, .. } => self.shard.left(channel, self.id),
            _ => {}
        }
    }

    /// Totals of reactions are looked up when they leave; what comes behind them waits.
    async fn put_reactions(self: Arc<Self>, frame: Frame) {
        let Frame::Items { channel, items, cursor } = frame else { return };
        let own = self.who().map(|who| who.user.clone());
        let items = self.app.with_totals(&channel, &items, own.as_ref(), self.shard.members(&channel)).await;
        let cursor = self.app.sealer.cursor(&channel, &cursor);
        let push =
            Push::Events(wire::messaging::Events { channel: channel.as_str().to_owned(), cursor, items });
        let mut cache = Cache::default();
        let mut state = self.lock();
        let bytes = cache.push(self.how(), &push).to_vec();
        self.put(&mut state, &bytes);
        state.held = false;
        let shard = Arc::clone(&self.shard);
        self.pump_with(&mut state, |channel| shard.members(channel), &mut cache);
    }

    /// How much is unread is looked up when it is told, and told for all that happened meanwhile.
    fn touch(self: &Arc<Self>, state: &mut State, channel: ChannelId) {
        let touched = state.touched.get_or_insert_default();
        touched.channels.insert(channel);
        if !touched.running {
            touched.running = true;
            tokio::spawn(tell_touched(Arc::downgrade(self)));
        }
    }

    /// Does the socket take more?
    fn takes_more(&self, state: &mut State) -> bool {
        match &self.socket {
            Socket::Tcp(_) => self.flush(state),
            Socket::Queued => state.out.len() - state.start < BACKLOG / 4,
        }
    }

    /// Writes what waits. True: nothing waits any more.
    pub fn flush(&self, state: &mut State) -> bool {
        let Socket::Tcp(tcp) = &self.socket else { return state.out.is_empty() };
        while state.start < state.out.len() && !state.broken {
            match tcp.try_write(&state.out[state.start..]) {
                Ok(0) => state.broken = true,
                Ok(written) => state.start += written,
                // Whoever put it there has called the task, which waits for the socket.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => state.broken = true,
            }
        }
        if state.broken {
            self.bell.notify_one();
        }
        (state.out, state.start) = (Vec::new(), 0);
        !state.broken
    }

    fn put(&self, state: &mut State, bytes: &[u8]) {
        if state.broken {
            return;
        }
        let mut rest = bytes;
        if let Socket::Tcp(tcp) = &self.socket
            && state.out.is_empty()
        {
            // Most of what is written fits, and is copied nowhere on its way.
            match tcp.try_write(bytes) {
                Ok(written) => rest = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    state.broken = true;
                    rest = &[];
                }
            }
        }
        if !rest.is_empty() || state.broken {
            state.out.extend_from_slice(rest);
            self.bell.notify_one();
        }
    }

    /// Bytes for the task to write, of a connection whose socket the task has.
    pub fn take_out(&self, state: &mut State) -> Vec<u8> {
        let start = std::mem::take(&mut state.start);
        let mut out = std::mem::take(&mut state.out);
        out.drain(..start);
        out
    }

    /// Does so much wait that no command is to be read?
    pub fn is_full(&self) -> bool {
        let state = self.lock();
        state.out.len() - state.start > BACKLOG
    }

    pub fn ping(&self) {
        let mut bytes = Vec::with_capacity(16);
        match self.framing {
            Framing::WebSocket => websocket::header(Opcode::Ping, 0, &mut bytes),
            Framing::Events => bytes.extend_from_slice(b":\n\n"),
        }
        let mut state = self.lock();
        self.put(&mut state, &bytes);
    }

    pub fn pong(&self, payload: &[u8]) {
        let mut bytes = Vec::with_capacity(payload.len() + 2);
        websocket::header(Opcode::Pong, payload.len(), &mut bytes);
        bytes.extend_from_slice(payload);
        let mut state = self.lock();
        self.put(&mut state, &bytes);
    }

    /// Ends it, when what waits is written.
    pub fn close(&self, close: Close) {
        self.close_in(&mut self.lock(), close);
    }

    pub fn close_in(&self, state: &mut State, close: Close) {
        if state.closing.is_some() {
            return;
        }
        state.closing = Some(close);
        if self.framing == Framing::WebSocket {
            let mut bytes = Vec::new();
            websocket::close(close as u16, close.reason(), &mut bytes);
            self.put(state, &bytes);
        }
        self.bell.notify_one();
    }
}

impl State {
    /// The session, while it is served.
    pub fn live(&mut self) -> Option<&mut Session> {
        self.session.as_deref_mut().filter(|_| self.closing.is_none())
    }

    /// Do bytes wait for the socket?
    pub fn has_bytes(&self) -> bool {
        self.start < self.out.len()
    }
}

impl Connection {
    /// How many members a channel has.
    pub fn resized(&self, channel: &ChannelId, members: usize) {
        if let Some(session) = self.lock().live() {
            session.resized(channel, members);
        }
    }

    /// Is it known by its answers that the other side is there?
    pub fn answers_pings(&self) -> bool {
        self.framing == Framing::WebSocket
    }

    /// Something came.
    pub fn heard(&self) {
        let now = self.shard.ticks();
        self.lock().heard = now;
    }

    /// The socket takes more.
    pub fn go_on(self: &Arc<Self>) {
        let mut state = self.lock();
        let shard = Arc::clone(&self.shard);
        let mut cache = Cache::default();
        if self.takes_more(&mut state) {
            self.pump_with(&mut state, |channel| shard.members(channel), &mut cache);
        }
    }

    /// Nothing is delivered here any more.
    pub fn end(self: &Arc<Self>) {
        let (session, who) = {
            let mut state = self.lock();
            state.closing.get_or_insert(Close::Normal);
            (state.session.take(), state.who.take())
        };
        self.shard.forget(self.id);
        if let Some(mut session) = session {
            session.cursors().for_each(|(channel, _)| self.shard.part(channel, self.id));
            // Streams that ended, which nobody was told any more.
            while let Some(frame) = session.poll_frame() {
                if let Frame::Removed { channel, .. } | Frame::Reset { channel, .. } = &frame {
                    self.shard.part(channel, self.id);
                }
            }
        }
        if let Some(who) = who {
            self.shard.leave(&who, self.id);
            self.app.gone(&who, self.id);
        }
    }
}

fn is_reactions(item: &Item) -> bool {
    matches!(item, Item::Fold(fold) if matches!(fold.about, About::Reactions(_)))
}

/// Between two words about channels that are not open, to one connection.
const TOUCHES: std::time::Duration = std::time::Duration::from_millis(300);

async fn tell_touched(connection: Weak<Connection>) {
    loop {
        let Some(connection) = connection.upgrade() else { return };
        let (channel, who) = {
            let mut state = connection.lock();
            let who = state.who.clone();
            let Some(touched) = &mut state.touched else { return };
            let (Some(channel), Some(who)) = (touched.channels.pop_first(), who) else {
                state.touched = None;
                return;
            };
            (channel, who)
        };
        let look = connection.app.handle.look(&channel, Some(&who.user), None).await;
        if let Ok(look) = look {
            let push = wire::messaging::Touch {
                channel: channel.as_str().to_owned(),
                unread: look.unread,
                mentions: look.mentions as u64,
            };
            connection.push(&Push::Touch(push), false);
        }
        drop(connection);
        tokio::time::sleep(TOUCHES).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        crate::metrics::uncount(&self.app.metrics.open);
    }
}
