//! Who is there, on this node.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use base::{DeviceId, UserId};
use messaging::presence::Presence;

use crate::listen::{Queue, Told, lock};

/// Between two looks at what is due: presence is folded in windows of a second.
const TICK: Duration = Duration::from_millis(200);

/// Who is there, and who looks.
#[derive(Default)]
pub(crate) struct There(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    presence: Presence,
    /// The connection of each device: a newer one replaces the older.
    devices: HashMap<(UserId, DeviceId), u64>,
    queues: HashMap<u64, Weak<Queue>>,
}

impl There {
    pub fn connected(&self, user: &UserId, device: &DeviceId, connection: u64, queue: &Arc<Queue>) {
        let mut inner = lock(&self.0);
        inner.presence.connected(Instant::now(), user, device.clone());
        inner.devices.insert((user.clone(), device.clone()), connection);
        inner.queues.insert(connection, Arc::downgrade(queue));
    }

    pub fn disconnected(&self, user: &UserId, device: &DeviceId, connection: u64) {
        let mut inner = lock(&self.0);
        inner.queues.remove(&connection);
        inner.presence.closed(connection);
        let key = (user.clone(), device.clone());
        if inner.devices.get(&key) == Some(&connection) {
            inner.devices.remove(&key);
            inner.presence.disconnected(Instant::now(), user, device);
        }
    }

    /// See [`Presence::watch`].
    pub fn watch(&self, connection: u64, users: BTreeSet<UserId>) -> Option<Vec<(UserId, bool)>> {
        lock(&self.0).presence.watch(connection, users)
    }

    pub fn is_there(&self, user: &UserId) -> bool {
        lock(&self.0).presence.is_there(user)
    }

    fn tick(&self) {
        let mut inner = lock(&self.0);
        for frame in inner.presence.handle_timeout(Instant::now()) {
            if let Some(queue) = inner.queues.get(&frame.to).and_then(Weak::upgrade) {
                queue.tell(Told::Presence { connection: frame.to, changes: frame.changes.into() });
            }
        }
    }

    /// Tells what is due, for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            self.tick();
        }
    }
}
