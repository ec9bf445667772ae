//! Who speaks, from the levels that clients put beside their audio (RFC 6464), without decoding any.
//!
//! A packet is *loud* at -35 dBov or above, where speech lies and noise seldom does. *Activity* is the share of recent
//! time that was loud: an exponential average over 300 ms. A voice becomes active at 40 % (a quarter of a second of speech;
//! a click or a door is shorter) and stays so until 10 % (more than half a second of silence, so that the pauses between
//! words do not end it). Missing packets are silence: that is how discontinuous transmission looks.
//! The level told is that of its loud packets, in steps, so that it changes seldom.

use std::time::{Duration, Instant};

use base::ParticipantId;
use base::model::Speaker;

/// Speakers are told at most this often.
const INTERVAL: Duration = Duration::from_millis(500);
/// Time constant of the averages.
const SMOOTHING: Duration = Duration::from_millis(300);
/// Loud, in -dBov.
const LOUD: u8 = 35;
/// Level zero, in -dBov: half below what is loud at all, so that a quiet speaker is still seen.
const FLOOR: f32 = 60.0;
const BEGINS: f32 = 0.4;
const ENDS: f32 = 0.1;
/// Levels are told in sixteenths.
const STEPS: f32 = 16.0;
/// The longest stretch of sound in one packet: Opus frames of 60 ms (RFC 7587 allows 120 ms, nobody sends it).
const LONGEST_PACKET: Duration = Duration::from_millis(60);

/// The voice on one audio track.
#[derive(Debug, Default)]
pub(crate) struct Voice {
    heard: Option<Instant>,
    activity: f32,
    level: f32,
    active: bool,
}

impl Voice {
    /// A packet with this level byte (V bit and -dBov) arrived. True when the voice became active with it.
    pub fn hear(&mut self, now: Instant, level: u8) -> bool {
        let gap = self.heard.map_or(LONGEST_PACKET, |heard| now.saturating_duration_since(heard));
        self.heard = Some(now);
        self.activity *= fading(gap);
        let weight = 1.0 - fading(gap.min(LONGEST_PACKET));
        // The V bit is left aside: encoders disagree on what it means.
        let dbov = level & 0x7F;
        if dbov <= LOUD {
            self.activity += weight;
            let level = 1.0 - f32::from(dbov) / FLOOR;
            self.level = if self.active { self.level + (level - self.level) * weight } else { level };
        }
        let began = !self.active && self.activity >= BEGINS;
        self.active |= began;
        began
    }

    /// What is told of it now: the level, while it is active.
    pub fn settle(&mut self, now: Instant) -> Option<f32> {
        let gap = self.heard.map_or(Duration::ZERO, |heard| now.saturating_duration_since(heard));
        // The packet that is being made now is not missing yet.
        let silence = gap.saturating_sub(LONGEST_PACKET);
        self.active &= self.activity * fading(silence) >= ENDS;
        self.active.then(|| (self.level.clamp(0.0, 1.0) * STEPS).ceil() / STEPS)
    }
}

fn fading(time: Duration) -> f32 {
    (-time.as_secs_f32() / SMOOTHING.as_secs_f32()).exp()
}

/// What was told about a room's speakers, and when to tell more.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    /// By participant.
    told: Vec<(ParticipantId, f32)>,
    last: Option<Instant>,
    next: Option<Instant>,
}

impl Speakers {
    /// Something changed: look as soon as the interval allows.
    pub fn wake(&mut self, now: Instant) {
        let allowed = self.last.map_or(now, |last| now.max(last + INTERVAL));
        self.next = Some(self.next.map_or(allowed, |next| next.min(allowed)));
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// Compares who is active now, and how loud, with what was told: the changes, by participant. A participant may be
    /// named more than once; its loudest voice counts.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        active: impl Iterator<Item = (ParticipantId, f32)>,
    ) -> Vec<Speaker> {
        let mut current: Vec<_> = active.collect();
        current.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        current.dedup_by_key(|(participant, _)| *participant);
        let mut changes: Vec<_> = current
            .iter()
            .filter(|now| !self.told.contains(now))
            .map(|&(participant, level)| Speaker { participant, level, active: true })
            .collect();
        let gone = |told: &ParticipantId| current.binary_search_by_key(told, |now| now.0).is_err();
        let stopped = self.told.iter().map(|(participant, _)| *participant).filter(gone);
        changes.extend(stopped.map(|participant| Speaker { participant, level: 0.0, active: false }));
        self.told = current;
        self.last = Some(now);
        // Somebody who speaks will stop; silence needs no looking at.
        self.next = (!self.told.is_empty()).then(|| now + INTERVAL);
        changes
    }
}
