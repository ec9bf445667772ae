//! Outgoing RTP: the send sections, sealed packets, retransmissions.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Instant;

use base::Mid;
use base::ring::Slot;
use wire::media::Rewrite;

use super::Resend;
use super::estimate::Path;
use super::receive::earlier;
use crate::streams::{Clock, SendStream, Stamp, Written};
use crate::{Counters, SendIndex, SendSection, WallClock, srtp};

/// Send sections of one peer: more subscriptions than one connection can carry.
const MAX_SECTIONS: usize = 1_024;
/// Lengths that a packet of padding can have, whatever its extensions and its authentication tag are.
const PADDING_LENGTHS: RangeInclusive<usize> = 64..=280;

/// One send section.
pub(super) struct Outgoing {
    pub(super) section: SendSection,
    pub(super) stream: SendStream,
    /// SRTP state of the primary and of the RTX stream, once keys are known.
    primary: Option<srtp::StreamHandle>,
    rtx: Option<srtp::StreamHandle>,
    /// Number of the last full intra request, to tell a repeated one.
    pub(super) last_fir: Option<u8>,
}

struct Place {
    generation: u16,
    /// Of the section in it; kept here so that a search does not walk through all of them.
    ssrc: u32,
    outgoing: Option<Box<Outgoing>>,
}

/// All send sections of a peer.
pub(super) struct Send {
    places: Vec<Place>,
    pub(super) path: Path,
    /// Places whose streams have packets to send again.
    resends: VecDeque<u16>,
    /// Not later than the first moment at which a stream has a sender report to send.
    pub(super) next_report: Option<Instant>,
    random: u64,
}

