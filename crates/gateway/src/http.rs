//! The routes: the upgrade to a WebSocket, and every command as a request.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State as FromState};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base::{DeviceId, UserId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use messaging::place::Vector;
use ring::digest;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use wire::messaging::{As, Command, Encoding, Error, ErrorCode};

use crate::app::App;
use crate::commands::{self, Asker};
use crate::config::Parts;
use crate::connection::task::{bad_command, serve_stream, serve_tcp};
use crate::connection::{Close, Connection, Socket};
use crate::encode::Framing;
use crate::events;
use crate::metrics::{Metrics, count};

/// What the server hashes with the client's key (RFC 6455 section 1.3).
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The device of who asks by HTTP and names none.
const HTTP: &str = "http";

/// Every command, for programs: made from the types by a test, and committed.
const OPENAPI: &str = include_str!("../../../docs/openapi-messaging.json");

/// The same, for people.
const PAGE: &str = include_str!("page.html");

/// The running gateway.
pub struct Gateway {
    app: Arc<App>,
    shards: JoinSet<()>,
}

impl Gateway {
    /// Starts its shards.
    pub fn start(parts: Parts) -> Self {
        let app = App::new(parts);
        let mut shards = JoinSet::new();
        for shard in app.shards() {
            shards.spawn(Arc::clone(shard).run(Arc::clone(&app)));
        }
        Self { app, shards }
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.app.metrics
    }

    /// Tells everybody that the server ends, and waits until they are gone.
    pub async fn stop(mut self) {
        self.app.shards().iter().for_each(|shard| shard.end_all());
        while self.app.shards().iter().any(|shard| shard.len() > 0) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        self.shards.shutdown().await;
    }
}

/// `/m/v1`, and every command below it.
pub fn router(gateway: &Gateway) -> Router {
    let app = Arc::clone(&gateway.app);
    let limit = DefaultBodyLimit::max(app.config.frame as usize);
    Router::new()
        .route("/m/v1", get(upgrade))
        .route("/m/v1/events", get(events::stream))
        .route("/m/v1/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], OPENAPI)))
        .route("/m/v1/docs", get(async || ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE)))
        .route("/m/v1/{command}", post(command).layer(limit))
        .with_state(app)
}

async fn upgrade(FromState(app): FromState<Arc<App>>, mut request: Request) -> Response {
    let Some(accept) = accept(&request) else {
        let text = "this is a WebSocket; the same commands are at POST /m/v1/COMMAND\n";
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], text).into_response();
    };
    if !app.has_room() {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")]).into_response();
    }
    let chosen = subprotocol(request.headers());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(begin(app, upgrade, chosen));
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Chosen::Named(encoding) = chosen {
        let name = HeaderValue::from_static(encoding.subprotocol());
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    response
}

/// The answer to the client's key; `None`: it is no request for a WebSocket of version 13 (RFC 6455 section 4.2.1).
fn accept(request: &Request) -> Option<HeaderValue> {
    let headers = request.headers();
    let has = |name, value: &str| {
        let all = headers.get_all(name).iter().filter_map(|text: &HeaderValue| text.to_str().ok());
        all.flat_map(|text| text.split(',')).any(|part| part.trim().eq_ignore_ascii_case(value))
    };
    let asks = request.method() == Method::GET
        && has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks)?;
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(MAGIC);
    HeaderValue::try_from(STANDARD.encode(context.finish())).ok()
}

/// What a client wants to speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Chosen {
    /// It did not say.
    Default,
    /// This one.
    Named(Encoding),
    /// Nothing that is known here.
    Unknown,
}

fn subprotocol(headers: &HeaderMap) -> Chosen {
    let names =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut names = names.flat_map(|value| value.split(',')).map(str::trim).peekable();
    if names.peek().is_none() {
        return Chosen::Default;
    }
    let known = |name| Encoding::ALL.into_iter().find(|encoding| encoding.subprotocol() == name);
    names.find_map(known).map_or(Chosen::Unknown, Chosen::Named)
}

