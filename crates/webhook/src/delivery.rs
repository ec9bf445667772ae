//! From the disk to the receiver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backplane::{Failed, Queue};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::client::{Client, Sent};
use crate::entry::{Death, Entry};
use crate::lanes::{Lanes, Next, backoff};
use crate::letters::Letters;
use crate::metrics::{Metrics, add, count, take};
use crate::{Config, Receiver, Stored};

/// Attempts that are under way at a time: rooms that are served side by side. With a receiver that takes 100 ms, 320 events/s.
const PARALLEL: usize = 32;
/// After so many failures in a row, and then a success, the receiver was down and is back.
const DOWN_AFTER: u32 = 3;
/// Ends of what was there before a crash that are put on the disk at once.
const WILLS_AT_ONCE: usize = 256;
/// What bodies are.
const CONTENT_TYPE: &str = "application/webhook+json";

/// What became of an attempt.
enum Outcome {
    /// The receiver took it, or there is nothing to send: the entry is done with.
    Done { delivered: bool },
    /// It is a dead letter.
    Buried,
    /// It is to be tried again.
    Failed,
}

/// Sends one receiver's entries.
#[derive(Clone)]
struct Sender<Q> {
    config: Config,
    client: Client,
    url: String,
    pending: Q,
    letters: Letters<Q>,
    metrics: Arc<Metrics>,
}

pub(crate) struct Delivery<Q> {
    sender: Sender<Q>,
    lanes: Lanes,
    attempts: JoinSet<(Next, Outcome)>,
    /// In a row, over all rooms.
    failures: u32,
}

impl<Q: Queue> Delivery<Q> {
    pub fn new(config: Config, client: Client, receiver: &Receiver<Q>, metrics: Arc<Metrics>) -> Self {
        let Receiver { url, pending, letters, .. } = receiver;
        let (url, pending, letters) = (url.clone(), pending.clone(), letters.clone());
        let sender = Sender { config, client, url, pending, letters, metrics };
        Self { sender, lanes: Lanes::default(), attempts: JoinSet::new(), failures: 0 }
    }

