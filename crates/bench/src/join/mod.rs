//! `bench join`: how long people take into a room, from the call of `connect` to the first media packet, and how much of that is
//! the server's: a process of its own, real sockets, native clients in this process.
//!
//! | part | what |
//! |---|---|
//! | `crowd` | 200 clients join one room at 20/s; every fortieth publishes |
//! | `pairs` | 100 rooms of two, 10/s; the second joins when the first is in and speaks |
//!
//! The server's share is what a client waited ([`client::Timing::waited`]), an upper bound: what keeps this process from running
//! counts as the server's, as does the wait for the next frame of somebody who speaks.

mod people;
mod report;
pub mod server;

use std::sync::Arc;
use std::time::Duration;

use client::{LocalTrack, Room};
use serde_json::{Map, Value};
use tokio::time::{Instant, interval, sleep_until};

use people::{Guest, Speakers};
use report::Report;
use server::Server;

/// Clients of the crowd.
const CROWD: usize = 200;
/// Every so many of them publish.
const PUBLISHER_EVERY: usize = 40;
/// Between two joins of the crowd: 20/s.
const JOIN_EVERY: Duration = Duration::from_millis(50);
/// Rooms of two.
const PAIRS: usize = 100;
/// Between two of those: two joins each, so 20/s as well.
const PAIR_EVERY: Duration = Duration::from_millis(100);
/// How long the first media may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most milliseconds that the median of the server's share may have.
const BUDGET_MS: f64 = 150.0;

/// Runs both parts, prints what they found, the last line as JSON, and holds it against the budget.
pub fn run(mut args: impl Iterator<Item = String>) -> Result<(), String> {
    if let Some(arg) = args.next() {
        return Err(format!("`join` takes no arguments, but got {arg:?}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let crowd = runtime.block_on(crowd())?;
    crowd.print("one room of 200, 20 joins/s");
    let pairs = runtime.block_on(pairs())?;
    pairs.print("100 rooms of 2, 10/s; the second of each");
    let server = crowd.server_ms(50).max(pairs.server_ms(50));
    let failed = crowd.failed + pairs.failed;
    let mut out = Map::new();
    out.insert("bench".into(), "join".into());
    out.insert("p50_ms".into(), crowd.total_ms(50).into());
    out.insert("p95_ms".into(), crowd.total_ms(95).into());
    out.insert("pairs_p50_ms".into(), pairs.total_ms(50).into());
    out.insert("pairs_p95_ms".into(), pairs.total_ms(95).into());
    out.insert("server_p50_ms".into(), server.into());
    out.insert("failed".into(), failed.into());
    println!("{}", Value::Object(out));
    match (failed, server <= BUDGET_MS) {
        (0, true) => Ok(()),
        (0, false) => Err(format!("the server's share is {server} ms; the budget is {BUDGET_MS} ms")),
        (failed, _) => Err(format!("{failed} joins failed; the budget is none")),
    }
}

async fn crowd() -> Result<Report, String> {
    let server = Arc::new(Server::start()?);
    let guest = Arc::new(Guest::new(server)?);
    let speakers = Speakers::start();
    let mut ramp = interval(JOIN_EVERY);
    let mut joining = Vec::new();
    for index in 0..CROWD {
        ramp.tick().await;
        let publish = match index % PUBLISHER_EVERY {
            0 => vec![LocalTrack::microphone()],
            _ => Vec::new(),
        };
        let (guest, speakers) = (guest.clone(), speakers.clone());
        joining.push(tokio::spawn(async move {
            let room = guest.join("crowd", &format!("guest {index}"), publish).await?;
            speakers.add(room.published());
            Ok::<Room, String>(room)
        }));
    }
    let mut outcomes = Vec::new();
    for joining in joining {
        outcomes.push(flatten(joining.await));
    }
    let mut report = Report::default();
    let deadline = Instant::now() + PATIENCE;
    for (index, outcome) in outcomes.iter().enumerate() {
        if let Ok(room) = outcome {
            hears(room, deadline).await;
        }
        // Whoever comes first waits for the next publisher, not for the server.
        report.add(outcome.as_ref().map(Room::timing).map_err(Clone::clone), index > 0);
    }
    Ok(report)
}

async fn pairs() -> Result<Report, String> {
    let server = Arc::new(Server::start()?);
    let guest = Arc::new(Guest::new(server)?);
    let speakers = Speakers::start();
    let mut ramp = interval(PAIR_EVERY);
    let mut joining = Vec::new();
    for index in 0..PAIRS {
        ramp.tick().await;
        let (guest, speakers) = (guest.clone(), speakers.clone());
        joining.push(tokio::spawn(async move { pair(&guest, &speakers, &format!("pair {index}")).await }));
    }
    let mut report = Report::default();
    for joining in joining {
        match flatten(joining.await) {
            Ok([first, second]) => {
                let deadline = Instant::now() + PATIENCE;
                hears(&first, deadline).await;
                hears(&second, deadline).await;
                report.add(Ok(first.timing()), false);
                report.add(Ok(second.timing()), true);
            }
            Err(reason) => report.add(Err(reason), false),
        }
    }
    Ok(report)
}

/// One after the other, both with a microphone.
async fn pair(guest: &Guest, speakers: &Speakers, name: &str) -> Result<[Room; 2], String> {
    let first = guest.join(name, "first", vec![LocalTrack::microphone()]).await?;
    speakers.add(first.published());
    let second = guest.join(name, "second", vec![LocalTrack::microphone()]).await?;
    speakers.add(second.published());
    Ok([first, second])
}

/// Waits until media has come, or until `deadline`.
async fn hears(room: &Room, deadline: Instant) {
    while room.timing().first_packet.is_none() && Instant::now() < deadline {
        sleep_until(deadline.min(Instant::now() + Duration::from_millis(20))).await;
    }
}

fn flatten<T>(outcome: Result<Result<T, String>, tokio::task::JoinError>) -> Result<T, String> {
    outcome.unwrap_or_else(|error| Err(error.to_string()))
}
