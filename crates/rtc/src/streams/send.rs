//! A sent RTP stream with its RTX stream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base::ring::Slot;
use base::{CodecKind, Extension, ExtensionMap, MediaKind, Mid};
use wire::ext;
use wire::media::Rewrite;
use wire::rtcp::{ReportBlock, SenderInfo};
use wire::trailer;

use super::front::Front;
use super::history::History;
use super::packet::{self, Stamp, Target, Written};
use super::padding;
use super::report::{Clock, Reception, Reports};
use crate::moment::AtMoment;
use crate::section::SendSection;

/// Packets of a video stream (or of an audio stream with NACK) that can be sent again, at most: 0.7 s of 13 Mbit/s.
const HISTORY: usize = 1_024;
/// Retransmissions that wait to be sent.
const MAX_PENDING: usize = 256;
/// A packet is sent again this often at most.
const MAX_RESENDS: u8 = 8;
/// Least time between two retransmissions of a packet, and what stands in for an unknown round trip.
const MIN_SPACING: Duration = Duration::from_millis(10);
const DEFAULT_SPACING: Duration = Duration::from_millis(50);
/// Retransmitted bytes: one for each four sent, and what a stream may take in advance (a keyframe lost at the start).
const RESEND_SHARE: i64 = 4;
const RESEND_CREDIT: i64 = 48_000;
const NO_PAYLOAD_TYPE: u8 = 0xFF;

/// One send section's stream. `now` goes into every call; the packets come out in the caller's buffer.
pub struct SendStream {
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    mid: Mid,
    extensions: ExtensionMap,
    types: PayloadTypes,
    clock_rate: u32,
    media: MediaKind,
    strips_trailers: bool,
    /// Header and extension of most packets; `None`: each is laid out by itself.
    front: Option<Front>,
    epoch: Instant,
    /// Milliseconds since the epoch.
    millis: AtMoment<u32>,
    history: History,
    pending: VecDeque<u16>,
    /// Bytes that may be retransmitted now; negative right after a large packet.
    credit: i64,
    rtx_sequence: u64,
    /// Of the packet sent last.
    timestamp: u32,
    reports: Reports,
    sent: Counts,
    resent: Counts,
    /// Packets sent at the time of the last sender report.
    reported_packets: u64,
    first_sent: Option<Instant>,
}

/// Packets and payload bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts {
    packets: u64,
    octets: u64,
}

/// Payload types by codec.
struct PayloadTypes {
    primary: [u8; 8],
    rtx: [u8; 8],
    nack: bool,
}

impl PayloadTypes {
    fn of(section: &SendSection) -> Self {
        let mut types = Self { primary: [NO_PAYLOAD_TYPE; 8], rtx: [NO_PAYLOAD_TYPE; 8], nack: false };
        // The first of several (H.264 profiles) is the one that was preferred.
        for codec in section.codecs.iter().rev() {
            types.primary[codec.kind as usize] = codec.payload_type;
            types.rtx[codec.kind as usize] = codec.rtx.unwrap_or(NO_PAYLOAD_TYPE);
            types.nack |= codec.nack && codec.rtx.is_some();
        }
        types
    }

    fn primary(&self, codec: CodecKind) -> Option<u8> {
        Some(self.primary[codec as usize]).filter(|pt| *pt != NO_PAYLOAD_TYPE)
    }

    /// What the blocks of redundant audio are: Opus.
    fn blocks(&self, codec: CodecKind) -> Option<u8> {
        if codec == CodecKind::Red { self.primary(CodecKind::Opus) } else { None }
    }

    fn any_rtx(&self) -> Option<u8> {
        self.rtx.into_iter().find(|pt| *pt != NO_PAYLOAD_TYPE)
    }

    fn rtx(&self, codec: CodecKind) -> Option<u8> {
        Some(self.rtx[codec as usize]).filter(|pt| *pt != NO_PAYLOAD_TYPE)
    }
}

/// A packet to be sent again: fetch what is stored in `slot` and hand both to [`SendStream::write_rtx`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Resend {
    /// Where its payload is.
    pub slot: Slot,
    /// How it was changed when it was sent.
    pub rewrite: Rewrite,
}

