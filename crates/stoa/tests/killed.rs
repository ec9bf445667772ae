//! The binary is killed at any moment, under load, and started again on the same directory: nothing that was acknowledged is lost, nothing
//! is doubled, order is kept, and every client goes on from its cursor. What the clients recorded goes to the checker of histories.

#[path = "killed/client.rs"]
mod client;
#[path = "killed/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use client::{CHANNEL, Client, Desk, message_of, name};
use messaging::place::EventId;
use proof::history::{self, Act, End, Line};
use serde_json::{Value, json};
use server::Server;

const CLIENTS: usize = 4;

/// Long enough for what is under way on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// All messages of the channel as the server streams them to a device that has none, from a cursor of the beginning on, with their ids.
fn stored(server: &Server, beginning: &Value) -> BTreeMap<EventId, Option<u64>> {
    let mut reader = Client::connect(server.address, 0, "reader", None).expect("it is up");
    reader.ask("subscribe", json!({"channel": CHANNEL, "from": {"cursor": beginning}}));
    let mut found = BTreeMap::new();
    for item in reader.items(Duration::from_secs(2)) {
        let id = item["id"].as_str().and_then(|id| id.parse().ok()).expect("an item has an id");
        assert!(found.insert(id, message_of(&item)).is_none(), "{id} came twice");
    }
    found
}

/// Every number of a device was stored once.
fn check_doubles(stored: &BTreeMap<EventId, Option<u64>>) {
    let mut ids: BTreeMap<u64, EventId> = BTreeMap::new();
    for (id, message) in stored.iter().filter_map(|(id, message)| Some((id, (*message)?))) {
        let twin = ids.insert(message, *id);
        assert_eq!(twin, None, "message {message} is stored as {id} as well");
    }
}

/// What was recorded, the server's own history beside it.
fn judge(desk: &Desk, stored: &BTreeMap<EventId, Option<u64>>) -> Result<(), String> {
    let lines: Vec<Line> = desk.lines();
    let unread = lines.iter().filter_map(|line| match &line.act {
        Act::Got(got) if got.message.is_none() => Some(got.id),
        _ => None,
    });
    let committed: BTreeSet<EventId> = stored.keys().copied().chain(unread).collect();
    let end = End {
        committed,
        connected: (0..CLIENTS).collect(),
        // A client's recording begins with where its first stream did.
        provoked: BTreeSet::from([messaging::causal::Reset::Retention]),
        ..End::default()
    };
    history::check(&lines, &end)
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_doubles_and_disorders_nothing_that_it_acknowledged() {
    let full = std::env::var("TEST_FULL").is_ok_and(|full| full == "1");
    let kills = if full { 50 } else { 4 };
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(directory.path());
    let members: Vec<Value> = (0..CLIENTS).map(|index| json!({"user": name(index)})).collect();
    let mut first = Client::connect(server.address, 0, "first", None).expect("it is up");
    first.ask("channel.create", json!({"channel": CHANNEL, "kind": "group", "members": members}));
    let beginning = first.ask("subscribe", json!({"channel": CHANNEL, "from": "head"}))["cursor"].clone();
    drop(first);

    let desk = Arc::new(Desk::new(server.address));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|index| {
            let desk = Arc::clone(&desk);
            thread::spawn(move || client::run(&desk, index))
        })
        .collect();
    for kill in 0..kills {
        let before = desk.accepted.load(Ordering::Relaxed);
        until("messages are acknowledged", || desk.accepted.load(Ordering::Relaxed) >= before + 20);
        // Not always at the same place of what clients and server do.
        thread::sleep(Duration::from_millis(kill * 37 % 250));
        server.kill();
        server = Server::start(directory.path());
        desk.moved(server.address);
    }
    desk.is_quiet.store(true, Ordering::Relaxed);
    until("everybody is answered", || {
        desk.waiting.iter().all(|waiting| waiting.load(Ordering::Relaxed) == 0)
    });
    let stored = stored(&server, &beginning);
    let messages = stored.values().flatten().count();
    until("everybody has everything", || desk.received(CLIENTS, messages));
    desk.is_over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("a client found something wrong"));

    check_doubles(&stored);
    let verdict = judge(&desk, &stored);
    if verdict.is_err() {
        desk.lines().iter().for_each(|line| println!("{}", line.json()));
    }
    assert_eq!(verdict, Ok(()));
    let (accepted, resumed) = (desk.accepted.load(Ordering::Relaxed), desk.resumed.load(Ordering::Relaxed));
    let retried = desk.retried.load(Ordering::Relaxed);
    println!(
        "{kills} kills: {accepted} messages acknowledged, {retried} sent again, {resumed} streams resumed, none reset"
    );
    assert!(resumed >= kills * CLIENTS as u64 / 2 && retried > 0, "too little happened");
}
