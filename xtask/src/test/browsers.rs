//! Stock clients against the running server: `tests/e2e` brings its own runner, whose last line is its result.

use std::time::Duration;

use serde_json::Value;

use super::report::Tally;
use super::{Context, Outcome};
use crate::{demo, prerequisites, run};

const STEP: &str = "browsers";
const DIRECTORY: &str = "tests/e2e";

/// A sign that a package is there, and its name in Debian. What is for Python is for the system's own, which GStreamer's bindings are
/// made for.
const PACKAGES: [(&str, &str); 12] = [
    ("chromium", "chromium"),
    ("firefox-esr", "firefox-esr"),
    ("python3:ensurepip", "python3-venv"),
    ("openssl", "openssl"),
    ("gst-inspect-1.0", "gstreamer1.0-tools"),
    ("gst:opusenc", "gstreamer1.0-plugins-base"),
    ("gst:vp8enc", "gstreamer1.0-plugins-good"),
    ("gst:webrtcbin", "gstreamer1.0-plugins-bad"),
    ("gst:nicesrc", "gstreamer1.0-nice"),
    ("/usr/bin/python3:gi.repository.GstWebRTC", "gir1.2-gst-plugins-bad-1.0"),
    ("/usr/bin/python3:gi", "python3-gi"),
    ("/usr/bin/python3:numpy", "python3-numpy"),
];

/// Installs what is missing and runs the suite against the server of the development profile.
pub fn tests(context: &Context) -> Outcome {
    prerequisites::debian(&PACKAGES)?;
    demo::install_npm(DIRECTORY)?;
    let server = server()?;
    println!("   the server is {server}");
    let xtask =
        std::env::current_exe().map_err(|e| format!("this program does not know where it is: {e}"))?;
    let xtask = xtask.to_string_lossy();
    let suite = run::program("npm")
        .args(["--prefix", DIRECTORY, "test", "--silent"])
        .env("STOA_BIN", &server)
        .env("XTASK_BIN", &xtask)
        .env("TEST_FULL", if context.full { "1" } else { "" });
    let mut last = String::new();
    let ended_well = suite.echo().lines(|line| {
        let shown = std::mem::replace(&mut last, line.to_owned());
        if !shown.is_empty() {
            println!("   {shown}");
        }
    })?;
    let tally =
        read(&last).ok_or_else(|| format!("the suite ended without a result; its last line: {last}"))?;
    if !ended_well && tally.failed == 0 {
        return Err("the suite failed, and no test of it".into());
    }
    Ok(tally)
}

/// Where cargo put the server.
fn server() -> Result<String, String> {
    let (_, text) =
        run::cargo().args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).capture()?;
    let metadata: Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    Ok(format!("{target}/debug/stoa"))
}

/// `{"passed":12,"failed":0,"tests":[{"name":"…","ms":8123}]}`; a test that failed says `"failed":true` where it can.
fn read(line: &str) -> Option<Tally> {
    let result: Value = serde_json::from_str(line).ok()?;
    let count = |key: &str| result[key].as_u64().and_then(|n| usize::try_from(n).ok());
    let mut tally = Tally::default();
    for test in result["tests"].as_array()? {
        let time = Duration::from_millis(test["ms"].as_u64().unwrap_or(0));
        tally.test(STEP, test["name"].as_str()?, test["failed"] != true, time);
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
        let tally = read(line).expect("a result");
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(tally.failures, ["browsers: b"]);
        assert_eq!(tally.slowest(1), [("browsers: a", Duration::from_millis(8_123))]);
    }

    #[test]
    fn a_suite_that_dies_has_no_result() {
        assert!(read("Error: cannot find chromium").is_none());
        assert!(read(r#"{"passed":3}"#).is_none());
    }
}
