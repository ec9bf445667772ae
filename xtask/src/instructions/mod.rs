//! `cargo xtask instructions`: how many instructions a packet costs on each stretch of its path, counted by callgrind and held
//! against what is recorded in the repository. Times differ from machine to machine and from run to run; these do not.

mod callgrind;
mod record;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::{prerequisites, run};
use record::Record;

/// Below the root, for callgrind's files.
const PLACE: &str = "target/instructions";
/// Growth that is not noticed, in per cent.
const TOLERATED: f64 = 5.0;
/// The same when another compiler made the program than the one that made the record: it, too, makes a difference.
const TOLERATED_OF_COMPILERS: f64 = 15.0;

/// What one path costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Instructions for one packet, the cipher's apart: which of its implementations runs depends on the processor.
    pub own: f64,
    /// The cipher's.
    pub cipher: f64,
}

/// Measures, prints and compares; with `--record` it rewrites the record instead of comparing.
pub fn run(args: &[String]) -> Result<(), String> {
    match args {
        [] => check(),
        [arg] if arg == "--record" => {
            let Some(found) = measure()? else { return Err("there is nothing to record".into()) };
            Record { compiler: compiler()?, own: own(&found) }.write()?;
            print(&found, None);
            println!("   recorded in {}", record::PATH);
            Ok(())
        }
        _ => Err("`cargo xtask instructions` takes nothing, or `--record`".into()),
    }
}

/// The step of `cargo xtask test`.
pub fn check() -> Result<(), String> {
    let Some(found) = measure()? else { return Ok(()) };
    let record = Record::read()?;
    print(&found, Some(&record));
    let this = compiler()?;
    let tolerated = if this == record.compiler {
        TOLERATED
    } else {
        println!(
            "   recorded with rustc {}, built with {this}: up to {TOLERATED_OF_COMPILERS} % is let pass",
            record.compiler
        );
        TOLERATED_OF_COMPILERS
    };
    let grown = record.grown(&own(&found), tolerated);
    match grown.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "more than {tolerated} % over {}: {}. If it is worth it, `cargo xtask instructions --record` \
             and say in the commit what it bought",
            record::PATH,
            grown.join(", ")
        )),
    }
}

fn own(found: &BTreeMap<String, Cost>) -> BTreeMap<String, f64> {
    found.iter().map(|(path, cost)| (path.clone(), cost.own)).collect()
}

fn print(found: &BTreeMap<String, Cost>, record: Option<&Record>) {
    println!("   instructions per packet      ours  recorded  cipher");
    for (path, cost) in found {
        let recorded = record.and_then(|record| record.own.get(path));
        let recorded = recorded.map_or("-".to_owned(), |recorded| format!("{recorded:.1}"));
        println!("   {path:22} {:>10.1} {recorded:>9} {:>7.1}", cost.own, cost.cipher);
    }
}

/// `None`, said aloud, where the record does not apply.
fn measure() -> Result<Option<BTreeMap<String, Cost>>, String> {
    if std::env::consts::ARCH != "x86_64" {
        println!("   SKIPPED: the record is of x86_64, and this machine is {}.", std::env::consts::ARCH);
        return Ok(None);
    }
    prerequisites::debian(&[("valgrind", "valgrind")])?;
    let program = build()?;
    let place = run::root().join(PLACE);
    // Counts of an earlier run must not stand for this one's.
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).map_err(|error| format!("{PLACE}: {error}"))?;
    let tallies = callgrind::tallies(&count(&program, &place)?)?;
    let mut found = BTreeMap::new();
    let parts = callgrind::parts(&place)?;
    for tally in &tallies {
        found.insert(tally.path.clone(), callgrind::cost(tally, &parts)?);
    }
    Ok(Some(found))
}

/// Builds what is counted and returns its path.
fn build() -> Result<String, String> {
    let arguments =
        ["build", "--release", "--package", "rig", "--locked", "--message-format=json-render-diagnostics"];
    let mut program = None;
    let built = run::cargo().args(arguments).echo().lines(|line| {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        if message["target"]["name"] == "instructions" {
            program = message["executable"].as_str().map(str::to_owned).or(program.take());
        }
    })?;
    program.filter(|_| built).ok_or_else(|| "the program that is counted does not build".into())
}

/// Runs it under callgrind; what it prints.
fn count(program: &str, place: &Path) -> Result<String, String> {
    let mut arguments = vec![
        "--quiet".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", place.join("out").display()),
        format!("--toggle-collect=*{}*", callgrind::MARK),
    ];
    // One file for each call of each path. A pattern would be taken for the same as the one above.
    let paths = ["receive", "forward", "seal_audio", "seal_video", "feedback", "resend", "tick", "crossing"];
    arguments
        .extend(paths.map(|path| format!("--dump-after=instructions::paths::{}{path}", callgrind::MARK)));
    arguments.push(program.to_owned());
    let (ended_well, output) = run::program("valgrind").args(arguments).capture()?;
    if ended_well { Ok(output) } else { Err(format!("the counted program failed: {output}")) }
}

/// Version of the compiler.
fn compiler() -> Result<String, String> {
    let text = run::program("rustc").args(["--version"]).quiet().ok_or("there is no rustc")?;
    Ok(text.split_whitespace().nth(1).unwrap_or(text.trim()).to_owned())
}
