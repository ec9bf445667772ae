//! Who received and read what, told in a way that does not grow with the square of a channel.
//!
//! A receipt is a mark, "up to here", not a word on each message; marks that move in a window are told together; and what is told depends
//! on how many people there are ([`Tier`]): in a small channel everybody sees everybody's marks, in a larger one the sender of a message
//! (and whoever has its details open) sees how many, in a huge one about how many. So the traffic of receipts depends on the number of
//! windows and not on that of messages or pairs of people.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

use base::UserId;

use crate::event::{Event, ReadMark};
use crate::place::{EventId, Place, Region, Vector};

/// How much is told, by the number of members. Chosen by the server, visible to clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tier {
    /// Up to 32 members: names, to everybody.
    Small,
    /// Up to 1,024: exact counts and a few names, to who asks.
    Medium,
    /// More: counts to two digits.
    Large,
}

impl Tier {
    /// Of a channel with this many members.
    pub fn of(members: usize) -> Self {
        match members {
            0..=32 => Self::Small,
            33..=1_024 => Self::Medium,
            _ => Self::Large,
        }
    }

    /// How long marks are gathered.
    pub fn window(self) -> Duration {
        match self {
            Self::Small | Self::Medium => Duration::from_secs(1),
            Self::Large => Duration::from_secs(5),
        }
    }
}

/// The latest messages whose readers are counted. Of older ones the list can still be asked for.
pub const TRACKED: usize = 512;

/// Names that go with a count.
const NAMES: usize = 3;

/// People who may have the details of messages open.
const WATCHERS: usize = 256;

/// The receipts of one channel, where its partition is owned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receipts {
    readers: BTreeMap<UserId, Reader>,
    tracked: BTreeMap<EventId, Tracked>,
    /// In the order in which they came, to know the oldest.
    order: BTreeSet<(u64, EventId)>,
    came: u64,
    moved: BTreeSet<UserId>,
    watchers: BTreeMap<UserId, EventId>,
    due: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Reader {
    /// What was there before the person came: not read by them in any sense that a sender means.
    since: Vector,
    mark: ReadMark,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Tracked {
    sender: Option<UserId>,
    read: usize,
    delivered: usize,
    names: Vec<UserId>,
    /// What was told last; `None`: nothing.
    told: Option<(usize, usize)>,
}

/// A frame of receipts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// To whom; `None`: to all members that have the channel open.
    pub to: Option<UserId>,
    /// Whose marks stand where.
    pub marks: Vec<(UserId, ReadMark)>,
    /// How many read what.
    pub counts: Vec<Count>,
}

/// How many members other than its sender received and read a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Count {
    /// The message.
    pub event: EventId,
    /// How many read it.
    pub read: usize,
    /// How many received it.
    pub delivered: usize,
    /// Some of those who read it.
    pub names: Vec<UserId>,
    /// The numbers are within 5 %.
    pub approx: bool,
}

impl Receipts {
    /// Somebody came in, or was in when this began: their marks count from here.
    pub fn joined(&mut self, user: UserId, mark: ReadMark) {
        let since = mark.read.clone();
        self.readers.entry(user).or_insert(Reader { since, mark });
    }

    /// Somebody who is in the channel since `since`, and whose marks are known, when a new owner begins.
    pub fn known(&mut self, user: UserId, since: Vector, mark: ReadMark) {
        self.readers.entry(user).or_insert(Reader { since, mark });
    }

    /// A message of before this began, the older first: it is counted from here on with those who have received and read it already, who
    /// were told of.
    pub fn recall(&mut self, event: &Event) {
        self.sent(event);
        let reaches =
            |vector: &Vector| vector.place(event.id.region).is_some_and(|place| place >= event.id.place);
        let Some(tracked) = self.tracked.get_mut(&event.id) else { return };
        for (user, reader) in &self.readers {
            if Some(user) == tracked.sender.as_ref() || reaches(&reader.since) {
                continue;
            }
            tracked.delivered += usize::from(reaches(&reader.mark.delivered));
            if reaches(&reader.mark.read) {
                tracked.read += 1;
                if tracked.names.len() < NAMES {
                    tracked.names.push(user.clone());
                }
            }
        }
        tracked.told = Some((tracked.read, tracked.delivered));
    }

