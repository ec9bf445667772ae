//! The plain Command/Event types that cross rings, and the bounded, runtime-agnostic handles that carry them.
//!
//! - [`session`]: adapters <-> control. An adapter joins a participant, gets a [`session::Session`], sends
//!   [`session::Request`]s and drains [`session::Event`]s.
//! - [`admin`]: the server API, and questions about rooms; its types are [`session`]'s, too.
//! - [`events`]: control -> followers of rooms. What happens, without waiting and without loss.
//! - [`media`]: control <-> worker. Plain data about connections, media sections, publications and subscriptions.
//!
//! Nothing here knows SDP, protobuf, HTTP or sockets.

pub mod admin;
pub mod events;
pub mod media;
pub mod session;
