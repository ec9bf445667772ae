//! One connection: the client offers.

use std::sync::Arc;
use std::time::Duration;

use base::model::Notice;
use base::{CodecKind, MediaKind, TrackId};
use contract::session::Request;
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;

use super::support::*;

const SOON: Duration = Duration::from_millis(20);

fn joined(sdp: &str) -> (Bench, super::super::Effects) {
    let mut params = params(true, client(Sdk::Js, 17));
    params.offer = Some(offer(sdp, 1));
    let mut bench = Bench::new(params);
    let effects = bench.begin();
    (bench, effects)
}

#[test]
fn the_offer_of_the_join_is_answered_and_the_worker_knows_the_connection_first() {
    let (_, effects) = joined(CHROMIUM_V1_FIRST);
    let names: Vec<&str> = effects
        .requests
        .iter()
        .map(|request| match request {
            Request::AddPeer { primary: true, channels, .. } if channels.is_empty() => "add",
            Request::SetRemote { .. } => "remote",
            _ => "other",
        })
        .collect();
    assert_eq!(names, ["add", "remote"]);
    let answer = sdp::parse(&answer(&effects).expect("an answer").sdp).expect("parses");
    assert_eq!(answer.sections.len(), 7);
    for section in &answer.sections[..6] {
        assert_eq!(section.direction, sdp::Direction::Inactive, "nothing is published yet");
        assert!(!section.rejected);
    }
    assert_eq!(answer.sections[6].max_message_size, Some(65_536));
}

#[test]
fn what_is_published_already_is_in_the_first_answer() {
    let mut params = params(true, client(Sdk::Js, 17));
    params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
    let mut bench = Bench::new(params);
    let before = bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    assert!(answer(&before).is_none());
    bench.subscribe(2, track(21, MediaKind::Video, CodecKind::Vp8));
    let effects = bench.begin();
    let answer = answer(&effects).expect("an answer");
    assert_eq!(answer.mid_to_track_id.len(), 2);
    assert_eq!(answer.mid_to_track_id["0"], format!("TR_{}", TrackId(20)));
    assert_eq!(answer.mid_to_track_id["3"], format!("TR_{}", TrackId(21)));
    let sections = sections(&effects).expect("sections");
    let video = sections.send.iter().find(|section| section.media == MediaKind::Video).expect("video");
    assert_eq!(video.codecs[0].kind, CodecKind::Vp8);
    assert!(video.rtx_ssrc.is_some() && video.codecs[0].rtx.is_some() && video.codecs[0].transport_cc);
    assert!(answer.sdp.contains(&format!("a=ssrc:{} cname:PA_", video.ssrc)));
    let after = bench.pass(Duration::from_secs(4)).frames;
    assert_eq!(after, [stream_states(2, &[(21, true)])], "nothing is left to negotiate");
}

#[test]
fn camera_and_microphone_of_a_person_are_one_stream_for_browsers_and_two_for_native_clients() {
    for (sdk, expected) in [(Sdk::Js, 1), (Sdk::Rust, 2)] {
        let mut params = params(true, client(sdk, 17));
        params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
        let mut bench = Bench::new(params);
        bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
        bench.subscribe(2, track(21, MediaKind::Video, CodecKind::Vp8));
        let answer = sdp::parse(&answer(&bench.begin()).expect("an answer").sdp).expect("parses");
        let streams: std::collections::BTreeSet<String> = answer
            .sections
            .iter()
            .filter_map(|section| Some(section.msid.as_ref()?.stream.clone()))
            .collect();
        assert_eq!(streams.len(), expected, "{streams:?}");
        assert!(streams.iter().all(|stream| stream.starts_with("PA_") && stream.contains('|')));
    }
}

