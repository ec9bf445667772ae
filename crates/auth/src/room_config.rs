//! How a token wants the room to be that its join makes: the `roomConfig` claim, which is a `RoomConfiguration` in the
//! protobuf JSON mapping (<https://protobuf.dev/programming-guides/json/>).

use std::fmt;

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
    /// Agents that are to be called, as the claim says it.
    #[serde(deserialize_with = "crate::claims::null_as_default")]
    pub agents: Vec<Value>,
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
}

impl fmt::Display for BadRoomConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "the token's roomConfig is not a RoomConfiguration in JSON",
            Self::NoSuchPreset => "the token's roomPreset names no preset of this server: it has none",
            Self::Egress => "the token's roomConfig asks for egress, which is not served yet",
        })
    }
}

impl std::error::Error for BadRoomConfig {}

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
    fn a_room_that_cannot_be_made_as_the_token_says_is_refused() {
        assert_eq!(config(r#"{"roomPreset":"large"}"#), Err(BadRoomConfig::NoSuchPreset));
        assert_eq!(config(r#"{"roomConfig":{"emptyTimeout":-1}}"#), Err(BadRoomConfig::Unreadable));
        assert_eq!(config(r#"{"roomConfig":"large"}"#), Err(BadRoomConfig::Unreadable));
        assert_eq!(config(r#"{"roomConfig":{"egress":{"room":{}}}}"#), Err(BadRoomConfig::Egress));
    }
}
