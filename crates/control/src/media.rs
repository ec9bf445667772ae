//! What the worker says about connections and media.

use base::model::LeaveReason;
use base::{ParticipantId, PeerId};
use contract::media::{ChannelSpec, Event as MediaEvent, PeerEnd, SetupTimes};

use crate::data::RELIABLE;
use crate::data_tracks;
use crate::journey::FIRST_MEDIA_WAIT;
use crate::metrics::count;
use crate::relays::Of;
use crate::room_task::{RoomTask, Timer, now};
use crate::routes::{Credit, Routed};
use crate::seat::Seat;

impl RoomTask {
    pub(crate) fn hear(&mut self, routed: Routed) {
        match routed {
            Routed::Event(event, credit) => self.media_event(event, credit),
            Routed::Flood(peer) => {
                if let Some(id) = self.peers.get(&peer).copied() {
                    self.close_flooding(id);
                }
            }
        }
    }

    fn media_event(&mut self, event: MediaEvent, credit: Option<Credit>) {
        match &event {
            MediaEvent::Connected { peer, times } => {
                let (peer, times) = (*peer, *times);
                self.forward(peer, event, None);
                self.connected(peer, times);
            }
            MediaEvent::FirstMedia { peer, times } => self.first_media(*peer, *times),
            MediaEvent::ChannelOpen { peer, channel } => {
                self.channel_open(*peer, channel);
                self.forward(*peer, event, credit);
            }
            MediaEvent::Data { peer, label, .. } if **label == *data_tracks::LABEL => {
                let peer = *peer;
                if let MediaEvent::Data { payload, .. } = event {
                    self.data_track_packet(peer, payload);
                }
            }
            MediaEvent::Data { peer, .. } => self.forward(*peer, event, credit),
            MediaEvent::StreamState { peer, .. } | MediaEvent::Interrupted { peer } => {
                self.forward(*peer, event, None)
            }
            MediaEvent::WantedLayer { worker, track, highest, .. } => {
                self.layer_wanted(*worker, *track, *highest);
            }
            MediaEvent::Speakers { speakers, .. } => self.room.set_speakers(now(), speakers),
            MediaEvent::DataBacklog { peer, backlog } => self.backlog_changed(*peer, *backlog),
            MediaEvent::Quality { peer, quality } => {
                let (peer, quality) = (*peer, *quality);
                let Some((id, seat)) = self.seat_of(peer) else { return };
                if let Some(peer) = seat.peers.get_mut(&peer) {
                    peer.quality = Some(quality);
                }
                if let Some(worst) = seat.quality() {
                    self.room.set_quality(now(), id, worst);
                }
            }
            MediaEvent::Closed { peer, end, times } => {
                let (peer, end, times) = (*peer, *end, *times);
                self.forward(peer, event, None);
                self.closed(peer, end, times);
            }
            MediaEvent::RoomLost { worker, .. } => {
                count(&self.metrics.rooms_lost);
                self.lose_worker(*worker);
            }
        }
    }

    fn seat_of(&mut self, peer: PeerId) -> Option<(ParticipantId, &mut Seat)> {
        let id = *self.peers.get(&peer)?;
        Some((id, self.seats.get_mut(&id)?))
    }

    fn forward(&mut self, peer: PeerId, event: MediaEvent, credit: Option<Credit>) {
        let Some((id, seat)) = self.seat_of(peer) else { return };
        let is_message = credit.is_some();
        let delivery = seat.hear(event, credit);
        if is_message && (seat.is_behind() || self.is_behind()) {
            self.pause(id, peer);
        }
        self.delivered(id, delivery);
    }

    fn connected(&mut self, peer: PeerId, times: SetupTimes) {
        let Some((id, seat)) = self.seat_of(peer) else { return };
        if seat.primary != Some(peer) {
            return;
        }
        seat.journey.reached(times);
        let is_first = !seat.journey.connected();
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.journey.connect(&self.metrics);
        }
        if is_first {
            self.timers.insert((now() + FIRST_MEDIA_WAIT, Timer::Settled, id));
        }
        self.room.activate(now(), id);
    }

    fn first_media(&mut self, peer: PeerId, times: SetupTimes) {
        let Some(id) = self.peers.get(&peer) else { return };
        if let Some(seat) = self.seats.get_mut(id) {
            seat.journey.first_media(times, &self.metrics);
        }
    }

    fn channel_open(&mut self, peer: PeerId, channel: &ChannelSpec) {
        if channel.label != RELIABLE {
            return;
        }
        let Some((id, seat)) = self.seat_of(peer) else { return };
        if let Some(peer) = seat.peers.get_mut(&peer) {
            peer.reliable_open = true;
        }
        if seat.reliable_peer() == Some(peer) {
            self.send_missed(id);
        }
    }

    fn closed(&mut self, peer: PeerId, end: PeerEnd, times: SetupTimes) {
        let Some((id, seat)) = self.seat_of(peer) else { return };
        let gone = seat.peers.remove(&peer);
        seat.count_streams();
        let of = Of { peer, participant: id, worker: seat.place.worker.index() };
        let was_primary = seat.primary == Some(peer);
        let was_connected = seat.journey.connected();
        if was_primary {
            seat.journey.reached(times);
            seat.primary = None;
        }
        if was_primary {
            self.caught_up(id);
        }
        self.drop_peer(of, &gone.unwrap_or_default().granted);
        if was_primary && let Some(reason) = leave_reason(end, was_connected) {
            self.room.leave(now(), id, reason);
        }
    }
}

/// What the end of the primary connection means for the participant.
fn leave_reason(end: PeerEnd, was_connected: bool) -> Option<LeaveReason> {
    match (end, was_connected) {
        // Half of leaving, or of coming again: its adapter hears which.
        (PeerEnd::ClosedByRemote, _) => None,
        (PeerEnd::IceTimeout, true) => Some(LeaveReason::ConnectionTimeout),
        (PeerEnd::IceTimeout, false) => Some(LeaveReason::JoinFailure),
        (PeerEnd::DtlsFailed | PeerEnd::SctpFailed, _) => Some(LeaveReason::MediaFailure),
        // Ours to blame: the client is asked to come again.
        (PeerEnd::Panicked, _) => Some(LeaveReason::StateMismatch),
    }
}
