//! What commands are answered.

use serde::{Deserialize, Serialize};

use super::{
    Body, CallPush, ChannelKind, Encoding, Item, Marks, Positions, Role, Settings, VERSION, is_false,
    nullable,
};

/// Errors by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// There is no such channel.
    NoChannel,
    /// There is one already, of another shape.
    Exists,
    /// Not in the channel.
    NotMember,
    /// In the channel, and not allowed.
    Forbidden,
    /// Kept from sending for a time.
    Muted,
    /// Kept out.
    Banned,
    /// Too soon after the last message.
    SlowMode,
    /// Larger, or more, than a limit.
    TooLarge,
    /// It makes no sense.
    Malformed,
    /// The event named is none that can be acted on.
    NoTarget,
    /// A number ahead of what was accepted; `last` is the last accepted.
    CsnGap,
    /// A number that was used for something else.
    CsnConflict,
    /// A number below what was accepted that never was.
    CsnStale,
    /// A position that this log has never had.
    BeyondHead,
    /// The server has too much to do, or is not serving the channel just now.
    Busy,
    /// Not in the channel any more; `id` is the event that said so.
    Removed,
    /// Forged, another deployment's, another channel's, or a token.
    BadCursor,
    /// More than a limit allows at a time.
    TooMany,
    /// More than a limit allows in a time.
    Rate,
    /// There is no such command.
    Unknown,
    /// The token is not good, or does not allow this.
    Unauthorized,
    /// The token was good once.
    Expired,
    /// The server does not do this yet.
    Unimplemented,
    /// A code of a newer server.
    #[serde(other)]
    Other,
}

/// Why not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Error {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what is wrong, and what to do.
    pub reason: String,
    /// The same will never succeed.
    #[serde(rename = "final", default = "super::yes")]
    pub is_final: bool,
    /// When trying the same again may succeed, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The last number accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// The event that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Error {
    /// For good.
    pub fn last(code: ErrorCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), is_final: true, retry_after: None, last: None, id: None }
    }

    /// For now.
    pub fn later(code: ErrorCode, reason: impl Into<String>, retry_after: u64) -> Self {
        Self { is_final: false, retry_after: Some(retry_after), ..Self::last(code, reason) }
    }
}

/// How much is told of who read what, by the number of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Tier {
    /// Names, to everybody.
    S,
    /// Counts and a few names, to who asks.
    M,
    /// Counts to two digits.
    L,
}

/// How a channel is, as one person sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct State {
    /// What it is for.
    pub kind: ChannelKind,
    /// How it is set up.
    pub settings: Settings,
    /// What one is in it; `None`: one is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// How many members there are.
    pub members: u64,
    /// How much is told of receipts.
    pub tier: Tier,
    /// Messages not read.
    pub unread: u64,
    /// Mentions not read.
    pub mentions: u64,
    /// Marks: one's own, and in a small channel everybody's.
    #[serde(default, deserialize_with = "nullable")]
    pub marks: Vec<Marks>,
    /// The last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

/// What the server accepts, as `connect` announces it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// Bytes of a frame.
    pub frame: u64,
    /// Bytes of a body, as JSON.
    pub body: u64,
    /// Levels of a body.
    pub depth: u64,
    /// Bytes of a name.
    pub name: u64,
    /// Channels of a connection.
    pub channels: u64,
    /// Sends of a connection that are not answered yet.
    pub in_flight: u64,
    /// Commands in a second, over time.
    pub rate: u64,
    /// Commands at once, above that.
    pub burst: u64,
    /// People named in a message.
    pub mentions: u64,
    /// Tokens of `seen`.
    pub seen: u64,
    /// Positions of `after`.
    pub after: u64,
    /// Items of a page.
    pub page: u64,
    /// People that presence watches.
    pub watch: u64,
    /// Messages that a cursor may be behind.
    pub behind: u64,
}

/// The answer to `connect`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Connected {
    /// Who one is.
    pub user: String,
    /// Milliseconds between pings.
    pub ping: u64,
    /// The server's clock, in milliseconds since 1970.
    pub time: u64,
    /// What it accepts.
    pub limits: Limits,
    /// What became of the streams.
    #[serde(default, deserialize_with = "nullable")]
    pub channels: Vec<Resumed>,
    /// Calls that ring for one, or run.
    #[serde(default, deserialize_with = "nullable")]
    pub calls: Vec<CallPush>,
}

