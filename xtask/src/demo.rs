//! `cargo xtask demo`: from a fresh clone to the printed address.

use crate::{prerequisites, run};

/// Checks the machine, builds the meeting page and the server, runs `stoa dev` with `args`.
///
/// The server is built in the development profile, which is the tests' too: docs/decisions/0003.
pub fn run(args: &[String]) -> Result<(), String> {
    println!("== What this machine has");
    prerequisites::check()?;
    build_page()?;
    println!("== The server (the first build takes a few minutes)");
    run::cargo().args(["build", "--package", "stoa"]).echo().status()?;
    println!("== stoa dev");
    run::cargo().args(["run", "--quiet", "--package", "stoa", "--", "dev"]).args(args).replace()
}

/// Builds the meeting page that the server embeds. Its npm packages are installed when they are absent or the lock file
/// is newer than what is installed.
pub fn build_page() -> Result<(), String> {
    println!("== The meeting page");
    install_npm("web/meet")?;
    run::program("npm").directory("web/meet").args(["run", "build", "--silent"]).echo().status()
}

/// `npm ci` in `directory`, unless what is installed is what its lock file says.
pub fn install_npm(directory: &str) -> Result<(), String> {
    let changed = |path: &str| {
        std::fs::metadata(run::root().join(directory).join(path)).and_then(|m| m.modified()).ok()
    };
    // npm writes this file at the end of an installation.
    let installed = changed("node_modules/.package-lock.json");
    if installed.is_some() && installed >= changed("package-lock.json") {
        return Ok(());
    }
    println!("   installing npm packages of {directory}");
    run::program("npm").directory(directory).args(["ci", "--no-audit", "--no-fund"]).echo().status()
}
