//! The embedded log does what every log has to, and what only it can.

use backplane::conformance::{self, log::Rig};
use backplane::{Appended, EmbeddedLog, Log as _, Position, Settings};
use bytes::Bytes;
use store::simulated::{Faults, SimulatedDisk};

fn small() -> Settings {
    Settings { partitions: 8, segment_bytes: 2_000, ..Settings::default() }
}

/// On a simulated disk, which loses what was not synced.
struct Simulated {
    disk: SimulatedDisk,
    crashes: u64,
}

impl Rig for Simulated {
    type Log = EmbeddedLog<SimulatedDisk>;

    async fn open(&mut self) -> Self::Log {
        EmbeddedLog::over(self.disk.clone(), small()).expect("it opens")
    }

    async fn crash(&mut self, log: Self::Log) {
        log.close().await;
        self.crashes += 1;
        self.disk.crash(self.crashes);
    }
}

/// In a directory. A process that is killed leaves what it wrote, so that ending it is all there is to do.
struct Real(tempfile::TempDir);

impl Rig for Real {
    type Log = EmbeddedLog;

    async fn open(&mut self) -> EmbeddedLog {
        EmbeddedLog::open(self.0.path(), small()).expect("it opens")
    }

    async fn crash(&mut self, log: EmbeddedLog) {
        log.close().await;
    }
}

fn one() -> Vec<Bytes> {
    vec![Bytes::from_static(b"one")]
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_what_a_log_has_to_on_a_disk_that_loses_what_was_not_synced() {
    conformance::log::check(Simulated { disk: SimulatedDisk::default(), crashes: 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_what_a_log_has_to_in_a_directory() {
    conformance::log::check(Real(tempfile::tempdir().expect("a directory"))).await;
}

#[tokio::test]
async fn a_disk_without_syncs_does_not_pass() {
    let mut lost = 0;
    for seed in 0..10 {
        let disk = SimulatedDisk::default();
        disk.set_faults(Faults { syncs_lie: true, ..Faults::default() });
        let log = EmbeddedLog::over(disk.clone(), small()).expect("it opens");
        let head = log.extent(0).await.expect("it works").head;
        assert!(
            matches!(log.append(0, head, one()).await, Appended::Committed(_)),
            "it says that it is there"
        );
        log.close().await;
        disk.crash(seed);
        let Ok(log) = EmbeddedLog::over(disk, small()) else { continue };
        lost += usize::from(log.extent(0).await.expect("it works").head.n == 0);
    }
    assert!(lost > 0, "events whose syncs did nothing survived ten crashes");
}

#[tokio::test]
async fn a_failed_sync_is_answered_unknown_and_stops_the_log() {
    let disk = SimulatedDisk::default();
    let log = EmbeddedLog::over(disk.clone(), small()).expect("it opens");
    let head = log.extent(0).await.expect("it works").head;
    disk.set_faults(Faults { syncs_fail: true, ..Faults::default() });
    assert!(matches!(log.append(0, head, one()).await, Appended::Unknown(_)));
    disk.set_faults(Faults::default());
    let why = log.stopped().await;
    assert!(why.0.contains("end this process"), "{why}");
    assert!(matches!(log.append(0, head, one()).await, Appended::Refused(_)));
    assert_eq!(log.extent(0).await.expect("reading goes on").head, head);
    log.close().await;
    // The process begins anew, and with the same expectation finds out what became of it.
    let log = EmbeddedLog::over(disk, small()).expect("it opens");
    let second = Position { n: 1, ..head };
    assert_eq!(log.append(0, head, one()).await, Appended::Conflict(second));
    assert_eq!(
        log.read(0, 1, 1).await.expect("it works")[0].payload,
        one()[0],
        "it is one's own: it was committed"
    );
}

#[tokio::test]
async fn a_full_disk_refuses_and_is_no_end() {
    let disk = SimulatedDisk::default();
    let log = EmbeddedLog::over(disk.clone(), small()).expect("it opens");
    let head = log.extent(0).await.expect("it works").head;
    disk.set_faults(Faults { capacity: Some(0), ..Faults::default() });
    assert!(matches!(log.append(0, head, one()).await, Appended::Refused(_)));
    disk.set_faults(Faults::default());
    assert!(matches!(log.append(0, head, one()).await, Appended::Committed(_)));
}

#[tokio::test]
async fn damage_in_what_was_written_long_ago_is_found_without_anybody_reading_it_and_stops_the_log() {
    let disk = SimulatedDisk::default();
    let log = EmbeddedLog::over(disk.clone(), small()).expect("it opens");
    for _ in 0..3 {
        let head = log.extent(0).await.expect("it works").head;
        log.append(0, head, vec![Bytes::from(vec![7; 2_000])]).await;
    }
    log.close().await;
    let first = "00000000000000000001.seg";
    disk.tamper(first, |bytes| bytes[1_000] ^= 1);
    let log = EmbeddedLog::over(disk, small()).expect("it opens");
    let why = log.stopped().await;
    assert!(why.0.contains(first) && why.0.contains("damaged at byte"), "{why}");
    let head = log.extent(1).await.expect("it works").head;
    assert!(matches!(log.append(1, head, one()).await, Appended::Refused(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_wait_together_share_a_sync() {
    let disk = SimulatedDisk::default();
    let settings = Settings { partitions: 500, ..Settings::default() };
    let log = EmbeddedLog::over(disk.clone(), settings).expect("it opens");
    let before = disk.syncs();
    let appends: Vec<_> = (0..500)
        .map(|partition| {
            let log = log.clone();
            tokio::spawn(async move {
                let head = log.extent(partition).await.expect("it works").head;
                log.append(partition, head, one()).await
            })
        })
        .collect();
    for append in appends {
        assert!(matches!(append.await.expect("no panic"), Appended::Committed(_)));
    }
    // How many meet depends on the machine; without sharing it would be 500.
    assert!(disk.syncs() - before < 400, "{} syncs", disk.syncs() - before);
}
