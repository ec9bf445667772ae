//! What a log promises, one by one.

use std::path::Path;

use store::log::{BackupError, CommitError, Epoch, Event, Position, Reader, Refused, Settings, restore};
use store::simulated::{Faults, SimulatedDisk};
use store::{Directory, Disk, Log, OpenError, ReadError};

const FIRST: &str = "00000000000000000001.seg";

fn open(disk: &SimulatedDisk) -> Log<SimulatedDisk> {
    open_with(disk, Settings::default())
}

fn open_with(disk: &SimulatedDisk, settings: Settings) -> Log<SimulatedDisk> {
    Log::open(disk.clone(), settings).expect("it opens").0
}

/// With segments that are full after one commit or two.
fn small() -> Settings {
    Settings { segment_bytes: 400, ..Settings::default() }
}

fn append<D: Disk>(log: &mut Log<D>, partition: u16, payloads: &[&[u8]]) {
    for payload in payloads {
        log.append(partition, log.head(partition), &[payload]).expect("the head is as it was asked");
        log.commit().expect("the disk is good");
    }
}

fn payloads<D: Disk>(log: &Log<D>, partition: u16) -> Vec<Vec<u8>> {
    read(&mut log.reader(), partition).into_iter().map(|event| event.payload).collect()
}

fn read<D: Disk>(reader: &mut Reader<D>, partition: u16) -> Vec<Event> {
    reader.read(partition, 1, usize::MAX, usize::MAX).expect("it can be read")
}

fn checkpoint<D: Disk>(log: &mut Log<D>, partition: u16, n: u64, state: &[u8]) {
    let saved = log.reader().save_checkpoint(partition, n, state).expect("the disk is good");
    log.checkpoint(saved).expect("it goes on");
    log.commit().expect("the disk is good");
}

