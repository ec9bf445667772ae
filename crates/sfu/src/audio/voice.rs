//! What is known of the voice on one audio track, from the levels of its packets alone. Told in `docs/audio.md`.

use std::time::{Duration, Instant};

/// A frame, as the activity of a voice counts them: what most Opus packets hold.
const FRAME: Duration = Duration::from_millis(20);
/// Frames that are remembered: one second.
pub(super) const FRAMES: usize = 50;
/// The longest stretch of sound in one packet, in frames: Opus packets of 60 ms (RFC 7587 allows 120 ms, nobody sends
/// them). What is missing for longer is silence.
const LONGEST_PACKET: u64 = 3;

/// Level 127 of RFC 6464, which is silence.
const SILENCE: u8 = 127;
/// No speech below, in -dBov: a room at rest, after the browser's gain control.
const QUIET: u8 = 50;
/// Speech is at least this much above the noise floor, in dB.
pub(super) const ABOVE_FLOOR: u8 = 12;
/// The noise floor is the lowest level of this time and of as much before it.
const FLOOR_WINDOW: Duration = Duration::from_secs(1);
/// Loudness falls over so many packets of speech, a third of a second.
const LOUDNESS_FALL: f32 = 16.0;

/// Time constant of the averages of activity.
const SMOOTHING: Duration = Duration::from_millis(300);
/// Loud, in -dBov.
const LOUD: u8 = 35;
/// Level zero of what is told, in -dBov: half below what is loud at all, so that a quiet speaker is still seen.
const ZERO: f32 = 60.0;
const BEGINS: f32 = 0.4;
const ENDS: f32 = 0.1;
/// Levels are told in so many parts.
pub(super) const STEPS: f32 = 16.0;

/// The voice on one audio track.
#[derive(Debug, Default)]
pub(crate) struct Voice {
    activity: Activity,
    frames: Frames,
    floor: Floor,
    /// When it last had speech.
    spoke: Option<Instant>,
    /// Of its speech, in dB above level 127.
    loudness: f32,
}

/// What a packet told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Heard {
    /// It holds speech.
    pub speech: bool,
    /// The voice became active with it.
    pub began: bool,
}

impl Voice {
    /// A packet with this level byte (V bit and -dBov) arrived.
    #[inline]
    pub fn hear(&mut self, now: Instant, level: u8) -> Heard {
        // The V bit is left aside: encoders disagree on what it means.
        let level = level & SILENCE;
        let volume = SILENCE - level;
        let silent = self.frames.hear(now, volume);
        self.floor.note(now, volume, silent);
        let speech = volume >= self.floor.threshold();
        if speech {
            let fallen = self.loudness - (self.loudness - f32::from(volume)) / LOUDNESS_FALL;
            let paused = self.silent_for(now) > LOUDNESS_FORGOTTEN;
            self.loudness = if paused { f32::from(volume) } else { fallen.max(f32::from(volume)) };
            self.spoke = Some(now);
        }
        Heard { speech, began: self.activity.hear(now, level) }
    }

    /// How long ago it had speech.
    pub fn silent_for(&self, now: Instant) -> Duration {
        self.spoke.map_or(Duration::MAX, |spoke| now.saturating_duration_since(spoke))
    }

    /// When it last had speech.
    pub fn spoke(&self) -> Option<Instant> {
        self.spoke
    }

    /// How loud its speech was lately, in dB above level 127.
    pub fn loudness(&self) -> f32 {
        self.loudness
    }

    /// What is told of it now: the level, while it is active.
    pub fn settle(&mut self, now: Instant) -> Option<f32> {
        self.activity.settle(now)
    }

    /// By how many dB it was above its noise floor in each frame of the last second, newest first; 0 where it was too
    /// quiet for speech. `None`: there was no frame of speech.
    pub fn excess(&self, now: Instant) -> Option<[u8; FRAMES]> {
        let mut frames = self.frames.read(now)?;
        let (floor, quiet) = (self.floor.lowest(), SILENCE - QUIET);
        let mut some = false;
        for frame in &mut frames {
            *frame = if *frame < quiet { 0 } else { frame.saturating_sub(floor) };
            some |= *frame >= ABOVE_FLOOR;
        }
        some.then_some(frames)
    }
}

