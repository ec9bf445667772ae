//! What is told and kept nowhere: receipts and who types, folded for each channel that somebody has open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backplane::Log;
use base::{ChannelId, UserId};
use messaging::channel::{Channel, Right};
use messaging::event::{Change, Content, Event, ReadMark};
use messaging::place::EventId;
use messaging::receipts::Receipts;
use messaging::roles::Action;
use messaging::typing::Typing;

use super::Service;
use crate::handle::wall;
use crate::listen::Told;

/// In larger channels nobody is told who reads: marks are kept, and read on request.
const MEMBERS: usize = 10_000;
/// Latest messages whose readers a new owner counts; they have to be in the tail.
const RECALLED: usize = 32;
/// Between two looks for channels that nobody has open any more.
const SWEEP: Duration = Duration::from_secs(30);

/// Of all channels that somebody has open.
pub struct Soft {
    open: BTreeMap<ChannelId, Open>,
    due: BTreeSet<(Instant, ChannelId)>,
    swept: Instant,
}

#[derive(Default)]
struct Open {
    receipts: Receipts,
    typing: Typing,
}

impl Default for Soft {
    fn default() -> Self {
        Self { open: BTreeMap::new(), due: BTreeSet::new(), swept: Instant::now() }
    }
}

impl Soft {
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Notes when the channel has something to tell.
    fn schedule(&mut self, channel: &ChannelId) {
        let Some(open) = self.open.get(channel) else { return };
        let due = open.receipts.poll_timeout().into_iter().chain(open.typing.poll_timeout()).min();
        self.due.extend(due.map(|due| (due, channel.clone())));
    }
}

impl<L: Log> Service<'_, L> {
    /// The channel's soft state, if somebody has it open.
    fn open(&mut self, channel: &ChannelId) -> Option<&mut Open> {
        let desk = &self.shared.desks[usize::from(self.number)];
        if !desk.followers.is_followed(channel) {
            return None;
        }
        if !self.soft.open.contains_key(channel) {
            let state = self.partition.channel(channel)?;
            let recent = desk.tail.recent(channel, 0, usize::MAX).events;
            self.soft
                .open
                .insert(channel.clone(), Open { receipts: receipts(state, &recent), ..Open::default() });
        }
        self.soft.open.get_mut(channel)
    }

    /// An event of it was committed.
    pub(super) fn soften(&mut self, event: &Event) {
        let now = Instant::now();
        let channel = &event.channel;
        let is_known = self.soft.open.contains_key(channel);
        let Some(open) = self.open(channel) else { return };
        if let (Some(user), true) = (event.user(), event.content.is_countable()) {
            open.typing.stopped(user);
        }
        // What was just opened has counted it.
        if is_known {
            open.receipts.sent(event);
        }
        match &event.content {
            Content::Member { user, change: Change::Joined { .. } } => {
                open.receipts.joined(user.clone(), ReadMark::default());
            }
            Content::Member { user, change: Change::Left | Change::Removed } => {
                open.receipts.left(user);
                open.typing.stopped(user);
            }
            Content::Member { user, change: Change::Banned { until } } if until.0 > 0 => {
                open.receipts.left(user)
            }
            _ => {}
        }
        if let Some(user) = event.user().filter(|_| !event.read.is_empty()) {
            let mark = ReadMark { read: event.read.clone(), delivered: event.read.clone() };
            open.receipts.moved(now, user, &mark);
        }
        self.soft.schedule(channel);
    }

    /// Marks moved and last.
    pub(super) fn marked(&mut self, channel: &ChannelId, marks: &[(UserId, ReadMark)]) {
        let now = Instant::now();
        let Some(open) = self.open(channel) else { return };
        marks.iter().for_each(|(user, mark)| open.receipts.moved(now, user, mark));
        self.soft.schedule(channel);
    }

    /// Somebody types, or not any more.
    pub(super) fn typing(&mut self, channel: &ChannelId, user: &UserId, on: bool) {
        let Some(state) = self.partition.channel(channel) else { return };
        let (may, members) = (state.right(wall(), user, Action::Send) == Right::Yes, state.members().len());
        let Some(open) = self.open(channel).filter(|_| may) else { return };
        if on {
            open.typing.typing(Instant::now(), user, members);
        } else {
            open.typing.stopped(user);
        }
        self.soft.schedule(channel);
    }

    /// Somebody opens the details of a message, or closes them. False: too many do, or the person is not in the channel.
    pub(super) fn watch_readers(
        &mut self,
        channel: &ChannelId,
        user: &UserId,
        event: Option<EventId>,
    ) -> bool {
        let is_member =
            self.partition.channel(channel).is_some_and(|state| state.members().contains_key(user));
        is_member && self.open(channel).is_some_and(|open| open.receipts.watch(user, event))
    }

    /// Tells what is due.
    pub(super) fn tell_soft(&mut self) {
        let now = Instant::now();
        while self.soft.poll_timeout().is_some_and(|due| due <= now)
            && let Some((_, channel)) = self.soft.due.pop_first()
        {
            let Some(open) = self.soft.open.get_mut(&channel) else { continue };
            let frames = open.receipts.handle_timeout(now);
            let typing = open.typing.handle_timeout(now);
            let followers = &self.shared.desks[usize::from(self.number)].followers;
            for frame in frames {
                let told = Told::Receipts { channel: channel.clone(), frame: Arc::new(frame) };
                followers.tell(&channel, &told);
            }
            if let Some(frame) = typing {
                let told = Told::Typing { channel: channel.clone(), frame: Arc::new(frame) };
                followers.tell(&channel, &told);
            }
            self.soft.schedule(&channel);
        }
        if now >= self.soft.swept + SWEEP {
            self.soft.swept = now;
            let followers = &self.shared.desks[usize::from(self.number)].followers;
            self.soft.open.retain(|channel, _| followers.is_followed(channel));
        }
    }
}

/// Of a channel, as its members' marks and its latest messages say.
fn receipts(state: &Channel, recent: &[Arc<Event>]) -> Receipts {
    let mut receipts = Receipts::default();
    if state.members().len() > MEMBERS {
        return receipts;
    }
    for (user, member) in state.members() {
        receipts.known(user.clone(), member.since.clone(), state.mark(user));
    }
    let said: Vec<&Arc<Event>> = recent.iter().filter(|event| event.content.is_countable()).collect();
    said.iter().skip(said.len().saturating_sub(RECALLED)).for_each(|event| receipts.recall(event));
    receipts
}
