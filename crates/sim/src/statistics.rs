//! What a link has done.

use std::time::{Duration, Instant};

use base::Bitrate;

/// Packets and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, as they were given to [`crate::Link::send`].
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, size: usize) {
        self.packets += 1;
        self.bytes += size as u64;
    }

    fn since(self, earlier: Self) -> Self {
        Self { packets: self.packets - earlier.packets, bytes: self.bytes - earlier.bytes }
    }
}

/// What a link has done since it exists; for what it did in a span of time, take one at its beginning, one at its end, and
/// [`Self::since`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// How long.
    pub time: Duration,
    /// Given to the link.
    pub sent: Count,
    /// Come through the queue: what took a share of the rate, whether or not it was lost in flight.
    pub carried: Count,
    /// Handed out at the other end, duplicates included.
    pub delivered: Count,
    /// Dropped because the queue was full.
    pub dropped_full: Count,
    /// Lost in flight, each for itself.
    pub lost_random: Count,
    /// Lost in flight by the burst model.
    pub lost_burst: Count,
    /// Held up so that others overtake them.
    pub reordered: u64,
    /// Doubled.
    pub duplicated: u64,
    /// Bits that the rate would have let through; nothing is added while the rate is unlimited.
    pub capacity_bits: u64,
}

impl Statistics {
    /// What was done after `earlier`, which comes from the same link.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            time: self.time - earlier.time,
            sent: self.sent.since(earlier.sent),
            carried: self.carried.since(earlier.carried),
            delivered: self.delivered.since(earlier.delivered),
            dropped_full: self.dropped_full.since(earlier.dropped_full),
            lost_random: self.lost_random.since(earlier.lost_random),
            lost_burst: self.lost_burst.since(earlier.lost_burst),
            reordered: self.reordered - earlier.reordered,
            duplicated: self.duplicated - earlier.duplicated,
            capacity_bits: self.capacity_bits - earlier.capacity_bits,
        }
    }

    /// The share of what the rate would have let through that was used: 0 to 1; `None` for an unlimited link.
    pub fn utilisation(&self) -> Option<f64> {
        (self.capacity_bits > 0).then(|| self.carried.bytes as f64 * 8.0 / self.capacity_bits as f64)
    }

    /// The share of packets sent that were dropped or lost, 0 to 1. Those still on their way count as not lost.
    pub fn loss(&self) -> f64 {
        let lost = self.dropped_full.packets + self.lost_random.packets + self.lost_burst.packets;
        if self.sent.packets == 0 { 0.0 } else { lost as f64 / self.sent.packets as f64 }
    }

    /// What arrived, over the time.
    pub fn rate(&self) -> Bitrate {
        let micros = self.time.as_micros().max(1);
        Bitrate((u128::from(self.delivered.bytes) * 8_000_000 / micros) as u64)
    }
}

/// How long one packet waited in the queue, its own sending not included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueSample {
    /// When it had been sent whole.
    pub at: Instant,
    /// How long it had waited.
    pub delay: Duration,
}

/// The value that `share` (0 to 1) of `values` do not exceed, by the nearest rank; zero when there are none. Sorts them.
pub fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let rank = (values.len() as f64 * share.clamp(0.0, 1.0)).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let mut values: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut values, 0.95), Duration::from_millis(95));
        assert_eq!(percentile(&mut values, 1.0), Duration::from_millis(100));
        assert_eq!(percentile(&mut values, 0.0), Duration::from_millis(1));
        assert_eq!(percentile(&mut [], 0.5), Duration::ZERO);
    }
}
