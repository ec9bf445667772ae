//! Sequence numbers of one received stream: extended over wraps, told apart from duplicates.

/// How far back a packet may be and still be told from a duplicate.
const WINDOW: u64 = 1_024;
const WORDS: usize = (WINDOW / 64) as usize;

/// What a sequence number is to the window it was put into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// The highest so far; the numbers of `skipped` (a range, perhaps empty) below it have not been seen.
    Newest {
        /// First number that was skipped; they reach up to the one that came.
        skipped_from: u64,
    },
    /// Lower than the highest, and not seen before.
    Late,
    /// Seen before.
    Duplicate,
    /// More than 1,024 behind the highest: nobody knows.
    TooOld,
}

/// Extends 16-bit sequence numbers and knows which of the last 1,024 were seen.
#[derive(Clone, Debug, Default)]
pub struct SequenceWindow {
    /// 0 = nothing seen.
    highest: u64,
    seen: [u64; WORDS],
}

impl SequenceWindow {
    /// The extended number nearest to the highest one seen. The first lap is 65,536..131,072, so that what was sent
    /// before the first number seen has a place below it.
    #[inline]
    pub fn extend(&self, sequence: u16) -> u64 {
        if self.highest == 0 {
            return 0x1_0000 + u64::from(sequence);
        }
        let distance = sequence.wrapping_sub(self.highest as u16) as i16;
        self.highest.wrapping_add_signed(i64::from(distance))
    }

    /// The highest number seen.
    pub fn highest(&self) -> Option<u64> {
        (self.highest != 0).then_some(self.highest)
    }

    /// Marks an extended number (from [`Self::extend`]) as seen.
    #[inline]
    pub fn insert(&mut self, sequence: u64) -> Arrival {
        if sequence > self.highest {
            let skipped_from = if self.highest == 0 { sequence } else { self.highest + 1 };
            self.advance(sequence);
            return Arrival::Newest { skipped_from };
        }
        if self.highest - sequence >= WINDOW {
            return Arrival::TooOld;
        }
        let (word, bit) = place(sequence);
        if self.seen[word] & bit != 0 {
            return Arrival::Duplicate;
        }
        self.seen[word] |= bit;
        Arrival::Late
    }

    fn advance(&mut self, sequence: u64) {
        if sequence - self.highest >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for skipped in self.highest + 1..sequence {
                let (word, bit) = place(skipped);
                self.seen[word] &= !bit;
            }
        }
        let (word, bit) = place(sequence);
        self.seen[word] |= bit;
        self.highest = sequence;
    }
}

fn place(sequence: u64) -> (usize, u64) {
    ((sequence % WINDOW / 64) as usize, 1 << (sequence % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_over_the_wrap_in_both_directions() {
        let mut window = SequenceWindow::default();
        let first = window.extend(65_534);
        assert_eq!(window.insert(first), Arrival::Newest { skipped_from: first });
        let wrapped = window.extend(1);
        assert_eq!(wrapped, first + 3);
        assert_eq!(window.insert(wrapped), Arrival::Newest { skipped_from: first + 1 });
        assert_eq!(window.extend(65_535), first + 1);
        assert_eq!(window.insert(first + 1), Arrival::Late);
        assert_eq!(window.insert(first + 1), Arrival::Duplicate);
    }

    #[test]
    fn a_packet_before_the_first_one_still_has_a_number() {
        let mut window = SequenceWindow::default();
        window.insert(window.extend(0));
        let earlier = window.extend(65_535);
        assert_eq!(window.insert(earlier), Arrival::Late);
        assert_eq!(earlier + 1, window.highest().expect("seen one"));
    }

    #[test]
    fn what_lies_far_behind_is_refused_and_a_far_jump_forgets_nothing_wrongly() {
        let mut window = SequenceWindow::default();
        window.insert(100_000);
        assert_eq!(window.insert(100_000 - 1_023), Arrival::Late);
        assert_eq!(window.insert(100_000 - 1_024), Arrival::TooOld);
        window.insert(120_000);
        for sequence in 120_000 - 1_023..120_000 {
            assert_eq!(window.insert(sequence), Arrival::Late, "{sequence}");
        }
    }
}
