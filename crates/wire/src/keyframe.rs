//! Tells where decoding may begin, codec by codec.

use base::CodecKind;

use crate::{dd, vp8};

/// True for a packet with which a receiver that has nothing yet may begin: the first packet of a keyframe, or any
/// packet of audio. `dd` is the packet's dependency descriptor, where it has one.
pub fn is_keyframe_start(codec: CodecKind, payload: &[u8], dd: Option<&[u8]>) -> bool {
    match codec {
        CodecKind::Opus | CodecKind::Red | CodecKind::Pcmu | CodecKind::Pcma => true,
        CodecKind::Vp8 => vp8::is_keyframe(payload),
        CodecKind::Vp9 => vp9(payload),
        CodecKind::H264 => h264(payload),
        CodecKind::Av1 => av1(payload, dd),
    }
}

/// RFC 9628 section 4.2: not inter-picture predicted, begins a layer frame, and that is the lowest spatial layer.
fn vp9(payload: &[u8]) -> bool {
    let Some(first) = payload.first() else { return false };
    let (has_id, predicted, has_layer, begins) =
        (first & 0x80 != 0, first & 0x40 != 0, first & 0x20 != 0, first & 0x08 != 0);
    if predicted || !begins {
        return false;
    }
    if !has_layer {
        return true;
    }
    let mut at = 1;
    if has_id {
        at += if payload.get(1).is_some_and(|id| id & 0x80 != 0) { 2 } else { 1 };
    }
    payload.get(at).is_some_and(|layer| layer & 0x0E == 0)
}

const H264_IDR: u8 = 5;
const H264_SPS: u8 = 7;
const H264_STAP_A: u8 = 24;
const H264_FU_A: u8 = 28;

/// RFC 6184: a sequence parameter set or the first slice of an IDR picture, alone, aggregated or fragmented.
fn h264(payload: &[u8]) -> bool {
    let begins = |nal: u8| matches!(nal & 0x1F, H264_SPS | H264_IDR);
    let Some(first) = payload.first() else { return false };
    match first & 0x1F {
        H264_STAP_A => h264_aggregated(&payload[1..]).any(begins),
        H264_FU_A => payload.get(1).is_some_and(|fu| fu & 0x80 != 0 && begins(*fu)),
        _ => begins(*first),
    }
}

/// First byte of each NAL unit in an aggregation packet.
fn h264_aggregated(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_be_bytes(*len));
        let nal = after.get(..len)?;
        rest = &after[len..];
        // An empty unit has no type: 0 is unspecified.
        Some(nal.first().copied().unwrap_or(0))
    })
}

/// With a descriptor: a frame begins that brings a template structure. Without: the N bit of the aggregation header
/// (AV1 RTP specification section 4.4).
fn av1(payload: &[u8], dd: Option<&[u8]>) -> bool {
    match dd.and_then(dd::Mandatory::parse) {
        Some(mandatory) => mandatory.start_of_frame && mandatory.structure,
        None => payload.first().is_some_and(|first| first & 0x08 != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(codec: CodecKind, payload: &[u8]) -> bool {
        is_keyframe_start(codec, payload, None)
    }

    #[test]
    fn vp9_begins_with_the_lowest_layer_of_an_unpredicted_picture() {
        assert!(starts(CodecKind::Vp9, &[0x08]), "no layers");
        assert!(starts(CodecKind::Vp9, &[0xA8, 0x01, 0x00]), "short id, layer 0");
        assert!(starts(CodecKind::Vp9, &[0xA8, 0x81, 0x01, 0x00]), "long id, layer 0");
        assert!(!starts(CodecKind::Vp9, &[0xA8, 0x81, 0x01, 0x02]), "spatial layer 1");
        assert!(!starts(CodecKind::Vp9, &[0x48]), "predicted");
        assert!(!starts(CodecKind::Vp9, &[0x00]), "not the beginning");
        assert!(!starts(CodecKind::Vp9, &[0xA8, 0x81]), "cut off");
        assert!(!starts(CodecKind::Vp9, &[]));
    }

    #[test]
    fn h264_begins_with_a_parameter_set_or_an_idr_slice() {
        assert!(starts(CodecKind::H264, &[0x67, 1, 2]), "SPS");
        assert!(starts(CodecKind::H264, &[0x65, 1, 2]), "IDR");
        assert!(!starts(CodecKind::H264, &[0x41, 1, 2]), "slice");
        assert!(starts(CodecKind::H264, &[0x78, 0, 1, 0x67, 0, 2, 0x68, 0]), "SPS in STAP-A");
        assert!(starts(CodecKind::H264, &[0x78, 0, 1, 0x68, 0, 1, 0x67]), "SPS second");
        assert!(!starts(CodecKind::H264, &[0x78, 0, 1, 0x68]), "PPS alone");
        assert!(!starts(CodecKind::H264, &[0x78, 0, 9, 0x67]), "cut off");
        assert!(starts(CodecKind::H264, &[0x7C, 0x85]), "first fragment of an IDR slice");
        assert!(!starts(CodecKind::H264, &[0x7C, 0x05]), "later fragment");
        assert!(!starts(CodecKind::H264, &[]));
    }

    #[test]
    fn av1_begins_with_a_new_sequence() {
        assert!(starts(CodecKind::Av1, &[0x08]));
        assert!(!starts(CodecKind::Av1, &[0x10]));
        let begins = |dd: &[u8]| is_keyframe_start(CodecKind::Av1, &[0x10], Some(dd));
        assert!(begins(&[0x80, 0, 1, 0x80]));
        assert!(!begins(&[0x00, 0, 1, 0x80]), "a later packet of the frame");
        assert!(!begins(&[0x80, 0, 1]), "no structure");
    }

    #[test]
    fn audio_may_begin_anywhere() {
        assert!(starts(CodecKind::Opus, &[]));
    }
}
