//! What a runner found, in numbers and names.

use std::time::Duration;

/// Tests of one or more runners.
#[derive(Debug, Default)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    /// Names of failed tests, each preceded by its step.
    pub failures: Vec<String>,
    times: Vec<(String, Duration)>,
}

impl Tally {
    /// Counts one test of `step`.
    pub fn test(&mut self, step: &str, name: &str, passed: bool, time: Duration) {
        let name = format!("{step}: {name}");
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(name.clone());
        }
        self.times.push((name, time));
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.times.extend(other.times);
    }

    /// The slowest tests, slowest first.
    pub fn slowest(&self, count: usize) -> Vec<(&str, Duration)> {
        let mut times: Vec<_> = self.times.iter().map(|(name, time)| (name.as_str(), *time)).collect();
        times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        times.truncate(count);
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_of_runners_add_up_and_order_their_times() {
        let mut total = Tally::default();
        total.test("rust", "quick", true, Duration::from_millis(1));
        let mut other = Tally::default();
        other.test("browsers", "slow", false, Duration::from_secs(9));
        other.test("browsers", "middling", true, Duration::from_secs(2));
        total.add(other);
        assert_eq!((total.passed, total.failed), (2, 1));
        assert_eq!(total.failures, ["browsers: slow"]);
        let slowest: Vec<&str> = total.slowest(2).into_iter().map(|(name, _)| name).collect();
        assert_eq!(slowest, ["browsers: slow", "browsers: middling"]);
    }
}
