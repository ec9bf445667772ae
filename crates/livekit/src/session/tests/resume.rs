//! Clients whose socket broke, and who come back.

use std::sync::Arc;
use std::time::Duration;

use base::model::{DataHandle, DataTrack, Encryption, LeaveReason, Notice, ParticipantState, TrackSettings};
use base::{CodecKind, Identity, MediaKind, ParticipantId, TrackId};
use contract::media::{Event as MediaEvent, IceCredentials, SetupTimes};
use contract::session::{Event, Request};
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::leave_request::Action;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;

use super::support::*;
use crate::params::Params;
use crate::session::{Effects, Return, Socket};

const SOON: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

/// A client in a call: media up, one track received.
fn in_call(single: bool) -> (Bench, Params) {
    let mut params = params(single, client(Sdk::Js, 17));
    let back = params.clone();
    params.offer = single.then(|| offer(CHROMIUM_V1_FIRST, 1));
    let mut bench = Bench::new(params);
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    let effects = bench.begin();
    if let Some(offer) = offered(&effects) {
        bench.ask(Ask::Answer(client_answer(&offer)));
    }
    let peer = bench.session.primary();
    bench.event(Event::Media(MediaEvent::Connected { peer, times: SetupTimes::default() }));
    bench.pass(SECOND);
    (bench, back)
}

impl Bench {
    fn lose_socket(&mut self) -> Effects {
        self.session.lose_socket(Vec::new(), false, self.now);
        self.session.take_effects()
    }

    fn come_back(&mut self, params: Params) -> Effects {
        let claims = auth::Claims::join("person-1", "room").valid_for(NOW, Duration::from_secs(3_600));
        let token = auth::Verified { api_key: "devkey".to_owned(), claims };
        self.session.resume(Return { token, params }, self.now);
        self.session.take_effects()
    }
}

fn data_track(id: u64, handle: u16) -> DataTrack {
    let (name, encryption) = (handle.to_string(), Encryption::None);
    DataTrack { id: TrackId(id), handle, name, encryption, encoding: None, schema: None }
}

#[test]
fn a_client_that_comes_back_hears_again_which_data_tracks_it_gets_and_which_of_its_own_there_are() {
    let (mut bench, params) = in_call(true);
    let mut me = person(1, everything());
    me.data_tracks = vec![data_track(31, 1), data_track(32, 2)];
    bench.notice(Notice::Participants(vec![Arc::new(me)]));
    let identity = Identity::new("person-2");
    let handle = DataHandle { handle: 5, track: TrackId(40), publisher: ParticipantId(2), identity };
    bench.notice(Notice::DataHandles(vec![handle]));
    bench.lose_socket();
    let frames = bench.come_back(params).frames;
    let told = frames.iter().filter_map(|frame| match frame {
        Message::DataTrackSubscriberHandles(handles) => Some(handles.sub_handles.keys().copied().collect()),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<Vec<u32>>>(), [[5]]);
    let published =
        |track: &DataTrack| proto::PublishDataTrackResponse { info: Some(crate::data_tracks::info(track)) };
    let publish_data_tracks = vec![published(&data_track(32, 2)), published(&data_track(33, 3))];
    let state = proto::SyncState { publish_data_tracks, ..Default::default() };
    let frames = bench.ask(Ask::SyncState(state)).frames;
    let handles = |frame: &Message| match frame {
        Message::PublishDataTrackResponse(told) => told.info.as_ref().map(|info| (true, info.pub_handle)),
        Message::UnpublishDataTrackResponse(told) => told.info.as_ref().map(|info| (false, info.pub_handle)),
        _ => None,
    };
    let told: Vec<(bool, u32)> = frames.iter().filter_map(handles).collect();
    assert_eq!(told, [(true, 1), (false, 3)], "one whose answer got lost, and one that is gone");
}

fn names(effects: &Effects) -> Vec<&'static str> {
    let name = |message: &Message| match message {
        Message::Reconnect(_) => "reconnect",
        Message::Update(_) => "update",
        Message::RoomUpdate(_) => "room",
        Message::RefreshToken(_) => "token",
        Message::Offer(_) => "offer",
        Message::Answer(_) => "answer",
        Message::TrackPublished(_) => "published",
        Message::TrackUnpublished(_) => "unpublished",
        Message::TrackSubscribed(_) => "subscribed",
        Message::SubscriptionPermissionUpdate(_) => "permission",
        Message::MediaSectionsRequirement(_) => "sections",
        Message::SubscribedQualityUpdate(_) => "demand",
        Message::StreamStateUpdate(_) => "streams",
        Message::Leave(_) => "leave",
        Message::RoomMoved(_) => "moved",
        _ => "other",
    };
    effects.frames.iter().map(name).collect()
}

