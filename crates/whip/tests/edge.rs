//! The routes as clients meet them, over an invented control plane.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request as HttpRequest, StatusCode};
use base::model::{LeaveReason, Notice, Participant, RoomInfo, Track};
use base::{ParticipantId, RoomId, RoomName, TrackId, UnixMillis};
use contract::media::{Fingerprint, WorkerInfo};
use contract::session::{
    Call, ControlHandle, Event, Join, JoinError, Joined, PublishRefused, PublishTrack, Request, Session,
};
use futures_util::StreamExt as _;
use tower::ServiceExt as _;

const NOW: UnixMillis = UnixMillis(1_760_000_000_123);
const PUBLISH: &str = include_str!("publish.sdp");
const PLAY: &str = include_str!("play.sdp");
const CANDIDATE: &str = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n";
const RESTART: &str = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";

/// The server, and the joins that reached the control plane.
struct World {
    routes: Router,
    metrics: Arc<whip::Metrics>,
    seats: async_channel::Receiver<Seat>,
}

/// What the room holds of a participant.
struct Seat {
    join: Join,
    /// What the session asked for, but for publications, which are answered at once.
    requests: async_channel::Receiver<Request>,
    events: async_channel::Sender<Event>,
}

impl World {
    fn new() -> Self {
        Self::with(whip::Config::default())
    }

    fn with(config: whip::Config) -> Self {
        let (calls, inbox) = async_channel::bounded(16);
        let (made, seats) = async_channel::bounded(16);
        tokio::spawn(control(inbox, made));
        let keys = auth::ApiKeys::development();
        let state = whip::State::new(ControlHandle::new(calls), keys, || NOW, config);
        let metrics = state.metrics.clone();
        Self { routes: whip::router(state), metrics, seats }
    }

    async fn ask(&self, head: axum::http::request::Builder, body: impl Into<Body>) -> Answer {
        let request = head.body(body.into()).expect("a request");
        let response = self.routes.clone().oneshot(request).await.expect("routes do not fail");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        Answer { status, headers, body: String::from_utf8(body.into()).expect("text") }
    }

    /// POST of a good publisher.
    async fn publish(&self, path: &str, token: &str) -> Answer {
        self.ask(post(path, token), PUBLISH).await
    }

    /// A session that publishes: its address, its entity-tag, and its seat.
    async fn publisher(&self) -> (String, String, Seat) {
        let answer = self.publish("/whip", &token("ada", "lobby")).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let seat = self.seats.recv().await.expect("somebody joined");
        (answer.header("location"), answer.header("etag"), seat)
    }

    async fn patch(&self, session: &str, etag: Option<&str>, body: &str) -> Answer {
        let head = with_token("PATCH", session, &token("ada", "lobby"));
        let head = head.header("content-type", "application/trickle-ice-sdpfrag");
        let head = if let Some(etag) = etag { head.header("if-match", etag) } else { head };
        self.ask(head, body.to_owned()).await
    }

    async fn delete(&self, session: &str, token: &str) -> Answer {
        self.ask(with_token("DELETE", session, token), "").await
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter().map(|value| value.to_str().expect("text"));
        values.collect::<Vec<_>>().join(", ")
    }
}

impl Seat {
    /// The next request that `pick` takes.
    async fn request<T>(&self, pick: impl Fn(Request) -> Option<T>) -> T {
        loop {
            let request = tokio::time::timeout(Duration::from_secs(10), self.requests.recv()).await;
            if let Some(found) = pick(request.expect("in time").expect("the session lives")) {
                return found;
            }
        }
    }

    async fn left(&self) -> LeaveReason {
        self.request(|request| if let Request::Leave(reason) = request { Some(reason) } else { None }).await
    }
}

fn with_token(method: &str, path: &str, token: &str) -> axum::http::request::Builder {
    HttpRequest::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"))
}

fn post(path: &str, token: &str) -> axum::http::request::Builder {
    with_token("POST", path, token).header("content-type", "application/sdp")
}

