//! A second codec for receivers that cannot decode the first, and who gets which.

use std::sync::Arc;
use std::time::Duration;

use base::model::{Backup, BackupPolicy, BackupStream, Notice, Track};
use base::{CodecKind, MediaKind, Mid, TrackId};
use contract::session::{Event, PublishTrack, Request};
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;

use super::support::*;

const TRACK: TrackId = TrackId(30);
const SOON: Duration = Duration::from_millis(20);
/// The sections of the recorded offer that play the camera and its second encoding: one of them was recorded as sound.
const CAMERA: &str = "7";

fn simulcast_codec(codec: &str, cid: &str) -> proto::SimulcastCodec {
    proto::SimulcastCodec { codec: codec.to_owned(), cid: cid.to_owned(), ..Default::default() }
}

/// What browsers ask for when they publish VP9 with VP8 in reserve.
fn vp9_with_backup() -> proto::AddTrackRequest {
    let mut request = add_track("camera", proto::TrackType::Video);
    request.simulcast_codecs = vec![simulcast_codec("vp9", "camera"), simulcast_codec("vp8", "")];
    request
}

/// The recorded offer, in which the camera has this id.
fn camera_offer(cid: &str) -> String {
    CHROMIUM_V1_PUBLISH.replace(&msid(CHROMIUM_V1_PUBLISH, CAMERA), cid)
}

/// The same with one more section like the camera's, of another id.
fn with_second_section(sdp: &str, cid: &str, mid: &str) -> String {
    let start = sdp.find("a=mid:7\r\n").and_then(|at| sdp[..at].rfind("m=video")).expect("the camera");
    let rest = &sdp[start..];
    let end = rest[1..].find("m=").map_or(rest.len(), |at| at + 1);
    let section = rest[..end].replace("a=mid:7\r\n", &format!("a=mid:{mid}\r\n"));
    let section = section.replace(&msid(sdp, CAMERA), cid);
    let group = sdp.find("a=group:BUNDLE").expect("a group");
    let line_end = group + sdp[group..].find("\r\n").expect("a line end");
    format!("{} {mid}{}{section}", &sdp[..line_end], &sdp[line_end..])
}

/// A browser that publishes VP9 and could send VP8.
fn publisher() -> (Bench, PublishTrack) {
    let mut params = params(true, client(Sdk::Js, 17));
    params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
    let mut bench = Bench::new(params);
    bench.begin();
    let publish = published(&bench.ask(Ask::AddTrack(vp9_with_backup()))).expect("a publication");
    bench.accept(&publish, TRACK.0);
    bench.ask(Ask::Offer(offer(&camera_offer("camera"), 2)));
    (bench, publish)
}

fn second_codec(codec: &str) -> Ask {
    let mut request = add_track("second", proto::TrackType::Video);
    request.sid = format!("TR_{TRACK}");
    request.simulcast_codecs = vec![simulcast_codec(codec, "second")];
    Ask::AddTrack(request)
}

/// Codecs of the last update, each with the number of its qualities that are on.
fn wanted(frames: &[Message]) -> Vec<(String, usize)> {
    let update = frames.iter().rev().find_map(|frame| match frame {
        Message::SubscribedQualityUpdate(update) => Some(update.clone()),
        _ => None,
    });
    let codecs = update.into_iter().flat_map(|update| update.subscribed_codecs);
    let on =
        |codec: &proto::SubscribedCodec| codec.qualities.iter().filter(|quality| quality.enabled).count();
    codecs.map(|codec| (codec.codec.clone(), on(&codec))).collect()
}

fn both(first: usize, second: usize) -> Vec<(String, usize)> {
    vec![("vp9".to_owned(), first), ("vp8".to_owned(), second)]
}

#[test]
fn a_codec_without_id_is_a_second_one_on_request() {
    let (_, publish) = publisher();
    assert_eq!(publish.codec, CodecKind::Vp9);
    let backup = publish.backup.expect("a second codec");
    assert_eq!((backup.codec, backup.policy), (CodecKind::Vp8, BackupPolicy::PreferRegression));
}

#[test]
fn an_encrypted_track_has_no_second_codec() {
    let mut bench = Bench::new(params(true, client(Sdk::Js, 17)));
    bench.begin();
    let encryption = proto::encryption::Type::Gcm as i32;
    let request = proto::AddTrackRequest { encryption, ..vp9_with_backup() };
    assert!(published(&bench.ask(Ask::AddTrack(request))).expect("a publication").backup.is_none());
}

