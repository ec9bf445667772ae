//! The routes of the signal connection: upgrade and validation, and the CORS headers that browsers need to read refusals.

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query as UrlQuery, Request, State as FromState};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use contract::session::{Join, JoinError};

use crate::config::State;
use crate::frames::MAX_MESSAGE;
use crate::metrics::count;
use crate::params::{Params, Query};
use crate::session::{Return, Start};
use crate::{jobs, join, socket, twirp};

/// LiveKit's HTTP interface: `/rtc`, `/rtc/v1`, their `/validate`, `/settings/regions` and `/twirp/…`. A doubled slash in front, which clients
/// produce from addresses that end with one, means the same.
///
/// Joins whose request carries an offer make request lines of tens of kB; the listener must allow them.
pub fn router(state: State) -> Router {
    let mut router = Router::new();
    for slash in ["", "/"] {
        router = router
            .route(&format!("{slash}/rtc"), get(connect_two))
            .route(&format!("{slash}/rtc/validate"), any(validate_two))
            .route(&format!("{slash}/rtc/v1"), get(connect_one))
            .route(&format!("{slash}/rtc/v1/validate"), any(validate_one))
            .route(&format!("{slash}/settings/regions"), get(regions))
            .route(&format!("{slash}/agent"), get(jobs::connect))
            .merge(twirp::routes(slash));
    }
    router.layer(middleware::from_fn(cors)).with_state(state)
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

async fn connect_two(
    FromState(state): FromState<State>,
    UrlQuery(query): UrlQuery<Query>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    connect(state, query, headers, upgrade, false).await
}

async fn connect_one(
    FromState(state): FromState<State>,
    UrlQuery(query): UrlQuery<Query>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    connect(state, query, headers, upgrade, true).await
}

async fn validate_two(
    FromState(state): FromState<State>,
    UrlQuery(query): UrlQuery<Query>,
    headers: HeaderMap,
) -> Response {
    validate(state, query, headers, false).await
}

async fn validate_one(
    FromState(state): FromState<State>,
    UrlQuery(query): UrlQuery<Query>,
    headers: HeaderMap,
) -> Response {
    validate(state, query, headers, true).await
}

/// Everything is decided before the upgrade, so that a refusal is an HTTP status with a sentence.
async fn connect(state: State, query: Query, headers: HeaderMap, upgrade: Upgrade, v1: bool) -> Response {
    let Ok(upgrade) = upgrade else {
        return (StatusCode::NOT_FOUND, "this path takes WebSocket upgrades only").into_response();
    };
    let (token, params, request) = match admit(&state, &query, &headers, v1) {
        Ok(admitted) => admitted,
        Err(refused) => return refused.join_response(&state),
    };
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    if params.reconnect {
        let key = (request.room, request.identity);
        let back = Return { token, params };
        return upgrade.on_upgrade(move |socket| Box::pin(socket::resume(state, socket, key, back)));
    }
    let joined = match state.control.join(request).await {
        Ok(joined) => joined,
        Err(error) => return Refused::Join(error).join_response(&state),
    };
    let start = Start {
        params,
        token,
        participant: joined.participant,
        room: joined.room,
        others: joined.others,
        worker: joined.worker,
    };
    let (room, events) = (joined.session, joined.events);
    // A session is large; it must not be moved through every layer of the upgrade.
    let running = state.sessions.enter();
    let run = move |websocket| {
        Box::pin(async move {
            socket::run(state, websocket, start, room, events).await;
            drop(running);
        })
    };
    upgrade.on_upgrade(run)
}

/// The same checks without a join. Clients ask here after a failed upgrade and make their error from the answer.
async fn validate(state: State, query: Query, headers: HeaderMap, v1: bool) -> Response {
    let request = match admit(&state, &query, &headers, v1) {
        Ok((_, _, request)) => request,
        Err(refused) => return refused.validation_response(),
    };
    match state.control.check_join(request).await {
        Ok(()) => "success".into_response(),
        Err(error) => Refused::Join(error).validation_response(),
    }
}

/// Servers elsewhere, for whoever has a token. Clients of a single server do not ask.
async fn regions(FromState(state): FromState<State>, headers: HeaderMap) -> Response {
    let token = bearer(&headers).unwrap_or_default();
    if let Err(error) = auth::verify(&state.keys, token, state.now()) {
        return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    }
    match join::regions(&state.config) {
        Some(settings) => ([(header::CACHE_CONTROL, "max-age=60")], axum::Json(settings)).into_response(),
        None => (StatusCode::NOT_FOUND, "no other regions are configured").into_response(),
    }
}

/// Why a connection is refused before the control plane hears of it, or by it.
enum Refused {
    Unauthorized(String),
    Malformed(String),
    Denied(auth::Denied),
    Join(JoinError),
}

impl Refused {
    /// The answer to a join, counted and told. What the control plane refused it has told itself, with who it was.
    fn join_response(self, state: &State) -> Response {
        let metrics = &state.metrics;
        let counter = match &self {
            Self::Unauthorized(_) | Self::Denied(_) => &metrics.joins_unauthorized,
            Self::Malformed(_) => &metrics.joins_malformed,
            Self::Join(_) => &metrics.joins_refused,
        };
        count(counter);
        let told = matches!(self, Self::Join(_));
        let (status, text) = self.status();
        if !told {
            tracing::info!(status = status.as_u16(), reason = %text, "join refused");
        }
        (status, text).into_response()
    }

    /// The answer to a question whether one may join: it is no join.
    fn validation_response(self) -> Response {
        let (status, text) = self.status();
        tracing::debug!(status = status.as_u16(), reason = %text, "validation refused");
        (status, text).into_response()
    }

    fn status(self) -> (StatusCode, String) {
        let (status, text) = match self {
            Self::Unauthorized(text) => (401, text),
            Self::Malformed(text) => (400, text),
            Self::Denied(denied) => {
                let missing = matches!(denied, auth::Denied::NoIdentity | auth::Denied::NoRoom);
                (if missing { 400 } else { 401 }, denied.to_string())
            }
            Self::Join(error) => join::refusal(error),
        };
        (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), text)
    }
}