fn mint(claims: auth::Claims) -> String {
    let claims = claims.valid_for(NOW, Duration::from_secs(600));
    auth::mint(auth::DEVELOPMENT_KEY, auth::DEVELOPMENT_SECRET, &claims)
}

fn token(identity: &str, room: &str) -> String {
    mint(auth::Claims::join(identity, room))
}

fn with_grants(change: impl Fn(&mut auth::VideoGrants)) -> String {
    let mut claims = auth::Claims::join("ada", "lobby");
    change(claims.video.get_or_insert_default());
    mint(claims)
}

/// Rooms are `full`, `gone` (does not exist), `busy`, `strict` (publishes no video), `silent` (never answers), or any other.
async fn control(calls: async_channel::Receiver<Call>, seats: async_channel::Sender<Seat>) {
    while let Ok(call) = calls.recv().await {
        let Call::Join(call) = call else { continue };
        let outcome = match call.join.room.as_str() {
            "full" => Err(JoinError::RoomFull),
            "gone" => Err(JoinError::NoSuchRoom),
            "busy" => Err(JoinError::Unavailable),
            _ => Ok(join(call.join, &seats).await),
        };
        let _ = call.reply.send(outcome).await;
    }
}

async fn join(join: Join, seats: &async_channel::Sender<Seat>) -> Joined {
    let id = ParticipantId(1);
    let (requests, asked) = async_channel::bounded(256);
    let (outbox, events) = async_channel::bounded(256);
    let (passed, rest) = async_channel::bounded(256);
    let joined = Joined {
        participant: Arc::new(participant(join.identity.as_str(), &join.name, join.permissions.clone())),
        room: room(&join.room),
        others: Vec::new(),
        worker: WorkerInfo {
            index: 0,
            candidates: vec!["192.0.2.7:7882".parse().expect("an address")],
            fingerprint: Fingerprint([7; 32]),
        },
        session: Session::new(id, requests),
        events,
    };
    let name = join.room.clone();
    let told = outbox.clone();
    tokio::spawn(async move {
        while let Ok((_, request)) = asked.recv().await {
            match request {
                Request::Publish(_) if name.as_str() == "silent" => {}
                Request::Publish(track) => drop(told.send(published(&name, &track)).await),
                other => drop(passed.send(other).await),
            }
        }
    });
    let _ = seats.send(Seat { join, requests: rest, events: outbox }).await;
    joined
}

fn published(room: &RoomName, asked: &PublishTrack) -> Event {
    let refused = room.as_str() == "strict" && asked.kind == base::MediaKind::Video;
    let id = if asked.kind == base::MediaKind::Audio { 11 } else { 12 };
    let outcome = if refused {
        Err(PublishRefused::NotAllowed)
    } else {
        Ok(Arc::new(asked.clone().into_track(TrackId(id))))
    };
    Event::Published { cid: asked.cid.clone(), outcome }
}

/// Somebody's picture comes.
fn subscribe(id: u64) -> Event {
    let publisher = Arc::new(participant("bob", "", Default::default()));
    let track = Track::new(TrackId(id), base::MediaKind::Video, base::CodecKind::Vp8);
    Event::Notice(Notice::Subscribe { publisher, track: Arc::new(track) })
}

fn participant(identity: &str, name: &str, permissions: base::model::Permissions) -> Participant {
    Participant {
        name: name.to_owned(),
        permissions,
        joined_at: NOW,
        ..Participant::new(ParticipantId(1), base::Identity::new(identity))
    }
}

fn room(name: &RoomName) -> RoomInfo {
    RoomInfo {
        id: RoomId(5),
        name: name.clone(),
        metadata: String::new(),
        empty_timeout_s: 300,
        departure_timeout_s: 20,
        max_participants: 0,
        created_at: NOW,
        participants: 1,
        publishers: 0,
        recording: false,
    }
}

