use base::{Codec, MediaKind, Mid};
use wire::ext::Extensions;
use wire::rtp::Header;
use wire::vp8::Patch;

use super::*;

const MS: Duration = Duration::from_millis(1);
const PAYLOAD: &[u8] = &[0x90, 0x80, 0x81, 0x00, 0x50, 1, 2, 3];

fn section() -> SendSection {
    let codec = |kind, payload_type, rtx| Codec {
        kind,
        payload_type,
        rtx,
        nack: true,
        pli: true,
        fir: true,
        transport_cc: true,
        remb: false,
        ccfb: false,
    };
    let mut extensions = ExtensionMap::default();
    for (id, extension) in (1..).zip(Extension::ALL) {
        extensions.set(extension, id);
    }
    SendSection {
        mid: Mid::new(b"2").expect("a mid"),
        media: MediaKind::Video,
        ssrc: 100,
        rtx_ssrc: Some(101),
        codecs: vec![
            codec(CodecKind::Vp8, 96, Some(97)),
            codec(CodecKind::H264, 98, Some(99)),
            codec(CodecKind::H264, 100, Some(101)),
        ],
        extensions,
        cname: "c".into(),
        strips_trailers: false,
    }
}

fn rewrite(sequence: u64) -> Rewrite {
    Rewrite {
        marker: true,
        vp8: Some(Patch { picture_id: Some(0x0777), tl0: None, key_idx: None }),
        ..Rewrite::plain(sequence, 3_000, CodecKind::Vp8)
    }
}

fn send(stream: &mut SendStream, now: Instant, sequence: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let stamp = Stamp::default();
    stream
        .write(now, &rewrite(sequence), Slot::default(), PAYLOAD, &stamp, None, &mut out)
        .expect("VP8 was negotiated");
    out
}

fn reported(ssrc: u32) -> ReportBlock {
    ReportBlock { ssrc, ..ReportBlock::default() }
}

#[test]
fn a_forwarded_packet_carries_the_numbers_of_its_receiver() {
    let now = Instant::now();
    let section = section();
    let mut stream = SendStream::new(now, &section, 0);
    let stamp = Stamp { transport_sequence: Some(0xFFFE), abs_send_time: Some(0x12_3456) };
    let rewrite = Rewrite { audio_level: Some(0x8A), abs_capture_time: Some(5), ..rewrite(0x1_0005) };
    let mut out = b"before".to_vec();
    let written = stream.write(now, &rewrite, Slot::default(), PAYLOAD, &stamp, None, &mut out);
    let written = written.expect("VP8 was negotiated");
    assert_eq!(out.len(), 6 + written.len);
    let packet = &out[6..];
    let header = Header::parse(packet).expect("just written");
    assert_eq!((header.ssrc, header.payload_type, header.sequence), (100, 96, 5));
    assert_eq!((header.timestamp, header.marker, header.padding), (3_000, true, 0));
    assert_eq!((written.ssrc, written.sequence, written.header_len), (100, 0x1_0005, header.header_len));
    assert_eq!(packet[header.payload.clone()], [0x90, 0x80, 0x87, 0x77, 0x50, 1, 2, 3]);
    let read = Extensions::parse(packet, &header, &section.extensions);
    assert_eq!((read.mid, read.transport_sequence), (Some(section.mid), Some(0xFFFE)));
    assert_eq!((read.abs_send_time, read.audio_level), (Some(0x12_3456), Some(0x8A)));
    assert_eq!((read.abs_capture_time, read.dependency_descriptor), (Some(5), None));
}

#[test]
fn a_trailer_is_sent_and_sent_again_only_to_receivers_that_know_it() {
    let now = Instant::now();
    let trailer = b"\x11\xf9LKTS";
    let whole = [PAYLOAD, &trailer[..]].concat();
    for strips_trailers in [false, true] {
        let mut stream = SendStream::new(now, &SendSection { strips_trailers, ..section() }, 0);
        let mut write = |sequence, marker| {
            let (rewrite, mut out) = (Rewrite { marker, ..rewrite(sequence) }, Vec::new());
            let stamp = Stamp::default();
            stream.write(now, &rewrite, Slot::default(), &whole, &stamp, None, &mut out).expect("it is sent");
            out.ends_with(trailer)
        };
        assert!(write(1, false), "within a frame it is none");
        assert_eq!(write(2, true), !strips_trailers);
        let later = now + 100 * MS;
        assert!(stream.nack(later, 2));
        let (resend, mut out) = (stream.poll_resend(later).expect("it is remembered"), Vec::new());
        stream.write_rtx(&resend, &whole, &Stamp::default(), None, &mut out).expect("there is a budget");
        assert_eq!(out.ends_with(trailer), !strips_trailers);
    }
}

