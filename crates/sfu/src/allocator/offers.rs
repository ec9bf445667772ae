//! What a publication brings into the choice of one of its receivers, and what becomes of the choice there.

use std::time::{Duration, Instant};

use base::Bitrate;
use base::model::TrackSource;

use super::cap::Cap;
use super::choose::{Before, Class, Stream};
use super::ladder::{MOST_RUNGS, Rung, Step, Taste, build};
use crate::layer::Layer;
use crate::media::{Event, Events, Sink};
use crate::publication::Publication;
use crate::rates;
use crate::select;
use crate::subscription::Subscription;

/// The rungs of a publication are good for so long: several receivers are looked at in one go.
const FRESH: Duration = Duration::from_millis(100);
/// So long the lowest step of a new stream may be sent whatever the estimate.
const TRUSTED: Duration = Duration::from_secs(4);
/// So long a layer that was asked for and does not come is taken to be on its way.
const AWAITED: Duration = Duration::from_secs(10);
/// Payload to what is counted, where only that is known: 44 bytes on 1,100.
const OVERHEAD: f32 = 1.04;
/// Pixels on the shorter side of the highest layer, where nobody said.
const HEIGHT: u32 = 720;
/// What audio is taken to cost of which nothing is known yet.
const AUDIO: f32 = 40_000.0;

/// What a publication sends at present.
#[derive(Debug, Default)]
pub(crate) struct Rungs {
    list: Vec<Rung>,
    at: Option<Instant>,
}

/// One video's part in the choice.
pub(super) struct Offer {
    /// `None`: nothing arrives that could be sent.
    pub stream: Option<Stream>,
    /// All that is asked for, in bits per second.
    pub full: u64,
}

/// What is known beside the publication.
#[derive(Clone, Copy)]
pub(super) struct Circumstances {
    pub now: Instant,
    /// Its line is trusted.
    pub trusted: bool,
    /// How lately its publisher spoke, as a weight.
    pub voice: f32,
}

impl<S: Sink> Publication<S> {
    /// What its sound costs each receiver, in bits per second.
    pub(super) fn audio_cost(&self, now: Instant) -> u64 {
        let heard = self.is_active() && !self.gate.is_closed() && self.alive.has(0);
        let layer = self.layers.first().filter(|_| heard);
        layer.map_or(0, |layer| level_cost(layer, now, AUDIO) as u64)
    }

    /// What the receiver of `sink` is to choose from. Its steps are appended to `steps`. `None`: nothing is asked for, or
    /// it would not be forwarded.
    pub(super) fn offer(&mut self, sink: S, about: Circumstances, steps: &mut Vec<Step>) -> Option<Offer> {
        let row = self.find(sink).ok()?;
        let wanted = self.asked(&self.rows[row].settings).filter(|_| self.is_active() && self.is_video());
        let accepted = self.codec.is_none_or(|codec| self.rows[row].accepts(codec));
        let Some(wanted) = wanted.filter(|_| accepted) else {
            self.leave(row);
            return None;
        };
        if self.alive.is_empty() || self.codec.is_none() {
            self.leave(row);
            return Some(Offer { stream: None, full: self.awaited(about.now, row, wanted) });
        }
        self.refresh_rungs(about.now);
        let from = steps.len();
        build(&self.rungs.list, self.taste(row, wanted), steps);
        let ladder = from..steps.len();
        let best = steps[ladder.clone()].last().map(|step| (step.level, step.cost))?;
        let missing = if best.0 < wanted { self.awaited(about.now, row, wanted) } else { 0 };
        let since = *self.rows[row].since.get_or_insert(about.now);
        let row = &self.rows[row];
        let stream = Stream {
            class: self.class(row),
            weight: about.voice * size_weight(row),
            before: before(row.cap, &steps[ladder.clone()], &self.rungs.list),
            trusted: about.trusted && about.now.saturating_duration_since(since) < TRUSTED,
            firm: row.settings.firm,
            ladder,
        };
        Some(Offer { stream: Some(stream), full: missing.max(u64::from(best.1)) })
    }

    /// It takes no part until something arrives that is asked for.
    fn leave(&mut self, row: usize) {
        self.rows[row].since = None;
        if self.rows[row].cap != Cap::Waiting {
            self.rows[row].cap = Cap::Waiting;
            self.select(row);
        }
    }

