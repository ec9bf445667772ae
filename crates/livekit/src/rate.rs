//! How fast the signal requests of one client are read.

use std::time::{Duration, Instant};

/// Requests: this many at once, and then one per so long. A page that subscribes to five hundred people's cameras and
/// microphones sends a thousand settings; one that scrolls through a gallery a hundred. Each costs the room some work, and what waits here
/// delays the pings behind it, on whose answers clients insist within 15 s.
const REQUESTS: Rate = Rate { burst: 1_000, interval: Duration::from_millis(5) };
/// Offers cost a hundred times as much, and answers as well. Clients have one of each outstanding, and collect changes for 20 ms or more.
const DESCRIPTIONS: Rate = Rate { burst: 30, interval: Duration::from_millis(100) };

#[derive(Clone, Copy)]
struct Rate {
    burst: u32,
    interval: Duration,
}

/// A token bucket, as the time at which it will be full again (GCRA, ITU-T I.371).
#[derive(Clone, Copy)]
struct Bucket {
    rate: Rate,
    full_at: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.rate.interval;
    }

    /// When there is something to take.
    fn ready_at(&self) -> Instant {
        // A full bucket is ready from the start.
        self.full_at.checked_sub(self.rate.interval * (self.rate.burst - 1)).unwrap_or(self.full_at)
    }
}

/// What a client may still send at once. Beyond it nothing is lost: its socket is read later, which in time slows it.
pub(crate) struct Pace {
    requests: Bucket,
    descriptions: Bucket,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self { requests: Bucket::new(REQUESTS, now), descriptions: Bucket::new(DESCRIPTIONS, now) }
    }

    /// Something was read.
    pub fn note(&mut self, now: Instant, is_description: bool) {
        self.requests.take(now);
        if is_description {
            self.descriptions.take(now);
        }
    }

    /// The socket must not be read before this. `None`: it may be read now.
    pub fn wait_until(&self, now: Instant) -> Option<Instant> {
        let at = self.requests.ready_at().max(self.descriptions.ready_at());
        (at > now).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many can be read from `now` to `end`.
    fn read(pace: &mut Pace, mut now: Instant, end: Instant, is_description: bool) -> u32 {
        for count in 0.. {
            now = pace.wait_until(now).unwrap_or(now);
            if now > end {
                return count;
            }
            pace.note(now, is_description);
        }
        0
    }

    #[test]
    fn a_burst_is_read_at_once_and_the_rest_at_the_rate() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        for (is_description, burst, rate) in [(false, 1_000, 200), (true, 30, 10)] {
            let mut pace = Pace::new(now);
            assert_eq!(read(&mut pace, now, now, is_description), burst);
            assert_eq!(read(&mut pace, now, now + 2 * second, is_description), 2 * rate);
            let later = now + 1_000 * second;
            assert_eq!(
                read(&mut pace, later, later, is_description),
                burst,
                "no more however long it rested"
            );
        }
    }
}
