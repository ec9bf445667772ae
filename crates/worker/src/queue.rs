//! Video for one receiver, in order: what came in this tick, behind what its budget had no room for. Handles, no payloads.
//!
//! What waits is bounded in time. Frames are dropped whole, and only those that would be of no use: those in front of a
//! newer keyframe, and, when it takes too long all the same, all behind which no keyframe waits. The frame of which a part has
//! left is completed. Explained in `docs/pacing.md`.

use std::time::Duration;

use rtc::SendIndex;

use crate::outbox::{Entry, KEPT_ENTRIES, MAX_ENTRIES};

/// Header, extensions and tag of a packet, roughly: what is added to what is stored.
const OVERHEAD: usize = 40;
/// A keyframe makes older frames of its stream useless; they are dropped when this much waits.
const SUPERSEDED: Duration = Duration::from_millis(100);
/// More than this does not wait, keyframes apart.
const MAX_WAIT: Duration = Duration::from_millis(600);
/// Keyframes that take longer than [`MAX_WAIT`] raise the bound to this at most: dropping what depends on them would only bring
/// the next one. A payload lives about a second in its ring at the publisher's full rate.
const MAX_WAIT_FOR_KEYFRAMES: Duration = Duration::from_secs(2);

/// A frame, to its receiver.
type Frame = (SendIndex, u32);

fn frame(entry: &Entry) -> Frame {
    (entry.section, entry.rewrite.timestamp)
}

/// What was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Dropped {
    pub(crate) frames: usize,
    pub(crate) packets: usize,
}

/// One receiver's video.
#[derive(Default)]
pub(crate) struct Queue {
    entries: Vec<Entry>,
    /// So many at the front have left.
    left: usize,
    /// Stored bytes of the others.
    bytes: usize,
    /// So many of the others were there before this tick.
    waited: usize,
    /// The frame of the packet that left last.
    leaving: Option<Frame>,
    /// A keyframe came since it was last looked for what it makes useless.
    keyframe: bool,
    /// Where the newest keyframe of each section begins that came since nothing waited.
    keyframes: Vec<(SendIndex, u64)>,
    /// Beyond [`MAX_WAIT`], what keyframes take that came while something waited.
    raised: Duration,
    /// A packet found no room.
    full: bool,
}

