//! The routes: what of HTTP is checked before a session is made or asked, and which headers answers carry.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Path, Request, State as FromState};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use sdp::MAX_FRAGMENT_LEN;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::Protocol;
use crate::admission;
use crate::config::{Config, IceServer, State};
use crate::extensions;
use crate::metrics::count;
use crate::refusal::Refusal;
use crate::registry::Entry;
use crate::session::{Offer, Patched};
use crate::task::{self, Begun, Call, Start};

/// Largest offer, in bytes. Chromium writes 5.4 kB about each video section: 40 of them fit.
const MAX_OFFER: usize = 256 * 1024;
/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(10);

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// `/whip` and `/whep`, with or without the room's name behind it, and the sessions made there.
///
/// The token names the room, as everywhere; programs that know nothing but an address and a token need no more. A room in the
/// path must be the token's: it is for people who tell addresses apart by it. Sessions have addresses without the room's
/// name, so that it may hold any characters.
pub fn router(state: State) -> Router {
    let mut router = Router::new();
    for protocol in [Protocol::Whip, Protocol::Whep] {
        let root = format!("/{}", protocol.name());
        router = router
            .route(&root, endpoint(protocol))
            .route(&format!("{root}/"), endpoint(protocol))
            .route(&format!("{root}/{{room}}"), room(protocol))
            .route(&format!("{root}/session/{{id}}"), session(protocol));
    }
    router.merge(extensions::routes()).layer(middleware::from_fn(cors)).with_state(state)
}

fn endpoint(protocol: Protocol) -> MethodRouter<State> {
    let begin = move |FromState(state), request| begin(state, protocol, None, request);
    post(begin).head(discovered).get(nothing).layer(DefaultBodyLimit::max(MAX_OFFER))
}

fn room(protocol: Protocol) -> MethodRouter<State> {
    let begin = move |FromState(state), Path(room): Path<String>, request| {
        begin(state, protocol, Some(room), request)
    };
    post(begin).head(discovered).get(nothing).layer(DefaultBodyLimit::max(MAX_OFFER))
}

fn session(protocol: Protocol) -> MethodRouter<State> {
    let change =
        move |FromState(state), Path(id): Path<String>, request| change(state, protocol, id, request);
    let end = move |FromState(state), Path(id): Path<String>, headers| end(state, protocol, id, headers);
    get(nothing).patch(change).delete(end).layer(DefaultBodyLimit::max(MAX_FRAGMENT_LEN))
}

/// These resources have no representation (RFC 9725 section 4.1).
async fn nothing() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// HEAD: by this type players know an address as one of these (draft-ietf-wish-whep, discoverability).
async fn discovered() -> Response {
    [(header::CONTENT_TYPE, SDP)].into_response()
}

/// POST: a new session.
async fn begin(state: State, protocol: Protocol, room: Option<String>, request: Request) -> Response {
    match Box::pin(try_begin(&state, protocol, room, request)).await {
        Ok(begun) => created(&state.config, protocol, begun),
        Err(refusal) => refuse(&state, refusal),
    }
}

async fn try_begin(
    state: &State,
    protocol: Protocol,
    room: Option<String>,
    request: Request,
) -> Result<Begun, Refusal> {
    let (join, owner) = admission::admit(state, protocol, request.headers(), room.as_deref())?;
    check_type(request.headers(), SDP)?;
    if !accepts_sdp(request.headers()) {
        return Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            format!("the answer is {SDP}, which Accept excludes"),
        ));
    }
    let text = body(request).await?;
    let offer = Offer::read(protocol, &text, state.config.red)?;
    let place = state.registry.reserve().ok_or_else(|| {
        Refusal::unavailable("this server has as many WHIP and WHEP sessions as it may have")
    })?;
    let (begun, outcome) = oneshot::channel();
    tokio::spawn(task::run(state.clone(), Start { protocol, join, owner, offer, place }, begun));
    // The task ends without a word only when the server does.
    outcome.await.unwrap_or_else(|_| Err(Refusal::unavailable("the server is stopping")))
}

fn created(config: &Config, protocol: Protocol, begun: Begun) -> Response {
    let mut response = (StatusCode::CREATED, begun.answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    // Only the path: behind a proxy we do not know our own address.
    let location = format!("/{}/session/{}", protocol.name(), begun.id);
    let told = [(header::LOCATION, location), (header::ETAG, quoted(&begun.etag))];
    let extensions = (protocol == Protocol::Whep).then(|| extensions::links(&begun.id));
    let links = config.ice_servers.iter().flat_map(links).chain(extensions.into_iter().flatten());
    let links = links.map(|link| (header::LINK, link));
    for (name, value) in told.into_iter().chain(links) {
        // Fails for characters that a header may not have, which only a configured server can bring.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(name, value);
        }
    }
    response
}

/// A server as RFC 9725 section 4.6 has it, one link per URL.
fn links(server: &IceServer) -> impl Iterator<Item = String> {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let credentials = match server.username.as_str() {
        "" => String::new(),
        name => format!(
            "; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
            escaped(name),
            escaped(&server.credential)
        ),
    };
    server.urls.iter().map(move |url| format!("<{url}>; rel=\"ice-server\"{credentials}"))
}

