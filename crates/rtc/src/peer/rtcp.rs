//! RTCP: what we take from the other side's, and what we send when. The table is in `docs/rtcp.md`.

use std::time::{Duration, Instant};

use base::{Bitrate, Mid};
use wire::rtcp::{
    self, FirEntry, Packet, ReportBlock, ReportBlocks, write_fir, write_nack, write_pli,
    write_receiver_report, write_sdes, write_sender_report,
};

use super::Peer;
use super::estimate::Path;
use super::receive::{Incoming, earlier};
use crate::event::Event;
use crate::streams::{FeedbackSummary, PacketResult};

/// Time between receiver reports, and between quality events.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A sender report goes out this much before its time with another one, so that the streams of a connection are not looked at
/// for each report by itself.
const REPORTS_TOGETHER: Duration = Duration::from_millis(250);
/// A compound packet that is longer takes nothing more.
const FULL: usize = 500;
/// A compound packet that is longer takes no transport-wide feedback.
const FEEDBACK_ROOM: usize = 64;
/// Report blocks, and NACKed sequence numbers, in one packet of a compound: with [`FULL`] before them they stay below
/// 1,100 bytes.
const BLOCKS_AT_ONCE: usize = 20;
const NACKS_AT_ONCE: usize = 128;
/// NACKed sequence numbers that wait to be sent; streams that have more wait for the next round.
const MAX_NACKS: usize = 1_024;
/// Keyframe requests that wait to be sent.
const MAX_KEYFRAME_REQUESTS: usize = 32;

/// RTCP state of a peer.
pub(super) struct Rtcp {
    /// Who our receiver reports and feedback come from.
    pub(super) ssrc: u32,
    /// When the next receiver report is due; set while media arrives.
    pub(super) next_report: Option<Instant>,
    /// When the last one was.
    last_report: Option<Instant>,
    keyframe_requests: Vec<(Mid, u8)>,
    quality_at: Option<Instant>,
    /// Share of the publisher's packets that were lost in the last interval.
    upstream_loss: f32,
    pub(super) remb: Option<Bitrate>,
    pub(super) feedback: FeedbackTotals,
    nacks: Vec<(u32, u16)>,
    scratch: Vec<u16>,
    blocks: Vec<ReportBlock>,
    results: Vec<PacketResult>,
}

/// What transport-wide feedback said so far. Congestion control stands on the single results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FeedbackTotals {
    /// Packets that arrived.
    pub arrived: u64,
    /// Packets that did not, less those that arrived after all.
    pub lost: u64,
    /// Round trip of the newest, the wait for the feedback included.
    pub rtt: Option<Duration>,
}

impl Rtcp {
    pub(super) fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            next_report: None,
            last_report: None,
            keyframe_requests: Vec::new(),
            quality_at: None,
            upstream_loss: 0.0,
            remb: None,
            feedback: FeedbackTotals::default(),
            nacks: Vec::new(),
            scratch: Vec::new(),
            blocks: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Media arrived: reports are due from now on.
    #[inline]
    pub(super) fn media_arrived(&mut self, now: Instant) {
        self.next_report.get_or_insert(now + REPORT_INTERVAL);
    }

    /// Something waits whatever the time is.
    fn has_waiting(&self) -> bool {
        !self.keyframe_requests.is_empty() || !self.nacks.is_empty() || !self.blocks.is_empty()
    }

    pub(super) fn request_keyframe(&mut self, mid: Mid, layer: u8) {
        let request = (mid, layer);
        if !self.keyframe_requests.contains(&request) && self.keyframe_requests.len() < MAX_KEYFRAME_REQUESTS
        {
            self.keyframe_requests.push(request);
        }
    }
}

impl Peer {
    /// A decrypted compound packet.
    pub(super) fn receive_rtcp(&mut self, now: Instant, compound: &[u8]) {
        self.counters.rtcp_received += 1;
        for packet in rtcp::packets(compound) {
            match packet {
                Packet::SenderReport(report) => {
                    self.receive_sender_report(now, &report);
                    self.receive_blocks(now, report.reports);
                }
                Packet::ReceiverReport(report) => self.receive_blocks(now, report.reports),
                Packet::Nack(nack) => {
                    self.send.nacked(now, nack.media, nack.sequences(), &mut self.counters);
                }
                Packet::Pli { media, .. } => self.keyframe_wanted(media, None),
                Packet::Fir(fir) => {
                    for entry in fir.entries {
                        self.keyframe_wanted(entry.ssrc, Some(entry.number));
                    }
                }
                Packet::TransportFeedback(feedback) => self.receive_feedback(now, &feedback),
                Packet::Remb(remb) => self.receive_remb(now, remb.bitrate),
                Packet::CongestionFeedback(feedback) => self.receive_stream_feedback(now, &feedback),
                // Streams end with their section, so a BYE tells nothing; an SDES neither.
                Packet::Bye(_) | Packet::SourceDescription(_) => {}
                Packet::Other { .. } => {}
                Packet::Malformed => self.counters.rtcp_malformed += 1,
            }
        }
    }

