//! LiveKit's client protocol and server API, as an adapter: tokens, the signal WebSocket, negotiation, Twirp.
//!
//! It translates and never decides: who may do what and who hears of it is decided behind [`contract::session`].
//! LiveKit's protobuf is known here (and in the `client` crate) and nowhere else; nothing here knows how media is carried.
//!
//! A participant's session is one task around one value that takes messages and events and returns effects; see the
//! `session` module. Both ways of connecting are served: one peer connection on which the client offers (`/rtc/v1`) and two,
//! on one of which the server offers (`/rtc`).

mod config;
mod data_tracks;
mod frames;
pub mod fuzz;
mod hooks;
mod http;
mod ids;
mod jobs;
mod join;
mod living;
mod metrics;
mod params;
mod rate;
mod rpc;
mod session;
mod sessions;
mod shape;
mod socket;
mod translate;
mod twirp;
mod wire;

pub use config::{Config, IceServer, Region, SERVER_PROTOCOL, SERVER_VERSION, State};
pub use hooks::{restamp_event, write_event};
pub use http::router;
pub use metrics::Metrics;
pub use sessions::Sessions;
