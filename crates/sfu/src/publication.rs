//! One published track: what arrives on its layers, and the table of those who receive it.

use std::time::{Duration, Instant};

use base::model::{TrackSettings, TrackSource};
use base::ring::Slot;
use base::{CodecKind, MediaKind, ParticipantId, TrackId};
use wire::media::{Decision, Received};

use crate::allocator::{Cap, Demand, Rungs};
use crate::audio::{Audio, Gate};
use crate::clock::Clock;
use crate::drops::{Dropped, Drops};
use crate::layer::{Arrival, Layer};
use crate::media::{Event, Events, Full, Sink};
use crate::packet::{Content, Packet};
use crate::rates::Place;
use crate::relay::{RelaySet, Relayed, Relays};
use crate::select::{self, Layers};
use crate::selector::Wanted;
use crate::snapshot::{LayerSnapshot, PublicationSnapshot, SubscriptionSnapshot};
use crate::sublayers::Change;
use crate::subscription::Subscription;
use crate::{MAX_LAYERS, MAX_SUBSCRIPTIONS};

/// How often it is looked at which layers are alive, while packets arrive. An idle publication costs nothing.
const REVIEW: Duration = Duration::from_millis(200);

/// What is to be known of a track to forward it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicationSpec {
    /// Who publishes it: whose voice its audio levels are.
    pub participant: ParticipantId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Simulcast layers, 1..=[`MAX_LAYERS`]; what lies outside is brought inside.
    pub layers: u8,
    /// Width and height of each layer in pixels, as announced, lowest first. Unless there is one for each layer, receivers
    /// are served by the quality they ask for.
    pub sizes: Vec<(u32, u32)>,
    /// Where it comes from, as its publisher says: a shared screen comes before a camera.
    pub source: TrackSource,
}

/// What the room has to know of a forwarded packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Forwarding {
    /// A keyframe may have been asked for.
    pub asked: bool,
    /// Who gets it as it is.
    pub relays: RelaySet,
    /// It was looked at what is alive, and rates may have changed.
    pub reviewed: bool,
}

/// What a look at the publication found.
#[derive(Clone, Copy, Debug, Default)]
struct Review {
    /// Somebody may wait for a keyframe by it.
    changed: bool,
    /// There was one.
    reviewed: bool,
}

pub(crate) struct Publication<S> {
    pub track: TrackId,
    /// `None` while there are only subscriptions, waiting for it.
    pub spec: Option<PublicationSpec>,
    pub muted: bool,
    /// Others are louder, and it is not forwarded.
    pub gate: Gate,
    /// To which workers it goes as it arrives.
    pub relays: Relays,
    /// It comes from another worker.
    pub relayed: Option<Relayed>,
    /// What receivers ask for.
    pub demand: Demand,
    /// What there is to allocate.
    pub rungs: Rungs,
    /// What there is to allocate has changed.
    pub stirred: bool,
    drops: Drops,
    /// Never shrinks, so that an epoch is never used twice; those beyond the announced number are not used.
    pub layers: Vec<Layer>,
    pub alive: Layers,
    review_at: Option<Instant>,
    pub codec: Option<CodecKind>,
    /// By sink.
    pub rows: Vec<Subscription<S>>,
}

impl<S: Sink> Publication<S> {
    pub fn new(track: TrackId) -> Self {
        Self {
            track,
            spec: None,
            muted: false,
            gate: Gate::default(),
            relays: Relays::default(),
            relayed: None,
            demand: Demand::default(),
            rungs: Rungs::default(),
            stirred: false,
            drops: Drops::default(),
            layers: Vec::new(),
            alive: Layers::default(),
            review_at: None,
            codec: None,
            rows: Vec::new(),
        }
    }

    /// It is of no more use.
    pub fn is_forgotten(&self) -> bool {
        self.spec.is_none() && self.rows.is_empty() && !self.muted && self.relays.is_empty()
    }

    /// `None` ends the publication; its subscriptions stay, with their numbering, for its return.
    pub fn set_spec(&mut self, now: Instant, spec: Option<PublicationSpec>, events: &mut Events<S>) {
        let before = self.count();
        self.spec = spec;
        let count = self.count();
        if count != before {
            self.alive = Layers::default();
            self.codec = None;
            self.layers.iter_mut().for_each(Layer::restart);
            (self.layers.len() as u8..count).for_each(|layer| self.layers.push(Layer::new(layer)));
        }
        self.select_all();
        self.ask_for_all(now, events);
        self.note_demand(now, u8::MAX, events);
    }

