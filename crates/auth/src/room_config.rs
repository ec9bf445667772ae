//! How a token wants the room to be that its join makes: the `roomConfig` claim, which is a `RoomConfiguration` in the
//! protobuf JSON mapping (<https://protobuf.dev/programming-guides/json/>).

use std::collections::BTreeMap;
use std::fmt;

use base::agents::{BadDispatch, Dispatch, ROOM_DISPATCHES};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What a room is made with. 0 and empty: as the server is configured. Other fields of the claim are hints, and ignored.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomConfig {
    /// Seconds that it waits for its first participant.
    #[serde(alias = "empty_timeout", deserialize_with = "number")]
    pub empty_timeout: u32,
    /// Seconds that it waits after the last one left.
    #[serde(alias = "departure_timeout", deserialize_with = "number")]
    pub departure_timeout: u32,
    /// Most participants.
    #[serde(alias = "max_participants", deserialize_with = "number")]
    pub max_participants: u32,
    /// Free text of the application.
    #[serde(deserialize_with = "crate::claims::null_as_default")]
    pub metadata: String,
    /// Agents that are ordered into it.
    #[serde(deserialize_with = "dispatches")]
    pub agents: Vec<Dispatch>,
    /// Recordings that are to be made: not served.
    pub(crate) egress: Option<Value>,
}

/// Why a token's room cannot be made as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadRoomConfig {
    /// It cannot be read.
    Unreadable,
    /// It names a preset.
    NoSuchPreset,
    /// It asks for recordings.
    Egress,
    /// It orders agents in a way that cannot be.
    Agents(BadDispatch),
}

impl fmt::Display for BadRoomConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agents(bad) => return write!(f, "the token's roomConfig: {bad}"),
            Self::Unreadable => "the token's roomConfig is not a RoomConfiguration in JSON",
            Self::NoSuchPreset => "the token's roomPreset names no preset of this server: it has none",
            Self::Egress => "the token's roomConfig asks for egress, which is not served yet",
        })
    }
}

impl std::error::Error for BadRoomConfig {}

impl RoomConfig {
    /// Can it be as it says?
    pub(crate) fn check(&self) -> Result<(), BadRoomConfig> {
        if self.egress.as_ref().is_some_and(|egress| !egress.is_null()) {
            return Err(BadRoomConfig::Egress);
        }
        if self.agents.len() > ROOM_DISPATCHES {
            return Err(BadRoomConfig::Agents(BadDispatch::TooMany));
        }
        self.agents.iter().try_for_each(Dispatch::check).map_err(BadRoomConfig::Agents)
    }
}

/// A `RoomAgentDispatch`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ordered {
    #[serde(alias = "agent_name", deserialize_with = "crate::claims::null_as_default")]
    agent_name: String,
    #[serde(deserialize_with = "crate::claims::null_as_default")]
    metadata: String,
    #[serde(alias = "restart_policy")]
    restart_policy: Value,
    #[serde(deserialize_with = "crate::claims::null_as_default")]
    deployment: String,
    #[serde(deserialize_with = "crate::claims::null_as_default")]
    attributes: BTreeMap<String, String>,
}

impl Default for Ordered {
    fn default() -> Self {
        let nothing = String::new;
        Self {
            agent_name: nothing(),
            metadata: nothing(),
            restart_policy: Value::Null,
            deployment: nothing(),
            attributes: BTreeMap::new(),
        }
    }
}

fn dispatches<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Dispatch>, D::Error> {
    let ordered: Option<Vec<Ordered>> = Option::deserialize(deserializer)?;
    let dispatch = |ordered: Ordered| Dispatch {
        agent: ordered.agent_name,
        deployment: ordered.deployment,
        metadata: ordered.metadata,
        attributes: ordered.attributes,
        never_restart: ordered.restart_policy == "JRP_NEVER" || ordered.restart_policy == 1,
    };
    Ok(ordered.unwrap_or_default().into_iter().map(dispatch).collect())
}

/// A number, also as text or `null`.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Plain(u32),
        Text(String),
    }
    match Option::deserialize(deserializer)? {
        None => Ok(0),
        Some(Number::Plain(number)) => Ok(number),
        Some(Number::Text(text)) => text.parse().map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Claims;

    fn config(json: &str) -> Result<RoomConfig, BadRoomConfig> {
        serde_json::from_str::<Claims>(json).expect("claims").room_config()
    }

    #[test]
    fn a_token_says_how_its_room_is_made_in_either_spelling() {
        let camel = r#"{"roomConfig":{"emptyTimeout":7,"maxParticipants":"3","metadata":"m","later":{}}}"#;
        let snake = r#"{"roomConfig":{"empty_timeout":7,"max_participants":3,"metadata":"m","agents":null}}"#;
        let wanted = RoomConfig {
            empty_timeout: 7,
            max_participants: 3,
            metadata: "m".to_owned(),
            ..RoomConfig::default()
        };
        assert_eq!(config(camel), Ok(wanted.clone()));
        assert_eq!(config(snake), Ok(wanted));
        assert_eq!(config(r#"{"roomConfig":null}"#), Ok(RoomConfig::default()));
    }

    #[test]
    fn a_token_orders_agents_in_either_spelling() {
        let camel =
            r#"{"roomConfig":{"agents":[{"agentName":"a","restartPolicy":"JRP_NEVER","metadata":"m"},{}]}}"#;
        let snake = r#"{"roomConfig":{"agents":[{"agent_name":"a","restart_policy":1,"metadata":"m"},{"attributes":null}]}}"#;
        let first = Dispatch {
            agent: "a".to_owned(),
            metadata: "m".to_owned(),
            never_restart: true,
            ..Dispatch::default()
        };
        for json in [camel, snake] {
            let agents = config(json).map(|config| config.agents);
            assert_eq!(agents, Ok(vec![first.clone(), Dispatch::default()]), "{json}");
        }
    }

    #[test]
    fn a_room_that_cannot_be_made_as_the_token_says_is_refused() {
        assert_eq!(config(r#"{"roomPreset":"large"}"#), Err(BadRoomConfig::NoSuchPreset));
        assert_eq!(config(r#"{"roomConfig":{"emptyTimeout":-1}}"#), Err(BadRoomConfig::Unreadable));
        assert_eq!(config(r#"{"roomConfig":"large"}"#), Err(BadRoomConfig::Unreadable));
        let deployment = r#"{"roomConfig":{"agents":[{"deployment":"a_b"}]}}"#;
        assert_eq!(config(deployment), Err(BadRoomConfig::Agents(BadDispatch::Deployment)));
        let many = format!(r#"{{"roomConfig":{{"agents":[{}{{}}]}}}}"#, "{},".repeat(64));
        assert_eq!(config(&many), Err(BadRoomConfig::Agents(BadDispatch::TooMany)));
        assert_eq!(config(r#"{"roomConfig":{"egress":{"room":{}}}}"#), Err(BadRoomConfig::Egress));
    }
}
