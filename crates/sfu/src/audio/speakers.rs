//! What is told of who speaks: changes, not too often.

use std::time::{Duration, Instant};

use base::ParticipantId;
use base::model::Speaker;

use super::voice::STEPS;

/// Speakers are told at most this often.
const INTERVAL: Duration = Duration::from_millis(500);

/// What was told about a room's speakers, and when to tell more.
#[derive(Debug, Default)]
pub(super) struct Speakers {
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

    /// Compares who is `active` now, and how loud, with what was told: the changes, the loudest first. A participant may be
    /// named more than once; its loudest voice counts. Nobody is told as loud as the `dominant` one, should that be active:
    /// receivers order by level.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        mut active: Vec<(ParticipantId, f32)>,
        dominant: Option<(ParticipantId, f32)>,
    ) -> Vec<Speaker> {
        active.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        active.dedup_by_key(|(participant, _)| *participant);
        if let Some((dominant, most)) = dominant {
            let below = (most - 1.0 / STEPS).max(1.0 / STEPS);
            let others = active.iter_mut().filter(|(participant, _)| *participant != dominant);
            others.for_each(|(_, level)| *level = level.min(below));
        }
        let mut changes: Vec<_> = active
            .iter()
            .filter(|now| !self.told.contains(now))
            .map(|&(participant, level)| Speaker { participant, level, active: true })
            .collect();
        changes.sort_by(|a, b| b.level.total_cmp(&a.level));
        let gone = |told: &ParticipantId| active.binary_search_by_key(told, |now| now.0).is_err();
        let stopped = self.told.iter().map(|(participant, _)| *participant).filter(gone);
        changes.extend(stopped.map(|participant| Speaker { participant, level: 0.0, active: false }));
        self.told = active;
        self.last = Some(now);
        // Somebody who speaks will stop; silence needs no looking at.
        self.next = (!self.told.is_empty()).then(|| now + INTERVAL);
        changes
    }
}
