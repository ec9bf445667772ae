//! Who gets which layer when a receiver's connection does not carry all that its subscriptions ask for.
//!
//! `docs/allocation.md` tells how. By its parts:
//!
//! - `ladder`: the steps between nothing and what a subscription asks for, from what its publisher sends.
//! - `line`: what there is for video on one connection (`recent`: the lowest estimate of the last while).
//! - `choose`: who gets which step. Plain values in and out.
//! - `offers`: what a publication brings into the choice, and what becomes of it there, as a `cap` on the subscription.
//! - `demand`: what publishers are told to send.

mod cap;
mod choose;
mod demand;
mod ladder;
mod line;
mod offers;
mod recent;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base::Bitrate;

pub(crate) use cap::Cap;
pub(crate) use demand::Demand;
pub(crate) use offers::Rungs;

use crate::audio::Audio;
use crate::media::{Entry, Event, Events, Sink, TrackKey, earliest, find};
use crate::snapshot::ReceiverSnapshot;
use choose::{Before, Chooser, Limits, Stream};
use ladder::Step;
use line::Line;
use offers::Circumstances;

/// A receiver is looked at no more often than this, unless its estimate falls.
const COALESCED: Duration = Duration::from_millis(50);
/// Receivers are looked at this often while packets arrive.
const SWEEP: Duration = Duration::from_millis(500);
/// So many subscriptions are looked at in one go; the rest after a [`PAUSE`].
const WORK: usize = 500;
const PAUSE: Duration = Duration::from_millis(1);
/// What going over to lower layers may need for as long as it takes, of the budget.
const TRANSITION: f64 = 1.25;
/// What is kept free for sound where there may be any: one voice.
const VOICE: u64 = 40_000;
/// Wanted bit rates that grew or shrank by less are not told. Who gets less than all is probed for what is told, and nothing beyond.
const GREW: f64 = 1.05;
const GREW_BEYOND: f64 = 1.01;
const SHRANK: f64 = 0.8;
/// How much more those weigh who speak, and who spoke so lately.
const SPEAKS: (Duration, f32) = (Duration::from_secs(2), 2.0);
const SPOKE: (Duration, f32) = (Duration::from_secs(10), 1.5);

/// One connection.
struct Receiver<S> {
    subscriptions: Vec<(TrackKey, S)>,
    /// `None`: no limit.
    line: Option<Line>,
    due: Option<Instant>,
    looked_at: Option<Instant>,
    told: Bitrate,
    video: u64,
    audio: u64,
}

/// All receivers of a room on one worker.
pub(crate) struct Allocator<S: Sink> {
    receivers: BTreeMap<S::Receiver, Receiver<S>>,
    /// How many have an estimate.
    limited: usize,
    due: BTreeSet<(Instant, S::Receiver)>,
    /// Publications whose receivers are to be looked at.
    stirred: Vec<TrackKey>,
    /// When all are looked at.
    sweep_at: Option<Instant>,
    /// The rest of the work is not done before.
    resumes_at: Option<Instant>,
    /// The latest time heard of.
    latest: Option<Instant>,
    work: Work<S>,
}

/// Memory for one choice, kept for the next.
struct Work<S> {
    streams: Vec<Stream>,
    steps: Vec<Step>,
    /// To whom each stream belongs.
    owners: Vec<(TrackKey, S)>,
    chooser: Chooser,
}

impl<S> Default for Receiver<S> {
    fn default() -> Self {
        let subscriptions = Vec::new();
        Self {
            subscriptions,
            line: None,
            due: None,
            looked_at: None,
            told: Bitrate::default(),
            video: 0,
            audio: 0,
        }
    }
}

impl<S: Sink> Default for Allocator<S> {
    fn default() -> Self {
        let (streams, steps, owners) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            receivers: BTreeMap::new(),
            limited: 0,
            due: BTreeSet::new(),
            stirred: Vec::new(),
            sweep_at: None,
            resumes_at: None,
            latest: None,
            work: Work { streams, steps, owners, chooser: Chooser::default() },
        }
    }
}

