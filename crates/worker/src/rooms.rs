//! Rooms: the forwarding decision's state, and the payloads it decides about.

use std::collections::{BTreeMap, HashMap};

use base::ring::{PayloadRing, Slot};
use base::{MediaKind, Mid, RoomId, TrackId};

use crate::copies::RoomCopies;
use crate::relay::RoomRelays;
use crate::slots::{PeerKey, RingsKey, RoomKey, Slots};
use crate::timers::Armed;

/// Where a forwarded packet goes: a peer's send section. A recorder will be a sink beside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Sink {
    pub(crate) peer: PeerKey,
    pub(crate) section: rtc::SendIndex,
}

impl sfu::Sink for Sink {
    type Receiver = PeerKey;

    fn receiver(&self) -> PeerKey {
        self.peer
    }
}

/// Where a track comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A connection's section.
    Peer(PeerKey, Mid),
    /// The worker with this index.
    Relay(usize),
    /// Another room on this worker.
    Room(RoomId),
}

/// The payloads of one track, one ring per layer. Subscribers' outboxes and retransmission histories hold slots of them.
pub(crate) struct Rings {
    pub(crate) source: Source,
    layers: Vec<PayloadRing>,
}

impl Rings {
    /// `ids` are those of the rings, one per layer from here on.
    fn new(source: Source, kind: MediaKind, layers: u8, first_id: u32) -> Self {
        let layers = (0..u32::from(layers.max(1)))
            .map(|layer| {
                let (bytes, payloads) = ring_size(kind, layers, layer);
                PayloadRing::with_id(first_id + layer, bytes, payloads)
            })
            .collect();
        Self { source, layers }
    }

    /// Stores what is passed on of a packet: see [`wire::media::Received::stored`]. `None`: it does not fit, or there is
    /// no such layer.
    #[inline]
    pub(crate) fn push(&mut self, layer: u8, (descriptor, payload): (&[u8], &[u8])) -> Option<Slot> {
        self.layers.get_mut(usize::from(layer))?.push_joined(descriptor, payload)
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&[u8]> {
        self.layers.iter().find(|ring| ring.id() == slot.ring())?.get(slot)
    }

    pub(crate) fn memory(&self) -> usize {
        self.layers.iter().map(PayloadRing::memory).sum()
    }
}

/// Bytes and payloads of a layer's ring. A retransmission is worth sending for about a second: audio at up to 128 kbit/s
/// and 100 packets a second, video at up to 8 Mbit/s in its highest layer and a fourth of it in each lower one.
fn ring_size(kind: MediaKind, layers: u8, layer: u32) -> (usize, usize) {
    match kind {
        MediaKind::Audio => (16 << 10, 128),
        MediaKind::Video => {
            let below = u32::from(layers.max(1)) - 1 - layer.min(u32::from(layers.max(1)) - 1);
            let shift = (2 * below).min(3);
            ((1 << 20) >> shift, 1_024 >> shift)
        }
    }
}

/// One room's media on this worker.
pub(crate) struct Room {
    pub(crate) id: RoomId,
    /// `None` after it panicked: nothing is forwarded any more, data and signalling go on.
    pub(crate) media: Option<sfu::Media<Sink>>,
    pub(crate) rings: Slots<RingsKey, Rings>,
    pub(crate) tracks: BTreeMap<TrackId, RingsKey>,
    pub(crate) relays: RoomRelays,
    pub(crate) copies: RoomCopies,
    pub(crate) peers: usize,
    pub(crate) armed: Armed,
    pub(crate) touched: bool,
}

impl Room {
    /// The rings of a track, for a retransmission.
    pub(crate) fn track_rings(&self, track: TrackId) -> Option<&Rings> {
        self.rings.get(*self.tracks.get(&track)?)
    }

    /// Where a track comes from.
    pub(crate) fn source(&self, track: TrackId) -> Option<Source> {
        Some(self.track_rings(track)?.source)
    }

    /// The section of this worker that publishes a track.
    pub(crate) fn publisher(&self, track: TrackId) -> Option<(PeerKey, Mid)> {
        match self.source(track)? {
            Source::Peer(peer, mid) => Some((peer, mid)),
            Source::Relay(_) | Source::Room(_) => None,
        }
    }

    /// Nobody is in it, and nothing crosses.
    fn is_over(&self) -> bool {
        self.peers == 0 && self.relays.is_empty() && self.copies.is_empty()
    }
}

/// All rooms of the worker.
#[derive(Default)]
pub(crate) struct Rooms {
    slots: Slots<RoomKey, Room>,
    ids: HashMap<RoomId, RoomKey>,
    touched: Vec<RoomKey>,
    next_ring: u32,
}

impl Rooms {
    /// The room, made when it is new. One more peer is in it.
    pub(crate) fn enter(&mut self, id: RoomId, media: impl FnOnce() -> sfu::Media<Sink>) -> RoomKey {
        let key = self.hold(id, media);
        if let Some(room) = self.slots.get_mut(key) {
            room.peers += 1;
        }
        key
    }

