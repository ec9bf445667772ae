//! What receivers without transport-wide feedback tell: REMB, and the loss in their reports.
//!
//! A receiver estimates no more than about 1.5 times what reaches it. While little is sent, a REMB therefore tells of our
//! sending and not of the path; it counts as a limit only when it is below what was sent. While nothing is sent it is not
//! repeated (aiortc): then the reports of loss decide alone, by the classic rule. Who never said one gets the start rate.
//!
//! A receiver that sees a queue lowers its word. One that rises says, however low it is, that the path carries what is sent:
//! receivers begin, and come back from an outage or a pause, with a low word that rises for many seconds, and to obey that would
//! pause the picture again, for ever. One that falls is obeyed: at once when packets are lost too, else step by step until it has
//! not risen for 2 s, since a receiver that is short of time takes its own delay for a queue.

/// A REMB caps a rate of our own for so long.
const VALID_US: i64 = 10_000_000;
/// One that is not repeated for so long says nothing of the path any more: receivers repeat it each second. The next is the first of
/// a new run.
const FRESH_US: i64 = 2_000_000;
/// Growth per second towards the start rate while no REMB shows a limit.
const GROWTH: f64 = 1.15;
/// The classic rule for loss (draft-ietf-rmcat-gcc-02 section 6).
const MUCH: f64 = 0.10;
const LITTLE: f64 = 0.02;
const RECOVERY: f64 = 1.05;
/// Growth per second beyond the start rate where reports without loss are all that comes: at first, and once the path has shown
/// its limit. How many times what is sent it may reach: as far as the first probes would go.
const FIRST_GROWTH: f64 = 1.25;
const UNTOLD_GROWTH: f64 = 1.08;
const UNTOLD_SHARE: f64 = 6.0;
/// Nothing is heard for so long, and for as many times longer than usual: an outage. What comes within the next time tells of it.
const OUTAGE_US: i64 = 3_000_000;
const OUTAGE_TIMES: i64 = 3;
const AFTERMATH_US: i64 = 3_000_000;
/// A word rises when it has not fallen for so long and grew by so much a second: receivers let it rise by 8 % and more.
const RISE_US: i64 = 1_000_000;
const RISE: f64 = 1.02;
/// How many times what is sent the path then carries: what is allotted keeps a reserve.
const RISE_SHARE: f64 = 1.2;
/// While nothing is lost, words that fall leave this share of the rate before for so long, of no more than so many times what is sent.
const FRIGHT_US: i64 = 2_000_000;
const FRIGHT_SHARE: f64 = 0.85;
const FRIGHT_TIMES: f64 = 2.0;
/// The first word of a run may be low, and those after it as low, for so long before it is taken for a limit.
const BEGINNING_US: i64 = 3_000_000;

/// The receiver's word.
#[derive(Clone, Debug)]
pub(super) struct Remb {
    last: Option<(i64, f64)>,
    run: Run,
    /// Bits sent per second, smoothed over about a second: pictures come in bursts, and so may words.
    sending: f64,
    /// Bytes sent from the start, until the last REMB, and until the last report.
    sent: u64,
    sent_until_remb: u64,
    sent_until_report: u64,
    rate: Option<f64>,
    /// Share of the estimate that loss leaves.
    loss_factor: f64,
    /// Packets were lost, as the last report says.
    loses: bool,
    /// The path has shown its limit.
    limited: bool,
    hearing: Hearing,
    /// When the last report came.
    reported_us: i64,
}

/// Words that come one soon after the other and do not fall.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    since_us: i64,
    /// The first of them.
    low: f64,
    /// The first of the falls that led to it, with no rise between them. `None`: it began because no word was fresh.
    falls_since_us: Option<i64>,
    /// The rate before the first of those.
    before: f64,
}

/// When something is heard of the receiver.
#[derive(Clone, Debug, Default)]
struct Hearing {
    last_us: i64,
    /// Smoothed time between two.
    interval_us: i64,
    aftermath_until_us: i64,
}

