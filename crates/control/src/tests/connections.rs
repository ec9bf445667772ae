//! Connections, data, and what workers report.

use std::time::Duration;

use base::model::{DataKind, Notice, Quality, Speaker};
use base::{Identity, PeerId};
use bytes::Bytes;
use contract::media::{Command, Event as MediaEvent, SetupTimes};
use contract::session::{DataTarget, Event, Request};

use super::world::{World, add_peer, credentials, quiet, seconds};

fn message(kind: DataKind, text: &'static str) -> Request {
    Request::Data {
        kind,
        target: DataTarget::default(),
        sequence: 0,
        payload: Bytes::from_static(text.as_bytes()),
    }
}

fn sent(commands: &[Command]) -> Vec<(PeerId, &str, &Bytes)> {
    let data = |command| match command {
        &Command::SendData { peer, ref label, text: false, ref payload } => Some((peer, &**label, payload)),
        _ => None,
    };
    commands.iter().filter_map(data).collect()
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_made_on_the_worker_with_its_channels() {
    let world = World::new();
    let ann = world.join("ann").await;
    ann.add_peer(true).await;
    let told = world.told().await;
    let [Command::AddPeer { peer, participant, room, .. }, Command::OpenChannel { channel, .. }] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((*peer, *participant), (ann.peer, ann.joined.session.participant));
    assert_eq!((*room, channel.label.as_str()), (ann.joined.room.id, "_reliable"));
}

#[tokio::test(start_paused = true)]
async fn connections_are_bounded_and_their_ids_cannot_be_taken_twice() {
    let world = World::new();
    let (ann, bob) = (world.join("ann").await, world.join("bob").await);
    ann.add_peer(true).await;
    world.told().await;
    bob.ask(add_peer(ann.peer, true)).await;
    bob.ask(Request::RestartIce { peer: ann.peer, local: credentials() }).await;
    assert!(world.told().await.is_empty(), "it is ann's");
    for id in 0..20 {
        bob.ask(add_peer(PeerId(id), false)).await;
    }
    let made = world.told().await.iter().filter(|c| matches!(c, Command::AddPeer { .. })).count();
    assert_eq!(made, 4);
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_to_all_others_as_one_buffer() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let (bob, cid) = (world.connect("bob").await, world.connect("cid").await);
    world.told().await;
    ann.ask(message(DataKind::Reliable, "hello")).await;
    ann.ask(message(DataKind::Lossy, "psst")).await;
    let told = world.told().await;
    let sent = sent(&told);
    let mut receivers: Vec<(PeerId, &str)> = sent.iter().map(|(peer, label, _)| (*peer, *label)).collect();
    receivers.sort();
    let mut expected = [bob.peer, cid.peer].map(|peer| [(peer, "_lossy"), (peer, "_reliable")]).concat();
    expected.sort();
    assert_eq!(receivers, expected);
    assert_eq!(sent[0].2.as_ptr(), sent[1].2.as_ptr(), "not copied");
}

#[tokio::test(start_paused = true)]
async fn a_message_to_one_reaches_only_that_one() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let (_bob, cid) = (world.connect("bob").await, world.connect("cid").await);
    world.told().await;
    let target = DataTarget { identities: vec![Identity::new("cid")], ..DataTarget::default() };
    let payload = Bytes::from_static(b"for cid");
    ann.ask(Request::Data { kind: DataKind::Reliable, target, sequence: 0, payload }).await;
    let told = world.told().await;
    assert_eq!(sent(&told).iter().map(|(peer, _, _)| *peer).collect::<Vec<_>>(), [cid.peer]);
}

#[tokio::test(start_paused = true)]
async fn reliable_messages_wait_for_a_channel_that_is_not_open_yet() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let bob = world.join("bob").await;
    ann.ask(message(DataKind::Reliable, "one")).await;
    quiet().await;
    bob.add_peer(true).await;
    quiet().await;
    world.up(bob.peer).await;
    ann.ask(message(DataKind::Reliable, "two")).await;
    let told = world.told().await;
    assert!(sent(&told).is_empty());
    world.channels(bob.peer).await;
    let told = world.told().await;
    assert_eq!(sent(&told).iter().map(|(_, _, text)| &text[..]).collect::<Vec<_>>(), [b"one", b"two"]);
    ann.ask(message(DataKind::Reliable, "three")).await;
    assert_eq!(sent(&world.told().await).len(), 1, "and are not sent again");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_channel_is_bounded() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let bob = world.join("bob").await;
    for _ in 0..10_000 {
        ann.ask(message(DataKind::Reliable, "hello")).await;
    }
    bob.add_peer(true).await;
    quiet().await;
    world.channels(bob.peer).await;
    assert_eq!(sent(&world.told().await).len(), 8_192);
    assert_eq!(world.count("stoa_data_copies_total", "backlog_full"), 10_000 - 8_192);
}

