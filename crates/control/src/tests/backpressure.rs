//! Receivers of reliable messages that do not keep up.

use base::PeerId;
use base::model::{DataKind, LeaveReason};
use bytes::Bytes;
use contract::media::{Command, DataBacklog, Event as MediaEvent, PeerEnd};
use contract::session::{DataTarget, Request};

use super::world::{Person, World, quiet};
use crate::Config;

const FAST: DataBacklog = DataBacklog::Draining { bps: 300_000 };
const SLOW: DataBacklog = DataBacklog::Draining { bps: 200_000 };

async fn say(person: &Person, to: &[&Person]) {
    let participants = to.iter().map(|person| person.joined.session.participant).collect();
    let target = DataTarget { participants, ..DataTarget::default() };
    let payload = Bytes::from_static(b"hello");
    person.ask(Request::Data { kind: DataKind::Reliable, target, sequence: 0, payload }).await;
}

async fn report(world: &World, of: &Person, backlog: DataBacklog) {
    world.say(MediaEvent::DataBacklog { peer: of.peer, backlog }).await;
    quiet().await;
}

/// As many seconds as it takes to be judged.
async fn seconds_of(world: &World, of: &Person, backlog: DataBacklog) {
    for _ in 0..4 {
        report(world, of, backlog).await;
    }
}

/// Who got messages, and whose were paused (`true`) or are read again.
async fn told(world: &World) -> (Vec<PeerId>, Vec<(PeerId, bool)>) {
    let (mut sent, mut paused) = (Vec::new(), Vec::new());
    for command in world.told().await {
        match command {
            Command::SendData { peer, .. } => sent.push(peer),
            Command::PauseData { peer, paused: is_paused } => paused.push((peer, is_paused)),
            _ => {}
        }
    }
    (sent, paused)
}

async fn three() -> (World, Person, Person, Person) {
    let world = World::new();
    let (ann, bob, cid) =
        (world.connect("ann").await, world.connect("bob").await, world.connect("cid").await);
    world.told().await;
    (world, ann, bob, cid)
}

#[tokio::test(start_paused = true)]
async fn who_sends_to_a_fast_receiver_that_is_behind_waits_for_it_and_nothing_is_lost() {
    let (world, ann, bob, cid) = three().await;
    report(&world, &bob, DataBacklog::Behind).await;
    say(&cid, &[&ann]).await;
    assert_eq!(told(&world).await, (vec![ann.peer], vec![]), "nothing for bob");
    say(&ann, &[]).await;
    say(&ann, &[&bob]).await;
    let (sent, paused) = told(&world).await;
    assert_eq!((sent.len(), paused), (3, vec![(ann.peer, true)]), "paused once, and what came is sent");
    report(&world, &bob, FAST).await;
    assert_eq!(told(&world).await, (vec![], vec![]), "she waits on");
    report(&world, &bob, DataBacklog::CaughtUp).await;
    assert_eq!(told(&world).await, (vec![], vec![(ann.peer, false)]));
    say(&ann, &[&bob]).await;
    assert_eq!(told(&world).await, (vec![bob.peer], vec![]));
    assert_eq!(world.count("stoa_data_senders_held_total", ""), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_loses_messages_and_slows_nobody_until_it_has_caught_up() {
    let (world, ann, bob, cid) = three().await;
    report(&world, &bob, DataBacklog::Behind).await;
    say(&ann, &[]).await;
    told(&world).await;
    report(&world, &bob, SLOW).await;
    report(&world, &bob, SLOW).await;
    assert_eq!(told(&world).await, (vec![], vec![]), "a bad second or two are no reason");
    report(&world, &bob, SLOW).await;
    assert_eq!(told(&world).await, (vec![], vec![(ann.peer, false)]), "nobody waits for who is too slow");
    say(&ann, &[]).await;
    assert_eq!(told(&world).await, (vec![cid.peer], vec![]), "cid gets it");
    assert_eq!(world.count("stoa_data_copies_total", "slow_receiver"), 1);
    report(&world, &bob, DataBacklog::CaughtUp).await;
    say(&ann, &[&bob]).await;
    report(&world, &bob, DataBacklog::Behind).await;
    say(&ann, &[&bob]).await;
    assert_eq!(told(&world).await, (vec![bob.peer], vec![]), "it is known to be slow");
    seconds_of(&world, &bob, FAST).await;
    say(&ann, &[&bob]).await;
    assert_eq!(told(&world).await, (vec![bob.peer], vec![(ann.peer, true)]), "its network is better again");
}

#[tokio::test(start_paused = true)]
async fn a_sender_waits_for_the_last_of_its_receivers_and_for_nobody_who_is_gone() {
    let (world, ann, bob, cid) = three().await;
    report(&world, &bob, DataBacklog::Behind).await;
    report(&world, &cid, DataBacklog::Behind).await;
    say(&ann, &[]).await;
    assert_eq!(told(&world).await.1, [(ann.peer, true)]);
    bob.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
    assert_eq!(told(&world).await.1, [], "cid is behind as well");
    world.down(cid.peer, PeerEnd::ClosedByRemote).await;
    assert_eq!(told(&world).await.1, [(ann.peer, false)]);
    report(&world, &cid, FAST).await;
    say(&ann, &[]).await;
    assert_eq!(told(&world).await.1, [], "a connection that is gone holds up nobody");
}

#[tokio::test(start_paused = true)]
async fn a_sender_whose_adapter_is_behind_too_goes_on_when_both_reasons_are_gone() {
    let (world, ann, bob, _cid) = three().await;
    ann.events().await;
    report(&world, &bob, DataBacklog::Behind).await;
    say(&ann, &[&bob]).await;
    told(&world).await;
    for _ in 0..500 {
        let payload = Bytes::from_static(b"hello");
        world.say(MediaEvent::Data { peer: ann.peer, label: "_reliable".into(), text: false, payload }).await;
    }
    quiet().await;
    report(&world, &bob, DataBacklog::CaughtUp).await;
    assert_eq!(told(&world).await.1, [], "her adapter has not read");
    for _ in 0..10 {
        ann.events().await;
    }
    assert_eq!(told(&world).await.1, [(ann.peer, false)]);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_is_waited_for_a_receiver_that_is_behind_loses_messages_at_once() {
    let world = World::with(Config { slow_receiver_bps: 0, ..Config::default() }, 1);
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    world.told().await;
    report(&world, &bob, DataBacklog::Behind).await;
    say(&ann, &[&bob]).await;
    assert_eq!(told(&world).await, (vec![], vec![]));
}
