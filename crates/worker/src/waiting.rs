//! Reliable messages for which a channel's send buffer has no room yet.
//!
//! The bytes are shared by all receivers of a message, so what waits for slow receivers costs its size once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rtc::ChannelError;

/// What may wait for one receiver. A receiver that is further behind loses messages (counted): it cannot hold up a room.
const MAX_BYTES: usize = 4 << 20;
const MAX_MESSAGES: usize = 4_096;

struct Message {
    label: Arc<str>,
    text: bool,
    payload: Bytes,
}

/// One peer's messages, in order.
#[derive(Default)]
pub(crate) struct Waiting {
    queue: VecDeque<Message>,
    bytes: usize,
}

impl Waiting {
    /// Sends the message behind those that wait, or keeps it. `false`: it is lost, because the channel is not open or what
    /// waits is at its bound.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        peer: &mut rtc::Peer,
        label: Arc<str>,
        text: bool,
        payload: Bytes,
    ) -> bool {
        if self.queue.is_empty() {
            match peer.send_message(now, &label, text, &payload) {
                Ok(()) => return true,
                Err(ChannelError::Full) => {}
                Err(ChannelError::NoSuchChannel | ChannelError::TooLarge) => return false,
            }
        }
        if self.queue.len() >= MAX_MESSAGES || self.bytes + payload.len() > MAX_BYTES {
            return false;
        }
        self.bytes += payload.len();
        self.queue.push_back(Message { label, text, payload });
        true
    }

    /// Sends what there is room for now; returns how many messages were lost because their channel closed.
    pub(crate) fn retry(&mut self, now: Instant, peer: &mut rtc::Peer) -> u64 {
        let mut lost = 0;
        while let Some(Message { label, text, payload }) = self.queue.front() {
            match peer.send_message(now, label, *text, payload) {
                Err(ChannelError::Full) => return lost,
                outcome => lost += u64::from(outcome.is_err()),
            }
            self.bytes -= payload.len();
            self.queue.pop_front();
        }
        lost
    }
}
