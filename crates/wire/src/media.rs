//! What one received RTP packet is, and what is changed in it for one receiver: the two values that pass between the
//! transport (`rtc`) and the forwarding decision (`sfu`) without either knowing the other.

use std::ops::Range;
use std::time::Instant;

use base::ring::Slot;
use base::{CodecKind, MediaKind, Mid};

use crate::ext::Extensions;

/// An authenticated, decrypted, deduplicated RTP packet of a known media section. RTX is already unwrapped.
#[derive(Clone, Debug)]
pub struct Received {
    /// The section it belongs to.
    pub mid: Mid,
    /// Audio or video.
    pub media: MediaKind,
    /// Simulcast layer: index into the section's rids, lowest first; 0 when there is one.
    pub layer: u8,
    /// What the payload is.
    pub codec: CodecKind,
    /// SSRC of the (primary) stream.
    pub ssrc: u32,
    /// Sequence number, extended over wraps.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// It came as a retransmission.
    pub retransmitted: bool,
    /// Header extensions.
    pub extensions: Extensions,
    /// Where the payload (without padding) lies in the datagram's buffer. Empty: a padding-only packet.
    pub payload: Range<usize>,
    /// When the datagram arrived.
    pub arrival: Instant,
}

/// What is changed in a packet for one receiver. Small and `Copy`: it is kept beside the payload handle for
/// retransmission.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rewrite {
    /// Sequence number towards the receiver, extended; gap-free.
    pub sequence: u64,
    /// RTP timestamp towards the receiver.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// What the payload is; the receiver's stream knows its payload type.
    pub codec: CodecKind,
    /// Changed VP8 picture state, where the codec is VP8.
    pub vp8: Option<crate::vp8::Patch>,
    /// RFC 6464 audio level byte (V bit and level), passed through.
    pub audio_level: Option<u8>,
    /// Absolute capture time, passed through (upper 8 bytes only).
    pub abs_capture_time: Option<u64>,
}

/// One forwarding decision: this payload goes to that sink, changed like this.
#[derive(Clone, Copy, Debug)]
pub struct Decision<Sink> {
    /// Who receives it.
    pub sink: Sink,
    /// The payload.
    pub slot: Slot,
    /// What to change.
    pub rewrite: Rewrite,
}