impl Queue {
    /// `false`: it is full.
    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) -> bool {
        let fits = self.len() < MAX_ENTRIES;
        self.full |= !fits;
        if fits {
            self.bytes += usize::from(entry.len);
            if entry.begins {
                self.note_keyframe(&entry);
            }
            self.entries.push(entry);
        }
        fits
    }

    #[cold]
    fn note_keyframe(&mut self, entry: &Entry) {
        self.keyframe = true;
        self.keyframes.retain(|(section, _)| *section != entry.section);
        self.keyframes.push((entry.section, entry.rewrite.sequence));
    }

    /// The number of the packet with which the newest keyframe of the section begins that waits or left while something waited.
    pub(crate) fn keyframe(&self, section: SendIndex) -> Option<u64> {
        self.keyframes.iter().find(|(of, _)| *of == section).map(|(_, sequence)| *sequence)
    }

    /// Something is here that came before this tick.
    pub(crate) fn waits(&self) -> bool {
        self.waited > 0
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.left == self.entries.len()
    }

    /// Packets.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.left
    }

    /// Their bytes, roughly.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.len() * OVERHEAD
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries[self.left..]
    }

    /// All have left, or are given up.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.entries.shrink_to(KEPT_ENTRIES);
        (self.left, self.bytes, self.waited) = (0, 0, 0);
        (self.keyframe, self.raised, self.full) = (false, Duration::ZERO, false);
        self.keyframes.clear();
        self.leaving = None;
    }

    /// The first `count` have left.
    pub(crate) fn advance(&mut self, count: usize) {
        let gone = &self.entries[self.left..self.left + count];
        self.bytes -= stored(gone);
        self.leaving = gone.last().map(frame).or(self.leaving);
        self.left += count;
        self.waited = self.waited.saturating_sub(count);
        if self.is_empty() {
            self.clear();
        } else if self.left > self.entries.len() / 2 {
            self.entries.drain(..self.left);
            self.left = 0;
        }
    }

    /// The tick is over. Returns how many have to wait from now on.
    pub(crate) fn settle(&mut self) -> usize {
        let (now, before) = (self.len(), self.waited);
        self.waited = now;
        now.saturating_sub(before)
    }

    /// The section is another stream from now on.
    pub(crate) fn forget(&mut self, section: SendIndex) {
        self.leaving = self.leaving.filter(|(of, _)| *of != section);
        self.keyframes.retain(|(of, _)| *of != section);
        self.retain(|_, entry| entry.section != section, |_| {});
    }

    /// A frame of the section is lost on the way out: it can go on with a keyframe alone. If none waits, the section goes into
    /// `interrupted`.
    #[cold]
    pub(crate) fn give_up(&mut self, section: SendIndex, interrupted: &mut Vec<SendIndex>) -> Dropped {
        self.leaving = self.leaving.filter(|(of, _)| *of != section);
        let begins = self.newest_keyframes().into_iter().find(|(_, of)| *of == section).map(|(at, _)| at);
        if begins.is_none() && !interrupted.contains(&section) {
            interrupted.push(section);
        }
        let stays = |at| begins.is_some_and(|begins| at >= begins);
        self.retain(|at, entry| entry.section != section || stays(at), |_| {})
    }

    /// Drops what takes too long, when so many bytes take so much `time`. Who loses a frame on which later ones may depend goes
    /// into `interrupted`: it can go on with a keyframe alone.
    pub(crate) fn trim(
        &mut self,
        time: impl Fn(usize) -> Duration,
        interrupted: &mut Vec<SendIndex>,
    ) -> Dropped {
        let mut dropped = Dropped::default();
        if time(self.bytes()) <= SUPERSEDED {
            return dropped;
        }
        if std::mem::take(&mut self.keyframe) {
            dropped = self.drop_superseded();
        }
        if self.full || time(self.bytes()) > MAX_WAIT + self.raised {
            let more = self.drop_overdue(time, interrupted);
            dropped.frames += more.frames;
            dropped.packets += more.packets;
        }
        dropped
    }

    #[cold]
    fn drop_superseded(&mut self) -> Dropped {
        let newest = self.newest_keyframes();
        let begins = |section| newest.binary_search_by_key(&section, |(_, of)| *of).map(|at| newest[at].0);
        let stays = |at, entry: &Entry| begins(entry.section).is_ok_and(|begins| at >= begins);
        let other = |entry: &Entry| begins(entry.section).is_err();
        self.retain(|at, entry| stays(at, entry) || other(entry), |_| {})
    }

    #[cold]
    fn drop_overdue(
        &mut self,
        time: impl Fn(usize) -> Duration,
        interrupted: &mut Vec<SendIndex>,
    ) -> Dropped {
        let newest = self.newest_keyframes();
        let keyframes: Vec<Frame> = newest.iter().map(|(at, _)| frame(&self.entries[*at])).collect();
        let of_keyframe = |entry: &Entry| keyframes.binary_search(&frame(entry)).is_ok();
        let (mut bytes, mut packets) = (0, 0);
        for entry in self.entries().iter().filter(|entry| of_keyframe(entry)) {
            bytes += usize::from(entry.len);
            packets += 1;
        }
        let most = MAX_WAIT_FOR_KEYFRAMES - MAX_WAIT;
        self.raised = self.raised.max(time(bytes + packets * OVERHEAD).min(most));
        if !std::mem::take(&mut self.full) && time(self.bytes()) <= MAX_WAIT + self.raised {
            return Dropped::default();
        }
        self.retain(
            |_, entry| of_keyframe(entry),
            |entry| {
                if !interrupted.contains(&entry.section) {
                    interrupted.push(entry.section);
                }
            },
        )
    }

    /// Where the newest keyframe of each section begins, if one waits, by section.
    fn newest_keyframes(&self) -> Vec<(usize, SendIndex)> {
        let begin = |(at, entry): (usize, &Entry)| entry.begins.then_some((at, entry.section));
        let waiting = self.entries.iter().enumerate().skip(self.left);
        let mut newest: Vec<_> = waiting.filter_map(begin).collect();
        newest.sort_unstable_by_key(|(at, section)| (*section, std::cmp::Reverse(*at)));
        newest.dedup_by_key(|(_, section)| *section);
        newest
    }

    /// Keeps what is to stay, by its place, and the rest of the frame that is leaving.
    fn retain(&mut self, stays: impl Fn(usize, &Entry) -> bool, mut drop: impl FnMut(&Entry)) -> Dropped {
        let (mut packets, mut frames, mut to) = (0, Vec::new(), self.left);
        let waited = self.left..self.left + self.waited;
        for at in self.left..self.entries.len() {
            let entry = self.entries[at];
            if self.leaving == Some(frame(&entry)) || stays(at, &entry) {
                self.entries[to] = entry;
                to += 1;
                continue;
            }
            self.bytes -= usize::from(entry.len);
            self.waited -= usize::from(waited.contains(&at));
            packets += 1;
            if frames.last() != Some(&frame(&entry)) {
                frames.push(frame(&entry));
            }
            drop(&entry);
        }
        self.entries.truncate(to);
        // Those of several streams lie between one another.
        frames.sort_unstable();
        frames.dedup();
        Dropped { frames: frames.len(), packets }
    }
}

