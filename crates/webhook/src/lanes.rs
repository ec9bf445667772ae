//! Which entry is sent next: a lane for each room, in which one is on its way at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Retry;

/// The lanes of one receiver. A lane is there as long as something waits in it.
#[derive(Default)]
pub(crate) struct Lanes {
    lanes: BTreeMap<Arc<str>, Lane>,
    /// Lanes whose first entry may be sent, the longest-waiting first.
    ready: VecDeque<Arc<str>>,
    /// Lanes whose first entry has failed, and when it may be sent again.
    waiting: BTreeSet<(Instant, Arc<str>)>,
    /// Entries in all lanes.
    entries: usize,
}

struct Lane {
    /// Numbers of entries; the first one is being sent or is next.
    entries: VecDeque<u64>,
    /// How often the first one has failed.
    failures: u32,
}

/// What is to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Next {
    pub room: Arc<str>,
    pub number: u64,
    /// How often it has failed.
    pub failures: u32,
}

impl Lanes {
    /// An entry is to be sent after all of its room that are here.
    pub fn add(&mut self, room: Arc<str>, number: u64) {
        self.entries += 1;
        match self.lanes.get_mut(&room) {
            Some(lane) => lane.entries.push_back(number),
            None => {
                let lane = Lane { entries: VecDeque::from([number]), failures: 0 };
                self.lanes.insert(Arc::clone(&room), lane);
                self.ready.push_back(room);
            }
        }
    }

    /// Takes what is to be sent now; [`Lanes::done`] or [`Lanes::failed`] has to follow for its room.
    pub fn next(&mut self, now: Instant) -> Option<Next> {
        while let Some((at, _)) = self.waiting.first()
            && *at <= now
            && let Some((_, room)) = self.waiting.pop_first()
        {
            self.ready.push_back(room);
        }
        let room = self.ready.pop_front()?;
        let lane = self.lanes.get(&room)?;
        Some(Next { number: *lane.entries.front()?, failures: lane.failures, room })
    }

    /// The first entry of the room has been sent, or is given up.
    pub fn done(&mut self, room: &Arc<str>) {
        let Some(lane) = self.lanes.get_mut(room) else { return };
        lane.failures = 0;
        self.entries -= usize::from(lane.entries.pop_front().is_some());
        if lane.entries.is_empty() {
            self.lanes.remove(room);
        } else {
            self.ready.push_back(Arc::clone(room));
        }
    }

    /// The first entry of the room could not be sent, and may be again at `at`.
    pub fn failed(&mut self, room: &Arc<str>, at: Instant) {
        let Some(lane) = self.lanes.get_mut(room) else { return };
        lane.failures = lane.failures.saturating_add(1);
        self.waiting.insert((at, Arc::clone(room)));
    }

    /// The receiver is back: nothing waits for its time any more.
    pub fn wake(&mut self) {
        self.ready.extend(std::mem::take(&mut self.waiting).into_iter().map(|(_, room)| room));
    }

    /// When something can be sent next that cannot now.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Entries that are not done.
    pub fn len(&self) -> usize {
        self.entries
    }
}

/// How long to wait after so many failures; `random` from 0 to 1 decides within half of it, so that receivers that come back are not
/// asked by all rooms at once.
pub(crate) fn backoff(retry: &Retry, failures: u32, random: f64) -> Duration {
    let doubled = retry.first.saturating_mul(1 << failures.min(20)).min(retry.longest);
    doubled.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn numbers(lanes: &mut Lanes, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| lanes.next(now)).map(|next| next.number).collect()
    }

    #[test]
    fn a_room_sends_one_after_the_other_and_rooms_side_by_side() {
        let (mut lanes, now) = (Lanes::default(), Instant::now());
        [("a", 1), ("a", 2), ("b", 3), ("a", 4)]
            .into_iter()
            .for_each(|(name, number)| lanes.add(room(name), number));
        assert_eq!(numbers(&mut lanes, now), [1, 3]);
        lanes.done(&room("a"));
        assert_eq!(numbers(&mut lanes, now), [2]);
        lanes.done(&room("b"));
        assert_eq!(numbers(&mut lanes, now), [0; 0]);
        lanes.done(&room("a"));
        assert_eq!((numbers(&mut lanes, now), lanes.len()), (vec![4], 1));
        lanes.done(&room("a"));
        assert!(lanes.lanes.is_empty() && lanes.len() == 0, "nothing is kept of a room that is done");
    }

    #[test]
    fn what_fails_holds_back_its_own_room_until_its_time() {
        let (mut lanes, now) = (Lanes::default(), Instant::now());
        [("a", 1), ("a", 2), ("b", 3), ("b", 4)]
            .into_iter()
            .for_each(|(name, number)| lanes.add(room(name), number));
        assert_eq!(numbers(&mut lanes, now), [1, 3]);
        let later = now + Duration::from_secs(1);
        lanes.failed(&room("a"), later);
        lanes.done(&room("b"));
        assert_eq!((numbers(&mut lanes, now), lanes.poll_timeout()), (vec![4], Some(later)));
        let again = lanes.next(later).expect("its time has come");
        assert_eq!((again.number, again.failures), (1, 1));
        lanes.done(&again.room);
        assert_eq!(lanes.next(later).map(|next| (next.number, next.failures)), Some((2, 0)));
    }

    #[test]
    fn when_the_receiver_is_back_nothing_waits() {
        let (mut lanes, now) = (Lanes::default(), Instant::now());
        [("a", 1), ("b", 2)].into_iter().for_each(|(name, number)| lanes.add(room(name), number));
        assert_eq!(numbers(&mut lanes, now), [1, 2]);
        ["a", "b"].into_iter().for_each(|name| lanes.failed(&room(name), now + Duration::from_secs(300)));
        assert_eq!(numbers(&mut lanes, now), [0; 0]);
        lanes.wake();
        assert_eq!(numbers(&mut lanes, now), [1, 2]);
    }

    #[test]
    fn waiting_doubles_up_to_its_limit_and_is_spread_over_half() {
        let retry = Retry::default();
        let seconds = |failures, random| backoff(&retry, failures, random).as_secs_f64();
        assert_eq!((seconds(0, 0.0), seconds(0, 1.0), seconds(3, 1.0)), (0.5, 1.0, 8.0));
        assert_eq!((seconds(30, 1.0), seconds(u32::MAX, 0.0)), (300.0, 150.0));
    }
}
