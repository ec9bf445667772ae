//! What a probe found: the rate at which its packets arrived.

use super::Arrived;

/// Clusters that are measured at a time; only one is sent at a time.
const KEPT: usize = 4;
/// Share of the packets that must have arrived.
const ENOUGH: f64 = 0.7;
const MIN_ARRIVED: u32 = 4;
/// Arriving slower than this share of how it was sent, it has filled the link; the result is a little less then, so that
/// the queue it made can empty.
const SATURATED: f64 = 0.9;
const BELOW_SATURATION: f64 = 0.95;
/// No probe is longer, or spread over a longer time by the path.
const MAX_LENGTH_US: i64 = 1_000_000;
/// IP and UDP add these bytes to each packet, which counts for small ones; media packets are this share of theirs.
const HEADERS: u64 = 28;
const MEDIA_SHARE: f64 = 0.975;
/// The path presses no probe together by more than this; a line that says so is jitter.
const FASTEST: f64 = 0.5;
/// Times closer than this are one: the receiver's clock has ticks of 250 us.
const SAME_US: i64 = 250;

/// A finished measurement.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct ProbeResult {
    /// The rate that the path carried, in bit/s.
    pub(super) bps: f64,
    /// The path was the limit, not the probe.
    pub(super) saturated: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cluster {
    /// 0: none.
    number: u8,
    closed: bool,
    sent: u32,
    reported: u32,
    arrived: u32,
    bytes: u64,
    first_sent: i64,
    last_sent: i64,
    /// Bytes of the burst that left last, and of the one that arrived first.
    last_sent_bytes: u64,
    first_arrival: i64,
    last_arrival: i64,
    first_arrival_bytes: u64,
    line: Line,
}

/// Arrival over sending, as a line with the least squares; both in microseconds after the first that arrived.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    origin: Option<(i64, i64)>,
    count: f64,
    sent: f64,
    arrived: f64,
    sent_squares: f64,
    products: f64,
}

/// The clusters that are out.
#[derive(Clone, Debug, Default)]
pub(super) struct Clusters {
    clusters: [Cluster; KEPT],
}

impl Clusters {
    /// A probe begins.
    pub(super) fn open(&mut self, number: u8) {
        self.clusters[usize::from(number) % KEPT] = Cluster { number, ..Cluster::default() };
    }

    #[inline]
    pub(super) fn on_sent(&mut self, number: u8) {
        if let Some(cluster) = self.get(number) {
            cluster.sent += 1;
        }
    }

    /// Nothing more is sent of it.
    pub(super) fn close(&mut self, number: u8) {
        if let Some(cluster) = self.get(number) {
            cluster.closed = true;
        }
    }

    fn get(&mut self, number: u8) -> Option<&mut Cluster> {
        let cluster = &mut self.clusters[usize::from(number) % KEPT];
        (number != 0 && cluster.number == number).then_some(cluster)
    }

    /// A packet of a cluster did not arrive, so far.
    pub(super) fn lost(&mut self, number: u8) {
        if let Some(cluster) = self.get(number) {
            cluster.reported += 1;
        }
    }

    /// A packet of a cluster arrived; `was_lost`: after it had been called lost.
    pub(super) fn arrived(&mut self, packet: &Arrived, was_lost: bool) {
        let Some(cluster) = self.get(packet.cluster) else { return };
        cluster.reported += u32::from(!was_lost);
        cluster.add(packet);
    }

    /// The result of a cluster whose packets are all accounted for; `expired`: or never will be. `Some(None)`: too little
    /// arrived to tell. `None`: not yet.
    pub(super) fn take(&mut self, number: u8, expired: bool) -> Option<Option<ProbeResult>> {
        let Some(cluster) = self.get(number) else { return Some(None) };
        let complete = cluster.closed && cluster.reported >= cluster.sent;
        if !(expired || complete) {
            return None;
        }
        let result = cluster.result();
        *cluster = Cluster::default();
        Some(result)
    }
}

impl Cluster {
    fn add(&mut self, packet: &Arrived) {
        let size = u64::from(packet.size) + HEADERS;
        if self.arrived == 0 {
            (self.first_sent, self.last_sent) = (packet.sent_us, packet.sent_us);
            (self.first_arrival, self.last_arrival) = (packet.arrival_us, packet.arrival_us);
        }
        self.arrived += 1;
        self.bytes += size;
        self.line.add(packet);
        self.first_sent = self.first_sent.min(packet.sent_us);
        let later = packet.sent_us.saturating_sub(self.last_sent);
        if later >= SAME_US {
            (self.last_sent, self.last_sent_bytes) = (packet.sent_us, size);
        } else if later > -SAME_US {
            self.last_sent_bytes += size;
        }
        self.last_arrival = self.last_arrival.max(packet.arrival_us);
        let earlier = self.first_arrival.saturating_sub(packet.arrival_us);
        if earlier >= SAME_US {
            (self.first_arrival, self.first_arrival_bytes) = (packet.arrival_us, size);
        } else if earlier > -SAME_US {
            self.first_arrival_bytes += size;
        }
    }

