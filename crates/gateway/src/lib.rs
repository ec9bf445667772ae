//! The gateway of messaging: the WebSocket `/m/v1` and its HTTP twin (`docs/messaging-protocol.md`).
//!
//! Each connection has a small task that waits for its socket; what is delivered is written by shards, which hear of channels and go through
//! the connections that have them open. A frame that many receive is encoded once. What a socket does not take waits in the connection's
//! [`messaging::session::Session`], which is bounded.
//!
//! This crate decides nothing: who may do what in a channel is the channels' affair; what a token allows is `auth`'s.

mod app;
mod commands;
mod config;
mod connection;
mod encode;
mod events;
mod http;
mod metrics;
mod rate;
mod seal;
mod shard;
mod streams;
mod translate;

pub use config::{Config, Parts, Rooms};
pub use http::{Gateway, router};
pub use metrics::Metrics;
pub use seal::{Key, Sealer};
