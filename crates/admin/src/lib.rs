//! What an operator sees: whether the process lives and takes work, its numbers, and the state of a room.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 as long as the process answers at all |
//! | `/readyz` | 200 while it takes participants; 503 while it starts or stops |
//! | `/metrics` | Prometheus text; never a room or a person in a label |
//! | `/debug/rooms/NAME` | the state of a room as JSON, for who administers it |
//!
//! This crate knows nothing of workers, rooms or protocols: numbers come from [`Source`]s, state comes from control.

mod debug;
mod health;
mod metrics;

use std::sync::Arc;

use auth::ApiKeys;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base::UnixMillis;
use contract::session::ControlHandle;

pub use health::{Health, Phase};
pub use metrics::{Source, Visit};

/// What the routes stand on.
pub struct Admin {
    /// Answers for rooms.
    pub control: ControlHandle,
    /// Tokens with `roomAdmin` signed by these open `/debug`.
    pub keys: ApiKeys,
    /// So does this one, for every room. Never empty.
    pub debug_token: Option<String>,
    /// Where the process is in its life.
    pub health: Health,
    /// Where the numbers come from, in the order in which they are asked.
    pub sources: Vec<Source>,
    /// The wall clock, for the times in tokens.
    pub now: fn() -> UnixMillis,
}

/// The routes.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
        .route("/debug/rooms/{name}", get(debug::room))
        .with_state(Arc::new(admin))
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let (status, text) = match admin.health.phase() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Serving => (StatusCode::OK, "serving\n"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    };
    (status, text).into_response()
}

async fn numbers(State(admin): State<Arc<Admin>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, metrics::render(&admin.sources)).into_response()
}

#[cfg(test)]
mod tests;
