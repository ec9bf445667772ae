//! The task of one participant: its socket, its room, its timers, around a [`Session`] that decides.
//!
//! The task outlives its socket: a client whose connection broke comes back on another one, and finds the task in
//! [`crate::living`].

use std::time::Instant;

use axum::extract::ws::{Message as Frame, WebSocket, close_code};
use base::model::LeaveReason;
use base::{Identity, RoomName};
use contract::session::{Event, Request, Session as RoomHandle};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::config::State;
use crate::frames::{self, Broken, Form, Incoming};
use crate::ids;
use crate::living::{Arrival, Found, Listed};
use crate::metrics::count;
use crate::session::{self, End, Return, Session, Start};
use crate::wire::{Wire, until};

/// Runs a session from its first frame to its last.
pub(crate) async fn run(
    state: State,
    socket: WebSocket,
    start: Start,
    room: RoomHandle,
    events: async_channel::Receiver<Event>,
) {
    count(&state.metrics.joins);
    let (name, identity) = (start.room.name.clone(), start.participant.identity.clone());
    let listed = state.living.enter(name, identity, start.participant.id);
    // On the heap: the task's future would have to be moved with it.
    let session = Box::new(Session::new(state.clone(), start, Instant::now(), StdRng::from_os_rng()));
    let driver = Driver { session, room, events, wire: Some(Wire::new(socket)), listed, state };
    driver.run().await;
}

/// Takes a client that comes back to its session, or tells it that there is none.
pub(crate) async fn resume(state: State, socket: WebSocket, key: (RoomName, Identity), back: Return) {
    let named = (!back.params.participant_sid.is_empty()).then_some(back.params.participant_sid.as_str());
    let sid = named.map(ids::parse_participant);
    let protocol = back.params.client.protocol;
    let reason = match sid {
        // No id of ours.
        Some(None) => LeaveReason::StateMismatch,
        sid => match state.living.find(&key, sid.flatten()) {
            Found::There(session) => match session.send(Arrival { socket, back }).await {
                Ok(()) => return,
                Err(async_channel::SendError(Arrival { socket, .. })) => {
                    return refuse_resume(&state, socket, LeaveReason::StateMismatch, protocol).await;
                }
            },
            // Told to join anew, the two would throw each other out in turn.
            Found::Replaced => LeaveReason::DuplicateIdentity,
            Found::Nowhere => LeaveReason::StateMismatch,
        },
    };
    refuse_resume(&state, socket, reason, protocol).await;
}

/// Answers a client whose session is not there.
async fn refuse_resume(state: &State, socket: WebSocket, reason: LeaveReason, protocol: i32) {
    count(&state.metrics.resumes_refused);
    let mut wire = Wire::new(socket);
    let leave = session::leave(reason, session::action(reason), protocol);
    let _ = wire.outbox.push(frames::encode(Message::Leave(leave), Form::Binary));
    wire.close().await;
}

struct Driver {
    state: State,
    session: Box<Session>,
    room: RoomHandle,
    events: async_channel::Receiver<Event>,
    /// `None`: the client is away.
    wire: Option<Wire>,
    listed: Listed,
}

/// What happened on the socket.
enum Heard {
    Frame(Frame),
    /// It is gone, or as good as gone. `page_gone`: the client said that it goes away.
    Gone {
        page_gone: bool,
    },
}

impl Driver {
    async fn run(mut self) {
        // What the room says at once, tracks to subscribe above all, goes into the first description.
        while let Ok(event) = self.events.try_recv() {
            self.session.event(event, Instant::now());
        }
        self.session.begin(Instant::now());
        let end = loop {
            match self.perform().await {
                Some(end) => break end,
                None => self.wait().await,
            }
        };
        self.finish(end).await;
    }

    /// Waits for one thing to happen and hands it to the session.
    async fn wait(&mut self) {
        let due = self.session.poll_timeout();
        tokio::select! {
            heard = hear(&mut self.wire) => match heard {
                Heard::Frame(frame) => self.take_frame(&frame),
                Heard::Gone { page_gone } => self.lose_socket(page_gone),
            },
            event = self.events.recv() => match event {
                Ok(event) => self.session.event(event, Instant::now()),
                Err(_) => self.session.room_gone(),
            },
            // The task holds the list's entry, so the queue is open.
            Ok(arrival) = self.listed.arrivals.recv() => self.welcome_back(arrival),
            () = until(due) => self.session.handle_timeout(Instant::now()),
        }
    }

