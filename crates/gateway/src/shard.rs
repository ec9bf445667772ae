//! Places of delivery: each shard hears of the channels of its connections, and writes to their sockets itself.
//!
//! A message to ten thousand connections wakes no task for each: the shard's task goes through the connections of the channel and writes a
//! frame that was encoded once. Pings and all else that has its time are looked at together, too.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use base::{ChannelId, UserId};
use channels::{Listener, Look, Told};
use messaging::event::{Event, ReadMark};
use messaging::place::Lineage;
use messaging::receipts;
use messaging::session::Soft;
use wire::messaging::{self as protocol, Push};

use crate::app::App;
use crate::commands::calling;
use crate::connection::{Close, Connection, Who};
use crate::encode::Cache;
use crate::metrics::count;
use crate::{streams, translate};

/// Ticks in the time between two pings.
const TICKS: u32 = 25;

/// Members up to whom everybody is told of every change of a channel's state. In larger ones the number of members is in folded items.
const STATES: usize = 512;

/// A shard.
pub(crate) struct Shard {
    pub listener: Listener,
    rooms: Mutex<HashMap<ChannelId, Arc<Room>>>,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    /// By person: what is for somebody's devices asks for no other's.
    people: Mutex<HashMap<UserId, Vec<Arc<Connection>>>>,
    due: Mutex<BTreeMap<(Instant, u64), Weak<Connection>>>,
    /// Streams that ended by themselves.
    left: Mutex<Vec<(ChannelId, u64)>>,
    /// Channels whose state changed since the last tick.
    changed: Mutex<std::collections::BTreeSet<ChannelId>>,
    ticks: AtomicU32,
}