#[tokio::test]
async fn a_post_with_an_offer_makes_a_participant_that_publishes() {
    let world = World::new();
    let answer = world.publish("/whip/lobby", &token("ada", "lobby")).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/sdp");
    assert!(answer.header("location").starts_with("/whip/session/"));
    assert!(answer.header("etag").starts_with('"') && answer.header("etag").len() > 10);
    assert_eq!(answer.header("accept-patch"), "application/trickle-ice-sdpfrag");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(answer.header("access-control-expose-headers").contains("Location"));
    assert!(
        answer.body.contains("a=candidate:1 1 udp 2130706431 192.0.2.7 7882 typ host"),
        "{}",
        answer.body
    );
    let seat = world.seats.recv().await.expect("somebody joined");
    assert_eq!((seat.join.identity.as_str(), seat.join.room.as_str()), ("ada", "lobby"));
    assert!(!seat.join.auto_subscribe, "a WHIP client receives nothing");
    let announced =
        |request| if let Request::TrackNegotiated { track, .. } = request { Some(track) } else { None };
    assert_eq!(seat.request(announced).await, TrackId(11));
    assert_eq!(world.metrics.publishing.load(Relaxed), 1);
}

#[tokio::test]
async fn a_player_joins_to_receive_everything() {
    let world = World::new();
    let answer = world.ask(post("/whep", &token("pia", "lobby")), PLAY).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(answer.header("location").starts_with("/whep/session/"));
    let seat = world.seats.recv().await.expect("somebody joined");
    assert!(seat.join.auto_subscribe);
    // Sessions of the one protocol are not found under the other.
    let other = answer.header("location").replace("whep", "whip");
    assert_eq!(world.delete(&other, &token("pia", "lobby")).await.status, 404);
    assert_eq!(world.delete(&answer.header("location"), &token("pia", "lobby")).await.status, 200);
    assert_eq!(seat.left().await, LeaveReason::ClientInitiated);
}

/// A player, its address, and its seat.
async fn player(world: &World) -> (String, Answer, Seat) {
    let answer = world.ask(post("/whep", &token("pia", "lobby")), PLAY).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let seat = world.seats.recv().await.expect("somebody joined");
    (answer.header("location"), answer, seat)
}

fn json(path: &str, token: &str) -> axum::http::request::Builder {
    with_token("POST", path, token).header("content-type", "application/json")
}

#[tokio::test]
async fn a_player_finds_the_extensions_by_link_and_chooses_a_layer() {
    let world = World::new();
    let (session, answer, seat) = player(&world).await;
    let links = answer.header("link");
    assert!(
        links.contains(&format!("<{session}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\"")),
        "{links}"
    );
    assert!(
        links.contains(&format!("<{session}/sse>")) && links.contains("events=\"active,inactive,layers\""),
        "{links}"
    );
    seat.events.send(subscribe(32)).await.expect("it listens");
    let (mine, path) = (token("pia", "lobby"), format!("{session}/layer"));
    assert_eq!(world.ask(json(&path, &mine), "{\"paused\": true}").await.status, 200);
    // It may have begun to play before.
    let paused = |request| match request {
        Request::TrackSettings { settings, .. } => settings.disabled.then_some(()),
        _ => None,
    };
    seat.request(paused).await;
    for (what, head, body, expected) in [
        ("no token", json(&path, ""), "{}", 401),
        ("somebody else's", json(&path, &token("bob", "lobby")), "{}", 403),
        ("no JSON", json(&path, &mine), "layer", 400),
        ("another type of body", with_token("POST", &path, &mine), "{}", 415),
        ("a section that is not", json(&path, &mine), "{\"mediaId\": \"9\"}", 400),
        ("a layer that is not", json(&path, &mine), "{\"rid\": \"x\"}", 422),
        ("no such session", json("/whep/session/0/layer", &mine), "{}", 404),
    ] {
        assert_eq!(world.ask(head, body).await.status, expected, "{what}");
    }
    let huge = world.ask(json(&path, &mine), format!("{{\"x\": \"{}\"}}", "x".repeat(5_000))).await;
    assert_eq!(huge.status, 413);
}

