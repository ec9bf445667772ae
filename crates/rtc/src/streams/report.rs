//! Sender reports of a sent stream, and what its receiver reports back.

use std::time::{Duration, Instant};

use base::NtpTime;
use wire::rtcp::ReportBlock;

/// Time between sender reports.
const INTERVAL: Duration = Duration::from_secs(1);
/// Sender reports whose echo is recognised.
const REMEMBERED: usize = 4;
/// What was reported this long ago says nothing of now: a stream that stopped is reported no more. Audio is reported every 5 s.
const STALE: Duration = Duration::from_secs(11);
/// Longer is no round trip but a broken clock.
const MAX_RTT: Duration = Duration::from_secs(10);

/// One moment on the publisher's two clocks and on ours: the source of a sent stream's sender reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// The publisher's wall clock.
    pub ntp: NtpTime,
    /// The RTP time of that moment, in the timestamps that the receiver sees.
    pub rtp: u32,
    /// The same moment on our clock.
    pub at: Instant,
}

impl Clock {
    /// The publisher's wall clock and the RTP time at `now`, by extrapolation.
    pub fn at(&self, now: Instant, clock_rate: u32) -> (NtpTime, u32) {
        let elapsed = now.saturating_duration_since(self.at);
        let units = elapsed.as_micros() * u128::from(clock_rate) / 1_000_000;
        (self.ntp.plus(elapsed), self.rtp.wrapping_add(units as u32))
    }
}

/// How the other side receives a stream, by its own reports.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Reception {
    /// Share of packets lost in the last interval, 0.0 to 1.0.
    pub loss: f32,
    /// Packets lost in all, less duplicates.
    pub cumulative_lost: i32,
    /// Interarrival jitter.
    pub jitter: Duration,
    /// Round trip, smoothed; unknown until a sender report was echoed.
    pub rtt: Option<Duration>,
    /// When the last report came.
    pub at: Option<Instant>,
}

impl Reception {
    /// The loss, as far as it was reported lately.
    pub fn loss_now(&self, now: Instant) -> f32 {
        let fresh = self.at.is_some_and(|at| now.saturating_duration_since(at) < STALE);
        if fresh { self.loss } else { 0.0 }
    }
}

/// The reporting side of one sent stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    clock: Option<Clock>,
    last: Option<Instant>,
    /// Middle bits of the times in our last reports, and when those went out; a ring.
    sent: [Option<(u32, Instant)>; REMEMBERED],
    next: usize,
    reception: Reception,
    heard: bool,
    /// The highest sequence number of the last report, and whether it was that of the one before, too.
    highest: Option<u32>,
    stood: bool,
}

impl Reports {
    pub(super) fn set_clock(&mut self, clock: Clock) {
        self.clock = Some(clock);
    }

    /// When the next sender report of a stream that is sending is due.
    pub(super) fn due(&self, first_sent: Instant) -> Option<Instant> {
        self.clock?;
        Some(self.last.map_or(first_sent, |last| last + INTERVAL))
    }

    /// The times for a sender report that goes out now.
    pub(super) fn take(&mut self, now: Instant, clock_rate: u32) -> Option<(NtpTime, u32)> {
        let (ntp, rtp) = self.clock?.at(now, clock_rate);
        self.last = Some(now);
        self.sent[self.next % REMEMBERED] = Some((ntp.middle(), now));
        self.next = (self.next + 1) % REMEMBERED;
        Some((ntp, rtp))
    }

