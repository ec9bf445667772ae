//! Senders that have little to send.

use std::time::Duration;

use base::Bitrate;

use crate::node::Source;
use crate::scene::Scene;

const LINK: &str = "rate=4mbit,delay=50ms,queue=300ms";
const DELAY: &str = "delay=50ms";
const NOW: Duration = Duration::ZERO;

/// Pion interceptor #299: 784 kbit/s sent, an estimate of 4 Mbit/s that rises for ever.
#[test]
fn an_estimate_does_not_run_away_from_what_is_sent() {
    let mut scene = Scene::new(1, LINK, DELAY);
    let flow = scene.flow(NOW, Source::Fixed(784), 0);
    scene.run_to(120.0);
    let most = scene.sender(flow).log.iter().map(|(_, target)| target.0).max();
    assert!(most.is_some_and(|bps| bps <= 784_000 * 8 / 5), "{most:?}");
    assert!(scene.target(flow) >= 784.0, "{}", scene.target(flow));
    assert_eq!(scene.sender(flow).padding_bytes, 0, "nothing more is wanted");
}

#[test]
fn an_estimate_does_not_decay_while_little_is_sent() {
    let mut scene = Scene::new(1, LINK, DELAY);
    let flow = scene.flow(NOW, Source::Greedy, 3_000);
    scene.run_to(20.0);
    let before = scene.target(flow);
    scene.sender(flow).source = Source::Fixed(100);
    scene.run_to(80.0);
    assert!(scene.target(flow) >= 0.9 * before, "{} after {before}", scene.target(flow));
}

#[test]
fn a_sender_of_sound_that_wants_to_send_video_finds_out_that_it_may() {
    let mut scene = Scene::new(1, LINK, DELAY);
    let flow = scene.flow(NOW, Source::Fixed(40), 0);
    scene.run_to(10.0);
    assert!(scene.target(flow) <= 301.0, "{}", scene.target(flow));
    let now = scene.world.now();
    scene.sender(flow).controller.set_wanted(now, Bitrate::kbps(2_500));
    scene.run_to(13.0);
    assert!(scene.target(flow) >= 2_500.0, "{}", scene.target(flow));
    let padding = scene.sender(flow).padding_bytes;
    assert!(padding < 60_000, "{padding} bytes of padding");
    scene.run_to(60.0);
    assert_eq!(scene.sender(flow).padding_bytes, padding, "it knows enough");
}

/// mediasoup #316: at an estimate too low for any video, nothing was sent, so nothing was learned.
#[test]
fn a_low_estimate_with_nothing_to_send_recovers_by_probes() {
    let mut scene = Scene::new(1, "rate=2mbit,delay=50ms,queue=300ms", DELAY);
    scene.rates(&[(0, 2_000), (10, 50), (20, 2_000)]);
    let flow = scene.flow(NOW, Source::Greedy, 1_500);
    scene.run_to(20.0);
    assert!(scene.target(flow) < 150.0, "{}", scene.target(flow));
    scene.sender(flow).source = Source::Silent;
    scene.run_to(30.0);
    let back = scene.reached(flow, 20.0, |kbps| kbps >= 1_000.0);
    assert!(back.is_some_and(|seconds| seconds <= 8.0), "{back:?}");
}

#[test]
fn a_pause_of_all_media_costs_nothing_afterwards() {
    let mut scene = Scene::new(1, "rate=2mbit,delay=50ms,queue=300ms", DELAY);
    let flow = scene.flow(NOW, Source::Greedy, 3_000);
    scene.run_to(20.0);
    scene.sender(flow).source = Source::Silent;
    scene.run_to(40.0);
    scene.sender(flow).source = Source::Greedy;
    scene.run_to(41.0);
    let report = scene.measure_to(50.0);
    assert!(report.utilisation >= 0.8, "{report:?}");
    assert!(report.queue_p95 <= Duration::from_millis(100), "{report:?}");
}

#[test]
fn a_link_that_becomes_too_slow_for_a_modest_sender_is_noticed_within_two_seconds() {
    let mut scene = Scene::new(1, LINK, DELAY);
    scene.rates(&[(0, 4_000), (20, 500)]);
    let flow = scene.flow(NOW, Source::Greedy, 4_000);
    scene.run_to(10.0);
    scene.sender(flow).source = Source::Fixed(800);
    scene.run_to(25.0);
    let down = scene.reached(flow, 20.0, |kbps| kbps <= 500.0);
    assert!(down.is_some_and(|seconds| seconds <= 2.0), "{down:?}");
}