impl SendStream {
    /// `rtx_start`: random; the first sequence number of the RTX stream is in its lower 15 bits, so that the rollover
    /// counter is 0 for long enough to be agreed on (RFC 3711 section 3.3.1).
    pub fn new(now: Instant, section: &SendSection, rtx_start: u16) -> Self {
        let types = PayloadTypes::of(section);
        let remember = types.nack && section.rtx_ssrc.is_some();
        let mut stream = Self {
            ssrc: section.ssrc,
            rtx_ssrc: section.rtx_ssrc,
            mid: section.mid,
            extensions: section.extensions,
            history: History::new(if remember { HISTORY } else { 0 }),
            types,
            clock_rate: if section.media == MediaKind::Audio { 48_000 } else { 90_000 },
            media: section.media,
            strips_trailers: section.strips_trailers,
            front: None,
            epoch: now,
            millis: AtMoment::default(),
            pending: VecDeque::new(),
            credit: RESEND_CREDIT,
            rtx_sequence: u64::from(rtx_start & 0x7FFF),
            timestamp: 0,
            reports: Reports::default(),
            sent: Counts::default(),
            resent: Counts::default(),
            reported_packets: 0,
            first_sent: None,
        };
        stream.lay_out();
        stream
    }

    /// Takes over what a new negotiation of the same section (same SSRC) changed: codecs, extension ids, the RTX SSRC.
    pub fn update(&mut self, section: &SendSection) {
        self.rtx_ssrc = section.rtx_ssrc;
        self.types = PayloadTypes::of(section);
        self.extensions = section.extensions;
        self.strips_trailers = section.strips_trailers;
        if self.history.max_entries() == 0 && self.types.nack && self.rtx_ssrc.is_some() {
            self.history = History::new(HISTORY);
        }
        self.lay_out();
    }

    /// The front of its packets is another from now on.
    fn lay_out(&mut self) {
        let audio = self.media == MediaKind::Audio;
        self.front = Front::new(self.ssrc, self.mid_to_write(), &self.extensions, audio);
    }

    /// The RTX stream goes on at `next`, where its SSRC was used before.
    pub fn continue_rtx(&mut self, next: u64) {
        self.rtx_sequence = self.rtx_sequence.max(next);
    }

    /// SSRC of the primary stream.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// SSRC of the RTX stream.
    pub fn rtx_ssrc(&self) -> Option<u32> {
        self.rtx_ssrc
    }

    /// The section has the transport-wide sequence number: each packet needs one in its [`Stamp`].
    #[inline]
    pub fn wants_transport_sequence(&self) -> bool {
        self.extensions.id(Extension::TransportSequence).is_some()
    }

    /// The section has abs-send-time.
    #[inline]
    pub fn wants_abs_send_time(&self) -> bool {
        self.extensions.id(Extension::AbsSendTime).is_some()
    }

    /// The length that [`Self::write`] gives a packet of so many stored bytes, without padding. One whose trailer is taken off turns out
    /// shorter.
    #[inline]
    pub fn packet_len(&self, rewrite: &Rewrite, stored_len: usize) -> usize {
        match &self.front {
            Some(front) if front.fits(rewrite) => front.len() + rewrite.payload_len(stored_len),
            _ => self.laid_out_len(rewrite, stored_len),
        }
    }

    fn laid_out_len(&self, rewrite: &Rewrite, stored_len: usize) -> usize {
        let descriptor = rewrite.descriptor_len();
        let long =
            descriptor > ext::ONE_BYTE_MAX && self.extensions.id(Extension::DependencyDescriptor).is_some();
        let head = if long || self.extensions.needs_two_byte() { 2 } else { 1 };
        let element = |extension, len: usize, present: bool| {
            let id = self.extensions.id(extension).filter(|_| present);
            id.map_or(0, |_| head + len)
        };
        let mid = self.mid_to_write();
        let elements = element(Extension::Mid, self.mid.as_bytes().len(), mid.is_some())
            + element(Extension::TransportSequence, 2, true)
            + element(Extension::AudioLevel, 1, rewrite.audio_level.is_some())
            + element(Extension::AbsSendTime, 3, true)
            + element(Extension::AbsCaptureTime, 8, rewrite.abs_capture_time.is_some())
            + element(Extension::DependencyDescriptor, descriptor, descriptor > 0);
        let extension = if elements == 0 { 0 } else { (4 + elements).next_multiple_of(4) };
        wire::rtp::FIXED_LEN + extension + rewrite.payload_len(stored_len)
    }

