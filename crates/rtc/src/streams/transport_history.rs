//! The sending end of transport-wide feedback: what was sent when, and what the other side says became of it.

use std::time::{Duration, Instant};

use wire::rtcp::{TICK, TransportFeedback};

use crate::moment::AtMoment;

/// The ring starts this small and doubles while it would forget packets that may still be reported on.
const MIN_ENTRIES: usize = 128;
/// Two seconds of 8,000 packets per second; also well under half the number space, so that numbers are unambiguous.
const MAX_ENTRIES: usize = 16_384;
/// Feedback takes a round trip and its interval; what is silent for longer is as good as lost.
const KEEP_UNREPORTED: u64 = 2_000_000;
/// A packet that was called lost and comes after all comes soon.
const KEEP_LOST: u64 = 500_000;
/// Statuses that are looked at per sent packet, and in advance: a few bytes can claim 65,535 statuses.
const STATUSES_PER_PACKET: u32 = 4;
const MAX_STATUS_CREDIT: u32 = 65_536;

/// What feedback says of one packet that we sent. The input of congestion control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketResult {
    /// Transport-wide sequence number, extended.
    pub sequence: u64,
    /// When it was sent.
    pub sent: Instant,
    /// Its size in bytes, as registered.
    pub size: u16,
    /// As registered.
    pub tag: u8,
    /// When it arrived, in microseconds (a multiple of 250) on the receiver's clock, whose zero means nothing:
    /// differences do. `None`: it has not arrived.
    pub arrival: Option<i64>,
    /// An earlier feedback had called it lost; `arrival` is set.
    pub was_lost: bool,
}

/// What one feedback amounted to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FeedbackSummary {
    /// Results that it added.
    pub results: usize,
    /// It spoke of packets that were never sent, or of more than it is worth looking at; it changed nothing.
    pub refused: bool,
    /// Round trip of the newest packet it newly reports as arrived, the wait for the feedback included.
    pub rtt: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Empty,
    InFlight,
    Lost,
    Arrived,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Since the epoch.
    sent_micros: u64,
    /// Lower bits of the sequence number.
    sequence: u32,
    size: u16,
    tag: u8,
    state: State,
}

impl Entry {
    fn may_be_reported(&self, now_micros: u64) -> bool {
        let age = now_micros.saturating_sub(self.sent_micros);
        match self.state {
            State::InFlight => age < KEEP_UNREPORTED,
            State::Lost => age < KEEP_LOST,
            State::Empty | State::Arrived => false,
        }
    }
}

/// One per connection: every packet sent with a transport-wide sequence number is registered here.
#[derive(Clone, Debug)]
pub struct TransportFeedbackHistory {
    epoch: Instant,
    /// Microseconds since the epoch.
    micros: AtMoment<u64>,
    /// The other way round: those of the packet that was reported on last, and its moment.
    reported: (u64, Instant),
    /// A power of two long, or empty; a packet lies at its number modulo that.
    entries: Vec<Entry>,
    /// The number that the next packet gets.
    next: u64,
    /// Everything below has been reported on, or passed over by a report.
    reported_below: u64,
    in_flight: u64,
    credit: u32,
    /// Unwrapped reference time of the last feedback.
    reference: Option<i64>,
}

