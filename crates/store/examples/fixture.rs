//! Writes the log that `tests/log.rs` opens to the directory that is named, for a new version of the format:
//! `cargo run -p store --example fixture -- crates/store/tests/fixtures/log-N`.

use std::path::Path;

use store::log::{Settings, restore};
use store::simulated::SimulatedDisk;
use store::{Directory, Disk, Log};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a directory")?;
    let settings = Settings { partitions: 4, segment_bytes: 2_000, epoch: 3, ..Settings::default() };
    let (mut log, _) = Log::open(SimulatedDisk::default(), settings)?;
    append(&mut log, 45)?;
    let saved = log.reader().save_checkpoint(1, 10, b"after 10")?;
    log.checkpoint(saved)?;
    log.commit()?;
    log.trim(1, 11)?;
    log.commit()?;
    log.reclaim()?;
    let mut backup = SimulatedDisk::default();
    log.reader().backup(&mut backup)?;
    let disk = Directory::open(Path::new(&path))?;
    let (mut log, _) = restore(backup, disk, Settings { epoch: 5, ..settings })?;
    append(&mut log, 5)?;
    drop(log);
    Ok(std::fs::remove_file(Path::new(&path).join("lock"))?)
}

/// So many commits of one event in each of two partitions.
fn append<D: Disk>(log: &mut Log<D>, count: usize) -> Result<(), Box<dyn std::error::Error>> {
    for _ in 0..count {
        for partition in [1, 2] {
            let head = log.head(partition);
            log.append(partition, head, &[format!("event {}", head.n + 1)])?;
        }
        log.commit()?;
    }
    Ok(())
}
