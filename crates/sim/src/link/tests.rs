use super::*;
use crate::percentile;

const SECOND: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Offers `kbps` in packets of 1,250 bytes for `time`, and returns what arrived: number and time.
struct Run {
    start: Instant,
    link: Link<u64>,
    sent: u64,
    arrived: Vec<(u64, Duration)>,
}

impl Run {
    fn new(conditions: &str) -> Self {
        Self::seeded(conditions, 1)
    }

    fn seeded(conditions: &str, seed: u64) -> Self {
        let start = Instant::now();
        let link = Link::new(start, seed, conditions.parse().expect(conditions));
        Self { start, link, sent: 0, arrived: Vec::new() }
    }

    fn offer(&mut self, from: Duration, to: Duration, kbps: u64) {
        let gap = Duration::from_micros(10_000_000 / kbps);
        let mut at = from;
        while at < to {
            self.drain(at);
            self.link.send(self.start + at, 1_250, self.sent);
            self.sent += 1;
            at += gap;
        }
        self.drain(to);
    }

    fn drain(&mut self, until: Duration) {
        while let Some(at) = self.link.poll_timeout().filter(|at| *at <= self.start + until) {
            while let Some(number) = self.link.poll_deliver(at) {
                self.arrived.push((number, at - self.start));
            }
        }
    }

    fn statistics(&mut self, at: Duration) -> Statistics {
        self.link.statistics(self.start + at)
    }

    fn arrived_between(&self, from: Duration, to: Duration) -> usize {
        self.arrived.iter().filter(|(_, at)| (from..to).contains(at)).count()
    }

    fn delays(&mut self) -> Vec<Duration> {
        self.link.take_samples().map(|sample| sample.delay).collect()
    }
}

#[test]
fn a_perfect_link_delivers_at_once_and_in_order() {
    let mut run = Run::new("");
    run.offer(Duration::ZERO, SECOND, 10_000);
    assert_eq!(run.arrived.len(), 1_000);
    assert!(run.arrived.iter().enumerate().all(|(i, (n, at))| (i as u64, millis(i as u64)) == (*n, *at)));
    assert_eq!(run.statistics(SECOND).utilisation(), None);
}

#[test]
fn the_rate_holds_whatever_is_offered_on_top() {
    for kbps in [64, 500, 3_333, 50_000] {
        let mut run = Run::new(&format!("rate={kbps}kbit,delay=20ms"));
        run.offer(Duration::ZERO, 10 * SECOND, kbps * 3 / 2);
        let statistics = run.statistics(10 * SECOND);
        let carried = statistics.carried.bytes as f64 * 8.0 / 10_000.0;
        assert!((carried / kbps as f64 - 1.0).abs() < 0.005, "{kbps}: {carried}");
        assert!(
            statistics.utilisation().is_some_and(|share| (0.99..=1.0).contains(&share)),
            "{statistics:?}"
        );
        // What is in flight at the end has not been delivered.
        let delivered = statistics.rate().0 as f64 / (kbps * 1_000) as f64;
        assert!((0.98..=1.0).contains(&delivered), "{statistics:?}");
    }
}

#[test]
fn a_packet_takes_its_time_to_be_sent_and_then_the_delay() {
    let mut run = Run::new("rate=1mbit,delay=50ms");
    for _ in 0..3 {
        run.link.send(run.start, 1_250, run.sent);
        run.sent += 1;
    }
    run.drain(SECOND);
    assert_eq!(run.arrived, [(0, millis(60)), (1, millis(70)), (2, millis(80))]);
    assert_eq!(run.delays(), [millis(0), millis(10), millis(20)]);
}

#[test]
fn a_queue_bounded_in_time_never_makes_a_packet_wait_longer() {
    let mut run = Run::new("rate=1mbit,queue=100ms");
    run.offer(Duration::ZERO, 10 * SECOND, 2_000);
    let mut delays = run.delays();
    assert_eq!(percentile(&mut delays, 1.0), millis(100));
    let statistics = run.statistics(10 * SECOND);
    // Half is too much, but for what still waits.
    assert!((990..=1_000).contains(&statistics.dropped_full.packets), "{statistics:?}");
    assert!((statistics.loss() - 0.5).abs() < 0.01);
}

#[test]
fn a_queue_bounded_in_bytes_holds_exactly_these() {
    let mut run = Run::new("rate=1mbit,queue=5kB");
    for number in 0..10 {
        run.link.send(run.start, 1_250, number);
    }
    assert_eq!((run.link.len(), run.statistics(Duration::ZERO).dropped_full.packets), (4, 6));
    run.drain(SECOND);
    assert_eq!(run.arrived.len(), 4);
    // One that is larger than the whole queue passes when nothing else is there.
    run.link.send(run.start + SECOND, 9_000, 99);
    assert_eq!(run.link.len(), 1);
}