    pub fn set_muted(&mut self, now: Instant, muted: bool, events: &mut Events<S>) {
        self.stirred |= muted != self.muted;
        self.muted = muted;
        if muted {
            self.rows.iter_mut().for_each(Subscription::pause);
            self.layers.iter_mut().for_each(|layer| layer.keyframes.served());
        }
        self.ask_for_all(now, events);
    }

    /// A new receiver, or an old one's new codecs. The numbering of an old one goes on.
    pub fn set_subscription(
        &mut self,
        now: Instant,
        subscription: Subscription<S>,
        events: &mut Events<S>,
    ) -> Result<(), Full> {
        match self.find(subscription.sink) {
            Ok(row) => {
                self.rows[row].set_codecs(&subscription);
                self.ask_for(now, row, events);
            }
            Err(_) if self.rows.len() >= MAX_SUBSCRIPTIONS => return Err(Full),
            Err(row) => {
                self.rows.insert(row, subscription);
                self.rows[row].asked = Some(now);
                self.select(row);
                self.ask_for(now, row, events);
                self.note_demand_of(now, row, None, events);
            }
        }
        Ok(())
    }

    pub fn remove_subscription(&mut self, now: Instant, sink: S, events: &mut Events<S>) {
        if let Ok(row) = self.find(sink) {
            self.rows.remove(row);
            self.note_demand(now, u8::MAX, events);
        }
    }

    /// False when there is no such subscription.
    pub fn set_settings(
        &mut self,
        now: Instant,
        sink: S,
        settings: &TrackSettings,
        events: &mut Events<S>,
    ) -> bool {
        let Ok(row) = self.find(sink) else { return false };
        let before = self.asked(&self.rows[row].settings);
        (self.rows[row].settings, self.rows[row].asked) = (*settings, Some(now));
        self.select(row);
        self.ask_for(now, row, events);
        self.note_demand_of(now, row, before, events);
        true
    }

    pub fn keyframe_wanted(&mut self, now: Instant, sink: S, events: &mut Events<S>) {
        let Ok(row) = self.find(sink) else { return };
        let row = &self.rows[row];
        if let Some(layer) = if row.hasty { row.target } else { row.current() } {
            self.ask(now, layer, events);
        }
    }

    /// What was decided for the sink lately will not reach it: it begins anew, with the next keyframe.
    pub fn interrupt(&mut self, now: Instant, sink: S, events: &mut Events<S>) {
        let Ok(row) = self.find(sink) else { return };
        self.rows[row].pause();
        self.ask_for(now, row, events);
    }

    /// False when it is ignored.
    pub fn sender_report(&mut self, layer: u8, clock: Clock, events: &mut Events<S>) -> bool {
        let Some(layer) = self.layers.get_mut(usize::from(layer)) else { return false };
        if !layer.set_clock(clock) {
            return false;
        }
        for row in &mut self.rows {
            if let Some(clock) = row.set_clock(layer.stream, clock) {
                events.push_back(Event::Clock { sink: row.sink, clock });
            }
        }
        true
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let keyframes = self.layers.iter().filter_map(|layer| layer.keyframes.poll_timeout());
        keyframes.chain(self.demand.poll_timeout()).min()
    }

    pub fn handle_timeout(&mut self, now: Instant, events: &mut Events<S>) {
        self.settle_demand(now, events);
        let active = self.is_active();
        for index in 0..self.layers.len() {
            let mut keyframes = std::mem::take(&mut self.layers[index].keyframes);
            let layer = &self.layers[index];
            let waited_for = || self.rows.iter().any(|row| row.waits_for(layer, self.codec));
            if keyframes.handle_timeout(now, || active && waited_for()) {
                let layer = layer.stream.layer;
                events.push_back(Event::RequestKeyframe { track: self.track, layer });
            }
            self.layers[index].keyframes = keyframes;
        }
    }

    /// Announced layers.
    pub fn count(&self) -> u8 {
        self.spec.as_ref().map_or(0, |spec| spec.layers.clamp(1, MAX_LAYERS))
    }

    /// Is anything forwarded that arrives?
    pub fn is_active(&self) -> bool {
        self.spec.is_some() && !self.muted
    }

