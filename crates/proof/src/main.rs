//! `proof model`: every state of the delivery rule's model that fits into memory, and the controls that have to be found out.

use std::process::ExitCode;

use proof::model::{self, Broken};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let good = match args.first().map(String::as_str) {
        Some("model") => explore_model(),
        _ => {
            eprintln!("proof: say `model`");
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
