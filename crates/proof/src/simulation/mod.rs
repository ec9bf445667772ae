//! The real owner, the real delivery rule, real sessions and a simulated log, under failures, by seed.
//!
//! Three regions of two nodes each; one channel that is active in all of them; six people on devices that roam. The log takes appends late,
//! loses them, or loses its answer; entries reach nodes late, twice or not at all; nodes crash, are suspected wrongly and fenced, and begin
//! again from checkpoints and logs that may lag; a region is cut off, for longer than owners wait; wall clocks are wrong by seconds. Then
//! everything heals, and the recording of the clients goes to the checker ([`crate::history`]).
//!
//! Everything follows from the seed: a run that fails is run again by its number.

mod client;
mod node;
mod world;

use std::fmt;

use crate::history::{self, Line};
use world::World;

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
}

impl Broken {
    /// All that have to be found out.
    pub const CONTROLS: [Self; 3] = [Self::LosesTail, Self::NoCompare, Self::ForgetSeen];
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
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.deliveries += other.deliveries;
        self.retries += other.retries;
        self.gap_repairs += other.gap_repairs;
        self.causal_waits += other.causal_waits;
        self.fences += other.fences;
        self.holes += other.holes;
        self.late += other.late;
        self.crashes += other.crashes;
        self.moves += other.moves;
        self.unknown += other.unknown;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages, {} deliveries, {} retries, {} gap repairs, {} causal waits, {} fences, {} holes, {} late, {} crashes, \
             {} moves, {} appends without an answer",
            self.messages,
            self.deliveries,
            self.retries,
            self.gap_repairs,
            self.causal_waits,
            self.fences,
            self.holes,
            self.late,
            self.crashes,
            self.moves,
            self.unknown,
        )
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
pub fn run(seed: u64, broken: Broken) -> Run {
    let mut world = World::new(seed, broken);
    world.run();
    let verdict = history::check(&world.lines, &world.end()).and_then(|()| world.unanswered());
    Run { tally: world.tally, lines: world.lines, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_seeds_keep_the_guarantees_and_provoke_every_trouble() {
        let full = std::env::var("TEST_FULL").is_ok_and(|full| full == "1");
        let mut all = Tally::default();
        for seed in 0..if full { 1_000 } else { 100 } {
            let run = run(seed, Broken::Nothing);
            if let Err(wrong) = run.verdict {
                run.lines.iter().for_each(|line| println!("{}", line.json()));
                panic!(
                    "seed {seed}: {wrong}; again with `cargo xtask sim messaging --from {seed} --seeds 1`"
                );
            }
            all.add(&run.tally);
        }
        println!("{all}");
        let provoked =
            [all.gap_repairs, all.causal_waits, all.fences, all.holes, all.late, all.retries, all.unknown];
        assert!(provoked.iter().all(|count| *count > 0), "something was not provoked: {all}");
    }

    #[test]
    fn a_seed_is_the_same_run_every_time() {
        let (one, two) = (run(7, Broken::Nothing), run(7, Broken::Nothing));
        assert_eq!((one.tally, one.lines), (two.tally, two.lines));
    }

    #[test]
    fn every_safeguard_that_is_taken_away_is_found_out() {
        for broken in Broken::CONTROLS {
            let found = (0..40).find_map(|seed| run(seed, broken).verdict.err().map(|wrong| (seed, wrong)));
            let (seed, wrong) = found.unwrap_or_else(|| panic!("{broken:?} was not found out in 40 seeds"));
            println!("{broken:?} is found out by seed {seed}: {wrong}");
        }
    }
}