fn described(sequence: u64, descriptor: u8) -> Rewrite {
    let described = Some(wire::dd::Patch { frame_number: 0x0203, active: None });
    Rewrite { codec: CodecKind::H264, vp8: None, descriptor, described, ..rewrite(sequence) }
}

/// The dependency descriptor and the payload of a packet.
fn read_described<'a>(packet: &'a [u8], section: &SendSection) -> (Option<&'a [u8]>, &'a [u8]) {
    let header = Header::parse(packet).expect("just written");
    let read = Extensions::parse(packet, &header, &section.extensions);
    (read.dependency_descriptor.and_then(|range| range.of(packet)), &packet[header.payload])
}

#[test]
fn a_descriptor_goes_with_its_payload_also_when_it_is_sent_again() {
    let now = Instant::now();
    let section = section();
    let mut stream = SendStream::new(now, &section, 0);
    for (sequence, len) in [(1, 3), (2, 16), (3, 17), (4, 255), (5, 0)] {
        let descriptor: Vec<u8> = (1..=len).collect();
        // Its bytes 2 and 3 are the frame number that `described` gives it.
        let expected = Some(&descriptor[..]).filter(|_| len > 0);
        let stored = [&descriptor, PAYLOAD].concat();
        let (mut out, stamp) = (Vec::new(), Stamp { transport_sequence: Some(3), ..Stamp::default() });
        stream.write(now, &described(sequence, len), Slot::default(), &stored, &stamp, None, &mut out);
        assert_eq!(read_described(&out, &section), (expected, PAYLOAD), "{len} bytes");
        assert_eq!(stream.sent_octets(), sequence * PAYLOAD.len() as u64, "a descriptor is no payload");

        assert!(stream.nack(now, sequence as u16));
        let resend = stream.poll_resend(now).expect("just asked for");
        assert_eq!(resend.rewrite.descriptor, len);
        out.clear();
        stream.write_rtx(&resend, &stored, &stamp, None, &mut out).expect("RTX was negotiated");
        let (read, payload) = read_described(&out, &section);
        assert_eq!((read, payload), (expected, &[&[0, sequence as u8], PAYLOAD].concat()[..]), "{len} bytes");
    }
}

#[test]
fn a_descriptor_is_left_out_where_it_was_not_negotiated() {
    let now = Instant::now();
    let mut section = section();
    section.extensions.set(Extension::DependencyDescriptor, 0);
    let mut stream = SendStream::new(now, &section, 0);
    let stored = [&[7; 40], PAYLOAD].concat();
    let mut out = Vec::new();
    stream.write(now, &described(1, 40), Slot::default(), &stored, &Stamp::default(), None, &mut out);
    let header = Header::parse(&out).expect("just written");
    assert_eq!(&out[header.payload], PAYLOAD);
    assert_eq!(header.extension.map(|(profile, _)| profile), Some(wire::rtp::ONE_BYTE_PROFILE));
}

#[test]
fn the_first_of_several_payload_types_is_used_and_an_unknown_codec_goes_nowhere() {
    let now = Instant::now();
    let mut stream = SendStream::new(now, &section(), 0);
    let (mut out, stamp) = (Vec::new(), Stamp::default());
    let h264 = Rewrite { codec: CodecKind::H264, vp8: None, ..rewrite(1) };
    assert!(stream.write(now, &h264, Slot::default(), PAYLOAD, &stamp, None, &mut out).is_some());
    assert_eq!(Header::parse(&out).map(|h| h.payload_type), Some(98));
    out.clear();
    let vp9 = Rewrite { codec: CodecKind::Vp9, vp8: None, ..rewrite(2) };
    assert!(stream.write(now, &vp9, Slot::default(), PAYLOAD, &stamp, None, &mut out).is_none());
    assert!(out.is_empty());
    assert_eq!(stream.sent_packets(), 1);
}

