//! The seam to what outlives this process and to other nodes: traits that the rest of the server uses, and what is behind them.
//!
//! | trait | embedded |
//! |---|---|
//! | [`Queue`] | [`EmbeddedQueue`]: a directory, by `store`, on a thread of its own |
//! | [`Log`] | [`EmbeddedLog`]: likewise; reads go beside the writer |
//!
//! A trait's contract is in its documentation and in [`conformance`], which every implementation has to pass.

pub mod conformance;
mod embedded;
mod log;
mod queue;

use std::fmt;

pub use embedded::log::{EmbeddedFollower, EmbeddedLog};
pub use embedded::queue::EmbeddedQueue;
pub use log::{Appended, Event, Extent, Follower, Log, READ_BYTES};
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
