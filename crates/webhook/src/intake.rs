//! From what happens to the disk. Events wait in the seam while the disk is slow, and that keeps newcomers out.

use std::sync::Arc;
use std::time::Duration;

use backplane::Queue;
use base::events::RoomEvent;
use bytes::Bytes;
use contract::events::{Follower, Written};
use tokio::sync::{mpsc, watch};

use crate::entry::Entry;
use crate::metrics::{Metrics, add, count};
use crate::{Receiver, Stored};

/// Events that are put on the disk at once: one write and one sync for all of them.
const BATCH: usize = 256;
/// How long to wait after the disk failed.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Intake<Q> {
    write: fn(&RoomEvent) -> Written,
    queue: Q,
    stored: mpsc::UnboundedSender<Stored>,
    metrics: Arc<Metrics>,
}

struct Batched {
    room: Arc<str>,
    payload: Bytes,
}

impl<Q: Queue> Intake<Q> {
    pub fn new(write: fn(&RoomEvent) -> Written, receiver: &Receiver<Q>, metrics: Arc<Metrics>) -> Self {
        Self { write, queue: receiver.pending.clone(), stored: receiver.stored.clone(), metrics }
    }

    /// Until `stopped` turns true, and then until nothing waits any more; or until nobody tells.
    pub async fn run(self, events: Follower, mut stopped: watch::Receiver<bool>) {
        loop {
            let first = match events.try_recv() {
                Ok(event) => event,
                Err(_) if *stopped.borrow() => return,
                Err(_) => tokio::select! {
                    event = events.recv() => match event {
                        Ok(event) => event,
                        Err(_) => return,
                    },
                    _ = stopped.changed() => continue,
                },
            };
            let more = std::iter::from_fn(|| events.try_recv().ok());
            let all = std::iter::once(first).chain(more).take(BATCH);
            self.store(all.map(|event| self.batched(&event)).collect(), &stopped).await;
        }
    }

    fn batched(&self, event: &RoomEvent) -> Batched {
        let room = event.room.name.as_str();
        Batched { room: Arc::from(room), payload: Entry::new(room, event.at, (self.write)(event)).encode() }
    }

    /// Puts a batch on the disk; when that fails, again, unless the server is stopping.
    async fn store(&self, mut batch: Vec<Batched>, stopped: &watch::Receiver<bool>) {
        while !batch.is_empty() {
            let payloads = batch.iter().map(|one| one.payload.clone()).collect();
            let numbers = match self.queue.append(payloads).await {
                Ok(numbers) => numbers,
                Err(error) if *stopped.borrow() => {
                    add(&self.metrics.lost, batch.len());
                    let events = batch.len();
                    return tracing::error!(%error, events, "events are lost: the server stops and the disk does not take them");
                }
                Err(_) => {
                    count(&self.metrics.disk_failures);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            self.stored(numbers, &mut batch);
            if !batch.is_empty() {
                let dropped = batch.remove(0);
                count(&self.metrics.refused_full);
                let room = &*dropped.room;
                tracing::error!(
                    room,
                    "the queue of webhooks is full: an event is dropped; is its receiver there?"
                );
            }
        }
    }

    fn stored(&self, numbers: Vec<u64>, batch: &mut Vec<Batched>) {
        add(&self.metrics.queued, numbers.len());
        add(&self.metrics.pending, numbers.len());
        let taken = batch.drain(..numbers.len());
        for (number, one) in numbers.into_iter().zip(taken) {
            // Its end is gone when the server stops: the entry is on the disk.
            let _ = self.stored.send(Stored { number, room: one.room });
        }
    }
}
