//! Feedback by stream against what was sent, and against lies.

use std::time::{Duration, Instant};

use wire::rtcp::{self, Packet};

use super::{FeedbackSummary, PacketResult, StreamFeedbackHistory, TransportFeedbackHistory};

const MS: Duration = Duration::from_millis(1);
/// One second of a report's time.
const SECOND: u32 = 1 << 16;

/// What a report says of a packet: (age in 1/1,024 s, ECN); `None`: it has not arrived.
type Fate = Option<(u16, u8)>;

/// One block per stream: SSRC, first sequence number, fates.
fn report(timestamp: u32, blocks: &[(u32, u16, &[Fate])]) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 9];
    for (ssrc, base, fates) in blocks {
        body.extend(ssrc.to_be_bytes());
        body.extend(base.to_be_bytes());
        body.extend((fates.len() as u16).to_be_bytes());
        let word = |fate: &Fate| fate.map_or(0, |(age, ecn)| 0x8000 | u16::from(ecn) << 13 | age);
        body.extend(fates.iter().flat_map(|fate| word(fate).to_be_bytes()));
        body.resize(body.len().next_multiple_of(4), 0);
    }
    body.extend(timestamp.to_be_bytes());
    let words = body.len() as u16 / 4;
    [&[0x8B, 205], &words.to_be_bytes()[..], &body].concat()
}

struct Sender {
    start: Instant,
    history: TransportFeedbackHistory,
    by_stream: StreamFeedbackHistory,
}

impl Sender {
    fn new() -> Self {
        let start = Instant::now();
        let history = TransportFeedbackHistory::new(start);
        Self { start, history, by_stream: StreamFeedbackHistory::default() }
    }

    /// A packet every millisecond.
    fn send(&mut self, from_ms: u32, ssrc: u32, first: u16, count: u16) {
        for i in 0..count {
            let now = self.start + (from_ms + u32::from(i)) * MS;
            self.history.register(now, 1_000, 5);
            self.by_stream.register(&self.history, ssrc, first.wrapping_add(i));
        }
    }

    fn receive(&mut self, at_ms: u32, bytes: &[u8]) -> (FeedbackSummary, Vec<PacketResult>) {
        let mut results = Vec::new();
        let mut summary = FeedbackSummary::default();
        for packet in rtcp::packets(bytes) {
            if let Packet::CongestionFeedback(feedback) = packet {
                let now = self.start + at_ms * MS;
                summary = self.by_stream.receive(now, &feedback, &mut self.history, &mut results);
            }
        }
        (summary, results)
    }
}

#[test]
fn packets_of_several_streams_come_back_with_their_times_in_the_order_of_sending() {
    let mut sender = Sender::new();
    sender.send(0, 7, 65_534, 4);
    sender.send(4, 8, 100, 2);
    let arrived = |age| Some((age, 0));
    let bytes = report(
        10 * SECOND,
        &[(8, 100, &[arrived(0), None]), (7, 65_534, &[arrived(1_024), arrived(512), None, arrived(256)])],
    );
    let (summary, results) = sender.receive(100, &bytes);
    let told: Vec<_> = results.iter().map(|r| (r.sent - sender.start, r.arrival, r.tag)).collect();
    let at = |ms, arrival| (ms * MS, arrival, 5);
    assert_eq!(
        told,
        [
            at(0, Some(9_000_000)),
            at(1, Some(9_500_000)),
            at(2, None),
            at(3, Some(9_750_000)),
            at(4, Some(10_000_000)),
            at(5, None),
        ]
    );
    assert_eq!(summary, FeedbackSummary { results: 6, refused: false, rtt: Some(96 * MS) });
    let (_, results) = sender.receive(120, &report(10 * SECOND, &[(7, 0, &[arrived(0), arrived(0)])]));
    assert_eq!(results.len(), 1, "the one that was called lost, once");
    assert!(results[0].was_lost);
}

#[test]
fn times_go_on_where_the_clock_of_the_report_turns_over() {
    let mut sender = Sender::new();
    sender.send(0, 7, 0, 2);
    let (_, first) = sender.receive(50, &report(u32::MAX, &[(7, 0, &[Some((0, 0))])]));
    let (_, second) = sender.receive(100, &report(SECOND - 1, &[(7, 1, &[Some((0, 0))])]));
    let passed = second[0].arrival.expect("arrived") - first[0].arrival.expect("arrived");
    assert_eq!(passed, 1_000_000);
}

#[test]
fn marks_of_congestion_are_counted_and_arrivals_without_a_time_measure_nothing() {
    let mut sender = Sender::new();
    sender.send(0, 7, 0, 3);
    let bytes = report(SECOND, &[(7, 0, &[Some((9, 3)), Some((0x1FFF, 0)), Some((9, 1))])]);
    let (_, results) = sender.receive(50, &bytes);
    assert_eq!(results.len(), 2);
    assert_eq!(sender.by_stream.congestion_marks(), 1);
}

#[test]
fn reports_of_packets_that_were_never_sent_change_nothing() {
    let mut sender = Sender::new();
    sender.send(0, 7, 1_000, 10);
    let fates = [Some((0, 0)); 20];
    for (ssrc, base) in [(6, 1_000), (7, 1_010), (7, 980), (7, 40_000)] {
        let (summary, results) = sender.receive(50, &report(SECOND, &[(ssrc, base, &fates)]));
        assert!(summary.refused && results.is_empty(), "{ssrc} {base}");
    }
    // A stream that leaves numbers out has no packets there.
    sender.send(20, 7, 1_020, 1);
    let (_, results) = sender.receive(50, &report(SECOND, &[(7, 1_005, &fates)]));
    assert_eq!(results.len(), 6);
}

#[test]
fn packets_that_wait_for_a_report_are_remembered_and_memory_is_bounded() {
    let mut sender = Sender::new();
    sender.send(0, 7, 0, 1_000);
    let fates = [Some((0, 0)); 1_000];
    let (_, results) = sender.receive(1_000, &report(SECOND, &[(7, 0, &fates)]));
    assert_eq!(results.len(), 1_000);
    for ssrc in 0..5_000 {
        sender.send(2_000, ssrc, 0, 1);
    }
    for round in 0..10 {
        sender.send(3_000, 7, round * 6_000, 6_000);
    }
    assert!(sender.by_stream.memory() < 2_100 * 600, "{}", sender.by_stream.memory());
}

#[test]
fn no_bytes_of_a_report_break_anything() {
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as u32
    };
    let mut sender = Sender::new();
    for round in 0..2_000u32 {
        sender.send(round * 10, next() % 3, next() as u16, (next() % 4) as u16);
        let fates: Vec<Fate> = (0..next() % 60)
            .map(|_| (next() % 3 > 0).then(|| (next() as u16 & 0x1FFF, next() as u8 & 3)))
            .collect();
        let mut bytes = report(next() << (next() % 20), &[(next() % 4, next() as u16, &fates)]);
        let place = next() as usize % bytes.len();
        if round % 2 == 0 {
            bytes[place] = next() as u8;
        }
        let (summary, results) = sender.receive(round * 10 + 5, &bytes);
        assert!(summary.results == results.len() && results.len() <= 60);
    }
}
