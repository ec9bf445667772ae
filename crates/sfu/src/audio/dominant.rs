//! Who has the floor: Volfin and Cohen, "Dominant speaker identification for multipoint videoconferencing" (2013), with
//! the changes that `docs/audio.md` tells.

use std::time::{Duration, Instant};

use base::TrackId;

use super::voice::{ABOVE_FLOOR, FRAMES};

/// How often it is decided, while somebody speaks.
pub(super) const INTERVAL: Duration = Duration::from_millis(300);

/// Of the immediate time: bands above the noise floor, and their height in dB.
const BANDS: u8 = 13;
const BAND: u8 = 3;
/// The newest frames, of which the loudest counts: a packet of 60 ms.
const NEWEST: usize = 3;
/// A frame is active with so many bands.
const ACTIVE_BANDS: u8 = ABOVE_FLOOR / BAND;
/// Of the medium time: frames in a block, and how many of them make it active.
const BLOCK: usize = 5;
const ACTIVE_FRAMES: u8 = 3;
/// Of the long time: blocks, and how many of them it takes to win at all.
const BLOCKS: usize = FRAMES / BLOCK;
const LEAST_BLOCKS: u8 = 5;
/// How fast the likelihood of noise falls with the count: λ of the paper.
const LAMBDA: [f32; 3] = [0.78, 24.0, 47.0];
/// By which the logarithms of the scores must differ: C1 to C3 of the paper, where C3 is 0.
const LEADS: [f32; 3] = [3.0, 2.0, 0.2];
/// Stands for every score that says noise.
const LEAST_SCORE: f32 = 1e-10;
/// Loud frames that differ by less, in dB, are of a steady sound.
const STEADY: u8 = 6;

/// How much a voice speaks over the three times: logarithms of its scores.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Scores {
    logs: [f32; 3],
    blocks: u8,
}

impl Scores {
    /// Of a voice that does not speak.
    pub const SILENCE: Self = Self { logs: [-23.025_85; 3], blocks: 0 };

    /// By how many dB the voice was above its noise in each frame of the last second, newest first.
    pub fn of(excess: &[u8; FRAMES]) -> Self {
        if is_steady(excess) {
            return Self::SILENCE;
        }
        let bands = |frame: &u8| (*frame / BAND).min(BANDS);
        let immediate = excess[..NEWEST].iter().map(bands).max().unwrap_or(0);
        let frames = |block: &[u8]| block.iter().filter(|frame| bands(frame) >= ACTIVE_BANDS).count() as u8;
        let medium = frames(&excess[..BLOCK]);
        let blocks = excess.chunks_exact(BLOCK).filter(|block| frames(block) >= ACTIVE_FRAMES).count() as u8;
        let logs = [
            score(immediate, BANDS, LAMBDA[0]),
            score(medium, BLOCK as u8, LAMBDA[1]),
            score(blocks, BLOCKS as u8, LAMBDA[2]),
        ];
        Self { logs: logs.map(f32::ln), blocks }
    }

    /// Takes the floor from `other`?
    fn beats(&self, other: &Self) -> bool {
        let leads = self.logs.iter().zip(&other.logs).zip(LEADS);
        self.blocks >= LEAST_BLOCKS && leads.into_iter().all(|((own, other), lead)| own - other > lead)
    }
}

/// How much likelier `count` active ones of `of` are in speech (binomial, p = 0.5) than in noise (exponential); a logarithm
/// itself.
fn score(count: u8, of: u8, lambda: f32) -> f32 {
    let choose: f32 = (0..count).map(|n| (f32::from(of - n) / f32::from(n + 1)).ln()).sum();
    let speech = choose + f32::from(of) * 0.5f32.ln();
    let noise = lambda.ln() - lambda * f32::from(count);
    (speech - noise).max(LEAST_SCORE)
}

/// All frames that are loud at all are equally loud: between the first and the last tenth of them.
fn is_steady(excess: &[u8; FRAMES]) -> bool {
    let mut loud = *excess;
    loud.sort_unstable();
    let loud = &loud[loud.partition_point(|frame| *frame < ABOVE_FLOOR)..];
    let tenth = loud.len() / 10;
    match (loud.get(tenth), loud.len().checked_sub(1 + tenth).and_then(|at| loud.get(at))) {
        (Some(low), Some(high)) => high - low < STEADY,
        _ => true,
    }
}

/// The dominant speaker of a room, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Dominant {
    current: Option<TrackId>,
    next: Option<Instant>,
}

impl Dominant {
    /// Whose voice it is. Stays until another takes the floor.
    pub fn current(&self) -> Option<TrackId> {
        self.current
    }

    /// The voice is gone or muted.
    pub fn remove(&mut self, track: TrackId) {
        self.current = self.current.filter(|current| *current != track);
    }

    /// Somebody speaks.
    pub fn wake(&mut self, now: Instant) {
        self.next.get_or_insert(now + INTERVAL);
    }

    /// When to call [`Self::decide`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Holds all who speak against the dominant one. True when the floor goes to another. `speaking` may be empty: then
    /// nobody is looked at until [`Self::wake`].
    pub fn decide(&mut self, now: Instant, speaking: &[(TrackId, Scores)]) -> bool {
        self.next = (!speaking.is_empty()).then(|| now + INTERVAL);
        let current = speaking.iter().find(|(track, _)| Some(*track) == self.current);
        let held = current.map_or(Scores::SILENCE, |(_, scores)| *scores);
        let challengers =
            speaking.iter().filter(|(track, scores)| Some(*track) != self.current && scores.beats(&held));
        let best = challengers.max_by(|a, b| a.1.logs[1].total_cmp(&b.1.logs[1]).then(b.0.cmp(&a.0)));
        if let Some((track, _)) = best {
            self.current = Some(*track);
        }
        best.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_the_least_score() {
        assert_eq!(Scores::of(&[0; FRAMES]), Scores::SILENCE);
        assert!((Scores::SILENCE.logs[0] - LEAST_SCORE.ln()).abs() < 1e-4);
        assert_eq!(score(0, BANDS, LAMBDA[0]), LEAST_SCORE);
        assert_eq!(score(ACTIVE_BANDS - 1, BANDS, LAMBDA[0]), LEAST_SCORE);
    }

    #[test]
    fn scores_grow_with_activity() {
        for (of, lambda) in [(5, LAMBDA[1]), (10, LAMBDA[2])] {
            let all: Vec<f32> = (0..=of).map(|count| score(count, of, lambda)).collect();
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
        }
        let loud = score(ACTIVE_BANDS, BANDS, LAMBDA[0]);
        assert!((loud - 0.93).abs() < 0.02, "of the paper's formula: {loud}");
    }

    #[test]
    fn a_steady_sound_is_silence() {
        let mut frames = [0; FRAMES];
        (0..30).for_each(|at| frames[at] = 30 + (at % 5) as u8);
        assert_eq!(Scores::of(&frames), Scores::SILENCE);
        (0..30).for_each(|at| frames[at] = 20 + (at % 12) as u8);
        assert!(Scores::of(&frames).blocks == 6);
    }
}
