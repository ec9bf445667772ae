//! Lists that people look at: their channels, a channel's members, who read a message, what a search finds.

use std::collections::BTreeMap;
use std::ops::Bound;

use base::{ChannelId, UnixMillis, UserId};
use messaging::channel::Channel;
use messaging::clock::Hlc;
use messaging::command::{Code, Refusal};
use messaging::event::{Kind, Settings};
use messaging::place::{EventId, Vector};
use messaging::roles::Role;
use store::Index;
use store::index::{IndexError, Name};

use crate::extract::{text, words};
use crate::handle::{Handle, readable};
use crate::history::{Run, Shown};
use crate::keys;

/// Channels of one person that are looked at; those beyond, in the order of their names, are not listed.
const CHANNELS: usize = 10_000;
/// Most channels of a page.
pub const CHANNELS_PAGE: usize = 50;
/// Most people of a page.
pub const PEOPLE_PAGE: usize = 100;
/// Most messages that one search brings.
pub const FOUND_PAGE: usize = 50;
/// Messages with the first word that one search looks at, in all channels together.
const CANDIDATES: usize = 1_000;
/// Words of a search that count.
const WORDS: usize = 8;

/// A channel in somebody's list.
#[derive(Clone, PartialEq, Debug)]
pub struct Listed {
    /// Its name in commands.
    pub channel: ChannelId,
    /// The clock of what happened last.
    pub changed: Hlc,
    /// What it is for.
    pub kind: Kind,
    /// How it is set up.
    pub settings: Settings,
    /// What the person is in it.
    pub role: Role,
    /// How many members it has.
    pub members: usize,
    /// Messages not read.
    pub unread: u64,
    /// Mentions not read.
    pub mentions: usize,
    /// The other person of a direct channel.
    pub peer: Option<UserId>,
    /// The last thing displayed that the person may read.
    pub last: Option<Shown>,
    /// What the person may not read.
    floor: Vector,
}

/// Where a page of channels ends.
pub type ListEnd = (Hlc, ChannelId);

/// A member in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberListed {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// Sends nothing before this time; 0: is not muted.
    pub muted_until: UnixMillis,
}

/// Who received and read a message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Readers {
    /// Read it.
    pub read: Vec<UserId>,
    /// Received it, whether they read it or not.
    pub delivered: Vec<UserId>,
    /// The last person looked at: the next page is behind. `None`: there is no more.
    pub next: Option<UserId>,
}

/// Messages that a search found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Found {
    /// They, with their channels; of each channel the newest first.
    pub items: Vec<(ChannelId, Shown)>,
    /// Where to go on; `None`: that is all.
    pub next: Option<FoundEnd>,
}

/// How far a search has come: before this number, of this channel.
pub type FoundEnd = (ChannelId, u64);

impl Handle {
    /// A person's channels, those that changed last first, behind `after`; [`CHANNELS_PAGE`] at most. What a page is behind with is that
    /// something changed since the one before.
    ///
    /// # Errors
    /// [`Code::Busy`], for now.
    pub async fn channels_of(
        &self,
        user: &UserId,
        after: Option<&ListEnd>,
        limit: usize,
    ) -> Result<Vec<Listed>, Refusal> {
        let names = self.names_of(user).await?;
        let mut views = Vec::new();
        for (partition, names) in names {
            let who = user.clone();
            views.push(self.view(partition, move |partition| {
                let channel = |name: &ChannelId| listed(partition.channel(name)?, name, &who);
                names.iter().filter_map(channel).collect::<Vec<Listed>>()
            }));
        }
        let mut all = Vec::new();
        for view in views {
            all.extend(view.await?);
        }
        let place = |one: &Listed| (one.changed, one.channel.clone());
        all.retain(|one| after.is_none_or(|after| place(one) < *after));
        all.sort_by_cached_key(|one| std::cmp::Reverse(place(one)));
        all.truncate(limit.min(CHANNELS_PAGE));
        for one in &mut all {
            one.last = self.last_item(&one.channel, user, &one.floor).await?;
        }
        Ok(all)
    }

    /// The names of a person's channels, by partition.
    async fn names_of(&self, user: &UserId) -> Result<BTreeMap<u16, Vec<ChannelId>>, Refusal> {
        for desk in &self.0.desks {
            desk.tail.settled().await;
        }
        let who = user.clone();
        let found = self.0.look_up(move |index| match Name::new(who.as_str()) {
            Some(who) => index.channels(who, None, CHANNELS),
            None => Ok(Vec::new()),
        });
        let mut names: BTreeMap<u16, Vec<ChannelId>> = BTreeMap::new();
        for membership in found.await? {
            let Ok(name) = String::from_utf8(membership.channel) else { continue };
            let channel = ChannelId::new(name);
            names.entry(self.0.partition(&channel)).or_default().push(channel);
        }
        Ok(names)
    }

