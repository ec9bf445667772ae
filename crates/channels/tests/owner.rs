//! Owners on a real log: what is answered lasts, and what is told was committed.

mod desk;

use std::sync::Arc;

use channels::{Listener, Told};
use desk::{Desk, channel, sent, text, user};
use messaging::command::{Ask, Code};
use messaging::event::{Change, Content, Event};
use messaging::place::Cursor;

/// The next event that is told.
async fn event(listener: &Listener) -> Arc<Event> {
    loop {
        if let Told::Event(event) = listener.next().await {
            return event;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_a_crash_and_after_an_orderly_end() {
    let mut desk = Desk::new().await;
    desk.group("room").await;
    let mut ids = Vec::new();
    for round in 0..3 {
        ids.push(desk.say("ann", "room", round * 2 + 1, "hello").await);
        desk = desk.crash().await;
        ids.push(desk.say("ann", "room", round * 2 + 2, "hello").await);
        desk = desk.restart().await;
    }
    let events = desk.handle.events(&channel("room"), &Cursor::default(), 100).await.expect("it answers");
    let said: Vec<_> =
        events.iter().filter(|event| event.content.is_countable()).map(|event| event.id).collect();
    assert_eq!(said, ids);
    let look = desk.handle.look(&channel("room"), Some(&user("bob")), None).await.expect("bob is in it");
    assert_eq!((look.unread, look.members), (6, 3));
    let own =
        desk.handle.look(&channel("room"), Some(&user("ann")), Some(&base::DeviceId::new("phone"))).await;
    assert_eq!(own.expect("ann is in it").csn, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_and_then_reads_misses_nothing_and_nothing_is_told_before_it_can_be_read() {
    let desk = Desk::new().await;
    desk.group("room").await;
    let listener = desk.handle.listen();
    let pending: Vec<_> =
        (1..=50).map(|csn| desk.start("ann", "room", desk::sending(csn, text("one")))).collect();
    listener.follow(&channel("room"));
    let read = desk.handle.events(&channel("room"), &Cursor::default(), 1_000).await.expect("it answers");
    let mut seen: Vec<u64> = read.iter().map(|event| event.id.place.n).collect();
    for answer in pending {
        sent(answer.await);
    }
    while seen.len() < 51 {
        let event = event(&listener).await;
        if !seen.contains(&event.id.place.n) {
            assert_eq!(event.prev.map(|place| place.n), seen.last().copied(), "a gap");
            seen.push(event.id.place.n);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_are_not_waited_for_keep_their_order_though_an_edit_is_looked_up() {
    let desk = Desk::new().await;
    desk.group("room").await;
    let first = desk.say("ann", "room", 1, "hello").await;
    let desk = desk.restart().await;
    let body: Arc<[u8]> = Arc::from(&b"\"bye\""[..]);
    let edit = Content::Edit { target: first, body };
    let edited = desk.start("ann", "room", desk::sending(2, edit));
    let said = desk.start("ann", "room", desk::sending(3, text("and")));
    let (edited, said) = (sent(edited.await), sent(said.await));
    assert!(edited.place < said.place);
    let other = Content::Edit { target: first, body: Arc::from(&b"\"no\""[..]) };
    assert_eq!(desk.refused("bob", "room", desk::sending(1, other)).await, Code::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_made_under_load_and_a_start_goes_on_from_the_last_of_them() {
    let desk = Desk::with(channels::Settings { checkpoint_after: 50, ..desk::settings() }).await;
    desk.group("room").await;
    let pending: Vec<_> =
        (1..=2_000).map(|csn| desk.start("ann", "room", desk::sending(csn, text("one")))).collect();
    let mut last = None;
    for answer in pending {
        last = Some(sent(answer.await));
    }
    let last = last.expect("some were sent");
    let mut covered = 0;
    for _ in 0..400 {
        for partition in 0..desk::PARTITIONS {
            let extent = backplane::Log::extent(&desk.log, partition).await.expect("it answers");
            covered = covered.max(extent.checkpoint.map_or(0, |at| at.n));
        }
        if covered > 1_950 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(covered > 1_950, "{covered}");
    let desk = desk.crash().await;
    let look = desk.handle.look(&channel("room"), Some(&user("bob")), None).await.expect("bob is in it");
    assert_eq!((look.unread, look.head.at.place(last.region)), (2_000, Some(last.place)));
    assert_eq!(desk.say("ann", "room", 2_001, "and").await.place.epoch, last.place.epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_channel_does_not_keep_is_neither_shown_nor_found_nor_in_the_log() {
    let quick = || channels::Settings {
        checkpoint_after: 50,
        retain_every: std::time::Duration::from_millis(20),
        ..desk::settings()
    };
    let desk = Desk::with(quick()).await;
    let settings = messaging::event::Settings { keep_newest: 100, ..Default::default() };
    let members = vec![(user("bob"), messaging::roles::Role::Member)];
    let ask = Ask::Create { kind: messaging::event::Kind::Group, settings, members };
    assert_eq!(desk.ask("ann", "room", ask).await, messaging::command::Answer::Done);
    let mut ids = Vec::new();
    for csn in 1..=600 {
        ids.push(desk.say("ann", "room", csn, "same").await);
    }
    let partition = {
        let mut found = None;
        for partition in 0..desk::PARTITIONS {
            let head = backplane::Log::extent(&desk.log, partition).await.expect("it answers").head.n;
            found = found.or((head >= 600).then_some(partition));
        }
        found.expect("one has all of it")
    };
    let mut first = 0;
    for csn in 601..=2_000 {
        desk.say("ann", "room", csn, "same").await;
        first = backplane::Log::extent(&desk.log, partition).await.expect("it answers").first;
        if first > 300 {
            break;
        }
    }
    assert!(first > 300, "{first}");
    let desk = desk.crash().await;
    let look = desk.handle.look(&channel("room"), Some(&user("bob")), None).await.expect("bob is in it");
    let floor = look.floor.place(ids[0].region).expect("something is gone");
    assert!(floor.n >= first - 1);
    assert!(look.unread >= 100 && look.unread < 400, "{}", look.unread);
    let all = desk.handle.events(&channel("room"), &Cursor::default(), 1_000).await.expect("it answers");
    assert!(all[0].id.place.n >= first);
    let anchor = messaging::history::Anchor::AfterId(ids[0]);
    let page = desk.handle.history(&channel("room"), Some(&user("bob")), Some(&anchor), 1).await;
    assert_eq!(page.expect("it answers").items[0].event.id.place.n, floor.n + 1);
    assert_eq!(
        desk.refused("bob", "room", desk::sending(1, Content::Delete { target: ids[0] })).await,
        Code::NoTarget
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_hears_it_last_and_cannot_look_any_more() {
    let desk = Desk::new().await;
    desk.group("room").await;
    let listener = desk.handle.listen();
    listener.follow(&channel("room"));
    let ask = Ask::Member { user: user("bob"), change: Change::Removed };
    desk.ask("ann", "room", ask).await;
    let removed = event(&listener).await;
    let look = desk.handle.look(&channel("room"), Some(&user("bob")), None).await;
    assert_eq!(look.expect_err("bob is out").code, Code::Removed(removed.id));
    let look = desk.handle.look(&channel("room"), Some(&user("joe")), None).await;
    assert_eq!(look.expect_err("joe never was in it").code, Code::NotMember);
    let look = desk.handle.look(&channel("elsewhere"), None, None).await;
    assert_eq!(look.expect_err("there is none").code, Code::NoChannel);
}
