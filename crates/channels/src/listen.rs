//! Places of delivery: who hears what.
//!
//! A listener follows channels and attends for people; what is told waits in its queue, which is bounded. Events that do not fit are not
//! lost: the listener is told that it missed something of the channel ([`Told::Missed`]), and reads it from where its streams stand.
//! What is not an event is dropped then; the next of its kind says it all.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use base::{CallId, ChannelId, DeviceId, UserId};
use messaging::event::{Body, Event, ReadMark};
use messaging::{receipts, typing};
use tokio::sync::Notify;

use crate::calls::CallTold;
use crate::handle::Shared;

/// What waits for one listener: some seconds of all that one process delivers.
const WAITING: usize = 65_536;

/// Something that a listener is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    /// A committed event of a channel that is followed, in the order of its log.
    Event(Arc<Event>),
    /// Something of the channel did not fit: read it from where the streams stand.
    Missed(ChannelId),
    /// Members, roles or settings of the channel changed: look again.
    State(ChannelId),
    /// Marks that moved and last: each for the devices of its own user.
    Marks {
        /// Of which channel.
        channel: ChannelId,
        /// Whose, and where they stand.
        marks: Arc<[(UserId, ReadMark)]>,
    },
    /// Who received and read what; `to` in it says for whom it is.
    Receipts {
        /// Of which channel.
        channel: ChannelId,
        /// The frame.
        frame: Arc<receipts::Frame>,
    },
    /// Who types.
    Typing {
        /// In which channel.
        channel: ChannelId,
        /// They.
        frame: Arc<typing::Frame>,
    },
    /// Somebody tells who is there something that is kept nowhere.
    Ephemeral {
        /// In which channel.
        channel: ChannelId,
        /// From whom; `None` is the server.
        from: Option<UserId>,
        /// What it is called.
        name: Arc<str>,
        /// What it says.
        body: Body,
    },
    /// Who came and went, of those whom a connection watches.
    Presence {
        /// The connection.
        connection: u64,
        /// Who, and whether they are there.
        changes: Arc<[(UserId, bool)]>,
    },
    /// Something of a call, for a person's devices.
    Call {
        /// Whose.
        user: UserId,
        /// In which channel.
        channel: ChannelId,
        /// Which call.
        call: CallId,
        /// Who called.
        from: UserId,
        /// What.
        what: CallTold,
    },
    /// A person came into a channel, or is out of it: for that person's devices.
    Membership {
        /// Who.
        user: UserId,
        /// Which channel.
        channel: ChannelId,
    },
}

/// A place of delivery. Dropping it ends all that it follows.
pub struct Listener {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    followed: Mutex<BTreeSet<ChannelId>>,
    attended: Mutex<HashMap<(UserId, DeviceId), u64>>,
}

impl Listener {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, queue: Arc::default(), followed: Mutex::default(), attended: Mutex::default() }
    }

    /// From now on everything of this channel is told here. Asking again changes nothing.
    pub fn follow(&self, channel: &ChannelId) {
        if lock(&self.followed).insert(channel.clone()) {
            self.shared.desk(channel).followers.add(channel, &self.queue);
        }
    }

    /// Nothing more of this channel; what waits is still told.
    pub fn unfollow(&self, channel: &ChannelId) {
        if lock(&self.followed).remove(channel) {
            self.shared.desk(channel).followers.remove(channel, &self.queue);
        }
    }

    /// A device of somebody is connected here: what is for this person is told here. A newer connection of the device replaces the older.
    pub fn attend(&self, user: &UserId, device: &DeviceId, connection: u64) {
        let before = lock(&self.attended).insert((user.clone(), device.clone()), connection);
        if before.is_none() {
            self.shared.people.add(user, &self.queue);
        }
        self.shared.presence.connected(user, device, connection, &self.queue);
    }

    /// That connection is over.
    pub fn leave(&self, user: &UserId, device: &DeviceId, connection: u64) {
        let mut attended = lock(&self.attended);
        let key = (user.clone(), device.clone());
        if attended.get(&key) == Some(&connection) {
            attended.remove(&key);
            self.shared.people.remove(user, &self.queue);
        }
        drop(attended);
        self.shared.presence.disconnected(user, device, connection);
    }

    /// The next thing told. It may be given up and called again: nothing is lost. One task at a time.
    pub async fn next(&self) -> Told {
        loop {
            if let Some(told) = self.try_next() {
                return told;
            }
            self.queue.bell.notified().await;
        }
    }

    /// The next thing told, if one waits.
    pub fn try_next(&self) -> Option<Told> {
        let mut waiting = lock(&self.queue.waiting);
        waiting.told.pop_front().or_else(|| waiting.missed.pop_first().map(Told::Missed))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for channel in std::mem::take(&mut *lock(&self.followed)) {
            self.shared.desk(&channel).followers.remove(&channel, &self.queue);
        }
        for ((user, device), connection) in std::mem::take(&mut *lock(&self.attended)) {
            self.shared.people.remove(&user, &self.queue);
            self.shared.presence.disconnected(&user, &device, connection);
        }
    }
}

/// What waits for a listener.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    told: VecDeque<Told>,
    /// Channels of which something did not fit; nothing of them waits behind what `told` has.
    missed: BTreeSet<ChannelId>,
}

impl Queue {
    pub fn tell(&self, told: Told) {
        let mut waiting = lock(&self.waiting);
        match &told {
            Told::Event(event) if waiting.missed.contains(&event.channel) => return,
            Told::Event(event) if waiting.told.len() >= WAITING => {
                waiting.missed.insert(event.channel.clone());
            }
            Told::Missed(channel) => {
                waiting.missed.insert(channel.clone());
            }
            _ if waiting.told.len() >= WAITING => return,
            _ => waiting.told.push_back(told),
        }
        drop(waiting);
        self.bell.notify_one();
    }
}

/// Who is told what, by a key: a channel or a person.
pub(crate) struct Followers<K>(Mutex<HashMap<K, Vec<Following>>>);

struct Following {
    queue: Weak<Queue>,
    /// How often it was added.
    times: usize,
}

impl<K> Default for Followers<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: std::hash::Hash + Eq + Clone> Followers<K> {
    pub fn add(&self, key: &K, queue: &Arc<Queue>) {
        let mut all = lock(&self.0);
        let following = all.entry(key.clone()).or_default();
        match following.iter_mut().find(|one| std::ptr::eq(one.queue.as_ptr(), Arc::as_ptr(queue))) {
            Some(one) => one.times += 1,
            None => following.push(Following { queue: Arc::downgrade(queue), times: 1 }),
        }
    }

    pub fn remove(&self, key: &K, queue: &Arc<Queue>) {
        let mut all = lock(&self.0);
        let Some(following) = all.get_mut(key) else { return };
        let own = |one: &Following| std::ptr::eq(one.queue.as_ptr(), Arc::as_ptr(queue));
        following.iter_mut().filter(|one| own(one)).for_each(|one| one.times -= 1);
        following.retain(|one| one.times > 0);
        if following.is_empty() {
            all.remove(key);
        }
    }

    pub fn is_followed(&self, key: &K) -> bool {
        lock(&self.0).contains_key(key)
    }

    pub fn tell(&self, key: &K, told: &Told) {
        let all = lock(&self.0);
        for following in all.get(key).into_iter().flatten() {
            if let Some(queue) = following.queue.upgrade() {
                queue.tell(told.clone());
            }
        }
    }

    /// All keys that somebody follows, in no order.
    pub fn keys(&self) -> Vec<K> {
        lock(&self.0).keys().cloned().collect()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
