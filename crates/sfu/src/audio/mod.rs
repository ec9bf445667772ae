//! The voices of a room: who is told to speak, who is the dominant speaker, and whose microphones are forwarded, from the
//! levels that clients put beside their audio (RFC 6464). Told in `docs/audio.md`.

mod dominant;
mod gate;
mod loudest;
mod speakers;
mod voice;

use std::collections::BTreeMap;
use std::time::Instant;

use base::model::{Speaker, TrackSource};
use base::{MediaKind, ParticipantId, TrackId};

use crate::publication::PublicationSpec;
use dominant::{Dominant, Scores};
pub(crate) use gate::Gate;
use loudest::Standing;
use speakers::Speakers;
use voice::Voice;

/// Microphones of a room that are forwarded where more are open: two or three people who speak at once, and the laughter
/// of the others.
pub const LOUDEST: usize = 6;
/// The most that [`crate::Media::set_loudest`] takes: each speaking microphone without a place is held against all that
/// have one, packet by packet.
pub const MAX_LOUDEST: usize = 64;

/// Does a microphone have one of the places of those that are forwarded?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// It needs none: it is no microphone, or no level of it was heard yet.
    Needless,
    Has,
    Lacks,
}

/// One audio track.
struct Track {
    id: TrackId,
    participant: ParticipantId,
    /// It comes from another worker, which tells that it speaks.
    relayed: bool,
    microphone: bool,
    place: Place,
    /// It is among those who may speak.
    listed: bool,
    voice: Voice,
}

/// All audio tracks of a room.
pub(crate) struct Audio {
    /// By the index of their publication.
    tracks: Vec<Option<Box<Track>>>,
    places: usize,
    /// Who has a place.
    placed: Vec<u32>,
    /// Who may speak: those that had speech in the last second, and those that are told to speak.
    speaking: Vec<u32>,
    dominant: Dominant,
    speakers: Speakers,
    /// When each participant was active last.
    recency: BTreeMap<ParticipantId, Instant>,
}

impl Default for Audio {
    fn default() -> Self {
        Self {
            tracks: Vec::new(),
            places: LOUDEST,
            placed: Vec::new(),
            speaking: Vec::new(),
            dominant: Dominant::default(),
            speakers: Speakers::default(),
            recency: BTreeMap::new(),
        }
    }
}

/// What control says.
impl Audio {
    /// What is published under this index, and whether it comes from another worker.
    pub fn set(&mut self, now: Instant, index: u32, track: TrackId, spec: &PublicationSpec, relayed: bool) {
        if spec.kind != MediaKind::Audio {
            return self.remove(now, index);
        }
        let (participant, microphone) = (spec.participant, spec.source == TrackSource::Microphone);
        if self.get(index).is_some_and(|known| {
            (known.id, known.participant, known.microphone) == (track, participant, microphone)
        }) {
            return self.change(index, |known| known.relayed = relayed);
        }
        self.remove(now, index);
        let at = index as usize;
        if self.tracks.len() <= at {
            self.tracks.resize_with(at + 1, || None);
        }
        self.tracks[at] = Some(Box::new(Track {
            id: track,
            participant,
            relayed,
            microphone,
            place: Place::Needless,
            listed: false,
            voice: Voice::default(),
        }));
    }

    /// Nothing is published under this index any more.
    pub fn remove(&mut self, now: Instant, index: u32) {
        self.silence(now, index);
        let Some(gone) = self.tracks.get_mut(index as usize).and_then(Option::take) else { return };
        let others = self.tracks.iter().flatten().any(|track| track.participant == gone.participant);
        if !others {
            self.recency.remove(&gone.participant);
        }
    }

    /// What is published under this index is muted or not any more: what was heard of it counts no longer.
    pub fn silence(&mut self, now: Instant, index: u32) {
        let Some(track) = self.tracks.get_mut(index as usize).and_then(Option::as_mut) else { return };
        let had = track.place == Place::Has;
        (track.voice, track.place, track.listed) = (Voice::default(), Place::Needless, false);
        self.dominant.remove(track.id);
        self.speaking.retain(|other| *other != index);
        self.placed.retain(|other| *other != index);
        if had {
            self.fill(now);
        }
    }

    /// So many microphones are forwarded, at most [`MAX_LOUDEST`]; 0: all.
    pub fn set_places(&mut self, now: Instant, places: usize) {
        self.places = if places == 0 { usize::MAX } else { places.min(MAX_LOUDEST) };
        while self.placed.len() > self.places
            && let Some(weakest) = self.weakest(now)
        {
            self.take_place(weakest);
        }
        self.fill(now);
    }

    /// Gives free places to the best of those without.
    fn fill(&mut self, now: Instant) {
        while self.placed.len() < self.places {
            let lacking = self.tracks.iter().enumerate().filter_map(|(index, track)| {
                let track = track.as_ref().filter(|track| track.place == Place::Lacks)?;
                Some((index as u32, track.standing(now)))
            });
            let Some((best, _)) = lacking.max_by(|a, b| a.1.rank(&b.1)) else { return };
            self.give_place(best);
        }
    }
}

