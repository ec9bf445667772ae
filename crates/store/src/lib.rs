//! Embedded durability: a queue in append-only segment files behind a [`Disk`].
//!
//! A [`Queue`] is a value: whoever owns it calls it from one thread, which waits for the disk. **It is driven like this:** stage
//! any number of [`Queue::append`]s and [`Queue::finish`]es, then [`Queue::commit`]: one write and one sync for all of them. What a
//! commit returned `Ok` for survives the end of the process and of the machine; of what it did not, all or nothing is there
//! afterwards.
//!
//! Recovery cuts a torn tail, which only ever holds what was never committed, and stops at anything else that is damaged, with the
//! file and the place: nothing is passed over silently. The format is in `docs/store.md`.
//!
//! This crate knows nothing of what it stores, of tasks, or of time.

mod disk;
mod frame;
mod queue;
mod real;
pub mod simulated;

pub use disk::{Disk, File};
pub use queue::{CommitError, Limits, OpenError, Queue, ReadError, Recovered, Refused};
pub use real::{Directory, DirectoryError};
