//! Agents' values to and from LiveKit's messages.

use std::time::Duration;

use agents::{Answer, Group, Guest, Job, JobKind, Ordered, Registration, Status};
use auth::Claims;
use axum::extract::ws::Message as Frame;
use base::agents::{AGENT_NAME_BYTES, BadDispatch, Dispatch, TEXT_BYTES, check_deployment};
use base::model::Permissions;
use base::{Identity, JobId, UnixMillis};
use livekit_protocol as proto;
use prost::Message as _;

use super::Said;
use crate::config::State;
use crate::{ids, shape, translate};

/// How long an agent may take from its job to the room, and to come back to it: it is given fresh tokens while it is there.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);
/// The attribute by which clients know an agent's name.
const NAME_ATTRIBUTE: &str = "lk.agent_name";
/// Longest name and identity of an agent in a room, in bytes.
const NAME_BYTES: usize = 256;
/// Longest text of an error that is kept, in bytes.
const ERROR_BYTES: usize = 1_024;
/// Jobs that a worker may have had when it comes back.
const MAX_RESUMED: usize = 1_000;

/// A message of a worker; `None`: it cannot be read.
pub(super) fn read(frame: &Frame) -> Option<proto::WorkerMessage> {
    match frame {
        Frame::Binary(bytes) if shape::is_sane(bytes) => proto::WorkerMessage::decode(bytes.as_ref()).ok(),
        Frame::Text(text) => serde_json::from_str(text.as_str()).ok(),
        _ => None,
    }
}

/// What a worker registers as; `Err`: why it cannot.
pub(super) fn registration(
    request: &proto::RegisterWorkerRequest,
    api_key: String,
) -> Result<Registration, &'static str> {
    let kind = match proto::JobType::try_from(request.r#type) {
        Ok(proto::JobType::JtRoom) => JobKind::Room,
        Ok(proto::JobType::JtPublisher) => JobKind::Publisher,
        Ok(proto::JobType::JtParticipant) => JobKind::Participant,
        Err(_) => return Err("the type of jobs is not known here"),
    };
    let namespace = request.namespace.clone().unwrap_or_default();
    if request.agent_name.len() > AGENT_NAME_BYTES || namespace.len() > AGENT_NAME_BYTES {
        return Err("the agent's name or namespace has more than 256 bytes");
    }
    if !check_deployment(&request.deployment) {
        return Err("the deployment is too long, or has an underscore or white space");
    }
    let group =
        Group { agent: request.agent_name.clone(), deployment: request.deployment.clone(), namespace, kind };
    let wanted = request.allowed_permissions.as_ref().map(translate::parse_permissions);
    let everything = Permissions {
        publish: true,
        subscribe: true,
        publish_data: true,
        update_own_metadata: true,
        ..Permissions::default()
    };
    // An agent is no recorder, whatever it says: rooms treat those as not being there.
    let permissions = Permissions { agent: true, recorder: false, ..wanted.unwrap_or(everything) };
    Ok(Registration { group, permissions, api_key })
}

/// What a registered worker says of itself and its jobs; `Err`: why it cannot be. `Ok(None)`: nothing that is anything to us.
pub(super) fn said(message: proto::worker_message::Message) -> Result<Option<Said>, &'static str> {
    use proto::worker_message::Message;
    Ok(match message {
        Message::Availability(response) => {
            let Some(job) = ids::parse_job(&response.job_id) else { return Ok(None) };
            Some(Said::Answer(job, answer(response)?))
        }
        Message::UpdateWorker(update) => {
            let takes = update.status.map(|status| status == proto::WorkerStatus::WsAvailable as i32);
            Some(Said::Report(update.load, if update.draining { Some(false) } else { takes }))
        }
        Message::UpdateJob(update) => {
            let Some(job) = ids::parse_job(&update.job_id) else { return Ok(None) };
            let status = match proto::JobStatus::try_from(update.status) {
                Ok(proto::JobStatus::JsSuccess) => Status::Succeeded,
                Ok(proto::JobStatus::JsFailed) => Status::Failed,
                _ => Status::Running,
            };
            Some(Said::Update(job, status, shortened(update.error)))
        }
        Message::MigrateJob(migrate) => {
            let jobs: Vec<JobId> =
                migrate.job_ids.iter().take(MAX_RESUMED).filter_map(|id| ids::parse_job(id)).collect();
            Some(Said::Resume(jobs))
        }
        // Registration is answered once; pings are answered by the socket; what is to be simulated would be a way into any room.
        Message::Register(_) | Message::Ping(_) | Message::SimulateJob(_) => None,
    })
}

