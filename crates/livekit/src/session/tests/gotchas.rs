//! What makes clients hang or fail, one test each, numbered as in the project's notes on the protocol. Those about HTTP and
//! sockets (5, 6, 14, 15) are in `tests/` of this crate.

use std::sync::Arc;
use std::time::Duration;

use base::model::{LeaveReason, Notice, Quality};
use base::{CodecKind, MediaKind, ParticipantId, PeerId, TrackId};
use contract::media::{Event as MediaEvent, PeerEnd, SetupTimes};
use contract::session::{Event, PublishRefused, Request};
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::leave_request::Action;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;

use super::super::{Effects, action, leave};
use super::support::*;
use crate::params::Client;

fn browser() -> Bench {
    Bench::new(params(true, client(Sdk::Js, 17)))
}

#[test]
fn gotcha_01_the_first_frame_is_the_join_whatever_was_said_before() {
    let mut bench =
        Bench::with(params(true, client(Sdk::Js, 17)), everything(), vec![person(2, everything())]);
    bench.session.event(Event::Notice(Notice::Speakers(Vec::new())), bench.now);
    let effects = bench.begin();
    let join = join(&effects);
    assert_eq!(join.other_participants.len(), 1);
    assert_eq!(join.participant.expect("oneself").identity, "person-1");
    assert!(matches!(effects.frames[1], Message::RefreshToken(_)));
}

#[test]
fn gotcha_02_version_and_pings_are_such_that_clients_start() {
    let mut bench = browser();
    let join = join(&bench.begin());
    let info = join.server_info.expect("server info");
    assert_eq!(info.version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3);
    assert_eq!(join.server_version, info.version);
    assert!(info.protocol > 0 && info.protocol < 18);
    assert_eq!((join.ping_interval, join.ping_timeout), (5, 15));
    assert!(!join.sif_trailer.is_empty() && join.fast_publish);
    assert_eq!(join.enabled_publish_codecs[0].mime, "video/vp8");
    let pong = bench.ask(Ask::Ping(1)).frames;
    assert_eq!(pong, [Message::Pong(NOW.0 as i64)], "milliseconds");
    let pong = bench.ask(Ask::PingReq(proto::Ping { timestamp: 77, rtt: 3 })).frames;
    assert_eq!(pong, [Message::PongResp(proto::Pong { last_ping_timestamp: 77, timestamp: NOW.0 as i64 })]);
}

#[test]
fn gotcha_03_two_connections_an_offer_with_the_data_section_follows_the_join_even_when_nothing_is_published()
{
    let mut bench = Bench::new(params(false, client(Sdk::Go, 17)));
    let effects = bench.begin();
    assert!(join(&effects).subscriber_primary);
    let offer = offered(&effects).expect("an offer");
    let description = sdp::parse(&offer.sdp).expect("parses");
    assert_eq!(description.sections.len(), 1);
    assert_eq!(description.sections[0].kind, sdp::SectionKind::Data);
    assert_eq!(description.sections[0].setup, Some(sdp::Setup::ActPass));
}