fn stored(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| usize::from(entry.len)).sum()
}

#[cfg(test)]
mod tests {
    use base::ring::Slot;
    use base::{Codec, CodecKind, MediaKind, Mid};
    use wire::media::Rewrite;

    use super::*;
    use crate::slots::{RingsKey, Slots};

    const PACKET: usize = 1_000 - OVERHEAD;

    /// Two streams to one receiver.
    fn sections() -> [SendIndex; 2] {
        let codec = Codec {
            kind: CodecKind::Vp8,
            payload_type: 96,
            rtx: None,
            nack: false,
            pli: true,
            fir: false,
            transport_cc: false,
            remb: false,
            ccfb: false,
        };
        let mids = [b"1", b"2"].map(|text| Mid::new(text).expect("a mid"));
        let section = |(ssrc, mid)| rtc::SendSection {
            mid,
            media: MediaKind::Video,
            ssrc,
            rtx_ssrc: None,
            codecs: vec![codec],
            extensions: base::ExtensionMap::default(),
            cname: String::new(),
            strips_trailers: false,
        };
        let sections: Vec<_> = (1..).zip(mids).map(section).collect();
        let mut peer = crate::tests::world::peer();
        peer.set_sections(std::time::Instant::now(), &[], &sections);
        mids.map(|mid| peer.send_index(mid).expect("set"))
    }

    struct Bench {
        queue: Queue,
        sections: [SendIndex; 2],
        rings: RingsKey,
        sequence: u64,
        interrupted: Vec<SendIndex>,
    }

    impl Bench {
        fn new() -> Self {
            let (queue, sections) = (Queue::default(), sections());
            let rings = Slots::<RingsKey, ()>::default().insert(());
            Self { queue, sections, rings, sequence: 0, interrupted: Vec::new() }
        }

        fn push(&mut self, stream: usize, timestamp: u32, packets: usize, keyframe: bool) {
            for number in 0..packets {
                self.sequence += 1;
                self.queue.push(Entry {
                    section: self.sections[stream],
                    rings: self.rings,
                    slot: Slot::default(),
                    len: PACKET as u16,
                    begins: keyframe && number == 0,
                    rewrite: Rewrite::plain(self.sequence, timestamp, CodecKind::Vp8),
                });
            }
        }

        /// At 8 Mbit/s, a packet a millisecond.
        fn trim(&mut self) -> Dropped {
            self.queue.trim(|bytes| Duration::from_micros(bytes as u64), &mut self.interrupted)
        }

        fn timestamps(&self) -> Vec<u32> {
            let mut all: Vec<_> = self.queue.entries().iter().map(|e| e.rewrite.timestamp).collect();
            all.dedup();
            all
        }
    }

    #[test]
    fn what_leaves_and_what_waits_is_counted_once() {
        let mut bench = Bench::new();
        bench.push(0, 1, 10, true);
        bench.queue.advance(4);
        assert_eq!(bench.queue.settle(), 6, "these wait");
        assert_eq!((bench.queue.len(), bench.queue.bytes()), (6, 6_000));
        bench.queue.advance(3);
        bench.push(0, 2, 2, false);
        assert_eq!(bench.queue.settle(), 2, "those that came since");
        assert_eq!(bench.queue.entries()[0].rewrite.sequence, 8);
        bench.queue.advance(5);
        assert!(bench.queue.is_empty() && bench.queue.bytes() == 0);
    }

    #[test]
    fn a_keyframe_makes_older_frames_of_its_stream_useless_but_the_one_that_is_leaving() {
        let mut bench = Bench::new();
        bench.push(0, 1, 10, false);
        bench.queue.advance(2);
        bench.push(0, 2, 60, true);
        bench.push(1, 2, 30, false);
        assert_eq!(bench.trim(), Dropped::default());
        bench.push(0, 3, 60, false);
        bench.push(0, 4, 10, true);
        assert_eq!(bench.trim(), Dropped { frames: 2, packets: 120 });
        assert_eq!(bench.timestamps(), [1, 2, 4]);
        assert_eq!(bench.queue.len(), 8 + 30 + 10);
        assert_eq!(bench.interrupted, [], "each can go on");
    }

    #[test]
    fn where_a_keyframe_begins_is_known_as_soon_as_it_waits_until_nothing_does() {
        let mut bench = Bench::new();
        bench.push(0, 1, 5, false);
        bench.push(1, 1, 5, true);
        assert_eq!(bench.sections.map(|section| bench.queue.keyframe(section)), [None, Some(6)]);
        assert!(!bench.queue.waits());
        bench.queue.settle();
        bench.push(1, 2, 5, true);
        bench.queue.advance(8);
        assert!(bench.queue.waits());
        assert_eq!(bench.queue.keyframe(bench.sections[1]), Some(11));
        bench.queue.advance(7);
        assert_eq!(bench.queue.keyframe(bench.sections[1]), None);
    }

