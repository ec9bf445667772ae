use super::*;
use crate::testing::{at, vector};

/// A channel of two regions, of which `eu` is the home; `us` knows what `eu` has told it.
fn two() -> (Desk, Desk) {
    let (mut eu, mut us) = (Desk::new("eu"), Desk::new("us"));
    (eu.owner.alone, us.owner.alone) = (false, false);
    eu.create(Settings { active_active: true, ..Settings::default() });
    carry(&eu, &mut us, 0);
    (eu, us)
}

/// Carries what `from` has told, from its `skip`th event on, to `to`.
fn carry(from: &Desk, to: &mut Desk, skip: usize) {
    let events: Vec<Arc<Event>> = from
        .told
        .iter()
        .filter_map(|output| match output {
            Output::Deliver(event) => Some(Arc::clone(event)),
            _ => None,
        })
        .skip(skip)
        .collect();
    for event in events {
        to.owner.remote(to.now, event);
    }
    to.settle();
}

fn answer_to(place: &str) -> Ask {
    let seen = vec![Token { seen: vector(&[place]) }];
    Ask::Send(Box::new(Send { seen, ..numbered(1, text("answer")) }))
}

#[test]
fn an_answer_is_not_appended_before_what_its_sender_saw_elsewhere_has_come() {
    let (mut eu, mut us) = two();
    let question = eu.sent("ann", 1, text("question"));
    let request = us.hand("bob", answer_to(&question.to_string()));
    us.settle();
    assert_eq!((us.answers.get(&request), us.owner.waiting()), (None, 1));
    carry(&eu, &mut us, 0);
    let Some(Answer::Sent { event, .. }) = us.answers.get(&request).cloned() else {
        panic!("it was not accepted")
    };
    let told = us.told.iter().find_map(|output| match output {
        Output::Deliver(told) if told.id == event => Some(told.depends.place(region("eu"))),
        _ => None,
    });
    assert_eq!(told, Some(Some(question.place)));
    assert_eq!(us.owner.holes(), 0);
}

#[test]
fn others_pass_while_one_waits_and_the_same_connection_does_not() {
    let (_, mut us) = two();
    us.hand("bob", answer_to("eu.1.3"));
    let second = us.hand("bob", Ask::Send(Box::new(numbered(2, text("after that")))));
    us.sent("eve", 1, text("unconcerned"));
    assert_eq!((us.answers.get(&second), us.owner.waiting()), (None, 2));
    us.pass(Duration::from_secs(5));
    assert!(matches!(us.answers.get(&second), Some(Answer::Sent { .. })), "in order, behind the first");
}

#[test]
fn after_five_seconds_a_hole_stands_for_what_has_not_come_and_later_it_is_filled() {
    let (mut eu, mut us) = two();
    let question = eu.sent("ann", 1, text("question"));
    us.told.clear();
    us.hand("bob", answer_to(&question.to_string()));
    us.pass(Duration::from_millis(4_900));
    assert_eq!(us.owner.holes(), 0);
    us.pass(Duration::from_millis(100));
    assert_eq!(us.owner.holes(), 1);
    let contents: Vec<&Content> = us
        .told
        .iter()
        .filter_map(|output| match output {
            Output::Deliver(event) => Some(&event.content),
            _ => None,
        })
        .collect();
    let known = Some(at(1, 2));
    assert_eq!(contents[0], &Content::Hole { region: region("eu"), known, upto: question.place });
    assert_eq!(contents.len(), 2);
    carry(&eu, &mut us, 0);
    assert_eq!(us.room().causal().applied().place(region("eu")), Some(question.place));
}

#[test]
fn a_read_mark_ahead_of_what_has_come_waits_too() {
    let (mut eu, mut us) = two();
    let question = eu.sent("ann", 1, text("question"));
    let read = Cursor { at: vector(&[&question.to_string()]), ..Cursor::default() };
    let request = us.hand("bob", Ask::Read { read, delivered: Cursor::default() });
    us.pass(Duration::from_secs(1));
    assert_eq!(us.answers.get(&request), None);
    carry(&eu, &mut us, 0);
    us.pass(Duration::from_secs(1));
    assert!(matches!(us.answers.get(&request), Some(Answer::Marked(_))));
}

#[test]
fn outside_its_home_what_membership_refuses_may_be_tried_again() {
    let (_, mut us) = two();
    let Answer::Refused(refusal) = us.send("joe", 1, text("x")) else { panic!("joe is not in it") };
    assert_eq!((refusal.code, refusal.retry_after.is_some()), (Code::NotMember, true));
    let Answer::Refused(refusal) = us.ask("joe", Ask::Join) else { panic!("that is for the home to decide") };
    assert!(refusal.retry_after.is_some());
}

#[test]
fn a_channel_with_one_home_takes_sends_there_alone() {
    let (mut eu, mut us) = (Desk::new("eu"), Desk::new("us"));
    (eu.owner.alone, us.owner.alone) = (false, false);
    eu.create(Settings::default());
    carry(&eu, &mut us, 0);
    assert_eq!(us.refused("bob", Ask::Send(Box::new(numbered(1, text("x"))))), Code::Busy);
    eu.sent("bob", 1, text("x"));
}

