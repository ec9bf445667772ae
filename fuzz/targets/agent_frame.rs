//! See `fuzz/README.md`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livekit::fuzz::worker_messages(std::time::Instant::now(), bytes));
