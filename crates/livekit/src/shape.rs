//! How much a message unfolds in memory, before it is decoded: protobuf, and the same as JSON.

/// Most length-delimited fields of one message: strings, bytes, submessages and map entries, at all depths. A hundred tracks with
/// their layers and codecs have some 2,000.
const MAX_FIELDS: usize = 10_000;
/// Submessages are looked into this deep; the protocol's own are at most six deep.
const MAX_DEPTH: usize = 8;

/// Is this message decoded in memory of the order of its length? An empty submessage has two bytes on the wire and
/// up to 400 in memory, so that a megabyte of them, compressed to one kB, would take hundreds.
///
/// Whether a field is a text or a submessage is not known here; text that happens to read as one counts too, at no more than
/// one field in some 30 bytes.
pub(crate) fn is_sane(message: &[u8]) -> bool {
    let mut left = MAX_FIELDS;
    walk(message, MAX_DEPTH, &mut left);
    left > 0
}

/// What an object or a list takes of the budget of a JSON message, as against 1 for a member or an element.
const OPENING: usize = 10;
/// The budget: as many objects as a message in protobuf may have fields. A hundred tracks with all that can be said of them, numbers too,
/// take a fifth of it.
const JSON_BUDGET: usize = OPENING * MAX_FIELDS;

/// The same of a message that is JSON: `{},` are three bytes, and the same 400 in memory. What stands in texts does not count.
pub(crate) fn is_sane_json(text: &str) -> bool {
    let (mut left, mut in_text, mut is_escaped) = (JSON_BUDGET, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => left = left.saturating_sub(OPENING),
            b',' if !in_text => left = left.saturating_sub(1),
            _ => {}
        }
    }
    left > 0
}

/// Takes the message's fields off `left`. Ends where the message is malformed: a decoder gets no further.
fn walk(mut rest: &[u8], depth: usize, left: &mut usize) {
    while *left > 0
        && let Some(tag) = varint(&mut rest)
    {
        let skipped = match tag & 7 {
            0 => varint(&mut rest).map(|_| &[][..]),
            1 => take(&mut rest, 8),
            5 => take(&mut rest, 4),
            2 => {
                let content = varint(&mut rest).and_then(|len| take(&mut rest, usize::try_from(len).ok()?));
                if let Some(content) = content {
                    *left -= 1;
                    if depth > 0 {
                        walk(content, depth - 1, left);
                    }
                }
                content
            }
            // Of groups, which the protocol does not use, the fields count.
            3 | 4 => Some(&[][..]),
            _ => None,
        };
        if skipped.is_none() {
            return;
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

/// At most ten bytes (<https://protobuf.dev/programming-guides/encoding/#varints>).
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for at in 0..10 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use livekit_protocol as proto;
    use prost::Message as _;

    use super::*;

    #[test]
    fn what_unfolds_is_found_at_every_depth() {
        let layers = vec![proto::VideoLayer::default(); 50_000];
        let track = proto::AddTrackRequest { layers, ..Default::default() };
        let nested = proto::JoinRequest { add_track_requests: vec![track], ..Default::default() };
        let published = vec![proto::TrackPublishedResponse::default(); 50_000];
        let sync_state = proto::SyncState { publish_tracks: published, ..Default::default() };
        let deeper = proto::JoinRequest { sync_state: Some(sync_state), ..Default::default() };
        let add_track_requests = vec![proto::AddTrackRequest::default(); 50_000];
        let flat = proto::JoinRequest { add_track_requests, ..Default::default() };
        for request in [flat, nested, deeper] {
            let mut bytes = request.encode_to_vec();
            assert!(!is_sane(&bytes));
            // Malformed in the last of them, it is decoded up to there.
            *bytes.last_mut().expect("there are many") = 0xff;
            assert!(!is_sane(&bytes));
        }
    }

    #[test]
    fn what_clients_send_at_most_is_sane() {
        let layers = vec![proto::VideoLayer { width: 1_280, ..Default::default() }; 3];
        let codec =
            proto::SimulcastCodec { codec: "vp9".to_owned(), layers: layers.clone(), ..Default::default() };
        let track = proto::AddTrackRequest {
            cid: "d9a3b9c0-7a35-4d8c-8b73-0e0a3a1b4c5d".to_owned(),
            name: "camera".to_owned(),
            simulcast_codecs: vec![codec.clone(), codec],
            layers,
            ..Default::default()
        };
        let attribute = |at: u32| (format!("attribute {at}"), "value".repeat(100));
        let request = proto::JoinRequest {
            add_track_requests: vec![track; 100],
            metadata: "*! 0123456789 JRZ".repeat(4_000),
            participant_attributes: (0..100).map(attribute).collect(),
            publisher_offer: Some(proto::SessionDescription {
                sdp: "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n".repeat(5_000),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(is_sane(&request.encode_to_vec()));
    }

    #[test]
    fn json_that_unfolds_is_found_and_what_is_written_in_texts_is_not_taken_for_it() {
        for insane in [
            format!(r#"{{"syncState":{{"publishTracks":[{}{{}}]}}}}"#, "{},".repeat(50_000)),
            format!(r#"{{"updateMetadata":{{"attributes":{{{}"a":""}}}}}}"#, r#""a":"","#.repeat(200_000)),
            format!(r#"{{"ping":"\\","a":[{}]}}"#, "[],".repeat(50_000)),
        ] {
            assert!(!is_sane_json(&insane), "{}", &insane[..40]);
        }
        let layers = vec![proto::VideoLayer { width: 1_280, height: 720, ..Default::default() }; 3];
        let codec = proto::SimulcastCodecInfo { layers, ..Default::default() };
        let track =
            proto::TrackInfo { width: 1_280, codecs: vec![codec.clone(), codec], ..Default::default() };
        let published = proto::TrackPublishedResponse { track: Some(track), ..Default::default() };
        let sdp = r#"{},[],"\"{},"#.repeat(50_000);
        let state = proto::SyncState {
            publish_tracks: vec![published; 100],
            offer: Some(proto::SessionDescription { sdp, ..Default::default() }),
            ..Default::default()
        };
        assert!(is_sane_json(&serde_json::to_string(&state).expect("it is JSON")));
    }

    #[test]
    fn no_bytes_make_it_fail() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut byte = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            };
            let bytes: Vec<u8> = (0..64).map(|_| byte()).collect();
            let _ = is_sane(&bytes);
        }
        assert!(is_sane(&[]) && is_sane(&[0x0a]) && is_sane(&[0xff; 100]));
    }
}