/// What is heard.
impl<S: Sink> Allocator<S> {
    /// Somebody has an estimate.
    #[inline]
    pub fn is_needed(&self) -> bool {
        self.limited > 0
    }

    pub fn set_estimate(&mut self, now: Instant, receiver: S::Receiver, estimate: Option<Bitrate>) {
        self.latest = Some(now);
        let entry = self.receivers.entry(receiver).or_default();
        let limited = entry.line.is_some();
        let Some(estimate) = estimate else {
            entry.line = None;
            self.limited -= usize::from(limited);
            return self.touch(now, receiver, Duration::ZERO);
        };
        let fell = entry.line.get_or_insert_default().set_estimate(now, estimate);
        self.limited += usize::from(!limited);
        self.touch(now, receiver, if fell { Duration::ZERO } else { COALESCED });
    }

    pub fn remove_receiver(&mut self, receiver: S::Receiver) {
        let Some(entry) = self.receivers.get_mut(&receiver) else { return };
        self.limited -= usize::from(entry.line.take().is_some());
        if let Some(now) = self.latest {
            self.touch(now, receiver, Duration::ZERO);
        }
        self.forget(receiver);
    }

    /// What a new subscription gets until it is looked at.
    pub fn first_cap(&self, receiver: S::Receiver) -> Cap {
        let limited = self.receivers.get(&receiver).is_some_and(|entry| entry.line.is_some());
        if limited { Cap::Waiting } else { Cap::Free }
    }

    /// A subscription, which may be new.
    pub fn subscribe(&mut self, now: Instant, track: TrackKey, sink: S) {
        let entry = self.receivers.entry(sink.receiver()).or_default();
        if !entry.subscriptions.contains(&(track, sink)) {
            entry.subscriptions.push((track, sink));
        }
        self.touch(now, sink.receiver(), Duration::ZERO);
    }

    pub fn unsubscribe(&mut self, now: Instant, track: TrackKey, sink: S) {
        let receiver = sink.receiver();
        let Some(entry) = self.receivers.get_mut(&receiver) else { return };
        entry.subscriptions.retain(|known| *known != (track, sink));
        self.touch(now, receiver, COALESCED);
        self.forget(receiver);
    }

    /// What a receiver asks for changed.
    pub fn settle(&mut self, now: Instant, receiver: S::Receiver) {
        self.touch(now, receiver, COALESCED);
    }

    /// What is known of a publication changed: its receivers are to be looked at.
    #[cold]
    pub fn stir(&mut self, track: TrackKey) {
        if self.is_needed() && self.stirred.last() != Some(&track) {
            self.stirred.push(track);
        }
    }

    /// Packets arrive.
    #[cold]
    pub fn arrive(&mut self, now: Instant) {
        self.sweep_at.get_or_insert(now + SWEEP);
    }

    /// The receiver is to be looked at, this long after it was last.
    fn touch(&mut self, now: Instant, receiver: S::Receiver, after: Duration) {
        let Some(entry) = self.receivers.get_mut(&receiver) else { return };
        let limited = entry.line.is_some() || entry.looked_at.is_some();
        let due = entry.looked_at.map_or(now, |at| now.max(at + after));
        if !limited || entry.due.is_some_and(|known| known <= due) {
            return;
        }
        if let Some(known) = entry.due.replace(due) {
            self.due.remove(&(known, receiver));
        }
        self.due.insert((due, receiver));
    }

    /// Drops what is of no more use.
    fn forget(&mut self, receiver: S::Receiver) {
        let Some(entry) = self.receivers.get(&receiver) else { return };
        if entry.line.is_none() && entry.subscriptions.is_empty() {
            if let Some(due) = entry.due {
                self.due.remove(&(due, receiver));
            }
            self.receivers.remove(&receiver);
        }
    }
}

