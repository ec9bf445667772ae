//! What the rest of the server asks of the partitions of this node.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base::{ChannelId, DeviceId, UnixMillis, UserId};
use messaging::channel::Channel;
use messaging::command::{Answer, Code, Command, Refusal};
use messaging::event::{Event, Kind, ReadMark, Settings};
use messaging::format::fingerprint;
use messaging::partition::Partition;
use messaging::place::{Cursor, EventId, Lineage, Region, Vector};
use messaging::receipts::Tier;
use messaging::roles::Role;
use store::Index;
use store::index::Name;
use tokio::sync::{mpsc, oneshot};

use crate::calls::{CallAsk, CallView, CallsOf};
use crate::library::Library;
use crate::listen::{Followers, Listener, Told, lock};
use crate::outbox::Bell;
use crate::owner::{Asked, Order};
use crate::presence::There;
use crate::tail::Tail;

/// Events that one question brings at most.
pub const EVENTS: usize = 1_000;

/// All that is shared by owners, listeners and who asks.
pub(crate) struct Shared {
    pub region: Region,
    pub desks: Vec<Desk>,
    pub index: Arc<Index>,
    pub library: Arc<dyn Library>,
    pub people: Followers<UserId>,
    pub presence: Arc<There>,
    pub calls: Arc<CallsOf>,
    pub effects: Bell,
}

/// What there is of one partition.
pub(crate) struct Desk {
    pub inbox: mpsc::Sender<Order>,
    pub tail: Tail,
    pub followers: Followers<ChannelId>,
    pub lineage: Mutex<Arc<Lineage>>,
}

impl Desk {
    pub fn new(inbox: mpsc::Sender<Order>) -> Self {
        Self { inbox, tail: Tail::new(), followers: Followers::default(), lineage: Mutex::default() }
    }
}

impl Shared {
    pub fn new(region: Region, desks: Vec<Desk>, index: Arc<Index>, library: Arc<dyn Library>) -> Self {
        let (people, presence, calls) = (Followers::default(), Arc::default(), Arc::default());
        Self { region, desks, index, library, people, presence, calls, effects: Bell::default() }
    }

    /// The number of a channel's partition.
    pub fn partition(&self, channel: &ChannelId) -> u16 {
        (fingerprint(channel.as_str().as_bytes()) % self.desks.len().max(1) as u64) as u16
    }

    pub fn desk(&self, channel: &ChannelId) -> &Desk {
        &self.desks[usize::from(self.partition(channel))]
    }

    /// Events by number, from the tail where they are there.
    pub async fn fetch(&self, partition: u16, numbers: &[u64]) -> Result<Vec<Arc<Event>>, Refusal> {
        let tail = &self.desks[usize::from(partition)].tail;
        let mut found: Vec<Option<Arc<Event>>> = numbers.iter().map(|n| tail.event(*n)).collect();
        let missing: Vec<u64> =
            numbers.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(n, _)| *n).collect();
        if !missing.is_empty() {
            let read = self.library.events(partition, missing).await.map_err(|error| {
                tracing::warn!(%error, partition, "events cannot be read");
                busy("the log cannot be read now: try again")
            })?;
            let mut read = read.into_iter().peekable();
            for (n, slot) in numbers.iter().zip(&mut found).filter(|(_, slot)| slot.is_none()) {
                *slot = read.next_if(|event| event.id.place.n == *n);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Does something with the index that may wait for the disk.
    pub async fn look_up<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Index) -> Result<T, store::index::IndexError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let index = Arc::clone(&self.index);
        match tokio::task::spawn_blocking(move || act(&index)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the index cannot be read");
                Err(busy("the index cannot be read now: try again"))
            }
            Err(_) => Err(busy("the index did not answer: try again")),
        }
    }
}

/// The partitions of this node. Clones are the same.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

/// What a subscription begins with.
#[derive(Clone, Debug)]
pub struct Look {
    /// How epochs follow each other.
    pub lineage: Arc<Lineage>,
    /// Where the log ends.
    pub head: Cursor,
    /// What is not there to be read: removed by retention, or before the membership where the channel says so. The beginning of a stream.
    pub floor: Vector,
    /// What the channel is for.
    pub kind: Kind,
    /// How it is set up.
    pub settings: Settings,
    /// What the person is in it; `None` for a server.
    pub role: Option<Role>,
    /// How many members it has.
    pub members: usize,
    /// How much is told of it.
    pub tier: Tier,
    /// Messages that the person has not read.
    pub unread: u64,
    /// Mentions that the person has not read.
    pub mentions: usize,
    /// Marks: everybody's in a small channel, else the person's own.
    pub marks: Vec<(UserId, ReadMark)>,
    /// The last accepted send of the device; 0: none.
    pub csn: u64,
    /// The other person of a direct channel.
    pub peer: Option<UserId>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The region of this node.
    pub fn region(&self) -> Region {
        self.0.region
    }

