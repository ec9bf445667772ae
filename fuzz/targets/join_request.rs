//! See `fuzz/README.md`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livekit::fuzz::join_request(std::time::Instant::now(), bytes));
