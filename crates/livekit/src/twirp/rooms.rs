//! Methods about rooms.

use base::agents::{BadDispatch, Dispatch, ROOM_DISPATCHES};
use base::model::DataKind;
use base::{Identity, RoomName};
use bytes::Bytes;
use contract::session::{AdminRequest, DataTarget, RoomOptions};
use livekit_protocol as proto;
use livekit_protocol::data_packet::Value;
use prost::Message as _;

use super::{Call, Error, MAX_NAMES};
use crate::{ids, jobs, translate};

impl Call<'_> {
    pub(super) async fn create_room(&self, request: proto::CreateRoomRequest) -> Result<proto::Room, Error> {
        self.claims.check_create().map_err(Error::denied)?;
        check_options(&request)?;
        let agents = orders(request.agents)?;
        let set = |value: u32| (value > 0).then_some(value);
        let options = RoomOptions {
            empty_timeout_s: set(request.empty_timeout),
            departure_timeout_s: set(request.departure_timeout),
            max_participants: set(request.max_participants),
            metadata: request.metadata,
            agents,
        };
        let room = RoomName::new(request.name);
        let made = self.demand(|reply| AdminRequest::CreateRoom { room, options, reply }).await?;
        Ok(translate::room(&made))
    }

    pub(super) async fn list_rooms(
        &self,
        request: proto::ListRoomsRequest,
    ) -> Result<proto::ListRoomsResponse, Error> {
        self.claims.check_list().map_err(Error::denied)?;
        let names = request.names.iter().take(MAX_NAMES).map(|name| RoomName::new(name.as_str())).collect();
        let rooms = self.ask(|reply| AdminRequest::ListRooms { names, reply }).await?;
        Ok(proto::ListRoomsResponse { rooms: rooms.iter().map(translate::room).collect() })
    }

    pub(super) async fn delete_room(
        &self,
        request: proto::DeleteRoomRequest,
    ) -> Result<proto::DeleteRoomResponse, Error> {
        self.claims.check_create().map_err(Error::denied)?;
        let room = RoomName::new(request.room.as_str());
        match self.ask(|reply| AdminRequest::DeleteRoom { room, reply }).await? {
            true => Ok(proto::DeleteRoomResponse::default()),
            false => Err(Error::not_found("the requested room")),
        }
    }

    /// An empty text takes the metadata away; nothing else could.
    pub(super) async fn update_room_metadata(
        &self,
        request: proto::UpdateRoomMetadataRequest,
    ) -> Result<proto::Room, Error> {
        let (room, metadata) = (self.administered(&request.room)?, request.metadata);
        let now = self.demand(|reply| AdminRequest::SetRoomMetadata { room, metadata, reply }).await?;
        Ok(translate::room(&now))
    }

    pub(super) async fn send_data(
        &self,
        request: proto::SendDataRequest,
    ) -> Result<proto::SendDataResponse, Error> {
        let room = self.administered(&request.room)?;
        let (kind, target) = (data_kind(&request), data_target(&request)?);
        let nonce = request.nonce.clone();
        let payload = Bytes::from(data_packet(request).encode_to_vec());
        self.demand(|reply| AdminRequest::SendData { room, kind, target, payload, nonce, reply }).await?;
        Ok(proto::SendDataResponse::default())
    }

    /// The room, if the token is for it.
    pub(super) fn administered(&self, room: &str) -> Result<RoomName, Error> {
        self.claims.check_admin(room).map_err(Error::denied)?;
        Ok(RoomName::new(room))
    }
}

/// Options without which the room would be another than was asked for are refused; hints are not.
fn check_options(request: &proto::CreateRoomRequest) -> Result<(), Error> {
    if request.name.is_empty() {
        return Err(Error::invalid("no room name"));
    }
    if !request.room_preset.is_empty() {
        return Err(Error::invalid(format!("there is no room preset \"{}\"", request.room_preset)));
    }
    let not_served = [
        (request.egress.is_some(), "egress"),
        (request.replay_enabled, "replay_enabled"),
        (request.min_playout_delay.max(request.max_playout_delay) > 0, "a playout delay"),
    ];
    match not_served.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(Error::unimplemented(format!("rooms with {what} are not served yet"))),
        None => Ok(()),
    }
}

fn orders(agents: Vec<proto::RoomAgentDispatch>) -> Result<Vec<Dispatch>, Error> {
    if agents.len() > ROOM_DISPATCHES {
        return Err(Error::invalid(BadDispatch::TooMany.to_string()));
    }
    agents
        .into_iter()
        .map(jobs::order)
        .collect::<Result<_, _>>()
        .map_err(|bad| Error::invalid(bad.to_string()))
}

fn data_kind(request: &proto::SendDataRequest) -> DataKind {
    match request.kind() {
        proto::data_packet::Kind::Reliable => DataKind::Reliable,
        proto::data_packet::Kind::Lossy => DataKind::Lossy,
    }
}

#[allow(deprecated, reason = "older SDKs name receivers by session")]
fn data_target(request: &proto::SendDataRequest) -> Result<DataTarget, Error> {
    let (identities, sids) = (&request.destination_identities, &request.destination_sids);
    if identities.len().max(sids.len()) > MAX_NAMES {
        return Err(Error::invalid(format!("more than {MAX_NAMES} destinations")));
    }
    let participants: Vec<_> = sids.iter().filter_map(|sid| ids::parse_participant(sid)).collect();
    if participants.is_empty() && identities.is_empty() && !sids.is_empty() {
        // Without a receiver it would go to everybody.
        return Err(Error::invalid("none of the destination sids is one of a participant"));
    }
    let identities = identities.iter().map(|identity| Identity::new(identity.as_str())).collect();
    Ok(DataTarget { identities, participants, metrics: false })
}

/// As participants get it. It comes from nobody.
#[allow(deprecated, reason = "older clients read the kind and the receivers here")]
fn data_packet(request: proto::SendDataRequest) -> proto::DataPacket {
    let user = proto::UserPacket {
        payload: request.data,
        topic: request.topic,
        destination_sids: request.destination_sids,
        destination_identities: request.destination_identities.clone(),
        ..proto::UserPacket::default()
    };
    proto::DataPacket {
        kind: request.kind,
        destination_identities: request.destination_identities,
        value: Some(Value::User(user)),
        ..proto::DataPacket::default()
    }
}
