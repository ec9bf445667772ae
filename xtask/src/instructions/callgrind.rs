//! What callgrind writes ("Callgrind Format Specification" in valgrind's manual), as far as it is needed: each function's own
//! cost, in files that hold the cost of one call of one path each.

use std::collections::HashMap;
use std::path::Path;

use super::Cost;

/// Functions that are counted begin with this; what follows names the path.
pub const MARK: &str = "counted_";
/// Functions of the cipher begin with one of these.
const CIPHER: [&str; 2] = ["ring", "_aesni"];

/// What the counted program says of a path.
#[derive(Debug, PartialEq)]
pub struct Tally {
    pub path: String,
    pub packets: f64,
    /// Its last calls, of which these were the packets; before them came the warm-up.
    pub calls: usize,
}

/// The cost of one call.
#[derive(Debug, PartialEq)]
pub struct Part {
    path: String,
    own: u64,
    cipher: u64,
}

/// Reads lines like `receive 350 packets in the last 10 calls`.
pub fn tallies(output: &str) -> Result<Vec<Tally>, String> {
    let tally = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [path, packets, "packets", "in", "the", "last", calls, "calls"] = words[..] else { return None };
        Some(Tally { path: path.to_owned(), packets: packets.parse().ok()?, calls: calls.parse().ok()? })
    };
    output.lines().map(|line| tally(line).ok_or_else(|| format!("what does `{line}` mean?"))).collect()
}

/// All files that callgrind left, in order.
pub fn parts(place: &Path) -> Result<Vec<Part>, String> {
    let entries = std::fs::read_dir(place).map_err(|error| format!("{}: {error}", place.display()))?;
    let number = |path: &Path| path.extension()?.to_str()?.parse::<u32>().ok();
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some((number(&entry.as_ref().ok()?.path())?, entry.ok()?.path())))
        .collect();
    files.sort();
    let mut names = HashMap::new();
    let mut parts = Vec::new();
    for (_, path) in files {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        parts.extend(part(&text, &mut names));
    }
    Ok(parts)
}

/// Cost of a packet on one path.
pub fn cost(tally: &Tally, parts: &[Part]) -> Result<Cost, String> {
    let of_path: Vec<&Part> = parts.iter().filter(|part| part.path == tally.path).collect();
    let Some(before) = of_path.len().checked_sub(tally.calls).filter(|_| tally.packets > 0.0) else {
        let found = of_path.len();
        return Err(format!(
            "callgrind saw {found} calls of `{}`, and there were {}",
            tally.path, tally.calls
        ));
    };
    let sum = |what: fn(&Part) -> u64| of_path[before..].iter().map(|part| what(part)).sum::<u64>() as f64;
    Ok(Cost { own: sum(|part| part.own) / tally.packets, cipher: sum(|part| part.cipher) / tally.packets })
}

/// One file. `None`: it is not of a call of a path. Names are written out once and numbered from then on, over all files.
fn part(text: &str, names: &mut HashMap<String, String>) -> Option<Part> {
    let mut part = Part { path: String::new(), own: 0, cipher: 0 };
    let (mut in_cipher, mut of_call) = (false, false);
    for line in text.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger:") {
            part.path = trigger.split_once(MARK).map(|(_, path)| path.trim().to_owned()).unwrap_or_default();
        } else if let Some(function) = line.strip_prefix("fn=") {
            let name = resolve(function, names);
            in_cipher = CIPHER.iter().any(|start| name.starts_with(start));
        } else if let Some(function) = line.strip_prefix("cfn=") {
            resolve(function, names);
        } else if line.starts_with("calls=") {
            // The next line tells what the called function costs, which is told there already.
            of_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
            let counts = if in_cipher { &mut part.cipher } else { &mut part.own };
            *counts += if std::mem::take(&mut of_call) { 0 } else { cost };
        }
    }
    Some(part).filter(|part| !part.path.is_empty())
}

/// `(12) name`, or `(12)` for a name told before.
fn resolve(function: &str, names: &mut HashMap<String, String>) -> String {
    match function.split_once(' ') {
        Some((number, name)) => {
            names.insert(number.to_owned(), name.to_owned());
            name.to_owned()
        }
        None => names.get(function).cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "version: 1\ndesc: Trigger: --dump-after=instructions::paths::counted_forward\n\
        positions: line\nevents: Ir\n\nfl=(1) a.rs\nfn=(1) sfu::forward\n10 5\n+2 7\ncfn=(2) _aesni_encrypt8\n\
        calls=3 40\n12 900\n* 1\n\nfn=(2)\n40 900\nfn=(3) ring::seal\n7 4\n\ntotals: 917\n";

    #[test]
    fn own_cost_is_counted_once_and_the_ciphers_apart() {
        let mut names = HashMap::new();
        let found = part(ONE, &mut names);
        assert_eq!(found, Some(Part { path: "forward".to_owned(), own: 13, cipher: 904 }));
        let later =
            "desc: Trigger: --dump-after=instructions::paths::counted_forward\nfn=(2)\n1 6\nfn=(1)\n1 2\n";
        assert_eq!(part(later, &mut names), Some(Part { path: "forward".to_owned(), own: 2, cipher: 6 }));
        assert_eq!(part("desc: Trigger: Program termination\nfn=(1)\n1 2\n", &mut names), None);
    }

    #[test]
    fn the_warm_up_does_not_count() {
        let part = |own| Part { path: "forward".to_owned(), own, cipher: 2 };
        let tally = &tallies("forward 10 packets in the last 2 calls\n").expect("well formed")[0];
        let parts = [part(1_000), part(30), part(50)];
        assert_eq!(cost(tally, &parts), Ok(Cost { own: 8.0, cipher: 0.4 }));
        assert!(cost(tally, &parts[..1]).is_err(), "a call is missing");
        assert!(tallies("thread panicked").is_err());
    }
}