    /// One command to the owner of its channel. It is handed over at once, whether the answer is waited for or not: commands of one
    /// connection for one channel are decided and answered in the order of the calls. [`messaging::command::Send::original`] is filled here.
    ///
    /// The answer comes when it lasts. A [`Code::Busy`] says to try the same again.
    pub fn ask(&self, command: Command) -> impl Future<Output = Answer> + Send + 'static {
        let (reply, answer) = oneshot::channel();
        let inbox = &self.0.desk(&command.channel).inbox;
        let taken = inbox.try_send(Order::Ask(Box::new(Asked { command, reply })));
        async move {
            let busy = |reason| Answer::Refused(busy(reason));
            match taken {
                Ok(()) => {
                    answer.await.unwrap_or_else(|_| busy("the owner of the channel changed: try again"))
                }
                Err(_) => busy("the owner of the channel has too much to do: try again"),
            }
        }
    }

    /// What a subscription begins with. `user` is who wants to read (`None`: a server, which may read everything).
    ///
    /// # Errors
    /// [`Code::NoChannel`], [`Code::NotMember`], [`Code::Removed`]; [`Code::Busy`] for now.
    pub async fn look(
        &self,
        channel: &ChannelId,
        user: Option<&UserId>,
        device: Option<&DeviceId>,
    ) -> Result<Look, Refusal> {
        let lineage = Arc::clone(&lock(&self.0.desk(channel).lineage));
        let (name, user, device) = (channel.clone(), user.cloned(), device.cloned());
        let look = move |partition: &Partition| {
            let channel = readable(partition, &name, user.as_ref())?;
            Ok(look(channel, lineage, user.as_ref(), device.as_ref()))
        };
        self.view(self.0.partition(channel), look).await?
    }

    /// Committed events of the channel behind what `from` covers, in the order of the log: at most `limit`, [`EVENTS`] at the most; fewer
    /// only when there are no more. What retention removed is left out. Who may read is for the caller to have asked ([`Handle::look`]).
    ///
    /// # Errors
    /// [`Code::Busy`], for now.
    pub async fn events(
        &self,
        channel: &ChannelId,
        from: &Cursor,
        limit: usize,
    ) -> Result<Vec<Arc<Event>>, Refusal> {
        let limit = limit.min(EVENTS);
        let after = from.at.place(self.0.region).map_or(0, |place| place.n);
        let tail = &self.0.desk(channel).tail;
        tail.begun().await;
        let recent = tail.recent(channel, after, limit);
        if after + 1 >= recent.from {
            return Ok(recent.events);
        }
        let name = channel.clone();
        let numbers = self.0.look_up(move |index| match Name::new(name.as_str()) {
            Some(name) => index.events(name, after + 1..recent.from, false, limit),
            None => Ok(Vec::new()),
        });
        let numbers = numbers.await?;
        let mut events = self.0.fetch(self.0.partition(channel), &numbers).await?;
        let room = limit.saturating_sub(events.len());
        events.extend(recent.events.into_iter().take(room));
        Ok(events)
    }

    /// A place of delivery.
    pub fn listen(&self) -> Listener {
        Listener::new(Arc::clone(&self.0))
    }

    /// A connection watches these people from now on, instead of those before; whether they are there is told with [`Told::Presence`].
    /// The answer says who is there now; `None`: they are too many ([`messaging::presence::WATCHED`]).
    pub fn watch(&self, connection: u64, users: BTreeSet<UserId>) -> Option<Vec<(UserId, bool)>> {
        self.0.presence.watch(connection, users)
    }

    /// Is somebody connected to this node, or was until a moment ago?
    pub fn is_there(&self, user: &UserId) -> bool {
        self.0.presence.is_there(user)
    }

    /// Somebody types in a channel, or not any more. It may be lost.
    pub fn typing(&self, channel: &ChannelId, user: &UserId, on: bool) {
        let order = Order::Typing { channel: channel.clone(), user: user.clone(), on };
        // With much to do this is what gives way.
        let _ = self.0.desk(channel).inbox.try_send(order);
    }

    /// Somebody opens the details of a message: from now on this person is told with [`Told::Receipts`] who reads it, as its sender is, until
    /// another is named, or none. False: too many do, nobody follows the channel, or the person is not in it.
    pub async fn watch_readers(&self, channel: &ChannelId, user: &UserId, event: Option<EventId>) -> bool {
        let (reply, answer) = oneshot::channel();
        let order = Order::Watch { channel: channel.clone(), user: user.clone(), event, reply };
        self.0.desk(channel).inbox.try_send(order).is_ok() && answer.await.unwrap_or(false)
    }

    /// A step of a call; who is to hear of it is told with [`Told::Call`]. The answer is how the call stands.
    ///
    /// # Errors
    /// As [`Handle::look`]; [`Code::Forbidden`], [`Code::TooLarge`] (nobody to ring, or too many), [`Code::NoTarget`] (it is over),
    /// [`Code::Exists`] (another device answered).
    pub async fn call(&self, asked: CallAsk) -> Result<CallView, Refusal> {
        let (reply, answer) = oneshot::channel();
        let inbox = &self.0.desk(&asked.channel).inbox;
        if inbox.try_send(Order::Call(Box::new(asked), reply)).is_err() {
            return Err(busy("the owner of the channel has too much to do: try again"));
        }
        answer.await.unwrap_or_else(|_| Err(busy("the owner of the channel changed: try again")))
    }

    /// Calls that ring for somebody, or run with them.
    pub fn calls_of(&self, user: &UserId) -> Vec<Arc<CallView>> {
        self.0.calls.of(user)
    }

    /// Looks at a partition's state; the answer comes when what it stands on is committed.
    pub(crate) async fn view<T: Send + 'static>(
        &self,
        partition: u16,
        act: impl FnOnce(&Partition) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let view = move |state: &Partition| -> Box<dyn FnOnce() + Send> {
            let seen = act(state);
            Box::new(move || drop(reply.send(seen)))
        };
        let desk = &self.0.desks[usize::from(partition)];
        if desk.inbox.try_send(Order::View(Box::new(view))).is_err() {
            return Err(busy("the owner of the channel has too much to do: try again"));
        }
        answer.await.map_err(|_| busy("the owner of the channel changed: try again"))
    }
}

