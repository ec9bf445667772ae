//! The media of a room: the table of publications, and what is common to them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use base::model::{Speaker, TrackSettings};
use base::ring::Slot;
use base::{Bitrate, Codec, NtpTime, ParticipantId, TrackId};
use wire::media::{Decision, Received};

use crate::MAX_PUBLICATIONS;
use crate::allocator::Allocator;
use crate::audio::Audio;
use crate::clock::Clock;
use crate::publication::{Publication, PublicationSpec};
use crate::relay::RelaySet;
use crate::rewriter::Start;
use crate::segment::Shift;
use crate::select::Layers;
use crate::snapshot::Snapshot;
use crate::subscription::Subscription;

/// A receiving stream: of a peer, a relay or a recorder. All streams of one receiver share what its connection carries.
pub trait Sink: Copy + Ord {
    /// What stands for the connection.
    type Receiver: Copy + Ord + std::fmt::Debug;

    /// Over which connection it receives.
    fn receiver(&self) -> Self::Receiver;
}

/// What a room's media has to say to the worker.
#[derive(Clone, PartialEq, Debug)]
pub enum Event<S: Sink> {
    /// Ask the publisher for a keyframe of this layer. Already merged: at most one in 500 ms for each layer.
    RequestKeyframe {
        /// The track.
        track: TrackId,
        /// The simulcast layer.
        layer: u8,
    },
    /// The publisher's clock in the timestamps that this sink receives: what its sender reports are to be made of.
    Clock {
        /// The receiver.
        sink: S,
        /// Its clock from now on.
        clock: Clock,
    },
    /// Who speaks: changes only, the loudest first, and those who stopped with `active: false`. Nobody is told as loud as
    /// the dominant speaker. At most every 500 ms.
    Speakers(Vec<Speaker>),
    /// A video stream is paused because the receiver's connection does not carry it, or goes on. Changes only; a stream
    /// begins as active.
    StreamState {
        /// The track.
        track: TrackId,
        /// Whose stream of it.
        sink: S,
        /// It goes on.
        active: bool,
    },
    /// What would be sent to a receiver if its path carried it: all its streams, audio and what is reserved for
    /// retransmission, in the bits that the estimate counts. Changes worth telling only.
    Wanted {
        /// The connection.
        receiver: S::Receiver,
        /// Bits per second.
        bitrate: Bitrate,
    },
    /// Which layers of a relayed track are to come from the other worker: all that receivers are sent or wait for.
    RelayWanted {
        /// The track.
        track: TrackId,
        /// The layers.
        layers: Layers,
    },
    /// What [`Media::relay_state`] tells of a track with relays has changed.
    RelayState {
        /// The track.
        track: TrackId,
    },
    /// The highest layer that any receiver of the track asks for: simulcast layer or, where there is only one, spatial layer
    /// within it. Of what receivers ask, not of what their connections carry. Up at once, down after a while; changes
    /// only.
    WantedLayer {
        /// The track.
        track: TrackId,
        /// `None`: nobody wants any.
        highest: Option<u8>,
    },
}

pub(crate) type Events<S> = VecDeque<Event<S>>;

/// A bound of this crate is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the room has as many publications or subscriptions on this worker as it may have")
    }
}

impl std::error::Error for Full {}

/// Finds a publication without searching. Goes stale, never wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TrackKey {
    index: u32,
    generation: u32,
}

pub(crate) struct Entry<S> {
    generation: u32,
    pub publication: Option<Publication<S>>,
}

/// Ticks a second of a stream whose codec is not known.
const VIDEO_RATE: u32 = 90_000;

/// One room's media on one worker. A sink receives one track.
pub struct Media<S: Sink> {
    entries: Vec<Entry<S>>,
    free: Vec<u32>,
    index: BTreeMap<TrackId, u32>,
    audio: Audio,
    allocator: Allocator<S>,
    events: Events<S>,
    /// When a publication has something to do: a keyframe request, or to tell that less is wanted.
    publications_at: Option<Instant>,
    random: u64,
    /// The timestamp with which each sink began, and when; until its receiver goes.
    began: BTreeMap<S, (u32, Instant)>,
}

