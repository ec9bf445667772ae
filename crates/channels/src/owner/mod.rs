//! One partition's owner: a task that drives a [`Partition`] on the log.
//!
//! It claims its record, restores the last checkpoint, reads the rest of the log, commits a barrier, and serves: orders come in by a
//! bounded queue, appends go out one at a time, and what is committed is put into the tail, handed to the index, and told, in this order,
//! before anybody is answered. An owner that is deposed forgets everything and begins anew as any other would.

mod append;
mod calls;
mod effects;
mod prepare;
pub(crate) mod retain;
mod soft;
mod start;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use backplane::{Log, Ownership, Position};
use base::{ChannelId, UserId};
use messaging::command::{Answer, Command, Now, Refusal};
use messaging::event::{Change, Content, Event};
use messaging::partition::{Appended, Output, Partition};
use messaging::place::EventId;
use tokio::sync::{mpsc, oneshot, watch};

use crate::calls::{CallAsk, CallView};
use crate::handle::{Desk, Shared, busy, wall};
use crate::indexer::Job;
use crate::listen::Told;
use crate::node::Settings;
use crate::outbox::Effect;
use append::Flight;
use calls::Calls;
use prepare::Preparing;
use soft::Soft;

/// Answers that an owner may owe: as many as a partition stages, and as many refusals between them.
const OWED: usize = 16_384;
/// Orders that are taken before the log is asked again.
const TURN: usize = 256;

/// What an owner is asked.
pub(crate) enum Order {
    /// A command.
    Ask(Box<Asked>),
    /// To look at its state.
    View(View),
    /// Somebody types, or not any more.
    Typing { channel: ChannelId, user: UserId, on: bool },
    /// Somebody opens the details of a message, or closes them.
    Watch { channel: ChannelId, user: UserId, event: Option<EventId>, reply: oneshot::Sender<bool> },
    /// A step of a call.
    Call(Box<CallAsk>, oneshot::Sender<Result<CallView, Refusal>>),
    /// Something for an inbox.
    Effect(Box<Effect>),
}

/// A command, and where its answer goes.
pub(crate) struct Asked {
    pub command: Command,
    pub reply: oneshot::Sender<Answer>,
}

/// Looks at a state; what it gives is called when what it saw is committed.
pub(crate) type View = Box<dyn FnOnce(&Partition) -> Box<dyn FnOnce() + Send> + Send>;

/// An owner, before it serves.
pub(crate) struct Owner<L, O> {
    pub partition: u16,
    pub log: L,
    pub ownership: O,
    pub shared: Arc<Shared>,
    pub indexer: Sender<Job>,
    pub settings: Arc<Settings>,
    pub orders: mpsc::Receiver<Order>,
    pub closing: watch::Receiver<bool>,
}

/// Why an owner serves no more.
enum End {
    Closed,
    Deposed,
}

impl<L: Log, O: Ownership> Owner<L, O> {
    /// Until it is closed.
    pub async fn run(mut self) {
        while let Some(state) = self.start().await {
            match Service::new(&mut self, state).serve().await {
                End::Closed => return,
                End::Deposed => {
                    tracing::warn!(
                        partition = self.partition,
                        "another owner has appended: this one begins anew"
                    );
                }
            }
        }
    }
}

/// An owner that serves.
struct Service<'a, L: Log> {
    number: u16,
    partition: Partition,
    log: &'a L,
    shared: Arc<Shared>,
    indexer: &'a Sender<Job>,
    settings: &'a Settings,
    orders: &'a mut mpsc::Receiver<Order>,
    closing: watch::Receiver<bool>,
    flight: Flight,
    /// Where answers go, by the number that the request has here.
    owed: BTreeMap<u64, oneshot::Sender<Answer>>,
    requests: u64,
    /// What has been seen of the state up to a number, told when that is committed.
    views: VecDeque<(u64, Box<dyn FnOnce() + Send>)>,
    preparing: Preparing,
    soft: Soft,
    calls: Calls,
    retention: retain::Retention,
    /// The number that the last checkpoint covers, and when it was made.
    checkpointed: (u64, Instant),
    /// It is on its way to the disk.
    saving: Option<tokio::task::JoinHandle<()>>,
    deposed: bool,
}

impl<'a, L: Log> Service<'a, L> {
    fn new<O>(owner: &'a mut Owner<L, O>, started: start::Started) -> Self {
        let start::Started { partition, checkpointed } = started;
        Self {
            number: owner.partition,
            partition,
            log: &owner.log,
            shared: Arc::clone(&owner.shared),
            indexer: &owner.indexer,
            settings: &owner.settings,
            orders: &mut owner.orders,
            closing: owner.closing.clone(),
            flight: Flight::default(),
            owed: BTreeMap::new(),
            requests: 0,
            views: VecDeque::new(),
            preparing: Preparing::default(),
            soft: Soft::default(),
            calls: Calls::default(),
            retention: retain::Retention::default(),
            checkpointed: (checkpointed, Instant::now()),
            saving: None,
            deposed: false,
        }
    }

