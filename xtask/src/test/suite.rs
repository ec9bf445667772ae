//! Suites of tests in Node: their last line of output is their result.

use std::time::Duration;

use serde_json::Value;

use super::Outcome;
use super::report::Tally;
use crate::run::Program;

/// Runs one to its end, with its output on ours.
pub fn run(step: &str, program: Program) -> Outcome {
    let mut last = String::new();
    let ended_well = program.lines(|line| {
        let shown = std::mem::replace(&mut last, line.to_owned());
        if !shown.is_empty() {
            println!("   {shown}");
        }
    })?;
    let tally = read(step, &last)
        .ok_or_else(|| format!("the suite ended without a result; its last line: {last}"))?;
    if !ended_well && tally.failed == 0 {
        return Err("the suite failed, and no test of it".into());
    }
    Ok(tally)
}

/// `{"passed":12,"failed":0,"tests":[{"name":"…","ms":8123}]}`; a test that failed says `"failed":true` where it can.
fn read(step: &str, line: &str) -> Option<Tally> {
    let result: Value = serde_json::from_str(line).ok()?;
    let count = |key: &str| result[key].as_u64().and_then(|n| usize::try_from(n).ok());
    let mut tally = Tally::default();
    for test in result["tests"].as_array()? {
        let time = Duration::from_millis(test["ms"].as_u64().unwrap_or(0));
        tally.test(step, test["name"].as_str()?, test["failed"] != true, time);
    }
    (tally.passed, tally.failed) = (count("passed")?, count("failed")?);
    Some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_suite_is_its_result() {
        let line =
            r#"{"passed":1,"failed":1,"tests":[{"name":"a","ms":8123},{"name":"b","ms":5,"failed":true}]}"#;
        let tally = read("browsers", line).expect("a result");
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(tally.failures, ["browsers: b"]);
        assert_eq!(tally.slowest(1), [("browsers: a", Duration::from_millis(8_123))]);
    }

    #[test]
    fn a_suite_that_dies_has_no_result() {
        assert!(read("browsers", "Error: cannot find chromium").is_none());
        assert!(read("browsers", r#"{"passed":3}"#).is_none());
    }
}
