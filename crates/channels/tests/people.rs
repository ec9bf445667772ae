//! Receipts, typing, presence, calls, inboxes: who is told what, and what lasts of it.

mod desk;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::{CallId, DeviceId};
use channels::calls::{CallAsk, CallStep, CallTold, CallView};
use channels::{Listener, Told, inbox_of};
use desk::{Desk, channel, sending, sent, user};
use messaging::command::{Answer, Ask, Code, Refusal};
use messaging::event::{CallStage, Content};
use messaging::place::{Cursor, Mark};
use messaging::ring::Callee;

/// The next thing told that `wanted` takes, within some seconds.
async fn told<T>(listener: &Listener, wanted: impl Fn(Told) -> Option<T>) -> T {
    let next = async {
        loop {
            if let Some(found) = wanted(listener.next().await) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("nobody told it")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_is_told_to_who_has_the_channel_open_and_marks_to_the_own_devices() {
    let desk = Desk::new().await;
    desk.group("room").await;
    let listener = desk.handle.listen();
    listener.follow(&channel("room"));
    let id = desk.say("ann", "room", 1, "hello").await;
    let at = std::iter::once((id.region, Mark { place: id.place, count: 1 })).collect();
    let all = Cursor { at, ..Cursor::default() };
    let answer = desk.ask("bob", "room", Ask::Read { read: all.clone(), delivered: all }).await;
    assert!(matches!(answer, Answer::Marked(mark) if mark.read.place(id.region) == Some(id.place)));
    let marks =
        told(&listener, |told| if let Told::Marks { marks, .. } = told { Some(marks) } else { None }).await;
    assert_eq!(marks[0].0, user("bob"));
    let frame =
        told(&listener, |told| if let Told::Receipts { frame, .. } = told { Some(frame) } else { None })
            .await;
    let read: Vec<_> =
        frame.marks.iter().map(|(who, mark)| (who.as_str(), mark.read.place(id.region))).collect();
    assert_eq!(read, [("bob", Some(id.place))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_is_told_to_who_has_the_channel_open_and_only_of_members() {
    let desk = Desk::new().await;
    desk.group("room").await;
    let listener = desk.handle.listen();
    listener.follow(&channel("room"));
    desk.handle.typing(&channel("room"), &user("joe"), true);
    desk.handle.typing(&channel("room"), &user("bob"), true);
    let frame =
        told(&listener, |told| if let Told::Typing { frame, .. } = told { Some(frame) } else { None }).await;
    assert_eq!((frame.names.clone(), frame.more), (vec![user("bob")], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_is_told_to_who_watches() {
    let desk = Desk::new().await;
    let (near, far) = (desk.handle.listen(), desk.handle.listen());
    near.attend(&user("ann"), &DeviceId::new("phone"), 1);
    let watched = BTreeSet::from([user("bob")]);
    assert_eq!(desk.handle.watch(1, watched), Some(vec![(user("bob"), false)]));
    far.attend(&user("bob"), &DeviceId::new("desk"), 2);
    let told = told(&near, |told| match told {
        Told::Presence { connection, changes } => Some((connection, changes)),
        _ => None,
    });
    assert_eq!(told.await, (1, Arc::from([(user("bob"), true)])));
    far.leave(&user("bob"), &DeviceId::new("desk"), 2);
    assert!(desk.handle.is_there(&user("bob")), "for ten seconds more");
}

async fn step(desk: &Desk, who: &str, device: &str, step: CallStep) -> Result<CallView, Refusal> {
    let (channel, call) = (channel("room"), CallId::new("call"));
    desk.handle.call(CallAsk { channel, call, user: user(who), device: DeviceId::new(device), step }).await
}

fn invite() -> CallStep {
    CallStep::Invite { users: None, media: Some(Arc::from("video")) }
}

async fn call(listener: &Listener, who: &str) -> CallTold {
    told(listener, |told| match told {
        Told::Call { user, what, .. } if user.as_str() == who => Some(what),
        _ => None,
    })
    .await
}

async fn stages(desk: &Desk) -> Vec<CallStage> {
    let events = desk.handle.events(&channel("room"), &Cursor::default(), 100).await.expect("it answers");
    let stage = |content: &Content| match content {
        Content::Call { stage, .. } => Some(stage.clone()),
        _ => None,
    };
    events.iter().filter_map(|event| stage(&event.content)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_shown_to_nobody_who_is_not_called() {
    let desk = Desk::new().await;
    desk.group("room").await;
    let bob_alone = CallStep::Invite { users: Some(vec![user("bob")]), media: None };
    step(&desk, "ann", "phone", bob_alone).await.expect("it rings");
    for curious in [invite(), CallStep::Decline, CallStep::End] {
        let refused = step(&desk, "eve", "phone", curious).await;
        assert_eq!(refused.expect_err("eve is not called").code, Code::Forbidden);
    }
    assert_eq!(step(&desk, "ann", "phone", invite()).await.expect("she asks again").people.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_rings_for_all_members_and_stops_everywhere_when_one_device_answers() {
    let desk = Desk::new().await;
    desk.group("room").await;
    let listener = desk.handle.listen();
    for (connection, who) in (1..).zip(["ann", "bob", "eve"]) {
        listener.attend(&user(who), &DeviceId::new("phone"), connection);
    }
    step(&desk, "ann", "phone", invite()).await.expect("it rings");
    assert_eq!(call(&listener, "bob").await, CallTold::Ringing { media: Some(Arc::from("video")) });
    assert_eq!(desk.handle.calls_of(&user("eve")).len(), 1);
    let view = step(&desk, "bob", "desk", CallStep::Accept).await.expect("it rings");
    assert!(view.is_running);
    assert_eq!(call(&listener, "bob").await, CallTold::Stopped { but: Some(DeviceId::new("desk")) });
    let callee = Callee::Answered { device: DeviceId::new("desk") };
    assert_eq!(call(&listener, "ann").await, CallTold::Stands { user: user("bob"), callee });
    let late = step(&desk, "bob", "phone", CallStep::Accept).await;
    assert_eq!(late.expect_err("the other was first").code, Code::Exists);
    for strange in [CallStep::End, CallStep::Accept, invite()] {
        let strange = step(&desk, "joe", "phone", strange).await;
        assert_eq!(strange.expect_err("joe is not in the channel").code, Code::NotMember);
    }
    assert!(step(&desk, "ann", "phone", CallStep::End).await.expect("it runs").is_over);
    let stages = stages(&desk).await;
    let [
        CallStage::Invited { users },
        CallStage::Accepted,
        CallStage::Missed { users: missed },
        CallStage::Ended { .. },
    ] = &stages[..]
    else {
        panic!("{stages:?}")
    };
    assert_eq!((users, missed), (&vec![user("bob"), user("eve")], &vec![user("eve")]));
    assert!(desk.handle.calls_of(&user("eve")).is_empty());
}

/// What is in somebody's inbox, when there are so many.
async fn inbox(desk: &Desk, who: &str, count: usize) -> Vec<serde_json::Value> {
    for _ in 0..400 {
        let page = desk.handle.history(&inbox_of(&user(who)), Some(&user(who)), None, 100).await;
        let items = page.map(|page| page.items).unwrap_or_default();
        let bodies = items.iter().filter_map(|item| match &item.event.content {
            Content::Message { body, .. } => serde_json::from_slice(body).ok(),
            _ => None,
        });
        let bodies: Vec<serde_json::Value> = bodies.collect();
        if bodies.len() >= count {
            return bodies;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{who}'s inbox does not get what it should");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_gives_up_leaves_a_missed_call_in_the_inbox_once_whatever_crashes() {
    let mut desk = Desk::new().await;
    desk.group("room").await;
    step(&desk, "ann", "phone", invite()).await.expect("it rings");
    desk = desk.crash().await;
    assert_eq!(desk.handle.look(&channel("room"), None, None).await.map(|look| look.members), Ok(3));
    assert_eq!(desk.handle.calls_of(&user("bob")).len(), 1, "it goes on ringing");
    step(&desk, "ann", "phone", CallStep::Cancel).await.expect("it rings");
    for _ in 0..2 {
        let missed = inbox(&desk, "bob", 1).await;
        assert_eq!((missed.len(), &missed[0]["missed"]["call"]), (1, &"call".into()));
        // Everything is noted anew, and done again.
        desk = desk.without_index().await;
    }
    let look =
        desk.handle.look(&inbox_of(&user("bob")), Some(&user("bob")), None).await.expect("it is there");
    assert_eq!(look.unread, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_mentioned_finds_it_in_the_inbox_and_who_is_not_in_the_channel_does_not() {
    let desk = Desk::new().await;
    desk.group("room").await;
    let content = Content::Message {
        body: Arc::from(&b"\"@bob\""[..]),
        reply_to: None,
        thread: None,
        mentions: vec![user("bob"), user("joe"), user("ann")],
        everyone: false,
    };
    let id = sent(desk.ask("ann", "room", sending(1, content)).await);
    let mention = &inbox(&desk, "bob", 1).await[0]["mention"];
    assert_eq!((&mention["event"], &mention["from"]), (&id.to_string().into(), &"ann".into()));
    for who in ["joe", "ann"] {
        let look = desk.handle.look(&inbox_of(&user(who)), None, None).await;
        assert_eq!(look.expect_err("there is none").code, Code::NoChannel, "{who}");
    }
    let own = desk.handle.channels_of(&user("bob"), None, 50).await.expect("it answers");
    assert_eq!(own.iter().map(|one| one.unread).collect::<Vec<_>>(), [1, 1]);
}
