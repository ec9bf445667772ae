//! Plaintext RTP packets, written behind whatever is in the caller's buffer.

use base::{ExtensionMap, Mid};
use wire::ext::{self, Values};
use wire::media::Rewrite;
use wire::red;
use wire::rtp::{FIXED_LEN, FixedHeader, RTX_HEADER_LEN, write_header};

use super::front::Front;

/// What is known only when a packet leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// Transport-wide sequence number, where the section has the extension.
    pub transport_sequence: Option<u16>,
    /// [`wire::ext::abs_send_time`] of now, where the section has the extension.
    pub abs_send_time: Option<u32>,
}

/// A plaintext packet at the end of the buffer, ready to be sealed in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Its SSRC.
    pub ssrc: u32,
    /// Its sequence number, extended; the rollover counter of SRTP is what lies above 16 bits.
    pub sequence: u64,
    /// Bytes of header and extensions: what SRTP authenticates and does not encrypt.
    pub header_len: usize,
    /// Bytes of the packet.
    pub len: usize,
}

/// Where and as what a packet goes.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) sequence: u64,
    /// Of an RTX packet: the original sequence number.
    pub(super) original: Option<u16>,
    /// Of redundant audio: the payload type of its blocks.
    pub(super) blocks: Option<u8>,
    pub(super) mid: Option<Mid>,
    pub(super) extensions: &'a ExtensionMap,
}

/// Appends one packet: `descriptor` in its header, where negotiated, and the payload. `pad_to`: the packet is lengthened to this many bytes by RTP padding where that takes 1 to 255.
#[inline]
pub(super) fn write(
    out: &mut Vec<u8>,
    target: &Target<'_>,
    rewrite: &Rewrite,
    (descriptor, payload): (Option<&[u8]>, &[u8]),
    stamp: &Stamp,
    pad_to: Option<usize>,
) -> Written {
    let start = out.len();
    let mut changed = [0; MAX_DESCRIPTOR];
    let descriptor = descriptor.map(|descriptor| {
        let patch = rewrite.described.unwrap_or_default();
        let len = patch.write(descriptor, &mut changed);
        &changed[..len]
    });
    let room = extension_room(descriptor);
    out.reserve(FIXED_LEN + room + RTX_HEADER_LEN + payload.len() + 255);
    out.resize(start + FIXED_LEN + room, 0);
    let values = values(target.mid, rewrite, descriptor, stamp);
    let extension_len = ext::write(&mut out[start + FIXED_LEN..], &values, target.extensions);
    let header_len = FIXED_LEN + extension_len;
    out.truncate(start + header_len);
    if let Some(original) = target.original {
        out.extend_from_slice(&original.to_be_bytes());
    }
    write_payload(out, target, rewrite, payload);
    let padding = pad(out, start, pad_to);
    let header = FixedHeader {
        marker: rewrite.marker,
        payload_type: target.payload_type,
        sequence: target.sequence as u16,
        timestamp: rewrite.timestamp,
        ssrc: target.ssrc,
        extension: extension_len > 0,
        padding,
    };
    write_header(&mut out[start..], &header);
    Written { ssrc: target.ssrc, sequence: target.sequence, header_len, len: out.len() - start }
}

/// As [`write`], for a packet that `front` fits and whose stamp it takes.
#[inline]
pub(super) fn write_behind(
    out: &mut Vec<u8>,
    front: &Front,
    target: &Target<'_>,
    rewrite: &Rewrite,
    payload: &[u8],
    stamp: &Stamp,
    pad_to: Option<usize>,
) -> Written {
    let (start, len) = (out.len(), front.len() + payload.len());
    out.reserve(len + 255);
    let padded = pad_to.is_some_and(|to| (len + 1..=len + 255).contains(&to));
    front.write(out, target.payload_type, rewrite, stamp, padded);
    write_payload(out, target, rewrite, payload);
    pad(out, start, pad_to);
    Written { ssrc: target.ssrc, sequence: target.sequence, header_len: front.len(), len: out.len() - start }
}

/// The payload as the receiver is to see it.
#[inline]
fn write_payload(out: &mut Vec<u8>, target: &Target<'_>, rewrite: &Rewrite, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(patch) = &rewrite.vp8 {
        patch.apply(&mut out[start..]);
    }
    if let Some(patch) = &rewrite.vp9 {
        patch.apply(&mut out[start..]);
    }
    if let Some(payload_type) = target.blocks {
        red::set_payload_type(&mut out[start..], payload_type);
    }
}

/// What a header extension holds.
const MAX_DESCRIPTOR: usize = 255;

/// Enough for all values but a long descriptor, which is rare; a smaller place is cheaper to clear.
fn extension_room(descriptor: Option<&[u8]>) -> usize {
    const WITHOUT_DESCRIPTOR: usize = 48;
    match descriptor {
        None => WITHOUT_DESCRIPTOR,
        Some(descriptor) => (WITHOUT_DESCRIPTOR + 2 + descriptor.len().min(255)).next_multiple_of(4),
    }
}

fn values<'a>(
    mid: Option<Mid>,
    rewrite: &Rewrite,
    descriptor: Option<&'a [u8]>,
    stamp: &Stamp,
) -> Values<'a> {
    Values {
        mid,
        transport_sequence: stamp.transport_sequence,
        audio_level: rewrite.audio_level,
        abs_send_time: stamp.abs_send_time,
        abs_capture_time: rewrite.abs_capture_time,
        dependency_descriptor: descriptor,
        ..Values::default()
    }
}

/// RFC 3550 section 5.1: the last byte counts the padding, itself included.
#[inline]
fn pad(out: &mut Vec<u8>, start: usize, pad_to: Option<usize>) -> bool {
    let missing = pad_to.and_then(|to| to.checked_sub(out.len() - start));
    let Some(padding @ 1..=255) = missing else { return false };
    out.resize(out.len() + padding - 1, 0);
    out.push(padding as u8);
    true
}
