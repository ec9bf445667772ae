//! Entry points for fuzzing: each takes any bytes, reads everything there is to read, and panics when something that
//! must hold does not.

use base::{CodecKind, Extension, ExtensionMap};

use crate::rtcp::Packet;
use crate::{dd, ext, keyframe, red, rtcp, rtp, vp8, vp9};

/// Everything below.
pub fn all(bytes: &[u8]) {
    rtp_packet(bytes);
    rtcp_compound(bytes);
    payload(bytes);
}

/// The RTP header and its extensions.
pub fn rtp_packet(bytes: &[u8]) {
    let (_, _, _) = (rtp::is_rtcp(bytes), rtp::is_media(bytes), rtp::peek_ssrc(bytes));
    let Some(header) = rtp::Header::parse(bytes) else { return };
    assert!(header.payload.start == header.header_len && header.payload.end >= header.payload.start);
    assert_eq!(header.payload.end + usize::from(header.padding), bytes.len());
    let mut map = ExtensionMap::default();
    for (extension, id) in Extension::ALL.into_iter().zip(1..) {
        map.set(extension, id);
    }
    for element in ext::elements(bytes, &header) {
        assert_eq!(bytes.get(element.at..element.at + element.value.len()), Some(element.value));
    }
    let found = ext::Extensions::parse(bytes, &header, &map);
    if let Some(range) = found.dependency_descriptor {
        assert!(range.of(bytes).is_some_and(|d| !d.is_empty()));
    }
}

/// A compound RTCP packet, every iterator run to its end.
pub fn rtcp_compound(bytes: &[u8]) {
    for packet in rtcp::packets(bytes) {
        match packet {
            Packet::SenderReport(report) => assert!(report.reports.count() <= 31),
            Packet::ReceiverReport(report) => assert!(report.reports.count() <= 31),
            Packet::SourceDescription(sdes) => assert!(sdes.cnames().count() <= 31),
            Packet::Bye(bye) => assert!(bye.ssrcs.count() <= 31),
            Packet::Nack(nack) => assert!(nack.sequences().count() <= bytes.len() * 17 / 4),
            Packet::Fir(fir) => assert!(fir.entries.count() <= bytes.len() / 8),
            Packet::TransportFeedback(feedback) => {
                assert_eq!(feedback.statuses().count(), usize::from(feedback.count));
            }
            Packet::CongestionFeedback(feedback) => {
                let reports: usize = feedback.blocks().map(|block| block.reports().count()).sum();
                assert!(reports <= bytes.len() / 2);
            }
            Packet::Remb(remb) => assert!(remb.ssrcs.count() <= 255),
            Packet::Pli { .. } | Packet::Other { .. } | Packet::Malformed => {}
        }
    }
}

/// Payload descriptors of every codec.
pub fn payload(bytes: &[u8]) {
    for codec in [CodecKind::Opus, CodecKind::Vp8, CodecKind::Vp9, CodecKind::H264, CodecKind::Av1] {
        let _ = keyframe::is_keyframe_start(codec, bytes, None);
        let _ = keyframe::is_keyframe_start(codec, bytes, Some(bytes));
    }
    descriptor(bytes, None);
    vp9_payload(bytes);
    red_payload(bytes);
    let Some(before) = vp8::Descriptor::parse(bytes) else { return };
    let mut patched = bytes.to_vec();
    vp8::Patch { picture_id: Some(0x1234), tl0: Some(200), key_idx: Some(9) }.apply(&mut patched);
    let after = vp8::Descriptor::parse(&patched).expect("a patch keeps the form");
    assert_eq!(after.len, before.len);
    assert_eq!(patched[after.len..], bytes[before.len..]);
    assert_eq!(after.tl0, before.tl0.map(|_| 200));
    assert_eq!(after.key_idx, before.key_idx.map(|_| 9));
}

fn vp9_payload(bytes: &[u8]) {
    let Some(before) = vp9::Descriptor::parse(bytes) else { return };
    assert!(before.len <= bytes.len());
    let mut patched = bytes.to_vec();
    vp9::Patch { picture_id: Some(0x1234), tl0: Some(200) }.apply(&mut patched);
    let after = vp9::Descriptor::parse(&patched).expect("a patch keeps the form");
    assert_eq!(after.len, before.len);
    assert_eq!(patched[after.len..], bytes[before.len..]);
    assert_eq!(after.tl0, before.tl0.map(|_| 200));
}

fn red_payload(bytes: &[u8]) {
    let Some(before) = red::Red::parse(bytes) else { return };
    assert!(before.blocks(bytes).all(|block| block.range.end <= before.primary));
    let mut changed = bytes.to_vec();
    red::set_payload_type(&mut changed, 77);
    assert_eq!(red::Red::parse(&changed), Some(red::Red { payload_type: 77, ..before }));
    assert_eq!(changed[before.primary..], bytes[before.primary..]);
}

/// A dependency descriptor, and its change.
pub fn descriptor(bytes: &[u8], known: Option<&dd::Structure>) {
    let _ = dd::Mandatory::parse(bytes);
    let mut out = [0; 255];
    for active in [None, dd::Active::new(5, 4), dd::Active::new(0, 9)] {
        let len = dd::Patch { frame_number: 0x1234, active }.write(bytes, &mut out);
        assert!(len <= bytes.len() + dd::MAX_GROWTH);
    }
    let Some(read) = dd::Descriptor::parse(bytes, known) else { return };
    let structure = read.structure.as_ref().or(known).expect("nothing is read without one");
    let active = dd::Active::new(read.active.unwrap_or(0), structure.targets);
    let len = dd::Patch { frame_number: 0x1234, active }.write(bytes, &mut out);
    let again = dd::Descriptor::parse(&out[..len], known).filter(|_| bytes.len() < 250);
    if let Some(again) = again {
        assert_eq!((again.frame, again.mandatory.frame_number), (read.frame, 0x1234));
    }
}
