//! People who come and go without a word.

use client::{Options, Room};
use tokio::task::JoinSet;

use super::mallory::{Mallory, field, gzip, join_with, offer, wrap};
use crate::PATIENCE;
use crate::call::{Call, ROOM};
use crate::server::Server;

/// Visits before memory is looked at, and after.
const VISITS: [usize; 2] = [150, 450];
/// Memory that those after may cost in all, in kB: a connection holds more than 100 kB while it lives, so that one forgotten
/// visit in three would be seen.
const GROWTH_KB: u64 = 16 * 1_024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visits_that_end_without_a_word_leave_nothing_behind() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let mut memory = Vec::new();
    for visits in VISITS {
        for visit in 0..visits {
            come_and_go(&server, visit).await;
        }
        server.has_peers(2.0);
        memory.push(server.memory_kb());
    }
    let grown = memory[1].saturating_sub(memory[0]);
    println!("{} visits cost {grown} kB", VISITS[1]);
    assert!(grown < GROWTH_KB, "{} visits cost {grown} kB", VISITS[1]);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

/// Every third visitor brings up media; the others ask for a connection and are gone.
async fn come_and_go(server: &Server, visit: usize) {
    let token = server.token(ROOM, &format!("visitor {}", visit % 7));
    if visit.is_multiple_of(3) {
        let options = Options { packets: false, timeout: PATIENCE, ..Options::default() };
        drop(Room::connect(&server.socket_url(), &token, options).await.expect("it lets in"));
        return;
    }
    let request = wrap(1, &gzip(&join_with(&offer("visitor", "a-password-of-22-characters", [7; 32]))));
    let mut visitor = Mallory::try_join(server, &token, &request).await.expect("it lets in");
    assert!(visitor.wait_for(field::ANSWER).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_name_joining_from_many_places_at_once_ends_as_one() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let mut joins = JoinSet::new();
    for _ in 0..20 {
        let (url, token) = (server.socket_url(), server.token(ROOM, "many"));
        // Those that are replaced while they connect are told so; that is an error and no fault.
        joins.spawn(async move { Room::connect(&url, &token, Options::default()).await });
    }
    let rooms = joins.join_all().await;
    server.has_peers(3.0);
    drop(rooms);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}
