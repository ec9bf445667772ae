//! What all connections share.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use auth::ApiKeys;
use base::{ChannelId, DeviceId, UnixMillis, UserId};
use channels::Handle;
use channels::history::Total;
use messaging::fold::{About, Item};
use messaging::place::EventId;
use wire::messaging as protocol;

use crate::config::{Config, Parts, Rooms};
use crate::connection::{Close, Connection, Who};
use crate::metrics::{Metrics, count};
use crate::rate::Bucket;
use crate::seal::Sealer;
use crate::shard::Shard;
use crate::translate;

/// People of whom it is known how much they asked by HTTP: some megabytes.
const BUCKETS: usize = 65_536;

/// The connection of a device.
type Devices = HashMap<(UserId, DeviceId), Weak<Connection>>;

/// The gateway.
pub(crate) struct App {
    pub handle: Handle,
    pub keys: ApiKeys,
    pub sealer: Sealer,
    pub now: fn() -> UnixMillis,
    pub config: Config,
    pub metrics: Arc<Metrics>,
    pub rooms: Option<Arc<dyn Rooms>>,
    shards: Vec<Arc<Shard>>,
    devices: Mutex<Devices>,
    /// Of people who ask by HTTP.
    buckets: Mutex<HashMap<UserId, Bucket>>,
    next: AtomicU64,
}

impl App {
    pub fn new(parts: Parts) -> Arc<Self> {
        let shards = (0..parts.config.shards.max(1)).map(|_| Shard::new(parts.handle.listen())).collect();
        Arc::new(Self {
            sealer: Sealer::new(&parts.key),
            handle: parts.handle,
            keys: parts.keys,
            now: parts.now,
            config: parts.config,
            metrics: Arc::default(),
            rooms: parts.rooms,
            shards,
            devices: Mutex::default(),
            buckets: Mutex::default(),
            // 0 is what no connection has.
            next: AtomicU64::new(1),
        })
    }

    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// The number of a new connection, and its place.
    pub fn place(&self) -> (u64, Arc<Shard>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        (id, Arc::clone(&self.shards[(id % self.shards.len() as u64) as usize]))
    }

    /// Is there room for another connection?
    pub fn has_room(&self) -> bool {
        self.metrics.open.load(Ordering::Relaxed) < self.config.connections
    }

    /// May this person ask by HTTP now? The error is when, in milliseconds.
    pub fn take_request(&self, user: &UserId, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS {
            // So many at once are rare; each begins anew with a full bucket.
            buckets.clear();
        }
        let bucket = buckets.entry(user.clone()).or_insert_with(|| Bucket::new(now, self.config.burst));
        bucket.take(now, self.config.rate, self.config.burst)
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device is connected here; an older connection of it ends.
    pub fn came(&self, who: &Who, connection: &Arc<Connection>) {
        let key = (who.user.clone(), who.device.clone());
        let older = self.devices().insert(key, Arc::downgrade(connection));
        if let Some(older) = older.and_then(|older| older.upgrade()) {
            count(&self.metrics.replaced);
            older.close(Close::Replaced);
        }
    }

    /// A connection of a device is over.
    pub fn gone(&self, who: &Who, connection: u64) {
        let mut devices = self.devices();
        let key = (who.user.clone(), who.device.clone());
        let own = |known: &Weak<Connection>| known.upgrade().is_none_or(|known| known.id == connection);
        if devices.get(&key).is_some_and(own) {
            devices.remove(&key);
        }
    }

    /// What of these reactions there is now; what cannot be looked up is shown as nothing, and the next run has it.
    async fn totals(
        &self,
        channel: &ChannelId,
        changed: &BTreeSet<(EventId, Arc<str>)>,
        own: Option<&UserId>,
    ) -> Vec<protocol::Total> {
        let events: BTreeSet<EventId> = changed.iter().map(|(event, _)| *event).collect();
        let events: Vec<EventId> = events.into_iter().collect();
        let found = self.handle.totals(channel, &events, own).await.unwrap_or_default();
        let total = |(event, emoji): &(EventId, Arc<str>)| {
            let (_, totals) = found.iter().find(|(id, _)| id == event)?;
            let total = totals.iter().find(|total| total.emoji == *emoji);
            let none = Total { emoji: Arc::clone(emoji), count: 0, mine: false };
            Some(translate::total(Some(*event), total.unwrap_or(&none)))
        };
        changed.iter().filter_map(total).collect()
    }

    /// Items of a stream as one person sees them, with the totals of reactions as they are now.
    pub async fn with_totals(
        &self,
        channel: &ChannelId,
        items: &[Item],
        own: Option<&UserId>,
        members: usize,
    ) -> Vec<protocol::Item> {
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            out.push(match item {
                Item::Event(delivery) => translate::item(delivery),
                Item::Fold(fold) => {
                    let mut item = translate::fold(fold, members);
                    if let About::Reactions(changed) = &fold.about {
                        let totals = self.totals(channel, changed, own).await;
                        item.folded = Some(protocol::Folded::Reactions { totals });
                    }
                    item
                }
            });
        }
        out
    }
}
