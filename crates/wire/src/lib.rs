//! Bytes <-> structs: RTP, RTCP, header extensions and codec descriptors; WebSocket's frames and those of the messaging protocol. Total
//! functions on bytes.
//!
//! This crate knows nothing of IO, clocks, encryption, sessions or who sent the bytes. Every parser takes any bytes:
//! what is malformed is `None` (or [`rtcp::Packet::Malformed`]), never a panic.

mod bits;
mod bytes;
pub mod dd;
pub mod ext;
pub mod fuzz;
pub mod keyframe;
pub mod media;
pub mod messaging;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod trailer;
pub mod vp8;
pub mod vp9;
pub mod websocket;

#[cfg(test)]
mod testing;
