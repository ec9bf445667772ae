//! The rings between two workers, and where they meet to make them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base::{CodecKind, MediaKind, Mid, NtpTime, RoomId, TrackId};
use rtrb::{Consumer, Producer, RingBuffer};
use sfu::{Layers, RelayState};
use wire::ext::{ByteRange, Extensions};
use wire::media::Received;

/// Records in one direction: half a second of 50 video tracks of 1.5 Mbit/s.
const RECORDS: usize = 4_096;
/// Payload bytes in one direction: 200 ms of the same. What waits longer is too late for a conversation.
const BYTES: usize = 2 << 20;
/// Parts of both that video, and then audio, leave to what matters more.
const VIDEO_LEAVES: usize = 4;
const AUDIO_LEAVES: usize = 16;

/// What one worker hands to another.
#[derive(Debug)]
pub(crate) enum Record {
    /// A packet, whose bytes are in the ring of bytes.
    Packet(Packet),
    /// All else.
    Message(RoomId, TrackId, Message),
}

/// What two workers say about a track. States, so that each can be said again.
#[derive(Debug)]
pub(crate) enum Message {
    /// To the publisher's worker: a keyframe of this layer is needed.
    Keyframe { layer: u8 },
    /// To the publisher's worker: these layers are to come.
    Wanted(Layers),
    /// From the publisher's worker: how the publication stands, and which layers come.
    State { state: RelayState, relayed: Layers },
    /// From the publisher's worker: a sender report of a layer, which came at `at`.
    Report { layer: u8, ntp: NtpTime, rtp: u32, at: Instant },
}

/// A received packet without its bytes: descriptor and payload, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) room: RoomId,
    pub(crate) track: TrackId,
    media: MediaKind,
    layer: u8,
    simulcast: bool,
    codec: CodecKind,
    ssrc: u32,
    sequence: u64,
    timestamp: u32,
    marker: bool,
    retransmitted: bool,
    audio_level: Option<u8>,
    abs_capture_time: Option<u64>,
    descriptor: u16,
    payload: u16,
    /// See [`sfu::Media::interruptions`].
    interruptions: u8,
    arrival: Instant,
}

impl Packet {
    pub(crate) fn new(
        room: RoomId,
        track: TrackId,
        received: &Received,
        (descriptor, payload): (&[u8], &[u8]),
        interruptions: u8,
    ) -> Self {
        Self {
            room,
            track,
            media: received.media,
            layer: received.layer,
            simulcast: received.simulcast,
            codec: received.codec,
            ssrc: received.ssrc,
            sequence: received.sequence,
            timestamp: received.timestamp,
            marker: received.marker,
            retransmitted: received.retransmitted,
            audio_level: received.extensions.audio_level,
            abs_capture_time: received.extensions.abs_capture_time,
            // Both are parts of one datagram.
            descriptor: descriptor.len() as u16,
            payload: payload.len() as u16,
            interruptions,
            arrival: received.arrival,
        }
    }

    /// How often its track was interrupted; `None` where it cannot be.
    pub(crate) fn interruptions(&self) -> Option<u8> {
        (self.media == MediaKind::Audio).then_some(self.interruptions)
    }

    fn len(&self) -> usize {
        usize::from(self.descriptor) + usize::from(self.payload)
    }

    /// The packet as it was received, in a datagram of descriptor and payload alone. Nothing is from after `now`, though the
    /// other worker may have looked at the clock since.
    pub(crate) fn received(&self, now: Instant) -> Received {
        let descriptor = (self.descriptor > 0).then_some(ByteRange { start: 0, len: self.descriptor });
        Received {
            // The other worker's sections mean nothing here.
            mid: Mid::new(b"0").expect("one printable byte"),
            media: self.media,
            layer: self.layer,
            simulcast: self.simulcast,
            codec: self.codec,
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker: self.marker,
            retransmitted: self.retransmitted,
            extensions: Extensions {
                audio_level: self.audio_level,
                abs_capture_time: self.abs_capture_time,
                dependency_descriptor: descriptor,
                ..Extensions::default()
            },
            payload: usize::from(self.descriptor)..self.len(),
            arrival: self.arrival.min(now),
        }
    }
}

/// One end of what connects two workers.
pub(crate) struct Link {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
}

/// Where a worker puts what is for one other.
pub(crate) struct Sender {
    records: Producer<Record>,
    bytes: Producer<u8>,
    waker: udp::Waker,
    /// Something was put in since the other was last woken.
    unheard: bool,
    /// Video was dropped, and none is taken before there is half the room again: what comes between is of no use.
    choked: bool,
}