/// What is done.
impl<S: Sink> Allocator<S> {
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stirred = self.latest.filter(|_| !self.stirred.is_empty());
        let due = self.due.first().map(|(due, _)| *due);
        earliest(earliest(stirred, self.sweep_at), due).map(|at| at.max(self.resumes_at.unwrap_or(at)))
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|at| at <= now)
    }

    pub fn handle_timeout(
        &mut self,
        now: Instant,
        entries: &mut [Entry<S>],
        voices: &Audio,
        events: &mut Events<S>,
    ) {
        (self.latest, self.resumes_at) = (Some(now), None);
        self.touch_stirred(now, entries);
        let mut work = 0;
        while let Some((due, receiver)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            if work >= WORK {
                self.resumes_at = Some(now + PAUSE);
                return;
            }
            self.due.remove(&(due, receiver));
            work += self.look_at(now, receiver, entries, voices, events);
        }
    }

    fn touch_stirred(&mut self, now: Instant, entries: &mut [Entry<S>]) {
        for track in std::mem::take(&mut self.stirred) {
            let Some(publication) = find(entries, track) else { continue };
            publication.forget_rungs();
            for row in &publication.rows {
                self.touch(now, row.sink.receiver(), COALESCED);
            }
        }
        if self.sweep_at.take_if(|at| *at <= now).is_some() {
            let limited = self.receivers.iter().filter(|(_, entry)| entry.line.is_some());
            let limited: Vec<_> = limited.map(|(receiver, _)| *receiver).collect();
            limited.into_iter().for_each(|receiver| self.touch(now, receiver, COALESCED));
        }
    }

    /// Returns what it cost, in subscriptions.
    fn look_at(
        &mut self,
        now: Instant,
        key: S::Receiver,
        entries: &mut [Entry<S>],
        voices: &Audio,
        events: &mut Events<S>,
    ) -> usize {
        let Some(receiver) = self.receivers.get_mut(&key) else { return 0 };
        (receiver.due, receiver.looked_at) = (None, Some(now));
        if let Some(line) = &mut receiver.line {
            let mut round = Round { now, entries, voices, events, work: &mut self.work };
            let full = round.gather(line, &receiver.subscriptions, &mut receiver.audio);
            let limits = line.limits(now, receiver.audio);
            receiver.video = round.choose(line, limits);
            line.set_hungry(now, full > receiver.video);
            let wanted = line::needed(full, receiver.audio);
            let grew = if full > receiver.video { GREW_BEYOND } else { GREW };
            tell_wanted(key, &mut receiver.told, (wanted, grew), events);
            if full > receiver.video
                && let Some(rise) = line.next_rise()
            {
                receiver.due = Some(rise.max(now + COALESCED));
                self.due.extend(receiver.due.map(|due| (due, key)));
            }
        } else {
            receiver.looked_at = None;
            for (track, sink) in &receiver.subscriptions {
                if let Some(publication) = find(entries, *track) {
                    publication.set_cap(now, *sink, Cap::Free, false, events);
                }
            }
        }
        receiver.subscriptions.len() + 1
    }

    pub fn snapshot(&self) -> Vec<ReceiverSnapshot<S>> {
        let limited =
            self.receivers.iter().filter_map(|(key, entry)| Some((key, entry, entry.line.as_ref()?)));
        let receivers = limited.map(|(key, entry, line)| ReceiverSnapshot {
            receiver: *key,
            estimate: line.estimate(),
            video: Bitrate(entry.video),
            audio: Bitrate(entry.audio),
            wanted: entry.told,
        });
        receivers.collect()
    }
}

fn tell_wanted<S: Sink>(
    receiver: S::Receiver,
    told: &mut Bitrate,
    (wanted, grew): (Bitrate, f64),
    events: &mut Events<S>,
) {
    let share = wanted.0 as f64 / told.0 as f64;
    if *told != wanted && !(share < grew && share > SHRANK) {
        *told = wanted;
        events.push_back(Event::Wanted { receiver, bitrate: wanted });
    }
}

/// One look at one receiver.
struct Round<'a, S: Sink> {
    now: Instant,
    entries: &'a mut [Entry<S>],
    voices: &'a Audio,
    events: &'a mut Events<S>,
    work: &'a mut Work<S>,
}