    pub fn is_video(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.kind == MediaKind::Video)
    }

    pub fn find(&self, sink: S) -> Result<usize, usize> {
        self.rows.binary_search_by(|row| row.sink.cmp(&sink))
    }

    pub fn select_all(&mut self) {
        self.stirred = true;
        (0..self.rows.len()).for_each(|row| self.select(row));
    }

    pub fn select(&mut self, row: usize) {
        let (count, row) = (self.count(), &mut self.rows[row]);
        let (alone, cap) = (count == 1, row.cap);
        let sizes = self.spec.as_ref().map_or(&[][..], |spec| &spec.sizes);
        row.target = select::wanted(&row.settings, count, sizes)
            .and_then(|layer| select::best(layer, self.alive, count))
            .and_then(|layer| cap.layer(layer, self.alive, alone));
        match row.target.and_then(|layer| self.layers.get(usize::from(layer))) {
            Some(layer) => {
                let wanted = Wanted { hasty: row.hasty, ..layer.wanted(&row.settings, alone) };
                row.wanted = cap.within(layer.stream.layer, alone, wanted);
            }
            None => row.pause(),
        }
    }

    pub fn ask_for_all(&mut self, now: Instant, events: &mut Events<S>) {
        (0..self.rows.len()).for_each(|row| self.ask_for(now, row, events));
    }

    /// Asks for the keyframe without which the row cannot begin.
    pub fn ask_for(&mut self, now: Instant, row: usize, events: &mut Events<S>) {
        let row = &self.rows[row];
        let Some(layer) = row.target.and_then(|layer| self.layers.get(usize::from(layer))) else { return };
        if row.waits_for(layer, self.codec) {
            self.ask(now, layer.stream.layer, events);
        }
    }

    /// Nobody is asked for a keyframe of audio, which begins anywhere, or while nothing is forwarded.
    pub fn ask(&mut self, now: Instant, layer: u8, events: &mut Events<S>) {
        let sensible = self.is_active() && self.is_video();
        let Some(layer) = self.layers.get_mut(usize::from(layer)).filter(|_| sensible) else { return };
        if layer.keyframes.ask(now) {
            events.push_back(Event::RequestKeyframe { track: self.track, layer: layer.stream.layer });
        }
    }
}

/// The data path.
impl<S: Sink> Publication<S> {
    /// Appends to `out` who receives the packet, and how.
    #[expect(clippy::too_many_arguments, reason = "the data path passes plain values")]
    pub fn forward(
        &mut self,
        now: Instant,
        received: &Received,
        stored: (&[u8], &[u8]),
        slot: Slot,
        out: &mut Vec<Decision<S>>,
        (audio, index): (&mut Audio, u32),
        events: &mut Events<S>,
    ) -> Forwarding {
        let (packet, Review { changed, reviewed }) = match self.receive(now, received, stored, events) {
            Ok(packet) => packet,
            Err(reason) => {
                self.drops.count(reason);
                return Forwarding {
                    asked: self.ask_if_lost(now, received.layer, events),
                    ..Forwarding::default()
                };
            }
        };
        if received.media == MediaKind::Audio && !self.passes(now, &packet, audio, index) {
            self.drops.count(Dropped::Withheld);
            return Forwarding { asked: changed, reviewed, ..Forwarding::default() };
        }
        let within = &self.layers[usize::from(received.layer)].within;
        let begins = packet.begins();
        for row in &mut self.rows {
            let Some(forwarded) = row.forward(&packet, within) else { continue };
            if let Some(clock) = forwarded.clock {
                events.push_back(Event::Clock { sink: row.sink, clock });
            }
            out.push(Decision { sink: row.sink, slot, begins, rewrite: forwarded.rewrite });
        }
        if packet.begins() {
            self.layers[usize::from(received.layer)].keyframes.served();
        }
        if changed {
            self.ask_for_all(now, events);
            self.tell_relays(events);
        }
        // A receiver that waited may have begun.
        if changed || packet.begins() {
            self.note_wanted(events);
        }
        Forwarding { asked: changed, relays: self.relays.of(received.layer), reviewed }
    }