impl Hearing {
    /// Something is heard; `true` when it tells of an outage.
    fn of_outage(&mut self, now_us: i64) -> bool {
        let gap = now_us - std::mem::replace(&mut self.last_us, now_us);
        if gap >= OUTAGE_US.max(self.interval_us.saturating_mul(OUTAGE_TIMES)) && self.interval_us > 0 {
            self.aftermath_until_us = now_us + AFTERMATH_US;
        } else {
            self.interval_us =
                if self.interval_us > 0 { (7 * self.interval_us + gap) / 8 } else { gap.max(1) };
        }
        now_us < self.aftermath_until_us
    }
}

impl Run {
    /// The receiver sees no queue: `bps` is what it says now.
    fn rises(&self, now_us: i64, bps: f64) -> bool {
        let lasts_us = now_us - self.since_us;
        lasts_us >= RISE_US && bps >= self.low * RISE.powf(lasts_us as f64 / 1_000_000.0)
    }

    /// It has not been heard for long enough.
    fn begins(&self, now_us: i64) -> bool {
        self.falls_since_us.is_none() && now_us - self.since_us < BEGINNING_US
    }

    /// The receiver may only have been short of time.
    fn is_fright(&self, now_us: i64) -> bool {
        self.falls_since_us.is_some_and(|at| now_us - at < FRIGHT_US)
    }
}

impl Remb {
    pub(super) fn new() -> Self {
        Self {
            last: None,
            run: Run::default(),
            sending: 0.0,
            sent: 0,
            sent_until_remb: 0,
            sent_until_report: 0,
            rate: None,
            loss_factor: 1.0,
            loses: false,
            limited: false,
            hearing: Hearing::default(),
            reported_us: 0,
        }
    }

    #[inline]
    pub(super) fn on_sent(&mut self, size: usize) {
        self.sent += size as u64;
    }

    /// `floor`: what may be sent as long as nothing shows a limit, in bit/s. `now_us`: since the beginning.
    pub(super) fn on_remb(&mut self, now_us: i64, bps: f64, floor: f64) {
        let of_outage = self.hearing.of_outage(now_us);
        let elapsed_us = (now_us - self.last.map_or(0, |(at, _)| at)).max(1);
        let seconds = elapsed_us as f64 / 1_000_000.0;
        let sent = bits_since(&mut self.sent_until_remb, self.sent) / seconds;
        self.sending += seconds.min(1.0) * (sent - self.sending);
        let before = self.rate.unwrap_or(floor);
        let explained = bps >= self.sending && self.sending < before;
        let grown = (before * GROWTH.powf(seconds.min(1.0))).min(floor);
        self.follow(now_us, bps, before, of_outage);
        let (rises, begins) = (self.run.rises(now_us, bps), self.run.begins(now_us));
        self.rate = Some(match () {
            () if rises && self.sending > bps => before.max(RISE_SHARE * self.sending),
            () if rises || begins => bps.max(before),
            () if explained => bps.max(grown),
            () if self.run.is_fright(now_us) && !self.loses => {
                bps.max(FRIGHT_SHARE * self.run.before.min(FRIGHT_TIMES * self.sending))
            }
            () => bps,
        });
        self.limited |= !rises && !begins && !explained;
    }

    fn follow(&mut self, now_us: i64, bps: f64, rate: f64, of_outage: bool) {
        let fresh = self.last.replace((now_us, bps)).filter(|(at, _)| !of_outage && now_us - at < FRESH_US);
        match fresh {
            None => self.run = Run { since_us: now_us, low: bps, falls_since_us: None, before: rate },
            Some((at, last)) if bps < last => {
                let series = self.run.falls_since_us.filter(|_| !self.run.rises(at, last));
                let (first, before) = series.map_or((now_us, rate), |first| (first, self.run.before));
                self.run = Run { since_us: now_us, low: bps, falls_since_us: Some(first), before };
            }
            Some(_) => {}
        }
    }

    /// A receiver report. `floor` as for a REMB.
    pub(super) fn on_loss(&mut self, now_us: i64, loss: f64, floor: f64) {
        let of_outage = self.hearing.of_outage(now_us);
        let elapsed_us = (now_us - std::mem::replace(&mut self.reported_us, now_us)).max(1);
        let seconds = elapsed_us as f64 / 1_000_000.0;
        let sent = bits_since(&mut self.sent_until_report, self.sent) / seconds;
        if of_outage {
            return;
        }
        self.loses = loss >= LITTLE;
        if loss > MUCH {
            self.limited = true;
            self.loss_factor = (self.loss_factor * (1.0 - 0.5 * loss.min(1.0))).max(0.05);
        } else if loss < LITTLE {
            self.loss_factor = (self.loss_factor * RECOVERY).min(1.0);
            self.grow_untold(now_us, seconds.min(1.0), sent, floor);
        }
    }

