//! Dependencies held against `deny.toml` by cargo-deny.

use std::time::Duration;

use crate::run;

/// Checks licences, bans and sources, which need no network. The database of advisories has to be downloaded: where
/// that is impossible, this is said aloud and the rest counts.
pub fn run() -> Result<(), String> {
    let deny = installed()?;
    let check = |what: &[&str]| {
        run::program(&deny).args(["--locked", "check", "--hide-inclusion-graph"]).args(what).echo().status()
    };
    check(&["licenses", "bans", "sources"])?;
    if run::program(&deny).args(["fetch", "db"]).within(Duration::from_secs(60)) {
        return check(&["advisories"]);
    }
    println!("   SKIPPED: the database of security advisories cannot be reached from this machine.");
    println!(
        "   Licences, bans and sources were checked; run `cargo deny check advisories` where there is a network."
    );
    Ok(())
}

/// The version that this repository is checked with.
const VERSION: &str = "0.20.2";

/// A cargo-deny from the PATH, else our own below `target/`, built on first use (a few minutes; it is kept).
fn installed() -> Result<String, String> {
    if run::program("cargo-deny").args(["--version"]).quiet().is_some() {
        return Ok("cargo-deny".into());
    }
    let place = run::root().join("target/tools");
    let binary = place.join("bin/cargo-deny").display().to_string();
    if run::program(&binary).args(["--version"]).quiet().is_some_and(|text| text.contains(VERSION)) {
        return Ok(binary);
    }
    println!("   cargo-deny is missing: building version {VERSION} into target/tools, once");
    let place = place.display().to_string();
    // Unoptimised: it reads a few hundred small files, and builds in half the time.
    run::cargo()
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--debug", "--root", &place])
        .echo()
        .status()?;
    Ok(binary)
}
