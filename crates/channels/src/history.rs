//! Pages of what is displayed, read through the index: a page costs what is on it, however long the channel is.
//!
//! The order of a log is that of its clocks, so that with one region the numbers of items are the displayed order.

use std::ops::Bound;
use std::sync::Arc;

use base::{ChannelId, UserId};
use messaging::command::{Code, Refusal};
use messaging::event::{Body, Content, Event};
use messaging::history::{Anchor, PAGE};
use messaging::place::{Cursor, EventId, Mark, Region, Token, Vector};
use store::Index;
use store::index::{IndexError, Name};

use crate::handle::{Handle, Shared, readable};
use crate::keys;

/// Kinds of reactions that are shown of one message.
const EMOJI: usize = 100;

/// Something displayed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The event.
    pub event: Arc<Event>,
    /// What it says now, if that was changed.
    pub edited: Option<Body>,
    /// It says nothing any more.
    pub deleted: bool,
    /// How many react with what.
    pub totals: Vec<Total>,
}

/// How many react to a message with this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Total {
    /// With what.
    pub emoji: Arc<str>,
    /// How many people.
    pub count: u64,
    /// Is who asks one of them?
    pub mine: bool,
}

/// A run of what is displayed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The items: newest first before an anchor, else oldest first.
    pub items: Vec<Shown>,
    /// Proves that they were seen.
    pub token: Token,
}

/// What the index says of an item.
struct Noted {
    n: u64,
    edit: Option<u64>,
    deleted: bool,
    totals: Vec<Total>,
}

impl Handle {
    /// A page of a channel's history, of at most `limit` items, [`PAGE`] at the most. Without an anchor it is the newest, newest first. It
    /// has everything that was told or answered before it was asked for.
    ///
    /// # Errors
    /// [`Code::NoChannel`], [`Code::NotMember`], [`Code::Removed`]; [`Code::Busy`] for now.
    pub async fn history(
        &self,
        channel: &ChannelId,
        user: Option<&UserId>,
        anchor: Option<&Anchor>,
        limit: usize,
    ) -> Result<Page, Refusal> {
        let (name, who) = (channel.clone(), user.cloned());
        let floor = self.view(self.0.partition(channel), move |partition| {
            let channel = readable(partition, &name, who.as_ref())?;
            let own = who.and_then(|user| channel.readable_from(&user));
            Ok(own.unwrap_or_else(|| channel.floor().clone()))
        });
        let floor = floor.await??.place(self.0.region).map_or(0, |place| place.n);
        let runs = runs(self.0.region, anchor, floor, limit.min(PAGE));
        self.0.desk(channel).tail.settled().await;
        let (name, who) = (channel.clone(), user.cloned());
        let noted = self.0.look_up(move |index| {
            let mut numbers = Vec::new();
            for mut run in runs {
                // What is around something is one run, the oldest first.
                numbers.reverse();
                run.max = run.max.saturating_sub(numbers.len());
                numbers.extend(run.numbers(index, &name)?);
            }
            let noted = numbers.into_iter().map(|n| note(index, &name, n, who.as_ref()));
            noted.collect::<Result<Vec<Noted>, IndexError>>()
        });
        let noted = noted.await?;
        let items = self.0.show(self.0.partition(channel), noted).await?;
        Ok(Page { token: token(&items), items })
    }

    /// The cursor behind which the newest `count` items of a channel are, and all that is between them; not before `floor`.
    ///
    /// # Errors
    /// [`Code::Busy`], for now.
    pub async fn last(&self, channel: &ChannelId, floor: &Vector, count: usize) -> Result<Cursor, Refusal> {
        let region = self.0.region;
        let start = floor.place(region).map_or(0, |place| place.n);
        let run = Run { after: start, before: u64::MAX, newest_first: true, max: count.clamp(1, PAGE) };
        self.0.desk(channel).tail.settled().await;
        let name = channel.clone();
        let numbers = self.0.look_up(move |index| run.numbers(index, &name)).await?;
        let oldest: Vec<u64> = numbers.last().copied().into_iter().collect();
        let found = self.0.fetch(self.0.partition(channel), &oldest).await?;
        let before = found.first().and_then(|event| {
            let count = event.count - u64::from(event.content.is_countable());
            event.prev.filter(|prev| prev.n > start).map(|place| Mark { place, count })
        });
        let at = before.map_or_else(|| floor.clone(), |mark| std::iter::once((region, mark)).collect());
        Ok(Cursor { at, ..Cursor::default() })
    }

