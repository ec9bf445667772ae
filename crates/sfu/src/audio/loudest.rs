//! Whose microphones are forwarded where there are more than a room can bear: the loudest few. Told in `docs/audio.md`.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use base::TrackId;

use super::voice::Voice;

/// Who had speech within this time keeps its place: a pause between words, and what a jitter buffer holds.
const HOLD: Duration = Duration::from_millis(500);
/// Clearly louder, in dB: twice the sound pressure.
const CLEARLY: f32 = 6.0;
/// Loudness is compared in steps of so many dB, so that equals are told apart by something that does not flutter.
const STEP: f32 = 3.0;

/// What a microphone has to show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    track: TrackId,
    /// It speaks, or did within the hold: how loud, in dB.
    speaking: Option<f32>,
    spoke: Option<Instant>,
}

impl Standing {
    pub fn of(now: Instant, track: TrackId, voice: &Voice) -> Self {
        let speaks = voice.silent_for(now) <= HOLD;
        Self { track, speaking: speaks.then(|| voice.loudness()), spoke: voice.spoke() }
    }

    /// A total order: who speaks before who does not; of those the louder, of the others who spoke later; then the lower
    /// id.
    pub fn rank(&self, other: &Self) -> Ordering {
        let step = |standing: &Self| standing.speaking.map(|loudness| (loudness / STEP) as u32);
        let silent = |standing: &Self| standing.spoke.filter(|_| standing.speaking.is_none());
        step(self).cmp(&step(other)).then(silent(self).cmp(&silent(other))).then(other.track.cmp(&self.track))
    }

    /// Takes the place of `held`, now that a packet of speech came?
    pub fn displaces(&self, held: &Self) -> bool {
        match (self.speaking, held.speaking) {
            (Some(own), Some(held)) => own >= held + CLEARLY,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(track: u64, speaking: Option<f32>, spoke: Option<Instant>) -> Standing {
        Standing { track: TrackId(track), speaking, spoke }
    }

    #[test]
    fn the_order_is_total_and_speech_comes_first() {
        let begin = Instant::now();
        let later = begin + Duration::from_millis(1);
        let ranked = [
            standing(9, None, None),
            standing(1, None, None),
            standing(1, None, Some(begin)),
            standing(9, None, Some(later)),
            standing(8, Some(80.0), Some(begin)),
            standing(2, Some(79.0), Some(later)),
            standing(9, Some(90.0), Some(begin)),
        ];
        for (a, left) in ranked.iter().enumerate() {
            for (b, right) in ranked.iter().enumerate() {
                assert_eq!(left.rank(right), a.cmp(&b), "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn a_place_is_taken_from_the_silent_and_from_the_clearly_softer() {
        let begin = Some(Instant::now());
        let loud = standing(1, Some(90.0), begin);
        assert!(loud.displaces(&standing(2, None, begin)));
        assert!(loud.displaces(&standing(2, Some(84.0), begin)));
        assert!(!loud.displaces(&standing(2, Some(85.0), begin)));
        assert!(!standing(1, None, begin).displaces(&standing(2, None, None)));
    }
}
