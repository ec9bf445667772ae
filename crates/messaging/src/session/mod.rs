//! One connection: its streams, what waits to be sent, and what gives way when it is slow.
//!
//! A [`Session`] lives as long as its socket; what resuming needs is in the cursors that it hands out, so that any node can go on. **It is
//! driven like this:** committed events of a channel go to [`Session::offer`] in an order in which a node delivered them; [`Session::poll_frame`]
//! is drained as the socket takes frames; [`Session::handle_timeout`] when [`Session::poll_timeout`] has come.
//!
//! - Events of one channel leave by the delivery rule, and one that names positions of other channels (`after`) waits until this session's
//!   streams of those have passed them. When such a stream has not moved for 5 s the event leaves marked *unmet*, and that channel is not
//!   waited for again until it moves.
//! - What a slow connection does not take is bounded: soft state goes first, then the channel with most is reset, then the session ends.
//! - Who is removed from a channel receives that as its last item.

mod queue;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{ChannelId, UserId};

use crate::causal::{Causal, Delivery, Hold, Offer, Reset};
use crate::event::{Change, Content, Event};
use crate::fold::{Folder, Item, is_folded};
use crate::place::{Cursor, EventId, Lineage, Vector};
use queue::Queue;
pub use queue::{Frame, Soft};

/// How long an event waits for another channel's stream to move.
pub const UNMET: Duration = Duration::from_secs(5);

/// A cursor that is further behind than this many messages begins anew: a page of history is sooner read than these.
pub const TOO_FAR: u64 = 10_000;

/// What a session accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Channels.
    pub channels: usize,
    /// Bytes that wait to be sent, by an estimate: bodies, and 100 for each item.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { channels: 1_000, bytes: 256 * 1024 }
    }
}

/// One connection.
pub struct Session {
    user: UserId,
    limits: Limits,
    streams: Streams,
    queue: Queue,
    /// Something waits for another channel.
    holding: bool,
    over: bool,
}

/// There are as many of these as connections have channels: what most do not need is behind a pointer.
struct Stream {
    causal: Causal,
    /// A run that has not left.
    run: Option<Box<Folder>>,
    /// Another channel's event waits for it, since it moved last.
    awaited: Option<Box<Awaited>>,
    members: u32,
    open: bool,
}

struct Awaited {
    since: Instant,
    /// In vain.
    given_up: bool,
}

/// Streams by channel.
#[derive(Default)]
struct Streams(Vec<(ChannelId, Stream)>);

/// Room for so many more streams is made at a time: a connection has some tens of them, and of connections there are many.
const GROWTH: usize = 4;

impl Streams {
    fn find(&self, channel: &ChannelId) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(channel))
    }

    fn get(&self, channel: &ChannelId) -> Option<&Stream> {
        self.find(channel).ok().map(|at| &self.0[at].1)
    }

    fn get_mut(&mut self, channel: &ChannelId) -> Option<&mut Stream> {
        self.find(channel).ok().map(|at| &mut self.0[at].1)
    }

    fn insert(&mut self, channel: &ChannelId, stream: Stream) {
        match self.find(channel) {
            Ok(at) => self.0[at].1 = stream,
            Err(at) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(GROWTH);
                }
                self.0.insert(at, (channel.clone(), stream));
            }
        }
    }

    fn remove(&mut self, channel: &ChannelId) {
        if let Ok(at) = self.find(channel) {
            self.0.remove(at);
        }
    }
}

/// What a channel looks like to who subscribes.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// How epochs follow each other.
    pub lineage: &'a Lineage,
    /// What is not there to be read: removed by retention, or before the membership.
    pub floor: &'a Vector,
    /// Where the logs end.
    pub head: &'a Cursor,
    /// How many members there are.
    pub members: usize,
}

impl Session {
    /// The connection of this person.
    pub fn new(user: UserId, limits: Limits) -> Self {
        Self {
            user,
            limits,
            streams: Streams::default(),
            queue: Queue::default(),
            holding: false,
            over: false,
        }
    }

    /// Begins a stream, or goes on with it, from `from`; a channel that is not `open` is only told to have changed. The answer is where the
    /// stream stands: events after that are to be offered. When `from` cannot be resumed, that is said in a frame, and the stream stands at
    /// the head. `None`: too many channels.
    pub fn subscribe(
        &mut self,
        channel: &ChannelId,
        from: &Cursor,
        open: bool,
        view: View<'_>,
    ) -> Option<Cursor> {
        if self.streams.0.len() >= self.limits.channels && self.streams.get(channel).is_none() {
            return None;
        }
        let resumed = if behind(from, view.head) > TOO_FAR {
            Err(Reset::TooFar)
        } else {
            Causal::resume(view.lineage, from, view.floor, &view.head.at)
        };
        let causal = resumed.unwrap_or_else(|why| {
            self.queue.push(Frame::Reset { channel: channel.clone(), why, cursor: view.head.clone() });
            let none = Vector::default();
            // The head is covered by itself, and nothing is required of it.
            Causal::resume(view.lineage, view.head, &none, &none).unwrap_or_default()
        });
        let cursor = causal.cursor();
        let stream = Stream { causal, run: None, awaited: None, members: count(view.members), open };
        self.streams.insert(channel, stream);
        Some(cursor)
    }

