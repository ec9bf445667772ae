//! The index gives the same answers however it came to be.

use std::path::Path;

use store::index::{Changes, Extract, IndexError, Name};
use store::log::{Event, Position, Settings, restore};
use store::simulated::SimulatedDisk;
use store::{Index, Log};

/// Events are words: `channel say …`, `channel join user role`, `channel leave user`. A checkpoint is a list of `channel user role`.
struct Words(u32);

fn name(text: &str) -> Name<'_> {
    Name::new(text).expect("it is short")
}

impl Extract for Words {
    fn version(&self) -> u32 {
        self.0
    }

    fn event(&self, _: u16, event: &Event, is_covered: bool, changes: &mut Changes<'_>) {
        let text = std::str::from_utf8(&event.payload).expect("it is text");
        let words: Vec<&str> = text.split(' ').collect();
        changes.place(name(words[0]), event.at.n);
        match words[1] {
            "join" if !is_covered => changes.join(name(words[2]), name(words[0]), words[3].as_bytes()),
            "leave" if !is_covered => changes.leave(name(words[2]), name(words[0])),
            "say" if !is_covered => changes.put(name(words[0]), words[2].as_bytes()),
            _ => {}
        }
    }

    fn checkpoint(&self, _: u16, _: Position, state: &[u8], changes: &mut Changes<'_>) {
        for line in std::str::from_utf8(state).expect("it is text").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            changes.join(name(words[1]), name(words[0]), words[2].as_bytes());
        }
    }
}

fn settings() -> Settings {
    Settings { partitions: 4, segment_bytes: 2_000, ..Settings::default() }
}

fn open_log(disk: &SimulatedDisk) -> Log<SimulatedDisk> {
    Log::open(disk.clone(), settings()).expect("it opens").0
}

fn append(log: &mut Log<SimulatedDisk>, partition: u16, text: &str) {
    log.append(partition, log.head(partition), &[text]).expect("the head is as it was asked");
    log.commit().expect("the disk is good");
}

/// Two channels in a partition, one in another, and people who come and go.
fn fill(log: &mut Log<SimulatedDisk>) {
    for text in ["red join ann owner", "red join bob member", "blue join ann member", "red say one"] {
        append(log, 0, text);
    }
    for at in 0..40 {
        append(log, 0, &format!("{} say {at}", if at % 2 == 0 { "red" } else { "blue" }));
        append(log, 1, &format!("green say {at}"));
    }
    append(log, 0, "red leave bob");
    append(log, 1, "green join bob member");
}

fn open(path: &Path, log: &Log<SimulatedDisk>) -> (Index, u64, bool) {
    let (index, caught) = Index::open(path, &mut log.reader(), &Words(1)).expect("it opens");
    (index, caught.events, caught.is_new)
}

/// Everything that can be asked.
fn answers(index: &Index) -> String {
    let mut all = String::new();
    for channel in ["red", "blue", "green", "re"] {
        let events = |is_newest_first, max| {
            index.events(name(channel), 0..u64::MAX, is_newest_first, max).expect("it works")
        };
        let mut backwards = events(true, usize::MAX);
        backwards.reverse();
        assert_eq!(events(false, usize::MAX), backwards);
        all += &format!("{channel}: {backwards:?} {:?}\n", index.get(name(channel)).expect("it works"));
    }
    for user in ["ann", "bob", "an"] {
        all += &format!("{user}: {:?}\n", index.channels(name(user), None, 100).expect("it works"));
    }
    all
}

#[test]
fn channels_events_and_members_are_found() {
    let (disk, directory) = (SimulatedDisk::default(), tempfile::tempdir().expect("a directory"));
    let mut log = open_log(&disk);
    fill(&mut log);
    let (index, events, is_new) = open(&directory.path().join("index"), &log);
    assert_eq!((events, is_new), (86, true));
    assert_eq!(index.events(name("red"), 3..9, false, 2).expect("it works"), [4, 5]);
    assert_eq!(index.events(name("red"), 3..9, true, 2).expect("it works"), [7, 5]);
    assert!(index.events(name("red"), 9..9, true, 2).expect("it works").is_empty());
    let channels = |user, after, max| {
        let found = index.channels(name(user), after, max).expect("it works");
        found
            .into_iter()
            .map(|one| format!("{} {}", text(&one.channel), text(&one.value)))
            .collect::<Vec<_>>()
    };
    assert_eq!(channels("ann", None, 9), ["blue member", "red owner"]);
    assert_eq!(channels("ann", None, 1), ["blue member"]);
    assert_eq!(channels("ann", Some(name("blue")), 9), ["red owner"]);
    assert_eq!(channels("bob", None, 9), ["green member"], "who left is in it no more");
    assert_eq!(index.get(name("green")).expect("it works"), Some(b"39".to_vec()));
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it is text")
}

