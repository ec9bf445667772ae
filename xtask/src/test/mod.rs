//! `cargo xtask test`: every check and every test of the repository, in steps.
//!
//! All steps run, also after one has failed, unless they need what the failed one was to make. Nothing is retried: a
//! test that fails now and then is a bug.

mod browsers;
mod deny;
mod report;
mod rust;
mod sdk;
mod suite;
mod web;

use std::time::Instant;

use crate::{demo, instructions, prerequisites, run, tidy};
use report::Tally;

/// What a step is told.
pub struct Context {
    /// The long repetitions too.
    pub full: bool,
}

/// What a step found: the tests that it ran, or why it broke.
type Outcome = Result<Tally, String>;

struct Step {
    name: &'static str,
    what: &'static str,
    /// Steps without whose success this one makes no sense.
    needs: &'static [&'static str],
    run: fn(&Context) -> Outcome,
}

/// Cheap and most often broken first; what others stand on before them.
const STEPS: [Step; 13] = [
    Step {
        name: "machine",
        what: "what this machine has",
        needs: &[],
        run: |_| check(prerequisites::check()),
    },
    Step { name: "format", what: "formatting", needs: &[], run: |_| check(format()) },
    Step { name: "tidy", what: "the rules of the house", needs: &[], run: |_| check(tidy::run()) },
    Step {
        name: "page",
        what: "the meeting page, type-checked and built",
        needs: &[],
        run: |_| check(demo::build_page()),
    },
    Step { name: "web", what: "unit tests of the meeting page", needs: &["page"], run: web::unit_tests },
    Step { name: "sdk", what: "the JavaScript client of messaging", needs: &[], run: sdk::tests },
    Step { name: "lint", what: "clippy, warnings are errors", needs: &[], run: |_| check(lint()) },
    Step {
        name: "deny",
        what: "licences, sources, bans of dependencies",
        needs: &[],
        run: |_| check(deny::run()),
    },
    Step {
        name: "build",
        what: "the server and all test programs",
        needs: &[],
        run: |_| check(rust::build()),
    },
    Step { name: "rust", what: "unit and virtual-time tests", needs: &["build"], run: rust::tests },
    Step { name: "docs", what: "examples in documentation", needs: &["build"], run: rust::examples },
    Step {
        name: "instructions",
        what: "instructions per packet, held against the record",
        needs: &["build"],
        run: |_| check(instructions::check()),
    },
    Step {
        name: "browsers",
        what: "Chromium, Firefox and the Python SDK",
        needs: &["page", "sdk", "build"],
        run: browsers::tests,
    },
];

/// Names of all steps, in order.
pub fn step_names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// Runs the steps named in `args`, all of them by default.
pub fn run(args: &[String]) -> Result<(), String> {
    let context = Context { full: args.iter().any(|arg| arg == "--full") };
    let wanted: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--full").collect();
    if let Some(unknown) = wanted.iter().find(|name| !step_names().contains(*name)) {
        return Err(format!("there is no step `{unknown}`; the steps are {}", step_names().join(" ")));
    }
    let steps: Vec<&Step> = STEPS.iter().filter(|s| wanted.is_empty() || wanted.contains(&s.name)).collect();
    let mut total = Tally::default();
    let mut broken: Vec<(&str, String)> = Vec::new();
    let start = Instant::now();
    for (at, step) in steps.iter().enumerate() {
        println!("\n== [{}/{}] {}: {}", at + 1, steps.len(), step.name, step.what);
        let started = Instant::now();
        match perform(step, &context, &broken) {
            Ok(tally) => total.add(tally),
            Err((tally, reason)) => {
                println!("   FAILED: {reason}");
                total.add(tally);
                broken.push((step.name, reason));
            }
        }
        println!("   {} took {:.1} s", step.name, started.elapsed().as_secs_f64());
    }
    println!("\n{:.0} s in all", start.elapsed().as_secs_f64());
    conclude(&total, &broken)
}

/// The error carries the tests that ran before the step broke.
fn perform(step: &Step, context: &Context, broken: &[(&str, String)]) -> Result<Tally, (Tally, String)> {
    if let Some(needed) = step.needs.iter().find(|name| broken.iter().any(|(failed, _)| failed == *name)) {
        return Err((Tally::default(), format!("not run, since `{needed}` failed")));
    }
    let tally = (step.run)(context).map_err(|reason| (Tally::default(), reason))?;
    match tally.failed {
        0 => Ok(tally),
        n => Err((tally, format!("{n} failed"))),
    }
}

/// Prints the ten slowest tests, what failed, and the closing line. A step that broke without a failed test of its own
/// counts as one failure.
fn conclude(total: &Tally, broken: &[(&str, String)]) -> Result<(), String> {
    println!("\nThe slowest tests:");
    for (name, time) in total.slowest(10) {
        println!("{:>9.2} s  {name}", time.as_secs_f64());
    }
    let silent = broken.iter().filter(|(step, _)| !total.failures.iter().any(|name| name.starts_with(step)));
    let failed = total.failed + silent.count();
    if failed > 0 {
        println!("\nFailed:");
        broken.iter().for_each(|(step, reason)| println!("   step {step}: {reason}"));
        total.failures.iter().for_each(|name| println!("   {name}"));
    }
    println!("\n{} passed, {failed} failed", total.passed);
    // Nothing after the closing line: the exit code alone says that something failed.
    std::process::exit(i32::from(failed > 0));
}

/// A check has no tests of its own.
fn check(outcome: Result<(), String>) -> Outcome {
    outcome.map(|()| Tally::default())
}

fn format() -> Result<(), String> {
    let hint = |reason| format!("{reason}; `cargo fmt` writes it as it should be");
    run::cargo().args(["fmt", "--all", "--check"]).echo().status().map_err(hint)
}

fn lint() -> Result<(), String> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"];
    run::cargo().args(arguments).echo().status()
}
