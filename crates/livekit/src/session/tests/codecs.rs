//! Which codec a publisher is told to send, and what it may change of its tracks.

use std::collections::BTreeSet;

use base::model::{AudioFeature, Track, TrackChange};
use base::{CodecKind, MediaKind, TrackId};
use contract::session::Request;
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;

use crate::translate;

use super::support::*;

fn asking_for(codec: &str) -> Ask {
    let mut request = add_track(&msid(CHROMIUM_V1_PUBLISH, "7"), proto::TrackType::Video);
    let cid = request.cid.clone();
    request.simulcast_codecs =
        vec![proto::SimulcastCodec { codec: codec.to_owned(), cid, ..Default::default() }];
    Ask::AddTrack(request)
}

#[test]
fn who_asks_for_a_codec_that_is_not_carried_is_told_another() {
    let mut bench = Bench::new(params(true, client(Sdk::Js, 17)));
    bench.begin();
    let publish = published(&bench.ask(asking_for("h265"))).expect("a publication");
    let effects = bench.accept(&publish, 30);
    let Some(Message::TrackPublished(reply)) = effects.frames.first() else { panic!("{:?}", effects.frames) };
    assert_eq!(reply.track.as_ref().expect("a track").codecs[0].mime_type, "video/vp8");
}

#[test]
fn a_device_whose_encoder_is_broken_publishes_without_it() {
    for (model, expected) in [("Xiaomi 2201117TI", CodecKind::Vp8), ("Xiaomi 2201117TG", CodecKind::H264)] {
        let mut device = client(Sdk::Android, 13);
        (device.os, device.device_model) = ("Android".to_owned(), model.to_owned());
        let mut bench = Bench::new(params(false, device));
        let listed = join(&bench.begin()).enabled_publish_codecs;
        let has = listed.iter().any(|codec| codec.mime == "video/h264");
        assert_eq!(has, expected == CodecKind::H264);
        let publish = published(&bench.ask(asking_for("h264"))).expect("a publication");
        assert_eq!(publish.codec, expected);
        bench.accept(&publish, 30);
        let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V0_PUBLISH, 1)));
        let answer = answer(&effects).expect("an answer");
        assert_eq!(answer.sdp.contains("H264/90000"), expected == CodecKind::H264, "{}", answer.sdp);
    }
}

#[test]
fn a_publisher_changes_what_is_known_of_its_tracks_and_of_no_others() {
    let mut bench = Bench::new(params(true, client(Sdk::Js, 17)));
    bench.begin();
    let publish = published(&bench.ask(asking_for("vp8"))).expect("a publication");
    bench.accept(&publish, 30);
    let changes = |effects: &super::super::Effects| {
        let change = |request: &Request| match request {
            Request::ChangeTrack { track: TrackId(30), change } => Some(change.clone()),
            _ => None,
        };
        effects.requests.iter().filter_map(change).collect::<Vec<_>>()
    };
    let resized = |number: u64| {
        let track_sid = format!("TR_{}", TrackId(number));
        Ask::UpdateVideoTrack(proto::UpdateLocalVideoTrack { track_sid, width: 320, height: 180 })
    };
    assert_eq!(changes(&bench.ask(resized(30))), [TrackChange::Video(320, 180)]);
    assert_eq!(bench.ask(resized(31)).requests.len(), 0, "somebody else's");
    let features = vec![proto::AudioTrackFeature::TfEchoCancellation as i32, 99];
    let track_sid = format!("TR_{}", TrackId(30));
    let heard = Ask::UpdateAudioTrack(proto::UpdateLocalAudioTrack { track_sid, features });
    let expected = BTreeSet::from([AudioFeature::EchoCancellation]);
    assert_eq!(changes(&bench.ask(heard)), [TrackChange::Audio(expected)]);
}

#[test]
fn what_a_publisher_appends_to_frames_is_told_and_taken_off_for_who_does_not_know_it() {
    let mut bench = Bench::new(params(false, client(Sdk::Rust, 17)));
    bench.begin();
    let mut request = add_track("cid", proto::TrackType::Video);
    request.packet_trailer_features = vec![1, 0, 1];
    let publish = published(&bench.ask(Ask::AddTrack(request))).expect("a publication");
    let told = translate::track(&publish.into_track(TrackId(30)));
    assert_eq!(told.packet_trailer_features, [0, 1], "each once");
    let knows = vec![proto::client_info::Capability::CapPacketTrailer as i32];
    for (features, trailers, strips) in
        [(knows, vec![0], false), (Vec::new(), vec![0], true), (Vec::new(), Vec::new(), false)]
    {
        let mut viewer = client(Sdk::Rust, 17);
        viewer.abilities.features = features;
        let mut bench = Bench::new(params(false, viewer));
        let camera = track(20, MediaKind::Video, CodecKind::Vp8);
        bench.subscribe(2, Track { trailers: trailers.into_iter().collect(), ..camera });
        let offer = offered(&bench.begin()).expect("an offer");
        let sent = sections(&bench.ask(Ask::Answer(client_answer(&offer)))).expect("sections").send;
        assert_eq!(sent[0].strips_trailers, strips);
    }
}
