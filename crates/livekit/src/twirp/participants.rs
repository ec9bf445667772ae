//! Methods about one participant.

use std::time::Duration;

use base::model::MetadataChange;
use base::{Identity, RoomName};
use bytes::Bytes;
use contract::session::{AdminRequest, RpcFailure};
use livekit_protocol as proto;
use tokio::time::timeout;

use super::{Call, Error, MAX_NAMES};
use crate::{ids, rpc, translate};

/// How long a participant may take to answer a procedure call that says nothing about it, in ms; as in LiveKit's clients.
const RPC_TIMEOUT_MS: u32 = 15_000;
/// Longest that a call may say, in ms: each holds a request open.
const MAX_RPC_TIMEOUT_MS: u32 = 300_000;
/// Largest payload of a procedure call, in bytes, and longest name of a procedure; as in LiveKit's clients.
const MAX_RPC_PAYLOAD: usize = 15 * 1024;
const MAX_RPC_METHOD: usize = 64;

impl Call<'_> {
    pub(super) async fn list_participants(
        &self,
        request: proto::ListParticipantsRequest,
    ) -> Result<proto::ListParticipantsResponse, Error> {
        let room = self.administered(&request.room)?;
        let list = self.ask(|reply| AdminRequest::ListParticipants { room, reply }).await?;
        let participants = list.iter().map(|participant| translate::participant(participant)).collect();
        Ok(proto::ListParticipantsResponse { participants })
    }

    pub(super) async fn get_participant(
        &self,
        request: proto::RoomParticipantIdentity,
    ) -> Result<proto::ParticipantInfo, Error> {
        let (room, identity) = (self.administered(&request.room)?, Identity::new(request.identity));
        let found = self.demand(|reply| AdminRequest::GetParticipant { room, identity, reply }).await?;
        Ok(translate::participant(&found))
    }

    pub(super) async fn remove_participant(
        &self,
        request: proto::RoomParticipantIdentity,
    ) -> Result<proto::RemoveParticipantResponse, Error> {
        let (room, identity) = (self.administered(&request.room)?, Identity::new(request.identity));
        let revoke_before_s = u64::try_from(request.revoke_token_ts).unwrap_or_default();
        let call = |reply| AdminRequest::RemoveParticipant { room, identity, revoke_before_s, reply };
        match self.ask(call).await? {
            true => Ok(proto::RemoveParticipantResponse::default()),
            false => Err(Error::not_found("the participant")),
        }
    }

    /// What is empty stays as it is; a permission that is given is given whole.
    pub(super) async fn update_participant(
        &self,
        request: proto::UpdateParticipantRequest,
    ) -> Result<proto::ParticipantInfo, Error> {
        let (room, identity) = (self.administered(&request.room)?, Identity::new(request.identity));
        let set = |text: String| (!text.is_empty()).then_some(text);
        let change = MetadataChange {
            name: set(request.name),
            metadata: set(request.metadata),
            attributes: request.attributes.into_iter().collect(),
        };
        let permissions = request.permission.as_ref().map(translate::parse_permissions);
        let call = |reply| AdminRequest::UpdateParticipant { room, identity, change, permissions, reply };
        let now = self.demand(call).await?;
        Ok(translate::participant(&now))
    }

    pub(super) async fn move_participant(
        &self,
        request: proto::MoveParticipantRequest,
    ) -> Result<proto::MoveParticipantResponse, Error> {
        let (room, destination) = self.between(&request.room, &request.destination_room)?;
        let (identity, create) = (Identity::new(request.identity), self.creates());
        let call = |reply| AdminRequest::MoveParticipant { room, identity, destination, create, reply };
        self.demand(call).await?;
        Ok(proto::MoveParticipantResponse::default())
    }

    pub(super) async fn forward_participant(
        &self,
        request: proto::ForwardParticipantRequest,
    ) -> Result<proto::ForwardParticipantResponse, Error> {
        let (room, destination) = self.between(&request.room, &request.destination_room)?;
        let (identity, create) = (Identity::new(request.identity), self.creates());
        let call = |reply| AdminRequest::ForwardParticipant { room, identity, destination, create, reply };
        self.demand(call).await?;
        Ok(proto::ForwardParticipantResponse::default())
    }

    /// The rooms, if the token lets bring people from the one into the other.
    fn between(&self, room: &str, destination: &str) -> Result<(RoomName, RoomName), Error> {
        self.claims.check_destination(room, destination).map_err(Error::denied)?;
        if destination.is_empty() {
            return Err(Error::invalid("no destination room"));
        }
        Ok((RoomName::new(room), RoomName::new(destination)))
    }

    /// As a join, it may make the room that it leads to.
    pub(super) fn creates(&self) -> bool {
        self.state.config.auto_create || self.claims.check_create().is_ok()
    }

    pub(super) async fn mute_published_track(
        &self,
        request: proto::MuteRoomTrackRequest,
    ) -> Result<proto::MuteRoomTrackResponse, Error> {
        let (room, identity) = (self.administered(&request.room)?, Identity::new(request.identity));
        let Some(track) = ids::parse_track(&request.track_sid) else {
            return Err(Error::not_found("the track"));
        };
        let muted = request.muted;
        let call = |reply| AdminRequest::MuteTrack { room, identity, track, muted, reply };
        let track = self.demand(call).await?;
        Ok(proto::MuteRoomTrackResponse { track: Some(translate::track(&track)) })
    }

    /// Ids that are none of a track are skipped; the participant is told about tracks that it cannot have, as if it had asked.
    pub(super) async fn update_subscriptions(
        &self,
        request: proto::UpdateSubscriptionsRequest,
    ) -> Result<proto::UpdateSubscriptionsResponse, Error> {
        let (room, identity) = (self.administered(&request.room)?, Identity::new(request.identity));
        let grouped = request.participant_tracks.iter().flat_map(|tracks| &tracks.track_sids);
        let sids = request.track_sids.iter().chain(grouped);
        if sids.clone().count() > MAX_NAMES {
            return Err(Error::invalid(format!("more than {MAX_NAMES} tracks")));
        }
        let tracks = sids.filter_map(|sid| ids::parse_track(sid)).collect();
        let subscribe = request.subscribe;
        let call = |reply| AdminRequest::UpdateSubscriptions { room, identity, tracks, subscribe, reply };
        self.demand(call).await?;
        Ok(proto::UpdateSubscriptionsResponse::default())
    }

    pub(super) async fn perform_rpc(
        &self,
        request: proto::PerformRpcRequest,
    ) -> Result<proto::PerformRpcResponse, Error> {
        let room = self.administered(&request.room)?;
        check_rpc(&request)?;
        let within = match request.response_timeout_ms {
            0 => RPC_TIMEOUT_MS,
            said => said,
        };
        let identity = Identity::new(request.destination_identity.as_str());
        let (id, packet) = rpc::call(rand::random(), request.method, request.payload, within);
        let payload = Bytes::from(packet);
        let answer = self.ask(|reply| AdminRequest::PerformRpc { room, identity, id, payload, reply });
        match timeout(Duration::from_millis(within.into()), answer).await {
            Ok(answer) => {
                let payload = answer?.map_err(rpc_failed)?;
                Ok(proto::PerformRpcResponse { payload })
            }
            Err(_) => {
                let message = format!("the participant did not answer within {within} ms");
                Err(Error::new("deadline_exceeded", 408, message))
            }
        }
    }
}

fn check_rpc(request: &proto::PerformRpcRequest) -> Result<(), Error> {
    if request.method.is_empty() || request.method.len() > MAX_RPC_METHOD {
        return Err(Error::invalid(format!("the method's name has to have 1 to {MAX_RPC_METHOD} bytes")));
    }
    if request.payload.len() > MAX_RPC_PAYLOAD {
        return Err(Error::invalid(format!("the payload has more than {MAX_RPC_PAYLOAD} bytes")));
    }
    if request.response_timeout_ms > MAX_RPC_TIMEOUT_MS {
        return Err(Error::invalid(format!("the timeout is longer than {MAX_RPC_TIMEOUT_MS} ms")));
    }
    Ok(())
}

fn rpc_failed(failure: RpcFailure) -> Error {
    match failure {
        RpcFailure::Refused(refused) => Error::refused(refused),
        // It may have done what was asked: not an error after which one simply tries again.
        RpcFailure::Left => Error::new("aborted", 409, "the participant left before it answered"),
        RpcFailure::Error { code, message, data } => Error {
            meta: vec![("rpc_code", code.to_string()), ("rpc_data", data)],
            ..Error::new("failed_precondition", 412, message)
        },
    }
}
