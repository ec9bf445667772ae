//! Reliable messages for which a channel's send buffer has no room yet.
//!
//! The bytes are shared by all receivers of a message, so what waits for slow receivers costs its size once. A receiver for
//! which much waits is reported to control, with the rate at which it takes messages: control decides whether its senders wait
//! for it or it loses messages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::media::DataBacklog;
use rtc::ChannelError;

/// With so much waiting a receiver is behind: several of the largest messages, and what 4 Mbit/s take away in a second.
const BEHIND_BYTES: usize = 512 << 10;
const BEHIND_MESSAGES: usize = 1_024;
/// It has caught up when no more than this waits; by a distance below, so that senders are not paused and resumed with every
/// message.
const CAUGHT_UP_BYTES: usize = BEHIND_BYTES / 4;
const CAUGHT_UP_MESSAGES: usize = BEHIND_MESSAGES / 4;
/// How often it is reported meanwhile.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// What may wait for one receiver: what reaches it between the report and the pause of its senders, of which each may have 16 MiB
/// on the way (`control::routes`). Beyond, messages are lost and counted.
const MAX_BYTES: usize = 32 << 20;
const MAX_MESSAGES: usize = 65_536;
/// What a message costs besides its contents: SCTP's headers and its share of a packet's. Small messages count for what
/// they take.
const OVERHEAD: usize = 32;

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
    behind: Option<Behind>,
}

/// What was reported last.
struct Behind {
    at: Instant,
    /// Bytes taken since then.
    taken: usize,
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
            if let Some(behind) = &mut self.behind {
                behind.taken += payload.len() + OVERHEAD;
            }
            self.queue.pop_front();
        }
        // A burst's worth of places is not held for a receiver that has caught up.
        if self.queue.capacity() > 2 * BEHIND_MESSAGES {
            self.queue.shrink_to(BEHIND_MESSAGES);
        }
        lost
    }

    /// What control is to know now.
    pub(crate) fn report(&mut self, now: Instant) -> Option<DataBacklog> {
        let (bytes, messages) = (self.bytes, self.queue.len());
        let Some(behind) = &mut self.behind else {
            let is_behind = bytes >= BEHIND_BYTES || messages >= BEHIND_MESSAGES;
            self.behind = is_behind.then_some(Behind { at: now, taken: 0 });
            return is_behind.then_some(DataBacklog::Behind);
        };
        if bytes <= CAUGHT_UP_BYTES && messages <= CAUGHT_UP_MESSAGES {
            self.behind = None;
            return Some(DataBacklog::CaughtUp);
        }
        let time = now.saturating_duration_since(behind.at);
        if time < REPORT_EVERY {
            return None;
        }
        let bps = (behind.taken as f64 * 8.0 / time.as_secs_f64()) as u64;
        *behind = Behind { at: now, taken: 0 };
        Some(DataBacklog::Draining { bps })
    }

    /// When [`Self::report`] has something to say even if nothing happens.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.behind.as_ref().map(|behind| behind.at + REPORT_EVERY)
    }
}
