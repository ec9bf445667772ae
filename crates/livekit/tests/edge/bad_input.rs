//! Every request at the wrong time, twice, for somebody else's track, beyond a limit, and after leaving: what its sender is told,
//! and that nobody else in the room notices. The table is part of `docs/signalling.md`.

use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message as Told;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::whole::{Person, Whole, offer_of};

const PUBLISHING: &str = include_str!("../../../sdp/tests/offers/chromium_v0_publish.sdp");
/// As large as a message may be.
const LARGE: usize = 2 * 1024 * 1024 - 64;

/// What somebody else in the room has.
struct Others {
    sid: String,
    track: String,
}

/// All kinds of requests there are: a new one does not compile until it is here, and not pass until it is in the table.
#[allow(deprecated, reason = "old clients send them")]
fn kind(ask: &Ask) -> &'static str {
    match ask {
        Ask::Offer(_) => "offer",
        Ask::Answer(_) => "answer",
        Ask::Trickle(_) => "trickle",
        Ask::AddTrack(_) => "add_track",
        Ask::Mute(_) => "mute",
        Ask::Subscription(_) => "subscription",
        Ask::TrackSetting(_) => "track_setting",
        Ask::Leave(_) => "leave",
        Ask::UpdateLayers(_) => "update_layers",
        Ask::SubscriptionPermission(_) => "subscription_permission",
        Ask::SyncState(_) => "sync_state",
        Ask::Simulate(_) => "simulate",
        Ask::Ping(_) => "ping",
        Ask::UpdateMetadata(_) => "update_metadata",
        Ask::PingReq(_) => "ping_req",
        Ask::UpdateAudioTrack(_) => "update_audio_track",
        Ask::UpdateVideoTrack(_) => "update_video_track",
        Ask::PublishDataTrackRequest(_) => "publish_data_track",
        Ask::UnpublishDataTrackRequest(_) => "unpublish_data_track",
        Ask::UpdateDataSubscription(_) => "update_data_subscription",
        Ask::StoreDataBlobRequest(_) => "store_data_blob",
        Ask::GetDataBlobRequest(_) => "get_data_blob",
    }
}

const KINDS: usize = 22;

fn add_track(cid: &str) -> Ask {
    Ask::AddTrack(proto::AddTrackRequest { cid: cid.to_owned(), ..Default::default() })
}

fn subscription(tracks: Vec<String>) -> Ask {
    Ask::Subscription(proto::UpdateSubscription { track_sids: tracks, subscribe: true, ..Default::default() })
}

fn settings(tracks: Vec<String>) -> Ask {
    Ask::TrackSetting(proto::UpdateTrackSettings { track_sids: tracks, ..Default::default() })
}

fn permission(participant: &str, tracks: Vec<String>) -> Ask {
    let entry = proto::TrackPermission {
        participant_sid: participant.to_owned(),
        track_sids: tracks,
        ..Default::default()
    };
    Ask::SubscriptionPermission(proto::SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![entry],
    })
}

fn sync_state(track: &str) -> Ask {
    let track = proto::TrackInfo { sid: track.to_owned(), ..Default::default() };
    let published = proto::TrackPublishedResponse { cid: "x".to_owned(), track: Some(track) };
    Ask::SyncState(proto::SyncState { publish_tracks: vec![published], ..Default::default() })
}

fn data_subscription(track: &str) -> Ask {
    let update = proto::update_data_subscription::Update {
        track_sid: track.to_owned(),
        subscribe: true,
        options: None,
    };
    Ask::UpdateDataSubscription(proto::UpdateDataSubscription { updates: vec![update] })
}

fn publish_data(handle: u32, name: &str) -> Ask {
    Ask::PublishDataTrackRequest(proto::PublishDataTrackRequest {
        pub_handle: handle,
        name: name.to_owned(),
        ..Default::default()
    })
}

fn metadata(text: String) -> Ask {
    Ask::UpdateMetadata(proto::UpdateParticipantMetadata { metadata: text, ..Default::default() })
}

