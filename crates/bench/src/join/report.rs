//! What was measured of many joins.

use std::time::Duration;

use client::Timing;

/// Joins that are measured, and how many failed.
#[derive(Default)]
pub struct Report {
    timings: Vec<Timing>,
    pub failed: usize,
}

/// One stage of a join.
type Stage = fn(&Timing) -> Option<Duration>;

const STAGES: [(&str, Stage); 6] = [
    ("TCP is up", |timing| timing.requested),
    ("answer", |timing| timing.answered),
    ("ICE and DTLS are up", |timing| timing.connected),
    ("data channels are open", |timing| timing.ready),
    ("first media packet", |timing| timing.first_packet),
    ("of it the server's share", Timing::waited),
];

impl Report {
    /// One join: it failed when it has no first packet. `measured`: its times count.
    pub fn add(&mut self, outcome: Result<Timing, String>, measured: bool) {
        match outcome {
            Ok(timing) if timing.first_packet.is_none() => {
                println!("  failed: in the room, but no media came");
                self.failed += 1;
            }
            Ok(timing) if measured => self.timings.push(timing),
            Ok(_) => {}
            Err(reason) => {
                println!("  failed: {reason}");
                self.failed += 1;
            }
        }
    }

    /// From the call to the first packet, in milliseconds, of these percent of the joins.
    pub fn total_ms(&self, percent: usize) -> f64 {
        self.percentile(|timing| timing.first_packet, percent)
    }

    /// The server's share of that.
    pub fn server_ms(&self, percent: usize) -> f64 {
        self.percentile(Timing::waited, percent)
    }

    pub fn print(&self, title: &str) {
        println!("{title}: {} measured, {} failed", self.timings.len(), self.failed);
        println!("  {:<26}{:>9}{:>9}{:>9}", "ms from the call", "p50", "p95", "max");
        for (name, stage) in STAGES {
            let [p50, p95, max] = [50, 95, 100].map(|percent| self.percentile(stage, percent));
            println!("  {name:<26}{p50:>9.1}{p95:>9.1}{max:>9.1}");
        }
    }

    /// The smallest value that so many percent do not exceed, in milliseconds to three digits; 0 of nothing.
    fn percentile(&self, stage: Stage, percent: usize) -> f64 {
        let mut times: Vec<Duration> = self.timings.iter().filter_map(stage).collect();
        times.sort_unstable();
        let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(index).map_or(0.0, |time| time.as_micros() as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_without_media_has_failed_and_percentiles_are_of_the_measured() {
        let mut report = Report::default();
        let timing = |ms| Timing { first_packet: Some(Duration::from_millis(ms)), ..Timing::default() };
        for ms in 1..=20 {
            report.add(Ok(timing(ms)), true);
        }
        report.add(Ok(timing(9_000)), false);
        report.add(Ok(Timing::default()), true);
        report.add(Err("refused".to_owned()), true);
        assert_eq!((report.total_ms(50), report.total_ms(95), report.failed), (10.0, 19.0, 2));
        assert_eq!(report.server_ms(50), 0.0, "without its stages a share is not known");
    }
}
