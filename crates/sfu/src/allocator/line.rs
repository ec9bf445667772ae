//! What is known of one receiver's connection: how much there is for video, and whether it is a time to climb.

use std::time::{Duration, Instant};

use base::Bitrate;

use super::choose::Limits;
use super::recent::Recent;

/// What is kept free for retransmission: a share of the estimate, and at least so much.
const RESERVE_SHARE: f64 = 0.05;
const RESERVE_LEAST: u64 = 10_000;
/// To climb, the estimate must carry the result so many times.
const HEADROOM: f64 = 1.15;
/// The estimate must have been there so long, once a receiver was cut.
const PATIENCE: Duration = Duration::from_secs(1);
/// What has to be taken back so soon after a climb was not carried.
const TRIAL: Duration = Duration::from_secs(20);
/// So long nothing climbs to where it failed, twice as long each time.
const BACKOFF: Duration = Duration::from_secs(15);
const MOST_DOUBLINGS: u32 = 3;
/// So long without a failure, and failures are not counted any more.
const FORGIVEN: Duration = Duration::from_secs(240);
/// Nothing climbs above this share of what failed.
const BELOW_FAILED: f64 = 0.97;
/// A budget outside of these shares of what failed is another link, or another time.
const SAME_LINK: std::ops::RangeInclusive<f64> = 0.6..=1.3;
/// What a line is trusted to carry of which nothing is known yet: as many times its estimate as the first probes try, and so
/// much at most.
const TRUSTED_TIMES: u64 = 6;
const TRUSTED_MOST: u64 = 2_000_000;
/// A line that did not grow for so long although more was wanted carries no more.
const HUNGRY: Duration = Duration::from_secs(4);
/// An estimate that fell is often too low for a moment, while the queue that built up before runs empty. The lowest steps of what is
/// sent are kept so long on a line that is short of them, if it carries all of them but for this share.
const TENACITY: Duration = Duration::from_secs(2);
const TENACITY_SHARE: f64 = 1.5;
/// The same where the estimate fell lately.
const TENACITY_FELL: f64 = 1.8;
/// It rises when it is so many times its lowest of the last while. Then they are kept for longer.
const RISES: f64 = 1.04;
const TREND: Duration = Duration::from_secs(4);
const MOST_TENACITY: Duration = Duration::from_secs(6);
/// What is paused goes on with headroom, or without where it would have fitted for [`TREND`]; after so long it is tried even where so
/// much less than it takes is there: the estimate of a line on which little is sent may be low for that alone. What is paused again
/// within [`TRIAL`] is tried after twice the time, and so on.
const RETRY: Duration = Duration::from_secs(8);
const RETRY_SHARE: f64 = 1.25;
/// What was sent within so long, and costs so much more than there is, in tenths, has filled the queue of the path.
const COLLAPSE: Duration = Duration::from_millis(500);
const COLLAPSE_SHARE: u64 = 15;
/// Whose estimate fell so lately is not trusted.
const DISTRUST: Duration = Duration::from_secs(30);

/// A climb that was not carried.
#[derive(Clone, Copy, Debug)]
struct Failed {
    /// What it cost, in bits per second.
    cost: u64,
    until: Instant,
}

/// A connection with an estimate.
#[derive(Debug, Default)]
pub(super) struct Line {
    estimate: u64,
    recent: Recent,
    /// The same, for longer.
    trend: Recent,
    fell_at: Option<Instant>,
    /// Since when more is wanted than it carries.
    hungry_since: Option<Instant>,
    climbed_at: Option<Instant>,
    /// Since when it does not carry even the lowest steps.
    short_since: Option<Instant>,
    /// When something went on that was paused.
    resumed_at: Option<Instant>,
    /// When what is paused is tried again, and how often that failed.
    retry_at: Option<Instant>,
    retries: u32,
    /// The most that was sent lately, in bits per second.
    peak: Option<(Instant, u64)>,
    /// It was cut before.
    cut: bool,
    failed: Option<Failed>,
    failed_at: Option<Instant>,
    failures: u32,
}

impl Line {
    pub fn estimate(&self) -> Bitrate {
        Bitrate(self.estimate)
    }

    /// True when it fell.
    pub fn set_estimate(&mut self, now: Instant, estimate: Bitrate) -> bool {
        let fell = estimate.0 < self.estimate;
        if fell {
            self.fell_at = Some(now);
        }
        self.estimate = estimate.0;
        self.recent.push(now, estimate.0);
        self.trend.push(now, estimate.0);
        fell
    }