    /// Of what a cursor covers, that at or before `upto` in the displayed order: what "read up to this message" means.
    ///
    /// # Errors
    /// [`Code::NoTarget`]: there is no such event in the channel; [`Code::Busy`] for now.
    pub async fn read_upto(
        &self,
        channel: &ChannelId,
        cursor: &Cursor,
        upto: EventId,
    ) -> Result<Cursor, Refusal> {
        let event = self.event(channel, upto).await?;
        let mark = Mark { place: upto.place, count: event.count };
        let covered =
            cursor.at.get(upto.region).map(|covered| if covered.place < mark.place { covered } else { mark });
        let at = covered.map(|mark| (upto.region, mark)).into_iter().collect();
        Ok(Cursor { at, ..Cursor::default() })
    }

    /// An event of a channel.
    ///
    /// # Errors
    /// [`Code::NoTarget`]: there is none; [`Code::Busy`] for now.
    pub async fn event(&self, channel: &ChannelId, id: EventId) -> Result<Arc<Event>, Refusal> {
        let found = self.0.fetch(self.0.partition(channel), &[id.place.n]).await?;
        let right = |event: &Arc<Event>| event.id == id && event.channel == *channel;
        let none = || Refusal::last(Code::NoTarget, "the message named does not exist in this channel");
        found.into_iter().find(right).ok_or_else(none)
    }

    /// How many react to each of these messages with what, for who is told of a run of reactions; `mine` is of `user`. At most [`PAGE`]
    /// messages. Who may read is for the caller to have asked.
    ///
    /// # Errors
    /// [`Code::Busy`], for now.
    pub async fn totals(
        &self,
        channel: &ChannelId,
        events: &[EventId],
        user: Option<&UserId>,
    ) -> Result<Vec<(EventId, Vec<Total>)>, Refusal> {
        self.0.desk(channel).tail.settled().await;
        let (name, who) = (channel.clone(), user.cloned());
        let events: Vec<EventId> = events.iter().copied().take(PAGE).collect();
        let totals = move |index: &Index| {
            let each = events.into_iter().map(|id| Ok((id, totals(index, &name, id.place.n, who.as_ref())?)));
            each.collect()
        };
        self.0.look_up(totals).await
    }

    /// Who reacts to a message, by emoji and name, behind `after`; at most `limit`, 1,000 at the most.
    ///
    /// # Errors
    /// [`Code::Busy`], for now.
    pub async fn reactions(
        &self,
        channel: &ChannelId,
        event: EventId,
        after: Option<(&str, &UserId)>,
        limit: usize,
    ) -> Result<Vec<(Arc<str>, UserId)>, Refusal> {
        self.0.desk(channel).tail.settled().await;
        let prefix = keys::reactions(channel, event.place.n);
        let after = after.map(|(emoji, user)| keys::reaction(channel, event.place.n, emoji, user).0);
        let found = self.0.look_up(move |index| {
            let after = after.as_ref().and_then(|key| key.get(prefix.0.len()..));
            let within = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
            match Name::new(&prefix.0) {
                Some(prefix) => index.scan(prefix, within, false, limit.min(1_000)),
                None => Ok(Vec::new()),
            }
        });
        let pair = |key: &[u8]| match keys::names(key)[..] {
            [emoji, user] => Some((Arc::from(emoji), UserId::new(user))),
            _ => None,
        };
        Ok(found.await?.iter().filter_map(|(key, _)| pair(key)).collect())
    }
}

impl Shared {
    /// Items as they are displayed.
    async fn show(&self, partition: u16, noted: Vec<Noted>) -> Result<Vec<Shown>, Refusal> {
        let numbers: Vec<u64> = noted.iter().map(|one| one.n).collect();
        let edits: Vec<u64> = noted.iter().filter(|one| !one.deleted).filter_map(|one| one.edit).collect();
        let events = self.fetch(partition, &numbers).await?;
        let edits = self.fetch(partition, &edits).await?;
        let body = |n: u64| {
            let edit = edits.iter().find(|event| event.id.place.n == n)?;
            if let Content::Edit { body, .. } = &edit.content { Some(Arc::clone(body)) } else { None }
        };
        let mut events = events.into_iter().peekable();
        // What retention removed meanwhile is left out.
        let shown = noted.into_iter().filter_map(|one| {
            let event = events.next_if(|event| event.id.place.n == one.n)?;
            let edited = one.edit.filter(|_| !one.deleted).and_then(body);
            Some(Shown { event, edited, deleted: one.deleted, totals: one.totals })
        });
        Ok(shown.collect())
    }

