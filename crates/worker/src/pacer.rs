//! How fast one receiver's packets may leave: its estimate, made into budgets. Values in, values out; what waits lies in the
//! [`crate::outbox`]. Explained in `docs/pacing.md`.

use std::time::{Duration, Instant};

use base::Bitrate;
use rtc::cc::PacingBudget;

/// A packet waits until this much before the link is free, then a whole quantum leaves, less this: few messages instead of
/// many small ones. What the timer is late by must not cost the receiver any of its rate.
const EARLY: Duration = Duration::from_millis(1);
/// Retransmissions may use what the rest leaves of the estimate, this far ahead, and in any case one part of it in so many.
const UNUSED_AHEAD: Duration = Duration::from_millis(250);
const RESEND_SHARE: u64 = 10;
const RESENDS_AHEAD: Duration = Duration::from_millis(500);
/// In hundredths of what is wanted: an estimate above this shows that a path that once was the limit is so no more.
const WIDE: u64 = 115;

/// So long after more is wanted than the estimate, probes have found out what there is.
const NEW: Duration = Duration::from_secs(5);
/// Whose estimate fell so lately is known: as long as allocation does not trust it.
const DISTRUST: Duration = Duration::from_secs(30);
/// A new line is sent up to 2 Mbit/s whatever its estimate is (`docs/allocation.md`); that must be able to leave.
const AT_FIRST: Bitrate = Bitrate::kbps(2_500);

/// What is known of the path, and so how many times the estimate the pacing rate is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Path {
    /// It carries all that is wanted. The estimate tells how much was asked of it, not what it can carry, and there is no
    /// reason to hold frames back: in 5 ms leaves what six times 1.2 times the wanted rate brings in 36 ms, a frame of 30 a
    /// second. Keyframes are spread all the same.
    Wide,
    /// Not known (yet): the estimate is low because little was asked of it. As libwebrtc does, and [`AT_FIRST`] in any case.
    Unknown,
    /// The estimate has fallen or no longer rises, and less than all is carried: what leaves faster queues on the path, in
    /// front of audio, and looks like congestion. A keyframe comes no later when it waits here.
    Narrow,
}

impl Path {
    /// In tenths.
    fn factor(self) -> u64 {
        match self {
            Self::Wide => 60,
            Self::Unknown => 25,
            Self::Narrow => 11,
        }
    }
}

/// May a retransmission leave?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resending {
    Now,
    /// The budget is used up.
    Later,
    /// The share of retransmissions is used up. The receiver will ask again.
    Never,
}

/// The budgets of a receiver whose estimate is known.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    estimate: Bitrate,
    wanted: Bitrate,
    path: Path,
    /// Since when the path is [`Path::Unknown`], if it is.
    unknown_since: Instant,
    /// When the estimate fell last.
    fell_at: Option<Instant>,
    link: PacingBudget,
    /// All that leaves, at the estimate.
    total: PacingBudget,
    /// Retransmissions, at their share.
    resends: PacingBudget,
    /// Something waits; nothing that is paced leaves before.
    waits_until: Option<Instant>,
    /// Of the newest probe.
    cluster: u8,
}

impl Pacer {
    pub(crate) fn new(now: Instant, estimate: Bitrate, wanted: Bitrate) -> Self {
        let mut pacer = Self {
            estimate,
            wanted,
            path: Path::Unknown,
            unknown_since: now,
            fell_at: None,
            link: PacingBudget::new(now, estimate),
            total: PacingBudget::new(now, estimate).with_ahead(UNUSED_AHEAD),
            resends: PacingBudget::new(now, estimate).with_ahead(RESENDS_AHEAD),
            waits_until: None,
            cluster: 0,
        };
        pacer.set(now, estimate, wanted);
        pacer
    }

    /// What the path carries, and what would be sent if it carried more.
    pub(crate) fn set(&mut self, now: Instant, estimate: Bitrate, wanted: Bitrate) {
        if self.path == Path::Wide {
            self.unknown_since = now;
        }
        if estimate < self.estimate {
            self.fell_at = Some(now);
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        let known = since(self.unknown_since) > NEW || self.fell_at.is_some_and(|at| since(at) < DISTRUST);
        self.path = match self.path {
            _ if estimate.0.saturating_mul(100) >= wanted.0.saturating_mul(WIDE) => Path::Wide,
            Path::Narrow => Path::Narrow,
            _ if estimate >= wanted => Path::Wide,
            _ if known => Path::Narrow,
            _ => Path::Unknown,
        };
        (self.estimate, self.wanted) = (estimate, wanted);
        self.link.set_rate(self.rate());
        self.total.set_rate(estimate);
        self.resends.set_rate(Bitrate(estimate.0 / RESEND_SHARE));
    }

    /// A line is new for a while only, also when nothing is told of it.
    pub(crate) fn review(&mut self, now: Instant) {
        if self.path == Path::Unknown {
            self.set(now, self.estimate, self.wanted);
        }
    }

    /// At which what waits leaves.
    pub(crate) fn rate(&self) -> Bitrate {
        let rate = Bitrate(self.estimate.0.saturating_mul(self.path.factor()) / 10);
        if self.path == Path::Unknown { rate.max(AT_FIRST) } else { rate }
    }

    /// How long so many bytes take.
    pub(crate) fn time(&self, bytes: usize) -> Duration {
        self.link.time(bytes)
    }

    /// Does all of it leave at once?
    #[inline]
    pub(crate) fn fits(&self, now: Instant, bytes: usize) -> bool {
        self.waits_until.is_none() && self.link.fits(now, bytes)
    }

    /// May something leave that waits?
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.waits_until.is_none_or(|at| at <= now)
    }

