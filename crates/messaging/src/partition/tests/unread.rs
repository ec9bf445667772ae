use super::*;
use crate::testing::vector;

fn read(desk: &mut Desk, who: &str, place: &str) -> ReadMark {
    let at = desk.delivered_vector(place);
    let request =
        desk.hand(who, Ask::Read { read: Cursor { at, ..Cursor::default() }, delivered: Cursor::default() });
    desk.pass(Duration::from_secs(1));
    match desk.answers.get(&request) {
        Some(Answer::Marked(mark)) => mark.clone(),
        other => panic!("the marks were not answered: {other:?}"),
    }
}

impl Desk {
    /// The cursor of a stream that was delivered everything up to this event.
    fn delivered_vector(&self, place: &str) -> Vector {
        let event = self.told.iter().find_map(|output| match output {
            Output::Deliver(event) if event.id == id(place) => Some(event),
            _ => None,
        });
        let event = event.expect("it was delivered");
        std::iter::once((event.id.region, Mark { place: event.id.place, count: event.count })).collect()
    }

    fn unread(&self, who: &str) -> u64 {
        self.room().unread(&user(who))
    }
}

#[test]
fn unread_messages_are_counted_without_a_write_and_own_ones_are_none() {
    let mut desk = Desk::with_group("eu");
    for csn in 1..=5 {
        desk.sent("ann", csn, text("x"));
    }
    let length = desk.log.len();
    assert_eq!((desk.unread("ann"), desk.unread("bob"), desk.unread("eve")), (0, 5, 5));
    read(&mut desk, "bob", "eu.1.5");
    assert_eq!((desk.unread("bob"), desk.unread("eve")), (2, 5));
    assert_eq!(desk.log.len(), length + 1, "one record for the window");
}

#[test]
fn edits_reactions_and_joins_are_no_unread_messages() {
    let mut desk = Desk::with_group("eu");
    let target = desk.sent("ann", 1, text("x"));
    desk.ask("ann", acting(2, Content::Edit { target, body: Arc::from(&b"y"[..]) }, "ann"));
    desk.ask("ann", acting(3, Content::Reaction { target, emoji: "+1".into(), on: true }, "ann"));
    desk.change("ann", "joe", Change::Joined { role: Role::Member });
    assert_eq!(desk.unread("bob"), 1);
}

#[test]
fn marks_never_go_back_and_never_pass_the_head() {
    let mut desk = Desk::with_group("eu");
    for csn in 1..=3 {
        desk.sent("ann", csn, text("x"));
    }
    let high = read(&mut desk, "bob", "eu.1.5");
    assert_eq!(read(&mut desk, "bob", "eu.1.3"), high);
    let beyond = Cursor { at: vector(&["eu.1.50"]), ..Cursor::default() };
    assert_eq!(
        desk.refused("bob", Ask::Read { read: beyond, delivered: Cursor::default() }),
        Code::BeyondHead
    );
}

#[test]
fn marks_of_a_window_are_one_record_and_are_answered_when_it_lasts() {
    let mut desk = Desk::with_group("eu");
    desk.sent("ann", 1, text("x"));
    let (length, at) = (desk.log.len(), desk.delivered_vector("eu.1.3"));
    let ask = Ask::Read { read: Cursor { at, ..Cursor::default() }, delivered: Cursor::default() };
    let requests = ["bob", "eve"].map(|who| desk.hand(who, ask.clone()));
    desk.settle();
    assert!(requests.iter().all(|request| !desk.answers.contains_key(request)));
    desk.pass(Limits::default().mark_window);
    assert!(requests.iter().all(|request| desk.answers.contains_key(request)));
    assert_eq!(desk.log.len(), length + 1);
}

#[test]
fn an_answer_marks_read_what_was_seen_and_itself() {
    let mut desk = Desk::with_group("eu");
    desk.sent("ann", 1, text("1"));
    desk.sent("ann", 2, text("2"));
    let seen = vec![Token { seen: desk.delivered_vector("eu.1.4") }];
    desk.ask("bob", Ask::Send(Box::new(Send { seen, ..numbered(1, text("3")) })));
    assert_eq!((desk.unread("bob"), desk.unread("ann"), desk.unread("eve")), (0, 1, 3));
    desk.assert_rebuilds();
}

#[test]
fn an_own_message_does_not_mark_read_what_was_not_seen() {
    let mut desk = Desk::with_group("eu");
    desk.sent("ann", 1, text("1"));
    desk.sent("bob", 1, text("2"));
    assert_eq!(desk.unread("bob"), 2, "the one not seen, and behind it the own");
}

#[test]
fn who_comes_in_has_nothing_unread_and_counts_from_there() {
    let mut desk = Desk::with_group("eu");
    desk.sent("ann", 1, text("1"));
    desk.change("ann", "joe", Change::Joined { role: Role::Member });
    assert_eq!(desk.unread("joe"), 0);
    desk.sent("ann", 2, text("2"));
    assert_eq!(desk.unread("joe"), 1);
}

#[test]
fn mentions_are_counted_until_they_are_read() {
    let mut desk = Desk::with_group("eu");
    let mention = |who: &[&str], everyone| Content::Message {
        body: Arc::from(&b"x"[..]),
        reply_to: None,
        thread: None,
        mentions: who.iter().map(|name| user(name)).collect(),
        everyone,
    };
    desk.sent("ann", 1, mention(&["bob", "ann", "nobody"], false));
    desk.sent("ann", 2, mention(&[], true));
    let count = |desk: &Desk| ["ann", "bob", "eve"].map(|who| desk.room().unread_mentions(&user(who)));
    assert_eq!(count(&desk), [0, 2, 1]);
    read(&mut desk, "bob", "eu.1.3");
    assert_eq!(count(&desk), [0, 1, 1]);
    desk.assert_rebuilds();
}

#[test]
fn what_retention_removed_is_neither_unread_nor_mentioned() {
    let mut desk = Desk::with_group("eu");
    for csn in 1..=5 {
        desk.sent("ann", csn, text("x"));
    }
    let floor = desk.delivered_vector("eu.1.5");
    desk.owner.forget(&channel("room"), &floor);
    assert_eq!(desk.unread("bob"), 2);
}

#[test]
fn marks_that_do_not_move_are_answered_and_write_nothing() {
    let mut desk = Desk::with_group("eu");
    desk.sent("ann", 1, text("x"));
    let mark = read(&mut desk, "bob", "eu.1.3");
    let length = desk.log.len();
    for _ in 0..3 {
        assert_eq!(read(&mut desk, "bob", "eu.1.3"), mark);
    }
    assert_eq!(desk.log.len(), length);
}
