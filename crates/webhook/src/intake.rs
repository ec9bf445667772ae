//! From what happens to the disk. Events wait in the seam while the disk is slow, and that keeps newcomers out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use backplane::Queue;
use base::events::RoomEvent;
use bytes::Bytes;
use contract::events::{Follower, Written};
use tokio::sync::{mpsc, watch};

use crate::entry::Entry;
use crate::metrics::{Metrics, add, count};
use crate::wills::{Begun, Mark, Wills, mark};
use crate::{Receiver, Stored};

/// Events that are put on the disk at once: one write and one sync for all of them.
const BATCH: usize = 256;
/// How long to wait after the disk failed.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Intake<Q> {
    write: fn(&RoomEvent) -> Written,
    queue: Q,
    stored: mpsc::UnboundedSender<Stored>,
    wills: Wills,
    /// How many there are, for others to read.
    wills_kept: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// What is to be put on the disk at once.
#[derive(Default)]
struct Batch {
    entries: Vec<(What, Bytes)>,
    ended: Vec<Begun>,
}

use What::{Event, Will};

enum What {
    Event { room: Arc<str> },
    Will { of: Begun },
}

impl<Q: Queue> Intake<Q> {
    pub fn new(write: fn(&RoomEvent) -> Written, receiver: &Receiver<Q>, metrics: Arc<Metrics>) -> Self {
        Self {
            write,
            queue: receiver.pending.clone(),
            stored: receiver.stored.clone(),
            wills: Wills::default(),
            wills_kept: Arc::clone(&receiver.wills),
            metrics,
        }
    }

    /// Until `stopped` turns true, and then until nothing waits any more; or until nobody tells.
    pub async fn run(mut self, events: Follower, mut stopped: watch::Receiver<bool>) {
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
            let mut batch = Batch::default();
            for event in std::iter::once(first).chain(more).take(BATCH) {
                batch.push(&event, self.write);
            }
            self.store(batch, &stopped).await;
        }
    }

    /// Puts a batch on the disk; when that fails, again, unless the server is stopping.
    async fn store(&mut self, mut batch: Batch, stopped: &watch::Receiver<bool>) {
        let mut is_short = false;
        while !batch.entries.is_empty() {
            let payloads = batch.entries.iter().map(|(_, payload)| payload.clone()).collect();
            let numbers = match self.queue.exchange(payloads, self.finished(&batch)).await {
                Ok(numbers) => numbers,
                Err(error) if *stopped.borrow() => {
                    let events = batch.events();
                    add(&self.metrics.lost, events);
                    return tracing::error!(%error, events, "events are lost: the server stops and the disk does not take them");
                }
                Err(_) => {
                    count(&self.metrics.disk_failures);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            self.stored(numbers, &mut batch);
            is_short |= !batch.entries.is_empty();
            self.drop_first(&mut batch);
        }
        // Mostly all fitted, and they are finished already.
        let finished = self.finished(&batch);
        if !finished.is_empty() && is_short {
            let _ = self.queue.finish(finished).await;
        }
        batch.ended.iter().for_each(|ended| self.wills.forget(*ended));
        self.wills_kept.store(self.wills.len(), Relaxed);
    }

    /// The wills of what has ended.
    fn finished(&self, batch: &Batch) -> Vec<u64> {
        batch.ended.iter().flat_map(|ended| self.wills.of(*ended)).collect()
    }

    fn stored(&mut self, numbers: Vec<u64>, batch: &mut Batch) {
        let taken = batch.entries.drain(..numbers.len());
        for (number, (what, _)) in numbers.into_iter().zip(taken) {
            match what {
                Event { room } => {
                    count(&self.metrics.queued);
                    count(&self.metrics.pending);
                    // Its end is gone when the server stops: the entry is on the disk.
                    let _ = self.stored.send(Stored { number, room });
                }
                Will { of } => self.wills.keep(of, number),
            }
        }
    }

    /// The first of what is left did not fit.
    fn drop_first(&self, batch: &mut Batch) {
        if batch.entries.is_empty() {
            return;
        }
        if let (Event { room }, _) = batch.entries.remove(0) {
            count(&self.metrics.refused_full);
            tracing::error!(
                room = &*room,
                "the queue of webhooks is full: an event is dropped; is its receiver there?"
            );
        }
    }
}

impl Batch {
    fn push(&mut self, event: &RoomEvent, write: fn(&RoomEvent) -> Written) {
        let room = event.room.name.as_str();
        let entry = |event: &RoomEvent| Entry::new(room, event.at, write(event));
        self.entries.push((Event { room: Arc::from(room) }, entry(event).encode()));
        match mark(event) {
            Mark::Begins(of, end) => {
                let mut will = entry(&end);
                will.head.will = Some(of.rank);
                self.entries.push((Will { of }, will.encode()));
            }
            Mark::Ends(ended) => {
                // What begins and ends at once needs no will.
                self.entries.retain(|(what, _)| !matches!(what, Will { of } if of.ends_with(ended)));
                self.ended.push(ended);
            }
            Mark::Neither => {}
        }
    }

    fn events(&self) -> usize {
        self.entries.iter().filter(|(what, _)| matches!(what, Event { .. })).count()
    }
}
