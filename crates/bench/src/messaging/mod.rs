//! `bench messaging`: what channels cost. The server is a process of its own on a real disk, people are WebSockets of this process.
//! Each part can be run alone.
//!
//! | part | figures | budget |
//! |---|---|---|
//! | `publish` | durable messages a second of 64 senders that have one in flight each, over what a file takes when the same bytes are written and synced 64 at a time, in turns on the same disk | 0.5 |
//! | `fanout` | deliveries of one message to 10,000 who have its channel open: a second, and how long the slowest hundredth takes; the server's CPU time for one over that of a bare loop of writes | 1.5 |
//! | `idle` | memory of each of 18,000 connections with 20 channels; how long it takes until all of them have resumed who connect at once, and what the server needs meanwhile | 6 KB |

mod fanout;
mod floor;
mod idle;
mod process;
mod publish;
mod socket;

use serde_json::{Map, Value};

pub use floor::run as run_floor;

/// Adds its keys to the last line.
type Part = fn(&mut Map<String, Value>) -> Result<(), String>;

const PARTS: [(&str, Part); 3] = [
    ("publish", |out| block_on(publish::run(out))),
    ("fanout", |out| block_on(fanout::run(out))),
    ("idle", |out| block_on(idle::run(out))),
];

/// Runs the parts named, all of them by default, and prints what they found. The last line is one JSON object.
pub fn run(args: impl Iterator<Item = String>) -> Result<(), String> {
    let wanted: Vec<String> = args.collect();
    if let Some(unknown) = wanted.iter().find(|arg| !PARTS.iter().any(|(name, _)| name == arg)) {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        return Err(format!("`messaging` has no part {unknown:?}; its parts are {}", names.join(" ")));
    }
    let mut out = Map::new();
    out.insert("bench".into(), "messaging".into());
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

fn block_on(part: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?.block_on(part)
}

/// To three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
