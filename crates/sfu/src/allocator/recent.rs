//! The lowest value of the last while.

use std::time::{Duration, Instant};

/// Steps remembered, at most; beyond, the lowest stays longer than it should.
const MOST: usize = 16;

/// What a value was at least during the last while. It holds from one [`Self::push`] to the next.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Times, and what the value was at least from then on: each more than the one before.
    steps: Vec<(Instant, u64)>,
}

impl Recent {
    /// The value from now on.
    pub fn push(&mut self, now: Instant, value: u64) {
        let mut from = now;
        while let Some((since, _)) = self.steps.pop_if(|(_, last)| *last >= value) {
            from = since;
        }
        if self.steps.len() == MOST {
            self.steps.remove(1);
        }
        self.steps.push((from, value));
    }

    /// When the lowest value will be out of the window, if it is not the last one.
    pub fn next_rise(&self, window: Duration) -> Option<Instant> {
        Some(self.steps.get(1)?.0 + window)
    }

    /// The lowest value that held at some time since `window` ago; `None` before the first.
    pub fn lowest(&mut self, now: Instant, window: Duration) -> Option<u64> {
        // The first says nothing of the time from the second on.
        let ended = |until: Instant| now.saturating_duration_since(until) >= window;
        let over = self.steps.iter().skip(1).take_while(|(since, _)| ended(*since)).count();
        self.steps.drain(..over);
        self.steps.first().map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(1);

    #[test]
    fn the_lowest_of_the_window_counts_until_it_has_passed() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut recent = Recent::default();
        assert_eq!(recent.lowest(at(0), WINDOW), None);
        for (millis, value) in [(0, 300), (100, 900), (200, 500), (300, 800), (400, 1_000)] {
            recent.push(at(millis), value);
        }
        for (millis, lowest) in [
            (400, 300),
            (1_099, 300),
            (1_100, 500),
            (1_299, 500),
            (1_300, 800),
            (1_400, 1_000),
            (9_000, 1_000),
        ] {
            assert_eq!(recent.lowest(at(millis), WINDOW), Some(lowest), "{millis}");
            let next = recent.next_rise(WINDOW).map(|at| (at - begin).as_millis());
            let expected =
                [(300, 1_100), (500, 1_300), (800, 1_400)].into_iter().find(|(value, _)| *value == lowest);
            assert_eq!(next, expected.map(|(_, rise)| rise));
        }
        recent.push(at(9_000), 100);
        assert_eq!(recent.lowest(at(9_000), WINDOW), Some(100));
    }

    #[test]
    fn many_values_are_remembered_as_their_lowest() {
        let begin = Instant::now();
        let mut recent = Recent::default();
        for n in 0..1_000 {
            recent.push(begin + Duration::from_millis(n / 10), 100 + n);
        }
        assert!(recent.steps.len() <= MOST);
        assert_eq!(recent.lowest(begin + Duration::from_millis(100), WINDOW), Some(100));
    }
}
