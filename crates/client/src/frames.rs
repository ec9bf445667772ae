//! RTP packets of one track to whole frames, in order, as a value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{CodecKind, MediaKind};
use bytes::Bytes;
use wire::media::Received;
use wire::vp8::Descriptor;

use crate::event::Frame;
use crate::h264;

/// How long a missing packet is waited for: some round trips of retransmission, of a picture and of sound.
const PATIENCE_VIDEO: Duration = Duration::from_millis(500);
const PATIENCE_AUDIO: Duration = Duration::from_millis(100);
/// Packets that wait: more than half a second of 16 Mbit/s.
const MAX_WAITING: usize = 1_024;

/// Puts the packets of one track together.
#[derive(Debug)]
pub(crate) struct Assembler {
    track: Arc<str>,
    ssrc: u32,
    codec: CodecKind,
    waiting: BTreeMap<u64, Part>,
    /// The packet with which the next frame begins; `None`: that of the next keyframe, whichever it is.
    next: Option<u64>,
    /// Since when something is missing behind which more has come.
    gap_since: Option<Instant>,
}

#[derive(Debug)]
struct Part {
    timestamp: u32,
    marker: bool,
    payload: Bytes,
    arrival: Instant,
}

/// What can be made of the packets from the next one on.
enum Step {
    Frame(Frame, u64),
    /// This packet carries nothing.
    Skip(u64),
    /// Packets are missing, or have not come yet.
    Wait,
}

impl Assembler {
    pub fn new(track: Arc<str>) -> Self {
        Self { track, ssrc: 0, codec: CodecKind::Opus, waiting: BTreeMap::new(), next: None, gap_since: None }
    }

    /// Is it for this track?
    pub fn is_of(&self, track: &str) -> bool {
        *self.track == *track
    }

    /// Takes a packet and hands out the frames that are whole with it. `true`: a keyframe is needed to go on.
    pub fn push(&mut self, received: &Received, payload: &[u8], mut out: impl FnMut(Frame)) -> bool {
        if !matches!(received.codec, CodecKind::Opus | CodecKind::Vp8 | CodecKind::H264) {
            return false;
        }
        if (self.ssrc, self.codec) != (received.ssrc, received.codec) {
            // Another stream of the same track: it begins like a new one.
            *self = Self { ssrc: received.ssrc, codec: received.codec, ..Self::new(self.track.clone()) };
        }
        if self.next.is_some_and(|next| received.sequence < next) {
            return false;
        }
        let part = Part {
            timestamp: received.timestamp,
            marker: received.marker,
            payload: Bytes::copy_from_slice(payload),
            arrival: received.arrival,
        };
        self.waiting.insert(received.sequence, part);
        let mut starved = false;
        loop {
            let Some(next) = self.next.or_else(|| self.begin()) else { return starved || self.is_long() };
            self.next = Some(next);
            match self.step(next) {
                Step::Frame(frame, end) => {
                    self.advance(end);
                    out(frame);
                }
                Step::Skip(end) => self.advance(end),
                Step::Wait if self.is_lost(received.arrival) => {
                    self.give_up();
                    starved |= self.codec.media() == MediaKind::Video;
                }
                Step::Wait => return starved,
            }
        }
    }

    /// The first packet from which decoding can begin; what lies before is dropped.
    fn begin(&mut self) -> Option<u64> {
        let starts = |part: &Part| wire::keyframe::is_keyframe_start(self.codec, &part.payload, None);
        let found = self.waiting.iter().find(|(_, part)| starts(part)).map(|(sequence, _)| *sequence);
        if let Some(found) = found {
            self.waiting = self.waiting.split_off(&found);
        }
        found
    }

    /// Packets wait for a keyframe that does not come.
    fn is_long(&mut self) -> bool {
        let long = self.waiting.len() > MAX_WAITING;
        if long {
            self.waiting.clear();
        }
        long
    }

    fn step(&self, next: u64) -> Step {
        let Some(first) = self.waiting.get(&next) else { return Step::Wait };
        if first.payload.is_empty() {
            return Step::Skip(next + 1);
        }
        let parts = (next..).map_while(|sequence| Some((sequence, self.waiting.get(&sequence)?)));
        let (mut payload, mut whole) = (Vec::new(), true);
        for (sequence, part) in parts {
            if part.timestamp != first.timestamp {
                // Its end was not marked; the next frame begins here.
                return self.frame(next, first, payload, whole, sequence);
            }
            whole &= self.append(&part.payload, &mut payload);
            if part.marker || self.codec.media() == MediaKind::Audio {
                return self.frame(next, part, payload, whole, sequence + 1);
            }
        }
        Step::Wait
    }

    fn append(&self, payload: &[u8], frame: &mut Vec<u8>) -> bool {
        match self.codec {
            CodecKind::Vp8 => {
                let Some(descriptor) = Descriptor::parse(payload) else { return false };
                frame.extend_from_slice(&payload[descriptor.len..]);
                true
            }
            CodecKind::H264 => payload.is_empty() || h264::append(payload, frame),
            _ => {
                frame.extend_from_slice(payload);
                true
            }
        }
    }

    /// Ends before `end`; `last` is its last packet.
    fn frame(&self, first: u64, last: &Part, payload: Vec<u8>, whole: bool, end: u64) -> Step {
        if !whole || payload.is_empty() {
            return Step::Skip(end);
        }
        let keyframe = self
            .waiting
            .get(&first)
            .is_some_and(|part| wire::keyframe::is_keyframe_start(self.codec, &part.payload, None));
        let frame = Frame {
            track: self.track.clone(),
            codec: self.codec,
            timestamp: last.timestamp,
            keyframe,
            payload: payload.into(),
            arrival: last.arrival,
        };
        Step::Frame(frame, end)
    }