#[test]
fn who_was_moved_while_away_is_told_where_it_is_before_anything_about_the_new_room() {
    let (mut bench, back) = in_call(true);
    bench.lose_socket();
    bench.event(super::moving::moving());
    bench.event(super::moving::moved());
    bench.notice(Notice::Participants(vec![person(4, everything()).into()]));
    let effects = bench.come_back(back);
    assert_eq!(names(&effects)[..5], ["reconnect", "moved", "update", "room", "token"]);
    let Message::RoomMoved(moved) = &effects.frames[1] else { panic!("just seen") };
    assert_eq!(moved.other_participants.len(), 2, "as it is now");
    let Message::RefreshToken(token) = &effects.frames[4] else { panic!("just seen") };
    let claims = auth::verify(&auth::ApiKeys::development(), token, NOW).expect("our own").claims;
    assert_eq!(claims.video.expect("grants").room, "lounge", "it came with a token for the room before");
}

fn restarts(effects: &Effects) -> Vec<&IceCredentials> {
    let restarts = effects.requests.iter().filter_map(|request| match request {
        Request::RestartIce { local, .. } => Some(local),
        _ => None,
    });
    restarts.collect()
}

fn left(effects: &Effects) -> Option<LeaveReason> {
    effects.end.as_ref().and_then(|end| end.reason)
}

fn told_leave(effects: &Effects) -> (Action, proto::DisconnectReason) {
    match effects.frames.last() {
        Some(Message::Leave(leave)) => (leave.action(), leave.reason()),
        other => panic!("not a leave: {other:?}"),
    }
}

fn update(effects: &Effects) -> Vec<(String, proto::participant_info::State)> {
    let update = effects.frames.iter().find_map(|frame| match frame {
        Message::Update(update) => Some(update),
        _ => None,
    });
    let all = &update.expect("an update").participants;
    all.iter().map(|info| (info.identity.clone(), info.state())).collect()
}

fn published_tracks(sids: &[String]) -> proto::SyncState {
    let track = |sid: &String| proto::TrackPublishedResponse {
        cid: "cid".to_owned(),
        track: Some(proto::TrackInfo { sid: sid.clone(), ..Default::default() }),
    };
    proto::SyncState { publish_tracks: sids.iter().map(track).collect(), ..Default::default() }
}

#[test]
fn two_connections_the_order_is_reconnect_then_state_then_our_offer_with_new_credentials() {
    let (mut bench, params) = in_call(false);
    assert!(bench.lose_socket().end.is_none());
    let effects = bench.come_back(params);
    assert_eq!(names(&effects), ["reconnect", "update", "room", "token", "offer"]);
    let offer = offered(&effects).expect("an offer");
    let description = sdp::parse(&offer.sdp).expect("parses");
    let [local] = restarts(&effects)[..] else { panic!("one restart") };
    assert_eq!(description.remote().expect("a transport").0.ufrag, local.ufrag);
    assert_eq!(offer.mid_to_track_id.len(), 1, "what was received is still received");
    let names = update(&effects);
    let names: Vec<&str> = names.iter().map(|(identity, _)| identity.as_str()).collect();
    assert_eq!(names, ["person-1", "person-2"], "everybody, itself too");
}

#[test]
fn an_offer_that_was_never_answered_does_not_hold_up_the_one_of_the_resume() {
    let (mut bench, params) = in_call(false);
    bench.subscribe(2, track(21, MediaKind::Audio, CodecKind::Opus));
    assert!(offered(&bench.pass(SOON)).is_some());
    bench.lose_socket();
    let offer = offered(&bench.come_back(params)).expect("an offer");
    assert_eq!(offer.mid_to_track_id.len(), 2);
    bench.ask(Ask::Answer(client_answer(&offer)));
    assert!(bench.pass(20 * SECOND).end.is_none());
}

