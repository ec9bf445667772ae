//! Which layers publishers are told to send, and which streams receivers are told to be paused.

use std::time::Duration;

use base::{CodecKind, MediaKind, TrackId};
use contract::media::Event as MediaEvent;
use contract::session::{Event, Request};
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;

use super::support::*;

const TRACK: TrackId = TrackId(30);
const NOTHING: [u8; 0] = [];
/// Longer than anything waits that is new.
const SETTLED: Duration = Duration::from_secs(11);

/// A browser that publishes its camera in three layers.
fn publisher() -> Bench {
    let mut params = params(true, client(Sdk::Js, 17));
    params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
    let mut bench = Bench::new(params);
    bench.begin();
    let mut request = add_track(&msid(CHROMIUM_V1_PUBLISH, "7"), proto::TrackType::Video);
    request.layers = [(0, 320, 180), (1, 640, 360), (2, 1280, 720)]
        .map(|(quality, width, height)| proto::VideoLayer { quality, width, height, ..Default::default() })
        .to_vec();
    let publish = published(&bench.ask(Ask::AddTrack(request))).expect("a publication");
    bench.accept(&publish, TRACK.0);
    bench.ask(Ask::Offer(offer(CHROMIUM_V1_PUBLISH, 2)));
    bench
}

fn want(bench: &mut Bench, highest: Option<u8>) -> Vec<u8> {
    levels(&bench.event(Event::WantedLayer { track: TRACK, highest }).frames)
}

/// How many qualities are on in each update. They are always the lowest, and said twice.
fn levels(frames: &[Message]) -> Vec<u8> {
    let update = |frame: &Message| match frame {
        Message::SubscribedQualityUpdate(update) => Some(update.clone()),
        _ => None,
    };
    frames.iter().filter_map(update).map(|update| level(&update)).collect()
}

fn level(update: &proto::SubscribedQualityUpdate) -> u8 {
    assert_eq!(update.track_sid, format!("TR_{TRACK}"));
    let [codec] = &update.subscribed_codecs[..] else { panic!("{update:?}") };
    assert_eq!(codec.codec, "vp8", "as clients compare it");
    #[allow(deprecated, reason = "older clients read it")]
    let legacy = &update.subscribed_qualities;
    assert_eq!(legacy, &codec.qualities);
    let qualities: Vec<i32> = legacy.iter().map(|quality| quality.quality).collect();
    assert_eq!(qualities, [0, 1, 2]);
    let on: Vec<bool> = legacy.iter().map(|quality| quality.enabled).collect();
    assert!(on.is_sorted_by(|low, high| low >= high), "{on:?}");
    on.iter().filter(|on| **on).count() as u8
}

#[test]
fn a_publisher_is_told_which_layers_are_wanted_as_it_changes() {
    let mut bench = publisher();
    assert_eq!(want(&mut bench, Some(2)), [3], "the first subscriber");
    assert_eq!(levels(&bench.pass(SETTLED).frames), NOTHING);
    assert_eq!(want(&mut bench, Some(0)), [1]);
    assert_eq!(want(&mut bench, Some(0)), NOTHING, "no news");
    assert_eq!(want(&mut bench, Some(1)), [2]);
    assert_eq!(want(&mut bench, None), [0]);
    assert_eq!(want(&mut bench, Some(2)), [3]);
}

#[test]
fn a_track_without_subscribers_flows_until_people_have_had_time_to_join() {
    let mut bench = publisher();
    assert_eq!(want(&mut bench, None), NOTHING);
    assert_eq!(levels(&bench.pass(Duration::from_secs(9)).frames), NOTHING);
    assert_eq!(levels(&bench.pass(Duration::from_secs(2)).frames), [0]);
    let mut bench = publisher();
    assert_eq!(want(&mut bench, None), NOTHING);
    bench.pass(Duration::from_secs(9));
    assert_eq!(want(&mut bench, Some(2)), [3]);
    assert_eq!(levels(&bench.pass(SETTLED).frames), NOTHING, "somebody came in time");
}