    /// Ends a stream. What waited for it waits no longer.
    pub fn unsubscribe(&mut self, now: Instant, lineage: &Lineage, channel: &ChannelId) {
        self.streams.remove(channel);
        self.queue.forget(channel);
        self.drain_all(now, lineage);
        self.shed(now);
    }

    /// Which channels, and where their streams stand.
    pub fn cursors(&self) -> impl Iterator<Item = (&ChannelId, Cursor)> {
        self.streams.0.iter().map(|(channel, stream)| (channel, stream.causal.cursor()))
    }

    /// What was delivered of a channel: joined to what its sends say they have seen.
    pub fn delivered(&self, channel: &ChannelId) -> Option<&Vector> {
        self.streams.get(channel).map(|stream| stream.causal.applied())
    }

    /// How many members a channel has now.
    pub fn resized(&mut self, channel: &ChannelId, members: usize) {
        if let Some(stream) = self.streams.get_mut(channel) {
            stream.members = count(members);
        }
    }

    /// A committed event. False: it could not be taken; it is in the log, and is offered again with what is before it.
    pub fn offer(&mut self, now: Instant, lineage: &Lineage, event: Arc<Event>) -> bool {
        let Some(stream) = self.streams.get_mut(&event.channel) else { return true };
        let channel = event.channel.clone();
        if !stream.open {
            self.queue.push_soft(Soft::Touch { channel });
            return true;
        }
        // Most events follow at once what was sent last, and wait for nothing.
        let before = stream.run.is_some().then(|| stream.causal.cursor());
        if event.after.is_empty()
            && let Some(delivery) = stream.causal.pass(lineage, &event)
        {
            stream.awaited = None;
            self.leave(now, &channel, before, delivery);
            while self.holding && self.drain_all(now, lineage) {}
            self.shed(now);
            return true;
        }
        match stream.causal.offer(lineage, event) {
            Offer::Taken => self.drain_from(now, lineage, &channel),
            Offer::Known => {}
            Offer::Full => return false,
            Offer::Lost => {
                // Nothing more can leave this stream: the client begins another.
                self.reset(now, &channel, Reset::Epoch);
                self.streams.remove(&channel);
            }
        }
        true
    }

    /// Something that may be dropped.
    pub fn push_soft(&mut self, soft: Soft) {
        if !self.over {
            self.queue.push_soft(soft);
            self.queue.shed_soft(self.limits.bytes);
        }
    }

    /// Lets go what may, and then in other channels what waited for that.
    fn drain_from(&mut self, now: Instant, lineage: &Lineage, channel: &ChannelId) {
        let mut moved = self.drain(now, lineage, channel);
        while moved && self.holding {
            moved = self.drain_all(now, lineage);
        }
        self.shed(now);
    }

    /// True: something left somewhere.
    fn drain_all(&mut self, now: Instant, lineage: &Lineage) -> bool {
        self.holding = false;
        let waiting = self.streams.0.iter().filter(|(_, stream)| stream.causal.waiting() > 0);
        let names: Vec<ChannelId> = waiting.map(|(channel, _)| channel.clone()).collect();
        names.iter().filter(|channel| self.drain(now, lineage, channel)).count() > 0
    }

    /// True: something left.
    fn drain(&mut self, now: Instant, lineage: &Lineage, channel: &ChannelId) -> bool {
        let mut moved = false;
        while let Some(stream) = self.streams.get_mut(channel) {
            let before = stream.causal.cursor();
            // It is taken out, so that holds may look at all others.
            let mut causal = std::mem::take(&mut stream.causal);
            let delivery = causal.next(lineage, |event| self.hold(now, lineage, event));
            let Some(stream) = self.streams.get_mut(channel) else { return moved };
            stream.causal = causal;
            let Some(delivery) = delivery else { return moved };
            (stream.awaited, moved) = (None, true);
            if self.leave(now, channel, Some(before), delivery) {
                return true;
            }
        }
        moved
    }

    /// Queues what leaves. `before`: where the stream stood, where a run may begin. True: it is the last of its stream.
    fn leave(
        &mut self,
        now: Instant,
        channel: &ChannelId,
        before: Option<Cursor>,
        delivery: Delivery,
    ) -> bool {
        let gone = self.removal(&delivery.event);
        let Some(stream) = self.streams.get_mut(channel) else { return true };
        stream.queue_item(now, &self.user, channel, before, delivery, &mut self.queue);
        if let Some(id) = gone {
            self.streams.remove(channel);
            self.queue.push(Frame::Removed { channel: channel.clone(), id });
        }
        gone.is_some()
    }

    /// Is this the end of the person's own membership?
    fn removal(&self, event: &Event) -> Option<EventId> {
        match &event.content {
            Content::Member { user, change: Change::Left | Change::Removed } if *user == self.user => {
                Some(event.id)
            }
            Content::Member { user, change: Change::Banned { until } }
                if *user == self.user && until.0 > 0 =>
            {
                Some(event.id)
            }
            _ => None,
        }
    }

