//! Entry points for fuzzing what the other side of a stream can drive: each takes any bytes and panics when something
//! that must hold does not.

use std::time::{Duration, Instant};

use base::ring::Slot;
use base::{Codec, CodecKind, ExtensionMap, MediaKind, Mid, NtpTime};
use wire::media::Rewrite;
use wire::rtcp::{self, Packet};

use super::{Clock, ReceiveStream, SendStream, Stamp, TransportFeedbackGenerator, TransportFeedbackHistory};
use crate::section::SendSection;

/// A connection that has sent some packets receives `bytes` as an RTCP compound, again and again.
pub fn feedback(start: Instant, bytes: &[u8]) {
    let mut history = TransportFeedbackHistory::new(start);
    let mut stream = SendStream::new(start, &section(), 1);
    stream.set_clock(Clock { ntp: NtpTime(1 << 40), rtp: 0, at: start });
    let (mut out, mut results) = (Vec::new(), Vec::new());
    for sequence in 0..600u64 {
        let now = start + Duration::from_millis(sequence);
        let stamp = Stamp { transport_sequence: Some(history.register(now, 100, 0)), ..Stamp::default() };
        out.clear();
        assert!(
            stream.write(now, &rewrite(sequence), Slot::default(), bytes, &stamp, None, &mut out).is_some()
        );
        stream.poll_sender_report(now, Duration::ZERO);
        for packet in rtcp::packets(bytes) {
            match packet {
                Packet::TransportFeedback(feedback) => {
                    history.receive(now, &feedback, &mut results);
                }
                Packet::Nack(nack) => nack.sequences().for_each(|missed| {
                    stream.nack(now, missed);
                }),
                Packet::SenderReport(report) => report.reports.for_each(|b| stream.receive_report(now, &b)),
                Packet::ReceiverReport(report) => report.reports.for_each(|b| stream.receive_report(now, &b)),
                _ => {}
            }
        }
        while let Some(resend) = stream.poll_resend(now) {
            stream.write_rtx(&resend, bytes, &stamp, None, &mut out);
        }
        assert!(stream.reception().rtt.is_none_or(|rtt| rtt <= now - start));
    }
    // Each packet once as arrived, and before that perhaps once as lost.
    assert!(results.len() <= 2 * 600);
    assert!(history.in_flight() <= 600 * 100);
}

/// A received stream whose packets are described by `bytes`, four for each: kind and delay, timestamp, sequence number.
pub fn arrivals(start: Instant, bytes: &[u8]) {
    let mut stream = ReceiveStream::new(1, 90_000, true);
    let mut generator = TransportFeedbackGenerator::new(start);
    let (mut now, mut nacks, mut out) = (start, Vec::new(), Vec::new());
    for packet in bytes.chunks_exact(4) {
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        now += Duration::from_millis(u64::from(packet[0] >> 1));
        generator.receive(now, 1, sequence);
        if packet[0] & 1 == 0 {
            stream.receive(now, sequence, u32::from(packet[1]) << 20);
        } else {
            stream.receive_repaired(now, sequence);
        }
        nacks.clear();
        stream.take_nacks(now, None, &mut nacks);
        assert!(nacks.len() <= 512);
        while generator.poll_feedback(now, 1, &mut out) {
            assert!(matches!(rtcp::packets(&out).next(), Some(Packet::TransportFeedback(_))));
            out.clear();
        }
        stream.report(now);
    }
}

fn section() -> SendSection {
    let codec = Codec {
        kind: CodecKind::Vp8,
        payload_type: 96,
        rtx: Some(97),
        nack: true,
        pli: true,
        fir: true,
        transport_cc: true,
        remb: true,
        ccfb: false,
    };
    SendSection {
        mid: Mid::new(b"0").expect("one printable character"),
        media: MediaKind::Video,
        ssrc: 1,
        rtx_ssrc: Some(2),
        codecs: vec![codec],
        extensions: ExtensionMap::default(),
        cname: String::new(),
        strips_trailers: false,
    }
}

fn rewrite(sequence: u64) -> Rewrite {
    Rewrite {
        vp8: Some(wire::vp8::Patch { picture_id: Some(1), tl0: Some(2), key_idx: Some(3) }),
        ..Rewrite::plain(sequence, sequence as u32 * 90, CodecKind::Vp8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_reports_and_arrivals_break_nothing() {
        let start = Instant::now();
        let mut random = 3u64;
        for round in 0..400usize {
            let mut bytes: Vec<u8> = (0..round % 64)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 33) as u8
                })
                .collect();
            arrivals(start, &bytes);
            // Mostly well-formed headers of the packets that matter here.
            if let Some(header) = bytes.first_chunk_mut::<4>() {
                let (format, kind) = [(0x81, 201), (0x81, 205), (0x8F, 205), (0x81, 200)][round % 4];
                *header = [format, kind, 0, ((round % 64 / 4) as u8).saturating_sub(1)];
            }
            feedback(start, &bytes);
        }
    }
}
