//! Writes the log and the queue that the tests open to directories `log-N` and `queue-N`, for version N of the formats:
//! `cargo run -p store --example fixture -- crates/store/tests/fixtures N`.

use std::path::Path;

use store::log::{Settings, restore};
use store::simulated::SimulatedDisk;
use store::{Directory, Disk, Limits, Log, Queue};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args().nth(1).ok_or("name a directory")?;
    let version = std::env::args().nth(2).ok_or("name the version")?;
    queue(&Path::new(&parent).join(format!("queue-{version}")))?;
    log(&Path::new(&parent).join(format!("log-{version}")))
}

/// Ten entries in several segments, of which every third is finished.
fn queue(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let limits = Limits { segment_bytes: 100, ..Limits::default() };
    let (mut queue, _) = Queue::open(Directory::open(path)?, limits)?;
    for at in 1..=10u64 {
        queue.append(format!("entry {at}").as_bytes())?;
        queue.finish(at / 3 * 3);
        queue.commit()?;
    }
    drop(queue);
    Ok(std::fs::remove_file(path.join("lock"))?)
}

/// Two partitions, one with a checkpoint and trimmed, and a second epoch.
fn log(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
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
    let disk = Directory::open(path)?;
    let (mut log, _) = restore(backup, disk, Settings { epoch: 5, ..settings })?;
    append(&mut log, 5)?;
    drop(log);
    Ok(std::fs::remove_file(path.join("lock"))?)
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
