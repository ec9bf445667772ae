//! What the server adds to the way of a packet while it is half loaded: many rooms of sound and picture whose publishers know
//! nothing of each other.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::load::{Load, percentile};
use super::pattern::Pattern;
use super::scene::{Scene, Want};
use super::{millis, rounded};

const ROOMS: usize = 30;
const LISTENERS: usize = 24;
/// Share of one core.
const HALF: f64 = 0.5;
const TRIAL: Duration = Duration::from_secs(2);
const ROUND: Duration = Duration::from_secs(6);

/// From leaving the publisher to arriving at the subscriber, as the kernel noted it.
pub fn run(out: &mut Map<String, Value>) -> Result<(), String> {
    println!("latency: rooms of one publisher of sound and picture and {LISTENERS} subscribers, half load");
    let mut load = Load::start(&scene()?)?;
    load.set_active(ROOMS / 2);
    load.warm_up()?;
    let trial = load.measure(TRIAL)?;
    let active = (ROOMS as f64 / 2.0 * HALF / trial.load()).round().clamp(1.0, ROOMS as f64) as usize;
    load.set_active(active);
    load.warm_up()?;
    let round = load.measure(ROUND)?;
    println!(
        "  {active} rooms, {:.0} packets/s, load {:.2} of a core, {:.2} segments per send",
        round.cost.packets as f64 / round.length.as_secs_f64(),
        round.load(),
        round.cost.segments(),
    );
    for (what, ages, budget) in [("audio", &round.audio, 1), ("video", &round.video, 2)] {
        let (middle, p99) = (millis(percentile(ages, 50)), millis(percentile(ages, 99)));
        println!("  {what}: {middle} ms median, {p99} ms p99 of {} packets (budget {budget} ms)", ages.len());
    }
    out.insert("latency_p50_ms".into(), json!(millis(percentile(&round.video, 50))));
    out.insert("latency_p99_ms".into(), json!(millis(percentile(&round.video, 99))));
    out.insert("latency_audio_p50_ms".into(), json!(millis(percentile(&round.audio, 50))));
    out.insert("latency_audio_p99_ms".into(), json!(millis(percentile(&round.audio, 99))));
    out.insert("latency_core_load".into(), json!(rounded(round.load())));
    Ok(())
}

fn scene() -> Result<Scene, String> {
    let (sound, picture) = (Pattern::sound(), Pattern::recorded()?);
    let mut scene = Scene::default();
    for room in 1..=ROOMS as u64 {
        let published = vec![scene.track(&sound), scene.track(&picture)];
        let wants: Vec<Want> = published.iter().map(|each| Want::all(&each.track)).collect();
        scene.publisher(room, published);
        scene.subscribers(room, LISTENERS, &wants, 0);
    }
    Ok(scene)
}
