//! Beside playing: choosing a layer, and events about what can be played, for WHEP players that know these extensions
//! (`urn:ietf:params:whep:ext:core:layer` and `…:server-sent-events`).

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Request, State as FromState};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Router, extract::DefaultBodyLimit};
use futures_util::stream::{self, Stream};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::Protocol;
use crate::config::State;
use crate::http::{body, call, check_type, find, refuse};
use crate::refusal::Refusal;
use crate::registry::unguessable;
use crate::session::{Choice, News};
use crate::task::Call;

/// What may be asked for.
const EVENTS: [&str; 3] = ["active", "inactive", "layers"];
/// Streams of events of one session. A player needs one; an old one may linger after a reconnect.
const MAX_STREAMS: usize = 4;
/// A JSON body of either extension.
const MAX_BODY: usize = 4 * 1024;
const JSON: &str = "application/json";
/// Proxies close what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The routes of both.
pub(crate) fn routes() -> Router<State> {
    Router::new()
        .route("/whep/session/{id}/layer", post(choose))
        .route("/whep/session/{id}/sse", post(open).get(listen_to_all))
        .route("/whep/session/{id}/sse/{stream}", get(listen).delete(close))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// The values of the `Link` headers that announce both.
pub(crate) fn links(id: &str) -> [String; 2] {
    let events = EVENTS.join(",");
    [
        format!("</whep/session/{id}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\""),
        format!(
            "</whep/session/{id}/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; events=\"{events}\""
        ),
    ]
}

/// What is told of a session, and to which streams.
#[derive(Clone)]
pub(crate) struct Feed {
    news: watch::Receiver<News>,
    streams: Arc<Mutex<Vec<Subscribed>>>,
}

#[derive(Clone)]
struct Subscribed {
    id: String,
    events: Vec<&'static str>,
    /// Dropped when the stream is closed.
    open: Arc<watch::Sender<()>>,
}

impl Feed {
    pub fn new(news: watch::Receiver<News>) -> Self {
        Self { news, streams: Arc::default() }
    }

    /// A stream of these events; the oldest makes room for it.
    fn subscribe(&self, events: Vec<&'static str>) -> Subscribed {
        let stream = Subscribed { id: unguessable(), events, open: Arc::new(watch::Sender::new(())) };
        let mut streams = self.lock();
        if streams.len() >= MAX_STREAMS {
            streams.remove(0);
        }
        streams.push(stream.clone());
        stream
    }

    fn find(&self, id: &str) -> Option<Subscribed> {
        self.lock().iter().find(|stream| stream.id == id).cloned()
    }

    fn close(&self, id: &str) -> bool {
        let mut streams = self.lock();
        let before = streams.len();
        streams.retain(|stream| stream.id != id);
        streams.len() < before
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Subscribed>> {
        // Nothing panics while it is held; if it did, the list would still be whole.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// POST: another layer.
async fn choose(FromState(state): FromState<State>, Path(id): Path<String>, request: Request) -> Response {
    match Box::pin(try_choose(&state, &id, request)).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refuse(&state, refusal),
    }
}

async fn try_choose(state: &State, id: &str, request: Request) -> Result<(), Refusal> {
    let entry = find(state, Protocol::Whep, id, request.headers())?;
    check_type(request.headers(), JSON)?;
    let text = body(request).await?;
    let choice: Choice = serde_json::from_str(&text).map_err(unreadable)?;
    let (reply, outcome) = oneshot::channel();
    call(&entry, Call::Choose { choice, reply }).await?;
    outcome.await.unwrap_or_else(|_| Err(Refusal::no_session()))
}

/// POST: a stream of the events that the body names, or of all of them.
async fn open(FromState(state): FromState<State>, Path(id): Path<String>, request: Request) -> Response {
    match Box::pin(try_open(&state, &id, request)).await {
        Ok(stream) => {
            let location = format!("/whep/session/{id}/sse/{stream}");
            (StatusCode::CREATED, [(header::LOCATION, location)]).into_response()
        }
        Err(refusal) => refuse(&state, refusal),
    }
}

async fn try_open(state: &State, id: &str, request: Request) -> Result<String, Refusal> {
    let entry = find(state, Protocol::Whep, id, request.headers())?;
    let text = body(request).await?;
    let events = if text.trim().is_empty() { EVENTS.to_vec() } else { wanted(&text)? };
    Ok(entry.feed.subscribe(events).id)
}

fn wanted(text: &str) -> Result<Vec<&'static str>, Refusal> {
    let names: Vec<String> = serde_json::from_str(text).map_err(unreadable)?;
    let known = |name: &String| {
        let unknown = || {
            let text = format!("there is no event {name:?}; there are {}", EVENTS.join(" "));
            Refusal::new(StatusCode::BAD_REQUEST, text)
        };
        EVENTS.into_iter().find(|event| event == name).ok_or_else(unknown)
    };
    let mut events = names.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    events.sort_unstable();
    events.dedup();
    Ok(events)
}

fn unreadable(error: serde_json::Error) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, format!("the body is not the JSON that is expected here: {error}"))
}