fn answer(response: proto::AvailabilityResponse) -> Result<Answer, &'static str> {
    match (response.terminate, response.available) {
        (true, _) => return Ok(Answer::Forbids),
        (false, false) => return Ok(Answer::Refuses),
        (false, true) => {}
    }
    let attributes = &response.participant_attributes;
    let attribute_bytes: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    if response.participant_identity.is_empty() {
        return Err("an agent must have an identity");
    }
    if response.participant_identity.len().max(response.participant_name.len()) > NAME_BYTES
        || response.participant_metadata.len() + attribute_bytes > TEXT_BYTES
    {
        return Err("the agent's identity, name, metadata or attributes are too long");
    }
    Ok(Answer::Takes(Guest {
        identity: Identity::new(response.participant_identity),
        name: response.participant_name,
        metadata: response.participant_metadata,
        attributes: response.participant_attributes.into_iter().collect(),
    }))
}

/// The token with which an agent joins.
pub(super) fn token(state: &State, registration: &Registration, job: &Job, guest: &Guest) -> String {
    let mut claims = Claims::join(guest.identity.as_str(), job.room.name.as_str());
    claims = claims.valid_for(state.now(), TOKEN_LIFE);
    claims.kind = "agent".to_owned();
    claims.name.clone_from(&guest.name);
    claims.metadata.clone_from(&guest.metadata);
    claims.attributes.clone_from(&guest.attributes);
    claims.attributes.insert(NAME_ATTRIBUTE.to_owned(), registration.group.agent.clone());
    claims.video.get_or_insert_default().set_permissions(&registration.permissions);
    let key = &registration.api_key;
    // The key let the worker in.
    auth::mint(key, state.keys.secret(key).unwrap_or_default(), &claims)
}

/// As workers, back ends and webhooks are told it.
pub(crate) fn job(job: &Job) -> proto::Job {
    let kind = match job.group.kind {
        JobKind::Room => proto::JobType::JtRoom,
        JobKind::Publisher => proto::JobType::JtPublisher,
        JobKind::Participant => proto::JobType::JtParticipant,
    };
    #[allow(deprecated, reason = "workers of some age still have namespaces")]
    proto::Job {
        id: ids::job(job.id),
        dispatch_id: ids::dispatch(job.dispatch),
        r#type: kind as i32,
        room: Some(translate::room(&job.room)),
        participant: job.target.as_ref().map(|target| translate::participant(target)),
        namespace: job.group.namespace.clone(),
        metadata: job.order.metadata.clone(),
        agent_name: job.order.agent.clone(),
        state: Some(state(job)),
        deployment: job.order.deployment.clone(),
        attributes: job.order.attributes.clone().into_iter().collect(),
        ..proto::Job::default()
    }
}

fn state(job: &Job) -> proto::JobState {
    let status = match job.status {
        Status::Pending => proto::JobStatus::JsPending,
        Status::Running => proto::JobStatus::JsRunning,
        Status::Succeeded => proto::JobStatus::JsSuccess,
        Status::Failed => proto::JobStatus::JsFailed,
    };
    proto::JobState {
        status: status as i32,
        error: job.error.clone(),
        started_at: job.started_at.map(nanoseconds).unwrap_or_default(),
        ended_at: job.ended_at.map(nanoseconds).unwrap_or_default(),
        updated_at: nanoseconds(job.updated_at),
        participant_identity: job.agent.as_ref().map(Identity::to_string).unwrap_or_default(),
        worker_id: job.worker.map(ids::agent_worker).unwrap_or_default(),
        ..proto::JobState::default()
    }
}

/// An order of the server API.
pub(crate) fn order(dispatch: proto::RoomAgentDispatch) -> Result<Dispatch, BadDispatch> {
    let order = Dispatch {
        agent: dispatch.agent_name,
        deployment: dispatch.deployment,
        metadata: dispatch.metadata,
        attributes: dispatch.attributes.into_iter().collect(),
        never_restart: dispatch.restart_policy == proto::JobRestartPolicy::JrpNever as i32,
    };
    order.check().map(|()| order)
}

/// A dispatch of the server API.
pub(crate) fn ordered(ordered: &Ordered) -> proto::AgentDispatch {
    let Dispatch { agent, deployment, metadata, attributes, never_restart } = ordered.order.as_ref().clone();
    let policy = match never_restart {
        true => proto::JobRestartPolicy::JrpNever,
        false => proto::JobRestartPolicy::JrpOnFailure,
    };
    proto::AgentDispatch {
        id: ids::dispatch(ordered.id),
        agent_name: agent,
        room: ordered.room.to_string(),
        metadata,
        state: Some(proto::AgentDispatchState {
            jobs: ordered.jobs.iter().map(job).collect(),
            created_at: nanoseconds(ordered.created_at),
            deleted_at: ordered.deleted_at.map(nanoseconds).unwrap_or_default(),
        }),
        restart_policy: policy as i32,
        deployment,
        attributes: attributes.into_iter().collect(),
    }
}

/// Since 1970, as these messages count.
fn nanoseconds(at: UnixMillis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

fn shortened(mut text: String) -> String {
    if text.len() > ERROR_BYTES {
        let end = (0..=ERROR_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
