//! How much memory a connection and a subscription take.
//!
//! Server and clients are one process here. So what the server holds is counted by what it gives back when it is told to
//! forget: bytes of the heap, by a counting allocator, while the clients hold still.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use stats_alloc::INSTRUMENTED_SYSTEM;

use super::load::Load;
use super::pattern::Pattern;
use super::rounded;
use super::scene::{Scene, Want};

const PEERS: usize = 300;
const SUBSCRIBERS: usize = 100;
/// The heap is still when it did not change for so long.
const STILL: Duration = Duration::from_millis(300);

/// A connection that does nothing, and a subscription to frames of ten packets, 2.6 Mbit/s.
pub fn run(out: &mut Map<String, Value>) -> Result<(), String> {
    println!("memory of the server");
    let idle = idle_peer()?;
    println!("  a connection without tracks {idle:6.1} KB (budget 64)");
    out.insert("idle_peer_kb".into(), json!(rounded(idle)));
    let video = subscription(&Pattern::frames_of_ten(30))?;
    println!("  a subscription to video of 2.6 Mbit/s {video:6.1} KB (budget 8)");
    out.insert("subscription_kb".into(), json!(rounded(video)));
    let audio = subscription(&Pattern::sound())?;
    println!("  a subscription to audio {audio:6.1} KB");
    out.insert("audio_subscription_kb".into(), json!(rounded(audio)));
    Ok(())
}

fn idle_peer() -> Result<f64, String> {
    let (resident, heap) = (resident(), live());
    let mut scene = Scene::default();
    scene.subscribers(1, PEERS, &[], 0);
    let mut load = Load::start(&scene)?;
    load.play_for(Duration::from_secs(1))?;
    // What the C library of DTLS allocates is not seen by the allocator; of it, half is the clients'.
    let unseen = (resident_growth(resident) - (still_heap() - heap) as f64).max(0.0) / 2.0;
    let before = still_heap();
    (0..PEERS).try_for_each(|number| load.rig.remove(number))?;
    let freed = (before - still_heap()) as f64;
    println!("    of which {:.1} KB seen by the allocator", freed / PEERS as f64 / 1e3);
    Ok((freed + unseen) / PEERS as f64 / 1e3)
}

fn subscription(pattern: &Pattern) -> Result<f64, String> {
    let mut scene = Scene::default();
    let published = scene.track(pattern);
    let wants = [Want::all(&published.track)];
    scene.publisher(1, vec![published]);
    scene.subscribers(1, SUBSCRIBERS, &wants, 0);
    let mut load = Load::start(&scene)?;
    load.warm_up()?;
    load.play_for(Duration::from_secs(2))?;
    let before = still_heap();
    (1..=SUBSCRIBERS).try_for_each(|number| load.rig.clear_sections(number))?;
    Ok((before - still_heap()) as f64 / SUBSCRIBERS as f64 / 1e3)
}

/// Bytes allocated now.
fn live() -> i64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

/// The same once nothing changes any more.
fn still_heap() -> i64 {
    let (mut last, mut since) = (live(), Instant::now());
    while since.elapsed() < STILL {
        std::thread::sleep(Duration::from_millis(20));
        let now = live();
        if (now - last).abs() > 1_024 {
            since = Instant::now();
        }
        last = now;
    }
    last
}

/// Resident memory of the process in bytes.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0.0);
    pages * 4_096.0
}

fn resident_growth(before: f64) -> f64 {
    resident() - before
}
