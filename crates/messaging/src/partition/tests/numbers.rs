use super::*;

#[test]
fn a_send_that_is_tried_again_is_stored_once() {
    let mut desk = Desk::with_group("eu");
    let event = desk.sent("ann", 1, text("hello"));
    let length = desk.log.len();
    assert_eq!(desk.sent("ann", 1, text("hello")), event);
    assert_eq!(desk.log.len(), length);
    assert_eq!(desk.refused("ann", Ask::Send(Box::new(numbered(1, text("other"))))), Code::CsnConflict);
}

#[test]
fn a_retry_before_the_first_is_committed_is_answered_with_it() {
    let mut desk = Desk::with_group("eu");
    let first = desk.hand("ann", Ask::Send(Box::new(numbered(1, text("hello")))));
    let second = desk.hand("ann", Ask::Send(Box::new(numbered(1, text("hello")))));
    assert_eq!(desk.owner.poll_output(), None);
    desk.settle();
    assert_eq!(desk.answers[&first], desk.answers[&second]);
}

#[test]
fn after_a_final_refusal_the_next_send_follows_the_last_accepted() {
    let mut desk = Desk::with_group("eu");
    desk.sent("ann", 1, text("1"));
    let huge = "x".repeat(Limits::default().body + 1);
    assert_eq!(desk.refused("ann", Ask::Send(Box::new(numbered(2, text(&huge))))), Code::TooLarge);
    assert_eq!(desk.refused("ann", Ask::Send(Box::new(numbered(3, text("3"))))), Code::CsnGap(1));
    let next = Send { follows: Some(1), ..numbered(3, text("3")) };
    assert!(matches!(desk.ask("ann", Ask::Send(Box::new(next))), Answer::Sent { .. }));
    assert_eq!(desk.refused("ann", Ask::Send(Box::new(numbered(2, text("2"))))), Code::CsnStale);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let mut desk = Desk::with_group("eu");
    assert_eq!(desk.refused("ann", Ask::Send(Box::new(numbered(0, text("x"))))), Code::Malformed);
    let itself = Send { follows: Some(1), ..numbered(1, text("x")) };
    assert_eq!(desk.refused("ann", Ask::Send(Box::new(itself))), Code::Malformed);
    assert_eq!(desk.refused("ann", Ask::Send(Box::new(numbered(u64::MAX, text("x"))))), Code::CsnGap(0));
}

#[test]
fn who_was_muted_meanwhile_still_hears_what_became_of_an_earlier_send() {
    let mut desk = Desk::with_group("eu");
    let event = desk.sent("bob", 1, text("hello"));
    desk.change("ann", "bob", Change::Muted { until: UnixMillis(u64::MAX) });
    assert_eq!(desk.sent("bob", 1, text("hello")), event);
    assert_eq!(desk.refused("bob", Ask::Send(Box::new(numbered(2, text("x"))))), Code::Muted);
}

#[test]
fn a_place_that_the_log_never_had_is_refused_with_an_alarm() {
    let mut desk = Desk::with_group("eu");
    desk.told.clear();
    let seen = vec![Token { seen: crate::testing::vector(&["eu.1.99"]) }];
    let send = Send { seen, ..numbered(1, text("x")) };
    assert_eq!(desk.refused("ann", Ask::Send(Box::new(send))), Code::BeyondHead);
    assert_eq!(
        desk.told,
        [Output::BeyondHead { channel: channel("room"), place: Place { epoch: 1, n: 99 } }]
    );
}

#[test]
fn what_was_presented_is_in_the_token_and_so_is_the_event() {
    let mut desk = Desk::with_group("eu");
    let first = desk.sent("ann", 1, text("1"));
    let seen = vec![Token { seen: crate::testing::vector(&["eu.1.3"]) }];
    let Answer::Sent { event, token } =
        desk.ask("bob", Ask::Send(Box::new(Send { seen, ..numbered(1, text("2")) })))
    else {
        panic!("it was not accepted");
    };
    let lineage = Lineage::default();
    assert!(token.seen.covers(&lineage, first) && token.seen.covers(&lineage, event));
}

use crate::place::Lineage;

#[test]
fn the_numbers_of_who_has_been_silent_for_too_long_are_forgotten_while_others_send() {
    let mut desk = Desk::with_group("eu");
    desk.sent("bob", 1, text("x"));
    desk.sent("eve", 1, text("x"));
    desk.now.wall.0 += crate::sends::FORGOTTEN + 1;
    desk.sent("ann", 1, text("x"));
    desk.sent("ann", 2, text("x"));
    let known = ["ann", "bob", "eve"].map(|who| desk.room().sends(&user(who), &device("phone")).is_some());
    assert_eq!(known, [true, false, false]);
    desk.assert_rebuilds();
}
