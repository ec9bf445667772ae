//! One sender that uses all it may, alone on a link.

use std::time::Duration;

use crate::node::{Habits, Source};
use crate::scene::{Flow, Scene};

const DELAY: &str = "delay=50ms";
const NOW: Duration = Duration::ZERO;
/// Of a link's rate, what is left of it for packets without IP and UDP headers.
const NET: f64 = 0.975;

fn greedy(forward: &str, backward: &str) -> (Scene, Flow) {
    let mut scene = Scene::new(1, forward, backward);
    let flow = scene.flow(NOW, Source::Greedy, 20_000);
    (scene, flow)
}

#[test]
fn a_start_at_300_kbps_is_at_2_mbps_within_two_seconds() {
    let (mut scene, flow) = greedy("rate=2500kbit,delay=50ms,queue=300ms", DELAY);
    scene.run_to(5.0);
    let ramp = scene.reached(flow, 0.0, |kbps| kbps >= 2_000.0);
    assert!(ramp.is_some_and(|seconds| seconds <= 2.0), "{ramp:?}");
}

#[test]
fn probes_find_the_rate_of_a_link_that_jitters_or_loses() {
    for link in ["jitter=30ms", "loss=5%", "loss=10%"] {
        let (mut scene, flow) = greedy(&format!("rate=2mbit,delay=50ms,queue=300ms,{link}"), DELAY);
        scene.run_to(5.0);
        let ramp = scene.reached(flow, 0.0, |kbps| kbps >= 1_500.0);
        assert!(ramp.is_some_and(|seconds| seconds <= 2.0), "{ramp:?} at {link}");
    }
}

#[test]
fn a_steady_link_is_used_and_its_queue_stays_short() {
    for (rate, delay) in [(500, 50), (1_000, 50), (2_000, 10), (2_000, 50), (2_000, 150), (10_000, 50)] {
        let forward = format!("rate={rate}kbit,delay={delay}ms,queue=300ms,jitter=5ms");
        let (mut scene, _) = greedy(&forward, &format!("delay={delay}ms"));
        scene.run_to(10.0);
        let report = scene.measure_to(100.0);
        assert!(report.utilisation >= 0.9, "{report:?} at {forward}");
        assert!(report.queue_p95 <= Duration::from_millis(60), "{report:?} at {forward}");
        assert!(report.queue_mean <= Duration::from_millis(25), "{report:?} at {forward}");
        assert!(report.loss <= 0.001, "{report:?} at {forward}");
    }
}

#[test]
fn when_the_link_falls_to_a_quarter_the_rate_is_below_it_within_one_and_a_half_seconds() {
    let (mut scene, flow) = greedy("rate=2500kbit,delay=50ms,queue=300ms", DELAY);
    scene.rates(&[(0, 2_500), (30, 600)]);
    scene.run_to(32.0);
    let down = scene.reached(flow, 30.0, |kbps| kbps <= 600.0 * NET);
    assert!(down.is_some_and(|seconds| seconds <= 1.5), "{down:?}");
    let report = scene.measure_to(60.0);
    assert!(report.utilisation >= 0.85 && report.loss <= 0.01, "{report:?}");
    assert!(report.queue_p95 <= Duration::from_millis(60), "{report:?}");
}

#[test]
fn when_the_link_is_faster_again_that_is_found_within_five_seconds() {
    for (low, high) in [(600, 1_000), (1_000, 2_500), (300, 3_000)] {
        let (mut scene, flow) = greedy(&format!("rate={low}kbit,delay=50ms,queue=300ms"), DELAY);
        scene.rates(&[(0, low), (30, high)]);
        scene.run_to(40.0);
        let up = scene.reached(flow, 30.0, |kbps| kbps >= 0.85 * NET * high as f64);
        assert!(up.is_some_and(|seconds| seconds <= 6.0), "{up:?} from {low} to {high}");
    }
}

#[test]
fn random_loss_is_not_taken_for_congestion() {
    for (loss, least) in [(2, 0.85), (5, 0.8), (10, 0.7)] {
        let forward = format!("rate=1mbit,delay=50ms,queue=300ms,loss={loss}%");
        let (mut scene, _) = greedy(&forward, DELAY);
        scene.run_to(10.0);
        let report = scene.measure_to(70.0);
        assert!(report.utilisation >= least, "{report:?} at {loss} %");
        assert!(report.queue_p95 <= Duration::from_millis(60), "{report:?} at {loss} %");
    }
}

#[test]
fn a_link_without_a_queue_is_not_flooded() {
    let (mut scene, _) = greedy("rate=2mbit,delay=50ms,queue=20ms", DELAY);
    scene.run_to(10.0);
    let report = scene.measure_to(70.0);
    assert!(report.utilisation >= 0.85 && report.loss <= 0.06, "{report:?}");
}

#[test]
fn feedback_that_is_late_or_lost_makes_nothing_collapse() {
    let (mut scene, flow) = greedy("rate=2mbit,delay=150ms,queue=300ms", "delay=150ms");
    let habits = Habits { drop_one_of: Some(10), ..Habits::default() };
    scene.world[flow.receiver].receiver().habits = habits;
    scene.run_to(15.0);
    let report = scene.measure_to(75.0);
    assert!(report.utilisation >= 0.7, "{report:?}");
}

#[test]
fn feedback_through_a_narrow_way_back_that_reorders_and_doubles_makes_nothing_collapse() {
    let back = "rate=100kbit,queue=300ms,delay=50ms,jitter=20ms,reorder=5%/30ms,duplicate=5%,loss=3%";
    let (mut scene, _) = greedy("rate=2mbit,delay=50ms,queue=300ms,reorder=1%/30ms,duplicate=1%", back);
    scene.run_to(10.0);
    let report = scene.measure_to(70.0);
    assert!(report.utilisation >= 0.75, "{report:?}");
}

#[test]
fn a_link_that_is_dead_for_ten_seconds_is_used_again_within_seconds() {
    let (mut scene, flow) = greedy("rate=2mbit,delay=50ms,queue=300ms", DELAY);
    scene.run_to(20.0);
    scene.world[flow.receiver].receiver().habits.mute = true;
    scene.run_to(30.0);
    assert!(scene.target(flow) < 200.0, "{}", scene.target(flow));
    scene.world[flow.receiver].receiver().habits.mute = false;
    scene.run_to(40.0);
    let back = scene.reached(flow, 30.0, |kbps| kbps >= 1_500.0);
    assert!(back.is_some_and(|seconds| seconds <= 8.0), "{back:?}");
}
