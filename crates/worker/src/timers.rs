//! Deadlines of peers and rooms: a heap with lazy deletion.
//!
//! Each owner remembers the one deadline for which it is armed. A deadline that moves later leaves its entry where it is:
//! when that comes up, the owner is asked again. So the common case, a deadline that every packet pushes on, costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::slots::{PeerKey, RoomKey};

/// Timers never run closer together than this for one owner: it folds deadlines that lie close, and keeps an owner whose
/// deadline does not advance from spinning the thread. Far below what any protocol timer here needs (NACK: 10 ms).
const GRAIN: Duration = Duration::from_micros(500);

/// Whose deadline it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Owner {
    Peer(PeerKey),
    Room(RoomKey),
}

/// What an owner remembers: the time of its entry in the heap.
pub(crate) type Armed = Option<Instant>;

#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Owner)>>,
}

impl Timers {
    /// Makes sure that `owner` comes up no later than `deadline` (but not before one [`GRAIN`] from `now`).
    pub(crate) fn arm(&mut self, now: Instant, owner: Owner, armed: &mut Armed, deadline: Option<Instant>) {
        let Some(deadline) = deadline.map(|deadline| deadline.max(now + GRAIN)) else { return };
        if armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        *armed = Some(deadline);
        self.heap.push(Reverse((deadline, owner)));
    }

    /// The next owner whose time has come. Its memory of being armed must be cleared when it equals the time given here;
    /// otherwise the entry is one that an earlier deadline replaced.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, Owner)> {
        let Reverse((deadline, _)) = *self.heap.peek()?;
        if deadline > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// When [`Self::pop`] will have something.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((deadline, _))| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    #[test]
    fn a_deadline_that_moves_later_adds_no_entry_and_one_that_moves_earlier_does() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut slots = Slots::<PeerKey, ()>::default();
        let owner = Owner::Peer(slots.insert(()));
        let (mut timers, mut armed) = (Timers::default(), None);
        for ms in [50, 60, 70, 55] {
            timers.arm(start, owner, &mut armed, Some(at(ms)));
        }
        assert_eq!((timers.heap.len(), armed), (1, Some(at(50))));
        timers.arm(start, owner, &mut armed, Some(at(20)));
        assert_eq!((timers.heap.len(), armed), (2, Some(at(20))));
        assert_eq!(timers.pop(at(19)), None);
        assert_eq!(timers.pop(at(20)), Some((at(20), owner)));
        assert_eq!(timers.next(), Some(at(50)));
    }

    #[test]
    fn a_deadline_in_the_past_comes_up_later_than_now() {
        let start = Instant::now();
        let owner = Owner::Peer(Slots::<PeerKey, ()>::default().insert(()));
        let (mut timers, mut armed) = (Timers::default(), None);
        timers.arm(start, owner, &mut armed, Some(start));
        assert_eq!(timers.pop(start), None);
        assert!(timers.pop(start + GRAIN).is_some());
    }
}