/// After so long without speech the next is as loud as it is.
const LOUDNESS_FORGOTTEN: Duration = Duration::from_millis(500);

/// The levels of the last second, frame by frame, in dB above level 127; 0 where nothing came.
#[derive(Debug)]
struct Frames {
    began: Option<Instant>,
    /// Number of the newest frame.
    newest: u64,
    levels: [u8; FRAMES],
}

impl Default for Frames {
    fn default() -> Self {
        Self { began: None, newest: 0, levels: [0; FRAMES] }
    }
}

impl Frames {
    /// True when there was silence before it, in which nothing was sent.
    fn hear(&mut self, now: Instant, volume: u8) -> bool {
        if self.began.is_none() {
            self.began = Some(now);
        }
        let frame = self.number(now);
        let passed = frame - self.newest;
        if passed == 0 {
            // Packets that come together, or of less than a frame.
            let level = &mut self.levels[place(frame)];
            *level = volume.max(*level);
            return false;
        }
        // A packet of up to 60 ms is all of its time; what is missing for longer was not sent.
        let silent = passed > LONGEST_PACKET;
        for number in self.newest.max(frame.saturating_sub(FRAMES as u64)) + 1..=frame {
            self.levels[place(number)] = if silent && number < frame { 0 } else { volume };
        }
        self.newest = frame;
        silent
    }

    /// Newest first. `None`: nothing came in the last second.
    fn read(&self, now: Instant) -> Option<[u8; FRAMES]> {
        self.began?;
        let mut frame = self.number(now);
        // The packet that is being made now is not missing yet.
        if frame - self.newest <= LONGEST_PACKET {
            frame = self.newest;
        }
        if frame - self.newest >= FRAMES as u64 {
            return None;
        }
        let mut levels = [0; FRAMES];
        for (level, number) in levels.iter_mut().zip((0..=frame).rev()) {
            *level = if number > self.newest { 0 } else { self.levels[place(number)] };
        }
        Some(levels)
    }

    /// Of the frame that is now; not before the newest.
    fn number(&self, now: Instant) -> u64 {
        let elapsed = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        ((elapsed.as_micros() / FRAME.as_micros()) as u64).max(self.newest)
    }
}

fn place(frame: u64) -> usize {
    (frame % FRAMES as u64) as usize
}

/// The noise of a microphone: the lowest level of the last one to two seconds, in dB above level 127. Speech has gaps
/// between syllables and words; noise has none.
#[derive(Debug, Default)]
struct Floor {
    /// The end of the window that runs.
    until: Option<Instant>,
    now: u8,
    /// Of the window before. `None`: there was none, and not much is known.
    before: Option<u8>,
}

impl Floor {
    fn note(&mut self, now: Instant, volume: u8, silent: bool) {
        let volume = if silent { 0 } else { volume };
        match self.until {
            None => (self.until, self.now) = (Some(now + FLOOR_WINDOW), volume),
            Some(until) if until <= now => {
                self.before = Some(self.now);
                (self.until, self.now) = (Some(now + FLOOR_WINDOW), volume);
            }
            Some(_) => self.now = self.now.min(volume),
        }
    }

    fn lowest(&self) -> u8 {
        self.before.map_or(self.now, |before| before.min(self.now))
    }

    /// From where on it is speech, for one who is to be heard at once: nothing is held against a microphone that was just
    /// opened.
    fn threshold(&self) -> u8 {
        let known = self.before.map_or(0, |_| self.lowest().saturating_add(ABOVE_FLOOR));
        known.max(SILENCE - QUIET)
    }
}

/// Whether it is told to speak, and how loud: the share of recent time that was loud, as an exponential average. A voice
/// becomes active with a quarter of a second of speech (a click or a door is shorter) and stays so for more than half a
/// second of silence, so that the pauses between words do not end it.
#[derive(Debug, Default)]
struct Activity {
    heard: Option<Instant>,
    share: f32,
    level: f32,
    active: bool,
}

