//! Does a packet cost the same in a large room as in a small one, and for a receiver of many tracks as for one of few?

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::floor::{Cost, Floor};
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

/// A packet's cost in one room.
struct Found {
    forward: Cost,
    /// That of the floor's, right after it.
    floor: Cost,
}

impl Found {
    fn ratio(&self) -> f64 {
        self.forward.per_packet_ns() / self.floor.per_packet_ns()
    }
}

/// From 10 to 500 subscribers of one track.
pub fn subscribers(out: &mut Map<String, Value>) -> Result<(), String> {
    println!(
        "flat_subscribers: frames of ten packets, {FRAME_RATE} a second, some 400 subscribers in rooms of one publisher"
    );
    let scenes = ROOMS.map(|(rooms, subscribers)| (subscribers, many_rooms(rooms, subscribers)));
    out.insert("flat_subscribers".into(), json!(rounded(compare("subscribers", &scenes, FRAME_RATE)?)));
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
    out.insert("flat_tracks".into(), json!(rounded(compare("tracks", &scenes, FRAMES)?)));
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

/// The largest cost per packet over the smallest, each over that of a floor which sends as many packets to the same receivers in
/// turns with it: a machine's speed changes from one room to the next. One room after the other: one that rests for long forgets
/// what its receivers' lines carry.
fn compare(what: &str, scenes: &[(usize, Scene)], frame_rate: u32) -> Result<f64, String> {
    let pattern = Pattern::frames_of_ten(frame_rate);
    let mut ratios = Vec::new();
    for (count, scene) in scenes {
        let mut load = Load::start(scene)?;
        load.warm_up().map_err(|reason| format!("{count} {what}: {reason}"))?;
        let floor = Floor::below(&mut load)?;
        let rounds = (0..ROUNDS).map(|_| round(&mut load, &floor, &pattern));
        ratios.push(show(what, *count, rounds.collect::<Result<_, String>>()?));
    }
    let (most, least) =
        (ratios.iter().copied().fold(0.0, f64::max), ratios.iter().copied().fold(f64::MAX, f64::min));
    println!("  largest over smallest {:.3}", most / least);
    Ok(most / least)
}

fn round(load: &mut Load, floor: &Floor, pattern: &Pattern) -> Result<Found, String> {
    let forward = load.measure(ROUND)?.cost;
    let floor = floor.measure(load, pattern, ROUND, forward.segments())?;
    load.resume()?;
    Ok(Found { forward, floor })
}

/// Prints the median round, and returns how many times the floor's a packet cost in it.
fn show(what: &str, count: usize, mut found: Vec<Found>) -> f64 {
    found.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let middle = &found[found.len() / 2];
    println!(
        "  {count:4} {what:12} {:6.0} ns, {:5.2} segments per send; floor {:5.0} ns; ratio {:.3}",
        middle.forward.per_packet_ns(),
        middle.forward.segments(),
        middle.floor.per_packet_ns(),
        middle.ratio()
    );
    middle.ratio()
}
