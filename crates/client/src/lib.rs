//! A native client of Stoa.
//!
//! [`Endpoint`] is one connection's media: a UDP socket and a full-ICE [`rtc::Peer`], driven by whoever owns it. One thread
//! can drive hundreds, which is how the load generators are built on it.

mod endpoint;

pub use endpoint::{Endpoint, Outgoing, Remote};
