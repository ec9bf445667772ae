//! What a client asks for.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Body, Encoding, MAX_ID, NotAFrame, VERSION, is_false, nullable, version};

/// A command with its number.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// The client's number of the request, 1 to [`MAX_ID`].
    pub id: u64,
    /// What for, or why that is not known.
    pub command: Result<Command, BadCommand>,
}

/// A frame whose command cannot be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadCommand {
    /// There is no command of that name.
    Unknown(String),
    /// Its map is not that of the command: this is wrong.
    Malformed(String),
}

impl fmt::Display for BadCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no command {name:?}"),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

macro_rules! commands {
    ($($name:literal => $variant:ident($map:ident),)*) => {
        /// A command.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Command {
            $(#[doc = concat!("`", $name, "`")] $variant($map),)*
        }

        impl Command {
            /// The names of all commands.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Its name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Reads the map of the command `name`, in JSON.
            ///
            /// # Errors
            /// [`BadCommand`]: there is no such command, or its map is another.
            pub fn parse(name: &str, json: &str) -> Result<Self, BadCommand> {
                match name {
                    $($name => serde_json::from_str(json).map(Self::$variant).map_err(|error| malformed(name, &error)),)*
                    _ => Err(BadCommand::Unknown(name.chars().take(64).collect())),
                }
            }
        }

        impl Serialize for Command {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$variant(map) => map.serialize(serializer),)* }
            }
        }
    };
}

fn malformed(name: &str, error: &serde_json::Error) -> BadCommand {
    BadCommand::Malformed(format!("{name}: {error}"))
}

commands! {
    "connect" => Connect(Connect),
    "subscribe" => Subscribe(Subscribe),
    "unsubscribe" => Unsubscribe(OfChannel),
    "channels" => Channels(Channels),
    "send" => Send(Send),
    "edit" => Edit(Edit),
    "delete" => Delete(Delete),
    "react" => React(React),
    "tell" => Tell(Tell),
    "read" => Read(Read),
    "history" => History(History),
    "search" => Search(Search),
    "members" => Members(Members),
    "receipts.detail" => ReceiptsDetail(ReceiptsDetail),
    "reactions" => Reactions(Reactions),
    "typing" => Typing(Typing),
    "presence" => Presence(Presence),
    "channel.create" => ChannelCreate(ChannelCreate),
    "channel.update" => ChannelUpdate(ChannelUpdate),
    "channel.join" => ChannelJoin(OfChannel),
    "channel.leave" => ChannelLeave(OfChannel),
    "channel.invite" => ChannelInvite(ChannelMember),
    "channel.add" => ChannelAdd(ChannelMember),
    "channel.remove" => ChannelRemove(ChannelMember),
    "channel.moderate" => ChannelModerate(ChannelModerate),
    "call.invite" => CallInvite(CallInvite),
    "call.accept" => CallAccept(OfCall),
    "call.decline" => CallDecline(OfCall),
    "call.cancel" => CallCancel(OfCall),
    "call.end" => CallEnd(OfCall),
}

/// The first command of a connection.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Connect {
    /// The token of access.
    pub token: String,
    /// The installation, 1 to 128 bytes.
    pub device: String,
    /// Streams to go on with.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub resume: Vec<Resume>,
}

/// A stream to go on with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Resume {
    /// Of which channel.
    pub channel: String,
    /// From where.
    pub cursor: String,
    /// Events are streamed; otherwise only `touch` comes. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
}

/// Where a stream begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// Behind everything.
    Head,
    /// So many messages before that.
    Last(u32),
    /// Where another stream stood.
    Cursor(String),
}

/// Begins a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Subscribe {
    /// Of which channel.
    pub channel: String,
    /// From where; default: the last 30 messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
    /// Events are streamed; otherwise only `touch` comes. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
}

/// A command that needs no more than its channel: `unsubscribe`, `channel.join`, `channel.leave`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OfChannel {
    /// Which.
    pub channel: String,
}

/// Lists one's channels.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Channels {
    /// What the page before named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// What a send is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SendKind {
    /// A message, which counts as unread.
    #[default]
    Message,
    /// An event of the application, which has a name.
    Custom,
}

impl SendKind {
    fn is_message(&self) -> bool {
        *self == Self::Message
    }
}

