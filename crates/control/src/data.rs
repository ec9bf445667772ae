//! Data messages: one buffer for all receivers.

use std::sync::Arc;

use base::ParticipantId;
use base::model::DataKind;
use bytes::Bytes;
use contract::media::Command;
use contract::session::{AdminRefused, DataTarget};

use crate::metrics::count;
use crate::room_task::RoomTask;

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
}

impl Default for Labels {
    fn default() -> Self {
        Self { reliable: RELIABLE.into(), lossy: LOSSY.into() }
    }
}

impl RoomTask {
    /// Sends a participant's message to those it is for.
    pub(crate) fn send_data(
        &mut self,
        sender: ParticipantId,
        kind: DataKind,
        target: &DataTarget,
        message: &Bytes,
    ) {
        let receivers = self.room.receivers(sender, &target.identities, &target.participants);
        let Some(mut receivers) = receivers.filter(|_| message.len() <= MAX_MESSAGE) else {
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
        self.send_copies(&receivers, kind, message);
    }

    /// Sends the server's message to those it is for.
    pub(crate) fn announce_data(
        &mut self,
        kind: DataKind,
        target: &DataTarget,
        message: &Bytes,
    ) -> Result<(), AdminRefused> {
        if message.len() > MAX_MESSAGE {
            return Err(AdminRefused::LimitExceeded);
        }
        count(&self.metrics.data_messages);
        let receivers = self.room.addressed(&target.identities, &target.participants);
        self.send_copies(&receivers, kind, message);
        Ok(())
    }

    fn send_copies(&mut self, receivers: &[ParticipantId], kind: DataKind, message: &Bytes) {
        for receiver in receivers {
            match kind {
                DataKind::Reliable => self.send_reliable(*receiver, message),
                DataKind::Lossy => self.send_lossy(*receiver, message),
            }
        }
    }

    /// The channel for reliable messages is open: what waited for it goes first.
    pub(crate) fn send_backlog(&mut self, receiver: ParticipantId) {
        let Some(seat) = self.seats.get_mut(&receiver) else { return };
        for message in seat.backlog.take() {
            self.send_reliable(receiver, &message);
        }
    }

    pub(crate) fn send_reliable(&mut self, receiver: ParticipantId, message: &Bytes) {
        let Some(seat) = self.seats.get_mut(&receiver) else { return };
        let Some(peer) = seat.reliable_peer() else {
            if !seat.backlog.push(message.clone()) {
                count(&self.metrics.data_backlog_full);
            }
            return;
        };
        count(&self.metrics.data_copies);
        let label = Arc::clone(&self.labels.reliable);
        self.peer_command(peer, Command::SendData { peer, label, text: false, payload: message.clone() });
    }

    fn send_lossy(&mut self, receiver: ParticipantId, message: &Bytes) {
        let Some(peer) = self.seats.get(&receiver).and_then(|seat| seat.primary) else { return };
        let label = Arc::clone(&self.labels.lossy);
        self.lossy_command(peer, Command::SendData { peer, label, text: false, payload: message.clone() });
    }
}