#[tokio::test]
async fn a_player_hears_what_is_played_until_its_stream_is_closed() {
    let world = World::new();
    let (session, _, seat) = player(&world).await;
    let (mine, path) = (token("pia", "lobby"), format!("{session}/sse"));
    assert_eq!(world.ask(json(&path, &mine), "[\"viewercount\"]").await.status, 400);
    let opened = world.ask(json(&path, &mine), "[\"active\", \"inactive\"]").await;
    assert_eq!(opened.status, 201);
    let stream = opened.header("location");
    // A browser's EventSource sends no token.
    let response =
        world.routes.clone().oneshot(HttpRequest::get(&stream).body(Body::empty()).expect("a request"));
    let response = response.await.expect("routes do not fail");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    seat.events.send(subscribe(32)).await.expect("it listens");
    assert_eq!(next(&mut body).await, "event: active\ndata: {}\n\n");
    let gone = Event::Notice(Notice::Unsubscribe { track: TrackId(32) });
    seat.events.send(gone).await.expect("it listens");
    assert_eq!(next(&mut body).await, "event: inactive\ndata: {}\n\n");
    assert_eq!(world.ask(with_token("DELETE", &stream, &mine), "").await.status, 200);
    assert!(body.next().await.is_none(), "it ends");
    assert_eq!(world.ask(HttpRequest::get(&stream), "").await.status, 404);
    assert_eq!(world.ask(with_token("DELETE", &stream, &mine), "").await.status, 404);
}

async fn next(body: &mut axum::body::BodyDataStream) -> String {
    let chunk = tokio::time::timeout(Duration::from_secs(10), body.next()).await.expect("in time");
    String::from_utf8(chunk.expect("it goes on").expect("it is whole").to_vec()).expect("text")
}

#[tokio::test]
async fn players_know_the_endpoint_by_its_type() {
    let answer = World::new().ask(HttpRequest::head("/whep"), "").await;
    assert_eq!((answer.status, answer.header("content-type").as_str()), (200, "application/sdp"));
}

#[tokio::test]
async fn requests_are_refused_with_the_status_that_says_why() {
    let world = World::new();
    let good = token("ada", "lobby");
    let plain = |token: &str| post("/whip", token);
    let mistyped = with_token("POST", "/whip", &good).header("content-type", "text/plain");
    let huge = format!("{PUBLISH}{}", "a=x\r\n".repeat(60_000));
    for (what, head, body, expected) in [
        ("no token", HttpRequest::post("/whip").header("content-type", "application/sdp"), PUBLISH, 401),
        ("no good token", plain("x.y.z"), PUBLISH, 401),
        ("no roomJoin", plain(&with_grants(|grants| grants.room_join = false)), PUBLISH, 403),
        ("no canPublish", plain(&with_grants(|grants| grants.can_publish = Some(false))), PUBLISH, 403),
        ("another room's token", post("/whip/other", &good), PUBLISH, 403),
        ("another media type", mistyped, PUBLISH, 415),
        ("no media type", with_token("POST", "/whip", &good), PUBLISH, 415),
        ("an answer is not accepted", plain(&good).header("accept", "text/html, */*;q=0"), PUBLISH, 406),
        ("too large", plain(&good), huge.as_str(), 413),
        ("no SDP", plain(&good), "{\"sdp\": 1}", 400),
        ("a player's offer", plain(&good), PLAY, 422),
        ("no such room", plain(&token("ada", "gone")), PUBLISH, 404),
        ("a full room", plain(&token("ada", "full")), PUBLISH, 409),
        ("a full server", plain(&token("ada", "busy")), PUBLISH, 503),
        ("video is not allowed", plain(&token("ada", "strict")), PUBLISH, 403),
        ("another method", with_token("PUT", "/whip", &good), "", 405),
    ] {
        let answer = world.ask(head, body.to_owned()).await;
        assert_eq!(answer.status, expected, "{what}: {}", answer.body);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "*",
            "{what}: pages must be able to read it"
        );
        assert_eq!(expected == 401, !answer.header("www-authenticate").is_empty(), "{what}");
        assert_eq!([409, 503].contains(&expected), !answer.header("retry-after").is_empty(), "{what}");
    }
    assert_eq!(world.metrics.publishing.load(Relaxed), 0);
    let strict = world.seats.recv().await.expect("it joined first");
    assert_eq!(strict.left().await, LeaveReason::JoinFailure);
}

