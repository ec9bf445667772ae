//! `bench forward`: what it costs the worker to forward media, with everything on that a call has: congestion control, pacing,
//! feedback, retransmission. Each part can be run alone.
//!
//! | part | figure | budget |
//! |---|---|---|
//! | `cost` | CPU time of a packet over that of a floor which seals the same bytes and sends them to the same destinations in the same segment sizes; packets a second and core | 2.0; 500,000 |
//! | `subscribers` | cost of a packet with 10 to 500 subscribers, largest over smallest | 1.3 |
//! | `tracks` | the same with 1 to 100 tracks for each subscriber | 1.3 |
//! | `audio_room` `meeting` `livestream` | load of scenarios that LiveKit publishes, scaled to one core | |
//! | `memory` | of an idle connection, and of a subscription | 64 KB; 8 KB |
//! | `latency` | added by the server at half load, p99 | 1 ms audio, 2 ms video |

mod cost;
mod flat;
mod floor;
mod latency;
mod load;
mod memory;
mod pattern;
mod rig;
mod scenarios;
mod scene;
mod source;

use std::time::Duration;

use serde_json::{Map, Value};

/// Adds its keys to the last line.
type Part = fn(&mut Map<String, Value>) -> Result<(), String>;

const PARTS: [(&str, Part); 8] = [
    ("cost", cost::run),
    ("subscribers", flat::subscribers),
    ("tracks", flat::tracks),
    ("audio_room", scenarios::audio_room),
    ("meeting", scenarios::meeting),
    ("livestream", scenarios::livestream),
    ("memory", memory::run),
    ("latency", latency::run),
];

/// Runs the parts named, all of them by default, and prints what they found. The last line is one JSON object. A part that
/// fails does not keep the others from running.
pub fn run(args: impl Iterator<Item = String>) -> Result<(), String> {
    let wanted: Vec<String> = args.collect();
    if let Some(unknown) = wanted.iter().find(|arg| !PARTS.iter().any(|(name, _)| name == arg)) {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        return Err(format!("`forward` has no part {unknown:?}; its parts are {}", names.join(" ")));
    }
    let mut out = Map::new();
    out.insert("bench".into(), "forward".into());
    let mut failed = Vec::new();
    for (name, part) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|arg| arg == name) {
            continue;
        }
        if let Err(reason) = part(&mut out) {
            println!("  FAILED: {reason}");
            failed.push(name);
        }
    }
    println!("{}", Value::Object(out));
    if failed.is_empty() { Ok(()) } else { Err(format!("these parts failed: {}", failed.join(" "))) }
}

/// To three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Milliseconds.
fn millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}
