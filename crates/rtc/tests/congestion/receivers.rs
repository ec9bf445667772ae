//! Receivers that do not have transport-wide feedback.

use std::time::Duration;

use rtc::cc::Config;

use crate::answers::{Answers, ByStream, Estimator};
use crate::node::Source;
use crate::scene::{Flow, Scene};

const DELAY: &str = "delay=50ms";

fn with_remb(forward: &str, source: Source) -> (Scene, Flow) {
    let mut scene = Scene::new(1, forward, DELAY);
    let config = Config { feedback: false, ..Config::default() };
    let flow = scene.flow_of(config, Duration::ZERO, source, 20_000);
    let start = scene.start;
    scene.world[flow.receiver].receiver().answers = Answers::Remb(Estimator::new(start));
    (scene, flow)
}

#[test]
fn feedback_by_stream_does_what_transport_wide_feedback_does() {
    let mut scene = Scene::new(1, "rate=2500kbit,delay=50ms,queue=300ms,jitter=5ms", DELAY);
    scene.rates(&[(0, 2_500), (30, 600)]);
    let flow = scene.flow(Duration::ZERO, Source::Greedy, 20_000);
    let start = scene.start;
    scene.world[flow.receiver].receiver().answers = Answers::ByStream(ByStream::new(start));
    scene.run_to(10.0);
    let ramp = scene.reached(flow, 0.0, |kbps| kbps >= 2_000.0);
    assert!(ramp.is_some_and(|seconds| seconds <= 2.5), "{ramp:?}");
    let steady = scene.measure_to(30.0);
    assert!(steady.utilisation >= 0.9 && steady.queue_p95 <= Duration::from_millis(50), "{steady:?}");
    scene.run_to(32.0);
    let down = scene.reached(flow, 30.0, |kbps| kbps <= 585.0);
    assert!(down.is_some_and(|seconds| seconds <= 1.5), "{down:?}");
}

#[test]
fn where_remb_is_all_there_is_the_receivers_estimate_is_followed() {
    let (mut scene, flow) = with_remb("rate=1500kbit,delay=50ms,queue=300ms,jitter=5ms", Source::Greedy);
    scene.rates(&[(0, 1_500), (60, 500)]);
    scene.run_to(40.0);
    let report = scene.measure_to(60.0);
    assert!(report.utilisation >= 0.7 && report.loss <= 0.01, "{report:?}");
    scene.run_to(70.0);
    let down = scene.reached(flow, 60.0, |kbps| kbps <= 500.0);
    assert!(down.is_some_and(|seconds| seconds <= 3.0), "{down:?}");
    assert_eq!(scene.sender(flow).padding_bytes, 0, "there is nobody who would measure a probe");
}

/// mediasoup #1400: a receiver estimates what little reaches it, and that became the limit for ever.
#[test]
fn a_remb_that_tells_of_sound_alone_does_not_keep_video_out() {
    let link = "rate=1500kbit,delay=50ms,queue=300ms";
    let (mut scene, flow) = with_remb(link, Source::Fixed(32));
    scene.run_to(30.0);
    assert!(scene.target(flow) >= 290.0, "{}", scene.target(flow));
    scene.sender(flow).source = Source::Greedy;
    scene.run_to(60.0);
    assert!(scene.target(flow) >= 900.0, "{}", scene.target(flow));
}

#[test]
fn without_any_answer_there_is_no_limit_but_the_start() {
    let mut scene = Scene::new(1, "rate=1mbit,delay=50ms,queue=300ms", DELAY);
    let config = Config { feedback: false, ..Config::default() };
    let flow = scene.flow_of(config, Duration::ZERO, Source::Fixed(32), 0);
    scene.world[flow.receiver].receiver().answers = Answers::Nothing;
    scene.run_to(60.0);
    assert!((scene.target(flow) - 300.0).abs() < 1.0, "{}", scene.target(flow));
}
