//! Stock clients against the running server: `tests/e2e` brings its own runner, whose last line is its result.

use serde_json::Value;

use super::{Context, Outcome, suite};
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
    let program = run::program("npm")
        .args(["--prefix", DIRECTORY, "test", "--silent"])
        .env("STOA_BIN", &server)
        .env("XTASK_BIN", &xtask)
        .env("TEST_FULL", if context.full { "1" } else { "" });
    suite::run(STEP, program.echo())
}

/// Where cargo put the server.
fn server() -> Result<String, String> {
    let (_, text) =
        run::cargo().args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).capture()?;
    let metadata: Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    Ok(format!("{target}/debug/stoa"))
}
