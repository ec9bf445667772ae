//! The counts in the repository.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::run;

/// From the root.
pub const PATH: &str = "docs/results/instructions.toml";

const HEAD: &str = "\
# Instructions that one packet costs on each stretch of its path, without the cipher's, as callgrind counts them.
# `cargo xtask test` fails when one grows by more than 5 %; `cargo xtask instructions --record` writes this file.
#
# receive     hop 3, a packet from a publisher: decrypted, noted for NACK and feedback
# forward     hop 4, a packet to one receiver: decided and renumbered
# seal_audio  hop 5, one packet: header, extensions, send history
# seal_video  hop 5, one packet in a run of ten
# feedback    one RTCP datagram from a receiver: congestion control, reports, NACK
# resend      one retransmission
# tick        a whole worker with ten receivers of sound and picture, all it does: one packet that it sends
# crossing    the same receivers on another worker than the publisher: both workers, one packet that is sent
";

/// What was counted, and with which compiler.
#[derive(Debug, PartialEq)]
pub struct Record {
    /// Version of rustc.
    pub compiler: String,
    /// Instructions for one packet, by path.
    pub own: BTreeMap<String, f64>,
}

impl Record {
    /// Reads it from the repository.
    pub fn read() -> Result<Self, String> {
        let text = std::fs::read_to_string(run::root().join(PATH)).map_err(|e| format!("{PATH}: {e}"))?;
        Self::parse(&text)
    }

    /// Writes it into the repository.
    pub fn write(&self) -> Result<(), String> {
        std::fs::write(run::root().join(PATH), self.format()).map_err(|error| format!("{PATH}: {error}"))
    }

    /// Paths that cost more than `tolerated` per cent over the record, or are not in it.
    pub fn grown(&self, found: &BTreeMap<String, f64>, tolerated: f64) -> Vec<String> {
        let grown = found.iter().filter_map(|(path, now)| match self.own.get(path) {
            Some(before) if *now <= before * (1.0 + tolerated / 100.0) => None,
            Some(before) => Some(format!("{path} by {:.1} %", (now / before - 1.0) * 100.0)),
            None => Some(format!("{path}, which is not recorded")),
        });
        grown.collect()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut record = Self { compiler: String::new(), own: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let wrong = || format!("{PATH}: this is no `name = value`: {line}");
            let (name, value) = line.split_once('=').ok_or_else(wrong)?;
            match (name.trim(), value.trim()) {
                ("rustc", version) => record.compiler = version.trim_matches('"').to_owned(),
                (path, count) => {
                    record.own.insert(path.to_owned(), count.parse().map_err(|_| wrong())?);
                }
            }
        }
        Ok(record)
    }

    fn format(&self) -> String {
        let mut text = format!("{HEAD}rustc = \"{}\"\n", self.compiler);
        for (path, count) in &self.own {
            writeln!(text, "{path} = {count:.1}").expect("a string takes everything");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(counts: &[(&str, f64)]) -> Record {
        let own = counts.iter().map(|(path, count)| ((*path).to_owned(), *count)).collect();
        Record { compiler: "1.95.0".to_owned(), own }
    }

    #[test]
    fn a_record_reads_back() {
        let record = record(&[("forward", 170.5), ("receive", 250.0)]);
        assert_eq!(Record::parse(&record.format()), Ok(record));
        assert!(Record::parse("forward 5\n").is_err());
    }

    #[test]
    fn what_grew_beyond_the_tolerance_is_named_and_what_shrank_is_not() {
        let recorded = record(&[("forward", 100.0), ("receive", 100.0), ("resend", 100.0)]);
        let found = record(&[("forward", 105.0), ("receive", 105.1), ("resend", 50.0), ("new", 1.0)]);
        assert_eq!(recorded.grown(&found.own, 5.0), ["new, which is not recorded", "receive by 5.1 %"]);
    }
}