    /// These items of a channel; what is not there is left out.
    pub async fn items(
        self: &Arc<Self>,
        channel: &ChannelId,
        numbers: Vec<u64>,
        user: Option<&UserId>,
    ) -> Result<Vec<Shown>, Refusal> {
        let (name, who) = (channel.clone(), user.cloned());
        let noted = self.look_up(move |index| {
            numbers.into_iter().map(|n| note(index, &name, n, who.as_ref())).collect::<Result<Vec<_>, _>>()
        });
        self.show(self.partition(channel), noted.await?).await
    }
}

/// A run of numbers, both ends not in it.
pub(crate) struct Run {
    pub after: u64,
    pub before: u64,
    pub newest_first: bool,
    pub max: usize,
}

impl Run {
    /// The items in it.
    pub fn numbers(&self, index: &Index, channel: &ChannelId) -> Result<Vec<u64>, IndexError> {
        if self.after.saturating_add(1) >= self.before || self.max == 0 {
            return Ok(Vec::new());
        }
        let (after, before) = (self.after.to_be_bytes(), self.before.to_be_bytes());
        let within = (Bound::Excluded(&after[..]), Bound::Excluded(&before[..]));
        let prefix = keys::items(channel);
        let Some(prefix) = Name::new(&prefix.0) else { return Ok(Vec::new()) };
        let mut found = index.scan(prefix, within, self.newest_first, self.max)?;
        Ok(found.drain(..).filter_map(|(key, _)| keys::number(&key)).collect())
    }
}

/// The runs that a page consists of, in its order.
fn runs(region: Region, anchor: Option<&Anchor>, floor: u64, max: usize) -> Vec<Run> {
    let older = |before: u64, max| Run { after: floor, before, newest_first: true, max };
    let newer = |after: u64, max| Run { after: after.max(floor), before: u64::MAX, newest_first: false, max };
    let covered = |cursor: &Cursor| cursor.at.place(region).map_or(0, |place| place.n);
    match anchor {
        None => vec![older(u64::MAX, max)],
        Some(Anchor::Before(cursor)) => vec![older(covered(cursor).saturating_add(1), max)],
        Some(Anchor::After(cursor)) => vec![newer(covered(cursor), max)],
        Some(Anchor::BeforeId(id) | Anchor::AfterId(id) | Anchor::AroundId(id)) if id.region != region => {
            Vec::new()
        }
        Some(Anchor::BeforeId(id)) => vec![older(id.place.n, max)],
        Some(Anchor::AfterId(id)) => vec![newer(id.place.n, max)],
        Some(Anchor::AroundId(id)) => {
            vec![older(id.place.n, max / 2), newer(id.place.n.saturating_sub(1), max)]
        }
    }
}

fn note(index: &Index, channel: &ChannelId, n: u64, user: Option<&UserId>) -> Result<Noted, IndexError> {
    let value = |key: keys::Key| match Name::new(&key.0) {
        Some(key) => index.get(key),
        None => Ok(None),
    };
    let edit = value(keys::edit(channel, n))?.as_deref().and_then(keys::number);
    let deleted = value(keys::delete(channel, n))?.is_some();
    Ok(Noted { n, edit, deleted, totals: totals(index, channel, n, user)? })
}

fn totals(
    index: &Index,
    channel: &ChannelId,
    n: u64,
    user: Option<&UserId>,
) -> Result<Vec<Total>, IndexError> {
    let prefix = keys::totals(channel, n);
    let Some(prefix) = Name::new(&prefix.0) else { return Ok(Vec::new()) };
    let mut totals = Vec::new();
    for (key, value) in index.scan(prefix, (Bound::Unbounded, Bound::Unbounded), false, EMOJI)? {
        let (Some(emoji), Some(count)) = (keys::names(&key).first().copied(), keys::number(&value)) else {
            continue;
        };
        let own = user.map(|user| keys::reaction(channel, n, emoji, user));
        let mine = match own.as_ref().and_then(|own| Name::new(&own.0)) {
            Some(own) => index.get(own)?.is_some(),
            None => false,
        };
        totals.push(Total { emoji: Arc::from(emoji), count, mine });
    }
    Ok(totals)
}

/// In a log's order the highest stands for all.
fn token(items: &[Shown]) -> Token {
    let last = items.iter().map(|item| &item.event).max_by_key(|event| event.id.place);
    let mark = last.map(|event| (event.id.region, Mark { place: event.id.place, count: event.count }));
    Token { seen: mark.into_iter().collect() }
}