    #[test]
    fn what_takes_too_long_is_dropped_and_only_a_keyframe_helps() {
        let mut bench = Bench::new();
        (0..59).for_each(|number| bench.push(0, number, 10, false));
        bench.queue.advance(5);
        assert_eq!(bench.trim(), Dropped::default());
        bench.push(1, 7, 20, false);
        assert_eq!(bench.trim(), Dropped { frames: 59, packets: 600 });
        assert_eq!(bench.timestamps(), [0], "the frame that has begun to leave is completed");
        assert_eq!(bench.interrupted, bench.sections);
        assert_eq!(bench.queue.bytes(), 5_000);
    }

    #[test]
    fn a_keyframe_that_takes_long_is_not_dropped_and_what_depends_on_it_neither() {
        let mut bench = Bench::new();
        bench.push(0, 1, 1_000, true);
        assert_eq!(bench.trim(), Dropped::default());
        // It leaves at a packet per millisecond, and what follows comes at two thirds of that.
        for number in 0..100 {
            bench.queue.advance(10);
            bench.push(0, 2 + number, 7, false);
            assert_eq!(bench.trim(), Dropped::default(), "{number}");
        }
        assert_eq!(bench.interrupted, []);
        bench.queue.advance(bench.queue.len());
        bench.push(0, 200, 700, false);
        assert!(bench.trim().packets > 0, "the bound holds again");
    }

    #[test]
    fn keyframes_of_ever_more_streams_do_not_wait_without_end() {
        let mut bench = Bench::new();
        bench.push(0, 1, 1_500, true);
        bench.push(1, 1, 1_500, true);
        bench.push(1, 2, 100, false);
        assert_eq!(bench.trim(), Dropped { frames: 1, packets: 100 });
        assert_eq!(bench.interrupted, [bench.sections[1]]);
    }

    #[test]
    fn a_stream_that_lost_a_frame_goes_on_with_the_keyframe_that_waits_or_not_at_all() {
        let mut bench = Bench::new();
        bench.push(0, 1, 10, true);
        bench.push(1, 1, 5, false);
        bench.push(0, 2, 3, false);
        bench.queue.advance(4);
        let section = bench.sections[0];
        let given_up = |bench: &mut Bench| bench.queue.give_up(section, &mut bench.interrupted);
        bench.push(0, 3, 4, true);
        bench.push(0, 4, 4, false);
        assert_eq!(given_up(&mut bench), Dropped { frames: 2, packets: 9 });
        assert_eq!(bench.timestamps(), [1, 3, 4]);
        assert_eq!(bench.interrupted, []);
        bench.queue.advance(6);
        assert_eq!(given_up(&mut bench), Dropped { frames: 2, packets: 7 });
        assert_eq!(bench.interrupted, [section]);
        assert!(bench.queue.is_empty() && bench.queue.bytes() == 0);
    }

    #[test]
    fn frames_that_lie_between_one_another_are_counted_once_and_so_is_what_waits() {
        let mut bench = Bench::new();
        (0..300).for_each(|number| bench.push(number % 2, 1, 1, false));
        assert_eq!(bench.queue.settle(), 300);
        bench.push(0, 2, 100, true);
        assert_eq!(bench.trim(), Dropped { frames: 1, packets: 150 });
        assert_eq!(bench.queue.settle(), 100, "those that are new, though fewer wait than before");
        (0..500).for_each(|number| bench.push(number % 2, 3, 1, false));
        assert_eq!(bench.trim(), Dropped { frames: 3, packets: 650 });
    }

    #[test]
    fn a_stream_that_ends_leaves_nothing_behind_and_the_others_alone() {
        let mut bench = Bench::new();
        bench.push(0, 1, 5, true);
        bench.push(1, 1, 5, true);
        bench.queue.advance(2);
        bench.queue.forget(bench.sections[0]);
        assert_eq!(bench.queue.len(), 5);
        assert!(bench.queue.entries().iter().all(|entry| entry.section == bench.sections[1]));
    }

    #[test]
    fn a_full_queue_refuses_and_then_begins_anew() {
        let mut bench = Bench::new();
        (0..5_000).for_each(|number| bench.push(0, number, 1, false));
        assert_eq!(bench.queue.len(), MAX_ENTRIES);
        let dropped = bench.queue.trim(|_| Duration::from_millis(101), &mut bench.interrupted);
        assert_eq!(dropped.packets, MAX_ENTRIES);
        assert!(bench.queue.is_empty() && bench.interrupted.len() == 1);
    }
}