impl Sender {
    /// `false`: the other is too far behind, the packet is lost.
    #[inline]
    pub(crate) fn packet(&mut self, packet: Packet, descriptor: &[u8], payload: &[u8]) -> bool {
        let fits = match packet.media {
            MediaKind::Audio => self.has_room(packet.len(), AUDIO_LEAVES),
            MediaKind::Video => !self.choked && self.has_room(packet.len(), VIDEO_LEAVES),
        };
        if !fits {
            self.choked |= packet.media == MediaKind::Video;
            return false;
        }
        // The bytes first: who sees the record finds them.
        let pushed = self.bytes.push_entire_slice(descriptor).is_ok()
            && self.bytes.push_entire_slice(payload).is_ok()
            && self.records.push(Record::Packet(packet)).is_ok();
        debug_assert!(pushed, "there is room for it");
        self.unheard = true;
        pushed
    }

    /// Messages have room when packets have none. One that is lost all the same is said again.
    pub(crate) fn message(&mut self, room: RoomId, track: TrackId, message: Message) {
        self.unheard |= self.records.push(Record::Message(room, track, message)).is_ok();
    }

    /// Wakes the other if there is something for it.
    pub(crate) fn wake(&mut self) {
        if std::mem::take(&mut self.unheard) {
            self.waker.wake();
        }
    }

    /// Video was dropped, and there is room again: true once.
    pub(crate) fn recovers(&mut self) -> bool {
        let recovers = self.choked && self.has_room(0, 2);
        self.choked &= !recovers;
        recovers
    }

    fn has_room(&self, len: usize, leaves: usize) -> bool {
        let enough = |free: usize, capacity: usize, needed: usize| free >= capacity / leaves + needed;
        // What was free when last looked at is free still; mostly that is enough, and costs no look at the other's core.
        let records =
            enough(self.records.cached_slots(), RECORDS, 1) || enough(self.records.slots(), RECORDS, 1);
        records && (enough(self.bytes.cached_slots(), BYTES, len) || enough(self.bytes.slots(), BYTES, len))
    }
}

/// Where a worker finds what one other has for it.
pub(crate) struct Receiver {
    records: Consumer<Record>,
    bytes: Consumer<u8>,
}

