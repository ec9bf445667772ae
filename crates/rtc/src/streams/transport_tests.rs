//! Both ends of transport-wide feedback against each other, and the sending end against lies.

use std::time::{Duration, Instant};

use wire::rtcp::{self, Packet, TransportFeedback, write_transport_feedback};

use super::{FeedbackSummary, PacketResult, TransportFeedbackGenerator, TransportFeedbackHistory};

const MS: Duration = Duration::from_millis(1);

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn with_feedback<T>(bytes: &[u8], read: impl FnOnce(&TransportFeedback<'_>) -> T) -> T {
    match rtcp::packets(bytes).next() {
        Some(Packet::TransportFeedback(feedback)) => read(&feedback),
        other => panic!("no feedback: {other:?}"),
    }
}

fn deliver(
    history: &mut TransportFeedbackHistory,
    now: Instant,
    bytes: &[u8],
) -> (FeedbackSummary, Vec<PacketResult>) {
    let mut results = Vec::new();
    let summary = with_feedback(bytes, |feedback| history.receive(now, feedback, &mut results));
    assert_eq!(summary.results, results.len());
    (summary, results)
}

/// A feedback of our own making.
fn feedback(base: u16, arrivals: &[Option<i64>]) -> Vec<u8> {
    let mut out = Vec::new();
    let covered = write_transport_feedback(&mut out, 1, 2, 0, base, arrivals);
    assert_eq!(covered, arrivals.len());
    out
}

/// Packets with loss, jitter, reordering and lost feedback; returns what the sender learned, and what was true.
fn run(seed: u64, first: u16, packets: u64, loss: u64) -> (Vec<PacketResult>, Vec<(u64, Option<Duration>)>) {
    let mut random = Random(seed);
    let start = Instant::now();
    let mut history = TransportFeedbackHistory::new(start);
    for _ in 1..first {
        history.register(start, 0, 0);
    }
    let mut generator = TransportFeedbackGenerator::new(start);
    let mut on_the_way: Vec<(Instant, u16)> = Vec::new();
    let (mut results, mut truth) = (Vec::new(), Vec::new());
    for step in 0..packets + 300 {
        let now = start + Duration::from_millis(10) + step as u32 * MS;
        if step < packets {
            let sequence = history.register(now, 1_000, 9);
            // What is overtaken by the very first packet to arrive lies before all that is reported on.
            let jitter = if step < 20 { 0 } else { random.below(40) };
            let arrives = random.below(100) >= loss;
            let arrival = arrives.then(|| now + 20 * MS + Duration::from_micros(250 * jitter));
            on_the_way.extend(arrival.map(|at| (at, sequence)));
            truth.push((u64::from(first) + step, arrival.map(|at| at - start)));
        }
        on_the_way.sort();
        while on_the_way.first().is_some_and(|(at, _)| *at <= now) {
            let (at, sequence) = on_the_way.remove(0);
            generator.receive(at, 5, sequence);
        }
        let mut out = Vec::new();
        while generator.poll_feedback(now, 1, &mut out) {
            let (summary, new) = deliver(&mut history, now + 15 * MS, &out);
            assert!(!summary.refused);
            assert!(summary.rtt.is_none_or(|rtt| rtt >= 35 * MS && rtt < 150 * MS), "{summary:?}");
            results.extend(new);
            out.clear();
        }
    }
    (results, truth)
}

#[test]
fn the_sender_learns_what_arrived_when_and_what_did_not() {
    for (seed, first, loss) in [(1, 1, 0), (2, 1, 10), (3, 65_000, 30), (4, 32_700, 50), (5, 65_535, 5)] {
        let (results, truth) = run(seed, first, 3_000, loss);
        let mut last = std::collections::BTreeMap::new();
        for result in &results {
            assert_eq!((result.size, result.tag), (1_000, 9));
            let before = last.insert(result.sequence, result.arrival);
            assert_eq!(before.is_some(), result.was_lost, "each fate once, but for lost ones that came late");
        }
        // The zero of the receiver's clock is the generator's start, up to a tick.
        for (sequence, arrival) in truth {
            let told = last.get(&sequence).copied().flatten();
            let expected = arrival.map(|at| at.as_micros() as i64);
            assert_eq!(told.is_some(), expected.is_some(), "{sequence} of seed {seed}");
            if let (Some(told), Some(expected)) = (told, expected) {
                assert!((expected - told).abs() <= 250, "{told} is not {expected}");
            }
        }
    }
}

#[test]
fn nothing_stays_in_flight_when_everything_is_reported() {
    let start = Instant::now();
    let mut history = TransportFeedbackHistory::new(start);
    for _ in 0..10 {
        history.register(start, 1_000, 0);
    }
    assert_eq!(history.in_flight(), 10_000);
    deliver(&mut history, start, &feedback(3, &[Some(1), None, Some(2)]));
    assert_eq!(history.in_flight(), 5_000, "1 and 2 were passed over");
    deliver(&mut history, start, &feedback(3, &[Some(1), Some(1), Some(2)]));
    assert_eq!(history.in_flight(), 5_000);
    deliver(&mut history, start, &feedback(6, &[Some(1); 5]));
    assert_eq!(history.in_flight(), 0);
}

#[test]
fn a_packet_that_was_called_lost_may_arrive_but_not_the_other_way_round() {
    let start = Instant::now();
    let mut history = TransportFeedbackHistory::new(start);
    for _ in 0..3 {
        history.register(start, 1_000, 0);
    }
    let (_, results) = deliver(&mut history, start + 50 * MS, &feedback(1, &[Some(8), None, Some(9)]));
    assert_eq!(results.iter().map(|r| r.arrival).collect::<Vec<_>>(), [Some(2_000), None, Some(2_250)]);
    let (summary, results) = deliver(&mut history, start + 80 * MS, &feedback(1, &[None, Some(20), None]));
    assert_eq!(results.len(), 1);
    assert_eq!((results[0].sequence, results[0].arrival, results[0].was_lost), (2, Some(5_000), true));
    assert_eq!(summary.rtt, Some(80 * MS));
}

#[test]
fn feedback_on_packets_that_were_never_sent_changes_nothing() {
    let start = Instant::now();
    let mut history = TransportFeedbackHistory::new(start);
    let refused = FeedbackSummary { refused: true, ..FeedbackSummary::default() };
    for base in [0, 1, 5, 32_768, 65_535] {
        assert_eq!(deliver(&mut history, start, &feedback(base, &[Some(1)])), (refused, vec![]), "{base}");
    }
    for _ in 0..100 {
        history.register(start, 1_000, 0);
    }
    assert_eq!(deliver(&mut history, start, &feedback(100, &[Some(1), Some(2)])).0, refused);
    assert_eq!(deliver(&mut history, start, &feedback(101, &[Some(1)])).0, refused);
    assert_eq!(history.in_flight(), 100_000);
    assert_eq!(deliver(&mut history, start, &feedback(100, &[Some(1)])).0.results, 1);
}

#[test]
fn claims_about_tens_of_thousands_of_packets_are_paid_for_by_packets_sent() {
    let start = Instant::now();
    let mut history = TransportFeedbackHistory::new(start);
    for _ in 0..40_000 {
        history.register(start, 100, 0);
    }
    // Five run-length chunks that claim 40,000 packets.
    let mut bytes = vec![0x8F, 205, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0x9C, 0x40, 0, 0, 0, 0];
    bytes.extend([0x1F, 0xFF].repeat(4));
    bytes.extend([0x1F, 0x00, 0, 0]);
    bytes.resize(32, 0);
    let accepted = (0..1_000).filter(|_| !deliver(&mut history, start, &bytes).0.refused).count();
    assert_eq!(accepted, 1);
    assert!(history.memory() <= 16_384 * 16);
}

#[test]
fn the_reference_time_may_wrap() {
    let start = Instant::now();
    let mut history = TransportFeedbackHistory::new(start);
    let wrap = (1i64 << 23) * 256;
    let mut arrivals = Vec::new();
    for i in 0..6 {
        let sequence = history.register(start, 1_000, 0);
        // 24 signed bits turn over at 2^23 units of 64 ms.
        let at = wrap + (i - 3) * 1_000;
        arrivals.extend(deliver(&mut history, start, &feedback(sequence, &[Some(at)])).1);
    }
    let gaps: Vec<_> =
        arrivals.windows(2).map(|w| w[1].arrival.zip(w[0].arrival).map(|(b, a)| b - a)).collect();
    assert_eq!(gaps, [Some(250_000); 5]);
}

#[test]
fn a_reference_time_that_always_jumps_ahead_overflows_nothing() {
    let start = Instant::now();
    let mut history = TransportFeedbackHistory::new(start);
    for round in 0..300_000i64 {
        let sequence = history.register(start, 1_000, 0);
        deliver(&mut history, start, &feedback(sequence, &[Some(round * ((1 << 23) - 1) * 256)]));
    }
}

#[test]
fn the_history_grows_with_what_is_on_the_way_and_forgets_what_nobody_reports() {
    let start = Instant::now();
    let mut reported = TransportFeedbackHistory::new(start);
    let mut silent = TransportFeedbackHistory::new(start);
    for i in 0..100_000u32 {
        let now = start + i * MS;
        let sequence = reported.register(now, 1_000, 0);
        if i >= 100 {
            deliver(&mut reported, now, &feedback(sequence.wrapping_sub(100), &[Some(i64::from(i) * 4)]));
        }
        silent.register(now, 1_000, 0);
    }
    assert_eq!(reported.memory(), 128 * 16);
    assert_eq!(reported.in_flight(), 100_000);
    assert_eq!(silent.memory(), 2_048 * 16);
    assert_eq!(silent.in_flight(), 2_048 * 1_000);
}

#[test]
fn feedback_is_due_50_ms_after_the_first_packet_and_not_without_one() {
    let start = Instant::now();
    let mut generator = TransportFeedbackGenerator::new(start);
    let mut out = Vec::new();
    assert_eq!(generator.poll_timeout(), None);
    assert!(!generator.poll_feedback(start, 1, &mut out));
    generator.receive(start, 5, 10);
    generator.receive(start + 10 * MS, 5, 11);
    generator.receive(start + 10 * MS, 5, 11);
    assert_eq!(generator.poll_timeout(), Some(start + 50 * MS));
    assert!(!generator.poll_feedback(start + 49 * MS, 1, &mut out));
    assert!(generator.poll_feedback(start + 50 * MS, 1, &mut out));
    assert_eq!(generator.poll_timeout(), None);
    with_feedback(&out, |feedback| {
        assert_eq!((feedback.sender, feedback.media, feedback.base_sequence), (1, 5, 10));
        let arrivals: Vec<_> = feedback.statuses().map(|s| s.arrival).collect();
        assert_eq!(arrivals, [Some(0), Some(40)]);
    });
}

#[test]
fn what_is_missing_between_two_feedbacks_is_reported_and_a_late_packet_corrects_it() {
    let start = Instant::now();
    let mut generator = TransportFeedbackGenerator::new(start);
    let mut report = |packets: &[u16], at: Duration| {
        for sequence in packets {
            generator.receive(start + at, 5, *sequence);
        }
        let (mut out, mut all) = (Vec::new(), Vec::new());
        while generator.poll_feedback(start + at + 50 * MS, 1, &mut out) {
            with_feedback(&out, |feedback| {
                all.extend(feedback.statuses().map(|s| (s.sequence, s.arrival.is_some())));
            });
            out.clear();
        }
        all
    };
    assert_eq!(report(&[65_535], MS), [(65_535, true)]);
    assert_eq!(report(&[2], 60 * MS), [(0, false), (1, false), (2, true)]);
    assert_eq!(report(&[1], 120 * MS), [(1, true), (2, true)]);
    assert_eq!(report(&[2], 180 * MS), [], "a duplicate");
    assert_eq!(report(&[3], 60_000 * MS), [(3, true)], "after a long silence");
}

#[test]
fn sequence_numbers_that_jump_about_cost_bounded_memory_and_time() {
    let start = Instant::now();
    let mut generator = TransportFeedbackGenerator::new(start);
    let mut history = TransportFeedbackHistory::new(start);
    for _ in 0..70_000 {
        history.register(start, 100, 0);
    }
    let mut random = Random(9);
    let mut out = Vec::new();
    for step in 0..20_000u32 {
        let now = start + step * MS;
        let sequence = match random.below(4) {
            0 => random.below(65_536) as u16,
            1 => (step * 2_000) as u16,
            _ => step as u16,
        };
        generator.receive(now, 5, sequence);
        let mut rounds = 0;
        while generator.poll_feedback(now, 1, &mut out) {
            assert!(out.len() <= 1_200);
            deliver(&mut history, now, &out);
            out.clear();
            rounds += 1;
            assert!(rounds <= 100, "ends");
        }
    }
    assert!(generator.memory() <= 2 * 2_048 * 16);
}

#[test]
fn packets_hours_apart_are_reported_in_several_feedbacks() {
    let start = Instant::now();
    let mut generator = TransportFeedbackGenerator::new(start);
    generator.receive(start, 5, 1);
    generator.receive(start + Duration::from_secs(7_200), 5, 2);
    generator.receive(start + Duration::from_secs(7_300), 5, 3);
    let (now, mut arrivals) = (start + Duration::from_secs(7_400), Vec::new());
    let mut out = Vec::new();
    while generator.poll_feedback(now, 1, &mut out) {
        with_feedback(&out, |feedback| arrivals.extend(feedback.statuses().filter_map(|s| s.arrival)));
        out.clear();
    }
    assert_eq!(arrivals, [0, 7_200 * 4_000, 7_300 * 4_000]);
}
