//! Reading and replaying dead letters, for who may make and list rooms: a token of the application's server.
//!
//! | request | answer |
//! |---|---|
//! | `GET /webhooks/dead?receiver=N&after=N&limit=N` | per receiver: how much waits, and dead letters, oldest first |
//! | `POST /webhooks/replay` with `{"ids": […], "url": …}` | puts these (without `ids` all) back into their queue |

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use auth::ApiKeys;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use backplane::{Failed, Queue};
use base::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::entry::Entry;
use crate::metrics::count;
use crate::{Receiver, Stored};

/// Dead letters of one receiver in one answer, unless less is asked for.
const MOST: usize = 100;
/// Largest request: a thousand ids and more.
const MAX_BODY: usize = 64 * 1_024;

/// What the routes stand on.
pub struct Admin<Q> {
    pub(crate) keys: ApiKeys,
    pub(crate) receivers: Arc<[Receiver<Q>]>,
    pub(crate) now: fn() -> UnixMillis,
}

/// The routes.
pub fn router<Q: Queue>(admin: Admin<Q>) -> Router {
    Router::new()
        .route("/webhooks/dead", get(list::<Q>))
        .route("/webhooks/replay", post(replay::<Q>).layer(DefaultBodyLimit::max(MAX_BODY)))
        .with_state(Arc::new(admin))
}

#[derive(Deserialize)]
struct Page {
    /// Of this receiver alone: its place in the configuration, from 0.
    receiver: Option<usize>,
    /// Letters after this number.
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Listed {
    url: String,
    /// Events that wait to be delivered.
    pending: usize,
    /// Dead letters in all.
    total: usize,
    dead: Vec<Letter>,
}

#[derive(Serialize)]
struct Letter {
    /// For `after`.
    number: u64,
    id: String,
    event: String,
    room: String,
    /// When it happened, and when it was given up; milliseconds since 1970.
    at: u64,
    died_at: u64,
    attempts: u32,
    error: String,
    body: Value,
}

#[derive(Deserialize, Default)]
struct Wanted {
    /// Of events; empty = all.
    #[serde(default)]
    ids: Vec<String>,
    /// Of one receiver alone.
    url: Option<String>,
}

#[derive(Serialize)]
struct Replayed {
    replayed: usize,
}

async fn list<Q: Queue>(
    State(admin): State<Arc<Admin<Q>>>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = authorise(&admin, &headers) {
        return refusal.into_response();
    }
    let mut all = Vec::new();
    let wanted = |index: usize| page.receiver.is_none_or(|only| only == index);
    for (_, receiver) in admin.receivers.iter().enumerate().filter(|(index, _)| wanted(*index)) {
        match receiver.list(&page).await {
            Ok(listed) => all.push(listed),
            Err(error) => return unavailable(&error),
        }
    }
    Json(all).into_response()
}

async fn replay<Q: Queue>(
    State(admin): State<Arc<Admin<Q>>>,
    headers: HeaderMap,
    body: Option<Json<Wanted>>,
) -> Response {
    if let Err(refusal) = authorise(&admin, &headers) {
        return refusal.into_response();
    }
    let Json(wanted) = body.unwrap_or_default();
    let mut replayed = 0;
    for receiver in admin.receivers.iter() {
        if wanted.url.as_ref().is_some_and(|url| *url != receiver.url) {
            continue;
        }
        match receiver.replay(&wanted.ids).await {
            Ok(number) => replayed += number,
            Err(error) => return unavailable(&error),
        }
    }
    Json(Replayed { replayed }).into_response()
}

fn unavailable(error: &Failed) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
}

fn authorise<Q>(admin: &Admin<Q>, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let unauthorised = |reason: &str| (StatusCode::UNAUTHORIZED, format!("{reason}\n"));
    let token = headers.get(header::AUTHORIZATION).and_then(|value| auth::bearer(value.to_str().ok()?));
    let token = token.ok_or_else(|| {
        unauthorised("send `Authorization: Bearer TOKEN`: a token with roomCreate and roomList")
    })?;
    let verified =
        auth::verify(&admin.keys, token, (admin.now)()).map_err(|error| unauthorised(&error.to_string()))?;
    let allowed = verified.claims.check_create().and_then(|()| verified.claims.check_list());
    allowed.map_err(|denied| (StatusCode::FORBIDDEN, format!("{denied}\n")))
}

impl<Q: Queue> Receiver<Q> {
    async fn list(&self, page: &Page) -> Result<Listed, Failed> {
        let numbers = self.letters.numbers().await?;
        let total = numbers.len();
        let pending = self.pending.pending().await?.len().saturating_sub(self.wills.load(Relaxed));
        let most = page.limit.unwrap_or(MOST).min(MOST);
        let mut dead = Vec::new();
        for number in numbers.into_iter().filter(|number| *number > page.after).take(most) {
            dead.extend(self.letters.read(number).await?.map(|entry| letter(number, entry)));
        }
        Ok(Listed { url: self.url.clone(), pending, total, dead })
    }

    /// Each is in the queue before it is no letter any more: over a crash it may be both, under one id.
    async fn replay(&self, ids: &[String]) -> Result<usize, Failed> {
        let mut replayed = 0;
        for number in self.letters.numbers().await? {
            let Some(mut entry) = self.letters.read(number).await? else { continue };
            if !ids.is_empty() && !ids.contains(&entry.head.id) {
                continue;
            }
            entry.head.death = None;
            let Some(queued) = self.pending.append(vec![entry.encode()]).await?.first().copied() else {
                return Err(Failed(format!("the queue is full; {replayed} are replayed")));
            };
            // When the server stops nobody is there to be told; the entry is on the disk.
            let _ = self.stored.send(Stored { number: queued, room: entry.head.room.into() });
            self.letters.forget(vec![number]).await?;
            count(&self.letters.metrics().replayed);
            count(&self.letters.metrics().pending);
            replayed += 1;
        }
        Ok(replayed)
    }
}

fn letter(number: u64, entry: Entry) -> Letter {
    let Entry { head, body } = entry;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let (died_at, attempts, error) =
        head.death.map(|death| (death.at, death.attempts, death.error)).unwrap_or_default();
    let (id, event, room, at) = (head.id, head.event, head.room, head.at);
    Letter { number, id, event, room, at, died_at, attempts, error, body }
}
