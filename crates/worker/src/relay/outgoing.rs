//! At the publisher's worker.

use std::collections::BTreeMap;
use std::time::Instant;

use base::{MediaKind, NtpTime, RoomId, TrackId};
use sfu::{Layers, RelaySet};
use wire::media::Received;

use super::TELL;
use super::link::{Message, Packet};
use crate::slots::RoomKey;
use crate::tick::Worker;

/// A track that goes to others: which layers, by worker.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) to: BTreeMap<usize, Layers>,
}

impl Worker {
    /// These and no others are to get the track. They are told how it stands, and answer with what they want.
    pub(crate) fn set_relay(&mut self, now: Instant, room: RoomId, track: TrackId, to: &[usize]) {
        let to: Vec<usize> =
            to.iter().copied().filter(|other| self.relays.reach(self.index, *other)).collect();
        if to.is_empty() && self.rooms.find(room).is_none() {
            return;
        }
        let key = self.hold_room(now, room);
        let Some(state) = self.rooms.get_mut(key) else { return };
        let outgoing = state.relays.outgoing.entry(track).or_default();
        let gone: Vec<usize> = outgoing.to.keys().copied().filter(|other| !to.contains(other)).collect();
        outgoing.to.retain(|other, _| to.contains(other));
        let new: Vec<usize> = to.into_iter().filter(|other| !outgoing.to.contains_key(other)).collect();
        outgoing.to.extend(new.iter().map(|other| (*other, Layers::default())));
        if outgoing.to.is_empty() {
            state.relays.outgoing.remove(&track);
        }
        self.with_media(key, |media| {
            gone.iter().for_each(|other| media.set_relay(track, *other as u8, None));
            new.iter().for_each(|other| media.set_relay(track, *other as u8, Some(Layers::default())));
        });
        new.iter().for_each(|other| self.tell_state(now, (key, track), *other));
        if !new.is_empty() {
            self.relays.tell_at.get_or_insert(now + TELL);
        }
        self.release_room(key);
    }

    /// A packet goes to these workers as it is; its track was interrupted so often.
    #[inline]
    pub(crate) fn relay(
        &mut self,
        relays: RelaySet,
        (room, track): (RoomId, TrackId),
        received: &Received,
        (descriptor, payload): (&[u8], &[u8]),
        interruptions: u8,
    ) {
        for other in relays.iter() {
            let Some(peering) = self.relays.links.get_mut(&usize::from(other)) else { continue };
            let packet = Packet::new(room, track, received, (descriptor, payload), interruptions);
            if peering.link.sender.packet(packet, descriptor, payload) {
                self.counts.relayed_out += 1;
            } else {
                self.counts.dropped_relay += 1;
                if received.media == MediaKind::Video {
                    peering.lose(room, track, received.layer);
                }
            }
        }
    }

    /// A sender report goes to all that get something of the track, for every layer: a receiver there may be switched to it
    /// any time.
    pub(crate) fn relay_report(
        &mut self,
        key: RoomKey,
        track: TrackId,
        layer: u8,
        (ntp, rtp, at): (NtpTime, u32, Instant),
    ) {
        let Some(room) = self.rooms.get(key) else { return };
        let Some(outgoing) = room.relays.outgoing.get(&track) else { return };
        for other in outgoing.to.keys() {
            self.relays.say(*other, room.id, track, Message::Report { layer, ntp, rtp, at });
        }
    }

    /// What is alive of a track has changed.
    pub(crate) fn relay_state_changed(&mut self, now: Instant, key: RoomKey, track: TrackId) {
        let outgoing = self.rooms.get(key).and_then(|room| room.relays.outgoing.get(&track));
        let others: Vec<usize> =
            outgoing.map_or_else(Vec::new, |outgoing| outgoing.to.keys().copied().collect());
        others.into_iter().for_each(|other| self.tell_state(now, (key, track), other));
    }

    pub(super) fn relay_layers_wanted(
        &mut self,
        now: Instant,
        from: usize,
        (key, track): (RoomKey, TrackId),
        layers: Layers,
    ) {
        let outgoing = self.rooms.get_mut(key).and_then(|room| room.relays.outgoing.get_mut(&track));
        // Control has not said it yet, or says so no more: when it does, it is heard again.
        let Some(known) = outgoing.and_then(|outgoing| outgoing.to.get_mut(&from)) else { return };
        if *known != layers {
            *known = layers;
            self.with_media(key, |media| media.set_relay(track, from as u8, Some(layers)));
        }
        self.tell_state(now, (key, track), from);
    }

    pub(super) fn relay_keyframe_wanted(
        &mut self,
        now: Instant,
        from: usize,
        (key, track): (RoomKey, TrackId),
        layer: u8,
    ) {
        let outgoing = self.rooms.get(key).and_then(|room| room.relays.outgoing.get(&track));
        if outgoing.is_some_and(|outgoing| outgoing.to.contains_key(&from)) {
            self.with_media(key, |media| media.keyframe_wanted_by_relay(now, track, layer));
        }
    }

    /// A worker that was behind takes video again: what it lost is of use only from the next keyframe on.
    pub(super) fn ask_for_lost(&mut self, now: Instant) {
        let recovered =
            self.relays.links.values_mut().filter_map(|peering| {
                peering.link.sender.recovers().then(|| std::mem::take(&mut peering.lost))
            });
        // Nearly always empty, which allocates nothing.
        let lost: Vec<_> = recovered.flatten().collect();
        for (room, track, layer) in lost {
            if let Some(key) = self.rooms.find(room) {
                self.with_media(key, |media| media.keyframe_wanted_by_relay(now, track, layer));
            }
        }
    }

    /// Tells everybody how everything stands.
    pub(super) fn tell_all(&mut self, now: Instant) {
        self.relays.tell_at = None;
        for key in self.rooms.keys() {
            let Some(room) = self.rooms.get(key) else { continue };
            let outgoing = room.relays.outgoing.iter();
            let all: Vec<_> =
                outgoing.flat_map(|(track, out)| out.to.keys().map(|other| (*track, *other))).collect();
            for (track, other) in all {
                self.relays.tell_at = Some(now + TELL);
                self.tell_state(now, (key, track), other);
            }
        }
    }

    fn tell_state(&mut self, now: Instant, (key, track): (RoomKey, TrackId), to: usize) {
        let Some(room) = self.rooms.get(key) else { return };
        let outgoing = room.relays.outgoing.get(&track);
        let Some(relayed) = outgoing.and_then(|outgoing| outgoing.to.get(&to)).copied() else { return };
        let id = room.id;
        let state = self.with_media(key, |media| media.relay_state(now, track)).unwrap_or_default();
        self.relays.say(to, id, track, Message::State { state, relayed });
    }
}