    fn class(&self, row: &Subscription<S>) -> Class {
        Class { priority: row.settings.priority, screen: self.is_screen() }
    }

    fn is_screen(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.source == TrackSource::ScreenShare)
    }

    fn taste(&self, row: usize, wanted: u8) -> Taste {
        let settings = &self.rows[row].settings;
        let rates = self.layers.iter().map(|layer| layer.within.frame_rates());
        let limited = rates.filter(|_| settings.fps > 0).map(|rates| select::temporal(settings, rates));
        let temporal = limited.max().unwrap_or(u8::MAX);
        let rendered = settings.size.map(|size| size.0.min(size.1));
        Taste { most: (wanted, temporal), rendered, screen: self.is_screen() }
    }

    fn refresh_rungs(&mut self, now: Instant) {
        if self.rungs.at.is_some_and(|at| now.saturating_duration_since(at) < FRESH) {
            return;
        }
        let mut list = std::mem::take(&mut self.rungs.list);
        list.clear();
        let count = self.count();
        if count > 1 {
            let living = (0..count).zip(&self.layers).filter(|(level, _)| self.alive.has(*level));
            living.for_each(|(level, layer)| self.add_simulcast(now, level, layer, &mut list));
        } else if let Some(layer) = self.layers.first() {
            self.add_spatial(now, layer, &mut list);
        }
        list.truncate(MOST_RUNGS);
        self.rungs = Rungs { list, at: Some(now) };
    }

    /// What is known has changed.
    pub(crate) fn forget_rungs(&mut self) {
        self.rungs.at = None;
    }

    fn add_simulcast(&self, now: Instant, level: u8, layer: &Layer, list: &mut Vec<Rung>) {
        let height = self.height(level, self.count());
        let whole = level_cost(layer, now, guess(height)) as u32;
        let layers = layer.rates.temporal_layers();
        for temporal in 0..layers {
            let halvings = layers - 1 - temporal;
            let part = || layer.rates.of_all(temporal).unwrap_or_default() as u32;
            let cost = if halvings == 0 { whole } else { part() };
            list.push(Rung { level, temporal, halvings, height, cost: cost.max(1) });
        }
    }

    fn add_spatial(&self, now: Instant, layer: &Layer, list: &mut Vec<Rung>) {
        let (count, _) = layer.within.spatial();
        let living = layer.within.alive();
        let top_height = self.height(count - 1, count);
        let whole = level_cost(layer, now, guess(top_height));
        if count > 1 && layer.rates.of(0, 0).is_none() {
            // As much as pictures of these sizes, in proportion.
            let share = |height: u32| guess(height) / guess(top_height);
            let rung = |level| {
                let height = self.height(level, count);
                Rung {
                    level,
                    temporal: 0,
                    halvings: 0,
                    height,
                    cost: ((whole * share(height)) as u32).max(1),
                }
            };
            list.extend((0..count).filter(|level| living.has(*level)).map(rung));
            return;
        }
        if count == 1 {
            let layers = layer.rates.temporal_layers();
            for temporal in 0..layers {
                let halvings = layers - 1 - temporal;
                let part = layer.rates.of(0, temporal).filter(|_| halvings > 0).unwrap_or(whole);
                let cost = (part as u32).max(1);
                let level = count - 1;
                list.push(Rung { level, temporal, halvings, height: top_height, cost });
            }
            return;
        }
        for level in (0..count).filter(|level| living.has(*level)) {
            let layers = layer.rates.temporal_layers();
            for temporal in 0..layers {
                let halvings = layers - 1 - temporal;
                let below = (0..level).filter(|below| living.has(*below));
                let needed = below.map(|below| match layer.within.needs(level, below) {
                    true => layer.rates.of(below, temporal).unwrap_or(0.0),
                    false => layer.rates.keyframes(below),
                });
                let cost = needed.sum::<f32>() + layer.rates.of(level, temporal).unwrap_or(0.0);
                let height = self.height(level, count);
                list.push(Rung { level, temporal, halvings, height, cost: (cost as u32).max(1) });
            }
        }
    }

    /// Pixels on the shorter side of a level.
    fn height(&self, level: u8, count: u8) -> u32 {
        let told = self
            .layers
            .first()
            .filter(|_| self.count() == 1)
            .map_or(&[][..], |layer| layer.within.spatial().1);
        let announced = self.spec.as_ref().map_or(&[][..], |spec| &spec.sizes);
        let of = |sizes: &[(u32, u32)]| {
            let sizes = Some(sizes).filter(|sizes| sizes.len() == usize::from(count));
            sizes.and_then(|sizes| sizes.get(usize::from(level))).map(|size| size.0.min(size.1))
        };
        let single = || announced.last().filter(|_| count == 1).map(|size| size.0.min(size.1));
        let unknown = HEIGHT >> count.saturating_sub(1).saturating_sub(level).min(8);
        of(told).or_else(|| of(announced)).or_else(single).filter(|height| *height > 0).unwrap_or(unknown)
    }

    /// What the layer that somebody asks for may cost when it comes; nothing when it has been asked for in vain.
    fn awaited(&self, now: Instant, row: usize, wanted: u8) -> u64 {
        let row = &self.rows[row];
        let alone = self.count() == 1;
        let layer = self.layers.get(if alone { 0 } else { usize::from(wanted) });
        let heard = layer.and_then(|layer| layer.heard_at());
        let since = row.asked.max(row.since).max(heard);
        if since.is_none_or(|since| now.saturating_duration_since(since) > AWAITED) {
            return 0;
        }
        let levels = if alone { wanted + 1 } else { self.count() };
        let guess = guess(self.height(wanted, levels));
        let known = layer.filter(|_| !alone).map(|layer| level_cost(layer, now, guess));
        known.unwrap_or(guess) as u64
    }

    /// What goes on to be sent of the layer that the receiver is to leave, without its upper temporal layers, until the
    /// keyframe with which `cap` begins; `None` where none is needed.
    pub(super) fn outgoing(&self, sink: S, cap: Cap) -> Option<u64> {
        let row = &self.rows[self.find(sink).ok()?];
        let Cap::UpTo(level, _) = cap else { return None };
        let current = if self.count() > 1 {
            row.current()
        } else {
            let (spatial, _) = row.current_within()?;
            let layer = self.layers.first()?;
            Some(spatial).filter(|spatial| *spatial > level && !layer.within.needs(*spatial, level))
        };
        let current = current.filter(|current| *current > level)?;
        let same = self.rungs.list.iter().filter(|rung| rung.level == current);
        same.min_by_key(|rung| rung.temporal).map(|rung| u64::from(rung.cost))
    }

    /// It is one stream of several spatial layers, of which the higher ones can be left without a keyframe.
    pub(super) fn is_layered(&self) -> bool {
        let layer = self.layers.first().filter(|_| self.count() == 1);
        layer.is_some_and(|layer| layer.within.spatial().0 > 1 && layer.within.needs(1, 0))
    }

    /// What becomes of the choice. `stop`: what is sent of another layer stops at once.
    pub(super) fn set_cap(&mut self, now: Instant, sink: S, cap: Cap, stop: bool, events: &mut Events<S>) {
        let Ok(at) = self.find(sink) else { return };
        let row = &mut self.rows[at];
        let before = std::mem::replace(&mut row.cap, cap);
        let paused = cap == Cap::Paused;
        if cap.is_settled() && std::mem::replace(&mut row.paused, paused) != paused {
            events.push_back(Event::StreamState { track: self.track, sink, active: !paused });
        }
        // What waits for the keyframe of a lower layer may have become too much by now.
        if before == cap && !stop {
            return;
        }
        if before != cap {
            row.hasty = is_cut(before, cap);
            self.select(at);
        }
        if stop {
            self.rows[at].pause();
        }
        self.ask_for(now, at, events);
        self.note_wanted(events);
    }
}

