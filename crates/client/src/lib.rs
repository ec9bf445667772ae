//! A native client of Stoa, for applications, tests and load: it joins a room over LiveKit's signal protocol, publishes, subscribes,
//! sends data, and comes back when the network breaks.
//!
//! There is no codec here: encoded frames go in (Opus, VP8, H.264), and packets or whole frames come out.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use client::{DataKind, Event, LocalTrack, Options, Room};
//!
//! // A token is minted by a back end; `stoa token --identity ada --room lobby` prints one.
//! let token = std::env::var("TOKEN")?;
//! let options = Options {
//!     publish: vec![LocalTrack::microphone()],
//!     packets: false,
//!     frames: true,
//!     ..Options::default()
//! };
//! let (room, events) = Room::connect("ws://127.0.0.1:7880", &token, options).await?;
//!
//! // One Opus packet of 20 ms; the next one's timestamp is 960 higher.
//! room.published()[0].send_with_level(vec![0xf8, 0xff, 0xfe], 0, Some(40));
//! room.send_data(DataKind::Reliable, "chat", "hello", &[]);
//!
//! while let Ok(event) = events.recv().await {
//!     match event {
//!         Event::Participant(who) => println!("{} publishes {} tracks", who.identity, who.tracks.len()),
//!         Event::Frame(frame) => println!("{} bytes of {}", frame.payload.len(), frame.track),
//!         Event::Data(message) => println!("{}: {:?}", message.from, message.payload),
//!         Event::Reconnecting { why, .. } => println!("{why}; it comes back by itself"),
//!         Event::Ended(why) => println!("over: {why}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The examples `publish_file`, `record_room` and `pipe` are whole programs.
//!
//! - [`Room`] is a participant's place in a room, on one connection (signal version 1). Its media has a thread of its own, its
//!   signalling a tokio task.
//! - [`Publication`] takes the frames of one track, [`Events`] hands out what happens.
//! - [`Endpoint`] is one connection's media alone: a UDP socket and a full-ICE [`rtc::Peer`], driven by whoever owns it. One
//!   thread can drive hundreds, which is how the benches are built on it.
//!
//! | file | what it does |
//! |---|---|
//! | `room` | connecting, and the handle |
//! | `join` | the join request |
//! | `socket` | TCP, TLS and WebSocket |
//! | `driver` | the task behind a room: signal messages, requests, pings |
//! | `reconnect` | coming back: resuming, and joining again |
//! | `known` | who is in the room |
//! | `negotiation` | media sections, offers and answers, as a value |
//! | `media` | the thread behind a room: the endpoint, frames out, packets in |
//! | `publication` | the handle to a track of ours |
//! | `counters` | what arrived and when |
//! | `data` | user messages on data channels |
//! | `vp8`, `h264` | encoded frames to RTP payloads |
//! | `frames` | RTP packets to encoded frames |
//! | `ivf`, `ogg` | the simplest files of them |
//! | `clip` | a recording to play |
//!
//! [`messaging`] is a client of its own, of channels instead of rooms.

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
pub mod messaging;
mod negotiation;
pub mod ogg;
mod options;
mod publication;
mod reconnect;
mod room;
mod socket;
mod vp8;

pub use base::model::{DataKind, TrackSource};
pub use base::{CodecKind, MediaKind};
pub use counters::{Counters, Timing, TrackCounters};
pub use endpoint::{Arrival, Endpoint, Outgoing, Remote};
pub use error::{ConnectError, PublishError};
pub use event::{Ended, Event, Events, Frame, Message, Packet, Participant, Track};
pub use options::{Layer, LocalTrack, MAX_LAYERS, Options, TrackSettings};
pub use publication::Publication;
pub use room::Room;
pub use vp8::Packetizer;