impl Send {
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        Self {
            places: Vec::new(),
            path: Path::new(now),
            resends: VecDeque::new(),
            next_report: None,
            random: seed,
        }
    }

    /// Takes over the wanted sections. State of those with the same mid and SSRC is kept.
    pub(super) fn set_sections(
        &mut self,
        now: Instant,
        sections: &[SendSection],
        mut keys: Option<&mut srtp::Sender>,
    ) {
        for place in &mut self.places {
            let stays =
                |o: &Outgoing| sections.iter().any(|s| s.mid == o.section.mid && s.ssrc == o.section.ssrc);
            if place.outgoing.as_deref().is_some_and(|outgoing| !stays(outgoing)) {
                place.outgoing = None;
                place.generation = place.generation.wrapping_add(1);
            }
        }
        for section in sections {
            match self.index(section.mid).and_then(|index| self.get_mut(index)) {
                Some(outgoing) => {
                    outgoing.stream.update(section);
                    outgoing.section = section.clone();
                    if let Some(keys) = keys.as_deref_mut() {
                        outgoing.take_keys(keys);
                    }
                }
                None => self.add(now, section, keys.as_deref_mut()),
            }
        }
    }

    fn add(&mut self, now: Instant, section: &SendSection, keys: Option<&mut srtp::Sender>) {
        let rtx_start = self.random() as u16;
        let mut outgoing = Box::new(Outgoing {
            section: section.clone(),
            stream: SendStream::new(now, section, rtx_start),
            primary: None,
            rtx: None,
            last_fir: None,
        });
        if let Some(keys) = keys {
            outgoing.take_keys(keys);
        }
        if let Some(place) = self.places.iter_mut().find(|place| place.outgoing.is_none()) {
            place.ssrc = section.ssrc;
            place.outgoing = Some(outgoing);
        } else if self.places.len() < MAX_SECTIONS {
            self.places.push(Place { generation: 0, ssrc: section.ssrc, outgoing: Some(outgoing) });
        }
    }

    /// Keys are known: every stream gets its SRTP state.
    pub(super) fn set_keys(&mut self, keys: &mut srtp::Sender) {
        self.all_mut().for_each(|outgoing| outgoing.take_keys(keys));
    }

    /// The next of a sequence of numbers that the seed decides (splitmix64).
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn index(&self, mid: Mid) -> Option<SendIndex> {
        let of_mid = |place: &Place| place.outgoing.as_ref().is_some_and(|o| o.section.mid == mid);
        let slot = self.places.iter().position(of_mid)?;
        Some(SendIndex { slot: slot as u16, generation: self.places[slot].generation })
    }

    #[inline]
    pub(super) fn get(&self, index: SendIndex) -> Option<&Outgoing> {
        let place = self.places.get(usize::from(index.slot))?;
        place.outgoing.as_deref().filter(|_| place.generation == index.generation)
    }

    #[inline]
    fn get_mut(&mut self, index: SendIndex) -> Option<&mut Outgoing> {
        let place = self.places.get_mut(usize::from(index.slot))?;
        place.outgoing.as_deref_mut().filter(|_| place.generation == index.generation)
    }

    fn place_of(&self, ssrc: u32) -> Option<usize> {
        self.places.iter().position(|place| place.ssrc == ssrc && place.outgoing.is_some())
    }

    /// The section with this primary SSRC.
    pub(super) fn by_ssrc(&mut self, ssrc: u32) -> Option<&mut Outgoing> {
        let place = self.place_of(ssrc)?;
        self.places.get_mut(place)?.outgoing.as_deref_mut()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Outgoing> {
        self.places.iter().filter_map(|place| place.outgoing.as_deref())
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Outgoing> {
        self.places.iter_mut().filter_map(|place| place.outgoing.as_deref_mut())
    }

    pub(super) fn set_clock(&mut self, index: SendIndex, clock: Clock) {
        if let Some(outgoing) = self.get_mut(index) {
            outgoing.stream.set_clock(clock);
            let due = outgoing.stream.poll_timeout();
            self.next_report = earlier(self.next_report, due);
        }
    }

    /// Appends one sealed packet.
    pub(super) fn send(
        &mut self,
        now: Instant,
        clock: &WallClock,
        keys: &mut srtp::Sender,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
        counters: &mut Counters,
    ) -> Option<usize> {
        let overhead = keys.profile().rtp_overhead();
        let place = self.places.get_mut(usize::from(packet.index.slot))?;
        let outgoing =
            place.outgoing.as_deref_mut().filter(|_| place.generation == packet.index.generation)?;
        let handle = outgoing.primary?;
        let size = overhead + outgoing.stream.packet_len(packet.rewrite, packet.stored.len());
        let stamp = stamp(&outgoing.stream, &mut self.path, now, clock, size);
        let start = out.len();
        let pad_to = packet.pad_to.and_then(|total| total.checked_sub(overhead));
        let Packet { rewrite, slot, stored, .. } = *packet;
        let reported = outgoing.stream.is_reported();
        let written = outgoing.stream.write(now, rewrite, slot, stored, &stamp, pad_to, out)?;
        self.path.sent_as(&written);
        if reported {
            self.next_report = earlier(self.next_report, outgoing.stream.poll_timeout());
            self.path.moved = true;
        }
        seal(keys, handle, &written, start, out, counters)
    }

    /// The receiver misses these packets of this SSRC.
    pub(super) fn nacked(
        &mut self,
        now: Instant,
        ssrc: u32,
        sequences: impl Iterator<Item = u16>,
        counters: &mut Counters,
    ) {
        let Some(slot) = self.place_of(ssrc) else { return };
        let Some(outgoing) = &mut self.places[slot].outgoing else { return };
        let mut queued = false;
        for sequence in sequences {
            counters.nacks_received += 1;
            if outgoing.stream.nack(now, sequence) {
                queued = true;
            } else {
                counters.rtx_refused += 1;
            }
        }
        if queued && !self.resends.contains(&(slot as u16)) {
            self.resends.push_back(slot as u16);
        }
    }

    pub(super) fn has_resends(&self) -> bool {
        !self.resends.is_empty()
    }

    pub(super) fn poll_resend(&mut self, now: Instant) -> Option<Resend> {
        while let Some(slot) = self.resends.front().copied() {
            let place = &mut self.places[usize::from(slot)];
            let next = place.outgoing.as_mut().and_then(|outgoing| outgoing.stream.poll_resend(now));
            if let Some(resend) = next {
                let index = SendIndex { slot, generation: place.generation };
                return Some(Resend { index, slot: resend.slot, rewrite: resend.rewrite });
            }
            self.resends.pop_front();
        }
        None
    }

    /// Appends one sealed RTX packet.
    #[expect(clippy::too_many_arguments, reason = "the data path passes plain values")]
    pub(super) fn send_rtx(
        &mut self,
        now: Instant,
        clock: &WallClock,
        keys: &mut srtp::Sender,
        resend: &Resend,
        stored: &[u8],
        out: &mut Vec<u8>,
        counters: &mut Counters,
    ) -> Option<usize> {
        let overhead = keys.profile().rtp_overhead();
        let place = self.places.get_mut(usize::from(resend.index.slot))?;
        let outgoing =
            place.outgoing.as_deref_mut().filter(|_| place.generation == resend.index.generation)?;
        let handle = outgoing.rtx?;
        let what = crate::streams::Resend { slot: resend.slot, rewrite: resend.rewrite };
        if !outgoing.stream.can_resend(&what) {
            counters.rtx_refused += 1;
            return None;
        }
        // From here on the packet is sent: what has a transport-wide number and is not counts as lost with its receiver.
        let size = overhead + outgoing.stream.packet_len(&resend.rewrite, stored.len());
        let stamp = stamp(&outgoing.stream, &mut self.path, now, clock, size);
        let start = out.len();
        let Some(written) = outgoing.stream.write_rtx(&what, stored, &stamp, None, out) else {
            counters.rtx_refused += 1;
            return None;
        };
        self.path.sent_as(&written);
        let len = seal(keys, handle, &written, start, out, counters)?;
        counters.rtx_sent += 1;
        Some(len)
    }

    /// The section whose RTX stream carries padding: one that is in use, if any is.
    fn padded(&self) -> Option<usize> {
        let by_stream = self.path.by_stream.is_some();
        let can = |place: &&Place| {
            let heard_of = |o: &Outgoing| by_stream || o.stream.wants_transport_sequence();
            let pads = |o: &Outgoing| o.rtx.is_some() && o.stream.can_pad() && heard_of(o);
            place.outgoing.as_deref().is_some_and(pads)
        };
        let used = |place: &Place| place.outgoing.as_deref().is_some_and(|o| o.stream.sent_packets() > 0);
        let in_use = self.places.iter().position(|place| can(&place) && used(place));
        in_use.or_else(|| self.places.iter().position(|place| can(&place)))
    }

    pub(super) fn can_pad(&self) -> bool {
        self.padded().is_some()
    }

    /// Appends one sealed packet of padding.
    pub(super) fn send_padding(
        &mut self,
        now: Instant,
        clock: &WallClock,
        keys: &mut srtp::Sender,
        len: usize,
        out: &mut Vec<u8>,
        counters: &mut Counters,
    ) -> Option<usize> {
        let place = self.padded()?;
        let overhead = keys.profile().rtp_overhead();
        let len = len.clamp(*PADDING_LENGTHS.start(), *PADDING_LENGTHS.end());
        let outgoing = self.places.get_mut(place)?.outgoing.as_deref_mut()?;
        let handle = outgoing.rtx?;
        let stamp = stamp(&outgoing.stream, &mut self.path, now, clock, len);
        let start = out.len();
        let written = outgoing.stream.write_padding(len.saturating_sub(overhead), &stamp, out)?;
        self.path.sent_as(&written);
        seal(keys, handle, &written, start, out, counters)
    }
}

/// What [`Send::send`] is given.
#[derive(Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) index: SendIndex,
    pub(super) rewrite: &'a Rewrite,
    pub(super) slot: Slot,
    pub(super) stored: &'a [u8],
    pub(super) pad_to: Option<usize>,
}

