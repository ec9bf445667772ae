//! The receiving end of transport-wide feedback: notes arrivals, reports them every 50 ms.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wire::rtcp::{TICK, write_transport_feedback};

use super::sequence::SequenceWindow;

/// Time between feedbacks.
const INTERVAL: Duration = Duration::from_millis(50);
/// Sequence numbers that are kept, reported or not: 32 KB at most, however the numbers jump.
const MAX_WINDOW: usize = 2_048;
/// Numbers behind the reported ones that are kept, so that a packet that comes late is reported after all.
const KEEP_REPORTED: usize = 512;

/// One per connection: all packets with a transport-wide sequence number go through it.
#[derive(Clone, Debug)]
pub struct TransportFeedbackGenerator {
    epoch: Instant,
    extender: SequenceWindow,
    /// Arrivals in ticks, from `start` on; the last one is never `None`.
    window: VecDeque<Option<i64>>,
    /// Sequence number of the window's first entry.
    start: u64,
    /// The first number that the next feedback speaks of.
    report_from: u64,
    count: u8,
    due: Option<Instant>,
    media_ssrc: u32,
}

impl TransportFeedbackGenerator {
    /// Arrival times are counted from `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            extender: SequenceWindow::default(),
            window: VecDeque::new(),
            start: 0,
            report_from: 0,
            count: 0,
            due: None,
            media_ssrc: 0,
        }
    }

    /// A packet of stream `ssrc` arrived at `now` with this transport-wide sequence number. Duplicates change nothing.
    #[inline]
    pub fn receive(&mut self, now: Instant, ssrc: u32, sequence: u16) {
        let sequence = self.extender.extend(sequence);
        if self.extender.highest().is_none_or(|highest| sequence > highest) {
            self.extender.insert(sequence);
        }
        let Some(place) = self.place_for(sequence) else { return };
        let ticks = now.saturating_duration_since(self.epoch).as_micros() / TICK.as_micros();
        let entry = &mut self.window[place];
        if entry.is_some() {
            return;
        }
        *entry = Some(ticks as i64);
        self.report_from = self.report_from.min(sequence);
        self.media_ssrc = ssrc;
        self.due.get_or_insert(now + INTERVAL);
    }

    /// Index of the number in the window, which is moved so that it has one. `None`: it lies before the window.
    fn place_for(&mut self, sequence: u64) -> Option<usize> {
        let jumped = sequence + 1 >= self.start + (self.window.len() + MAX_WINDOW) as u64;
        if self.window.is_empty() || jumped {
            // After a jump that far, what lies between is not worth reporting as lost.
            self.window.clear();
            self.start = sequence;
            self.report_from = sequence;
        }
        let place = usize::try_from(sequence.checked_sub(self.start)?).ok()?;
        let excess = (place + 1).saturating_sub(MAX_WINDOW);
        self.drop_front(excess);
        let place = place - excess;
        if place >= self.window.len() {
            self.window.resize(place + 1, None);
        }
        Some(place)
    }

    fn drop_front(&mut self, count: usize) {
        self.window.drain(..count);
        self.start += count as u64;
        self.report_from = self.report_from.max(self.start);
    }

    /// When feedback is due.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Appends one feedback packet by `sender`, when one is due. Call until `false`: after a long silence one packet
    /// does not hold everything.
    pub fn poll_feedback(&mut self, now: Instant, sender: u32, out: &mut Vec<u8>) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let from = (self.report_from - self.start) as usize;
        let arrivals = &self.window.make_contiguous()[from..];
        let base = self.report_from as u16;
        let covered = write_transport_feedback(out, sender, self.media_ssrc, self.count, base, arrivals);
        if covered == 0 {
            // Only what has not arrived is left, which the next feedback will say.
            self.due = None;
            return false;
        }
        self.count = self.count.wrapping_add(1);
        self.report_from += covered as u64;
        let reported = (self.report_from - self.start) as usize;
        if reported == self.window.len() {
            self.due = None;
        }
        self.drop_front(reported.saturating_sub(KEEP_REPORTED));
        true
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.window.capacity() * size_of::<Option<i64>>()
    }
}
