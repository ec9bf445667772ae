//! Tracks that go to other workers as they arrive, and tracks that come from them.
//!
//! A relay is no row of a publication's table: it gets no numbering of its own but the packets of the layers that are
//! wanted behind it, unchanged. At its other end the track is a publication like any other, which says what is wanted
//! ([`Event::RelayWanted`]) and hears of layers that do not come ([`Media::hear_state`]). See `docs/relay.md`.

use std::time::Instant;

use base::{Bitrate, CodecKind, TrackId};

use crate::MAX_LAYERS;
use crate::media::{Event, Events, Full, Media, Sink, TrackKey};
use crate::publication::{Publication, PublicationSpec};
use crate::select::{self, Layers};

/// Relays by their number, which is below [`Self::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RelaySet(u64);

impl RelaySet {
    /// One more than the highest number.
    pub const MAX: u8 = 64;

    /// None?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their numbers, lowest first.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let next = (left != 0).then(|| left.trailing_zeros() as u8);
            left &= left.wrapping_sub(1);
            next
        })
    }

    fn set(&mut self, relay: u8, member: bool) {
        let bit = 1u64.checked_shl(u32::from(relay)).unwrap_or(0);
        self.0 = if member { self.0 | bit } else { self.0 & !bit };
    }
}

/// What is sent of a layer that a relay does not get, so that it can be chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LayerState {
    /// Payload bits per second.
    pub bitrate: Bitrate,
    /// Frames per second.
    pub frame_rate: f32,
}

/// What a publication's worker tells others of it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RelayState {
    /// What is sent.
    pub codec: Option<CodecKind>,
    /// By simulcast layer; `None`: dead, or there is none.
    pub layers: [Option<LayerState>; MAX_LAYERS as usize],
}

/// Where a publication goes as it arrives.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    members: RelaySet,
    by_layer: [RelaySet; MAX_LAYERS as usize],
}

impl Relays {
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Who gets a packet of this layer.
    #[inline]
    pub fn of(&self, layer: u8) -> RelaySet {
        self.by_layer.get(usize::from(layer)).copied().unwrap_or_default()
    }

    fn set(&mut self, relay: u8, layers: Option<Layers>) {
        self.members.set(relay, layers.is_some());
        for (layer, relays) in (0u8..).zip(&mut self.by_layer) {
            relays.set(relay, layers.is_some_and(|layers| layers.has(layer)));
        }
    }
}

/// What is to be remembered of a publication that comes from another worker.
#[derive(Debug, Default)]
pub(crate) struct Relayed {
    /// What was last said to be wanted of it.
    wanted: Layers,
    /// How often it was interrupted at the other worker, modulo 256.
    pub(crate) interruptions: u8,
}

/// At the publisher's worker.
impl<S: Sink> Media<S> {
    /// A relay gets these layers of the track from now on, see [`Self::forward`]; with none it still hears of its state.
    /// `None`: it is no relay of it any more. The publication may come later.
    pub fn set_relay(&mut self, track: TrackId, relay: u8, layers: Option<Layers>) {
        let key = if layers.is_some() { self.find_or_add(track).ok() } else { self.key(track) };
        let Some(key) = key else { return };
        self.change(key, |publication, _| publication.relays.set(relay, layers));
        self.forget(track, key);
    }

    /// What the relays of the track are to be told about it.
    pub fn relay_state(&self, now: Instant, track: TrackId) -> RelayState {
        let publication = self.key(track).and_then(|key| self.publication(key));
        publication.map_or_else(RelayState::default, |publication| publication.relay_state(now))
    }

    /// How often the track lost its place among those that are forwarded, modulo 256: to be told with each of its packets
    /// that crosses, see [`Self::hear_interruptions`].
    pub fn interruptions(&self, key: TrackKey) -> u8 {
        self.publication(key).map_or(0, |publication| publication.gate.interruptions())
    }

    /// Behind a relay a keyframe of this layer is needed, or one may have been lost on the way there. Merged with what
    /// others ask.
    pub fn keyframe_wanted_by_relay(&mut self, now: Instant, track: TrackId, layer: u8) {
        if let Some(key) = self.key(track) {
            self.change(key, |publication, events| publication.ask(now, layer, events));
        }
    }
}

/// At the other workers.
impl<S: Sink> Media<S> {
    /// A track comes from another worker, or what is known of it changed. Its publisher's voice is not told: the other
    /// worker does that.
    pub fn set_relayed(
        &mut self,
        now: Instant,
        track: TrackId,
        spec: PublicationSpec,
    ) -> Result<TrackKey, Full> {
        let key = self.find_or_add(track)?;
        self.change(key, |publication, events| {
            publication.relayed.get_or_insert_default();
            publication.set_spec(now, Some(spec), events);
        });
        self.set_voice(now, key);
        Ok(key)
    }