impl<S: Sink> Round<'_, S> {
    /// Collects what there is to choose from. Returns what all video that is asked for would cost.
    fn gather(&mut self, line: &Line, subscriptions: &[(TrackKey, S)], audio: &mut u64) -> u64 {
        let Work { streams, steps, owners, .. } = &mut *self.work;
        streams.clear();
        steps.clear();
        owners.clear();
        let (now, trusted, mut full) = (self.now, line.is_trusted(self.now), 0);
        let mut sound = false;
        *audio = 0;
        for (track, sink) in subscriptions {
            let Some(publication) = find(self.entries, *track) else { continue };
            if !publication.is_video() {
                sound |= publication.spec.is_some();
                *audio += publication.audio_cost(now);
                continue;
            }
            let voice = publication.spec.as_ref().and_then(|spec| self.voices.spoke(spec.participant));
            let about = Circumstances { now, trusted, voice: voice_weight(now, voice) };
            let Some(offer) = publication.offer(*sink, about, steps) else { continue };
            full += offer.full;
            if let Some(stream) = offer.stream {
                streams.push(stream);
                owners.push((*track, *sink));
            }
        }
        *audio = (*audio).max(if sound { VOICE } else { 0 });
        full
    }

    /// Chooses, and has it done. Returns what it costs.
    fn choose(&mut self, line: &mut Line, limits: Limits) -> u64 {
        let Work { streams, steps, chooser, .. } = &mut *self.work;
        chooser.choose(limits, streams, steps);
        let chosen = chooser.cost + chooser.trusted;
        line.set_short(self.now, chooser.short);
        if chooser.fell {
            let sent = streams.iter().filter_map(|stream| match stream.before {
                Before::Sent(step) => Some(u64::from(steps[stream.ladder.clone()][usize::from(step)].cost)),
                _ => None,
            });
            line.was_cut(self.now, sent.sum());
        }
        let mut spare = ((limits.keep as f64 * TRANSITION) as u64).saturating_sub(chosen);
        let collapsed = line.collapses(self.now, chooser.sent, limits.keep);
        for at in 0..self.work.streams.len() {
            let (before, count) = (self.work.streams[at].before, self.work.chooser.chosen[at]);
            self.apply(at, &mut spare, collapsed);
            match before {
                Before::Sent(_) if count == 0 => line.paused(self.now),
                Before::Paused if count > 0 => {
                    line.resumed(self.now);
                    line.climbed(self.now);
                }
                Before::Sent(step) if count > step + 1 => line.climbed(self.now),
                _ => {}
            }
        }
        chosen
    }

    fn apply(&mut self, at: usize, spare: &mut u64, collapsed: bool) {
        let (stream, (track, sink)) = (&self.work.streams[at], self.work.owners[at]);
        let count = usize::from(self.work.chooser.chosen[at]);
        let ladder = &self.work.steps[stream.ladder.clone()];
        let Some(publication) = find(self.entries, track) else { return };
        let restart = collapsed && count > 0 && publication.is_layered();
        let lowest = |step: &&Step| !restart || step.level == ladder[0].level;
        let step = ladder[..count].iter().rfind(lowest);
        let cap = step.map_or(Cap::Paused, |step| Cap::UpTo(step.level, step.temporal));
        let outgoing = publication.outgoing(sink, cap);
        let more = outgoing.map(|outgoing| outgoing.saturating_sub(step.map_or(0, |step| step.cost.into())));
        let stop = more.is_some_and(|more| more > *spare);
        if !stop {
            *spare -= more.unwrap_or(0);
        }
        publication.set_cap(self.now, sink, cap, stop || restart, self.events);
    }
}

fn voice_weight(now: Instant, spoke: Option<Instant>) -> f32 {
    let Some(silent) = spoke.map(|at| now.saturating_duration_since(at)) else { return 1.0 };
    [SPEAKS, SPOKE].iter().find(|(most, _)| silent < *most).map_or(1.0, |(_, weight)| *weight)
}
