//! The real owner, the real delivery rule, real sessions and a simulated log, under failures, by seed.
//!
//! Three regions of two nodes each; one channel that is active in all of them; five people on six devices that roam. The log takes appends late,
//! loses them, or loses its answer; entries reach nodes late, twice or not at all; nodes crash, are suspected wrongly and fenced, and begin
//! again from checkpoints and logs that may lag; a region is cut off, for longer than owners wait; wall clocks are wrong by seconds. Then
//! everything heals, and the recording of the clients goes to the checker ([`crate::history`]).
//!
//! Everything follows from the seed: a run that fails is run again by its number.

mod client;
mod log;
mod node;
mod people;
mod trouble;
mod world;

use std::fmt;

use crate::history::{self, Line};
use world::World;

/// What the regions' logs are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// Lists that keep what they have.
    Memory,
    /// The real segment log, each on a disk that loses, tears, stalls and fails what was not synced.
    Segments,
}

/// A safeguard that is taken away, to see that the checker finds out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// None.
    Nothing,
    /// A log forgets its last entries when its owner crashes, as one does that was not synced.
    LosesTail,
    /// A log takes appends whatever they expect.
    NoCompare,
    /// Nobody says what a sender has seen.
    ForgetSeen,
    /// The disks' syncs do nothing.
    SyncsLie,
}

impl Broken {
    /// All that have to be found out.
    pub const CONTROLS: [(Self, Engine); 5] = [
        (Self::LosesTail, Engine::Memory),
        (Self::NoCompare, Engine::Memory),
        (Self::ForgetSeen, Engine::Memory),
        (Self::ForgetSeen, Engine::Segments),
        (Self::SyncsLie, Engine::Segments),
    ];
}

/// What a run went through. A run that provoked nothing has shown nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Messages stored.
    pub messages: u64,
    /// Events that clients received.
    pub deliveries: u64,
    /// Sends that were tried again.
    pub retries: u64,
    /// Reads of a log because something was missing.
    pub gap_repairs: u64,
    /// Events and commands that waited for another region.
    pub causal_waits: u64,
    /// Owners that found another in their place.
    pub fences: u64,
    /// Holes.
    pub holes: u64,
    /// Events that came after a hole for them.
    pub late: u64,
    /// Crashes of nodes.
    pub crashes: u64,
    /// Connections to another node than before.
    pub moves: u64,
    /// Appends without an answer.
    pub unknown: u64,
    /// Streams that were reset.
    pub resets: u64,
    /// Regions without power.
    pub power_cuts: u64,
    /// Logs that were opened again.
    pub recoveries: u64,
    /// Of these, those that cut a torn tail.
    pub torn: u64,
    /// Syncs that failed.
    pub stops: u64,
    /// Commits that a full disk did not take.
    pub refusals: u64,
    /// Commits that took long.
    pub stalls: u64,
    /// Checkpoints that were saved.
    pub checkpoints: u64,
    /// Trims.
    pub trims: u64,
    /// Segments that were removed.
    pub reclaimed: u64,
}

impl Tally {
    /// All counts by what they are of.
    fn named(&mut self) -> [(&'static str, &mut u64); 21] {
        [
            ("messages", &mut self.messages),
            ("deliveries", &mut self.deliveries),
            ("retries", &mut self.retries),
            ("gap repairs", &mut self.gap_repairs),
            ("causal waits", &mut self.causal_waits),
            ("fences", &mut self.fences),
            ("holes", &mut self.holes),
            ("late", &mut self.late),
            ("crashes", &mut self.crashes),
            ("moves", &mut self.moves),
            ("appends without an answer", &mut self.unknown),
            ("resets", &mut self.resets),
            ("power cuts", &mut self.power_cuts),
            ("recoveries of a log", &mut self.recoveries),
            ("torn tails", &mut self.torn),
            ("failed syncs", &mut self.stops),
            ("writes that were refused", &mut self.refusals),
            ("stalls", &mut self.stalls),
            ("checkpoints", &mut self.checkpoints),
            ("trims", &mut self.trims),
            ("segments removed", &mut self.reclaimed),
        ]
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, sum), (_, count)) in self.named().into_iter().zip(other.named()) {
            *sum += *count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = *self;
        let counts: Vec<String> =
            counts.named().iter().map(|(name, count)| format!("{count} {name}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// One run.
pub struct Run {
    /// What it went through.
    pub tally: Tally,
    /// What the clients recorded.
    pub lines: Vec<Line>,
    /// What the checker says.
    pub verdict: Result<(), String>,
}

/// Runs a seed.
pub fn run(seed: u64, engine: Engine, broken: Broken) -> Run {
    let mut world = World::new(seed, engine, broken);
    world.run();
    let judged = || history::check(&world.lines, &world.end());
    let verdict = world.logs_came_back().and_then(|()| judged()).and_then(|()| world.unanswered());
    Run { tally: world.tally, lines: world.lines, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs all seeds; the first that fails is printed with its recording.
    fn run_all(engine: Engine) -> Tally {
        let full = std::env::var("TEST_FULL").is_ok_and(|full| full == "1");
        let mut all = Tally::default();
        for seed in 0..if full { 1_000 } else { 100 } {
            let run = run(seed, engine, Broken::Nothing);
            if let Err(wrong) = run.verdict {
                run.lines.iter().for_each(|line| println!("{}", line.json()));
                panic!(
                    "{engine:?}, seed {seed}: {wrong}; again with `cargo xtask sim messaging --from {seed} --seeds 1`"
                );
            }
            all.add(&run.tally);
        }
        println!("{engine:?}: {all}");
        all
    }

    #[test]
    fn a_hundred_seeds_keep_the_guarantees_and_provoke_every_trouble() {
        let all = run_all(Engine::Memory);
        let provoked =
            [all.gap_repairs, all.causal_waits, all.fences, all.holes, all.late, all.retries, all.unknown];
        assert!(provoked.iter().all(|count| *count > 0), "something was not provoked: {all}");
    }

    #[test]
    fn a_hundred_seeds_on_the_real_log_keep_the_guarantees_and_provoke_every_trouble() {
        let mut all = run_all(Engine::Segments);
        let missing: Vec<&str> =
            all.named().iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
        assert!(missing.is_empty(), "something was not provoked: {missing:?}");
    }

    #[test]
    fn a_seed_is_the_same_run_every_time() {
        for engine in [Engine::Memory, Engine::Segments] {
            let (one, two) = (run(7, engine, Broken::Nothing), run(7, engine, Broken::Nothing));
            assert_eq!((one.tally, one.lines), (two.tally, two.lines));
        }
    }

    #[test]
    fn every_safeguard_that_is_taken_away_is_found_out() {
        for (broken, engine) in Broken::CONTROLS {
            let found =
                (0..40).find_map(|seed| run(seed, engine, broken).verdict.err().map(|wrong| (seed, wrong)));
            let (seed, wrong) = found.unwrap_or_else(|| panic!("{broken:?} was not found out in 40 seeds"));
            println!("{broken:?} on {engine:?} is found out by seed {seed}: {wrong}");
        }
    }
}
