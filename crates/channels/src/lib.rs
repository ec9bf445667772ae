//! The owners of partitions at work: each runs a [`messaging::partition::Partition`] on a [`backplane::Log`], keeps what was committed
//! findable in a [`store::Index`], and tells who listens.
//!
//! ```text
//! Handle::ask ──> owner of hash(channel) ── append ──> Log ── committed ──> tail, index, listeners, then the answer
//! ```
//!
//! **Nothing is told, answered or shown before the log has it.** [`Node::start`] restores every partition and gives a [`Handle`], which is
//! all that the rest of the server needs; [`Handle::listen`] is a place of delivery. Who follows a channel first and looks at it then
//! ([`Listener::follow`], [`Handle::look`], [`Handle::events`]) misses nothing, and knows what comes twice by its id.
//!
//! This crate knows nothing of sockets, tokens, frames or encodings of the protocol.

pub mod calls;
mod extract;
mod handle;
pub mod history;
pub mod hook;
mod indexer;
mod keys;
mod library;
mod listen;
pub mod lists;
mod node;
mod outbox;
mod owner;
mod presence;
mod tail;

pub use extract::Extract;
pub use handle::{Handle, Look};
pub use listen::{Listener, Told};
pub use node::{Node, Settings, open_index};
pub use outbox::inbox_of;
