//! The numbers of a device's sends in a channel (csn): a send that is tried again is stored once, and order holds over refusals.

use std::collections::VecDeque;

use base::UnixMillis;

use crate::format::encoded_struct;
use crate::place::EventId;

/// Answers that are kept for a device: as many sends of a channel may be unanswered.
pub const UNANSWERED: usize = 256;

/// After this long without a send a device's numbers are forgotten. A client gives up a send after 7 days and becomes a new device
/// after 21, so that no number that is forgotten is sent again. In milliseconds: 30 days.
pub const FORGOTTEN: u64 = 30 * 24 * 3_600 * 1_000;

/// What was accepted of one device in one channel.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sends {
    /// The last accepted number; 0: none.
    last: u64,
    /// When that was, by the clock of the event.
    at: UnixMillis,
    /// The latest accepted: number, fingerprint of the content, event.
    answers: VecDeque<Answer>,
}

encoded_struct!(Sends { last, at, answers });

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Answer {
    csn: u64,
    content: u64,
    event: EventId,
    count: u64,
}

encoded_struct!(Answer { csn, content, event, count });

/// What a number means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbered {
    /// The next: to be accepted.
    Next,
    /// Accepted before, as this event, with its count.
    Again(EventId, u64),
    /// Something before it was not accepted. The last that was: the device sends again from there.
    Gap(u64),
    /// Accepted before with other content.
    Conflict,
    /// Below what was accepted, and never accepted or too long ago.
    Stale,
}

impl Sends {
    /// What number `csn`, which follows `follows`, with this content means at `now`.
    pub fn judge(&self, now: UnixMillis, csn: u64, follows: u64, content: u64) -> Numbered {
        let last = self.last(now);
        if csn > last {
            return if follows == last { Numbered::Next } else { Numbered::Gap(last) };
        }
        match self.answers.iter().find(|answer| answer.csn == csn) {
            Some(answer) if answer.content == content => Numbered::Again(answer.event, answer.count),
            Some(_) => Numbered::Conflict,
            None => Numbered::Stale,
        }
    }

    /// The last accepted number at `now`; 0: none.
    pub fn last(&self, now: UnixMillis) -> u64 {
        if self.is_forgotten(now) { 0 } else { self.last }
    }

    /// Is it so long ago that nothing counts any more?
    pub fn is_forgotten(&self, now: UnixMillis) -> bool {
        now.0 > self.at.0.saturating_add(FORGOTTEN)
    }

    /// A send was accepted as `event`, in whichever region. A lower number than the last is remembered too: it was accepted elsewhere.
    pub fn accept(&mut self, at: UnixMillis, csn: u64, content: u64, event: EventId, count: u64) {
        if self.is_forgotten(at) {
            *self = Self::default();
        }
        self.last = self.last.max(csn);
        self.at = self.at.max(at);
        if self.answers.iter().all(|answer| answer.csn != csn) {
            self.answers.push_back(Answer { csn, content, event, count });
        }
        if self.answers.len() > UNANSWERED {
            self.answers.pop_front();
        }
    }

    /// The event that this number was first accepted as.
    pub fn event(&self, csn: u64) -> Option<EventId> {
        self.answers.iter().find(|answer| answer.csn == csn).map(|answer| answer.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::id;

    const NOW: UnixMillis = UnixMillis(1_000);

    fn accepted(numbers: impl IntoIterator<Item = u64>) -> Sends {
        let mut sends = Sends::default();
        for csn in numbers {
            sends.accept(NOW, csn, csn * 10, id(&format!("eu.1.{csn}")), csn);
        }
        sends
    }

    #[test]
    fn a_send_that_is_tried_again_is_the_same_event() {
        assert_eq!(accepted([1, 2]).judge(NOW, 1, 0, 10), Numbered::Again(id("eu.1.1"), 1));
        assert_eq!(accepted([1, 2]).judge(NOW, 2, 1, 20), Numbered::Again(id("eu.1.2"), 2));
    }

    #[test]
    fn another_message_under_a_used_number_is_a_conflict() {
        assert_eq!(accepted([1, 2]).judge(NOW, 2, 1, 99), Numbered::Conflict);
    }

    #[test]
    fn a_number_that_jumps_ahead_learns_where_to_go_on() {
        assert_eq!(accepted([1, 2]).judge(NOW, 4, 3, 0), Numbered::Gap(2));
        assert_eq!(accepted([1, 2]).judge(NOW, 4, 2, 0), Numbered::Next, "3 was refused for good");
        assert_eq!(accepted([]).judge(NOW, 2, 1, 0), Numbered::Gap(0));
    }

    #[test]
    fn a_number_below_that_was_never_accepted_is_stale_and_so_is_one_of_long_ago() {
        assert_eq!(accepted([1, 3]).judge(NOW, 2, 1, 0), Numbered::Stale);
        let many = accepted(1..=UNANSWERED as u64 + 1);
        assert_eq!(many.judge(NOW, 1, 0, 10), Numbered::Stale);
        assert_eq!(many.judge(NOW, 2, 1, 20), Numbered::Again(id("eu.1.2"), 2));
    }

    #[test]
    fn after_thirty_silent_days_the_numbers_begin_anew() {
        let later = UnixMillis(NOW.0 + FORGOTTEN + 1);
        let mut sends = accepted([1, 2]);
        assert_eq!(sends.judge(later, 1, 0, 7), Numbered::Next);
        sends.accept(later, 1, 7, id("eu.1.9"), 9);
        assert_eq!((sends.last(later), sends.event(2)), (1, None));
    }
}