/// A channel with the connections of this shard.
#[derive(Default)]
struct Room(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    lineage: Arc<Lineage>,
    members: usize,
    connections: Vec<Arc<Connection>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    pub fn new(listener: Listener) -> Arc<Self> {
        Arc::new(Self {
            listener,
            rooms: Mutex::default(),
            connections: Mutex::default(),
            people: Mutex::default(),
            due: Mutex::default(),
            left: Mutex::default(),
            changed: Mutex::default(),
            ticks: AtomicU32::new(0),
        })
    }

    /// Time, in parts of the time between two pings.
    pub fn ticks(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    fn room(&self, channel: &ChannelId) -> Option<Arc<Room>> {
        lock(&self.rooms).get(channel).cloned()
    }

    /// A connection is let in.
    pub fn admit(&self, connection: &Arc<Connection>) {
        lock(&self.connections).insert(connection.id, Arc::clone(connection));
    }

    /// Somebody's device was let in: what is for that person is told here.
    pub fn attend(&self, who: &Who, connection: &Arc<Connection>) {
        lock(&self.people).entry(who.user.clone()).or_default().push(Arc::clone(connection));
        self.listener.attend(&who.user, &who.device, connection.id);
    }

    /// That connection is over.
    pub fn leave(&self, who: &Who, connection: u64) {
        let mut people = lock(&self.people);
        if let Some(devices) = people.get_mut(&who.user) {
            devices.retain(|other| other.id != connection);
            if devices.is_empty() {
                people.remove(&who.user);
            }
        }
        drop(people);
        self.listener.leave(&who.user, &who.device, connection);
    }

    /// A connection is to hear of a channel: from here on everything is offered to it.
    pub fn join(&self, channel: &ChannelId, connection: &Arc<Connection>) {
        let mut rooms = lock(&self.rooms);
        let room = rooms.entry(channel.clone()).or_default();
        self.listener.follow(channel);
        let mut inside = lock(&room.0);
        if !inside.connections.iter().any(|other| other.id == connection.id) {
            inside.connections.push(Arc::clone(connection));
        }
    }

    /// What a channel is like now.
    pub fn looked(&self, channel: &ChannelId, look: &Look) {
        if let Some(room) = self.room(channel) {
            let mut inside = lock(&room.0);
            (inside.lineage, inside.members) = (Arc::clone(&look.lineage), look.members);
        }
    }

    /// How many members a channel has.
    pub fn members(&self, channel: &ChannelId) -> usize {
        self.room(channel).map_or(0, |room| lock(&room.0).members)
    }

    /// How epochs of a channel's logs follow each other.
    pub fn lineage(&self, channel: &ChannelId) -> Arc<Lineage> {
        self.room(channel).map(|room| Arc::clone(&lock(&room.0).lineage)).unwrap_or_default()
    }

    /// A connection is to hear no more of a channel.
    pub fn part(&self, channel: &ChannelId, connection: u64) {
        let mut rooms = lock(&self.rooms);
        let Some(room) = rooms.get(channel) else { return };
        let mut inside = lock(&room.0);
        if let Some(at) = inside.connections.iter().position(|other| other.id == connection) {
            inside.connections.swap_remove(at);
        }
        if inside.connections.is_empty() {
            drop(inside);
            rooms.remove(channel);
            self.listener.unfollow(channel);
        }
    }

    /// The same, by who goes through the connections of a channel just now.
    pub fn left(&self, channel: &ChannelId, connection: u64) {
        lock(&self.left).push((channel.clone(), connection));
    }

    /// A connection is over.
    pub fn forget(&self, connection: u64) {
        lock(&self.connections).remove(&connection);
    }

    /// A session wants to be called.
    pub fn wake_at(&self, at: Instant, connection: &Arc<Connection>) {
        lock(&self.due).insert((at, connection.id), Arc::downgrade(connection));
    }

    /// A stream has a gap: it is read anew from where it stands.
    pub fn catch_up(&self, connection: &Arc<Connection>, channel: &ChannelId) {
        tokio::spawn(streams::catch_up(Arc::clone(connection), channel.clone()));
    }

    /// Delivers, until the server ends.
    pub async fn run(self: Arc<Self>, app: Arc<App>) {
        let tick = (app.config.ping / TICKS).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut ticks = tokio::time::interval(tick);
        let mut cache = Cache::default();
        loop {
            tokio::select! {
                told = self.listener.next() => self.deliver(&app, told, &mut cache),
                _ = ticks.tick() => self.tick(&app),
            }
        }
    }

    fn deliver(self: &Arc<Self>, app: &Arc<App>, told: Told, cache: &mut Cache) {
        match told {
            Told::Event(event) => self.event(&event, cache),
            Told::Missed(channel) => {
                self.each(&channel, |connection, _| self.catch_up(connection, &channel));
            }
            Told::State(channel) => {
                lock(&self.changed).insert(channel);
            }
            Told::Marks { channel, marks } => self.own_marks(&channel, &marks, cache),
            Told::Receipts { channel, frame } => self.each(&channel, |connection, user| {
                if frame.to.as_ref().is_none_or(|to| to == user) {
                    let soft = Soft::Receipts { channel: channel.clone(), frame: (*frame).clone() };
                    connection.soft(soft, cache);
                }
            }),
            Told::Typing { channel, frame } => self.each(&channel, |connection, _| {
                connection.soft(Soft::Typing { channel: channel.clone(), frame: (*frame).clone() }, cache);
            }),
            Told::Ephemeral { channel, from, name, body } => {
                let sender =
                    |user: UserId| protocol::Sender { user: user.as_str().to_owned(), device: String::new() };
                let told = Push::Told(protocol::Told {
                    channel: channel.as_str().to_owned(),
                    from: from.map(sender),
                    name: name.to_string(),
                    body: translate::body(&body),
                });
                self.each(&channel, |connection, _| connection.push(&told, true));
            }
            Told::Presence { connection, changes } => {
                let found = lock(&self.connections).get(&connection).cloned();
                if let Some(connection) = found {
                    connection.soft(Soft::Presence { changes: changes.to_vec() }, cache);
                }
            }
            Told::Call { user, channel, call, from, what } => {
                let mut told = calling::told(channel.as_str(), call.as_str(), from.as_str(), &what);
                let answered = told.stage == protocol::RingStage::Accepted
                    && told.user.as_deref() == Some(user.as_str());
                calling::let_in(app, &mut told, &user, answered || user == from);
                let told = Push::Call(told);
                self.of_user(&user).iter().for_each(|connection| connection.push(&told, false));
            }
            Told::Membership { user, channel } => {
                for connection in self.of_user(&user) {
                    tokio::spawn(tell_state(Arc::clone(app), connection, channel.clone()));
                }
            }
        }
    }

    /// Every connection with a stream of a channel, and its person. Who has only asked for one, or is not in the channel any more, hears
    /// nothing.
    fn each(&self, channel: &ChannelId, mut act: impl FnMut(&Arc<Connection>, &UserId)) {
        let Some(room) = self.room(channel) else { return };
        let connections = lock(&room.0).connections.clone();
        for connection in &connections {
            if let Some(who) = connection.who().filter(|_| connection.has_stream(channel)) {
                act(connection, &who.user);
            }
        }
    }

    fn of_user(&self, user: &UserId) -> Vec<Arc<Connection>> {
        lock(&self.people).get(user).cloned().unwrap_or_default()
    }

    fn event(&self, event: &Arc<Event>, cache: &mut Cache) {
        let Some(room) = self.room(&event.channel) else { return };
        // Who writes to a connection holds its state, and may ask how many members a channel has: nobody holds both the other way round.
        let (lineage, members, connections) = {
            let inside = lock(&room.0);
            (Arc::clone(&inside.lineage), inside.members, inside.connections.clone())
        };
        let now = Instant::now();
        for connection in &connections {
            connection.offer(now, &lineage, event, members, cache);
        }
    }

    /// A person's own marks are for the person's devices; in a small channel everybody is told anyway.
    fn own_marks(&self, channel: &ChannelId, marks: &[(UserId, ReadMark)], cache: &mut Cache) {
        let by_user: HashMap<&UserId, &ReadMark> = marks.iter().map(|(user, mark)| (user, mark)).collect();
        self.each(channel, |connection, user| {
            if let Some(mark) = by_user.get(user) {
                let marks = vec![(user.clone(), (*mark).clone())];
                let frame = receipts::Frame { to: Some(user.clone()), marks, counts: Vec::new() };
                connection.soft(Soft::Receipts { channel: channel.clone(), frame }, cache);
            }
        });
    }

    fn tick(self: &Arc<Self>, app: &Arc<App>) {
        let now = self.ticks.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        for (channel, connection) in std::mem::take(&mut *lock(&self.left)) {
            self.part(&channel, connection);
        }
        self.call_due();
        for channel in std::mem::take(&mut *lock(&self.changed)) {
            tokio::spawn(Arc::clone(self).tell_change(Arc::clone(app), channel));
        }
        let connections: Vec<Arc<Connection>> = lock(&self.connections).values().cloned().collect();
        let seconds = (app.now)().0 / 1_000;
        for connection in &connections {
            self.check(app, connection, now, seconds);
        }
    }

    fn check(&self, app: &App, connection: &Arc<Connection>, now: u32, seconds: u64) {
        let (heard, expires) = {
            let state = connection.lock();
            (state.heard, state.who.as_ref().map_or(u64::MAX, |who| who.expires))
        };
        if now.wrapping_sub(heard) > TICKS * 5 / 2 && connection.answers_pings() {
            count(&app.metrics.silent);
            connection.close(Close::Silent);
        } else if seconds >= expires.saturating_add(auth::LEEWAY.as_secs()) {
            count(&app.metrics.expired);
            connection.close(Close::Expired);
        } else if now.wrapping_add(connection.id as u32).is_multiple_of(TICKS) {
            connection.ping();
        }
    }

    fn call_due(&self) {
        let now = Instant::now();
        loop {
            let connection = {
                let mut due = lock(&self.due);
                let Some(first) = due.first_entry().filter(|first| first.key().0 <= now) else { return };
                first.remove()
            };
            if let Some(connection) = connection.upgrade() {
                // Lineages differ by partition; what a session waits for is of the channels that it has.
                let lineage = Arc::default();
                connection.timeout(now, &lineage, |channel| self.members(channel));
            }
        }
    }

    async fn tell_change(self: Arc<Self>, app: Arc<App>, channel: ChannelId) {
        let Ok(look) = app.handle.look(&channel, None, None).await else { return };
        self.looked(&channel, &look);
        let mut connections = Vec::new();
        self.each(&channel, |connection, _| connections.push(Arc::clone(connection)));
        for connection in connections {
            connection.resized(&channel, look.members);
            if look.members <= STATES {
                tell_state(Arc::clone(&app), connection, channel.clone()).await;
            }
        }
    }

    /// Everybody is told that the server ends.
    pub fn end_all(&self) {
        let connections: Vec<Arc<Connection>> = lock(&self.connections).values().cloned().collect();
        for connection in connections {
            let push = Push::Goaway(protocol::Goaway { why: "restart".to_owned(), retry_after: 1_000 });
            connection.push(&push, false);
            connection.close(Close::Ends);
        }
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        lock(&self.connections).len()
    }
}

/// Tells a connection how a channel is for its person. Who is not in it hears nothing: the stream has said so.
async fn tell_state(app: Arc<App>, connection: Arc<Connection>, channel: ChannelId) {
    let Some(who) = connection.who() else { return };
    if !who.grants.as_ref().is_some_and(|grants| grants.may_subscribe(channel.as_str())) {
        return;
    }
    if let Ok(look) = app.handle.look(&channel, Some(&who.user), Some(&who.device)).await {
        let state = translate::state(&look);
        connection.push(
            &Push::Channel(protocol::ChannelPush { channel: channel.as_str().to_owned(), state }),
            false,
        );
    }
}
