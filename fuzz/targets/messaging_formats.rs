//! See `fuzz/README.md`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| messaging::fuzz::formats(std::time::Instant::now(), bytes));
