//! Pages, lists and searches: what they show is what was said, however it got into the index.

mod desk;

use std::sync::Arc;

use channels::history::{Page, Shown};
use desk::{Desk, channel, sending, sent, text, user};
use messaging::command::{Answer, Ask, Code};
use messaging::event::{Change, Content, Kind, Settings};
use messaging::history::Anchor;
use messaging::place::{Cursor, EventId, Mark};
use messaging::roles::Role;

fn words(item: &Shown) -> String {
    let body = match (&item.edited, &item.event.content) {
        _ if item.deleted => return "deleted".to_owned(),
        (Some(body), _) | (None, Content::Message { body, .. }) => body,
        _ => return "-".to_owned(),
    };
    let body: serde_json::Value = serde_json::from_slice(body).expect("it is JSON");
    body["text"].as_str().or(body.as_str()).unwrap_or("?").to_owned()
}

async fn page(desk: &Desk, who: &str, anchor: Option<Anchor>, limit: usize) -> Page {
    let page = desk.handle.history(&channel("room"), Some(&user(who)), anchor.as_ref(), limit).await;
    page.expect("it answers")
}

async fn shown(desk: &Desk, anchor: Option<Anchor>, limit: usize) -> Vec<String> {
    page(desk, "bob", anchor, limit).await.items.iter().map(words).collect()
}

fn react(target: EventId, on: bool) -> Content {
    Content::Reaction { target, emoji: Arc::from("+1"), on }
}

