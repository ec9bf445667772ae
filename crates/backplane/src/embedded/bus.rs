//! The bus of one process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::Failed;
use crate::bus::{Bus, Message, NoReply, Reply, SUBJECT_BYTES, Subscription, WAITING};

/// A bus within this process.
#[derive(Clone, Default)]
pub struct EmbeddedBus(Arc<Mutex<Subscribers>>);

#[derive(Default)]
struct Subscribers {
    by_subject: BTreeMap<String, Vec<Subscriber>>,
    next: u64,
}

struct Subscriber {
    number: u64,
    queue: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
}

impl EmbeddedBus {
    /// Sends to all, with something to answer by where there is one. Returns how many it has reached.
    fn send(&self, subject: &str, payload: &Bytes, reply: impl Fn() -> Option<Reply>) -> usize {
        let subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = subscribers.by_subject.get(subject).map_or(&[][..], Vec::as_slice);
        for subscriber in all {
            let message = Message { payload: payload.clone(), reply: reply() };
            if subscriber.queue.try_send(message).is_err() {
                subscriber.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        all.len()
    }
}

impl Bus for EmbeddedBus {
    type Subscription = EmbeddedSubscription;

    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), Failed> {
        check(subject)?;
        self.send(subject, &payload, || None);
        Ok(())
    }

    async fn subscribe(&self, subject: &str) -> Result<EmbeddedSubscription, Failed> {
        check(subject)?;
        let (queue, messages) = mpsc::channel(WAITING);
        let lost = Arc::default();
        let mut subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.next += 1;
        let number = subscribers.next;
        let subscriber = Subscriber { number, queue, lost: Arc::clone(&lost) };
        subscribers.by_subject.entry(subject.to_owned()).or_default().push(subscriber);
        drop(subscribers);
        Ok(EmbeddedSubscription { bus: self.clone(), subject: subject.to_owned(), number, messages, lost })
    }

    async fn request(&self, subject: &str, payload: Bytes, patience: Duration) -> Result<Bytes, NoReply> {
        check(subject).map_err(NoReply::Failed)?;
        let (answer, mut answers) = mpsc::channel(1);
        let reply = || {
            let answer = answer.clone();
            // The first answer fills it.
            Some(Reply::new(move |payload| drop(answer.try_send(payload))))
        };
        if self.send(subject, &payload, reply) == 0 {
            return Err(NoReply::Nobody);
        }
        // Without this one the channel ends when nobody is left who could answer.
        drop(answer);
        match tokio::time::timeout(patience, answers.recv()).await {
            Ok(Some(payload)) => Ok(payload),
            Ok(None) => Err(NoReply::Nobody),
            Err(_) => Err(NoReply::TooLate),
        }
    }
}

/// Receives from an [`EmbeddedBus`].
pub struct EmbeddedSubscription {
    bus: EmbeddedBus,
    subject: String,
    number: u64,
    messages: mpsc::Receiver<Message>,
    lost: Arc<AtomicU64>,
}

impl Subscription for EmbeddedSubscription {
    async fn next(&mut self) -> Result<Message, Failed> {
        self.messages.recv().await.ok_or_else(|| Failed("the bus is closed".to_owned()))
    }

    fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for EmbeddedSubscription {
    fn drop(&mut self) {
        let mut subscribers = self.bus.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = subscribers.by_subject.get_mut(&self.subject) {
            all.retain(|subscriber| subscriber.number != self.number);
            if all.is_empty() {
                subscribers.by_subject.remove(&self.subject);
            }
        }
    }
}

fn check(subject: &str) -> Result<(), Failed> {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_letter);
    if subject.len() <= SUBJECT_BYTES && subject.split('.').all(is_word) {
        return Ok(());
    }
    Err(Failed(format!(
        "a subject is words of A-Z, a-z, 0-9, - and _ with dots between them, not {subject:?}"
    )))
}
