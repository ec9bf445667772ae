//! A sliding window over packet indices: which of the last 1,024 were seen.

const SIZE: u64 = 1_024;
const WORDS: usize = (SIZE / 64) as usize;

/// RFC 3711 section 3.3.2 asks for at least 64. We keep 1,024, as libwebrtc does: the packets of a large keyframe may
/// overtake each other on a path with several queues, and a bit per packet costs 128 bytes per SSRC. Retransmissions
/// need no wider window, because RTX has an SSRC of its own.
#[derive(Clone)]
pub(super) struct Window {
    /// One more than the highest index seen; 0 = nothing yet.
    next: u64,
    /// Bit `index % SIZE` for the `SIZE` indices below `next`.
    bits: [u64; WORDS],
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { next: 0, bits: [0; WORDS] }
    }

    /// The highest index seen.
    pub(super) fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// True for an index that is neither seen nor too old to tell.
    pub(super) fn is_new(&self, index: u64) -> bool {
        if index >= self.next {
            return true;
        }
        let (word, bit) = place(index);
        self.next - index <= SIZE && self.bits[word] & bit == 0
    }

    /// Marks an index for which [`Self::is_new`] is true.
    pub(super) fn mark(&mut self, index: u64) {
        debug_assert!(self.is_new(index));
        if index >= self.next {
            if index - self.next >= SIZE {
                self.bits = [0; WORDS];
            } else {
                (self.next..index).for_each(|skipped| self.clear(skipped));
            }
            self.next = index + 1;
        }
        let (word, bit) = place(index);
        self.bits[word] |= bit;
    }

    fn clear(&mut self, index: u64) {
        let (word, bit) = place(index);
        self.bits[word] &= !bit;
    }
}

fn place(index: u64) -> (usize, u64) {
    (((index % SIZE) / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_index_is_new_once() {
        let mut window = Window::new();
        assert!(window.is_new(5));
        window.mark(5);
        assert!(!window.is_new(5));
        assert!(window.is_new(4) && window.is_new(6) && window.is_new(0));
        window.mark(5 + SIZE);
        assert!(!window.is_new(5), "too old to tell");
        assert!(window.is_new(6));
    }

    #[test]
    fn the_window_agrees_with_a_set_of_everything_seen() {
        let mut state = 1u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let (mut window, mut seen) = (Window::new(), BTreeSet::new());
        let mut at = 2_000u64;
        for _ in 0..50_000 {
            at += random(20) / 19 * random(3_000) + random(3);
            let index = at - random(1_500).min(at);
            let highest = seen.last().copied();
            let old = highest.is_some_and(|highest: u64| highest >= index + SIZE);
            let expected = !old && !seen.contains(&index);
            assert_eq!(window.is_new(index), expected, "{index} after {highest:?}");
            if expected {
                window.mark(index);
                seen.insert(index);
            }
            assert_eq!(window.highest(), seen.last().copied());
        }
    }
}
