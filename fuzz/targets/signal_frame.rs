//! See `fuzz/README.md`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livekit::fuzz::signal_frames(std::time::Instant::now(), bytes));