#[test]
fn no_layer_of_a_new_track_is_switched_off_while_its_receivers_begin_small() {
    let mut bench = publisher();
    assert_eq!(want(&mut bench, Some(0)), NOTHING);
    bench.pass(Duration::from_secs(1));
    assert_eq!(want(&mut bench, Some(1)), NOTHING);
    bench.pass(Duration::from_secs(3));
    assert_eq!(levels(&bench.pass(Duration::from_secs(2)).frames), [2], "what is wanted then");
}

#[test]
fn what_is_wanted_before_the_offer_came_is_told_after_it() {
    let mut params = params(true, client(Sdk::Js, 17));
    params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
    let mut bench = Bench::new(params);
    bench.begin();
    let request = add_track(&msid(CHROMIUM_V1_PUBLISH, "7"), proto::TrackType::Video);
    let publish = published(&bench.ask(Ask::AddTrack(request))).expect("a publication");
    bench.accept(&publish, TRACK.0);
    assert_eq!(want(&mut bench, Some(2)), NOTHING);
    bench.ask(Ask::Offer(offer(CHROMIUM_V1_PUBLISH, 2)));
    assert_eq!(levels(&bench.pass(Duration::ZERO).frames), [3]);
}

#[test]
fn a_publisher_that_unmutes_is_told_again() {
    let mut bench = publisher();
    let mute = |muted| Ask::Mute(proto::MuteTrackRequest { sid: format!("TR_{TRACK}"), muted });
    assert_eq!(levels(&bench.ask(mute(false)).frames), NOTHING, "nothing was told yet");
    bench.pass(SETTLED);
    assert_eq!(want(&mut bench, Some(0)), [1]);
    assert_eq!(levels(&bench.ask(mute(true)).frames), NOTHING);
    assert_eq!(levels(&bench.ask(mute(false)).frames), [1]);
}

#[test]
fn of_tracks_that_are_not_its_own_or_are_gone_a_publisher_is_told_nothing() {
    let mut bench = publisher();
    let effects = bench.event(Event::WantedLayer { track: TrackId(7), highest: Some(2) });
    assert_eq!(effects.frames, []);
    want(&mut bench, None);
    bench.notice(base::model::Notice::TrackRemoved { track: TRACK });
    assert_eq!(want(&mut bench, Some(2)), NOTHING);
    assert_eq!(levels(&bench.pass(SETTLED).frames), NOTHING);
}

/// A browser that receives two cameras and a microphone.
fn viewer() -> Bench {
    let mut params = params(true, client(Sdk::Js, 17));
    params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
    let mut bench = Bench::new(params);
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    bench.subscribe(2, track(21, MediaKind::Video, CodecKind::Vp8));
    bench.subscribe(2, track(22, MediaKind::Video, CodecKind::Vp8));
    bench.begin();
    bench
}

fn stream(bench: &mut Bench, track: u64, active: bool) {
    let (peer, track) = (bench.session.publisher.peer, TrackId(track));
    let effects = bench.event(Event::Media(MediaEvent::StreamState { peer, track, active }));
    assert_eq!(effects.frames, [], "it is collected");
}

#[test]
fn videos_are_told_active_once_the_client_has_them() {
    let mut bench = viewer();
    assert_eq!(bench.pass(Duration::from_millis(100)).frames, []);
    assert_eq!(bench.pass(Duration::from_secs(1)).frames, [stream_states(2, &[(21, true), (22, true)])]);
    assert_eq!(bench.pass(Duration::from_secs(1)).frames, []);
}

#[test]
fn a_video_that_is_paused_at_once_is_told_paused_when_the_client_has_it() {
    let mut bench = viewer();
    stream(&mut bench, 22, false);
    assert_eq!(bench.pass(Duration::from_millis(100)).frames, []);
    assert_eq!(bench.pass(Duration::from_secs(1)).frames, [stream_states(2, &[(21, true), (22, false)])]);
}

#[test]
fn pauses_of_a_moment_are_told_together_and_those_that_are_over_not_at_all() {
    let mut bench = viewer();
    bench.pass(Duration::from_secs(1));
    stream(&mut bench, 22, false);
    stream(&mut bench, 21, false);
    stream(&mut bench, 77, false);
    assert_eq!(bench.pass(Duration::from_secs(1)).frames, [stream_states(2, &[(21, false), (22, false)])]);
    stream(&mut bench, 21, true);
    stream(&mut bench, 22, true);
    stream(&mut bench, 21, false);
    assert_eq!(bench.pass(Duration::from_secs(1)).frames, [stream_states(2, &[(22, true)])]);
}

