//! Hop 5: what a tick has for one receiver is sealed back to back, so that it leaves as few messages.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use base::MediaKind;
use base::ring::Slot;
use rtc::SendIndex;
use wire::media::Rewrite;

use crate::metrics::Counts;
use crate::queue::Queue;
use crate::rooms::Room;
use crate::slots::RingsKey;
use crate::socket::Io;

/// Packets for one receiver. A tick reads at most some 2,000 datagrams, of which no receiver gets all; what waits beyond its
/// tick is bounded by time.
pub(crate) const MAX_ENTRIES: usize = 4_096;
/// An outbox that once was large gives its memory back down to this many packets: several frames.
pub(crate) const KEPT_ENTRIES: usize = 64;
/// How far sizes within a run may differ: what is added is at most 8 bytes of padding, 0.7 % of a full packet, against a
/// message saved.
const MAX_PADDING: usize = 8;

/// A packet that is to be sealed for one receiver: a handle, no bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) section: SendIndex,
    pub(crate) rings: RingsKey,
    pub(crate) slot: Slot,
    /// Length of what is stored in bytes: the payload, with the descriptor in front of it.
    pub(crate) len: u16,
    /// A receiver can begin with it: a keyframe starts.
    pub(crate) begins: bool,
    pub(crate) rewrite: Rewrite,
}

/// A payload was overwritten before it was sealed: its frame is incomplete at the receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overrun {
    pub(crate) section: SendIndex,
    timestamp: u32,
}

/// What one receiver is to get. Audio leaves in the tick in which it came; video too, unless its budget is used up.
#[derive(Default)]
pub(crate) struct Outbox {
    audio: Vec<Entry>,
    pub(crate) video: Queue,
}

impl Outbox {
    /// `false`: it is full.
    #[inline]
    pub(crate) fn push(&mut self, kind: MediaKind, entry: Entry) -> bool {
        match kind {
            MediaKind::Video => self.video.push(entry),
            MediaKind::Audio => {
                let fits = self.audio.len() < MAX_ENTRIES;
                if fits {
                    self.audio.push(entry);
                }
                fits
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.audio.len() + self.video.len()
    }

    pub(crate) fn clear(&mut self) {
        self.clear_audio();
        self.video.clear();
    }

    pub(crate) fn audio(&self) -> &[Entry] {
        &self.audio
    }

    pub(crate) fn clear_audio(&mut self) {
        self.audio.clear();
        self.audio.shrink_to(KEPT_ENTRIES);
    }
}

/// What sealing for one receiver needs.
pub(crate) struct Sealing<'a> {
    pub(crate) now: Instant,
    pub(crate) rtc: &'a mut rtc::Peer,
    pub(crate) room: &'a Room,
    pub(crate) io: &'a mut Io,
    pub(crate) destination: SocketAddr,
    pub(crate) source: Option<IpAddr>,
    pub(crate) counts: &'a mut Counts,
    /// Scratch.
    pub(crate) lengths: &'a mut Vec<usize>,
    pub(crate) overruns: &'a mut Vec<Overrun>,
}

impl Sealing<'_> {
    /// Seals one list, run by run; returns its bytes, without padding.
    pub(crate) fn seal(&mut self, entries: &[Entry]) -> usize {
        self.lengths.clear();
        let mut total = 0;
        for entry in entries {
            let len = self.rtc.packet_len(entry.section, &entry.rewrite, usize::from(entry.len));
            total += len;
            self.lengths.push(len);
        }
        let mut start = 0;
        while start < entries.len() {
            let (count, longest) = run(&self.lengths[start..]);
            self.io.flush_if_full();
            for (index, entry) in entries.iter().enumerate().skip(start).take(count) {
                let pad_to = (self.lengths[index] < longest).then_some(longest);
                self.seal_one(entry, pad_to);
            }
            start += count;
        }
        total
    }

    /// The payload goes from the ring straight into the batch and is encrypted there.
    #[inline]
    fn seal_one(&mut self, entry: &Entry, pad_to: Option<usize>) {
        let payload = self.room.rings.get(entry.rings).and_then(|rings| rings.get(entry.slot));
        let Some(payload) = payload.filter(|_| !self.is_broken(entry)) else {
            self.counts.dropped_overrun += 1;
            self.note_overrun(entry);
            return;
        };
        let out = self.io.buffer();
        if self.rtc.send(self.now, entry.section, &entry.rewrite, entry.slot, payload, pad_to, out).is_some()
        {
            self.io.commit(self.destination, self.source);
            self.counts.forwarded_out += 1;
        } else {
            self.io.rollback();
            self.counts.dropped_unsendable += 1;
        }
    }

    /// Something of this frame is lost already: the rest of it is of no use.
    #[inline]
    fn is_broken(&self, entry: &Entry) -> bool {
        // Nearly always empty.
        self.overruns
            .iter()
            .any(|overrun| overrun.section == entry.section && overrun.timestamp == entry.rewrite.timestamp)
    }

    fn note_overrun(&mut self, entry: &Entry) {
        if !self.is_broken(entry) {
            self.overruns.push(Overrun { section: entry.section, timestamp: entry.rewrite.timestamp });
        }
    }
}

/// The longest beginning of `lengths` that differs by no more than [`MAX_PADDING`]: how many, and the longest of them.
/// A shorter packet behind it still joins the same message, as its last segment.
fn run(lengths: &[usize]) -> (usize, usize) {
    let (mut shortest, mut longest) = (usize::MAX, 0);
    for (count, len) in lengths.iter().enumerate() {
        let (low, high) = (shortest.min(*len), longest.max(*len));
        if count > 0 && high - low > MAX_PADDING {
            return (count, longest);
        }
        (shortest, longest) = (low, high);
    }
    (lengths.len(), longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(lengths: &[usize]) -> Vec<(usize, usize)> {
        let (mut start, mut all) = (0, Vec::new());
        while start < lengths.len() {
            let found = run(&lengths[start..]);
            start += found.0;
            all.push(found);
        }
        all
    }

    #[test]
    fn sizes_that_differ_a_little_are_one_run_of_the_longest() {
        assert_eq!(runs(&[1_100, 1_101, 1_100, 1_108]), [(4, 1_108)]);
    }

    #[test]
    fn padding_never_exceeds_its_bound() {
        assert_eq!(runs(&[1_100, 1_108, 1_109, 1_100]), [(2, 1_108), (1, 1_109), (1, 1_100)]);
        assert_eq!(runs(&[1_100, 1_100, 700, 705, 1_100]), [(2, 1_100), (2, 705), (1, 1_100)]);
        assert_eq!(runs(&[5]), [(1, 5)]);
        assert_eq!(run(&[]), (0, 0));
    }

    #[test]
    fn an_entry_is_small() {
        // 200 receivers x a frame of ten packets should stay in the second-level cache beside the batch.
        assert!(size_of::<Entry>() <= 88, "{}", size_of::<Entry>());
    }
}
