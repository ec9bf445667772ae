//! What a queue promises, one by one.

use store::simulated::{Faults, SimulatedDisk};
use store::{Directory, Limits, OpenError, Queue, ReadError, Refused};

const FIRST: &str = "00000000000000000001.seg";

fn open(disk: &SimulatedDisk) -> Queue<SimulatedDisk> {
    open_with(disk, Limits::default())
}

fn open_with(disk: &SimulatedDisk, limits: Limits) -> Queue<SimulatedDisk> {
    Queue::open(disk.clone(), limits).expect("it opens").0
}

fn fill(queue: &mut Queue<SimulatedDisk>, payloads: &[&[u8]]) {
    for payload in payloads {
        queue.append(payload).expect("there is room");
        queue.commit().expect("the disk is good");
    }
}

fn payloads<D: store::Disk>(queue: &mut Queue<D>) -> Vec<Vec<u8>> {
    let numbers: Vec<u64> = queue.pending().collect();
    numbers.iter().map(|number| queue.read(*number).expect("readable").expect("there")).collect()
}

#[test]
fn entries_come_back_in_order_after_a_restart_and_finished_ones_do_not() {
    let disk = SimulatedDisk::default();
    let mut queue = open(&disk);
    fill(&mut queue, &[b"one", b"two", b"three"]);
    assert!(queue.finish(2) && !queue.finish(2));
    queue.commit().expect("the disk is good");
    drop(queue);
    let mut queue = open(&disk);
    assert_eq!(payloads(&mut queue), [b"one".to_vec(), b"three".to_vec()]);
    assert_eq!(queue.append(b"four"), Ok(4), "numbers go on");
}

#[test]
fn many_entries_take_one_sync() {
    let disk = SimulatedDisk::default();
    let mut queue = open(&disk);
    let before = disk.syncs();
    (0..1_000).for_each(|_| assert!(queue.append(b"payload").is_ok()));
    queue.commit().expect("the disk is good");
    assert_eq!((disk.syncs() - before, queue.pending().len()), (1, 1_000));
}

#[test]
fn a_tail_torn_at_any_byte_costs_the_last_commit_alone() {
    let disk = SimulatedDisk::default();
    let mut queue = open(&disk);
    fill(&mut queue, &[b"one", b"two"]);
    let whole = disk.bytes_of(FIRST).expect("the segment").len();
    fill(&mut queue, &[b"the last one"]);
    let all = disk.bytes_of(FIRST).expect("the segment").len();
    for size in whole..all {
        let torn = disk.copy();
        torn.tamper(FIRST, |bytes| bytes.truncate(size));
        let (mut queue, recovered) = Queue::open(torn.clone(), Limits::default()).expect("it opens");
        assert_eq!(payloads(&mut queue), [b"one".to_vec(), b"two".to_vec()], "{size}");
        assert_eq!(recovered.torn, (size - whole) as u64);
        fill(&mut queue, &[b"after"]);
        assert_eq!(payloads(&mut open(&torn)).last(), Some(&b"after".to_vec()), "{size}: it goes on");
    }
}

#[test]
fn a_segment_whose_head_is_torn_at_any_byte_is_begun_again() {
    let disk = SimulatedDisk::default();
    drop(open(&disk));
    let head = disk.bytes_of(FIRST).expect("the segment").len();
    for size in 0..head {
        let torn = disk.copy();
        torn.tamper(FIRST, |bytes| bytes.truncate(size));
        fill(&mut open(&torn), &[b"one"]);
        assert_eq!(payloads(&mut open(&torn)), [b"one".to_vec()], "{size}");
    }
}