#[test]
fn one_connection_the_client_restarts_and_what_came_meanwhile_waits_for_its_offer() {
    let (mut bench, params) = in_call(true);
    bench.lose_socket();
    for number in 30..35 {
        bench.subscribe(2, track(number, MediaKind::Video, CodecKind::Vp8));
    }
    bench.pass(SECOND);
    let effects = bench.come_back(params);
    assert_eq!(names(&effects)[..3], ["reconnect", "update", "room"]);
    assert!(!names(&effects).contains(&"sections") && restarts(&effects).is_empty());
    assert!(!names(&bench.pass(SECOND)).contains(&"sections"), "its own offer is on its way");
    let restarted = CHROMIUM_V1_FIRST.replace("a=ice-ufrag:", "a=ice-ufrag:new");
    let effects = bench.ask(Ask::Offer(offer(&restarted, 2)));
    let [local] = restarts(&effects)[..] else { panic!("one restart") };
    let description = sdp::parse(&answer(&effects).expect("an answer").sdp).expect("parses");
    assert_eq!(description.remote().expect("a transport").0.ufrag, local.ufrag);
    assert_eq!(names(&bench.pass(SOON)), ["sections"], "the offer has three of the five sections");
}

#[test]
fn what_a_client_missed_follows_in_order_and_what_is_old_does_not() {
    let (mut bench, params) = in_call(false);
    let add = |cid| Ask::AddTrack(add_track(cid, proto::TrackType::Audio));
    let publish = published(&bench.ask(add("mic"))).expect("asked of the room");
    let unsent = vec![Message::Pong(7), Message::Update(Default::default())];
    bench.session.lose_socket(unsent, false, bench.now);
    assert!(bench.accept(&publish, 50).frames.is_empty(), "nobody is there");
    bench.notice(Notice::FirstSubscriber { track: TrackId(50) });
    let effects = bench.come_back(params);
    assert_eq!(names(&effects), ["reconnect", "update", "room", "token", "published", "subscribed", "offer"]);
}

#[test]
fn what_the_old_socket_did_not_take_comes_over_the_new_one() {
    let (mut bench, params) = in_call(false);
    let unsent = Message::Mute(proto::MuteTrackRequest { sid: "TR_x".to_owned(), muted: true });
    bench.session.change_socket(vec![unsent.clone()], bench.now);
    assert!(bench.come_back(params).frames.contains(&unsent));
}

#[test]
fn who_left_shortly_before_the_socket_broke_is_not_there_for_ever() {
    let (mut bench, params) = in_call(false);
    let mut gone = person(3, everything());
    gone.state = ParticipantState::Disconnected;
    bench.notice(Notice::Participants(vec![std::sync::Arc::new(gone)]));
    bench.pass(20 * SECOND);
    bench.lose_socket();
    let effects = bench.come_back(params.clone());
    let state = proto::participant_info::State::Disconnected;
    assert!(update(&effects).contains(&("person-3".to_owned(), state)));
    bench.pass(60 * SECOND);
    bench.lose_socket();
    let _ = bench.come_back(params);
}

#[test]
fn who_left_and_came_again_meanwhile_is_there() {
    let (mut bench, params) = in_call(false);
    let mut gone = person(2, everything());
    gone.state = ParticipantState::Disconnected;
    bench.lose_socket();
    bench.notice(Notice::Participants(vec![std::sync::Arc::new(gone)]));
    let mut again = person(2, everything());
    again.id = ParticipantId(9);
    bench.notice(Notice::Participants(vec![std::sync::Arc::new(again)]));
    let seen = update(&bench.come_back(params));
    let twos: Vec<_> = seen.iter().filter(|(identity, _)| identity == "person-2").collect();
    assert_eq!(twos, [&("person-2".to_owned(), proto::participant_info::State::Joined)]);
}

