//! The plain Command/Event types that cross rings, and the bounded, runtime-agnostic handles that carry them.
//!
//! - [`session`]: adapters <-> control. An adapter joins a participant, gets a [`session::Session`], sends
//!   [`session::Request`]s and drains [`session::Event`]s.
//! - [`media`]: control <-> worker. Plain data about connections, media sections, publications and subscriptions.
//!
//! Nothing here knows SDP, protobuf, HTTP or sockets.

pub mod media;
pub mod session;
