//! What became of the segments that were sent.

use std::collections::VecDeque;
use std::time::Instant;

use super::Ack;

/// Segments acknowledged above a segment after which it counts as lost (RFC 6675's DupThresh).
const DUPLICATES: usize = 3;

/// All segments from the first that is not acknowledged to the last that was sent.
#[derive(Default)]
pub struct Scoreboard {
    first: u64,
    segments: VecDeque<Sent>,
    flying: u64,
    lost: u64,
}

struct Sent {
    at: Instant,
    again: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Flying,
    Arrived,
    Lost,
}

impl Scoreboard {
    /// The first segment that is not acknowledged.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The first segment that was never sent.
    pub fn next(&self) -> u64 {
        self.first + self.len()
    }

    pub fn len(&self) -> u64 {
        self.segments.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// How many are taken to be under way.
    pub fn flying(&self) -> u64 {
        self.flying
    }

    pub fn any_lost(&self) -> bool {
        self.lost > 0
    }

    /// Sends the first that is lost, else one that is new; returns its number.
    pub fn send(&mut self, now: Instant) -> u64 {
        self.flying += 1;
        if self.any_lost()
            && let Some(offset) = self.segments.iter().position(|sent| sent.state == State::Lost)
        {
            self.lost -= 1;
            self.segments[offset] = Sent { at: now, again: true, state: State::Flying };
            return self.first + offset as u64;
        }
        self.segments.push_back(Sent { at: now, again: false, state: State::Flying });
        self.next() - 1
    }

    /// Returns how many are newly known to have arrived.
    pub fn mark_arrived(&mut self, ack: &Ack) -> u64 {
        let mut delivered = 0;
        for range in &ack.selective {
            for number in range.start.max(self.first)..range.end.min(self.next()) {
                let before = std::mem::replace(
                    &mut self.segments[(number - self.first) as usize].state,
                    State::Arrived,
                );
                delivered += self.arrived(before);
            }
        }
        while self.first < ack.next
            && let Some(sent) = self.segments.pop_front()
        {
            delivered += self.arrived(sent.state);
            self.first += 1;
        }
        delivered
    }

    /// Marks as lost what has enough arrived segments above it; what was sent again only if that was before `before`.
    /// Returns whether anything was.
    pub fn mark_lost(&mut self, before: Option<Instant>) -> bool {
        if self.flying + self.lost == self.len() {
            return false;
        }
        let (mut above, lost) = (0, self.lost);
        for sent in self.segments.iter_mut().rev() {
            if sent.state == State::Arrived {
                above += 1;
            }
            let due = !sent.again || before.is_some_and(|before| sent.at < before);
            if sent.state == State::Flying && above >= DUPLICATES && due {
                sent.state = State::Lost;
                self.flying -= 1;
                self.lost += 1;
            }
        }
        self.lost > lost
    }

    /// Nothing that is under way will arrive.
    pub fn lose_all(&mut self) {
        for sent in self.segments.iter_mut().filter(|sent| sent.state == State::Flying) {
            sent.state = State::Lost;
        }
        self.lost += std::mem::take(&mut self.flying);
    }

    /// Counts one that has arrived, by what was thought of it before.
    fn arrived(&mut self, before: State) -> u64 {
        match before {
            State::Flying => self.flying -= 1,
            State::Lost => self.lost -= 1,
            State::Arrived => return 0,
        }
        1
    }
}
