//! The owner of a partition: orders, authorises and appends.
//!
//! A [`Partition`] is a value. **It is driven like this:** records of its own log are [`Partition::replay`]ed in order, then
//! [`Partition::start`]; after every call, [`Partition::poll_append`] is asked for what to append and its fate told with
//! [`Partition::appended`], and [`Partition::poll_output`] is drained; [`Partition::handle_timeout`] when [`Partition::poll_timeout`] has
//! come; events of other regions' logs go to [`Partition::remote`] in any order.
//!
//! - **Nothing is told before it is committed.** An event, and every answer that was decided on a state that holds an uncommitted event,
//!   leaves when the log has it.
//! - **The state runs ahead of the log and never goes back**: when an append does not succeed the owner is deposed, and its state thrown
//!   away with it. It never reloads and goes on.
//! - **One append at a time**; what comes meanwhile is one batch, the next.

mod append;
mod decide;
mod state;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use base::{ChannelId, UserId};

pub use append::{Append, Appended};
pub use state::State;

use crate::causal::Gap;
use crate::channel::Channel;
use crate::clock::Hlc;
use crate::command::{Answer, Code, Command, Now, Origin, Refusal};
use crate::event::{Body, Content, Entry, Event, ReadMark, Record, Sender};
use crate::limits::Limits;
use crate::place::{EventId, Mark, Place, Region, Vector};
use append::Flight;
use decide::Decision;
use waiting::Waiting;

/// Marks in one record: a log limits what one may take.
const MARKS: usize = 512;

/// Answers that may wait for the log, in as many as entries may: more are refused at once. Most commands make one of each.
const HELD: usize = 4;

/// What leaves an owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// To who asked.
    Answer {
        /// The connection.
        connection: u64,
        /// Its request.
        request: u64,
        /// The answer.
        answer: Answer,
    },
    /// A committed event of this log, to everybody who delivers.
    Deliver(Arc<Event>),
    /// Marks that moved and last.
    Marks {
        /// In which channel.
        channel: ChannelId,
        /// Whose, and where to.
        marks: Vec<(UserId, ReadMark)>,
    },
    /// Something to tell who is there.
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
    /// Somebody presents a place that this log has never had: it lost something, or another deployment's is taken for it.
    BeyondHead {
        /// In which channel.
        channel: ChannelId,
        /// Which place.
        place: Place,
    },
    /// Somebody else owns the partition: release the record, and throw this value away.
    Deposed,
}

/// Whether an owner answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// The log is being read.
    Starting,
    /// The barrier is on its way, or committed.
    Started,
    /// Another owner has appended.
    Deposed,
}

/// The owner of one partition in one region.
pub struct Partition {
    state: State,
    limits: Limits,
    incarnation: u64,
    /// The only region of its deployment: what is not known here is nowhere.
    alone: bool,
    standing: Standing,
    appends: u64,
    /// The last number that the log is known to have.
    committed: u64,
    staged: VecDeque<Entry>,
    /// What is staged takes about so many bytes.
    staged_bytes: usize,
    flight: Option<Flight>,
    /// What leaves when the log has the number beside it.
    held: VecDeque<(u64, Output)>,
    /// Refusals that stand on nothing, for when too much is held.
    hasty: VecDeque<Output>,
    waiting: Waiting,
    marks: BTreeMap<ChannelId, BTreeMap<UserId, ReadMark>>,
    readers: Vec<(Origin, ChannelId, UserId)>,
    flush_at: Option<Instant>,
    holes: u64,
}

impl Partition {
    /// An owner that begins at `state`, a checkpoint or the empty one. `incarnation` is higher than that of any owner before.
    pub fn new(state: State, incarnation: u64, alone: bool, limits: Limits) -> Self {
        Self {
            committed: state.head.n,
            state,
            limits,
            incarnation,
            alone,
            standing: Standing::Starting,
            appends: 0,
            staged: VecDeque::new(),
            staged_bytes: 0,
            flight: None,
            held: VecDeque::new(),
            hasty: VecDeque::new(),
            waiting: Waiting::default(),
            marks: BTreeMap::new(),
            readers: Vec::new(),
            flush_at: None,
            holes: 0,
        }
    }

