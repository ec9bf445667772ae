//! Events: the entries of a channel, as they are stored and delivered.

use std::sync::Arc;

use base::{CallId, ChannelId, DeviceId, UnixMillis, UserId};

use crate::clock::Hlc;
use crate::format::{Malformed, Reader, encode, encoded_enum, encoded_struct, fingerprint};
use crate::place::{EventId, Place, Region, Vector};
use crate::roles::Role;

/// One entry of a channel, committed or about to be.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// Its region and place.
    pub id: EventId,
    /// Whose entry it is.
    pub channel: ChannelId,
    /// The previous event of this channel in the same region's log. `None`: it is the first.
    pub prev: Option<Place>,
    /// What the owner had applied, or declared missing, from every *other* region when it appended this.
    pub depends: Vector,
    /// Its place in the displayed order, before region and number.
    pub clock: Hlc,
    /// Countable messages of this channel in this log, this one included.
    pub count: u64,
    /// Who sent it. `None`: the server did.
    pub from: Option<Sender>,
    /// How far its sender had read with it, where that is further than before.
    pub read: Vector,
    /// Positions of other channels that come before it.
    pub after: Vec<(ChannelId, Vector)>,
    /// What happened.
    pub content: Content,
}

encoded_struct!(Event { id, channel, prev, depends, clock, count, from, read, after, content });

/// Where the order of display puts an event: clock, region, number.
pub type DisplayKey = (Hlc, Region, Place);

impl Event {
    /// Where the displayed order puts it.
    pub fn key(&self) -> DisplayKey {
        (self.clock, self.id.region, self.id.place)
    }

    /// Who sent it, where somebody did.
    pub fn user(&self) -> Option<&UserId> {
        self.from.as_ref().map(|from| &from.user)
    }
}

/// Which send of whom an event is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Sender {
    /// The person.
    pub user: UserId,
    /// The installation.
    pub device: DeviceId,
    /// The device's send number in this channel, from 1. 0: no numbered send (a membership change).
    pub csn: u64,
}

encoded_struct!(Sender { user, device, csn });

/// The bytes that an application sends; the server does not read them.
pub type Body = Arc<[u8]>;

/// What an event is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// The channel begins.
    Created {
        /// Its kind, for ever.
        kind: Kind,
        /// Where membership is decided.
        home: Region,
        /// How it is set up.
        settings: Settings,
        /// Who is in it from the start.
        members: Vec<(UserId, Role)>,
    },
    /// The channel is set up differently.
    Updated {
        /// All settings.
        settings: Settings,
    },
    /// Somebody's membership changed.
    Member {
        /// Whose.
        user: UserId,
        /// How.
        change: Change,
    },
    /// Something that counts as unread.
    Message {
        /// What it says.
        body: Body,
        /// The message that it answers.
        reply_to: Option<EventId>,
        /// The message whose thread it is in.
        thread: Option<EventId>,
        /// Who is named in it.
        mentions: Vec<UserId>,
        /// All members are named in it.
        everyone: bool,
    },
    /// A message says something else.
    Edit {
        /// Which.
        target: EventId,
        /// What it says now.
        body: Body,
    },
    /// A message says nothing any more.
    Delete {
        /// Which.
        target: EventId,
    },
    /// Somebody's reaction to a message, given or taken back.
    Reaction {
        /// To which.
        target: EventId,
        /// What is shown.
        emoji: Arc<str>,
        /// Given.
        on: bool,
    },
    /// Something of the application's.
    Custom {
        /// What it is called.
        name: Arc<str>,
        /// What it says.
        body: Body,
    },
    /// A step of a call.
    Call {
        /// Which call.
        call: CallId,
        /// Which step.
        stage: CallStage,
    },
    /// Entries that are missing.
    Hole {
        /// From whose log.
        region: Region,
        /// The last entry of the channel in that log that is not missing.
        known: Option<Place>,
        /// Up to which place entries are missing. Other channels' entries are in that range too.
        upto: Place,
    },
}

encoded_enum!(Content {
    1 => Created { kind, home, settings, members },
    2 => Updated { settings },
    3 => Member { user, change },
    4 => Message { body, reply_to, thread, mentions, everyone },
    5 => Edit { target, body },
    6 => Delete { target },
    7 => Reaction { target, emoji, on },
    8 => Custom { name, body },
    9 => Call { call, stage },
    10 => Hole { region, known, upto },
});

impl Content {
    /// Does it count as unread?
    pub fn is_countable(&self) -> bool {
        matches!(self, Self::Message { .. })
    }