/// Sends a message or an event of the application.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Send {
    /// Into which channel.
    pub channel: String,
    /// The device's number in this channel, from 1.
    pub csn: u64,
    /// The number before it that was, or is to be, accepted; default: `csn - 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<u64>,
    /// What it says.
    pub body: Body,
    /// What it is.
    #[serde(default, skip_serializing_if = "SendKind::is_message", deserialize_with = "nullable")]
    pub kind: SendKind,
    /// What an event of the application is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The message whose thread it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// Who is named in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub mentions: Vec<String>,
    /// All members are named in it.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "nullable")]
    pub everyone: bool,
    /// Tokens of answers since the last send, and after a reconnect the last cursor.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub seen: Vec<String>,
    /// Positions of other channels that come before it: channel, and cursor or token.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub after: Vec<(String, String)>,
}

macro_rules! changes {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
            #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
            pub struct $name {
                /// In which channel.
                pub channel: String,
                /// The device's number in this channel, from 1.
                pub csn: u64,
                /// The number before it that was, or is to be, accepted; default: `csn - 1`.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub follows: Option<u64>,
                /// Which message, by its id.
                pub event: String,
                $($(#[$field_doc])* pub $field: $type,)*
                /// Tokens of answers since the last send, and after a reconnect the last cursor.
                #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
                pub seen: Vec<String>,
                /// Positions of other channels that come before it: channel, and cursor or token.
                #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
                pub after: Vec<(String, String)>,
            }
        )*
    };
}

changes! {
    /// A message says something else.
    Edit {
        /// What it says now.
        body: Body,
    }
    /// A message says nothing any more.
    Delete {}
    /// A reaction, given or taken back.
    React {
        /// What is shown, 1 to 128 bytes.
        emoji: String,
        /// Given.
        on: bool,
    }
}

/// Something for who is there, which is kept nowhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tell {
    /// In which channel.
    pub channel: String,
    /// What it is called.
    pub name: String,
    /// What it says.
    pub body: Body,
}

/// Moves one's marks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Read {
    /// Of which channel.
    pub channel: String,
    /// What was read: what this covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Of that, what is at or before this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upto: Option<String>,
    /// What was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<String>,
}

/// A page of what is displayed. At most one of `before`, `after` and `around`; each an id or a cursor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct History {
    /// Of which channel.
    pub channel: String,
    /// What is before this, newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What is after this, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// This in the middle, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub around: Option<String>,
    /// Items, to 100; default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// As in [`Send::seen`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub seen: Vec<String>,
}

/// Looks for words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Search {
    /// In this channel alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The words.
    pub query: String,
    /// What the page before named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// Lists who is in a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Members {
    /// Which.
    pub channel: String,
    /// What the page before named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// Who read a message; and its counts, until another is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptsDetail {
    /// Of which channel.
    pub channel: String,
    /// Which message; `None`: none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What the page before named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// Who reacted to a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reactions {
    /// Of which channel.
    pub channel: String,
    /// Which message.
    pub event: String,
    /// What the page before named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// One is typing, or is not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Typing {
    /// In which channel.
    pub channel: String,
    /// Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
}

/// Whom one looks at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Presence {
    /// All that are on the screen, at most 100; replaces those before.
    #[serde(default, deserialize_with = "nullable")]
    pub watch: Vec<String>,
}

/// What a channel is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// Two people.
    Direct,
    /// People who know who is in it.
    Group,
    /// A huge, open audience.
    Live,
    /// One person's own notifications.
    Inbox,
}

/// What somebody is in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Decides everything.
    Owner,
    /// Keeps order.
    Moderator,
    /// Takes part.
    Member,
    /// Reads.
    Guest,
}

/// How a channel is set up.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Settings {
    /// What people see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Anybody may join.
    #[serde(default, deserialize_with = "nullable")]
    pub public: bool,
    /// Who (re-)joined reads from there on.
    #[serde(default, deserialize_with = "nullable")]
    pub since_join: bool,
    /// Guests may send.
    #[serde(default, deserialize_with = "nullable")]
    pub guests_send: bool,
    /// Only moderators and owners may send.
    #[serde(default, deserialize_with = "nullable")]
    pub frozen: bool,
    /// Least time between two messages of a member or guest, in milliseconds; 0 is none.
    #[serde(default, deserialize_with = "nullable")]
    pub slow_mode: u64,
    /// Every region takes sends for it.
    #[serde(default, deserialize_with = "nullable")]
    pub active_active: bool,
}