#[test]
fn gotcha_04_the_answer_to_the_offer_of_the_join_has_its_id() {
    for id in [0, 1, 9] {
        let mut params = params(true, client(Sdk::Rust, 17));
        params.offer = Some(offer(CHROMIUM_V1_FIRST, id));
        let effects = Bench::new(params).begin();
        assert!(matches!(effects.frames[0], Message::Join(_)));
        let answer = answer(&effects).expect("an answer");
        assert_eq!((answer.id, answer.r#type.as_str()), (id, "answer"));
    }
}

#[test]
fn gotcha_07_participants_are_told_before_the_description_with_their_track_and_mids_are_mapped() {
    let mut params = params(true, client(Sdk::Js, 17));
    params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
    let mut bench = Bench::new(params);
    let mut publisher = person(2, everything());
    let track = track(20, MediaKind::Audio, CodecKind::Opus);
    publisher.tracks.push(track.clone());
    let publisher = Arc::new(publisher);
    bench.session.event(Event::Notice(Notice::Participants(vec![publisher.clone()])), bench.now);
    let subscribe = Notice::Subscribe { publisher, track: Arc::new(track) };
    bench.session.event(Event::Notice(subscribe), bench.now);
    let effects = bench.begin();
    let update = position(&effects, |frame| matches!(frame, Message::Update(_))).expect("an update");
    let answered = position(&effects, |frame| matches!(frame, Message::Answer(_))).expect("an answer");
    assert!(update < answered);
    assert_eq!(answer(&effects).expect("an answer").mid_to_track_id.len(), 1);
}

#[test]
fn gotcha_08_neither_track_nor_answer_waits_for_the_other_or_for_media() {
    // The offer first.
    let mut bench = browser();
    bench.begin();
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V1_PUBLISH, 1)));
    assert!(answer(&effects).is_some());
    let receive = sections(&effects).expect("sections").receive;
    assert!(receive.len() == 2 && receive.iter().all(|section| section.track.is_none()));
    let cid = msid(CHROMIUM_V1_PUBLISH, "6");
    let publish =
        published(&bench.ask(Ask::AddTrack(add_track(&cid, proto::TrackType::Audio)))).expect("asked");
    let effects = bench.accept(&publish, 30);
    assert!(matches!(effects.frames[..], [Message::TrackPublished(_)]));
    assert!(effects.requests.iter().any(|request| matches!(request, Request::TrackNegotiated { .. })));
    let fed = sections(&effects).expect("sections").receive;
    assert_eq!(fed.iter().filter_map(|section| section.track).collect::<Vec<_>>(), [TrackId(30)]);
}

#[test]
fn gotcha_09_firefox_ids_in_braces_or_unlike_the_client_id_find_their_tracks() {
    let ids = [msid(FIREFOX_V1_PUBLISH, "6"), msid(FIREFOX_V1_PUBLISH, "7")];
    let bare = ids.clone().map(|id| id.trim_matches(|letter| letter == '{' || letter == '}').to_owned());
    // A proxy may take the header away by which Firefox is known.
    let nameless = Client { user_agent: String::new(), ..firefox() };
    let unlike = ["one".to_owned(), "two".to_owned()];
    let cases = [(ids, firefox()), (bare, firefox()), (unlike.clone(), firefox()), (unlike, nameless)];
    for (cids, client) in cases {
        let mut bench = Bench::new(params(true, client));
        bench.begin();
        for (number, (cid, kind)) in
            cids.iter().zip([proto::TrackType::Audio, proto::TrackType::Video]).enumerate()
        {
            let publish = published(&bench.ask(Ask::AddTrack(add_track(cid, kind)))).expect("asked");
            bench.accept(&publish, 30 + number as u64);
        }
        let effects = bench.ask(Ask::Offer(offer(FIREFOX_V1_PUBLISH, 1)));
        let fed: Vec<_> =
            sections(&effects).expect("sections").receive.iter().map(|section| section.track).collect();
        assert_eq!(fed, [Some(TrackId(30)), Some(TrackId(31))], "{cids:?}");
    }
}

#[test]
fn gotcha_09_a_chromium_section_never_takes_the_track_of_another_id() {
    let mut bench = browser();
    bench.begin();
    let publish = published(&bench.ask(Ask::AddTrack(add_track("the screen", proto::TrackType::Video))))
        .expect("asked");
    bench.accept(&publish, 30);
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V1_PUBLISH, 1)));
    assert!(sections(&effects).expect("sections").receive.iter().all(|section| section.track.is_none()));
}

#[test]
fn gotcha_10_a_participant_never_hears_that_its_own_connection_is_lost() {
    let mut bench = browser();
    bench.begin();
    let qualities = vec![(ParticipantId(1), Quality::Lost), (ParticipantId(2), Quality::Lost)];
    let effects = bench.notice(Notice::Quality(qualities));
    let [Message::ConnectionQuality(update)] = &effects.frames[..] else { panic!("{:?}", effects.frames) };
    assert_eq!(update.updates[0].quality(), proto::ConnectionQuality::Poor);
    assert_eq!(update.updates[1].quality(), proto::ConnectionQuality::Lost);
}

// 11: `two_connections::one_offer_at_a_time…`, `…goes_inactive_in_an_offer_of_its_own…`; 12: `data::the_sender_is_stamped…`.

