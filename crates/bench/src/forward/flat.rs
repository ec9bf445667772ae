//! Does a packet cost the same in a large room as in a small one, and for a receiver of many tracks as for one of few?

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::floor::Cost;
use super::load::{COMPLETE, Load};
use super::pattern::Pattern;
use super::rounded;
use super::scene::{Scene, Want};

const SUBSCRIBERS: [usize; 4] = [10, 50, 200, 500];
const TRACKS: [usize; 3] = [1, 10, 100];
/// Receivers of all those tracks, and frames a second that each gets, of all tracks together.
const RECEIVERS: usize = 20;
const FRAMES: usize = 60;
/// All sizes are measured in turn, so that what disturbs the machine disturbs them alike.
const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_millis(1_500);
const RUN_IN: Duration = Duration::from_millis(500);
/// So often at most everybody plays for so long before it is measured: estimates have to grow.
const WARM_UPS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(2);

/// From 10 to 500 subscribers of one track.
pub fn subscribers(out: &mut Map<String, Value>) -> Result<(), String> {
    println!("flat_subscribers: frames of ten packets, 20 a second");
    let pattern = Pattern::frames(10, Duration::from_millis(50));
    let scenes = SUBSCRIBERS.map(|count| (count, Scene::one_to_many(&pattern, count)));
    out.insert("flat_subscribers".into(), json!(rounded(compare("subscribers", &scenes)?)));
    Ok(())
}

/// From 1 to 100 tracks, at the same packets a second for each receiver, and the same in each message.
pub fn tracks(out: &mut Map<String, Value>) -> Result<(), String> {
    println!(
        "flat_tracks: {RECEIVERS} subscribers, frames of ten packets, {FRAMES} a second over all tracks"
    );
    let scenes = TRACKS.map(|count| (count, many_tracks(count)));
    out.insert("flat_tracks".into(), json!(rounded(compare("tracks", &scenes)?)));
    Ok(())
}

fn many_tracks(count: usize) -> Scene {
    let pattern = Pattern::frames(10, Duration::from_secs(1) * count as u32 / FRAMES as u32);
    let mut scene = Scene::default();
    let published: Vec<_> = (0..count).map(|_| scene.track(&pattern)).collect();
    let wants: Vec<_> = published.iter().map(|each| Want::all(&each.track)).collect();
    scene.publisher(1, published);
    scene.subscribers(1, RECEIVERS, &wants, 20);
    scene
}

/// The largest cost per packet over the smallest.
fn compare(what: &str, scenes: &[(usize, Scene)]) -> Result<f64, String> {
    let mut loads = Vec::new();
    for (count, scene) in scenes {
        loads.push((*count, Load::start(scene)?, Vec::new()));
    }
    warm_up(what, &mut loads)?;
    for _ in 0..ROUNDS {
        for (_, load, found) in &mut loads {
            load.play_for(RUN_IN)?;
            found.push(load.measure(ROUND)?.cost);
            load.rest()?;
        }
    }
    let costs: Vec<f64> = loads.iter().map(|(count, _, found)| show(what, *count, found)).collect();
    let (most, least) =
        (costs.iter().copied().fold(0.0, f64::max), costs.iter().copied().fold(f64::MAX, f64::min));
    println!("  largest over smallest {:.3}", most / least);
    Ok(most / least)
}

/// All in turn, since connections that are not looked at for a while are lost.
fn warm_up(what: &str, loads: &mut [(usize, Load, Vec<Cost>)]) -> Result<(), String> {
    let mut cold = Vec::new();
    for _ in 0..WARM_UPS {
        cold.clear();
        for (count, load, _) in &mut *loads {
            load.play_for(WARM_UP)?;
            let complete = load.completeness(RUN_IN)?;
            load.rest()?;
            if complete < COMPLETE {
                cold.push(format!("{:.1} % with {count} {what}", complete * 100.0));
            }
        }
        if cold.is_empty() {
            return Ok(());
        }
    }
    Err(format!("of what is wanted there is forwarded only {}", cold.join(", ")))
}

/// Prints the median round, and returns what a packet cost in it.
fn show(what: &str, count: usize, found: &[Cost]) -> f64 {
    let mut costs: Vec<&Cost> = found.iter().collect();
    costs.sort_by(|a, b| a.per_packet_ns().total_cmp(&b.per_packet_ns()));
    let middle = costs[costs.len() / 2];
    println!(
        "  {count:4} {what:12} {:6.0} ns, {:5.2} segments per send",
        middle.per_packet_ns(),
        middle.segments()
    );
    middle.per_packet_ns()
}
