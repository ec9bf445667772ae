//! What one received RTP packet is, and what is changed in it for one receiver: the two values that pass between the
//! transport (`rtc`) and the forwarding decision (`sfu`) without either knowing the other.

use std::ops::Range;
use std::time::Instant;

use base::ring::Slot;
use base::{CodecKind, MediaKind, Mid};

use crate::ext::{ByteRange, Extensions};
use crate::red::Red;

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
    /// The packet before this one, from the copy that this one carries of it (RFC 2198): what to pass on when it was lost. It is
    /// plain Opus, without header extensions. `None`: there is no copy.
    pub fn previous(&self, datagram: &[u8]) -> Option<Self> {
        if self.codec != CodecKind::Red {
            return None;
        }
        let payload = datagram.get(self.payload.clone())?;
        let copy = Red::parse(payload)?.blocks(payload).last().filter(|copy| !copy.range.is_empty())?;
        let start = self.payload.start;
        Some(Self {
            codec: CodecKind::Opus,
            sequence: self.sequence.checked_sub(1)?,
            timestamp: self.timestamp.wrapping_sub(u32::from(copy.offset)),
            marker: false,
            extensions: Extensions::default(),
            payload: start + copy.range.start..start + copy.range.end,
            ..self.clone()
        })
    }

    /// Where its dependency descriptor lies in the datagram, if it is kept for receivers: 1 to 255 bytes.
    ///
    /// VP8's own payload descriptor says what receivers need; its layers are told by that alone.
    #[inline]
    pub fn passed_descriptor(&self) -> Option<ByteRange> {
        let described = matches!(self.codec, CodecKind::Vp9 | CodecKind::H264 | CodecKind::Av1);
        self.extensions.dependency_descriptor.filter(|range| described && (1..=255).contains(&range.len))
    }

    /// What is to be stored for its receivers, one behind the other: the dependency descriptor (else nothing), and the
    /// payload. Every [`Rewrite`] of it says how long the descriptor is.
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
    /// Changed VP9 picture state, where the codec is VP9.
    pub vp9: Option<crate::vp9::Patch>,
    /// So many bytes at the front of what is stored are a dependency descriptor, behind which the payload begins; 0 where
    /// the codec is VP8 (see [`Received::passed_descriptor`]).
    pub descriptor: u8,
    /// How that descriptor is changed; `None`: the receiver does not get it.
    pub described: Option<crate::dd::Patch>,
    /// So many bytes at the front of the payload (behind the descriptor, where there is one) are left out: of redundant audio,
    /// all but the primary block.
    pub cut: u16,
    /// An empty packet is sent in place of what is stored: it fills the gap that a packet left which came late and is not
    /// for this receiver.
    pub blank: bool,
    /// RFC 6464 audio level byte (V bit and level), passed through.
    pub audio_level: Option<u8>,
    /// Absolute capture time, passed through (upper 8 bytes only).
    pub abs_capture_time: Option<u64>,
}

impl Rewrite {
    /// A packet that is sent as it is stored, without a descriptor in front.
    pub fn plain(sequence: u64, timestamp: u32, codec: CodecKind) -> Self {
        Self {
            sequence,
            timestamp,
            marker: false,
            codec,
            vp8: None,
            vp9: None,
            descriptor: 0,
            described: None,
            cut: 0,
            blank: false,
            audio_level: None,
            abs_capture_time: None,
        }
    }

    /// Takes apart what is stored: the dependency descriptor, if there is one to be sent, and the payload.
    #[inline]
    pub fn split<'a>(&self, stored: &'a [u8]) -> (Option<&'a [u8]>, &'a [u8]) {
        if self.blank {
            return (None, &[]);
        }
        if self.descriptor == 0 {
            return (None, self.uncut(stored));
        }
        let parts = stored.split_at_checked(usize::from(self.descriptor));
        parts.map_or((None, stored), |(descriptor, payload)| {
            (Some(descriptor).filter(|_| self.described.is_some()), self.uncut(payload))
        })
    }

    #[inline]
    fn uncut<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        payload.get(usize::from(self.cut)..).unwrap_or_default()
    }

    /// Payload bytes that are sent of so many stored.
    #[inline]
    pub fn payload_len(&self, stored_len: usize) -> usize {
        let left_out = usize::from(self.descriptor) + usize::from(self.cut);
        if self.blank { 0 } else { stored_len.saturating_sub(left_out) }
    }

    /// Bytes of the dependency descriptor as it is sent, at most: it may turn out two shorter.
    #[inline]
    pub fn descriptor_len(&self) -> usize {
        match self.described {
            Some(patch) if self.descriptor > 0 && !self.blank => patch.len_of(usize::from(self.descriptor)),
            _ => 0,
        }
    }
}

