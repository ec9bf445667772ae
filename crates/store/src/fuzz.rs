//! What the fuzz targets call; see `fuzz/README.md`. A target fails when it panics.

use crate::Log;
use crate::disk::{Disk as _, File as _};
use crate::frame;
use crate::log::{Position, Settings, fuzz};
use crate::simulated::SimulatedDisk;

/// Opens a log whose first segment `bytes` decide, reads it, goes on in it, and opens it again. Behind a zero byte they are the segment
/// as it is. Otherwise they are records, to which the checksums are added: kind (1), then partition, and 128 for a new frame (1), epoch
/// (1), n (1), length (2) and payload; the log begins with what a new one begins with, unless the first of them says something else.
pub fn log(bytes: &[u8]) {
    let segment = match bytes.split_first() {
        Some((0, rest)) => rest.to_vec(),
        _ => fuzz::segment(bytes),
    };
    let mut disk = SimulatedDisk::default();
    let written = disk.create(&frame::name(1)).and_then(|mut file| file.append(&segment));
    written.expect("the disk is good");
    let settings = Settings { partitions: 4, segment_bytes: 1_000, ..Settings::default() };
    let Ok((mut log, _)) = Log::open(disk.clone(), settings) else { return };
    read(&log);
    for partition in 0..4 {
        // A head that cannot be followed is refused.
        let _ = log.append(partition, log.head(partition), &[[7; 400]]);
        let _ = log.commit();
    }
    read(&log);
    let heads: Vec<Position> = (0..4).map(|partition| log.head(partition)).collect();
    drop(log);
    let (log, _) =
        Log::open(disk, settings).unwrap_or_else(|error| panic!("it does not open again: {error}"));
    let again: Vec<Position> = (0..4).map(|partition| log.head(partition)).collect();
    assert_eq!(heads, again, "it is another log");
}

/// Everything that can be asked, whatever comes of it.
fn read(log: &Log<SimulatedDisk>) {
    let mut reader = log.reader();
    for partition in 0..4 {
        let _ = reader.read(partition, reader.first(partition), 100, 10_000);
        let _ = reader.checkpoint(partition);
        let _ = (reader.epochs(partition), reader.checkpointed(partition));
    }
    for segment in reader.segments() {
        let _ = reader.verify(segment);
    }
}