    /// The other worker tells about a relayed track. Of another track nothing is believed.
    pub fn hear_state(&mut self, now: Instant, track: TrackId, state: &RelayState) {
        if let Some(key) = self.key(track) {
            self.change(key, |publication, events| publication.hear_state(now, state, events));
        }
    }

    /// So often, modulo 256, the next packet's track was interrupted at the other worker. What is missing between was
    /// withheld there, and is no gap to receivers.
    pub fn hear_interruptions(&mut self, key: TrackKey, count: u8) {
        // Said with each packet, and seldom new.
        let told = self.publication(key).and_then(|publication| publication.relayed.as_ref());
        if told.is_some_and(|relayed| relayed.interruptions != count) {
            self.change(key, |publication, _| publication.hear_interruptions(count));
        }
    }

    /// What is to come of a relayed track, as it was last told by [`Event::RelayWanted`].
    pub fn relay_wanted(&self, track: TrackId) -> Layers {
        let publication = self.key(track).and_then(|key| self.publication(key));
        let relayed = publication.and_then(|publication| publication.relayed.as_ref());
        relayed.map_or_else(Layers::default, |relayed| relayed.wanted)
    }
}

impl<S: Sink> Publication<S> {
    fn relay_state(&self, now: Instant) -> RelayState {
        let mut state = RelayState { codec: self.codec, ..RelayState::default() };
        for (index, layer) in (0u8..).zip(&self.layers).take(usize::from(self.count())) {
            state.layers[usize::from(index)] = self.alive.has(index).then(|| LayerState {
                bitrate: layer.meter.bitrate(now),
                frame_rate: layer.meter.frame_rate(now),
            });
        }
        state
    }

    /// What is alive or the codec changed: relays are to hear of it.
    pub(crate) fn tell_relays(&self, events: &mut Events<S>) {
        if !self.relays.is_empty() {
            events.push_back(Event::RelayState { track: self.track });
        }
    }

    fn hear_state(&mut self, now: Instant, state: &RelayState, events: &mut Events<S>) {
        if self.relayed.is_none() {
            return;
        }
        let mut alive = Layers::default();
        let count = usize::from(self.count());
        for (layer, told) in self.layers.iter_mut().zip(state.layers).take(count) {
            layer.hear(now, told);
            if told.is_some() {
                alive = alive.with(layer.stream.layer);
            }
        }
        let codec = state.codec.filter(|_| self.is_video()).or(self.codec);
        if alive != self.alive || codec != self.codec {
            (self.alive, self.codec) = (alive, codec);
            self.select_all();
            self.ask_for_all(now, events);
        }
    }

    /// Tells which layers are wanted of a relayed track, when that has changed.
    pub(crate) fn note_wanted(&mut self, events: &mut Events<S>) {
        if self.relayed.is_none() {
            return;
        }
        let layers = self.wanted_layers();
        if let Some(relayed) = self.relayed.as_mut().filter(|relayed| relayed.wanted != layers) {
            relayed.wanted = layers;
            events.push_back(Event::RelayWanted { track: self.track, layers });
        }
    }

    /// What receivers are sent or wait for. While nothing is known to be alive it may be any layer: its first keyframe is
    /// not to be missed.
    fn wanted_layers(&self) -> Layers {
        let count = self.count();
        let all = (0..count).fold(Layers::default(), Layers::with);
        let unknown = self.alive == Layers::default();
        let mut wanted = Layers::default();
        for row in &self.rows {
            if unknown && select::wanted(&row.settings, count, &[]).is_some() {
                return all;
            }
            let Some(target) = row.target else { continue };
            wanted = wanted.with(target);
            if let Some(current) = row.current() {
                wanted = wanted.with(current);
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_gets_the_layers_it_wants_and_no_others() {
        let mut relays = Relays::default();
        let layers = |list: &[u8]| list.iter().fold(Layers::default(), |all, layer| all.with(*layer));
        relays.set(0, Some(layers(&[0, 2])));
        relays.set(63, Some(layers(&[2])));
        relays.set(5, Some(layers(&[])));
        let of = |relays: &Relays, layer| relays.of(layer).iter().collect::<Vec<_>>();
        assert_eq!([0, 1, 2, 200].map(|layer| of(&relays, layer)), [vec![0], vec![], vec![0, 63], vec![]]);
        relays.set(63, None);
        assert_eq!(of(&relays, 2), [0]);
        relays.set(0, None);
        assert!(!relays.is_empty(), "5 still hears of it");
        relays.set(5, None);
        assert!(relays.is_empty());
    }
}
