//! The task of one session: its room, its timers and the requests about it, around a [`Session`] that decides.

use std::time::Duration;

use base::model::LeaveReason;
use contract::session::{Event, Join, Request, Session as RoomHandle};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sdp::Fragment;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Protocol;
use crate::admission::Owner;
use crate::config::State;
use crate::extensions::Feed;
use crate::metrics::count;
use crate::refusal::Refusal;
use crate::registry::{Entry, Place};
use crate::session::{Choice, End, News, Offer, Patched, Session};

/// How long the room may take to say which tracks it accepts.
const ROOM: Duration = Duration::from_secs(5);
/// Requests about one session that wait. A client has a few under way; more wait in their connections.
const CALLS: usize = 8;

/// A request about a session that runs.
pub(crate) enum Call {
    /// PATCH.
    Patch {
        /// The value of `If-Match`.
        if_match: Option<String>,
        /// The body.
        fragment: Fragment,
        /// The outcome.
        reply: oneshot::Sender<Result<Patched, Refusal>>,
    },
    /// A player chooses a layer.
    Choose {
        /// Which.
        choice: Choice,
        /// The outcome.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// DELETE.
    Delete {
        /// It is over.
        reply: oneshot::Sender<()>,
    },
}

/// What a session begins with.
pub(crate) struct Start {
    pub protocol: Protocol,
    pub join: Join,
    pub owner: Owner,
    pub offer: Offer,
    pub place: Place,
}

/// A session that has begun, for the client.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The last segment of its URL.
    pub id: String,
    /// The entity-tag of its ICE session, without quotes.
    pub etag: String,
    /// The session description.
    pub answer: String,
}

/// Why the loop ended.
enum Outcome {
    Ended(End),
    Deleted(oneshot::Sender<()>),
}

/// Runs a session from its join to its end. A task of its own, since the request that began it may be given up at any time.
pub(crate) async fn run(state: State, start: Start, begun: oneshot::Sender<Result<Begun, Refusal>>) {
    let Start { protocol, join, owner, offer, place } = start;
    let joined = match state.control.join(join).await {
        Ok(joined) => joined,
        Err(error) => return drop(begun.send(Err(error.into()))),
    };
    let deadline = Instant::now().into_std() + state.config.media_deadline;
    let rng = StdRng::from_os_rng();
    let session = Session::new(protocol, offer, &joined.participant, joined.worker, deadline, rng);
    let (told, news) = watch::channel(News::default());
    let mut task = Task { session, room: joined.session, events: joined.events, told };
    if let Err(refusal) = timeout(ROOM, task.settle()).await.unwrap_or_else(|_| Err(busy())) {
        task.leave(LeaveReason::JoinFailure).await;
        return drop(begun.send(Err(refusal)));
    }
    let (calls, asked) = async_channel::bounded(CALLS);
    place.open(Entry { protocol, owner, calls, feed: Feed::new(news) });
    let etag = task.session.etag().to_owned();
    let answer = Begun { id: place.id().to_owned(), etag, answer: task.session.answer() };
    if begun.send(Ok(answer)).is_err() {
        // The client has hung up, and does not know that there is a session.
        return task.leave(LeaveReason::ClientInitiated).await;
    }
    count(state.metrics.begun(protocol));
    let outcome = task.serve(&asked).await;
    // From now on there is no such session.
    drop(place);
    task.finish(&state, outcome).await;
}

fn busy() -> Refusal {
    Refusal::unavailable("the room is too busy to answer; try again")
}

struct Task {
    session: Session,
    room: RoomHandle,
    events: async_channel::Receiver<Event>,
    /// What players hear that listen for events.
    told: watch::Sender<News>,
}

impl Task {
    /// Makes the connection and waits until the room has said what it accepts.
    async fn settle(&mut self) -> Result<(), Refusal> {
        // What is published already is played from the start.
        while let Ok(event) = self.events.try_recv() {
            self.session.event(event);
        }
        self.session.begin();
        loop {
            self.perform().await;
            if self.session.end().is_some() {
                return Err(busy());
            }
            if let Some(outcome) = self.session.outcome() {
                return outcome;
            }
            self.hear().await;
        }
    }

    async fn serve(&mut self, calls: &async_channel::Receiver<Call>) -> Outcome {
        loop {
            self.perform().await;
            self.tell();
            if let Some(end) = self.session.end() {
                return Outcome::Ended(end);
            }
            let due = self.session.poll_timeout();
            tokio::select! {
                () = self.hear() => {}
                // The registry holds a sender.
                Ok(call) = calls.recv() => match call {
                    Call::Patch { if_match, fragment, reply } => {
                        let patched = self.session.patch(if_match.as_deref(), fragment);
                        // The worker must know new credentials before the client uses them.
                        self.perform().await;
                        let _ = reply.send(patched);
                    }
                    Call::Choose { choice, reply } => {
                        let chosen = self.session.choose(choice);
                        self.perform().await;
                        let _ = reply.send(chosen);
                    }
                    Call::Delete { reply } => return Outcome::Deleted(reply),
                },
                () = until(due) => self.session.handle_timeout(Instant::now().into_std()),
            }
        }
    }

    async fn hear(&mut self) {
        match self.events.recv().await {
            Ok(event) => self.session.event(event),
            Err(_) => self.session.room_gone(),
        }
    }

    /// Listeners are told when it changed.
    fn tell(&self) {
        let news = self.session.news();
        self.told.send_if_modified(|told| {
            let changed = *told != news;
            *told = news;
            changed
        });
    }

    async fn perform(&mut self) {
        if let Some(room) = self.session.take_room() {
            self.room = room;
        }
        for request in self.session.take_requests() {
            if self.room.send(request).await.is_err() {
                self.session.room_gone();
            }
        }
    }

    async fn finish(&self, state: &State, outcome: Outcome) {
        match outcome {
            Outcome::Ended(End::Room) => count(&state.metrics.closed),
            Outcome::Ended(End::Media(reason)) => {
                count(&state.metrics.media_lost);
                self.leave(reason).await;
            }
            Outcome::Deleted(reply) => {
                count(&state.metrics.deleted);
                self.leave(LeaveReason::ClientInitiated).await;
                let _ = reply.send(());
            }
        }
    }

    async fn leave(&self, reason: LeaveReason) {
        // A room that is gone needs no telling.
        let _ = self.room.send(Request::Leave(reason)).await;
    }
}

async fn until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