#[test]
fn a_simulcast_publisher_is_answered_and_announced() {
    let (mut bench, _) = joined(CHROMIUM_V1_FIRST);
    let cid = msid(CHROMIUM_V1_PUBLISH, "7");
    let mut request = add_track(&cid, proto::TrackType::Video);
    request.source = proto::TrackSource::ScreenShare as i32;
    request.layers = [(0, 320, 180), (1, 640, 360), (2, 1280, 720)]
        .map(|(quality, width, height)| proto::VideoLayer { quality, width, height, ..Default::default() })
        .to_vec();
    let publish = published(&bench.ask(Ask::AddTrack(request))).expect("a publication");
    let effects = bench.accept(&publish, 30);
    assert!(matches!(&effects.frames[..], [Message::TrackPublished(published)] if published.cid == cid));
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V1_PUBLISH, 2)));
    assert!(effects.requests.iter().any(|request| matches!(
        request,
        Request::TrackNegotiated { track: TrackId(30), codec: CodecKind::Vp8, simulcast: true, .. }
    )));
    let sections = sections(&effects).expect("sections");
    let video =
        sections.receive.iter().find(|section| section.track == Some(TrackId(30))).expect("its section");
    assert_eq!(video.rids.iter().map(|rid| rid.as_str()).collect::<Vec<_>>(), ["q", "h", "f"]);
    assert_eq!(video.sizes, [(320, 180), (640, 360), (1280, 720)]);
    assert_eq!(video.source, base::model::TrackSource::ScreenShare);
    let answer = answer(&effects).expect("an answer");
    assert_eq!(answer.id, 2);
    assert!(answer.sdp.contains("a=simulcast:recv q;h;f\r\n"));
}

#[test]
fn a_client_that_offers_after_the_join_is_not_asked_before_and_gets_what_is_published() {
    let mut bench = Bench::new(params(true, firefox()));
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    bench.begin();
    assert_eq!(bench.pass(Duration::from_secs(1)).frames, []);
    let effects = bench.ask(Ask::Offer(offer(FIREFOX_V1_FIRST, 1)));
    assert_eq!(answer(&effects).expect("an answer").mid_to_track_id.len(), 1);
    assert_eq!(bench.pass(Duration::from_secs(10)).frames, []);
}

#[test]
fn a_first_offer_without_sections_is_followed_by_a_request_for_them_at_once() {
    let mut bench = Bench::new(params(true, client(Sdk::ReactNative, 17)));
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    bench.begin();
    bench.ask(Ask::Offer(offer(CHROMIUM_V0_PUBLISH, 1)));
    let asked = proto::MediaSectionsRequirement { num_audios: 1, num_videos: 0 };
    assert_eq!(bench.pass(SOON).frames, [Message::MediaSectionsRequirement(asked)]);
}

#[test]
fn a_track_that_comes_later_makes_the_client_offer_even_when_a_section_is_free() {
    let (mut bench, _) = joined(CHROMIUM_V1_FIRST);
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    let effects = bench.pass(SOON);
    let asked = proto::MediaSectionsRequirement { num_audios: 0, num_videos: 0 };
    assert_eq!(effects.frames, [Message::MediaSectionsRequirement(asked)]);
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V1_FIRST, 2)));
    assert_eq!(answer(&effects).expect("an answer").mid_to_track_id.len(), 1);
    assert_eq!(bench.pass(SOON).frames, []);
}

#[test]
fn missing_sections_are_asked_for_by_number() {
    let (mut bench, _) = joined(CHROMIUM_V1_FIRST);
    for number in 20..24 {
        bench.subscribe(2, track(number, MediaKind::Audio, CodecKind::Opus));
    }
    let effects = bench.pass(SOON);
    let asked = proto::MediaSectionsRequirement { num_audios: 1, num_videos: 0 };
    assert_eq!(effects.frames, [Message::MediaSectionsRequirement(asked)]);
    let more = with_another_audio_section(CHROMIUM_V1_FIRST, "7");
    let effects = bench.ask(Ask::Offer(offer(&more, 2)));
    assert_eq!(answer(&effects).expect("an answer").mid_to_track_id.len(), 4);
}

#[test]
fn a_client_that_never_makes_room_is_asked_every_five_seconds_and_not_in_circles() {
    let (mut bench, _) = joined(CHROMIUM_V1_FIRST);
    for number in 20..24 {
        bench.subscribe(2, track(number, MediaKind::Audio, CodecKind::Opus));
    }
    let mut asked = 0;
    for round in 0..100 {
        let effects = bench.pass(Duration::from_millis(100));
        asked += effects
            .frames
            .iter()
            .filter(|frame| matches!(frame, Message::MediaSectionsRequirement(_)))
            .count();
        if asked > 0 {
            bench.ask(Ask::Offer(offer(CHROMIUM_V1_FIRST, 2 + round)));
        }
    }
    assert!((2..=4).contains(&asked), "asked {asked} times in 10 s");
}

