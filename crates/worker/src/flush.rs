//! Hop 5 for one peer: control datagrams, then its media, all into the batch.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use base::MediaKind;
use rtc::SendIndex;

use crate::demux::Refusals;
use crate::metrics::Counts;
use crate::outbox::{Entry, Outbox, Overrun, Sealing};
use crate::pacer::{Pacer, Resending};
use crate::peers::Peer;
use crate::queue::Queue;
use crate::rooms::Room;
use crate::socket::Io;

/// Control datagrams of one peer in one tick. A full SCTP window is some 100 datagrams; what is left goes next tick.
const MAX_CONTROL: usize = 256;
/// Retransmissions to one peer in one tick; what is left goes next tick.
const MAX_RESENDS: usize = 256;
/// Packets of padding to one peer in one tick; a probe goes on at its next step.
const MAX_PADDING_PACKETS: usize = 256;

/// What all peers share: buffers that are reused from one to the next, and a budget.
#[derive(Default)]
pub(crate) struct Scratch {
    refusals: Refusals,
    datagram: Vec<u8>,
    lengths: Vec<usize>,
    pub(crate) overruns: Vec<Overrun>,
    /// Sections of which frames were dropped that later ones need.
    pub(crate) interrupted: Vec<SendIndex>,
    /// Sections of which a packet was lost that is not sent again.
    pub(crate) unrepaired: Vec<SendIndex>,
}

/// Empties the peer into the batch, as far as its budget goes; unless it is `stirred`, of media alone, and of sound alone while
/// it awaits its turn. `true`: something is left for the next tick.
pub(crate) fn flush(
    now: Instant,
    peer: &mut Peer,
    stirred: bool,
    room: Option<&Room>,
    io: &mut Io,
    counts: &mut Counts,
    scratch: &mut Scratch,
) -> bool {
    let mut left = false;
    if stirred {
        counts.dropped_data_out += peer.waiting.retry(now, &mut peer.rtc);
        left = transmit_control(now, peer, io, counts, scratch);
    }
    let destination = peer.rtc.destination().filter(|_| peer.rtc.can_send());
    let (Some(destination), Some(room)) = (destination, room) else {
        counts.dropped_unsendable += peer.outbox.len() as u64;
        peer.outbox.clear();
        return left;
    };
    let source = peer.path_to(destination);
    let mut outbox = std::mem::take(&mut peer.outbox);
    let mut flush = Flush { now, peer, room, io, counts, scratch, destination, source };
    let left = flush.send(&mut outbox) || left;
    peer.outbox = outbox;
    left
}

/// The media of one peer in one tick. In this order: audio, which never waits; retransmissions, whose receiver waits for them
/// longest; video; padding.
struct Flush<'a> {
    now: Instant,
    peer: &'a mut Peer,
    room: &'a Room,
    io: &'a mut Io,
    counts: &'a mut Counts,
    scratch: &'a mut Scratch,
    destination: SocketAddr,
    source: Option<IpAddr>,
}