#[test]
fn packets_are_as_long_as_announced_and_padded_as_asked() {
    let now = Instant::now();
    for (mid, descriptor) in [(1, 8), (200, 8), (1, 0)] {
        let mut section = section();
        section.extensions.set(Extension::Mid, mid);
        section.extensions.set(Extension::DependencyDescriptor, descriptor);
        let mut stream = SendStream::new(now, &section, 0);
        for sequence in 0..40u64 {
            if sequence == 20 {
                stream.receive_report(now, &reported(100));
            }
            let described = described(sequence, [0, 1, 16, 17, 255][sequence as usize % 5]);
            let rewrite = Rewrite {
                audio_level: sequence.is_multiple_of(2).then_some(1),
                abs_capture_time: sequence.is_multiple_of(3).then_some(1),
                ..described
            };
            let stamp = Stamp { transport_sequence: Some(1), abs_send_time: Some(1) };
            let stored = [&vec![9; usize::from(rewrite.descriptor)], PAYLOAD].concat();
            let expected = stream.packet_len(&rewrite, stored.len());
            for (pad_to, len, padding) in [
                (None, expected, 0),
                (Some(expected), expected, 0),
                (Some(expected - 3), expected, 0),
                (Some(expected + 1), expected + 1, 1),
                (Some(expected + 255), expected + 255, 255),
                (Some(expected + 256), expected, 0),
            ] {
                let mut out = Vec::new();
                let written = stream.write(now, &rewrite, Slot::default(), &stored, &stamp, pad_to, &mut out);
                assert_eq!(written.map(|w| w.len), Some(len));
                let header = Header::parse(&out).expect("just written");
                assert_eq!((usize::from(header.padding), header.payload.len()), (padding, PAYLOAD.len()));
            }
        }
    }
}

#[test]
fn the_mid_is_repeated_until_the_receiver_reports_on_the_stream() {
    let now = Instant::now();
    let section = section();
    let mut stream = SendStream::new(now, &section, 0);
    let mid = |packet: &[u8]| {
        let header = Header::parse(packet).expect("just written");
        Extensions::parse(packet, &header, &section.extensions).mid
    };
    stream.receive_report(now, &reported(100));
    assert_eq!(mid(&send(&mut stream, now, 1)), Some(section.mid), "a report on nothing sent is a lie");
    stream.receive_report(now, &reported(101));
    assert_eq!(mid(&send(&mut stream, now, 2)), Some(section.mid), "a report on another stream");
    stream.receive_report(now, &reported(100));
    assert_eq!(mid(&send(&mut stream, now, 3)), None);
}

#[test]
fn a_missed_packet_goes_out_again_by_rtx_without_a_gap_in_its_numbers() {
    let now = Instant::now();
    let section = section();
    let mut stream = SendStream::new(now, &section, 0xFFFF);
    for sequence in 65_530..65_560u64 {
        send(&mut stream, now, sequence);
    }
    for (i, sequence) in [65_535u16, 0, 7].into_iter().enumerate() {
        assert!(stream.nack(now + 20 * MS, sequence));
        let resend = stream.poll_resend(now + 20 * MS).expect("just queued");
        let mut out = Vec::new();
        let stamp = Stamp { transport_sequence: Some(3), ..Stamp::default() };
        let written = stream.write_rtx(&resend, PAYLOAD, &stamp, None, &mut out).expect("RTX is there");
        let mut header = Header::parse(&out).expect("just written");
        assert_eq!((header.ssrc, header.payload_type), (101, 97));
        assert_eq!((written.sequence, header.sequence), (0x7FFF + i as u64, 0x7FFF + i as u16));
        assert_eq!((header.timestamp, header.marker), (3_000, true));
        crate::streams::unwrap_rtx(&mut header, &out).expect("has content");
        assert_eq!(header.sequence, sequence);
        assert_eq!(out[header.payload.clone()], [0x90, 0x80, 0x87, 0x77, 0x50, 1, 2, 3]);
        let read = Extensions::parse(&out, &header, &section.extensions);
        assert_eq!((read.mid, read.transport_sequence), (Some(section.mid), Some(3)));
    }
    assert_eq!(stream.poll_resend(now + 20 * MS), None);
    assert_eq!((stream.resent_packets(), stream.sent_packets()), (3, 30));
}

