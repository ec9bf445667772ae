//! The commands of this repository: `cargo xtask demo`, `test`, `tidy`, `bench`, `instructions`, `netem`, `model`, `sim`.
//!
//! One foreign dependency (JSON), so that the first `cargo xtask` of a fresh clone starts within seconds.

mod demo;
mod instructions;
mod netem;
mod prerequisites;
mod run;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
Commands:
  cargo xtask demo [--lan] [...]     build everything, then run `stoa dev` (arguments are passed on)
  cargo xtask test [--full] [STEP..] all checks and tests, or only the steps named; --full adds the long repetitions
  cargo xtask tidy                   the rules of the house alone: crate graph, purity, sizes
  cargo xtask bench NAME [...]       one performance command, in release mode
  cargo xtask instructions [--record] instructions per packet, held against the record; --record rewrites it
  cargo xtask model                  every state of the model of messaging's delivery rule that fits into memory
  cargo xtask sim messaging [...]    the messaging core under simulated failures; --seeds N, --from SEED
  cargo xtask netem [...]            a UDP proxy that behaves like a bad network; --help tells how to use it

Steps of `test`: ";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let outcome = match command {
        "demo" => demo::run(rest),
        "test" => test::run(rest),
        "tidy" => tidy::run(),
        "bench" => bench(rest),
        "instructions" => instructions::run(rest),
        "netem" => netem::run(rest),
        "model" => proof("model", rest),
        "sim" => match rest.split_first() {
            Some((what, rest)) if what == "messaging" => proof("simulate", rest),
            _ => Err("what? `cargo xtask sim messaging --seeds 1000`, for example".into()),
        },
        "help" | "--help" | "-h" => {
            println!("{HELP}{}", test::step_names().join(" "));
            Ok(())
        }
        other => Err(format!("there is no command `{other}`; `cargo xtask help` lists them")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// A program of the crate `proof`, in release mode.
fn proof(command: &str, args: &[String]) -> Result<(), String> {
    run::cargo().args(["run", "--release", "--package", "proof", "--", command]).args(args).echo().status()
}

fn bench(args: &[String]) -> Result<(), String> {
    if args.is_empty() {
        return Err("which one? `cargo xtask bench forward`, for example".into());
    }
    if args[0] == "join" {
        // Its server is a process of its own, beside the program that measures.
        run::cargo().args(["build", "--release", "--package", "stoa"]).echo().status()?;
    }
    run::cargo().args(["run", "--release", "--package", "bench", "--"]).args(args).echo().status()
}
