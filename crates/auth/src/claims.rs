//! What a token says, in the JSON form of LiveKit's tokens.
//!
//! Claims that Stoa does not read are kept in `extra` and written back, so that a refreshed token loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use base::model::{KindDetail, Participant, ParticipantKind, Permissions, TrackSource};
use base::{Identity, RoomName, UnixMillis};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::messaging::MessagingGrants;
use crate::room_config::{BadRoomConfig, RoomConfig};

/// A refreshed token holds at least this long.
const MIN_REFRESHED_LIFE: Duration = Duration::from_secs(600);

/// The claims of a token.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// The API key; [`crate::mint`] sets it.
    #[serde(default)]
    pub iss: String,
    /// The participant's identity.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub sub: String,
    /// Older tokens carry the identity here; read where `sub` is absent.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub jti: String,
    /// Not before, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub nbf: Option<u64>,
    /// Expires, in seconds since 1970. A token without it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "seconds")]
    pub exp: Option<u64>,
    /// Display name.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub name: String,
    /// Kind of participant; see [`Claims::participant_kind`].
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub kind: String,
    /// Metadata of the participant.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub metadata: String,
    /// Attributes of the participant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, String>,
    /// Base64 of the SHA-256 of the body that the token vouches for (webhooks).
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub sha256: String,
    /// How to configure the room when the join creates it; see [`Claims::room_config`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_config: Option<Value>,
    /// The name of a configuration on the server; Stoa has none.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub room_preset: String,
    /// What the token allows in rooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrants>,
    /// What the token allows with telephones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip: Option<SipGrants>,
    /// What the token allows with channels; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messaging: Option<MessagingGrants>,
    /// Claims that have no field here; see [`Claims::kind_details`].
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a token allows in rooms. An unset publish or subscribe grant counts as given.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoGrants {
    /// Create and delete rooms.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub room_create: bool,
    /// List rooms.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub room_list: bool,
    /// Record rooms.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub room_record: bool,
    /// Take streams in: ingress.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub ingress_admin: bool,
    /// The room into which participants of `room` may be moved or forwarded.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub destination_room: String,
    /// Administer the room named by `room`.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub room_admin: bool,
    /// Join the room named by `room`.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub room_join: bool,
    /// The room.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub room: String,
    /// Publish tracks; unset counts as true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// Subscribe to tracks; unset counts as true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// Send data; unset counts as `can_publish`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// `camera`, `microphone`, `screen_share`, `screen_share_audio`; empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub can_publish_sources: Vec<String>,
    /// Change own name, metadata and attributes; unset counts as false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// Invisible to others.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub hidden: bool,
    /// Records the room.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub recorder: bool,
    /// Is an agent.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub agent: bool,
    /// Receives metrics of others; unset counts as false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_subscribe_metrics: Option<bool>,
    /// Grants that Stoa does not read.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a token allows with telephones.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SipGrants {
    /// Manage trunks and dispatch rules.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub admin: bool,
    /// Make calls.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_as_default")]
    pub call: bool,
    /// Grants that Stoa does not read.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A valid token that does not allow what is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// `roomJoin` is not granted.
    NoJoin,
    /// The token names no identity.
    NoIdentity,
    /// The token names no room.
    NoRoom,
    /// The token is for another room.
    OtherRoom,
    /// `roomAdmin` is not granted.
    NoAdmin,
    /// `roomCreate` is not granted.
    NoCreate,
    /// `roomList` is not granted.
    NoList,
    /// Nothing of the server API is granted.
    NoServer,
    /// `destinationRoom` names another room or none.
    NoDestination,
    /// `roomRecord` is not granted.
    NoRecord,
    /// `ingressAdmin` is not granted.
    NoIngress,
    /// `sip.admin` is not granted.
    NoSipAdmin,
    /// `sip.call` is not granted.
    NoSipCall,
    /// `agent` is not granted.
    NoAgent,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoJoin => "the token does not allow joining a room (grant roomJoin is missing)",
            Self::NoIdentity => "the token names no participant (claim sub is empty)",
            Self::NoRoom => "the token names no room (grant room is empty)",
            Self::OtherRoom => "the token is for another room",
            Self::NoAdmin => "the token does not allow administering this room (grant roomAdmin is missing)",
            Self::NoCreate => {
                "the token does not allow creating or deleting rooms (grant roomCreate is missing)"
            }
            Self::NoList => "the token does not allow listing rooms (grant roomList is missing)",
            Self::NoServer => {
                "the token does not allow using the server API (none of roomCreate, roomList, roomAdmin is granted)"
            }
            Self::NoDestination => {
                "the token does not allow bringing participants into that room (grant destinationRoom names another or none)"
            }
            Self::NoRecord => "the token does not allow recording (grant roomRecord is missing)",
            Self::NoIngress => "the token does not allow taking streams in (grant ingressAdmin is missing)",
            Self::NoSipAdmin => {
                "the token does not allow managing telephone trunks and rules (grant sip.admin is missing)"
            }
            Self::NoSipCall => "the token does not allow telephone calls (grant sip.call is missing)",
            Self::NoAgent => "the token does not allow running agents (grant agent is missing)",
        })
    }
}

