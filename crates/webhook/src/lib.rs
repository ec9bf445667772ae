//! Webhooks: what happens in rooms, sent to the application's servers.
//!
//! ```text
//!  control --RoomEvent--> intake --append--> queue on the disk --number--> delivery --POST--> receiver
//!                                               ^                             |
//!                                               '--replay-- dead letters <----'  after a day
//! ```
//!
//! Every receiver has an intake, a queue, a delivery and a list of dead letters of its own, so that none waits for another. An event
//! is on the disk before it is sent, keeps its id and its bytes over every attempt and every restart, and leaves the queue when
//! the receiver has answered 2xx. Events of one room go one after the other, rooms side by side.
//!
//! When the disk is slow or fails, the intake waits, and [`contract::events`] keeps newcomers out; when the queue is full since the
//! receiver has been gone for long, further events are counted and dropped, and calls go on: that is the receiver's fault.
//!
//! This crate knows nothing of LiveKit's messages: how an event is written comes in as a function.

mod client;
mod delivery;
mod entry;
mod http;
mod intake;
mod lanes;
mod letters;
mod metrics;
mod sign;
mod wills;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use auth::ApiKeys;
use backplane::{Failed, Queue};
use base::UnixMillis;
use base::events::RoomEvent;
use contract::events::{Follower, Written};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use client::{Client, Sent, UrlError, check_url};
pub use http::{Admin, router};
pub use metrics::Metrics;
pub use sign::{Signer, directory_name};

use delivery::Delivery;
use intake::Intake;
use letters::Letters;

/// When attempts are made again, and when they end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// About the time from a first failure to the next attempt; each further failure doubles it.
    pub first: Duration,
    /// It grows no further than this.
    pub longest: Duration,
    /// An event that is older becomes a dead letter with its next failure,
    pub give_up_after: Duration,
    /// but not before it was tried so often since the server started: after a long stop of the server everything is old.
    pub least_attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
            give_up_after: Duration::from_secs(24 * 3_600),
            least_attempts: 8,
        }
    }
}

/// What all receivers have in common.
#[derive(Clone)]
pub struct Config {
    /// Signs bodies.
    pub signer: Signer,
    /// When attempts are made again.
    pub retry: Retry,
    /// How long an attempt may take. Default in use: 10 s.
    pub timeout: Duration,
    /// How an event is written.
    pub write: fn(&RoomEvent) -> Written,
    /// How the body of one that is told later than it was written gets another time.
    pub restamp: fn(&[u8], UnixMillis) -> Vec<u8>,
    /// The wall clock.
    pub now: fn() -> UnixMillis,
}

/// One receiver with what is kept for it.
pub struct Endpoint<Q> {
    /// Where to send to; good in the sense of [`check_url`].
    pub url: String,
    /// Events that wait.
    pub pending: Q,
    /// Dead letters.
    pub dead: Q,
    /// What happens.
    pub events: Follower,
}

/// The running webhooks.
pub struct Webhooks<Q> {
    receivers: Arc<[Receiver<Q>]>,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// One receiver, for whoever reads and replays its dead letters.
pub(crate) struct Receiver<Q> {
    pub url: String,
    pub pending: Q,
    pub letters: Letters<Q>,
    /// Wills in the queue, which are no events yet.
    pub wills: Arc<AtomicUsize>,
    pub stored: mpsc::UnboundedSender<Stored>,
}

/// An entry that is on the disk and waits to be sent.
pub(crate) struct Stored {
    pub number: u64,
    pub room: Arc<str>,
}

/// Starts intake and delivery of every endpoint on the current tokio runtime. What was left from before is sent first.
///
/// # Errors
/// When a queue cannot say what it holds.
pub async fn start<Q: Queue>(
    config: &Config,
    client: &Client,
    endpoints: Vec<Endpoint<Q>>,
) -> Result<Webhooks<Q>, Failed> {
    let metrics = Arc::new(Metrics::default());
    let (stop, stopped) = watch::channel(false);
    let (mut tasks, mut receivers) = (JoinSet::new(), Vec::new());
    for Endpoint { url, pending, dead, events } in endpoints {
        // Before anything new is put there, which is told.
        let before = pending.pending().await?;
        // Bounded by the queue: one for each entry.
        let (stored, arrivals) = mpsc::unbounded_channel();
        let letters = Letters::new(dead, Arc::clone(&metrics));
        let receiver = Receiver { url, pending, letters, wills: Arc::default(), stored };
        let intake = Intake::new(config.write, &receiver, Arc::clone(&metrics));
        let mut delivery = Delivery::new(config.clone(), client.clone(), &receiver, Arc::clone(&metrics));
        let stopped = stopped.clone();
        tasks.spawn(async move {
            delivery.recover(before).await;
            tokio::join!(intake.run(events, stopped.clone()), delivery.run(arrivals, stopped));
        });
        receivers.push(receiver);
    }
    Ok(Webhooks { receivers: receivers.into(), metrics, stop, tasks })
}

impl<Q: Queue> Webhooks<Q> {
    /// What they count.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What the routes for dead letters stand on; `None` without any receiver.
    pub fn admin(&self, keys: ApiKeys, now: fn() -> UnixMillis) -> Option<Admin<Q>> {
        (!self.receivers.is_empty()).then(|| Admin { keys, receivers: Arc::clone(&self.receivers), now })
    }

    /// Puts on the disk what was told until now, ends, and closes the queues. What is not delivered is when the server runs again.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        for receiver in self.receivers.iter() {
            receiver.pending.close().await;
            receiver.letters.close().await;
        }
    }
}
