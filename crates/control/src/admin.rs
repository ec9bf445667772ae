//! What the server API asks of a room.

use std::sync::Arc;

use base::model::{DataKind, LeaveReason, MetadataChange, Participant, Permissions, RoomInfo, Track};
use base::{Identity, ParticipantId, RoomName, TrackId};
use bytes::Bytes;
use contract::session::{AdminRefused, AdminRequest, JoinError, Reply, RpcFailure};
use room::MuteRefused;

use crate::data::MAX_MESSAGE;
use crate::door::answer;
use crate::memory::MAX_NONCE;
use crate::room_task::{RoomTask, check_join, now};

impl RoomTask {
    /// Carries out a call. What it changed is in the room, and in what the front door lists, before it is answered.
    pub(crate) fn admin(&mut self, request: AdminRequest) {
        match request {
            AdminRequest::CheckJoin { join, reply } => {
                let revoked = self.revoked.has(&join.identity, join.issued_s);
                let outcome = if revoked { Err(JoinError::Revoked) } else { check_join(&self.room, *join) };
                answer(&reply, outcome);
            }
            AdminRequest::SetRoomMetadata { metadata, reply, .. } => {
                self.done(&reply, |task| task.set_metadata(metadata));
            }
            AdminRequest::ListParticipants { reply, .. } => {
                answer(&reply, self.room.participants().cloned().collect());
            }
            AdminRequest::GetParticipant { identity, reply, .. } => {
                answer(&reply, self.find(&identity).and_then(|id| self.participant(id)));
            }
            AdminRequest::RemoveParticipant { identity, revoke_before_s, reply, .. } => {
                self.done(&reply, |task| task.remove(&identity, revoke_before_s));
            }
            AdminRequest::UpdateParticipant { identity, change, permissions, reply, .. } => {
                self.done(&reply, |task| task.update_participant(&identity, change, permissions));
            }
            AdminRequest::MuteTrack { identity, track, muted, reply, .. } => {
                self.done(&reply, |task| task.mute(&identity, track, muted));
            }
            AdminRequest::UpdateSubscriptions { identity, tracks, subscribe, reply, .. } => {
                let id = self.find_own(&identity);
                let done = id.map(|id| self.update_subscription(id, &tracks, subscribe));
                answer(&reply, done);
            }
            AdminRequest::SendData { nonce, reply, .. } if nonce.len() > MAX_NONCE => {
                answer(&reply, Err(AdminRefused::LimitExceeded));
            }
            AdminRequest::SendData { kind, target, payload, nonce, reply, .. } => {
                let is_news = self.nonces.note(nonce);
                let sent = if is_news { self.announce_data(kind, &target, &payload) } else { Ok(()) };
                answer(&reply, sent);
            }
            AdminRequest::PerformRpc { identity, id, payload, reply, .. } => {
                self.perform_rpc(&identity, id, &payload, reply);
            }
            AdminRequest::Snapshot { reply, .. } => self.snapshot(reply),
            // The front door's own.
            AdminRequest::CreateRoom { .. }
            | AdminRequest::ListRooms { .. }
            | AdminRequest::MoveParticipant { .. }
            | AdminRequest::ForwardParticipant { .. }
            | AdminRequest::DeleteRoom { .. } => {}
        }
    }

    fn done<T>(&mut self, reply: &Reply<T>, what: impl FnOnce(&mut Self) -> T) {
        let outcome = what(self);
        self.publish_info();
        answer(reply, outcome);
    }

    fn find(&self, identity: &Identity) -> Result<ParticipantId, AdminRefused> {
        self.room.find(identity).ok_or(AdminRefused::NoSuchParticipant)
    }

    /// One that is in this room, and not only shown.
    pub(crate) fn find_own(&self, identity: &Identity) -> Result<ParticipantId, AdminRefused> {
        let id = self.find(identity)?;
        if self.room.is_guest(id) { Err(AdminRefused::Elsewhere) } else { Ok(id) }
    }

    pub(crate) fn participant(&self, id: ParticipantId) -> Result<Arc<Participant>, AdminRefused> {
        self.room.participant(id).cloned().ok_or(AdminRefused::NoSuchParticipant)
    }

    fn set_metadata(&mut self, metadata: String) -> Result<RoomInfo, AdminRefused> {
        match self.room.set_metadata(now(), metadata) {
            true => Ok(self.room.info().clone()),
            false => Err(AdminRefused::LimitExceeded),
        }
    }