/// What is sent is to be of a lower layer. Who waited or was paused got none that is above any.
fn is_cut(before: Cap, cap: Cap) -> bool {
    let highest = |cap| match cap {
        Cap::Free => u8::MAX,
        Cap::UpTo(level, _) => level,
        Cap::Waiting | Cap::Paused => 0,
    };
    highest(cap) < highest(before)
}

/// Bits per second of all that comes on a layer.
fn level_cost(layer: &Layer, now: Instant, guess: f32) -> f32 {
    let measured = layer.rates.of_all(u8::MAX).filter(|sum| *sum > 0.0);
    let told = || {
        Some(layer.meter.bitrate(now)).filter(|rate| *rate > Bitrate(0)).map(|rate| rate.0 as f32 * OVERHEAD)
    };
    measured.or_else(|| layer.rates.beginning(now, guess)).or_else(told).unwrap_or(guess)
}

fn guess(height: u32) -> f32 {
    rates::guess(height as f32 * height as f32 * 16.0 / 9.0)
}

fn size_weight<S>(row: &Subscription<S>) -> f32 {
    let rendered = row.settings.size.map(|size| size.0.min(size.1) as f32);
    rendered.map_or(1.0, |height| (height / 360.0).clamp(0.25, 4.0).sqrt())
}