    /// Until `stopped` turns true. Attempts that are under way then are given up; they are made again after the next start.
    pub async fn run(
        mut self,
        mut stored: mpsc::UnboundedReceiver<Stored>,
        mut stopped: watch::Receiver<bool>,
    ) {
        while !*stopped.borrow() {
            self.begin();
            let due = self.lanes.poll_timeout().filter(|_| self.attempts.len() < PARALLEL);
            let timeout = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(entry) = stored.recv() => self.lanes.add(entry.room, entry.number),
                Some(Ok((next, outcome))) = self.attempts.join_next() => self.ended(&next, &outcome),
                () = timeout => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Takes over what was left on the disk; before anything new comes, which follows it.
    pub async fn recover(&mut self, numbers: Vec<u64>) {
        self.sender.letters.recount().await;
        let mut wills = Vec::new();
        for number in numbers {
            let entry =
                self.sender.pending.read(number).await.ok().flatten().as_ref().and_then(Entry::decode);
            match entry {
                Some(entry) if entry.head.will.is_some() => wills.push((number, entry)),
                // What cannot be read has a lane of its own, in which it is found out and told.
                entry => {
                    let room = entry.map_or_else(|| format!("\n{number}"), |entry| entry.head.room);
                    self.lanes.add(room.into(), number);
                    count(&self.sender.metrics.pending);
                }
            }
        }
        self.execute(wills).await;
        if self.lanes.len() > 0 {
            tracing::info!(url = self.sender.url, events = self.lanes.len(), "webhooks from before are sent");
        }
    }

    /// The process before this one died: what was there then has ended, parts before what they are part of.
    async fn execute(&mut self, mut wills: Vec<(u64, Entry)>) {
        wills.sort_by_key(|(number, entry)| (entry.head.will, *number));
        let now = (self.sender.config.now)();
        for wills in wills.chunks(WILLS_AT_ONCE) {
            let entries = wills.iter().map(|(_, entry)| {
                let body = (self.sender.config.restamp)(&entry.body, now).into();
                entry.executed(now, body).encode()
            });
            let finished = wills.iter().map(|(number, _)| *number).collect();
            match self.sender.pending.exchange(entries.collect(), finished).await {
                Ok(numbers) => {
                    add(&self.sender.metrics.refused_full, wills.len() - numbers.len());
                    add(&self.sender.metrics.queued, numbers.len());
                    add(&self.sender.metrics.pending, numbers.len());
                    for (number, (_, entry)) in numbers.into_iter().zip(wills) {
                        self.lanes.add(entry.head.room.as_str().into(), number);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "what ended with the last process is told after the next start")
                }
            }
        }
    }

    fn begin(&mut self) {
        while self.attempts.len() < PARALLEL
            && let Some(next) = self.lanes.next(now())
        {
            let sender = self.sender.clone();
            self.attempts.spawn(async move {
                let outcome = sender.attempt(&next).await;
                (next, outcome)
            });
        }
    }

    fn ended(&mut self, next: &Next, outcome: &Outcome) {
        if let Outcome::Failed = outcome {
            self.failures = self.failures.saturating_add(1);
            if self.failures == DOWN_AFTER {
                tracing::warn!(
                    url = self.sender.url,
                    "the receiver of webhooks does not take them; they wait"
                );
            }
            let wait = backoff(&self.sender.config.retry, next.failures, rand::random());
            return self.lanes.failed(&next.room, now() + wait);
        }
        self.lanes.done(&next.room);
        take(&self.sender.metrics.pending, 1);
        if let Outcome::Done { delivered: true } = outcome
            && std::mem::take(&mut self.failures) >= DOWN_AFTER
        {
            tracing::info!(
                url = self.sender.url,
                events = self.lanes.len(),
                "the receiver of webhooks is back"
            );
            self.lanes.wake();
        }
    }
}

impl<Q: Queue> Sender<Q> {
    async fn attempt(&self, next: &Next) -> Outcome {
        let payload = match self.pending.read(next.number).await {
            Ok(Some(payload)) => payload,
            Ok(None) => return Outcome::Done { delivered: false },
            // The disk, or what it keeps, is not as it should be.
            Err(error) => return self.unreadable(next, &error).await,
        };
        let Some(entry) = Entry::decode(&payload) else {
            let error = Failed("it is of another version".to_owned());
            return self.unreadable(next, &error).await;
        };
        let authorization = self.config.signer.sign(&entry.body, (self.config.now)());
        let (body, timeout) = (entry.body.clone(), self.config.timeout);
        let error = match self.client.post(&self.url, &authorization, CONTENT_TYPE, body, timeout).await {
            Sent::Answered(status, _) if (200..300).contains(&status) => {
                count(&self.metrics.delivered);
                return self.finish(next.number, Outcome::Done { delivered: true }).await;
            }
            Sent::Answered(status, _) => {
                count(&self.metrics.answered_badly);
                format!("HTTP status {status}")
            }
            Sent::TimedOut => {
                count(&self.metrics.timed_out);
                format!("no answer within {} s", timeout.as_secs_f64())
            }
            Sent::Unreachable(error) => {
                count(&self.metrics.unreachable);
                error
            }
        };
        let head = &entry.head;
        tracing::debug!(
            url = self.url,
            id = head.id,
            event = head.event,
            error,
            failures = next.failures,
            "a webhook failed"
        );
        if self.is_hopeless(&entry, next.failures) {
            self.bury(next, entry, error).await
        } else {
            Outcome::Failed
        }
    }

    fn is_hopeless(&self, entry: &Entry, failures: u32) -> bool {
        let age = Duration::from_millis((self.config.now)().0.saturating_sub(entry.head.at));
        let retry = &self.config.retry;
        age >= retry.give_up_after && failures.saturating_add(1) >= retry.least_attempts
    }

    async fn bury(&self, next: &Next, entry: Entry, error: String) -> Outcome {
        let head = &entry.head;
        tracing::error!(
            url = self.url,
            id = head.id,
            event = head.event,
            error,
            "a webhook is given up: it is a dead letter"
        );
        let death = Death { at: (self.config.now)().0, attempts: next.failures.saturating_add(1), error };
        match self.letters.bury(entry, death).await {
            Ok(()) => self.finish(next.number, Outcome::Buried).await,
            Err(error) => {
                tracing::error!(%error, "a dead letter cannot be kept: its event is tried again");
                Outcome::Failed
            }
        }
    }

    /// Told, counted, and not tried for ever: nothing brings it back.
    async fn unreadable(&self, next: &Next, error: &Failed) -> Outcome {
        if next.failures + 1 < self.config.retry.least_attempts {
            return Outcome::Failed;
        }
        count(&self.metrics.unreadable);
        tracing::error!(url = self.url, number = next.number, %error, "a webhook is lost: the disk does not give it back");
        self.finish(next.number, Outcome::Done { delivered: false }).await
    }

    /// A queue that fails now brings the entry back after the next start: it is sent again, under the same id.
    async fn finish(&self, number: u64, outcome: Outcome) -> Outcome {
        let _ = self.pending.finish(vec![number]).await;
        outcome
    }
}

/// The time, in tests the virtual one.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
