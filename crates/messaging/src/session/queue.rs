//! What waits to be sent on one connection.

use std::collections::{BTreeMap, VecDeque};

use base::{ChannelId, UserId};

use super::weight;
use crate::causal::Reset;
use crate::fold::Item;
use crate::place::{Cursor, EventId};
use crate::{receipts, typing};

/// Soft frames that may wait: one of each kind for what fits on a few screens.
const SOFT: usize = 256;

/// Marks, counts and people in all of them together.
const ENTRIES: usize = 2_048;

/// Something to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Events of a channel, in order.
    Items {
        /// Which.
        channel: ChannelId,
        /// They.
        items: Vec<Item>,
        /// Where the last one ends.
        cursor: Cursor,
    },
    /// A channel's stream begins anew.
    Reset {
        /// Which.
        channel: ChannelId,
        /// Why.
        why: Reset,
        /// Where it goes on.
        cursor: Cursor,
    },
    /// The person is not in the channel any more; nothing follows of it.
    Removed {
        /// Which.
        channel: ChannelId,
        /// The event that says so.
        id: EventId,
    },
    /// The connection ends; the client connects again after this many milliseconds.
    Goaway {
        /// How many.
        retry_after: u64,
    },
    /// What may be lost.
    Soft(Soft),
}

/// What may be lost: the next of its kind says it all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Soft {
    /// Something happened in a channel that is not open.
    Touch {
        /// Which.
        channel: ChannelId,
    },
    /// Marks and counts.
    Receipts {
        /// Of which channel.
        channel: ChannelId,
        /// They.
        frame: receipts::Frame,
    },
    /// Who types.
    Typing {
        /// In which channel.
        channel: ChannelId,
        /// They.
        frame: typing::Frame,
    },
    /// Who came and went.
    Presence {
        /// They.
        changes: Vec<(UserId, bool)>,
    },
}

/// Frames that wait; what must not be lost leaves first.
#[derive(Default)]
pub(super) struct Queue {
    hard: VecDeque<Frame>,
    soft: VecDeque<Soft>,
    bytes: usize,
}

impl Queue {
    pub fn push(&mut self, frame: Frame) {
        self.bytes += size(&frame);
        self.hard.push_back(frame);
    }

    /// Items of the channel that the last frame is about join it: a slow connection gets fewer, larger frames.
    pub fn push_items(&mut self, channel: &ChannelId, items: impl IntoIterator<Item = Item>, to: &Cursor) {
        let mut items: Vec<Item> = items.into_iter().collect();
        if items.is_empty() {
            return;
        }
        if let Some(Frame::Items { channel: last, items: before, cursor }) = self.hard.back_mut()
            && last == channel
        {
            self.bytes += items.iter().map(weight).sum::<usize>();
            before.append(&mut items);
            *cursor = to.clone();
            return;
        }
        self.push(Frame::Items { channel: channel.clone(), items, cursor: to.clone() });
    }

    pub fn push_soft(&mut self, soft: Soft) {
        // Of these the last says it all.
        let replaced = |old: &Soft| match (old, &soft) {
            (Soft::Touch { channel: old }, Soft::Touch { channel })
            | (Soft::Typing { channel: old, .. }, Soft::Typing { channel, .. }) => old == channel,
            _ => false,
        };
        self.soft.retain(|old| !replaced(old));
        self.soft.push_back(soft);
        let mut entries: usize = self.soft.iter().map(entries_of).sum();
        while self.soft.len() > 1 && (self.soft.len() > SOFT || entries > ENTRIES) {
            entries -= self.soft.pop_front().as_ref().map_or(0, entries_of);
        }
    }

    /// With half of what may wait in use, soft state goes.
    pub fn shed_soft(&mut self, limit: usize) {
        if self.bytes > limit / 2 {
            self.soft.clear();
        }
    }

    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.hard.pop_front();
        if let Some(frame) = &frame {
            self.bytes -= size(frame);
        }
        frame.or_else(|| self.soft.pop_front().map(Frame::Soft))
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The channel of which most waits.
    pub fn fullest(&self) -> Option<ChannelId> {
        let mut sizes: BTreeMap<&ChannelId, usize> = BTreeMap::new();
        for frame in &self.hard {
            if let Frame::Items { channel, .. } = frame {
                *sizes.entry(channel).or_default() += size(frame);
            }
        }
        sizes.into_iter().max_by_key(|(_, size)| *size).map(|(channel, _)| channel.clone())
    }

    /// Drops the items of a channel.
    pub fn forget(&mut self, channel: &ChannelId) {
        self.hard.retain(|frame| !matches!(frame, Frame::Items { channel: of, .. } if of == channel));
        self.bytes = self.hard.iter().map(size).sum();
    }
}

fn entries_of(soft: &Soft) -> usize {
    match soft {
        Soft::Touch { .. } | Soft::Typing { .. } => 1,
        Soft::Receipts { frame, .. } => frame.marks.len() + frame.counts.len(),
        Soft::Presence { changes } => changes.len(),
    }
}

fn size(frame: &Frame) -> usize {
    match frame {
        Frame::Items { items, .. } => items.iter().map(weight).sum(),
        _ => 100,
    }
}
