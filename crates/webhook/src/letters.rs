//! Dead letters: events that nobody took for a day, kept until somebody replays them or newer ones need their room.

use std::sync::Arc;

use backplane::{Failed, Queue};

use crate::entry::{Death, Entry};
use crate::metrics::{Metrics, add, count, take};

/// So many of the oldest go at once when there is no room.
const DROPPED_AT_ONCE: usize = 64;

/// The dead letters of one receiver.
#[derive(Clone)]
pub(crate) struct Letters<Q> {
    queue: Q,
    metrics: Arc<Metrics>,
}

impl<Q: Queue> Letters<Q> {
    pub fn new(queue: Q, metrics: Arc<Metrics>) -> Self {
        Self { queue, metrics }
    }

    /// Counts what is there from before.
    pub async fn recount(&self) {
        if let Ok(numbers) = self.queue.pending().await {
            add(&self.metrics.dead_letters, numbers.len());
        }
    }

    /// Keeps a letter; where there is no room, instead of the oldest.
    pub async fn bury(&self, mut entry: Entry, death: Death) -> Result<(), Failed> {
        entry.head.death = Some(death);
        let payload = entry.encode();
        loop {
            if !self.queue.append(vec![payload.clone()]).await?.is_empty() {
                count(&self.metrics.dead);
                count(&self.metrics.dead_letters);
                return Ok(());
            }
            let mut oldest = self.queue.pending().await?;
            if oldest.is_empty() {
                return Err(Failed("there is no room for a single dead letter".to_owned()));
            }
            oldest.truncate(DROPPED_AT_ONCE);
            add(&self.metrics.dead_dropped, oldest.len());
            tracing::error!(
                letters = oldest.len(),
                "the oldest dead letters of webhooks are dropped for newer ones"
            );
            self.forget(oldest).await?;
        }
    }

    /// All letters' numbers, oldest first.
    pub async fn numbers(&self) -> Result<Vec<u64>, Failed> {
        self.queue.pending().await
    }

    /// A letter. `None`: it is gone, or of a version that is not known.
    pub async fn read(&self, number: u64) -> Result<Option<Entry>, Failed> {
        Ok(self.queue.read(number).await?.as_ref().and_then(Entry::decode))
    }

    /// They are not needed any more.
    pub async fn forget(&self, numbers: Vec<u64>) -> Result<(), Failed> {
        take(&self.metrics.dead_letters, numbers.len());
        self.queue.finish(numbers).await
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub async fn close(&self) {
        self.queue.close().await;
    }
}
