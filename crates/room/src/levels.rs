//! Who speaks and how well connections do, told to each participant for itself and for those it receives from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base::ParticipantId;
use base::model::{Notice, Quality, Speaker};

use crate::announce::fold_window;
use crate::throttle::Throttle;
use crate::{Event, Room};

/// Speakers are told at most this often in small rooms; the media plane reports them every 500 ms.
const SPEAKERS_INTERVAL: Duration = Duration::from_millis(300);
/// And this often in large ones: who speaks is news for seconds.
const LONGEST_SPEAKERS_INTERVAL: Duration = Duration::from_secs(1);
/// Connection quality is told at most this often in small rooms.
const QUALITY_INTERVAL: Duration = Duration::from_secs(1);
/// What each participant adds to it beyond that, up to what LiveKit's server takes in any room.
const QUALITY_PER_PARTICIPANT: Duration = Duration::from_millis(25);
const LONGEST_QUALITY_INTERVAL: Duration = Duration::from_secs(5);

/// What the room knows.
#[derive(Default)]
pub(crate) struct Levels {
    speaking: BTreeMap<ParticipantId, f32>,
    speakers_due: Throttle,
    quality: BTreeMap<ParticipantId, Quality>,
    quality_changed: BTreeSet<ParticipantId>,
    quality_due: Throttle,
}

/// What one participant was told.
#[derive(Default)]
pub(crate) struct Told {
    speakers: BTreeMap<ParticipantId, f32>,
    /// Whose quality it is still to be told because it only now receives from them.
    quality_owed: BTreeSet<ParticipantId>,
}

impl Levels {
    pub fn due(&self) -> Option<Instant> {
        [self.speakers_due.due(), self.quality_due.due()].into_iter().flatten().min()
    }
}

impl Room {
    /// The media plane says who started, changed or stopped speaking.
    pub fn set_speakers(&mut self, now: Instant, changes: &[Speaker]) {
        for change in changes {
            if !self.members.get(&change.participant).is_some_and(|member| member.is_visible()) {
                continue;
            }
            if change.active {
                self.levels.speaking.insert(change.participant, change.level);
            } else {
                self.levels.speaking.remove(&change.participant);
            }
        }
        self.request_speakers(now);
    }

    /// The media plane says how a participant's connection does.
    pub fn set_quality(&mut self, now: Instant, id: ParticipantId, quality: Quality) {
        if !self.members.contains_key(&id) || self.levels.quality.insert(id, quality) == Some(quality) {
            return;
        }
        self.levels.quality_changed.insert(id);
        self.request_quality(now);
    }

    /// `receiver` starts or stops receiving something of `publisher`.
    pub(crate) fn audible_changed(
        &mut self,
        now: Instant,
        receiver: ParticipantId,
        publisher: ParticipantId,
    ) {
        let was_told =
            self.members.get(&receiver).is_some_and(|member| member.told.speakers.contains_key(&publisher));
        if was_told || self.levels.speaking.contains_key(&publisher) {
            self.request_speakers(now);
        }
        self.owe_quality(now, receiver, publisher);
    }

    /// A participant is gone, and with it what others heard of it.
    pub(crate) fn forget_levels(&mut self, id: ParticipantId) {
        self.levels.speaking.remove(&id);
        self.levels.quality.remove(&id);
        self.levels.quality_changed.remove(&id);
        for member in self.members.values_mut() {
            member.told.speakers.remove(&id);
            member.told.quality_owed.remove(&id);
        }
    }

    pub(crate) fn flush_levels(&mut self, now: Instant) {
        if self.levels.speakers_due.take(now) {
            self.flush_speakers();
        }
        if self.levels.quality_due.take(now) {
            self.flush_quality();
        }
    }

    fn flush_speakers(&mut self) {
        for (receiver, member) in &mut self.members {
            let current: BTreeMap<ParticipantId, f32> = self
                .levels
                .speaking
                .iter()
                .filter(|(id, _)| member.follows(**id))
                .map(|(id, level)| (*id, *level))
                .collect();
            let news = differences(&member.told.speakers, &current);
            member.told.speakers = current;
            if !news.is_empty() {
                self.events.push_back(Event::Notice(*receiver, Notice::Speakers(news)));
            }
        }
    }

    fn flush_quality(&mut self) {
        let changed = std::mem::take(&mut self.levels.quality_changed);
        for (receiver, member) in &mut self.members {
            let owed = std::mem::take(&mut member.told.quality_owed);
            let follows = |id: &&ParticipantId| member.follows(**id);
            let whose: BTreeSet<ParticipantId> = owed.union(&changed).filter(follows).copied().collect();
            let news: Vec<(ParticipantId, Quality)> =
                whose.into_iter().filter_map(|id| Some((id, *self.levels.quality.get(&id)?))).collect();
            if !news.is_empty() {
                self.events.push_back(Event::Notice(*receiver, Notice::Quality(news)));
            }
        }
    }

    fn owe_quality(&mut self, now: Instant, receiver: ParticipantId, publisher: ParticipantId) {
        let Some(member) = self.members.get_mut(&receiver) else { return };
        // Nothing said means excellent.
        let known = self.levels.quality.get(&publisher).is_some_and(|quality| *quality != Quality::Excellent);
        if known && member.heard.get(&publisher) == Some(&1) {
            member.told.quality_owed.insert(publisher);
            self.request_quality(now);
        }
    }

    fn request_speakers(&mut self, now: Instant) {
        let window = fold_window(self.members.len());
        let interval = window.clamp(SPEAKERS_INTERVAL, LONGEST_SPEAKERS_INTERVAL);
        self.levels.speakers_due.request(now, interval);
    }

    fn request_quality(&mut self, now: Instant) {
        let count = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let window = QUALITY_PER_PARTICIPANT.saturating_mul(count);
        let interval = window.clamp(QUALITY_INTERVAL, LONGEST_QUALITY_INTERVAL);
        self.levels.quality_due.request(now, interval);
    }
}

/// Who speaks now and did not, or louder or softer; and who stopped.
fn differences(told: &BTreeMap<ParticipantId, f32>, now: &BTreeMap<ParticipantId, f32>) -> Vec<Speaker> {
    let started = now.iter().filter(|(id, level)| told.get(id) != Some(level)).map(|(id, level)| Speaker {
        participant: *id,
        level: *level,
        active: true,
    });
    let stopped = told.keys().filter(|id| !now.contains_key(id)).map(|id| Speaker {
        participant: *id,
        level: 0.0,
        active: false,
    });
    started.chain(stopped).collect()
}
