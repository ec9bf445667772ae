//! Payloads that look to a server like what a browser sends.

/// The front of a packet of VP8: payload descriptor with 15-bit picture id, TL0PICIDX and TID (RFC 7741 section 4.2), then the
/// frame header of a 720p picture.
const VP8_FRONT: usize = 16;

/// Writes a packet of `len` bytes (at least 16) of VP8 picture number `frame` to the empty `out`.
pub fn vp8(frame: u64, first: bool, keyframe: bool, len: usize, out: &mut Vec<u8>) {
    let picture = (frame & 0x7fff) as u16 | 0x8000;
    out.push(0x80 | if first { 0x10 } else { 0 });
    out.push(0xe0);
    out.extend_from_slice(&picture.to_be_bytes());
    out.push(frame as u8);
    out.push(0x20);
    // First byte of the frame: P = 0 on keyframes; then start code and 1280x720.
    out.extend_from_slice(&[u8::from(!keyframe), 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
    debug_assert_eq!(out.len(), VP8_FRONT);
    out.resize(len.max(VP8_FRONT), 0x5a);
}

/// Writes a packet of `len` bytes of Opus to the empty `out`.
pub fn opus(len: usize, out: &mut Vec<u8>) {
    // Fullband, 20 ms, one stereo frame (RFC 6716 section 3.1).
    out.push(0xfc);
    out.resize(len.max(1), 0x5a);
}
