//! Embedded durability, in append-only segment files behind a [`Disk`]: a [`Queue`] of entries that are finished one by one, and the
//! event [`Log`] of many partitions.
//!
//! Both are values: whoever owns one calls it from one thread, which waits for the disk. **They are driven like this:** stage
//! any number of things, then commit: one write and one sync for all of them. What a commit returned `Ok` for survives the end of
//! the process and of the machine; of what it did not, all or nothing is there afterwards.
//!
//! Recovery cuts a torn tail, which only ever holds what was never committed, and stops at anything else that is damaged, with the
//! file and the place: nothing is passed over silently. The formats are in `docs/store.md`.
//!
//! This crate knows nothing of what it stores, of tasks, or of time.

mod disk;
mod error;
mod frame;
pub mod fuzz;
pub mod index;
pub mod log;
mod queue;
mod real;
pub mod simulated;

pub use disk::{Disk, File};
pub use error::{OpenError, ReadError};
pub use index::Index;
pub use log::Log;
pub use queue::{CommitError, Limits, Queue, Recovered, Refused};
pub use real::{Directory, DirectoryError};