#[test]
fn gotcha_13_all_three_channels_are_opened_on_the_connection_on_which_we_offer() {
    let effects = Bench::new(params(false, client(Sdk::Go, 17))).begin();
    let channels: Vec<_> = effects
        .requests
        .iter()
        .filter_map(|request| match request {
            Request::AddPeer { channels, primary: true, .. } => Some(channels.clone()),
            _ => None,
        })
        .flatten()
        .map(|channel| (channel.label, channel.ordered, channel.max_retransmits))
        .collect();
    let expected = [("_reliable", true, None), ("_lossy", false, Some(0)), ("_data_track", false, Some(0))];
    assert_eq!(channels, expected.map(|(label, ordered, max)| (label.to_owned(), ordered, max)));
}

#[test]
fn gotcha_16_a_refreshed_token_keeps_kind_attributes_and_what_we_do_not_know() {
    let effects = browser().begin();
    let token = effects.frames.iter().find_map(|frame| match frame {
        Message::RefreshToken(token) => Some(token),
        _ => None,
    });
    let verified = auth::verify(&auth::ApiKeys::development(), token.expect("a token"), NOW).expect("valid");
    assert_eq!(verified.claims.kind, "standard");
    assert!(verified.claims.extra.contains_key("kindDetails"));
    assert!(verified.claims.video.expect("grants").can_publish_data.is_some(), "spelled out");
}

#[test]
fn gotcha_16_tokens_are_refreshed_before_ten_minutes_are_over() {
    let mut bench = browser();
    bench.begin();
    bench.event(connected(&bench));
    let effects = bench.pass(Duration::from_secs(601));
    assert_eq!(effects.frames.iter().filter(|frame| matches!(frame, Message::RefreshToken(_))).count(), 2);
    assert!(effects.end.is_none());
}

#[test]
fn gotcha_17_a_payload_type_means_the_same_in_all_sections_of_an_answer() {
    let mut bench = browser();
    bench.begin();
    let mut request = add_track(&msid(CHROMIUM_V1_PUBLISH, "6"), proto::TrackType::Audio);
    request.audio_features = vec![proto::AudioTrackFeature::TfStereo as i32];
    bench.ask(Ask::AddTrack(request));
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V1_PUBLISH, 1)));
    let answer = sdp::parse(&answer(&effects).expect("an answer").sdp).expect("parses");
    let mut meanings = std::collections::BTreeMap::new();
    for section in &answer.sections {
        for line in &section.codecs {
            let meaning = meanings.entry(line.payload_type).or_insert_with(|| line.clone());
            assert_eq!((&meaning.name, &meaning.fmtp), (&line.name, &line.fmtp), "{}", section.mid);
        }
    }
    assert!(
        meanings[&111].parameter("stereo") == Some("1") && meanings[&111].parameter("usedtx") == Some("1")
    );
}

#[test]
fn gotcha_18_old_native_clients_are_spared_messages_that_they_cannot_decode() {
    for (protocol, expected) in [(9, 0), (17, 1)] {
        let mut bench = Bench::new(params(false, client(Sdk::Rust, protocol)));
        bench.begin();
        let effects = bench.notice(Notice::FirstSubscriber { track: TrackId(1) });
        assert_eq!(effects.frames.len(), expected, "protocol {protocol}");
    }
}

#[test]
fn what_came_into_the_protocol_after_a_client_is_not_sent_to_it() {
    let speaker = base::model::Speaker { participant: ParticipantId(2), level: 0.5, active: true };
    let quality = || Notice::Quality(vec![(ParticipantId(2), Quality::Lost)]);
    for (protocol, heard) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (10, 2), (11, 2), (17, 2)] {
        let mut bench = Bench::new(params(false, client(Sdk::Esp32, protocol)));
        bench.begin();
        let mut frames = bench.notice(Notice::Speakers(vec![speaker])).frames;
        frames.extend(bench.notice(quality()).frames);
        assert_eq!(frames.len(), heard, "protocol {protocol}");
        if let Some(Message::ConnectionQuality(update)) = frames.last() {
            let is_lost = update.updates[0].quality() == proto::ConnectionQuality::Lost;
            assert_eq!(is_lost, protocol >= 11, "protocol {protocol}");
        }
    }
}

#[test]
fn gotcha_19_a_replaced_client_is_not_told_to_come_back() {
    let mut bench = browser();
    bench.begin();
    let end = bench.notice(Notice::Closed(LeaveReason::DuplicateIdentity)).end.expect("the end");
    assert_eq!(end.reason, None, "the room knows");
    let leave = end.leave.expect("a leave");
    assert_eq!(
        (leave.action(), leave.reason()),
        (Action::Disconnect, proto::DisconnectReason::DuplicateIdentity)
    );
}