    /// What there is to be known of the packet, and what follows from its coming.
    fn receive<'a>(
        &mut self,
        now: Instant,
        received: &'a Received,
        (descriptor, payload): (&[u8], &[u8]),
        events: &mut Events<S>,
    ) -> Result<(Packet<'a>, Review), Dropped> {
        if !self.is_active() {
            return Err(Dropped::Unwanted);
        }
        let mut content = Content::read(received.codec, payload).ok_or(Dropped::Malformed)?;
        let count = self.count();
        let layer = self.layers.get_mut(usize::from(received.layer)).filter(|_| received.layer < count);
        let layer = layer.ok_or(Dropped::UnknownLayer)?;
        let arrival = layer.receive(received, payload.len())?;
        let newest = arrival != Arrival::Late;
        let within = layer.within.read(received, descriptor, &mut content, newest)?;
        if within == Change::Restart {
            layer.begin_anew();
        }
        if !content.empty {
            let (spatial, temporal) = content.layering.layers();
            let place = Place { spatial, temporal, key: content.start, timestamp: received.timestamp };
            layer.rates.count(now, place, descriptor.len() + payload.len());
        }
        let (stream, clock) = (layer.stream, layer.clock());
        let mut review = Review::default();
        if newest && !content.empty {
            review = self.review(now, received, within != Change::Nothing, events);
        }
        review.changed |= arrival == Arrival::Restart || within == Change::Restart;
        Ok((Packet { received, content, stream, clock, newest }, review))
    }

    /// Asks for a keyframe when packets of the layer cannot be read any more. True when it did.
    fn ask_if_lost(&mut self, now: Instant, layer: u8, events: &mut Events<S>) -> bool {
        let lost = self.layers.get(usize::from(layer)).is_some_and(|layer| layer.within.is_lost());
        if lost {
            self.ask(now, layer, events);
        }
        lost
    }

    /// Looks at what is alive, now that media arrived. `within`: layers within its stream changed.
    fn review(&mut self, now: Instant, received: &Received, within: bool, events: &mut Events<S>) -> Review {
        let mut reviewed = false;
        let mut alive = self.alive.with(received.layer);
        let mut rates_changed = false;
        if self.review_at.is_none_or(|at| at <= now) {
            self.review_at = Some(now + REVIEW);
            reviewed = true;
            rates_changed = self.is_video() && self.rows.iter().any(|row| row.settings.fps > 0);
            let living = self.layers[..usize::from(self.count())].iter().filter(|layer| layer.is_alive(now));
            alive = living.fold(Layers::default(), |all, layer| all.with(layer.stream.layer));
        }
        let codec_changed = self.is_video() && self.codec != Some(received.codec);
        self.codec = Some(received.codec);
        let alive_changed = alive != self.alive;
        self.alive = alive;
        if alive_changed || within || rates_changed {
            self.select_all();
        }
        if within || codec_changed {
            self.stirred = true;
            self.note_demand(now, u8::MAX, events);
        }
        let changed = alive_changed || within || codec_changed;
        Review { changed, reviewed: reviewed || changed }
    }
}

/// Looking at it.
impl<S: Sink> Publication<S> {
    pub fn snapshot(&self, now: Instant) -> PublicationSnapshot<S> {
        let sizes = self.spec.as_ref().map_or(&[][..], |spec| &spec.sizes);
        let layers = self.layers.iter().take(usize::from(self.count())).enumerate();
        PublicationSnapshot {
            track: self.track,
            participant: self.spec.as_ref().map(|spec| spec.participant),
            kind: self.spec.as_ref().map(|spec| spec.kind),
            codec: self.codec,
            muted: self.muted,
            withheld: self.gate.is_closed(),
            layers: layers.map(|(index, layer)| self.layer_snapshot(now, layer, sizes.get(index))).collect(),
            subscriptions: self.rows.iter().map(|row| self.row_snapshot(row)).collect(),
            drops: self.drops,
        }
    }

    fn layer_snapshot(&self, now: Instant, layer: &Layer, size: Option<&(u32, u32)>) -> LayerSnapshot {
        LayerSnapshot {
            alive: self.alive.has(layer.stream.layer),
            bitrate: layer.meter.bitrate(now),
            frame_rate: layer.meter.frame_rate(now),
            has_clock: layer.clock().is_some(),
            size: size.copied(),
        }
    }

    fn row_snapshot(&self, row: &Subscription<S>) -> SubscriptionSnapshot<S> {
        let waiting = self.layers.iter().any(|layer| row.waits_for(layer, self.codec));
        SubscriptionSnapshot {
            sink: row.sink,
            settings: row.settings,
            target: row.target,
            current: row.current(),
            limit: if let Cap::UpTo(layer, temporal) = row.cap { Some((layer, temporal)) } else { None },
            paused: row.cap == Cap::Paused,
            within: row.current_within(),
            waiting,
            forwarded: row.forwarded,
            begun: row.begun,
        }
    }
}
