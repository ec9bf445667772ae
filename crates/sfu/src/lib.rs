//! One room's media on one worker: publications, subscriptions, layer choice, rewriting, active speakers.
//!
//! This crate knows nothing of sockets, encryption, SDP, signalling, payload bytes beyond a codec's first header, or what
//! a sink is: a peer, a relay and a recorder are served alike.
//!
//! # Driving a [`Media`]
//!
//! > Call [`Media::forward`] for each received packet and send what it decides at once: its order is the order towards the
//! > sink. After any call, drain [`Media::poll_event`]; call [`Media::handle_timeout`] when [`Media::poll_timeout`] says
//! > so. `now` never goes backwards.
//!
//! How a packet's numbers are rewritten is told in `docs/forwarding.md`.

mod allocator;
mod audio;
mod clock;
mod drops;
mod keyframes;
mod layer;
mod media;
mod packet;
mod publication;
mod rates;
mod relay;
mod rewriter;
mod segment;
mod select;
mod selector;
mod snapshot;
mod sublayers;
mod subscription;

pub use audio::{LOUDEST, MAX_LOUDEST};
pub use clock::Clock;
pub use drops::Drops;
pub use media::{Event, Full, Media, Sink, TrackKey};
pub use publication::PublicationSpec;
pub use relay::{LayerState, RelaySet, RelayState};
pub use select::Layers;
pub use snapshot::{LayerSnapshot, PublicationSnapshot, ReceiverSnapshot, Snapshot, SubscriptionSnapshot};

/// Publications in one room on one worker, at most.
pub const MAX_PUBLICATIONS: usize = 1_000;
/// Subscriptions of one publication on one worker, at most.
pub const MAX_SUBSCRIPTIONS: usize = 5_000;
/// Simulcast layers of one publication, at most. LiveKit's clients send three.
pub const MAX_LAYERS: u8 = 4;
