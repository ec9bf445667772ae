//! Performance commands. Each prints its figure and the floor it is held against, measured in the same run, and ends with
//! one JSON object on the last line.

mod bwe;
mod forward;
mod join;
mod messaging;

/// Counts what is allocated, for `forward memory`.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn main() -> std::process::ExitCode {
    let mut args = std::env::args().skip(1);
    let result = match args.next().as_deref() {
        Some("bwe") => bwe::run(args),
        Some("forward") => forward::run(args),
        Some("join") => join::run(args),
        Some("messaging") => messaging::run(args),
        // Its other process.
        Some("messaging-floor") => messaging::run_floor(args),
        other => Err(format!(
            "no bench is called {:?}; there are: bwe, forward, join, messaging",
            other.unwrap_or_default()
        )),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