#[test]
fn a_number_that_another_region_accepted_is_answered_with_its_event() {
    let (mut eu, mut us) = two();
    let event = eu.sent("bob", 1, text("x"));
    carry(&eu, &mut us, 0);
    assert_eq!(us.sent("bob", 1, text("x")), event);
}

#[test]
fn a_new_owner_waits_for_what_its_own_log_depends_on() {
    let (mut eu, mut us) = two();
    eu.sent("ann", 1, text("question"));
    carry(&eu, &mut us, 0);
    us.sent("bob", 1, text("answer"));
    let mut owner = Partition::new(State::new(region("us"), 1), 2, false, Limits::default());
    us.log.iter().for_each(|record| owner.replay(record));
    assert!(!owner.is_ready() && !owner.start());
    for output in &eu.told {
        if let Output::Deliver(event) = output {
            owner.remote(us.now, Arc::clone(event));
        }
    }
    assert!(owner.is_ready() && owner.start());
    assert_eq!(owner.state().channels[&channel("room")].causal().applied(), us.room().causal().applied());
}

#[test]
fn clocks_of_answers_are_above_those_of_questions_whatever_the_walls_say() {
    let (mut eu, mut us) = two();
    eu.now.wall.0 += 3_600_000;
    eu.sent("ann", 1, text("question"));
    carry(&eu, &mut us, 0);
    us.sent("bob", 1, text("answer"));
    let clock = |desk: &Desk| {
        let last = desk.told.iter().rev().find_map(|output| match output {
            Output::Deliver(event) => Some(event.clock),
            _ => None,
        });
        last.expect("something was told")
    };
    assert!(clock(&us) > clock(&eu));
}

/// What is left of `eu`'s log after the loss of its last record, in a new epoch.
fn after_a_loss(eu: &Desk) -> Desk {
    let mut state = State::new(region("eu"), 1);
    eu.log[..eu.log.len() - 1].iter().for_each(|record| state.replay(record));
    assert!(state.open_epoch(2));
    let mut desk = Desk::new("eu");
    desk.log = eu.log[..eu.log.len() - 1].to_vec();
    desk.owner = Partition::new(state, 2, false, Limits::default());
    desk.owner.start();
    desk.settle();
    desk.told.clear();
    desk
}

fn holes(desk: &Desk) -> Vec<Place> {
    let holes = desk.told.iter().filter_map(|output| match output {
        Output::Deliver(event) => match event.content {
            Content::Hole { upto, .. } => Some(upto),
            _ => None,
        },
        _ => None,
    });
    holes.collect()
}

#[test]
fn the_first_event_of_a_channel_in_a_new_epoch_stands_behind_a_hole() {
    let (mut eu, _) = two();
    eu.sent("ann", 1, text("lost"));
    let mut eu = after_a_loss(&eu);
    eu.sent("ann", 1, text("again"));
    eu.sent("ann", 2, text("more"));
    assert_eq!(holes(&eu), [Place { epoch: 1, n: u64::MAX }]);
    assert_eq!(eu.delivered(), [id("eu.2.4"), id("eu.2.5"), id("eu.2.6")]);
}

#[test]
fn an_answer_to_what_was_lost_is_delivered_behind_a_hole_in_the_log_that_lost_it() {
    let (mut eu, mut us) = two();
    eu.sent("ann", 1, text("lost"));
    carry(&eu, &mut us, 0);
    let answer = us.sent("bob", 1, text("answer"));
    let mut eu = after_a_loss(&eu);
    carry(&us, &mut eu, 0);
    assert_eq!(holes(&eu), [Place { epoch: 1, n: u64::MAX }]);
    assert_eq!(eu.room().causal().applied().place(region("us")), Some(answer.place));
}

#[test]
fn a_channel_that_is_made_after_a_loss_has_a_hole_for_what_it_may_have_been() {
    let (mut eu, _) = two();
    eu.sent("ann", 1, text("lost"));
    let mut eu = after_a_loss(&eu);
    let other = channel("other");
    let origin = Origin { connection: 1, request: 0, user: Some(user("ann")), device: device("phone") };
    let ask = Ask::Create { kind: Kind::Group, settings: Settings::default(), members: Vec::new() };
    eu.owner.handle(eu.now, Command { origin, channel: other, ask });
    eu.settle();
    assert_eq!(holes(&eu), [Place { epoch: 1, n: u64::MAX }]);
}

#[test]
fn nobody_makes_a_hole_by_writing_an_id_that_they_have_not_seen() {
    let reply = |to: &str| Content::Message {
        body: Arc::from(&b"x"[..]),
        reply_to: Some(id(to)),
        thread: None,
        mentions: Vec::new(),
        everyone: false,
    };
    let (_, mut us) = two();
    let Answer::Refused(refusal) = us.send("bob", 1, reply("eu.1.999999999")) else {
        panic!("it is nowhere")
    };
    assert_eq!((refusal.code, refusal.retry_after.is_some()), (Code::NoTarget, true));
    let mut alone = Desk::with_group("eu");
    let Answer::Refused(refusal) = alone.send("bob", 1, reply("zz.1.5")) else { panic!("it is nowhere") };
    assert_eq!((refusal.code, refusal.retry_after), (Code::NoTarget, None));
    for mut desk in [us, alone] {
        desk.pass(Duration::from_secs(10));
        assert_eq!((desk.owner.holes(), desk.owner.waiting()), (0, 0));
    }
}