    async fn last_item(
        &self,
        channel: &ChannelId,
        user: &UserId,
        floor: &Vector,
    ) -> Result<Option<Shown>, Refusal> {
        let after = floor.place(self.0.region).map_or(0, |place| place.n);
        let name = channel.clone();
        let run = Run { after, before: u64::MAX, newest_first: true, max: 1 };
        let newest = self.0.look_up(move |index| run.numbers(index, &name)).await?;
        Ok(self.0.items(channel, newest, Some(user)).await?.pop())
    }

    /// Members of a channel in the order of their names, behind `after`; [`PEOPLE_PAGE`] at most.
    ///
    /// # Errors
    /// As [`Handle::look`].
    pub async fn members(
        &self,
        channel: &ChannelId,
        user: Option<&UserId>,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<MemberListed>, Refusal> {
        let (name, user, after) = (channel.clone(), user.cloned(), after.cloned());
        self.view(self.0.partition(channel), move |partition| {
            let channel = readable(partition, &name, user.as_ref())?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let members = channel.members().range((from, Bound::Unbounded)).take(limit.min(PEOPLE_PAGE));
            let listed = members.map(|(user, member)| MemberListed {
                user: user.clone(),
                role: member.role,
                muted_until: member.muted_until,
            });
            Ok(listed.collect())
        })
        .await?
    }

    /// Who received and read a message, of the next `limit` members behind `after`; ten times [`PEOPLE_PAGE`] at most. Its sender is not
    /// among them, nor is who came later.
    ///
    /// # Errors
    /// As [`Handle::look`], and [`Code::NoTarget`].
    pub async fn readers(
        &self,
        channel: &ChannelId,
        user: Option<&UserId>,
        event: EventId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Readers, Refusal> {
        let sender = self.event(channel, event).await?.user().cloned();
        let (name, user, after) = (channel.clone(), user.cloned(), after.cloned());
        let limit = limit.clamp(1, 10 * PEOPLE_PAGE);
        self.view(self.0.partition(channel), move |partition| {
            let lineage = &partition.state().lineage;
            let channel = readable(partition, &name, user.as_ref())?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut readers = Readers::default();
            let mut looked_at = 0;
            for (user, member) in channel.members().range((from, Bound::Unbounded)).take(limit) {
                looked_at += 1;
                readers.next = Some(user.clone());
                if Some(user) == sender.as_ref() || member.since.covers(lineage, event) {
                    continue;
                }
                let Some(mark) = channel.marks().get(user) else { continue };
                let read = mark.read.covers(lineage, event);
                readers.read.extend(read.then(|| user.clone()));
                readers
                    .delivered
                    .extend((read || mark.delivered.covers(lineage, event)).then(|| user.clone()));
            }
            if looked_at < limit {
                readers.next = None;
            }
            Ok(readers)
        })
        .await?
    }

    /// Messages that have all words of `query`, in one channel or in all of the person's, in the order of the channels' names; [`FOUND_PAGE`]
    /// at most. It looks at a bounded number of messages and may bring fewer than there are, with where to go on.
    ///
    /// # Errors
    /// [`Code::Malformed`]: the query has no word; as [`Handle::look`].
    pub async fn search(
        &self,
        user: &UserId,
        channel: Option<&ChannelId>,
        query: &str,
        after: Option<&FoundEnd>,
        limit: usize,
    ) -> Result<Found, Refusal> {
        let wanted: Vec<String> = words(query).into_iter().take(WORDS).collect();
        if wanted.is_empty() {
            return Err(Refusal::last(Code::Malformed, "there is no word to search for"));
        }
        let mut floors: BTreeMap<ChannelId, u64> = BTreeMap::new();
        let names = match channel {
            Some(channel) => BTreeMap::from([(self.0.partition(channel), vec![channel.clone()])]),
            None => self.names_of(user).await?,
        };
        for (partition, names) in names {
            floors.extend(self.floors(partition, names, user, channel.is_some()).await?);
        }
        if let Some((at, _)) = after {
            floors = floors.split_off(at);
        }
        if let Some(channel) = channel {
            self.0.desk(channel).tail.settled().await;
        }
        let mut found = Found::default();
        let mut looked_at = 0;
        for (name, floor) in floors {
            let before = after.filter(|(at, _)| *at == name).map_or(u64::MAX, |(_, before)| *before);
            let mut end = before;
            for n in self.candidates(&name, &wanted, floor, before, &mut looked_at, &mut end).await? {
                if found.items.len() >= limit.min(FOUND_PAGE) {
                    return Ok(Found { next: Some((name, n + 1)), ..found });
                }
                let items = self.0.items(&name, vec![n], Some(user)).await?;
                found.items.extend(
                    items.into_iter().filter(|item| has(item, &wanted)).map(|item| (name.clone(), item)),
                );
            }
            if looked_at >= CANDIDATES {
                return Ok(Found { next: Some((name, end)), ..found });
            }
        }
        Ok(found)
    }

    /// What of these channels the person may read: what is behind a number.
    async fn floors(
        &self,
        partition: u16,
        names: Vec<ChannelId>,
        user: &UserId,
        is_strict: bool,
    ) -> Result<Vec<(ChannelId, u64)>, Refusal> {
        let (user, region) = (user.clone(), self.0.region);
        self.view(partition, move |partition| {
            let mut floors = Vec::new();
            for name in names {
                match readable(partition, &name, Some(&user)) {
                    Ok(channel) => {
                        let floor = channel.readable_from(&user).unwrap_or_default();
                        floors.push((name, floor.place(region).map_or(0, |place| place.n)));
                    }
                    Err(refusal) if is_strict => return Err(refusal),
                    Err(_) => {}
                }
            }
            Ok(floors)
        })
        .await?
    }

    /// Messages of a channel that have all words, or had before an edit, the newest first.
    async fn candidates(
        &self,
        channel: &ChannelId,
        wanted: &[String],
        floor: u64,
        before: u64,
        looked_at: &mut usize,
        end: &mut u64,
    ) -> Result<Vec<u64>, Refusal> {
        let (name, wanted) = (channel.clone(), wanted.to_vec());
        let max = CANDIDATES.saturating_sub(*looked_at);
        let found = self.0.look_up(move |index| with_words(index, &name, &wanted, (floor, before), max));
        let (seen, last, found) = found.await?;
        *looked_at += seen;
        *end = last.unwrap_or(before);
        Ok(found)
    }
}

type Candidates = (usize, Option<u64>, Vec<u64>);

/// How many were looked at, the last of them, and those that have all words.
fn with_words(
    index: &Index,
    channel: &ChannelId,
    wanted: &[String],
    (floor, before): (u64, u64),
    max: usize,
) -> Result<Candidates, IndexError> {
    // The longest word is likely the rarest.
    let rarest = wanted.iter().max_by_key(|word| word.len()).map_or("", String::as_str);
    let prefix = keys::words(channel, rarest);
    let (after, before) = (floor.to_be_bytes(), before.to_be_bytes());
    if after >= before || max == 0 {
        return Ok((0, None, Vec::new()));
    }
    let within = (Bound::Excluded(&after[..]), Bound::Excluded(&before[..]));
    let Some(prefix) = Name::new(&prefix.0) else { return Ok((0, None, Vec::new())) };
    let numbers: Vec<u64> =
        index.scan(prefix, within, true, max)?.iter().filter_map(|(key, _)| keys::number(key)).collect();
    let mut found = Vec::new();
    for n in &numbers {
        let mut has_all = true;
        for word in wanted.iter().filter(|word| *word != rarest) {
            let key = keys::word(channel, word, *n);
            let is_there = Name::new(&key.0).map(|key| index.get(key)).transpose()?.flatten().is_some();
            has_all &= is_there;
        }
        if has_all {
            found.push(*n);
        }
    }
    Ok((numbers.len(), numbers.last().copied(), found))
}

/// Does it say all the words now?
fn has(item: &Shown, wanted: &[String]) -> bool {
    use messaging::event::Content;
    let body = match (&item.edited, &item.event.content) {
        _ if item.deleted => return false,
        (Some(body), _) | (None, Content::Message { body, .. }) => body,
        _ => return false,
    };
    let said = words(&text(body));
    wanted.iter().all(|word| said.contains(word))
}

fn listed(channel: &Channel, name: &ChannelId, user: &UserId) -> Option<Listed> {
    let member = channel.members().get(user)?;
    let kind = channel.kind()?;
    let mut members = channel.members().keys();
    let peer = if kind == Kind::Direct { members.find(|one| *one != user) } else { None };
    Some(Listed {
        channel: name.clone(),
        changed: channel.causal().clock(),
        kind,
        settings: channel.settings().clone(),
        role: member.role,
        members: channel.members().len(),
        unread: channel.unread(user),
        mentions: channel.unread_mentions(user),
        peer: peer.cloned(),
        last: None,
        floor: channel.readable_from(user).unwrap_or_default(),
    })
}
