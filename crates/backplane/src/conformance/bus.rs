//! What every [`Bus`] has to do.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::bus::WAITING;
use crate::{Bus, NoReply, Subscription as _};

/// Enough for what comes at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for what must not come.
const SILENCE: Duration = Duration::from_millis(200);

/// Gives ends of one bus.
pub trait Rig {
    /// What is tried.
    type Bus: Bus;

    /// Another node, or the same where there is one only.
    fn node(&mut self) -> impl Future<Output = Self::Bus>;

    /// Waits until every node knows who is subscribed.
    fn settle(&mut self) -> impl Future<Output = ()>;
}

/// All of it.
pub async fn check(mut rig: impl Rig) {
    publishing(&mut rig).await;
    subjects(&mut rig).await;
    questions(&mut rig).await;
    slowness(&mut rig).await;
}

async fn publishing(rig: &mut impl Rig) {
    let (here, there) = (rig.node().await, rig.node().await);
    here.publish("a.b", text("before")).await.expect("that nobody listens is no failure");
    let mut first = here.subscribe("a.b").await.expect("it works");
    let mut second = there.subscribe("a.b").await.expect("it works");
    let mut other = there.subscribe("a.c").await.expect("it works");
    rig.settle().await;
    for at in 0..100 {
        here.publish("a.b", text(&at.to_string())).await.expect("it works");
    }
    for subscription in [&mut first, &mut second] {
        for at in 0..100 {
            assert_eq!(
                next(subscription).await,
                at.to_string(),
                "everybody gets everything in order, and nothing from before"
            );
        }
        assert_eq!(subscription.lost(), 0);
    }
    assert!(tokio::time::timeout(SILENCE, other.next()).await.is_err(), "and nothing of another subject");
    drop(first);
    here.publish("a.b", text("after")).await.expect("it works");
    assert_eq!(next(&mut second).await, "after", "who goes takes nobody along");
}

async fn subjects(rig: &mut impl Rig) {
    let bus = rig.node().await;
    let long = "a".repeat(257);
    for wrong in ["", ".", "a.", ".a", "a..b", "a b", "a.*", ">", "ä", &long] {
        assert!(bus.publish(wrong, text("x")).await.is_err(), "{wrong:?} is no subject");
        assert!(bus.subscribe(wrong).await.is_err(), "{wrong:?} is no subject");
        let asked = bus.request(wrong, text("x"), PATIENCE).await;
        assert!(matches!(asked, Err(NoReply::Failed(_))), "{wrong:?} is no subject");
    }
    assert!(bus.publish(&"a".repeat(256), text("x")).await.is_ok());
}

async fn questions(rig: &mut impl Rig) {
    let (here, there) = (rig.node().await, rig.node().await);
    let asked = here.request("q", text("?"), PATIENCE).await;
    assert_eq!(asked, Err(NoReply::Nobody), "that nobody is there is known at once");
    let mut first = there.subscribe("q").await.expect("it works");
    let mut second = there.subscribe("q").await.expect("it works");
    rig.settle().await;
    let answering = tokio::spawn(async move {
        let question = first.next().await.expect("it works");
        let silent = second.next().await.expect("it works");
        assert!([&question, &silent].iter().all(|message| message.payload == "?"), "everybody is asked");
        question.reply.expect("it is a question").send(text("!"));
        (first, second, silent)
    });
    assert_eq!(here.request("q", text("?"), PATIENCE).await, Ok(text("!")), "the first answer counts");
    let (first, second, silent) = answering.await.expect("no panic");
    drop(silent);
    let asked = here.request("q", text("?"), SILENCE).await;
    assert_eq!(asked, Err(NoReply::TooLate), "somebody is there, and says nothing");
    drop((first, second));
    rig.settle().await;
    assert_eq!(here.request("q", text("?"), PATIENCE).await, Err(NoReply::Nobody), "who went is not there");
}

async fn slowness(rig: &mut impl Rig) {
    let bus = rig.node().await;
    let mut slow = bus.subscribe("s").await.expect("it works");
    let mut quick = bus.subscribe("s").await.expect("it works");
    rig.settle().await;
    let sent = 4 * WAITING;
    for at in 0..sent {
        bus.publish("s", text(&at.to_string())).await.expect("nobody waits for who is slow");
        assert_eq!(next(&mut quick).await, at.to_string(), "nor loses anything");
    }
    let mut got = Vec::new();
    while let Ok(message) = tokio::time::timeout(SILENCE, slow.next()).await {
        let message = message.expect("it works");
        got.push(String::from_utf8_lossy(&message.payload).parse::<usize>().expect("a number"));
    }
    assert!(got.is_sorted_by(|a, b| a < b), "what is not lost is in order");
    assert_eq!(got.len() as u64 + slow.lost(), sent as u64, "and what is lost is counted");
    assert!(slow.lost() > 0, "what waits is bounded");
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn next(subscription: &mut impl crate::Subscription) -> String {
    let message =
        tokio::time::timeout(PATIENCE, subscription.next()).await.expect("it comes").expect("it works");
    assert!(message.reply.is_none(), "it is no question");
    String::from_utf8_lossy(&message.payload).into_owned()
}
