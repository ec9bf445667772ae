//! Senders that share a link.

use std::time::Duration;

use crate::node::Source;
use crate::scene::{Flow, Report, SECOND, Scene};

/// Kbit/s of each flow until then.
fn rates(scene: &mut Scene, flows: &[Flow], seconds: f64) -> (Vec<f64>, Report) {
    let from = scene.at();
    let before: Vec<_> = flows.iter().map(|flow| scene.sender(*flow).sent_bytes).collect();
    let report = scene.measure_to(seconds);
    let time = (scene.at() - from).as_secs_f64();
    let after = flows.iter().map(|flow| scene.sender(*flow).sent_bytes).collect::<Vec<_>>();
    let rate = |(after, before): (&u64, u64)| (after - before) as f64 * 0.008 / time;
    (after.iter().zip(before).map(rate).collect(), report)
}

/// Jain's index.
fn fairness(rates: &[f64]) -> f64 {
    let (sum, squares) = rates.iter().fold((0.0, 0.0), |(sum, squares), r| (sum + r, squares + r * r));
    sum * sum / (rates.len() as f64 * squares)
}

#[test]
fn three_senders_that_come_one_after_another_get_equal_shares() {
    let mut scene = Scene::new(1, "rate=3500kbit,delay=50ms,queue=300ms,jitter=5ms", "delay=50ms");
    let begins = |i: u32| SECOND * 20 * i + Duration::from_millis(11) * i;
    let flows: Vec<_> = (0..3).map(|i| scene.flow(begins(i), Source::Greedy, 20_000)).collect();
    scene.run_to(60.0);
    let (rates, report) = rates(&mut scene, &flows, 120.0);
    assert!(fairness(&rates) >= 0.9, "{rates:?}");
    assert!(report.utilisation >= 0.9, "{report:?}");
    assert!(report.queue_p95 <= Duration::from_millis(50), "{report:?}");
}

#[test]
fn senders_of_unequal_distance_get_comparable_shares() {
    let mut scene = Scene::new(1, "rate=4mbit,queue=300ms,jitter=5ms", "");
    let delays = [10, 25, 50, 100, 150];
    let flow = |(i, delay)| scene.flow_delayed(SECOND * 10 * i as u32, Source::Greedy, 20_000, delay);
    let flows: Vec<_> = delays.into_iter().enumerate().map(flow).collect();
    scene.run_to(60.0);
    let (rates, report) = rates(&mut scene, &flows, 160.0);
    assert!(fairness(&rates) >= 0.85, "{rates:?}");
    assert!(report.utilisation >= 0.9, "{report:?}");
    assert!(report.queue_p95 <= Duration::from_millis(50), "{report:?}");
}

#[test]
fn a_tcp_flow_does_not_push_media_off_the_link_and_is_not_pushed_off() {
    for (queue, seed) in [("300ms", 2), ("300ms", 3), ("1000ms", 2)] {
        let mut scene =
            Scene::new(seed, &format!("rate=2mbit,delay=50ms,queue={queue},jitter=5ms"), "delay=50ms");
        let flow = scene.flow(Duration::ZERO, Source::Greedy, 20_000);
        scene.tcp(None);
        scene.run_to(20.0);
        let (rates, _) = rates(&mut scene, &[flow], 120.0);
        assert!((0.25..0.6).contains(&(rates[0] / 2_000.0)), "{rates:?} with a queue of {queue}");
    }
}

#[test]
fn when_tcp_has_left_the_queue_is_short_again_within_seconds() {
    let mut scene = Scene::new(2, "rate=2mbit,delay=50ms,queue=300ms,jitter=5ms", "delay=50ms");
    let flows = [0, 11].map(|ms| scene.flow(Duration::from_millis(ms), Source::Greedy, 20_000));
    scene.tcp(Some(5_000_000));
    scene.run_to(20.0);
    assert!(scene.measure_to(25.0).queue_mean > Duration::from_millis(100));
    // It takes the TCP flow about 40 s.
    scene.run_to(60.0);
    let (rates, report) = rates(&mut scene, &flows, 100.0);
    assert!(report.queue_p95 <= Duration::from_millis(50) && report.utilisation >= 0.9, "{report:?}");
    assert!(fairness(&rates) >= 0.8, "{rates:?}");
}

#[test]
fn a_route_that_has_become_longer_is_not_taken_for_somebody_who_fills_the_queue() {
    let mut scene = Scene::new(2, "rate=2mbit,delay=50ms,queue=600ms,jitter=5ms", "delay=50ms");
    scene.flow(Duration::ZERO, Source::Greedy, 20_000);
    scene.run_to(20.0);
    scene.change("delay=200ms,rate=500kbit");
    scene.run_to(30.0);
    let report = scene.measure_to(80.0);
    assert!(report.queue_p95 <= Duration::from_millis(60) && report.loss <= 0.005, "{report:?}");
}