    /// The next record of its log, before [`Self::start`].
    pub fn replay(&mut self, record: &Record) {
        debug_assert_eq!(self.standing, Standing::Starting, "an owner that appends does not read");
        self.state.replay(record);
        self.committed = self.state.head.n;
    }

    /// Is everything applied that its log depends on? Before, [`Self::start`] waits.
    pub fn is_ready(&self) -> bool {
        !self.state.is_behind()
    }

    /// The log is read: commits a barrier, then serves. False: what the log depends on has not come from other regions yet.
    pub fn start(&mut self) -> bool {
        if self.standing == Standing::Starting && self.is_ready() {
            self.standing = Standing::Started;
            self.stage(Entry::Barrier);
        }
        self.standing == Standing::Started
    }

    /// Is the barrier committed? Only then may state be read from here.
    pub fn is_serving(&self) -> bool {
        self.standing == Standing::Started && self.appends > 0 && (self.appends > 1 || self.flight.is_none())
    }

    /// Which region's log this is.
    pub fn region(&self) -> Region {
        self.state.region
    }

    /// The state, which may be ahead of the log.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A channel's state, which may be ahead of the log.
    pub fn channel(&self, channel: &ChannelId) -> Option<&Channel> {
        self.state.channels.get(channel)
    }

    /// The state, when nothing in it is uncommitted: what may be checkpointed.
    pub fn checkpoint(&self) -> Option<Vec<u8>> {
        (self.committed == self.state.head.n).then(|| self.state.checkpoint())
    }

    /// The last number that the log is known to have.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Holes that this owner appended.
    pub fn holes(&self) -> u64 {
        self.holes
    }

    /// How many commands wait for events of other regions.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What is missing from other regions' logs, by channel.
    pub fn gaps(&self) -> impl Iterator<Item = (&ChannelId, Gap)> {
        self.state
            .channels
            .iter()
            .flat_map(|(name, channel)| channel.causal().gaps().map(move |gap| (name, gap)))
    }

    /// Takes a command. Its answer comes with [`Self::poll_output`].
    pub fn handle(&mut self, now: Now, command: Command) {
        if self.standing != Standing::Started {
            return self.answer(&command.origin, busy("this node does not own the channel now: try again"));
        }
        // What the log does not take, and the answers that wait for it, are bounded; the answer that says so must not wait itself.
        let is_full = self.staged.len() >= self.limits.staged
            || self.staged_bytes >= self.limits.staged_bytes
            || self.held.len() >= HELD * self.limits.staged;
        if is_full {
            let Origin { connection, request, .. } = command.origin;
            let answer = busy("the log does not keep up: try again");
            return self.hasty.push_back(Output::Answer { connection, request, answer });
        }
        if self.waiting.is_behind_another(&command) {
            return self.wait(now, command);
        }
        self.decide(now, command);
    }

    fn decide(&mut self, now: Now, command: Command) {
        match decide::decide(&self.state, &self.limits, self.alone, now, &command) {
            Decision::Answer(answer) => {
                if let Answer::Refused(Refusal { code: Code::BeyondHead, .. }) = answer {
                    self.alarm(&command);
                }
                self.answer(&command.origin, answer);
            }
            Decision::Append(draft) => self.append_draft(now, command, draft),
            Decision::Mark { user, mark } => self.mark(now, command, user, mark),
            Decision::Tell { name, body } => {
                let Command { origin, channel, .. } = command;
                self.answer(&origin, Answer::Done);
                self.output(Output::Ephemeral { channel, from: origin.user, name, body });
            }
            Decision::Wait => self.wait(now, command),
        }
    }

    fn wait(&mut self, now: Now, command: Command) {
        if self.waiting.len() >= self.limits.waiting {
            let answer = busy("too much waits for another region: try again");
            return self.answer(&command.origin, answer);
        }
        self.waiting.push(now.at + self.limits.hole_after, command);
    }

    /// Takes an event of another region's log, in any order. False: it cannot be taken, since its log went on from an earlier place.
    pub fn remote(&mut self, now: Now, event: Arc<Event>) -> bool {
        let name = event.channel.clone();
        let (offer, applied) = self.state.offer(event);
        if self.standing == Standing::Started {
            let lost = self.lost_dependency(&name);
            if let Some(epoch) = lost {
                self.declare_lost(now, &name, epoch);
            }
            if lost.is_some() || !applied.is_empty() {
                self.wake(now);
            }
        }
        offer != crate::causal::Offer::Lost
    }

