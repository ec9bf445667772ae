//! A room over several workers: who is placed where, and which tracks cross.

use base::model::LeaveReason;
use base::{RoomName, TrackId};
use contract::media::{Command, Event as MediaEvent, RelayedTrack, Sections};
use contract::session::{Join, Request};

use super::world::{Person, World, join, quiet, receiving, sending};
use crate::Config;

/// What a worker was told about relays since the last call.
async fn told(world: &World, worker: usize) -> Vec<Command> {
    quiet().await;
    let all = std::iter::from_fn(|| world.workers[worker].try_recv().ok());
    let relays = all.filter(|command| {
        matches!(command, Command::SetRelay { .. } | Command::SetRelayed { .. } | Command::SetMuted { .. })
    });
    relays.collect()
}

/// Newcomers go to the other of two workers from the third on; ann publishes on the first, cid is on the second.
async fn spread() -> (World, Person, Person, Person) {
    let world = World::with(Config { spread_at: 2, ..Config::default() }, 2);
    let (ann, bob, cid) =
        (world.connect("ann").await, world.connect("bob").await, world.connect("cid").await);
    assert_eq!([&ann, &bob, &cid].map(on), [0, 0, 1]);
    (world, ann, bob, cid)
}

fn on(person: &Person) -> usize {
    person.joined.worker.index
}

async fn watch(person: &Person, tracks: &[TrackId]) {
    person.ask(Request::SetSections { peer: person.peer, sections: sending(tracks) }).await;
}

/// Where the track is relayed to, as its publisher's worker was told last.
fn targets(told: &[Command]) -> Option<Vec<usize>> {
    told.iter().rev().find_map(|command| match command {
        Command::SetRelay { to, .. } => Some(to.clone()),
        _ => None,
    })
}