#[test]
fn a_packet_is_resent_once_per_round_trip_and_not_for_ever() {
    let now = Instant::now();
    let mut stream = SendStream::new(now, &section(), 0);
    let middle = {
        stream.set_clock(Clock { ntp: base::NtpTime(1 << 40), rtp: 0, at: now });
        send(&mut stream, now, 1);
        stream.poll_sender_report(now, Duration::ZERO).expect("the first packet is sent").ntp.middle()
    };
    let echo = ReportBlock { last_sender_report: middle, ..reported(100) };
    stream.receive_report(now + 80 * MS, &echo);
    assert_eq!(stream.reception().rtt, Some(80 * MS));
    let mut resent = Vec::new();
    for ms in 0..2_000 {
        let at = now + ms * MS;
        assert!(!stream.nack(at, 2), "never sent");
        if stream.nack(at, 1) {
            assert!(!stream.nack(at, 1), "waits already");
            stream.poll_resend(at).expect("queued");
            resent.push(ms);
        }
    }
    assert_eq!(resent, (0..8).map(|i| i * 80).collect::<Vec<_>>());
}

#[test]
fn retransmissions_stay_within_their_share_of_what_is_sent() {
    let now = Instant::now();
    let mut stream = SendStream::new(now, &section(), 0);
    let payload = [0x10; 1_000];
    let (mut sent, mut resent) = (0, 0);
    for sequence in 0..5_000u64 {
        let at = now + sequence as u32 * MS;
        let mut out = Vec::new();
        let (rewrite, stamp) = (Rewrite { vp8: None, ..rewrite(sequence) }, Stamp::default());
        stream.write(at, &rewrite, Slot::default(), &payload, &stamp, None, &mut out);
        sent += payload.len();
        // A receiver that asks for everything, always.
        for back in 0..100 {
            stream.nack(at, (sequence as u16).wrapping_sub(back));
        }
        while let Some(resend) = stream.poll_resend(at) {
            if stream.write_rtx(&resend, &payload, &stamp, None, &mut out).is_some() {
                resent += payload.len();
            }
        }
    }
    assert!(resent <= sent / 4 + 48_000 + 1_000, "{resent} of {sent}");
    assert!(resent >= sent / 5, "an honest share is served: {resent}");
}

#[test]
fn without_an_rtx_stream_nothing_is_kept_and_nothing_is_resent() {
    let now = Instant::now();
    let mut section = section();
    section.rtx_ssrc = None;
    let mut stream = SendStream::new(now, &section, 0);
    send(&mut stream, now, 1);
    assert!(!stream.nack(now, 1));
    assert_eq!(stream.memory(), 0);
}

#[test]
fn a_flood_of_nacks_waits_in_bounded_memory() {
    let now = Instant::now();
    let mut stream = SendStream::new(now, &section(), 0);
    for sequence in 0..1_000 {
        send(&mut stream, now, sequence);
    }
    let queued = (0..=u16::MAX).filter(|sequence| stream.nack(now, *sequence)).count();
    assert_eq!(queued, MAX_PENDING);
}

#[test]
fn sender_reports_follow_the_publishers_clock_once_a_second_while_packets_are_sent() {
    let start = Instant::now();
    let mut stream = SendStream::new(start, &section(), 0);
    send(&mut stream, start, 1);
    assert_eq!(stream.poll_sender_report(start, Duration::ZERO), None, "the clock is not known");
    let ntp = base::NtpTime(77 << 32);
    stream.set_clock(Clock { ntp, rtp: 9_000, at: start });
    let mut reports = Vec::new();
    for ms in 100..10_000u32 {
        let now = start + ms * MS;
        if ms < 5_000 && ms.is_multiple_of(20) {
            send(&mut stream, now, u64::from(ms));
        }
        if stream.poll_timeout().is_some_and(|due| due <= now) {
            reports.push((ms, stream.poll_sender_report(now, Duration::ZERO).expect("due")));
        }
    }
    assert_eq!(
        reports.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(),
        [100, 1_100, 2_100, 3_100, 4_100, 5_100]
    );
    for (ms, report) in &reports {
        assert_eq!(report.ssrc, 100);
        assert_eq!(report.rtp, 9_000 + ms * 90);
        assert!((report.ntp.micros_since(ntp) - i64::from(*ms) * 1_000).abs() <= 1);
    }
    let last = reports.last().expect("six of them").1;
    assert_eq!((last.packets, last.octets), (246, 246 * PAYLOAD.len() as u32));
}