impl Receiver {
    /// The next record. The bytes of a packet are in `bytes` then, and nothing else.
    #[inline]
    pub(crate) fn next(&mut self, bytes: &mut Vec<u8>) -> Option<Record> {
        let record = self.records.pop().ok()?;
        if let Record::Packet(packet) = &record {
            bytes.resize(packet.len(), 0);
            let popped = self.bytes.pop_entire_slice(bytes);
            debug_assert!(popped.is_ok(), "the bytes were there before the record");
        }
        Some(record)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Where the workers of a process find one another. Clones are the same place; the default is one without workers.
#[derive(Clone, Default)]
pub struct Mesh(Arc<Mutex<Places>>);

#[derive(Default)]
struct Places {
    wakers: BTreeMap<usize, udp::Waker>,
    /// By lower and higher index: the end of each, until it takes it.
    links: BTreeMap<(usize, usize), [Option<Link>; 2]>,
}

impl Mesh {
    /// A worker is there, and this wakes it.
    pub(crate) fn join(&self, index: usize, waker: udp::Waker) {
        self.places().wakers.insert(index, waker);
    }

    /// The worker's end towards another. `None`: there is no such other, or this end was taken already.
    pub(crate) fn open(&self, own: usize, other: usize) -> Option<Link> {
        let mut places = self.places();
        let pair = (own.min(other), own.max(other));
        if own == other {
            return None;
        }
        if !places.links.contains_key(&pair) {
            let ends = link(places.wakers.get(&pair.0)?.clone(), places.wakers.get(&pair.1)?.clone());
            places.links.insert(pair, ends.map(Some));
        }
        places.links.get_mut(&pair)?[usize::from(own > other)].take()
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        // Every critical section leaves them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").finish_non_exhaustive()
    }
}

/// Both ends between two workers; each wakes the other.
fn link(first: udp::Waker, second: udp::Waker) -> [Link; 2] {
    let direction = |waker| {
        let (records, taken) = RingBuffer::new(RECORDS);
        let (bytes, taken_bytes) = RingBuffer::new(BYTES);
        let sender = Sender { records, bytes, waker, unheard: false, choked: false };
        (sender, Receiver { records: taken, bytes: taken_bytes })
    };
    let (to_second, from_first) = direction(second);
    let (to_first, from_second) = direction(first);
    [Link { sender: to_second, receiver: from_second }, Link { sender: to_first, receiver: from_first }]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomId = RoomId(1);
    const TRACK: TrackId = TrackId(2);

    fn pair() -> (Link, Link) {
        let mesh = Mesh::default();
        let pollers = [0, 1].map(|_| udp::Poller::new().expect("a descriptor"));
        pollers.iter().enumerate().for_each(|(index, poller)| mesh.join(index, poller.waker()));
        (mesh.open(0, 1).expect("both are there"), mesh.open(1, 0).expect("the other end"))
    }

    fn packet(media: MediaKind, sequence: u64, parts: (&[u8], &[u8])) -> Packet {
        let received = Received {
            mid: Mid::new(b"v").expect("a mid"),
            media,
            layer: 2,
            simulcast: true,
            codec: CodecKind::Av1,
            ssrc: 7,
            sequence,
            timestamp: 9,
            marker: true,
            retransmitted: true,
            extensions: Extensions {
                audio_level: Some(33),
                abs_capture_time: Some(44),
                dependency_descriptor: Some(ByteRange { start: 20, len: parts.0.len() as u16 }),
                ..Extensions::default()
            },
            payload: 100..100 + parts.1.len(),
            arrival: Instant::now(),
        };
        Packet::new(ROOM, TRACK, &received, parts, 0)
    }

    fn fill(sender: &mut Sender, media: MediaKind, size: usize) -> u64 {
        let payload = vec![1; size];
        (0..).take_while(|n| sender.packet(packet(media, *n, (&[], &payload)), &[], &payload)).count() as u64
    }

    #[test]
    fn a_packet_comes_out_as_it_was_received() {
        let (mut one, mut other) = pair();
        let parts: (&[u8], &[u8]) = (b"desc", b"payload");
        let sent = packet(MediaKind::Video, 70_000, parts);
        assert!(one.sender.packet(sent, parts.0, parts.1));
        let mut bytes = vec![9; 50];
        let Some(Record::Packet(got)) = other.receiver.next(&mut bytes) else { panic!("a packet") };
        let received = got.received(Instant::now());
        assert_eq!(received.stored(&bytes), parts);
        assert_eq!((received.layer, received.sequence, received.timestamp), (2, 70_000, 9));
        assert_eq!((received.ssrc, received.marker, received.simulcast), (7, true, true));
        let extensions = received.extensions;
        assert_eq!((extensions.audio_level, extensions.abs_capture_time), (Some(33), Some(44)));
        assert_eq!(received.arrival, sent.arrival);
        assert!(other.receiver.is_empty());
    }

    #[test]
    fn a_packet_does_not_come_from_the_future() {
        let earlier = Instant::now();
        assert_eq!(packet(MediaKind::Video, 1, (b"", b"x")).received(earlier).arrival, earlier);
    }

    #[test]
    fn video_leaves_room_for_audio_and_audio_for_messages() {
        for size in [1_200, 10] {
            let (mut one, mut other) = pair();
            let video = fill(&mut one.sender, MediaKind::Video, size);
            let audio = fill(&mut one.sender, MediaKind::Audio, size);
            assert!(video > 3 * audio && audio > 100, "{video} {audio}");
            for _ in 0..100 {
                one.sender.message(ROOM, TRACK, Message::Keyframe { layer: 0 });
            }
            let mut bytes = Vec::new();
            let records = std::iter::from_fn(|| other.receiver.next(&mut bytes));
            let messages = records.filter(|record| matches!(record, Record::Message(..))).count();
            assert_eq!(messages, 100);
        }
    }

    #[test]
    fn after_a_loss_video_is_taken_again_only_when_there_is_room_for_a_while() {
        let (mut one, mut other) = pair();
        let sent = fill(&mut one.sender, MediaKind::Video, 1_000);
        let mut bytes = Vec::new();
        other.receiver.next(&mut bytes);
        assert!(!one.sender.recovers());
        assert!(!one.sender.packet(packet(MediaKind::Video, 0, (b"", b"x")), b"", b"x"));
        for _ in 0..sent / 2 {
            other.receiver.next(&mut bytes);
        }
        assert!(one.sender.recovers());
        assert!(!one.sender.recovers(), "said once");
        assert!(one.sender.packet(packet(MediaKind::Video, 0, (b"", b"x")), b"", b"x"));
    }

    #[test]
    fn an_end_is_taken_once_and_nobody_is_connected_with_himself_or_with_nobody() {
        let mesh = Mesh::default();
        let poller = udp::Poller::new().expect("a descriptor");
        mesh.join(3, poller.waker());
        assert!(mesh.open(3, 4).is_none(), "there is no such worker yet");
        assert!(mesh.open(3, 3).is_none());
        mesh.join(4, poller.waker());
        assert!(mesh.open(3, 4).is_some());
        assert!(mesh.open(3, 4).is_none());
        assert!(mesh.open(4, 3).is_some());
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 144, "{}", size_of::<Record>());
    }
}
