//! Does a packet cost the same in a large room as in a small one, and for a receiver of many tracks as for one of few?

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::floor::Cost;
use super::load::Load;
use super::pattern::Pattern;
use super::rounded;
use super::scene::{Scene, Want};

/// Rooms, and receivers in each. There are about as many receivers in all, so that the worker is equally busy.
const ROOMS: [(usize, usize); 4] = [(40, 10), (8, 50), (2, 200), (1, 500)];
/// Frames a second, so that the worker is about half loaded: what wakes an idle one is counted as the packets' cost.
const FRAME_RATE: u32 = 45;
const TRACKS: [usize; 3] = [1, 10, 100];
/// Receivers of all those tracks, and frames a second that each gets, of all tracks together.
const RECEIVERS: usize = 60;
const FRAMES: u32 = 200;
/// The median of these counts.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_500);

/// From 10 to 500 subscribers of one track.
pub fn subscribers(out: &mut Map<String, Value>) -> Result<(), String> {
    println!(
        "flat_subscribers: frames of ten packets, {FRAME_RATE} a second, some 400 subscribers in rooms of one publisher"
    );
    let scenes = ROOMS.map(|(rooms, subscribers)| (subscribers, many_rooms(rooms, subscribers)));
    out.insert("flat_subscribers".into(), json!(rounded(compare("subscribers", &scenes)?)));
    Ok(())
}

fn many_rooms(rooms: usize, subscribers: usize) -> Scene {
    let mut scene = Scene::default();
    for room in 1..=rooms as u64 {
        let published = scene.track(&Pattern::frames_of_ten(FRAME_RATE));
        let wants = [Want::all(&published.track)];
        scene.publisher(room, vec![published]);
        scene.subscribers(room, subscribers, &wants, 20);
    }
    scene
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
    let pattern = Pattern::frames(10, Duration::from_secs(1) * count as u32 / FRAMES);
    let mut scene = Scene::default();
    let published: Vec<_> = (0..count).map(|_| scene.track(&pattern)).collect();
    let wants: Vec<_> = published.iter().map(|each| Want::all(&each.track)).collect();
    scene.publisher(1, published);
    scene.subscribers(1, RECEIVERS, &wants, 20);
    scene
}

/// The largest cost per packet over the smallest. One after the other: a room that rests between rounds forgets what its
/// receivers' lines carry.
fn compare(what: &str, scenes: &[(usize, Scene)]) -> Result<f64, String> {
    let mut costs = Vec::new();
    for (count, scene) in scenes {
        let mut load = Load::start(scene)?;
        load.warm_up().map_err(|reason| format!("{count} {what}: {reason}"))?;
        let rounds = (0..ROUNDS).map(|_| Ok(load.measure(ROUND)?.cost));
        costs.push(show(what, *count, &rounds.collect::<Result<Vec<_>, String>>()?));
    }
    let (most, least) =
        (costs.iter().copied().fold(0.0, f64::max), costs.iter().copied().fold(f64::MAX, f64::min));
    println!("  largest over smallest {:.3}", most / least);
    Ok(most / least)
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
