//! One thread that keeps the index: it takes all that was committed meanwhile and writes it at once.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use backplane::{Failed, Position};
use messaging::event::Event;
use tokio::sync::watch;

use crate::handle::Shared;
use crate::{extract, outbox};

/// Jobs that are written at once.
const JOBS: usize = 1_024;

/// Something for the index.
pub enum Job {
    /// Events of a partition that are committed, up to a position.
    Events {
        /// Which partition.
        partition: u16,
        /// They, in order.
        events: Vec<Arc<Event>>,
        /// Up to where its log is known with them.
        upto: Position,
    },
    /// Nothing more.
    End,
}

/// The thread. What waits for it is bounded by [`crate::tail::BEHIND`] for each partition.
pub struct Indexer {
    jobs: Sender<Job>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts it. `stop` is told when the index cannot be written any more.
    pub fn start(shared: Arc<Shared>, stop: watch::Sender<Option<Failed>>) -> Self {
        let (jobs, waiting) = channel();
        let run = move || {
            if let Err(error) = run(&shared, &waiting) {
                tracing::error!(%error, "the index of messages has stopped");
                stop.send_replace(Some(error));
            }
        };
        let thread = std::thread::Builder::new().name("stoa-index".to_owned()).spawn(run);
        let thread = thread.inspect_err(|error| tracing::error!(%error, "a thread cannot be started")).ok();
        Self { jobs, thread }
    }

    /// Where jobs go.
    pub fn entrance(&self) -> Sender<Job> {
        self.jobs.clone()
    }

    /// Writes what waits, makes it last, and ends.
    pub async fn close(&mut self) {
        // One that has ended says so otherwise.
        let _ = self.jobs.send(Job::End);
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        let _ = self.jobs.send(Job::End);
    }
}

fn run(shared: &Shared, waiting: &Receiver<Job>) -> Result<(), Failed> {
    let failed = |error: store::index::IndexError| Failed(error.to_string());
    while let Ok(first) = waiting.recv() {
        let mut jobs = vec![first];
        jobs.extend(std::iter::from_fn(|| waiting.try_recv().ok()).take(JOBS));
        let mut reached = Vec::with_capacity(jobs.len());
        let mut is_over = false;
        let mut batch = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job {
                Job::Events { partition, events, upto } => {
                    reached.push((partition, upto));
                    batch.push((partition, events));
                }
                Job::End => is_over = true,
            }
        }
        let count = batch.iter().map(|(_, events)| events.len() as u64).sum();
        let fill = |changes: &mut store::index::Changes<'_>| {
            for (partition, events) in &batch {
                events.iter().for_each(|event| extract::note(*partition, event, false, changes));
            }
        };
        shared.index.apply(reached.iter().copied(), count, fill).map_err(failed)?;
        for (partition, upto) in reached {
            if let Some(desk) = shared.desks.get(usize::from(partition)) {
                desk.tail.indexed(upto.n);
            }
        }
        for (partition, events) in &batch {
            if events.iter().any(|event| outbox::has_effects(event)) {
                shared.effects.ring(*partition);
            }
        }
        if is_over {
            return shared.index.save().map_err(failed);
        }
    }
    Ok(())
}
