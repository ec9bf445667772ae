use base::{Bitrate, NtpTime};

use super::*;
use crate::fuzz;
use crate::testing::{Rng, damaged};

fn one(compound: &[u8]) -> Packet<'_> {
    let mut all = packets(compound);
    let first = all.next().expect("a packet");
    assert!(all.next().is_none(), "only one");
    first
}

fn block(ssrc: u32) -> ReportBlock {
    ReportBlock {
        ssrc,
        fraction_lost: 51,
        cumulative_lost: -7,
        highest_sequence: 0x0002_FFFE,
        jitter: 4_711,
        last_sender_report: 0xAABB_CCDD,
        delay: 65_536,
    }
}

fn info() -> SenderInfo {
    SenderInfo { ssrc: 7, ntp: NtpTime(0x0102_0304_0506_0708), rtp: u32::MAX, packets: 10, octets: 11_000 }
}

/// One of each, as they are written.
fn samples() -> Vec<Vec<u8>> {
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        out
    };
    let arrivals: Vec<_> = (0..60).map(|i| (i % 7 != 3).then_some(1_000 + i * i * 9)).collect();
    vec![
        written(&|out| write_sender_report(out, &info(), &[block(1), block(2)])),
        written(&|out| write_receiver_report(out, 9, &[block(3)])),
        written(&|out| write_sdes(out, 9, "someone")),
        written(&|out| write_bye(out, &[1, 2, 3])),
        written(&|out| write_nack(out, 1, 2, [65_530, 65_535, 3, 40])),
        written(&|out| write_pli(out, 1, 2)),
        written(&|out| write_fir(out, 1, &[FirEntry { ssrc: 5, number: 255 }])),
        written(&|out| write_remb(out, 1, Bitrate(1_234_567), &[4, 5])),
        written(&|out| {
            write_transport_feedback(out, 1, 2, 3, 65_500, &arrivals);
        }),
    ]
}

#[test]
fn reports_read_back_as_written() {
    let samples = samples();
    let Packet::SenderReport(sr) = one(&samples[0]) else { panic!("SR") };
    assert_eq!((sr.ssrc, sr.ntp, sr.rtp), (7, info().ntp, u32::MAX));
    assert_eq!((sr.packets, sr.octets), (10, 11_000));
    assert_eq!(sr.reports.collect::<Vec<_>>(), [block(1), block(2)]);
    let Packet::ReceiverReport(rr) = one(&samples[1]) else { panic!("RR") };
    assert_eq!((rr.ssrc, rr.reports.collect::<Vec<_>>()), (9, vec![block(3)]));
}

#[test]
fn a_receiver_report_has_the_bytes_of_the_rfc() {
    let mut out = Vec::new();
    write_receiver_report(
        &mut out,
        0x0102_0304,
        &[ReportBlock { cumulative_lost: -1, ..block(0x0506_0708) }],
    );
    let expected = [
        0x81, 201, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 51, 0xFF, 0xFF, 0xFF, 0, 2, 0xFF, 0xFE, 0, 0, 0x12, 0x67,
        0xAA, 0xBB, 0xCC, 0xDD, 0, 1, 0, 0,
    ];
    assert_eq!(out, expected);
}

#[test]
fn the_lost_count_stays_in_its_24_bits() {
    for (lost, expected) in
        [(i32::MAX, 0x7F_FFFF), (i32::MIN, -0x80_0000), (-1, -1), (0, 0), (8_388_607, 8_388_607)]
    {
        let mut out = Vec::new();
        write_receiver_report(&mut out, 1, &[ReportBlock { cumulative_lost: lost, ..block(2) }]);
        let Packet::ReceiverReport(mut rr) = one(&out) else { panic!("RR") };
        let read = rr.reports.next().expect("one block");
        assert_eq!((read.cumulative_lost, read.fraction_lost), (expected, 51));
    }
}

#[test]
fn more_blocks_than_a_report_holds_are_cut() {
    let mut out = Vec::new();
    write_receiver_report(&mut out, 1, &[block(1); 40]);
    let Packet::ReceiverReport(rr) = one(&out) else { panic!("RR") };
    assert_eq!(rr.reports.count(), MAX_BLOCKS);
}

