//! At the worker of those who receive a track from another worker.

use std::time::Instant;

use base::{NtpTime, RoomId, TrackId};
use contract::media::RelayedTrack;
use sfu::{Layers, RelayState};

use super::link::{Message, Packet};
use crate::rooms::Source;
use crate::slots::{RingsKey, RoomKey};
use crate::tick::{Origin, Worker};

/// A track that comes from another worker.
pub(crate) struct Incoming {
    pub(crate) from: usize,
    key: sfu::TrackKey,
    rings: RingsKey,
    spec: sfu::PublicationSpec,
}

impl Worker {
    /// The track comes from another worker, or comes no more.
    pub(crate) fn set_relayed(
        &mut self,
        now: Instant,
        room: RoomId,
        track: TrackId,
        source: Option<&RelayedTrack>,
    ) {
        match source {
            Some(source) if self.relays.reach(self.index, source.from) => {
                let key = self.hold_room(now, room);
                self.add_relayed(now, (key, track), source);
                self.release_room(key);
            }
            Some(source) => tracing::warn!(%track, from = source.from, "not relayed: no way from there"),
            None => {
                let Some(key) = self.rooms.find(room) else { return };
                self.remove_relayed(now, (key, track));
                self.release_room(key);
            }
        }
    }

    fn add_relayed(&mut self, now: Instant, (key, track): (RoomKey, TrackId), source: &RelayedTrack) {
        let spec = sfu::PublicationSpec {
            participant: source.participant,
            kind: source.media,
            layers: source.layers.clamp(1, sfu::MAX_LAYERS),
            sizes: source.sizes.clone(),
            source: source.source,
        };
        let Some(room) = self.rooms.get(key) else { return };
        if room.publisher(track).is_some() {
            return tracing::warn!(%track, "not relayed: it is published here");
        }
        if let Some(known) = room.relays.incoming.get(&track)
            && (known.from, &known.spec) == (source.from, &spec)
        {
            return;
        }
        self.remove_relayed_from_other(now, (key, track), source.from);
        let outcome = self.with_media(key, |media| media.set_relayed(now, track, spec.clone()));
        let Some(Ok(track_key)) = outcome else {
            return tracing::warn!(%track, "not relayed: the room has as many tracks as it may have");
        };
        let from = Source::Relay(source.from);
        let Some(rings) = self.rooms.add_rings(key, track, from, spec.kind, spec.layers) else { return };
        if let Some(room) = self.rooms.get_mut(key) {
            let incoming = Incoming { from: source.from, key: track_key, rings, spec };
            room.relays.incoming.insert(track, incoming);
        }
    }

    /// A track that comes from elsewhere by now begins anew.
    fn remove_relayed_from_other(&mut self, now: Instant, (key, track): (RoomKey, TrackId), from: usize) {
        let room = self.rooms.get(key);
        if room.and_then(|room| room.relays.incoming.get(&track)).is_some_and(|known| known.from != from) {
            self.remove_relayed(now, (key, track));
        }
    }

    fn remove_relayed(&mut self, now: Instant, (key, track): (RoomKey, TrackId)) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(gone) = room.relays.incoming.remove(&track) else { return };
        // Unless it is published here by now.
        if room.tracks.get(&track) == Some(&gone.rings) {
            room.tracks.remove(&track);
            room.rings.remove(gone.rings);
            self.with_media(key, |media| media.remove_publication(now, track));
        }
    }

    /// Hop 4 of a packet that another worker received.
    pub(super) fn packet_relayed(&mut self, now: Instant, from: usize, packet: &Packet, bytes: &[u8]) {
        let room = self.rooms.find(packet.room);
        let incoming =
            room.and_then(|key| Some((key, self.rooms.get(key)?.relays.incoming.get(&packet.track)?)));
        let Some((room, known)) = incoming.filter(|(_, known)| known.from == from) else {
            // It was on its way when control said otherwise.
            self.counts.dropped_unpublished += 1;
            return;
        };
        self.counts.relayed_in += 1;
        let origin = Origin { room, track: packet.track, key: known.key, rings: known.rings };
        if let Some(count) = packet.interruptions() {
            self.with_media(room, |media| media.hear_interruptions(origin.key, count));
        }
        self.distribute(now, &origin, &packet.received(now), bytes);
    }

    /// What is wanted of a track has changed.
    pub(crate) fn relay_wanted_changed(&mut self, key: RoomKey, track: TrackId, layers: Layers) {
        let Some(room) = self.rooms.get(key) else { return };
        if let Some(known) = room.relays.incoming.get(&track) {
            self.relays.say(known.from, room.id, track, Message::Wanted(layers));
        }
    }

    /// The publisher is on another worker.
    pub(crate) fn request_relayed_keyframe(&mut self, key: RoomKey, track: TrackId, from: usize, layer: u8) {
        if let Some(room) = self.rooms.get(key) {
            self.relays.say(from, room.id, track, Message::Keyframe { layer });
        }
    }

    pub(super) fn hear_state(
        &mut self,
        now: Instant,
        from: usize,
        (key, track): (RoomKey, TrackId),
        state: &RelayState,
        relayed: Layers,
    ) {
        if !self.comes_from((key, track), from) {
            return;
        }
        let wanted = self.with_media(key, |media| {
            media.hear_state(now, track, state);
            media.relay_wanted(track)
        });
        // It has not heard what we want, or forgot it.
        if let Some(wanted) = wanted.filter(|wanted| *wanted != relayed) {
            self.relay_wanted_changed(key, track, wanted);
        }
    }

    pub(super) fn hear_report(
        &mut self,
        from: usize,
        (key, track): (RoomKey, TrackId),
        layer: u8,
        (ntp, rtp, at): (NtpTime, u32, Instant),
    ) {
        let room = self.rooms.get(key);
        let known = room.and_then(|room| room.relays.incoming.get(&track));
        let Some(track) = known.filter(|known| known.from == from).map(|known| known.key) else { return };
        self.with_media(key, |media| media.sender_report(track, layer, ntp, rtp, at));
    }

    fn comes_from(&self, (key, track): (RoomKey, TrackId), from: usize) -> bool {
        let room = self.rooms.get(key);
        room.and_then(|room| room.relays.incoming.get(&track)).is_some_and(|known| known.from == from)
    }
}
