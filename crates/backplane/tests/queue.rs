//! The embedded queue does what every queue has to, and what only it can.

use backplane::conformance::{self, queue::Rig};
use backplane::{EmbeddedQueue, Limits, Queue as _};
use bytes::Bytes;
use store::simulated::{Faults, SimulatedDisk};

const SMALL: Limits = Limits { segment_bytes: 4_000, total_bytes: 100_000, payload_bytes: 2_000 };

/// On a simulated disk, which loses what was not synced.
struct Simulated {
    disk: SimulatedDisk,
    crashes: u64,
}

impl Rig for Simulated {
    type Queue = EmbeddedQueue;

    async fn open(&mut self) -> EmbeddedQueue {
        EmbeddedQueue::over(self.disk.clone(), SMALL).expect("it opens")
    }

    async fn crash(&mut self, queue: EmbeddedQueue) {
        queue.close().await;
        self.crashes += 1;
        self.disk.crash(self.crashes);
    }
}

/// In a directory. A process that is killed leaves what it wrote, so that ending it is all there is to do.
struct Real(tempfile::TempDir);

impl Rig for Real {
    type Queue = EmbeddedQueue;

    async fn open(&mut self) -> EmbeddedQueue {
        EmbeddedQueue::open(self.0.path(), SMALL).expect("it opens")
    }

    async fn crash(&mut self, queue: EmbeddedQueue) {
        queue.close().await;
    }
}

#[tokio::test]
async fn it_does_what_a_queue_has_to_on_a_disk_that_loses_what_was_not_synced() {
    conformance::queue::check(Simulated { disk: SimulatedDisk::default(), crashes: 0 }).await;
}

#[tokio::test]
async fn it_does_what_a_queue_has_to_in_a_directory() {
    conformance::queue::check(Real(tempfile::tempdir().expect("a directory"))).await;
}

#[tokio::test]
async fn a_disk_without_syncs_does_not_pass() {
    let disk = SimulatedDisk::default();
    let mut lost = 0;
    for seed in 0..10 {
        disk.set_faults(Faults { syncs_lie: true, ..Faults::default() });
        let Ok(queue) = EmbeddedQueue::over(disk.clone(), SMALL) else { return };
        let before = queue.pending().await.expect("it works").len();
        queue.append(vec![Bytes::from_static(b"one")]).await.expect("it says that it is there");
        queue.close().await;
        disk.crash(seed);
        let Ok(queue) = EmbeddedQueue::over(disk.clone(), SMALL) else { return };
        lost += usize::from(queue.pending().await.expect("it works").len() <= before);
        queue.close().await;
    }
    assert!(lost > 0, "entries whose syncs did nothing survived ten crashes");
}

#[tokio::test]
async fn a_failing_disk_is_an_error_and_no_end() {
    let disk = SimulatedDisk::default();
    let queue = EmbeddedQueue::over(disk.clone(), SMALL).expect("it opens");
    disk.set_faults(Faults { syncs_fail: true, ..Faults::default() });
    let payload = || vec![Bytes::from_static(b"one")];
    assert!(queue.append(payload()).await.is_err());
    disk.set_faults(Faults::default());
    assert!(queue.append(payload()).await.is_ok());
    assert_eq!(queue.pending().await.expect("it works").len(), 1);
}

#[tokio::test]
async fn appends_that_wait_together_share_a_sync() {
    let disk = SimulatedDisk::default();
    let queue = EmbeddedQueue::over(disk.clone(), Limits::default()).expect("it opens");
    let before = disk.syncs();
    let appends: Vec<_> = (0..500)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.append(vec![Bytes::from_static(b"one")]).await })
        })
        .collect();
    for append in appends {
        append.await.expect("no panic").expect("it works");
    }
    // How many meet depends on the machine; without sharing it would be 500.
    assert!(disk.syncs() - before < 400, "{} syncs", disk.syncs() - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_finished_lasts_soon_though_the_queue_is_never_left_alone() {
    let folder = tempfile::tempdir().expect("a directory");
    let queue = EmbeddedQueue::open(folder.path(), SMALL).expect("it opens");
    let numbers = queue.append(vec![Bytes::from_static(b"one"); 2]).await.expect("it works");
    let written = || -> u64 {
        let files = std::fs::read_dir(folder.path()).expect("it is there").flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    };
    let before = written();
    // Enough of them that commands wait whenever the queue looks.
    let readers: Vec<_> = (0..32)
        .map(|_| (queue.clone(), numbers[1]))
        .map(|(queue, number)| tokio::spawn(async move { while queue.read(number).await.is_ok() {} }))
        .collect();
    queue.finish(vec![numbers[0]]).await.expect("it works");
    let started = std::time::Instant::now();
    while written() == before {
        assert!(started.elapsed().as_secs() < 2, "it is not on the disk after two seconds of reading");
        tokio::task::yield_now().await;
    }
    readers.iter().for_each(tokio::task::JoinHandle::abort);
}