/// Nine messages, with joins and much else between them, of which some are changed.
async fn conversation(desk: &Desk) -> Vec<EventId> {
    desk.group("room").await;
    let mut ids = Vec::new();
    for csn in 1..=9 {
        ids.push(desk.say("ann", "room", csn, &format!("word{csn} all")).await);
        desk.group(&format!("elsewhere{csn}")).await;
    }
    let body: Arc<[u8]> = Arc::from(&br#"{"text":"changed all"}"#[..]);
    sent(desk.send("ann", "room", 10, Content::Edit { target: ids[1], body }).await);
    sent(desk.send("ann", "room", 11, Content::Delete { target: ids[2] }).await);
    for (csn, on) in [(1, true), (2, false), (3, true), (4, true)] {
        sent(desk.send("bob", "room", csn, react(ids[0], on)).await);
    }
    sent(desk.send("eve", "room", 1, react(ids[0], true)).await);
    ids
}

/// What every question about the conversation has to give.
async fn check(desk: &Desk, ids: &[EventId]) {
    assert_eq!(shown(desk, None, 3).await, ["word9 all", "word8 all", "word7 all"]);
    let before = Some(Anchor::BeforeId(ids[3]));
    assert_eq!(shown(desk, before, 9).await, ["deleted", "changed all", "word1 all", "-"]);
    assert_eq!(shown(desk, Some(Anchor::AfterId(ids[6])), 9).await, ["word8 all", "word9 all"]);
    let around = page(desk, "bob", Some(Anchor::AroundId(ids[5])), 3).await;
    let numbers: Vec<EventId> = around.items.iter().map(|item| item.event.id).collect();
    assert_eq!(
        (numbers, around.token.seen.place(ids[0].region)),
        (vec![ids[4], ids[5], ids[6]], Some(ids[6].place))
    );
    let at = std::iter::once((ids[3].region, Mark { place: ids[3].place, count: 4 })).collect();
    let cursor = Cursor { at, ..Cursor::default() };
    assert_eq!(shown(desk, Some(Anchor::Before(cursor.clone())), 2).await, ["word4 all", "deleted"]);
    assert_eq!(shown(desk, Some(Anchor::After(cursor)), 2).await, ["word5 all", "word6 all"]);
    let first = page(desk, "bob", Some(Anchor::AroundId(ids[0])), 1).await.items.remove(0);
    let totals: Vec<_> = first.totals.iter().map(|total| (&*total.emoji, total.count, total.mine)).collect();
    assert_eq!(totals, [("+1", 2, true)]);
    let who = desk.handle.reactions(&channel("room"), ids[0], None, 10).await.expect("it answers");
    assert_eq!(who, [(Arc::from("+1"), user("bob")), (Arc::from("+1"), user("eve"))]);
    let behind = desk.handle.reactions(&channel("room"), ids[0], Some(("+1", &user("bob"))), 10).await;
    assert_eq!(behind.expect("it answers").len(), 1);
    assert_eq!(found(desk, Some("room"), "changed").await, ["changed all"]);
    assert_eq!(found(desk, Some("room"), "ALL word4").await, ["word4 all"]);
    assert_eq!(found(desk, None, "word2").await, [""; 0], "it says so no more");
    assert_eq!(found(desk, None, "word3").await, [""; 0], "it is deleted");
}

async fn found(desk: &Desk, room: Option<&str>, query: &str) -> Vec<String> {
    let room = room.map(channel);
    let found = desk.handle.search(&user("eve"), room.as_ref(), query, None, 10).await.expect("it answers");
    found.items.iter().map(|(_, item)| words(item)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_shows_edits_deletes_and_totals_also_from_an_index_that_was_read_again_or_made_anew() {
    let desk = Desk::new().await;
    let ids = conversation(&desk).await;
    check(&desk, &ids).await;
    let desk = desk.restart().await;
    check(&desk, &ids).await;
    let desk = desk.crash().await;
    check(&desk, &ids).await;
    let desk = desk.without_index().await;
    check(&desk, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_everything_that_was_answered_before_it_was_asked_for() {
    let desk = Desk::new().await;
    desk.group("room").await;
    for csn in 1..=200 {
        let id = desk.say("ann", "room", csn, "hello").await;
        let newest = page(&desk, "ann", None, 1).await;
        assert_eq!(newest.items[0].event.id, id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_thirty_begin_behind_a_cursor_that_can_be_resumed_from() {
    let desk = Desk::new().await;
    let ids = conversation(&desk).await;
    let none = Default::default();
    let cursor = desk.handle.last(&channel("room"), &none, 3).await.expect("it answers");
    let events = desk.handle.events(&channel("room"), &cursor, 100).await.expect("it answers");
    assert_eq!(events[0].id, ids[6]);
    assert_eq!(events[0].prev, cursor.at.place(ids[6].region), "nothing is between");
    let all = desk.handle.last(&channel("room"), &none, 100).await.expect("it answers");
    assert_eq!(all, Cursor::default());
    let upto = desk.handle.read_upto(&channel("room"), &cursor, ids[1]).await.expect("it answers");
    assert_eq!(upto.at.get(ids[1].region), Some(Mark { place: ids[1].place, count: 2 }));
    let none = desk.handle.read_upto(&channel("elsewhere1"), &cursor, ids[1]).await;
    assert_eq!(none.expect_err("it is of another channel").code, Code::NoTarget);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_channels_has_what_changed_last_first_and_counts_what_is_not_read() {
    let desk = Desk::new().await;
    let names: Vec<String> = (0..60).map(|at| format!("c{at:02}")).collect();
    for name in &names {
        desk.group(name).await;
    }
    // Clocks have milliseconds, and a disk may be faster.
    let tick = || tokio::time::sleep(std::time::Duration::from_millis(3));
    tick().await;
    desk.say("ann", "c07", 1, "hello").await;
    tick().await;
    let mention = Content::Message {
        body: Arc::from(&b"\"hi\""[..]),
        reply_to: None,
        thread: None,
        mentions: vec![user("bob")],
        everyone: false,
    };
    sent(desk.send("ann", "c08", 1, mention).await);
    // The mention is in bob's inbox, which is a channel of his.
    while desk.handle.look(&channels::inbox_of(&user("bob")), None, None).await.is_err() {
        tick().await;
    }
    tick().await;
    desk.ask("eve", "c09", Ask::Leave).await;
    for desk in [desk.restart().await] {
        let first = desk.handle.channels_of(&user("bob"), None, 50).await.expect("it answers");
        let top: Vec<_> =
            first[..4].iter().map(|one| (one.channel.as_str(), one.unread, one.mentions)).collect();
        assert_eq!(top, [("c09", 0, 0), ("inbox:bob", 1, 0), ("c08", 1, 1), ("c07", 1, 0)]);
        assert_eq!(words(first[3].last.as_ref().expect("something was said")), "hello");
        let end = first.last().map(|one| (one.changed, one.channel.clone()));
        let rest = desk.handle.channels_of(&user("bob"), end.as_ref(), 50).await.expect("it answers");
        assert_eq!((first.len(), rest.len()), (50, 11));
        assert!(rest.iter().all(|one| first.iter().all(|other| other.channel != one.channel)));
        let eve = desk.handle.channels_of(&user("eve"), None, 50).await.expect("it answers");
        assert!(eve.iter().all(|one| one.channel != channel("c09")), "eve has left");
        assert_eq!(desk.handle.channels_of(&user("joe"), None, 50).await, Ok(Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_from_the_joining_on_finds_nothing_older_in_pages_lists_and_searches() {
    let desk = Desk::new().await;
    let settings = Settings { since_join: true, public: true, ..Settings::default() };
    let ask = Ask::Create { kind: Kind::Group, settings, members: Vec::new() };
    assert_eq!(desk.ask("ann", "room", ask).await, Answer::Done);
    desk.say("ann", "room", 1, "secret").await;
    assert_eq!(desk.ask("eve", "room", Ask::Join).await, Answer::Done);
    assert_eq!(shown_to(&desk, "eve").await, [""; 0]);
    assert_eq!(found(&desk, Some("room"), "secret").await, [""; 0]);
    desk.say("ann", "room", 2, "open secret").await;
    assert_eq!(shown_to(&desk, "eve").await, ["open secret"]);
    assert_eq!(found(&desk, None, "secret").await, ["open secret"]);
    let strange = desk.handle.history(&channel("room"), Some(&user("joe")), None, 9).await;
    assert_eq!(strange.expect_err("joe is not in it").code, Code::NotMember);
    let strange = desk.handle.search(&user("joe"), Some(&channel("room")), "secret", None, 9).await;
    assert_eq!(strange.expect_err("joe is not in it").code, Code::NotMember);
}

async fn shown_to(desk: &Desk, who: &str) -> Vec<String> {
    page(desk, who, None, 9).await.items.iter().map(words).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_finds_much_goes_on_where_it_stopped() {
    let desk = Desk::new().await;
    for room in ["a", "b", "c"] {
        desk.group(room).await;
        for csn in 1..=7 {
            desk.say("ann", room, csn, &format!("same {room}{csn}")).await;
        }
    }
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let found =
            desk.handle.search(&user("bob"), None, "same", after.as_ref(), 4).await.expect("it answers");
        assert!(found.items.len() <= 4);
        all.extend(found.items.iter().map(|(_, item)| words(item)));
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    let expected = ["a", "b", "c"].map(|room| (1..=7).rev().map(move |csn| format!("same {room}{csn}")));
    assert_eq!(all, expected.into_iter().flatten().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_readers_are_paged_and_a_sender_or_newcomer_is_no_reader() {
    let desk = Desk::new().await;
    desk.group("room").await;
    let id = desk.say("ann", "room", 1, "hello").await;
    let joined = Change::Joined { role: Role::Member };
    desk.ask("ann", "room", Ask::Member { user: user("joe"), change: joined }).await;
    let at: messaging::place::Vector =
        std::iter::once((id.region, Mark { place: id.place, count: 1 })).collect();
    let all = Cursor { at, ..Cursor::default() };
    desk.ask("bob", "room", Ask::Read { read: all.clone(), delivered: all.clone() }).await;
    desk.ask("eve", "room", Ask::Read { read: Cursor::default(), delivered: all.clone() }).await;
    let readers =
        desk.handle.readers(&channel("room"), Some(&user("ann")), id, None, 100).await.expect("it answers");
    assert_eq!((readers.read, readers.delivered), (vec![user("bob")], vec![user("bob"), user("eve")]));
    let two = desk.handle.members(&channel("room"), None, Some(&user("ann")), 2).await.expect("it answers");
    let names: Vec<_> = two.iter().map(|member| member.user.as_str()).collect();
    assert_eq!(names, ["bob", "eve"]);
    let half = desk.handle.readers(&channel("room"), None, id, None, 2).await.expect("it answers");
    assert_eq!(half.next, Some(user("bob")));
    let rest =
        desk.handle.readers(&channel("room"), None, id, half.next.as_ref(), 100).await.expect("it answers");
    assert_eq!((rest.delivered, rest.next), (vec![user("eve")], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_a_word_is_refused() {
    let desk = Desk::new().await;
    let found = desk.handle.search(&user("bob"), None, " ,.- ", None, 4).await;
    assert_eq!(found.expect_err("there is nothing to find").code, Code::Malformed);
    assert_eq!(desk.refused("ann", "room", sending(1, text("x"))).await, Code::NoChannel);
}