impl TransportFeedbackHistory {
    /// Numbers begin at 1.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            micros: AtMoment::default(),
            reported: (0, now),
            entries: Vec::new(),
            next: 1,
            reported_below: 1,
            in_flight: 0,
            credit: 1_024,
            reference: None,
        }
    }

    /// A packet of `size` bytes is sent now; returns the sequence number to write into it. `tag` comes back with the
    /// result and means what the caller likes (a probe, audio, padding).
    #[inline]
    pub fn register(&mut self, now: Instant, size: usize, tag: u8) -> u16 {
        let sequence = self.next;
        self.next += 1;
        self.credit = (self.credit + STATUSES_PER_PACKET).min(MAX_STATUS_CREDIT);
        let epoch = self.epoch;
        let sent_micros = self.micros.get(now, || now.saturating_duration_since(epoch).as_micros() as u64);
        let place = self.make_room(sequence, sent_micros);
        let size = size.min(usize::from(u16::MAX)) as u16;
        self.in_flight += u64::from(size);
        self.entries[place] =
            Entry { sent_micros, sequence: sequence as u32, size, tag, state: State::InFlight };
        sequence as u16
    }

    /// Where to put a packet; what lay there is forgotten, or the ring grows.
    #[inline]
    fn make_room(&mut self, sequence: u64, now_micros: u64) -> usize {
        if self.entries.is_empty() {
            self.entries = vec![Entry::default(); MIN_ENTRIES];
        }
        let old = self.entries[self.place(sequence)];
        if old.state != State::Empty {
            if self.entries.len() < MAX_ENTRIES && old.may_be_reported(now_micros) {
                self.grow();
            } else {
                self.evict(sequence - self.entries.len() as u64, old.size);
            }
        }
        self.place(sequence)
    }

    fn evict(&mut self, sequence: u64, size: u16) {
        if sequence >= self.reported_below {
            self.in_flight = self.in_flight.saturating_sub(u64::from(size));
            self.reported_below = sequence + 1;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![Entry::default(); self.entries.len() * 2];
        let old = std::mem::replace(&mut self.entries, doubled);
        for entry in old.into_iter().filter(|e| e.state != State::Empty) {
            let place = self.place(u64::from(entry.sequence));
            self.entries[place] = entry;
        }
    }

    fn place(&self, sequence: u64) -> usize {
        sequence as usize & (self.entries.len() - 1)
    }

    fn entry(&mut self, sequence: u64) -> Option<&mut Entry> {
        if self.entries.is_empty() {
            return None;
        }
        let place = self.place(sequence);
        self.entries.get_mut(place).filter(|e| e.state != State::Empty && e.sequence == sequence as u32)
    }

    /// What lies below `sequence` no longer counts as on its way.
    pub(super) fn pass_over(&mut self, sequence: u64) {
        let from = self.reported_below.max(self.oldest());
        for passed in from..sequence.min(self.next) {
            let size = self.entry(passed).map_or(0, |e| u64::from(e.size));
            self.in_flight = self.in_flight.saturating_sub(size);
        }
        self.reported_below = self.reported_below.max(sequence);
    }

    /// The number of the newest packet; 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    /// A report on this packet may still come.
    pub(super) fn is_awaited(&self, sequence: u64) -> bool {
        if sequence == 0 || self.entries.is_empty() {
            return false;
        }
        let find = |entry: &&Entry| entry.sequence == sequence as u32 && entry.state == State::InFlight;
        let newest = self.entries.get(self.place(self.last())).map_or(0, |entry| entry.sent_micros);
        let entry = self.entries.get(self.place(sequence)).filter(find);
        entry.is_some_and(|entry| entry.may_be_reported(newest))
    }

    fn oldest(&self) -> u64 {
        self.next.saturating_sub(self.entries.len() as u64).max(1)
    }

    /// Reads a feedback and appends a result for each packet whose fate it tells for the first time, or corrects from
    /// lost to arrived, in ascending order. Work is bounded by the number of packets sent, whatever it claims.
    pub fn receive(
        &mut self,
        now: Instant,
        feedback: &TransportFeedback<'_>,
        out: &mut Vec<PacketResult>,
    ) -> FeedbackSummary {
        let count = u32::from(feedback.count);
        let Some(base) = self.extend(feedback.base_sequence) else {
            return FeedbackSummary { refused: true, ..FeedbackSummary::default() };
        };
        let end = base + u64::from(count);
        if end > self.next || count > self.credit {
            return FeedbackSummary { refused: true, ..FeedbackSummary::default() };
        }
        self.credit -= count;
        let shift = self.unwrap_reference(feedback.reference);
        let before = out.len();
        let mut newest = None;
        for (sequence, status) in (base..).zip(feedback.statuses()) {
            let arrival = status.arrival.map(|ticks| (ticks + shift) * TICK.as_micros() as i64);
            if let Some(result) = self.result(sequence, arrival) {
                newest = result.arrival.map(|_| result.sent).or(newest);
                out.push(result);
            }
        }
        self.pass_over(end);
        FeedbackSummary {
            results: out.len() - before,
            refused: false,
            rtt: newest.map(|sent| now.saturating_duration_since(sent)),
        }
    }

    /// The fate of a packet, if it is news; `None` as arrival: it did not arrive.
    pub(super) fn result(&mut self, sequence: u64, arrival: Option<i64>) -> Option<PacketResult> {
        let entry = self.entry(sequence)?;
        let before = entry.state;
        let after = if arrival.is_some() { State::Arrived } else { State::Lost };
        if before == after || before == State::Arrived {
            return None;
        }
        entry.state = after;
        let Entry { sent_micros, size, tag, .. } = *entry;
        if self.reported.0 != sent_micros {
            self.reported = (sent_micros, self.epoch + Duration::from_micros(sent_micros));
        }
        let (_, sent) = self.reported;
        Some(PacketResult { sequence, sent, size, tag, arrival, was_lost: before == State::Lost })
    }

    /// The sent number that these 16 bits stand for; `None`: no such number was sent yet.
    fn extend(&self, sequence: u16) -> Option<u64> {
        let newest = self.next - 1;
        let behind = (newest as u16).wrapping_sub(sequence);
        newest.checked_sub(u64::from(behind)).filter(|sequence| *sequence > 0)
    }

    /// How many ticks to add to the arrivals of a feedback so that they go on where its 24-bit reference time wrapped.
    fn unwrap_reference(&mut self, reference: i32) -> i64 {
        let raw = i64::from(reference);
        let unwrapped = match self.reference {
            None => raw,
            Some(last) => {
                // Sign-extends the lower 24 bits of the difference.
                let difference = ((raw.wrapping_sub(last) as i32) << 8) >> 8;
                last + i64::from(difference)
            }
        };
        // Two thousand years: no clock gets there, but a peer that lies about every reference time could.
        let unwrapped = if unwrapped.abs() > 1 << 40 { raw } else { unwrapped };
        self.reference = Some(unwrapped);
        const TICKS_PER_REFERENCE: i64 = 256;
        (unwrapped - raw) * TICKS_PER_REFERENCE
    }

    /// Bytes that were sent and neither reported on nor passed over by a report.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}
