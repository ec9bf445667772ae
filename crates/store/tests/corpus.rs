//! Replays the committed corpus of the fuzz target `store_log`, and inputs made from it, always the same ones.

use std::path::{Path, PathBuf};

/// Inputs made from each one of the corpus.
const MADE: u64 = 400;

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/store_log");
    let entries = std::fs::read_dir(folder).expect("the target has a corpus");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it is there").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("it can be read"))).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit.max(1) as u64) as usize
    }
}

/// A few bytes changed, removed, or taken from elsewhere.
fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 if !bytes.is_empty() => bytes[at] = [0, 1, 2, 127, 128, 255][random.below(6)],
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 => drop(bytes.drain(at..(at + random.below(9)).min(bytes.len()))),
            _ => {
                let copied = bytes[at..(at + random.below(40)).min(bytes.len())].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copied);
            }
        }
    }
}

#[test]
fn no_bytes_in_a_segment_make_the_log_panic_or_forget_what_it_takes_afterwards() {
    let seeds = corpus();
    assert!(seeds.len() >= 4);
    for (path, bytes) in seeds {
        println!("{}", path.display());
        store::fuzz::log(&bytes);
        for made in 0..MADE {
            let mut random = Random(made);
            let mut bytes = bytes.clone();
            change(&mut bytes, &mut random);
            let shown = bytes.clone();
            let outcome = std::panic::catch_unwind(move || store::fuzz::log(&bytes));
            assert!(outcome.is_ok(), "input {made} made of {}: {shown:?}", path.display());
        }
    }
}