    /// A new stream may begin whatever the estimate.
    pub fn is_trusted(&self, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        let growing = self.hungry_since.is_none_or(|at| since(at) < HUNGRY);
        growing && self.fell_at.is_none_or(|at| since(at) > DISTRUST)
    }

    /// Is more wanted than it carries?
    pub fn set_hungry(&mut self, now: Instant, hungry: bool) {
        self.hungry_since = self.hungry_since.filter(|_| hungry).or(hungry.then_some(now));
    }

    /// When more may climb than now, if nothing happens.
    pub fn next_rise(&self) -> Option<Instant> {
        self.recent.next_rise(PATIENCE).filter(|_| self.cut)
    }

    /// What there is for video beside so much audio.
    pub fn limits(&mut self, now: Instant, audio: u64) -> Limits {
        let keep = for_video(self.estimate, audio);
        let patience = if self.cut { PATIENCE } else { Duration::ZERO };
        let calm = self.recent.lowest(now, patience).unwrap_or(self.estimate).min(self.estimate);
        let climb = (for_video(calm, audio) as f64 / HEADROOM) as u64;
        let trust = self.estimate.saturating_mul(TRUSTED_TIMES).min(TRUSTED_MOST);
        let climb = climb.min(self.barrier(now, keep));
        let lowest = for_video((self.estimate as f64 * self.tenacity(now)) as u64, audio);
        let lowest = lowest.max(self.estimate.saturating_sub(audio));
        let retried = self.retry_at.is_some_and(|at| at <= now);
        let retry = for_video((calm as f64 * RETRY_SHARE) as u64, audio);
        // What was enough for longer needs no headroom, unless that has failed.
        let long = for_video(self.trend.lowest(now, TREND).unwrap_or(self.estimate), audio);
        let resume = match () {
            () if retried => climb.max(long).max(retry),
            () if self.retries == 0 => climb.max(long),
            () => climb,
        };
        Limits { keep, lowest, climb, resume, trust }
    }

    /// For how many times the estimate the lowest steps are kept: more for a while, and as long as it seems that they soon will fit.
    fn tenacity(&mut self, now: Instant) -> f64 {
        let low = self.trend.lowest(now, TREND).unwrap_or(self.estimate);
        let rises = self.estimate as f64 >= low as f64 * RISES;
        let since = |at: Instant| now.saturating_duration_since(at);
        let short = self.short_since.map(since).unwrap_or_default();
        let fell = self.fell_at.is_some_and(|at| since(at) < MOST_TENACITY);
        match () {
            () if short >= MOST_TENACITY || short >= TENACITY && !rises => 1.0,
            () if fell => TENACITY_FELL,
            () => TENACITY_SHARE,
        }
    }

    /// Does it not carry even the lowest steps of what is sent?
    pub fn set_short(&mut self, now: Instant, short: bool) {
        self.short_since = self.short_since.filter(|_| short).or(short.then_some(now));
    }

    /// Has the queue of the path filled, and some been lost, because so much is `sent`, or was, and only `keep` is there? True
    /// once: then spatial layers stop until the keyframe of the lower ones, behind which nobody asks for what was lost.
    pub fn collapses(&mut self, now: Instant, sent: u64, keep: u64) -> bool {
        let fresh = |at: Instant| now.saturating_duration_since(at) < COLLAPSE;
        let before = self.peak.filter(|(at, most)| fresh(*at) && *most > sent);
        let (at, most) = before.unwrap_or((now, sent));
        let collapses = most > keep.saturating_mul(COLLAPSE_SHARE) / 10;
        self.peak = Some(if collapses { (now, 0) } else { (at, most) });
        collapses
    }

    /// Something is paused.
    pub fn paused(&mut self, now: Instant) {
        let soon = self.resumed_at.take().is_some_and(|at| now.saturating_duration_since(at) <= TRIAL);
        self.retries = if soon { self.retries + 1 } else { 0 };
        self.retry_at = Some(now + RETRY * (1 << self.retries.min(MOST_DOUBLINGS)));
    }

    /// Something goes on that was paused.
    pub fn resumed(&mut self, now: Instant) {
        self.resumed_at = Some(now);
    }