    /// Once the receiver has reported on the SSRC it has understood where it belongs.
    fn mid_to_write(&self) -> Option<Mid> {
        (!self.reports.heard()).then_some(self.mid)
    }

    /// Appends the plaintext packet to `out` and remembers it. `stored`: see [`Rewrite::split`]. `pad_to`: its length with padding, where that is more by
    /// 1 to 255. `None`: the receiver has no payload type for the codec.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the data path's one call")]
    pub fn write(
        &mut self,
        now: Instant,
        rewrite: &Rewrite,
        slot: Slot,
        stored: &[u8],
        stamp: &Stamp,
        pad_to: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        let target = Target {
            ssrc: self.ssrc,
            payload_type: self.types.primary(rewrite.codec)?,
            sequence: rewrite.sequence,
            original: None,
            blocks: self.types.blocks(rewrite.codec),
            mid: self.mid_to_write(),
            extensions: &self.extensions,
        };
        let parts = self.split(rewrite, stored);
        let (_, payload) = parts;
        let written = match &self.front {
            Some(front) if front.fits(rewrite) && front.takes(stamp) => {
                packet::write_behind(out, front, &target, rewrite, payload, stamp, pad_to)
            }
            _ => packet::write(out, &target, rewrite, parts, stamp, pad_to),
        };
        if self.history.max_entries() > 0 {
            let millis = self.millis(now);
            self.history.insert(millis, slot, rewrite);
        }
        self.sent.packets += 1;
        self.sent.octets += payload.len() as u64;
        self.credit = (self.credit + payload.len() as i64 / RESEND_SHARE).min(RESEND_CREDIT);
        self.clock_rate = rewrite.codec.clock_rate();
        self.timestamp = rewrite.timestamp;
        self.first_sent.get_or_insert(now);
        Some(written)
    }