fn description(kind: &str, sdp: String) -> proto::SessionDescription {
    proto::SessionDescription { r#type: kind.to_owned(), sdp, id: 1, ..Default::default() }
}

fn mute(track: &str) -> Ask {
    Ask::Mute(proto::MuteTrackRequest { sid: track.to_owned(), muted: true })
}

fn audio(track: &str) -> Ask {
    Ask::UpdateAudioTrack(proto::UpdateLocalAudioTrack { track_sid: track.to_owned(), features: vec![0, 99] })
}

fn video(track: &str) -> Ask {
    Ask::UpdateVideoTrack(proto::UpdateLocalVideoTrack { track_sid: track.to_owned(), width: 1, height: 1 })
}

fn layers(track: &str) -> Ask {
    #[allow(deprecated, reason = "old clients send it")]
    Ask::UpdateLayers(proto::UpdateVideoLayers { track_sid: track.to_owned(), layers: Vec::new() })
}

fn blob(key: &str, size: usize) -> Ask {
    let key = proto::DataBlobKey { key: Some(proto::data_blob_key::Key::Generic(key.to_owned())) };
    let blob = proto::DataBlob { key: Some(key), contents: vec![7; size] };
    Ask::StoreDataBlobRequest(proto::StoreDataBlobRequest { request_id: 3, blob: Some(blob) })
}

fn get_blob(identity: &str) -> Ask {
    Ask::GetDataBlobRequest(proto::GetDataBlobRequest {
        request_id: 4,
        participant_identity: identity.to_owned(),
        key: None,
    })
}

fn trickle(candidate: String) -> Ask {
    Ask::Trickle(proto::TrickleRequest { candidate_init: candidate, ..Default::default() })
}

fn simulate(scenario: proto::simulate_scenario::Scenario) -> Ask {
    Ask::Simulate(proto::SimulateScenario { scenario: Some(scenario) })
}

/// One request of every kind that means something, as far as it can right after the join.
fn plain() -> Vec<Ask> {
    vec![
        Ask::Offer(offer_of(PUBLISHING)),
        Ask::Answer(description("answer", PUBLISHING.to_owned())),
        trickle("{}".to_owned()),
        add_track("a"),
        mute("TR_0000000000001"),
        subscription(Vec::new()),
        settings(Vec::new()),
        Ask::Leave(proto::LeaveRequest::default()),
        layers("TR_0000000000001"),
        permission("PA_000000000001", Vec::new()),
        Ask::SyncState(proto::SyncState::default()),
        simulate(proto::simulate_scenario::Scenario::SwitchCandidateProtocol(0)),
        Ask::Ping(1),
        metadata("m".to_owned()),
        Ask::PingReq(proto::Ping::default()),
        audio("TR_0000000000001"),
        video("TR_0000000000001"),
        publish_data(7, "data"),
        Ask::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle: 7 }),
        data_subscription("DTR_0000000000001"),
        blob("k", 10),
        get_blob("nobody"),
    ]
}

/// Those that can name something of somebody else.
fn of_others(others: &Others) -> Vec<Ask> {
    let track = others.track.as_str();
    let tracks = || vec![track.to_owned(), "TR_0000000000001".to_owned(), "nonsense".to_owned()];
    vec![
        Ask::AddTrack(proto::AddTrackRequest { sid: track.to_owned(), ..Default::default() }),
        mute(track),
        subscription(tracks()),
        settings(tracks()),
        layers(track),
        permission(&others.sid, tracks()),
        sync_state(track),
        audio(track),
        video(track),
        Ask::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle: 99 }),
        data_subscription(track),
        get_blob("bystander"),
    ]
}

/// Those that can be too large or too many, each as large as a message may be.
fn beyond_limits() -> Vec<Vec<Ask>> {
    let text = || "x".repeat(LARGE);
    let tracks = || vec!["TR_0000000000001".to_owned(); 9_000];
    vec![
        vec![Ask::Offer(description("offer", text()))],
        vec![Ask::Answer(description("answer", text()))],
        vec![trickle(text())],
        vec![add_track(&text())],
        (0..30).map(|at| add_track(&format!("track {at}"))).collect(),
        vec![mute(&text())],
        vec![subscription(tracks())],
        vec![settings(tracks())],
        vec![layers(&text())],
        vec![permission("PA_000000000001", tracks())],
        vec![Ask::SyncState(proto::SyncState { track_sids_disabled: tracks(), ..Default::default() })],
        vec![simulate(proto::simulate_scenario::Scenario::SubscriberBandwidth(i64::MAX))],
        vec![Ask::Ping(i64::MIN)],
        vec![metadata(text())],
        vec![Ask::PingReq(proto::Ping { timestamp: i64::MIN, rtt: i64::MAX })],
        vec![audio(&text())],
        vec![video(&text())],
        vec![publish_data(u32::MAX, "too high")],
        vec![publish_data(8, &text())],
        vec![Ask::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle: u32::MAX })],
        vec![data_subscription(&text())],
        vec![blob("k", LARGE)],
        vec![get_blob(&text())],
    ]
}

