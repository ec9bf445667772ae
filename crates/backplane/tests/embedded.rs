//! The embedded bus, ownership and directory do what all of them have to.

use backplane::{
    Changed, EmbeddedBus, EmbeddedDirectory, EmbeddedOwnership, EmbeddedQueue, Failed, Limits,
    Ownership as _, Queue as _, Watcher as _, conformance,
};
use bytes::Bytes;
use store::simulated::{Faults, SimulatedDisk};

struct OneBus(EmbeddedBus);

impl conformance::bus::Rig for OneBus {
    type Bus = EmbeddedBus;

    async fn node(&mut self) -> EmbeddedBus {
        self.0.clone()
    }

    async fn settle(&mut self) {}
}

struct OneNode(EmbeddedDirectory);

impl conformance::directory::Rig for OneNode {
    type Directory = EmbeddedDirectory;

    async fn node(&mut self) -> (EmbeddedDirectory, String) {
        (self.0.clone(), "here".to_owned())
    }
}

/// On a simulated disk, which loses what was not synced.
struct Simulated {
    disk: SimulatedDisk,
    queue: Option<EmbeddedQueue>,
    crashes: u64,
}

impl conformance::ownership::Rig for Simulated {
    type Ownership = EmbeddedOwnership<EmbeddedQueue>;

    async fn open(&mut self) -> Self::Ownership {
        let queue = EmbeddedQueue::over(self.disk.clone(), Limits::default()).expect("it opens");
        self.queue = Some(queue.clone());
        EmbeddedOwnership::open(queue).await.expect("it opens")
    }

    async fn crash(&mut self, records: Self::Ownership) {
        drop(records);
        self.queue.take().expect("it was opened").close().await;
        self.crashes += 1;
        self.disk.crash(self.crashes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_does_what_a_bus_has_to() {
    conformance::bus::check(OneBus(EmbeddedBus::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_does_what_a_directory_has_to() {
    conformance::directory::check(OneNode(EmbeddedDirectory::new("here"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_do_what_ownership_has_to_on_a_disk_that_loses_what_was_not_synced() {
    let disk = SimulatedDisk::default();
    conformance::ownership::check(Simulated { disk, queue: None, crashes: 0 }).await;
}

#[tokio::test]
async fn records_whose_disk_failed_say_nothing_more_and_a_watcher_is_told() {
    let disk = SimulatedDisk::default();
    let queue = || EmbeddedQueue::over(disk.clone(), Limits::default()).expect("it opens");
    let first = queue();
    let records = EmbeddedOwnership::open(first.clone()).await.expect("it opens");
    let Changed::Done(version) = records.change("p", 0, Some("a")).await else { panic!("it is free") };
    let mut watcher = records.watch("p", version);
    disk.set_faults(Faults { syncs_fail: true, ..Faults::default() });
    assert!(matches!(records.change("p", version, Some("b")).await, Changed::Unknown(_)));
    disk.set_faults(Faults::default());
    assert!(records.get("p").await.is_err() && watcher.changed().await.is_err());
    assert!(matches!(records.change("p", version, Some("c")).await, Changed::Refused(_)));
    first.close().await;
    let records = EmbeddedOwnership::open(queue()).await.expect("it opens again");
    let now = records.get("p").await.expect("it works").version;
    let Changed::Done(next) = records.change("p", now, Some("d")).await else { panic!("it was read") };
    assert!(next > version, "a version is not used again");
}

#[tokio::test]
async fn a_queue_with_other_things_in_it_is_not_taken_for_records() {
    let queue = EmbeddedQueue::over(SimulatedDisk::default(), Limits::default()).expect("it opens");
    for strange in [
        &b"a letter"[..],
        b"",
        b"\x01\x05\0abc",
        b"\x01\x01\0a",
        b"\x01\x01\0a\x02",
        b"\x02\x01\0a\0",
        b"\x01\x01\0\xff\0",
    ] {
        let number = queue.append(vec![Bytes::copy_from_slice(strange)]).await.expect("it works");
        let opened = EmbeddedOwnership::open(queue.clone()).await.err();
        assert!(matches!(opened, Some(Failed(ref what)) if what.contains("is no record")), "{strange:?}");
        queue.finish(number).await.expect("it works");
    }
}