    /// Somebody is not in the channel any more: they count nowhere.
    pub fn left(&mut self, user: &UserId) {
        self.moved.remove(user);
        self.watchers.remove(user);
        let Some(reader) = self.readers.remove(user) else { return };
        self.adjust(user, &reader.since, &reader.mark.read, |tracked| {
            tracked.read = tracked.read.saturating_sub(1);
            tracked.names.retain(|name| name != user);
        });
        self.adjust(user, &reader.since, &reader.mark.delivered, |tracked| {
            tracked.delivered = tracked.delivered.saturating_sub(1);
        });
    }

    /// A message was committed.
    pub fn sent(&mut self, event: &Event) {
        if !event.content.is_countable() || self.tracked.contains_key(&event.id) {
            return;
        }
        self.came += 1;
        self.order.insert((self.came, event.id));
        let tracked =
            Tracked { sender: event.user().cloned(), read: 0, delivered: 0, names: Vec::new(), told: None };
        self.tracked.insert(event.id, tracked);
        if self.order.len() > TRACKED
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.tracked.remove(&oldest);
        }
    }

    /// Somebody's marks moved and last. A lower mark changes nothing.
    pub fn moved(&mut self, now: Instant, user: &UserId, to: &ReadMark) {
        let Some(reader) = self.readers.get(user) else { return };
        let before = reader.mark.clone();
        let mut after = before.clone();
        after.join(to);
        if after == before {
            return;
        }
        self.adjust(user, &before.read, &after.read, |tracked| {
            tracked.read += 1;
            if tracked.names.len() < NAMES {
                tracked.names.push(user.clone());
            }
        });
        self.adjust(user, &before.delivered, &after.delivered, |tracked| tracked.delivered += 1);
        if let Some(reader) = self.readers.get_mut(user) {
            reader.mark = after;
        }
        self.moved.insert(user.clone());
        self.due.get_or_insert(now + self.tier().window());
    }

    /// Somebody opens the details of a message, or closes them: then they are told of it as its sender is. False: too many do.
    pub fn watch(&mut self, user: &UserId, event: Option<EventId>) -> bool {
        match event {
            Some(event) if self.watchers.len() < WATCHERS || self.watchers.contains_key(user) => {
                self.watchers.insert(user.clone(), event);
                true
            }
            Some(_) => false,
            None => {
                self.watchers.remove(user);
                true
            }
        }
    }

    /// Everybody who read a message, or received it, a page at a time.
    pub fn detail(&self, event: EventId, read: bool, page: usize, size: usize) -> Vec<UserId> {
        let sender = self.tracked.get(&event).and_then(|tracked| tracked.sender.clone());
        let reaches = |vector: &Vector| vector.place(event.region).is_some_and(|place| place >= event.place);
        let has = |reader: &Reader| {
            let mark = if read { &reader.mark.read } else { &reader.mark.delivered };
            reaches(mark) && !reaches(&reader.since)
        };
        let who = self.readers.iter().filter(|(user, reader)| Some(*user) != sender.as_ref() && has(reader));
        who.map(|(user, _)| user.clone()).skip(page.saturating_mul(size)).take(size).collect()
    }

    /// How much is told.
    pub fn tier(&self) -> Tier {
        Tier::of(self.readers.len())
    }

    /// When to be called again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The window ends: what is to be told.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Frame> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = None;
        let moved = std::mem::take(&mut self.moved);
        if self.tier() == Tier::Small {
            let mark = |user: &UserId| Some((user.clone(), self.readers.get(user)?.mark.clone()));
            let marks: Vec<_> = moved.iter().filter_map(mark).collect();
            return vec![Frame { to: None, marks, counts: Vec::new() }];
        }
        self.counts()
    }

    /// One frame for each person who is to know of a count that changed.
    fn counts(&mut self) -> Vec<Frame> {
        let (tier, most) = (self.tier(), self.readers.len().saturating_sub(1));
        let mut frames: BTreeMap<UserId, Vec<Count>> = BTreeMap::new();
        for (event, tracked) in &mut self.tracked {
            let shown = |count: usize| if tier == Tier::Large { approximate(count).min(most) } else { count };
            let numbers = (shown(tracked.read), shown(tracked.delivered));
            if tracked.told.unwrap_or_default() == numbers {
                continue;
            }
            tracked.told = Some(numbers);
            let names = if tier == Tier::Large { Vec::new() } else { tracked.names.clone() };
            let approx = tier == Tier::Large;
            let count = Count { event: *event, read: numbers.0, delivered: numbers.1, names, approx };
            let watching =
                self.watchers.iter().filter(|(_, watched)| *watched == event).map(|(user, _)| user);
            let told: BTreeSet<&UserId> = watching.chain(&tracked.sender).collect();
            for user in told {
                frames.entry(user.clone()).or_default().push(count.clone());
            }
        }
        frames.into_iter().map(|(to, counts)| Frame { to: Some(to), marks: Vec::new(), counts }).collect()
    }

    /// For each message of others between two vectors.
    fn adjust(&mut self, user: &UserId, after: &Vector, upto: &Vector, mut change: impl FnMut(&mut Tracked)) {
        for (region, mark) in upto.iter() {
            let range = between(region, after.place(region), mark.place);
            let Some(range) = range else { continue };
            for (_, tracked) in self.tracked.range_mut(range).filter(|(_, t)| t.sender.as_ref() != Some(user))
            {
                change(tracked);
            }
        }
    }
}