#[test]
fn a_place_is_kept_for_a_minute_and_for_five_seconds_when_the_page_is_gone() {
    for (page_gone, time) in [(false, 60), (true, 5)] {
        let (mut bench, _) = in_call(true);
        bench.session.lose_socket(Vec::new(), page_gone, bench.now);
        assert!(bench.pass((time - 1) * SECOND).end.is_none());
        assert_eq!(left(&bench.pass(2 * SECOND)), Some(LeaveReason::SignalClosed));
    }
}

#[test]
fn without_media_the_end_of_the_socket_is_the_end() {
    let mut bench = Bench::new(params(true, client(Sdk::Js, 17)));
    bench.begin();
    assert_eq!(left(&bench.lose_socket()), Some(LeaveReason::SignalClosed));
}

#[test]
fn a_client_that_pings_and_then_is_silent_has_lost_its_socket_and_one_that_never_pinged_has_not() {
    let (mut bench, params) = in_call(true);
    assert_eq!(bench.pass(100 * SECOND).socket, Socket::Keep);
    bench.ask(Ask::PingReq(proto::Ping::default()));
    assert_eq!(bench.pass(14 * SECOND).socket, Socket::Keep);
    bench.ask(Ask::PingReq(proto::Ping::default()));
    assert_eq!(bench.pass(14 * SECOND).socket, Socket::Keep);
    assert_eq!(bench.pass(2 * SECOND).socket, Socket::Lost);
    bench.lose_socket();
    assert_eq!(names(&bench.come_back(params))[0], "reconnect");
}

#[test]
fn a_client_that_comes_back_with_another_number_of_connections_joins_anew_and_keeps_its_place_until_then() {
    let (mut bench, mut params) = in_call(false);
    params.single = true;
    bench.lose_socket();
    let effects = bench.come_back(params);
    assert_eq!(told_leave(&effects), (Action::Reconnect, proto::DisconnectReason::StateMismatch));
    assert_eq!((effects.socket, effects.end), (Socket::Close, None));
    assert!(bench.pass(4 * SECOND).end.is_none());
    assert_eq!(left(&bench.pass(2 * SECOND)), Some(LeaveReason::StateMismatch));
}

#[test]
fn a_client_that_missed_too_much_joins_anew() {
    let (mut bench, params) = in_call(false);
    bench.lose_socket();
    for _ in 0..2_000 {
        bench.notice(Notice::MuteRequested { track: TrackId(1), muted: true });
    }
    assert_eq!(told_leave(&bench.come_back(params)).0, Action::Reconnect);
}

#[test]
fn a_track_that_we_do_not_know_makes_the_client_join_anew() {
    for sid in ["TR_0000000000009", "nonsense"] {
        let (mut bench, params) = in_call(true);
        bench.lose_socket();
        bench.come_back(params);
        let effects = bench.ask(Ask::SyncState(published_tracks(&[sid.to_owned()])));
        assert_eq!(told_leave(&effects), (Action::Reconnect, proto::DisconnectReason::StateMismatch));
    }
}

#[test]
fn a_track_that_was_taken_down_while_the_client_was_away_is_no_reason_to_join_anew() {
    let (mut bench, params) = in_call(true);
    let asked = bench.ask(Ask::AddTrack(add_track("mic", proto::TrackType::Audio)));
    bench.accept(&published(&asked).expect("asked"), 50);
    bench.lose_socket();
    bench.notice(Notice::TrackRemoved { track: TrackId(50) });
    assert!(names(&bench.come_back(params)).contains(&"unpublished"));
    let effects = bench.ask(Ask::SyncState(published_tracks(&[format!("TR_{}", TrackId(50))])));
    assert_eq!(names(&effects), ["unpublished"]);
}

#[test]
fn the_answer_to_a_publication_that_was_lost_with_the_socket_is_given_again() {
    let (mut bench, params) = in_call(true);
    for (cid, number) in [("mic", 50), ("cam", 51)] {
        let asked = bench.ask(Ask::AddTrack(add_track(cid, proto::TrackType::Audio)));
        bench.accept(&published(&asked).expect("asked"), number);
    }
    bench.lose_socket();
    bench.come_back(params);
    let effects = bench.ask(Ask::SyncState(published_tracks(&[format!("TR_{}", TrackId(50))])));
    assert!(matches!(&effects.frames[..], [Message::TrackPublished(told)] if told.cid == "cam"));
}