#[test]
fn gotcha_20_the_smallest_client_offers_first() {
    let mut params = params(false, client(Sdk::Esp32, 1));
    params.auto_subscribe = false;
    let mut bench = Bench::new(params);
    let effects = bench.begin();
    assert!(!join(&effects).subscriber_primary);
    assert!(offered(&effects).is_none());
    let request = add_track("mic", proto::TrackType::Audio);
    assert!(published(&bench.ask(Ask::AddTrack(request))).is_some());
}

#[test]
fn clients_before_protocol_13_read_can_reconnect() {
    let reason = LeaveReason::StateMismatch;
    assert!(leave(reason, action(reason), 12).can_reconnect);
    assert!(!leave(LeaveReason::RoomDeleted, action(LeaveReason::RoomDeleted), 12).can_reconnect);
    assert_eq!(leave(reason, action(reason), 13).action(), Action::Reconnect);
}

#[test]
fn a_refused_publication_is_told_with_the_request() {
    let mut bench = browser();
    bench.begin();
    let request = add_track("cam", proto::TrackType::Video);
    bench.ask(Ask::AddTrack(request.clone()));
    let refused = Event::Published { cid: "cam".to_owned(), outcome: Err(PublishRefused::NotAllowed) };
    let effects = bench.event(refused);
    let [Message::RequestResponse(response)] = &effects.frames[..] else { panic!("{:?}", effects.frames) };
    assert_eq!(response.reason(), proto::request_response::Reason::NotAllowed);
    assert_eq!(response.request, Some(proto::request_response::Request::AddTrack(request)));
}

#[test]
fn changing_ones_name_is_answered_and_the_ok_only_to_those_who_read_it() {
    for (protocol, allowed, expected) in [(14, true, 0), (15, true, 1), (14, false, 1)] {
        let mut bench = Bench::new(params(true, client(Sdk::Js, protocol)));
        bench.begin();
        let update =
            proto::UpdateParticipantMetadata { name: "Ada".to_owned(), request_id: 5, ..Default::default() };
        let effects = bench.ask(Ask::UpdateMetadata(update));
        assert!(matches!(&effects.requests[..], [Request::ChangeMetadata { request_id: 5, change }]
            if change.name.as_deref() == Some("Ada") && change.metadata.is_none()));
        let effects = bench.event(Event::MetadataChanged { request_id: 5, allowed });
        assert_eq!(effects.frames.len(), expected, "protocol {protocol}, allowed {allowed}");
    }
}

fn peers(effects: &Effects) -> Vec<PeerId> {
    let peer = |request: &Request| match request {
        Request::AddPeer { peer, .. } => Some(*peer),
        _ => None,
    };
    effects.requests.iter().filter_map(peer).collect()
}

fn connected(bench: &Bench) -> Event {
    Event::Media(MediaEvent::Connected { peer: bench.session.publisher.peer, times: SetupTimes::default() })
}

#[test]
fn media_that_never_comes_up_ends_the_session_and_media_that_does_not() {
    let mut bench = browser();
    bench.begin();
    let leave = bench.pass(Duration::from_secs(61)).end.and_then(|end| end.leave).expect("a leave");
    assert_eq!(leave.reason(), proto::DisconnectReason::JoinFailure);
    let mut bench = browser();
    bench.begin();
    bench.event(connected(&bench));
    assert!(bench.pass(Duration::from_secs(61)).end.is_none());
}

#[test]
fn broken_media_makes_the_client_join_anew() {
    for (end, reason) in [
        (PeerEnd::IceTimeout, proto::DisconnectReason::ConnectionTimeout),
        (PeerEnd::DtlsFailed, proto::DisconnectReason::MediaFailure),
    ] {
        let mut bench = browser();
        let peer = peers(&bench.begin())[0];
        let effects =
            bench.event(Event::Media(MediaEvent::Closed { peer, end, times: SetupTimes::default() }));
        let leave = effects.end.and_then(|end| end.leave).expect("a leave");
        assert_eq!((leave.action(), leave.reason()), (Action::Reconnect, reason));
    }
}