#[test]
fn an_index_that_was_removed_damaged_or_is_of_another_version_is_made_anew_and_gives_the_same_answers() {
    let (disk, directory) = (SimulatedDisk::default(), tempfile::tempdir().expect("a directory"));
    let path = directory.path().join("index");
    let mut log = open_log(&disk);
    fill(&mut log);
    let (index, ..) = open(&path, &log);
    let expected = answers(&index);
    drop(index);
    let (index, events, is_new) = open(&path, &log);
    assert_eq!((answers(&index), events, is_new), (expected.clone(), 0, false), "it is there still");
    let locked = Index::open(&path, &mut log.reader(), &Words(1)).err();
    assert!(matches!(locked, Some(IndexError::Index(fjall::Error::Locked))), "it belongs to one");
    drop(index);

    std::fs::remove_dir_all(&path).expect("it is there");
    let (index, events, is_new) = open(&path, &log);
    assert_eq!((answers(&index), events, is_new), (expected.clone(), 86, true));
    drop(index);

    let (index, caught) = Index::open(&path, &mut log.reader(), &Words(2)).expect("it opens");
    assert_eq!((answers(&index), caught.events, caught.is_new), (expected.clone(), 86, true));
    drop(index);

    for entry in std::fs::read_dir(&path).expect("it is there") {
        let file = entry.expect("it is there").path();
        if file.is_file() {
            std::fs::write(&file, b"this is not what was here").expect("it can be written");
        }
    }
    let (index, caught) = Index::open(&path, &mut log.reader(), &Words(2)).expect("it opens");
    assert_eq!((answers(&index), caught.events, caught.is_new), (expected, 86, true));
}

#[test]
fn an_index_that_is_behind_takes_what_it_lacks() {
    let (disk, directory) = (SimulatedDisk::default(), tempfile::tempdir().expect("a directory"));
    let path = directory.path().join("index");
    let mut log = open_log(&disk);
    fill(&mut log);
    drop(open(&path, &log));
    append(&mut log, 0, "red join cay guest");
    append(&mut log, 3, "grey say hello");
    let (index, events, is_new) = open(&path, &log);
    assert_eq!((events, is_new), (2, false));
    append(&mut log, 3, "grey say more");
    assert_eq!(index.catch_up(3, &mut log.reader(), &Words(1)).expect("it works"), 1);
    assert_eq!(index.catch_up(3, &mut log.reader(), &Words(1)).expect("it works"), 0);
    assert_eq!(index.events(name("grey"), 0..9, false, 9).expect("it works"), [1, 2]);
    let fresh = open(&directory.path().join("fresh"), &log).0;
    assert_eq!(answers(&index), answers(&fresh));
}

#[test]
fn what_retention_removed_is_taken_from_the_checkpoint_and_older_events_change_no_state() {
    let (disk, directory) = (SimulatedDisk::default(), tempfile::tempdir().expect("a directory"));
    let mut log = open_log(&disk);
    fill(&mut log);
    let (index, ..) = open(&directory.path().join("index"), &log);
    let head = log.head(0).n;
    let state = b"red ann owner\nblue ann member";
    let saved = log.reader().save_checkpoint(0, head, state).expect("the disk is good");
    log.checkpoint(saved).expect("it goes on");
    log.commit().expect("the disk is good");
    index.forget(0, 20, &mut log.reader(), &Words(1)).expect("it works");
    log.trim(0, 20).expect("it is covered");
    log.commit().expect("the disk is good");
    log.reclaim().expect("the disk is good");
    append(&mut log, 0, "blue leave ann");
    index.catch_up(0, &mut log.reader(), &Words(1)).expect("it works");

    let fresh = open(&directory.path().join("fresh"), &log).0;
    let red = fresh.events(name("red"), 0..u64::MAX, false, 100).expect("it works");
    assert_eq!(red.first(), Some(&21));
    for user in ["ann", "bob"] {
        let channels = |index: &Index| index.channels(name(user), None, 9).expect("it works");
        assert_eq!(channels(&fresh), channels(&index), "{user}");
    }
    for channel in ["red", "blue", "green"] {
        let events = |index: &Index| index.events(name(channel), 0..u64::MAX, false, 100).expect("it works");
        assert_eq!(events(&fresh), events(&index), "{channel}");
    }
}

#[test]
fn the_index_of_what_was_lost_by_a_restore_is_not_believed() {
    let (disk, directory) = (SimulatedDisk::default(), tempfile::tempdir().expect("a directory"));
    let path = directory.path().join("index");
    let mut log = open_log(&disk);
    fill(&mut log);
    let mut copy = SimulatedDisk::default();
    log.reader().backup(&mut copy).expect("both disks are good");
    append(&mut log, 0, "red join lost member");
    drop(open(&path, &log));
    let (log, _) =
        restore(copy, SimulatedDisk::default(), Settings { epoch: 9, ..settings() }).expect("it is a backup");
    let (index, events, is_new) = open(&path, &log);
    assert_eq!((events, is_new), (86, true));
    assert!(index.channels(name("lost"), None, 9).expect("it works").is_empty());
}
