//! Hybrid logical clocks (Kulkarni et al., "Logical Physical Clocks", 2014): they give the order in which events are displayed.

use std::fmt;

use base::UnixMillis;

use crate::format::{Encoded, Malformed, Reader};

/// Bits of the counter below the milliseconds.
const COUNTER: u32 = 16;

/// Milliseconds since the Unix epoch above a counter of 16 bits. The text is 16 hexadecimal digits, so that texts sort as clocks do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The clock of an event that is appended at `now` by somebody who has applied events up to `seen`: above those, and not behind the
    /// wall. A wall clock that goes back, or stands, moves the counter; a counter that is full moves the milliseconds.
    #[must_use]
    pub fn next(now: UnixMillis, seen: Self) -> Self {
        Self((now.0 << COUNTER).max(seen.0.saturating_add(1)))
    }

    /// Its milliseconds.
    pub fn millis(self) -> UnixMillis {
        UnixMillis(self.0 >> COUNTER)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Encoded for Hlc {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        u64::get(reader).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_goes_back_does_not_take_the_order_back() {
        let first = Hlc::next(UnixMillis(1_000), Hlc::default());
        let second = Hlc::next(UnixMillis(10), first);
        assert!(second > first);
        assert_eq!(second.millis(), UnixMillis(1_000));
        assert!(Hlc::next(UnixMillis(2_000), second).millis() == UnixMillis(2_000));
    }

    #[test]
    fn texts_sort_as_clocks_do() {
        let (low, high) =
            (Hlc::next(UnixMillis(9), Hlc::default()), Hlc::next(UnixMillis(10), Hlc::default()));
        assert!(low.to_string() < high.to_string());
    }
}
