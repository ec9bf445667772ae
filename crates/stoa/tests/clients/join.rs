//! How long a native client takes into a room where somebody speaks, through the whole stack.

use std::time::Duration;

use client::{Options, Room, Timing};

use crate::PATIENCE;
use crate::call::{Call, ROOM};
use crate::server::{Server, until};

/// Joins that are measured.
const JOINS: usize = 15;
/// The budget on a quiet machine with an optimised build is 40 ms. Here both are unoptimised, beside other tests.
const LIMIT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_native_client_hears_somebody_soon_after_it_asked_to_join() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let mut timings = Vec::new();
    for index in 0..JOINS {
        let token = server.token(ROOM, &format!("guest {index}"));
        let options = Options { packets: false, timeout: PATIENCE, ..Options::default() };
        let (room, _events) = Room::connect(&server.socket_url(), &token, options).await.expect("it lets in");
        let timing = until(|| room.timing(), |timing| timing.first_packet.is_some());
        room.leave().await;
        timings.push(timing);
    }
    let joined = print("joined", &timings, |timing| timing.joined);
    print("media connected", &timings, |timing| timing.connected);
    print("data channels open", &timings, |timing| timing.ready);
    let first = print("first media packet", &timings, |timing| timing.first_packet);
    println!("join: {} checks came early", server.metric("stoa_worker_early_checks_total", ""));
    assert!(joined <= first && first < LIMIT, "the median join takes {first:?}");
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

/// Prints and returns the median.
fn print(what: &str, timings: &[Timing], stage: impl Fn(&Timing) -> Option<Duration>) -> Duration {
    let mut times: Vec<Duration> =
        timings.iter().map(|timing| stage(timing).expect("the stage was reached")).collect();
    times.sort_unstable();
    let median = times[times.len() / 2];
    println!(
        "join: {what} after {median:.1?} (median of {JOINS}; {:.1?} to {:.1?})",
        times[0],
        times[JOINS - 1]
    );
    median
}
