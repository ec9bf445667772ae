//! The controller against feedback that no honest receiver sends. What it does with honest feedback, in closed loop with
//! a network, is tested in `tests/congestion`.

use std::time::{Duration, Instant};

use base::Bitrate;

use super::{Config, Controller, Usage};
use crate::streams::PacketResult;

const MS: Duration = Duration::from_millis(1);

struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 20
    }

    fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }
}

fn config() -> Config {
    Config { max: Bitrate::kbps(20_000), ..Config::default() }
}

fn result(sequence: u64, sent: Instant, arrival: Option<i64>) -> PacketResult {
    PacketResult { sequence, sent, size: 1_100, tag: 0, arrival, was_lost: false }
}

/// Sends 100 packets a second, and acknowledges each `delay_us` later by a clock that is `clock_us` off.
fn honest(controller: &mut Controller, from: Instant, seconds: u64, clock_us: i64) -> Instant {
    for step in 0..seconds * 20 {
        let now = from + step as u32 * 50 * MS;
        let packets = (0..5u32).map(|i| {
            let sent = now + i * 10 * MS;
            let tag = controller.on_sent(sent, 1_100);
            let at = (sent - from).as_micros() as i64 + 50_000 + clock_us;
            PacketResult { tag, ..result(step * 5 + u64::from(i), sent, Some(at / 250 * 250)) }
        });
        let results: Vec<_> = packets.collect();
        controller.on_feedback(now + 100 * MS, &results, Some(100 * MS));
        controller.handle_timeout(now + 100 * MS);
    }
    from + seconds as u32 * 1_000 * MS
}

#[test]
fn nothing_but_the_start_is_known_at_the_start() {
    let now = Instant::now();
    let mut controller = Controller::new(now, config());
    assert_eq!(controller.target(), Bitrate::kbps(300));
    assert_eq!((controller.poll_timeout(), controller.poll_probe(now)), (None, None));
    assert_eq!(controller.rtt(), None);
    controller.on_feedback(now, &[], None);
    assert_eq!(controller.target(), Bitrate::kbps(300));
}

#[test]
fn bounds_that_make_no_sense_are_put_right() {
    let now = Instant::now();
    let absurd = Config { start: Bitrate(0), min: Bitrate(u64::MAX), max: Bitrate(0), feedback: true };
    let controller = Controller::new(now, absurd);
    assert_eq!(controller.target(), Bitrate::kbps(10_000_000));
    let controller = Controller::new(now, Config { min: Bitrate(0), start: Bitrate(0), ..config() });
    assert_eq!(controller.target(), Bitrate::kbps(5));
}

#[test]
fn a_clock_of_the_receiver_that_is_set_changes_no_estimate() {
    let start = Instant::now();
    let mut controller = Controller::new(start, config());
    let mut now = honest(&mut controller, start, 5, 0);
    let before = controller.target();
    for clock_us in [1i64 << 50, -(1 << 50), 3_600_000_000, 0] {
        now = honest(&mut controller, now + 200 * MS, 3, clock_us);
        assert!(controller.target() >= before, "{} at {clock_us}", controller.target());
    }
}

#[test]
fn a_clock_of_the_sender_that_is_set_costs_no_more_than_one_measurement() {
    let start = Instant::now();
    let mut controller = Controller::new(start, config());
    let now = honest(&mut controller, start, 5, 0);
    let before = controller.target();
    let jumped = now + 30_000 * MS;
    controller.handle_timeout(jumped);
    honest(&mut controller, jumped, 3, 5_000_000);
    assert!(controller.target() >= before, "{} after {before}", controller.target());
}