impl std::error::Error for Denied {}

impl Claims {
    /// Claims with which `identity` may join `room`.
    pub fn join(identity: &str, room: &str) -> Self {
        let video = VideoGrants { room_join: true, room: room.to_owned(), ..VideoGrants::default() };
        Self { sub: identity.to_owned(), video: Some(video), ..Self::default() }
    }

    /// The same claims, valid from `now` for `life`.
    pub fn valid_for(mut self, now: UnixMillis, life: Duration) -> Self {
        let seconds = now.0 / 1_000;
        self.nbf = Some(seconds);
        self.exp = Some(seconds.saturating_add(life.as_secs()));
        self
    }

    /// The identity, from `sub` or else `jti`. May be empty.
    pub fn identity(&self) -> &str {
        if self.sub.is_empty() { &self.jti } else { &self.sub }
    }

    /// The kind of participant. Unknown and absent kinds count as standard, as in other servers.
    pub fn participant_kind(&self) -> ParticipantKind {
        match self.kind.to_ascii_lowercase().as_str() {
            "ingress" => ParticipantKind::Ingress,
            "egress" => ParticipantKind::Egress,
            "sip" => ParticipantKind::Sip,
            "agent" => ParticipantKind::Agent,
            "connector" => ParticipantKind::Connector,
            "bridge" => ParticipantKind::Bridge,
            _ => ParticipantKind::Standard,
        }
    }

    /// More about the kind, from the claim `kindDetails`, a list of names. Unknown ones are nothing, as in other servers.
    pub fn kind_details(&self) -> BTreeSet<KindDetail> {
        let names = self.extra.get("kindDetails").and_then(Value::as_array).into_iter().flatten();
        let detail = |name: &str| match name.to_ascii_lowercase().as_str() {
            "cloud_agent" => Some(KindDetail::CloudAgent),
            "forwarded" => Some(KindDetail::Forwarded),
            "connector_whatsapp" => Some(KindDetail::ConnectorWhatsapp),
            "connector_twilio" => Some(KindDetail::ConnectorTwilio),
            "bridge_rtsp" => Some(KindDetail::BridgeRtsp),
            "simulation" => Some(KindDetail::Simulation),
            _ => None,
        };
        names.filter_map(Value::as_str).filter_map(detail).collect()
    }

    /// What the token lets a participant do in its room.
    pub fn permissions(&self) -> Permissions {
        self.video.as_ref().map(VideoGrants::permissions).unwrap_or_default()
    }

    /// Who joins which room.
    ///
    /// # Errors
    /// [`Denied::NoJoin`], [`Denied::NoIdentity`] or [`Denied::NoRoom`], checked in this order.
    pub fn check_join(&self) -> Result<(Identity, RoomName), Denied> {
        let grants = self.video.as_ref().filter(|grants| grants.room_join).ok_or(Denied::NoJoin)?;
        match (self.identity(), grants.room.as_str()) {
            ("", _) => Err(Denied::NoIdentity),
            (_, "") => Err(Denied::NoRoom),
            (identity, room) => Ok((Identity::new(identity), RoomName::new(room))),
        }
    }