    /// The room, made when it is new. [`Self::release`] takes it down if nothing came into it.
    pub(crate) fn hold(&mut self, id: RoomId, media: impl FnOnce() -> sfu::Media<Sink>) -> RoomKey {
        *self.ids.entry(id).or_insert_with(|| {
            self.slots.insert(Room {
                id,
                media: Some(media()),
                rings: Slots::default(),
                tracks: BTreeMap::new(),
                relays: RoomRelays::default(),
                copies: RoomCopies::default(),
                peers: 0,
                armed: None,
                touched: false,
            })
        })
    }

    /// One peer less; the last one takes the room with it, unless something crosses.
    pub(crate) fn leave(&mut self, key: RoomKey) -> Option<Room> {
        self.slots.get_mut(key)?.peers -= 1;
        self.release(key)
    }

    /// The room, taken down, if it is over.
    pub(crate) fn release(&mut self, key: RoomKey) -> Option<Room> {
        if !self.slots.get(key)?.is_over() {
            return None;
        }
        let room = self.slots.remove(key)?;
        self.ids.remove(&room.id);
        Some(room)
    }

    pub(crate) fn get(&self, key: RoomKey) -> Option<&Room> {
        self.slots.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: RoomKey) -> Option<&mut Room> {
        self.slots.get_mut(key)
    }

    pub(crate) fn find(&self, id: RoomId) -> Option<RoomKey> {
        self.ids.get(&id).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn keys(&self) -> Vec<RoomKey> {
        self.slots.keys()
    }

    /// Makes a track's rings, in place of any it had.
    pub(crate) fn add_rings(
        &mut self,
        key: RoomKey,
        track: TrackId,
        source: Source,
        kind: MediaKind,
        layers: u8,
    ) -> Option<RingsKey> {
        let room = self.slots.get_mut(key)?;
        if let Some(old) = room.tracks.remove(&track) {
            room.rings.remove(old);
        }
        let rings = Rings::new(source, kind, layers, self.next_ring);
        // 24 bits: ids come again long after every slot of the old ones is gone.
        self.next_ring = (self.next_ring + u32::from(layers.max(1))) & 0x00ff_ffff;
        let rings = room.rings.insert(rings);
        room.tracks.insert(track, rings);
        Some(rings)
    }

    /// The room's events and deadline are to be looked at before the tick ends.
    #[inline]
    pub(crate) fn touch(&mut self, key: RoomKey) {
        if let Some(room) = self.slots.get_mut(key)
            && !room.touched
        {
            room.touched = true;
            self.touched.push(key);
        }
    }

    /// Moves the touched rooms to the empty `into`, keeping both allocations.
    pub(crate) fn take_touched(&mut self, into: &mut Vec<RoomKey>) {
        std::mem::swap(&mut self.touched, into);
    }

    pub(crate) fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings(layers: u8, first_id: u32) -> Rings {
        let peer = Slots::<PeerKey, ()>::default().insert(());
        Rings::new(Source::Peer(peer, Mid::new(b"0").unwrap()), MediaKind::Video, layers, first_id)
    }

    #[test]
    fn a_slot_finds_its_layer_and_nothing_in_another_tracks_rings() {
        let (mut one, mut other) = (rings(3, 0), rings(3, 3));
        let slots: Vec<Slot> =
            (0..3).map(|layer| one.push(layer, (&[], &[layer; 10])).expect("fits")).collect();
        other.push(0, (b"ot", b"her")).expect("fits");
        for (layer, slot) in slots.iter().enumerate() {
            assert_eq!(one.get(*slot), Some(&[layer as u8; 10][..]));
            assert_eq!(other.get(*slot), None);
        }
        assert_eq!(one.push(3, (b"", b"no such layer")), None);
    }

    #[test]
    fn lower_layers_keep_smaller_rings() {
        assert_eq!(ring_size(MediaKind::Video, 1, 0), (1 << 20, 1_024));
        assert_eq!(ring_size(MediaKind::Video, 3, 2), (1 << 20, 1_024));
        assert_eq!(ring_size(MediaKind::Video, 3, 1), (256 << 10, 256));
        assert_eq!(ring_size(MediaKind::Video, 3, 0), (128 << 10, 128));
        assert_eq!(ring_size(MediaKind::Audio, 1, 0), (16 << 10, 128));
    }
}
