use super::*;

#[test]
fn who_is_muted_is_silent_until_the_time_and_no_longer() {
    let mut desk = Desk::with_group("eu");
    let until = UnixMillis(desk.now.wall.0 + 10_000);
    desk.change("ann", "bob", Change::Muted { until });
    assert_eq!(desk.refused("bob", Ask::Send(Box::new(numbered(1, text("x"))))), Code::Muted);
    desk.pass(Duration::from_secs(10));
    desk.sent("bob", 1, text("x"));
}

#[test]
fn who_is_banned_is_out_and_stays_out_until_the_time() {
    let mut desk = Desk::new("eu");
    desk.create(Settings { public: true, ..Settings::default() });
    let until = UnixMillis(desk.now.wall.0 + 10_000);
    desk.change("ann", "bob", Change::Banned { until });
    assert!(!desk.room().members().contains_key(&user("bob")));
    assert_eq!(desk.refused("bob", Ask::Join), Code::Banned);
    desk.pass(Duration::from_secs(10));
    assert_eq!(desk.ask("bob", Ask::Join), Answer::Done);
}

#[test]
fn a_ban_of_somebody_who_never_was_in_holds_and_can_be_lifted() {
    let mut desk = Desk::new("eu");
    desk.create(Settings { public: true, ..Settings::default() });
    desk.change("ann", "joe", Change::Banned { until: UnixMillis(u64::MAX) });
    assert_eq!(desk.refused("joe", Ask::Join), Code::Banned);
    desk.change("ann", "joe", Change::Banned { until: UnixMillis(0) });
    assert_eq!(desk.ask("joe", Ask::Join), Answer::Done);
}

#[test]
fn slow_mode_says_how_long_to_wait_and_spares_who_keeps_order() {
    let mut desk = Desk::new("eu");
    desk.create(Settings { slow_mode: 5_000, ..Settings::default() });
    desk.sent("bob", 1, text("1"));
    desk.pass(Duration::from_secs(2));
    let Answer::Refused(refusal) = desk.send("bob", 2, text("2")) else { panic!("too soon") };
    assert_eq!((refusal.code, refusal.retry_after), (Code::SlowMode, Some(3_000)));
    let target = id("eu.1.3");
    let react = acting(2, Content::Reaction { target, emoji: "+1".into(), on: true }, "bob");
    assert!(matches!(desk.ask("bob", react), Answer::Sent { .. }), "reactions are no messages");
    desk.pass(Duration::from_secs(3));
    desk.sent("bob", 3, text("2"));
    desk.sent("ann", 1, text("1"));
    desk.sent("ann", 2, text("2"));
}

#[test]
fn a_frozen_channel_takes_messages_of_who_keeps_order_alone() {
    let mut desk = Desk::with_group("eu");
    let frozen = Settings { frozen: true, ..Settings::default() };
    assert_eq!(desk.refused("bob", Ask::Update { settings: frozen.clone() }), Code::Forbidden);
    desk.change("ann", "bob", Change::Role { role: Role::Moderator });
    assert_eq!(desk.ask("bob", Ask::Update { settings: frozen.clone() }), Answer::Done);
    assert_eq!(desk.refused("eve", Ask::Send(Box::new(numbered(1, text("x"))))), Code::Forbidden);
    desk.sent("bob", 1, text("x"));
    let public = Settings { public: true, ..frozen };
    assert_eq!(
        desk.refused("bob", Ask::Update { settings: public }),
        Code::Forbidden,
        "that is the owner's to decide"
    );
}

#[test]
fn the_event_that_removed_somebody_is_remembered_as_the_last_they_receive() {
    let mut desk = Desk::with_group("eu");
    desk.change("ann", "bob", Change::Removed);
    let removed = desk.room().outsider(&user("bob")).and_then(|other| other.removed);
    assert_eq!(removed, desk.delivered().last().copied());
    let length = desk.log.len();
    assert_eq!(desk.change("ann", "bob", Change::Removed), Answer::Done);
    assert_eq!(desk.log.len(), length, "once is enough");
}

#[test]
fn slow_mode_does_not_keep_people_out_for_as_long_as_another_regions_clock_is_ahead() {
    let mut desk = Desk::new("eu");
    desk.create(Settings { slow_mode: 5_000, ..Settings::default() });
    desk.now.wall.0 += 3_600_000;
    desk.sent("bob", 1, text("an hour ahead"));
    desk.now.wall.0 -= 3_600_000;
    desk.pass(Duration::from_secs(6));
    desk.sent("bob", 2, text("the clock is right again"));
}

#[test]
fn invitations_of_people_who_do_not_exist_are_bounded() {
    let mut desk = Desk::with_group("eu");
    for index in 0..Limits::default().outsiders {
        let change = Change::Invited { role: Role::Guest };
        desk.hand("bob", Ask::Member { user: user(&format!("nobody{index}")), change });
        desk.settle();
    }
    let change = Change::Invited { role: Role::Guest };
    assert_eq!(desk.refused("bob", Ask::Member { user: user("joe"), change }), Code::TooLarge);
}

#[test]
fn nobody_is_the_server_by_name() {
    let mut desk = Desk::with_group("eu");
    let origin = Origin { connection: 9, request: 0, user: Some(user("server")), device: device("phone") };
    desk.owner.handle(desk.now, Command { origin, channel: channel("room"), ask: Ask::Join });
    desk.settle();
    let Some(Answer::Refused(refusal)) = desk.answers.get(&0) else { panic!("it was not refused") };
    assert_eq!(refusal.code, Code::Forbidden);
}