    /// The epoch of a place in this log that an event of another region depends on and that was lost.
    fn lost_dependency(&self, channel: &ChannelId) -> Option<u32> {
        let state = &self.state;
        let waiting = state.channels.get(channel)?.causal().unmet_dependencies(&state.lineage);
        let own = waiting.filter(|(region, place)| *region == state.region && place.epoch < state.head.epoch);
        own.map(|(_, place)| place.epoch).min()
    }

    /// What this log lost of the channel in older epochs, from `epoch` on, is a hole, once: whoever saw any of it stands behind the hole
    /// with all they say from now on.
    fn declare_lost(&mut self, now: Now, channel: &ChannelId, epoch: u32) {
        let region = self.state.region;
        for epoch in epoch..self.state.head.epoch {
            let upto = Place { epoch, n: u64::MAX };
            let state = self.state.channels.get(channel);
            if state.is_some_and(|state| state.causal().satisfies(&self.state.lineage, region, upto)) {
                continue;
            }
            let known = state.and_then(|state| state.prev(region));
            self.holes += 1;
            let hole = Content::Hole { region, known, upto };
            self.push_event(now, channel.clone(), None, Vector::default(), Vec::new(), hole);
            let applied = self.state.release(channel);
            debug_assert!(
                applied.iter().all(|event| event.id.region != region),
                "own events never wait here"
            );
        }
    }

    /// Decides again on what waits, where nothing before it of the same connection still does.
    fn wake(&mut self, now: Now) {
        for waiting in self.waiting.take() {
            if self.waiting.is_behind_another(&waiting.command) {
                self.waiting.push(waiting.until, waiting.command);
                continue;
            }
            let before = self.waiting.len();
            self.decide(now, waiting.command);
            if self.waiting.len() > before {
                self.waiting.restore_deadline(waiting.until);
            }
        }
    }

