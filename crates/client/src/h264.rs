//! H.264 pictures to RTP payloads and back (RFC 6184, packetisation mode 1).

use crate::vp8::MAX_PAYLOAD;

/// An aggregation packet, and a fragment.
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// What stands before each NAL unit in the Annex B form.
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The payloads of one picture, given as NAL units with start codes; the last one's packet carries the marker bit.
pub(crate) fn packets(picture: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for unit in units(picture) {
        if unit.len() <= MAX_PAYLOAD {
            packets.push(unit.to_vec());
        } else {
            fragment(unit, &mut packets);
        }
    }
    packets
}

/// The NAL units between start codes of three or four bytes.
fn units(picture: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(found) = picture[at..].windows(3).position(|code| code == [0, 0, 1]) {
        at += found + 3;
        starts.push(at);
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|start| start - 3).chain([picture.len()]).collect();
    let unit = move |(start, end): (usize, usize)| {
        // Zeros before a start code belong to it; a NAL unit does not end with one.
        let bytes = &picture[start..end];
        let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &bytes[..len]
    };
    starts.into_iter().zip(ends).map(unit).filter(|unit| !unit.is_empty())
}

fn fragment(unit: &[u8], packets: &mut Vec<Vec<u8>>) {
    let (header, body) = (unit[0], &unit[1..]);
    let count = body.len().div_ceil(MAX_PAYLOAD - 2);
    let parts = body.chunks(body.len().div_ceil(count));
    let last = parts.len() - 1;
    for (index, part) in parts.enumerate() {
        let start = if index == 0 { 0x80 } else { 0 };
        let end = if index == last { 0x40 } else { 0 };
        let mut packet = Vec::with_capacity(2 + part.len());
        packet.extend_from_slice(&[(header & 0xe0) | FU_A, start | end | (header & 0x1f)]);
        packet.extend_from_slice(part);
        packets.push(packet);
    }
}

/// Adds what a payload carries to a picture, with start codes. `false`: it is malformed.
pub(crate) fn append(payload: &[u8], picture: &mut Vec<u8>) -> bool {
    let Some((first, rest)) = payload.split_first() else { return false };
    match first & 0x1f {
        STAP_A => append_aggregated(rest, picture),
        FU_A => {
            let Some((fragment, part)) = rest.split_first() else { return false };
            if fragment & 0x80 != 0 {
                picture.extend_from_slice(&START_CODE);
                picture.push((first & 0xe0) | (fragment & 0x1f));
            }
            picture.extend_from_slice(part);
            true
        }
        1..=23 => {
            picture.extend_from_slice(&START_CODE);
            picture.extend_from_slice(payload);
            true
        }
        _ => false,
    }
}

fn append_aggregated(mut rest: &[u8], picture: &mut Vec<u8>) -> bool {
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len));
        let Some(unit) = after.get(..len) else { return false };
        picture.extend_from_slice(&START_CODE);
        picture.extend_from_slice(unit);
        rest = &after[len..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::CodecKind;

    #[test]
    fn a_picture_comes_together_again_with_small_units_and_large_ones() {
        let mut picture = Vec::new();
        for (header, len) in [(0x67, 12), (0x68, 4), (0x65, 5_000), (0x41, MAX_PAYLOAD)] {
            picture.extend_from_slice(&START_CODE);
            picture.push(header);
            picture.extend((1..len).map(|byte| (byte % 250 + 1) as u8));
        }
        let packets = packets(&picture);
        assert!(packets.iter().all(|packet| packet.len() <= MAX_PAYLOAD));
        assert!(wire::keyframe::is_keyframe_start(CodecKind::H264, &packets[0], None));
        let mut whole = Vec::new();
        assert!(packets.iter().all(|packet| append(packet, &mut whole)));
        assert_eq!(whole, picture);
    }

    #[test]
    fn start_codes_of_three_bytes_and_trailing_zeros_are_no_part_of_a_unit() {
        let picture = [0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 1];
        assert_eq!(units(&picture).collect::<Vec<_>>(), [&[0x67, 1][..], &[0x68, 2][..]]);
        assert!(packets(b"no start code").is_empty());
    }

    #[test]
    fn aggregated_units_are_taken_apart_and_torn_ones_are_refused() {
        let mut picture = Vec::new();
        assert!(append(&[STAP_A, 0, 2, 0x67, 9, 0, 1, 0x68], &mut picture));
        assert_eq!(picture, [0, 0, 0, 1, 0x67, 9, 0, 0, 0, 1, 0x68]);
        for torn in [&[][..], &[STAP_A, 0, 9, 1], &[STAP_A, 0], &[FU_A], &[31, 1]] {
            assert!(!append(torn, &mut picture), "{torn:?}");
        }
    }
}
