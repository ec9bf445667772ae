//! Receivers of reliable messages that do not keep up: their senders wait for them, or they lose messages.
//!
//! A worker reports a receiver for which much waits, and then every second how much it takes. As long as that is at least
//! [`crate::Config::slow_receiver_bps`], whoever sends it messages is paused: it is not read any more, its SCTP window closes, and
//! it slows down; nothing is lost. A receiver that takes less is sent nothing until it has caught up, and nobody waits for it.
//!
//! What it takes is the mean of a few seconds: SCTP begins with too much for a thin line, and then waits a second or two for
//! what was lost. Who was too slow once is taken for slow at once the next time, until it has shown better.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{ParticipantId, PeerId};
use contract::media::{Command, DataBacklog};

use crate::metrics::count;
use crate::room_task::RoomTask;

/// Reports over which the mean is taken, each of a second.
const WINDOW: usize = 4;
/// It is judged with so many.
const EVIDENCE: usize = 3;

/// A receiver that is behind.
#[derive(Default)]
struct Behind {
    /// It loses messages; otherwise senders wait for it.
    slow: bool,
    /// What it has taken in the last seconds, in bits per second.
    recent: VecDeque<u64>,
}

impl Behind {
    /// Another second; `least` is what it has to take.
    fn judge(&mut self, bps: u64, least: u64) {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(bps);
        if self.recent.len() >= EVIDENCE {
            let sum = self.recent.iter().fold(0, |sum: u64, bps| sum.saturating_add(*bps));
            self.slow = sum / (self.recent.len() as u64) < least;
        }
    }
}

/// The receivers of a room that are behind, and who waits for them.
#[derive(Default)]
pub(crate) struct Backpressure {
    /// What a receiver takes at least for whom others wait; 0: nobody waits.
    pub slow_bps: u64,
    behind: BTreeMap<ParticipantId, Behind>,
    /// Who was too slow the last time that it was behind.
    known_slow: BTreeSet<ParticipantId>,
    /// By sender: for whom it waits.
    held: BTreeMap<ParticipantId, BTreeSet<ParticipantId>>,
}

impl Backpressure {
    /// Messages to it are lost for now.
    pub fn is_slow(&self, receiver: ParticipantId) -> bool {
        self.behind.get(&receiver).is_some_and(|behind| behind.slow)
    }

    /// It waits for somebody.
    pub fn is_held(&self, sender: ParticipantId) -> bool {
        self.held.contains_key(&sender)
    }

    /// The sender has sent to these. `true`: it has to wait for one of them.
    fn hold(&mut self, sender: ParticipantId, receivers: &[ParticipantId]) -> bool {
        if self.behind.is_empty() {
            return false;
        }
        let fast =
            receivers.iter().filter(|receiver| self.behind.get(receiver).is_some_and(|behind| !behind.slow));
        let fast: Vec<ParticipantId> = fast.copied().collect();
        if !fast.is_empty() {
            self.held.entry(sender).or_default().extend(fast.iter().copied());
        }
        !fast.is_empty()
    }

    /// Nobody waits for this receiver any more. Returns who waits for nobody at all now.
    fn release(&mut self, receiver: ParticipantId) -> Vec<ParticipantId> {
        let mut free = Vec::new();
        self.held.retain(|sender, receivers| {
            let was_last = receivers.remove(&receiver) && receivers.is_empty();
            if was_last {
                free.push(*sender);
            }
            !was_last
        });
        free
    }
}

impl RoomTask {
    /// A worker says how a receiver gets along.
    pub(crate) fn backlog_changed(&mut self, peer: PeerId, backlog: DataBacklog) {
        let Some(id) = self.peers.get(&peer).copied() else { return };
        tracing::debug!(participant = %id, ?backlog, "a receiver does not keep up with reliable messages");
        let Backpressure { slow_bps: least, behind, known_slow, .. } = &mut self.backpressure;
        let state = match backlog {
            DataBacklog::CaughtUp => return self.caught_up(id),
            DataBacklog::Behind | DataBacklog::Draining { .. } => behind.entry(id).or_default(),
        };
        let was_slow = state.slow;
        match backlog {
            DataBacklog::Draining { bps } => state.judge(bps, *least),
            // Until it is known how much it takes, it is taken for what it was.
            _ => state.slow = known_slow.contains(&id),
        }
        state.slow |= *least == 0;
        let is_slow = state.slow;
        if is_slow {
            known_slow.insert(id);
        } else {
            known_slow.remove(&id);
        }
        if is_slow && !was_slow {
            count(&self.metrics.data_receivers_slow);
            self.release_senders(id);
        }
    }

    /// This receiver is not behind any more, or is gone.
    pub(crate) fn caught_up(&mut self, receiver: ParticipantId) {
        if self.backpressure.behind.remove(&receiver).is_some() {
            self.release_senders(receiver);
        }
    }

    /// The sender has sent to these. It is not read while one of them is behind.
    pub(crate) fn hold_sender(&mut self, sender: ParticipantId, receivers: &[ParticipantId]) {
        let was_held = self.backpressure.is_held(sender);
        if !self.backpressure.hold(sender, receivers) {
            return;
        }
        if !was_held {
            count(&self.metrics.data_senders_held);
        }
        let Some(seat) = self.seats.get_mut(&sender) else { return self.hold_guest(sender, true) };
        let peers = seat.peers.iter_mut();
        let read = peers.filter_map(|(id, peer)| (!std::mem::replace(&mut peer.paused, true)).then_some(*id));
        for peer in read.collect::<Vec<PeerId>>() {
            self.peer_command(peer, Command::PauseData { peer, paused: true });
        }
    }

    /// The participant is gone: it waits for nobody, and nobody for it.
    pub(crate) fn forget_backpressure(&mut self, id: ParticipantId) {
        self.backpressure.held.remove(&id);
        self.backpressure.known_slow.remove(&id);
        self.caught_up(id);
    }

    fn release_senders(&mut self, receiver: ParticipantId) {
        for sender in self.backpressure.release(receiver) {
            self.resume(sender);
        }
    }
}