    /// Above this nothing climbs, because it failed.
    fn barrier(&mut self, now: Instant, budget: u64) -> u64 {
        let Some(failed) = self.failed else { return u64::MAX };
        if !SAME_LINK.contains(&(budget as f64 / failed.cost as f64)) {
            (self.failed, self.failures) = (None, self.failures.saturating_sub(1));
        } else if failed.until <= now {
            self.failed = None;
        }
        self.failed.map_or(u64::MAX, |failed| (failed.cost as f64 * BELOW_FAILED) as u64)
    }

    /// What cost so much had to be cut.
    pub fn was_cut(&mut self, now: Instant, cost: u64) {
        self.cut = true;
        if self.failed_at.is_some_and(|at| now.saturating_duration_since(at) > FORGIVEN) {
            self.failures = 0;
        }
        let soon = |at: Instant| now.saturating_duration_since(at) <= TRIAL;
        if self.climbed_at.take().is_some_and(soon) {
            let until = now + BACKOFF * (1 << self.failures.min(MOST_DOUBLINGS));
            self.failed = Some(Failed { cost: cost.max(1), until });
            self.failed_at = Some(now);
            self.failures += 1;
        }
    }

    /// More is sent than before.
    pub fn climbed(&mut self, now: Instant) {
        self.climbed_at = Some(now);
    }
}

/// What an estimate leaves for video, in bits per second.
fn for_video(estimate: u64, audio: u64) -> u64 {
    let reserve = ((estimate as f64 * RESERVE_SHARE) as u64).max(RESERVE_LEAST);
    estimate.saturating_sub(reserve).saturating_sub(audio)
}