#[test]
fn what_is_disabled_is_said_before_what_is_subscribed_and_then_data_is_replayed() {
    let (mut bench, params) = in_call(true);
    bench.lose_socket();
    bench.come_back(params);
    let (there, gone) = (format!("TR_{}", TrackId(20)), format!("TR_{}", TrackId(99)));
    let state = proto::SyncState {
        subscription: Some(proto::UpdateSubscription {
            track_sids: vec![there.clone(), gone.clone()],
            subscribe: false,
            ..Default::default()
        }),
        track_sids_disabled: vec![gone, there],
        datachannel_receive_states: vec![proto::DataChannelReceiveState {
            publisher_sid: format!("PA_{}", ParticipantId(2)),
            last_seq: 17,
        }],
        ..Default::default()
    };
    let effects = bench.ask(Ask::SyncState(state));
    assert!(effects.frames.is_empty());
    let [
        Request::TrackSettings { tracks: disabled, settings: TrackSettings { disabled: true, .. } },
        Request::UpdateSubscription { tracks, subscribe: false },
        Request::ReplayData { received },
    ] = &effects.requests[..]
    else {
        panic!("{:?}", effects.requests)
    };
    assert_eq!((&disabled[..], &tracks[..]), (&[TrackId(20)][..], &[TrackId(20)][..]));
    assert_eq!(received[..], [(ParticipantId(2), 17)]);
}

#[test]
fn what_a_publisher_was_told_of_its_layers_is_told_again() {
    let mut params = params(true, client(Sdk::Js, 17));
    let back = params.clone();
    params.offer = Some(offer(CHROMIUM_V1_PUBLISH, 1));
    let mut bench = Bench::new(params);
    bench.begin();
    let msid = sdp::parse(CHROMIUM_V1_PUBLISH).expect("parses").sections.iter().find_map(|section| {
        let is_video = section.media_kind() == Some(MediaKind::Video) && section.direction.sends();
        section.msid.as_ref().filter(|_| is_video).map(|msid| msid.track.clone())
    });
    let asked =
        bench.ask(Ask::AddTrack(add_track(&msid.expect("a published video"), proto::TrackType::Video)));
    bench.accept(&published(&asked).expect("asked"), 50);
    let peer = bench.session.primary();
    bench.event(Event::Media(MediaEvent::Connected { peer, times: SetupTimes::default() }));
    bench.event(Event::WantedLayer { track: TrackId(50), highest: Some(0) });
    bench.pass(20 * SECOND);
    bench.lose_socket();
    assert!(names(&bench.come_back(back)).contains(&"demand"));
}

fn simulate(bench: &mut Bench, scenario: proto::simulate_scenario::Scenario) -> Effects {
    bench.ask(Ask::Simulate(proto::SimulateScenario { scenario: Some(scenario) }))
}

#[test]
fn media_that_is_cut_off_makes_the_client_resume_and_it_has_five_seconds_for_that() {
    let (mut bench, params) = in_call(false);
    let peer = bench.session.primary();
    let interrupted = Event::Media(MediaEvent::Interrupted { peer });
    let effects = bench.event(interrupted.clone());
    assert_eq!(told_leave(&effects), (Action::Resume, proto::DisconnectReason::ConnectionTimeout));
    assert_eq!((effects.socket, effects.end), (Socket::Close, None));
    bench.pass(4 * SECOND);
    assert_eq!(names(&bench.come_back(params))[0], "reconnect");
    assert!(bench.pass(10 * SECOND).end.is_none());
    bench.event(interrupted);
    assert!(bench.pass(4 * SECOND).end.is_none());
    assert_eq!(left(&bench.pass(2 * SECOND)), Some(LeaveReason::ConnectionTimeout));
}

#[test]
fn a_client_before_protocol_13_is_told_in_its_words_to_come_back() {
    let mut bench = Bench::new(params(false, client(Sdk::Android, 12)));
    bench.begin();
    let peer = bench.session.primary();
    bench.event(Event::Media(MediaEvent::Connected { peer, times: SetupTimes::default() }));
    let effects = bench.event(Event::Media(MediaEvent::Interrupted { peer }));
    assert!(matches!(effects.frames.last(), Some(Message::Leave(leave)) if leave.can_reconnect));
}

