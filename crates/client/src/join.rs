//! The join request: what the server is told in the address of the signal socket.

use std::io::Write as _;

use base::MediaKind;
use base::model::TrackSource;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use flate2::Compression;
use flate2::write::GzEncoder;
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::wrapped_join_request::Compression as Form;
use prost::Message as _;

use crate::options::{LocalTrack, MAX_LAYERS};

/// The protocol number that this client speaks: messages of the server are in binary, and Leave carries an action.
const PROTOCOL: i32 = 16;

/// The value of `join_request` of somebody who comes anew.
pub(crate) fn request(
    auto_subscribe: bool,
    add_track_requests: Vec<proto::AddTrackRequest>,
    offer: proto::SessionDescription,
) -> String {
    let request =
        proto::JoinRequest { add_track_requests, publisher_offer: Some(offer), ..request_of(auto_subscribe) };
    wrap(&request.encode_to_vec())
}

/// The value of `join_request` of the participant `sid`, whose session is to go on.
pub(crate) fn resume(auto_subscribe: bool, sid: String, reason: proto::ReconnectReason) -> String {
    let request = proto::JoinRequest {
        reconnect: true,
        reconnect_reason: reason as i32,
        participant_sid: sid,
        ..request_of(auto_subscribe)
    };
    wrap(&request.encode_to_vec())
}

fn request_of(auto_subscribe: bool) -> proto::JoinRequest {
    proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            sdk: Sdk::Rust as i32,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            os: std::env::consts::OS.to_owned(),
            ..proto::ClientInfo::default()
        }),
        connection_settings: Some(proto::ConnectionSettings {
            auto_subscribe,
            ..proto::ConnectionSettings::default()
        }),
        ..proto::JoinRequest::default()
    }
}

fn wrap(request: &[u8]) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail; if it did, the request would go uncompressed.
    let compressed = gzip.write_all(request).and_then(|()| gzip.finish());
    let (compression, join_request) = match compressed {
        Ok(compressed) => (Form::Gzip, compressed),
        Err(_) => (Form::None, request.to_vec()),
    };
    let wrapped = proto::WrappedJoinRequest { compression: compression as i32, join_request };
    URL_SAFE.encode(wrapped.encode_to_vec())
}

/// Asks for a publication.
pub(crate) fn add_track(track: &LocalTrack, cid: &str) -> proto::AddTrackRequest {
    let video = track.kind == MediaKind::Video;
    let layers = if video { layers(track) } else { Vec::new() };
    proto::AddTrackRequest {
        cid: cid.to_owned(),
        name: track.name.clone(),
        r#type: if video { proto::TrackType::Video } else { proto::TrackType::Audio } as i32,
        width: track.width,
        height: track.height,
        muted: track.muted,
        source: source(track.source) as i32,
        layers: layers.clone(),
        simulcast_codecs: vec![proto::SimulcastCodec {
            codec: track.codec.mime().split('/').next_back().unwrap_or_default().to_owned(),
            cid: cid.to_owned(),
            layers,
            ..proto::SimulcastCodec::default()
        }],
        disable_red: true,
        ..proto::AddTrackRequest::default()
    }
}

/// The only layer is HIGH; of two the lower is LOW and the higher MEDIUM, as their rids say (`q`, `h`).
fn layers(track: &LocalTrack) -> Vec<proto::VideoLayer> {
    const QUALITIES: [proto::VideoQuality; MAX_LAYERS] =
        [proto::VideoQuality::Low, proto::VideoQuality::Medium, proto::VideoQuality::High];
    let layer = |quality: proto::VideoQuality, width, height, bitrate| proto::VideoLayer {
        quality: quality as i32,
        width,
        height,
        bitrate,
        ..proto::VideoLayer::default()
    };
    if track.layers.is_empty() {
        return vec![layer(proto::VideoQuality::High, track.width, track.height, 0)];
    }
    let named = track.layers.iter().zip(QUALITIES);
    named.map(|(of, quality)| layer(quality, of.width, of.height, of.bitrate)).collect()
}

fn source(source: TrackSource) -> proto::TrackSource {
    match source {
        TrackSource::Unknown => proto::TrackSource::Unknown,
        TrackSource::Camera => proto::TrackSource::Camera,
        TrackSource::Microphone => proto::TrackSource::Microphone,
        TrackSource::ScreenShare => proto::TrackSource::ScreenShare,
        TrackSource::ScreenShareAudio => proto::TrackSource::ScreenShareAudio,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_request_is_compressed_and_carries_offer_and_tracks() {
        let offer = proto::SessionDescription { sdp: "v=0\r\n".repeat(500), ..Default::default() };
        let text = request(true, vec![add_track(&LocalTrack::microphone(), "c1")], offer.clone());
        assert!(text.len() < 500, "{}", text.len());
        let bytes = URL_SAFE.decode(text).expect("base64");
        let wrapped = proto::WrappedJoinRequest::decode(bytes.as_slice()).expect("a wrapped request");
        let mut inner = Vec::new();
        let mut gzip = flate2::read::GzDecoder::new(wrapped.join_request.as_slice());
        gzip.read_to_end(&mut inner).expect("gzip");
        let request = proto::JoinRequest::decode(inner.as_slice()).expect("a join request");
        assert_eq!(request.publisher_offer, Some(offer));
        assert_eq!(request.add_track_requests[0].cid, "c1");
        assert!(request.connection_settings.expect("settings").auto_subscribe);
    }
}
