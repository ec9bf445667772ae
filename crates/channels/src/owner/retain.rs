//! Retention: what a channel's settings say is not kept any more lies below its floor; what no channel of the partition keeps, and the last
//! checkpoint knows of as removed, goes from the index and from the log.

use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backplane::{Failed, Log};
use base::{ChannelId, UnixMillis};
use messaging::event::{Entry, Event, Record, Settings};
use messaging::partition::State;
use messaging::place::{Mark, Vector};
use tokio::task::JoinHandle;

use super::Service;
use crate::extract;
use crate::handle::{Shared, wall};
use crate::history::Run;

/// Channels that are looked at in one round.
const ROUND: usize = 64;
/// Events that are removed at once.
const REMOVED: usize = 1_024;

/// Where retention has come to.
#[derive(Default)]
pub struct Retention {
    next: Option<Instant>,
    /// The last channel looked at.
    after: Option<ChannelId>,
    round: Option<JoinHandle<Floors>>,
}

/// New floors of channels.
pub type Floors = Vec<(ChannelId, Mark)>;

impl Retention {
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next.filter(|_| self.round.is_none())
    }

    /// The floors that a round found. Never, when there is none.
    pub async fn found(&mut self) -> Floors {
        let Some(round) = &mut self.round else { return std::future::pending().await };
        // One that panicked has said so.
        let floors = round.await.unwrap_or_default();
        self.round = None;
        floors
    }
}

impl<L: Log> Service<'_, L> {
    /// Looks at the next channels that do not keep everything, if it is time.
    pub(super) fn retain(&mut self) {
        let (now, every) = (Instant::now(), self.settings.retain_every);
        if self.retention.round.is_some() || self.retention.next.is_some_and(|next| now < next) {
            return;
        }
        let is_first = self.retention.next.replace(now + every).is_none();
        if is_first {
            return;
        }
        let from = self.retention.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let covered = self.checkpointed.0;
        let limited =
            self.partition.state().channels.range((from, Bound::Unbounded)).filter(|(_, channel)| {
                let settings = channel.settings();
                settings.keep_for > 0 || settings.keep_newest > 0
            });
        let region = self.shared.region;
        let wanted: Vec<Limited> = limited
            .take(ROUND)
            .map(|(name, channel)| Limited {
                channel: name.clone(),
                settings: channel.settings().clone(),
                count: channel.head(region).map_or(0, |head| head.count),
                floor: channel.floor().place(region).map_or(0, |place| place.n),
                covered,
            })
            .collect();
        self.retention.after =
            wanted.last().filter(|_| wanted.len() == ROUND).map(|last| last.channel.clone());
        if wanted.is_empty() {
            return;
        }
        let (shared, partition, wall) = (Arc::clone(&self.shared), self.number, wall());
        self.retention.round = Some(tokio::spawn(async move {
            let mut floors = Vec::new();
            for limited in wanted {
                let floor = limited.floor(&shared, partition, wall).await;
                floors.extend(floor.map(|floor| (limited.channel, floor)));
            }
            floors
        }));
    }

    /// What is below is not shown from now on. Who listens looks again.
    pub(super) fn raise_floors(&mut self, floors: Floors) {
        let region = self.shared.region;
        for (channel, mark) in floors {
            let floor: Vector = std::iter::once((region, mark)).collect();
            self.partition.forget(&channel, &floor);
        }
    }
}

/// A channel that does not keep everything.
struct Limited {
    channel: ChannelId,
    settings: Settings,
    /// Messages so far.
    count: u64,
    floor: u64,
    /// Nothing above is removed: no checkpoint covers it.
    covered: u64,
}

impl Limited {
    /// The last event that is not kept; `None`: there is none above the floor. What is not kept comes before what is, so that it is found by
    /// halving.
    async fn floor(&self, shared: &Arc<Shared>, partition: u16, now: UnixMillis) -> Option<Mark> {
        let (mut low, mut high) = (self.floor, self.covered + 1);
        let mut found = None;
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            // The first at or above the middle, if there is one.
            let event = self.item(shared, partition, middle - 1, high).await?;
            match event {
                Some(event) if self.is_over(&event, now) => {
                    low = event.id.place.n;
                    found = Some(Mark { place: event.id.place, count: event.count });
                }
                _ => high = middle,
            }
        }
        found
    }

    fn is_over(&self, event: &Event, now: UnixMillis) -> bool {
        let Settings { keep_for, keep_newest, .. } = self.settings;
        let is_old = keep_for > 0 && event.clock.millis().0.saturating_add(keep_for) < now.0;
        is_old || (keep_newest > 0 && event.count.saturating_add(keep_newest) <= self.count)
    }

    /// The first item between two numbers. `None`: it cannot be known now.
    async fn item(
        &self,
        shared: &Arc<Shared>,
        partition: u16,
        after: u64,
        before: u64,
    ) -> Option<Option<Arc<Event>>> {
        let (name, run) = (self.channel.clone(), Run { after, before, newest_first: false, max: 1 });
        let numbers = shared.look_up(move |index| run.numbers(index, &name)).await.ok()?;
        Some(shared.fetch(partition, &numbers).await.ok()?.pop())
    }
}

/// The number below which no channel keeps anything, as a checkpoint of this state says.
pub(super) fn first_kept(state: &State) -> u64 {
    let kept = |channel: &messaging::channel::Channel| {
        channel.floor().place(state.region).map_or(0, |place| place.n)
    };
    state.channels.values().map(kept).min().unwrap_or(0) + 1
}

/// Removes what is below number `first` from the index, then from the log. A checkpoint has to cover it.
pub(super) async fn remove<L: Log>(
    log: &L,
    shared: &Arc<Shared>,
    partition: u16,
    first: u64,
) -> Result<(), Failed> {
    let mut from = log.extent(partition).await?.first;
    if from >= first {
        return Ok(());
    }
    while from < first {
        let records = log.read(partition, from, REMOVED).await?;
        let Some(last) = records.last().map(|record| record.at.n) else { break };
        let events: Vec<Arc<Event>> = records
            .iter()
            .filter(|record| record.at.n < first)
            .filter_map(|record| match Record::read(&record.payload) {
                Ok(Record { entry: Entry::Event { event }, .. }) => Some(event),
                _ => None,
            })
            .collect();
        let shared = Arc::clone(shared);
        let forget = move || {
            shared.index.note(|changes| events.iter().for_each(|event| extract::forget(event, changes)))
        };
        let done = tokio::task::spawn_blocking(forget).await.map_err(|error| Failed(error.to_string()))?;
        done.map_err(|error| Failed(error.to_string()))?;
        from = last + 1;
    }
    log.trim(partition, first).await
}

/// How often retention looks, where nothing else is said.
pub const EVERY: Duration = Duration::from_secs(60);