fn numbered(sequence: u32, target: DataTarget) -> Request {
    let payload = Bytes::from(sequence.to_string());
    Request::Data { kind: DataKind::Reliable, target, sequence, payload }
}

fn texts(commands: &[Command], to: PeerId) -> Vec<String> {
    let to_it = sent(commands).into_iter().filter(|(peer, ..)| *peer == to);
    to_it.map(|(_, _, text)| String::from_utf8_lossy(text).into_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_gets_what_it_has_missed_of_those_messages_that_were_for_it() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let _cid = world.connect("cid").await;
    for sequence in 1..=4 {
        ann.ask(numbered(sequence, DataTarget::default())).await;
    }
    let cid = DataTarget { identities: vec![Identity::new("cid")], ..DataTarget::default() };
    ann.ask(numbered(5, cid)).await;
    world.told().await;
    let received = vec![(ann.joined.session.participant, 2)];
    bob.ask(Request::ReplayData { received }).await;
    ann.ask(numbered(6, DataTarget::default())).await;
    assert_eq!(texts(&world.told().await, bob.peer), ["3", "4", "6"]);
    bob.ask(Request::ReplayData { received: Vec::new() }).await;
    assert!(world.told().await.is_empty(), "who does not say what it has could not tell what comes twice");
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_on_another_connection_gets_what_it_has_missed_when_its_channel_is_open() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    ann.ask(numbered(1, DataTarget::default())).await;
    world.told().await;
    bob.ask(add_peer(PeerId(77), true)).await;
    let received = vec![(bob.joined.session.participant, 9)];
    bob.ask(Request::ReplayData { received }).await;
    ann.ask(numbered(2, DataTarget::default())).await;
    assert!(sent(&world.told().await).is_empty());
    world.channels(PeerId(77)).await;
    assert_eq!(texts(&world.told().await, PeerId(77)), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn old_messages_are_forgotten() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    let participant = ann.joined.session.participant;
    for sequence in 1..=2 {
        ann.ask(numbered(sequence, DataTarget::default())).await;
        seconds(3).await;
    }
    ann.ask(numbered(3, DataTarget::default())).await;
    world.told().await;
    bob.ask(Request::ReplayData { received: vec![(participant, 1)] }).await;
    assert_eq!(texts(&world.told().await, bob.peer), ["3"]);
}

#[tokio::test(start_paused = true)]
async fn data_without_permission_goes_nowhere() {
    let world = World::new();
    let mut mute = super::world::join("mute");
    mute.permissions.publish_data = false;
    let (mute, _bob) = (world.join_with(mute).await, world.connect("bob").await);
    world.told().await;
    mute.ask(message(DataKind::Reliable, "hello")).await;
    assert!(world.told().await.is_empty());
    assert_eq!(world.count("stoa_data_messages_total", "forbidden"), 1);
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_connection_reach_its_adapter() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    bob.events().await;
    ann.events().await;
    let payload = Bytes::from_static(b"hello");
    world.say(MediaEvent::Data { peer: ann.peer, label: "_reliable".into(), text: false, payload }).await;
    let events = ann.events().await;
    assert!(matches!(&events[..], [Event::Media(MediaEvent::Data { .. })]), "{events:?}");
    assert!(bob.events().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn lossy_messages_to_an_adapter_that_is_behind_are_dropped_and_it_stays() {
    let world = World::new();
    let ann = world.connect("ann").await;
    ann.events().await;
    for _ in 0..1_000 {
        let payload = Bytes::from_static(b"hello");
        world.say(MediaEvent::Data { peer: ann.peer, label: "_lossy".into(), text: false, payload }).await;
    }
    quiet().await;
    assert_eq!(ann.joined.events.len(), 256);
    assert_eq!(world.participants().await, ["ann"]);
    assert_eq!(world.count("stoa_data_received_dropped_total", ""), 744);
}

#[tokio::test(start_paused = true)]
async fn speakers_and_the_worse_quality_of_two_connections_are_told() {
    let world = World::new();
    let ann = world.connect("ann").await;
    ann.publish().await;
    let bob = world.connect("bob").await;
    seconds(2).await;
    bob.notices().await;
    let participant = ann.joined.session.participant;
    let speakers = vec![Speaker { participant, level: 0.5, active: true }];
    world.say(MediaEvent::Speakers { room: ann.joined.room.id, speakers: speakers.clone() }).await;
    ann.ask(add_peer(PeerId(9), false)).await;
    quiet().await;
    world.say(MediaEvent::Quality { peer: ann.peer, quality: Quality::Poor }).await;
    world.say(MediaEvent::Quality { peer: PeerId(9), quality: Quality::Excellent }).await;
    seconds(2).await;
    let notices = bob.notices().await;
    assert!(notices.contains(&Notice::Speakers(speakers)), "{notices:?}");
    let qualities: Vec<&Notice> = notices.iter().filter(|n| matches!(n, Notice::Quality(_))).collect();
    assert_eq!(qualities, [&Notice::Quality(vec![(participant, Quality::Poor)])]);
}

#[tokio::test(start_paused = true)]
async fn events_about_connections_that_are_gone_are_counted_and_harmless() {
    let world = World::new();
    let _ann = world.connect("ann").await;
    world.up(PeerId(1)).await;
    world.say(MediaEvent::RoomLost { worker: 0, room: base::RoomId(1) }).await;
    quiet().await;
    assert_eq!(world.count("stoa_worker_events_unrouted_total", ""), 2);
    assert_eq!(world.participants().await, ["ann"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_media_of_a_participant_is_counted_once() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let first_media = Some(Duration::from_millis(9));
    for _ in 0..2 {
        let times = SetupTimes { first_media, ..SetupTimes::default() };
        world.say(MediaEvent::FirstMedia { peer: ann.peer, times }).await;
    }
    quiet().await;
    assert_eq!(world.count("stoa_joins_total", "first_media"), 1);
}

/// An adapter that passes on what comes over its participant's channel, and now and then has to wait for the processor.
async fn echo(events: async_channel::Receiver<Event>, session: contract::session::Session) {
    let mut handled = 0;
    while let Ok(event) = events.recv().await {
        handled += 1;
        if handled % 100 == 0 {
            quiet().await;
        }
        if let Event::Media(MediaEvent::Data { payload, .. }) = event {
            let target = DataTarget::default();
            let passed =
                session.send(Request::Data { kind: DataKind::Reliable, target, sequence: 0, payload }).await;
            passed.expect("the room is there");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_reliable_messages_arrives_whole_and_its_sender_stays() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    world.told().await;
    tokio::spawn(echo(ann.joined.events.clone(), ann.joined.session.clone()));
    for number in 0..5_000u32 {
        let payload = Bytes::copy_from_slice(&number.to_be_bytes());
        world.say(MediaEvent::Data { peer: ann.peer, label: "_reliable".into(), text: false, payload }).await;
    }
    seconds(1).await;
    assert_eq!(world.participants().await, ["ann", "bob"]);
    let told = world.told().await;
    let arrived: Vec<u32> = sent(&told)
        .iter()
        .filter(|(peer, ..)| *peer == bob.peer)
        .map(|(_, _, payload)| u32::from_be_bytes(payload[..].try_into().expect("4 bytes")))
        .collect();
    assert_eq!(arrived, (0..5_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn metrics_reach_only_those_who_may_have_them() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let (_bob, mut meter) = (world.connect("bob").await, super::world::join("meter"));
    meter.permissions.subscribe_metrics = true;
    let meter = world.join_with(meter).await;
    meter.add_peer(true).await;
    quiet().await;
    world.channels(meter.peer).await;
    world.told().await;
    let target = DataTarget { metrics: true, ..DataTarget::default() };
    let payload = Bytes::from_static(b"numbers");
    ann.ask(Request::Data { kind: DataKind::Reliable, target, sequence: 0, payload }).await;
    let told = world.told().await;
    assert_eq!(sent(&told).iter().map(|(peer, _, _)| *peer).collect::<Vec<_>>(), [meter.peer]);
}

/// The connections that the worker was told to pause (`true`) and to go on with.
fn paused(commands: &[Command]) -> Vec<(PeerId, bool)> {
    let pause = |command: &Command| match command {
        Command::PauseData { peer, paused } => Some((*peer, *paused)),
        _ => None,
    };
    commands.iter().filter_map(pause).collect()
}

async fn say(world: &World, peer: PeerId, label: &str, number: u32) {
    let payload = Bytes::copy_from_slice(&number.to_be_bytes());
    world.say(MediaEvent::Data { peer, label: label.into(), text: false, payload }).await;
}

fn numbers(events: &[Event]) -> Vec<u32> {
    let number = |event: &Event| match event {
        Event::Media(MediaEvent::Data { payload, .. }) => {
            Some(u32::from_be_bytes(payload[..].try_into().expect("4 bytes")))
        }
        _ => None,
    };
    events.iter().filter_map(number).collect()
}

#[tokio::test(start_paused = true)]
async fn a_flood_in_one_room_delays_nobody_in_another() {
    let world = World::new();
    let ann = world.connect("ann").await;
    let elsewhere =
        contract::session::Join { room: base::RoomName::new("other"), ..super::world::join("bob") };
    let bob = world.join_with(elsewhere).await;
    bob.add_peer(true).await;
    bob.events().await;
    let began = tokio::time::Instant::now();
    for number in 0..5_000 {
        // Her adapter does not read.
        say(&world, ann.peer, "_reliable", number).await;
    }
    world.up(bob.peer).await;
    let first = bob.joined.events.recv().await;
    assert!(matches!(first, Ok(Event::Media(MediaEvent::Connected { .. }))), "{first:?}");
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_sends_faster_than_its_adapter_reads_is_paused_alone_and_loses_nothing() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    bob.events().await;
    ann.events().await;
    world.told().await;
    for number in 0..500 {
        say(&world, ann.peer, "_reliable", number).await;
    }
    say(&world, bob.peer, "_reliable", 7).await;
    assert_eq!(numbers(&bob.events().await), [7], "the room does not wait for ann");
    assert_eq!(paused(&world.told().await), [(ann.peer, true)]);
    assert_eq!(ann.joined.events.len(), 256);
    let mut arrived = Vec::new();
    for _ in 0..10 {
        arrived.extend(numbers(&ann.events().await));
    }
    assert_eq!(arrived, (0..500).collect::<Vec<_>>());
    assert_eq!(paused(&world.told().await), [(ann.peer, false)]);
    assert_eq!(world.participants().await, ["ann", "bob"]);
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_never_reads_its_data_is_closed_after_a_second() {
    let world = World::new();
    let (ann, _bob) = (world.connect("ann").await, world.connect("bob").await);
    for number in 0..500 {
        say(&world, ann.peer, "_reliable", number).await;
    }
    quiet().await;
    assert_eq!(world.participants().await, ["ann", "bob"]);
    seconds(2).await;
    assert_eq!(world.participants().await, ["bob"]);
    assert_eq!(world.count("stoa_slow_sessions_closed_total", ""), 1);
    let events = ann.events().await;
    assert_eq!(numbers(&events), (0..500).collect::<Vec<_>>(), "what came is there to be read");
    assert!(matches!(events.last(), Some(Event::Notice(Notice::Closed(_)))));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_paused_is_closed_before_it_fills_the_memory() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    bob.events().await;
    for _ in 0..1_000 {
        let payload = Bytes::from(vec![0; 60_000]);
        world.say(MediaEvent::Data { peer: ann.peer, label: "_reliable".into(), text: false, payload }).await;
    }
    quiet().await;
    assert_eq!(world.participants().await, ["bob"]);
    assert_eq!(world.count("stoa_flooding_sessions_closed_total", ""), 1);
    let mut bytes = 0;
    while let Ok(event) = ann.joined.events.try_recv() {
        bytes += if let Event::Media(MediaEvent::Data { payload, .. }) = event { payload.len() } else { 0 };
    }
    assert!(bytes < 40 << 20, "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_lossy_messages_costs_messages_and_not_the_session() {
    let world = World::new();
    let (ann, bob) = (world.connect("ann").await, world.connect("bob").await);
    bob.events().await;
    for number in 0..50_000 {
        say(&world, ann.peer, "_lossy", number).await;
    }
    say(&world, ann.peer, "_reliable", 7).await;
    for _ in 0..3 {
        ann.events().await;
    }
    assert_eq!(world.participants().await, ["ann", "bob"]);
    assert!(world.count("stoa_data_received_dropped_total", "") >= 49_000);
}