impl Outgoing {
    fn take_keys(&mut self, keys: &mut srtp::Sender) {
        self.primary = keys.stream(self.section.ssrc);
        self.rtx = self.section.rtx_ssrc.and_then(|ssrc| keys.stream(ssrc));
        // A section that was taken away and comes back has its old SSRCs, of which no index may be sealed twice.
        if let Some(next) = self.rtx.and_then(|handle| keys.next_sequence(handle)) {
            self.stream.continue_rtx(next);
        }
    }
}

#[inline]
fn stamp(stream: &SendStream, path: &mut Path, now: Instant, clock: &WallClock, size: usize) -> Stamp {
    Stamp {
        transport_sequence: path.on_sent(now, size, stream.wants_transport_sequence()),
        abs_send_time: stream.wants_abs_send_time().then(|| path.send_time(now, clock)),
    }
}

#[inline]
fn seal(
    keys: &mut srtp::Sender,
    handle: srtp::StreamHandle,
    written: &Written,
    start: usize,
    out: &mut Vec<u8>,
    counters: &mut Counters,
) -> Option<usize> {
    if keys.seal_rtp(handle, written.sequence, out, start, written.header_len).is_err() {
        out.truncate(start);
        counters.srtp_seal_refused += 1;
        return None;
    }
    counters.rtp_sent += 1;
    Some(out.len() - start)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::{Codec, CodecKind, Extension, ExtensionMap, MediaKind, NtpTime};

    use super::*;
    use crate::srtp::{MasterKey, Profile, Sender};

    struct Bench {
        now: Instant,
        clock: WallClock,
        send: Send,
        keys: Sender,
        counters: Counters,
    }

    fn section(rtx_ssrc: Option<u32>) -> SendSection {
        let mut extensions = ExtensionMap::default();
        extensions.set(Extension::TransportSequence, 3);
        let codec = Codec {
            kind: CodecKind::Vp9,
            payload_type: 96,
            rtx: Some(97),
            nack: true,
            pli: true,
            fir: false,
            transport_cc: true,
            remb: false,
            ccfb: false,
        };
        let (mid, cname) = (Mid::new(b"v").expect("a mid"), "c".to_owned());
        SendSection {
            mid,
            media: MediaKind::Video,
            ssrc: 10,
            rtx_ssrc,
            codecs: vec![codec],
            extensions,
            cname,
            strips_trailers: false,
        }
    }

    impl Bench {
        fn new(seed: u64, rtx_ssrc: Option<u32>) -> Self {
            let now = Instant::now();
            let key =
                MasterKey::new(Profile::AeadAes128Gcm, &[1; 16], &[2; 12]).expect("the profile's lengths");
            let clock = WallClock { at: now, ntp: NtpTime(0) };
            let (send, counters) = (Send::new(now, seed), Counters::default());
            let mut bench = Self { now, clock, send, keys: Sender::new(&key), counters };
            bench.set_sections(&[section(rtx_ssrc)]);
            bench
        }

        fn set_sections(&mut self, sections: &[SendSection]) {
            self.send.set_sections(self.now, sections, Some(&mut self.keys));
        }

        fn send(&mut self, sequence: u64, len: usize) {
            let rewrite = Rewrite::plain(sequence, 0, CodecKind::Vp9);
            let index = self.send.index(Mid::new(b"v").expect("a mid")).expect("there");
            let stored = vec![7; len];
            let packet =
                Packet { index, rewrite: &rewrite, slot: Slot::default(), stored: &stored, pad_to: None };
            let (now, counters, mut out) = (self.now, &mut self.counters, Vec::new());
            let sent = self.send.send(now, &self.clock, &mut self.keys, &packet, &mut out, counters);
            assert!(sent.is_some());
        }

        /// The receiver misses it: is it sent again?
        fn resend(&mut self, sequence: u64, len: usize) -> bool {
            self.now += Duration::from_millis(1);
            let missed = std::iter::once(sequence as u16);
            self.send.nacked(self.now, 10, missed, &mut self.counters);
            let Some(resend) = self.send.poll_resend(self.now) else { return false };
            let (now, stored, mut out) = (self.now, vec![7; len], Vec::new());
            let (clock, counters) = (&self.clock, &mut self.counters);
            self.send.send_rtx(now, clock, &mut self.keys, &resend, &stored, &mut out, counters).is_some()
        }
    }

    #[test]
    fn a_section_that_comes_back_with_its_ssrcs_has_retransmissions_again() {
        for seed in 0..8 {
            let mut bench = Bench::new(seed, Some(11));
            for sequence in 100..106 {
                bench.send(sequence, 500);
                assert!(bench.resend(sequence, 500), "seed {seed}, {sequence}");
                bench.set_sections(&[]);
                bench.set_sections(&[section(Some(11))]);
            }
            assert_eq!(bench.counters.srtp_seal_refused, 0);
        }
    }

    #[test]
    fn a_section_that_negotiates_retransmission_later_has_it() {
        let mut bench = Bench::new(1, None);
        bench.send(100, 500);
        assert!(!bench.resend(100, 500));
        bench.set_sections(&[section(Some(11))]);
        bench.send(101, 500);
        assert!(bench.resend(101, 500));
    }

    #[test]
    fn a_retransmission_over_budget_is_not_registered_as_sent() {
        let mut bench = Bench::new(1, Some(11));
        (100..200).for_each(|sequence| bench.send(sequence, 1_000));
        let missed = 100..200;
        bench.send.nacked(bench.now, 10, missed.map(|sequence| sequence as u16), &mut bench.counters);
        let (mut refused, stored) = (0, vec![7; 1_000]);
        while let Some(resend) = bench.send.poll_resend(bench.now) {
            let before = bench.send.path.history.in_flight();
            let (clock, counters, mut out) = (&bench.clock, &mut bench.counters, Vec::new());
            let keys = &mut bench.keys;
            let sent = bench.send.send_rtx(bench.now, clock, keys, &resend, &stored, &mut out, counters);
            refused += u32::from(sent.is_none());
            assert_eq!(bench.send.path.history.in_flight() > before, sent.is_some());
        }
        assert!(refused > 10, "{refused}");
    }

    #[test]
    fn padding_and_retransmissions_share_the_numbers_of_their_stream_and_use_none_twice() {
        let mut bench = Bench::new(3, Some(11));
        for sequence in 100..110 {
            bench.send(sequence, 500);
            for len in [0, 100, 290, 5_000] {
                let (clock, counters, mut out) = (&bench.clock, &mut bench.counters, vec![9; 3]);
                let sent =
                    bench.send.send_padding(bench.now, clock, &mut bench.keys, len, &mut out, counters);
                assert_eq!(sent, Some(len.clamp(64, 280)));
                assert_eq!(out.len(), len.clamp(64, 280) + 3);
            }
            assert!(bench.resend(sequence, 500));
            bench.set_sections(&[]);
            bench.set_sections(&[section(Some(11))]);
        }
        assert_eq!(bench.counters.srtp_seal_refused, 0);
        assert!(!Bench::new(3, None).send.can_pad(), "no RTX stream");
    }
}