    fn receive_sender_report(&mut self, now: Instant, report: &rtcp::SenderReport<'_>) {
        let Some(incoming) = self.receive.by_ssrc(report.ssrc) else { return };
        incoming.stream.sender_report(now, report.ntp);
        if incoming.rtx {
            return;
        }
        let event = Event::SenderReport {
            mid: incoming.mid,
            layer: incoming.layer,
            ntp: report.ntp,
            rtp: report.rtp,
            at: now,
        };
        self.push_minor(event);
    }

    fn receive_blocks(&mut self, now: Instant, blocks: ReportBlocks<'_>) {
        let mut ours = false;
        for block in blocks {
            if let Some(outgoing) = self.send.by_ssrc(block.ssrc) {
                outgoing.stream.receive_report(now, &block);
                ours = true;
            }
        }
        if ours {
            self.tell_quality(now);
        }
    }

    fn keyframe_wanted(&mut self, ssrc: u32, fir: Option<u8>) {
        let Some(outgoing) = self.send.by_ssrc(ssrc) else { return };
        self.counters.keyframe_requests_received += 1;
        // The same number again is the same request sent again (RFC 5104 section 4.3.1.2).
        if fir.is_some() && std::mem::replace(&mut outgoing.last_fir, fir) == fir {
            return;
        }
        let mid = outgoing.section.mid;
        let waiting = |e: &Event| matches!(e, Event::KeyframeRequest { mid: other } if *other == mid);
        if !self.events.iter().any(waiting) {
            self.push_minor(Event::KeyframeRequest { mid });
        }
    }

    fn receive_feedback(&mut self, now: Instant, feedback: &rtcp::TransportFeedback<'_>) {
        let mut results = std::mem::take(&mut self.rtcp.results);
        let summary = self.send.path.history.receive(now, feedback, &mut results);
        self.learn(now, results, &summary);
    }

    /// Ignored unless it was negotiated.
    fn receive_stream_feedback(&mut self, now: Instant, feedback: &rtcp::CongestionFeedback<'_>) {
        let Path { history, by_stream: Some(by_stream), .. } = &mut self.send.path else { return };
        let mut results = std::mem::take(&mut self.rtcp.results);
        let summary = by_stream.receive(now, feedback, history, &mut results);
        self.learn(now, results, &summary);
    }

    /// The fate of packets, by whichever feedback; the buffer is kept.
    fn learn(&mut self, now: Instant, mut results: Vec<PacketResult>, summary: &FeedbackSummary) {
        if let Some(controller) = self.send.path.controller() {
            controller.on_feedback(now, &results, summary.rtt);
        }
        let totals = &mut self.rtcp.feedback;
        for result in results.drain(..) {
            match result.arrival {
                Some(_) => {
                    totals.arrived += 1;
                    totals.lost -= u64::from(result.was_lost).min(totals.lost);
                }
                None => totals.lost += 1,
            }
        }
        totals.rtt = summary.rtt.or(totals.rtt);
        self.rtcp.results = results;
        self.tell_estimate();
    }

    fn receive_remb(&mut self, now: Instant, bitrate: Bitrate) {
        self.rtcp.remb = Some(bitrate);
        if let Some(controller) = self.send.path.controller() {
            controller.on_remb(now, bitrate);
        }
        self.tell_estimate();
    }

    fn tell_quality(&mut self, now: Instant) {
        if self.rtcp.quality_at.is_some_and(|at| now < at + REPORT_INTERVAL) {
            return;
        }
        let last = self.rtcp.quality_at.replace(now);
        let (mut loss, mut count, mut rtt, mut jitter) = (0.0, 0.0f32, None, Duration::ZERO);
        let mut heard = false;
        for outgoing in self.send.all().filter(|o| o.stream.sent_packets() > 0) {
            let reception = outgoing.stream.reception();
            loss += reception.loss_now(now);
            heard |= reception.at.is_some_and(|at| last.is_none_or(|last| at > last));
            count += 1.0;
            jitter = jitter.max(reception.jitter);
            rtt = rtt.into_iter().chain(reception.rtt).min();
        }
        let downstream = loss / count.max(1.0);
        // In silence there is no report, and no reason to grow.
        if let Some(controller) = self.send.path.controller().filter(|_| heard) {
            controller.on_loss_report(now, downstream);
            self.tell_estimate();
        }
        let loss = downstream.max(self.rtcp.upstream_loss);
        self.push_minor(Event::Quality { loss, rtt, jitter });
    }

    /// When RTCP has something to send.
    pub(super) fn rtcp_timeout(&self) -> Option<Instant> {
        let reports = earlier(self.send.next_report, self.rtcp.next_report);
        earlier(reports, earlier(self.receive.next_nack, self.receive.feedback.poll_timeout()))
    }