#[test]
fn a_needed_second_codec_is_asked_for_until_the_publisher_sends_it() {
    let (mut bench, _) = publisher();
    let effects = bench.event(Event::BackupNeeded { track: TRACK });
    assert_eq!(wanted(&effects.frames), both(3, 3));
    let effects = bench.event(Event::BackupNeeded { track: TRACK });
    assert_eq!(wanted(&effects.frames), [], "another receiver needs it: no news");
    assert_eq!(wanted(&bench.pass(Duration::from_secs(4)).frames), both(3, 3), "it may not have been ready");

    let effects = bench.ask(second_codec("vp8"));
    let Some(Message::TrackPublished(reply)) = effects.frames.first() else { panic!("{:?}", effects.frames) };
    assert_eq!(reply.cid, "second");
    assert_eq!(wanted(&bench.pass(Duration::from_secs(60)).frames), [], "it has been heard");

    let sdp = with_second_section(&camera_offer("camera"), "second", "30");
    let effects = bench.ask(Ask::Offer(offer(&sdp, 3)));
    let negotiated = effects.requests.iter().find_map(|request| match request {
        Request::BackupNegotiated { track, stream } => {
            Some((*track, stream.mid.to_string(), stream.cid.clone()))
        }
        _ => None,
    });
    assert_eq!(negotiated, Some((TRACK, "30".to_owned(), "second".to_owned())));
    let receive = sections(&effects).expect("sections").receive;
    let fed = |mid: &str| {
        receive.iter().find(|section| section.mid.as_str() == mid).and_then(|section| section.track)
    };
    assert_eq!((fed(CAMERA), fed("30")), (Some(TRACK), Some(TRACK.backup())));
    let answer = sdp::parse(&answer(&effects).expect("an answer").sdp).expect("parses");
    let first_codec = |mid: &str| {
        let section = answer.sections.iter().find(|section| section.mid.as_str() == mid).expect("this mid");
        section.codecs[0].name.clone()
    };
    assert_eq!((first_codec(CAMERA), first_codec("30")), ("VP9".to_owned(), "VP8".to_owned()));

    bench.pass(Duration::from_secs(11));
    bench.event(Event::WantedLayer { track: TRACK, highest: None });
    let effects = bench.event(Event::WantedLayer { track: TRACK.backup(), highest: Some(2) });
    assert_eq!(wanted(&effects.frames), both(0, 3), "everybody went over to the second");
}

#[test]
fn a_second_encoding_that_stops_is_unpublished_and_its_track_stays() {
    let (mut bench, _) = publisher();
    bench.event(Event::BackupNeeded { track: TRACK });
    bench.ask(second_codec("vp8"));
    let both = with_second_section(&camera_offer("camera"), "second", "30");
    bench.ask(Ask::Offer(offer(&both, 3)));
    let at = both.find("a=mid:30\r\n").expect("the second");
    let stopped = format!(
        "{}{}",
        &both[..at],
        both[at..].replace("a=sendonly", "a=inactive").replace("a=sendrecv", "a=inactive")
    );
    let effects = bench.ask(Ask::Offer(offer(&stopped, 4)));
    let gone: Vec<TrackId> = effects
        .requests
        .iter()
        .filter_map(|request| if let Request::Unpublish { track } = request { Some(*track) } else { None })
        .collect();
    assert_eq!(gone, [TRACK.backup()]);
    let receive = sections(&effects).expect("sections").receive;
    assert!(receive.iter().any(|section| section.track == Some(TRACK)));
}

#[test]
fn a_second_codec_of_nobodys_track_or_of_another_kind_is_refused() {
    let refusal = |bench: &mut Bench, ask: Ask| {
        let effects = bench.ask(ask);
        let [Message::RequestResponse(response)] = &effects.frames[..] else {
            panic!("{:?}", effects.frames)
        };
        assert!(response.request.is_some(), "it says what was refused");
        response.reason()
    };
    let mut stranger = Bench::new(params(true, client(Sdk::Js, 17)));
    stranger.begin();
    assert_eq!(refusal(&mut stranger, second_codec("vp8")), Reason::NotFound);
    let (mut bench, _) = publisher();
    assert_eq!(refusal(&mut bench, second_codec("h264")), Reason::UnsupportedType);
    assert_eq!(refusal(&mut bench, second_codec("")), Reason::UnsupportedType);
}

/// A track in VP9 that could be had in VP8.
fn track_with_backup(policy: BackupPolicy, sent: bool) -> Track {
    let stream = BackupStream {
        mid: Mid::new(b"9").expect("a mid"),
        cid: "second".to_owned(),
        simulcast: true,
        layers: Vec::new(),
    };
    let backup = Backup { codec: CodecKind::Vp8, policy, stream: sent.then_some(stream) };
    Track { backup: Some(backup), ..track(20, MediaKind::Video, CodecKind::Vp9) }
}

