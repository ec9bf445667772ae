//! How many signal frames and bytes the participants of small and large rooms are sent. The figures are those of
//! `docs/large-rooms.md`; change them together.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use base::model::{
    LeaveReason, MetadataChange, Notice, Participant, ParticipantKind, Quality, RoomInfo, Speaker,
};
use base::{CodecKind, Identity, MediaKind, Mid, ParticipantId, RoomId, RoomName};
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message;
use prost::Message as _;
use room::{Event, Limits, Negotiated, Newcomer, Room};

use super::support::{NOW, everything, track};
use crate::translate;

/// Everything that changes does so within this time.
const SPAN: Duration = Duration::from_secs(10);
/// So many publish a microphone.
const SPEAKERS: u64 = 10;

/// Frames and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Sum {
    frames: u64,
    bytes: u64,
}

/// What was sent in one scenario, and what would have been if every change were told to everybody else by itself.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    sent: Sum,
    /// Most frames that one participant got in one second.
    peak: u64,
    naive: Sum,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, peak, naive } = self;
        write!(f, "{} | {} | {} | {} | {}", sent.frames, sent.bytes, peak, naive.frames, naive.bytes)
    }
}

/// A room, and what its participants' sockets carry.
struct Hall {
    room: Room,
    start: Instant,
    now: Instant,
    people: Vec<ParticipantId>,
    count: Count,
    /// Length of each participant's encoding by version: they are told to many.
    lengths: BTreeMap<(ParticipantId, u32), usize>,
    /// Frames in each second for each participant.
    seconds: BTreeMap<(ParticipantId, u64), u64>,
    checked: u64,
}

impl Hall {
    fn new() -> Self {
        let info = RoomInfo {
            id: RoomId(1),
            name: RoomName::new("hall"),
            metadata: String::new(),
            empty_timeout_s: 300,
            departure_timeout_s: 20,
            max_participants: 0,
            created_at: NOW,
            participants: 0,
            publishers: 0,
            recording: false,
        };
        let now = Instant::now();
        Self {
            room: Room::new(now, info, Limits::default()),
            start: now,
            now,
            people: Vec::new(),
            count: Count::default(),
            lengths: BTreeMap::new(),
            seconds: BTreeMap::new(),
            checked: 0,
        }
    }

    fn update_length(&mut self, participants: &[std::sync::Arc<Participant>]) -> usize {
        let mut inner = 0;
        for one in participants {
            let length = self.lengths.entry((one.id, one.version));
            let length = *length.or_insert_with(|| translate::participant(one).encoded_len());
            inner += 1 + prost::length_delimiter_len(length) + length;
        }
        let total = 1 + prost::length_delimiter_len(inner) + inner;
        self.checked += 1;
        if self.checked.is_multiple_of(997) {
            assert_eq!(total, encoded(Message::Update(translate::update(participants))));
        }
        total
    }

    /// The frame's length, of those that tell of others and of the room; the rest belongs to negotiation.
    fn length(&mut self, to: ParticipantId, notice: &Notice) -> Option<usize> {
        Some(match notice {
            Notice::Participants(participants) => self.update_length(participants),
            Notice::Speakers(speakers) => encoded(Message::SpeakersChanged(translate::speakers(speakers))),
            Notice::Quality(of) => encoded(Message::ConnectionQuality(translate::qualities(to, true, of))),
            Notice::Room(info) => {
                let room = Some(translate::room(info));
                encoded(Message::RoomUpdate(proto::RoomUpdate { room }))
            }
            _ => return None,
        })
    }

    fn settle(&mut self) {
        while let Some(event) = self.room.poll_event() {
            let Event::Notice(to, notice) = event else { continue };
            if let Some(bytes) = self.length(to, &notice) {
                self.count.sent.frames += 1;
                self.count.sent.bytes += bytes as u64;
                *self.seconds.entry((to, (self.now - self.start).as_secs())).or_default() += 1;
            }
        }
    }