#[test]
fn a_track_that_ends_goes_inactive_before_its_section_is_used_again() {
    let (mut bench, _) = joined(CHROMIUM_V1_FIRST);
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    bench.pass(SOON);
    bench.ask(Ask::Offer(offer(CHROMIUM_V1_FIRST, 2)));
    let effects = bench.notice(Notice::Unsubscribe { track: TrackId(20) });
    assert_eq!(sections(&effects).expect("told at once").send, []);
    for number in 21..24 {
        bench.subscribe(2, track(number, MediaKind::Audio, CodecKind::Opus));
    }
    assert_eq!(bench.pass(SOON).frames.len(), 1);
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V1_FIRST, 3)));
    let first = answer(&effects).expect("an answer");
    assert!(!first.mid_to_track_id.contains_key("0"), "section 0 is told inactive first");
    assert_eq!(first.mid_to_track_id.len(), 2);
    assert_eq!(bench.pass(SOON).frames.len(), 1, "and asked for again for the third track");
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V1_FIRST, 4)));
    assert_eq!(answer(&effects).expect("an answer").mid_to_track_id["0"], format!("TR_{}", TrackId(23)));
}

#[test]
fn unpublishing_is_a_section_that_does_not_send_any_more() {
    let (mut bench, _) = joined(CHROMIUM_V1_FIRST);
    let cid = msid(CHROMIUM_V0_PUBLISH, "0");
    let publish =
        published(&bench.ask(Ask::AddTrack(add_track(&cid, proto::TrackType::Audio)))).expect("asked");
    bench.accept(&publish, 30);
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V0_PUBLISH, 2)));
    assert_eq!(sections(&effects).expect("sections").receive[0].track, Some(TrackId(30)));
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_STOPPED, 3)));
    assert!(
        effects.requests.iter().any(|request| matches!(request, Request::Unpublish { track: TrackId(30) }))
    );
    assert_eq!(sections(&effects).expect("sections").receive, []);
}

#[test]
fn a_viewer_without_the_codec_is_told_so_and_its_other_tracks_come() {
    let mut params = params(true, firefox());
    params.offer = Some(offer(FIREFOX_V1_FIRST, 1));
    let mut bench = Bench::new(params);
    bench.subscribe(2, track(20, MediaKind::Video, CodecKind::H264));
    bench.subscribe(2, track(21, MediaKind::Video, CodecKind::Vp8));
    let effects = bench.begin();
    let refused = proto::SubscriptionResponse {
        track_sid: format!("TR_{}", TrackId(20)),
        err: proto::SubscriptionError::SeCodecUnsupported as i32,
    };
    assert!(effects.frames.contains(&Message::SubscriptionResponse(refused)));
    let mids = answer(&effects).expect("an answer").mid_to_track_id;
    assert_eq!(mids.values().collect::<Vec<_>>(), [&format!("TR_{}", TrackId(21))]);
    let after = bench.pass(Duration::from_secs(4)).frames;
    assert_eq!(after, [stream_states(2, &[(21, true)])], "and nothing is asked for");
}

#[test]
fn a_client_that_restarts_ice_gets_new_credentials_from_us_too() {
    let (mut bench, first) = joined(CHROMIUM_V1_FIRST);
    let restarted = CHROMIUM_V1_FIRST.replace("a=ice-ufrag:KEVG", "a=ice-ufrag:NEWU");
    assert_ne!(restarted, CHROMIUM_V1_FIRST);
    let effects = bench.ask(Ask::Offer(offer(&restarted, 2)));
    assert!(matches!(&effects.requests[..], [Request::RestartIce { .. }, Request::SetRemote { .. }]));
    let ufrag = |effects| {
        sdp::parse(&answer(effects).expect("an answer").sdp).expect("parses").remote().expect("ice").0
    };
    assert_ne!(ufrag(&first).ufrag, ufrag(&effects).ufrag);
    let effects = bench.ask(Ask::Offer(offer(&restarted, 3)));
    assert!(effects.requests.is_empty(), "the same credentials again are no restart");
}

