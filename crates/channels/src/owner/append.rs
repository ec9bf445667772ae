//! An append on its way, and what the log's answers mean to the owner.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use backplane::{Appended as Answer, Log, Position};
use bytes::Bytes;
use messaging::event::Record;
use messaging::format::encode;
use messaging::partition::{Append, Appended};

/// Between two tries of an append that had no answer, or that the log could not take.
const AGAIN: Duration = Duration::from_millis(100);
/// Between two looks at an index that does not keep up.
const PAUSE: Duration = Duration::from_millis(10);

/// At most one append at a time.
#[derive(Default)]
pub struct Flight {
    append: Option<Pin<Box<dyn Future<Output = Appended> + Send>>>,
    again_at: Option<Instant>,
}

impl Flight {
    pub fn is_flying(&self) -> bool {
        self.append.is_some()
    }

    /// May another append go now?
    pub fn may_fly(&mut self, is_full: bool) -> bool {
        self.again_at = is_full.then(|| Instant::now() + PAUSE);
        self.append.is_none() && !is_full
    }

    /// When to ask that again.
    pub fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// Sends an append off.
    pub fn start<L: Log>(&mut self, log: L, partition: u16, epoch: u32, append: Append) {
        self.append = Some(Box::pin(fly(log, partition, epoch, append)));
    }

    /// Its fate. Never, when there is none.
    pub async fn landed(&mut self) -> Appended {
        match &mut self.append {
            Some(append) => append.await,
            None => std::future::pending().await,
        }
    }

    /// It has landed.
    pub fn end(&mut self) {
        self.append = None;
    }
}

/// What is refused is as what had no answer: it is tried again as it was, and nothing else before it.
async fn fly<L: Log>(log: L, partition: u16, epoch: u32, append: Append) -> Appended {
    let expected = Position { epoch, n: append.expected };
    let payloads = append.records.iter().map(|record| Bytes::from(encode(record))).collect();
    match log.append(partition, expected, payloads).await {
        Answer::Committed(_) => Appended::Committed,
        Answer::Conflict(_) => {
            Appended::Conflict { found: whose(&log, partition, append.expected + 1).await }
        }
        Answer::Unknown(why) | Answer::Refused(why) => {
            tracing::debug!(%why, partition, "an append is tried again");
            tokio::time::sleep(AGAIN).await;
            Appended::Unknown
        }
    }
}

/// Who appended the entry `n`, if there is one.
async fn whose<L: Log>(log: &L, partition: u16, n: u64) -> Option<(u64, u64)> {
    loop {
        match log.read(partition, n, 1).await {
            Ok(events) => {
                let found = events.first().filter(|event| event.at.n == n)?;
                let Record { incarnation, append, .. } = Record::read(&found.payload).ok()?;
                return Some((incarnation, append));
            }
            // Without the answer neither "it is mine" nor "it is another's" may be said.
            Err(why) => {
                tracing::warn!(%why, partition, n, "the log cannot be read after a conflict");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
