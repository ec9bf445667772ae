//! Frames as bytes: once for all that receive the same.

use std::sync::Arc;

use base::ChannelId;
use messaging::causal::Delivery;
use messaging::event::Event;
use messaging::fold::Item;
use messaging::place::Cursor;
use messaging::session::{Frame, Soft};
use wire::messaging::{self as protocol, Encoding, Push};
use wire::websocket::{self, Opcode};

use crate::metrics::{Metrics, count};
use crate::seal::Sealer;
use crate::translate;

/// How the frames of a connection are wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// RFC 6455.
    WebSocket,
    /// Server-sent events, which are JSON.
    Events,
}

/// Appends a frame, wrapped.
pub(crate) fn wrap(framing: Framing, encoding: Encoding, frame: &[u8], out: &mut Vec<u8>) {
    match framing {
        Framing::WebSocket => {
            let opcode = if encoding == Encoding::Json { Opcode::Text } else { Opcode::Binary };
            websocket::header(opcode, frame.len(), out);
            out.extend_from_slice(frame);
        }
        Framing::Events => {
            // JSON has no line breaks outside its strings, where they are escaped.
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(frame);
            out.extend_from_slice(b"\n\n");
        }
    }
}

/// The last event that was encoded, as every connection receives it whose stream stands at the same place.
#[derive(Default)]
pub(crate) struct Cache {
    last: Option<Last>,
    frame: Vec<u8>,
    scratch: Vec<u8>,
}

struct Last {
    event: Arc<Event>,
    flags: (bool, bool),
    cursor: Cursor,
    wrapped: [Option<Vec<u8>>; 3],
}

fn slot(framing: Framing, encoding: Encoding) -> usize {
    match (framing, encoding) {
        (Framing::WebSocket, Encoding::Json) => 0,
        (Framing::WebSocket, Encoding::Cbor) => 1,
        (Framing::Events, _) => 2,
    }
}

impl Cache {
    /// The frame of a stream's items. `counts`: how many members the channel has, for runs of joins.
    pub fn items(
        &mut self,
        how: (Framing, Encoding),
        with: (&Sealer, &Metrics),
        channel: &ChannelId,
        items: &[Item],
        cursor: &Cursor,
        members: usize,
    ) -> &[u8] {
        if let [Item::Event(delivery)] = items {
            return self.single(how, with, channel, delivery, cursor);
        }
        let items = items.iter().map(|item| item_of(item, members)).collect();
        let cursor = with.0.cursor(channel, cursor);
        count(&with.1.encoded);
        let push = Push::Events(protocol::Events { channel: channel.as_str().to_owned(), cursor, items });
        self.push(how, &push)
    }

    fn single(
        &mut self,
        (framing, encoding): (Framing, Encoding),
        (sealer, metrics): (&Sealer, &Metrics),
        channel: &ChannelId,
        delivery: &Delivery,
        cursor: &Cursor,
    ) -> &[u8] {
        let flags = (delivery.late, delivery.unmet);
        let same = |last: &Last| {
            Arc::ptr_eq(&last.event, &delivery.event) && last.flags == flags && last.cursor == *cursor
        };
        if !self.last.as_ref().is_some_and(same) {
            let event = Arc::clone(&delivery.event);
            self.last = Some(Last { event, flags, cursor: cursor.clone(), wrapped: [None, None, None] });
        }
        let last = self.last.as_mut().expect("it was put there just now");
        last.wrapped[slot(framing, encoding)].get_or_insert_with(|| {
            count(&metrics.encoded);
            let push = Push::Events(protocol::Events {
                channel: channel.as_str().to_owned(),
                cursor: sealer.cursor(channel, cursor),
                items: vec![translate::item(delivery)],
            });
            self.frame.clear();
            push.write(encoding, &mut self.frame);
            let mut out = Vec::with_capacity(self.frame.len() + 10);
            wrap(framing, encoding, &self.frame, &mut out);
            out
        })
    }

    /// Any other push.
    pub fn push(&mut self, (framing, encoding): (Framing, Encoding), push: &Push) -> &[u8] {
        self.frame.clear();
        push.write(encoding, &mut self.frame);
        self.scratch.clear();
        wrap(framing, encoding, &self.frame, &mut self.scratch);
        &self.scratch
    }
}

fn item_of(item: &Item, members: usize) -> protocol::Item {
    match item {
        Item::Event(delivery) => translate::item(delivery),
        Item::Fold(fold) => translate::fold(fold, members),
    }
}

/// A frame that is no item of a stream. `None`: it has to be looked up first.
pub(crate) fn push(sealer: &Sealer, frame: &Frame) -> Option<Push> {
    Some(match frame {
        Frame::Items { .. } | Frame::Soft(Soft::Touch { .. }) => return None,
        Frame::Reset { channel, why, cursor } => Push::Reset(protocol::Reset {
            channel: channel.as_str().to_owned(),
            why: translate::reset(*why),
            cursor: sealer.cursor(channel, cursor),
        }),
        Frame::Removed { channel, id } => {
            Push::Removed(protocol::Removed { channel: channel.as_str().to_owned(), id: id.to_string() })
        }
        Frame::Goaway { retry_after } => {
            Push::Goaway(protocol::Goaway { why: "slow".to_owned(), retry_after: *retry_after })
        }
        Frame::Soft(Soft::Receipts { channel, frame }) => Push::Receipts(translate::receipts(channel, frame)),
        Frame::Soft(Soft::Typing { channel, frame }) => Push::Typing(protocol::TypingPush {
            channel: channel.as_str().to_owned(),
            users: frame.names.iter().map(|user| user.as_str().to_owned()).collect(),
            more: frame.more as u64,
        }),
        Frame::Soft(Soft::Presence { changes }) => {
            let there = |(user, there): &(base::UserId, bool)| protocol::There {
                user: user.as_str().to_owned(),
                there: *there,
            };
            Push::Presence(protocol::PresencePush { changes: changes.iter().map(there).collect() })
        }
    })
}
