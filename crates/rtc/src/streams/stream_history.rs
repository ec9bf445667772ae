//! The sending end of feedback by stream (RFC 8888): which of our packets a report of an SSRC and a sequence number means.

use std::collections::BTreeMap;
use std::time::Instant;

use wire::rtcp::{CongestionFeedback, FeedbackBlock};

use super::transport_history::{FeedbackSummary, PacketResult, TransportFeedbackHistory};

/// Streams that are remembered: two for each section a peer may have. Of more, the ones that began first stay.
const MAX_STREAMS: usize = 2_048;
/// Packets of one stream that are remembered: the memory begins small and doubles while reports come back this late.
const MIN_PACKETS: usize = 64;
const MAX_PACKETS: usize = 2_048;

/// The newest packets of one stream.
#[derive(Clone, Debug)]
struct Stream {
    /// A power of two long. At a sequence number modulo that: the transport-wide number of the packet, 0: none. Which
    /// packet it is follows from `newest`.
    numbers: Vec<u64>,
    newest: u16,
}

/// One per connection on which feedback by stream was negotiated, beside its [`TransportFeedbackHistory`]: there a packet
/// has its number whether or not it is written into it.
#[derive(Clone, Debug, Default)]
pub struct StreamFeedbackHistory {
    streams: BTreeMap<u32, Stream>,
    /// Unwrapped time of the last report, in 1/65,536 s.
    reference: Option<i64>,
    congestion_marks: u64,
}

impl StreamFeedbackHistory {
    /// The packet that `history` registered last is this one. Sequence numbers of a stream ascend.
    pub fn register(&mut self, history: &TransportFeedbackHistory, ssrc: u32, sequence: u16) {
        if !self.streams.contains_key(&ssrc) && self.streams.len() >= MAX_STREAMS {
            return;
        }
        let stream = self.streams.entry(ssrc).or_insert_with(|| Stream::new(sequence));
        stream.register(history, sequence);
    }

    /// Reads a report and appends a result for each packet whose fate it tells for the first time, or corrects from lost
    /// to arrived, in ascending order. Work is bounded by the length of the report. What it says of packets that were never
    /// sent, or so long ago that they are forgotten, is passed over, as are arrivals without a time: "more than 8 s ago" is
    /// no measurement.
    pub fn receive(
        &mut self,
        now: Instant,
        feedback: &CongestionFeedback<'_>,
        history: &mut TransportFeedbackHistory,
        out: &mut Vec<PacketResult>,
    ) -> FeedbackSummary {
        let reported_at = self.unwrap(feedback.timestamp);
        let before = out.len();
        let (mut refused, mut newest_number) = (false, 0);
        for block in feedback.blocks() {
            let Some(stream) = self.streams.get(&block.ssrc) else {
                refused = true;
                continue;
            };
            newest_number = newest_number.max(stream.newest_reported(&block));
            for report in block.reports() {
                let Some(number) = stream.number(report.sequence) else {
                    refused = true;
                    continue;
                };
                self.congestion_marks += u64::from(report.ecn == CONGESTION_EXPERIENCED);
                let arrival = report.age.map(|age| micros(reported_at, age));
                if report.received == arrival.is_some() {
                    out.extend(history.result(number, arrival));
                }
            }
        }
        let added = &mut out[before..];
        added.sort_unstable_by_key(|result| result.sequence);
        let newest = added.iter().rev().find(|result| result.arrival.is_some());
        let rtt = newest.map(|result| now.saturating_duration_since(result.sent));
        let results = added.len();
        history.pass_over(newest_number);
        FeedbackSummary { results, refused, rtt }
    }

    /// Packets that arrived with the mark of congestion (ECN-CE, RFC 3168). Ours leave unmarked, so that an honest path
    /// marks none.
    pub fn congestion_marks(&self) -> u64 {
        self.congestion_marks
    }

    /// Goes on where the 32 bits of a report's time wrapped (after 18 hours).
    fn unwrap(&mut self, timestamp: u32) -> i64 {
        let raw = i64::from(timestamp);
        let unwrapped = self.reference.map_or(raw, |last| last + i64::from(raw.wrapping_sub(last) as i32));
        // A thousand years: no clock gets there, but a peer that lies about every time could.
        let unwrapped = if unwrapped.abs() > 1 << 51 { raw } else { unwrapped };
        self.reference = Some(unwrapped);
        unwrapped
    }

    /// Bytes of memory held, about.
    pub fn memory(&self) -> usize {
        let streams = self.streams.values().map(|stream| stream.numbers.capacity() * size_of::<u64>());
        self.streams.len() * size_of::<(u32, Stream)>() + streams.sum::<usize>()
    }
}

const CONGESTION_EXPERIENCED: u8 = 3;

/// A time in 1/65,536 s, less an age in 1/1,024 s, in microseconds.
fn micros(reported_at: i64, age: u16) -> i64 {
    let at = reported_at - i64::from(age) * 64;
    ((i128::from(at) * 1_000_000) >> 16) as i64
}

impl Stream {
    fn new(sequence: u16) -> Self {
        Self { numbers: vec![0; MIN_PACKETS], newest: sequence.wrapping_sub(1) }
    }

    fn place(&self, sequence: u16) -> usize {
        usize::from(sequence) & (self.numbers.len() - 1)
    }

    fn register(&mut self, history: &TransportFeedbackHistory, sequence: u16) {
        let ahead = sequence.wrapping_sub(self.newest);
        if ahead == 0 || ahead > u16::MAX / 2 {
            return;
        }
        let old = self.numbers[self.place(sequence)];
        if self.numbers.len() < MAX_PACKETS && history.is_awaited(old) {
            self.grow();
        }
        // Numbers that the stream left out belong to no packet.
        let skipped = usize::from(ahead - 1).min(self.numbers.len());
        for back in 1..=skipped as u16 {
            let place = self.place(sequence.wrapping_sub(back));
            self.numbers[place] = 0;
        }
        let place = self.place(sequence);
        self.numbers[place] = history.last();
        self.newest = sequence;
    }

    #[cold]
    fn grow(&mut self) {
        let len = self.numbers.len();
        let mut grown = vec![0; len * 2];
        for back in 0..len as u16 {
            let sequence = self.newest.wrapping_sub(back);
            grown[usize::from(sequence) & (2 * len - 1)] = self.numbers[self.place(sequence)];
        }
        self.numbers = grown;
    }

    /// The transport-wide number of a packet that is remembered.
    fn number(&self, sequence: u16) -> Option<u64> {
        let behind = usize::from(self.newest.wrapping_sub(sequence));
        let number = self.numbers[self.place(sequence)];
        (behind < self.numbers.len() && number != 0).then_some(number)
    }

    /// Of the packets that a block speaks of, what follows the newest.
    fn newest_reported(&self, block: &FeedbackBlock<'_>) -> u64 {
        let newest = block.reports().filter(|report| report.received).last();
        newest.and_then(|report| self.number(report.sequence)).map_or(0, |number| number + 1)
    }
}