/// What a message says to somebody who broke a rule; `None` for what everybody is told.
fn answer(told: &Told) -> Option<String> {
    Some(match told {
        Told::RefreshToken(_) | Told::RoomUpdate(_) | Told::Update(_) | Told::Trickle(_) => return None,
        // Ours, of what the bystander publishes.
        Told::Offer(_) | Told::SubscriptionPermissionUpdate(_) => return None,
        Told::RequestResponse(response) => response.reason().as_str_name().to_owned(),
        Told::SubscriptionResponse(response) => response.err().as_str_name().to_owned(),
        Told::Leave(leave) => format!("leave {}", leave.reason().as_str_name()),
        Told::Answer(_) => "answer".to_owned(),
        Told::TrackPublished(_) => "published".to_owned(),
        Told::PublishDataTrackResponse(_) => "data published".to_owned(),
        Told::UnpublishDataTrackResponse(_) => "data unpublished".to_owned(),
        Told::Pong(_) | Told::PongResp(_) => "pong".to_owned(),
        other => format!("{other:?}"),
    })
}

/// Asks, and says in short what came of it: how often which answer came, in whatever order.
async fn outcome(culprit: &mut Person, asks: Vec<Ask>) -> String {
    for ask in asks {
        culprit.client.try_ask(ask).await;
    }
    let (told, is_open) = culprit.told_so_far().await;
    let mut answers = std::collections::BTreeMap::<String, usize>::new();
    for text in told.iter().filter_map(answer).chain((!is_open).then(|| "closed".to_owned())) {
        *answers.entry(text).or_default() += 1;
    }
    let words = answers.into_iter().map(|(text, count)| match count {
        1 => text,
        _ => format!("{text} x{count}"),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// The room with somebody in it who only wants to be left alone.
struct Scene {
    server: Whole,
    bystander: Person,
    others: Others,
    culprits: u32,
    seen: Vec<(&'static str, &'static str, String)>,
}

impl Scene {
    async fn new() -> Self {
        let server = Whole::start().await;
        let mut bystander = server.enter("bystander", |_| {}).await;
        let track = bystander.publish().await;
        bystander.told_so_far().await;
        let others = Others { sid: bystander.sid(), track };
        Self { server, bystander, others, culprits: 0, seen: Vec::new() }
    }

    /// Somebody comes, asks for this, and goes again if it may.
    async fn play(&mut self, case: &'static str, asks: Vec<Ask>) {
        self.culprits += 1;
        let name = asks.iter().find(|ask| !matches!(ask, Ask::Leave(_))).or(asks.first()).map_or("", kind);
        let identity = format!("culprit-{}", self.culprits);
        let renames = |claims: &mut auth::Claims| {
            claims.video.get_or_insert_default().can_update_own_metadata = Some(true);
        };
        let mut culprit = self.server.enter(&identity, renames).await;
        let outcome = outcome(&mut culprit, asks).await;
        drop(culprit);
        self.seen.push((case, name, outcome));
        self.check_bystander(case, name).await;
    }

    /// It is served, and saw nothing but people coming and going.
    async fn check_bystander(&mut self, case: &str, name: &str) {
        let (told, is_open) = self.bystander.told_so_far().await;
        assert!(is_open, "{case} {name}");
        for message in told {
            match message {
                Told::Update(update) => {
                    let all = update.participants.iter().all(|one| one.identity.starts_with("culprit-"));
                    assert!(all, "{case} {name}: {update:?}");
                }
                Told::RoomUpdate(_)
                | Told::RefreshToken(_)
                | Told::TrackSubscribed(_)
                | Told::SubscribedAudioCodecUpdate(_) => {}
                // That a culprit publishes data is its right.
                Told::DataTrackSubscriberHandles(_) => {}
                other => panic!("{case} {name}: the bystander is told {other:?}"),
            }
        }
        let people = self.server.participants().await;
        let bystander = people.iter().find(|one| one.identity.as_str() == "bystander").expect("it is there");
        let [track] = &bystander.tracks[..] else { panic!("{case} {name}: {:?}", bystander.tracks) };
        assert!(!track.muted && bystander.metadata.is_empty(), "{case} {name}");
    }

    fn table(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.seen.iter().map(|(case, name, outcome)| format!("{case} | {name} | {outcome}")).collect();
        lines.dedup();
        lines
    }
}

#[tokio::test]
async fn whatever_one_participant_asks_it_is_answered_or_closed_and_the_others_are_left_alone() {
    assert_eq!(plain().iter().map(kind).collect::<std::collections::BTreeSet<_>>().len(), KINDS);
    let mut scene = Scene::new().await;
    for ask in plain() {
        scene.play("at once", vec![ask]).await;
    }
    for ask in plain() {
        scene.play("twice", vec![ask.clone(), ask]).await;
    }
    for ask in of_others(&scene.others) {
        scene.play("somebody else's", vec![ask]).await;
    }
    for asks in beyond_limits() {
        scene.play("beyond a limit", asks).await;
    }
    for ask in plain() {
        scene.play("after leave", vec![Ask::Leave(proto::LeaveRequest::default()), ask]).await;
    }
    let expected: Vec<&str> = include_str!("bad_input.txt").lines().collect();
    assert_eq!(scene.table(), expected, "{}", scene.table().join("\n"));
}

/// Frames that are no requests at all, and whether they count as such; JSON that has more in it than is known is one.
fn frames() -> Vec<(&'static str, Frame, bool)> {
    let truncated = {
        use prost::Message as _;
        let request = proto::SignalRequest { message: Some(metadata("m".repeat(100))) };
        let bytes = request.encode_to_vec();
        bytes[..bytes.len() / 2].to_vec()
    };
    let nested = |depth: usize| format!("{}{}", r#"{"pingReq":{"a":"#.to_owned() + &"[".repeat(depth), "");
    vec![
        ("empty", Frame::Binary(Vec::new().into()), false),
        ("2 MiB of zeros", Frame::Binary(vec![0; 2 * 1024 * 1024].into()), true),
        ("truncated", Frame::Binary(truncated.into()), true),
        ("random", Frame::Binary((0..=255).rev().collect::<Vec<u8>>().into()), true),
        ("submessages without end", Frame::Binary([0x0a, 0x7f].repeat(500_000).into()), true),
        ("no JSON", Frame::Text("hello".into()), true),
        ("half JSON", Frame::Text(r#"{"ping":"#.into()), true),
        ("deep JSON", Frame::Text(nested(100_000).into()), true),
        (
            "JSON that unfolds",
            Frame::Text(
                format!(r#"{{"syncState":{{"publishTracks":[{}{{}}]}}}}"#, "{},".repeat(600_000)).into(),
            ),
            true,
        ),
        ("JSON of another kind", Frame::Text("[1,2,3]".into()), true),
        ("JSON with unknown fields", Frame::Text(r#"{"new":{"a":[1]},"pingReq":{"b":null}}"#.into()), false),
        ("an empty JSON object", Frame::Text("{}".into()), false),
    ]
}

#[tokio::test]
async fn frames_that_are_no_requests_are_counted_and_hurt_nobody() {
    use std::sync::atomic::Ordering::Relaxed;
    let mut scene = Scene::new().await;
    for (name, frame, is_malformed) in frames() {
        let before = scene.server.metrics.frames_malformed.load(Relaxed);
        let mut culprit = scene.server.enter("culprit-1", |_| {}).await;
        culprit.client.send(frame).await;
        // Text turned the replies to JSON; a binary frame turns them back.
        culprit.client.ask(Ask::Ping(1)).await;
        let (_, is_open) = culprit.told_so_far().await;
        assert!(is_open, "{name}");
        let counted = scene.server.metrics.frames_malformed.load(Relaxed) - before;
        assert_eq!(counted, u64::from(is_malformed), "{name}");
        drop(culprit);
        scene.check_bystander("a frame", name).await;
    }
}