    /// Both rates leave out the burst at one end: n bursts have n - 1 gaps. By how much the path stretched the probe is
    /// the slope of the line through all arrivals: with the first and the last alone, jitter as long as the probe would
    /// make every probe look stretched.
    fn result(&self) -> Option<ProbeResult> {
        let enough = f64::from(self.arrived) >= ENOUGH * f64::from(self.sent) && self.arrived >= MIN_ARRIVED;
        let sent = rate(self.bytes - self.last_sent_bytes, self.last_sent.saturating_sub(self.first_sent))?;
        let spread =
            rate(self.bytes - self.first_arrival_bytes, self.last_arrival.saturating_sub(self.first_arrival));
        // All at once: the path is faster than the clock can tell.
        let spread = spread.unwrap_or(sent);
        let arrived = self.line.slope().map_or(spread, |slope| (spread * sent / slope.max(FASTEST)).sqrt());
        let saturated = arrived < SATURATED * sent;
        let bps = if saturated { BELOW_SATURATION * arrived } else { arrived.min(sent) };
        enough.then_some(ProbeResult { bps: bps * MEDIA_SHARE, saturated })
    }
}

impl Line {
    fn add(&mut self, packet: &Arrived) {
        let (sent, arrived) = *self.origin.get_or_insert((packet.sent_us, packet.arrival_us));
        let sent = packet.sent_us.saturating_sub(sent) as f64;
        let arrived = packet.arrival_us.saturating_sub(arrived) as f64;
        self.count += 1.0;
        self.sent += sent;
        self.arrived += arrived;
        self.sent_squares += sent * sent;
        self.products += sent * arrived;
    }

    /// Time of arrival per time of sending; `None`: all were sent at once.
    fn slope(&self) -> Option<f64> {
        let above = self.count * self.products - self.sent * self.arrived;
        let below = self.count * self.sent_squares - self.sent * self.sent;
        (below > self.count * self.count * SAME_US as f64).then(|| above / below).filter(|s| s.is_finite())
    }
}

fn rate(bytes: u64, length_us: i64) -> Option<f64> {
    let plausible = bytes > 0 && (1..=MAX_LENGTH_US).contains(&length_us);
    plausible.then(|| bytes as f64 * 8_000_000.0 / length_us as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 ms at 2 Mbit/s in ten bursts of two packets over a link of so many bit/s.
    fn probe(link: f64, skip: impl Fn(usize) -> bool, expired: bool) -> Option<Option<ProbeResult>> {
        let mut clusters = Clusters::default();
        clusters.open(3);
        let mut free_us = 0.0f64;
        for i in 0..20 {
            clusters.on_sent(3);
            let sent_us = i as i64 / 2 * 2_000;
            free_us = free_us.max(sent_us as f64) + 278.0 * 8e6 / link;
            let arrival_us = 7_777_000 + free_us as i64 / 250 * 250;
            if !skip(i) {
                clusters.arrived(&Arrived { sent_us, arrival_us, size: 250, cluster: 3 }, false);
            }
        }
        clusters.close(3);
        clusters.take(3, expired)
    }

    #[test]
    fn a_fast_link_returns_the_rate_of_the_probe_and_a_slow_one_its_own() {
        let fast = probe(100e6, |_| false, false).unwrap().unwrap();
        assert!((fast.bps / 2.17e6 - 1.0).abs() < 0.06 && !fast.saturated, "{fast:?}");
        let slow = probe(1e6, |_| false, false).unwrap().unwrap();
        assert!((slow.bps / 0.926e6 - 1.0).abs() < 0.05 && slow.saturated, "{slow:?}");
    }

    #[test]
    fn a_probe_that_was_lost_in_part_tells_and_one_that_was_lost_for_the_most_does_not() {
        assert_eq!(probe(1e6, |i| i % 10 == 3, false), None, "not all is reported");
        assert!(probe(1e6, |i| i % 10 == 3, true).unwrap().is_some());
        assert_eq!(probe(1e6, |i| i % 2 == 0, true), Some(None));
        assert_eq!(probe(1e6, |_| true, true), Some(None));
    }

    #[test]
    fn impossible_times_give_no_result() {
        let mut clusters = Clusters::default();
        clusters.open(1);
        for arrival_us in [i64::MIN, i64::MAX, 0, -1, 5] {
            clusters.on_sent(1);
            clusters.arrived(&Arrived { sent_us: 0, arrival_us, size: 1_000, cluster: 1 }, false);
        }
        clusters.close(1);
        assert_eq!(clusters.take(1, false), Some(None));
        assert_eq!(clusters.take(9, false), Some(None), "never opened");
    }
}
