use std::time::Duration;

use auth::{Claims, VideoGrants};
use axum::body::{Body, to_bytes};
use axum::http::Request;
use contract::session::{AdminRequest, Call};
use tower::ServiceExt as _;

use super::*;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const SECRET: &str = "a secret of at least thirty-two bytes";

/// The routes over a control that knows one room, "lobby".
fn routes(health: Health) -> Router {
    let (calls, asked) = async_channel::bounded(8);
    tokio::spawn(async move {
        while let Ok(call) = asked.recv().await {
            if let Call::Admin(AdminRequest::Snapshot { room, reply }) = call {
                let state = (room.as_str() == "lobby").then(|| r#"{"participants":0}"#.to_owned());
                let _ = reply.send(state).await;
            }
        }
    });
    router(Admin {
        control: ControlHandle::new(calls),
        keys: ApiKeys::new([("key".to_owned(), SECRET.to_owned())]),
        debug_token: Some("the operator's own".to_owned()),
        health,
        sources: vec![Box::new(|visit| visit("stoa_peers", &[], 3.0))],
        now: || NOW,
    })
}

async fn get(path: &str, bearer: Option<&str>, health: Health) -> (StatusCode, String) {
    let mut request = Request::get(path);
    if let Some(token) = bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Body::empty()).expect("a request");
    let answer = routes(health).oneshot(request).await.expect("an answer");
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

fn admin_token(room: &str) -> String {
    let video = VideoGrants { room_admin: true, room: room.to_owned(), ..VideoGrants::default() };
    let claims = Claims { video: Some(video), ..Claims::default() };
    auth::mint("key", SECRET, &claims.valid_for(NOW, Duration::from_secs(60)))
}

#[tokio::test]
async fn readiness_follows_the_life_of_the_process() {
    let health = Health::default();
    for (phase, status) in [(Phase::Starting, 503), (Phase::Serving, 200), (Phase::Draining, 503)] {
        health.enter(phase);
        assert_eq!(get("/readyz", None, health.clone()).await.0.as_u16(), status, "{phase:?}");
        assert_eq!(get("/healthz", None, health.clone()).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn metrics_are_served_as_text() {
    let (status, text) = get("/metrics", None, Health::default()).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "# TYPE stoa_peers gauge\nstoa_peers 3\n"));
}

#[tokio::test]
async fn a_room_is_shown_to_who_administers_it_and_to_the_operator() {
    for token in [admin_token("lobby"), "the operator's own".to_owned()] {
        let (status, text) = get("/debug/rooms/lobby", Some(&token), Health::default()).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, r#"{"participants":0}"#));
    }
}

#[tokio::test]
async fn a_room_is_shown_to_nobody_else() {
    let joiner =
        auth::mint("key", SECRET, &Claims::join("ann", "lobby").valid_for(NOW, Duration::from_secs(60)));
    let expired =
        auth::mint("key", SECRET, &Claims::default().valid_for(UnixMillis(0), Duration::from_secs(60)));
    let foreign = auth::mint("key", "another secret of thirty-two bytes or so", &Claims::default());
    for (token, wanted) in [
        (None, 401),
        (Some(""), 401),
        (Some("the operator's owN"), 401),
        (Some("the operator's"), 401),
        (Some(expired.as_str()), 401),
        (Some(foreign.as_str()), 401),
        (Some(joiner.as_str()), 403),
        (Some(admin_token("office").as_str()), 403),
    ] {
        let (status, text) = get("/debug/rooms/lobby", token, Health::default()).await;
        assert_eq!(status.as_u16(), wanted, "{token:?}: {text}");
        assert!(!text.contains("participants"));
    }
}

#[tokio::test]
async fn a_room_that_is_not_there_is_not_found() {
    let (status, _) = get("/debug/rooms/office", Some(&admin_token("office")), Health::default()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
