//! The task of one participant: its socket, its room, its timers, around a [`Session`] that decides.

use std::time::{Duration, Instant};

use axum::extract::ws::{Message as Frame, WebSocket};
use base::model::LeaveReason;
use contract::session::{Event, Request, Session as RoomHandle};
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use crate::config::State;
use crate::frames::{self, Broken, Form, Incoming, Outbox};
use crate::metrics::count;
use crate::rate::Pace;
use crate::session::{self, End, Session, Start};

/// The server pings sockets this often.
const PING: Duration = Duration::from_secs(10);
/// A socket on which nothing at all arrives for this long is dead: two pings went unanswered.
const SILENCE: Duration = Duration::from_secs(25);
/// How long the last frames may take.
const CLOSING: Duration = Duration::from_secs(2);

/// Why the loop ended.
enum Outcome {
    /// The session said so.
    Ended(End),
    /// The socket broke.
    Severed,
}

/// Runs a session from its first frame to its last.
pub(crate) async fn run(
    state: State,
    socket: WebSocket,
    start: Start,
    room: RoomHandle,
    events: async_channel::Receiver<Event>,
) {
    count(&state.metrics.joins);
    let session = Session::new(state.clone(), start, Instant::now(), StdRng::from_os_rng());
    let (sink, stream) = socket.split();
    let driver = Driver {
        session,
        room,
        events,
        outbox: Outbox::new(sink),
        form: Form::Binary,
        heard: Instant::now(),
        pace: Pace::new(Instant::now()),
        state,
    };
    driver.run(stream).await;
}

struct Driver {
    state: State,
    session: Session,
    room: RoomHandle,
    events: async_channel::Receiver<Event>,
    outbox: Outbox,
    form: Form,
    /// When anything last arrived on the socket.
    heard: Instant,
    pace: Pace,
}

impl Driver {
    async fn run(mut self, mut stream: SplitStream<WebSocket>) {
        // What the room says at once, tracks to subscribe above all, goes into the first description.
        while let Ok(event) = self.events.try_recv() {
            self.session.event(event, Instant::now());
        }
        self.session.begin(Instant::now());
        let outcome = self.serve(&mut stream).await;
        match outcome {
            Outcome::Ended(end) => self.finish(end, stream).await,
            Outcome::Severed => self.linger().await,
        }
    }

    async fn serve(&mut self, stream: &mut SplitStream<WebSocket>) -> Outcome {
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match self.perform().await {
                Ok(Some(end)) => return Outcome::Ended(end),
                Ok(None) => {}
                Err(Broken) => return Outcome::Severed,
            }
            let due = self.session.poll_timeout();
            let wait = self.pace.wait_until(Instant::now());
            tokio::select! {
                () = until(wait), if wait.is_some() => {}
                frame = stream.next(), if wait.is_none() => match frame {
                    Some(Ok(frame)) => {
                        if !self.take_frame(&frame) {
                            return Outcome::Severed;
                        }
                    }
                    // A message over the limit is an error here too.
                    Some(Err(_)) | None => return Outcome::Severed,
                },
                event = self.events.recv() => match event {
                    Ok(event) => self.session.event(event, Instant::now()),
                    Err(_) => self.session.room_gone(),
                },
                () = until(due) => self.session.handle_timeout(Instant::now()),
                Broken = self.outbox.pump() => return Outcome::Severed,
                _ = ping.tick() => {
                    if self.heard.elapsed() > SILENCE || self.outbox.push(Frame::Ping(Default::default())).is_err() {
                        return Outcome::Severed;
                    }
                }
            }
        }
    }

    /// False: the client closed the socket.
    fn take_frame(&mut self, frame: &Frame) -> bool {
        let now = Instant::now();
        self.heard = now;
        match frames::decode(frame, &mut self.form) {
            Incoming::Request(request) => {
                count(&self.state.metrics.frames_in);
                self.pace.note(now, matches!(*request, Some(Ask::Offer(_) | Ask::Answer(_))));
                match *request {
                    Some(request) => self.session.ask(request, now),
                    None => self.session.unknown_request(),
                }
            }
            Incoming::Malformed => self.session.malformed_frame(),
            Incoming::Keepalive => self.pace.note(now, false),
            Incoming::Closed => return false,
        }
        true
    }

    /// Requests first: the worker must know a connection before its client hears of it.
    async fn perform(&mut self) -> Result<Option<End>, Broken> {
        let effects = self.session.take_effects();
        for request in effects.requests {
            if self.room.send(request).await.is_err() {
                self.room_gone();
                break;
            }
        }
        for message in effects.frames {
            self.send(message)?;
        }
        // The room may have gone while it was told.
        Ok(effects.end.or_else(|| self.session.take_effects().end))
    }

    /// What the room said before it went, its reason above all, is still in the queue.
    fn room_gone(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.session.event(event, Instant::now());
        }
        self.session.room_gone();
    }

    fn send(&mut self, message: Message) -> Result<(), Broken> {
        count(&self.state.metrics.frames_out);
        self.outbox.push(frames::encode(message, self.form))
    }

    async fn finish(mut self, end: End, stream: SplitStream<WebSocket>) {
        if let Some(reason) = end.reason {
            // A room that is gone needs no telling.
            let _ = self.room.send(Request::Leave(reason)).await;
        }
        if let Some(leave) = end.leave {
            let _ = self.send(Message::Leave(leave));
        }
        let _ = timeout(CLOSING, close(self.outbox, stream)).await;
    }

    /// Keeps the participant's place while its media is alive, so that a client that comes back at once replaces it without the
    /// others seeing it leave.
    async fn linger(mut self) {
        count(&self.state.metrics.severed);
        let end = Instant::now() + self.state.config.linger;
        while self.session.may_linger() && Instant::now() < end {
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) => self.session.event(event, Instant::now()),
                    Err(_) => return,
                },
                () = until(Some(end)) => {}
            }
            if self.session.take_effects().end.is_some_and(|end| end.reason.is_none()) {
                return;
            }
        }
        let _ = self.room.send(Request::Leave(LeaveReason::SignalClosed)).await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Sends what is queued, closes, and reads until the client has closed too: a socket that is given up with something unread is
/// reset, and the reset overtakes the Leave that was just sent.
async fn close(outbox: Outbox, mut stream: SplitStream<WebSocket>) {
    outbox.close().await;
    while let Some(Ok(_)) = stream.next().await {}
}

/// Answers a client that wants to go on with an earlier session: it must join anew.
pub(crate) async fn refuse_resume(socket: WebSocket, protocol: i32) {
    let reason = LeaveReason::StateMismatch;
    let leave = session::leave(reason, session::action(reason), protocol);
    let (sink, stream) = socket.split();
    let mut outbox = Outbox::new(sink);
    let _ = outbox.push(frames::encode(Message::Leave(leave), Form::Binary));
    let _ = timeout(CLOSING, close(outbox, stream)).await;
}
