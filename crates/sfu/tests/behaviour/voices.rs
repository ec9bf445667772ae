//! A room of microphones in virtual time, and what people do with them.

use std::time::Duration;

use base::model::{Speaker, TrackSource};
use base::{CodecKind, MediaKind, ParticipantId, TrackId};
use sfu::{Event, PublicationSpec};

use crate::property::Random;
use crate::support::*;

const FRAME_MS: u64 = 20;

/// What a microphone hears.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Sound {
    /// Nothing is sent: it is off, or it sends discontinuously and nobody speaks.
    Nothing,
    /// One level all the time, in -dBov.
    Level(u8),
    /// Hiss: so many -dBov, give or take.
    Noise(u8, u8),
    /// Speech in sentences, so many dB above or below the usual -22 dBov, before a room at -70.
    Speech(i32),
    /// A hum of a third of a second, then a room at -70.
    Mhm,
    /// A door: at once loud, then fading over 300 ms.
    Door,
}

/// Speech as a level meter sees it: syllables that swell and fade, gaps between them, and pauses between sentences.
struct Mouth {
    random: Random,
    /// Frames of what runs now, frames to go, and whether it is a syllable.
    part: (u64, u64, bool),
    /// Syllables until the sentence ends.
    left: u64,
    /// Frames since the sound began.
    age: u64,
}

impl Mouth {
    fn new(seed: u64) -> Self {
        Self { random: Random(seed), part: (0, 0, false), left: 8, age: 0 }
    }

    fn level(&mut self, sound: Sound) -> Option<u8> {
        self.age += 1;
        let room = 68 + self.random.below(5) as u8;
        match sound {
            Sound::Nothing => None,
            Sound::Level(level) => Some(level),
            Sound::Noise(level, spread) => {
                let (a, b) =
                    (self.random.below(u64::from(spread) + 1), self.random.below(u64::from(spread) + 1));
                Some((u64::from(level) + a - b.min(u64::from(level))) as u8)
            }
            Sound::Speech(louder) => {
                Some(self.speak().map_or(room, |level| (level - louder).clamp(0, 127) as u8))
            }
            Sound::Mhm if self.age <= 17 => Some(24 + (self.age as i32 - 9).unsigned_abs() as u8),
            Sound::Door if self.age <= 15 => Some(2 + 3 * self.age as u8),
            Sound::Mhm | Sound::Door => Some(room),
        }
    }

    /// -dBov; `None` in a pause.
    fn speak(&mut self) -> Option<i32> {
        if self.part.1 == 0 {
            let syllable = !self.part.2 && self.left > 0;
            let frames = match (syllable, self.left) {
                (true, _) => 6 + self.random.below(7),
                // 200 to 500 ms between sentences.
                (false, 0) => 10 + self.random.below(16),
                (false, _) => 1 + self.random.below(4),
            };
            self.left = if syllable {
                self.left - 1
            } else if self.left == 0 {
                5 + self.random.below(8)
            } else {
                self.left
            };
            self.part = (frames, frames, syllable);
        }
        let (frames, left, syllable) = self.part;
        self.part.1 -= 1;
        if !syllable {
            return None;
        }
        let phase = (left as f32 - 0.5) / frames as f32 * std::f32::consts::PI;
        Some(22 + ((1.0 - phase.sin()) * 16.0) as i32 + self.random.below(4) as i32)
    }
}

/// The packet as redundant audio: with what was sent before it, each in a block of its own.
pub fn redundant(sent: &Sent, before: &[Vec<u8>]) -> Sent {
    let mut payload = Vec::new();
    for (age, block) in (1..=before.len() as u32).rev().zip(before) {
        payload.extend((0x8000_0000 | 111 << 24 | (960 * age) << 10 | block.len() as u32).to_be_bytes());
    }
    payload.push(111);
    payload.extend(before.concat());
    payload.extend(&sent.payload);
    let mut sent = sent.clone();
    (sent.received.codec, sent.received.payload, sent.payload) = (CodecKind::Red, 0..payload.len(), payload);
    sent
}

/// One microphone and who sits before it.
pub struct Microphone {
    pub track: TrackId,
    pub source: Source,
    pub sound: Sound,
    /// The level of the last packet.
    pub level: Option<u8>,
    mouth: Mouth,
}

