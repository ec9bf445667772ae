//! What the receivers of a publication ask for, so that its publisher sends no more (dynacast).

use std::time::{Duration, Instant};

use base::model::TrackSettings;

use crate::media::{Event, Events, Sink};
use crate::publication::Publication;
use crate::select;

/// So long after it was last wanted a layer is told not to be: who turns pages does not stop and start encoders.
const HOLD: Duration = Duration::from_secs(5);

/// What was told of one publication.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// `None`: nothing was told yet. In it, `None`: nobody wants any.
    told: Option<Option<u8>>,
    /// What is wanted now.
    now: Option<u8>,
    /// When less is told.
    down_at: Option<Instant>,
}

impl Demand {
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.down_at
    }

    /// The highest layer that is wanted now. Returns what is to be told.
    fn set(&mut self, now: Instant, highest: Option<u8>) -> Option<Option<u8>> {
        if highest.is_some() && self.told.is_none_or(|told| highest > told) {
            (self.told, self.now, self.down_at) = (Some(highest), highest, None);
            return self.told;
        }
        if self.told == Some(highest) {
            self.down_at = None;
        } else if self.down_at.is_none() || self.now != highest {
            self.down_at = Some(now + HOLD);
        }
        self.now = highest;
        None
    }

    /// Time passed. Returns what is to be told.
    fn handle_timeout(&mut self, now: Instant) -> Option<Option<u8>> {
        self.down_at.take_if(|at| *at <= now)?;
        self.told = Some(self.now);
        self.told
    }

    /// The publication ends: a new one is told anew.
    fn forget(&mut self) {
        *self = Self::default();
    }
}

impl<S: Sink> Publication<S> {
    /// What one receiver asks for changed from `before`, or it is new.
    pub(crate) fn note_demand_of(
        &mut self,
        now: Instant,
        row: usize,
        before: Option<u8>,
        events: &mut Events<S>,
    ) {
        let after = self.asked(&self.rows[row].settings);
        // It made no difference, and makes none.
        if self.demand.told.is_some() && before.max(after) < self.demand.now {
            return;
        }
        let most = before.max(after).max(self.demand.now).unwrap_or(0);
        self.note_demand(now, most, events);
    }

    /// Settings, subscriptions or layers changed. Nobody asks for more than `most`.
    pub(crate) fn note_demand(&mut self, now: Instant, most: u8, events: &mut Events<S>) {
        if !self.is_video() {
            return self.demand.forget();
        }
        let mut highest = None;
        for row in &self.rows {
            highest = highest.max(self.asked(&row.settings));
            if highest >= Some(most) {
                break;
            }
        }
        if let Some(highest) = self.demand.set(now, highest) {
            events.push_back(Event::WantedLayer { track: self.track, highest });
        }
    }

    pub(crate) fn settle_demand(&mut self, now: Instant, events: &mut Events<S>) {
        if let Some(highest) = self.demand.handle_timeout(now) {
            events.push_back(Event::WantedLayer { track: self.track, highest });
        }
    }

    /// The highest layer that somebody with these settings asks for.
    pub(crate) fn asked(&self, settings: &TrackSettings) -> Option<u8> {
        let announced = self.spec.as_ref().map_or(&[][..], |spec| &spec.sizes);
        let count = self.count();
        let within = self.layers.first().filter(|_| count == 1).map(|layer| layer.within.spatial());
        match within {
            None => select::wanted(settings, count, announced),
            Some((spatial, sizes)) if spatial > 1 => select::wanted(settings, spatial, sizes),
            // It has told no layers of its own, perhaps not yet.
            Some(_) => select::wanted(settings, announced.len().clamp(1, 8) as u8, announced),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_at_once_and_down_after_a_while() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut demand = Demand::default();
        assert_eq!(demand.set(at(0), None), None, "somebody may come yet");
        assert_eq!(demand.poll_timeout(), Some(at(5)));
        assert_eq!(demand.set(at(1), Some(1)), Some(Some(1)));
        assert_eq!(demand.poll_timeout(), None);
        assert_eq!(demand.set(at(2), Some(2)), Some(Some(2)));
        assert_eq!(demand.set(at(3), Some(1)), None);
        assert_eq!(demand.set(at(4), Some(2)), None, "who comes and goes is not told");
        assert_eq!(demand.poll_timeout(), None);
        assert_eq!(demand.set(at(5), Some(1)), None);
        assert_eq!(demand.set(at(6), Some(1)), None);
        assert_eq!(demand.handle_timeout(at(9)), None);
        assert_eq!(demand.handle_timeout(at(10)), Some(Some(1)));
        assert_eq!(demand.set(at(10), None), None);
        assert_eq!(demand.handle_timeout(at(15)), Some(None));
        assert_eq!(demand.poll_timeout(), None);
    }

    #[test]
    fn nobody_at_all_is_told_too() {
        let begin = Instant::now();
        let mut demand = Demand::default();
        demand.set(begin, None);
        assert_eq!(demand.handle_timeout(begin + HOLD), Some(None));
        assert_eq!(demand.set(begin + HOLD, None), None);
        assert_eq!(demand.poll_timeout(), None);
    }
}