#[test]
fn an_adaptive_viewer_starts_with_the_lowest_layer() {
    let mut params = params(true, client(Sdk::Js, 17));
    params.adaptive_stream = true;
    let mut bench = Bench::new(params);
    let effects = bench.subscribe(2, track(20, MediaKind::Video, CodecKind::Vp8));
    assert!(matches!(
        &effects.requests[..],
        [.., Request::TrackSettings { settings, .. }] if settings.quality == 0 && !settings.disabled
    ));
}

#[test]
fn a_track_that_the_room_took_down_is_told_and_its_id_can_be_published_again() {
    let (mut bench, _) = joined(CHROMIUM_V1_FIRST);
    let request = add_track("mic", proto::TrackType::Audio);
    let publish = published(&bench.ask(Ask::AddTrack(request.clone()))).expect("asked");
    bench.accept(&publish, 30);
    let effects = bench.ask(Ask::AddTrack(request));
    assert!(matches!(&effects.frames[..], [Message::RequestResponse(response)]
        if response.reason() == proto::request_response::Reason::Queued));
    let effects = bench.notice(Notice::TrackRemoved { track: TrackId(30) });
    assert!(matches!(&effects.frames[..], [Message::TrackUnpublished(_)]));
    assert_eq!(published(&effects).expect("the queued one").cid, "mic");
}

#[test]
fn too_many_tracks_at_once_are_refused_with_the_request() {
    let (mut bench, _) = joined(CHROMIUM_V1_FIRST);
    let mut refused = 0;
    for number in 0..30 {
        let effects =
            bench.ask(Ask::AddTrack(add_track(&format!("track-{number}"), proto::TrackType::Video)));
        refused += effects.frames.len();
    }
    assert_eq!(refused, 10, "20 may wait for the room");
}

#[test]
fn permissions_that_change_bring_a_fresh_token() {
    let (mut bench, _) = joined(CHROMIUM_V1_FIRST);
    let mut me = person(1, everything());
    me.permissions.publish = false;
    bench.notice(Notice::Participants(vec![Arc::new(me)]));
    let effects = bench.notice(Notice::PermissionsChanged);
    let [Message::RefreshToken(token)] = &effects.frames[..] else { panic!("{:?}", effects.frames) };
    let verified = auth::verify(&auth::ApiKeys::development(), token, NOW).expect("our own token");
    assert!(!verified.claims.permissions().publish);
}

#[test]
fn a_browser_that_receives_as_many_videos_as_it_may_is_not_thrown_out_for_its_long_offer() {
    let most = super::super::downlinks::MAX_SLOTS;
    let mut bench = Bench::new(params(true, client(Sdk::Js, 17)));
    bench.begin();
    let start = CHROMIUM_V1_FIRST.rfind("m=video").expect("a video section");
    let end = CHROMIUM_V1_FIRST.find("m=application").expect("a data section after it");
    let (mut sdp, section) = (CHROMIUM_V1_FIRST.to_owned(), &CHROMIUM_V1_FIRST[start..end]);
    let mid = section.split("a=mid:").nth(1).and_then(|rest| rest.lines().next()).expect("a mid");
    let mut group = String::new();
    // Three for sound and three for pictures are there.
    for number in 0..most - 6 {
        sdp.push_str(&section.replace(&format!("a=mid:{mid}\r\n"), &format!("a=mid:v{number}\r\n")));
        group.push_str(&format!(" v{number}"));
    }
    let bundle = sdp.find("a=group:BUNDLE").expect("a group");
    let end = bundle + sdp[bundle..].find("\r\n").expect("a line end");
    sdp.insert_str(end, &group);
    let effects = bench.ask(Ask::Offer(offer(&sdp, 1)));
    assert_eq!(effects.end, None, "{} bytes", sdp.len());
    assert!(answer(&effects).is_some());
}