    /// The events that it names.
    pub fn named(&self) -> impl Iterator<Item = EventId> {
        let (first, second) = match self {
            Self::Edit { target, .. } | Self::Delete { target } | Self::Reaction { target, .. } => {
                (Some(*target), None)
            }
            Self::Message { reply_to, thread, .. } => (*reply_to, *thread),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The event that it acts on: whose author decides whether it may.
    pub fn target(&self) -> Option<EventId> {
        match self {
            Self::Edit { target, .. } | Self::Delete { target } | Self::Reaction { target, .. } => {
                Some(*target)
            }
            _ => None,
        }
    }

    /// Tells a resend of the same from another send under the same number.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&encode(self))
    }
}

/// What a channel is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Two people.
    Direct,
    /// People who know who is in it.
    Group,
    /// A huge, open audience.
    Live,
    /// One person's own notifications, which the server sends.
    Inbox,
}

encoded_enum!(Kind { 1 => Direct {}, 2 => Group {}, 3 => Live {}, 4 => Inbox {} });

/// How a channel is set up.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Settings {
    /// What people call it. Empty: nothing.
    pub name: Arc<str>,
    /// Anybody may join.
    pub public: bool,
    /// Who (re-)joined reads from there on; otherwise everything.
    pub since_join: bool,
    /// Guests may send.
    pub guests_send: bool,
    /// Only moderators and owners may send.
    pub frozen: bool,
    /// Least time between two messages of a member or guest, in milliseconds; 0 is none.
    pub slow_mode: u64,
    /// Every region takes sends for it; otherwise only its home.
    pub active_active: bool,
    /// Events older than this may be removed, in milliseconds; 0: none.
    pub keep_for: u64,
    /// Events before so many of the newest messages may be removed; 0: none.
    pub keep_newest: u64,
}

encoded_struct!(Settings {
    name,
    public,
    since_join,
    guests_send,
    frozen,
    slow_mode,
    active_active,
    keep_for,
    keep_newest
});

/// What changed about a member.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// Came in, with this role.
    Joined {
        /// As what.
        role: Role,
    },
    /// Went.
    Left,
    /// May come in, with this role.
    Invited {
        /// As what.
        role: Role,
    },
    /// Was sent out.
    Removed,
    /// Has another role.
    Role {
        /// Which.
        role: Role,
    },
    /// May send nothing before this time; 0 ends it.
    Muted {
        /// Until when.
        until: UnixMillis,
    },
    /// Was sent out and stays out until this time; 0 ends it.
    Banned {
        /// Until when.
        until: UnixMillis,
    },
}

encoded_enum!(Change {
    1 => Joined { role },
    2 => Left {},
    3 => Invited { role },
    4 => Removed {},
    5 => Role { role },
    6 => Muted { until },
    7 => Banned { until },
});

/// The steps of a call that its channel remembers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CallStage {
    /// People were rung.
    Invited {
        /// Who, so that whoever owns the channel next goes on ringing them.
        users: Vec<UserId>,
    },
    /// The first of them answered.
    Accepted,
    /// It is over.
    Ended {
        /// Milliseconds from the first answer; 0 when nobody answered.
        talked: u64,
    },
    /// These people were rung and did not answer.
    Missed {
        /// They.
        users: Vec<UserId>,
    },
}

encoded_enum!(CallStage { 1 => Invited { users }, 2 => Accepted {}, 3 => Ended { talked }, 4 => Missed { users } });

/// An entry of a partition's log, with the proof of who appended it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Record {
    /// Which life of which owner.
    pub incarnation: u64,
    /// Which of its appends, from 1.
    pub append: u64,
    /// What it holds.
    pub entry: Entry,
}

encoded_struct!(Record { incarnation, append, entry });

impl Record {
    /// Reads what [`encode`] wrote.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        crate::format::decode(bytes)
    }
}

/// What a record holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Entry {
    /// An owner begins; nothing of an earlier one comes after it.
    Barrier,
    /// An event.
    Event {
        /// It.
        event: Arc<Event>,
    },
    /// Marks that moved in a window: no event, no id.
    Marks {
        /// In which channel.
        channel: ChannelId,
        /// Whose, and where to.
        marks: Vec<(UserId, ReadMark)>,
    },
}

encoded_enum!(Entry { 1 => Barrier {}, 2 => Event { event }, 3 => Marks { channel, marks } });

impl Entry {
    /// How many bytes it takes in a log, about and rather more.
    pub fn weight(&self) -> usize {
        const MARK: usize = 40;
        let vector = |vector: &Vector| vector.iter().count() * MARK;
        let names = |users: &[UserId]| users.iter().map(|user| user.as_str().len() + 2).sum::<usize>();
        match self {
            Self::Barrier => MARK,
            Self::Marks { marks, .. } => {
                let mark = |(user, mark): &(UserId, ReadMark)| {
                    user.as_str().len() + 8 + vector(&mark.read) + vector(&mark.delivered)
                };
                512 + marks.iter().map(mark).sum::<usize>()
            }
            Self::Event { event } => {
                let after = event.after.iter().map(|(channel, at)| channel.as_str().len() + 8 + vector(at));
                let content = match &event.content {
                    Content::Created { members, .. } => {
                        members.iter().map(|(user, _)| user.as_str().len() + 8).sum()
                    }
                    Content::Message { body, mentions, .. } => body.len() + names(mentions),
                    Content::Edit { body, .. } | Content::Custom { body, .. } => body.len(),
                    Content::Call { stage, .. } => match stage {
                        CallStage::Invited { users } | CallStage::Missed { users } => names(users),
                        CallStage::Accepted | CallStage::Ended { .. } => 0,
                    },
                    _ => 0,
                };
                1_024 + vector(&event.depends) + vector(&event.read) + after.sum::<usize>() + content
            }
        }
    }
}