#[test]
fn a_track_that_is_subscribed_again_begins_active() {
    let mut bench = viewer();
    bench.pass(Duration::from_secs(1));
    stream(&mut bench, 21, false);
    bench.notice(base::model::Notice::Unsubscribe { track: TrackId(21) });
    assert!(bench.pass(Duration::from_secs(1)).frames.iter().all(|frame| !is_stream_state(frame)));
    bench.ask(Ask::Offer(offer(CHROMIUM_V1_FIRST, 2)));
    bench.subscribe(2, track(21, MediaKind::Video, CodecKind::Vp8));
    bench.ask(Ask::Offer(offer(CHROMIUM_V1_FIRST, 3)));
    let told: Vec<_> =
        bench.pass(Duration::from_secs(1)).frames.into_iter().filter(is_stream_state).collect();
    assert_eq!(told, [stream_states(2, &[(21, true)])]);
}

#[test]
fn a_client_that_adapts_begins_with_the_lowest_layer_of_videos_and_screens() {
    let mut params = params(true, client(Sdk::Js, 17));
    params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
    params.adaptive_stream = true;
    let mut bench = Bench::new(params);
    let asked = |effects: &super::super::Effects| {
        effects.requests.iter().find_map(|request| match request {
            Request::TrackSettings { settings, .. } => Some((settings.quality, settings.disabled)),
            _ => None,
        })
    };
    let effects = bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    assert_eq!(asked(&effects), None);
    let mut screen = track(21, MediaKind::Video, CodecKind::Vp8);
    screen.source = base::model::TrackSource::ScreenShare;
    assert_eq!(asked(&bench.subscribe(2, screen)), Some((0, false)));
}

#[test]
fn a_publisher_of_sound_is_told_the_codec_that_is_received() {
    for (protocol, kind, expected) in
        [(17, MediaKind::Audio, 1), (15, MediaKind::Audio, 0), (17, MediaKind::Video, 0)]
    {
        let mut bench = Bench::new(params(false, client(Sdk::Js, protocol)));
        bench.begin();
        let mut me = person(1, everything());
        me.tracks = vec![track(30, kind, CodecKind::Opus)];
        bench.notice(base::model::Notice::Participants(vec![me.into()]));
        let effects = bench.notice(base::model::Notice::FirstSubscriber { track: TRACK });
        let told: Vec<_> = effects
            .frames
            .iter()
            .filter_map(|frame| match frame {
                Message::SubscribedAudioCodecUpdate(update) => Some(update),
                _ => None,
            })
            .collect();
        assert_eq!(told.len(), expected, "{protocol} {kind:?}");
        for update in told {
            let codec = &update.subscribed_audio_codecs[0];
            assert_eq!((codec.codec.as_str(), codec.enabled), ("opus", true));
            assert_eq!(update.track_sid, crate::ids::track(TRACK));
        }
    }
}

#[test]
fn a_client_that_wants_no_pauses_gets_none_whatever_else_it_asks_for() {
    for (allow_pause, first, firm) in
        [(None, None, false), (Some(true), None, false), (Some(false), Some(true), true)]
    {
        let mut params = params(true, client(Sdk::Js, 17));
        params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
        params.allow_pause = allow_pause;
        let mut bench = Bench::new(params);
        let asked = |effects: &super::super::Effects| {
            effects.requests.iter().find_map(|request| match request {
                Request::TrackSettings { settings, .. } => Some(settings.firm),
                _ => None,
            })
        };
        assert_eq!(asked(&bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus))), None);
        assert_eq!(asked(&bench.subscribe(2, track(21, MediaKind::Video, CodecKind::Vp8))), first);
        let update = proto::UpdateTrackSettings {
            track_sids: vec![crate::ids::track(base::TrackId(21))],
            width: 320,
            height: 180,
            ..Default::default()
        };
        let effects = bench.ask(Ask::TrackSetting(update));
        assert_eq!(asked(&effects), Some(firm), "{allow_pause:?}");
    }
}

fn is_stream_state(frame: &Message) -> bool {
    matches!(frame, Message::StreamStateUpdate(_))
}
