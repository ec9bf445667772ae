//! Random work, crashes and failures, held against a model. A failing seed is printed and replays.

mod random;

use std::collections::{BTreeMap, BTreeSet};

use random::Random;
use store::simulated::{Faults, SimulatedDisk};
use store::{Limits, Queue, Refused};

const SMALL: Limits = Limits { segment_bytes: 2_000, total_bytes: 1 << 20, payload_bytes: 4_096 };

/// What a queue must still know.
#[derive(Default)]
struct Model {
    /// Committed and not finished.
    pending: BTreeMap<u64, Vec<u8>>,
    /// Staged, or given up by a commit that failed: all or nothing of each batch may be there after a crash.
    perhaps: Vec<BTreeMap<u64, Vec<u8>>>,
    staged: BTreeMap<u64, Vec<u8>>,
    /// Finished, but not committed as such: they may come back.
    finishing: BTreeMap<u64, Vec<u8>>,
    /// Numbers of what was ever there for certain.
    used: BTreeSet<u64>,
}

impl Model {
    fn committed(&mut self, outcome: bool) {
        let staged = std::mem::take(&mut self.staged);
        if outcome {
            self.used.extend(staged.keys());
            self.pending.extend(staged);
            self.finishing.clear();
            self.perhaps.clear();
        } else {
            self.perhaps.push(staged);
        }
    }

    /// What is wrong with the queue after a crash, if anything. Then the model is as the queue is.
    fn recovered(&mut self, found: BTreeMap<u64, Vec<u8>>) -> Result<(), String> {
        let staged = std::mem::take(&mut self.staged);
        self.perhaps.push(staged);
        for (number, payload) in &self.pending {
            if found.get(number) != Some(payload) {
                return Err(format!("entry {number} was committed and is lost or changed"));
            }
        }
        for batch in &self.perhaps {
            let there = batch.iter().filter(|(number, payload)| found.get(number) == Some(payload)).count();
            let finished = batch.keys().filter(|number| self.finishing.contains_key(number)).count();
            if there != 0 && there + finished < batch.len() {
                return Err("half of a commit is there".to_owned());
            }
        }
        for (number, payload) in &found {
            let known = self.pending.get(number).or_else(|| self.finishing.get(number));
            let known = known.or_else(|| self.perhaps.iter().find_map(|batch| batch.get(number)));
            if known != Some(payload) {
                return Err(format!("entry {number} is not one that could be there"));
            }
        }
        self.used.extend(found.keys());
        *self = Self { pending: found, used: std::mem::take(&mut self.used), ..Self::default() };
        Ok(())
    }
}

fn contents(queue: &mut Queue<SimulatedDisk>) -> Result<BTreeMap<u64, Vec<u8>>, String> {
    let numbers: Vec<u64> = queue.pending().collect();
    let mut all = BTreeMap::new();
    for number in numbers {
        let payload = queue.read(number).map_err(|error| error.to_string())?;
        all.insert(number, payload.ok_or("a pending entry is not there")?);
    }
    Ok(all)
}

/// One life of a disk: some hundred steps with crashes in between.
fn live(seed: u64, faults: Faults) -> Result<(), String> {
    let mut random = Random(seed);
    let disk = SimulatedDisk::default();
    disk.set_faults(faults);
    let (mut queue, _) = Queue::open(disk.clone(), SMALL).map_err(|error| error.to_string())?;
    let mut model = Model::default();
    for _ in 0..300 {
        match random.below(100) {
            0..=49 => {
                let payload = vec![random.below(256) as u8; random.below(900) as usize];
                match queue.append(&payload) {
                    Ok(number) => {
                        if model.used.contains(&number) {
                            return Err(format!("number {number} was used twice"));
                        }
                        model.staged.insert(number, payload);
                    }
                    Err(Refused::Full) => {}
                    Err(other) => return Err(other.to_string()),
                }
            }
            50..=74 => {
                let at = random.below(8) as usize;
                let chosen = queue.pending().nth(at);
                if let Some(number) = chosen {
                    queue.finish(number);
                    let payload = model.pending.remove(&number).ok_or("it was not pending")?;
                    model.finishing.insert(number, payload);
                }
            }
            75..=93 => model.committed(queue.commit().is_ok()),
            94..=96 => {
                let syncs_fail = random.below(2) == 0;
                let capacity = (random.below(2) == 0).then(|| random.below(20_000) as usize);
                disk.set_faults(Faults { syncs_fail, capacity, ..faults });
            }
            97 => disk.set_faults(faults),
            _ => {
                drop(queue);
                disk.crash(seed ^ random.below(1 << 30));
                disk.set_faults(faults);
                (queue, _) = Queue::open(disk.clone(), SMALL).map_err(|error| error.to_string())?;
                model.recovered(contents(&mut queue)?)?;
            }
        }
    }
    disk.set_faults(faults);
    model.committed(queue.commit().is_ok());
    if contents(&mut queue)? != model.pending {
        return Err("what is pending is not what should be".to_owned());
    }
    Ok(())
}

#[test]
fn nothing_that_was_committed_is_lost_over_crashes_full_disks_and_failing_syncs() {
    for seed in 0..400 {
        live(seed, Faults::default()).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

#[test]
fn the_checker_notices_when_syncs_do_nothing() {
    let faults = Faults { syncs_lie: true, ..Faults::default() };
    let found = (0..50).filter(|seed| live(*seed, faults).is_err()).count();
    assert!(found > 25, "only {found} of 50 lives without syncs look wrong");
}
