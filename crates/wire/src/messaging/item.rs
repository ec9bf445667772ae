//! What a stream or a page consists of.

use serde::{Deserialize, Serialize};

use super::{Body, ChannelKind, Role, Settings, is_false, nullable};

/// What an item is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// Something that counts as unread.
    #[default]
    Message,
    /// A message says something else.
    Edit,
    /// A message says nothing any more.
    Delete,
    /// Something of the application's.
    Custom,
    /// The channel begins.
    Created,
    /// The channel is set up differently.
    Updated,
    /// Somebody's membership changed.
    Member,
    /// A step of a call.
    Call,
    /// Entries are missing.
    Hole,
    /// A run of small events.
    Folded,
}

/// Who sent it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sender {
    /// The person.
    pub user: String,
    /// The installation. Empty: it is not told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
}

/// How somebody's membership changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MemberChange {
    /// Came in.
    Joined,
    /// Went.
    Left,
    /// May come in.
    Invited,
    /// Was sent out.
    Removed,
    /// Has another role.
    Role,
    /// Sends nothing for a time.
    Muted,
    /// Was sent out for a time.
    Banned,
}

/// A step of a call that its channel remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CallStage {
    /// People were rung.
    Invited,
    /// The first of them answered.
    Accepted,
    /// It is over.
    Ended,
    /// Some were rung and did not answer: those in `mentions`.
    Missed,
}

/// Entries that are missing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hole {
    /// From whose log.
    pub region: String,
    /// Of which epoch.
    pub epoch: u32,
    /// The last one that is not missing, as `epoch.n`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
    /// Up to which number entries are missing.
    pub upto: u64,
}

/// How many reacted to a message with something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Total {
    /// Which message; absent where it is the item's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// With what.
    pub emoji: String,
    /// How many.
    pub count: u64,
    /// Oneself among them.
    pub mine: bool,
}

/// A run of small events: what it changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Folded {
    /// Reactions.
    Reactions {
        /// How many there are now.
        totals: Vec<Total>,
    },
    /// Who is in the channel.
    Members {
        /// How many there are now.
        members: u64,
    },
}

/// One entry of a channel. Which of the optional fields come with it depends on [`Item::kind`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Item {
    /// Its id: `region.epoch.n`.
    pub id: String,
    /// The event before it in the same log, as an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<String>,
    /// Its clock: 16 hexadecimal digits.
    pub t: String,
    /// Countable messages of the channel in this log up to here.
    #[serde(default)]
    pub count: u64,
    /// Who sent it; `None`: the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Sender>,
    /// The sender's number of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csn: Option<u64>,
    /// What it is.
    pub kind: ItemKind,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
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
    /// The message that it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What an event of the application is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of which kind the channel is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_kind: Option<ChannelKind>,
    /// How the channel is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// Whose membership changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<MemberChange>,
    /// As what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Until when, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Which call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Which step of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<CallStage>,
    /// How long people talked, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub talked: Option<u64>,
    /// What is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hole: Option<Hole>,
    /// What a run changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folded: Option<Folded>,
    /// It fills a hole that this stream crossed.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "nullable")]
    pub late: bool,
    /// What it names in `after` has not come.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "nullable")]
    pub unmet: bool,
    /// The same message under the id that is displayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
    /// In a page: it says something else than it did.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "nullable")]
    pub edited: bool,
    /// In a page: it says nothing any more.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "nullable")]
    pub deleted: bool,
    /// In a page: reactions.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub totals: Vec<Total>,
}