#[test]
fn canonical_names_are_found_among_other_items() {
    let samples = samples();
    let Packet::SourceDescription(sdes) = one(&samples[2]) else { panic!("SDES") };
    assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(9, &b"someone"[..])]);
    // Two chunks: the first has a tool and then a name, the second nothing.
    let two = [0x82, 202, 0, 5, 0, 0, 0, 1, 6, 2, b'x', b'y', 1, 1, b'n', 0, 0, 0, 0, 2, 0, 0, 0, 0];
    let Packet::SourceDescription(sdes) = one(&two) else { panic!("SDES") };
    assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(1, &b"n"[..])]);
    for len in 0..9 {
        let mut out = Vec::new();
        write_sdes(&mut out, 3, &"abcdefghi"[..len]);
        assert!(out.len().is_multiple_of(4));
        let Packet::SourceDescription(sdes) = one(&out) else { panic!("SDES") };
        assert_eq!(sdes.cnames().next().map(|(_, name)| name.len()), Some(len));
    }
}

#[test]
fn goodbyes_name_their_streams_and_reason() {
    let Packet::Bye(bye) = one(&[0x81, 203, 0, 2, 0, 0, 0, 9, 3, b'e', b'n', b'd']) else { panic!("BYE") };
    assert_eq!((bye.ssrcs.collect::<Vec<_>>(), bye.reason), (vec![9], Some(&b"end"[..])));
    let samples = samples();
    let Packet::Bye(bye) = one(&samples[3]) else { panic!("BYE") };
    assert_eq!((bye.ssrcs.count(), bye.reason), (3, None));
}

#[test]
fn a_nack_packs_sequence_numbers_and_unpacks_them_over_the_wrap() {
    let wanted = [65_530, 65_531, 65_535, 10, 11, 27, 28, 500];
    let mut out = Vec::new();
    write_nack(&mut out, 1, 2, wanted);
    // 65,530 takes those up to 10 (16 further on), 11 up to 27, 28 and 500 are alone.
    assert_eq!(out.len(), 12 + 4 * 4);
    assert_eq!(out[12..16], [0xFF, 0xFA, 0x80, 0x11]);
    let Packet::Nack(nack) = one(&out) else { panic!("NACK") };
    assert_eq!((nack.sender, nack.media), (1, 2));
    assert_eq!(nack.sequences().collect::<Vec<_>>(), wanted);
    out.clear();
    write_nack(&mut out, 1, 2, []);
    assert!(out.is_empty());
}

