//! Frames, counted exactly: one message and its receipts in a channel of N, and many joins and reactions, through the real owner and the real
//! folding.
//!
//! What is counted is frames on clients' connections, up and down, in the dearest case that the protocol allows: every member has one
//! connection with the channel open, and tells its mark in a frame of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{ChannelId, DeviceId, UnixMillis, UserId};
use messaging::command::{Ask, Command, Now, Origin, Original, Send};
use messaging::event::{Content, Kind, ReadMark, Settings};
use messaging::limits::Limits;
use messaging::partition::{Appended, Output, Partition, State};
use messaging::place::{Cursor, EventId, Lineage, Mark, Vector};
use messaging::receipts::Receipts;
use messaging::roles::Role;
use messaging::session::{self, Frame, Session, View};

/// Frames of one message, by what they are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Frames {
    /// The message, to everybody else.
    pub deliveries: u64,
    /// Marks, from every reader.
    pub up: u64,
    /// What of them is told.
    pub down: u64,
}

impl Frames {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.deliveries + self.up + self.down
    }
}

/// What it takes when every receipt is told to every other member: the delivery, then "received" and "read" of each of N - 1 members, up
/// once and down to N - 1.
pub fn naive(members: u64) -> u64 {
    (members - 1) * (2 * members + 1)
}

/// What it takes when each of `events` is told to each of `listeners` in a frame.
pub fn naive_events(listeners: u64, events: u64) -> u64 {
    listeners * events
}

/// A channel with `members`, and the people's connections.
pub struct Channel {
    owner: Partition,
    /// The stream of one member, which is like that of all others.
    stream: Session,
    receipts: Receipts,
    now: Now,
    members: usize,
    sent: u64,
    /// What was counted.
    pub frames: Frames,
    cursor: Vector,
}

impl Channel {
    /// Makes it; its first member sends.
    pub fn new(members: usize) -> Self {
        Self::of(Kind::Group, members)
    }

    /// Makes one of this kind.
    pub fn of(kind: Kind, members: usize) -> Self {
        let region = "eu".parse().expect("it is a region's name");
        let limits = Limits { created_members: members, ..Limits::default() };
        let mut owner = Partition::new(State::new(region, 1), 1, true, limits);
        owner.start();
        let now = Now { at: Instant::now(), wall: UnixMillis(1_700_000_000_000) };
        let mut receipts = Receipts::default();
        (0..members).for_each(|index| receipts.joined(user(index), ReadMark::default()));
        let (frames, cursor) = (Frames::default(), Vector::default());
        let stream = listener(members);
        let mut channel = Self { owner, stream, receipts, now, members, sent: 0, frames, cursor };
        let others = (1..members).map(|index| (user(index), Role::Member)).collect();
        let settings = Settings { public: kind == Kind::Live, ..Settings::default() };
        channel.ask(0, Ask::Create { kind, settings, members: others });
        channel.told();
        channel.frames = Frames::default();
        channel
    }