    /// May `room` be administered?
    ///
    /// # Errors
    /// [`Denied::NoAdmin`] or [`Denied::OtherRoom`].
    pub fn check_admin(&self, room: &str) -> Result<(), Denied> {
        let grants = self.video.as_ref().filter(|grants| grants.room_admin).ok_or(Denied::NoAdmin)?;
        if grants.room == room { Ok(()) } else { Err(Denied::OtherRoom) }
    }

    /// May anything of the server API be used? Which, the other checks say.
    ///
    /// # Errors
    /// [`Denied::NoServer`].
    pub fn check_server(&self) -> Result<(), Denied> {
        let grants = self.video.as_ref();
        match grants.is_some_and(|grants| grants.room_create || grants.room_list || grants.room_admin) {
            true => Ok(()),
            false => Err(Denied::NoServer),
        }
    }

    /// May rooms be created and deleted?
    ///
    /// # Errors
    /// [`Denied::NoCreate`].
    pub fn check_create(&self) -> Result<(), Denied> {
        if self.video.as_ref().is_some_and(|grants| grants.room_create) {
            Ok(())
        } else {
            Err(Denied::NoCreate)
        }
    }

    /// May rooms be listed?
    ///
    /// # Errors
    /// [`Denied::NoList`].
    pub fn check_list(&self) -> Result<(), Denied> {
        if self.video.as_ref().is_some_and(|grants| grants.room_list) { Ok(()) } else { Err(Denied::NoList) }
    }

    /// May participants of `room` be brought into `destination`?
    ///
    /// # Errors
    /// Those of [`Self::check_admin`], and [`Denied::NoDestination`].
    pub fn check_destination(&self, room: &str, destination: &str) -> Result<(), Denied> {
        self.check_admin(room)?;
        let granted = self.video.as_ref().map_or("", |grants| grants.destination_room.as_str());
        if granted == destination { Ok(()) } else { Err(Denied::NoDestination) }
    }

    /// May rooms be recorded?
    ///
    /// # Errors
    /// [`Denied::NoRecord`].
    pub fn check_record(&self) -> Result<(), Denied> {
        let granted = self.video.as_ref().is_some_and(|grants| grants.room_record);
        granted.then_some(()).ok_or(Denied::NoRecord)
    }

    /// May streams be taken in?
    ///
    /// # Errors
    /// [`Denied::NoIngress`].
    pub fn check_ingress(&self) -> Result<(), Denied> {
        let granted = self.video.as_ref().is_some_and(|grants| grants.ingress_admin);
        granted.then_some(()).ok_or(Denied::NoIngress)
    }

    /// May telephone trunks and rules be managed?
    ///
    /// # Errors
    /// [`Denied::NoSipAdmin`].
    pub fn check_sip_admin(&self) -> Result<(), Denied> {
        self.sip.as_ref().is_some_and(|grants| grants.admin).then_some(()).ok_or(Denied::NoSipAdmin)
    }

    /// May agents be run?
    ///
    /// # Errors
    /// [`Denied::NoAgent`].
    pub fn check_agent(&self) -> Result<(), Denied> {
        self.video.as_ref().is_some_and(|grants| grants.agent).then_some(()).ok_or(Denied::NoAgent)
    }

    /// May telephone calls be made?
    ///
    /// # Errors
    /// [`Denied::NoSipCall`].
    pub fn check_sip_call(&self) -> Result<(), Denied> {
        self.sip.as_ref().is_some_and(|grants| grants.call).then_some(()).ok_or(Denied::NoSipCall)
    }

    /// What the room is to be made with if this join makes it.
    ///
    /// # Errors
    /// [`BadRoomConfig`], which the join is to be refused with: the room would be another than was asked for.
    pub fn room_config(&self) -> Result<RoomConfig, BadRoomConfig> {
        if !self.room_preset.is_empty() {
            return Err(BadRoomConfig::NoSuchPreset);
        }
        let config = match &self.room_config {
            None | Some(Value::Null) => return Ok(RoomConfig::default()),
            Some(value) => RoomConfig::deserialize(value).map_err(|_| BadRoomConfig::Unreadable)?,
        };
        config.check()?;
        Ok(config)
    }