    fn remove(&mut self, identity: &Identity, revoke_before_s: u64) -> bool {
        self.revoked.add(identity, revoke_before_s);
        let id = self.room.find(identity);
        id.is_some_and(|id| self.room.leave(now(), id, LeaveReason::ParticipantRemoved))
    }

    fn update_participant(
        &mut self,
        identity: &Identity,
        change: MetadataChange,
        permissions: Option<Permissions>,
    ) -> Result<Arc<Participant>, AdminRefused> {
        let id = self.find_own(identity)?;
        if !self.room.update_participant(now(), id, change) {
            return Err(AdminRefused::LimitExceeded);
        }
        if let Some(permissions) = permissions {
            self.room.set_permissions(now(), id, permissions);
        }
        self.participant(id)
    }

    fn mute(&mut self, identity: &Identity, track: TrackId, muted: bool) -> Result<Track, AdminRefused> {
        let id = self.find_own(identity)?;
        self.room.server_mute(now(), id, track, muted).map_err(|refused| match refused {
            MuteRefused::NoSuchTrack => AdminRefused::NoSuchTrack,
            MuteRefused::UnmuteDisabled => AdminRefused::UnmuteDisabled,
        })
    }

    fn perform_rpc(
        &mut self,
        identity: &Identity,
        id: String,
        payload: &Bytes,
        reply: Reply<Result<String, RpcFailure>>,
    ) {
        let refuse = |refused| answer(&reply, Err(RpcFailure::Refused(refused)));
        match self.find_own(identity) {
            Err(refused) => refuse(refused),
            Ok(_) if payload.len() > MAX_MESSAGE => refuse(AdminRefused::LimitExceeded),
            // Without room for it the reply handle goes: the caller sees that the room is too busy.
            Ok(callee) => {
                if self.calls_to.begin(callee, id, reply) {
                    self.announce(DataKind::Reliable, &[callee], payload);
                }
            }
        }
    }
}

/// The room that answers this; `None`: the front door does.
pub(crate) fn room_of(request: &AdminRequest) -> Option<&RoomName> {
    match request {
        AdminRequest::CheckJoin { .. }
        | AdminRequest::CreateRoom { .. }
        | AdminRequest::ListRooms { .. }
        | AdminRequest::MoveParticipant { .. }
        | AdminRequest::ForwardParticipant { .. }
        | AdminRequest::DeleteRoom { .. } => None,
        AdminRequest::SetRoomMetadata { room, .. }
        | AdminRequest::ListParticipants { room, .. }
        | AdminRequest::GetParticipant { room, .. }
        | AdminRequest::RemoveParticipant { room, .. }
        | AdminRequest::UpdateParticipant { room, .. }
        | AdminRequest::MuteTrack { room, .. }
        | AdminRequest::UpdateSubscriptions { room, .. }
        | AdminRequest::SendData { room, .. }
        | AdminRequest::PerformRpc { room, .. }
        | AdminRequest::Snapshot { room, .. } => Some(room),
    }
}

/// Answers for a room that does not exist.
pub(crate) fn absent(request: AdminRequest) {
    let refused = AdminRefused::NoSuchRoom;
    match request {
        AdminRequest::CheckJoin { reply, .. } => answer(&reply, Err(JoinError::Unavailable)),
        AdminRequest::CreateRoom { reply, .. } => answer(&reply, Err(AdminRefused::Unavailable)),
        AdminRequest::ListRooms { reply, .. } => answer(&reply, Vec::new()),
        AdminRequest::DeleteRoom { reply, .. } => answer(&reply, false),
        AdminRequest::MoveParticipant { reply, .. } | AdminRequest::ForwardParticipant { reply, .. } => {
            answer(&reply, Err(refused));
        }
        AdminRequest::SetRoomMetadata { reply, .. } => answer(&reply, Err(refused)),
        AdminRequest::ListParticipants { reply, .. } => answer(&reply, Vec::new()),
        AdminRequest::GetParticipant { reply, .. } => answer(&reply, Err(refused)),
        AdminRequest::RemoveParticipant { reply, .. } => answer(&reply, false),
        AdminRequest::UpdateParticipant { reply, .. } => answer(&reply, Err(refused)),
        AdminRequest::MuteTrack { reply, .. } => answer(&reply, Err(refused)),
        AdminRequest::UpdateSubscriptions { reply, .. } => answer(&reply, Err(refused)),
        AdminRequest::SendData { reply, .. } => answer(&reply, Err(refused)),
        AdminRequest::PerformRpc { reply, .. } => answer(&reply, Err(RpcFailure::Refused(refused))),
        AdminRequest::Snapshot { reply, .. } => answer(&reply, None),
    }
}
