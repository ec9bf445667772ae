//! Data tracks: their packets go from the publisher's connection to the receivers' without an adapter between, since there is
//! nothing to decide about them but the number that names the track.
//!
//! A packet begins with 12 bytes in network order: version (3 bits), frame marker (2), extension flag (1), 10 bits that are
//! reserved; then 16 bits of handle, which name the track; sequence, frame number and time stamp are between the clients.
//!
//! Frames may be lost: a packet finds room in the queue of a worker and in the buffer of a connection, or it is dropped.

use std::sync::Arc;

use base::model::DataTrack;
use base::{ParticipantId, PeerId, TrackId};
use bytes::{Bytes, BytesMut};
use contract::media::Command;
use contract::session::Event;

use crate::data::MAX_MESSAGE;
use crate::forwarding::Saying;
use crate::metrics::count;
use crate::room_task::{RoomTask, now};

/// Label of their channel.
pub(crate) const LABEL: &str = "_data_track";
/// Bytes of a packet's header.
const HEADER: usize = 12;
/// The handle in it.
const HANDLE: std::ops::Range<usize> = 2..4;
/// The only version.
const VERSION: u8 = 0;

impl RoomTask {
    /// Passes a packet on to those who receive its track.
    pub(crate) fn data_track_packet(&mut self, peer: PeerId, packet: Bytes) {
        if let Some(id) = self.peers.get(&peer).copied()
            && self.is_behind()
        {
            self.pause(id, peer);
        }
        let Some(sender) = self.peers.get(&peer).copied() else {
            return count(&self.metrics.data_track_unknown);
        };
        if self.is_forwarded(sender) {
            self.say_abroad(sender, &Saying::Packet(packet.clone()));
        }
        self.pass_packet(sender, packet);
    }

    /// The same of a participant who need not be in this room.
    pub(crate) fn pass_packet(&mut self, sender: ParticipantId, packet: Bytes) {
        if self.send_packet(sender, packet).is_none() {
            count(&self.metrics.data_track_unknown);
        }
    }

    /// `None`: it is no packet of a track that its sender publishes.
    fn send_packet(&mut self, sender: ParticipantId, packet: Bytes) -> Option<()> {
        let route = self.room.data_route(sender, own_handle(&packet)?)?;
        if route.receivers.is_empty() {
            return Some(());
        }
        let packet = with_handle(packet, route.handle);
        let carrier = |id: &ParticipantId| self.seats.get(id).and_then(|seat| seat.primary);
        let carriers: Vec<PeerId> = route.receivers.iter().filter_map(carrier).collect();
        for peer in carriers {
            let (label, payload) = (Arc::clone(&self.labels.data_track), packet.clone());
            self.lossy_command(peer, Command::SendData { peer, label, text: false, payload });
        }
        Some(())
    }

    pub(crate) fn publish_data_track(&mut self, id: ParticipantId, track: DataTrack) {
        let handle = track.handle;
        let outcome = self.room.publish_data_track(now(), id, track);
        self.deliver(id, Event::DataTrackPublished { handle, outcome });
    }

    pub(crate) fn unpublish_data_track(&mut self, id: ParticipantId, handle: u16) {
        let track = self.room.unpublish_data_track(now(), id, handle);
        self.deliver(id, Event::DataTrackUnpublished { handle, track: track.map(Arc::new) });
    }

    pub(crate) fn update_data_subscription(&mut self, id: ParticipantId, updates: &[(TrackId, bool)]) {
        self.room.update_data_subscription(id, updates);
    }
}

/// The handle by which its sender names the track.
fn own_handle(packet: &[u8]) -> Option<u16> {
    let is_packet = (HEADER..=MAX_MESSAGE).contains(&packet.len()) && packet[0] >> 5 == VERSION;
    let handle = packet.get(HANDLE)?.try_into().ok()?;
    is_packet.then_some(u16::from_be_bytes(handle))
}

/// In place where nobody else holds the packet, which is the rule.
fn with_handle(packet: Bytes, handle: u16) -> Bytes {
    let mut packet = packet.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    if let Some(place) = packet.get_mut(HANDLE) {
        place.copy_from_slice(&handle.to_be_bytes());
    }
    packet.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_packet_has_no_handle() {
        let packet = |first: u8, len: usize| {
            let mut packet = vec![7; len];
            packet[0] = first;
            packet
        };
        assert_eq!(own_handle(&packet(0b0001_1000, HEADER)), Some(0x0707));
        assert_eq!(own_handle(&packet(0b0011_1000, HEADER)), None, "another version");
        assert_eq!(own_handle(&packet(0, HEADER - 1)), None);
        assert_eq!(own_handle(&packet(0, MAX_MESSAGE + 1)), None);
        assert_eq!(own_handle(&[]), None);
    }

    #[test]
    fn only_the_handle_is_changed_and_nobody_elses_copy() {
        let original = Bytes::from((0..20).collect::<Vec<u8>>());
        let rewritten = with_handle(original.clone(), 0xABCD);
        assert_eq!(rewritten[..6], [0, 1, 0xAB, 0xCD, 4, 5]);
        assert_eq!(rewritten[6..], original[6..]);
        assert_eq!(original[2..4], [2, 3]);
    }
}
