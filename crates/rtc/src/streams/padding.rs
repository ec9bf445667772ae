//! Packets of padding alone, for probes (see `docs/congestion-control.md`).

use wire::ext::{self, Values};
use wire::rtp::{FIXED_LEN, FixedHeader, write_header};

use super::packet::{Stamp, Target, Written};

/// Enough for mid, transport-wide number and send time.
const EXTENSION_ROOM: usize = 48;

/// Appends a packet without payload, of `len` bytes as far as 1 to 255 bytes of padding allow.
pub(super) fn write(
    out: &mut Vec<u8>,
    target: &Target<'_>,
    timestamp: u32,
    stamp: &Stamp,
    len: usize,
) -> Written {
    let start = out.len();
    out.resize(start + FIXED_LEN + EXTENSION_ROOM, 0);
    let values = Values {
        mid: target.mid,
        transport_sequence: stamp.transport_sequence,
        abs_send_time: stamp.abs_send_time,
        ..Values::default()
    };
    let extension_len = ext::write(&mut out[start + FIXED_LEN..], &values, target.extensions);
    let header_len = FIXED_LEN + extension_len;
    out.truncate(start + header_len);
    // RFC 3550 section 5.1: the last byte counts the padding, itself included.
    let padding = len.saturating_sub(header_len).clamp(1, 255);
    out.resize(start + header_len + padding - 1, 0);
    out.push(padding as u8);
    let header = FixedHeader {
        marker: false,
        payload_type: target.payload_type,
        sequence: target.sequence as u16,
        timestamp,
        ssrc: target.ssrc,
        extension: extension_len > 0,
        padding: true,
    };
    write_header(&mut out[start..], &header);
    Written { ssrc: target.ssrc, sequence: target.sequence, header_len, len: out.len() - start }
}
