//! Agents: the programs that run them register on `/agent`, and get jobs.
//!
//! Which worker gets which job is decided by [`agents::Agents`], a value that one task owns and feeds: what happens in rooms, what
//! workers say on their sockets, what the server API orders. Workers that do not read what they are told lose their connection.

pub(crate) mod fuzz;
mod socket;
mod task;
mod translate;

use agents::{Answer, Ordered, Registration, Status, TooManyDispatches};
use base::agents::Dispatch;
use base::{AgentWorkerId, DispatchId, JobId, RoomName};
use contract::events::{Follower, RoomEvents};
use livekit_protocol::server_message::Message;
use tokio::sync::{mpsc, oneshot};

use crate::config::State;

pub(crate) use socket::connect;
pub(crate) use translate::{job, order, ordered};

/// Requests that wait for the task; who asks more waits.
const QUEUE: usize = 1_024;

/// What the task is asked.
enum Request {
    Register(Registration, oneshot::Sender<Option<Registered>>),
    Say(AgentWorkerId, Said),
    Lost(AgentWorkerId),
    Dispatch(RoomName, Dispatch, oneshot::Sender<Result<Ordered, TooManyDispatches>>),
    Withdraw(RoomName, DispatchId, oneshot::Sender<Option<Ordered>>),
    List(RoomName, Option<DispatchId>, oneshot::Sender<Vec<Ordered>>),
    Stop(oneshot::Sender<()>),
}

/// A worker that was let in: what it is told comes out of `told`, until it is sent away.
struct Registered {
    id: AgentWorkerId,
    told: mpsc::Receiver<Message>,
}

/// What a worker says.
enum Said {
    Answer(JobId, Answer),
    /// How busy it is, and whether it takes jobs.
    Report(f32, Option<bool>),
    Update(JobId, Status, String),
    Resume(Vec<JobId>),
}

/// The way to the task.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: mpsc::Sender<Request>,
}

/// Starts the task, which hears of rooms through `events`, and tells of jobs through `told`.
pub(crate) fn spawn(state: &State, events: Follower, told: RoomEvents) -> Handle {
    let (requests, queue) = mpsc::channel(QUEUE);
    tokio::spawn(task::Task::new(state, told).run(events, queue));
    Handle { requests }
}

/// The server stops.
#[derive(Debug)]
pub(crate) struct Stopped;

impl Handle {
    pub async fn dispatch(
        &self,
        room: RoomName,
        order: Dispatch,
    ) -> Result<Result<Ordered, TooManyDispatches>, Stopped> {
        self.ask(|reply| Request::Dispatch(room, order, reply)).await
    }

    pub async fn withdraw(&self, room: RoomName, id: DispatchId) -> Result<Option<Ordered>, Stopped> {
        self.ask(|reply| Request::Withdraw(room, id, reply)).await
    }

    pub async fn list(&self, room: RoomName, only: Option<DispatchId>) -> Result<Vec<Ordered>, Stopped> {
        self.ask(|reply| Request::List(room, only, reply)).await
    }

    /// Sends all workers away and lets no new ones in. What jobs have to do with what has happened until now is told then.
    pub async fn stop(&self) {
        // If the task is gone, so are they.
        let _ = self.ask(Request::Stop).await;
    }

    /// `None`: there are too many.
    async fn register(&self, registration: Registration) -> Result<Option<Registered>, Stopped> {
        self.ask(|reply| Request::Register(registration, reply)).await
    }

    async fn say(&self, worker: AgentWorkerId, said: Said) -> Result<(), Stopped> {
        self.requests.send(Request::Say(worker, said)).await.map_err(|_| Stopped)
    }

    async fn lost(&self, worker: AgentWorkerId) {
        let _ = self.requests.send(Request::Lost(worker)).await;
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}
