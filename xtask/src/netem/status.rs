//! The line that is printed each second.

use std::fmt;
use std::time::{Duration, Instant};

use sim::{Link, Statistics};

/// What was last told of one direction.
#[derive(Default)]
pub struct Reporter {
    told: Statistics,
}

/// What one direction did since it was last told of.
pub struct Report {
    done: Statistics,
    queue_mean: Duration,
    queue_p95: Duration,
}

impl Reporter {
    pub fn report<T: Clone>(&mut self, now: Instant, link: &mut Link<T>) -> Report {
        let total = link.statistics(now);
        let done = total.since(&self.told);
        self.told = total;
        let mut delays: Vec<Duration> = link.take_samples().map(|sample| sample.delay).collect();
        let count = u32::try_from(delays.len()).unwrap_or(u32::MAX).max(1);
        let queue_mean = delays.iter().sum::<Duration>() / count;
        Report { done, queue_mean, queue_p95: sim::percentile(&mut delays, 0.95) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = &self.done;
        write!(f, "{} kbit/s", done.rate().0 / 1_000)?;
        if let Some(utilisation) = done.utilisation() {
            write!(f, " ({:.0} %)", utilisation * 100.0)?;
            let (mean, p95) = (self.queue_mean.as_millis(), self.queue_p95.as_millis());
            write!(f, ", queue {mean} ms, p95 {p95} ms")?;
        }
        let lost = done.lost_random.packets + done.lost_burst.packets;
        write!(f, ", {} packets, {} dropped, {lost} lost", done.sent.packets, done.dropped_full.packets)
    }
}
