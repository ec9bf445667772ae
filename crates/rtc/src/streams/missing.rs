//! Which packets of a received stream are missing, and when to ask for them.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Missing packets that are remembered; the oldest are given up for newer ones. Half a second of a 1,000 packets per
/// second stream that has gone entirely.
const MAX_MISSING: usize = 512;
/// A packet that is merely overtaken mostly arrives within this time.
const REORDER_WAIT: Duration = Duration::from_millis(10);
/// A packet that was asked for this often is given up.
const MAX_TRIES: u8 = 10;
/// A packet that is missing for this long would come too late to be played.
const MAX_AGE: Duration = Duration::from_millis(1_500);
/// Bounds of the wait between two requests for a packet.
const RETRY: Range<Duration> = Duration::from_millis(20)..Duration::from_millis(400);

#[derive(Clone, Copy, Debug)]
struct Missing {
    sequence: u64,
    since: Instant,
    /// When it was asked for first.
    asked: Option<Instant>,
    due: Instant,
    tries: u8,
}

/// The list of missing packets, in ascending order.
#[derive(Clone, Debug, Default)]
pub(super) struct MissingList {
    list: VecDeque<Missing>,
    /// Not later than the earliest `due`.
    next: Option<Instant>,
    given_up: u64,
    /// How long an answer took, smoothed.
    answer_time: Option<Duration>,
}

impl MissingList {
    /// The packets of `skipped` were overtaken by a newer one just now.
    pub(super) fn skipped(&mut self, now: Instant, skipped: Range<u64>) {
        if skipped.is_empty() {
            return;
        }
        let keep_from = skipped.end.saturating_sub(MAX_MISSING as u64).max(skipped.start);
        self.given_up += keep_from - skipped.start;
        let due = now + REORDER_WAIT;
        for sequence in keep_from..skipped.end {
            if self.list.len() == MAX_MISSING {
                self.list.pop_front();
                self.given_up += 1;
            }
            self.list.push_back(Missing { sequence, since: now, asked: None, due, tries: 0 });
        }
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }

    /// A packet below the highest arrived; `answer`: as a retransmission.
    pub(super) fn arrived(&mut self, now: Instant, sequence: u64, answer: bool) {
        let Ok(at) = self.list.binary_search_by_key(&sequence, |m| m.sequence) else { return };
        let Some(missing) = self.list.remove(at) else { return };
        let Some(asked) = missing.asked.filter(|_| answer) else { return };
        // Asked once, answered once: the time between tells the round trip even to a side that only receives. When it
        // was asked for several times nobody knows which request was answered; that counts only as long as nothing
        // better is known, or else a round trip longer than the retry wait would never be learned.
        if missing.tries == 1 || self.answer_time.is_none() {
            let taken = now.saturating_duration_since(asked).min(RETRY.end);
            self.answer_time = Some(self.answer_time.map_or(taken, |old| (old * 7 + taken) / 8));
        }
    }

    /// Appends, in ascending order, what is to be asked for now.
    pub(super) fn take_due(&mut self, now: Instant, rtt: Option<Duration>, out: &mut Vec<u16>) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        let retry = self.retry_after(rtt);
        let before = self.list.len();
        self.list.retain(|m| m.tries < MAX_TRIES && now.saturating_duration_since(m.since) < MAX_AGE);
        self.given_up += (before - self.list.len()) as u64;
        for missing in self.list.iter_mut().filter(|m| m.due <= now) {
            missing.due = now + retry;
            missing.tries += 1;
            missing.asked.get_or_insert(now);
            out.push(missing.sequence as u16);
        }
        self.next = self.list.iter().map(|m| m.due).min();
    }

    fn retry_after(&self, rtt: Option<Duration>) -> Duration {
        let known = rtt.into_iter().chain(self.answer_time).max();
        // An answer also waits for the sender's pacing.
        let wait = known.map_or(Duration::from_millis(100), |rtt| rtt + rtt / 4);
        wait.clamp(RETRY.start, RETRY.end)
    }

    /// When [`Self::take_due`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Packets that will not be asked for any more.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn due(list: &mut MissingList, now: Instant, rtt: Duration) -> Vec<u16> {
        let mut out = Vec::new();
        list.take_due(now, Some(rtt), &mut out);
        out
    }

    #[test]
    fn a_packet_that_was_only_overtaken_is_not_asked_for() {
        let start = Instant::now();
        let mut list = MissingList::default();
        list.skipped(start, 10..13);
        list.arrived(start + 5 * MS, 11, false);
        assert!(due(&mut list, start + 9 * MS, MS).is_empty());
        assert_eq!(list.poll_timeout(), Some(start + 10 * MS));
        assert_eq!(due(&mut list, start + 10 * MS, MS), [10, 12]);
    }

    #[test]
    fn requests_are_spaced_by_the_round_trip_and_end() {
        let start = Instant::now();
        let mut list = MissingList::default();
        list.skipped(start, 10..11);
        let mut asked = Vec::new();
        for ms in 0..3_000 {
            let now = start + ms * MS;
            if !due(&mut list, now, 80 * MS).is_empty() {
                asked.push(ms);
            }
        }
        assert_eq!(asked, [10, 110, 210, 310, 410, 510, 610, 710, 810, 910]);
        assert_eq!((list.given_up(), list.poll_timeout()), (1, None));
    }

    #[test]
    fn nothing_is_asked_for_that_would_come_too_late() {
        let start = Instant::now();
        let mut list = MissingList::default();
        list.skipped(start, 10..11);
        let mut asked = 0;
        for ms in 0..5_000 {
            asked += due(&mut list, start + ms * MS, 400 * MS).len();
        }
        assert_eq!(asked, 4, "at 10, 410, 810 and 1,210 ms");
    }

    #[test]
    fn a_huge_gap_costs_bounded_memory_and_the_newest_are_kept() {
        let start = Instant::now();
        let mut list = MissingList::default();
        list.skipped(start, 1_000..31_000);
        list.skipped(start, 31_001..31_011);
        let asked = due(&mut list, start + 10 * MS, MS);
        assert_eq!(asked.len(), MAX_MISSING);
        assert_eq!(asked.last(), Some(&31_010));
        assert_eq!(list.given_up(), 30_010 - MAX_MISSING as u64);
    }

    #[test]
    fn the_time_of_an_answer_stands_in_for_an_unknown_round_trip() {
        let start = Instant::now();
        let mut list = MissingList::default();
        list.skipped(start, 10..11);
        let mut out = Vec::new();
        list.take_due(start + 10 * MS, None, &mut out);
        list.arrived(start + 210 * MS, 10, true);
        assert_eq!(list.retry_after(None), 250 * MS);
    }

    #[test]
    fn a_round_trip_longer_than_the_first_retry_is_learned() {
        let start = Instant::now();
        let mut list = MissingList::default();
        let mut asked = Vec::new();
        // Every packet is answered 300 ms after it was asked for first.
        for lost in 0..4u64 {
            let gap = start + lost as u32 * 1_000 * MS;
            list.skipped(gap, lost * 10..lost * 10 + 1);
            let mut out = Vec::new();
            for ms in 0..310 {
                list.take_due(gap + ms * MS, None, &mut out);
            }
            list.arrived(gap + 310 * MS, lost * 10, true);
            asked.push(out.len());
        }
        assert_eq!(asked, [3, 1, 1, 1]);
    }
}
