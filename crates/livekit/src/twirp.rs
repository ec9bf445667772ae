//! The server API: Twirp over HTTP, protobuf or JSON (<https://twitchtv.github.io/twirp/docs/spec_v7.html>).

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State as FromState};
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use base::{Identity, RoomName};
use contract::session::{AdminRequest, Unanswered};
use livekit_protocol as proto;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::config::State;
use crate::http::bearer;
use crate::metrics::count;
use crate::translate;

/// Largest body, in bytes.
const MAX_BODY: usize = 10 * 1024 * 1024;
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Most room names in a ListRooms.
const MAX_NAMES: usize = 10_000;

/// Routes under `/twirp`, with `slash` in front.
pub(crate) fn routes(slash: &str) -> Router<State> {
    Router::new().route(&format!("{slash}/twirp/{{service}}/{{method}}"), any(call))
}

/// A Twirp error: code, HTTP status and a sentence.
#[derive(Debug)]
struct Error {
    code: &'static str,
    status: u16,
    message: String,
}

impl Error {
    fn new(code: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into() }
    }

    /// A valid token without the grant is told so as if it were no token: that is what callers expect of this API.
    fn denied(denied: auth::Denied) -> Self {
        Self::new("unauthenticated", 401, denied.to_string())
    }

    fn unanswered(unanswered: Unanswered) -> Self {
        Self::new("unavailable", 503, unanswered.to_string())
    }

    fn not_found(what: &str) -> Self {
        Self::new("not_found", 404, format!("{what} does not exist"))
    }
}

/// Body format, of the request and so of the reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

async fn call(
    FromState(state): FromState<State>,
    Path((service, method)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    // The token first: a stranger's body is not even read.
    let claims = match bearer(&head.headers).map(|token| auth::verify(&state.keys, token, state.now())) {
        Some(Ok(verified)) => verified.claims,
        // Before Twirp, and in plain text.
        Some(Err(error)) => return (StatusCode::UNAUTHORIZED, error.to_string()).into_response(),
        None => return refuse(&state, Error::new("unauthenticated", 401, "no Authorization header")),
    };
    if head.method != Method::POST {
        return refuse(&state, Error::new("bad_route", 404, "the server API takes POST requests only"));
    }
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(error) => return refuse(&state, error),
    };
    let call = Call { state: &state, claims: &claims, body: &body, headers: &head.headers };
    match call.dispatch(&service, &method).await {
        Ok(response) => {
            count(&state.metrics.api_calls);
            response
        }
        Err(error) => refuse(&state, error),
    }
}

async fn read_body(body: Body) -> Result<Bytes, Error> {
    match timeout(BODY_WITHIN, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let message = format!("the body is cut off, or larger than {MAX_BODY} bytes");
            Err(Error::new("malformed", 413, message))
        }
        Err(_) => Err(Error::new("deadline_exceeded", 408, "the body did not come in time")),
    }
}

fn refuse(state: &State, error: Error) -> Response {
    count(&state.metrics.api_refused);
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(json!({ "code": error.code, "msg": error.message }))).into_response()
}

struct Call<'a> {
    state: &'a State,
    claims: &'a auth::Claims,
    body: &'a Bytes,
    headers: &'a HeaderMap,
}

