//! Messaging: channels whose events never arrive before what they answer, on any node and in any region, and whose chatter does not
//! grow with the square of the people.
//!
//! **Everything here is a value**: time and bytes come in, decisions go out. There is no clock, no randomness, no IO and no lock. The
//! owner of a partition drives a [`partition::Partition`]; whoever delivers drives [`causal::Causal`]. `docs/messaging.md` explains the
//! whole.
//!
//! This crate knows nothing of sockets, tokens of access, JSON, storage engines or other nodes.

pub mod causal;
pub mod channel;
pub mod clock;
pub mod command;
pub mod event;
pub mod fold;
pub mod format;
pub mod fuzz;
pub mod history;
pub mod limits;
pub mod partition;
pub mod place;
pub mod presence;
pub mod receipts;
pub mod ring;
pub mod roles;
pub mod sends;
pub mod session;
pub mod typing;

#[cfg(test)]
mod testing;
