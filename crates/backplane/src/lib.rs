//! The seam to what outlives this process and to other nodes: traits that the rest of the server uses, and what is behind them.
//!
//! | trait | embedded |
//! |---|---|
//! | [`Queue`] | [`EmbeddedQueue`]: a directory, by `store`, on a thread of its own |
//! | [`Log`] | [`EmbeddedLog`]: likewise; reads go beside the writer |
//! | [`Ownership`] | [`EmbeddedOwnership`]: in a queue of its own |
//! | [`Bus`] | [`EmbeddedBus`]: within the process |
//! | [`Directory`] | [`EmbeddedDirectory`]: within the process, which is the only node |
//!
//! A trait's contract is in its documentation and in [`conformance`], which every implementation has to pass.

mod bus;
pub mod conformance;
mod directory;
mod embedded;
mod log;
mod ownership;
mod queue;

use std::fmt;

pub use bus::{Bus, Message, NoReply, Reply, SUBJECT_BYTES, Subscription, WAITING};
pub use directory::Directory;
pub use embedded::bus::{EmbeddedBus, EmbeddedSubscription};
pub use embedded::directory::{EmbeddedAnnouncement, EmbeddedDirectory};
pub use embedded::log::{EmbeddedFollower, EmbeddedLog};
pub use embedded::ownership::{EmbeddedOwnership, EmbeddedWatcher};
pub use embedded::queue::EmbeddedQueue;
pub use log::{Appended, Event, Extent, Follower, Log, READ_BYTES};
pub use ownership::{Changed, KEYS, NAME_BYTES, Ownership, Record, Watcher};
pub use queue::Queue;
pub use store::Limits;
pub use store::log::{Epoch, Position, Settings};

/// What is behind a trait failed: a sentence. Trying again later may help.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed(pub String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}