/// A viewer with two connections that receives the track; it refuses codecs whose names are `hidden`.
fn viewer(track: Track, hidden: &str) -> (Bench, super::super::Effects) {
    let mut bench = Bench::new(params(false, client(Sdk::Go, 17)));
    bench.subscribe(2, track);
    let offer = offered(&bench.begin()).expect("an offer");
    let mut answer = client_answer(&offer);
    answer.sdp = answer.sdp.replace(&format!(" {hidden}/90000"), " X-HIDDEN/90000");
    let effects = bench.ask(Ask::Answer(answer));
    (bench, effects)
}

fn sent(effects: &super::super::Effects) -> Vec<TrackId> {
    sections(effects).unwrap_or_default().send.iter().map(|section| section.track).collect()
}

fn asks(effects: &super::super::Effects) -> bool {
    effects.requests.iter().any(|request| matches!(request, Request::NeedBackup { track: TrackId(20) }))
}

#[test]
fn a_viewer_without_the_first_codec_asks_for_the_second_and_gets_it_without_another_description() {
    let (mut bench, effects) = viewer(track_with_backup(BackupPolicy::Simulcast, false), "VP9");
    assert!(asks(&effects));
    assert!(effects.frames.is_empty(), "nothing is refused: {:?}", effects.frames);
    assert_eq!(sent(&effects), []);
    assert!(bench.pass(SOON).requests.is_empty(), "once");
    let track = Arc::new(track_with_backup(BackupPolicy::Simulcast, true));
    let effects = bench.notice(Notice::EncodingsChanged { track });
    assert_eq!(sent(&effects), [TrackId(20).backup()]);
    assert!(offered(&bench.pass(SOON)).is_none());
    let track = Arc::new(track_with_backup(BackupPolicy::Simulcast, false));
    let effects = bench.notice(Notice::EncodingsChanged { track });
    assert_eq!(sent(&effects), [], "it is not sent any more");
    assert!(asks(&effects), "it is needed still");
}

#[test]
fn who_can_decode_the_first_codec_keeps_it_unless_all_are_to_go_over() {
    for (policy, expected) in [
        (BackupPolicy::Simulcast, TrackId(20)),
        (BackupPolicy::PreferRegression, TrackId(20).backup()),
        (BackupPolicy::Regression, TrackId(20).backup()),
    ] {
        let (mut bench, effects) = viewer(track_with_backup(policy, false), "H264");
        assert!(!asks(&effects));
        assert_eq!(sent(&effects), [TrackId(20)]);
        let effects =
            bench.notice(Notice::EncodingsChanged { track: Arc::new(track_with_backup(policy, true)) });
        let now = sections(&effects).map_or(vec![TrackId(20)], |sections| {
            sections.send.iter().map(|section| section.track).collect()
        });
        assert_eq!(now, [expected], "{policy:?}");
    }
}

#[test]
fn who_knows_the_first_codec_alone_stays_with_it() {
    let (mut bench, _) = viewer(track_with_backup(BackupPolicy::Regression, false), "VP8");
    let track = Arc::new(track_with_backup(BackupPolicy::Regression, true));
    assert!(sections(&bench.notice(Notice::EncodingsChanged { track })).is_none());
}

#[test]
fn the_streams_of_both_encodings_are_told_as_the_one_track() {
    let (mut bench, _) = viewer(track_with_backup(BackupPolicy::Regression, true), "AV1");
    bench.pass(Duration::from_secs(1));
    let media = contract::media::Event::StreamState {
        peer: base::PeerId(1),
        track: TrackId(20).backup(),
        active: false,
    };
    bench.event(Event::Media(media));
    assert_eq!(bench.pass(SOON).frames, [stream_states(2, &[(20, false)])]);
}

#[test]
fn both_encodings_are_listed_while_both_are_sent() {
    let listed = |sent| {
        let info = crate::translate::track(&track_with_backup(BackupPolicy::Regression, sent));
        assert_eq!(info.backup_codec_policy(), proto::BackupCodecPolicy::Regression);
        let codecs = info.codecs.into_iter();
        codecs.map(|codec| (codec.mime_type, codec.cid, codec.video_layer_mode)).collect::<Vec<_>>()
    };
    use proto::video_layer::Mode::{MultipleSpatialLayersPerStream, OneSpatialLayerPerStream};
    let first = ("video/vp9".to_owned(), "cid-20".to_owned(), MultipleSpatialLayersPerStream as i32);
    let second = ("video/vp8".to_owned(), "second".to_owned(), OneSpatialLayerPerStream as i32);
    assert_eq!(listed(true), [first, second]);
    assert_eq!(listed(false), listed(true)[..1]);
}
