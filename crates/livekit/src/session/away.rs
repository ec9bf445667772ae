//! What is kept for a client that may come back: messages that it missed, and who left when it may not have been told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::model::{LeaveReason, Participant};
use livekit_protocol::signal_response::Message;

/// Most messages that are kept. A room of a thousand that all join at once stays below, since what is told anew in any case is
/// not kept.
const MAX_MISSED: usize = 1_024;
/// A departure that was told this long ago has arrived: a socket on which nothing is heard for 25 s counts as broken.
const UNCERTAIN: Duration = Duration::from_secs(40);
/// Most departures that are remembered; with more within [`UNCERTAIN`] a client that comes back joins anew.
const MAX_DEPARTURES: usize = 4_096;

/// The client has no socket.
#[derive(Debug)]
pub(crate) struct Away {
    /// It must have come back by then.
    pub until: Instant,
    /// Why the participant goes if it has not.
    pub reason: LeaveReason,
    missed: Vec<Message>,
    overfull: bool,
}

impl Away {
    /// `unsent`: what its last socket did not take.
    pub fn new(until: Instant, reason: LeaveReason, unsent: Vec<Message>) -> Self {
        let mut away = Self { until, reason, missed: Vec::new(), overfull: false };
        unsent.into_iter().for_each(|message| away.keep(message));
        away
    }

    /// A message for it.
    pub fn keep(&mut self, message: Message) {
        if is_told_anew(&message) {
            return;
        }
        if self.missed.len() >= MAX_MISSED {
            self.overfull = true;
            return;
        }
        self.missed.push(message);
    }

    /// What it missed, in order; `None`: too much to be kept.
    pub fn into_missed(self) -> Option<Vec<Message>> {
        (!self.overfull).then_some(self.missed)
    }
}

/// State that a client that comes back is told as it is then, and messages that are of no use to it any more.
fn is_told_anew(message: &Message) -> bool {
    matches!(
        message,
        Message::Update(_)
            | Message::RoomUpdate(_)
            | Message::RefreshToken(_)
            | Message::SubscribedQualityUpdate(_)
            | Message::StreamStateUpdate(_)
            | Message::Offer(_)
            | Message::Answer(_)
            | Message::Trickle(_)
            | Message::MediaSectionsRequirement(_)
            | Message::Pong(_)
            | Message::PongResp(_)
            | Message::Join(_)
            | Message::Reconnect(_)
            | Message::Leave(_)
    )
}

/// Who left lately. An update names those who are there; without this, whoever left when the socket was already dead, and
/// nobody knew it, would stay in the client's list for ever.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    recent: VecDeque<(Instant, Arc<Participant>)>,
    /// When one was last forgotten too early.
    forgotten: Option<Instant>,
}

impl Departures {
    /// Somebody left.
    pub fn add(&mut self, participant: Arc<Participant>, now: Instant) {
        while self.recent.front().is_some_and(|(at, _)| *at + UNCERTAIN < now) {
            self.recent.pop_front();
        }
        if self.recent.len() >= MAX_DEPARTURES {
            self.recent.pop_front();
            self.forgotten = Some(now);
        }
        self.recent.push_back((now, participant));
    }

    /// All of whom the client may not have been told; `None`: they are not known any more.
    pub fn recent(&self, now: Instant) -> Option<impl Iterator<Item = &Arc<Participant>>> {
        let complete = self.forgotten.is_none_or(|at| at + UNCERTAIN < now);
        complete.then(|| self.recent.iter().map(|(_, participant)| participant))
    }
}
