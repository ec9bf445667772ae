//! A native client of Stoa.
//!
//! - [`Room`]: a participant of a room over LiveKit's signal protocol (version 1, one connection): publish, subscribe,
//!   data messages. Encoded frames go in, RTP payloads come out: there is no codec here.
//! - [`Endpoint`]: one connection's media alone: a UDP socket and a full-ICE [`rtc::Peer`], driven by whoever owns it. One
//!   thread can drive hundreds, which is how the load generators are built on it.
//!
//! | file | what it does |
//! |---|---|
//! | `room` | connecting, and the handle |
//! | `join` | the join request |
//! | `socket` | TCP, TLS and WebSocket |
//! | `driver` | the task behind a room: signal messages, requests, pings |
//! | `negotiation` | media sections, offers and answers, as a value |
//! | `media` | the thread behind a room: the endpoint, frames out, packets in |
//! | `counters` | what arrived and when |
//! | `data` | user messages on data channels |
//! | `vp8` | encoded frames to RTP payloads |

pub mod clip;
mod counters;
mod data;
mod driver;
mod endpoint;
mod error;
mod event;
mod frames;
mod h264;
pub mod ivf;
mod join;
mod known;
mod media;
mod negotiation;
pub mod ogg;
mod options;
mod publication;
mod reconnect;
mod room;
mod socket;
mod vp8;

pub use counters::{Counters, Timing, TrackCounters};
pub use endpoint::{Arrival, Endpoint, Outgoing, Remote};
pub use error::{ConnectError, PublishError};
pub use event::{Ended, Event, Events, Frame, Message, Packet, Participant, Track};
pub use options::{Layer, LocalTrack, MAX_LAYERS, Options, TrackSettings};
pub use publication::Publication;
pub use room::Room;
pub use vp8::Packetizer;