    /// The claims for a fresh token of a session that is going on: everything is kept, what the participant is now
    /// replaces what it was when it joined, and it is valid for what was left of its life or 10 minutes.
    pub fn refreshed(&self, participant: &Participant, now: UnixMillis) -> Self {
        let left = self.exp.unwrap_or(0).saturating_sub(now.0 / 1_000);
        let mut fresh = self.clone().valid_for(now, Duration::from_secs(left).max(MIN_REFRESHED_LIFE));
        fresh.sub = participant.identity.as_str().to_owned();
        fresh.name.clone_from(&participant.name);
        fresh.metadata.clone_from(&participant.metadata);
        fresh.attributes.clone_from(&participant.attributes);
        fresh.video.get_or_insert_default().set_permissions(&participant.permissions);
        fresh
    }
}

impl VideoGrants {
    /// What these grants let a participant do, with the defaults filled in.
    pub fn permissions(&self) -> Permissions {
        let publish = self.can_publish.unwrap_or(true);
        let sources = &self.can_publish_sources;
        Permissions {
            publish,
            // A list of sources nobody knows allows nothing; only an empty list allows everything.
            publish_sources: (!sources.is_empty())
                .then(|| sources.iter().filter_map(|name| parse_source(name)).collect()),
            subscribe: self.can_subscribe.unwrap_or(true),
            publish_data: self.can_publish_data.unwrap_or(publish),
            update_own_metadata: self.can_update_own_metadata.unwrap_or(false),
            hidden: self.hidden,
            recorder: self.recorder,
            agent: self.agent,
            subscribe_metrics: self.can_subscribe_metrics.unwrap_or(false),
        }
    }

    /// Spells `permissions` out: nothing is left to defaults.
    pub fn set_permissions(&mut self, permissions: &Permissions) {
        // Source names that Stoa does not know stay as long as the list means the same.
        if self.permissions().publish_sources != permissions.publish_sources {
            let sources = permissions.publish_sources.iter().flatten();
            self.can_publish_sources = sources.map(|source| source_name(*source).to_owned()).collect();
        }
        let nothing_listed = permissions.publish_sources.as_ref().is_some_and(Vec::is_empty);
        self.can_publish =
            Some(permissions.publish && !(nothing_listed && self.can_publish_sources.is_empty()));
        self.can_subscribe = Some(permissions.subscribe);
        self.can_publish_data = Some(permissions.publish_data);
        self.can_update_own_metadata = Some(permissions.update_own_metadata);
        self.hidden = permissions.hidden;
        self.recorder = permissions.recorder;
        self.agent = permissions.agent;
        if permissions.subscribe_metrics || self.can_subscribe_metrics.is_some() {
            self.can_subscribe_metrics = Some(permissions.subscribe_metrics);
        }
    }
}

fn parse_source(name: &str) -> Option<TrackSource> {
    match name.to_ascii_lowercase().as_str() {
        "camera" => Some(TrackSource::Camera),
        "microphone" => Some(TrackSource::Microphone),
        "screen_share" => Some(TrackSource::ScreenShare),
        "screen_share_audio" => Some(TrackSource::ScreenShareAudio),
        _ => None,
    }
}