/// The ids of a region behind `after`, up to `upto`.
fn between(region: Region, after: Option<Place>, upto: Place) -> Option<(Bound<EventId>, Bound<EventId>)> {
    let after = after.unwrap_or(Place { epoch: 0, n: 0 });
    let id = |place| EventId { region, place };
    (after < upto).then_some((Bound::Excluded(id(after)), Bound::Included(id(upto))))
}

/// To two significant digits: within 5 %.
pub fn approximate(count: usize) -> usize {
    let mut unit = 1;
    while count / unit >= 100 {
        unit *= 10;
    }
    (count + unit / 2) / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{id, message, user, vector};

    fn named(index: usize) -> UserId {
        user(&format!("u{index:05}"))
    }

    /// A channel of `members`, whose first sends.
    fn channel(members: usize) -> Receipts {
        let mut receipts = Receipts::default();
        (0..members).for_each(|index| receipts.joined(named(index), ReadMark::default()));
        receipts
    }

    fn send(receipts: &mut Receipts, n: u64) {
        let mut event = message("eu", 1, n);
        if let Some(from) = &mut event.from {
            from.user = named(0);
        }
        receipts.sent(&event);
    }

    fn read(place: &str) -> ReadMark {
        ReadMark { read: vector(&[place]), delivered: vector(&[place]) }
    }

    fn flush(receipts: &mut Receipts) -> Vec<Frame> {
        match receipts.poll_timeout() {
            Some(due) => receipts.handle_timeout(due),
            None => Vec::new(),
        }
    }

    #[test]
    fn in_a_small_channel_all_marks_of_a_window_are_one_frame_with_names() {
        let mut receipts = channel(4);
        send(&mut receipts, 1);
        let now = Instant::now();
        (1..4).for_each(|index| receipts.moved(now, &named(index), &read("eu.1.1")));
        let frames = flush(&mut receipts);
        assert_eq!((frames.len(), frames[0].marks.len(), &frames[0].to), (1, 3, &None));
        assert_eq!(flush(&mut receipts), []);
    }

    #[test]
    fn in_a_medium_channel_the_sender_alone_hears_the_exact_count_and_a_few_names() {
        let mut receipts = channel(100);
        send(&mut receipts, 1);
        send(&mut receipts, 2);
        let now = Instant::now();
        (1..51).for_each(|index| receipts.moved(now, &named(index), &read("eu.1.1")));
        let frames = flush(&mut receipts);
        assert_eq!((frames.len(), &frames[0].to), (1, &Some(named(0))));
        let count = &frames[0].counts[..];
        assert_eq!((count.len(), count[0].read, count[0].names.len(), count[0].approx), (1, 50, 3, false));
    }

    #[test]
    fn in_a_large_channel_counts_have_two_digits_and_are_not_told_again_unless_they_change() {
        let mut receipts = channel(2_000);
        send(&mut receipts, 1);
        let now = Instant::now();
        (1..1_235).for_each(|index| receipts.moved(now, &named(index), &read("eu.1.1")));
        let count = &flush(&mut receipts)[0].counts[0];
        assert_eq!((count.read, count.approx, count.names.len()), (1_200, true, 0));
        receipts.moved(now, &named(1_235), &read("eu.1.1"));
        assert_eq!(flush(&mut receipts), []);
    }

    #[test]
    fn two_digits_are_within_five_per_cent_and_never_more_than_there_are() {
        for count in 0..100_000usize {
            let error = approximate(count).abs_diff(count);
            assert!(error * 20 <= count, "{count} is told as {}", approximate(count));
        }
        let mut receipts = channel(1_996);
        send(&mut receipts, 1);
        let now = Instant::now();
        (1..1_996).for_each(|index| receipts.moved(now, &named(index), &read("eu.1.1")));
        assert_eq!(flush(&mut receipts)[0].counts[0].read, 1_995, "2,000 would be more than the others");
    }

    #[test]
    fn a_sender_who_reads_their_own_is_no_reader_nor_is_who_came_later_or_has_gone() {
        let mut receipts = channel(40);
        send(&mut receipts, 1);
        let now = Instant::now();
        receipts.joined(user("late"), read("eu.1.1"));
        for who in [named(0), named(1), named(2), user("late")] {
            receipts.moved(now, &who, &read("eu.1.1"));
        }
        assert_eq!(receipts.detail(id("eu.1.1"), true, 0, 10), [named(1), named(2)]);
        receipts.left(&named(2));
        let frames = flush(&mut receipts);
        assert_eq!(frames[0].counts[0].read, 1);
        assert_eq!(frames[0].counts[0].names, [named(1)]);
    }

    #[test]
    fn a_new_owner_goes_on_counting_where_the_one_before_stood() {
        let mut receipts = Receipts::default();
        for index in 0..40 {
            let mark = if (1..11).contains(&index) { read("eu.1.1") } else { ReadMark::default() };
            receipts.known(named(index), Vector::default(), mark);
        }
        let mut event = message("eu", 1, 1);
        if let Some(from) = &mut event.from {
            from.user = named(0);
        }
        receipts.recall(&event);
        assert_eq!(flush(&mut receipts), []);
        receipts.moved(Instant::now(), &named(11), &read("eu.1.1"));
        let frames = flush(&mut receipts);
        assert_eq!((frames[0].counts[0].read, frames[0].counts[0].delivered), (11, 11));
    }

    #[test]
    fn a_mark_that_is_lower_or_the_same_changes_nothing() {
        let mut receipts = channel(40);
        send(&mut receipts, 1);
        send(&mut receipts, 2);
        let now = Instant::now();
        receipts.moved(now, &named(1), &read("eu.1.2"));
        flush(&mut receipts);
        receipts.moved(now, &named(1), &read("eu.1.1"));
        receipts.moved(now, &named(1), &read("eu.1.2"));
        assert_eq!(receipts.poll_timeout(), None);
    }

    #[test]
    fn who_has_the_details_open_hears_what_the_sender_hears() {
        let mut receipts = channel(40);
        send(&mut receipts, 1);
        assert!(receipts.watch(&named(5), Some(id("eu.1.1"))));
        receipts.moved(Instant::now(), &named(1), &read("eu.1.1"));
        let to: Vec<_> = flush(&mut receipts).into_iter().map(|frame| frame.to).collect();
        assert_eq!(to, [Some(named(0)), Some(named(5))]);
    }

    #[test]
    fn only_the_latest_messages_are_counted() {
        let mut receipts = channel(40);
        (1..=TRACKED as u64 + 10).for_each(|n| send(&mut receipts, n));
        receipts.moved(Instant::now(), &named(1), &read("eu.1.5"));
        assert_eq!(flush(&mut receipts), []);
        assert_eq!(receipts.detail(id("eu.1.5"), true, 0, 10), [named(1)], "the list is there all the same");
    }
}
