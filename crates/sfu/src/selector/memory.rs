//! What was decided of the last pictures, for packets of them that come late.

use crate::clock::ahead;

/// Pictures remembered: a second of a camera, longer than a retransmission takes.
const KEPT: usize = 32;

/// Decisions by picture. The packets of a picture share a timestamp.
#[derive(Debug)]
pub(super) struct Memory<T> {
    entries: [Option<(u32, T)>; KEPT],
    newest: usize,
}

impl<T: Copy> Default for Memory<T> {
    fn default() -> Self {
        Self { entries: [None; KEPT], newest: 0 }
    }
}

impl<T: Copy> Memory<T> {
    /// The picture is ahead of all others.
    pub fn is_new(&self, timestamp: u32) -> bool {
        self.entries[self.newest].is_none_or(|(newest, _)| ahead(timestamp, newest) > 0)
    }

    /// Remembers the decision on a picture that was not heard of before.
    pub fn add(&mut self, timestamp: u32, decision: T) {
        if self.is_new(timestamp) {
            self.newest = (self.newest + 1) % KEPT;
            self.entries[self.newest] = Some((timestamp, decision));
        } else {
            // Behind the newest: in the place that is overwritten last but one.
            let oldest = (self.newest + 1) % KEPT;
            self.entries[oldest] = Some((timestamp, decision));
        }
    }

    /// The decision on the last picture before that one, if it is remembered.
    pub fn before(&self, timestamp: u32) -> Option<T> {
        let earlier = self.entries.iter().flatten().filter(|(at, _)| ahead(timestamp, *at) > 0);
        earlier.min_by_key(|(at, _)| ahead(timestamp, *at)).map(|(_, decision)| *decision)
    }

    #[inline]
    pub fn find(&self, timestamp: u32) -> Option<T> {
        let of =
            |entry: &Option<(u32, T)>| entry.filter(|(at, _)| *at == timestamp).map(|(_, decision)| decision);
        if self.is_new(timestamp) {
            return None;
        }
        of(&self.entries[self.newest]).or_else(|| self.entries.iter().find_map(of))
    }
}
