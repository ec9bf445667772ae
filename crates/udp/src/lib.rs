//! UDP as the media plane needs it: many datagrams per system call, in both directions, without allocation per datagram.
//!
//! - [`Socket`]: a non-blocking socket with large kernel buffers.
//! - [`Slab`]: receive buffers. One [`Socket::receive`] reads many messages (`recvmmsg`); messages that the kernel
//!   coalesced (`UDP_GRO`) are split again.
//! - [`Batch`]: outgoing datagrams back to back in one buffer. Consecutive datagrams of one size to one destination become
//!   one message (`UDP_SEGMENT`), many messages one call (`sendmmsg`). What the kernel charges per message, not per call,
//!   dominates: runs of equal sizes are what makes sending cheap.
//! - [`Poller`], [`Waker`]: sleep until a datagram, a wake-up from another thread, or a deadline.
//! - [`CpuClock`]: CPU time of one thread, readable from others.
//! - [`thread`]: on which core a thread runs and how urgent it is, for measurements.
//!
//! This crate knows nothing of RTP, peers or rooms. It is the only one with `unsafe`: system calls that the standard
//! library does not offer. Linux only.
#![allow(unsafe_code)]

mod address;
mod batch;
mod clock;
mod control;
mod poll;
mod receive;
mod send;
mod socket;
pub mod thread;

pub use batch::{Batch, MAX_MESSAGE, MAX_SEGMENTS};
pub use clock::CpuClock;
pub use poll::{Poller, Ready, Waker};
pub use receive::{Datagram, Slab};
pub use send::SendStats;
pub use socket::{Options, Socket};

#[cfg(test)]
mod tests;
