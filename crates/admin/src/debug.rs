//! The state of a room, for who administers it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::RoomName;
use contract::session::AdminRequest;

use crate::Admin;

pub(crate) async fn room(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = authorise(&admin, &name, &headers) {
        return refusal.into_response();
    }
    let room = RoomName::new(name);
    match admin.control.admin(|reply| AdminRequest::Snapshot { room, reply }).await {
        Ok(Some(state)) => ([(header::CONTENT_TYPE, "application/json")], state).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "there is no such room now\n").into_response(),
        Err(unanswered) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unanswered}\n")).into_response(),
    }
}

fn authorise(admin: &Admin, room: &str, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let unauthorised = |reason: &str| (StatusCode::UNAUTHORIZED, format!("{reason}\n"));
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| {
            unauthorised("send `Authorization: Bearer TOKEN`: a token with roomAdmin for this room")
        })?;
    if admin.debug_token.as_deref().is_some_and(|token| is_same(token, bearer)) {
        return Ok(());
    }
    let verified =
        auth::verify(&admin.keys, bearer, (admin.now)()).map_err(|error| unauthorised(&error.to_string()))?;
    verified.claims.check_admin(room).map_err(|denied| (StatusCode::FORBIDDEN, format!("{denied}\n")))
}

/// Takes as long for a wrong token as for the right one; only the length shows.
fn is_same(secret: &str, given: &str) -> bool {
    let differences = secret.bytes().zip(given.bytes()).fold(0, |found, (a, b)| found | (a ^ b));
    secret.len() == given.len() && differences == 0
}