/// How far somebody's devices received, and how far the person read.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ReadMark {
    /// Read up to.
    pub read: Vector,
    /// Delivered up to; what is read was delivered.
    pub delivered: Vector,
}

encoded_struct!(ReadMark { read, delivered });

impl ReadMark {
    /// Reaches wherever either does.
    pub fn join(&mut self, other: &Self) {
        self.read.join(&other.read);
        self.delivered.join(&other.delivered);
        self.delivered.join(&other.read);
    }
}

/// Reads an entry, refusing damage. Unused bytes after it are damage too.
pub fn read_record(reader: &mut Reader<'_>) -> Result<Record, Malformed> {
    crate::format::Encoded::get(reader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{VERSION, decode};
    use crate::testing::{at, channel, message, region, user};

    fn samples() -> Vec<Content> {
        let target = EventId { region: region("eu"), place: at(3, 4711) };
        let body: Body = Arc::from(&b"hello"[..]);
        vec![
            Content::Created {
                kind: Kind::Group,
                home: region("eu"),
                settings: Settings { slow_mode: 5_000, ..Settings::default() },
                members: vec![(user("ann"), Role::Owner), (user("bob"), Role::Member)],
            },
            Content::Updated { settings: Settings { frozen: true, ..Settings::default() } },
            Content::Member { user: user("bob"), change: Change::Banned { until: UnixMillis(7) } },
            Content::Message {
                body: body.clone(),
                reply_to: Some(target),
                thread: None,
                mentions: vec![user("ann")],
                everyone: false,
            },
            Content::Edit { target, body: body.clone() },
            Content::Delete { target },
            Content::Reaction { target, emoji: "+1".into(), on: true },
            Content::Custom { name: "poll".into(), body },
            Content::Call { call: CallId::new("c1"), stage: CallStage::Ended { talked: 61_000 } },
            Content::Hole { region: region("us"), known: None, upto: at(1, 9) },
        ]
    }

    fn record(content: Content) -> Record {
        let event = Event { content, ..message("eu", 3, 12) };
        Record { incarnation: 5, append: 6, entry: Entry::Event { event: Arc::new(event) } }
    }

    #[test]
    fn every_kind_of_event_survives_its_bytes() {
        for content in samples() {
            let record = record(content);
            assert_eq!(Record::read(&encode(&record)), Ok(record));
        }
        let marks = vec![(user("ann"), ReadMark::default())];
        for entry in [Entry::Barrier, Entry::Marks { channel: channel("c"), marks }] {
            let record = Record { incarnation: 1, append: 2, entry };
            assert_eq!(decode(&encode(&record)), Ok(record));
        }
    }

    #[test]
    fn a_record_that_is_cut_anywhere_is_refused_and_so_is_one_that_goes_on() {
        for content in samples() {
            let mut bytes = encode(&record(content));
            for cut in 0..bytes.len() {
                assert!(Record::read(&bytes[..cut]).is_err(), "cut at {cut}");
            }
            bytes.push(0);
            assert_eq!(Record::read(&bytes), Err(Malformed::Broken));
        }
    }

    #[test]
    fn bytes_with_any_bit_flipped_never_panic() {
        for content in samples() {
            let bytes = encode(&record(content));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let _ = Record::read(&flipped);
            }
        }
    }

    /// What version 1 writes, byte by byte: a change of it is a change of the format, which needs a new version.
    #[test]
    fn the_first_format_is_what_it_was() {
        let event = Event {
            content: Content::Custom { name: "x".into(), body: Arc::from(&b"y"[..]) },
            ..message("eu", 3, 300)
        };
        let event = Event { from: None, channel: channel("c"), ..event };
        let record =
            Record { incarnation: 1, append: 2, entry: Entry::Event { event: Arc::new(event.clone()) } };
        let mut expected = vec![VERSION, 1, 2, 2];
        expected.extend([2, b'e', b'u', 3, 0xac, 2, 1, b'c', 1, 3, 0xab, 2, 0]);
        crate::format::Encoded::put(&event.clock, &mut expected);
        crate::format::Encoded::put(&event.count, &mut expected);
        expected.extend([0, 0, 0, 8, 1, b'x', 1, b'y']);
        assert_eq!(encode(&record), expected);
    }
}