impl Flush<'_> {
    fn send(&mut self, outbox: &mut Outbox) -> bool {
        if !outbox.audio().is_empty() {
            let bytes = self.seal(outbox.audio());
            if let Some(pacer) = &mut self.peer.pacer {
                pacer.on_sent(self.now, bytes);
            }
            outbox.clear_audio();
        }
        if self.peer.awaits_turn {
            return false;
        }
        let left = self.peer.rtc.has_resends() && self.resend(&outbox.video);
        if !outbox.video.is_empty() {
            self.send_video(&mut outbox.video);
        }
        if self.peer.pacer.is_some() {
            self.probe(&mut outbox.video);
            self.settle(&mut outbox.video);
        }
        left
    }

    /// Seals the entries; returns their bytes.
    fn seal(&mut self, entries: &[Entry]) -> usize {
        let Scratch { lengths, overruns, .. } = self.scratch;
        let mut sealing = Sealing {
            now: self.now,
            rtc: &mut self.peer.rtc,
            room: self.room,
            io: self.io,
            destination: self.destination,
            source: self.source,
            counts: self.counts,
            lengths,
            overruns,
        };
        let bytes = sealing.seal(entries);
        note_sequences(self.peer, entries);
        bytes
    }

    fn send_video(&mut self, queue: &mut Queue) {
        let fits = |pacer: &Pacer| pacer.fits(self.now, queue.bytes());
        if !self.peer.pacer.as_ref().is_none_or(fits) {
            return self.pace(queue);
        }
        let bytes = self.seal(queue.entries());
        if let Some(pacer) = &mut self.peer.pacer {
            pacer.on_sent(self.now, bytes);
        }
        queue.clear();
    }

    /// Not everything leaves now.
    #[cold]
    fn pace(&mut self, queue: &mut Queue) {
        let Some(pacer) = &mut self.peer.pacer else { return };
        pacer.review(self.now);
        let dropped = queue.trim(|bytes| pacer.time(bytes), &mut self.scratch.interrupted);
        self.counts.paced_frames_dropped += dropped.frames as u64;
        self.counts.dropped_paced += dropped.packets as u64;
        if !pacer.is_open(self.now) {
            return;
        }
        let mut count = 0;
        for entry in queue.entries() {
            if !pacer.has_room(self.now) {
                break;
            }
            pacer.on_sent(self.now, packet_len(&self.peer.rtc, entry));
            count += 1;
        }
        self.leave(queue, count);
    }

    fn leave(&mut self, queue: &mut Queue, count: usize) {
        let before = self.scratch.overruns.len();
        self.seal(&queue.entries()[..count]);
        queue.advance(count);
        let Scratch { overruns, interrupted, .. } = self.scratch;
        for overrun in &overruns[before..] {
            // What follows is of no use either, and must not take up the budget.
            let dropped = queue.give_up(overrun.section, interrupted);
            self.counts.paced_frames_dropped += dropped.frames as u64;
            self.counts.dropped_paced += dropped.packets as u64;
        }
    }

    /// `true`: more than a tick may have.
    fn resend(&mut self, queue: &Queue) -> bool {
        for _ in 0..MAX_RESENDS {
            let pacer = self.peer.pacer.as_ref();
            let resending = pacer.map_or(Resending::Now, |pacer| pacer.resending(self.now, queue.waits()));
            if resending == Resending::Later {
                return false;
            }
            let Some(resend) = self.peer.rtc.poll_resend(self.now) else { return false };
            if self.is_superseded(&resend, queue) {
                self.counts.dropped_resends += 1;
                continue;
            }
            if resending == Resending::Never {
                self.counts.dropped_resends += 1;
                self.note_unrepaired(resend.index);
                continue;
            }
            let bytes = self.resend_one(&resend);
            if let Some(pacer) = &mut self.peer.pacer {
                pacer.on_resent(self.now, bytes);
            }
        }
        true
    }

    fn resend_one(&mut self, resend: &rtc::Resend) -> usize {
        let Some(subscribed) = self.peer.subscribed(resend.index) else { return 0 };
        let rings = self.room.track_rings(subscribed.track);
        let Some(payload) = rings.and_then(|rings| rings.get(resend.slot)) else {
            self.counts.dropped_overrun += 1;
            self.note_unrepaired(resend.index);
            return 0;
        };
        self.io.flush_if_full();
        let sent = self.peer.rtc.send_rtx(self.now, resend, payload, self.io.buffer());
        if sent.is_some() {
            self.io.commit(self.destination, self.source);
            self.counts.resent += 1;
        } else {
            self.io.rollback();
            self.counts.dropped_unsendable += 1;
        }
        sent.unwrap_or(0)
    }

    /// A keyframe has left since, or waits: its receiver goes on with that, and a thin line has no room for what is not shown.
    fn is_superseded(&self, resend: &rtc::Resend, queue: &Queue) -> bool {
        let narrow = self.peer.pacer.as_ref().is_some_and(Pacer::is_narrow);
        let left = || self.peer.subscribed(resend.index).map(|subscribed| subscribed.keyframe);
        let keyframe = || queue.keyframe(resend.index).max(left());
        narrow && keyframe().is_some_and(|keyframe| resend.rewrite.sequence < keyframe)
    }

    /// Browsers wait for a packet that they miss for up to 3 s before they ask for a keyframe.
    fn note_unrepaired(&mut self, section: SendIndex) {
        if !self.scratch.unrepaired.contains(&section) {
            self.scratch.unrepaired.push(section);
        }
    }

    /// What a probe needs to keep its rate: video that waits, else padding.
    fn probe(&mut self, queue: &mut Queue) {
        for _ in 0..MAX_PADDING_PACKETS {
            let Some(probe) = self.peer.rtc.poll_probe(self.now) else { return };
            let Some(pacer) = &mut self.peer.pacer else { return };
            self.counts.probes += u64::from(pacer.is_new_probe(probe.cluster));
            if queue.is_empty() {
                if !self.pad(probe.bytes) {
                    return;
                }
                continue;
            }
            let (mut count, mut bytes) = (0, 0);
            for entry in queue.entries() {
                if bytes >= probe.bytes {
                    break;
                }
                bytes += packet_len(&self.peer.rtc, entry);
                count += 1;
            }
            pacer.on_sent(self.now, bytes);
            self.leave(queue, count);
        }
    }

    /// Padding does not count: media that comes while a probe lasts takes its place and must not wait for it.
    fn pad(&mut self, bytes: usize) -> bool {
        self.io.flush_if_full();
        let sent = self.peer.rtc.send_padding(self.now, bytes, self.io.buffer());
        match sent {
            Some(len) => {
                self.io.commit(self.destination, self.source);
                self.counts.padding_bytes += len as u64;
            }
            None => self.io.rollback(),
        }
        sent.is_some()
    }

    fn settle(&mut self, queue: &mut Queue) {
        let waiting = !queue.is_empty();
        if waiting {
            self.counts.paced_delayed += queue.settle() as u64;
        }
        if let Some(pacer) = &mut self.peer.pacer {
            pacer.settle(waiting || self.peer.rtc.has_resends());
        }
    }
}

fn packet_len(rtc: &rtc::Peer, entry: &Entry) -> usize {
    rtc.packet_len(entry.section, &entry.rewrite, usize::from(entry.len))
}

fn transmit_control(
    now: Instant,
    peer: &mut Peer,
    io: &mut Io,
    counts: &mut Counts,
    scratch: &mut Scratch,
) -> bool {
    for _ in 0..MAX_CONTROL {
        let Some(destination) = peer.rtc.poll_transmit(now, &mut scratch.datagram) else { return false };
        if !scratch.refusals.admit(now, &scratch.datagram) {
            counts.dropped_refusals += 1;
            continue;
        }
        io.flush_if_full();
        io.push(destination, peer.path_to(destination), &scratch.datagram);
    }
    true
}

fn note_sequences(peer: &mut Peer, entries: &[Entry]) {
    for entries in entries.chunk_by(|a, b| a.section == b.section) {
        let highest = entries.iter().map(|Entry { rewrite, .. }| rewrite.sequence).max();
        let video = |entry: &Entry| entry.rewrite.codec.media() == MediaKind::Video;
        let keyframe = entries.iter().rfind(|entry| entry.begins && video(entry));
        let keyframe = keyframe.map(|entry| entry.rewrite.sequence);
        if let (Some(first), Some(highest)) = (entries.first(), highest) {
            peer.note_sequence(first.section, highest + 1, keyframe);
        }
    }
}
