//! What measurements of the media plane stand on: descriptions of tracks and connections, and payloads to send.
//!
//! The program of this crate drives the path of a packet by hand, for `cargo xtask instructions`; crate `bench` drives it in
//! real time. Nothing here measures anything.

mod describe;
mod payload;

pub use describe::{AUDIO, Kind, Track, VIDEO, mids, mirrored, publish, subscribe};
pub use payload::{opus, vp8};