    fn advance(&mut self, end: u64) {
        self.waiting = self.waiting.split_off(&end);
        self.next = Some(end);
        self.gap_since = None;
    }

    /// Something is missing, others came behind it, and it has been waited for.
    fn is_lost(&mut self, now: Instant) -> bool {
        let next = self.next.unwrap_or_default();
        let contiguous = (next..).take_while(|sequence| self.waiting.contains_key(sequence)).count();
        if contiguous == self.waiting.len() {
            self.gap_since = None;
            return false;
        }
        let since = *self.gap_since.get_or_insert(now);
        let patience = match self.codec.media() {
            MediaKind::Audio => PATIENCE_AUDIO,
            MediaKind::Video => PATIENCE_VIDEO,
        };
        now.saturating_duration_since(since) >= patience || self.waiting.len() > MAX_WAITING
    }

    /// Goes on behind what is missing: sound at once, pictures with the next keyframe.
    fn give_up(&mut self) {
        let next = self.next.take().unwrap_or_default();
        let gap = (next..).find(|sequence| !self.waiting.contains_key(sequence)).unwrap_or(next);
        self.waiting = self.waiting.split_off(&gap);
        self.gap_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vp8::Packetizer;
    use base::Mid;

    struct Scene {
        assembler: Assembler,
        start: Instant,
        packetizer: Packetizer,
        sequence: u64,
    }

    /// What came out: the first byte and the length of each frame.
    type Seen = Vec<(u8, usize)>;

    impl Scene {
        fn new() -> Self {
            let (assembler, start) = (Assembler::new("TR_1".into()), Instant::now());
            Self { assembler, start, packetizer: Packetizer::new(0), sequence: 100 }
        }

        /// The packets of a frame: number, marker, payload.
        fn frame(&mut self, keyframe: bool, len: usize) -> Vec<(u64, u32, bool, Vec<u8>)> {
            let mut frame = vec![7; len];
            frame[0] = if keyframe { 0x10 } else { 0x11 };
            let packets = self.packetizer.packets(&frame);
            let (last, first) = (packets.len() - 1, self.sequence);
            self.sequence += packets.len() as u64;
            let numbered = packets.into_iter().enumerate();
            numbered
                .map(|(index, payload)| (first + index as u64, first as u32, index == last, payload))
                .collect()
        }

        fn push(&mut self, at: u64, packets: &[(u64, u32, bool, Vec<u8>)]) -> (Seen, bool) {
            let (mut seen, mut starved) = (Vec::new(), false);
            for (sequence, timestamp, marker, payload) in packets {
                let received = Received {
                    mid: Mid::new(b"0").expect("a mid"),
                    media: MediaKind::Video,
                    layer: 0,
                    simulcast: false,
                    codec: CodecKind::Vp8,
                    ssrc: 1,
                    sequence: *sequence,
                    timestamp: *timestamp,
                    marker: *marker,
                    retransmitted: false,
                    extensions: Default::default(),
                    payload: 0..payload.len(),
                    arrival: self.start + Duration::from_millis(at),
                };
                let out = |frame: Frame| seen.push((frame.payload[0], frame.payload.len()));
                starved |= self.assembler.push(&received, payload, out);
            }
            (seen, starved)
        }
    }

    #[test]
    fn frames_come_out_whole_and_in_order_though_packets_come_late() {
        let mut scene = Scene::new();
        let (key, second, third) =
            (scene.frame(true, 3_000), scene.frame(false, 3_000), scene.frame(false, 50));
        assert_eq!(scene.push(0, &key), (vec![(0x10, 3_000)], false));
        assert_eq!(scene.push(33, &second[1..]), (vec![], false));
        assert_eq!(scene.push(66, &third), (vec![], false), "it waits for the one before");
        assert_eq!(scene.push(90, &second[..1]), (vec![(0x11, 3_000), (0x11, 50)], false));
        assert_eq!(scene.push(99, &second), (vec![], false), "each comes once");
    }

    #[test]
    fn a_picture_that_is_lost_for_good_asks_for_a_keyframe_and_nothing_comes_before_it() {
        let mut scene = Scene::new();
        let (key, lost) = (scene.frame(true, 100), scene.frame(false, 100));
        scene.push(0, &key);
        drop(lost);
        let after = scene.frame(false, 100);
        assert_eq!(scene.push(40, &after), (vec![], false));
        let later = scene.frame(false, 100);
        assert_eq!(scene.push(600, &later), (vec![], true));
        let (broken, key) = (scene.frame(false, 100), scene.frame(true, 200));
        assert_eq!(scene.push(640, &broken), (vec![], false), "it was asked for already");
        assert_eq!(scene.push(680, &key), (vec![(0x10, 200)], false));
    }

    #[test]
    fn who_comes_in_the_middle_begins_with_the_keyframe() {
        let mut scene = Scene::new();
        let (tail, key) = (scene.frame(false, 3_000), scene.frame(true, 10));
        assert_eq!(scene.push(0, &tail[1..]).0, []);
        assert_eq!(scene.push(1, &key).0, [(0x10, 10)]);
    }

    #[test]
    fn what_waits_has_a_bound() {
        let mut scene = Scene::new();
        let mut asked = false;
        for _ in 0..3 * MAX_WAITING {
            let delta = scene.frame(false, 10);
            asked |= scene.push(0, &delta).1;
            assert!(scene.assembler.waiting.len() <= MAX_WAITING + 1);
        }
        assert!(asked, "a keyframe never came");
    }
}