/// What became of a stream that was to go on: `ok` or `error`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Resumed {
    /// Which.
    pub channel: String,
    /// It goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Subscribed>,
    /// It does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

/// The answer to `subscribe`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Subscribed {
    /// Where the stream begins.
    pub cursor: String,
    /// The last number accepted of this device.
    pub csn: u64,
    /// How the channel is.
    pub state: State,
}

/// A channel in one's list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Listed {
    /// Which.
    pub channel: String,
    /// What it is for.
    pub kind: ChannelKind,
    /// What people see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Messages not read.
    pub unread: u64,
    /// Mentions not read.
    pub mentions: u64,
    /// The last item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Item>,
    /// Of a direct channel: the other person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// How it is.
    pub state: State,
}

/// The answer to `channels`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChannelList {
    /// Those that changed last first.
    pub channels: Vec<Listed>,
    /// Names the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// The answer to a send.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sent {
    /// The id of what was sent.
    pub event: String,
    /// Proves to have seen it, and what was presented.
    pub token: String,
}

/// The answer to `read`: where one's marks stand.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Marked {
    /// Read up to.
    pub read: Positions,
    /// Delivered up to.
    pub delivered: Positions,
}

/// The answer to `history`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Page {
    /// What is displayed.
    pub items: Vec<Item>,
    /// Proves to have seen it.
    pub token: String,
    /// The server is behind what was presented.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "nullable")]
    pub stale: bool,
}

/// Something found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hit {
    /// In which channel.
    pub channel: String,
    /// It.
    pub item: Item,
}

/// The answer to `search`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Found {
    /// What was found, newest first.
    pub items: Vec<Hit>,
    /// Names the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// Somebody in a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Member {
    /// Who.
    pub user: String,
    /// As what.
    pub role: Role,
    /// Sends nothing before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<u64>,
}

/// The answer to `members`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemberList {
    /// They.
    pub members: Vec<Member>,
    /// Names the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// The answer to `receipts.detail`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Readers {
    /// Who read it.
    pub read: Vec<String>,
    /// Who received it.
    pub delivered: Vec<String>,
    /// Names the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// Somebody's reaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reacted {
    /// What is shown.
    pub emoji: String,
    /// Whose.
    pub user: String,
}

/// The answer to `reactions`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReactionList {
    /// They.
    pub reactions: Vec<Reacted>,
    /// Names the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// The answer to `presence`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ThereNow {
    /// Who of those that are watched is there.
    pub there: Vec<String>,
}

/// The answer to what changes a channel.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Changed {
    /// How the channel is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

/// The answer to a step of a call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallState {
    /// Where it stands.
    pub call: CallPush,
}

/// The `ok` of an answer.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Okay {
    /// To `connect`.
    Connected(Box<Connected>),
    /// To `subscribe`.
    Subscribed(Box<Subscribed>),
    /// To `channels`.
    Channels(ChannelList),
    /// To `send`, `edit`, `delete` and `react`.
    Sent(Sent),
    /// To `read`.
    Marked(Marked),
    /// To `history`.
    Page(Page),
    /// To `search`.
    Found(Found),
    /// To `members`.
    Members(MemberList),
    /// To `receipts.detail`.
    Readers(Readers),
    /// To `reactions`.
    Reactions(ReactionList),
    /// To `presence`.
    There(ThereNow),
    /// To what changes a channel, and to whatever has nothing to say.
    Changed(Box<Changed>),
    /// To a step of a call.
    Call(Box<CallState>),
}

impl Okay {
    /// It is done, and there is nothing to say.
    pub fn done() -> Self {
        Self::Changed(Box::default())
    }
}

/// Appends the answer to the request `id` to `out`.
pub fn write_answer(encoding: Encoding, id: u64, answer: &Result<Okay, Error>, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Frame<'a> {
        v: u32,
        id: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        ok: Option<&'a Okay>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a Error>,
    }
    encoding.write(&Frame { v: VERSION, id, ok: answer.as_ref().ok(), error: answer.as_ref().err() }, out);
}

impl Item {
    /// What it says, where it says something.
    pub fn text(&self) -> Option<&str> {
        self.body.as_ref().map(Body::as_str)
    }
}
