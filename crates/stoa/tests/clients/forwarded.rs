//! A participant in two rooms, over two workers, with native clients.

use std::time::Instant;

use client::{DataKind, Event, Events};

use crate::PATIENCE;
use crate::server::Server;
use crate::spread::Person;

const HOME: &str = "stage";
const OTHER: &str = "overflow";

/// Calls a method of RoomService about `ada`; the status.
fn call(server: &Server, method: &str, room: &str, destination: &str) -> u16 {
    let token = server.token_with(room, "back end", |claims| {
        let grants = claims.video.get_or_insert_default();
        (grants.room_admin, grants.destination_room) = (true, destination.to_owned());
    });
    let headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
    let body = format!(r#"{{"room":"{room}","identity":"ada","destinationRoom":"{destination}"}}"#);
    server.ask("POST", &format!("/twirp/livekit.RoomService/{method}"), &headers, &body).0
}

/// Reads events until one is as wanted.
async fn notices(events: &Events, what: &str, wanted: impl Fn(&Event) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event = tokio::time::timeout_at(deadline.into(), events.recv()).await;
        let event = event.unwrap_or_else(|_| panic!("{what}")).expect("the session lasts");
        if wanted(&event) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_forwarded_is_heard_and_seen_in_both_rooms_on_all_workers_until_it_leaves() {
    let mut server = Server::with(&["--spread-at", "1"]);
    let before = server.before();
    let ada = Person::join(&server, HOME, "ada").await;
    let bob = Person::watch(&server, HOME, "bob").await;
    // On both workers, so that one of them is not ada's.
    let (cid, dan) = (Person::watch(&server, OTHER, "cid").await, Person::watch(&server, OTHER, "dan").await);
    bob.receives(2).await;
    assert_eq!(call(&server, "ForwardParticipant", HOME, OTHER), 200);
    for person in [&bob, &cid, &dan] {
        person.receives(2).await;
    }
    ada.room.send_data(DataKind::Reliable, "news", "to both rooms", &[]);
    for person in [&bob, &cid, &dan] {
        notices(
            &person.events,
            "a message",
            |event| matches!(event, Event::Data(message) if message.payload.as_ref() == b"to both rooms"),
        )
        .await;
    }
    // Removed there it goes on at home.
    let left = |event: &Event| matches!(event, Event::ParticipantLeft { identity } if identity == "ada");
    assert_eq!(call(&server, "RemoveParticipant", OTHER, ""), 200);
    for person in [&cid, &dan] {
        notices(&person.events, "that it is gone", left).await;
    }
    bob.receives(2).await;
    assert_eq!(call(&server, "ForwardParticipant", HOME, OTHER), 200);
    for person in [&cid, &dan] {
        person.receives(2).await;
    }
    ada.leave().await;
    for person in [&bob, &cid, &dan] {
        notices(&person.events, "that it is gone", left).await;
    }
    for person in [bob, cid, dan] {
        person.leave().await;
    }
    server.is_unharmed(&before);
    assert_eq!(server.metric("stoa_worker_rooms", ""), 0.0, "no media state is left");
}