    async fn serve(mut self) -> End {
        self.partition.start();
        self.resume_calls().await;
        loop {
            self.pump();
            if self.deposed {
                return End::Deposed;
            }
            let serving = self.partition.is_serving();
            let is_closing = *self.closing.borrow();
            if is_closing && self.is_idle() {
                self.end().await;
                return End::Closed;
            }
            if self.is_overdue() {
                self.checkpoint();
            }
            let overdue = self.is_overdue();
            self.retain();
            let due = self.poll_timeout();
            tokio::select! {
                biased;
                fate = self.flight.landed() => self.landed(fate),
                prepared = self.preparing.next() => self.prepared(prepared),
                order = self.orders.recv(), if serving && !is_closing && !overdue => self.take(order),
                () = saved(&mut self.saving) => {}
                floors = self.retention.found() => self.raise_floors(floors),
                () = sleep_until(due) => self.handle_timeout(),
                _ = self.closing.changed(), if !is_closing => {}
            }
        }
    }

    /// Keeps what it has.
    async fn end(&mut self) {
        if self.saving.is_some() {
            saved(&mut self.saving).await;
        }
        self.checkpoint();
        if self.saving.is_some() {
            saved(&mut self.saving).await;
        }
    }

    /// Nothing is on its way any more.
    fn is_idle(&self) -> bool {
        !self.flight.is_flying()
            && self.preparing.is_empty()
            && self.partition.committed() == self.partition.state().head.n
    }

    /// An order, and those behind it.
    fn take(&mut self, order: Option<Order>) {
        let mut left = TURN;
        let mut next = order;
        while let Some(order) = next {
            self.obey(order);
            left -= 1;
            next = (left > 0).then(|| self.orders.try_recv().ok()).flatten();
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Ask(asked) => self.ask(*asked),
            Order::View(view) => {
                let seen = view(&self.partition);
                self.views.push_back((self.partition.state().head.n, seen));
            }
            Order::Typing { channel, user, on } => self.typing(&channel, &user, on),
            Order::Watch { channel, user, event, reply } => {
                // Who asked may have gone.
                let _ = reply.send(self.watch_readers(&channel, &user, event));
            }
            Order::Call(asked, reply) => self.call(*asked, reply),
            Order::Effect(effect) => self.effect(*effect),
        }
    }

    fn ask(&mut self, asked: Asked) {
        if self.owed.len() >= OWED {
            let answer = Answer::Refused(busy("the log does not keep up: try again"));
            return drop(asked.reply.send(answer));
        }
        if let Some(asked) = self.prepare(asked) {
            self.hand(asked);
        }
    }

    /// Gives a command to the partition.
    fn hand(&mut self, asked: Asked) {
        let Asked { mut command, reply } = asked;
        self.requests += 1;
        command.origin.request = self.requests;
        self.owed.insert(self.requests, reply);
        self.partition.handle(now(), command);
    }

    fn landed(&mut self, fate: Appended) {
        self.flight.end();
        self.partition.appended(fate);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let again = self.flight.again_at();
        // One that is overdue waits for an append, not for a time.
        let checkpoint = self.checkpoint_due().filter(|due| *due > Instant::now());
        let soft = self.soft.poll_timeout().into_iter().chain(self.calls.poll_timeout());
        let retention = self.retention.poll_timeout();
        let all = self.partition.poll_timeout().into_iter().chain(again).chain(checkpoint).chain(soft);
        all.chain(retention).min()
    }

    fn handle_timeout(&mut self) {
        self.partition.handle_timeout(now());
        self.tell_soft();
        self.time_calls();
    }

    /// Tells what may be told, and appends what waits.
    fn pump(&mut self) {
        let mut events = Vec::new();
        let mut outputs = Vec::new();
        while let Some(output) = self.partition.poll_output() {
            if let Output::Deliver(event) = &output {
                events.push(Arc::clone(event));
            }
            outputs.push(output);
        }
        self.publish(events);
        for output in outputs {
            self.tell(output);
        }
        let committed = self.partition.committed();
        while self.views.front().is_some_and(|(n, _)| *n <= committed)
            && let Some((_, seen)) = self.views.pop_front()
        {
            seen();
        }
        let is_full = self.desk().tail.is_full();
        if let Some(append) = self.flight.may_fly(is_full).then(|| self.partition.poll_append()).flatten() {
            let epoch = self.partition.state().head.epoch;
            self.flight.start(self.log.clone(), self.number, epoch, append);
        }
    }