/// The data path.
impl Audio {
    /// A packet with this level byte came, ahead of all others of its track. True when it is to be forwarded.
    #[inline]
    pub fn hear(&mut self, now: Instant, index: u32, level: u8) -> bool {
        let Some(track) = self.tracks.get_mut(index as usize).and_then(Option::as_mut) else { return true };
        let heard = track.voice.hear(now, level);
        if heard.began && !track.relayed {
            self.speakers.wake(now);
        }
        if heard.speech | heard.began && !track.listed {
            track.listed = true;
            self.speaking.push(index);
            self.dominant.wake(now);
        }
        match track.place {
            Place::Has => true,
            Place::Needless if !track.microphone => true,
            Place::Needless => self.enter(now, index, heard.speech),
            Place::Lacks => heard.speech && self.challenge(now, index),
        }
    }

    /// Are packets forwarded that come late or tell no level?
    #[inline]
    pub fn passes(&self, index: u32) -> bool {
        self.get(index).is_none_or(|track| track.place != Place::Lacks)
    }

    /// A microphone is heard for the first time.
    fn enter(&mut self, now: Instant, index: u32, speech: bool) -> bool {
        self.change(index, |track| track.place = Place::Lacks);
        if self.placed.len() < self.places {
            self.give_place(index);
            return true;
        }
        speech && self.challenge(now, index)
    }

    /// A microphone without a place has speech.
    fn challenge(&mut self, now: Instant, index: u32) -> bool {
        let Some(own) = self.get(index).map(|track| track.standing(now)) else { return false };
        let Some(weakest) = self.weakest(now) else { return false };
        let takes = self.get(weakest).is_none_or(|held| own.displaces(&held.standing(now)));
        if takes {
            self.take_place(weakest);
            self.give_place(index);
        }
        takes
    }

    fn weakest(&self, now: Instant) -> Option<u32> {
        let standing = |index: &u32| Some((*index, self.get(*index)?.standing(now)));
        let weakest = self.placed.iter().filter_map(standing).min_by(|a, b| a.1.rank(&b.1));
        weakest.map(|(index, _)| index)
    }

    fn give_place(&mut self, index: u32) {
        self.placed.push(index);
        self.change(index, |track| track.place = Place::Has);
    }

    fn take_place(&mut self, index: u32) {
        self.placed.retain(|other| *other != index);
        self.change(index, |track| track.place = Place::Lacks);
    }

    fn get(&self, index: u32) -> Option<&Track> {
        self.tracks.get(index as usize)?.as_deref()
    }

    fn change(&mut self, index: u32, change: impl FnOnce(&mut Track)) {
        if let Some(track) = self.tracks.get_mut(index as usize).and_then(Option::as_mut) {
            change(track);
        }
    }
}

impl Track {
    fn standing(&self, now: Instant) -> Standing {
        Standing::of(now, self.id, &self.voice)
    }
}

/// What is found out about them.
impl Audio {
    /// Who has the floor. Stays while nobody speaks.
    pub fn dominant(&self) -> Option<ParticipantId> {
        let current = self.dominant.current()?;
        let tracks = self.tracks.iter().flatten();
        tracks.filter(|track| track.id == current).map(|track| track.participant).next()
    }

    /// When the participant spoke last, to within a third of a second; `None`: not since it publishes.
    pub fn spoke(&self, participant: ParticipantId) -> Option<Instant> {
        self.recency.get(&participant).copied()
    }

    /// When to call [`Self::handle_timeout`]; `None` while nobody speaks.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.speakers.poll_timeout().into_iter().chain(self.dominant.poll_timeout()).min()
    }

    /// Decides who has the floor, and returns what is to be told of speakers.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Speaker> {
        if self.dominant.poll_timeout().is_some_and(|at| at <= now) {
            self.decide(now);
        }
        if self.speakers.poll_timeout().is_some_and(|at| at <= now) { self.tell(now) } else { Vec::new() }
    }

    fn decide(&mut self, now: Instant) {
        let mut scores = Vec::with_capacity(self.speaking.len());
        let (tracks, recency) = (&mut self.tracks, &mut self.recency);
        self.speaking.retain(|index| {
            let Some(track) = tracks.get_mut(*index as usize).and_then(Option::as_mut) else { return false };
            let (excess, active) = (track.voice.excess(now), track.voice.settle(now).is_some());
            if active {
                recency.insert(track.participant, now);
            }
            track.listed = active || excess.is_some();
            if track.listed {
                scores.push((track.id, excess.map_or(Scores::SILENCE, |excess| Scores::of(&excess))));
            }
            track.listed
        });
        if self.dominant.decide(now, &scores) {
            self.speakers.wake(now);
        }
    }

    fn tell(&mut self, now: Instant) -> Vec<Speaker> {
        let (mut active, mut dominant) = (Vec::new(), None);
        for index in &self.speaking {
            let Some(track) = self.tracks.get_mut(*index as usize).and_then(Option::as_mut) else { continue };
            let Some(level) = track.voice.settle(now) else { continue };
            if Some(track.id) == self.dominant.current() {
                dominant = Some((track.participant, level));
            }
            if !track.relayed {
                active.push((track.participant, level));
            }
        }
        self.speakers.handle_timeout(now, active, dominant)
    }
}