    fn ask(&mut self, who: usize, ask: Ask) {
        let origin = Origin {
            connection: who as u64,
            request: 0,
            user: Some(user(who)),
            device: DeviceId::new("phone"),
        };
        self.owner.handle(self.now, Command { origin, channel: ChannelId::new("room"), ask });
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some(output) = self.owner.poll_output() {
                self.hear(output);
            }
            if self.owner.poll_append().is_none() {
                return;
            }
            self.owner.appended(Appended::Committed);
        }
    }

    fn hear(&mut self, output: Output) {
        match output {
            Output::Deliver(event) => {
                self.frames.deliveries += self.members as u64 - 1;
                self.receipts.sent(&event);
                self.stream.offer(self.now.at, &Lineage::default(), Arc::clone(&event));
                self.cursor.raise(event.id.region, Mark { place: event.id.place, count: event.count });
            }
            Output::Marks { marks, .. } => {
                marks.iter().for_each(|(user, mark)| self.receipts.moved(self.now.at, user, mark));
            }
            _ => {}
        }
    }

    /// The first member sends a message.
    pub fn send(&mut self) {
        self.sent += 1;
        let content = Content::Message {
            body: b"hello"[..].into(),
            reply_to: None,
            thread: None,
            mentions: Vec::new(),
            everyone: false,
        };
        let (seen, after, delivered) = (Vec::new(), Vec::new(), Vector::default());
        let send = Send { csn: self.sent, follows: None, content, seen, delivered, after, original: None };
        self.ask(0, Ask::Send(Box::new(send)));
    }

    /// These members have read everything, each in a frame.
    pub fn read(&mut self, who: impl IntoIterator<Item = usize>) {
        let read = Cursor { at: self.cursor.clone(), ..Cursor::default() };
        for index in who {
            self.frames.up += 1;
            self.ask(index, Ask::Read { read: read.clone(), delivered: Cursor::default() });
        }
    }

    /// Time passes; what is folded is told.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.at + time;
        while let Some(due) = self.owner.poll_timeout().into_iter().chain(self.receipts.poll_timeout()).min()
        {
            if due > end {
                break;
            }
            self.advance(due);
            self.owner.handle_timeout(self.now);
            self.settle();
            for frame in self.receipts.handle_timeout(due) {
                self.frames.down += frame.to.map_or(self.members as u64, |_| 1);
            }
        }
        self.advance(end);
    }

    /// Items that one member was told since it was last asked.
    fn told(&mut self) -> u64 {
        let frames = std::iter::from_fn(|| self.stream.poll_frame());
        let items = frames.map(|frame| match frame {
            Frame::Items { items, .. } => items.len() as u64,
            _ => 0,
        });
        items.sum()
    }

    /// One event after the other, all within ten seconds; how many items each member is told of them, and that they end where the log does.
    fn within_ten_seconds(&mut self, events: u64, mut ask: impl FnMut(&mut Self, u64)) -> u64 {
        self.told();
        let mut told = 0;
        for event in 0..events {
            ask(self, event);
            self.pass(Duration::from_secs(10) / events as u32);
            told += self.told();
        }
        self.pass(Duration::from_secs(2));
        told += self.told();
        let stands = self.stream.delivered(&ChannelId::new("room")).cloned();
        assert_eq!(stands.as_ref(), Some(&self.cursor), "the streams end where the log does");
        told
    }

    fn advance(&mut self, to: Instant) {
        self.now.wall.0 += (to - self.now.at).as_millis() as u64;
        self.now.at = to;
        self.stream.handle_timeout(to, &Lineage::default());
    }
}

/// One member's connection, which has the channel open.
fn listener(members: usize) -> Session {
    let limits = session::Limits { bytes: usize::MAX, ..session::Limits::default() };
    let mut stream = Session::new(user(1), limits);
    let (lineage, floor, head) = (Lineage::default(), Vector::default(), Cursor::default());
    let view = View { lineage: &lineage, floor: &floor, head: &head, members };
    stream.subscribe(&ChannelId::new("room"), &Cursor::default(), true, view);
    stream
}

fn user(index: usize) -> UserId {
    UserId::new(format!("user{index:06}"))
}

/// Frames of one message that all read, in `windows` windows.
pub fn one_message(members: usize, windows: usize) -> Frames {
    let mut channel = Channel::new(members);
    channel.send();
    let readers: Vec<usize> = (1..members).collect();
    for part in readers.chunks(readers.len().div_ceil(windows)) {
        channel.read(part.iter().copied());
        channel.pass(Duration::from_secs(6));
    }
    channel.frames
}