/// PATCH: candidates, or a restart of ICE.
async fn change(state: State, protocol: Protocol, id: String, request: Request) -> Response {
    match Box::pin(try_change(&state, protocol, &id, request)).await {
        Ok(Patched::Trickled) => {
            count(&state.metrics.trickles);
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(Patched::Restarted { etag, fragment }) => {
            count(&state.metrics.restarts);
            let headers = [(header::CONTENT_TYPE, FRAGMENT.to_owned()), (header::ETAG, quoted(&etag))];
            (headers, fragment).into_response()
        }
        Err(refusal) => refuse(&state, refusal),
    }
}

async fn try_change(
    state: &State,
    protocol: Protocol,
    id: &str,
    request: Request,
) -> Result<Patched, Refusal> {
    let entry = find(state, protocol, id, request.headers())?;
    check_type(request.headers(), FRAGMENT)?;
    let if_match = request.headers().get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    let if_match = if_match.map(str::to_owned);
    let text = body(request).await?;
    let fragment = sdp::parse_fragment(&text)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let (reply, outcome) = oneshot::channel();
    call(&entry, Call::Patch { if_match, fragment, reply }).await?;
    outcome.await.unwrap_or_else(|_| Err(Refusal::no_session()))
}

/// DELETE: the session ends. Entity-tags do not matter here (RFC 9725 section 4.3.1).
async fn end(state: State, protocol: Protocol, id: String, headers: HeaderMap) -> Response {
    match try_end(&state, protocol, &id, &headers).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refuse(&state, refusal),
    }
}

async fn try_end(state: &State, protocol: Protocol, id: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let entry = find(state, protocol, id, headers)?;
    let (reply, ended) = oneshot::channel();
    call(&entry, Call::Delete { reply }).await?;
    ended.await.map_err(|_| Refusal::no_session())
}

pub(crate) fn find(
    state: &State,
    protocol: Protocol,
    id: &str,
    headers: &HeaderMap,
) -> Result<Entry, Refusal> {
    let entry = state.registry.find(protocol, id).ok_or_else(Refusal::no_session)?;
    entry.owner.check(&state.keys, state.now(), headers)?;
    Ok(entry)
}

pub(crate) async fn call(entry: &Entry, call: Call) -> Result<(), Refusal> {
    entry.calls.send(call).await.map_err(|_| Refusal::no_session())
}

pub(crate) fn refuse(state: &State, refusal: Refusal) -> Response {
    refusal.note(&state.metrics);
    refusal.into_response()
}

pub(crate) async fn body(request: Request) -> Result<String, Refusal> {
    let bytes = match timeout(BODY, Bytes::from_request(request, &())).await {
        Err(_) => return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        Ok(Err(rejection)) => return Err(unreadable(&rejection)),
        Ok(Ok(bytes)) => bytes,
    };
    String::from_utf8(bytes.into())
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the body is not text (UTF-8)"))
}

fn unreadable(rejection: &BytesRejection) -> Refusal {
    let text = match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => "the body is too large".to_owned(),
        _ => rejection.body_text(),
    };
    Refusal::new(rejection.status(), text)
}

pub(crate) fn check_type(headers: &HeaderMap, wanted: &str) -> Result<(), Refusal> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if essence(value).eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the body must be {wanted} (Content-Type)")))
}

/// A media type without its parameters.
fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// Does the client take the answer (RFC 9110 section 12.5.1)? Without `Accept` it takes anything.
fn accepts_sdp(headers: &HeaderMap) -> bool {
    let mut values =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if values.peek().is_none() {
        return true;
    }
    let ranges = values.flat_map(|value| value.split(','));
    let refused = |range: &str| {
        let weights = range.split(';').skip(1).filter_map(|part| part.trim().strip_prefix("q="));
        weights.filter_map(|weight| weight.trim().parse::<f32>().ok()).any(|weight| weight == 0.0)
    };
    ranges.filter(|range| !refused(range)).any(|range| {
        let range = essence(range);
        [SDP, "application/*", "*/*"].iter().any(|known| range.eq_ignore_ascii_case(known))
    })
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// Any origin may call and read everything: tokens are what protects, not origins (RFC 9725 section 4.2).
async fn cors(request: Request, next: Next) -> Response {
    let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let is_session = request.uri().path().contains("/session/");
    if request.method() != Method::OPTIONS {
        let mut response = next.run(request).await;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let exposed = HeaderValue::from_static("Location, ETag, Link, Accept-Patch, Retry-After");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        return response;
    }
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    let accepted = if is_session { (ACCEPT_PATCH, FRAGMENT) } else { (ACCEPT_POST, SDP) };
    headers.insert(accepted.0, HeaderValue::from_static(accepted.1));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let methods = HeaderValue::from_static("OPTIONS, GET, POST, PATCH, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    // The asterisk would not cover Authorization.
    let usual = HeaderValue::from_static("Authorization, Content-Type, If-Match, Accept");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(usual));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
