//! Cargo's tests, one test program at a time, with the time of each test.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::report::Tally;
use super::{Context, Outcome};
use crate::run;

const STEP: &str = "rust";

/// A test program that cargo built.
struct Program {
    /// Crate and target, for people.
    name: String,
    path: String,
    /// Directory of its crate, in which cargo would run it.
    directory: String,
}

/// Builds the server, which the browser tests start, and all test programs.
pub fn build() -> Result<(), String> {
    run::cargo().args(["build", "--package", "stoa", "--locked"]).echo().status()?;
    programs().map(drop)
}

/// Runs all test programs.
pub fn tests(context: &Context) -> Outcome {
    let programs = programs()?;
    let mut total = Tally::default();
    for program in &programs {
        total.add(run_program(program, context)?);
    }
    println!("   {} test programs: {} passed, {} failed", programs.len(), total.passed, total.failed);
    Ok(total)
}

/// Documentation examples; cargo runs these itself and tells no times.
pub fn examples(_: &Context) -> Outcome {
    let mut reader = Reader::new("docs", "example");
    let arguments = ["test", "--workspace", "--doc", "--locked", "--quiet"];
    let ended_well = run::cargo().args(arguments).echo().lines(|line| reader.line(line))?;
    reader.finish(ended_well)
}

fn programs() -> Result<Vec<Program>, String> {
    let arguments =
        ["test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics"];
    let mut programs = Vec::new();
    let built = run::cargo().args(arguments).echo().lines(|line| programs.extend(test_program(line)))?;
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    if built { Ok(programs) } else { Err("the tests do not build".into()) }
}

/// The test program that a message of cargo's tells of, if it does.
fn test_program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message["executable"].as_str()?.to_owned();
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let directory = manifest.parent()?;
    let (krate, target) = (directory.file_name()?.to_string_lossy(), message["target"]["name"].as_str()?);
    let name = if krate == target { target.to_owned() } else { format!("{krate}/{target}") };
    Some(Program { name, path, directory: directory.to_string_lossy().into_owned() })
}

/// The test harness tells the time of each test only as an unstable option. `RUSTC_BOOTSTRAP` unlocks it for the
/// running of the harness; nothing is compiled with it, so that no build script mistakes the compiler for a nightly one.
fn run_program(program: &Program, context: &Context) -> Outcome {
    println!("-- {}", program.name);
    let mut reader = Reader::new(STEP, &program.name);
    let harness = run::program(&program.path)
        .directory(&program.directory)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_MANIFEST_DIR", &program.directory)
        .env("TEST_FULL", if context.full { "1" } else { "" })
        .args(["-Z", "unstable-options", "--report-time"]);
    let ended_well = harness.lines(|line| reader.line(line))?;
    reader.finish(ended_well)
}

/// Reads what the test harness prints and passes on what people need to see.
struct Reader {
    step: &'static str,
    program: String,
    tally: Tally,
    /// What the harness says of itself: passed, failed.
    summary: Option<(usize, usize)>,
}

impl Reader {
    fn new(step: &'static str, program: &str) -> Self {
        Self { step, program: program.to_owned(), tally: Tally::default(), summary: None }
    }

    fn line(&mut self, line: &str) {
        if let Some((passed, failed)) = summary(line) {
            let (before_passed, before_failed) = self.summary.unwrap_or_default();
            self.summary = Some((before_passed + passed, before_failed + failed));
            println!("   {line}");
        } else if let Some((name, passed, time)) = test(line) {
            self.tally.test(self.step, &format!("{}::{name}", self.program), passed, time);
            if !passed {
                println!("   {line}");
            }
        } else if !(line.is_empty() || line.starts_with("running ")) {
            println!("   {line}");
        }
    }

    /// The harness's own count is the truth: a program that dies in the middle has none, and a test whose line was
    /// torn by something printed past the harness is in the count alone.
    fn finish(mut self, ended_well: bool) -> Outcome {
        match self.summary {
            Some((passed, failed)) => (self.tally.passed, self.tally.failed) = (passed, failed),
            None if ended_well => {}
            None => self.tally.test(self.step, &format!("{} (it died)", self.program), false, Duration::ZERO),
        }
        if !ended_well && self.tally.failed == 0 {
            self.tally.test(self.step, &format!("{} (bad exit status)", self.program), false, Duration::ZERO);
        }
        Ok(self.tally)
    }
}

/// `test result: ok. 12 passed; 0 failed; 0 ignored; …`
fn summary(line: &str) -> Option<(usize, usize)> {
    let counts = line.strip_prefix("test result: ")?;
    let number = |what: &str| -> Option<usize> {
        let before = counts[..counts.find(what)?].trim_end();
        before.rsplit([' ', '.', ';']).next()?.parse().ok()
    };
    Some((number("passed")?, number("failed;")?))
}

/// `test module::name ... ok <0.012s>`
fn test(line: &str) -> Option<(&str, bool, Duration)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let (word, time) = match result.split_once(" <") {
        Some((word, time)) => (word, time.trim_end_matches('>').trim_end_matches('s').parse().ok()?),
        None => (result, 0.0),
    };
    let passed = match word {
        "ok" => true,
        "FAILED" => false,
        _ => return None,
    };
    Some((name, passed, Duration::try_from_secs_f64(time).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_harness_prints_is_counted_and_timed() {
        let mut reader = Reader::new(STEP, "rtc");
        for line in [
            "running 3 tests",
            "test ice::old_credentials_hold ... ok <0.250s>",
            "test ice::garbage_is_dropped ... FAILED <1.000s>",
            "test ice::torn ... something printed",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.25s",
        ] {
            reader.line(line);
        }
        let tally = reader.finish(false).expect("a tally");
        assert_eq!((tally.passed, tally.failed), (2, 1));
        assert_eq!(tally.failures, ["rust: rtc::ice::garbage_is_dropped"]);
        assert_eq!(tally.slowest(1), [("rust: rtc::ice::garbage_is_dropped", Duration::from_secs(1))]);
    }

    #[test]
    fn a_program_that_dies_is_a_failure() {
        let mut reader = Reader::new(STEP, "rtc");
        reader.line("test a ... ok <0.001s>");
        let tally = reader.finish(false).expect("a tally");
        assert_eq!((tally.passed, tally.failed), (1, 1));
    }

    #[test]
    fn a_program_without_tests_is_none() {
        let mut reader = Reader::new(STEP, "rtc");
        reader.line(
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        let tally = reader.finish(true).expect("a tally");
        assert_eq!((tally.passed, tally.failed), (0, 0));
    }

    #[test]
    fn a_test_program_is_told_from_other_artifacts() {
        let message = |test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/x/crates/rtc/Cargo.toml",
                    "target":{{"name":"loss"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let program = test_program(&message(true, r#""/x/target/loss""#)).expect("a test program");
        assert_eq!((program.name.as_str(), program.directory.as_str()), ("rtc/loss", "/x/crates/rtc"));
        assert!(test_program(&message(false, r#""/x/target/stoa""#)).is_none());
        assert!(test_program(&message(true, "null")).is_none());
        assert!(test_program("not json").is_none());
    }
}
