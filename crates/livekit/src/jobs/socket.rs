//! `/agent`: the socket of a worker.

use std::time::{Duration, Instant};

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message as Frame, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query as UrlQuery, State as FromState};
use axum::http::StatusCode;
use axum::http::header::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use base::AgentWorkerId;
use livekit_protocol as proto;
use livekit_protocol::server_message::Message;
use livekit_protocol::worker_message::Message as Heard;
use prost::Message as _;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Handle, Registered, translate};
use crate::config::State;
use crate::frames::{Broken, Form};
use crate::http::bearer;
use crate::metrics::count;
use crate::wire::Wire;
use crate::{ids, join};

/// Largest message of a worker, in bytes: the metadata and attributes of an agent, and as much again.
const MAX_MESSAGE: usize = 256 * 1024;
/// How long a worker may take to register.
const REGISTER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(crate) struct Query {
    #[serde(default)]
    access_token: String,
}

/// Why a worker is sent away, for who wrote it. At most 123 bytes (RFC 6455 section 5.5).
type Reason = &'static str;

/// Lets a worker in whose token has the grant `agent`.
pub(crate) async fn connect(
    FromState(state): FromState<State>,
    UrlQuery(query): UrlQuery<Query>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let (Ok(upgrade), Some(jobs)) = (upgrade, state.jobs.clone()) else {
        return (StatusCode::NOT_FOUND, "this path takes WebSocket upgrades only").into_response();
    };
    let api_key = match admit(&state, &query, &headers) {
        Ok(api_key) => api_key,
        Err(reason) => {
            count(&state.metrics.agent_workers_refused);
            tracing::info!(reason, "worker of agents refused");
            return (StatusCode::UNAUTHORIZED, reason).into_response();
        }
    };
    let running = state.sessions.enter();
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    upgrade.on_upgrade(move |socket| async move {
        Box::pin(run(state, jobs, socket, api_key)).await;
        drop(running);
    })
}

/// The API key that signed the token.
fn admit(state: &State, query: &Query, headers: &HeaderMap) -> Result<String, String> {
    let token = bearer(headers).unwrap_or(&query.access_token);
    if token.is_empty() {
        return Err("no token: send one as Authorization header".to_owned());
    }
    let token = auth::verify(&state.keys, token, state.now()).map_err(|error| error.to_string())?;
    token.claims.check_agent().map_err(|denied| denied.to_string())?;
    Ok(token.api_key)
}

/// A worker from its first message to its last.
async fn run(state: State, jobs: Handle, socket: WebSocket, api_key: String) {
    let mut worker = Worker { wire: Wire::new(socket), state, jobs };
    let registered = match timeout(REGISTER_WITHIN, worker.register(api_key)).await {
        Ok(Ok(Some(registered))) => registered,
        // It has gone by itself.
        Ok(Ok(None)) => return,
        Ok(Err(reason)) => return worker.refuse(reason).await,
        Err(_) => return worker.refuse("no registration came in time").await,
    };
    let (id, told) = (registered.id, registered.told);
    let end = worker.serve(id, told).await;
    worker.jobs.lost(id).await;
    tracing::info!(worker = %id, reason = end.reason(), "worker of agents gone");
    worker.close(end).await;
}

/// Why a worker's connection ends.
enum End {
    /// By itself.
    Gone,
    /// It does not read what it is told, or the server stops.
    SentAway,
    /// It broke the protocol.
    Expelled(Reason),
}

impl End {
    fn reason(&self) -> Reason {
        match self {
            Self::Gone => "its connection ended",
            Self::SentAway => "it reads too slowly, or the server stops",
            Self::Expelled(reason) => reason,
        }
    }
}

struct Worker {
    state: State,
    jobs: Handle,
    wire: Wire,
}

impl Worker {
    /// Waits for the registration. `None`: the worker has gone.
    async fn register(&mut self, api_key: String) -> Result<Option<Registered>, Reason> {
        loop {
            let Some(message) = self.hear().await? else { return Ok(None) };
            match message {
                Some(Heard::Register(request)) => return self.enter(&request, api_key).await.map(Some),
                Some(Heard::Ping(ping)) => self.pong(&ping)?,
                Some(_) => return Err("the first message must be the registration"),
                None => {}
            }
        }
    }

