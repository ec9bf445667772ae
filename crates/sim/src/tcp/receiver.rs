//! The end that acknowledges.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Ack, SEGMENT_PAYLOAD, SELECTIVE_RANGES, Segment};

/// How long one segment may wait for a second to be acknowledged with it; RFC 5681 section 4.2 allows 500 ms, Linux takes 40.
const DELAY: Duration = Duration::from_millis(40);

/// The end of a connection that takes segments and acknowledges them.
#[derive(Default)]
pub struct Receiver {
    next: u64,
    /// What arrived above `next`: neither touching nor overlapping, the range that grew last first.
    ranges: Vec<Range<u64>>,
    /// When the first segment was sent that is not acknowledged yet, and when it must be.
    waiting: Option<(Instant, Instant)>,
    ready: Option<Ack>,
}

impl Receiver {
    /// One that has received nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Payload bytes that have arrived without a gap.
    pub fn received(&self) -> u64 {
        self.next * SEGMENT_PAYLOAD
    }

    /// A segment has arrived.
    pub fn receive(&mut self, now: Instant, segment: &Segment) {
        let in_order = segment.number == self.next && self.ranges.is_empty();
        self.insert(segment.number);
        let (echo, first) = match self.waiting {
            Some((echo, _)) => (echo, false),
            None => (segment.sent, true),
        };
        if in_order && first {
            self.waiting = Some((echo, now + DELAY));
        } else {
            // The second in order, or anything that tells of a gap: at once.
            self.acknowledge(if in_order { echo } else { segment.sent });
        }
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((echo, _)) = self.waiting.filter(|(_, at)| *at <= now) {
            self.acknowledge(echo);
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.map(|(_, at)| at)
    }

    /// The next acknowledgement to send.
    pub fn poll_transmit(&mut self) -> Option<Ack> {
        self.ready.take()
    }

    fn acknowledge(&mut self, echo: Instant) {
        self.waiting = None;
        let selective = self.ranges.iter().take(SELECTIVE_RANGES).cloned().collect();
        self.ready = Some(Ack { next: self.next, selective, echo });
    }

    fn insert(&mut self, number: u64) {
        if number < self.next {
            return;
        }
        let mut grown = number..number + 1;
        self.ranges.retain(|range| {
            let touches = range.start <= grown.end && grown.start <= range.end;
            if touches {
                grown = range.start.min(grown.start)..range.end.max(grown.end);
            }
            !touches
        });
        if grown.start == self.next {
            self.next = grown.end;
        } else {
            self.ranges.insert(0, grown);
        }
    }
}
