//! Senders that share a link.

use std::time::Duration;

use crate::node::Source;
use crate::scene::{Flow, SECOND, Scene};

/// Kbit/s of each flow until then.
fn rates(scene: &mut Scene, flows: &[Flow], seconds: f64) -> Vec<f64> {
    let from = scene.at();
    let before: Vec<_> = flows.iter().map(|flow| scene.sender(*flow).sent_bytes).collect();
    scene.run_to(seconds);
    let time = (scene.at() - from).as_secs_f64();
    let after = flows.iter().map(|flow| scene.sender(*flow).sent_bytes).collect::<Vec<_>>();
    after.iter().zip(before).map(|(after, before)| (after - before) as f64 * 0.008 / time).collect()
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
    let rates = rates(&mut scene, &flows, 120.0);
    assert!(fairness(&rates) >= 0.9, "{rates:?}");
    assert!(rates.iter().sum::<f64>() >= 0.85 * 3_500.0, "{rates:?}");
}

#[test]
fn senders_of_unequal_distance_get_comparable_shares() {
    let mut scene = Scene::new(1, "rate=4mbit,queue=300ms,jitter=5ms", "");
    let delays = [10, 25, 50, 100, 150];
    let flow = |(i, delay)| scene.flow_delayed(SECOND * 10 * i as u32, Source::Greedy, 20_000, delay);
    let flows: Vec<_> = delays.into_iter().enumerate().map(flow).collect();
    scene.run_to(60.0);
    let rates = rates(&mut scene, &flows, 160.0);
    assert!(fairness(&rates) >= 0.85, "{rates:?}");
    assert!(rates.iter().sum::<f64>() >= 0.85 * 4_000.0, "{rates:?}");
}

#[test]
fn a_tcp_flow_does_not_push_media_off_the_link_and_is_not_pushed_off() {
    let mut scene = Scene::new(2, "rate=2mbit,delay=50ms,queue=300ms,jitter=5ms", "delay=50ms");
    let flow = scene.flow(Duration::ZERO, Source::Greedy, 20_000);
    scene.tcp();
    scene.run_to(20.0);
    let rates = rates(&mut scene, &[flow], 120.0);
    assert!((0.12..0.75).contains(&(rates[0] / 2_000.0)), "{rates:?}");
}
