//! The server API: Twirp over HTTP, protobuf or JSON (<https://twitchtv.github.io/twirp/docs/spec_v7.html>).

mod dispatches;
mod json;
mod later;
mod participants;
mod rooms;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State as FromState};
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use contract::session::{AdminRefused, AdminRequest, Reply, Unanswered};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::config::State;
use crate::http::bearer;
use crate::metrics::count;

use json::Answer;

/// Largest body, in bytes.
const MAX_BODY: usize = 10 * 1024 * 1024;
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Most names in one call: of rooms, participants or tracks.
const MAX_NAMES: usize = 10_000;
/// Routes under `/twirp`, with `slash` in front.
pub(crate) fn routes(slash: &str) -> Router<State> {
    Router::new().route(&format!("{slash}/twirp/{{service}}/{{method}}"), any(call))
}

/// A Twirp error: code, HTTP status, a sentence, and more for programs.
#[derive(Debug)]
struct Error {
    code: &'static str,
    status: u16,
    message: String,
    meta: Vec<(&'static str, String)>,
}

impl Error {
    fn new(code: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into(), meta: Vec::new() }
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

    fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid_argument", 400, message)
    }

    fn unimplemented(message: impl Into<String>) -> Self {
        Self::new("unimplemented", 501, message)
    }

    fn refused(refused: AdminRefused) -> Self {
        let (code, status) = match refused {
            AdminRefused::NoSuchRoom
            | AdminRefused::NoSuchParticipant
            | AdminRefused::NoSuchTrack
            | AdminRefused::NoDestination => ("not_found", 404),
            AdminRefused::UnmuteDisabled | AdminRefused::Elsewhere => ("failed_precondition", 412),
            AdminRefused::LimitExceeded | AdminRefused::SameRoom => ("invalid_argument", 400),
            AdminRefused::IdentityTaken => ("already_exists", 409),
            AdminRefused::RoomFull | AdminRefused::ForwardedTooOften => ("resource_exhausted", 429),
            AdminRefused::Left => ("aborted", 409),
            AdminRefused::Unavailable => ("unavailable", 503),
        };
        Self::new(code, status, refused.to_string())
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
    match answer(&state, &claims, &head.headers, body, (&service, &method)).await {
        Ok(response) => {
            count(&state.metrics.api_calls);
            response
        }
        Err(error) => refuse(&state, error),
    }
}

async fn answer(
    state: &State,
    claims: &auth::Claims,
    headers: &HeaderMap,
    body: Body,
    (service, method): (&str, &str),
) -> Result<Response, Error> {
    let format = format(headers)?;
    let service = match service.strip_prefix("livekit.") {
        Some("RoomService") => Service::Rooms,
        Some("AgentDispatchService") => Service::Agents,
        Some(other) => return Err(later::refuse(other, method, claims)),
        None => return Err(Error::new("bad_route", 404, format!("there is no service {service}"))),
    };
    // Before the body is read: participants have tokens, too.
    claims.check_server().map_err(Error::denied)?;
    let body = read_body(body).await?;
    let call = Call { state, claims, body: &body, format };
    match service {
        Service::Rooms => call.dispatch(method).await,
        Service::Agents => call.dispatch_of_agents(method).await,
    }
}

/// A service that is served.
enum Service {
    Rooms,
    Agents,
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
    let mut body = json!({ "code": error.code, "msg": error.message });
    if !error.meta.is_empty() {
        body["meta"] =
            error.meta.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
    }
    (status, axum::Json(body)).into_response()
}

fn format(headers: &HeaderMap) -> Result<Format, Error> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
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

/// One call.
struct Call<'a> {
    state: &'a State,
    claims: &'a auth::Claims,
    body: &'a Bytes,
    format: Format,
}

impl Call<'_> {
    async fn dispatch(&self, method: &str) -> Result<Response, Error> {
        match method {
            "CreateRoom" => self.reply(&self.create_room(self.read()?).await?),
            "ListRooms" => self.reply(&self.list_rooms(self.read()?).await?),
            "DeleteRoom" => self.reply(&self.delete_room(self.read()?).await?),
            "UpdateRoomMetadata" => self.reply(&self.update_room_metadata(self.read()?).await?),
            "SendData" => self.reply(&self.send_data(self.read()?).await?),
            "ListParticipants" => self.reply(&self.list_participants(self.read()?).await?),
            "GetParticipant" => self.reply(&self.get_participant(self.read()?).await?),
            "RemoveParticipant" => self.reply(&self.remove_participant(self.read()?).await?),
            "UpdateParticipant" => self.reply(&self.update_participant(self.read()?).await?),
            "MutePublishedTrack" => self.reply(&self.mute_published_track(self.read()?).await?),
            "UpdateSubscriptions" => self.reply(&self.update_subscriptions(self.read()?).await?),
            "PerformRpc" => self.reply(&self.perform_rpc(self.read()?).await?),
            "MoveParticipant" => self.reply(&self.move_participant(self.read()?).await?),
            "ForwardParticipant" => self.reply(&self.forward_participant(self.read()?).await?),
            other => Err(Error::new("bad_route", 404, format!("RoomService has no method {other}"))),
        }
    }

    fn read<T: prost::Message + Default + serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        let read = match self.format {
            Format::Protobuf => T::decode(self.body.as_ref()).map_err(|error| error.to_string()),
            Format::Json => json::read(self.body).map_err(|error| error.to_string()),
        };
        read.map_err(|error| Error::new("malformed", 400, format!("the request cannot be read: {error}")))
    }

    fn reply(&self, message: &impl Answer) -> Result<Response, Error> {
        Ok(match self.format {
            Format::Protobuf => {
                ([(CONTENT_TYPE, "application/protobuf")], message.encode_to_vec()).into_response()
            }
            Format::Json => {
                let value =
                    json::write(message).map_err(|error| Error::new("internal", 500, error.to_string()))?;
                axum::Json(value).into_response()
            }
        })
    }

    /// Asks the control plane.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> AdminRequest) -> Result<T, Error> {
        self.state.control.admin(request).await.map_err(Error::unanswered)
    }

    /// The same, where the control plane may refuse.
    async fn demand<T>(
        &self,
        request: impl FnOnce(Reply<Result<T, AdminRefused>>) -> AdminRequest,
    ) -> Result<T, Error> {
        self.ask(request).await?.map_err(Error::refused)
    }
}
