//! State per SSRC, bounded.

/// At most `capacity` states, found by binary search; a new one replaces that which was unused longest.
pub(super) struct Table<T> {
    /// Sorted by SSRC; the number is the place in `states`.
    index: Vec<(u32, u16)>,
    states: Vec<Entry<T>>,
    capacity: usize,
    uses: u64,
}

struct Entry<T> {
    ssrc: u32,
    last_use: u64,
    state: T,
}

impl<T> Table<T> {
    /// `capacity` is at most 65,535.
    pub(super) fn new(capacity: u16) -> Self {
        Self { index: Vec::new(), states: Vec::new(), capacity: usize::from(capacity), uses: 0 }
    }

    pub(super) fn get(&self, ssrc: u32) -> Option<&T> {
        let at = self.index.binary_search_by_key(&ssrc, |(ssrc, _)| *ssrc).ok()?;
        Some(&self.states[usize::from(self.index[at].1)].state)
    }

    /// The state of `ssrc`, made by `new` when there is none; `true` when another was forgotten for it.
    pub(super) fn get_or_insert(&mut self, ssrc: u32, new: impl FnOnce() -> T) -> (&mut T, bool) {
        self.uses += 1;
        let found = self.index.binary_search_by_key(&ssrc, |(ssrc, _)| *ssrc);
        let (place, evicted) = match found {
            Ok(at) => (usize::from(self.index[at].1), false),
            Err(at) => self.insert(at, ssrc, new()),
        };
        let entry = &mut self.states[place];
        entry.last_use = self.uses;
        (&mut entry.state, evicted)
    }

    fn insert(&mut self, at: usize, ssrc: u32, state: T) -> (usize, bool) {
        let entry = Entry { ssrc, last_use: self.uses, state };
        if self.states.len() < self.capacity {
            self.states.push(entry);
            self.index.insert(at, (ssrc, (self.states.len() - 1) as u16));
            return (self.states.len() - 1, false);
        }
        let oldest = self.states.iter().enumerate().min_by_key(|(_, entry)| entry.last_use);
        let place = oldest.map_or(0, |(place, _)| place);
        let gone = std::mem::replace(&mut self.states[place], entry).ssrc;
        self.index.retain(|(ssrc, _)| *ssrc != gone);
        let at = self.index.partition_point(|(other, _)| *other < ssrc);
        self.index.insert(at, (ssrc, place as u16));
        (place, true)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.states.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_that_was_unused_longest_makes_room() {
        let mut table = Table::new(3);
        for ssrc in [30, 10, 20] {
            assert!(!table.get_or_insert(ssrc, || ssrc).1);
        }
        assert_eq!(table.get_or_insert(30, || 0), (&mut 30, false));
        assert_eq!(table.get_or_insert(5, || 5), (&mut 5, true));
        assert_eq!(
            (table.get(10), table.get(20), table.get(30), table.get(5)),
            (None, Some(&20), Some(&30), Some(&5))
        );
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn a_stranger_cannot_grow_the_table() {
        let mut table = Table::new(16);
        for ssrc in 0..10_000u32 {
            let ssrc = ssrc.wrapping_mul(2_654_435_761);
            table.get_or_insert(ssrc, || ssrc);
            assert_eq!(table.get(ssrc), Some(&ssrc));
        }
        assert_eq!(table.len(), 16);
        assert_eq!(table.index.len(), 16);
    }
}
