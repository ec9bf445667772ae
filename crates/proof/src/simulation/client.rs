//! A client: one device that sends, roams, and records.

use std::collections::VecDeque;

use base::{ChannelId, DeviceId, UserId};
use messaging::command::{Ask, Command, Origin, Send};
use messaging::event::Content;
use messaging::place::{Cursor, Token, Vector};

use crate::history::Message;

/// A send without an answer.
pub struct Pending {
    pub csn: u64,
    pub follows: Option<u64>,
    pub since: u64,
}

/// One person's one device.
pub struct Client {
    pub index: usize,
    pub connection: Option<u64>,
    /// Where it was connected last.
    pub node: Option<usize>,
    pub cursor: Cursor,
    /// What answers proved since; each answer's token covers what was presented.
    pub token: Vector,
    pub pending: VecDeque<Pending>,
    pub csn: u64,
    /// When it may connect again.
    pub ready: u64,
}

/// The last client is the first one's person on another device.
pub fn user(index: usize) -> UserId {
    UserId::new(["ann", "bob", "eve", "joe", "kim", "ann"][index])
}

fn device(index: usize) -> DeviceId {
    DeviceId::new(if index == 5 { "desk" } else { "phone" })
}

/// The message that a device's number is.
pub fn message(client: usize, csn: u64) -> Message {
    client as u64 * 1_000_000 + csn
}

/// The client whose message this is.
pub fn sender(message: Message) -> usize {
    (message / 1_000_000) as usize
}

/// The message that an event is.
pub fn message_of(event: &messaging::event::Event) -> Option<Message> {
    let from = event.from.as_ref().filter(|from| from.csn > 0)?;
    let client = (0..6).find(|index| user(*index) == from.user && device(*index) == from.device)?;
    Some(message(client, from.csn))
}

impl Client {
    pub fn new(index: usize) -> Self {
        let (cursor, token) = (Cursor::default(), Vector::default());
        Self {
            index,
            connection: None,
            node: None,
            cursor,
            token,
            pending: VecDeque::new(),
            csn: 0,
            ready: 0,
        }
    }

    /// A new message; its number.
    pub fn compose(&mut self, now: u64) -> u64 {
        self.csn += 1;
        self.pending.push_back(Pending { csn: self.csn, follows: None, since: now });
        self.csn
    }

    /// What it sends for a number, now.
    pub fn command(&self, connection: u64, pending: &Pending, forget: bool) -> Command {
        let seen = [&self.token, &self.cursor.at].map(|seen| Token { seen: seen.clone() }).to_vec();
        let content = Content::Message {
            body: message(self.index, pending.csn).to_string().as_bytes().into(),
            reply_to: None,
            thread: None,
            mentions: Vec::new(),
            everyone: false,
        };
        let send = Send {
            csn: pending.csn,
            follows: pending.follows,
            content,
            seen: if forget { Vec::new() } else { seen },
            delivered: Vector::default(),
            after: Vec::new(),
            original: None,
        };
        let origin = Origin {
            connection,
            request: pending.csn,
            user: Some(user(self.index)),
            device: device(self.index),
        };
        Command { origin, channel: ChannelId::new("room"), ask: Ask::Send(Box::new(send)) }
    }

    /// A send was accepted. False: its answer had come before.
    pub fn accepted(&mut self, csn: u64, token: &Token) -> bool {
        self.token.join(&token.seen);
        let before = self.pending.len();
        self.pending.retain(|pending| pending.csn != csn);
        self.pending.len() < before
    }

    /// The stream goes on from elsewhere, on a node that may be behind: what was received before is still what the next send stands on.
    pub fn reset(&mut self, cursor: Cursor) {
        let before = std::mem::replace(&mut self.cursor, cursor);
        self.token.join(&before.at);
    }

    /// A send went ahead of what was accepted: what is not answered follows that.
    pub fn gap(&mut self, last: u64) {
        let mut follows = last;
        for pending in self.pending.iter_mut().filter(|pending| pending.csn > last) {
            pending.follows = Some(follows);
            follows = pending.csn;
        }
    }
}