#[test]
fn a_new_negotiation_changes_payload_types_and_ids_but_not_the_numbering() {
    let now = Instant::now();
    let mut section = section();
    let mut stream = SendStream::new(now, &section, 0);
    send(&mut stream, now, 1);
    section.codecs.truncate(1);
    section.codecs[0].payload_type = 120;
    section.codecs[0].rtx = Some(121);
    stream.update(&section);
    assert_eq!(Header::parse(&send(&mut stream, now, 2)).map(|h| h.payload_type), Some(120));
    assert!(stream.nack(now, 1));
    let resend = stream.poll_resend(now).expect("kept over the change");
    let mut out = Vec::new();
    assert!(stream.write_rtx(&resend, PAYLOAD, &Stamp::default(), None, &mut out).is_some());
    assert_eq!(Header::parse(&out).map(|h| (h.payload_type, h.sequence)), Some((121, 0)));
}

/// The receiver numbers its codecs as it likes, and without redundancy gets the primary block.
#[test]
fn redundant_audio_is_told_in_the_receivers_payload_types_or_cut_to_opus() {
    let now = Instant::now();
    let codec = |kind, payload_type, rtx| Codec { kind, payload_type, rtx, ..section().codecs[0] };
    let codecs = vec![codec(CodecKind::Red, 63, Some(64)), codec(CodecKind::Opus, 96, Some(97))];
    let section = SendSection { media: MediaKind::Audio, codecs, ..section() };
    let mut stream = SendStream::new(now, &section, 0);
    let stored = [&[0x80 | 111, 0x0F, 0x00, 2, 111, 8, 8][..], &[9; 50]].concat();
    let stamp = Stamp { transport_sequence: Some(1), abs_send_time: Some(1) };
    let whole = Rewrite::plain(1, 960, CodecKind::Red);
    let cut = Rewrite { cut: 7, ..Rewrite::plain(2, 1_920, CodecKind::Opus) };
    let renamed = [&[0x80 | 96, 0x0F, 0x00, 2, 96, 8, 8][..], &[9; 50]].concat();
    for (rewrite, payload_type, expected) in [(whole, 63, &renamed[..]), (cut, 96, &[9; 50][..])] {
        let mut out = Vec::new();
        let written = stream.write(now, &rewrite, Slot::default(), &stored, &stamp, None, &mut out);
        assert_eq!(written.map(|written| written.len), Some(stream.packet_len(&rewrite, stored.len())));
        let header = Header::parse(&out).expect("just written");
        assert_eq!((header.payload_type, &out[header.payload]), (payload_type, expected));

        assert!(stream.nack(now, rewrite.sequence as u16));
        let resend = stream.poll_resend(now).expect("just asked for");
        out.clear();
        stream.write_rtx(&resend, &stored, &stamp, None, &mut out).expect("RTX was negotiated");
        let header = Header::parse(&out).expect("just written");
        assert_eq!((header.payload_type, &out[header.payload][2..]), (payload_type + 1, expected));
    }
}

#[test]
fn reports_of_streams_that_began_at_different_times_come_to_go_out_together() {
    let start = Instant::now();
    let mut streams: Vec<SendStream> = (0..10).map(|_| SendStream::new(start, &section(), 0)).collect();
    let clock = Clock { ntp: base::NtpTime(77 << 32), rtp: 9_000, at: start };
    streams.iter_mut().for_each(|stream| stream.set_clock(clock));
    let (mut moments, mut reports) = (0, [0; 10]);
    for ms in 0..20_000u32 {
        let now = start + ms * MS;
        for stream in streams.iter_mut().enumerate().filter(|(i, _)| ms >= *i as u32 * 90).map(|(_, s)| s) {
            if ms.is_multiple_of(20) {
                send(stream, now, u64::from(ms));
            }
        }
        if streams.iter().any(|stream| stream.poll_timeout().is_some_and(|due| due <= now)) {
            let early = 250 * MS;
            let due = streams.iter_mut().map(|stream| stream.poll_sender_report(now, early).is_some());
            reports.iter_mut().zip(due).for_each(|(count, due)| *count += u32::from(due));
            moments += u32::from(ms >= 10_000);
        }
    }
    assert!(moments <= 40, "{moments} in the last 10 s: four a second, whatever the number of streams");
    assert!(reports.iter().all(|count| (19..=27).contains(count)), "{reports:?}");
}
