//! Runs the control plane: finds and makes rooms, one task per room, and routes between adapters and workers.
//!
//! ```text
//!  adapters --Call--> door --ToRoom--> room task --Command--> worker
//!     ^                                 ^  |                    |
//!     |------------ Event --------------|--+                    |
//!     '----------- Request -------------'^----- routes <--Event-'
//! ```
//!
//! Nobody waits for somebody who may wait for him: workers and routes never block; a room waits for its workers alone; a call to a
//! room that is far behind is refused. Who follows rooms from outside and is behind keeps newcomers out and is waited for by
//! nobody ([`contract::events`]). A connection whose adapter or room is behind with its messages is paused, which leaves
//! them in its SCTP window and slows its sender alone; an adapter that does not drain its events is closed. Receivers that are
//! behind slow their senders likewise, unless they are too slow (`backpressure`).
//!
//! All decisions about a session are [`room::Room`]'s; this crate has the clock, the randomness and the queues. It knows
//! nothing of SDP, sockets or protocols.

mod admin;
mod backpressure;
mod data;
mod data_tracks;
mod door;
mod forwarding;
mod history;
mod journey;
mod media;
mod memory;
mod metrics;
mod moving;
mod placement;
mod relays;
mod requests;
mod room_task;
mod routes;
mod rpc;
mod seat;
mod sections;
mod snapshot;
mod teller;
#[cfg(test)]
mod tests;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use contract::events::RoomEvents;
use contract::media::{Event as MediaEvent, WorkerHandle};
use contract::session::ControlHandle;
use tokio::sync::{mpsc, oneshot};

pub use metrics::Metrics;

use door::Door;
use routes::{Routes, route};

/// Calls that wait at the front door before callers are made to wait.
const CALL_QUEUE: usize = 1_024;

/// How rooms are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// How long an empty room waits for its first participant. Default 300 s.
    pub empty_timeout: Duration,
    /// How long an empty room waits after its last participant left. Default 20 s.
    pub departure_timeout: Duration,
    /// Most participants of a room; 0 (default) = no limit but the room's own bound.
    pub max_participants: u32,
    /// Most rooms. Default 100,000: what is left of 4 GB after media, at some 30 kB per room.
    pub max_rooms: usize,
    /// With this many of a room's participants on one worker, newcomers may go to another, to which the room's tracks
    /// then cross; at least 1. Default 16: where a track has 16 receivers, it is estimated to cost some 6 % of sending it to
    /// them for it to cross (`docs/relay.md`).
    pub spread_at: usize,
    /// The server API may ask participants to unmute. Default false.
    pub remote_unmute: bool,
    /// A receiver of reliable messages that takes fewer bits per second than this, while messages wait for it, loses some. For
    /// one that takes as many, its senders wait. Default 250,000: thin mobile lines keep up with chat and small files, and
    /// nobody's line stops a room. 0: nobody is waited for.
    pub slow_receiver_bps: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            empty_timeout: Duration::from_secs(300),
            departure_timeout: Duration::from_secs(20),
            max_participants: 0,
            max_rooms: 100_000,
            spread_at: 16,
            remote_unmute: false,
            slow_receiver_bps: 250_000,
        }
    }
}

/// The running control plane, for whoever started it. Dropping it stops nothing.
#[derive(Clone)]
pub struct Control {
    metrics: Arc<Metrics>,
    stop: mpsc::Sender<oneshot::Sender<()>>,
}

impl Control {
    /// What it counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Lets nobody in any more, closes every participant with `ServerShutdown`, and returns when all rooms are done.
    /// Events already queued for adapters can still be read. Workers keep running: stop them afterwards.
    pub async fn shutdown(&self) {
        let (done, wait) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            // An error means that it is gone altogether.
            let _ = wait.await;
        }
    }
}

/// Starts the control plane on the current tokio runtime. `worker_events` carries the events of all `workers`; what happens in
/// rooms is told through `events`.
pub fn spawn(
    config: Config,
    workers: Vec<WorkerHandle>,
    worker_events: async_channel::Receiver<MediaEvent>,
    events: RoomEvents,
) -> (ControlHandle, Control) {
    let metrics = Arc::new(Metrics::default());
    let routes = Arc::new(Routes::default());
    let (calls, call_queue) = async_channel::bounded(CALL_QUEUE);
    let (stop, stops) = mpsc::channel(1);
    tokio::spawn(route(worker_events, Arc::clone(&routes), Arc::clone(&metrics)));
    let door = Door::new(config, workers, routes, Arc::clone(&metrics), events);
    tokio::spawn(door.run(call_queue, stops));
    (ControlHandle::new(calls), Control { metrics, stop })
}