    /// May one more packet leave?
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        self.link.has_room(now)
    }

    /// It leaves: within the budget, or whatever that is.
    #[inline]
    pub(crate) fn on_sent(&mut self, now: Instant, bytes: usize) {
        self.link.on_sent(now, bytes);
        self.total.on_sent(now, bytes);
    }

    /// The path is known to carry less than all.
    pub(crate) fn is_narrow(&self) -> bool {
        self.path == Path::Narrow
    }

    /// May a retransmission leave? `waiting`: there is video that waits, which uses what is left of the estimate.
    pub(crate) fn resending(&self, now: Instant, waiting: bool) -> Resending {
        match () {
            () if !self.is_open(now) || !self.has_room(now) => Resending::Later,
            () if self.resends.has_room(now) || !waiting && self.total.has_room(now) => Resending::Now,
            () => Resending::Never,
        }
    }

    pub(crate) fn on_resent(&mut self, now: Instant, bytes: usize) {
        self.on_sent(now, bytes);
        self.resends.on_sent(now, bytes);
    }

    /// Padding of this probe is sent. True for the first of it.
    pub(crate) fn is_new_probe(&mut self, cluster: u8) -> bool {
        std::mem::replace(&mut self.cluster, cluster) != cluster
    }

    /// What the budget had room for has left. `waiting`: there is more.
    #[inline]
    pub(crate) fn settle(&mut self, waiting: bool) {
        self.waits_until = if waiting { Some(self.resume_at()) } else { None };
    }

    fn resume_at(&self) -> Instant {
        let free_at = self.link.free_at();
        free_at.checked_sub(EARLY).unwrap_or(free_at)
    }

    /// When what waits may leave.
    #[inline]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.waits_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PACKET: usize = 1_000;

    /// Sends packets as the budget allows, woken as it says. When each left.
    fn drain(pacer: &mut Pacer, start: Instant, packets: usize) -> Vec<Duration> {
        let (mut now, mut left) = (start, Vec::new());
        while left.len() < packets {
            while left.len() < packets && pacer.is_open(now) && pacer.has_room(now) {
                pacer.on_sent(now, PACKET);
                left.push(now - start);
                pacer.settle(false);
            }
            pacer.settle(left.len() < packets);
            // A timer is late.
            now = pacer.poll_timeout().map_or(now, |at| at.max(now)) + MS / 2;
        }
        left
    }

    fn pacer(now: Instant, estimate: u64, wanted: u64) -> Pacer {
        Pacer::new(now, Bitrate::kbps(estimate), Bitrate::kbps(wanted))
    }

    #[test]
    fn a_frame_for_a_path_that_carries_all_leaves_at_once() {
        let now = Instant::now();
        // 2.5 Mbit/s at 30 frames a second.
        assert!(pacer(now, 3_000, 2_500).fits(now, 10_400));
    }

    #[test]
    fn a_keyframe_of_100_kb_does_not_leave_in_one_burst() {
        let now = Instant::now();
        let mut narrow = pacer(now, 1_100, 2_500);
        narrow.set(now, Bitrate::kbps(1_000), Bitrate::kbps(2_500));
        assert!(!narrow.fits(now, 100_000));
        let left = drain(&mut narrow, now, 100);
        let burst = left.iter().filter(|at| **at < 5 * MS).count();
        assert!(burst <= 2, "{burst}");
        // 800 kbit at 1.1 Mbit/s.
        assert!((710 * MS..730 * MS).contains(&left[99]), "{:?}", left[99]);
    }

    #[test]
    fn what_waits_leaves_in_runs_of_a_whole_quantum_and_late_timers_cost_no_rate() {
        let now = Instant::now();
        let mut wide = pacer(now, 5_000, 4_000);
        let left = drain(&mut wide, now, 1_000);
        let runs = left.chunk_by(|a, b| a == b).count();
        assert!(runs <= 1_000 / 14, "{runs} runs");
        // 8 Mbit at 30 Mbit/s.
        assert!((260 * MS..270 * MS).contains(&left[999]), "{:?}", left[999]);
    }

    #[test]
    fn a_path_that_has_met_its_limit_is_paced_with_care_until_it_carries_all_and_more() {
        let now = Instant::now();
        let mut pacer = pacer(now, 300, 2_000);
        let set = |pacer: &mut Pacer, estimate| {
            pacer.set(now, Bitrate::kbps(estimate), Bitrate::kbps(2_000));
            pacer.rate().0 as f64 / (estimate as f64 * 1e3)
        };
        assert_eq!(set(&mut pacer, 500), 5.0, "what is sent at first");
        assert_eq!(set(&mut pacer, 1_500), 2.5);
        assert_eq!(set(&mut pacer, 2_000), 6.0);
        assert_eq!(set(&mut pacer, 1_800), 1.1);
        assert_eq!(set(&mut pacer, 2_200), 1.1, "no back and forth at the limit");
        assert_eq!(set(&mut pacer, 2_300), 6.0);
    }

    #[test]
    fn a_line_is_new_for_a_few_seconds_only() {
        let start = Instant::now();
        let mut pacer = pacer(start, 800, 2_000);
        assert_eq!(pacer.rate(), AT_FIRST);
        pacer.review(start + NEW + MS);
        assert_eq!(pacer.rate(), Bitrate::kbps(880));
    }

    #[test]
    fn who_wants_video_long_after_sound_is_not_taken_to_have_met_a_limit() {
        let start = Instant::now();
        let mut pacer = pacer(start, 300, 60);
        let later = start + 10 * NEW;
        pacer.set(later, Bitrate::kbps(300), Bitrate::kbps(2_000));
        assert_eq!(pacer.rate(), AT_FIRST);
        pacer.review(later + NEW);
        assert_eq!(pacer.rate(), AT_FIRST);
        pacer.review(later + NEW + MS);
        assert_eq!(pacer.rate(), Bitrate::kbps(330));
    }

    #[test]
    fn who_wants_more_on_a_line_that_fell_lately_is_paced_with_care() {
        let start = Instant::now();
        let mut pacer = pacer(start, 3_000, 500);
        pacer.set(start, Bitrate::kbps(1_000), Bitrate::kbps(500));
        assert_eq!(pacer.rate(), Bitrate::kbps(6_000));
        let mut later = pacer.clone();
        pacer.set(start + DISTRUST / 2, Bitrate::kbps(1_000), Bitrate::kbps(2_000));
        assert_eq!(pacer.rate(), Bitrate::kbps(1_100));
        later.set(start + DISTRUST, Bitrate::kbps(1_000), Bitrate::kbps(2_000));
        assert_eq!(later.rate(), Bitrate::kbps(2_500));
    }

    #[test]
    fn while_video_waits_retransmissions_have_their_tenth_alone() {
        let now = Instant::now();
        let mut pacer = pacer(now, 1_000, 2_500);
        pacer.set(now, Bitrate::kbps(900), Bitrate::kbps(2_500));
        let mut sent = 0;
        while pacer.resending(now + sent as u32 * MS * 10, true) == Resending::Now {
            pacer.on_resent(now + sent as u32 * MS * 10, PACKET);
            sent += 1;
        }
        // Half a second of 90 kbit/s, and what comes meanwhile.
        assert!((5..=8).contains(&sent), "{sent}");
        assert_eq!(pacer.resending(now + sent as u32 * MS * 10, false), Resending::Now);
    }

    /// Bytes sent again in ten seconds of which far more is asked for, beside video of so many kbit/s.
    fn resent(pacer: &mut Pacer, start: Instant, kbps: u64) -> usize {
        let (mut sent, mut refused) = (0, 0);
        for ms in 0..10_000 {
            let now = start + ms * MS;
            if ms % 8 == 0 {
                pacer.on_sent(now, kbps as usize);
            }
            for _ in 0..10 {
                match pacer.resending(now, false) {
                    Resending::Now => {
                        pacer.on_resent(now, PACKET);
                        sent += PACKET;
                    }
                    Resending::Never => refused += 1,
                    Resending::Later => {}
                }
            }
        }
        assert!(refused > 1_000);
        sent
    }

    #[test]
    fn retransmissions_get_what_the_rest_leaves_of_the_estimate_and_a_share_in_any_case() {
        let now = Instant::now();
        let sent = resent(&mut pacer(now, 1_000, 2_000), now, 500);
        // 500 kbit/s for ten seconds, and a quarter of a second of the estimate ahead.
        assert!((620_000..680_000).contains(&sent), "{sent}");
        let sent = resent(&mut pacer(now, 1_000, 2_000), now, 1_000);
        assert!((125_000..165_000).contains(&sent), "{sent}");
    }
}