/// What a worker was told last to expect.
fn expected(told: &[Command]) -> Option<Option<RelayedTrack>> {
    told.iter().rev().find_map(|command| match command {
        Command::SetRelayed { source, .. } => Some(source.clone()),
        _ => None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_small_room_stays_on_one_worker_and_a_large_one_uses_all() {
    let world = World::with(Config::default(), 3);
    let (mut count, mut people) = ([0; 3], Vec::new());
    for number in 0..16 {
        people.push(world.join(&format!("person {number}")).await);
        count[on(&people[number])] += 1;
    }
    let home = count.iter().position(|count| *count == 16).expect("all sixteen are on one");
    for number in 16..100 {
        people.push(world.join(&format!("person {number}")).await);
        count[on(&people[number])] += 1;
    }
    assert!(count.iter().all(|count| (28..=40).contains(count)), "{count:?}, begun on {home}");
}

#[tokio::test(start_paused = true)]
async fn a_room_does_not_spread_to_a_worker_that_has_as_much_to_do() {
    let world = World::with(Config { spread_at: 4, ..Config::default() }, 2);
    let mut people = vec![world.join("ann").await];
    let first = on(&people[0]);
    for name in ["1", "2", "3", "4"] {
        people.push(world.join_with(Join { room: RoomName::new("office"), ..join(name) }).await);
        assert_ne!(on(&people[people.len() - 1]), first);
    }
    for name in ["bob", "cid", "dan", "eva", "fay"] {
        people.push(world.join(name).await);
        assert_eq!(on(&people[people.len() - 1]), first, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn both_connections_of_a_participant_are_on_its_worker() {
    let (world, _ann, _bob, cid) = spread().await;
    told(&world, 1).await;
    let second = base::PeerId(77);
    cid.ask(super::world::add_peer(second, false)).await;
    quiet().await;
    let added = |worker: usize| {
        let all = std::iter::from_fn(|| world.workers[worker].try_recv().ok());
        all.filter(|command| matches!(command, Command::AddPeer { .. })).count()
    };
    assert_eq!(added(1), 1);
    world.told().await;
    assert_eq!(added(0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_track_crosses_from_when_somebody_there_is_sent_it_until_nobody_is() {
    let (world, ann, bob, cid) = spread().await;
    let track = ann.publish().await;
    watch(&bob, &[track]).await;
    assert_eq!((told(&world, 0).await.len(), told(&world, 1).await.len()), (0, 0), "bob is on her worker");
    watch(&cid, &[track]).await;
    let source = expected(&told(&world, 1).await).flatten().expect("it is to come");
    assert_eq!((source.from, source.participant), (0, ann.joined.session.participant));
    assert_eq!(targets(&told(&world, 0).await), Some(vec![1]));
    watch(&cid, &[track]).await;
    assert_eq!((told(&world, 0).await.len(), told(&world, 1).await.len()), (0, 0), "no news");
    watch(&cid, &[]).await;
    assert_eq!(targets(&told(&world, 0).await), Some(vec![]));
    assert_eq!(expected(&told(&world, 1).await), Some(None));
}

#[tokio::test(start_paused = true)]
async fn a_track_does_not_cross_any_more_when_its_publisher_or_its_receiver_left() {
    for leaver in ["ann", "cid"] {
        let (world, ann, _bob, cid) = spread().await;
        let track = ann.publish().await;
        watch(&cid, &[track]).await;
        assert_eq!(targets(&told(&world, 0).await), Some(vec![1]));
        told(&world, 1).await;
        let leaves = if leaver == "ann" { &ann } else { &cid };
        leaves.ask(Request::Leave(LeaveReason::ClientInitiated)).await;
        assert_eq!(targets(&told(&world, 0).await), Some(vec![]), "{leaver}");
        assert_eq!(expected(&told(&world, 1).await), Some(None), "{leaver}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_track_that_is_watched_before_it_is_fed_crosses_when_it_is() {
    let (world, ann, _bob, cid) = spread().await;
    let track = ann.publish().await;
    ann.ask(Request::SetSections { peer: ann.peer, sections: Sections::default() }).await;
    watch(&cid, &[track]).await;
    assert_eq!((told(&world, 0).await.len(), told(&world, 1).await.len()), (0, 0), "nothing comes yet");
    ann.ask(Request::SetSections { peer: ann.peer, sections: receiving(Some(track)) }).await;
    assert_eq!(targets(&told(&world, 0).await), Some(vec![1]));
    assert!(expected(&told(&world, 1).await).flatten().is_some());
}

#[tokio::test(start_paused = true)]
async fn layers_that_are_renegotiated_are_told_to_where_the_track_crosses() {
    let (world, ann, _bob, cid) = spread().await;
    let track = ann.publish().await;
    watch(&cid, &[track]).await;
    told(&world, 0).await;
    told(&world, 1).await;
    let mut sections = receiving(Some(track));
    sections.receive[0].rids = ["q", "h"].iter().filter_map(|rid| base::Rid::new(rid.as_bytes())).collect();
    ann.ask(Request::SetSections { peer: ann.peer, sections }).await;
    assert_eq!(targets(&told(&world, 0).await), None, "it goes where it went");
    let source = expected(&told(&world, 1).await).flatten().expect("told anew");
    assert_eq!(source.layers, 2);
}

#[tokio::test(start_paused = true)]
async fn a_mute_is_told_to_all_workers_that_have_the_track_and_to_no_others() {
    let (world, ann, _bob, cid) = spread().await;
    let track = ann.publish().await;
    let mute = |muted| Request::Mute { track, muted };
    let mutes = |told: Vec<Command>| {
        let muted = |command: &Command| match command {
            Command::SetMuted { muted, .. } => Some(*muted),
            _ => None,
        };
        told.iter().filter_map(muted).collect::<Vec<_>>()
    };
    ann.ask(mute(true)).await;
    assert_eq!(mutes(told(&world, 0).await), [true]);
    assert!(mutes(told(&world, 1).await).is_empty());
    watch(&cid, &[track]).await;
    assert_eq!(mutes(told(&world, 1).await), [true], "told with the track");
    told(&world, 0).await;
    ann.ask(mute(false)).await;
    assert_eq!((mutes(told(&world, 0).await), mutes(told(&world, 1).await)), (vec![false], vec![false]));
}

#[tokio::test(start_paused = true)]
async fn the_debug_state_has_all_workers_of_the_room_and_what_crosses() {
    let (world, ann, _bob, cid) = spread().await;
    let track = ann.publish().await;
    watch(&cid, &[track]).await;
    quiet().await;
    let call = |reply| contract::session::AdminRequest::Snapshot { room: super::world::lobby(), reply };
    let text = world.handle.admin(call).await.ok().flatten().expect("there is a room");
    let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let workers: Vec<_> = json["media"].as_array().expect("a list").iter().map(|of| &of["worker"]).collect();
    assert_eq!(workers, [0, 1]);
    let relays = serde_json::json!([{ "track": track.to_string(), "from": 0, "to": [1] }]);
    assert_eq!(json["control"]["relays"], relays);
}

#[tokio::test(start_paused = true)]
async fn lost_media_state_on_one_worker_sends_away_only_who_is_there() {
    let (world, ann, bob, cid) = spread().await;
    let track = ann.publish().await;
    watch(&cid, &[track]).await;
    told(&world, 0).await;
    world.say(MediaEvent::RoomLost { worker: 1, room: ann.joined.room.id }).await;
    assert_eq!(cid.closed().await, Some(LeaveReason::StateMismatch));
    assert_eq!((ann.closed().await, bob.closed().await), (None, None));
    assert_eq!(targets(&told(&world, 0).await), Some(vec![]));
    let again = world.join("cid").await;
    assert_eq!((on(&again), again.joined.room.id), (1, ann.joined.room.id));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_gone_takes_only_its_participants_with_it() {
    let (world, ann, bob, cid) = spread().await;
    world.workers[1].close();
    cid.ask(super::world::add_peer(base::PeerId(5), false)).await;
    assert_eq!(cid.closed().await, Some(LeaveReason::StateMismatch));
    assert_eq!((ann.closed().await, bob.closed().await), (None, None));
    let again = world.join("cid").await;
    assert_eq!((on(&again), again.joined.room.id), (0, ann.joined.room.id));
}

#[tokio::test(start_paused = true)]
async fn a_panic_leaves_neither_connections_nor_relays_on_any_worker() {
    let (world, ann, _bob, cid) = spread().await;
    let track = ann.publish().await;
    watch(&cid, &[track]).await;
    quiet().await;
    for queue in &world.workers {
        while queue.try_recv().is_ok() {}
    }
    world.trap.store(true, std::sync::atomic::Ordering::Relaxed);
    ann.ask(super::world::add_peer(base::PeerId(7), false)).await;
    quiet().await;
    for (worker, person) in [(0, &ann), (1, &cid)] {
        let left: Vec<Command> = std::iter::from_fn(|| world.workers[worker].try_recv().ok()).collect();
        assert!(super::world::was_removed(&left, person.peer), "{worker}: {left:?}");
        assert!(
            left.iter().any(|command| matches!(command, Command::EndRelays { .. })),
            "{worker}: {left:?}"
        );
    }
}