/// The estimate with which so much video and audio would be sent.
pub(super) fn needed(video: u64, audio: u64) -> Bitrate {
    if video + audio == 0 {
        return Bitrate::default();
    }
    let media = video as f64 * HEADROOM + audio as f64;
    Bitrate((media / (1.0 - RESERVE_SHARE)).max(media + RESERVE_LEAST as f64).ceil() as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(now: Instant, kbps: u64) -> Line {
        let mut line = Line::default();
        line.set_estimate(now, Bitrate::kbps(kbps));
        line
    }

    #[test]
    fn what_is_needed_is_what_suffices() {
        let now = Instant::now();
        for (video, audio) in
            [(0, 40_000), (50_000, 0), (150_000, 40_000), (1_700_000, 40_000), (40_000_000, 0)]
        {
            let needed = needed(video, audio);
            let limits = |estimate| line(now, 0).set(now, estimate).limits(now, audio);
            assert!(limits(needed).climb >= video, "{video} {needed} {:?}", limits(needed));
            assert!(video == 0 || limits(Bitrate(needed.0 * 99 / 100)).climb < video, "{video} {needed}");
        }
    }

    impl Line {
        fn set(mut self, now: Instant, estimate: Bitrate) -> Self {
            self.set_estimate(now, estimate);
            self
        }
    }

    #[test]
    fn who_was_cut_waits_until_the_estimate_has_been_good_for_a_second() {
        let now = Instant::now();
        let mut line = line(now, 300);
        line.set_estimate(now, Bitrate::kbps(1_000));
        assert!(line.limits(now, 0).climb > 800_000);
        line.was_cut(now, 500_000);
        line.set_estimate(now, Bitrate::kbps(300));
        let later = now + Duration::from_millis(500);
        line.set_estimate(later, Bitrate::kbps(1_000));
        assert!(line.limits(later + Duration::from_millis(990), 0).climb < 300_000);
        assert!(line.limits(later + PATIENCE, 0).climb > 800_000);
    }

    #[test]
    fn what_failed_is_tried_again_later_each_time() {
        let mut now = Instant::now();
        let mut line = line(now, 1_200);
        for seconds in [15, 30, 60, 120, 120] {
            line.climbed(now);
            now += Duration::from_secs(5);
            line.was_cut(now, 1_000_000);
            let last = now + Duration::from_secs(seconds) - Duration::from_millis(1);
            assert_eq!(line.limits(last, 0).climb, 970_000);
            now += Duration::from_secs(seconds);
            assert!(line.limits(now, 0).climb > 980_000);
        }
    }

    #[test]
    fn what_is_paused_goes_on_without_headroom_after_a_while_and_is_tried_with_less_later() {
        let start = Instant::now();
        let mut line = line(start, 200);
        line.paused(start);
        line.was_cut(start, 190_000);
        let resume = |line: &mut Line, seconds| line.limits(start + Duration::from_secs(seconds), 0).resume;
        line.set_estimate(start + Duration::from_secs(1), Bitrate::kbps(300));
        assert_eq!(resume(&mut line, 3), (285_000.0 / HEADROOM) as u64);
        assert_eq!(resume(&mut line, 5), 285_000);
        assert_eq!(resume(&mut line, 8), 356_250);
    }

    #[test]
    fn what_is_paused_again_is_tried_later_each_time() {
        let mut now = Instant::now();
        let mut line = line(now, 200);
        for seconds in [8, 16, 32, 64, 64] {
            line.paused(now);
            let before = now + Duration::from_secs(seconds) - Duration::from_millis(1);
            assert!(line.limits(before, 0).resume <= 190_000, "{seconds}");
            now += Duration::from_secs(seconds);
            assert_eq!(line.limits(now, 0).resume, 237_500, "{seconds}");
            line.resumed(now);
            now += Duration::from_secs(5);
        }
    }

    #[test]
    fn the_lowest_is_kept_for_two_seconds_and_longer_while_the_estimate_rises() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut flat = line(start, 1_000);
        flat.set_estimate(at(100), Bitrate::kbps(100));
        flat.set_short(at(100), true);
        assert_eq!(flat.limits(at(2_000), 0).lowest, 170_000);
        assert_eq!(flat.limits(at(2_100), 0).lowest, 100_000);
        let mut rising = line(start, 1_000);
        rising.set_estimate(at(100), Bitrate::kbps(100));
        rising.set_short(at(100), true);
        rising.set_estimate(at(1_500), Bitrate::kbps(110));
        assert!(rising.limits(at(4_000), 0).lowest > 180_000);
        assert_eq!(rising.limits(at(6_100), 0).lowest, 110_000);
    }

    #[test]
    fn a_collapse_is_seen_once_and_in_two_falls_too() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut line = line(start, 5_000);
        assert!(!line.collapses(at(0), 1_700_000, 4_000_000));
        assert!(!line.collapses(at(50), 1_700_000, 1_200_000));
        assert!(line.collapses(at(110), 1_100_000, 700_000), "of what was sent before");
        assert!(!line.collapses(at(160), 700_000, 600_000));
        assert!(!line.collapses(at(2_000), 500_000, 400_000), "that was long ago");
    }

    #[test]
    fn a_line_that_collapsed_and_came_back_is_not_held_back() {
        let now = Instant::now();
        let mut line = line(now, 5_000);
        line.climbed(now);
        line.set_estimate(now, Bitrate::kbps(1_800));
        line.was_cut(now, 1_900_000);
        assert!(line.limits(now, 0).climb < 1_850_000);
        line.set_estimate(now, Bitrate::kbps(400));
        line.limits(now, 0);
        line.set_estimate(now, Bitrate::kbps(2_400));
        assert!(line.limits(now + PATIENCE, 0).climb > 1_900_000);
    }

    #[test]
    fn a_line_is_trusted_until_it_falls_or_does_not_grow_although_more_is_wanted() {
        let now = Instant::now();
        let mut line = line(now, 300);
        assert!(line.is_trusted(now + FORGIVEN));
        line.set_hungry(now, true);
        line.set_hungry(now + HUNGRY / 2, true);
        assert!(line.is_trusted(now + HUNGRY / 2));
        assert!(!line.is_trusted(now + HUNGRY));
        line.set_hungry(now + HUNGRY, false);
        assert!(line.is_trusted(now + HUNGRY));
        line.set_estimate(now + HUNGRY, Bitrate::kbps(290));
        assert!(!line.is_trusted(now + DISTRUST));
        assert!(line.is_trusted(now + HUNGRY + DISTRUST * 2));
        assert_eq!(line.limits(now, 0).trust, 290_000 * 6);
    }

    #[test]
    fn what_is_cut_long_after_it_climbed_did_not_fail() {
        let now = Instant::now();
        let mut line = line(now, 1_200);
        line.climbed(now);
        line.was_cut(now + TRIAL + Duration::from_secs(1), 1_000_000);
        assert!(line.limits(now + TRIAL + Duration::from_secs(1), 0).climb > 980_000);
    }
}
