//! Tokens that are no good.

use auth::Claims;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::{ConnectError, Event, Options, Room};

use super::mallory::{gzip, wrap};
use crate::PATIENCE;
use crate::call::{Call, ROOM};
use crate::server::Server;

/// What is wrong, the token, the status and a word of the reason.
type Bad = (&'static str, String, u16, &'static str);

fn bad_tokens(server: &Server) -> Vec<Bad> {
    let with = |change: fn(&mut Claims)| server.token_with(ROOM, "mallory", change);
    let good = with(|_| {});
    let (signed, tag) = good.rsplit_once('.').expect("a token");
    let payload = signed.split_once('.').expect("a token").1;
    let header = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let mut other_tag = tag.to_owned();
    other_tag.replace_range(0..1, if tag.starts_with('A') { "B" } else { "A" });
    let by = |key: &str, secret: &str| {
        let claims = Claims::join("mallory", ROOM);
        let claims = claims.valid_for(crate::server::now(), std::time::Duration::from_secs(3_600));
        auth::mint(key, secret, &claims)
    };
    vec![
        ("expired", with(|claims| claims.exp = Some(1_600_000_000)), 401, "expired"),
        ("not yet valid", with(|claims| claims.nbf = Some(u64::MAX / 2)), 401, "not valid yet"),
        ("valid for ever", with(|claims| claims.exp = None), 401, "no expiry"),
        ("unsigned", format!("{}.{payload}.", header(r#"{"alg":"none","typ":"JWT"}"#)), 401, "HS256"),
        (
            "unsigned, signature kept",
            format!("{}.{payload}.{tag}", header(r#"{"alg":"none"}"#)),
            401,
            "HS256",
        ),
        ("of another algorithm", format!("{}.{payload}.{tag}", header(r#"{"alg":"RS256"}"#)), 401, "HS256"),
        ("with its signature cut off", signed.to_owned(), 401, "invalid token"),
        ("with an empty signature", format!("{signed}."), 401, "signature"),
        ("with another signature", format!("{signed}.{other_tag}"), 401, "signature"),
        ("of an unknown key", by("nobody", "secret"), 401, "API key"),
        ("signed with another secret", by(auth::DEVELOPMENT_KEY, "guess"), 401, "signature"),
        ("without roomJoin", with(|claims| grants(claims).room_join = false), 401, "roomJoin"),
        ("without any grant", with(|claims| claims.video = None), 401, "roomJoin"),
        ("without identity", with(|claims| claims.sub.clear()), 400, "sub"),
        ("without room", with(|claims| grants(claims).room.clear()), 400, "room"),
        ("that is no token", "hello".to_owned(), 401, "not a signed JSON Web Token"),
        ("of dots", "....".to_owned(), 401, "invalid token"),
        ("of nonsense", format!("{}.%%%.{tag}", header(r#"{"alg":"HS256"}"#)), 401, "invalid token"),
        (
            "of a huge object",
            format!("{}.{}.x", header(r#"{"alg":"HS256"}"#), "A".repeat(98_304)),
            401,
            "too long",
        ),
    ]
}

fn grants(claims: &mut Claims) -> &mut auth::VideoGrants {
    claims.video.get_or_insert_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_token_opens_nothing_and_its_bearer_is_told_why() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let all = bad_tokens(&server);
    for (what, token, status, reason) in &all {
        let outcome = Room::connect(&server.socket_url(), token, Options::default()).await;
        match outcome {
            Err(ConnectError::Refused { status: given, text }) => {
                assert_eq!(given, *status, "a token {what}: {text}");
                assert!(text.contains(reason), "a token {what}: {text}");
            }
            other => panic!("a token {what} must be refused: {other:?}"),
        }
        // Clients ask here after a failed upgrade and must be given the same reason.
        let request = wrap(1, &gzip(b""));
        let path = format!("/rtc/v1/validate?join_request={request}");
        let (given, text) = server.ask("GET", &path, &format!("authorization: Bearer {token}\r\n"), "");
        assert_eq!(given, *status, "validate, a token {what}: {text}");
        assert!(text.contains(reason), "validate, a token {what}: {text}");
        // And it opens no other door either.
        let body = format!(r#"{{"room":"{ROOM}"}}"#);
        for (method, path) in
            [("POST", "/twirp/livekit.RoomService/ListParticipants"), ("GET", "/debug/rooms/undisturbed")]
        {
            let headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
            let (given, text) = server.ask(method, path, &headers, &body);
            assert!(matches!(given, 401 | 403), "{path}, a token {what}: {text}");
        }
    }
    // Asking whether one may join is no join.
    let refused = server.metric("stoa_livekit_joins_total", "outcome=\"unauthorized\"");
    assert_eq!(refused, all.len() as f64);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_another_room_shows_nothing_of_this_one() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let token = server.token_with("elsewhere", "mallory", |claims| grants(claims).room_admin = true);
    let headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
    let body = format!(r#"{{"room":"{ROOM}","identity":"ada"}}"#);
    for method in ["ListParticipants", "RemoveParticipant", "DeleteRoom", "ListRooms"] {
        let path = format!("/twirp/livekit.RoomService/{method}");
        let (status, text) = server.ask("POST", &path, &headers, &body);
        assert!(matches!(status, 401 | 403) && text.contains("\"msg\":\""), "{method}: {text}");
    }
    let (status, text) = server.ask("GET", "/debug/rooms/undisturbed", &headers, "");
    assert!(matches!(status, 401 | 403), "{text}");
    // The token decides the room, whatever the address says.
    let url = format!("{}/?room={ROOM}", server.socket_url());
    let options = Options { timeout: PATIENCE, ..Options::default() };
    let (room, events) = Room::connect(&url, &token, options).await.expect("its own room lets it in");
    assert_eq!(room.name(), "elsewhere");
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::Participant(_) | Event::Packet(_)), "{event:?}");
    }
    room.leave().await;
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}