/// Media of 600 kbit/s and the padding of probes, for so long; `lost`: all packets of probes are.
fn probed(controller: &mut Controller, from: Instant, seconds: u64, first: u64, lost: bool) -> u64 {
    let mut sequence = first;
    let mut probes = 0;
    for step in 0..seconds * 20 {
        let now = from + step as u32 * 50 * MS;
        let mut results = Vec::new();
        for i in 0..50u32 {
            let sent = now + i * MS;
            let mut tags = Vec::new();
            if i % 13 == 0 {
                tags.push((1_000, controller.on_sent(sent, 1_000)));
            }
            while let Some(probe) = controller.poll_probe(sent) {
                let size = probe.bytes.clamp(100, 290);
                tags.push((size as u16, controller.on_sent(sent, size)));
                probes += 1;
            }
            results.extend(tags.into_iter().map(|(size, tag)| {
                sequence += 1;
                let arrival =
                    (!lost || tag == 0).then(|| 50_000 + sequence as i64 * 4 + i64::from(i) * 1_000);
                let arrival = arrival.map(|at| at + step as i64 * 50_000);
                PacketResult { tag, size, ..result(sequence, sent, arrival) }
            }));
        }
        controller.on_feedback(now + 60 * MS, &results, Some(60 * MS));
        controller.handle_timeout(now + 60 * MS);
    }
    probes
}

#[test]
fn probes_that_are_lost_cost_nothing_and_are_sent_again() {
    let start = Instant::now();
    let mut controller = Controller::new(start, config());
    controller.set_wanted(start, Bitrate::kbps(5_000));
    let probes = probed(&mut controller, start, 20, 0, true);
    assert!((20..400).contains(&probes), "{probes}");
    assert!(controller.target() >= Bitrate::kbps(300), "{}", controller.target());
    let from = start + 20_000 * MS;
    probed(&mut controller, from, 15, 100_000, false);
    assert!(controller.target() >= Bitrate::kbps(3_000), "{}", controller.target());
}

#[test]
fn a_receiver_that_acknowledges_nothing_gets_the_least_but_that_for_ever() {
    let start = Instant::now();
    let mut controller = Controller::new(start, config());
    controller.set_wanted(start, Bitrate::kbps(5_000));
    for step in 0..60_000 {
        let now = start + step * MS;
        if step % 10 == 0 {
            controller.on_sent(now, 1_100);
        }
        if controller.poll_timeout().is_some_and(|at| at <= now) {
            controller.handle_timeout(now);
        }
    }
    assert_eq!(controller.target(), config().min);
    // It says that all was lost; then one packet arrives.
    let now = start + 60_000 * MS;
    let lost: Vec<_> = (0..1_000).map(|i| result(i, start + i as u32 * MS, None)).collect();
    controller.on_feedback(now, &lost, None);
    assert_eq!(controller.target(), config().min);
    controller.on_feedback(now, &[result(9, start, Some(5))], Some(60_000 * MS));
    assert_eq!(controller.target(), config().min);
    assert_eq!(controller.rtt(), Some(Duration::from_secs(10)), "bounded");
}

#[test]
fn after_a_silence_the_estimate_is_found_again() {
    let start = Instant::now();
    let mut controller = Controller::new(start, config());
    let mut now = honest(&mut controller, start, 3, 0);
    controller.on_sent(now, 1_100);
    for _ in 0..20 {
        now = controller.poll_timeout().map_or(now + 500 * MS, |at| at.max(now));
        controller.handle_timeout(now);
    }
    assert_eq!(controller.target(), config().min);
    now = honest(&mut controller, now + 200 * MS, 60, 0);
    assert!(controller.target() > Bitrate::kbps(900), "{}", controller.target());
    assert!(controller.poll_timeout().is_none_or(|at| at > now), "no timer is stuck in the past");
}

