use super::*;

fn create(kind: Kind, members: &[&str]) -> Ask {
    let members = members.iter().map(|name| (user(name), Role::Member)).collect();
    Ask::Create { kind, settings: Settings::default(), members }
}

#[test]
fn a_direct_channel_has_two_members_for_ever() {
    let mut desk = Desk::new("eu");
    assert_eq!(desk.refused("ann", create(Kind::Direct, &["bob", "eve"])), Code::Malformed);
    assert_eq!(desk.refused("ann", create(Kind::Direct, &["ann"])), Code::Malformed);
    assert_eq!(desk.ask("ann", create(Kind::Direct, &["bob"])), Answer::Done);
    assert_eq!(
        desk.refused(
            "ann",
            Ask::Member { user: user("eve"), change: Change::Invited { role: Role::Member } }
        ),
        Code::Forbidden
    );
    assert_eq!(desk.refused("eve", Ask::Join), Code::Forbidden);
    assert_eq!(
        desk.refused("ann", Ask::Member { user: user("bob"), change: Change::Removed }),
        Code::Forbidden
    );
    desk.sent("bob", 1, text("hello"));
}

#[test]
fn the_server_alone_makes_an_inbox_and_writes_into_it() {
    let mut desk = Desk::new("eu");
    assert_eq!(desk.refused("ann", create(Kind::Inbox, &["ann"])), Code::Malformed);
    assert_eq!(desk.ask("server", create(Kind::Inbox, &["ann"])), Answer::Done);
    assert_eq!(desk.refused("ann", Ask::Send(Box::new(numbered(1, text("x"))))), Code::Forbidden);
    desk.sent("server", 1, text("missed call"));
    assert_eq!(desk.room().unread(&user("ann")), 1);
}

#[test]
fn asking_for_a_channel_twice_is_no_error_unless_it_is_somebody_elses() {
    let mut desk = Desk::with_group("eu");
    let length = desk.log.len();
    assert_eq!(desk.ask("ann", create(Kind::Group, &["bob"])), Answer::Done);
    assert_eq!(desk.log.len(), length);
    assert_eq!(desk.refused("joe", create(Kind::Group, &[])), Code::Exists);
    assert_eq!(desk.refused("ann", create(Kind::Live, &[])), Code::Exists);
}

#[test]
fn who_is_not_in_a_channel_neither_sends_nor_reads_nor_signals() {
    let mut desk = Desk::with_group("eu");
    assert_eq!(desk.refused("joe", Ask::Send(Box::new(numbered(1, text("x"))))), Code::NotMember);
    let read = Ask::Read { read: Cursor::default(), delivered: Cursor::default() };
    assert_eq!(desk.refused("joe", read), Code::NotMember);
    let signal = Ask::Ephemeral { name: "wave".into(), body: Arc::from(&b""[..]) };
    assert_eq!(desk.refused("joe", signal), Code::NotMember);
    assert_eq!(desk.refused("joe", Ask::Join), Code::Forbidden);
}

#[test]
fn an_invitation_lets_somebody_in_once_with_its_role() {
    let mut desk = Desk::with_group("eu");
    assert_eq!(desk.change("bob", "joe", Change::Invited { role: Role::Guest }), Answer::Done);
    assert_eq!(desk.ask("joe", Ask::Join), Answer::Done);
    assert_eq!(desk.room().members()[&user("joe")].role, Role::Guest);
    assert_eq!(desk.ask("joe", Ask::Leave), Answer::Done);
    assert_eq!(desk.refused("joe", Ask::Join), Code::Forbidden, "the invitation is used up");
}

#[test]
fn anybody_joins_a_public_channel_and_an_audience_as_guests() {
    let mut desk = Desk::new("eu");
    let settings = Settings { public: true, ..Settings::default() };
    desk.ask("ann", Ask::Create { kind: Kind::Live, settings, members: Vec::new() });
    assert_eq!(desk.ask("joe", Ask::Join), Answer::Done);
    assert_eq!(desk.room().members()[&user("joe")].role, Role::Guest);
    assert_eq!(desk.refused("joe", Ask::Send(Box::new(numbered(1, text("x"))))), Code::Forbidden);
}

#[test]
fn nobody_gives_more_than_they_have_or_acts_on_who_stands_as_high() {
    let mut desk = Desk::with_group("eu");
    let change = |name: &str, change| Ask::Member { user: user(name), change };
    assert_eq!(desk.refused("bob", change("joe", Change::Invited { role: Role::Owner })), Code::Forbidden);
    assert_eq!(desk.refused("bob", change("eve", Change::Removed)), Code::Forbidden);
    desk.change("ann", "bob", Change::Role { role: Role::Moderator });
    desk.change("ann", "eve", Change::Role { role: Role::Moderator });
    assert_eq!(desk.refused("bob", change("eve", Change::Removed)), Code::Forbidden);
    assert_eq!(
        desk.refused("bob", change("ann", Change::Banned { until: UnixMillis(u64::MAX) })),
        Code::Forbidden
    );
    assert_eq!(desk.refused("bob", change("bob", Change::Role { role: Role::Owner })), Code::Forbidden);
    assert_eq!(desk.change("ann", "eve", Change::Removed), Answer::Done);
}

#[test]
fn only_its_author_edits_a_message_and_a_moderator_deletes_it() {
    let mut desk = Desk::with_group("eu");
    let target = desk.sent("bob", 1, text("hello"));
    let body: Body = Arc::from(&b"bye"[..]);
    let edit = Content::Edit { target, body };
    assert_eq!(desk.refused("ann", acting(1, edit.clone(), "bob")), Code::Forbidden);
    assert!(matches!(desk.ask("bob", acting(2, edit, "bob")), Answer::Sent { .. }));
    assert_eq!(desk.refused("eve", acting(1, Content::Delete { target }, "bob")), Code::Forbidden);
    assert!(matches!(desk.ask("ann", acting(1, Content::Delete { target }, "bob")), Answer::Sent { .. }));
}

#[test]
fn what_is_no_message_of_this_channel_is_not_acted_on() {
    let mut desk = Desk::with_group("eu");
    let target = desk.sent("bob", 1, text("hello"));
    assert_eq!(
        desk.refused("bob", Ask::Send(Box::new(numbered(2, Content::Delete { target })))),
        Code::NoTarget
    );
    let beyond = Content::Delete { target: id("eu.1.99") };
    assert_eq!(desk.refused("bob", acting(2, beyond, "bob")), Code::NoTarget);
    let forged = Content::Member { user: user("bob"), change: Change::Role { role: Role::Owner } };
    assert_eq!(desk.refused("bob", Ask::Send(Box::new(numbered(2, forged)))), Code::Malformed);
}

#[test]
fn an_ephemeral_event_is_told_and_not_stored() {
    let mut desk = Desk::with_group("eu");
    let length = desk.log.len();
    desk.told.clear();
    let body: Body = Arc::from(&b"x"[..]);
    let ask = Ask::Ephemeral { name: "wave".into(), body: body.clone() };
    assert_eq!(desk.ask("ann", ask), Answer::Done);
    let (channel, from) = (channel("room"), Some(user("ann")));
    assert_eq!(desk.told, [Output::Ephemeral { channel, from, name: "wave".into(), body }]);
    assert_eq!(desk.log.len(), length);
}
