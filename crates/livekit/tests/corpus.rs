//! Replays the committed fuzz corpus (`fuzz/corpus`) and inputs made from it, always the same ones, through the functions that are
//! fuzzed. Whatever a fuzzer has found is kept there and stays found.

use std::path::PathBuf;
use std::time::Instant;

/// Inputs made from each one of the corpus.
const MUTANTS: usize = 150;
/// Longer ones are cut: in debug builds descriptions of hundreds of kB take a while.
const LONGEST: usize = 64 * 1024;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .expect("every target has a corpus")
        .map(|entry| entry.expect("a readable folder").path())
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a readable file"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target}");
    files
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides.max(1)
    }
}

/// One to four changes: bytes, bits, cuts, repetitions, and pieces of others.
fn mutant(dice: &mut Dice, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed[..seed.len().min(LONGEST)].to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        let end = at + dice.below((bytes.len() - at).min(64));
        match dice.below(6) {
            _ if bytes.is_empty() => bytes.extend_from_slice(other),
            0 => bytes[at] = dice.below(256) as u8,
            1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = dice.below(other.len());
                let to = from + dice.below((other.len() - from).min(256));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

fn replay(target: &str, run: impl Fn(&[u8])) {
    let seeds = corpus(target);
    let mut dice =
        Dice(target.bytes().fold(1u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))));
    for (name, seed) in &seeds {
        // With the name in the output of a test that fails.
        println!("{target}/{name}");
        run(seed);
        for number in 0..MUTANTS {
            let other = &seeds[dice.below(seeds.len())].1;
            println!("{target}/{name} mutant {number}");
            run(&mutant(&mut dice, seed, other));
        }
    }
}

#[test]
fn signal_frames() {
    replay("signal_frame", |bytes| livekit::fuzz::signal_frames(Instant::now(), bytes));
}

#[test]
fn messages_of_workers_of_agents() {
    replay("agent_frame", |bytes| livekit::fuzz::worker_messages(Instant::now(), bytes));
}

#[test]
fn join_requests() {
    replay("join_request", |bytes| livekit::fuzz::join_request(Instant::now(), bytes));
}

#[test]
fn session_descriptions() {
    replay("sdp_offer", |bytes| livekit::fuzz::sdp_offer(Instant::now(), bytes));
}

#[test]
fn tokens() {
    replay("token", auth::fuzz::token);
}

#[test]
fn bodies_of_whip_and_whep() {
    replay("whip_body", |bytes| whip::fuzz::body(Instant::now(), bytes));
}

#[test]
fn what_messaging_stores_is_read_whatever_the_bytes() {
    replay("messaging_formats", |bytes| messaging::fuzz::formats(Instant::now(), bytes));
}

#[test]
fn frames_of_messaging_are_read_whatever_the_bytes() {
    replay("messaging_frame", wire::fuzz::messaging);
}