    /// What is sent of what is stored: the dependency descriptor, if there is one to be sent, and the payload.
    #[inline]
    fn split<'a>(&self, rewrite: &Rewrite, stored: &'a [u8]) -> (Option<&'a [u8]>, &'a [u8]) {
        let (descriptor, payload) = rewrite.split(stored);
        // The receiver's frame may end before the publisher's, which has the trailer: where layers are left out.
        let payload = if self.strips_trailers && rewrite.marker { trailer::strip(payload) } else { payload };
        (descriptor, payload)
    }

    #[inline]
    fn millis(&mut self, now: Instant) -> u32 {
        let epoch = self.epoch;
        self.millis.get(now, || {
            let elapsed = now.saturating_duration_since(epoch);
            (elapsed.as_secs() as u32).wrapping_mul(1_000).wrapping_add(elapsed.subsec_millis())
        })
    }

    /// The receiver misses a packet. `true`: [`Self::poll_resend`] will name it. `false`: there is no RTX stream (what
    /// cannot go by RTX is not retransmitted: no packet is sealed twice under one index), it is forgotten, was resent
    /// less than a round trip ago or often enough, or the budget for retransmissions is used up.
    pub fn nack(&mut self, now: Instant, sequence: u16) -> bool {
        if self.rtx_ssrc.is_none() || self.credit <= 0 || self.pending.len() >= MAX_PENDING {
            return false;
        }
        let spacing = self.reports.reception().rtt.unwrap_or(DEFAULT_SPACING).max(MIN_SPACING);
        let millis = self.millis(now);
        let queued = self.history.queue(millis, sequence, spacing.as_millis() as u32, MAX_RESENDS);
        if queued {
            self.pending.push_back(sequence);
        }
        queued
    }

    /// The next packet to be sent again.
    #[inline]
    pub fn poll_resend(&mut self, now: Instant) -> Option<Resend> {
        let now_ms = self.millis(now);
        while let Some(sequence) = self.pending.pop_front() {
            if let Some((slot, rewrite)) = self.history.take(now_ms, sequence) {
                return Some(Resend { slot, rewrite });
            }
        }
        None
    }

    /// Whether [`Self::write_rtx`] would write this packet.
    pub fn can_resend(&self, resend: &Resend) -> bool {
        self.credit > 0 && self.rtx_ssrc.is_some() && self.types.rtx(resend.rewrite.codec).is_some()
    }

    /// Appends the plaintext RTX packet for `resend` to `out` (RFC 4588). `None`: no RTX stream or payload type, or the
    /// budget is used up; the RTX numbering has no gap then.
    pub fn write_rtx(
        &mut self,
        resend: &Resend,
        stored: &[u8],
        stamp: &Stamp,
        pad_to: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        if self.credit <= 0 {
            return None;
        }
        let target = Target {
            ssrc: self.rtx_ssrc?,
            payload_type: self.types.rtx(resend.rewrite.codec)?,
            sequence: self.rtx_sequence,
            original: Some(resend.rewrite.sequence as u16),
            blocks: self.types.blocks(resend.rewrite.codec),
            // Too rare for reports of its own to be waited for.
            mid: Some(self.mid),
            extensions: &self.extensions,
        };
        let parts = self.split(&resend.rewrite, stored);
        let written = packet::write(out, &target, &resend.rewrite, parts, stamp, pad_to);
        let (_, payload) = parts;
        self.rtx_sequence += 1;
        self.credit -= payload.len() as i64;
        self.resent.packets += 1;
        self.resent.octets += payload.len() as u64;
        Some(written)
    }

    /// Whether [`Self::write_padding`] would write a packet.
    pub fn can_pad(&self) -> bool {
        self.rtx_ssrc.is_some() && self.types.any_rtx().is_some()
    }

    /// Appends a plaintext packet of padding alone to the RTX stream, of `len` bytes as far as 255 bytes of padding allow.
    /// It takes a number of that stream like any packet, and nothing of the budget for retransmissions. `None`: there is
    /// no RTX stream.
    pub fn write_padding(&mut self, len: usize, stamp: &Stamp, out: &mut Vec<u8>) -> Option<Written> {
        let target = Target {
            ssrc: self.rtx_ssrc?,
            payload_type: self.types.any_rtx()?,
            sequence: self.rtx_sequence,
            original: None,
            blocks: None,
            mid: Some(self.mid),
            extensions: &self.extensions,
        };
        let written = padding::write(out, &target, self.timestamp, stamp, len);
        self.rtx_sequence += 1;
        Some(written)
    }

    /// Where the publisher's clocks stand; without it there are no sender reports.
    pub fn set_clock(&mut self, clock: Clock) {
        self.reports.set_clock(clock);
    }

    /// Nothing was sent since the last sender report: the next packet makes one due.
    #[inline]
    pub fn is_reported(&self) -> bool {
        self.sent.packets == self.reported_packets
    }

    /// When [`Self::poll_sender_report`] has one: with the first packets, then once a second while packets are sent.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.sent.packets == self.reported_packets {
            return None;
        }
        self.reports.due(self.first_sent?)
    }

    /// The sender report that is due within `early`: reports of a connection's streams go out together, though they began at
    /// different times.
    pub fn poll_sender_report(&mut self, now: Instant, early: Duration) -> Option<SenderInfo> {
        if self.poll_timeout()? > now + early {
            return None;
        }
        let (ntp, rtp) = self.reports.take(now, self.clock_rate)?;
        self.reported_packets = self.sent.packets;
        Some(SenderInfo {
            ssrc: self.ssrc,
            ntp,
            rtp,
            packets: self.sent.packets as u32,
            octets: self.sent.octets as u32,
        })
    }

    /// The receiver reported on this stream; blocks for other SSRCs are left alone.
    pub fn receive_report(&mut self, now: Instant, block: &ReportBlock) {
        if block.ssrc == self.ssrc && self.sent.packets > 0 {
            let unheard = !self.reports.heard();
            self.reports.receive(now, block, self.clock_rate);
            if unheard {
                self.lay_out();
            }
        }
    }

    /// How the receiver receives it.
    pub fn reception(&self) -> Reception {
        self.reports.reception()
    }

    /// Packets sent, without retransmissions.
    pub fn sent_packets(&self) -> u64 {
        self.sent.packets
    }

    /// Payload bytes sent, without retransmissions.
    pub fn sent_octets(&self) -> u64 {
        self.sent.octets
    }

    /// Retransmissions sent.
    pub fn resent_packets(&self) -> u64 {
        self.resent.packets
    }

    /// Payload bytes of the retransmissions.
    pub fn resent_octets(&self) -> u64 {
        self.resent.octets
    }

    /// Bytes of heap memory held.
    pub fn memory(&self) -> usize {
        self.history.memory() + self.pending.capacity() * size_of::<u16>()
    }
}

#[cfg(test)]
mod tests;