    /// Lets time pass, with every deadline met on time.
    fn pass_to(&mut self, end: Instant) {
        while let Some(at) = self.room.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.room.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// `each` happens to everybody within [`SPAN`], one after the other.
    fn spread(&mut self, count: u64, mut each: impl FnMut(&mut Self, u64)) {
        let start = self.now;
        for at in 0..count {
            self.pass_to(start + SPAN * at as u32 / count as u32);
            each(self, at);
            self.settle();
        }
        self.pass_to(start + SPAN);
    }

    /// Everybody else would be told of `who` as it is now.
    fn naively(&mut self, who: ParticipantId) {
        let others = (self.room.participants().len() as u64).saturating_sub(1);
        let Some(value) = self.room.participant(who).cloned() else { return };
        let bytes = self.update_length(&[value]) as u64;
        self.tally(others, bytes);
    }

    fn tally(&mut self, receivers: u64, bytes: u64) {
        self.count.naive.frames += receivers;
        self.count.naive.bytes += receivers * bytes;
    }

    /// What the last scenario came to, told to its end.
    fn take(&mut self) -> Count {
        let end = self.now + Duration::from_secs(6);
        self.pass_to(end);
        self.start = self.now;
        self.count.peak = std::mem::take(&mut self.seconds).into_values().max().unwrap_or_default();
        std::mem::take(&mut self.count)
    }

    fn join(&mut self, number: u64) {
        let id = ParticipantId(number + 1);
        let newcomer = Newcomer {
            kind_details: Default::default(),
            id,
            identity: Identity::new(format!("person-{number}")),
            name: format!("Person {number}"),
            metadata: String::new(),
            attributes: BTreeMap::new(),
            kind: ParticipantKind::Standard,
            permissions: everything(),
            auto_subscribe: true,
            auto_subscribe_data: true,
            abilities: Default::default(),
            joined_at: NOW,
        };
        self.room.join(self.now, newcomer).expect("there is room");
        self.people.push(id);
        self.naively(id);
        self.room.activate(self.now, id);
        self.naively(id);
        if number < SPEAKERS {
            let microphone = track(number + 1, MediaKind::Audio, CodecKind::Opus);
            let mid = Mid::new(b"0").expect("a valid mid");
            let microphone = self.room.publish(id, microphone).expect("allowed").id;
            let found = Negotiated { mid, codec: CodecKind::Opus, simulcast: false, sdp_cid: String::new() };
            assert!(self.room.negotiated(self.now, id, microphone, found));
            self.naively(id);
        }
    }

    fn everybody_joins(&mut self, count: u64) -> Count {
        self.spread(count, Self::join);
        self.take()
    }

    fn everybody_changes_metadata(&mut self, count: u64) -> Count {
        self.spread(count, |hall, at| {
            let id = hall.people[at as usize];
            let change = MetadataChange { metadata: Some(format!("hand {at} is up")), ..Default::default() };
            assert!(hall.room.update_participant(hall.now, id, change));
            hall.naively(id);
        });
        self.take()
    }

    /// Every half second another one speaks.
    fn ten_speak_in_turn(&mut self, count: u64) -> Count {
        self.spread(20, |hall, at| {
            let speaker = |turn: u64, active| Speaker {
                participant: hall.people[(turn % SPEAKERS.min(count)) as usize],
                level: if active { 0.5 } else { 0.0 },
                active,
            };
            let changes = [speaker(at + 1, true), speaker(at, false)];
            hall.room.set_speakers(hall.now, &changes);
            for change in changes {
                hall.tally(count, encoded(Message::SpeakersChanged(translate::speakers(&[change]))) as u64);
            }
        });
        self.take()
    }

    fn everybodys_quality_changes(&mut self, count: u64) -> Count {
        self.spread(count, |hall, at| {
            let id = hall.people[at as usize];
            hall.room.set_quality(hall.now, id, Quality::Poor);
            let update = translate::qualities(ParticipantId(0), true, &[(id, Quality::Poor)]);
            hall.tally(count, encoded(Message::ConnectionQuality(update)) as u64);
        });
        self.take()
    }

    fn everybody_leaves(&mut self, count: u64) -> Count {
        self.spread(count, |hall, at| {
            let id = hall.people[at as usize];
            hall.naively(id);
            hall.room.leave(hall.now, id, LeaveReason::ClientInitiated);
        });
        self.take()
    }
}

fn encoded(message: Message) -> usize {
    proto::SignalResponse { message: Some(message) }.encoded_len()
}

/// The five scenarios in a room of so many.
fn measure(count: u64) -> [Count; 5] {
    let mut hall = Hall::new();
    [
        hall.everybody_joins(count),
        hall.everybody_changes_metadata(count),
        hall.ten_speak_in_turn(count),
        hall.everybodys_quality_changes(count),
        hall.everybody_leaves(count),
    ]
}

const SCENARIOS: [&str; 5] = ["join", "metadata", "speakers", "quality", "leave"];

fn check(count: u64, expected: [(u64, u64, u64); 5]) {
    let measured = measure(count);
    for (name, counted) in SCENARIOS.iter().zip(&measured) {
        println!("| {count} | {name} | {counted} |");
    }
    assert_eq!(measured.map(|counted| (counted.sent.frames, counted.sent.bytes, counted.peak)), expected);
}

#[test]
fn ten_participants() {
    check(10, [(81, 8_685, 3), (100, 14_610, 1), (200, 9_210, 2), (100, 2_600, 1), (59, 4_480, 2)]);
}

#[test]
fn a_hundred_participants() {
    check(
        100,
        [
            (2_231, 355_430, 12),
            (2_199, 887_607, 3),
            (2_000, 92_100, 2),
            (275, 26_810, 1),
            (2_564, 425_264, 11),
        ],
    );
}

#[test]
fn a_thousand_participants_are_told_of_each_other_in_few_frames() {
    check(
        1_000,
        [
            (8_925, 34_626_123, 19),
            (11_999, 85_346_007, 2),
            (11_000, 498_000, 1),
            (2_500, 269_760, 1),
            (14_763, 39_558_845, 10),
        ],
    );
}
