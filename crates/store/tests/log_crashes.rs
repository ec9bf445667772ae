//! Random work on a log, crashes, ends of the process and failures, held against a model. A failing seed is printed and replays.

mod random;

use std::collections::BTreeMap;

use random::Random;
use store::Log;
use store::log::{CommitError, Position, Refused, Settings};
use store::simulated::{Faults, SimulatedDisk};

const PARTITIONS: u16 = 5;

fn settings() -> Settings {
    Settings { partitions: PARTITIONS, segment_bytes: 3_000, payload_bytes: 4_096, epoch: 1 }
}

/// What a log must still know. Numbers begin at 1: the event `n` is at `n - 1`.
#[derive(Default)]
struct Model {
    committed: BTreeMap<u16, Vec<Vec<u8>>>,
    /// What is staged, or was when a commit failed: after that all of it may be there, or nothing.
    staged: Vec<(u16, Vec<u8>)>,
    /// Highest first event by trims that were committed, or may be.
    trimmed: BTreeMap<u16, u64>,
    /// The state of the committed checkpoint of each partition, and one whose commit had no outcome.
    checkpoints: BTreeMap<u16, Vec<u8>>,
    staged_checkpoints: Vec<(u16, Vec<u8>)>,
}

impl Model {
    fn commit(&mut self) {
        for (partition, payload) in std::mem::take(&mut self.staged) {
            self.committed.entry(partition).or_default().push(payload);
        }
        self.checkpoints.extend(std::mem::take(&mut self.staged_checkpoints));
    }

    fn give_up(&mut self) {
        self.staged.clear();
        self.staged_checkpoints.clear();
    }

    /// The log was opened again: is it as it was, with all of what was staged or nothing? Then the model is as it is.
    fn reopened(&mut self, log: &Log<SimulatedDisk>) -> Result<(), String> {
        if let Err(without) = self.check(log) {
            self.commit();
            return self.check(log).map_err(|with| format!("{without}; or with what was staged: {with}"));
        }
        self.give_up();
        Ok(())
    }

    fn check(&self, log: &Log<SimulatedDisk>) -> Result<(), String> {
        for partition in 0..PARTITIONS {
            self.check_partition(log, partition)
                .map_err(|wrong| format!("partition {partition}: {wrong}"))?;
        }
        Ok(())
    }

    fn check_partition(&self, log: &Log<SimulatedDisk>, partition: u16) -> Result<(), String> {
        let mut reader = log.reader();
        let expected = self.committed.get(&partition).map_or(&[][..], Vec::as_slice);
        let head = reader.head(partition).n;
        if head != expected.len() as u64 {
            return Err(format!("the head is {head}, not {}", expected.len()));
        }
        let first = reader.first(partition);
        if first > self.trimmed.get(&partition).copied().unwrap_or(1) {
            return Err(format!("it begins at {first}, beyond what was trimmed"));
        }
        let events = reader.read(partition, 1, usize::MAX, usize::MAX).map_err(|error| error.to_string())?;
        let numbers: Vec<u64> = events.iter().map(|event| event.at.n).collect();
        if numbers != (first..=head).collect::<Vec<_>>() {
            return Err(format!("it has {numbers:?}, not {first} to {head}"));
        }
        for event in events {
            if event.payload != expected[event.at.n as usize - 1] {
                return Err(format!("event {} is not what was appended", event.at));
            }
        }
        let checkpoint = reader.checkpoint(partition).map_err(|error| error.to_string())?;
        if checkpoint.map(|(_, state)| state).as_ref() != self.checkpoints.get(&partition) {
            return Err("its checkpoint is another one".to_owned());
        }
        Ok(())
    }
}

/// What a life has to have seen to have shown anything.
#[derive(Default, Debug)]
struct Seen {
    crashes: u32,
    stops: u32,
    refusals: u32,
    reclaimed: usize,
    rolled: u64,
}

struct Life {
    random: Random,
    disk: SimulatedDisk,
    log: Option<Log<SimulatedDisk>>,
    model: Model,
    faults: Faults,
    seen: Seen,
}

impl Life {
    fn log(&mut self) -> &mut Log<SimulatedDisk> {
        self.log.as_mut().expect("it is opened after every end")
    }

    fn append(&mut self) -> Result<(), String> {
        let partition = self.random.below(u64::from(PARTITIONS)) as u16;
        let count = 1 + self.random.below(3);
        let payloads: Vec<Vec<u8>> =
            (0..count).map(|_| vec![self.random.below(256) as u8; self.random.below(400) as usize]).collect();
        let head = self.log().head(partition);
        if self.random.below(10) == 0 {
            let wrong = Position { n: head.n + 1, ..head };
            return match self.log().append(partition, wrong, &payloads) {
                Err(Refused::Conflict { .. }) => Ok(()),
                other => Err(format!("a wrong expectation is answered {other:?}")),
            };
        }
        self.log().append(partition, head, &payloads).map_err(|refused| refused.to_string())?;
        self.model.staged.extend(payloads.into_iter().map(|payload| (partition, payload)));
        Ok(())
    }

