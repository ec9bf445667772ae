//! Entry points for fuzzing: each takes any bytes, reads everything there is to read, and panics when something that
//! must hold does not.

use base::{CodecKind, Extension, ExtensionMap};

use crate::messaging::{Encoding, Incoming, Request, cbor};
use crate::rtcp::Packet;
use crate::websocket;
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

/// The frames of messaging, in the encoding that the first byte chooses, as either side reads them; and the same bytes as those of a
/// WebSocket, in pieces.
pub fn messaging(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 4 {
        0 => frame(Encoding::Json, rest),
        1 => frame(Encoding::Cbor, rest),
        side => framing(if side == 2 { websocket::Side::Server } else { websocket::Side::Client }, rest),
    }
}

fn frame(encoding: Encoding, bytes: &[u8]) {
    if let Ok(Request { id, command: Ok(command) }) = Request::read(encoding, bytes) {
        let mut out = Vec::new();
        Request::write(encoding, id, &command, &mut out);
        let again = Request::read(encoding, &out);
        assert_eq!(again, Ok(Request { id, command: Ok(command) }), "it is not what was read");
    }
    if let Ok(Incoming::Push(push)) = Incoming::read(encoding, bytes) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        push.write(encoding, &mut first);
        let Ok(Incoming::Push(again)) = Incoming::read(encoding, &first) else {
            panic!("what was written is no push")
        };
        again.write(encoding, &mut second);
        assert_eq!(first, second, "it is not what was read");
    }
    let (mut other, mut back) = (Vec::new(), Vec::new());
    if encoding == Encoding::Json && cbor::from_json(bytes, &mut other).is_ok() {
        cbor::to_json(&other, &mut back).expect("what was written can be read");
    }
}

/// However the bytes are cut, the messages are the same; none is longer than the limit.
fn framing(side: websocket::Side, bytes: &[u8]) {
    const LIMIT: u32 = 1_000;
    let read = |piece: usize| {
        let mut reader = websocket::Reader::new(side, LIMIT);
        let mut got: Vec<Vec<u8>> = Vec::new();
        let mut bytes = bytes.to_vec();
        let mut is_open = true;
        for part in bytes.chunks_mut(piece) {
            let outcome = reader.read(part, |message| {
                let payload = match message {
                    websocket::Message::Text(text) => text.as_bytes(),
                    websocket::Message::Binary(bytes)
                    | websocket::Message::Ping(bytes)
                    | websocket::Message::Pong(bytes) => bytes,
                    websocket::Message::Close(_) => {
                        is_open = false;
                        b"close"
                    }
                };
                assert!(payload.len() <= LIMIT as usize);
                got.push(payload.to_vec());
                is_open
            });
            if outcome.is_err() || !is_open {
                break;
            }
        }
        got
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(read(1), whole);
    assert_eq!(read(7), whole);
}