fn source_name(source: TrackSource) -> &'static str {
    match source {
        TrackSource::Unknown => "unknown",
        TrackSource::Camera => "camera",
        TrackSource::Microphone => "microphone",
        TrackSource::ScreenShare => "screen_share",
        TrackSource::ScreenShareAudio => "screen_share_audio",
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Some SDKs write `null` for what is not set.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A NumericDate (RFC 7519 section 2) may have a fraction; before 1970 counts as 1970.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number: Option<serde_json::Number> = Option::deserialize(deserializer)?;
    Ok(number.map(|number| match number.as_u64() {
        Some(whole) => whole,
        // `as` saturates: negative becomes 0.
        None => number.as_f64().unwrap_or(0.0) as u64,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::ParticipantId;
    use base::model::ParticipantState;

    fn parse(json: &str) -> Claims {
        serde_json::from_str(json).expect("valid JSON")
    }

    #[test]
    fn grants_that_are_not_set_default_to_publishing_and_subscribing() {
        let permissions = Claims::join("ann", "lobby").permissions();
        assert!(permissions.publish && permissions.subscribe && permissions.publish_data);
        assert!(!permissions.update_own_metadata && !permissions.hidden);
        assert_eq!(permissions.publish_sources, None);
    }

    #[test]
    fn data_follows_publish_unless_it_is_set() {
        let viewer = parse(r#"{"video":{"roomJoin":true,"canPublish":false}}"#).permissions();
        assert!(!viewer.publish && !viewer.publish_data && viewer.subscribe);
        let chatter = parse(r#"{"video":{"canPublish":false,"canPublishData":true}}"#).permissions();
        assert!(!chatter.publish && chatter.publish_data);
    }

    #[test]
    fn a_list_of_sources_limits_publishing_to_them() {
        let claims = parse(r#"{"video":{"canPublishSources":["camera","SCREEN_SHARE","hologram"]}}"#);
        let permissions = claims.permissions();
        assert!(permissions.may_publish(TrackSource::Camera));
        assert!(permissions.may_publish(TrackSource::ScreenShare));
        assert!(!permissions.may_publish(TrackSource::Microphone));
        let nothing = parse(r#"{"video":{"canPublishSources":["hologram"]}}"#).permissions();
        assert!(!nothing.may_publish(TrackSource::Camera));
    }

    #[test]
    fn no_grants_allow_nothing() {
        let claims = parse(r#"{"sub":"ann"}"#);
        assert_eq!(claims.permissions(), Permissions::default());
        assert_eq!(claims.check_join(), Err(Denied::NoJoin));
    }

    #[test]
    fn joining_needs_the_grant_then_an_identity_then_a_room() {
        assert_eq!(parse(r#"{"sub":"a","video":{"room":"r"}}"#).check_join(), Err(Denied::NoJoin));
        assert_eq!(parse(r#"{"video":{"room":"r","roomJoin":true}}"#).check_join(), Err(Denied::NoIdentity));
        assert_eq!(parse(r#"{"sub":"a","video":{"roomJoin":true}}"#).check_join(), Err(Denied::NoRoom));
        let by_jti = parse(r#"{"jti":"a","video":{"room":"r","roomJoin":true}}"#).check_join();
        assert_eq!(by_jti, Ok((Identity::new("a"), RoomName::new("r"))));
    }

    #[test]
    fn administering_needs_the_matching_room() {
        let claims = parse(r#"{"video":{"room":"r","roomAdmin":true}}"#);
        assert_eq!(claims.check_admin("r"), Ok(()));
        assert_eq!(claims.check_admin("s"), Err(Denied::OtherRoom));
        assert_eq!(claims.check_list(), Err(Denied::NoList));
        assert_eq!(claims.check_create(), Err(Denied::NoCreate));
        assert_eq!(claims.check_server(), Ok(()));
        assert_eq!(claims.check_destination("r", "s"), Err(Denied::NoDestination));
        let mover = parse(r#"{"video":{"room":"r","roomAdmin":true,"destinationRoom":"s"}}"#);
        assert_eq!(mover.check_destination("r", "s"), Ok(()));
        assert_eq!(mover.check_destination("s", "r"), Err(Denied::OtherRoom));
        assert_eq!(Claims::join("ann", "r").check_server(), Err(Denied::NoServer));
    }

    #[test]
    fn recordings_streams_and_telephones_have_grants_of_their_own() {
        let all = |claims: &Claims| {
            let checks = [
                claims.check_record(),
                claims.check_ingress(),
                claims.check_sip_admin(),
                claims.check_sip_call(),
            ];
            checks.map(|check| check.is_ok())
        };
        assert_eq!(all(&parse(r#"{"video":{"roomRecord":true}}"#)), [true, false, false, false]);
        assert_eq!(all(&parse(r#"{"video":{"ingressAdmin":true}}"#)), [false, true, false, false]);
        assert_eq!(all(&parse(r#"{"sip":{"admin":true}}"#)), [false, false, true, false]);
        assert_eq!(all(&parse(r#"{"sip":{"call":true}}"#)), [false, false, false, true]);
        assert_eq!(all(&parse(r#"{"video":{"roomAdmin":true},"sip":null}"#)), [false; 4]);
    }

    #[test]
    fn nulls_and_fractions_of_seconds_are_tolerated() {
        let claims = parse(
            r#"{"exp":1700000000.75,"nbf":-5,"name":null,"attributes":null,"roomConfig":null,
                "video":{"room":null,"canPublish":null,"canPublishSources":null,"hidden":null}}"#,
        );
        assert_eq!((claims.exp, claims.nbf), (Some(1_700_000_000), Some(0)));
        assert!(claims.permissions().publish);
    }

    #[test]
    fn details_of_a_kind_that_nobody_knows_are_left_out_and_kept_in_the_token() {
        let claims = parse(r#"{"kindDetails":["CLOUD_AGENT","bridge_rtsp","tomorrows",7,null]}"#);
        assert_eq!(claims.kind_details(), BTreeSet::from([KindDetail::CloudAgent, KindDetail::BridgeRtsp]));
        assert!(claims.extra.contains_key("kindDetails"));
        for odd in [r#"{"kindDetails":null}"#, r#"{"kindDetails":"forwarded"}"#, "{}"] {
            assert_eq!(parse(odd).kind_details(), BTreeSet::new(), "{odd}");
        }
    }

    fn participant() -> Participant {
        Participant {
            name: "Ann B".to_owned(),
            metadata: "new".to_owned(),
            attributes: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            state: ParticipantState::Active,
            kind: ParticipantKind::Agent,
            permissions: Permissions { subscribe: true, ..Permissions::default() },
            ..Participant::new(ParticipantId(1), Identity::new("ann"))
        }
    }

    #[test]
    fn a_refreshed_token_keeps_every_claim_and_spells_permissions_out() {
        let original = parse(
            r#"{"iss":"key","jti":"ann","nbf":5,"exp":5000,"name":"Ann","kind":"agent","kindDetails":["x"],
                "metadata":"old","sha256":"s","roomConfig":{"emptyTimeout":7},"roomPreset":"p","sip":{"call":true},
                "video":{"roomJoin":true,"room":"r","destinationRoom":"d","ingressAdmin":true}}"#,
        );
        let fresh = original.refreshed(&participant(), UnixMillis(1_000_000));
        let json = serde_json::to_value(&fresh).expect("claims are JSON");
        assert_eq!((&json["nbf"], &json["exp"]), (&1_000.into(), &5_000.into()));
        assert_eq!(
            (&json["sub"], &json["name"], &json["metadata"]),
            (&"ann".into(), &"Ann B".into(), &"new".into())
        );
        assert_eq!(json["attributes"]["k"], "v");
        assert_eq!(
            (&json["kind"], &json["kindDetails"][0], &json["sha256"]),
            (&"agent".into(), &"x".into(), &"s".into())
        );
        assert_eq!((&json["roomConfig"]["emptyTimeout"], &json["roomPreset"]), (&7.into(), &"p".into()));
        assert_eq!(json["sip"]["call"], true);
        let video = &json["video"];
        assert_eq!(
            (&video["roomJoin"], &video["room"], &video["destinationRoom"]),
            (&true.into(), &"r".into(), &"d".into())
        );
        assert_eq!(video["ingressAdmin"], true);
        for (grant, given) in [("canPublish", false), ("canPublishData", false), ("canSubscribe", true)] {
            assert_eq!(video[grant], given, "{grant}");
        }
    }

    #[test]
    fn a_token_about_to_expire_is_refreshed_for_ten_minutes() {
        let original = Claims::join("ann", "r").valid_for(UnixMillis(0), Duration::from_secs(60));
        let fresh = original.refreshed(&participant(), UnixMillis(59_000));
        assert_eq!(fresh.exp, Some(59 + 600));
    }

    #[test]
    fn permissions_survive_being_written_into_grants() {
        let sources = [None, Some(Vec::new()), Some(vec![TrackSource::Camera, TrackSource::Microphone])];
        for publish_sources in sources {
            let permissions =
                Permissions { publish: true, publish_sources, hidden: true, ..Permissions::default() };
            let mut grants = VideoGrants {
                can_publish_sources: vec!["screen_share".to_owned()],
                ..VideoGrants::default()
            };
            grants.set_permissions(&permissions);
            let back = grants.permissions();
            for source in [TrackSource::Camera, TrackSource::Microphone, TrackSource::ScreenShare] {
                assert_eq!(
                    back.may_publish(source),
                    permissions.may_publish(source),
                    "{source:?} {permissions:?}"
                );
            }
            assert!(back.hidden && !back.subscribe);
        }
    }
}