#[test]
fn who_closes_its_media_has_five_seconds_to_leave_or_come_again() {
    let mut bench = browser();
    let peer = peers(&bench.begin())[0];
    bench.event(connected(&bench));
    let end = PeerEnd::ClosedByRemote;
    let effects = bench.event(Event::Media(MediaEvent::Closed { peer, end, times: SetupTimes::default() }));
    assert!(effects.end.is_none() && bench.pass(Duration::from_secs(4)).end.is_none());
    let leave = bench.pass(Duration::from_secs(2)).end.and_then(|end| end.leave).expect("a leave");
    assert_eq!(leave.action(), Action::Reconnect);
}

#[test]
fn an_offer_of_one_megabyte_ends_the_session_with_a_leave() {
    let mut bench = browser();
    bench.begin();
    let effects = bench.ask(Ask::Offer(offer(&"a".repeat(1_048_576), 1)));
    let leave = effects.end.and_then(|end| end.leave).expect("a leave");
    assert_eq!((leave.action(), leave.reason()), (Action::Disconnect, proto::DisconnectReason::MediaFailure));
}

#[test]
fn metadata_changes_beyond_those_that_may_wait_are_refused_and_not_asked_for() {
    let mut bench = browser();
    bench.begin();
    let change = |request_id| {
        Ask::UpdateMetadata(proto::UpdateParticipantMetadata { request_id, ..Default::default() })
    };
    (0..16).for_each(|id| assert_eq!(bench.ask(change(id)).requests.len(), 1));
    let effects = bench.ask(change(16));
    assert!(effects.requests.is_empty());
    let [Message::RequestResponse(response)] = &effects.frames[..] else { panic!("{:?}", effects.frames) };
    assert_eq!(response.reason(), proto::request_response::Reason::LimitExceeded);
    bench.event(Event::MetadataChanged { request_id: 0, allowed: true });
    assert_eq!(bench.ask(change(17)).requests.len(), 1, "there is room again");
}

#[test]
fn a_few_malformed_frames_are_forgiven_and_a_flood_is_not() {
    let mut bench = browser();
    bench.begin();
    (0..10).for_each(|_| bench.session.malformed_frame());
    assert!(bench.session.take_effects().end.is_none());
    bench.session.malformed_frame();
    let end = bench.session.take_effects().end.expect("the end");
    assert_eq!(end.reason, Some(LeaveReason::StateMismatch));
}

#[test]
fn simulated_speech_starts_and_stops() {
    let mut bench = browser();
    bench.begin();
    let scenario = Some(proto::simulate_scenario::Scenario::SpeakerUpdate(3));
    let effects = bench.ask(Ask::Simulate(proto::SimulateScenario { scenario }));
    let active = |effects: &Effects| match &effects.frames[..] {
        [Message::SpeakersChanged(changed)] => Some(changed.speakers[0].active),
        _ => None,
    };
    assert_eq!(active(&effects), Some(true));
    assert_eq!(active(&bench.pass(Duration::from_secs(4))), Some(false));
}

#[test]
fn settings_prefer_the_rendered_size_and_off_means_disabled() {
    let mut bench = browser();
    bench.begin();
    let sid = format!("TR_{}", TrackId(20));
    let update = proto::UpdateTrackSettings {
        track_sids: vec![sid.clone(), "nonsense".to_owned()],
        width: 640,
        height: 360,
        quality: proto::VideoQuality::Off as i32,
        ..Default::default()
    };
    let effects = bench.ask(Ask::TrackSetting(update));
    assert!(matches!(&effects.requests[..], [Request::TrackSettings { tracks, settings }]
        if tracks == &[TrackId(20)] && settings.size == Some((640, 360)) && settings.disabled));
    assert!(matches!(&effects.frames[..], [Message::SubscriptionResponse(response)]
        if response.err() == proto::SubscriptionError::SeTrackNotfound));
}