impl Call<'_> {
    async fn dispatch(&self, service: &str, method: &str) -> Result<Response, Error> {
        let format = self.format()?;
        if service != "livekit.RoomService" {
            return Err(Error::new("unimplemented", 501, format!("{service} is not served here")));
        }
        match method {
            "ListRooms" => Ok(reply(format, &self.list_rooms(self.read(format)?).await?, &["rooms"])),
            "DeleteRoom" => Ok(reply(format, &self.delete_room(self.read(format)?).await?, &[])),
            "ListParticipants" => {
                Ok(reply(format, &self.list_participants(self.read(format)?).await?, &["participants"]))
            }
            "RemoveParticipant" => {
                Ok(reply(format, &self.remove_participant(self.read(format)?).await?, &[]))
            }
            other => Err(Error::new("unimplemented", 501, format!("RoomService/{other} is not served yet"))),
        }
    }

    fn format(&self) -> Result<Format, Error> {
        let value = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/protobuf" => Ok(Format::Protobuf),
            "application/json" => Ok(Format::Json),
            other => {
                let message =
                    format!("content type \"{other}\" is neither application/json nor application/protobuf");
                Err(Error::new("bad_route", 404, message))
            }
        }
    }

    fn read<T: prost::Message + Default + serde::de::DeserializeOwned>(
        &self,
        format: Format,
    ) -> Result<T, Error> {
        let read = match format {
            Format::Protobuf => T::decode(self.body.as_ref()).map_err(|error| error.to_string()),
            Format::Json => serde_json::from_slice(self.body).map_err(|error| error.to_string()),
        };
        read.map_err(|error| Error::new("malformed", 400, format!("the request cannot be read: {error}")))
    }

    async fn list_rooms(&self, request: proto::ListRoomsRequest) -> Result<proto::ListRoomsResponse, Error> {
        self.claims.check_list().map_err(Error::denied)?;
        let names = request.names.iter().take(MAX_NAMES).map(|name| RoomName::new(name.as_str())).collect();
        let rooms = self.state.control.admin(|reply| AdminRequest::ListRooms { names, reply }).await;
        let rooms = rooms.map_err(Error::unanswered)?.iter().map(translate::room).collect();
        Ok(proto::ListRoomsResponse { rooms })
    }

    async fn delete_room(
        &self,
        request: proto::DeleteRoomRequest,
    ) -> Result<proto::DeleteRoomResponse, Error> {
        self.claims.check_create().map_err(Error::denied)?;
        let room = RoomName::new(request.room.as_str());
        let done = self.state.control.admin(|reply| AdminRequest::DeleteRoom { room, reply }).await;
        match done.map_err(Error::unanswered)? {
            true => Ok(proto::DeleteRoomResponse::default()),
            false => Err(Error::not_found("the requested room")),
        }
    }

    async fn list_participants(
        &self,
        request: proto::ListParticipantsRequest,
    ) -> Result<proto::ListParticipantsResponse, Error> {
        self.claims.check_admin(&request.room).map_err(Error::denied)?;
        let room = RoomName::new(request.room.as_str());
        let list = self.state.control.admin(|reply| AdminRequest::ListParticipants { room, reply }).await;
        let list = list.map_err(Error::unanswered)?;
        let participants = list.iter().map(|participant| translate::participant(participant)).collect();
        Ok(proto::ListParticipantsResponse { participants })
    }

    async fn remove_participant(
        &self,
        request: proto::RoomParticipantIdentity,
    ) -> Result<proto::RemoveParticipantResponse, Error> {
        self.claims.check_admin(&request.room).map_err(Error::denied)?;
        let room = RoomName::new(request.room.as_str());
        let identity = Identity::new(request.identity.as_str());
        let done =
            self.state.control.admin(|reply| AdminRequest::RemoveParticipant { room, identity, reply }).await;
        match done.map_err(Error::unanswered)? {
            true => Ok(proto::RemoveParticipantResponse::default()),
            false => Err(Error::not_found("the participant")),
        }
    }
}

/// `lists`: fields that JSON shows even when they are empty.
fn reply(format: Format, message: &(impl prost::Message + serde::Serialize), lists: &[&str]) -> Response {
    match format {
        Format::Protobuf => {
            ([(CONTENT_TYPE, "application/protobuf")], message.encode_to_vec()).into_response()
        }
        Format::Json => {
            let mut value = snake_case(serde_json::to_value(message).unwrap_or_default());
            if let Value::Object(object) = &mut value {
                for list in lists {
                    object.entry(*list).or_insert_with(|| Value::Array(Vec::new()));
                }
            }
            axum::Json(value).into_response()
        }
    }
}

/// This API writes the names of the protocol definition (`num_participants`); the serializer writes camel case. Keys of the
/// application's own, in attributes, stay as they are.
fn snake_case(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let convert = |(key, value): (String, Value)| {
                let value = if key == "attributes" { value } else { snake_case(value) };
                (snake_key(&key), value)
            };
            Value::Object(object.into_iter().map(convert).collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(snake_case).collect()),
        other => other,
    }
}

fn snake_key(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
