//! Telling everybody about everybody: folded where it can wait, at once where negotiation waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::model::{Notice, Participant};
use base::{Identity, ParticipantId};

use crate::throttle::Throttle;
use crate::{Event, Room};

/// Longest time that a change of somebody who publishes nothing waits to be told.
const LONGEST_WINDOW: Duration = Duration::from_secs(1);
/// What each participant adds to the window: N changes told to N participants stay below 200 N notices a second.
const WINDOW_PER_PARTICIPANT: Duration = Duration::from_millis(5);
/// How often the numbers in the room's own data are told.
const INFO_INTERVAL: Duration = Duration::from_secs(5);

/// How long changes are collected in a room of this size, after one that was told at once.
pub fn fold_window(participants: usize) -> Duration {
    let count = u32::try_from(participants).unwrap_or(u32::MAX);
    WINDOW_PER_PARTICIPANT.saturating_mul(count).min(LONGEST_WINDOW)
}

/// Changes that wait to be told together.
#[derive(Default)]
pub(crate) struct Fold {
    pending: BTreeMap<ParticipantId, Change>,
    throttle: Throttle,
}

struct Change {
    /// The room's sequence at the (latest) change: who joined later knows it.
    sequence: u64,
    /// Set while its arrival waits too: who joined before this sequence does not know it at all.
    unknown_before: Option<u64>,
    /// It left; otherwise the current value is told.
    left: Option<Arc<Participant>>,
}

impl Fold {
    pub fn due(&self) -> Option<Instant> {
        self.throttle.due()
    }

    fn put(&mut self, id: ParticipantId, change: Change) {
        self.pending.insert(id, change);
    }

    /// Forgets what waits about `id`. Returns since when its arrival waited.
    fn forget(&mut self, id: ParticipantId) -> Option<u64> {
        self.pending.remove(&id).and_then(|change| change.unknown_before)
    }

    /// Somebody left and comes back before it was told: as if it had been replaced.
    fn forget_departure(&mut self, identity: &Identity) -> Option<Option<u64>> {
        let is_same = |change: &Change| {
            change.left.as_ref().is_some_and(|participant| participant.identity == *identity)
        };
        let id = *self.pending.iter().find(|(_, change)| is_same(change))?.0;
        Some(self.forget(id))
    }
}

/// What the others know of the identity that arrives.
pub(crate) struct Predecessor {
    /// Since when the arrival of the predecessor itself waits to be told.
    pub unknown_before: Option<u64>,
    /// It had tracks.
    pub published: bool,
}

impl Room {
    /// The predecessor of an arriving identity whose departure was not told yet.
    pub(crate) fn untold_departure(&mut self, identity: &Identity) -> Option<Predecessor> {
        let unknown_before = self.fold.forget_departure(identity)?;
        Some(Predecessor { unknown_before, published: false })
    }

    /// `id` goes without being reported as gone: the same identity takes its place.
    pub(crate) fn forget_untold(&mut self, id: ParticipantId, published: bool) -> Predecessor {
        Predecessor { unknown_before: self.fold.forget(id), published }
    }

    /// Tells the others that `id` is here.
    pub(crate) fn announce_arrival(
        &mut self,
        now: Instant,
        id: ParticipantId,
        predecessor: Option<Predecessor>,
    ) {
        let Some(member) = self.members.get(&id).filter(|member| member.is_visible()) else { return };
        let sequence = member.joined;
        if predecessor.as_ref().is_some_and(|old| old.published) {
            // Others just lost its tracks and are about to renegotiate: they learn at once that it is back.
            self.tell_others_now(id);
            return;
        }
        // Those who knew the predecessor know the identity.
        let unknown_before = predecessor.map_or(Some(sequence), |old| old.unknown_before);
        self.fold.put(id, Change { sequence, unknown_before, left: None });
        self.request_flush(now);
    }

