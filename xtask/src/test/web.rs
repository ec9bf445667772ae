//! Unit tests of the meeting page, run by vitest.

use std::time::Duration;

use serde_json::Value;

use super::report::Tally;
use super::{Context, Outcome};
use crate::run;

const DIRECTORY: &str = "web/meet";
const REPORT: &str = "target/web-tests.json";

/// Runs vitest and reads its report.
pub fn unit_tests(_: &Context) -> Outcome {
    let report = run::root().join(REPORT);
    std::fs::create_dir_all(run::root().join("target")).map_err(|e| format!("target: {e}"))?;
    // A report of an earlier run must not stand for this one.
    let _ = std::fs::remove_file(&report);
    let output = format!("--outputFile.json={}", report.display());
    let arguments = ["test", "--silent", "--", "--reporter=default", "--reporter=json", &output];
    let ended_well = run::program("npm").directory(DIRECTORY).args(arguments).echo().status().is_ok();
    let text = std::fs::read_to_string(&report).map_err(|e| format!("vitest left no report: {e}"))?;
    let tally = read(&text)?;
    if !ended_well && tally.failed == 0 {
        return Err("vitest failed, and no test of it".into());
    }
    Ok(tally)
}

fn read(report: &str) -> Outcome {
    let report: Value = serde_json::from_str(report).map_err(|e| format!("vitest's report: {e}"))?;
    let mut tally = Tally::default();
    for file in report["testResults"].as_array().into_iter().flatten() {
        for test in file["assertionResults"].as_array().into_iter().flatten() {
            let name = test["fullName"].as_str().unwrap_or("?").trim();
            let time = Duration::from_secs_f64(test["duration"].as_f64().unwrap_or(0.0).max(0.0) / 1_000.0);
            match test["status"].as_str() {
                Some("passed") => tally.test("web", name, true, time),
                Some("failed") => tally.test("web", name, false, time),
                _ => {}
            }
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_vitest_is_read() {
        let report = r#"{"testResults":[{"assertionResults":[
            {"fullName":"link a","status":"passed","duration":12.5},
            {"fullName":"link b","status":"failed","duration":1},
            {"fullName":"link c","status":"skipped"}]}]}"#;
        let tally = read(report).expect("a report");
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(tally.slowest(1)[0].1, Duration::from_micros(12_500));
    }
}