#[test]
fn hostile_results_break_nothing_and_stay_within_the_bounds() {
    let start = Instant::now();
    for seed in 0..50 {
        let mut random = Random(seed);
        let mut controller = Controller::new(start, config());
        controller.set_wanted(start, Bitrate::kbps(random.below(30_000)));
        let mut now = start;
        for step in 0..400u64 {
            now += Duration::from_micros(random.below(60_000));
            for _ in 0..random.below(8) {
                controller.on_sent(now, random.below(70_000) as usize);
                while let Some(probe) = controller.poll_probe(now) {
                    assert!(probe.bytes > 0 && probe.rate <= Bitrate::kbps(20_000));
                    controller.on_sent(now, probe.bytes.min(290));
                }
            }
            let hostile = |i: u64, random: &mut Random| PacketResult {
                sequence: step * 100 + i,
                sent: start + Duration::from_micros(random.below(40_000_000)),
                size: random.number() as u16,
                tag: random.number() as u8,
                arrival: match random.below(5) {
                    0 => None,
                    1 => Some((random.number() as i64).wrapping_mul(1 << 20)),
                    2 => Some([i64::MAX, i64::MIN, 0, -1][random.below(4) as usize]),
                    _ => Some((now - start).as_micros() as i64 + random.below(90_000) as i64),
                },
                was_lost: random.below(4) == 0,
            };
            let results: Vec<_> = (0..random.below(30)).map(|i| hostile(i, &mut random)).collect();
            let rtt = (random.below(2) == 0).then(|| Duration::from_micros(random.number()));
            controller.on_feedback(now, &results, rtt);
            controller.on_remb(now, Bitrate(random.number() << random.below(40)));
            controller.on_loss_report(now, random.below(300) as f32 / 100.0);
            if controller.poll_timeout().is_some_and(|at| at <= now) {
                controller.handle_timeout(now);
            }
            let target = controller.target();
            assert!((config().min..=config().max).contains(&target), "{target}");
            assert!(controller.snapshot().queue < Duration::from_secs(1 << 45));
        }
    }
}

#[test]
fn no_call_leaves_a_timer_that_does_not_move() {
    let start = Instant::now();
    let mut random = Random(7);
    for _ in 0..20 {
        let mut controller = Controller::new(start, config());
        controller.set_wanted(start, Bitrate::kbps(8_000));
        let (mut now, mut same) = (start, 0);
        for step in 0..2_000 {
            if random.below(3) == 0 {
                controller.on_sent(now, 200 + random.below(1_000) as usize);
            }
            if random.below(10) == 0 {
                let late = random.below(100_000) as i64;
                let lost = random.below(20) == 0;
                let arrival = (!lost).then(|| (now - start).as_micros() as i64 + late);
                controller.on_feedback(now, &[result(step, now, arrival)], Some(40 * MS));
            }
            let next = controller.poll_timeout().unwrap_or(now + 20 * MS);
            same = if next <= now { same + 1 } else { 0 };
            assert!(same < 3, "{controller:?}");
            now = now.max(next);
            controller.handle_timeout(now);
        }
    }
}

#[test]
fn a_receiver_without_feedback_is_estimated_by_its_remb() {
    let now = Instant::now();
    let mut controller = Controller::new(now, Config { feedback: false, ..config() });
    controller.set_wanted(now, Bitrate::kbps(5_000));
    controller.on_sent(now, 1_100);
    assert_eq!(controller.poll_timeout(), None, "no silence, no probes");
    controller.on_remb(now, Bitrate::kbps(2_000));
    assert_eq!(controller.target(), Bitrate::kbps(2_000));
    controller.on_loss_report(now, 0.5);
    assert_eq!(controller.target(), Bitrate::kbps(1_500));
}

#[test]
fn beside_feedback_a_remb_is_a_cap() {
    let start = Instant::now();
    let mut controller = Controller::new(start, config());
    let now = honest(&mut controller, start, 10, 0);
    let before = controller.target();
    controller.on_remb(now, Bitrate::kbps(150));
    assert_eq!(controller.target(), Bitrate::kbps(150));
    controller.on_remb(now + MS, Bitrate::kbps(90_000));
    assert_eq!(controller.target(), before);
    assert_eq!(controller.snapshot().usage, Usage::Normal);
}