#[test]
fn events_come_back_in_order_and_by_partition_after_a_restart() {
    let disk = SimulatedDisk::default();
    let mut log = open(&disk);
    append(&mut log, 3, &[b"one", b"two"]);
    append(&mut log, 5, &[b"other"]);
    append(&mut log, 3, &[b"three"]);
    drop(log);
    let log = open(&disk);
    assert_eq!(payloads(&log, 3), [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    assert_eq!(payloads(&log, 5), [b"other".to_vec()]);
    assert_eq!((log.head(3), log.head(4)), (Position { epoch: 1, n: 3 }, Position { epoch: 1, n: 0 }));
}

#[test]
fn many_appends_take_one_sync_and_nobody_sees_them_before() {
    let disk = SimulatedDisk::default();
    let mut log = open(&disk);
    let before = disk.syncs();
    for at in 0..1_000u16 {
        let partition = at % 64;
        log.append(partition, log.head(partition), &[b"payload"]).expect("the head is as it was asked");
    }
    assert!(read(&mut log.reader(), 0).is_empty(), "nothing is seen before it lasts");
    log.commit().expect("the disk is good");
    assert_eq!((disk.syncs() - before, read(&mut log.reader(), 0).len()), (1, 16));
}

#[test]
fn an_append_that_expects_another_head_is_refused_with_the_head_and_stages_nothing() {
    let disk = SimulatedDisk::default();
    let mut log = open(&disk);
    append(&mut log, 0, &[b"one"]);
    let at = |epoch, n| Position { epoch, n };
    for wrong in [at(1, 0), at(1, 2), at(2, 1)] {
        assert_eq!(log.append(0, wrong, &[b"x"]), Err(Refused::Conflict { head: at(1, 1) }), "{wrong}");
    }
    assert_eq!(log.append(0, at(1, 1), &[b"two"]), Ok(at(1, 2)));
    assert_eq!(log.append(0, at(1, 1), &[b"x"]), Err(Refused::Conflict { head: at(1, 2) }), "staged counts");
    log.commit().expect("the disk is good");
    assert_eq!(payloads(&log, 0), [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn what_is_too_large_or_nothing_at_all_or_of_no_partition_is_refused() {
    let mut log = open(&SimulatedDisk::default());
    let head = log.head(0);
    assert_eq!(log.append(0, head, &[vec![0; (1 << 20) + 1]]), Err(Refused::Size));
    assert_eq!(log.append(0, head, &[b""; 0]), Err(Refused::Size));
    assert_eq!(log.append(0, head, &vec![vec![0; 1 << 20]; 9]), Err(Refused::Size));
    assert_eq!(log.append(64, head, &[b"x"]), Err(Refused::NoPartition));
    assert!(!log.is_staged());
    for _ in 0..7 {
        log.append(0, log.head(0), &[vec![0; 1 << 20]]).expect("there is room");
    }
    assert_eq!(log.append(0, log.head(0), &[vec![0; 1 << 20]]), Err(Refused::CommitFirst));
}

#[test]
fn a_tail_torn_at_any_byte_costs_the_last_commit_alone() {
    let disk = SimulatedDisk::default();
    let mut log = open(&disk);
    append(&mut log, 0, &[b"one", b"two"]);
    let whole = disk.bytes_of(FIRST).expect("the segment").len();
    log.append(0, log.head(0), &[&b"three"[..], b"four"]).expect("the head is as it was asked");
    append(&mut log, 1, &[b"in the same commit"]);
    let all = disk.bytes_of(FIRST).expect("the segment").len();
    for size in whole..all {
        let torn = disk.copy();
        torn.tamper(FIRST, |bytes| bytes.truncate(size));
        let (mut log, opened) = Log::open(torn.clone(), Settings::default()).expect("it opens");
        assert_eq!(payloads(&log, 0), [b"one".to_vec(), b"two".to_vec()], "{size}");
        assert_eq!((payloads(&log, 1).len(), opened.torn), (0, (size - whole) as u64), "{size}");
        append(&mut log, 0, &[b"after"]);
        drop(log);
        torn.crash(size as u64);
        assert_eq!(payloads(&open(&torn), 0).last(), Some(&b"after".to_vec()), "{size}: it goes on");
    }
}

#[test]
fn a_torn_tail_full_of_beginnings_of_frames_does_not_keep_the_log_from_answering() {
    let disk = SimulatedDisk::default();
    let mut log = open(&disk);
    append(&mut log, 0, &[b"one"]);
    // Each says that it is as long as fits.
    let fake: Vec<u8> = (0..80_000u32)
        .flat_map(|at| [*b"STQF", 960_000u32.saturating_sub(12 * at + 24).to_le_bytes(), *b"sum?"].concat())
        .collect();
    append(&mut log, 0, &[&fake]);
    disk.tamper(FIRST, |bytes| bytes.truncate(bytes.len() - 1));
    let opened = Log::open(disk, Settings::default()).err();
    assert!(matches!(opened, Some(OpenError::Damaged { .. })), "what is not certain is not cut off");
}

#[test]
fn a_new_segment_torn_at_any_byte_costs_nothing() {
    let disk = SimulatedDisk::default();
    append(&mut open(&disk), 0, &[b"one"]);
    // The last commit is written anew in the second segment.
    drop(open(&disk));
    let second = "00000000000000000002.seg";
    for size in 0..disk.bytes_of(second).expect("the segment").len() {
        let torn = disk.copy();
        torn.tamper(second, |bytes| bytes.truncate(size));
        let mut log = open(&torn);
        append(&mut log, 0, &[b"two"]);
        drop(log);
        assert_eq!(payloads(&open(&torn), 0), [b"one".to_vec(), b"two".to_vec()], "{size}");
    }
}

#[test]
fn a_byte_changed_anywhere_before_the_last_commit_is_reported_with_file_and_place() {
    let disk = SimulatedDisk::default();
    let mut log = open(&disk);
    append(&mut log, 0, &[b"one", b"two"]);
    let committed = disk.bytes_of(FIRST).expect("the segment").len();
    append(&mut log, 0, &[b"three"]);
    for at in 0..committed {
        let damaged = disk.copy();
        damaged.tamper(FIRST, |bytes| bytes[at] ^= 1);
        match Log::open(damaged, Settings::default()).err() {
            Some(OpenError::Damaged { file, offset, .. }) => {
                assert!(file == FIRST && offset as usize <= at, "byte {at}: {file} at {offset}");
            }
            other => panic!("byte {at}: {:?}", other.map(|error| error.to_string())),
        }
    }
}

#[test]
fn a_byte_changed_anywhere_in_a_full_segment_is_found_when_it_is_read_or_verified_and_is_nowhere_passed_over()
{
    let disk = SimulatedDisk::default();
    let mut log = open_with(&disk, small());
    append(&mut log, 0, &[&[1; 200], &[2; 200], &[3; 200], &[4; 200]]);
    drop(log);
    let expected = payloads(&open_with(&disk.copy(), small()), 0);
    let size = disk.bytes_of(FIRST).expect("the segment").len();
    let mut unread = 0;
    for at in 0..size {
        let damaged = disk.copy();
        damaged.tamper(FIRST, |bytes| bytes[at] ^= 1);
        let log = match Log::open(damaged, small()) {
            Ok((log, _)) => log,
            Err(OpenError::Damaged { file, .. }) if file == FIRST => continue,
            Err(other) => panic!("byte {at}: {other}"),
        };
        let mut reader = log.reader();
        match reader.verify(1) {
            Err(ReadError::Damaged { file, offset }) => assert!(file == FIRST && offset <= at as u64, "{at}"),
            other => panic!("byte {at}: {other:?}"),
        }
        match reader.read(0, 1, usize::MAX, usize::MAX) {
            Ok(events) => {
                let found: Vec<Vec<u8>> = events.into_iter().map(|event| event.payload).collect();
                assert_eq!(found, expected, "byte {at}");
                unread += 1;
            }
            Err(ReadError::Damaged { file, .. }) => assert_eq!(file, FIRST),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    // What reading an event does not touch: the frames around, and the state at the beginning.
    assert!(unread < size / 2, "{unread} of {size}");
}

#[test]
fn a_segment_that_is_missing_or_shorter_than_it_was_is_reported() {
    let disk = SimulatedDisk::default();
    append(&mut open_with(&disk, small()), 0, &[&[1; 400], &[2; 400], &[3; 400]]);
    let second = "00000000000000000002.seg";
    let mut missing = disk.copy();
    missing.remove(second).expect("it is there");
    let error = Log::open(missing, small()).err().expect("it is missed").to_string();
    assert!(error.starts_with("00000000000000000002.seg is missing"), "{error}");
    let size = disk.bytes_of(second).expect("the segment").len();
    for cut in 1..size {
        let shorter = disk.copy();
        shorter.tamper(second, |bytes| bytes.truncate(size - cut));
        let error = Log::open(shorter, small()).err();
        assert!(matches!(error, Some(OpenError::Damaged { ref file, .. }) if file == second), "cut by {cut}");
    }
    let mut nothing_but_a_list = SimulatedDisk::default();
    nothing_but_a_list.create("00000000000000000001.idx").expect("it is new");
    assert!(matches!(Log::open(nothing_but_a_list, small()).err(), Some(OpenError::Missing { .. })));
}

#[test]
fn a_list_of_places_that_is_gone_or_damaged_is_made_anew() {
    let disk = SimulatedDisk::default();
    append(&mut open_with(&disk, small()), 0, &[&[1; 400], &[2; 400], &[3; 400]]);
    let expected = payloads(&open_with(&disk.copy(), small()), 0);
    let list = "00000000000000000001.idx";
    for at in 0..disk.bytes_of(list).expect("the list").len() {
        let damaged = disk.copy();
        damaged.tamper(list, |bytes| bytes[at] ^= 0x10);
        let (log, opened) = Log::open(damaged, small()).expect("it opens");
        assert_eq!((payloads(&log, 0), opened.relisted), (expected.clone(), 1), "{at}");
    }
    let mut gone = disk.copy();
    gone.remove(list).expect("it is there");
    let (log, opened) = Log::open(gone.clone(), small()).expect("it opens");
    assert_eq!((payloads(&log, 0), opened.relisted), (expected, 1));
    drop(log);
    assert_eq!(Log::open(gone, small()).expect("it opens").1.relisted, 0, "it is there again");
}

#[test]
fn a_full_disk_is_no_end_and_leaves_no_trace_of_what_was_refused() {
    let disk = SimulatedDisk::default();
    let mut log = open(&disk);
    append(&mut log, 0, &[b"one"]);
    for room in 0..200 {
        let used = disk.bytes_of(FIRST).expect("the segment").len();
        disk.set_faults(Faults { capacity: Some(used + room), ..Faults::default() });
        log.append(0, log.head(0), &[[9; 300]]).expect("the head is as it was asked");
        assert!(matches!(log.commit(), Err(CommitError::NotTaken(_))), "{room}");
        assert_eq!(log.head(0).n, 1, "{room}");
    }
    disk.set_faults(Faults::default());
    append(&mut log, 0, &[b"two"]);
    drop(log);
    disk.crash(3);
    assert_eq!(payloads(&open(&disk), 0), [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn a_new_segment_for_which_there_is_no_room_is_begun_later() {
    let disk = SimulatedDisk::default();
    let mut log = open_with(&disk, small());
    append(&mut log, 0, &[&[1; 400]]);
    let used = disk.bytes_of(FIRST).expect("the segment").len();
    for room in 0..150 {
        disk.set_faults(Faults { capacity: Some(used + room), ..Faults::default() });
        log.append(0, log.head(0), &[b"two"]).expect("the head is as it was asked");
        assert!(matches!(log.commit(), Err(CommitError::NotTaken(_))), "{room}");
    }
    disk.set_faults(Faults::default());
    append(&mut log, 0, &[b"two"]);
    drop(log);
    disk.crash(5);
    assert_eq!(payloads(&open_with(&disk, small()), 0), [vec![1; 400], b"two".to_vec()]);
}

#[test]
fn a_sync_that_failed_stops_the_log_and_is_never_tried_again() {
    let disk = SimulatedDisk::default();
    let mut log = open(&disk);
    append(&mut log, 0, &[b"one"]);
    log.append(0, log.head(0), &[b"two"]).expect("the head is as it was asked");
    disk.set_faults(Faults { syncs_fail: true, ..Faults::default() });
    assert!(matches!(log.commit(), Err(CommitError::Stopped(_))));
    disk.set_faults(Faults::default());
    let syncs = disk.syncs();
    assert_eq!(log.append(0, log.head(0), &[b"three"]), Err(Refused::Stopped));
    assert!(matches!(log.commit(), Err(CommitError::Stopped(_))));
    assert_eq!(disk.syncs(), syncs);
    assert_eq!(payloads(&log, 0), [b"one".to_vec()], "readers do not see what may not last");
}

#[test]
fn what_a_failed_sync_left_in_memory_is_shown_after_a_restart_only_once_it_lasts() {
    for seed in 0..50 {
        let disk = SimulatedDisk::default();
        let mut log = open(&disk);
        append(&mut log, 0, &[b"one"]);
        log.append(0, log.head(0), &[b"two"]).expect("the head is as it was asked");
        disk.set_faults(Faults { syncs_fail: true, ..Faults::default() });
        assert!(log.commit().is_err());
        disk.set_faults(Faults::default());
        drop(log);
        // The process ends and begins again; the machine has it in memory still, and no sync would write it where it is.
        let shown = payloads(&open(&disk), 0);
        disk.crash(seed);
        assert_eq!(payloads(&open(&disk), 0), shown, "seed {seed}");
    }
}

#[test]
fn a_partition_is_trimmed_up_to_its_checkpoint_and_no_further() {
    let disk = SimulatedDisk::default();
    let mut log = open_with(&disk, small());
    append(&mut log, 0, &[&[1; 300], &[2; 300], &[3; 300], &[4; 300]]);
    assert_eq!(log.trim(0, 2), Err(Refused::Uncovered { upto: 0 }));
    checkpoint(&mut log, 0, 2, b"after two");
    assert_eq!(log.trim(0, 4), Err(Refused::Uncovered { upto: 2 }));
    assert_eq!(log.reclaim().expect("the disk is good"), 0, "nothing was trimmed");
    log.trim(0, 3).expect("it is covered");
    log.commit().expect("the disk is good");
    assert_eq!(log.reader().first(0), 3);
    assert!(log.reclaim().expect("the disk is good") >= 1);
    assert_eq!(disk.bytes_of(FIRST), None, "the first segment is gone");
    for _ in 0..2 {
        assert_eq!(payloads(&log, 0), [[3; 300], [4; 300]]);
        let checkpoint = log.reader().checkpoint(0).expect("it can be read");
        assert_eq!(checkpoint, Some((Position { epoch: 1, n: 2 }, b"after two".to_vec())));
        drop(log);
        log = open_with(&disk, small());
    }
}

#[test]
fn a_segment_stays_while_another_partition_wants_something_of_it() {
    let disk = SimulatedDisk::default();
    let mut log = open_with(&disk, small());
    append(&mut log, 1, &[b"wanted"]);
    append(&mut log, 0, &[&[1; 400], &[2; 400], &[3; 400]]);
    checkpoint(&mut log, 0, 3, b"all");
    log.trim(0, 4).expect("it is covered");
    log.commit().expect("the disk is good");
    assert_eq!(log.reclaim().expect("the disk is good"), 0);
    assert_eq!(payloads(&log, 1), [b"wanted".to_vec()]);
    assert!(payloads(&log, 0).is_empty());
    checkpoint(&mut log, 1, 1, b"all");
    log.trim(1, 2).expect("it is covered");
    log.commit().expect("the disk is good");
    assert!(log.reclaim().expect("the disk is good") > 0);
    assert_eq!(log.head(1).n, 1, "numbers are not used again");
}

#[test]
fn a_checkpoint_that_is_damaged_or_missing_is_reported() {
    let disk = SimulatedDisk::default();
    let mut log = open(&disk);
    append(&mut log, 0, &[b"one"]);
    checkpoint(&mut log, 0, 1, b"the state");
    drop(log);
    let file = "00000-00000000000000000001-0000000001.ckp";
    for at in 0..disk.bytes_of(file).expect("the checkpoint").len() {
        let damaged = disk.copy();
        damaged.tamper(file, |bytes| bytes[at] ^= 1);
        let read = open(&damaged).reader().checkpoint(0);
        assert!(matches!(read, Err(ReadError::Damaged { file: ref found, .. }) if found == file), "{at}");
    }
    let mut missing = disk.copy();
    missing.remove(file).expect("it is there");
    let error = Log::open(missing, Settings::default()).err().expect("it is missed").to_string();
    assert!(error.starts_with(file), "{error}");
}

#[test]
fn a_checkpoint_that_was_not_put_to_use_is_removed_and_the_one_before_holds() {
    let disk = SimulatedDisk::default();
    let mut log = open(&disk);
    append(&mut log, 0, &[b"one", b"two"]);
    checkpoint(&mut log, 0, 1, b"after one");
    log.reader().save_checkpoint(0, 2, b"after two").expect("the disk is good");
    assert!(log.reader().save_checkpoint(0, 3, b"ahead").is_err(), "there is no event 3");
    assert!(log.reader().save_checkpoint(0, 1, b"again").is_err(), "there is one that reaches as far");
    drop(log);
    let log = open(&disk);
    assert_eq!(log.reader().checkpoint(0).expect("it can be read").expect("there is one").1, b"after one");
    let checkpoints =
        disk.names().expect("it works").into_iter().filter(|name| name.ends_with(".ckp")).count();
    assert_eq!(checkpoints, 1);
}

#[test]
fn reading_keeps_to_its_limits_and_begins_anywhere() {
    let disk = SimulatedDisk::default();
    let mut log = open_with(&disk, small());
    for at in 0..100u8 {
        append(&mut log, 0, &[&[at; 30]]);
        append(&mut log, 1, &[&[at; 50]]);
    }
    let mut reader = log.reader();
    let mut numbers = |from, events, bytes| -> Vec<u64> {
        let events = reader.read(0, from, events, bytes).expect("it can be read");
        assert!(events.iter().all(|event| event.payload == [event.at.n as u8 - 1; 30]));
        events.iter().map(|event| event.at.n).collect()
    };
    assert_eq!(numbers(40, 3, 1_000), [40, 41, 42]);
    assert_eq!(numbers(98, 9, 1_000), [98, 99, 100]);
    assert_eq!(numbers(7, 9, 31), [7, 8], "at least one, and no more once there is enough");
    assert_eq!(numbers(7, 9, 1), [7]);
    assert_eq!(numbers(0, 2, 1_000), [1, 2]);
    assert!(numbers(101, 9, 1_000).is_empty() && numbers(u64::MAX, 9, 1_000).is_empty());
    assert_eq!(numbers(1, usize::MAX, usize::MAX), (1..=100).collect::<Vec<_>>());
}

#[test]
fn a_million_events_take_little_memory_and_any_of_them_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings { segment_bytes: 8 << 20, ..Settings::default() };
    let disk = || Directory::open(directory.path()).expect("it can be used");
    let (mut log, _) = Log::open(disk(), settings).expect("it opens");
    let batch: Vec<[u8; 8]> = vec![[7; 8]; 1_000];
    for at in 0..1_000u16 {
        let partition = at % 64;
        log.append(partition, log.head(partition), &batch).expect("the head is as it was asked");
        if at % 50 == 49 {
            log.commit().expect("the disk is good");
        }
    }
    drop(log);
    let (log, _) = Log::open(disk(), settings).expect("it opens again");
    let mut reader = log.reader();
    let (spans, places) = reader.weight();
    assert!(spans < 500 && places <= 50_000, "{spans} spans, {places} places");
    for (partition, n) in [(0, 1), (17, 7_777), (63, 15_000), (1, 16_000)] {
        let found = reader.read(partition, n, 1, 1).expect("it can be read");
        assert_eq!((found.len(), found[0].at.n, &found[0].payload[..]), (1, n, &[7; 8][..]));
    }
}

#[test]
fn a_backup_made_between_appends_is_restored_into_a_new_epoch_and_what_came_after_is_known_to_be_lost() {
    let disk = SimulatedDisk::default();
    let mut log = open_with(&disk, small());
    append(&mut log, 0, &[&[1; 300], &[2; 300], &[3; 300]]);
    checkpoint(&mut log, 0, 2, b"after two");
    log.append(0, log.head(0), &[b"staged"]).expect("the head is as it was asked");
    let mut copy = SimulatedDisk::default();
    let backed_up = log.reader().backup(&mut copy).expect("both disks are good");
    assert!(backed_up.files >= 3 && backed_up.bytes > 900, "{backed_up:?}");
    append(&mut log, 0, &[b"lost"]);
    copy.crash(1);

    let used = Settings { epoch: 1, ..small() };
    let error = restore(copy.clone(), SimulatedDisk::default(), used).err().expect("epoch 1 was used");
    assert!(error.to_string().contains("epoch 1 is not above 1"), "{error}");
    let restored = SimulatedDisk::default();
    let settings = Settings { epoch: 7, ..small() };
    let (mut log, _) = restore(copy, restored.clone(), settings).expect("it is a backup");
    assert_eq!(log.head(0), Position { epoch: 7, n: 3 });
    let follows = Some(Position { epoch: 1, n: 3 });
    let lineage = [Epoch { epoch: 1, follows: None }, Epoch { epoch: 7, follows }];
    assert_eq!(log.reader().epochs(0), lineage);
    assert_eq!(
        log.append(0, Position { epoch: 1, n: 3 }, &[b"x"]),
        Err(Refused::Conflict { head: Position { epoch: 7, n: 3 } }),
        "who was there before does not go on"
    );
    append(&mut log, 0, &[b"new"]);
    append(&mut log, 9, &[b"first"]);
    drop(log);
    restored.crash(2);
    let log = open_with(&restored, small());
    let at: Vec<Position> = read(&mut log.reader(), 0).into_iter().map(|event| event.at).collect();
    let place = |epoch, n| Position { epoch, n };
    assert_eq!(at, [place(1, 1), place(1, 2), place(1, 3), place(7, 4)]);
    assert_eq!(log.reader().epochs(0), lineage);
    assert_eq!(log.reader().epochs(9), [Epoch { epoch: 7, follows: None }]);
    assert_eq!(log.reader().checkpoint(0).expect("it can be read").expect("there is one").1, b"after two");
}

#[test]
fn no_part_of_a_backup_or_of_a_restore_is_taken_for_a_log() {
    let disk = SimulatedDisk::default();
    append(&mut open(&disk), 0, &[b"one"]);
    let log = open(&disk);
    let mut copy = SimulatedDisk::default();
    log.reader().backup(&mut copy).expect("both disks are good");
    let error = Log::open(copy.clone(), Settings::default()).err().expect("it is a backup").to_string();
    assert!(error.contains("restore it into another directory"), "{error}");
    let again = log.reader().backup(&mut copy);
    assert!(matches!(again, Err(BackupError::NotEmpty)));

    let settings = Settings { epoch: 2, ..Settings::default() };
    let half = SimulatedDisk::default();
    half.set_faults(Faults { capacity: Some(100), ..Faults::default() });
    assert!(matches!(restore(copy.clone(), half.clone(), settings), Err(BackupError::Disk(_))));
    half.set_faults(Faults::default());
    let error = Log::open(half, settings).err().expect("it is half a log").to_string();
    assert!(error.contains("a restore did not end here"), "{error}");

    let names = copy.names().expect("it works");
    for name in &names {
        for at in 0..copy.bytes_of(name).expect("a file").len() {
            let damaged = copy.copy();
            damaged.tamper(name, |bytes| bytes[at] ^= 1);
            let restored = restore(damaged, SimulatedDisk::default(), settings);
            assert!(matches!(restored, Err(BackupError::NotABackup(_))), "{name} at {at}");
        }
    }
    let mut incomplete = copy.copy();
    incomplete.remove("backup").expect("it is there");
    let error = restore(incomplete, SimulatedDisk::default(), settings).err().expect("it is none");
    assert!(error.to_string().starts_with("this is no backup"), "{error}");
}

#[test]
fn nothing_is_removed_while_a_backup_is_made_and_it_is_later() {
    /// Trims the log behind the backup's back when the first file is made.
    #[derive(Clone)]
    struct Meddling(SimulatedDisk, std::sync::Arc<std::sync::Mutex<Log<SimulatedDisk>>>);
    impl Disk for Meddling {
        type File = store::simulated::SimulatedFile;
        fn names(&self) -> std::io::Result<Vec<String>> {
            self.0.names()
        }
        fn create(&mut self, name: &str) -> std::io::Result<Self::File> {
            let mut log = self.1.lock().expect("nobody panicked");
            assert_eq!(log.reclaim().expect("the disk is good"), 0);
            self.0.create(name)
        }
        fn open(&mut self, name: &str) -> std::io::Result<Self::File> {
            self.0.open(name)
        }
        fn remove(&mut self, name: &str) -> std::io::Result<()> {
            self.0.remove(name)
        }
        fn sync(&mut self) -> std::io::Result<()> {
            self.0.sync()
        }
    }
    let disk = SimulatedDisk::default();
    let mut log = open_with(&disk, small());
    append(&mut log, 0, &[&[1; 300], &[2; 300], &[3; 300], &[4; 300]]);
    checkpoint(&mut log, 0, 4, b"all");
    log.trim(0, 4).expect("it is covered");
    log.commit().expect("the disk is good");
    let (mut reader, log) = (log.reader(), std::sync::Arc::new(std::sync::Mutex::new(log)));
    let copy = SimulatedDisk::default();
    reader.backup(&mut Meddling(copy.clone(), log.clone())).expect("both disks are good");
    assert!(log.lock().expect("nobody panicked").reclaim().expect("the disk is good") > 0);
    let settings = Settings { epoch: 2, ..small() };
    let (restored, _) = restore(copy, SimulatedDisk::default(), settings).expect("it is a backup");
    assert_eq!(payloads(&restored, 0), [[4; 300]]);
}

#[test]
fn another_number_of_partitions_is_refused() {
    let disk = SimulatedDisk::default();
    drop(open(&disk));
    let other = Settings { partitions: 65, ..Settings::default() };
    let error = Log::open(disk, other).err().expect("it was made for 64").to_string();
    assert!(error.contains("made for 64 partitions, not for 65"), "{error}");
}

/// Written by the program at version 1 of the formats (`cargo run -p store --example fixture`): it has to open for ever.
const OLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/log-1");

fn fixture() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(OLD).expect("the fixture") {
        let from = entry.expect("the fixture").path();
        let to = directory.path().join(from.file_name().expect("a file"));
        std::fs::copy(&from, to).expect("it can be copied");
    }
    directory
}

fn open_fixture(path: &Path) -> Result<Log<Directory>, OpenError> {
    let settings = Settings { partitions: 4, segment_bytes: 2_000, ..Settings::default() };
    Log::open(Directory::open(path).expect("it can be used"), settings).map(|(log, _)| log)
}

#[test]
fn a_log_that_version_1_wrote_opens() {
    let directory = fixture();
    for _ in 0..2 {
        let log = open_fixture(directory.path()).expect("it opens");
        let mut reader = log.reader();
        let events = read(&mut reader, 1);
        assert_eq!((events[0].at, events.len()), (Position { epoch: 3, n: 11 }, 40));
        assert!(events.iter().all(|event| event.payload == format!("event {}", event.at.n).into_bytes()));
        assert_eq!(events.last().map(|event| event.at), Some(Position { epoch: 5, n: 50 }));
        let follows = Some(Position { epoch: 3, n: 45 });
        assert_eq!(reader.epochs(1), [Epoch { epoch: 3, follows: None }, Epoch { epoch: 5, follows }]);
        let checkpoint = reader.checkpoint(1).expect("it can be read");
        assert_eq!(checkpoint, Some((Position { epoch: 3, n: 10 }, b"after 10".to_vec())));
    }
}

#[test]
fn a_log_of_a_later_version_is_refused_and_says_so() {
    let directory = fixture();
    let names = std::fs::read_dir(directory.path()).expect("the fixture");
    let last = names
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".seg"))
        .max();
    let path = directory.path().join(last.expect("a segment"));
    let mut bytes = std::fs::read(&path).expect("the segment");
    bytes[7] = b'2';
    std::fs::write(&path, &bytes).expect("it can be written");
    let error = open_fixture(directory.path()).err().expect("one digit is damage, not a version");
    assert!(matches!(error, OpenError::Damaged { offset: 0, .. }), "{error}");
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes[..24]);
    bytes[24..28].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&path, &bytes).expect("it can be written");
    let error = open_fixture(directory.path()).err().expect("it is newer").to_string();
    assert!(error.contains("is of format version 2, and this program knows versions up to 1"), "{error}");
}
