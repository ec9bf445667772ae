//! Messages between nodes that may be lost.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::Failed;

/// Longest subject, in bytes.
pub const SUBJECT_BYTES: usize = 256;
/// Messages that wait for one subscriber; further ones are lost to it.
pub const WAITING: usize = 1_024;

/// Best-effort publish and subscribe, and questions. Clones are the same node's end of it; any number of tasks may use it at a time.
///
/// - **Subjects** are words of `A-Z`, `a-z`, `0-9`, `-` and `_` with dots between them, [`SUBJECT_BYTES`] at most. There are no
///   wildcards. With another subject everything fails.
/// - **At most once.** A message reaches everyone who is subscribed when it is published, or is lost; nothing is kept for later.
/// - **Order.** What one task publishes on one subject, each publication waited for, arrives in that order, apart from what is lost.
/// - **Bounded.** A subscriber that does not keep up loses messages, and is told how many; nobody else waits for it.
pub trait Bus: Clone + Send + Sync + 'static {
    /// See [`Bus::subscribe`].
    type Subscription: Subscription;

    /// Sends to everyone who is subscribed, oneself included.
    fn publish(&self, subject: &str, payload: Bytes) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Receives from now on, until it is dropped: what is published once this has returned, on this node and soon on all others.
    fn subscribe(&self, subject: &str) -> impl Future<Output = Result<Self::Subscription, Failed>> + Send;

    /// Asks everyone who is subscribed. The first answer counts.
    fn request(
        &self,
        subject: &str,
        payload: Bytes,
        patience: Duration,
    ) -> impl Future<Output = Result<Bytes, NoReply>> + Send;
}

/// Receives what is published on a subject.
pub trait Subscription: Send + 'static {
    /// The next message. It may be given up and called again: nothing is lost by that.
    fn next(&mut self) -> impl Future<Output = Result<Message, Failed>> + Send;

    /// How many messages were lost because too many waited, so far.
    fn lost(&self) -> u64;
}

/// What a subscriber receives.
pub struct Message {
    /// What was sent.
    pub payload: Bytes,
    /// There for a question.
    pub reply: Option<Reply>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.reply.is_some() { "question" } else { "message" };
        write!(f, "{kind} of {} bytes", self.payload.len())
    }
}

/// Answers a question once.
pub struct Reply(Box<dyn FnOnce(Bytes) + Send>);

impl Reply {
    /// `send` does not wait.
    pub fn new(send: impl FnOnce(Bytes) + Send + 'static) -> Self {
        Self(Box::new(send))
    }

    /// Answers. Who asked may have gone.
    pub fn send(self, payload: Bytes) {
        (self.0)(payload);
    }
}

/// Why a question has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoReply {
    /// Nobody is subscribed, which is known at once; or nobody is any more who was.
    Nobody,
    /// Somebody may be, and did not answer in time.
    TooLate,
    /// The bus failed.
    Failed(Failed),
}