/// One forwarding decision: this payload goes to that sink, changed like this.
#[derive(Clone, Copy, Debug)]
pub struct Decision<Sink> {
    /// Who receives it.
    pub sink: Sink,
    /// The payload.
    pub slot: Slot,
    /// A receiver that has nothing yet can decode from here on.
    pub begins: bool,
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
        let described = Some(crate::dd::Patch::default());
        Rewrite { descriptor, described, ..Rewrite::plain(1, 1, CodecKind::Av1) }
    }

    #[test]
    fn a_redundant_packet_has_the_one_before_it() {
        let mut datagram = vec![0; 6];
        datagram.extend((0x8000_0000u32 | 111 << 24 | 1_920 << 10 | 3).to_be_bytes());
        datagram.extend((0x8000_0000u32 | 111 << 24 | 960 << 10 | 5).to_be_bytes());
        datagram.push(111);
        datagram.extend(b"oldnewernewest");
        let whole = Received { payload: 6..datagram.len(), timestamp: 100, ..received(CodecKind::Red, None) };
        let previous = whole.previous(&datagram).expect("there is a copy");
        assert_eq!((previous.codec, previous.sequence), (CodecKind::Opus, 0));
        assert_eq!(previous.timestamp, 100u32.wrapping_sub(960));
        assert_eq!(&datagram[previous.payload.clone()], b"newer");
        assert!(Received { codec: CodecKind::Opus, ..whole.clone() }.previous(&datagram).is_none());
        assert!(Received { sequence: 0, ..whole.clone() }.previous(&datagram).is_none(), "nothing before");
        assert!(Received { payload: 6..9, ..whole }.previous(&datagram).is_none(), "cut off");
    }

    #[test]
    fn a_descriptor_is_kept_where_receivers_may_need_it() {
        let range = Some(ByteRange { start: 2, len: 3 });
        for codec in [CodecKind::Vp9, CodecKind::H264, CodecKind::Av1] {
            let mut packet = received(codec, range);
            for simulcast in [false, true] {
                packet.simulcast = simulcast;
                assert_eq!(packet.passed_descriptor(), range);
                assert_eq!(packet.stored(b"..ddd.ppp."), (&b"ddd"[..], &b"ppp"[..]));
            }
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

    #[test]
    fn a_descriptor_that_the_receiver_does_not_get_is_taken_off() {
        let rewrite = Rewrite { described: None, ..rewrite(3) };
        assert_eq!(rewrite.split(b"dddppp"), (None, &b"ppp"[..]));
        assert_eq!((rewrite.descriptor_len(), rewrite.payload_len(6)), (0, 3));
    }

    #[test]
    fn of_redundant_audio_the_primary_block_alone_is_sent_where_the_front_is_cut() {
        let cut = Rewrite { cut: 4, ..Rewrite::plain(1, 1, CodecKind::Opus) };
        assert_eq!(cut.split(b"rrrrppp"), (None, &b"ppp"[..]));
        assert_eq!(cut.payload_len(7), 3);
        assert_eq!(cut.split(b"rr"), (None, &b""[..]), "not what was stored for it");
        assert_eq!(cut.payload_len(2), 0);
        assert_eq!(Rewrite { cut: 2, ..rewrite(3) }.split(b"dddppp"), (Some(&b"ddd"[..]), &b"p"[..]));
        assert_eq!(Rewrite { blank: true, ..cut }.split(b"rrrrppp"), (None, &b""[..]));
    }

    #[test]
    fn a_blank_packet_has_neither_descriptor_nor_payload() {
        let rewrite = Rewrite { blank: true, ..rewrite(3) };
        assert_eq!(rewrite.split(b"dddppp"), (None, &b""[..]));
        assert_eq!((rewrite.descriptor_len(), rewrite.payload_len(6)), (0, 0));
    }
}