    async fn enter(
        &mut self,
        request: &proto::RegisterWorkerRequest,
        api_key: String,
    ) -> Result<Registered, Reason> {
        let registration = translate::registration(request, api_key)?;
        let group = registration.group.clone();
        let registered = self.jobs.register(registration).await.ok().flatten();
        let registered = registered.ok_or("this server takes no more workers of agents now")?;
        count(&self.state.metrics.agent_workers_registered);
        tracing::info!(
            worker = %registered.id,
            agent = group.agent,
            kind = ?group.kind,
            namespace = group.namespace,
            deployment = group.deployment,
            version = request.version.chars().take(32).collect::<String>(),
            "worker of agents registered"
        );
        let answer = proto::RegisterWorkerResponse {
            worker_id: ids::agent_worker(registered.id),
            server_info: Some(join::server_info(&self.state.config)),
            ..proto::RegisterWorkerResponse::default()
        };
        // What else it is told waits in its line until then.
        self.tell(Message::Register(answer)).map_err(|Broken| "it reads too slowly")?;
        Ok(registered)
    }

    async fn serve(&mut self, id: AgentWorkerId, mut told: mpsc::Receiver<Message>) -> End {
        loop {
            tokio::select! {
                message = told.recv() => match message.map(|message| self.tell(message)) {
                    Some(Ok(())) => {}
                    Some(Err(Broken)) | None => return End::SentAway,
                },
                heard = self.hear() => match heard {
                    Ok(Some(message)) => match self.take(id, message).await {
                        Ok(()) => {}
                        Err(reason) => return End::Expelled(reason),
                    },
                    Ok(None) => return End::Gone,
                    Err(reason) => return End::Expelled(reason),
                },
            }
        }
    }

    async fn take(&mut self, id: AgentWorkerId, message: Option<Heard>) -> Result<(), Reason> {
        if let Some(Heard::Ping(ping)) = &message {
            return self.pong(ping);
        }
        let said = message.map(translate::said).transpose()?.flatten();
        match said {
            Some(said) => self.jobs.say(id, said).await.map_err(|_| "the server stops"),
            None => {
                count(&self.state.metrics.requests_ignored);
                Ok(())
            }
        }
    }

    fn pong(&mut self, ping: &proto::WorkerPing) -> Result<(), Reason> {
        let timestamp = self.state.now().0 as i64;
        let pong = proto::WorkerPong { last_timestamp: ping.timestamp, timestamp };
        self.tell(Message::Pong(pong)).map_err(|Broken| "it reads too slowly")
    }

    /// The next message; within, `None`: one that is not known here. `Ok(None)`: the worker has gone.
    async fn hear(&mut self) -> Result<Option<Option<Heard>>, Reason> {
        loop {
            let Some(frame) = self.wire.hear().await else { return Ok(None) };
            let now = Instant::now();
            self.wire.heard = now;
            self.wire.pace.note(now, false);
            let message = match &frame {
                Frame::Ping(_) | Frame::Pong(_) => continue,
                Frame::Close(_) => return Ok(None),
                Frame::Binary(_) => {
                    self.wire.form = Form::Binary;
                    translate::read(&frame)
                }
                Frame::Text(_) => {
                    self.wire.form = Form::Json;
                    translate::read(&frame)
                }
            };
            count(&self.state.metrics.frames_in);
            return match message {
                Some(message) => Ok(Some(message.message)),
                None => {
                    count(&self.state.metrics.frames_malformed);
                    Err("a message could not be read")
                }
            };
        }
    }

    fn tell(&mut self, message: Message) -> Result<(), Broken> {
        count(&self.state.metrics.frames_out);
        let message = proto::ServerMessage { message: Some(message) };
        let frame = match self.wire.form {
            Form::Binary => Frame::Binary(message.encode_to_vec().into()),
            // Messages are made of texts and numbers, all of which JSON can hold.
            Form::Json => Frame::Text(serde_json::to_string(&message).unwrap_or_default().into()),
        };
        self.wire.outbox.push(frame)
    }

    async fn refuse(self, reason: Reason) {
        count(&self.state.metrics.agent_workers_refused);
        tracing::info!(reason, "worker of agents refused");
        self.wire.close_with(close_code::POLICY, reason).await;
    }

    async fn close(self, end: End) {
        match end {
            End::Gone => self.wire.close().await,
            End::SentAway => self.wire.close_with(close_code::AWAY, end.reason()).await,
            End::Expelled(reason) => {
                count(&self.state.metrics.agent_workers_expelled);
                self.wire.close_with(close_code::POLICY, reason).await;
            }
        }
    }
}