    /// As an owner of a partition does: a checkpoint, and once it is committed a trim.
    fn checkpoint(&mut self) -> Result<(), String> {
        let partition = self.random.below(u64::from(PARTITIONS)) as u16;
        let mut reader = self.log().reader();
        let (head, covered) = (reader.head(partition), reader.checkpointed(partition));
        if covered.is_none_or(|covered| covered.n < head.n) && head.n > 0 {
            let state = format!("{partition} at {head}").into_bytes();
            if let Ok(saved) = reader.save_checkpoint(partition, head.n, &state) {
                self.log().checkpoint(saved).map_err(|refused| refused.to_string())?;
                self.model.staged_checkpoints.retain(|(other, _)| *other != partition);
                self.model.staged_checkpoints.push((partition, state));
            }
        }
        let upto = covered.map_or(0, |covered| covered.n);
        if self.log().trim(partition, upto + 2).is_ok() {
            return Err("what no checkpoint covers was trimmed".to_owned());
        }
        let first = self.random.below(upto + 2).max(1);
        self.log().trim(partition, first).map_err(|refused| refused.to_string())?;
        let trimmed = self.model.trimmed.entry(partition).or_insert(1);
        *trimmed = first.max(*trimmed);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        let is_reclaiming = self.random.below(3) == 0;
        let outcome = if is_reclaiming { self.log().reclaim() } else { self.log().commit().map(|()| 0) };
        match outcome {
            Ok(reclaimed) => {
                self.seen.reclaimed += reclaimed;
                self.model.commit();
                Ok(())
            }
            Err(CommitError::NotTaken(_)) => {
                self.seen.refusals += 1;
                self.model.give_up();
                Ok(())
            }
            // The process ends; the machine goes on.
            Err(CommitError::Stopped(_)) => {
                self.seen.stops += 1;
                let head = self.log().head(0);
                if self.log().append(0, head, &[b"x"]) != Err(Refused::Stopped) {
                    return Err("it takes something after a sync that failed".to_owned());
                }
                self.end(false)
            }
        }
    }

    fn end(&mut self, is_crash: bool) -> Result<(), String> {
        self.log = None;
        if is_crash {
            self.seen.crashes += 1;
            self.disk.crash(self.random.below(1 << 30));
        }
        self.disk.set_faults(self.faults);
        let opened = Log::open(self.disk.clone(), settings());
        let (log, _) = opened.map_err(|error| error.to_string())?;
        self.model.reopened(&log)?;
        self.seen.rolled = log.reader().segments().last().copied().unwrap_or_default();
        self.log = Some(log);
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.below(100) {
            0..=54 => self.append(),
            55..=64 => self.checkpoint(),
            65..=91 => self.commit(),
            92..=93 => {
                let syncs_fail = self.random.below(2) == 0;
                let capacity = (self.random.below(2) == 0).then(|| self.random.below(20_000) as usize);
                self.disk.set_faults(Faults { syncs_fail, capacity, ..self.faults });
                Ok(())
            }
            94..=95 => {
                self.disk.set_faults(self.faults);
                Ok(())
            }
            96 => self.end(false),
            _ => self.end(true),
        }
    }
}

/// One life of a disk: some hundred steps with crashes in between.
fn live(seed: u64, faults: Faults) -> Result<Seen, String> {
    let disk = SimulatedDisk::default();
    disk.set_faults(faults);
    let (log, _) = Log::open(disk.clone(), settings()).map_err(|error| error.to_string())?;
    let (model, random) = (Model::default(), Random(seed));
    let mut life = Life { random, disk, log: Some(log), model, faults, seen: Seen::default() };
    for _ in 0..400 {
        life.step()?;
    }
    life.disk.set_faults(faults);
    life.commit()?;
    life.end(true)?;
    Ok(life.seen)
}

#[test]
fn nothing_that_was_committed_or_shown_is_lost_over_crashes_full_disks_and_failing_syncs() {
    let seeds = if std::env::var("TEST_FULL").is_ok_and(|full| full == "1") { 1_000 } else { 120 };
    let mut all = Seen::default();
    for seed in 0..seeds {
        let seen = live(seed, Faults::default()).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        all.crashes += seen.crashes;
        all.stops += seen.stops;
        all.refusals += seen.refusals;
        all.reclaimed += seen.reclaimed;
        all.rolled += seen.rolled;
    }
    println!("{all:?}");
    let is_shown = all.crashes > 1_000
        && all.stops > 100
        && all.refusals > 100
        && all.reclaimed > 100
        && all.rolled > 1_000;
    assert!(is_shown, "the lives are too quiet: {all:?}");
}

#[test]
fn the_checker_notices_when_syncs_do_nothing() {
    let faults = Faults { syncs_lie: true, ..Faults::default() };
    let found = (0..50).filter(|seed| live(*seed, faults).is_err()).count();
    assert!(found > 40, "only {found} of 50 lives without syncs look wrong");
}