#[test]
fn random_nacks_survive() {
    let mut rng = Rng::new(1);
    for _ in 0..500 {
        let mut sequence = rng.next() as u16;
        let wanted: Vec<u16> = (0..1 + rng.below(60))
            .map(|_| {
                sequence = sequence.wrapping_add(1 + rng.below(30) as u16);
                sequence
            })
            .collect();
        let mut out = Vec::new();
        write_nack(&mut out, 1, 2, wanted.iter().copied());
        let Packet::Nack(nack) = one(&out) else { panic!("NACK") };
        assert_eq!(nack.sequences().collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn keyframe_requests_read_back() {
    let samples = samples();
    assert!(matches!(one(&samples[5]), Packet::Pli { sender: 1, media: 2 }));
    let Packet::Fir(fir) = one(&samples[6]) else { panic!("FIR") };
    assert_eq!(fir.entries.collect::<Vec<_>>(), [FirEntry { ssrc: 5, number: 255 }]);
}

#[test]
fn remb_keeps_18_significant_bits() {
    for (bitrate, read) in [(0, 0), (262_143, 262_143), (262_145, 262_144), (3_000_000_001, 2_999_992_320)] {
        let mut out = Vec::new();
        write_remb(&mut out, 1, Bitrate(bitrate), &[4, 5]);
        let Packet::Remb(remb) = one(&out) else { panic!("REMB") };
        assert_eq!(remb.bitrate, Bitrate(read));
        assert_eq!(remb.ssrcs.collect::<Vec<_>>(), [4, 5]);
    }
    let mut out = Vec::new();
    write_remb(&mut out, 1, Bitrate(u64::MAX), &[]);
    let Packet::Remb(remb) = one(&out) else { panic!("REMB") };
    assert_eq!(remb.bitrate.0, u64::MAX - (u64::MAX >> 18));
    // The largest exponent with the largest mantissa is more than 64 bits.
    out[17..20].fill(0xFF);
    let Packet::Remb(remb) = one(&out) else { panic!("REMB") };
    assert_eq!(remb.bitrate.0, u64::MAX);
}

#[test]
fn the_bytes_of_a_remb_are_those_of_the_draft() {
    let bytes = [
        0x8F, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x0B, 0xD0, 0x90, 0xDE, 0xAD,
        0xBE, 0xEF,
    ];
    let Packet::Remb(remb) = one(&bytes) else { panic!("REMB") };
    assert_eq!(remb.bitrate, Bitrate(0x3_D090 << 2));
}

#[test]
fn a_compound_is_taken_apart_and_ends_where_it_cannot_be_trusted() {
    let compound: Vec<u8> = samples().concat();
    assert_eq!(packets(&compound).filter(|p| !matches!(p, Packet::Malformed)).count(), samples().len());
    let mut cut = compound.clone();
    cut.truncate(compound.len() - 1);
    assert!(matches!(packets(&cut).last(), Some(Packet::Malformed)));
    assert_eq!(packets(&cut).count(), samples().len());
    // A well-formed stranger in the middle does not hide what follows; nor does a known type with broken content.
    let mut mixed = vec![0x80, 204, 0, 1, 1, 2, 3, 4, 0x81, 205, 0, 1, 1, 2, 3, 4];
    write_pli(&mut mixed, 1, 2);
    let found: Vec<_> = packets(&mixed).collect();
    assert!(matches!(
        found[..],
        [Packet::Other { packet_type: 204, format: 0 }, Packet::Malformed, Packet::Pli { .. }]
    ));
}

#[test]
fn padding_is_cut_off() {
    let padded = [0xA1, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4];
    assert!(matches!(one(&padded), Packet::Pli { sender: 1, media: 2 }));
    let mut wrong = padded;
    wrong[15] = 13;
    assert!(matches!(one(&wrong), Packet::Malformed));
    wrong[15] = 0;
    assert!(matches!(one(&wrong), Packet::Malformed));
}

fn statuses(compound: &[u8]) -> (u16, Vec<Option<i64>>) {
    let Packet::TransportFeedback(feedback) = one(compound) else {
        panic!("transport feedback: {compound:?}")
    };
    let all: Vec<_> = feedback.statuses().collect();
    for (i, status) in all.iter().enumerate() {
        assert_eq!(status.sequence, feedback.base_sequence.wrapping_add(i as u16));
    }
    (feedback.base_sequence, all.into_iter().map(|s| s.arrival).collect())
}

fn feedback(chunks: &[u16], count: u16, deltas: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0xFF, 0xFE];
    body.extend_from_slice(&count.to_be_bytes());
    body.extend_from_slice(&[0xFF, 0xFF, 0xFF, 9]);
    body.extend(chunks.iter().flat_map(|c| c.to_be_bytes()));
    body.extend_from_slice(deltas);
    body.resize(body.len().next_multiple_of(4), 0);
    let mut packet = vec![0x8F, 205, 0, (body.len() / 4) as u8];
    packet.extend_from_slice(&body);
    packet
}

#[test]
fn every_kind_of_status_chunk_is_read() {
    // The reference time is -1: 256 ticks before zero.
    let (base, got) = statuses(&feedback(&[0x2003], 3, &[1, 2, 3]));
    assert_eq!((base, got), (65_534, vec![Some(-255), Some(-253), Some(-250)]));
    let (_, got) = statuses(&feedback(&[0x0002, 0x4001], 3, &[0xFF, 0xFE]));
    assert_eq!(got, [None, None, Some(-258)], "not received, then a negative delta");
    let (_, got) = statuses(&feedback(&[0b1000_1000_0000_0001], 14, &[5, 6]));
    assert_eq!(got.iter().flatten().collect::<Vec<_>>(), [&-251, &-245]);
    assert_eq!((got[0], got[2], got[13]), (None, Some(-251), Some(-245)));
    let (_, got) = statuses(&feedback(&[0b1101_1000_0000_0011], 7, &[4, 1, 0]));
    assert_eq!(got, [Some(-252), Some(4), None, None, None, None, None], "the reserved symbol has no delta");
}

#[test]
fn feedback_that_lacks_chunks_or_deltas_is_malformed() {
    for bytes in [
        feedback(&[], 1, &[]),
        feedback(&[0x2002], 3, &[1, 2]),
        feedback(&[0x2007], 7, &[1, 2]),
        feedback(&[0x4004], 4, &[0, 1, 0, 1, 0, 1]),
    ] {
        assert!(matches!(one(&bytes), Packet::Malformed), "{bytes:?}");
    }
    assert!(statuses(&feedback(&[], 0, &[])).1.is_empty());
    let (_, got) = statuses(&feedback(&[0x1FFF; 9], 65_535, &[]));
    assert_eq!(got.len(), 65_535, "a few bytes may claim this much");
}

#[test]
fn a_chunk_that_covers_more_than_the_count_ends_at_the_count() {
    let (_, got) = statuses(&feedback(&[0xBFFF], 5, &[4; 5]));
    assert_eq!(got, (1..=5).map(|i| Some(-256 + 4 * i)).collect::<Vec<_>>());
    let (_, got) = statuses(&feedback(&[0x3FFF], 2, &[4; 2]));
    assert_eq!(got, [Some(-252), Some(-248)]);
}

/// Writes feedback until all is covered, and reads it back.
fn round_trip(base: u16, arrivals: &[Option<i64>]) -> Vec<Option<i64>> {
    let (mut read, mut at) = (Vec::new(), 0);
    while at < arrivals.len() {
        let mut out = Vec::new();
        let sequence = base.wrapping_add(at as u16);
        let covered = write_transport_feedback(&mut out, 1, 2, at as u8, sequence, &arrivals[at..]);
        if covered == 0 {
            assert!(out.is_empty() && arrivals[at..].iter().all(Option::is_none));
            read.resize(arrivals.len(), None);
            return read;
        }
        assert!(out.len() <= 1_200, "fits a datagram: {}", out.len());
        fuzz::rtcp_compound(&out);
        let (first, statuses) = statuses(&out);
        assert_eq!((first, statuses.len()), (sequence, covered));
        read.extend(statuses);
        at += covered;
    }
    read
}

#[test]
fn written_feedback_reads_back_whatever_the_pattern() {
    let mut rng = Rng::new(7);
    for round in 0..400 {
        let (loss, spread) = (rng.below(101), [1, 8, 300, 40_000][round % 4]);
        let mut at = rng.below(100_000) as i64;
        let arrivals: Vec<_> = (0..rng.below(700))
            .map(|_| {
                let back = if rng.chance(5) { rng.below(300) as i64 } else { 0 };
                at += rng.below(spread) as i64;
                (!rng.chance(loss)).then_some((at - back).max(0))
            })
            .collect();
        let read = round_trip(rng.next() as u16, &arrivals);
        assert_eq!(read, arrivals, "round {round}");
    }
}

#[test]
fn feedback_goes_on_over_the_wrap_of_the_reference_time() {
    let wrap = (1i64 << 24) * 256;
    let mut out = Vec::new();
    write_transport_feedback(&mut out, 1, 2, 0, 5, &[Some(wrap + 300), Some(wrap + 301)]);
    assert_eq!(statuses(&out).1, [Some(300), Some(301)]);
    out.clear();
    write_transport_feedback(&mut out, 1, 2, 0, 5, &[Some(wrap - 5)]);
    assert_eq!(statuses(&out).1, [Some(-5)], "24 bits, signed");
}

#[test]
fn long_runs_cost_two_bytes() {
    let mut arrivals = vec![None; 1_000];
    arrivals.push(Some(10));
    let mut out = Vec::new();
    assert_eq!(write_transport_feedback(&mut out, 1, 2, 0, 5, &arrivals), 1_001);
    assert_eq!(out.len(), 20 + 2 + 2 + 1 + 3);
}

#[test]
fn nothing_that_is_damaged_panics() {
    for sample in samples() {
        damaged(&sample, fuzz::rtcp_compound);
    }
    damaged(&feedback(&[0xD803, 0x2003, 0x0002, 0xBFFF], 26, &[1; 24]), fuzz::rtcp_compound);
}

#[test]
fn no_random_bytes_panic() {
    let mut rng = Rng::new(3);
    for round in 0..20_000 {
        let mut bytes = rng.bytes(round % 90);
        if let Some([first, kind, high, low, ..]) = bytes.first_chunk_mut::<5>() {
            // Mostly past the first checks.
            *first = 0x80 | *first & 0x3F;
            *kind = 200 + *kind % 8;
            *high = 0;
            *low %= 24;
        }
        fuzz::rtcp_compound(&bytes);
    }
}
