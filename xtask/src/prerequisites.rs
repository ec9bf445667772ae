//! What the machine must have before anything is built, checked first and answered with a sentence on what to do.

use crate::run;

type Version = (u32, u32);

const RUST: Version = (1, 95);
const NODE: Version = (20, 19);

/// Checks all prerequisites and prints what was found. The error names everything that is missing, one per line.
pub fn check() -> Result<(), String> {
    let checks = [rust(), node(), c_compiler()];
    let mut missing = String::new();
    for check in checks {
        match check {
            Ok(found) => println!("   {found}"),
            Err(advice) => missing = format!("{missing}\n  - {advice}"),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("something is missing on this machine:{missing}")) }
}

fn rust() -> Result<String, String> {
    let advice = format!(
        "Rust {}.{} or newer: `rustup update stable`, or install it with rustup (https://rustup.rs)",
        RUST.0, RUST.1
    );
    held_against("rustc", RUST, advice)
}

fn node() -> Result<String, String> {
    let advice = format!(
        "Node {}.{} or newer, with npm: from https://nodejs.org, or `nvm install 22`; Debian 13's own package is new enough",
        NODE.0, NODE.1
    );
    run::program("npm").args(["--version"]).quiet().ok_or_else(|| advice.clone())?;
    held_against("node", NODE, advice)
}

fn c_compiler() -> Result<String, String> {
    let name = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let found = run::program(&name).args(["--version"]).quiet();
    match found.as_deref().and_then(|text| text.lines().next()) {
        Some(line) => Ok(line.to_owned()),
        None => Err("a C compiler (for the ciphers): `apt-get install gcc libc6-dev`".into()),
    }
}

fn held_against(program: &str, needed: Version, advice: String) -> Result<String, String> {
    let text = run::program(program).args(["--version"]).quiet().ok_or_else(|| advice.clone())?;
    match version(&text) {
        Some(found) if found >= needed => {
            Ok(format!("{program} {}", text.trim().trim_start_matches("rustc ")))
        }
        _ => Err(format!("{advice} (this is {})", text.trim())),
    }
}

/// The first `MAJOR.MINOR` in the text.
fn version(text: &str) -> Option<Version> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let mut numbers = text[start..].split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// True when we may install Debian packages.
fn is_root() -> bool {
    run::program("id").args(["-u"]).quiet().is_some_and(|id| id.trim() == "0")
}

/// Installs Debian packages of which `program` is the sign, saying so; without root, the error is the line to run.
pub fn debian(needed: &[(&str, &str)]) -> Result<(), String> {
    let missing: Vec<&str> =
        needed.iter().filter(|(sign, _)| !present(sign)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let line = format!("apt-get install --yes --no-install-recommends {packages}");
    if run::program("apt-get").args(["--version"]).quiet().is_none() {
        return Err(format!("these Debian packages, or their like, are needed: {packages}"));
    }
    if !is_root() {
        return Err(format!("packages are missing; please run: sudo {line}"));
    }
    println!("   installing from Debian: {packages}");
    let apt =
        |args: &[&str]| run::program("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(args).echo();
    let install: Vec<&str> = line.split(' ').skip(1).collect();
    // The package lists may be old or absent: update them and try once more, for that reason alone.
    apt(&install).status().or_else(|_| {
        apt(&["update"]).status()?;
        apt(&install).status()
    })
}

/// A sign is a program in the PATH, `PYTHON:MODULE` for a module of that interpreter, or `gst:ELEMENT` for an element of GStreamer.
fn present(sign: &str) -> bool {
    match sign.split_once(':') {
        Some(("gst", element)) => run::program("gst-inspect-1.0").args([element]).quiet().is_some(),
        Some((python, module)) => {
            run::program(python).args(["-c", &format!("import {module}")]).quiet().is_some()
        }
        None => std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|directory| directory.join(sign).is_file()),
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        assert_eq!(version("rustc 1.95.0 (f2d3ce0bd 2026-03-21)"), Some((1, 95)));
        assert_eq!(version("v20.20.2"), Some((20, 20)));
        assert_eq!(version("v9.1"), Some((9, 1)));
        assert_eq!(version("none"), None);
        assert!(version("v20.9.0") < Some((20, 19)), "compared as numbers, not as text");
    }
}