    /// Does an event wait for another channel?
    fn hold(&mut self, now: Instant, lineage: &Lineage, event: &Event) -> Hold {
        let mut verdict = Hold::Go;
        for (channel, wanted) in event.after.iter().filter(|(channel, _)| *channel != event.channel) {
            let Some(stream) = self.streams.get_mut(channel).filter(|stream| stream.open) else { continue };
            if stream.causal.unsatisfied(lineage, wanted).is_none() {
                continue;
            }
            let awaited =
                stream.awaited.get_or_insert_with(|| Box::new(Awaited { since: now, given_up: false }));
            if awaited.given_up || now >= awaited.since + UNMET {
                awaited.given_up = true;
                verdict = Hold::Unmet;
            } else {
                self.holding = true;
                return Hold::Wait;
            }
        }
        verdict
    }

    /// What is too much for the connection gives way.
    fn shed(&mut self, now: Instant) {
        self.queue.shed_soft(self.limits.bytes);
        if self.queue.bytes() <= self.limits.bytes {
            return;
        }
        if let Some(channel) = self.queue.fullest() {
            self.reset(now, &channel, Reset::Slow);
        }
        if self.queue.bytes() > self.limits.bytes {
            self.over = true;
            self.queue = Queue::default();
            self.queue.push(Frame::Goaway { retry_after: 1_000 });
        }
    }

    /// A channel's stream begins anew, at what was offered last; the client pages history.
    fn reset(&mut self, now: Instant, channel: &ChannelId, why: Reset) {
        self.queue.forget(channel);
        if let Some(stream) = self.streams.get_mut(channel) {
            stream.run = None;
            if let Some(awaited) = &mut stream.awaited {
                awaited.since = now;
            }
            self.queue.push(Frame::Reset { channel: channel.clone(), why, cursor: stream.causal.cursor() });
        }
    }

    /// The next frame to send.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        self.queue.pop()
    }

    /// How much waits to be sent, in bytes, by the estimate of [`Limits::bytes`].
    pub fn backlog(&self) -> usize {
        self.queue.bytes()
    }

    /// The connection is to be closed when all frames are sent.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// When to be called again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let all = self.streams.0.iter().flat_map(|(_, stream)| {
            let awaited = stream.awaited.as_ref().filter(|awaited| !awaited.given_up);
            let unmet = awaited.map(|awaited| awaited.since + UNMET);
            [unmet, stream.run.as_ref().and_then(|run| run.poll_timeout())]
        });
        all.flatten().min()
    }

    /// Its time has come.
    pub fn handle_timeout(&mut self, now: Instant, lineage: &Lineage) {
        for (channel, stream) in &mut self.streams.0 {
            if let Some(item) = stream.run.as_mut().and_then(|run| run.handle_timeout(now)) {
                stream.run = None;
                self.queue.push_items(channel, [item], &stream.causal.cursor());
            }
        }
        while self.drain_all(now, lineage) {}
        self.shed(now);
        // What was waited for and is not any more.
        let due = |awaited: &Awaited| !awaited.given_up && now >= awaited.since + UNMET;
        for (_, stream) in &mut self.streams.0 {
            if stream.awaited.as_ref().is_some_and(|awaited| due(awaited)) {
                stream.awaited = None;
            }
        }
    }
}

impl Stream {
    /// `before`: where the stream stood before this delivery, where a run may have to end there.
    fn queue_item(
        &mut self,
        now: Instant,
        own: &UserId,
        channel: &ChannelId,
        before: Option<Cursor>,
        delivery: Delivery,
        queue: &mut Queue,
    ) {
        let members = self.members as usize;
        if self.run.is_none() && !is_folded(own, &delivery, members) {
            queue.push_items(channel, [Item::Event(delivery)], &self.causal.cursor());
            return;
        }
        let run = self.run.get_or_insert_with(|| Box::new(Folder::new(own.clone())));
        let items = run.push(now, delivery, members);
        if run.poll_timeout().is_none() {
            self.run = None;
        }
        // The cursor of a frame covers what was told, and not the run that is just beginning.
        let begins = matches!(items.last(), Some(Item::Fold(_)));
        queue.push_items(channel, items, &before.filter(|_| begins).unwrap_or_else(|| self.causal.cursor()));
    }
}

fn count(members: usize) -> u32 {
    members.try_into().unwrap_or(u32::MAX)
}

/// How many messages a cursor is behind.
fn behind(from: &Cursor, head: &Cursor) -> u64 {
    let count = |(region, mark): (crate::place::Region, crate::place::Mark)| {
        mark.count.saturating_sub(from.at.get(region).map_or(0, |mark| mark.count))
    };
    head.at.iter().map(count).sum()
}

/// What an item takes while it waits, about, in bytes.
fn weight(item: &Item) -> usize {
    100 + match item {
        Item::Event(delivery) => match &delivery.event.content {
            Content::Message { body, .. } | Content::Edit { body, .. } | Content::Custom { body, .. } => {
                body.len()
            }
            _ => 0,
        },
        Item::Fold(_) => 0,
    }
}
