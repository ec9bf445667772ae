//! From nothing to an owner that may serve: claim, checkpoint, the rest of the log.

use std::sync::Arc;
use std::time::Duration;

use backplane::{Changed, Extent, Failed, Log, Ownership, Position};
use messaging::event::{Entry, Event, Record};
use messaging::partition::{Partition, State};

use super::Owner;
use crate::extract;
use crate::handle::Shared;
use crate::listen::lock;
use crate::tail::KEPT;

/// Records that are read at once.
const READ: usize = 1_024;
/// Between two tries to start.
const AGAIN: Duration = Duration::from_secs(1);

/// What an owner begins with.
pub struct Started {
    pub partition: Partition,
    /// The number that the checkpoint covers.
    pub checkpointed: u64,
}

impl<L: Log, O: Ownership> Owner<L, O> {
    /// Restores the partition, however often it has to be tried. `None`: it is closed.
    pub(super) async fn start(&mut self) -> Option<Started> {
        loop {
            let mut closing = self.closing.clone();
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => return None,
                started = self.restore() => match started {
                    Ok(started) => return Some(started),
                    Err(why) => {
                        tracing::error!(%why, partition = self.partition, "a partition cannot be started");
                    }
                },
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn restore(&self) -> Result<Started, Failed> {
        let incarnation = self.claim().await?;
        let extent = self.log.extent(self.partition).await?;
        let (mut state, checkpointed) = self.checkpointed(&extent).await?;
        let mut recent = Recent::after(state.head.n);
        loop {
            let records = self.log.read(self.partition, state.head.n + 1, READ).await?;
            let Some(last) = records.last().map(|record| record.at) else { break };
            let mut events = Vec::new();
            for record in &records {
                events.extend(replay(&mut state, record)?);
            }
            self.index(&events, last).await?;
            recent.push(events);
        }
        if extent.head.epoch > state.head.epoch {
            state.open_epoch(extent.head.epoch);
        }
        let (head, desk) = (state.head.n, &self.shared.desks[usize::from(self.partition)]);
        *lock(&desk.lineage) = Arc::new(state.lineage.clone());
        desk.tail.begin(head, recent.from, recent.events);
        let partition = Partition::new(state, incarnation, true, self.settings.limits);
        Ok(Started { partition, checkpointed })
    }

    /// Makes the partition this node's, with an incarnation that nobody had before.
    async fn claim(&self) -> Result<u64, Failed> {
        let key = format!("partition.{}", self.partition);
        loop {
            let record = self.ownership.get(&key).await?;
            match self.ownership.change(&key, record.version, Some(&self.settings.node)).await {
                Changed::Done(version) => return Ok(version),
                Changed::Conflict(_) => {}
                Changed::Unknown(why) | Changed::Refused(why) => return Err(why),
            }
        }
    }

    async fn checkpointed(&self, extent: &Extent) -> Result<(State, u64), Failed> {
        let Some((at, bytes)) = self.log.latest_checkpoint(self.partition).await? else {
            if extent.first > 1 {
                return Err(Failed(
                    "the beginning of its log is gone, and there is no checkpoint".to_owned(),
                ));
            }
            let first = extent.epochs.first().map_or(extent.head.epoch, |epoch| epoch.epoch);
            return Ok((State::new(self.settings.region, first), 0));
        };
        let decoded = tokio::task::spawn_blocking(move || State::restore(&bytes)).await;
        let state = decoded.map_err(|error| Failed(error.to_string()))?;
        let state = state.map_err(|error| Failed(format!("its checkpoint cannot be read: {error}")))?;
        if state.region != self.settings.region {
            let (is, wanted) = (state.region, self.settings.region);
            return Err(Failed(format!(
                "the store is of region {is}, and this node of {wanted}: set the region to {is}"
            )));
        }
        if state.head.n != at.n {
            return Err(Failed(format!(
                "its checkpoint is of event {}, and is kept as one of {}",
                state.head.n, at.n
            )));
        }
        Ok((state, at.n))
    }

    /// What the index does not have yet is added.
    async fn index(&self, events: &[Arc<Event>], upto: Position) -> Result<(), Failed> {
        let (shared, partition): (Arc<Shared>, u16) = (Arc::clone(&self.shared), self.partition);
        let after = shared.index.applied(partition).n;
        if after >= upto.n {
            return Ok(());
        }
        let events: Vec<Arc<Event>> =
            events.iter().filter(|event| event.id.place.n > after).cloned().collect();
        let add = move || {
            shared.index.apply([(partition, upto)], events.len() as u64, |changes| {
                events.iter().for_each(|event| extract::note(partition, event, false, changes));
            })
        };
        let added = tokio::task::spawn_blocking(add).await.map_err(|error| Failed(error.to_string()))?;
        added.map_err(|error| Failed(error.to_string()))
    }
}

/// Applies a record, which has to be the next; its event, if it holds one.
fn replay(state: &mut State, record: &backplane::Event) -> Result<Option<Arc<Event>>, Failed> {
    let next = state.head.n + 1;
    if record.at.n != next {
        return Err(Failed(format!("event {next} is gone from its log, and no checkpoint covers it")));
    }
    if record.at.epoch > state.head.epoch {
        state.open_epoch(record.at.epoch);
    }
    let read = Record::read(&record.payload).map_err(|error| Failed(format!("event {next}: {error}")))?;
    state.replay(&read);
    Ok(match read.entry {
        Entry::Event { event } => Some(event),
        _ => None,
    })
}

/// The last events that were read.
struct Recent {
    events: Vec<Arc<Event>>,
    /// All from this number on are among them.
    from: u64,
}

impl Recent {
    fn after(n: u64) -> Self {
        Self { events: Vec::new(), from: n + 1 }
    }

    fn push(&mut self, events: Vec<Arc<Event>>) {
        self.events.extend(events);
        let surplus = self.events.len().saturating_sub(KEPT);
        if let Some(last) = self.events.drain(..surplus).next_back() {
            self.from = last.id.place.n + 1;
        }
    }
}