    /// Where no REMB tells a limit, and nothing is lost.
    fn grow_untold(&mut self, now_us: i64, seconds: f64, sent: f64, floor: f64) {
        // Of who has never said one nothing is known: the start rate has to do.
        let told = self.last.is_none_or(|(at, _)| now_us - at < FRESH_US);
        if told || self.loss_factor < 1.0 {
            return;
        }
        let rate = self.rate.unwrap_or(floor);
        let back = (rate * GROWTH.powf(seconds)).min(floor);
        let growth = if self.limited { UNTOLD_GROWTH } else { FIRST_GROWTH };
        let beyond = (rate * growth.powf(seconds)).min(UNTOLD_SHARE * sent);
        self.rate = Some(rate.max(back).max(beyond));
    }

    /// The estimate when there is nothing else.
    pub(super) fn fallback(&self) -> Option<f64> {
        self.rate.map(|rate| rate * self.loss_factor)
    }

    /// The cap on an estimate of our own.
    pub(super) fn cap(&self, now_us: i64) -> Option<f64> {
        self.last.filter(|(at, _)| now_us - at < VALID_US).map(|(_, bps)| bps)
    }
}

/// Bits from `mark` on, which moves to `now`.
fn bits_since(mark: &mut u64, now: u64) -> f64 {
    (now - std::mem::replace(mark, now)) as f64 * 8.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: f64 = 300_000.0;

    fn second(remb: &mut Remb, now_s: i64, sent_bps: f64, told_bps: f64) {
        remb.on_sent((sent_bps / 8.0) as usize);
        remb.on_remb(now_s * 1_000_000, told_bps, FLOOR);
    }

    #[test]
    fn a_receiver_of_audio_alone_does_not_keep_video_out() {
        let mut remb = Remb::new();
        for now in 1..30 {
            second(&mut remb, now, 32_000.0, 58_000.0);
        }
        assert!(remb.fallback().is_some_and(|bps| bps > 290_000.0), "{remb:?}");
    }

    #[test]
    fn a_remb_below_what_is_sent_is_obeyed_at_once_where_packets_are_lost_and_else_within_2_seconds() {
        for (loss, at_once) in [(0.03, 120_000.0), (0.0, 0.85 * 440_000.0)] {
            let mut remb = Remb::new();
            second(&mut remb, 1, 290_000.0, 440_000.0);
            remb.on_loss(1_500_000, loss, FLOOR);
            second(&mut remb, 2, 290_000.0, 120_000.0);
            assert_eq!(remb.fallback(), Some(at_once));
            assert_eq!(remb.cap(2_500_000), Some(120_000.0));
            assert_eq!(remb.cap(60_000_000), None);
            second(&mut remb, 3, 250_000.0, 120_000.0);
            second(&mut remb, 4, 250_000.0, 120_000.0);
            assert_eq!(remb.fallback(), Some(120_000.0));
        }
    }

    #[test]
    fn loss_of_more_than_10_percent_lowers_it_and_less_does_not() {
        let mut remb = Remb::new();
        second(&mut remb, 1, 1e6, 1e6);
        remb.on_loss(1_100_000, 0.05, FLOOR);
        assert_eq!(remb.fallback(), Some(1e6));
        remb.on_loss(2_100_000, 0.2, FLOOR);
        assert_eq!(remb.fallback(), Some(0.9e6));
    }

    /// A second in which this much is sent, and a report tells so much loss of it.
    fn reported(remb: &mut Remb, now_s: i64, sent_bps: f64, loss: f64) -> f64 {
        remb.on_sent((sent_bps / 8.0) as usize);
        remb.on_loss(now_s * 1_000_000, loss, FLOOR);
        remb.fallback().unwrap_or(FLOOR)
    }

    #[test]
    fn a_receiver_that_has_never_said_a_remb_gets_the_start_rate_and_one_that_stopped_gets_more() {
        let mut remb = Remb::new();
        let mut rate = FLOOR;
        for now in 1..=8 {
            rate = reported(&mut remb, now, rate, 0.0);
        }
        assert_eq!(rate, FLOOR);
        second(&mut remb, 9, rate, 400_000.0);
        for now in 10..=18 {
            rate = reported(&mut remb, now, rate, 0.0);
        }
        assert!(rate > 2.0 * FLOOR, "{rate}");
        let shown = rate;
        for now in 19..=60 {
            rate = reported(&mut remb, now, 100_000.0, 0.0);
        }
        assert_eq!(rate, shown, "little is sent, which shows nothing more");
        for now in 61..=70 {
            rate = reported(&mut remb, now, rate, 0.3);
        }
        assert!(rate < 0.2 * shown, "{rate}");
    }

    #[test]
    fn a_remb_that_is_not_repeated_does_not_keep_a_picture_paused_for_ever() {
        let mut remb = Remb::new();
        second(&mut remb, 1, 250_000.0, 300_000.0);
        remb.on_loss(1_500_000, 0.03, FLOOR);
        second(&mut remb, 2, 250_000.0, 70_000.0);
        assert_eq!(remb.fallback(), Some(70_000.0));
        assert_eq!(reported(&mut remb, 3, 20_000.0, 0.0), 70_000.0, "it was told just now");
        let rates: Vec<f64> = (4..20).map(|now| reported(&mut remb, now, 20_000.0, 0.0)).collect();
        assert_eq!(rates.last(), Some(&FLOOR), "{rates:?}");
    }

    #[test]
    fn what_is_told_of_an_outage_is_no_limit_of_the_path() {
        let mut remb = Remb::new();
        for now in 1..=10 {
            second(&mut remb, now, 400_000.0, 600_000.0);
            reported(&mut remb, now, 400_000.0, 0.0);
        }
        let before = remb.fallback();
        for now in [17, 18] {
            second(&mut remb, now, 400_000.0, 60_000.0);
            reported(&mut remb, now, 400_000.0, 0.9);
        }
        assert_eq!(remb.fallback(), before);
        assert!(reported(&mut remb, 20, 400_000.0, 0.9) < 0.6 * 600_000.0, "loss that stays");
    }

    #[test]
    fn a_remb_that_rises_from_a_pause_does_not_pause_the_picture_again_and_one_that_falls_does() {
        let mut remb = Remb::new();
        for now in 1..=10 {
            second(&mut remb, now, 300_000.0, 400_000.0);
        }
        remb.on_loss(10_500_000, 0.03, FLOOR);
        second(&mut remb, 11, 300_000.0, 121_000.0);
        assert_eq!(remb.fallback(), Some(121_000.0));
        for now in 12..=21 {
            reported(&mut remb, now, 20_000.0, 0.0);
        }
        // As aiortc did, half a second apart, with 350 kbit/s sent from the first on.
        for (now_us, told) in [(22_000_000, 131_000.0), (22_500_000, 131_000.0), (23_000_000, 137_000.0)] {
            remb.on_sent(22_000);
            remb.on_remb(now_us, told, FLOOR);
            assert!(remb.fallback() >= Some(FLOOR), "{told}: {remb:?}");
        }
        remb.on_loss(23_400_000, 0.03, FLOOR);
        remb.on_sent(22_000);
        remb.on_remb(23_500_000, 120_000.0, FLOOR);
        assert_eq!(remb.fallback(), Some(120_000.0));
    }

    #[test]
    fn a_remb_that_stays_low_after_a_pause_is_obeyed_in_the_end() {
        let mut remb = Remb::new();
        second(&mut remb, 1, 290_000.0, 500_000.0);
        second(&mut remb, 20, 20_000.0, 500_000.0);
        let rates: Vec<f64> = (21..=40)
            .map(|now| {
                second(&mut remb, now, 290_000.0, 120_000.0 + f64::from(now as u8));
                remb.fallback().expect("a rate")
            })
            .collect();
        assert_eq!(rates.last(), Some(&120_040.0), "{rates:?}");
    }

    /// aiortc begins with what came in a second, however little, and rises by 8 % a second: two runs of it as they were.
    #[test]
    fn the_first_remb_of_a_receiver_does_not_pause_the_picture_however_low_it_is() {
        for (first, then) in [(122_730.0, 1.08), (145_750.0, 1.08)] {
            let mut remb = Remb::new();
            let (mut told, mut rates) = (first, Vec::new());
            for half in 0..40 {
                remb.on_sent(20_000);
                remb.on_remb(14_000_000 + half * 500_000, told, FLOOR);
                rates.extend(remb.fallback());
                told *= f64::sqrt(then);
            }
            assert!(rates.iter().all(|rate| *rate >= FLOOR), "{rates:?}");
        }
    }

    /// A receiver that is short of time takes its own delay for a queue, once, and then lets its word rise.
    #[test]
    fn a_remb_that_fell_once_and_rises_again_gives_back_what_is_sent_within_2_seconds() {
        let mut remb = Remb::new();
        for now in 1..=10 {
            second(&mut remb, now, 320_000.0, 400_000.0);
        }
        let mut rates = Vec::new();
        for (half, told) in (0..6).zip([210_000.0, 210_000.0, 220_000.0, 231_000.0, 242_000.0, 253_000.0]) {
            remb.on_sent(20_000);
            remb.on_remb(10_500_000 + half * 500_000, told, FLOOR);
            rates.extend(remb.fallback());
        }
        assert_eq!(rates[0], 0.85 * 400_000.0, "it may be a queue");
        assert!(rates[3] >= 330_000.0 && rates[5] >= 330_000.0, "{rates:?}");
    }

    #[test]
    fn a_remb_that_falls_again_and_again_is_obeyed_for_as_long_as_it_does() {
        let mut remb = Remb::new();
        second(&mut remb, 1, 400_000.0, 500_000.0);
        for half in 0..40 {
            remb.on_sent(25_000);
            let told = 255_000.0 + f64::from([4, 2, 0, 3][half % 4]) * 1_000.0;
            remb.on_remb(1_500_000 + half as i64 * 500_000, told, FLOOR);
            let most = if half < 4 { 0.85 * 500_000.0 } else { 260_000.0 };
            assert!(remb.fallback() <= Some(most), "{half}: {remb:?}");
        }
    }

    /// As aiortc did on a machine that had no time for it: a word with each packet of a burst, and what came in the last second
    /// seen to shrink.
    #[test]
    fn words_that_fall_in_a_burst_leave_most_of_what_is_sent() {
        let mut remb = Remb::new();
        for now in 1..=10 {
            second(&mut remb, now, 320_000.0, 400_000.0);
        }
        for (tenth, told) in
            (1..).zip([330_000.0, 331_000.0, 305_000.0, 277_000.0, 280_000.0, 215_000.0, 151_000.0])
        {
            remb.on_sent(4_000);
            for repeated in 0..5 {
                remb.on_remb(10_000_000 + tenth * 100_000 + repeated, told + repeated as f64, FLOOR);
            }
        }
        assert!(remb.fallback() >= Some(270_000.0), "{remb:?}");
    }

    /// aiortc again, right after a pause: what is sent is not known yet, and one word is a little lower.
    #[test]
    fn one_lower_word_right_after_a_pause_does_not_pause_the_picture_again() {
        let mut remb = Remb::new();
        for now in 1..=10 {
            reported(&mut remb, now, 63_000.0, 0.0);
        }
        for (now_us, bytes, told) in [
            (16_980_000, 60_000, 127_957.0),
            (17_566_000, 10_000, 127_957.0),
            (18_079_000, 22_000, 133_048.0),
            (18_577_000, 9_000, 138_278.0),
            (18_770_000, 7_000, 130_567.0),
        ] {
            remb.on_sent(bytes);
            remb.on_remb(now_us, told, FLOOR);
        }
        assert!(remb.fallback() >= Some(250_000.0), "{remb:?}");
    }

    #[test]
    fn who_reports_each_5_seconds_has_no_outage() {
        let mut remb = Remb::new();
        for report in 1..=10 {
            remb.on_sent(200_000);
            remb.on_loss(report * 5_000_000, 0.5, FLOOR);
        }
        assert!(remb.fallback().is_none_or(|rate| rate < 0.1 * FLOOR), "{remb:?}");
    }
}