    /// Tells the participant now and the others soon that it changed.
    pub(crate) fn announce_change(&mut self, now: Instant, id: ParticipantId) {
        self.tell_itself(id);
        if !self.members.get(&id).is_some_and(|member| member.is_visible()) {
            return;
        }
        let sequence = self.next_sequence();
        let unknown_before = self.fold.forget(id);
        self.fold.put(id, Change { sequence, unknown_before, left: None });
        self.request_flush(now);
    }

    /// Tells everybody now: its tracks changed.
    pub(crate) fn announce_now(&mut self, id: ParticipantId) {
        self.tell_itself(id);
        if self.members.get(&id).is_some_and(|member| member.is_visible()) {
            self.tell_others_now(id);
        }
    }

    /// Tells the others that a visible participant is gone; at once when it had tracks.
    pub(crate) fn announce_departure(&mut self, now: Instant, gone: Arc<Participant>, published: bool) {
        let (id, sequence) = (gone.id, self.next_sequence());
        let unknown_before = self.fold.forget(id);
        self.fold.put(id, Change { sequence, unknown_before, left: Some(gone) });
        if published {
            self.flush_one(id);
        } else {
            self.request_flush(now);
        }
    }

    /// Tells what has waited long enough.
    pub(crate) fn flush_participants(&mut self, now: Instant) {
        if self.fold.throttle.take(now) {
            let pending = std::mem::take(&mut self.fold.pending);
            self.tell_changes(&pending);
        }
    }

    /// Tells the room's own data to those whose welcome does not have it: now, or with the next numbers.
    pub(crate) fn announce_info(&mut self, now: Instant, at_once: bool) {
        let interval = if at_once { Duration::ZERO } else { INFO_INTERVAL };
        if at_once {
            // Brings forward what already waits.
            self.info_told = Throttle::default();
        }
        self.info_changed = self.next_sequence();
        self.info_told.request(now, interval);
    }

    pub(crate) fn flush_info(&mut self, now: Instant) {
        if self.info_told.take(now) {
            for (id, _) in self.members.iter().filter(|(_, member)| member.joined < self.info_changed) {
                self.events.push_back(Event::Notice(*id, Notice::Room(self.info.clone())));
            }
        }
    }

    fn request_flush(&mut self, now: Instant) {
        self.fold.throttle.request(now, fold_window(self.members.len()));
    }

    fn flush_one(&mut self, id: ParticipantId) {
        if let Some(change) = self.fold.pending.remove(&id) {
            self.tell_changes(&BTreeMap::from([(id, change)]));
        }
    }

    fn tell_others_now(&mut self, id: ParticipantId) {
        let sequence = self.next_sequence();
        self.fold.put(id, Change { sequence, unknown_before: None, left: None });
        self.flush_one(id);
    }

    fn tell_itself(&mut self, id: ParticipantId) {
        if let Some(member) = self.members.get(&id) {
            let notice = Notice::Participants(vec![Arc::clone(&member.value)]);
            self.tell(id, notice);
        }
    }

    fn tell_changes(&mut self, changes: &BTreeMap<ParticipantId, Change>) {
        // Those who left first: clients remove by identity, and the same identity may have arrived again.
        let current = |id: &ParticipantId| self.members.get(id).map(|member| &member.value);
        let gone = changes.values().filter_map(|change| Some((change, change.left.as_ref()?)));
        let here = changes.iter().filter_map(|(id, change)| match change.left {
            Some(_) => None,
            None => Some((change, current(id)?)),
        });
        let told: Vec<(&Change, &Arc<Participant>)> = gone.chain(here).collect();
        for (receiver, member) in &self.members {
            let news: Vec<Arc<Participant>> = told
                .iter()
                .filter(|(change, value)| value.id != *receiver && is_news(change, member.joined))
                .map(|(_, value)| Arc::clone(value))
                .collect();
            if !news.is_empty() {
                self.events.push_back(Event::Notice(*receiver, Notice::Participants(news)));
            }
        }
    }
}

/// Does this change say something to who joined at `joined`?
fn is_news(change: &Change, joined: u64) -> bool {
    let never_heard_of_it = change.unknown_before.is_some_and(|since| joined < since);
    joined < change.sequence && !(change.left.is_some() && never_heard_of_it)
}