#[tokio::test]
async fn media_types_and_accept_are_read_as_http_writes_them() {
    let world = World::new();
    for (accept, content) in [
        ("application/sdp", "application/sdp; charset=utf-8"),
        ("*/*", "Application/SDP"),
        ("text/html, application/*;q=0.5", "application/sdp"),
    ] {
        let head = with_token("POST", "/whip", &token("ada", "lobby")).header("accept", accept);
        let answer = world.ask(head.header("content-type", content), PUBLISH).await;
        assert_eq!(answer.status, 201, "{accept} {content}: {}", answer.body);
    }
}

#[tokio::test]
async fn candidates_come_by_patch_and_need_the_entity_tag() {
    let world = World::new();
    let (session, etag, _seat) = world.publisher().await;
    for (tag, body, expected) in [
        (Some(etag.as_str()), CANDIDATE, 204),
        (None, CANDIDATE, 428),
        (Some("\"other\""), CANDIDATE, 412),
        (Some(etag.as_str()), "no fragment", 400),
        (Some(etag.as_str()), "a=ice-ufrag:only\r\n", 400),
    ] {
        let answer = world.patch(&session, tag, body).await;
        assert_eq!(answer.status, expected, "{tag:?} {body}: {}", answer.body);
        assert_eq!(answer.header("etag"), "", "only a restart has a new one");
    }
    let large = CANDIDATE.repeat(1_000);
    assert_eq!(world.patch(&session, Some(&etag), &large).await.status, 413);
    let head =
        with_token("PATCH", &session, &token("ada", "lobby")).header("content-type", "application/sdp");
    assert_eq!(world.ask(head.header("if-match", &etag), CANDIDATE).await.status, 415);
    assert_eq!(world.patch("/whip/session/0", Some(&etag), CANDIDATE).await.status, 404);
}

#[tokio::test]
async fn a_patch_with_new_credentials_restarts_ice_and_older_patches_come_too_late() {
    let world = World::new();
    let (session, etag, seat) = world.publisher().await;
    let answer = world.patch(&session, Some("*"), RESTART).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), "application/trickle-ice-sdpfrag");
    let fresh = answer.header("etag");
    assert_ne!(fresh, etag);
    let local = seat.request(|request| match request {
        Request::RestartIce { local, .. } => Some(local),
        _ => None,
    });
    assert!(answer.body.contains(&format!("a=ice-ufrag:{}\r\n", local.await.ufrag)), "{}", answer.body);
    assert!(answer.body.contains("a=group:BUNDLE 0 1\r\n") && answer.body.contains("a=ice-lite\r\n"));
    assert_eq!(world.patch(&session, Some(&etag), CANDIDATE).await.status, 412);
    assert_eq!(world.patch(&session, Some(&fresh), CANDIDATE).await.status, 204);
}

#[tokio::test]
async fn a_session_is_its_participants_alone() {
    let world = World::new();
    let (session, _, seat) = world.publisher().await;
    assert_eq!(world.delete(&session, "").await.status, 401);
    assert_eq!(world.delete(&session, &token("bob", "lobby")).await.status, 403);
    assert_eq!(world.delete(&session, &token("ada", "other")).await.status, 403);
    // A fresh token of the same participant is as good, and no entity-tag is asked for.
    let fresh = mint(auth::Claims { name: "Ada".to_owned(), ..auth::Claims::join("ada", "lobby") });
    assert_eq!(world.delete(&session, &fresh).await.status, 200);
    assert_eq!(seat.left().await, LeaveReason::ClientInitiated);
    assert_eq!(world.delete(&session, &fresh).await.status, 404, "it is gone");
}