#[test]
fn a_byte_changed_anywhere_before_the_last_commit_is_reported_with_file_and_place() {
    let disk = SimulatedDisk::default();
    let mut queue = open(&disk);
    fill(&mut queue, &[b"one", b"two"]);
    let committed = disk.bytes_of(FIRST).expect("the segment").len();
    fill(&mut queue, &[b"three"]);
    for at in 0..committed {
        let damaged = disk.copy();
        damaged.tamper(FIRST, |bytes| bytes[at] ^= 1);
        match Queue::open(damaged, Limits::default()).err() {
            Some(OpenError::Damaged { file, offset, .. }) => {
                assert!(file == FIRST && offset as usize <= at, "byte {at}: {file} at {offset}");
            }
            other => panic!("byte {at}: {:?}", other.map(|error| error.to_string())),
        }
    }
}

#[test]
fn damage_in_a_segment_that_is_not_the_last_is_never_taken_for_a_torn_tail() {
    let disk = SimulatedDisk::default();
    let limits = Limits { segment_bytes: 100, ..Limits::default() };
    let mut queue = open_with(&disk, limits);
    fill(&mut queue, &[&[1; 200], &[2; 200]]);
    for size in 0..disk.bytes_of(FIRST).expect("the segment").len() {
        let damaged = disk.copy();
        damaged.tamper(FIRST, |bytes| bytes.truncate(size));
        let opened = Queue::open(damaged, limits);
        // Cut right behind the head it is a whole segment in which nothing is: its entry is missed by nobody but its owner.
        assert!(size == 28 || opened.is_err(), "cut to {size}");
    }
}

#[test]
fn a_segment_that_is_missing_between_others_is_reported() {
    let disk = SimulatedDisk::default();
    let limits = Limits { segment_bytes: 100, ..Limits::default() };
    fill(&mut open_with(&disk, limits), &[&[1; 200], &[2; 200], &[3; 200]]);
    let mut damaged = disk.copy();
    store::Disk::remove(&mut damaged, "00000000000000000002.seg").expect("it is there");
    let error = Queue::open(damaged, limits).err().expect("it is missed").to_string();
    assert!(error.starts_with("00000000000000000002.seg is missing"), "{error}");
}

#[test]
fn a_queue_that_version_1_wrote_opens() {
    let directory = tempfile::tempdir().expect("a directory");
    // By `cargo run -p store --example fixture`: it has to open for ever.
    let old = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/queue-1");
    for entry in std::fs::read_dir(old).expect("the fixture") {
        let from = entry.expect("the fixture").path();
        let to = directory.path().join(from.file_name().expect("a file"));
        std::fs::copy(&from, to).expect("it can be copied");
    }
    let disk = Directory::open(directory.path()).expect("it can be used");
    let (mut queue, recovered) = Queue::open(disk, Limits::default()).expect("it opens");
    assert_eq!((recovered.pending, recovered.torn), (7, 0));
    let expected = [1, 2, 4, 5, 7, 8, 10].map(|at| format!("entry {at}").into_bytes());
    assert_eq!(payloads(&mut queue), expected);
    assert_eq!(queue.append(b"next"), Ok(11));
}

#[test]
fn a_segment_of_a_later_version_is_refused_and_says_so() {
    let disk = SimulatedDisk::default();
    fill(&mut open(&disk), &[b"one"]);
    disk.tamper(FIRST, |bytes| {
        bytes[7] = b'2';
        let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes[..24]);
        bytes[24..28].copy_from_slice(&sum.to_le_bytes());
    });
    let error = Queue::open(disk, Limits::default()).err().expect("it is newer").to_string();
    assert!(error.contains("is of format version 2, and this program knows versions up to 1"), "{error}");
}

#[test]
fn what_changes_on_the_disk_later_is_noticed_when_it_is_read() {
    let disk = SimulatedDisk::default();
    let mut queue = open(&disk);
    fill(&mut queue, &[b"one"]);
    disk.tamper(FIRST, |bytes| *bytes.last_mut().expect("not empty") ^= 1);
    assert!(matches!(queue.read(1), Err(ReadError::Damaged { .. })));
}

