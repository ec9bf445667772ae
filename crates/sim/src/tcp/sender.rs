//! The end that sends.

use std::time::Instant;

use super::cubic::Cubic;
use super::round_trip::RoundTrip;
use super::scoreboard::Scoreboard;
use super::{Ack, SEGMENT_PAYLOAD, Segment};

/// The end of a connection that sends segments.
#[derive(Default)]
pub struct Sender {
    cubic: Cubic,
    round_trip: RoundTrip,
    /// How many segments the application has handed over in all.
    supply: u64,
    board: Scoreboard,
    recovery: Option<Recovery>,
    /// When the retransmission timeout ends.
    timer: Option<Instant>,
    last_sent: Option<Instant>,
    retransmissions: u64,
    timeouts: u64,
}

/// From a loss until everything that was sent before it was noticed is acknowledged.
struct Recovery {
    /// The first segment that had not been sent then.
    until: u64,
    /// Fast recovery; `None` after a timeout, which starts slowly instead.
    reduction: Option<Reduction>,
}

/// Proportional rate reduction (RFC 6937): sends as much less than arrives as the window has become smaller.
struct Reduction {
    /// What was in flight at the beginning.
    flight: u64,
    delivered: u64,
    sent: u64,
    /// How many more may be sent until the next acknowledgement.
    quota: u64,
}

impl Sender {
    /// One with nothing to send, until [`Self::offer`].
    pub fn new() -> Self {
        Self::default()
    }

    /// One that never runs out.
    pub fn endless() -> Self {
        Self { supply: u64::MAX, ..Self::default() }
    }

    /// The application hands over so many bytes more; they fill whole segments.
    pub fn offer(&mut self, bytes: u64) {
        self.supply = self.supply.saturating_add(bytes.div_ceil(SEGMENT_PAYLOAD));
    }

    /// Has everything been acknowledged that was handed over?
    pub fn is_idle(&self) -> bool {
        self.board.first() == self.supply
    }

    /// The congestion window in segments.
    pub fn window(&self) -> f64 {
        self.cubic.window()
    }

    /// Segments sent more than once, and timeouts, since the beginning.
    pub fn trouble(&self) -> (u64, u64) {
        (self.retransmissions, self.timeouts)
    }

    /// An acknowledgement has arrived.
    pub fn receive(&mut self, now: Instant, ack: &Ack) {
        let full = self.board.flying() + 1 >= self.cubic.window() as u64;
        let delivered = self.board.mark_arrived(ack);
        if delivered == 0 {
            return;
        }
        self.round_trip.sample(now.saturating_duration_since(ack.echo));
        if self.recovery.as_ref().is_some_and(|recovery| self.board.first() >= recovery.until) {
            self.recovery = None;
        }
        // Links keep the order, up to jitter: what was sent a good while before something that arrived is lost.
        let before = ack.echo.checked_sub(self.round_trip.smoothed().unwrap_or_default() / 4);
        if self.board.mark_lost(before) && self.recovery.is_none() {
            self.begin_recovery(delivered);
        }
        match self.recovery.as_mut().and_then(|recovery| recovery.reduction.as_mut()) {
            Some(reduction) => reduction.delivered += delivered,
            // What the application does not use says nothing about the network (RFC 9438 section 5.8).
            None if full => {
                let round_trip = self.round_trip.smoothed().unwrap_or_default();
                self.cubic.acknowledged(now, delivered, round_trip);
            }
            None => {}
        }
        self.allot(delivered);
        self.timer = (!self.board.is_empty()).then(|| now + self.round_trip.timeout());
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.timer.is_none_or(|at| at > now) {
            return;
        }
        self.timeouts += 1;
        self.round_trip.back_off();
        self.cubic.timed_out();
        self.board.lose_all();
        self.recovery = Some(Recovery { until: self.board.next(), reduction: None });
        self.timer = Some(now + self.round_trip.timeout());
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timer
    }

    /// The next segment to send now: what was lost before what is new.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Segment> {
        let again = self.board.any_lost();
        if !again && self.board.next() >= self.supply {
            return None;
        }
        self.restart_after_idle(now);
        if !self.may_send() {
            return None;
        }
        self.retransmissions += u64::from(again);
        self.last_sent = Some(now);
        self.timer.get_or_insert(now + self.round_trip.timeout());
        Some(Segment { number: self.board.send(now), sent: now })
    }

    fn may_send(&mut self) -> bool {
        match self.recovery.as_mut().and_then(|recovery| recovery.reduction.as_mut()) {
            Some(reduction) if reduction.quota == 0 => false,
            Some(reduction) => {
                reduction.quota -= 1;
                reduction.sent += 1;
                true
            }
            None => self.board.flying() < self.cubic.window() as u64,
        }
    }

    fn restart_after_idle(&mut self, now: Instant) {
        let idle = self.last_sent.map(|last| now.saturating_duration_since(last));
        if self.board.is_empty() && idle.is_some_and(|idle| idle > self.round_trip.timeout()) {
            self.cubic.restart();
        }
    }

    fn begin_recovery(&mut self, delivered: u64) {
        let flight = self.board.len().max(delivered);
        self.cubic.lost();
        let reduction = Some(Reduction { flight, delivered: 0, sent: 0, quota: 0 });
        self.recovery = Some(Recovery { until: self.board.next(), reduction });
    }

    /// RFC 6937 section 3: how much fast recovery may send now.
    fn allot(&mut self, delivered: u64) {
        let flying = self.board.flying();
        let threshold = self.cubic.threshold();
        let Some(reduction) = self.recovery.as_mut().and_then(|r| r.reduction.as_mut()) else { return };
        let share = if flying as f64 > threshold {
            let due = (reduction.delivered as f64 * threshold / reduction.flight.max(1) as f64).ceil() as u64;
            due.saturating_sub(reduction.sent)
        } else {
            let limit = reduction.delivered.saturating_sub(reduction.sent).max(delivered) + 1;
            (threshold as u64).saturating_sub(flying).min(limit)
        };
        // The first retransmission always goes out: it is what recovery waits for.
        reduction.quota = share.max(u64::from(reduction.sent == 0));
    }
}