#[tokio::test]
async fn a_session_that_the_room_ends_is_gone() {
    let world = World::new();
    let (session, etag, seat) = world.publisher().await;
    let closed = Event::Notice(Notice::Closed(LeaveReason::ParticipantRemoved));
    seat.events.send(closed).await.expect("it listens");
    while seat.requests.recv().await.is_ok() {}
    assert_eq!(world.patch(&session, Some(&etag), CANDIDATE).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_media_never_comes_is_removed() {
    let world = World::new();
    let (session, _, seat) = world.publisher().await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(seat.left().await, LeaveReason::JoinFailure);
    assert_eq!(world.delete(&session, &token("ada", "lobby")).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_does_not_answer_gives_the_place_back() {
    let world = World::with(whip::Config { max_sessions: 1, ..whip::Config::default() });
    assert_eq!(world.publish("/whip", &token("ada", "silent")).await.status, 503);
    let seat = world.seats.recv().await.expect("it joined first");
    assert_eq!(seat.left().await, LeaveReason::JoinFailure);
    assert_eq!(world.publish("/whip", &token("ada", "lobby")).await.status, 201);
}

#[tokio::test]
async fn there_are_no_more_sessions_than_there_may_be() {
    let world = World::with(whip::Config { max_sessions: 1, ..whip::Config::default() });
    let (session, _, _seat) = world.publisher().await;
    assert_eq!(world.publish("/whip", &token("bob", "lobby")).await.status, 503);
    assert_eq!(world.delete(&session, &token("ada", "lobby")).await.status, 200);
    assert_eq!(world.publish("/whip", &token("bob", "lobby")).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_before_the_answer_leaves_nobody_behind() {
    let world = World::new();
    let token = token("ada", "silent");
    let asking = tokio::time::timeout(Duration::ZERO, world.publish("/whip", &token));
    assert!(asking.await.is_err(), "it hangs up");
    let seat = world.seats.recv().await.expect("it joined all the same");
    seat.left().await;
}

#[tokio::test]
async fn pages_of_any_origin_are_told_what_they_may_send() {
    let world = World::new();
    for (path, name, value) in [
        ("/whip/lobby", "accept-post", "application/sdp"),
        ("/whep", "accept-post", "application/sdp"),
        ("/whip/session/1", "accept-patch", "application/trickle-ice-sdpfrag"),
    ] {
        let head = HttpRequest::options(path).header("origin", "https://app.example");
        let answer =
            world.ask(head.header("access-control-request-headers", "authorization, if-match"), "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header(name), value);
        assert_eq!(answer.header("access-control-allow-headers"), "authorization, if-match");
        assert!(answer.header("access-control-allow-methods").contains("PATCH"));
        let get = world.ask(HttpRequest::get(path), "").await;
        assert_eq!(get.status, StatusCode::NO_CONTENT, "no representation");
    }
}

#[tokio::test]
async fn ice_servers_are_told_by_link() {
    let turn = whip::IceServer {
        urls: vec!["turn:turn.example:3478?transport=udp".to_owned()],
        username: "u\"1".to_owned(),
        credential: "secret".to_owned(),
    };
    let stun = whip::IceServer { urls: vec!["stun:stun.example".to_owned()], ..Default::default() };
    let world = World::with(whip::Config { ice_servers: vec![stun, turn], ..whip::Config::default() });
    let links = world.publish("/whip", &token("ada", "lobby")).await.header("link");
    let expected = "<stun:stun.example>; rel=\"ice-server\", <turn:turn.example:3478?transport=udp>; rel=\"ice-server\"; \
                    username=\"u\\\"1\"; credential=\"secret\"; credential-type=\"password\"";
    assert_eq!(links, expected);
}