    pub(super) fn receive(&mut self, now: Instant, block: &ReportBlock, clock_rate: u32) {
        self.heard = true;
        self.reception.at = Some(now);
        let stands = self.highest.replace(block.highest_sequence) == Some(block.highest_sequence);
        // After a report in which nothing new had come, what is missing may have been sent before that: a stream that was paused
        // in an outage is told to have lost half of its packets when it goes on.
        let silent = std::mem::replace(&mut self.stood, stands);
        self.reception.loss = if silent { 0.0 } else { f32::from(block.fraction_lost) / 256.0 };
        self.reception.cumulative_lost = block.cumulative_lost;
        let micros = u64::from(block.jitter) * 1_000_000 / u64::from(clock_rate.max(1));
        self.reception.jitter = Duration::from_micros(micros);
        if let Some(rtt) = self.round_trip(now, block) {
            self.reception.rtt = Some(self.reception.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
        }
    }

    /// RFC 3550 section 6.4.1, against our own record of when the echoed report went out: what was not sent is not
    /// measured, and a delay longer than the time that passed is not believed.
    fn round_trip(&self, now: Instant, block: &ReportBlock) -> Option<Duration> {
        if block.last_sender_report == 0 {
            return None;
        }
        let echoed = self.sent.iter().flatten().find(|(middle, _)| *middle == block.last_sender_report);
        let (_, at) = echoed?;
        let delay = Duration::from_micros(u64::from(block.delay) * 1_000_000 / 65_536);
        let rtt = now.saturating_duration_since(*at).checked_sub(delay)?;
        (rtt <= MAX_RTT).then_some(rtt)
    }

    pub(super) fn reception(&self) -> Reception {
        self.reception
    }

    /// The receiver has reported on the stream: it knows which section the SSRC belongs to.
    pub(super) fn heard(&self) -> bool {
        self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_before_a_pause_is_no_loss_of_the_time_after_it() {
        let mut reports = Reports::default();
        let mut now = Instant::now();
        let mut loss = |highest_sequence, fraction_lost| {
            now += Duration::from_secs(1);
            let block = ReportBlock { highest_sequence, fraction_lost, ..ReportBlock::default() };
            reports.receive(now, &block, 90_000);
            reports.reception().loss
        };
        assert_eq!(loss(100, 0), 0.0);
        assert_eq!(loss(130, 64), 0.25);
        assert_eq!(loss(130, 0), 0.0, "paused");
        assert_eq!(loss(190, 125), 0.0, "it goes on");
        assert_eq!(loss(220, 64), 0.25);
    }

    const MS: Duration = Duration::from_millis(1);

    fn block(last_sender_report: u32, delay: Duration) -> ReportBlock {
        let delay = (delay.as_micros() * 65_536 / 1_000_000) as u32;
        ReportBlock { last_sender_report, delay, ..ReportBlock::default() }
    }

    fn reports(start: Instant) -> (Reports, u32) {
        let mut reports = Reports::default();
        reports.set_clock(Clock { ntp: NtpTime(0xAAAA_BBBB_CCCC_DDDD), rtp: 1_000, at: start });
        let (ntp, _) = reports.take(start, 90_000).expect("the clock is known");
        (reports, ntp.middle())
    }

    #[test]
    fn the_clock_is_extrapolated() {
        let start = Instant::now();
        let clock = Clock { ntp: NtpTime(5 << 32), rtp: u32::MAX, at: start };
        let (ntp, rtp) = clock.at(start + 2_500 * MS, 48_000);
        assert_eq!((ntp, rtp), (NtpTime((7 << 32) | (1 << 31)), 119_999));
        let before = clock.at(start - MS, 48_000);
        assert_eq!(before, (clock.ntp, clock.rtp), "never backwards");
    }

    #[test]
    fn the_round_trip_is_what_is_left_without_the_delay() {
        let start = Instant::now();
        let (mut reports, middle) = reports(start);
        reports.receive(start + 250 * MS, &block(middle, 200 * MS), 90_000);
        let rtt = reports.reception().rtt.expect("echoed");
        assert!(rtt >= 50 * MS && rtt < 51 * MS, "{rtt:?}");
    }

    #[test]
    fn garbage_measures_no_round_trip() {
        let start = Instant::now();
        let (mut reports, middle) = reports(start);
        let now = start + 250 * MS;
        reports.receive(now, &block(middle ^ 1, 200 * MS), 90_000);
        reports.receive(now, &block(0, Duration::ZERO), 90_000);
        reports.receive(now, &block(middle, 251 * MS), 90_000);
        reports.receive(start + Duration::from_secs(60), &block(middle, MS), 90_000);
        assert_eq!(reports.reception().rtt, None);
        let odd = ReportBlock { jitter: u32::MAX, fraction_lost: 255, ..block(0, MS) };
        reports.receive(now, &odd, 0);
        assert!(reports.reception().loss < 1.0);
    }

    #[test]
    fn the_loss_of_a_stream_that_is_reported_no_more_is_none_of_now() {
        let start = Instant::now();
        let (mut reports, _) = reports(start);
        assert_eq!(reports.reception().loss_now(start), 0.0);
        reports.receive(start, &ReportBlock { fraction_lost: 128, ..ReportBlock::default() }, 90_000);
        assert_eq!(reports.reception().loss_now(start + 5_500 * MS), 0.5);
        assert_eq!(reports.reception().loss_now(start + STALE), 0.0);
    }

    #[test]
    fn an_old_report_that_is_echoed_late_still_counts() {
        let start = Instant::now();
        let (mut reports, first) = reports(start);
        for second in 1..REMEMBERED as u32 {
            reports.take(start + second * INTERVAL, 90_000);
        }
        let now = start + REMEMBERED as u32 * INTERVAL;
        reports.receive(now, &block(first, now - start - 30 * MS), 90_000);
        assert!(reports.reception().rtt.is_some_and(|rtt| rtt < 31 * MS));
    }
}
