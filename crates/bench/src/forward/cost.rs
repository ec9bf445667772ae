//! What a packet costs, held against the floor in alternating rounds of one run.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::floor::{Cost, Floor};
use super::load::{Load, Round, percentile};
use super::pattern::Pattern;
use super::scene::Scene;
use super::{millis, rounded};

const SUBSCRIBERS: usize = 200;
/// Frames a second of the pattern that the floor is held against.
const FRAME_RATE: u32 = 30;
/// What a core carries is asked while this share of it is used: an idle one works in smaller batches and with colder caches, and
/// a full one has packets wait.
const HALF: f64 = 0.5;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

/// Frames of ten packets, and a recorded publisher, to two hundred receivers each, of whom one in twenty has a bad line.
pub fn run(out: &mut Map<String, Value>) -> Result<(), String> {
    println!("cost: one publisher, {SUBSCRIBERS} subscribers, 5 % of them lossy");
    let pattern = Pattern::frames_of_ten(FRAME_RATE);
    let mut load = Load::start(&Scene::one_to_many(&pattern, SUBSCRIBERS))?;
    let synthetic = measure(&mut load, "frames of ten, 30 a second", &pattern)?;
    let recorded = measure(&mut load, "recorded from Chromium", &Pattern::recorded()?)?;
    let forward = &synthetic.forward;
    let frame_rate = load.find_rate(2 * FRAME_RATE, HALF, Pattern::frames_of_ten)?;
    let busy = measure(
        &mut load,
        &format!("frames of ten, {frame_rate} a second"),
        &Pattern::frames_of_ten(frame_rate),
    )?;
    out.insert("pps_per_core".into(), json!((1e9 / busy.forward.per_packet_ns()).round()));
    out.insert("floor_pps_per_core".into(), json!((1e9 / busy.floor.per_packet_ns()).round()));
    let used = busy.forward.cpu.as_secs_f64() / (ROUND * ROUNDS as u32).as_secs_f64();
    out.insert("pps_per_core_load".into(), json!(rounded(used)));
    out.insert("pps_per_core_segments".into(), json!(rounded(busy.forward.segments())));
    out.insert("half_load_floor_ratio".into(), json!(rounded(busy.ratio())));
    out.insert("floor_ratio".into(), json!(rounded(synthetic.ratio())));
    out.insert("subscribers".into(), json!(SUBSCRIBERS));
    out.insert("segments_per_send".into(), json!(rounded(forward.segments())));
    out.insert("room_of_200_latency_p99_ms".into(), json!(millis(percentile(&synthetic.ages, 99))));
    out.insert("recorded_floor_ratio".into(), json!(rounded(recorded.ratio())));
    out.insert("recorded_segments_per_send".into(), json!(rounded(recorded.forward.segments())));
    Ok(())
}

/// What was measured with one pattern.
struct Outcome {
    forward: Cost,
    floor: Cost,
    ages: Vec<Duration>,
}

impl Outcome {
    fn ratio(&self) -> f64 {
        self.forward.per_packet_ns() / self.floor.per_packet_ns()
    }
}

fn measure(load: &mut Load, name: &str, pattern: &Pattern) -> Result<Outcome, String> {
    println!("  {name}, {ROUNDS} rounds of {ROUND:?} each way:");
    load.play(pattern);
    load.warm_up()?;
    let floor = Floor::below(load)?;
    let mut outcome = Outcome { forward: Cost::default(), floor: Cost::default(), ages: Vec::new() };
    for _ in 0..ROUNDS {
        let Round { cost, video, complete, .. } = load.measure(ROUND)?;
        let below = floor.measure(load, pattern, ROUND, cost.segments())?;
        show(&cost, &below, complete);
        outcome.forward.add(cost);
        outcome.floor.add(below);
        outcome.ages.extend(video);
        load.resume()?;
    }
    outcome.ages.sort_unstable();
    println!(
        "    ratio {:.3}; {:.0} packets/s/core; publisher to subscriber {} ms median, {} ms p99",
        outcome.ratio(),
        1e9 / outcome.forward.per_packet_ns(),
        millis(percentile(&outcome.ages, 50)),
        millis(percentile(&outcome.ages, 99)),
    );
    Ok(outcome)
}

fn show(forward: &Cost, floor: &Cost, complete: f64) {
    println!(
        "    forward {:5.0} ns, {:5.2} segments per send, {:5.1} % of what is wanted; floor {:5.0} ns, {:5.2}",
        forward.per_packet_ns(),
        forward.segments(),
        complete * 100.0,
        floor.per_packet_ns(),
        floor.segments(),
    );
}