    /// Writes one compound packet with what is due; `false` when nothing is. Call until then.
    pub(super) fn write_rtcp(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let due = self.rtcp_timeout().is_some_and(|at| at <= now);
        if !due && !self.rtcp.has_waiting() {
            return false;
        }
        self.write_sender_reports(now, out);
        self.write_receiver_reports(now, out);
        let reports = out.len();
        if reports == 0 {
            // Not everybody reads reduced-size packets: a compound begins with a report (RFC 3550 section 6.1).
            write_receiver_report(out, self.rtcp.ssrc, &[]);
        }
        let head = out.len();
        self.write_keyframe_requests(out);
        self.write_nacks(now, out);
        // A feedback may be as long as a datagram; it goes behind nothing but the head.
        while out.len() < FEEDBACK_ROOM && self.receive.feedback.poll_feedback(now, self.rtcp.ssrc, out) {}
        if reports == 0 && out.len() == head {
            out.clear();
            return false;
        }
        true
    }

    fn write_sender_reports(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.send.next_report.is_none_or(|at| at > now) {
            return;
        }
        let mut next = None;
        for outgoing in self.send.all_mut() {
            if out.len() < FULL
                && let Some(info) = outgoing.stream.poll_sender_report(now, REPORTS_TOGETHER)
            {
                write_sender_report(out, &info, &[]);
                write_sdes(out, info.ssrc, &outgoing.section.cname);
            }
            next = earlier(next, outgoing.stream.poll_timeout());
        }
        self.send.next_report = next;
    }

    fn write_receiver_reports(&mut self, now: Instant, out: &mut Vec<u8>) {
        let blocks = &mut self.rtcp.blocks;
        if blocks.is_empty() && self.rtcp.next_report.is_some_and(|at| at <= now) {
            // Of the streams that were heard since the last report (RFC 3550 section 6.4).
            let last = self.rtcp.last_report.replace(now);
            let heard = |i: &&mut Incoming| i.stream.last_arrival().is_some_and(|at| Some(at) >= last);
            let heard = self.receive.streams_mut().iter_mut().filter(heard);
            blocks.extend(heard.filter_map(|i| i.stream.report(now)));
            self.rtcp.next_report = (!blocks.is_empty()).then(|| now + REPORT_INTERVAL);
            let lost: u32 = blocks.iter().map(|block| u32::from(block.fraction_lost)).sum();
            self.rtcp.upstream_loss = lost as f32 / 256.0 / blocks.len().max(1) as f32;
            self.tell_quality(now);
        }
        let blocks = &mut self.rtcp.blocks;
        while out.len() < FULL && !blocks.is_empty() {
            let rest = blocks.len().saturating_sub(BLOCKS_AT_ONCE);
            write_receiver_report(out, self.rtcp.ssrc, &blocks[rest..]);
            blocks.truncate(rest);
        }
    }

    fn write_keyframe_requests(&mut self, out: &mut Vec<u8>) {
        while out.len() < FULL
            && let Some((mid, layer)) = self.rtcp.keyframe_requests.pop()
        {
            let Some(section) = self.receive.section(mid) else { continue };
            let pli = section.codecs.iter().any(|codec| codec.pli);
            let fir = section.codecs.iter().any(|codec| codec.fir);
            let Some(incoming) = self.receive.current_mut(mid, layer, false) else { continue };
            let media = incoming.stream.ssrc();
            if pli {
                write_pli(out, self.rtcp.ssrc, media);
            } else if fir {
                write_fir(out, self.rtcp.ssrc, &[FirEntry { ssrc: media, number: incoming.next_fir }]);
                incoming.next_fir = incoming.next_fir.wrapping_add(1);
            } else {
                continue;
            }
            self.counters.keyframe_requests_sent += 1;
        }
    }

    fn write_nacks(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.receive.next_nack.is_some_and(|at| at <= now) {
            self.collect_nacks(now);
        }
        let nacks = &mut self.rtcp.nacks;
        while out.len() < FULL
            && let Some((media, _)) = nacks.first().copied()
        {
            let of_stream = nacks.iter().take(NACKS_AT_ONCE).take_while(|(ssrc, _)| *ssrc == media).count();
            let sequences = nacks.drain(..of_stream).map(|(_, sequence)| sequence);
            write_nack(out, self.rtcp.ssrc, media, sequences);
            self.counters.nacks_sent += of_stream as u64;
        }
    }

    fn collect_nacks(&mut self, now: Instant) {
        let rtt = self.send.all().filter_map(|outgoing| outgoing.stream.reception().rtt).min();
        let Rtcp { nacks, scratch, .. } = &mut self.rtcp;
        let mut next = None;
        for incoming in self.receive.streams_mut() {
            if nacks.len() < MAX_NACKS && incoming.stream.poll_timeout().is_some_and(|at| at <= now) {
                scratch.clear();
                incoming.stream.take_nacks(now, rtt, scratch);
                let ssrc = incoming.stream.ssrc();
                nacks.extend(scratch.iter().map(|sequence| (ssrc, *sequence)));
            }
            next = earlier(next, incoming.stream.poll_timeout());
        }
        self.receive.next_nack = next;
    }
}
