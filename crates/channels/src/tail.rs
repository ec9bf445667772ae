//! The latest committed events of a partition, in memory: what the index has not yet, and what is asked for most.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use base::ChannelId;
use messaging::event::Event;
use tokio::sync::watch;

/// Events that stay when the index has them: what streams catch up with after a short absence.
pub const KEPT: usize = 512;
/// Events that the index may not have; with more the owner appends no more until it keeps up.
pub const BEHIND: usize = 2_048;

/// The end of a partition's log, as everybody may see it.
pub struct Tail {
    inner: Mutex<Inner>,
    /// Up to which number the index has everything; `None`: the log was not read yet.
    indexed: watch::Sender<Option<u64>>,
}

struct Inner {
    events: VecDeque<Arc<Event>>,
    /// Every committed event from this number on is here.
    from: u64,
    /// The last committed number.
    committed: u64,
}

/// What the tail knows of a channel.
pub struct Recent {
    /// Its events, in order, from the number asked for on, or from the first that is here.
    pub events: Vec<Arc<Event>>,
    /// Below this number the index knows.
    pub from: u64,
}

impl Tail {
    /// Nothing is known yet.
    pub fn new() -> Self {
        let inner = Inner { events: VecDeque::new(), from: 1, committed: 0 };
        Self { inner: Mutex::new(inner), indexed: watch::Sender::new(None) }
    }

    /// The log is read up to `committed`, and the index has all of it; `events` are the last, all from number `from` on.
    pub fn begin(&self, committed: u64, from: u64, events: Vec<Arc<Event>>) {
        let mut inner = self.lock();
        *inner = Inner { events: events.into(), from, committed };
        self.indexed.send_replace(Some(committed));
    }

    /// These events, and all others up to `upto`, are committed. False: that was known already.
    pub fn push(&self, events: &[Arc<Event>], upto: u64) -> bool {
        let indexed = self.indexed.borrow().unwrap_or(0);
        let mut inner = self.lock();
        if inner.committed >= upto {
            return false;
        }
        inner.committed = upto;
        inner.events.extend(events.iter().cloned());
        while inner.events.len() > KEPT
            && let Some(n) = inner.events.front().map(|first| first.id.place.n).filter(|n| *n <= indexed)
        {
            inner.from = n + 1;
            inner.events.pop_front();
        }
        true
    }

    /// The index has everything up to `n`.
    pub fn indexed(&self, n: u64) {
        self.indexed.send_replace(Some(n));
    }

    /// Has the index fallen too far behind?
    pub fn is_full(&self) -> bool {
        let indexed = self.indexed.borrow().unwrap_or(0);
        let inner = self.lock();
        inner.events.len() > BEHIND && inner.committed > indexed.saturating_add(BEHIND as u64)
    }

    /// Waits until the log was read.
    pub async fn begun(&self) {
        // The sender is here: it cannot be gone.
        let _ = self.indexed.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits until the index has what is committed now.
    pub async fn settled(&self) {
        self.begun().await;
        let committed = self.lock().committed;
        let _ = self.indexed.subscribe().wait_for(|indexed| *indexed >= Some(committed)).await;
    }

    /// Up to `max` events of a channel behind number `after`.
    pub fn recent(&self, channel: &ChannelId, after: u64, max: usize) -> Recent {
        let inner = self.lock();
        let start = inner.events.partition_point(|event| event.id.place.n <= after);
        let events = inner.events.range(start..).filter(|event| event.channel == *channel);
        Recent { events: events.take(max).cloned().collect(), from: inner.from }
    }

    /// An event, if it is here.
    pub fn event(&self, n: u64) -> Option<Arc<Event>> {
        let inner = self.lock();
        let at = inner.events.binary_search_by_key(&n, |event| event.id.place.n).ok()?;
        inner.events.get(at).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
