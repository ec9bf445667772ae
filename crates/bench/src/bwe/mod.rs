//! `bench bwe`: congestion control in the cases of RFC 8867, in virtual time, held against goals.

mod camera;
mod case;
mod cases;
mod encoder;
mod figures;
mod forwarder;
mod node;
mod ours;
/// The worker's own, which it keeps to itself.
#[path = "../../../worker/src/pacer.rs"]
#[allow(dead_code, reason = "some of what it tells is of use to the worker alone")]
mod pacer;
mod plot;
mod queue;
mod receiver;
mod reference;
mod repair;
mod report;
mod scene;
mod trace;
mod traps;
mod viewer;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use case::Case;
use figures::Figures;
use scene::Engine;
use trace::Trace;

/// Every case is played with each of these; a figure is that of its worst one.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

const HELP: &str = "\
cargo xtask bench bwe [--case KEY]... [--seeds N | --seed N] [--ours] [--write] [--check]
  --case KEY   only this case; may be repeated
  --seeds N    only the first N of five seeds
  --seed N     only this seed, of five or another
  --ours       without the comparison with str0m
  --write      keep table and pictures in docs/results
  --check      fail when a goal is missed";

struct Options {
    cases: Vec<Case>,
    seeds: Vec<u64>,
    engines: Vec<Engine>,
    write: bool,
    check: bool,
}

/// Plays all cases, prints the table and the JSON.
///
/// # Errors
/// Arguments that are not understood; with `--check`, goals that are missed.
pub fn run(args: impl Iterator<Item = String>) -> Result<(), String> {
    let options = Options::parse(args)?;
    let results = play_all(&options)?;
    print!("{}", report::table(&results));
    if options.write {
        write(&results).map_err(|error| format!("docs/results: {error}"))?;
    }
    let missed = report::missed(&results);
    println!("{}", report::json(&results));
    if options.check && missed > 0 {
        return Err(format!("{missed} goals are missed"));
    }
    Ok(())
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let cases = cases::all().into_iter().chain(traps::all()).collect();
        let engines = Engine::ALL.to_vec();
        let mut options = Self { cases, seeds: SEEDS.to_vec(), engines, write: false, check: false };
        let mut keys = Vec::new();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--check" => options.check = true,
                "--write" => options.write = true,
                "--ours" => options.engines = vec![Engine::Ours],
                "--case" => keys.push(args.next().ok_or(HELP)?),
                "--seed" => {
                    let seed = args.next().and_then(|n| n.parse::<u64>().ok()).ok_or(HELP)?;
                    options.seeds = vec![seed];
                }
                "--seeds" => {
                    let count = args.next().and_then(|n| n.parse::<usize>().ok()).ok_or(HELP)?;
                    options.seeds.truncate(count.max(1));
                }
                _ => return Err(HELP.to_owned()),
            }
        }
        if let Some(unknown) = keys.iter().find(|key| !options.cases.iter().any(|case| case.key == **key)) {
            let known: Vec<_> = options.cases.iter().map(|case| case.key).collect();
            return Err(format!("there is no case {unknown}; there are {}", known.join(", ")));
        }
        options.cases.retain(|case| keys.is_empty() || keys.iter().any(|key| key == case.key));
        Ok(options)
    }
}

/// A case with one engine.
pub struct Outcome {
    pub case: Case,
    pub engine: Engine,
    /// Of the worst seed each.
    pub figures: Figures,
    /// Of the first seed.
    pub trace: Trace,
}

/// All cases with all engines, on all cores, in the order of the cases.
fn play_all(options: &Options) -> Result<Vec<Outcome>, String> {
    let engines = |case| options.engines.iter().map(move |engine| (case, *engine));
    let jobs = options.cases.iter().flat_map(engines);
    let jobs: Vec<(&Case, Engine)> =
        jobs.filter(|(case, engine)| *engine == Engine::Ours || case.is_for_all()).collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some((case, engine)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = play_one(case, *engine, &options.seeds);
            done.lock().expect("no thread panics while it holds it").push((case.key, *engine, outcome));
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores.min(jobs.len())).for_each(|_| drop(scope.spawn(work)));
    });
    let mut done = done.into_inner().expect("all threads have ended");
    let place = |key: &str| options.cases.iter().position(|case| case.key == key);
    done.sort_by_key(|(key, engine, _)| (place(key), *engine));
    done.into_iter().map(|(_, _, outcome)| outcome).collect()
}

fn play_one(case: &Case, engine: Engine, seeds: &[u64]) -> Result<Outcome, String> {
    let (mut runs, mut first) = (Vec::new(), None);
    for seed in seeds {
        let trace = scene::play(case, engine, *seed)?;
        runs.push(figures::of(case, &trace));
        first.get_or_insert(trace);
    }
    let trace = first.ok_or("no seed to play with")?;
    Ok(Outcome { case: case.clone(), engine, figures: figures::worst(&runs), trace })
}

/// Puts the table and the pictures into the documentation. `xtask` runs benches in the root of the repository.
fn write(results: &[Outcome]) -> std::io::Result<()> {
    let directory = std::path::Path::new("docs/results");
    std::fs::create_dir_all(directory)?;
    for outcomes in results.chunk_by(|a, b| a.case.key == b.case.key) {
        let outcomes: Vec<&Outcome> = outcomes.iter().collect();
        std::fs::write(directory.join(format!("bwe-{}.svg", outcomes[0].case.key)), plot::draw(&outcomes))?;
    }
    std::fs::write(directory.join("bwe.md"), report::page(results))
}

#[cfg(test)]
mod tests;
