//! The three scenarios that LiveKit publishes for its server on 16 cores (docs.livekit.io, "Benchmarks"), each scaled to one
//! core: a sixteenth of the packets.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::load::Load;
use super::pattern::Pattern;
use super::rounded;
use super::scene::{Published, Scene, Want};

/// 3,000 subscribers on 16 cores.
const LISTENERS: usize = 187;
const SPEAKERS: usize = 10;
/// 150 people in one meeting on 16 cores: packets grow with the square.
const PEOPLE: usize = 37;
const ROUND: Duration = Duration::from_secs(4);

/// Ten speak, everybody hears all of them.
pub fn audio_room(out: &mut Map<String, Value>) -> Result<(), String> {
    let mut scene = Scene::default();
    let speakers: Vec<Published> = (0..SPEAKERS).map(|_| scene.track(&Pattern::sound())).collect();
    let wants: Vec<Want> = speakers.iter().map(|each| Want::all(&each.track)).collect();
    speakers.into_iter().for_each(|speaker| scene.publisher(1, vec![speaker]));
    scene.subscribers(1, LISTENERS, &wants, 0);
    scenario("audio_room", &scene, "10 -> 188, 59,900 packets/s, load 0.80", out)
}

/// Everybody publishes 720p with simulcast and sees one person at 1280x720 and five at 356x200, LiveKit's layout "speaker".
pub fn meeting(out: &mut Map<String, Value>) -> Result<(), String> {
    let high = Pattern::recorded()?;
    let (middle, low) = (high.scaled(2), high.scaled(1));
    let mut scene = Scene::default();
    let layers = || [low.clone(), middle.clone(), high.clone()];
    let people: Vec<Published> = (0..PEOPLE).map(|_| scene.simulcast(layers())).collect();
    for person in &people {
        scene.publisher(1, vec![person.clone()]);
    }
    for number in 0..PEOPLE {
        let others = (1..PEOPLE).map(|distance| (number + distance) % PEOPLE);
        let size = |place| match place {
            0 => Some((1_280, 720)),
            1..=5 => Some((356, 200)),
            _ => None,
        };
        let want = |(place, other): (usize, usize)| Want::shown(&people[other].track, size(place));
        let wants: Vec<Want> = others.enumerate().map(want).collect();
        scene.subscribers(1, 1, &wants, 0);
    }
    scenario("meeting", &scene, "38 x 38, 47,700 packets/s, load 0.85", out)
}

/// One at 720p, many watch.
pub fn livestream(out: &mut Map<String, Value>) -> Result<(), String> {
    let mut scene = Scene::default();
    let published = scene.track(&Pattern::recorded()?);
    let wants = [Want::all(&published.track)];
    scene.publisher(1, vec![published]);
    scene.subscribers(1, LISTENERS, &wants, 0);
    scenario("livestream", &scene, "1 -> 188, 35,100 packets/s, load 0.92", out)
}

/// `published`: what LiveKit says of a core of its sixteen.
fn scenario(name: &str, scene: &Scene, published: &str, out: &mut Map<String, Value>) -> Result<(), String> {
    let mut load = Load::start(scene)?;
    load.warm_up()?;
    let round = load.measure(ROUND)?;
    let seconds = round.length.as_secs_f64();
    let (pps, mbps) = (round.cost.packets as f64 / seconds, round.bytes as f64 * 8e-6 / seconds);
    println!(
        "{name}: {pps:.0} packets/s, {mbps:.0} Mbit/s, {:.2} segments per send: load {:.2} of a core, {:.0} ns per \
         packet, {:.1} % of what is wanted\n  (LiveKit on one of its 16 cores: {published})",
        round.cost.segments(),
        round.load(),
        round.cost.per_packet_ns(),
        round.complete * 100.0,
    );
    let found = json!({
        "connections": scene.connections.len(),
        "packets_per_s": pps.round(),
        "mbit_per_s": mbps.round(),
        "core_load": rounded(round.load()),
        "ns_per_packet": round.cost.per_packet_ns().round(),
    });
    out.insert(name.to_owned(), found);
    Ok(())
}
