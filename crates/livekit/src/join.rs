//! Joining: token and parameters to the control plane's join, and its result to a JoinResponse.

use std::net::SocketAddr;

use base::CodecKind;
use base::model::{Participant, RoomInfo};
use contract::session::{Join, JoinError, RoomOptions};
use livekit_protocol as proto;

use crate::config::{Config, SERVER_PROTOCOL, SERVER_VERSION};
use crate::params::Params;
use crate::session::Session;
use crate::{ids, translate};

/// Clients ping this often, in seconds.
const PING_INTERVAL: i32 = 5;
/// A client that hears nothing for this long, in seconds, takes its connection for dead.
const PING_TIMEOUT: i32 = 15;

/// The only version that there is of the protocol of agents' workers.
const AGENT_PROTOCOL: i32 = 1;

/// What a token does not allow, or asks for and cannot get.
pub(crate) enum Refused {
    /// A grant is missing.
    Denied(auth::Denied),
    /// The room cannot be made as the token says.
    RoomConfig(auth::BadRoomConfig),
}

/// The join that a valid token and the client's parameters ask for.
pub(crate) fn request(config: &Config, token: &auth::Verified, params: &Params) -> Result<Join, Refused> {
    let claims = &token.claims;
    let (identity, room) = claims.check_join().map_err(Refused::Denied)?;
    let room_config = claims.room_config().map_err(Refused::RoomConfig)?;
    let permissions = claims.permissions();
    let mut attributes = claims.attributes.clone();
    let mut metadata = claims.metadata.clone();
    if permissions.update_own_metadata {
        attributes.extend(params.attributes.clone());
        if !params.metadata.is_empty() {
            metadata.clone_from(&params.metadata);
        }
    }
    Ok(Join {
        room,
        create: config.auto_create || claims.check_create().is_ok(),
        options: room_options(room_config),
        identity,
        name: claims.name.clone(),
        metadata,
        attributes,
        kind: claims.participant_kind(),
        kind_details: claims.kind_details(),
        issued_s: claims.nbf.unwrap_or_default(),
        permissions,
        auto_subscribe: params.auto_subscribe,
        auto_subscribe_data: params.auto_subscribe_data,
        abilities: params.client.abilities.clone(),
        client: params.client.describe(),
    })
}

fn room_options(config: auth::RoomConfig) -> RoomOptions {
    let set = |value: u32| (value > 0).then_some(value);
    RoomOptions {
        empty_timeout_s: set(config.empty_timeout),
        departure_timeout_s: set(config.departure_timeout),
        max_participants: set(config.max_participants),
        metadata: config.metadata,
        agents: config.agents,
    }
}

/// HTTP status and text of a refused join. Clients match the text of a missing room.
pub(crate) fn refusal(error: JoinError) -> (u16, String) {
    match error {
        JoinError::NoSuchRoom => (404, error.to_string()),
        JoinError::RoomFull => (500, format!("connection closed by media: {error}")),
        JoinError::LimitExceeded => (400, error.to_string()),
        JoinError::Revoked => (401, error.to_string()),
        JoinError::Unavailable => (503, error.to_string()),
    }
}

/// What of a session the response tells.
pub(crate) struct Parts<'a> {
    pub config: &'a Config,
    pub me: &'a Participant,
    pub room: &'a RoomInfo,
    pub subscriber_primary: bool,
    /// An address to tell as a STUN server, to a client that needs one.
    pub stun: Option<SocketAddr>,
    /// A codec that the client is not to publish.
    pub broken_encoder: Option<CodecKind>,
}

/// The first message of a session.
pub(crate) fn response(session: &mut Session, others: Vec<proto::ParticipantInfo>) -> proto::JoinResponse {
    let sif_trailer = session.random_bytes();
    let parts = session.parts();
    let config = parts.config;
    proto::JoinResponse {
        room: Some(translate::room(parts.room)),
        participant: Some(translate::participant(parts.me)),
        other_participants: others,
        server_version: SERVER_VERSION.to_owned(),
        server_region: config.region.clone(),
        server_info: Some(server_info(config)),
        ice_servers: ice_servers(&parts),
        subscriber_primary: parts.subscriber_primary,
        client_configuration: Some(proto::ClientConfiguration::default()),
        ping_interval: PING_INTERVAL,
        ping_timeout: PING_TIMEOUT,
        sif_trailer,
        enabled_publish_codecs: publish_codecs(config, parts.broken_encoder),
        fast_publish: parts.me.permissions.publish,
        ..proto::JoinResponse::default()
    }
}

/// The first message to a client that resumes.
pub(crate) fn reconnect_response(session: &Session) -> proto::ReconnectResponse {
    let parts = session.parts();
    let config = parts.config;
    proto::ReconnectResponse {
        ice_servers: ice_servers(&parts),
        client_configuration: Some(proto::ClientConfiguration::default()),
        server_info: Some(server_info(config)),
        last_message_seq: session.last_sequence(),
    }
}

/// Other servers, for a client that is to leave this one.
pub(crate) fn regions(config: &Config) -> Option<proto::RegionSettings> {
    let region = |(place, region): (usize, &crate::config::Region)| proto::RegionInfo {
        region: region.name.clone(),
        url: region.url.clone(),
        // Clients try the nearest first; the list is in that order.
        distance: i64::try_from(place).unwrap_or(i64::MAX),
    };
    let regions: Vec<_> = config.regions.iter().enumerate().map(region).collect();
    (!regions.is_empty()).then_some(proto::RegionSettings { regions })
}

pub(crate) fn server_info(config: &Config) -> proto::ServerInfo {
    proto::ServerInfo {
        edition: proto::server_info::Edition::Standard as i32,
        version: SERVER_VERSION.to_owned(),
        protocol: SERVER_PROTOCOL,
        region: config.region.clone(),
        node_id: ids::node(config.node),
        agent_protocol: AGENT_PROTOCOL,
        ..proto::ServerInfo::default()
    }
}

fn ice_servers(parts: &Parts<'_>) -> Vec<proto::IceServer> {
    let server = |server: &crate::config::IceServer| proto::IceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: server.credential.clone(),
    };
    let own = |address: &SocketAddr| proto::IceServer {
        urls: vec![format!("stun:{address}")],
        ..proto::IceServer::default()
    };
    let needed = parts.stun.filter(|_| parts.config.ice_servers.is_empty());
    parts.config.ice_servers.iter().map(server).chain(needed.as_ref().map(own)).collect()
}

/// Video first, VP8 before all: some clients take the first of the list. A list with video in it lets browsers send AddTrack
/// and their offer together.
fn publish_codecs(config: &Config, but: Option<CodecKind>) -> Vec<proto::Codec> {
    let mut kinds = vec![CodecKind::Vp8, CodecKind::H264, CodecKind::Vp9, CodecKind::Av1, CodecKind::Opus];
    if config.red {
        kinds.push(CodecKind::Red);
    }
    let codec = |kind: CodecKind| proto::Codec { mime: kind.mime().to_owned(), fmtp_line: String::new() };
    kinds.into_iter().filter(|kind| Some(*kind) != but).map(codec).collect()
}
