use super::*;

#[test]
fn a_burst_of_long_messages_is_many_appends_that_a_log_takes() {
    let mut desk = Desk::with_group("eu");
    let body = "x".repeat(32 * 1024);
    for csn in 1..=400 {
        desk.hand("ann", Ask::Send(Box::new(numbered(csn, text(&body)))));
    }
    let mut appends = 0;
    while let Some(append) = desk.owner.poll_append() {
        let bytes: usize = append.records.iter().map(|record| crate::format::encode(record).len()).sum();
        assert!(bytes <= 5 << 20, "{bytes} bytes are more than a log takes at once");
        desk.log.extend(append.records);
        desk.owner.appended(Appended::Committed);
        appends += 1;
    }
    assert!(appends >= 3);
    desk.settle();
    assert_eq!(desk.answers.len(), 401);
}

#[test]
fn two_thousand_marks_of_a_window_are_records_that_a_log_takes() {
    let mut desk = Desk::new("eu");
    desk.create(Settings { public: true, ..Settings::default() });
    let event = desk.sent("ann", 1, text("hello"));
    for index in 0..2_000 {
        assert_eq!(desk.ask(&format!("u{index}"), Ask::Join), Answer::Done);
    }
    let after = desk.log.len();
    let at = std::iter::once((event.region, Mark { place: event.place, count: 1 })).collect();
    let cursor = Cursor { at, ..Cursor::default() };
    let joined = desk.sent("ann", 2, text("again"));
    let at = std::iter::once((joined.region, Mark { place: joined.place, count: 2 })).collect();
    let later = Cursor { at, ..Cursor::default() };
    for index in 0..2_000 {
        desk.hand(&format!("u{index}"), Ask::Read { read: later.clone(), delivered: cursor.clone() });
    }
    desk.pass(Duration::from_secs(1));
    let largest = desk.log[after..].iter().map(|record| crate::format::encode(record).len()).max();
    assert!(largest.is_some_and(|largest| largest < 1 << 18), "{largest:?}");
    assert_eq!(desk.room().unread(&user("u1999")), 0);
}

#[test]
fn nothing_is_told_before_the_log_has_it() {
    let mut desk = Desk::with_group("eu");
    desk.told.clear();
    let request = desk.hand("ann", Ask::Send(Box::new(numbered(1, text("hello")))));
    let append = desk.owner.poll_append().expect("it is to be appended");
    assert_eq!(desk.owner.poll_output(), None);
    assert_eq!(desk.owner.checkpoint(), None, "the state is ahead of the log");
    desk.log.extend(append.records);
    desk.owner.appended(Appended::Committed);
    desk.settle();
    assert_eq!(desk.delivered(), [id("eu.1.3")], "a barrier and the creation are before it");
    assert!(matches!(desk.answers[&request], Answer::Sent { .. }));
    assert!(desk.owner.checkpoint().is_some());
}

#[test]
fn a_refusal_that_stands_on_an_uncommitted_event_waits_for_it() {
    let mut desk = Desk::with_group("eu");
    desk.hand("ann", Ask::Member { user: user("bob"), change: Change::Removed });
    desk.hand("bob", Ask::Send(Box::new(numbered(1, text("hello")))));
    assert_eq!(desk.owner.poll_output(), None, "if the removal does not come to pass, nor does the refusal");
}

#[test]
fn what_comes_during_an_append_is_one_append_the_next() {
    let mut desk = Desk::with_group("eu");
    desk.hand("ann", Ask::Send(Box::new(numbered(1, text("1")))));
    let first = desk.owner.poll_append().expect("there is something");
    for csn in 2..=5 {
        desk.hand("ann", Ask::Send(Box::new(numbered(csn, text("more")))));
    }
    assert_eq!(desk.owner.poll_append(), None, "one at a time");
    desk.log.extend(first.records);
    desk.owner.appended(Appended::Committed);
    let second = desk.owner.poll_append().expect("there is more");
    assert_eq!((second.records.len(), second.expected), (4, 3));
}

#[test]
fn an_append_without_an_answer_is_tried_again_as_it_was() {
    let mut desk = Desk::with_group("eu");
    desk.hand("ann", Ask::Send(Box::new(numbered(1, text("1")))));
    let first = desk.owner.poll_append().expect("there is something");
    desk.owner.appended(Appended::Unknown);
    assert_eq!(desk.owner.poll_append().as_ref(), Some(&first));
    // The first try had arrived.
    let record = &first.records[0];
    desk.owner.appended(Appended::Conflict { found: Some((record.incarnation, record.append)) });
    desk.log.extend(first.records);
    desk.settle();
    assert_eq!(desk.delivered().last(), Some(&id("eu.1.3")));
}

#[test]
fn an_owner_whose_append_meets_anothers_tells_nothing_more_and_serves_nobody() {
    for doubtful in [false, true] {
        let mut desk = Desk::with_group("eu");
        desk.told.clear();
        let request = desk.hand("ann", Ask::Send(Box::new(numbered(1, text("1")))));
        desk.owner.poll_append().expect("there is something");
        if doubtful {
            desk.owner.appended(Appended::Unknown);
            desk.owner.poll_append().expect("again");
        }
        desk.owner.appended(Appended::Conflict { found: Some((2, 1)) });
        desk.settle();
        assert_eq!(desk.told, [Output::Deposed]);
        assert_eq!(desk.answers.get(&request), None, "nobody knows");
        assert_eq!(desk.refused("ann", Ask::Send(Box::new(numbered(1, text("1"))))), Code::Busy);
        assert!(!desk.owner.is_serving());
    }
}

