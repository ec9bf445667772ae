//! Durable appends a second: the log with 64 writers that have one append in flight each, beside a file to which the same bytes are
//! written and synced 64 at a time, in turns on the same disk. `cargo run --release -p backplane --example append [DIRECTORY]`.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backplane::{Appended, EmbeddedLog, Log as _, Settings};
use bytes::Bytes;

const WRITERS: u16 = 64;
/// As an event with a short message takes.
const PAYLOAD: usize = 220;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1_000);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent)?;
    let log = EmbeddedLog::open(&directory.path().join("log"), Settings::default())?;
    let mut file = File::create(directory.path().join("raw"))?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let raw = raw(&mut file)?;
        let (log, worst) = appends(&log).await;
        println!("raw {raw:>8.0}/s   log {log:>8.0}/s   ratio {:.2}   slowest append {worst:?}", log / raw);
        rounds.push((log / raw, log, raw));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, log_rate, raw_rate) = rounds[ROUNDS / 2];
    println!(
        r#"{{"bench":"append","appends_per_s":{log_rate:.0},"raw_per_s":{raw_rate:.0},"ratio":{ratio:.2}}}"#
    );
    log.close().await;
    Ok(())
}

/// Payloads a second that a file takes when 64 of them are written and synced at once.
fn raw(file: &mut File) -> std::io::Result<f64> {
    let group = vec![7; PAYLOAD * usize::from(WRITERS)];
    let (begun, mut payloads) = (Instant::now(), 0);
    while begun.elapsed() < ROUND {
        file.write_all(&group)?;
        file.sync_data()?;
        payloads += u64::from(WRITERS);
    }
    Ok(payloads as f64 / begun.elapsed().as_secs_f64())
}

/// Appends a second of all writers together, each to a partition of its own, and the longest that one took.
async fn appends(log: &EmbeddedLog) -> (f64, Duration) {
    let begun = Instant::now();
    let writers: Vec<_> =
        (0..WRITERS).map(|partition| tokio::spawn(write(log.clone(), partition, begun))).collect();
    let (mut appends, mut worst) = (0, Duration::ZERO);
    for writer in writers {
        let (own, slowest) = writer.await.expect("no writer panics");
        appends += own;
        worst = worst.max(slowest);
    }
    (appends as f64 / begun.elapsed().as_secs_f64(), worst)
}

async fn write(log: EmbeddedLog, partition: u16, begun: Instant) -> (u64, Duration) {
    let payload = Bytes::from(vec![7; PAYLOAD]);
    let mut head = log.extent(partition).await.expect("the log is open").head;
    let (mut appends, mut worst) = (0, Duration::ZERO);
    while begun.elapsed() < ROUND {
        let sent = Instant::now();
        match log.append(partition, head, vec![payload.clone()]).await {
            Appended::Committed(at) => head = at,
            other => panic!("{other:?}"),
        }
        worst = worst.max(sent.elapsed());
        appends += 1;
    }
    (appends, worst)
}
