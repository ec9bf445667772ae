//! `proof model`: every state of the delivery rule's model that fits into memory, and the controls that have to be found out.
//! `proof simulate --seeds N --from SEED`: the core under simulated failures.

use std::process::ExitCode;

use proof::model::{self, Broken};
use proof::simulation::{self, Engine, Tally};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let good = match args.first().map(String::as_str) {
        Some("model") => explore_model(),
        Some("simulate") => simulate(number(&args, "--from", 0), number(&args, "--seeds", 1_000)),
        _ => {
            eprintln!("proof: say `model` or `simulate`");
            false
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn explore_model() -> bool {
    let mut good = true;
    for (broken, shape) in Broken::CONTROLS {
        match model::run(shape, broken, 1_000_000).violation {
            Some((wrong, way)) => {
                println!("control {broken:?} is found out: {wrong}\n    {}", way.join(" > "))
            }
            None => {
                println!("control {broken:?} is NOT found out: the model shows nothing");
                good = false;
            }
        }
    }
    for (shape, limit) in model::spaces(true) {
        let found = model::run(shape, Broken::Nothing, limit);
        println!("{shape:?}: {} states, depth {}, complete: {}", found.states, found.depth, found.complete);
        if let Some((wrong, way)) = found.violation {
            println!("    VIOLATION: {wrong}\n    {}", way.join(" > "));
            good = false;
        }
    }
    good
}

/// The number behind a flag.
fn number(args: &[String], flag: &str, default: u64) -> u64 {
    let behind = args.iter().position(|arg| arg == flag).and_then(|at| args.get(at + 1));
    behind.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs seeds, on both kinds of log; the recording of one that fails is printed.
fn simulate(from: u64, seeds: u64) -> bool {
    [Engine::Memory, Engine::Segments].into_iter().all(|engine| simulate_on(engine, from, seeds))
}

fn simulate_on(engine: Engine, from: u64, seeds: u64) -> bool {
    let mut all = Tally::default();
    for seed in from..from.saturating_add(seeds) {
        let run = simulation::run(seed, engine, simulation::Broken::Nothing);
        all.add(&run.tally);
        if let Err(wrong) = run.verdict {
            run.lines.iter().for_each(|line| println!("{}", line.json()));
            println!("{engine:?}, seed {seed}: {wrong}");
            return false;
        }
    }
    println!("{engine:?}: {seeds} seeds from {from} on: {all}");
    true
}
