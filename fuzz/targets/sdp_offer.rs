//! See `fuzz/README.md`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| livekit::fuzz::sdp_offer(std::time::Instant::now(), bytes));