/// Somebody who is to be in a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NewMember {
    /// Who.
    pub user: String,
    /// As what; default: a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// Makes a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChannelCreate {
    /// Its id, which the client mints.
    pub channel: String,
    /// Its kind.
    pub kind: ChannelKind,
    /// How it is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// Who is in it, besides who asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub members: Vec<NewMember>,
    /// Of a direct channel: the other person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// Sets a channel up differently.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChannelUpdate {
    /// Which.
    pub channel: String,
    /// All settings.
    pub settings: Settings,
}

/// Somebody's membership: `channel.invite`, `channel.add`, `channel.remove`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChannelMember {
    /// Of which channel.
    pub channel: String,
    /// Whose.
    pub user: String,
    /// As what; default: a member. `channel.remove` does not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// Keeps order; one of `mute_until`, `ban_until` and `role`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChannelModerate {
    /// In which channel.
    pub channel: String,
    /// Against whom.
    pub user: String,
    /// Sends nothing before this time; 0 ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mute_until: Option<u64>,
    /// Is out, and stays out until this time; 0 ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ban_until: Option<u64>,
    /// Is this from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// Rings people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallInvite {
    /// In which channel.
    pub channel: String,
    /// The call's id, which the client mints.
    pub call: String,
    /// Whom; default: all members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<String>>,
    /// What for: `audio`, `video`, or whatever the application says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<String>,
}

/// A step of a call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OfCall {
    /// Of which channel.
    pub channel: String,
    /// Which call.
    pub call: String,
}

/// For whom a server's key asks, in the maps of the HTTP twins.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct As {
    /// The person.
    #[serde(default)]
    pub as_user: Option<String>,
    /// The installation.
    #[serde(default)]
    pub as_device: Option<String>,
}

/// A frame of a client as its keys stand there.
#[derive(Default)]
struct Keys<'a> {
    v: Option<u32>,
    id: Option<u64>,
    command: Option<(String, &'a RawValue)>,
    unknown: Option<String>,
}

impl<'de> Deserialize<'de> for Keys<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a frame")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys<'de>, A::Error> {
        let mut keys = Keys::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "v" => keys.v = map.next_value()?,
                "id" => keys.id = map.next_value()?,
                name if Command::NAMES.contains(&name) => {
                    if keys.command.replace((key, map.next_value()?)).is_some() {
                        return Err(serde::de::Error::custom("two commands"));
                    }
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    keys.unknown.get_or_insert(key);
                }
            }
        }
        Ok(keys)
    }
}

impl Request {
    /// Reads a client's frame.
    ///
    /// # Errors
    /// [`NotAFrame`], after which the connection is closed. A frame with a command that is none is a request like any.
    pub fn read(encoding: Encoding, bytes: &[u8]) -> Result<Self, NotAFrame> {
        let json = encoding.to_json(bytes)?;
        let keys: Keys<'_> = serde_json::from_slice(&json).map_err(|_| NotAFrame::Malformed)?;
        version(keys.v)?;
        let id = keys.id.filter(|id| (1..=MAX_ID).contains(id)).ok_or(NotAFrame::Malformed)?;
        let command = match (keys.command, keys.unknown) {
            (Some((name, map)), _) => Command::parse(&name, map.get()),
            (None, Some(unknown)) => Command::parse(&unknown, ""),
            (None, None) => return Err(NotAFrame::Malformed),
        };
        Ok(Self { id, command })
    }

    /// Appends a client's frame to `out`.
    pub fn write(encoding: Encoding, id: u64, command: &Command, out: &mut Vec<u8>) {
        encoding.write(&Written { id, command }, out);
    }
}

struct Written<'a> {
    id: u64,
    command: &'a Command,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("v", &VERSION)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry(self.command.name(), self.command)?;
        map.end()
    }
}

/// How far something reaches: by region, an event's id.
pub type Positions = BTreeMap<String, String>;