    /// What is committed can be found before it is told.
    fn publish(&mut self, events: Vec<Arc<Event>>) {
        let n = self.partition.committed();
        let tail = &self.desk().tail;
        if !tail.push(&events, n) {
            return;
        }
        let upto = Position { epoch: self.partition.state().head.epoch, n };
        // An index that has stopped has said so.
        let _ = self.indexer.send(Job::Events { partition: self.number, events, upto });
    }

    fn tell(&mut self, output: Output) {
        match output {
            Output::Answer { request, answer, .. } => {
                if let Some(reply) = self.owed.remove(&request) {
                    // Who asked may have gone.
                    let _ = reply.send(answer);
                }
            }
            Output::Deliver(event) => self.deliver(event),
            Output::Marks { channel, marks } => {
                self.marked(&channel, &marks);
                let told = Told::Marks { channel: channel.clone(), marks: marks.into() };
                self.desk().followers.tell(&channel, &told);
            }
            Output::Ephemeral { channel, from, name, body } => {
                let told = Told::Ephemeral { channel: channel.clone(), from, name, body };
                self.desk().followers.tell(&channel, &told);
            }
            Output::BeyondHead { channel, place } => {
                tracing::error!(
                    channel = channel.as_str(),
                    epoch = place.epoch,
                    n = place.n,
                    "a client has seen what this log never had: the log lost something, or is another deployment's"
                );
            }
            Output::Deposed => {
                self.deposed = true;
                self.shared.missed(self.number);
            }
        }
    }

    fn deliver(&mut self, event: Arc<Event>) {
        self.soften(&event);
        let channel = event.channel.clone();
        let followers = &self.desk().followers;
        followers.tell(&channel, &Told::Event(Arc::clone(&event)));
        match &event.content {
            Content::Created { members, .. } => {
                for (user, _) in members {
                    self.tell_membership(user, &channel);
                }
            }
            Content::Member { user, change } => {
                followers.tell(&channel, &Told::State(channel.clone()));
                if matches!(
                    change,
                    Change::Joined { .. } | Change::Left | Change::Removed | Change::Banned { .. }
                ) {
                    self.tell_membership(user, &channel);
                }
            }
            Content::Updated { .. } => followers.tell(&channel, &Told::State(channel.clone())),
            _ => {}
        }
    }

    fn tell_membership(&self, user: &UserId, channel: &ChannelId) {
        let told = Told::Membership { user: user.clone(), channel: channel.clone() };
        self.shared.people.tell(user, &told);
    }

    fn desk(&self) -> &Desk {
        &self.shared.desks[usize::from(self.number)]
    }

    fn checkpoint_due(&self) -> Option<Instant> {
        let (covered, at) = self.checkpointed;
        let grown = self.partition.committed().saturating_sub(covered);
        match grown {
            _ if self.saving.is_some() => None,
            0 => None,
            grown if grown >= self.settings.checkpoint_after => Some(at),
            _ => Some(at + self.settings.checkpoint_every),
        }
    }

    /// Is a checkpoint due? Then nothing new is taken until all that was taken is committed, which is when one can be made.
    fn is_overdue(&self) -> bool {
        self.checkpoint_due().is_some_and(|due| due <= Instant::now())
    }

    /// Keeps the state, if nothing in it is on its way; the disk is waited for beside what goes on.
    fn checkpoint(&mut self) {
        let n = self.partition.committed();
        if n <= self.checkpointed.0 {
            return;
        }
        let Some(state) = self.partition.checkpoint() else { return };
        self.checkpointed = (n, Instant::now());
        let (log, partition, shared) = (self.log.clone(), self.number, Arc::clone(&self.shared));
        let first = retain::first_kept(self.partition.state());
        self.saving = Some(tokio::spawn(async move {
            if let Err(error) = log.checkpoint(partition, n, state.into()).await {
                tracing::warn!(%error, partition, "a checkpoint was not kept; there will be another");
            } else if let Err(error) = retain::remove(&log, &shared, partition, first).await {
                tracing::warn!(%error, partition, "what is not kept was not removed; it will be tried again");
            }
        }));
    }
}

/// Waits for the checkpoint that is on its way; never, when there is none.
async fn saved(saving: &mut Option<tokio::task::JoinHandle<()>>) {
    match saving {
        Some(task) => {
            // One that panicked has said so.
            let _ = task.await;
            *saving = None;
        }
        None => std::future::pending().await,
    }
}

/// Both times.
pub(crate) fn now() -> Now {
    Now { at: Instant::now(), wall: wall() }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