/// Frames of receipts in ten seconds of `rate` messages a second, where every client tells its mark every two seconds.
pub fn receipts_at(members: usize, rate: u64) -> u64 {
    let mut channel = Channel::new(members);
    for second in 0..10 {
        for _ in 0..rate {
            channel.send();
            channel.pass(Duration::from_millis(1_000 / rate));
        }
        if second % 2 == 1 {
            channel.read(1..members);
        }
    }
    channel.pass(Duration::from_secs(10));
    channel.frames.up + channel.frames.down
}

/// What each member is told of `joins` within ten seconds, in a channel of `members`.
pub fn joins(members: usize, joins: u64) -> u64 {
    let mut channel = Channel::of(Kind::Live, members);
    channel.within_ten_seconds(joins, |channel, index| channel.ask(members + index as usize, Ask::Join))
}

/// What each member is told of `reactions` to one message within ten seconds, each of somebody else, in a channel of so many.
pub fn reactions(members: usize, reactions: u64) -> u64 {
    let mut channel = Channel::of(Kind::Live, members);
    channel.send();
    let (region, target) =
        channel.cursor.iter().map(|(region, mark)| (region, mark.place)).next().expect("it was sent");
    let event = EventId { region, place: target };
    channel.within_ten_seconds(reactions, |channel, index| {
        let content = Content::Reaction { target: event, emoji: "+1".into(), on: true };
        let original = Some(Original { event, author: Some(user(0)), is_message: true });
        let (seen, after, delivered) = (Vec::new(), Vec::new(), Vector::default());
        let csn = 1 + u64::from(index == 0);
        let send = Send { csn, follows: None, content, seen, delivered, after, original };
        channel.ask(index as usize % members, Ask::Send(Box::new(send)));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_and_its_receipts_cost_what_the_table_says() {
        println!(
            "{:>7} {:>11} {:>7} {:>6} {:>9} {:>13}",
            "members", "deliveries", "up", "down", "all", "naive"
        );
        // Small channels tell everybody, in one window here; others the sender alone.
        for (members, down) in [(2, 2), (3, 3), (4, 4), (100, 1), (1_000, 1), (10_000, 1)] {
            let frames = one_message(members, 1);
            let (n, naive) = (members as u64, naive(members as u64));
            let Frames { deliveries, up, down: told } = frames;
            println!("{n:>7} {deliveries:>11} {up:>7} {told:>6} {:>9} {naive:>13}", frames.total());
            assert_eq!(frames, Frames { deliveries: n - 1, up: n - 1, down });
            assert!(frames.total() < naive);
        }
    }

    #[test]
    fn readers_who_come_in_five_windows_cost_a_frame_for_each_window_and_no_more() {
        for (members, down) in [(32, 5 * 32), (100, 5), (1_000, 5)] {
            let frames = one_message(members, 5);
            assert_eq!(frames.down, down, "{members} members");
        }
        assert!(one_message(1_000, 5).total() <= 2_100);
    }

    #[test]
    fn the_traffic_of_receipts_does_not_grow_with_the_messages() {
        let (slow, fast) = (receipts_at(1_000, 1), receipts_at(1_000, 20));
        println!("receipts of 1,000 members in 10 s: {slow} frames at 1 message/s, {fast} at 20");
        assert_eq!(slow, fast);
    }

    #[test]
    fn ten_thousand_joins_and_ten_thousand_reactions_are_told_as_ten_items() {
        const MANY: u64 = 10_000;
        for (what, told) in [("joins", joins(10_000, MANY)), ("reactions", reactions(10_000, MANY))] {
            let (all, naive) = (told * MANY, naive_events(MANY, MANY));
            println!("{MANY} {what} in 10 s, told to {MANY}: {told} items each, {all} in all, naive {naive}");
            assert!((10..=11).contains(&told), "{told} items for {what}");
        }
    }

    #[test]
    fn the_naive_count_is_what_it_says() {
        for members in 1..50u64 {
            let (delivery, up) = (members - 1, 2 * (members - 1));
            assert_eq!(naive(members), delivery + up + up * (members - 1));
        }
    }
}