    /// When to be called again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flush_at.into_iter().chain(self.waiting.deadline()).min()
    }

    /// Its time has come.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.flush_at.is_some_and(|at| at <= now.at) {
            self.flush_marks();
        }
        while let Some(command) = self.waiting.expired(now.at) {
            self.declare_holes(now, &command);
            self.decide(now, command);
            // What it waited for is declared missing now; others may have waited for the same.
            self.wake(now);
        }
    }

    /// What the command waits for has not come: a hole stands for it.
    fn declare_holes(&mut self, now: Now, command: &Command) {
        let Some(channel) = self.state.channels.get(&command.channel) else { return };
        let wanted = decide::wanted(self.state.region, command);
        let missing: Vec<(Region, Mark)> = wanted
            .iter()
            .filter(|(region, mark)| !channel.causal().satisfies(&self.state.lineage, *region, mark.place))
            .collect();
        for (region, mark) in missing {
            let known = self.state.channels.get(&command.channel).and_then(|channel| channel.prev(region));
            let hole = Content::Hole { region, known, upto: mark.place };
            self.holes += 1;
            self.append_event(now, command.channel.clone(), None, Vector::default(), Vec::new(), hole);
        }
    }

    fn append_draft(&mut self, now: Now, command: Command, draft: decide::Draft) {
        let Command { origin, channel, .. } = command;
        let decide::Draft { from, read, after, content, seen } = draft;
        let numbered = from.as_ref().is_some_and(|from| from.csn > 0);
        let event = self.append_event(now, channel, from, read, after, content);
        let answer = if numbered {
            let mut token = crate::place::Token { seen };
            token.seen.raise(event.id.region, Mark { place: event.id.place, count: event.count });
            Answer::Sent { event: event.id, token }
        } else {
            Answer::Done
        };
        self.answer(&origin, answer);
    }

    fn append_event(
        &mut self,
        now: Now,
        channel: ChannelId,
        from: Option<Sender>,
        read: Vector,
        after: Vec<(ChannelId, Vector)>,
        content: Content,
    ) -> Arc<Event> {
        // The channel's first event in a later epoch of the log stands behind a hole, its creation before one: what was lost may have
        // been the channel's only events, or its first creation.
        let State { region, head, .. } = self.state;
        let prev = self.state.channels.get(&channel).and_then(|state| state.prev(region));
        let since = prev.map_or_else(|| self.state.lineage.oldest(region, head.epoch), |prev| prev.epoch);
        let created = matches!(content, Content::Created { .. });
        if !created {
            self.declare_lost(now, &channel, since);
        }
        let event = self.push_event(now, channel.clone(), from, read, after, content);
        if created {
            self.declare_lost(now, &channel, since);
        }
        event
    }

    fn push_event(
        &mut self,
        now: Now,
        channel: ChannelId,
        from: Option<Sender>,
        read: Vector,
        after: Vec<(ChannelId, Vector)>,
        content: Content,
    ) -> Arc<Event> {
        let region = self.state.region;
        let state = self.state.channels.entry(channel.clone()).or_default();
        let count = state.head(region).map_or(0, |mark| mark.count) + u64::from(content.is_countable());
        let place = Place { n: self.state.head.n + 1, ..self.state.head };
        let event = Arc::new(Event {
            id: EventId { region, place },
            prev: state.prev(region),
            depends: state.causal().depends(region),
            clock: Hlc::next(now.wall, self.state.clock),
            count,
            channel,
            from,
            read,
            after,
            content,
        });
        self.state.append(&event);
        self.stage(Entry::Event { event: Arc::clone(&event) });
        self.output(Output::Deliver(Arc::clone(&event)));
        event
    }

    fn mark(&mut self, now: Now, command: Command, user: UserId, mark: ReadMark) {
        let Command { origin, channel, .. } = command;
        let before = self.state.channels.get(&channel).map(|state| state.mark(&user)).unwrap_or_default();
        let is_pending = self.marks.get(&channel).is_some_and(|marks| marks.contains_key(&user));
        let mut after = before.clone();
        after.join(&mark);
        if after == before && !is_pending {
            // Nothing moves: nothing is written.
            return self.answer(&origin, Answer::Marked(before));
        }
        let marks = self.marks.entry(channel.clone()).or_default();
        marks.entry(user.clone()).or_default().join(&mark);
        self.readers.push((origin, channel, user));
        self.flush_at.get_or_insert(now.at + self.limits.mark_window);
        // As many readers as may wait for the log: the window ends early.
        if self.readers.len() >= self.limits.staged {
            self.flush_marks();
        }
    }

    /// Marks that moved in the window are one record of each channel; who asked is answered when they last.
    fn flush_marks(&mut self) {
        self.flush_at = None;
        for (channel, marks) in std::mem::take(&mut self.marks) {
            let marks: Vec<(UserId, ReadMark)> = marks.into_iter().collect();
            if let Some(state) = self.state.channels.get_mut(&channel) {
                marks.iter().for_each(|(user, mark)| state.raise_mark(&self.state.lineage, user, mark));
            }
            for marks in marks.chunks(MARKS) {
                self.stage(Entry::Marks { channel: channel.clone(), marks: marks.to_vec() });
            }
            self.output(Output::Marks { channel, marks });
        }
        for (origin, channel, user) in std::mem::take(&mut self.readers) {
            let mark =
                self.state.channels.get(&channel).map(|channel| channel.mark(&user)).unwrap_or_default();
            self.answer(&origin, Answer::Marked(mark));
        }
    }

    /// What retention may remove of a channel: everything up to here was checkpointed.
    pub fn forget(&mut self, channel: &ChannelId, floor: &Vector) {
        if let Some(state) = self.state.channels.get_mut(channel) {
            state.forget(&self.state.lineage, floor);
        }
    }

    fn alarm(&mut self, command: &Command) {
        let place = decide::presented(command).place(self.state.region);
        if let Some(place) = place {
            self.output(Output::BeyondHead { channel: command.channel.clone(), place });
        }
    }

    fn answer(&mut self, origin: &Origin, answer: Answer) {
        self.output(Output::Answer { connection: origin.connection, request: origin.request, answer });
    }

    /// Leaves when all that it may stand on is committed.
    fn output(&mut self, output: Output) {
        self.held.push_back((self.state.head.n, output));
    }

    /// The next thing to tell.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(hasty) = self.hasty.pop_front() {
            return Some(hasty);
        }
        let (n, _) = self.held.front()?;
        if *n <= self.committed { self.held.pop_front().map(|(_, output)| output) } else { None }
    }
}

fn busy(reason: &'static str) -> Answer {
    Answer::Refused(Refusal::later(Code::Busy, reason, 1_000))
}