#[test]
fn who_asks_for_a_size_is_not_served_the_lowest_layer_where_sizes_are_unknown() {
    let mut bench = browser();
    bench.begin();
    let sids = [20, 21].map(|track| format!("TR_{}", TrackId(track)));
    let shown = proto::UpdateTrackSettings {
        track_sids: sids.to_vec(),
        width: 1280,
        height: 720,
        fps: 15,
        priority: 7,
        ..Default::default()
    };
    // What a browser says of a hidden element, whose size it still knows.
    let hidden = proto::UpdateTrackSettings { disabled: true, ..shown.clone() };
    let low = proto::UpdateTrackSettings { width: 0, height: 0, ..shown.clone() };
    for (update, disabled, quality) in [(shown, false, 2), (hidden, true, 2), (low, false, 0)] {
        let size = (update.width > 0).then_some((1280, 720));
        let effects = bench.ask(Ask::TrackSetting(update));
        let [Request::TrackSettings { tracks, settings }] = &effects.requests[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(tracks, &[TrackId(20), TrackId(21)]);
        let expected =
            base::model::TrackSettings { disabled, size, quality, fps: 15, priority: 7, firm: false };
        assert_eq!(*settings, expected);
    }
}

#[test]
fn a_room_that_is_gone_without_a_word_asks_clients_to_come_again() {
    let mut bench = browser();
    bench.begin();
    bench.session.room_gone();
    let end = bench.session.take_effects().end.expect("the end");
    assert_eq!(end.leave.expect("a leave").action(), Action::Reconnect);
}

#[test]
fn a_request_to_publish_that_fills_memory_is_refused() {
    let mut bench = browser();
    bench.begin();
    let mut request = add_track("cid", proto::TrackType::Video);
    request.simulcast_codecs = vec![proto::SimulcastCodec::default(); 100_000];
    let effects = bench.ask(Ask::AddTrack(request));
    assert!(effects.requests.is_empty(), "it is not kept");
    let Some(Message::RequestResponse(response)) = effects.frames.first() else { panic!("{effects:?}") };
    assert_eq!(response.reason(), proto::request_response::Reason::LimitExceeded);
    assert_eq!(response.request, None, "it is not sent back either");
}

#[test]
fn metadata_that_is_too_large_is_not_blamed_on_the_token() {
    use proto::request_response::Reason;
    let may = base::model::Permissions { update_own_metadata: true, ..everything() };
    for (permissions, reason) in [(may, Reason::LimitExceeded), (everything(), Reason::NotAllowed)] {
        let mut bench = Bench::with(params(true, client(Sdk::Js, 17)), permissions, Vec::new());
        bench.begin();
        let update = proto::UpdateParticipantMetadata { request_id: 5, ..Default::default() };
        bench.ask(Ask::UpdateMetadata(update));
        let effects = bench.event(Event::MetadataChanged { request_id: 5, allowed: false });
        let Some(Message::RequestResponse(response)) = effects.frames.first() else { panic!("{effects:?}") };
        assert_eq!((response.request_id, response.reason()), (5, reason));
    }
}

/// Browsers give the section of a track that is sent for the second time an id of their own.
#[test]
fn a_track_that_is_published_again_is_found_in_a_section_with_another_id() {
    let mut params = params(true, client(Sdk::Js, 17));
    params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
    let mut bench = Bench::new(params);
    bench.begin();
    let cid = msid(CHROMIUM_V1_PUBLISH, "7");
    let add = || Ask::AddTrack(add_track(&cid, proto::TrackType::Video));
    let publish = published(&bench.ask(add())).expect("a publication");
    bench.accept(&publish, 30);
    bench.ask(Ask::Offer(offer(CHROMIUM_V1_PUBLISH, 2)));

    let strange = CHROMIUM_V1_PUBLISH.replace(&cid, "an-id-of-the-browsers-own");
    let mut unknown = add_track("another camera", proto::TrackType::Video);
    unknown.cid = "another camera".to_owned();
    bench.ask(Ask::AddTrack(unknown));
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V1_FIRST, 3)));
    assert!(
        effects.requests.iter().any(|request| matches!(request, Request::Unpublish { track: TrackId(30) }))
    );
    let publish = published(&bench.ask(add())).expect("a publication");
    bench.accept(&publish, 31);
    let effects = bench.ask(Ask::Offer(offer(&strange, 4)));
    let found = effects.requests.iter().find_map(|request| match request {
        Request::TrackNegotiated { track, sdp_cid, .. } => Some((*track, sdp_cid.as_str())),
        _ => None,
    });
    assert_eq!(
        found,
        Some((TrackId(31), "an-id-of-the-browsers-own")),
        "and not for the one that was never sent"
    );
}
