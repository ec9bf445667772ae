//! What the owner of a partition is asked, and what it answers.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use base::{CallId, ChannelId, DeviceId, UnixMillis, UserId};

use crate::event::{Body, CallStage, Change, Content, Kind, ReadMark, Settings};
use crate::place::{Cursor, EventId, Token, Vector};
use crate::roles::Role;

/// The two times of a moment: one that never goes back, for waiting; the wall's, which may lie, for the displayed order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For waiting.
    pub at: Instant,
    /// For what people see.
    pub wall: UnixMillis,
}

/// Who asks, and where the answer goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The connection; commands of one connection for one channel are answered in order.
    pub connection: u64,
    /// Its number of the request.
    pub request: u64,
    /// The person. `None`: the application's server, or this one, which may do anything.
    pub user: Option<UserId>,
    /// The installation.
    pub device: DeviceId,
}

/// A command for one channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Who asks.
    pub origin: Origin,
    /// About which channel.
    pub channel: ChannelId,
    /// What for.
    pub ask: Ask,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// A channel. Asking again for the same one is no error.
    Create {
        /// Its kind.
        kind: Kind,
        /// How it is set up.
        settings: Settings,
        /// Who is in it, besides who asks.
        members: Vec<(UserId, Role)>,
    },
    /// Other settings.
    Update {
        /// All of them.
        settings: Settings,
    },
    /// To come in.
    Join,
    /// To go.
    Leave,
    /// Somebody else's membership to change.
    Member {
        /// Whose.
        user: UserId,
        /// How.
        change: Change,
    },
    /// A send.
    Send(Box<Send>),
    /// A step of a call, which whoever rings for this channel has decided: nobody else may ask for it. Who asks is who did it.
    Call {
        /// Which call.
        call: CallId,
        /// Which step. Whoever invites needs the right to send.
        stage: CallStage,
    },
    /// Marks to move.
    Read {
        /// Read up to.
        read: Cursor,
        /// Delivered up to.
        delivered: Cursor,
    },
    /// Something to tell who is there, and to keep nowhere.
    Ephemeral {
        /// What it is called.
        name: Arc<str>,
        /// What it says.
        body: Body,
    },
}

/// A numbered send: message, edit, delete, reaction, something of the application's, a step of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Send {
    /// The device's number in this channel, from 1.
    pub csn: u64,
    /// The number before it that was, or is to be, accepted; by default `csn - 1`.
    pub follows: Option<u64>,
    /// What.
    pub content: Content,
    /// What answers proved to have been seen, and the last cursor.
    pub seen: Vec<Token>,
    /// What the gateway has delivered on this connection.
    pub delivered: Vector,
    /// Positions in other channels that come before it.
    pub after: Vec<(ChannelId, Vector)>,
    /// What the store says of the event that [`Content::target`] names; `None`: there is none.
    pub original: Option<Original>,
}

/// What must be known of an event to act on it. It never changes, so that whoever looked it up need not look again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Original {
    /// Which event.
    pub event: EventId,
    /// Who sent it.
    pub author: Option<UserId>,
    /// Is it a message? Nothing else is edited, deleted or reacted to.
    pub is_message: bool,
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A send was accepted, now or before.
    Sent {
        /// As this.
        event: EventId,
        /// Covers what was presented, and the event.
        token: Token,
    },
    /// It is done, or was so already.
    Done,
    /// Where the person's marks stand.
    Marked(ReadMark),
    /// No.
    Refused(Refusal),
}

/// Why not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: what is wrong, and what to do.
    pub reason: &'static str,
    /// When trying the same again may succeed, in milliseconds; `None`: never.
    pub retry_after: Option<u64>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl Refusal {
    /// For good: the next send follows the last accepted number.
    pub fn last(code: Code, reason: &'static str) -> Self {
        Self { code, reason, retry_after: None }
    }

    /// For now: the same is sent again, so that order holds.
    pub fn later(code: Code, reason: &'static str, retry_after: u64) -> Self {
        Self { code, reason, retry_after: Some(retry_after) }
    }
}

/// Refusals by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// There is no such channel.
    NoChannel,
    /// There is one already, of another shape.
    Exists,
    /// Not in the channel.
    NotMember,
    /// Not in the channel any more; this event says so, and is the last that this person receives.
    Removed(EventId),
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
    /// A number ahead of what was accepted: [`Code::CsnGap`]'s value is the last accepted.
    CsnGap(u64),
    /// A number that was used for something else.
    CsnConflict,
    /// A number below what was accepted that never was.
    CsnStale,
    /// A position that this log has never had.
    BeyondHead,
    /// The owner is not serving, or has too much to do.
    Busy,
}
