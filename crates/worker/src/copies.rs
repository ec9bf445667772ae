//! Tracks of one room that are published in others, too, on the same worker. There they are publications like any: each room has
//! its own receivers, its own loudest microphones, and relays of its own to its other workers (`docs/relay.md`).

use std::collections::BTreeMap;
use std::time::Instant;

use base::{NtpTime, RoomId, TrackId};
use contract::media::ForwardedTrack;
use wire::media::Received;

use crate::rooms::Source;
use crate::slots::{RingsKey, RoomKey};
use crate::tick::{Origin, Worker};

/// What one room has to do with others.
#[derive(Default)]
pub(crate) struct RoomCopies {
    /// Tracks of other rooms that are published here.
    pub(crate) guests: BTreeMap<TrackId, Guest>,
    /// Rooms in which tracks of this one are published.
    pub(crate) to: BTreeMap<TrackId, Vec<RoomKey>>,
}

impl RoomCopies {
    pub(crate) fn is_empty(&self) -> bool {
        self.guests.is_empty() && self.to.is_empty()
    }
}

/// A track of another room.
pub(crate) struct Guest {
    pub(crate) home: RoomId,
    key: sfu::TrackKey,
    rings: RingsKey,
    spec: sfu::PublicationSpec,
}

impl Worker {
    /// A track of another room is published in this one, too, or no more.
    pub(crate) fn set_forwarded(
        &mut self,
        now: Instant,
        room: RoomId,
        track: TrackId,
        source: Option<&ForwardedTrack>,
    ) {
        match source {
            Some(source) => {
                let key = self.hold_room(now, room);
                self.add_guest(now, (key, track), source);
                self.release_room(key);
            }
            None => {
                let Some(key) = self.rooms.find(room) else { return };
                self.remove_guest(now, (key, track));
                self.release_room(key);
            }
        }
    }

    fn add_guest(&mut self, now: Instant, (key, track): (RoomKey, TrackId), source: &ForwardedTrack) {
        let ForwardedTrack { home, track: told } = source;
        let spec = sfu::PublicationSpec {
            participant: told.participant,
            kind: told.media,
            layers: told.layers.clamp(1, sfu::MAX_LAYERS),
            sizes: told.sizes.clone(),
            source: told.source,
        };
        let Some(room) = self.rooms.get(key) else { return };
        let known = room.copies.guests.get(&track);
        if known.is_some_and(|known| (known.home, &known.spec) == (*home, &spec)) {
            return;
        }
        if room.id == *home || room.publisher(track).is_some() {
            return tracing::warn!(%track, "not forwarded: it is published here");
        }
        if known.is_some_and(|known| known.home != *home) {
            self.remove_guest(now, (key, track));
        }
        let outcome = self.with_media(key, |media| media.set_publication(now, track, spec.clone()));
        let Some(Ok(track_key)) = outcome else {
            return tracing::warn!(%track, "not forwarded: the room has as many tracks as it may have");
        };
        let from = Source::Room(*home);
        let Some(rings) = self.rooms.add_rings(key, track, from, spec.kind, spec.layers) else { return };
        if let Some(room) = self.rooms.get_mut(key) {
            room.copies.guests.insert(track, Guest { home: *home, key: track_key, rings, spec });
        }
        let home = self.hold_room(now, *home);
        if let Some(home) = self.rooms.get_mut(home) {
            let to = home.copies.to.entry(track).or_default();
            if !to.contains(&key) {
                to.push(key);
            }
        }
    }

    fn remove_guest(&mut self, now: Instant, (key, track): (RoomKey, TrackId)) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(gone) = room.copies.guests.remove(&track) else { return };
        // Unless it comes from elsewhere by now.
        if room.tracks.get(&track) == Some(&gone.rings) {
            room.tracks.remove(&track);
            room.rings.remove(gone.rings);
            self.with_media(key, |media| media.remove_publication(now, track));
        }
        let Some(home) = self.rooms.find(gone.home) else { return };
        if let Some(home) = self.rooms.get_mut(home)
            && let Some(to) = home.copies.to.get_mut(&track)
        {
            to.retain(|to| *to != key);
            home.copies.to.retain(|_, to| !to.is_empty());
        }
        self.release_room(home);
    }

    /// Nothing of other rooms is published in this one any more.
    pub(crate) fn end_guests(&mut self, now: Instant, key: RoomKey) {
        let Some(room) = self.rooms.get(key) else { return };
        let guests: Vec<TrackId> = room.copies.guests.keys().copied().collect();
        guests.into_iter().for_each(|track| self.remove_guest(now, (key, track)));
        self.release_room(key);
    }

    /// Hop 4 of a packet in the other rooms in which its track is published.
    pub(crate) fn distribute_copies(
        &mut self,
        now: Instant,
        origin: &Origin,
        received: &Received,
        datagram: &[u8],
    ) {
        let mut next = 0;
        while let Some(copy) = self.copy((origin.room, origin.track), next) {
            next += 1;
            if let Some(copy) = copy {
                self.distribute(now, &copy, received, datagram);
            }
        }
    }

    /// A sender report, too.
    pub(crate) fn report_to_copies(
        &mut self,
        (room, track): (RoomKey, TrackId),
        layer: u8,
        (ntp, rtp, at): (NtpTime, u32, Instant),
    ) {
        let mut next = 0;
        while let Some(copy) = self.copy((room, track), next) {
            next += 1;
            let Some(copy) = copy else { continue };
            let taken =
                self.with_media(copy.room, |media| media.sender_report(copy.key, layer, ntp, rtp, at));
            if taken == Some(true) {
                self.relay_report(copy.room, track, layer, (ntp, rtp, at));
            }
        }
    }

    /// The publication in another room with this number; `None`: there are no more. Inside `None`: not there yet.
    fn copy(&self, (room, track): (RoomKey, TrackId), number: usize) -> Option<Option<Origin>> {
        let room = *self.rooms.get(room)?.copies.to.get(&track)?.get(number)?;
        let guest = self.rooms.get(room).and_then(|room| room.copies.guests.get(&track));
        Some(guest.map(|guest| Origin { room, track, key: guest.key, rings: guest.rings }))
    }

    /// The publisher is in another room: it is asked together with what is asked there.
    pub(crate) fn request_keyframe_at_home(&mut self, now: Instant, home: RoomId, track: TrackId, layer: u8) {
        if let Some(home) = self.rooms.find(home) {
            self.with_media(home, |media| media.keyframe_wanted_by_relay(now, track, layer));
        }
    }
}
