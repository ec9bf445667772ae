//! What the server says without being asked.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Body, Encoding, Error, Item, NotAFrame, Positions, State, VERSION, is_false, nullable, version};

macro_rules! pushes {
    ($($name:literal => $variant:ident($map:ident),)*) => {
        /// A push.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Push {
            $(#[doc = concat!("`", $name, "`")] $variant($map),)*
        }

        impl Push {
            /// The names of all pushes.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Its name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            fn parse(name: &str, json: &str) -> Option<Self> {
                match name {
                    $($name => serde_json::from_str(json).ok().map(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl Serialize for Push {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("v", &VERSION)?;
                match self { $(Self::$variant(push) => map.serialize_entry($name, push)?,)* }
                map.end()
            }
        }
    };
}

pushes! {
    "events" => Events(Events),
    "touch" => Touch(Touch),
    "receipts" => Receipts(Receipts),
    "typing" => Typing(TypingPush),
    "presence" => Presence(PresencePush),
    "told" => Told(Told),
    "channel" => Channel(ChannelPush),
    "call" => Call(CallPush),
    "reset" => Reset(Reset),
    "removed" => Removed(Removed),
    "goaway" => Goaway(Goaway),
}

/// The stream of a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Events {
    /// Which.
    pub channel: String,
    /// Where the last item ends.
    pub cursor: String,
    /// What happened.
    pub items: Vec<Item>,
}

/// Something happened in a channel that is not open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Touch {
    /// Which.
    pub channel: String,
    /// Messages not read.
    pub unread: u64,
    /// Mentions not read.
    pub mentions: u64,
}

/// Somebody's marks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Marks {
    /// Whose.
    pub user: String,
    /// Read up to.
    #[serde(default, skip_serializing_if = "Positions::is_empty", deserialize_with = "nullable")]
    pub read: Positions,
    /// Delivered up to.
    #[serde(default, skip_serializing_if = "Positions::is_empty", deserialize_with = "nullable")]
    pub delivered: Positions,
}

/// How many read a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Count {
    /// Which.
    pub event: String,
    /// Read it.
    pub read: u64,
    /// Received it.
    pub delivered: u64,
    /// Some of those who read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub names: Vec<String>,
    /// The numbers are within 5 %.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "nullable")]
    pub approx: bool,
}

/// Marks that moved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Receipts {
    /// Of which channel.
    pub channel: String,
    /// Whose, and where to.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub marks: Vec<Marks>,
    /// How many read what.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub counts: Vec<Count>,
}

/// Who types.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TypingPush {
    /// In which channel.
    pub channel: String,
    /// Some of them.
    pub users: Vec<String>,
    /// How many others.
    pub more: u64,
}

/// Who came or went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct There {
    /// Who.
    pub user: String,
    /// Came.
    pub there: bool,
}

/// Who came and went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PresencePush {
    /// They.
    pub changes: Vec<There>,
}

/// An ephemeral event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Told {
    /// In which channel.
    pub channel: String,
    /// Who said it; `None`: the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<super::Sender>,
    /// What it is called.
    pub name: String,
    /// What it says.
    pub body: Body,
}

/// A channel's state changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChannelPush {
    /// Which.
    pub channel: String,
    /// How it is now.
    pub state: State,
}

/// Where a call stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RingStage {
    /// It rings.
    Ringing,
    /// It does not ring here any more.
    Stopped,
    /// Somebody answered.
    Accepted,
    /// Somebody does not want to.
    Declined,
    /// Somebody is in another call.
    Busy,
    /// Somebody did not answer.
    Missed,
    /// It is over.
    Ended,
}

/// A step of a call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallPush {
    /// Of which channel.
    pub channel: String,
    /// Which call.
    pub call: String,
    /// Who called.
    pub from: String,
    /// Which step.
    pub stage: RingStage,
    /// Whose step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// On which installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The room of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// What lets into the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What the caller said that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<String>,
}

/// Why a stream begins anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResetWhy {
    /// The log was lost or restored.
    Epoch,
    /// What comes next was removed.
    Retention,
    /// It was too far behind.
    TooFar,
    /// The connection is too slow.
    Slow,
}

/// A stream goes on from elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reset {
    /// Of which channel.
    pub channel: String,
    /// Why.
    pub why: ResetWhy,
    /// From where.
    pub cursor: String,
}

/// The end of a channel for somebody who is not in it any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Removed {
    /// Which.
    pub channel: String,
    /// The event that says so.
    pub id: String,
}

/// The connection ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Goaway {
    /// Why.
    pub why: String,
    /// When to connect again, in milliseconds from now.
    pub retry_after: u64,
}

impl Push {
    /// Appends the frame to `out`.
    pub fn write(&self, encoding: Encoding, out: &mut Vec<u8>) {
        encoding.write(self, out);
    }
}

/// A frame of the server, as a client reads it.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// The answer to the request of this number.
    Answer(u64, Result<Raw, Error>),
    /// A push.
    Push(Push),
    /// Something that a newer server says.
    Unknown,
}

/// The `ok` of an answer, which is read when it is known what was asked.
#[derive(Clone, Debug)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// Reads it.
    ///
    /// # Errors
    /// [`NotAFrame`]: it is another.
    pub fn read<T: for<'de> Deserialize<'de>>(&self) -> Result<T, NotAFrame> {
        serde_json::from_str(self.0.get()).map_err(|_| NotAFrame::Malformed)
    }

    /// Its JSON.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

#[derive(Default)]
struct Keys {
    v: Option<u32>,
    id: Option<u64>,
    ok: Option<Box<RawValue>>,
    error: Option<Error>,
    push: Option<(String, Box<RawValue>)>,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
        let mut keys = Keys::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "v" => keys.v = map.next_value()?,
                "id" => keys.id = map.next_value()?,
                "ok" => keys.ok = map.next_value()?,
                "error" => keys.error = map.next_value()?,
                name if Push::NAMES.contains(&name) => keys.push = Some((key, map.next_value()?)),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(keys)
    }
}

impl Incoming {
    /// Reads a frame of the server.
    ///
    /// # Errors
    /// [`NotAFrame`].
    pub fn read(encoding: Encoding, bytes: &[u8]) -> Result<Self, NotAFrame> {
        let json = encoding.to_json(bytes)?;
        let keys: Keys = serde_json::from_slice(&json).map_err(|_| NotAFrame::Malformed)?;
        version(keys.v)?;
        match (keys.id, keys.push) {
            (Some(id), _) => match (keys.ok, keys.error) {
                (_, Some(error)) => Ok(Self::Answer(id, Err(error))),
                (Some(ok), None) => Ok(Self::Answer(id, Ok(Raw(ok)))),
                (None, None) => Err(NotAFrame::Malformed),
            },
            (None, Some((name, map))) => {
                Push::parse(&name, map.get()).map(Self::Push).ok_or(NotAFrame::Malformed)
            }
            (None, None) => Ok(Self::Unknown),
        }
    }
}