impl Activity {
    /// True when it became active.
    fn hear(&mut self, now: Instant, dbov: u8) -> bool {
        let longest = FRAME * LONGEST_PACKET as u32;
        let gap = self.heard.map_or(longest, |heard| now.saturating_duration_since(heard));
        self.heard = Some(now);
        self.share *= fading(gap);
        let weight = 1.0 - fading(gap.min(longest));
        if dbov <= LOUD {
            self.share += weight;
            let level = 1.0 - f32::from(dbov) / ZERO;
            self.level = if self.active { self.level + (level - self.level) * weight } else { level };
        }
        let began = !self.active && self.share >= BEGINS;
        self.active |= began;
        began
    }

    fn settle(&mut self, now: Instant) -> Option<f32> {
        let gap = self.heard.map_or(Duration::ZERO, |heard| now.saturating_duration_since(heard));
        // The packet that is being made now is not missing yet.
        let silence = gap.saturating_sub(FRAME * LONGEST_PACKET as u32);
        self.active &= self.share * fading(silence) >= ENDS;
        self.active.then(|| (self.level.clamp(0.0, 1.0) * STEPS).ceil() / STEPS)
    }
}

fn fading(time: Duration) -> f32 {
    (-time.as_secs_f32() / SMOOTHING.as_secs_f32()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    #[test]
    fn missing_packets_are_silence_and_long_ones_are_not() {
        let (begin, mut voice) = (Instant::now(), Voice::default());
        for millis in (0..600).step_by(60) {
            voice.hear(at(begin, millis), 30);
        }
        let frames = voice.frames.read(at(begin, 550)).unwrap();
        assert_eq!(frames[..28], [97; 28], "packets of 60 ms");
        voice.hear(at(begin, 900), 30);
        let frames = voice.frames.read(at(begin, 900)).unwrap();
        assert_eq!(frames[..20].iter().filter(|level| **level == 0).count(), 17, "{frames:?}");
        assert!(voice.frames.read(at(begin, 1_800)).is_some());
        assert!(voice.frames.read(at(begin, 2_000)).is_none());
        assert!(voice.excess(at(begin, 900_000_000)).is_none());
    }

    #[test]
    fn a_hissing_microphone_has_no_speech_once_it_is_known() {
        let (begin, mut voice) = (Instant::now(), Voice::default());
        let heard: Vec<bool> =
            (0..150u64).map(|n| voice.hear(at(begin, n * 20), 30 + (n % 4) as u8).speech).collect();
        assert!(heard[0], "it may be somebody who unmutes and speaks");
        assert!(heard[51..].iter().all(|speech| !speech), "{heard:?}");
        assert!(voice.hear(at(begin, 3_000), 10).speech, "who speaks over his noise is heard");
    }

    #[test]
    fn the_floor_falls_at_once_and_rises_within_two_seconds() {
        let (begin, mut voice) = (Instant::now(), Voice::default());
        (0..100).for_each(|n| _ = voice.hear(at(begin, n * 20), 30));
        assert!(!voice.hear(at(begin, 2_000), 30).speech);
        voice.hear(at(begin, 2_020), 80);
        assert!(voice.hear(at(begin, 2_040), 30).speech);
        let hears = |n: u64| voice.hear(at(begin, 2_060 + n * 20), 30).speech;
        assert!((0..150).map(hears).last() == Some(false));
    }

    #[test]
    fn time_that_does_not_pass_or_jumps_does_no_harm() {
        let (begin, mut voice) = (Instant::now(), Voice::default());
        for millis in [0, 0, 0, 5, 5, 86_400_000, 86_400_000, 86_400_001, 10_000_000_000] {
            voice.hear(at(begin, millis), 0);
            voice.excess(at(begin, millis));
            voice.settle(at(begin, millis));
        }
        assert!(voice.excess(begin).is_some(), "earlier than the newest is the newest");
    }
}
