//! Data messages: one buffer for all receivers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use base::model::DataKind;
use base::{ParticipantId, PeerId};
use bytes::Bytes;
use contract::media::Command;
use contract::session::{AdminRefused, DataTarget};

use crate::data_tracks;
use crate::forwarding::Saying;
use crate::history::{Audience, Sent};
use crate::metrics::count;
use crate::room_task::{RoomTask, now};

/// Label of the channel that is in order and loses nothing.
pub(crate) const RELIABLE: &str = "_reliable";
/// Label of the channel on which messages are sent once.
pub(crate) const LOSSY: &str = "_lossy";
/// Largest message, in bytes.
pub(crate) const MAX_MESSAGE: usize = 65_535;

/// The labels, shared by all commands.
pub(crate) struct Labels {
    reliable: Arc<str>,
    lossy: Arc<str>,
    pub data_track: Arc<str>,
}

impl Default for Labels {
    fn default() -> Self {
        Self { reliable: RELIABLE.into(), lossy: LOSSY.into(), data_track: data_tracks::LABEL.into() }
    }
}

/// Senders of whom a participant may say what it has; as many as a room holds.
const MAX_SENDERS: usize = 10_000;

impl RoomTask {
    /// Sends a participant's message to those it is for.
    pub(crate) fn send_data(
        &mut self,
        sender: ParticipantId,
        kind: DataKind,
        target: &DataTarget,
        sequence: u32,
        payload: &Bytes,
    ) {
        let receivers = self.room.receivers(sender, &target.identities, &target.participants);
        let Some(mut receivers) = receivers.filter(|_| payload.len() <= MAX_MESSAGE) else {
            return count(&self.metrics.data_forbidden);
        };
        count(&self.metrics.data_messages);
        if target.metrics {
            let may = |id: &ParticipantId| {
                self.room
                    .participant(*id)
                    .is_some_and(|participant| participant.permissions.subscribe_metrics)
            };
            receivers.retain(may);
        }
        if target.identities.is_empty() && target.participants.is_empty() && self.is_forwarded(sender) {
            let (metrics, payload) = (target.metrics, payload.clone());
            self.say_abroad(sender, &Saying::Message { kind, metrics, sequence, payload });
        }
        match kind {
            DataKind::Lossy => self.send_lossy(&receivers, payload),
            DataKind::Reliable => {
                let is_for_all = *target == DataTarget::default();
                let audience = if is_for_all { Audience::Others } else { Audience::These(receivers.clone()) };
                let sent = Sent { sender: Some(sender), sequence, audience, payload: payload.clone() };
                self.send_reliable(&receivers, sent);
            }
        }
    }

    /// Sends the server's message to those it is for.
    pub(crate) fn announce_data(
        &mut self,
        kind: DataKind,
        target: &DataTarget,
        payload: &Bytes,
    ) -> Result<(), AdminRefused> {
        if payload.len() > MAX_MESSAGE {
            return Err(AdminRefused::LimitExceeded);
        }
        count(&self.metrics.data_messages);
        let receivers = self.room.addressed(&target.identities, &target.participants);
        self.announce(kind, &receivers, payload);
        Ok(())
    }

    /// Sends the server's message to these.
    pub(crate) fn announce(&mut self, kind: DataKind, receivers: &[ParticipantId], payload: &Bytes) {
        match kind {
            DataKind::Lossy => self.send_lossy(receivers, payload),
            DataKind::Reliable => {
                let audience = Audience::These(receivers.to_vec());
                let sent = Sent { sender: None, sequence: 0, audience, payload: payload.clone() };
                self.send_reliable(receivers, sent);
            }
        }
    }

    /// The participant is back, and says what it has.
    pub(crate) fn replay(&mut self, id: ParticipantId, received: Vec<(ParticipantId, u32)>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.received = received.into_iter().take(MAX_SENDERS).collect();
        self.send_missed(id);
    }

    /// Sends what the participant has not got, if its channel for reliable messages is open.
    pub(crate) fn send_missed(&mut self, receiver: ParticipantId) {
        let Some(seat) = self.seats.get_mut(&receiver) else { return };
        let Some(peer) = seat.reliable_peer() else { return };
        let received = std::mem::take(&mut seat.received);
        let (missed, lost) = self.history.missed(receiver, &mut seat.progress, &received);
        self.metrics.data_backlog_full.fetch_add(lost, Relaxed);
        for payload in missed {
            self.send_copy(peer, payload);
        }
    }

    /// Forgets old messages, when it is time.
    pub(crate) fn forget_data(&mut self, now: Instant) {
        if self.history.poll_timeout().is_some_and(|at| at <= now) {
            let newcomers = self.seats.values().any(|seat| seat.reliable_peer().is_none());
            self.history.expire(now, newcomers);
        }
    }

    /// Receivers whose channel is not open find it in the history when it is.
    fn send_reliable(&mut self, receivers: &[ParticipantId], sent: Sent) {
        let (payload, sender) = (sent.payload.clone(), sent.sender);
        let number = self.history.push(now(), sent);
        for receiver in receivers {
            let Some(seat) = self.seats.get_mut(receiver) else { continue };
            let Some(peer) = seat.reliable_peer() else { continue };
            seat.progress.handed(number);
            if self.backpressure.is_slow(*receiver) {
                count(&self.metrics.data_slow_dropped);
                continue;
            }
            self.send_copy(peer, payload.clone());
        }
        if let Some(sender) = sender {
            self.hold_sender(sender, receivers);
        }
    }

    fn send_copy(&mut self, peer: PeerId, payload: Bytes) {
        count(&self.metrics.data_copies);
        let label = Arc::clone(&self.labels.reliable);
        self.peer_command(peer, Command::SendData { peer, label, text: false, payload });
    }

    fn send_lossy(&mut self, receivers: &[ParticipantId], payload: &Bytes) {
        for receiver in receivers {
            let Some(peer) = self.seats.get(receiver).and_then(|seat| seat.primary) else { continue };
            let (label, payload) = (Arc::clone(&self.labels.lossy), payload.clone());
            self.lossy_command(peer, Command::SendData { peer, label, text: false, payload });
        }
    }
}
