//! Ids, units, domain values and bounded collections that every other crate shares.
//!
//! This crate knows nothing of IO, clocks, threads, protocols or any other crate of the workspace.

pub mod agents;
pub mod events;
mod id;
mod media;
pub mod model;
pub mod ring;
mod unit;

pub use id::{
    AgentWorkerId, CallId, ChannelId, DeviceId, DispatchId, Identity, JobId, NodeId, ParseIdError,
    ParticipantId, PeerId, RoomId, RoomName, TrackId, UserId,
};
pub use media::{Codec, CodecKind, Extension, ExtensionMap, MediaKind, Mid, Rid, ShortName};
pub use unit::{Bitrate, NtpTime, UnixMillis};