/// Takes the socket over, and leaves the connection to a task of its own: what was needed for the upgrade is gone then.
async fn begin(app: Arc<App>, upgrade: OnUpgrade, chosen: Chosen) {
    let Ok(upgraded) = upgrade.await else { return };
    let encoding = match chosen {
        Chosen::Named(encoding) => encoding,
        Chosen::Default | Chosen::Unknown => Encoding::Json,
    };
    let (id, shard) = app.place();
    let make = |socket| Connection::new(Arc::clone(&app), shard, id, (Framing::WebSocket, encoding), socket);
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let tcp = parts.io.into_inner();
            // Commands and their answers are small, and wait for each other.
            let _ = tcp.set_nodelay(true);
            let connection = make(Socket::Tcp(tcp));
            enter(&connection, chosen);
            tokio::spawn(serve_tcp(connection, parts.read_buf.into()));
        }
        Err(upgraded) => {
            let connection = make(Socket::Queued);
            enter(&connection, chosen);
            let stream: TokioIo<Upgraded> = TokioIo::new(upgraded);
            tokio::spawn(serve_stream(connection, stream, Vec::new()));
        }
    }
}

fn enter(connection: &Arc<Connection>, chosen: Chosen) {
    connection.shard.admit(connection);
    if chosen == Chosen::Unknown {
        return connection.close(Close::Version);
    }
    let (waiting, patience) = (Arc::downgrade(connection), connection.app.config.patience);
    tokio::spawn(async move {
        tokio::time::sleep(patience).await;
        if let Some(connection) = waiting.upgrade().filter(|connection| connection.who().is_none()) {
            connection.close(Close::Unauthorized);
        }
    });
}

/// A command as a request.
async fn command(
    FromState(app): FromState<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    count(&app.metrics.requests);
    let doing = asker(&app, &headers, &body).and_then(|asker| {
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let command = Command::parse(&name, text).map_err(|bad| bad_command(&bad))?;
        Ok(commands::carry_out(&app, asker, command))
    });
    let answer = match doing {
        Ok(doing) => doing.await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(okay) => Json(okay).into_response(),
        Err(error) => {
            count(&app.metrics.errors);
            refused(&error)
        }
    }
}

pub(crate) fn refused(error: &Error) -> Response {
    let mut response = (status(error.code), Json(error)).into_response();
    if let Some(millis) = error.retry_after {
        let seconds = millis.div_ceil(1_000).max(1);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| auth::bearer(value.to_str().ok()?));
    token.ok_or_else(|| {
        Error::last(ErrorCode::Unauthorized, "there is no token: send it as Authorization: Bearer TOKEN")
    })
}

/// For whom a request is.
fn asker(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<Asker, Error> {
    let (grants, own, _) = commands::verified(app, bearer(headers)?)?;
    let given: As = match serde_json::from_slice(body) {
        Ok(given) => given,
        // Nobody is taken for the server because their name was misspelt.
        Err(_) if serde_json::from_slice::<serde_json::Map<_, _>>(body).is_ok() => {
            return Err(commands::malformed("as_user and as_device are strings, each given once"));
        }
        // What is no map is told by the command.
        Err(_) => As::default(),
    };
    let user = match (given.as_user, grants.server) {
        (Some(user), true) => Some(UserId::new(commands::named(&user, "user (as_user)")?)),
        (Some(user), false) if own.as_ref().is_none_or(|own| own.as_str() != user) => {
            let reason = "as_user is for tokens with the grant messaging.server";
            return Err(Error::last(ErrorCode::Unauthorized, reason));
        }
        (None, true) => None,
        (_, false) => match own {
            Some(own) => Some(own),
            None => return Err(commands::no_user()),
        },
    };
    if let Some(user) = user.as_ref().filter(|_| !grants.server) {
        app.take_request(user, Instant::now()).map_err(|millis| {
            Error::later(ErrorCode::Rate, "too many requests: send less of them", millis)
        })?;
    }
    let device = given.as_device.unwrap_or_else(|| HTTP.to_owned());
    let device = DeviceId::new(commands::named(&device, "device (as_device)")?);
    Ok(Asker { user, device, grants, connection: 0, request: 0, delivered: Vector::default() })
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::Unauthorized | ErrorCode::Expired => StatusCode::UNAUTHORIZED,
        ErrorCode::NotMember
        | ErrorCode::Forbidden
        | ErrorCode::Muted
        | ErrorCode::Banned
        | ErrorCode::Removed => StatusCode::FORBIDDEN,
        ErrorCode::NoChannel | ErrorCode::NoTarget | ErrorCode::Unknown => StatusCode::NOT_FOUND,
        ErrorCode::Exists
        | ErrorCode::CsnGap
        | ErrorCode::CsnConflict
        | ErrorCode::CsnStale
        | ErrorCode::BeyondHead => StatusCode::CONFLICT,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::SlowMode | ErrorCode::Rate | ErrorCode::TooMany => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorCode::Malformed | ErrorCode::BadCursor | ErrorCode::Other => StatusCode::BAD_REQUEST,
    }
}