#[test]
fn segments_go_when_all_in_them_and_before_them_is_finished() {
    let disk = SimulatedDisk::default();
    let limits = Limits { segment_bytes: 1_000, ..Limits::default() };
    let mut queue = open_with(&disk, limits);
    (0..50).for_each(|_| fill(&mut queue, &[&[7; 500]]));
    let all: Vec<u64> = queue.pending().collect();
    all.iter().for_each(|number| assert!(queue.finish(*number)));
    queue.commit().expect("the disk is good");
    assert!(queue.bytes() < 2_500, "{}", queue.bytes());
    drop(queue);
    assert_eq!(open_with(&disk, limits).append(b"x"), Ok(51), "numbers are not used again");
}

#[test]
fn one_old_entry_does_not_keep_all_that_came_after_it_and_stays_the_oldest() {
    let disk = SimulatedDisk::default();
    let limits = Limits { segment_bytes: 2_000, total_bytes: 50_000, ..Limits::default() };
    let mut queue = open_with(&disk, limits);
    fill(&mut queue, &[b"the old one"]);
    for at in 0..1_000 {
        let number = queue.append(&[7; 500]).unwrap_or_else(|refused| panic!("{at}: {refused}"));
        queue.commit().expect("the disk is good");
        assert!(queue.finish(number));
        queue.commit().expect("the disk is good");
        assert!(queue.bytes() < 20_000, "{}", queue.bytes());
    }
    fill(&mut queue, &[b"a new one"]);
    drop(queue);
    disk.crash(1);
    assert_eq!(payloads(&mut open_with(&disk, limits)), [b"the old one".to_vec(), b"a new one".to_vec()]);
}

#[test]
fn what_is_more_than_the_queue_may_hold_is_refused_and_room_comes_back() {
    let disk = SimulatedDisk::default();
    let limits = Limits { segment_bytes: 1_000, total_bytes: 5_000, payload_bytes: 1_000 };
    let mut queue = open_with(&disk, limits);
    assert_eq!(queue.append(&[0; 1_001]), Err(Refused::TooLarge));
    let mut taken = 0;
    while queue.append(&[0; 1_000]).is_ok() {
        taken += 1;
        queue.commit().expect("the disk is good");
    }
    assert_eq!((taken, queue.append(&[0; 1_000])), (4, Err(Refused::Full)));
    queue.pending().collect::<Vec<_>>().into_iter().for_each(|number| assert!(queue.finish(number)));
    queue.commit().expect("finishing always fits");
    assert!(queue.append(&[0; 1_000]).is_ok());
}

#[test]
fn after_a_full_disk_and_a_failed_sync_the_queue_goes_on_without_a_trace_of_what_it_refused() {
    for faults in [
        Faults { capacity: Some(200), ..Faults::default() },
        Faults { syncs_fail: true, ..Faults::default() },
    ] {
        let disk = SimulatedDisk::default();
        let mut queue = open(&disk);
        fill(&mut queue, &[b"one"]);
        disk.set_faults(faults);
        queue.finish(1);
        queue.append(&[9; 900]).expect("there is room in the queue");
        assert!(queue.commit().is_err(), "{faults:?}");
        disk.set_faults(Faults::default());
        fill(&mut queue, &[b"two"]);
        assert_eq!(payloads(&mut queue), [b"two".to_vec()]);
        drop(queue);
        disk.crash(3);
        assert_eq!(payloads(&mut open(&disk)), [b"two".to_vec()], "{faults:?}");
    }
}

#[test]
fn a_directory_keeps_a_queue_and_belongs_to_one_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("not/yet/there");
    let open = || Queue::open(Directory::open(&path).expect("it can be used"), Limits::default());
    let (mut queue, _) = open().expect("it opens");
    queue.append(b"one").expect("there is room");
    queue.commit().expect("the disk is good");
    let error = Directory::open(&path).err().expect("it is locked").to_string();
    assert!(error.contains("in use by another process"), "{error}");
    drop(queue);
    let (mut queue, recovered) = open().expect("it opens again");
    assert_eq!((recovered.pending, recovered.torn), (1, 0));
    assert_eq!(payloads(&mut queue), [b"one".to_vec()]);
}