impl<S: Sink> Media<S> {
    /// `seed` decides with which timestamps and picture ids subscriptions begin.
    pub fn new(seed: u64) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            index: BTreeMap::new(),
            audio: Audio::default(),
            allocator: Allocator::default(),
            events: VecDeque::new(),
            publications_at: None,
            random: seed,
            began: BTreeMap::new(),
        }
    }

    /// A track is published, or what is known of it changed.
    pub fn set_publication(
        &mut self,
        now: Instant,
        track: TrackId,
        spec: PublicationSpec,
    ) -> Result<TrackKey, Full> {
        let key = self.find_or_add(track)?;
        self.change(key, |publication, events| {
            publication.relayed = None;
            publication.set_spec(now, Some(spec), events);
        });
        self.set_voice(now, key);
        Ok(key)
    }

    /// The track is published no more. Subscriptions stay until they are removed: should the track come back, their
    /// numbering goes on.
    pub fn remove_publication(&mut self, now: Instant, track: TrackId) {
        let Some(key) = self.key(track) else { return };
        self.change(key, |publication, events| {
            publication.relayed = None;
            publication.set_spec(now, None, events);
            publication.set_muted(now, false, events);
        });
        self.audio.remove(now, key.index);
        self.forget(track, key);
    }

    /// The key of a published or subscribed track.
    pub fn key(&self, track: TrackId) -> Option<TrackKey> {
        let index = *self.index.get(&track)?;
        Some(TrackKey { index, generation: self.entries.get(index as usize)?.generation })
    }

    /// A muted track is not forwarded, and its publisher does not speak. May be said before the track is published; at the
    /// bound of [`MAX_PUBLICATIONS`] an unknown track is not remembered.
    pub fn set_muted(&mut self, now: Instant, track: TrackId, muted: bool) {
        let key = if muted { self.find_or_add(track).ok() } else { self.key(track) };
        let Some(key) = key else { return };
        let changed = self.change(key, |publication, events| {
            let before = publication.muted;
            publication.set_muted(now, muted, events);
            before != muted
        });
        if changed == Some(true) {
            self.audio.silence(now, key.index);
        }
        self.forget(track, key);
    }

    /// `sink` receives the track from now on, with its next keyframe; the publication may come later. It accepts `codecs`.
    ///
    /// Its output begins with `first_sequence`. This must be above every number that was ever sent under the sink's SSRC,
    /// because SRTP must not protect an index twice (RFC 3711 section 9.1); a fresh SSRC best begins below 2^15, far from
    /// the first wrap. Said again for the same sink, the numbering goes on.
    pub fn set_subscription(
        &mut self,
        now: Instant,
        track: TrackId,
        sink: S,
        codecs: &[Codec],
        first_sequence: u64,
    ) -> Result<(), Full> {
        self.set_subscription_as(now, track, sink, codecs, first_sequence, &TrackSettings::default())
    }

    /// As [`Self::set_subscription`], for a receiver that has said what it wants: a new subscription never asks its publisher
    /// for more. One that is known keeps its settings.
    pub fn set_subscription_as(
        &mut self,
        now: Instant,
        track: TrackId,
        sink: S,
        codecs: &[Codec],
        first_sequence: u64,
        settings: &TrackSettings,
    ) -> Result<(), Full> {
        let rate = codecs.first().map_or(VIDEO_RATE, |codec| codec.kind.clock_rate());
        let start = self.start(now, sink, first_sequence, rate);
        let key = self.find_or_add(track)?;
        let mut subscription = Subscription::new(sink, codecs, start);
        subscription.settings = *settings;
        subscription.cap = self.allocator.first_cap(sink.receiver());
        let outcome =
            self.change(key, |publication, events| publication.set_subscription(now, subscription, events));
        outcome.unwrap_or(Err(Full))?;
        self.allocator.subscribe(now, key, sink);
        Ok(())
    }

    /// The sink receives the track no more.
    pub fn remove_subscription(&mut self, now: Instant, track: TrackId, sink: S) {
        if let Some(key) = self.key(track) {
            self.change(key, |publication, events| publication.remove_subscription(now, sink, events));
            self.allocator.unsubscribe(now, key, sink);
            self.forget(track, key);
        }
    }

    /// What the sink's receiver wants of the track. False when it is not subscribed.
    pub fn set_settings(&mut self, now: Instant, track: TrackId, sink: S, settings: &TrackSettings) -> bool {
        let Some(key) = self.key(track) else { return false };
        self.allocator.settle(now, sink.receiver());
        self.change(key, |publication, events| publication.set_settings(now, sink, settings, events))
            .unwrap_or(false)
    }

    /// What the receiver's connection carries, all RTP together: RTP packets with their SRTP tags, not IP and UDP. `None`,
    /// which holds until it is said otherwise: not known, and no limit.
    ///
    /// What follows is done by [`Self::handle_timeout`], which is then due: see `docs/allocation.md`.
    pub fn set_estimate(&mut self, now: Instant, receiver: S::Receiver, estimate: Option<Bitrate>) {
        self.allocator.set_estimate(now, receiver, estimate);
    }

    /// So many microphones are forwarded where more are open, at most [`crate::MAX_LOUDEST`]; 0: all. The default is
    /// [`crate::LOUDEST`].
    pub fn set_loudest(&mut self, now: Instant, places: usize) {
        self.audio.set_places(now, places);
    }

    /// Who has the floor: the dominant speaker, also while nobody speaks.
    pub fn dominant(&self) -> Option<ParticipantId> {
        self.audio.dominant()
    }

    /// When the participant spoke last, to within a third of a second; `None`: not since it publishes.
    pub fn spoke(&self, participant: ParticipantId) -> Option<Instant> {
        self.audio.spoke(participant)
    }

    /// The receiver is gone: its estimate is forgotten, its subscriptions are removed by their own calls.
    pub fn remove_receiver(&mut self, receiver: S::Receiver) {
        self.allocator.remove_receiver(receiver);
        self.began.retain(|sink, _| sink.receiver() != receiver);
    }

    /// A received packet of the publication: appends to `out` who gets it, in the order of their sinks. `stored` is what
    /// `slot` names, see [`Received::stored`]: dependency descriptor and payload. A stale key, and what is hostile or
    /// broken, decides nothing. Returns the relays that get it as it is.
    #[inline]
    pub fn forward(
        &mut self,
        now: Instant,
        key: TrackKey,
        received: &Received,
        stored: (&[u8], &[u8]),
        slot: Slot,
        out: &mut Vec<Decision<S>>,
    ) -> RelaySet {
        let Some(publication) = find(&mut self.entries, key) else { return RelaySet::default() };
        let forwarding = publication.forward(
            now,
            received,
            stored,
            slot,
            out,
            (&mut self.audio, key.index),
            &mut self.events,
        );
        if forwarding.asked {
            self.publications_at = earliest(self.publications_at, publication.poll_timeout());
        }
        if forwarding.reviewed && self.allocator.is_needed() {
            self.allocator.arrive(now);
            if std::mem::take(&mut publication.stirred) {
                self.allocator.stir(key);
            }
        }
        forwarding.relays
    }

    /// A sender report of the publisher for one layer, which arrived at `at`. False when it is ignored, because it follows the
    /// last too closely or there is no such layer: relays are not to hear of it either.
    pub fn sender_report(&mut self, key: TrackKey, layer: u8, ntp: NtpTime, rtp: u32, at: Instant) -> bool {
        let taken = self.change(key, |publication, events| {
            publication.sender_report(layer, Clock { ntp, rtp, at }, events)
        });
        taken.unwrap_or(false)
    }

    /// A receiver asked for a keyframe (PLI, FIR), or what it lost cannot be sent again.
    pub fn keyframe_wanted(&mut self, now: Instant, track: TrackId, sink: S) {
        if let Some(key) = self.key(track) {
            self.change(key, |publication, events| publication.keyframe_wanted(now, sink, events));
        }
    }

    /// Of what was decided for the sink lately, frames will not reach it: it gets nothing more until the next keyframe, which
    /// is asked for.
    pub fn interrupt(&mut self, now: Instant, track: TrackId, sink: S) {
        if let Some(key) = self.key(track) {
            self.change(key, |publication, events| publication.interrupt(now, sink, events));
        }
    }

    /// When to call [`Self::handle_timeout`]; `None` while nothing is to be done.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = [self.publications_at, self.audio.poll_timeout(), self.allocator.poll_timeout()];
        timeouts.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.publications_at.is_some_and(|at| at <= now) {
            self.handle_publications(now);
        }
        let speakers = self.audio.handle_timeout(now);
        if !speakers.is_empty() {
            self.events.push_back(Event::Speakers(speakers));
        }
        if self.allocator.is_due(now) {
            self.allocator.handle_timeout(now, &mut self.entries, &self.audio, &mut self.events);
            self.find_deadline();
        }
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event<S>> {
        self.events.pop_front()
    }

    /// True when nothing is published, subscribed or muted: the room may be dropped.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// All of its state that helps to understand what it does, by track.
    pub fn snapshot(&self, now: Instant) -> Snapshot<S> {
        let publication = |index: &u32| self.entries[*index as usize].publication.as_ref();
        let publications = self.index.values().filter_map(publication);
        let publications = publications.map(|publication| publication.snapshot(now)).collect();
        Snapshot { publications, receivers: self.allocator.snapshot() }
    }

    pub(crate) fn find_or_add(&mut self, track: TrackId) -> Result<TrackKey, Full> {
        if let Some(key) = self.key(track) {
            return Ok(key);
        }
        if self.index.len() >= MAX_PUBLICATIONS {
            return Err(Full);
        }
        let publication = Some(Publication::new(track));
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize].publication = publication;
                index
            }
            None => {
                self.entries.push(Entry { generation: 0, publication });
                (self.entries.len() - 1) as u32
            }
        };
        self.index.insert(track, index);
        Ok(TrackKey { index, generation: self.entries[index as usize].generation })
    }

    pub(crate) fn publication(&self, key: TrackKey) -> Option<&Publication<S>> {
        let entry = self.entries.get(key.index as usize)?;
        entry.publication.as_ref().filter(|_| entry.generation == key.generation)
    }

    /// Changes a publication, and keeps its next deadline in mind.
    pub(crate) fn change<R>(
        &mut self,
        key: TrackKey,
        change: impl FnOnce(&mut Publication<S>, &mut Events<S>) -> R,
    ) -> Option<R> {
        let publication = find(&mut self.entries, key)?;
        let before = publication.poll_timeout();
        let result = change(publication, &mut self.events);
        publication.note_wanted(&mut self.events);
        if std::mem::take(&mut publication.stirred) {
            self.allocator.stir(key);
        }
        let after = publication.poll_timeout();
        if before.is_some() && before != after && before == self.publications_at {
            self.find_deadline();
        } else {
            self.publications_at = earliest(self.publications_at, after);
        }
        Some(result)
    }

    /// Drops the publication if it is of no more use.
    pub(crate) fn forget(&mut self, track: TrackId, key: TrackKey) {
        if find(&mut self.entries, key).is_some_and(|publication| publication.is_forgotten()) {
            let entry = &mut self.entries[key.index as usize];
            entry.publication = None;
            entry.generation = entry.generation.wrapping_add(1);
            self.index.remove(&track);
            self.free.push(key.index);
        }
    }

    fn handle_publications(&mut self, now: Instant) {
        for publication in self.entries.iter_mut().filter_map(|entry| entry.publication.as_mut()) {
            publication.handle_timeout(now, &mut self.events);
        }
        self.find_deadline();
    }

    fn find_deadline(&mut self) {
        let publications = self.entries.iter().filter_map(|entry| entry.publication.as_ref());
        self.publications_at = publications.filter_map(Publication::poll_timeout).min();
    }

    /// What is published under the key may have a voice.
    pub(crate) fn set_voice(&mut self, now: Instant, key: TrackKey) {
        let Some(publication) = find(&mut self.entries, key) else { return };
        if let Some(spec) = &publication.spec {
            let relayed = publication.relayed.is_some();
            self.audio.set(now, key.index, publication.track, spec, relayed);
        }
    }

    /// The timestamps of a sink begin at random and go on with time: whoever takes over its stream begins behind what was sent
    /// there. Browsers take what does not for a rest of before, and drop it.
    fn start(&mut self, now: Instant, sink: S, sequence: u64, rate: u32) -> Start {
        let (a, b) = (self.draw(), self.draw());
        let (base, began) = *self.began.entry(sink).or_insert((a as u32, now));
        let ticks = now.saturating_duration_since(began).as_micros() * u128::from(rate) / 1_000_000;
        let indices = Shift {
            picture_id: b as u16,
            tl0: (b >> 16) as u8,
            key_idx: (b >> 24) as u8,
            frame: (b >> 32) as u16,
        };
        // Truncation is the modulo arithmetic of RTP timestamps.
        Start { sequence, timestamp: base.wrapping_add(ticks as u32), indices }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): enough to spread beginnings, not a secret.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

pub(crate) fn find<S>(entries: &mut [Entry<S>], key: TrackKey) -> Option<&mut Publication<S>> {
    let entry = entries.get_mut(key.index as usize).filter(|entry| entry.generation == key.generation)?;
    entry.publication.as_mut()
}

pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    struct Nobody;

    impl Sink for Nobody {
        type Receiver = Nobody;

        fn receiver(&self) -> Nobody {
            Nobody
        }
    }

    #[test]
    fn whoever_takes_over_a_receivers_stream_begins_behind_what_was_sent_there() {
        let now = Instant::now();
        for seed in 0..50 {
            let mut media: Media<Nobody> = Media::new(seed);
            let first = media.start(now, Nobody, 1, 90_000).timestamp;
            for seconds in [1, 60, 3_600] {
                let later = media.start(now + Duration::from_secs(seconds), Nobody, 1, 90_000).timestamp;
                assert_eq!(u64::from(later.wrapping_sub(first)), seconds * 90_000);
            }
        }
    }
}
