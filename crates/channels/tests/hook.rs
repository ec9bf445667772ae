//! The application's word on messages, and listeners that do not keep up.

mod desk;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use channels::hook::{Asked, Hook, Verdict};
use channels::{Settings, Told};
use desk::{Desk, channel, code, sending, sent, settings, text};
use messaging::command::{Answer, Code, Refusal};
use messaging::event::Content;
use messaging::place::Cursor;

/// Says what the message tells it to say.
struct Told2Do;

impl Hook for Told2Do {
    fn judge(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Verdict> + Send>> {
        let body = match &asked.content {
            Content::Message { body, .. } => String::from_utf8_lossy(body).into_owned(),
            _ => String::new(),
        };
        Box::pin(async move {
            assert!(!body.contains("panic"), "as it was told");
            if body.contains("slow") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            match () {
                () if body.contains("refuse") => Verdict::Refuse,
                () if body.contains("replace") => Verdict::Replace(Arc::from(&b"\"polite\""[..])),
                () => Verdict::Accept,
            }
        })
    }
}

async fn hooked() -> Desk {
    let desk = Desk::with(Settings { hook: Some(Arc::new(Told2Do)), ..settings() }).await;
    desk.group("room").await;
    desk
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_refuses_and_replaces_and_sends_keep_their_order_though_it_is_slow() {
    let desk = hooked().await;
    let pending = [(1, "slow one"), (2, "two"), (3, "replace three")]
        .map(|(csn, words)| desk.start("ann", "room", sending(csn, text(words))));
    let mut places = Vec::new();
    for answer in pending {
        places.push(sent(answer.await).place.n);
    }
    assert!(places.is_sorted());
    assert_eq!(code(desk.send("ann", "room", 4, text("refuse")).await), Code::Forbidden);
    assert_eq!(desk.say("ann", "room", 4, "instead").await.place.n, places[2] + 1);
    let events = desk.handle.events(&channel("room"), &Cursor::default(), 100).await.expect("it answers");
    let Some(Content::Message { body, .. }) =
        events.iter().find(|event| event.id.place.n == places[2]).map(|event| &event.content)
    else {
        panic!("it is there")
    };
    assert_eq!(&body[..], b"\"polite\"");
    assert_eq!(
        sent(desk.send("ann", "room", 3, text("replace three")).await).place.n,
        places[2],
        "tried again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_panics_has_said_nothing_and_stops_nobody() {
    let desk = hooked().await;
    let answer = desk.send("ann", "room", 1, text("panic")).await;
    assert!(
        matches!(answer, Answer::Refused(Refusal { code: Code::Busy, retry_after: Some(_), .. })),
        "{answer:?}"
    );
    desk.say("ann", "room", 1, "calm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_keep_up_is_told_what_it_missed_and_finds_it_all() {
    let desk = Desk::new().await;
    desk.group("room").await;
    let listener = desk.handle.listen();
    listener.follow(&channel("room"));
    let mut csn = 0;
    // More than wait for a listener, told without being kept.
    let body: Arc<[u8]> = Arc::from(&b"1"[..]);
    let tell = || messaging::command::Ask::Ephemeral { name: Arc::from("x"), body: Arc::clone(&body) };
    for _ in 0..33 {
        let pending: Vec<_> = (0..2_000).map(|_| desk.start("ann", "room", tell())).collect();
        for answer in pending {
            answer.await;
        }
    }
    for _ in 0..3 {
        csn += 1;
        desk.say("ann", "room", csn, "hello").await;
    }
    let (mut soft, mut events, mut missed) = (0, 0, 0);
    while let Some(told) = listener.try_next() {
        match told {
            Told::Ephemeral { .. } => soft += 1,
            Told::Event(_) => events += 1,
            Told::Missed(_) => missed += 1,
            _ => {}
        }
    }
    assert_eq!((soft, events, missed), (65_536, 0, 1));
    let events = desk.handle.events(&channel("room"), &Cursor::default(), 100).await.expect("it answers");
    assert_eq!(events.len(), 4);
    desk.say("ann", "room", csn + 1, "and").await;
    assert!(matches!(listener.next().await, Told::Event(_)), "from there on it hears again");
}