/// Where on this ladder a receiver with this cap stands: on its step or, where that is worth it no more, on the best that
/// costs no more, or, where it is not told apart any more, on the lowest of its level or of those below.
fn before(cap: Cap, ladder: &[Step], rungs: &[Rung]) -> Before {
    let (level, temporal) = match cap {
        Cap::Waiting => return Before::New,
        Cap::Paused => return Before::Paused,
        Cap::Free => return Before::Sent(ladder.len() as u8 - 1),
        Cap::UpTo(level, temporal) => (level, temporal),
    };
    let same = ladder.iter().position(|step| (step.level, step.temporal) == (level, temporal));
    let cost = || Some(rungs.iter().find(|rung| (rung.level, rung.up_to()) == (level, temporal))?.cost);
    let no_dearer = || cost().and_then(|cost| ladder.iter().rposition(|step| step.cost <= cost));
    let not_above = || {
        let level = ladder.iter().filter(|step| step.level <= level).map(|step| step.level).max()?;
        ladder.iter().position(|step| step.level == level)
    };
    same.or_else(no_dearer).or_else(not_above).map_or(Before::New, |step| Before::Sent(step as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_sent_more_than_before_is_not_in_haste() {
        let up_to = |level| Cap::UpTo(level, u8::MAX);
        for (before, cap) in [(up_to(2), up_to(1)), (Cap::Free, up_to(1)), (up_to(1), Cap::Paused)] {
            assert!(is_cut(before, cap), "{before:?} {cap:?}");
        }
        for (before, cap) in [(Cap::Waiting, up_to(2)), (Cap::Paused, up_to(1)), (up_to(1), up_to(2))] {
            assert!(!is_cut(before, cap), "{before:?} {cap:?}");
        }
    }

    #[test]
    fn what_is_sent_stays_what_is_sent_when_its_layers_are_told_apart_no_more() {
        let rung =
            |level, temporal, halvings, cost| Rung { level, temporal, halvings, height: 180 << level, cost };
        let taste = Taste { most: (2, u8::MAX), rendered: None, screen: false };
        let stands = |cap, rungs: &[Rung]| {
            let mut ladder = Vec::new();
            build(rungs, taste, &mut ladder);
            before(cap, &ladder, rungs)
        };
        let apart = [rung(0, 0, 1, 100), rung(0, 1, 0, 150), rung(1, 0, 1, 300), rung(1, 1, 0, 500)];
        assert_eq!(stands(Cap::UpTo(0, 0), &apart), Before::Sent(0));
        assert_eq!(stands(Cap::UpTo(1, u8::MAX), &apart), Before::Sent(3));
        // A publisher that begins anew, of which nothing was measured yet.
        let whole = [rung(0, 0, 0, 150), rung(1, 0, 0, 500)];
        assert_eq!(stands(Cap::UpTo(0, 0), &whole), Before::Sent(0));
        assert_eq!(stands(Cap::UpTo(1, 0), &whole), Before::Sent(1));
        assert_eq!(stands(Cap::UpTo(2, 0), &apart), Before::Sent(2), "a layer that died");
        assert_eq!(stands(Cap::UpTo(0, 0), &whole[1..]), Before::New, "all that is there is above");
        assert_eq!(stands(Cap::Waiting, &whole), Before::New);
    }
}