    fn take_frame(&mut self, frame: &Frame) {
        let Some(wire) = &mut self.wire else { return };
        let now = Instant::now();
        wire.heard = now;
        match frames::decode(frame, &mut wire.form) {
            Incoming::Request(request) => {
                count(&self.state.metrics.frames_in);
                wire.pace.note(now, matches!(*request, Some(Ask::Offer(_) | Ask::Answer(_))));
                match *request {
                    Some(request) => self.session.ask(request, now),
                    None => self.session.unknown_request(),
                }
            }
            Incoming::Malformed => self.session.malformed_frame(),
            Incoming::Keepalive => wire.pace.note(now, false),
            Incoming::Closed => self.lose_socket(is_going_away(frame)),
        }
    }

    fn lose_socket(&mut self, page_gone: bool) {
        if let Some(wire) = self.wire.take() {
            self.session.lose_socket(wire.outbox.unsent(), page_gone, Instant::now());
            // Without a Leave: a client that is still there comes back.
            tokio::spawn(wire.close());
        }
    }

    /// The newest of those who came back; the others have given up.
    fn welcome_back(&mut self, mut arrival: Arrival) {
        while let Ok(newer) = self.listed.arrivals.try_recv() {
            arrival = newer;
        }
        let now = Instant::now();
        if let Some(old) = self.wire.replace(Wire::new(arrival.socket)) {
            self.session.change_socket(old.outbox.unsent(), now);
            tokio::spawn(old.close());
        }
        self.session.resume(arrival.back, now);
    }

    /// Requests first: the worker must know a connection before its client hears of it.
    async fn perform(&mut self) -> Option<End> {
        let effects = self.session.take_effects();
        if let Some((name, room)) = effects.room {
            self.room = room;
            self.listed.move_to(name);
        }
        for request in effects.requests {
            if self.room.send(request).await.is_err() {
                self.room_gone();
                break;
            }
        }
        let mut lost = effects.socket == session::Socket::Lost;
        for message in effects.frames {
            lost |= self.send(message).is_err();
        }
        if lost {
            self.lose_socket(false);
        } else if effects.socket == session::Socket::Close {
            self.wire.take().map(|wire| tokio::spawn(wire.close()));
        }
        // The room may have gone while it was told.
        effects.end.or_else(|| self.session.take_effects().end)
    }

    /// What the room said before it went, its reason above all, is still in the queue.
    fn room_gone(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.session.event(event, Instant::now());
        }
        self.session.room_gone();
    }

    fn send(&mut self, message: Message) -> Result<(), Broken> {
        // A session whose client is away says nothing to it but what ends it.
        let Some(wire) = &mut self.wire else { return Ok(()) };
        count(&self.state.metrics.frames_out);
        wire.outbox.push(frames::encode(message, wire.form))
    }

    async fn finish(mut self, end: End) {
        if let Some(reason) = end.reason {
            // A room that is gone needs no telling.
            let _ = self.room.send(Request::Leave(reason)).await;
        }
        if let Some(leave) = &end.leave {
            let _ = self.send(Message::Leave(leave.clone()));
        }
        if let Some(wire) = self.wire.take() {
            wire.close().await;
        }
        self.turn_away(end.leave).await;
    }

    /// Who came back at the very end is told what the client was told, or would have been.
    async fn turn_away(self, leave: Option<proto::LeaveRequest>) {
        let Self { listed, state, .. } = self;
        let waiting: Vec<Arrival> = std::iter::from_fn(|| listed.arrivals.try_recv().ok()).collect();
        drop(listed);
        for Arrival { socket, back } in waiting {
            let mut wire = Wire::new(socket);
            let reason = LeaveReason::StateMismatch;
            let protocol = back.params.client.protocol;
            let anew = || session::leave(reason, session::action(reason), protocol);
            let leave = leave.clone().unwrap_or_else(anew);
            count(&state.metrics.resumes_refused);
            let _ = wire.outbox.push(frames::encode(Message::Leave(leave), Form::Binary));
            wire.close().await;
        }
    }
}

/// A client without a socket says nothing.
async fn hear(wire: &mut Option<Wire>) -> Heard {
    match wire {
        Some(wire) => match wire.hear().await {
            Some(frame) => Heard::Frame(frame),
            None => Heard::Gone { page_gone: false },
        },
        None => std::future::pending().await,
    }
}

/// Browsers close the sockets of a page that is closed, or left for another, with this code.
fn is_going_away(frame: &Frame) -> bool {
    matches!(frame, Frame::Close(Some(close)) if close.code == close_code::AWAY)
}
