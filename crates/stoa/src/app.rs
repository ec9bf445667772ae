//! A very small application server for development: it gives a token to everybody who asks.
//!
//! In production this is the application's own part: it knows who may enter which room. `stoa serve` has none of it.

use std::sync::Arc;
use std::time::Duration;

use auth::{ApiKeys, Claims};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::time;

/// Longest room name, name or identity, in bytes.
const MAX_TEXT: usize = 256;
/// Largest request: three such texts, however they are escaped.
const MAX_BODY: usize = 16 * 1024;
const LIFE: Duration = Duration::from_secs(6 * 3_600);

/// Who gives out tokens, and how it is reached.
pub struct App {
    /// Signs with the first of these.
    pub keys: ApiKeys,
    /// The server is reached over TLS.
    pub tls: bool,
}

/// `POST /api/token`.
pub fn router(app: App) -> Router {
    let token = post(token).layer(DefaultBodyLimit::max(MAX_BODY));
    Router::new().route("/api/token", token).with_state(Arc::new(app))
}

#[derive(Deserialize)]
struct Wanted {
    room: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    identity: String,
}

#[derive(Serialize)]
struct Entry {
    token: String,
    /// Where the token is good, as a WebSocket address.
    url: String,
}

async fn token(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Entry>, (StatusCode, &'static str)> {
    let room = checked(&wanted.room, "Name the room.", "The room's name is too long.")?;
    let person = if wanted.identity.trim().is_empty() { &wanted.name } else { &wanted.identity };
    let identity = checked(person, "Give a name.", "The name is too long.")?;
    let name = if wanted.name.trim().is_empty() { identity } else { wanted.name.trim() };
    if name.len() > MAX_TEXT {
        return Err((StatusCode::BAD_REQUEST, "The name is too long."));
    }
    let mut claims = Claims::join(identity, room).valid_for(time::unix_millis(), LIFE);
    claims.name = name.to_owned();
    claims.messaging = Some(auth::MessagingGrants::default());
    if let Some(grants) = &mut claims.video {
        grants.can_update_own_metadata = Some(true);
    }
    let (key, secret) = app.keys.first().ok_or((StatusCode::SERVICE_UNAVAILABLE, "There is no API key."))?;
    Ok(Json(Entry { token: auth::mint(key, secret, &claims), url: own_url(&headers, app.tls) }))
}

fn checked<'a>(
    text: &'a str,
    absent: &'static str,
    long: &'static str,
) -> Result<&'a str, (StatusCode, &'static str)> {
    match text.trim() {
        "" => Err((StatusCode::BAD_REQUEST, absent)),
        text if text.len() > MAX_TEXT => Err((StatusCode::BAD_REQUEST, long)),
        text => Ok(text),
    }
}

/// Our address as the page reached it, whichever of our names that was.
fn own_url(headers: &HeaderMap, tls: bool) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("{}://{host}", if tls { "wss" } else { "ws" })
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(body: &str) -> (StatusCode, serde_json::Value) {
        let request = Request::post("/api/token")
            .header("content-type", "application/json")
            .header("host", "10.0.0.5:7880")
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let app = App { keys: ApiKeys::development(), tls: true };
        let answer = router(app).oneshot(request).await.expect("an answer");
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn the_token_lets_its_bearer_into_the_room_under_its_name() {
        let (status, entry) = ask(r#"{"room":" lobby ","name":"Ann","identity":"ann-1"}"#).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(entry["url"], "wss://10.0.0.5:7880");
        let token = entry["token"].as_str().expect("a token");
        let verified = auth::verify(&ApiKeys::development(), token, time::unix_millis()).expect("it is good");
        let (identity, room) = verified.claims.check_join().expect("it lets in");
        assert_eq!((identity.as_str(), room.as_str()), ("ann-1", "lobby"));
        assert_eq!(verified.claims.name, "Ann");
    }

    #[tokio::test]
    async fn who_says_too_little_or_too_much_is_refused() {
        let long = format!(r#"{{"room":"{}","name":"Ann"}}"#, "x".repeat(MAX_TEXT + 1));
        for body in [r#"{"room":"","name":"Ann"}"#, r#"{"room":"lobby"}"#, &long] {
            assert_eq!(ask(body).await.0, StatusCode::BAD_REQUEST, "{body}");
        }
        assert!(ask("not json").await.0.is_client_error());
    }
}