#[test]
fn a_packet_half_sent_when_the_rate_changes_is_finished_at_the_new_rate() {
    let mut run = Run::new("rate=1mbit");
    run.link.follow(run.start, &Schedule::new().at(millis(5), Setting::Rate(Some(Bitrate::kbps(500)))));
    run.link.send(run.start, 1_250, 0);
    run.drain(SECOND);
    // 5 ms for the first half, 10 for the second.
    assert_eq!(run.arrived, [(0, millis(15))]);
}

#[test]
fn a_schedule_of_rates_is_followed() {
    let mut run = Run::new("queue=300ms");
    run.link.follow(run.start, &Schedule::rates(&[(0, 1_000), (4, 2_500), (6, 600), (8, 1_000)]));
    run.offer(Duration::ZERO, 10 * SECOND, 5_000);
    for (from, to, kbps) in [(1, 4, 1_000.0), (4, 6, 2_500.0), (6, 8, 600.0), (8, 10, 1_000.0)] {
        let packets = run.arrived_between(from * SECOND, to * SECOND) as f64;
        let measured = packets * 10.0 / f64::from(to - from);
        assert!((measured - kbps).abs() <= 10.0, "{from} s: {measured} of {kbps}");
    }
    let utilisation = run.statistics(10 * SECOND).utilisation().expect("a rate");
    assert!((0.995..=1.0).contains(&utilisation), "{utilisation}");
}

#[test]
fn nothing_passes_an_outage_and_the_queue_outlives_it() {
    let mut run = Run::new("rate=1mbit,queue=100ms");
    let (off, on) = (Setting::Rate(Some(Bitrate(0))), Setting::Rate(Some(Bitrate::kbps(1_000))));
    run.link.follow(run.start, &Schedule::new().at(SECOND, off).at(3 * SECOND, on));
    run.offer(Duration::ZERO, 5 * SECOND, 900);
    assert_eq!(run.arrived_between(SECOND + millis(1), 3 * SECOND), 0);
    let waited = percentile(&mut run.delays(), 1.0);
    assert!(waited > 2 * SECOND - millis(20), "{waited:?}");
    // The bound is that of the rate before: ten packets, and the one being sent.
    let statistics = run.statistics(5 * SECOND);
    assert!((165..=172).contains(&statistics.dropped_full.packets), "{statistics:?}");
}

#[test]
fn an_outage_without_end_asks_for_no_time() {
    let mut run = Run::new("rate=0");
    run.link.send(run.start, 100, 0);
    assert_eq!(run.link.poll_timeout(), None);
    run.link.set(run.start + SECOND, Setting::Rate(None));
    assert_eq!(run.link.poll_deliver(run.start + SECOND), Some(0));
}

#[test]
fn random_loss_takes_its_share_after_the_bottleneck() {
    let mut run = Run::new("rate=10mbit,loss=5%");
    run.offer(Duration::ZERO, 100 * SECOND, 9_000);
    let statistics = run.statistics(100 * SECOND);
    assert!((statistics.loss() - 0.05).abs() < 0.003, "{statistics:?}");
    assert!(statistics.utilisation().is_some_and(|share| (share - 0.9).abs() < 0.01), "{statistics:?}");
    assert_eq!(statistics.lost_random.packets + statistics.delivered.packets, statistics.carried.packets);
}

#[test]
fn bursts_have_their_average_and_their_length() {
    let mut run = Run::new("burst=5%/8");
    run.offer(Duration::ZERO, 200 * SECOND, 10_000);
    let lost = run.statistics(200 * SECOND).lost_burst.packets as f64;
    let gaps: Vec<u64> =
        run.arrived.windows(2).map(|pair| pair[1].0 - pair[0].0 - 1).filter(|gap| *gap > 0).collect();
    let length = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
    assert!((lost / run.sent as f64 - 0.05).abs() < 0.007, "{lost} of {}", run.sent);
    assert!((length - 8.0).abs() < 0.5, "{length}");
}

#[test]
fn a_full_gilbert_elliott_model_loses_its_average() {
    let mut run = Run::new("burst=1%/20%/0.5%/60%");
    let model = run.link.conditions().burst.expect("a model");
    run.offer(Duration::ZERO, 300 * SECOND, 10_000);
    let loss = run.statistics(300 * SECOND).loss();
    assert!((loss - model.average()).abs() < 0.004, "{loss} for {}", model.average());
}