/// GET: the events of a stream. Its address is all that it takes.
async fn listen(FromState(state): FromState<State>, Path((id, stream)): Path<(String, String)>) -> Response {
    let entry = state.registry.find(Protocol::Whep, &id);
    let found = entry.and_then(|entry| Some((entry.feed.find(&stream)?, entry.feed.news)));
    match found {
        Some((subscribed, news)) => events(subscribed, news),
        None => refuse(&state, Refusal::no_session()),
    }
}

/// GET of the entry point, as players ask that make no stream first: all events.
async fn listen_to_all(
    FromState(state): FromState<State>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    match find(&state, Protocol::Whep, &id, &headers) {
        Ok(entry) => events(entry.feed.subscribe(EVENTS.to_vec()), entry.feed.news),
        Err(refusal) => refuse(&state, refusal),
    }
}

/// DELETE: the stream is closed.
async fn close(
    FromState(state): FromState<State>,
    Path((id, stream)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let closed = find(&state, Protocol::Whep, &id, &headers).map(|entry| entry.feed.close(&stream));
    match closed {
        Ok(true) => StatusCode::OK.into_response(),
        Ok(false) => refuse(&state, Refusal::no_session()),
        Err(refusal) => refuse(&state, refusal),
    }
}

fn events(subscribed: Subscribed, news: watch::Receiver<News>) -> Response {
    let told = Told {
        closed: subscribed.open.subscribe(),
        events: subscribed.events,
        news,
        last: News::default(),
        ready: Vec::new(),
    };
    // The last sender that keeps it open is the list's.
    drop(subscribed.open);
    Sse::new(told.stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// One listener: what it was told, so that it is told changes. Only the newest state waits for it.
struct Told {
    events: Vec<&'static str>,
    news: watch::Receiver<News>,
    closed: watch::Receiver<()>,
    last: News,
    ready: Vec<Event>,
}

impl Told {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut told| async move {
            loop {
                if let Some(event) = told.ready.pop() {
                    return Some((Ok(event), told));
                }
                let newest = told.news.borrow_and_update().clone();
                if newest != told.last {
                    told.change(newest);
                    continue;
                }
                tokio::select! {
                    changed = told.news.changed() => if changed.is_err() { return None },
                    // Nobody sends; it ends when the stream is closed.
                    _ = told.closed.changed() => return None,
                }
            }
        })
    }

    /// Makes the events that say what is new, the first one last.
    fn change(&mut self, newest: News) {
        let mut say = |name: &'static str, data: String| {
            if self.events.contains(&name) {
                self.ready.push(Event::default().event(name).data(data));
            }
        };
        if newest.layers != self.last.layers {
            say("layers", Value::Object(newest.layers.clone()).to_string());
        }
        if newest.active != self.last.active {
            say(if newest.active { "active" } else { "inactive" }, "{}".to_owned());
        }
        self.last = newest;
    }
}
