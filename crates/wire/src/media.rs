//! What one received RTP packet is, and what is changed in it for one receiver: the two values that pass between the
//! transport (`rtc`) and the forwarding decision (`sfu`) without either knowing the other.

use std::ops::Range;
use std::time::Instant;

use base::ring::Slot;
use base::{CodecKind, MediaKind, Mid};

use crate::ext::{ByteRange, Extensions};

/// An authenticated, decrypted, deduplicated RTP packet of a known media section. RTX is already unwrapped.
#[derive(Clone, Debug)]
pub struct Received {
    /// The section it belongs to.
    pub mid: Mid,
    /// Audio or video.
    pub media: MediaKind,
    /// Simulcast layer: index into the section's rids, lowest first; 0 when there is one.
    pub layer: u8,
    /// Its section has several layers, between which a receiver may be switched.
    pub simulcast: bool,
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

impl Received {
    /// Where its dependency descriptor lies in the datagram, if receivers get it: 1 to 255 bytes.
    ///
    /// A descriptor speaks of frame numbers and templates of one encoding. It is passed on unchanged where that encoding
    /// is forwarded whole, and left out where receivers are switched between layers or get other picture ids (VP8).
    #[inline]
    pub fn passed_descriptor(&self) -> Option<ByteRange> {
        let whole =
            matches!(self.codec, CodecKind::Vp9 | CodecKind::H264 | CodecKind::Av1) && !self.simulcast;
        self.extensions.dependency_descriptor.filter(|range| whole && (1..=255).contains(&range.len))
    }

    /// What is to be stored for its receivers, one behind the other: the descriptor that they get (else nothing), and
    /// the payload. Every [`Rewrite`] of it says how long the descriptor is.
    #[inline]
    pub fn stored<'a>(&self, datagram: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let descriptor = self.passed_descriptor().and_then(|range| range.of(datagram));
        (descriptor.unwrap_or_default(), datagram.get(self.payload.clone()).unwrap_or_default())
    }
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
    /// So many bytes at the front of what is stored are a dependency descriptor to be passed through, behind which the
    /// payload begins; 0 where the codec is VP8 (see [`Received::passed_descriptor`]).
    pub descriptor: u8,
    /// RFC 6464 audio level byte (V bit and level), passed through.
    pub audio_level: Option<u8>,
    /// Absolute capture time, passed through (upper 8 bytes only).
    pub abs_capture_time: Option<u64>,
}

impl Rewrite {
    /// Takes apart what is stored: the dependency descriptor, if there is one, and the payload.
    #[inline]
    pub fn split<'a>(&self, stored: &'a [u8]) -> (Option<&'a [u8]>, &'a [u8]) {
        if self.descriptor == 0 {
            return (None, stored);
        }
        let parts = stored.split_at_checked(usize::from(self.descriptor));
        parts.map_or((None, stored), |(descriptor, payload)| (Some(descriptor), payload))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn received(codec: CodecKind, descriptor: Option<ByteRange>) -> Received {
        Received {
            mid: Mid::new(b"0").unwrap(),
            media: codec.media(),
            layer: 0,
            simulcast: false,
            codec,
            ssrc: 1,
            sequence: 1,
            timestamp: 1,
            marker: false,
            retransmitted: false,
            extensions: Extensions { dependency_descriptor: descriptor, ..Extensions::default() },
            payload: 6..9,
            arrival: Instant::now(),
        }
    }

    fn rewrite(descriptor: u8) -> Rewrite {
        Rewrite {
            sequence: 1,
            timestamp: 1,
            marker: false,
            codec: CodecKind::Av1,
            vp8: None,
            descriptor,
            audio_level: None,
            abs_capture_time: None,
        }
    }

    #[test]
    fn a_descriptor_is_passed_only_where_a_stream_is_forwarded_whole() {
        let range = Some(ByteRange { start: 2, len: 3 });
        for codec in [CodecKind::Vp9, CodecKind::H264, CodecKind::Av1] {
            let mut packet = received(codec, range);
            assert_eq!(packet.passed_descriptor(), range);
            assert_eq!(packet.stored(b"..ddd.ppp."), (&b"ddd"[..], &b"ppp"[..]));
            packet.simulcast = true;
            assert_eq!(packet.passed_descriptor(), None, "layers of {codec:?}");
            assert_eq!(packet.stored(b"..ddd.ppp."), (&b""[..], &b"ppp"[..]));
        }
        for codec in [CodecKind::Vp8, CodecKind::Opus] {
            assert_eq!(received(codec, range).passed_descriptor(), None, "{codec:?}");
        }
        for len in [0, 256] {
            let packet = received(CodecKind::Av1, Some(ByteRange { start: 0, len }));
            assert_eq!(packet.passed_descriptor(), None, "{len} bytes");
        }
        assert_eq!(received(CodecKind::Av1, None).stored(b"..ddd.ppp."), (&b""[..], &b"ppp"[..]));
    }

    #[test]
    fn what_was_stored_is_split_again() {
        assert_eq!(rewrite(0).split(b"dddppp"), (None, &b"dddppp"[..]));
        assert_eq!(rewrite(3).split(b"dddppp"), (Some(&b"ddd"[..]), &b"ppp"[..]));
        assert_eq!(rewrite(3).split(b"ddd"), (Some(&b"ddd"[..]), &b""[..]));
        assert_eq!(rewrite(3).split(b"dd"), (None, &b"dd"[..]), "not what was stored for it");
    }
}
