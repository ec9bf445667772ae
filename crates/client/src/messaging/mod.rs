//! A client of the messaging protocol (`docs/messaging-protocol.md`): one device of one person, over as many connections as it takes.
//!
//! ```no_run
//! # async fn example() {
//! use client::messaging::{Begin, Draft, Event, Messaging, Options};
//!
//! let options = Options::new("ws://127.0.0.1:7880", std::env::var("TOKEN").unwrap_or_default());
//! let (messaging, events) = Messaging::start(options);
//! messaging.open("lobby", Begin::Last(30), true);
//! let number = messaging.send("lobby", Draft::text("hello"));
//! while let Ok(event) = events.recv().await {
//!     match event {
//!         Event::Item { item, .. } => println!("{}: {}", item.id, item.text().unwrap_or_default()),
//!         Event::Sent { csn, outcome, .. } if Some(csn) == number => println!("{outcome:?}"),
//!         Event::Ended(why) => println!("{why}"),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! It reconnects with growing pauses, resumes every open channel by its cursor, and sends what had no answer again under its number, so that
//! it is stored once and in order. It keeps nothing over the end of the process: each [`Messaging`] is a new device.
//!
//! | file | what it does |
//! |---|---|
//! | `core` | the device as a value: frames in, frames and events out |
//! | `channel`, `outbox` | a channel's stream and tokens; its sends and their numbers |
//! | `driver` | the task that holds the socket |
//! | `event` | what the application hears |

mod channel;
mod core;
mod driver;
mod event;
mod outbox;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::de::DeserializeOwned;
use tokio::sync::{Notify, oneshot};
pub use wire::messaging as frames;
use wire::messaging::{Body, Command, Encoding, Error, Raw, Tell, Typing};

pub use channel::Begin;
pub use event::{End, Event, ResetReason};
pub use outbox::{Draft, Outcome, Target};

use self::core::Core;

/// How to connect.
#[derive(Clone)]
pub struct Options {
    /// `ws://…` or `wss://…`, without the protocol's path.
    pub url: String,
    /// Asked before every connection: tokens expire.
    pub token: Arc<dyn Fn() -> String + Send + Sync>,
    /// How frames are written.
    pub encoding: Encoding,
    /// The device's id; random by default. No two that are connected at a time may share one.
    pub device: Option<String>,
    /// Certificates (DER) to trust instead of this machine's.
    pub trust: Vec<Vec<u8>>,
}

impl Options {
    /// With one token, in JSON, as a new device.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        let token: String = token.into();
        let token: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(move || token.clone());
        Self { url: url.into(), token, encoding: Encoding::Json, device: None, trust: Vec::new() }
    }
}

/// What happens, in order. Events that are not taken are kept: take them.
pub type Events = async_channel::Receiver<Event>;

/// Why a request has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// The server refused.
    Refused(Error),
    /// Its answer is another one than was asked for.
    Unreadable,
    /// Too many are open.
    TooMany,
    /// The client has ended.
    Ended,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => write!(f, "the server refused ({:?}): {}", error.code, error.reason),
            Self::Unreadable => f.write_str("the server's answer is not what was asked for"),
            Self::TooMany => f.write_str("too many requests have no answer"),
            Self::Ended => f.write_str("the client has ended"),
        }
    }
}

impl std::error::Error for RequestError {}

type Reply = oneshot::Sender<Result<Raw, Error>>;

/// What the handles and the task share.
struct Shared {
    state: Mutex<Inner>,
    /// The application has asked for something.
    asked: Notify,
}

struct Inner {
    core: Core,
    replies: BTreeMap<u64, Reply>,
    tags: u64,
    closed: bool,
}

/// A device. Cheap to clone; it ends with its last handle.
#[derive(Clone)]
pub struct Messaging {
    handle: Arc<Handle>,
}

struct Handle(Arc<Shared>);

impl Messaging {
    /// Connects, and goes on connecting. Needs a tokio runtime.
    pub fn start(options: Options) -> (Self, Events) {
        let device = options.device.clone().unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        let inner = Inner { core: Core::new(device), replies: BTreeMap::new(), tags: 0, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(inner), asked: Notify::new() });
        let (sender, events) = async_channel::unbounded();
        tokio::spawn(driver::run(options, Arc::clone(&shared), sender));
        (Self { handle: Arc::new(Handle(shared)) }, events)
    }

    /// Subscribes to a channel, with its events or (`open` false) only to its unread counts.
    pub fn open(&self, channel: &str, begin: Begin, open: bool) {
        self.with(|inner| inner.core.open(Instant::now(), channel, begin, open));
    }

    /// Ends a subscription.
    pub fn close_channel(&self, channel: &str) {
        self.with(|inner| inner.core.close(Instant::now(), channel));
    }

    /// Sends something: its number, with which [`Event::Sent`] comes. `None`: 10,000 sends of the channel have no answer.
    pub fn send(&self, channel: &str, draft: Draft) -> Option<u64> {
        self.with(|inner| inner.core.send(Instant::now(), channel, draft, false))
    }

    /// The same, not before what was delivered in other channels until now.
    pub fn send_after(&self, channel: &str, draft: Draft) -> Option<u64> {
        self.with(|inner| inner.core.send(Instant::now(), channel, draft, true))
    }

    /// Everything delivered up to this event, or up to now, has been read. Told at most every two seconds.
    pub fn mark_read(&self, channel: &str, upto: Option<String>) {
        self.with(|inner| inner.core.read(Instant::now(), channel, upto));
    }

    /// Whose presence is wanted, at most 100 people; replaces those before.
    pub fn watch(&self, users: Vec<String>) {
        self.with(|inner| inner.core.watch(Instant::now(), users));
    }

    /// One is typing, or not any more.
    pub fn typing(&self, channel: &str, on: bool) {
        let command = Command::Typing(Typing { channel: channel.to_owned(), on: Some(on) });
        self.with(|inner| inner.core.say(Instant::now(), command));
    }

    /// Something for who is there, kept nowhere; lost without a connection.
    pub fn tell(&self, channel: &str, name: &str, body: Body) {
        let command = Command::Tell(Tell { channel: channel.to_owned(), name: name.to_owned(), body });
        self.with(|inner| inner.core.say(Instant::now(), command));
    }

    /// Any other command, asked over connections until it is answered; sends go through [`Self::send`].
    ///
    /// # Errors
    /// The server refused for good, or the client ended.
    pub async fn request<T: DeserializeOwned>(&self, command: Command) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        let taken = self.with(|inner| {
            if inner.closed {
                return Err(RequestError::Ended);
            }
            inner.tags += 1;
            let tag = inner.tags;
            if !inner.core.request(Instant::now(), tag, command) {
                return Err(RequestError::TooMany);
            }
            inner.replies.insert(tag, reply);
            Ok(())
        });
        taken?;
        match answer.await {
            Ok(Ok(raw)) => raw.read().map_err(|_| RequestError::Unreadable),
            Ok(Err(error)) => Err(RequestError::Refused(error)),
            Err(_) => Err(RequestError::Ended),
        }
    }

    /// The device's id.
    pub fn device(&self) -> String {
        self.with(|inner| inner.core.device().to_owned())
    }

    /// Whose device it is; empty before the first connection.
    pub fn user(&self) -> String {
        self.with(|inner| inner.core.user().to_owned())
    }

    /// Ends it.
    pub fn close(&self) {
        self.handle.0.close();
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let out = act(&mut self.handle.0.lock());
        self.handle.0.asked.notify_one();
        out
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics half-way through a change: what is there is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.asked.notify_one();
    }
}