fn admit(
    state: &State,
    query: &Query,
    headers: &HeaderMap,
    v1: bool,
) -> Result<(auth::Verified, Params, Join), Refused> {
    let token = bearer(headers).unwrap_or(&query.access_token);
    if token.is_empty() {
        return Err(Refused::Unauthorized(
            "no token: send one as Authorization header or access_token".to_owned(),
        ));
    }
    let token = auth::verify(&state.keys, token, state.now())
        .map_err(|error| Refused::Unauthorized(error.to_string()))?;
    if v1 && query.join_request.is_empty() {
        return Err(Refused::Malformed("join_request is missing".to_owned()));
    }
    let user_agent =
        headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let params = Params::from_query(query, user_agent).map_err(|bad| Refused::Malformed(bad.0.to_owned()))?;
    let join = join::request(&state.config, &token, &params).map_err(|refused| match refused {
        join::Refused::Denied(denied) => Refused::Denied(denied),
        join::Refused::RoomConfig(bad) => Refused::Malformed(bad.to_string()),
    })?;
    Ok((token, params, join))
}

/// The token of an `Authorization: Bearer …` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    auth::bearer(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// Any origin may call and read everything, refusals too: tokens are what protects, not origins. Without these headers a
/// browser cannot tell "no such path", on which it falls back to two connections, from "unreachable".
async fn cors(request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let validates = request.uri().path().ends_with("/validate");
    let preflight = request.method() == Method::OPTIONS;
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let any = HeaderValue::from_static("*");
    let mut set = |name: HeaderName, value: HeaderValue| response.headers_mut().insert(name, value);
    let allowed = if validates { any.clone() } else { origin.unwrap_or_else(|| any.clone()) };
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    set(header::VARY, HeaderValue::from_static("origin"));
    if preflight {
        let methods = HeaderValue::from_static("OPTIONS, HEAD, GET, POST, PATCH, DELETE");
        set(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(any));
        set(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    response
}
