//! What an application hears.

use std::fmt;

use wire::messaging::{CallPush, Error, ErrorCode, Item, Push, ResetWhy, State};

use super::outbox::Outcome;

/// Something that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// There is a connection, the first or another.
    Connected {
        /// Whose device it is.
        user: String,
        /// Calls that ring for this person, or run.
        calls: Vec<CallPush>,
    },
    /// The connection is gone; another is on its way.
    Waiting {
        /// Why.
        why: String,
    },
    /// A channel's stream begins, or goes on where it was.
    Subscribed {
        /// Which.
        channel: String,
        /// How it is.
        state: Box<State>,
    },
    /// The next item of a channel's stream. In order, each once.
    Item {
        /// Of which channel.
        channel: String,
        /// It.
        item: Box<Item>,
    },
    /// A send has its answer.
    Sent {
        /// In which channel.
        channel: String,
        /// Its number.
        csn: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// A stream goes on from elsewhere: what is shown is to be dropped and paged anew.
    Reset {
        /// Of which channel.
        channel: String,
        /// Why.
        why: ResetReason,
    },
    /// A channel cannot be had, or not any more.
    Gone {
        /// Which.
        channel: String,
        /// Why.
        why: Error,
    },
    /// Who of those that are watched is there: after `watch`, and after each connection.
    There(Vec<String>),
    /// Everything else that the server says.
    Push(Box<Push>),
    /// It is over for good. The last event.
    Ended(End),
}

/// Why a stream begins anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetReason {
    /// The server said so.
    Said(ResetWhy),
    /// The cursor was refused with this.
    Refused(ErrorCode),
}

/// Why it is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// All handles were dropped, or closed.
    Closed,
    /// A newer connection of the same device.
    Replaced,
    /// The token is not good.
    Unauthorized(String),
    /// The server could not read what this client sends, or speaks another version.
    Protocol(String),
    /// The address cannot be used, or its certificate is not trusted.
    Address(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it was closed"),
            Self::Replaced => f.write_str("a newer connection of this device replaced it"),
            Self::Unauthorized(why) => write!(f, "the server does not accept the token: {why}"),
            Self::Protocol(why) => write!(f, "the server speaks something else: {why}"),
            Self::Address(why) => write!(f, "the address cannot be used: {why}"),
        }
    }
}