#[test]
fn jitter_keeps_the_order_unless_it_is_free() {
    for (order, reorders) in [("kept", false), ("free", true)] {
        let mut run = Run::new(&format!("delay=50ms,jitter=15ms,order={order}"));
        run.offer(Duration::ZERO, 10 * SECOND, 5_000);
        run.drain(20 * SECOND);
        assert_eq!(run.arrived.len() as u64, run.sent);
        assert_eq!(run.arrived.iter().is_sorted_by_key(|(number, _)| *number), !reorders);
        let delays: Vec<_> =
            run.arrived.iter().map(|(number, at)| *at - millis(2) * *number as u32).collect();
        assert!(delays.iter().all(|delay| (millis(50)..=millis(65)).contains(delay)));
        if reorders {
            // The mean amount of a normal distribution with a deviation of 5 ms is 3.99 ms.
            let mean = delays.iter().sum::<Duration>() / delays.len() as u32 - millis(50);
            assert!((Duration::from_micros(3_850)..Duration::from_micros(4_130)).contains(&mean), "{mean:?}");
        }
    }
}

#[test]
fn packets_in_order_do_not_overtake_when_the_delay_falls() {
    let mut run = Run::new("delay=100ms");
    run.link.follow(run.start, &Schedule::new().at(millis(50), Setting::Delay(millis(10))));
    run.offer(Duration::ZERO, millis(200), 10_000);
    run.drain(SECOND);
    assert!(run.arrived.is_sorted_by_key(|(number, _)| *number));
    assert!(run.arrived.iter().all(|(number, at)| *at <= millis(*number + 100)));
}

#[test]
fn packets_that_are_held_up_are_overtaken_by_the_others_alone() {
    let mut run = Run::new("delay=10ms,reorder=2%/30ms");
    run.offer(Duration::ZERO, 20 * SECOND, 10_000);
    run.drain(30 * SECOND);
    let late = run.arrived.iter().filter(|(number, at)| *at == millis(*number + 40)).count();
    let others = run.arrived.iter().filter(|(number, at)| *at == millis(*number + 10)).count();
    assert_eq!((late + others) as u64, run.sent);
    assert!((330..=470).contains(&late), "{late}");
    assert_eq!(run.statistics(30 * SECOND).reordered, late as u64);
}

#[test]
fn a_duplicate_comes_directly_behind_its_original() {
    let mut run = Run::new("rate=20mbit,delay=10ms,duplicate=3%");
    run.offer(Duration::ZERO, 20 * SECOND, 10_000);
    run.drain(30 * SECOND);
    let doubled = run.arrived.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
    let statistics = run.statistics(30 * SECOND);
    assert!((520..=680).contains(&doubled), "{doubled}");
    assert_eq!((statistics.duplicated, statistics.delivered.packets), (doubled, run.sent + doubled));
}

#[test]
fn the_same_seed_gives_the_same_and_another_something_else() {
    let run = |seed| {
        let mut run = Run::seeded(
            "rate=3mbit,delay=30ms,jitter=20ms,order=free,loss=2%,burst=1%/4,reorder=1%/50ms,duplicate=1%",
            seed,
        );
        run.offer(Duration::ZERO, 10 * SECOND, 3_100);
        (run.arrived.clone(), run.statistics(10 * SECOND))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn another_value_of_one_condition_leaves_the_losses_of_the_others() {
    let lost = |conditions| {
        let mut run = Run::new(conditions);
        run.offer(Duration::ZERO, 10 * SECOND, 1_000);
        run.drain(20 * SECOND);
        let arrived: std::collections::BTreeSet<u64> =
            run.arrived.iter().map(|(number, _)| *number).collect();
        (0..run.sent).filter(|number| !arrived.contains(number)).collect::<Vec<_>>()
    };
    assert_eq!(lost("loss=3%"), lost("loss=3%,jitter=10ms,duplicate=10%,reorder=5%/20ms,delay=40ms"));
}

#[test]
fn how_often_it_is_asked_changes_nothing() {
    let arrivals = |step: Duration| {
        let mut run = Run::new("rate=1mbit,delay=20ms,jitter=10ms,loss=1%");
        run.link.follow(run.start, &Schedule::rates(&[(1, 400), (3, 2_000)]));
        let mut numbers = Vec::new();
        for tick in 0..600 {
            let at = millis(10) * tick;
            run.link.send(run.start + at, 1_250, u64::from(tick));
            let mut now = at;
            while now < at + millis(10) {
                numbers.extend(std::iter::from_fn(|| run.link.poll_deliver(run.start + now)));
                now += step;
            }
        }
        (numbers, run.statistics(6 * SECOND).carried, run.delays())
    };
    assert_eq!(arrivals(millis(10)).1, arrivals(Duration::from_micros(100)).1);
    assert_eq!(arrivals(millis(10)).2, arrivals(Duration::from_micros(700)).2);
}

#[test]
fn time_that_goes_backwards_counts_as_standing_still() {
    let mut run = Run::new("delay=10ms");
    run.link.send(run.start + SECOND, 100, 1);
    run.link.send(run.start, 100, 2);
    assert_eq!(run.link.poll_deliver(run.start), None);
    let all: Vec<_> = std::iter::from_fn(|| run.link.poll_deliver(run.start + SECOND + millis(10))).collect();
    assert_eq!(all, [1, 2]);
}