/// The room. Microphone `n` is track `n`, of participant `100 + n`.
pub struct Voices {
    pub stage: Stage,
    pub microphones: Vec<Microphone>,
    /// Packets that do not arrive, of a thousand.
    pub lost: u64,
    random: Random,
}

pub fn track(n: usize) -> TrackId {
    TrackId(n as u64)
}

pub fn participant(n: usize) -> ParticipantId {
    ParticipantId(100 + n as u64)
}

pub fn spec(n: usize, source: TrackSource) -> PublicationSpec {
    PublicationSpec { participant: participant(n), kind: MediaKind::Audio, layers: 1, sizes: vec![], source }
}

impl Voices {
    pub fn new(microphones: usize, seed: u64) -> Self {
        let mut voices =
            Self { stage: Stage::new(), microphones: Vec::new(), lost: 0, random: Random(seed ^ 0x5EED) };
        (0..microphones).for_each(|_| voices.open(seed));
        voices
    }

    /// One more microphone.
    pub fn open(&mut self, seed: u64) {
        let n = self.microphones.len();
        let stage = &mut self.stage;
        stage.media.set_publication(stage.now, track(n), spec(n, TrackSource::Microphone)).unwrap();
        let mut source = Source::audio(stage.begin);
        (source.ssrc, source.codec) = (5_000 + n as u32, CodecKind::Opus);
        let mouth = Mouth::new(seed * 1_000 + n as u64);
        self.microphones.push(Microphone {
            track: track(n),
            source,
            sound: Sound::Nothing,
            level: None,
            mouth,
        });
    }

    pub fn sound(&mut self, n: usize, sound: Sound) -> &mut Self {
        let microphone = &mut self.microphones[n];
        (microphone.sound, microphone.mouth.age) = (sound, 0);
        self
    }

    /// What the microphone hears in this frame.
    pub fn next_level(&mut self, n: usize) -> Option<u8> {
        let microphone = &mut self.microphones[n];
        microphone.mouth.level(microphone.sound)
    }

    /// One frame of every microphone is sent.
    pub fn frame(&mut self) {
        for microphone in &mut self.microphones {
            microphone.level = microphone.mouth.level(microphone.sound);
            let Some(level) = microphone.level else { continue };
            let capture = self.stage.now - self.stage.begin;
            let mut sent = microphone.source.frame(capture, false, 1).remove(0);
            sent.received.extensions.audio_level = Some(level);
            if !self.random.permille(self.lost) {
                self.stage.deliver(microphone.track, &sent);
            }
        }
        self.stage.advance(ms(FRAME_MS));
    }

    pub fn play(&mut self, millis: u64) -> &mut Self {
        (0..millis / FRAME_MS).for_each(|_| self.frame());
        self
    }

    /// Who has the floor, by number.
    pub fn dominant(&self) -> Option<usize> {
        self.stage.media.dominant().map(|participant| (participant.0 - 100) as usize)
    }

    /// Plays until somebody has the floor; how long that took. Panics when it takes longer than five seconds.
    pub fn until_dominant(&mut self, n: usize) -> Duration {
        let begin = self.stage.now;
        while self.dominant() != Some(n) {
            self.frame();
            assert!(self.stage.now - begin < ms(5_000), "{n} never has the floor");
        }
        self.stage.now - begin
    }

    /// Plays for so long, and asserts that the floor stays where it is.
    pub fn nobody_takes_the_floor_for(&mut self, millis: u64) {
        let before = self.dominant();
        for _ in 0..millis / FRAME_MS {
            self.frame();
            assert_eq!(self.dominant(), before, "at {:?}", self.stage.elapsed());
        }
    }

    /// What was told of speakers since last asked.
    pub fn told(&mut self) -> Vec<(Duration, Vec<Speaker>)> {
        let events = std::mem::take(&mut self.stage.events);
        let told = events.into_iter().filter_map(|(at, event)| match event {
            Event::Speakers(speakers) => Some((at, speakers)),
            _ => None,
        });
        told.collect()
    }

    /// Which microphones are forwarded.
    pub fn forwarded(&self) -> Vec<usize> {
        let snapshot = self.stage.media.snapshot(self.stage.now);
        let open = snapshot.publications.iter().filter(|each| each.participant.is_some() && !each.muted);
        let passing = open.filter(|publication| !publication.withheld);
        passing.map(|publication| publication.track.0 as usize).collect()
    }
}