/// The channel, if this person may read it.
pub(crate) fn readable<'a>(
    partition: &'a Partition,
    name: &ChannelId,
    user: Option<&UserId>,
) -> Result<&'a Channel, Refusal> {
    let channel = partition.channel(name).filter(|channel| channel.kind().is_some());
    let channel =
        channel.ok_or(Refusal::last(Code::NoChannel, "there is no such channel: create it first"))?;
    let Some(user) = user.filter(|user| !channel.members().contains_key(*user)) else { return Ok(channel) };
    Err(match channel.outsider(user).and_then(|outsider| outsider.removed) {
        Some(id) => Refusal::last(Code::Removed(id), "you are not in this channel any more"),
        None => Refusal::last(Code::NotMember, "you are not in this channel: join it first"),
    })
}

fn look(channel: &Channel, lineage: Arc<Lineage>, user: Option<&UserId>, device: Option<&DeviceId>) -> Look {
    let tier = Tier::of(channel.members().len());
    let marks = match (tier, user) {
        (Tier::Small, _) => channel.marks().iter().map(|(user, mark)| (user.clone(), mark.clone())).collect(),
        (_, Some(user)) => vec![(user.clone(), channel.mark(user))],
        (_, None) => Vec::new(),
    };
    let kind = channel.kind().unwrap_or(Kind::Group);
    let mut members = channel.members().keys();
    let peer = if kind == Kind::Direct { members.find(|one| Some(*one) != user).cloned() } else { None };
    let sends = user.zip(device).and_then(|(user, device)| channel.sends(user, device));
    Look {
        lineage,
        head: channel.causal().cursor(),
        floor: user
            .map_or_else(|| channel.floor().clone(), |user| channel.readable_from(user).unwrap_or_default()),
        kind,
        settings: channel.settings().clone(),
        role: user.and_then(|user| channel.members().get(user)).map(|member| member.role),
        members: channel.members().len(),
        tier,
        unread: user.map_or(0, |user| channel.unread(user)),
        mentions: user.map_or(0, |user| channel.unread_mentions(user)),
        marks,
        csn: sends.map_or(0, |sends| sends.last(wall())),
        peer,
    }
}

pub(crate) fn busy(reason: &'static str) -> Refusal {
    Refusal::later(Code::Busy, reason, 1_000)
}

/// The wall's time.
pub(crate) fn wall() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since.as_millis() as u64)
}

impl Shared {
    /// Everybody who follows a channel of the partition has to read it anew.
    pub fn missed(&self, partition: u16) {
        let followers = &self.desks[usize::from(partition)].followers;
        for channel in followers.keys() {
            followers.tell(&channel, &Told::Missed(channel.clone()));
        }
    }
}