#[test]
fn a_conflict_with_an_own_earlier_append_is_no_success_unless_an_answer_was_lost() {
    let mut desk = Desk::with_group("eu");
    desk.hand("ann", Ask::Send(Box::new(numbered(1, text("1")))));
    let append = desk.owner.poll_append().expect("there is something");
    let record = &append.records[0];
    desk.owner.appended(Appended::Conflict { found: Some((record.incarnation, record.append)) });
    assert!(!desk.owner.is_serving());
}

#[test]
fn a_new_owner_serves_when_its_barrier_is_committed_and_knows_what_was_sent() {
    let mut old = Desk::with_group("eu");
    let event = old.sent("ann", 1, text("1"));
    let mut owner = Partition::new(State::new(region("eu"), 1), 2, true, Limits::default());
    old.log.iter().for_each(|record| owner.replay(record));
    assert!(owner.start() && !owner.is_serving());
    let append = owner.poll_append().expect("the barrier");
    assert!(!owner.is_serving());
    assert!(matches!(append.records[..], [Record { entry: Entry::Barrier, incarnation: 2, append: 1 }]));
    owner.appended(Appended::Committed);
    assert!(owner.is_serving());
    let mut new = Desk::on("eu", old.log.clone(), 2);
    assert_eq!(new.sent("ann", 1, text("1")), event, "tried again at the next owner");
}

#[test]
fn the_state_is_the_same_from_the_whole_log_and_from_any_checkpoint_on() {
    let mut desk = Desk::with_group("eu");
    let first = desk.sent("ann", 1, text("1"));
    let mention = Content::Message {
        body: Arc::from(&b"@bob"[..]),
        reply_to: Some(first),
        thread: None,
        mentions: vec![user("bob")],
        everyone: false,
    };
    desk.sent("eve", 1, mention);
    desk.ask("bob", acting(1, Content::Reaction { target: first, emoji: "+1".into(), on: true }, "ann"));
    desk.change("ann", "eve", Change::Muted { until: UnixMillis(u64::MAX) });
    desk.change("ann", "joe", Change::Invited { role: Role::Guest });
    desk.ask("joe", Ask::Join);
    desk.change("ann", "eve", Change::Removed);
    desk.change("ann", "eve", Change::Banned { until: UnixMillis(u64::MAX) });
    desk.hand(
        "bob",
        Ask::Read {
            read: Cursor { at: crate::testing::vector(&["eu.1.4"]), ..Cursor::default() },
            delivered: Cursor::default(),
        },
    );
    desk.pass(Duration::from_secs(1));
    desk.ask("ann", Ask::Update { settings: Settings { frozen: true, ..Settings::default() } });
    desk.sent("ann", 2, text("2"));
    desk.assert_rebuilds();
}

#[test]
fn a_log_that_does_not_keep_up_takes_no_more_than_its_bound() {
    let mut desk = Desk::with_group("eu");
    let limit = Limits::default().staged as u64;
    let last =
        (1..=limit + 1).map(|csn| desk.hand("ann", Ask::Send(Box::new(numbered(csn, text("x")))))).last();
    desk.settle();
    let answer = &desk.answers[&last.expect("there were some")];
    assert!(matches!(answer, Answer::Refused(Refusal { code: Code::Busy, retry_after: Some(_), .. })));
}

#[test]
fn bodies_that_the_log_does_not_take_are_bounded_in_bytes_and_the_refusal_does_not_wait() {
    let mut desk = Desk::with_group("eu");
    desk.hand("ann", Ask::Send(Box::new(numbered(1, text("first")))));
    desk.owner.poll_append().expect("it is never answered");
    let body = "x".repeat(Limits::default().body);
    let most = 2 + Limits::default().staged_bytes / body.len();
    for csn in 2..=most as u64 {
        desk.hand("ann", Ask::Send(Box::new(numbered(csn, text(&body)))));
    }
    let busy = desk.owner.poll_output();
    let Some(Output::Answer { answer: Answer::Refused(refusal), .. }) = busy else {
        panic!("nothing was refused: {busy:?}")
    };
    assert_eq!(refusal.code, Code::Busy);
    desk.owner.appended(Appended::Committed);
    while desk.owner.poll_append().is_some() {
        desk.owner.appended(Appended::Committed);
    }
    assert_eq!(desk.owner.staged_bytes, 0);
}

#[test]
fn answers_that_wait_for_the_log_are_bounded() {
    let mut desk = Desk::with_group("eu");
    desk.hand("ann", Ask::Send(Box::new(numbered(1, text("first")))));
    desk.owner.poll_append().expect("it is never answered");
    let limit = HELD * Limits::default().staged;
    let refused = (0..2 * limit).find(|_| {
        desk.hand("joe", Ask::Leave);
        desk.owner.poll_output().is_some()
    });
    assert!(refused.is_some_and(|at| at <= limit), "{refused:?}");
}