#[test]
fn whoever_has_neither_socket_nor_media_is_gone_in_five_seconds() {
    let (mut bench, _) = in_call(true);
    bench.lose_socket();
    bench.pass(10 * SECOND);
    let peer = bench.session.primary();
    assert!(bench.event(Event::Media(MediaEvent::Interrupted { peer })).frames.is_empty());
    assert_eq!(left(&bench.pass(6 * SECOND)), Some(LeaveReason::ConnectionTimeout));
}

#[test]
fn a_migration_names_the_other_servers_and_is_a_resume_where_there_are_none() {
    use proto::simulate_scenario::Scenario;
    let region = |name: &str| crate::Region { name: name.to_owned(), url: format!("wss://{name}.example") };
    for regions in [vec![], vec![region("near"), region("far")]] {
        let config = crate::Config { regions: regions.clone(), ..Default::default() };
        let params = params(true, client(Sdk::Js, 17));
        let mut bench = Bench::configured(config, params.clone(), everything(), Vec::new());
        bench.begin();
        let effects = simulate(&mut bench, Scenario::Migration(true));
        assert_eq!(told_leave(&effects), (Action::Resume, proto::DisconnectReason::Migration));
        let Some(Message::Leave(leave)) = effects.frames.last() else { panic!("a leave") };
        let told = leave.regions.iter().flat_map(|told| &told.regions);
        let told: Vec<(&str, &str, i64)> =
            told.map(|region| (region.region.as_str(), region.url.as_str(), region.distance)).collect();
        let expected = [("near", "wss://near.example", 0), ("far", "wss://far.example", 1)];
        assert_eq!(told, expected[..regions.len()]);
        assert_eq!(names(&bench.come_back(params))[0], "reconnect");
    }
}

#[test]
fn the_scenarios_of_sdk_tests_end_as_sdks_expect() {
    use proto::simulate_scenario::Scenario;
    let (mut bench, _) = in_call(true);
    let leave = simulate(&mut bench, Scenario::ServerLeave(true)).end.and_then(|end| end.leave);
    assert_eq!(leave.expect("a leave").action(), Action::Disconnect);
    let (mut bench, _) = in_call(true);
    let end = simulate(&mut bench, Scenario::NodeFailure(true)).end.expect("an end");
    assert_eq!(end.leave, None, "a node that fails says nothing");
    let (mut bench, params) = in_call(true);
    let effects = simulate(&mut bench, Scenario::LeaveRequestFullReconnect(true));
    assert_eq!((told_leave(&effects).0, effects.end), (Action::Reconnect, None));
    drop(params);
    let (mut bench, _) = in_call(false);
    let effects = simulate(&mut bench, Scenario::SwitchCandidateProtocol(1));
    assert_eq!((restarts(&effects).len(), names(&effects)), (1, vec!["offer"]));
}

#[test]
fn a_resume_can_be_made_to_fail_before_and_after_it_was_answered_and_the_next_one_succeeds() {
    use proto::simulate_scenario::Scenario;
    for (scenario, answered) in [
        (Scenario::DisconnectSignalOnResume(true), true),
        (Scenario::DisconnectSignalOnResumeNoMessages(true), false),
    ] {
        let (mut bench, params) = in_call(false);
        simulate(&mut bench, scenario);
        bench.lose_socket();
        let effects = bench.come_back(params.clone());
        assert_eq!((effects.socket, !effects.frames.is_empty()), (Socket::Lost, answered));
        bench.lose_socket();
        let effects = bench.come_back(params);
        assert_eq!((effects.socket, names(&effects)[0]), (Socket::Keep, "reconnect"));
    }
}

#[test]
fn a_token_is_renewed_when_what_it_says_has_changed() {
    let (mut bench, _) = in_call(true);
    let mut me = person(1, everything());
    assert!(
        !names(&bench.notice(Notice::Participants(vec![std::sync::Arc::new(me.clone())]))).contains(&"token")
    );
    me.metadata = "new".to_owned();
    let effects = bench.notice(Notice::Participants(vec![std::sync::Arc::new(me)]));
    assert_eq!(names(&effects), ["update", "token"]);
}
