//! Data channels, and a control plane that does not keep up.

use std::time::{Duration, Instant};

use base::CodecKind;
use bytes::Bytes;
use contract::media::{ChannelSpec, Command, DataBacklog, Event};

use super::world::{Client, World};

fn open(world: &mut World, client: &mut Client, label: &str, max_retransmits: Option<u16>) {
    let channel =
        ChannelSpec { label: label.to_owned(), ordered: max_retransmits.is_none(), max_retransmits };
    world.command(Command::OpenChannel { peer: client.id, channel: channel.clone() });
    world.run(&mut [client], "open", |world, clients| {
        let told = |event: &Event| matches!(event, Event::ChannelOpen { channel: open, .. } if *open == channel);
        let there = |event: &rtc::Event| matches!(event, rtc::Event::ChannelOpen { label: open, .. } if **open == *label);
        world.heard.iter().any(told) && clients[0].events.iter().any(there)
    });
}

fn messages(world: &World) -> Vec<u32> {
    let number = |event: &Event| match event {
        Event::Data { payload, .. } => Some(u32::from_be_bytes(payload[..4].try_into().unwrap())),
        _ => None,
    };
    world.heard.iter().filter_map(number).collect()
}

fn message(number: u32, len: usize) -> Vec<u8> {
    let mut payload = vec![0; len];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

#[test]
fn more_than_a_buffer_full_of_messages_goes_both_ways() {
    let mut world = World::new();
    let mut alice = world.connect(401, 1);
    open(&mut world, &mut alice, "_reliable", None);
    for number in 0..20 {
        let payload = message(number, 10 + number as usize * 3_000);
        while alice.peer.send_message(Instant::now(), "_reliable", false, &payload).is_err() {
            alice.step();
        }
        let payload = Bytes::from(payload);
        world.command(Command::SendData { peer: alice.id, label: "_reliable".into(), text: true, payload });
    }
    world.run(&mut [&mut alice], "exchanged", |world, clients| {
        let got =
            clients[0].events.iter().filter(|event| matches!(event, rtc::Event::Data { text: true, .. }));
        got.count() == 20 && messages(world).len() == 20
    });
    assert_eq!(messages(&world), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_message_for_a_channel_that_is_not_there_is_counted() {
    let mut world = World::new();
    let alice = world.connect(411, 1);
    let payload = Bytes::from_static(b"lost");
    world.command(Command::SendData { peer: alice.id, label: "nowhere".into(), text: false, payload });
    world.wait("counted", |world| world.dropped("data_channel_not_ready") == 1);
}

#[test]
fn a_control_plane_that_does_not_listen_slows_senders_and_loses_nothing_reliable() {
    // The event queue has room for one.
    let mut world = World::with("127.0.0.1:0", &[], 1);
    let (mut alice, mut bob) = (world.connect(421, 1), world.connect(422, 1));
    open(&mut world, &mut alice, "_reliable", None);
    alice.publish(&world, "a", CodecKind::Opus, 1);
    bob.subscribe(&world, "a", CodecKind::Opus, 1);
    // From here on nobody listens: the client sends until its own buffer is full, which is the slowing down.
    let mut sent = 0;
    let quiet = |clients: &mut [&mut Client]| clients.iter_mut().for_each(|client| client.step());
    let mut full_since = None;
    let until = Instant::now() + Duration::from_secs(20);
    while full_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(300)) {
        let payload = message(sent, 10_000);
        match alice.peer.send_message(Instant::now(), "_reliable", false, &payload) {
            Ok(()) => (sent, full_since) = (sent + 1, None),
            Err(_) => full_since = full_since.or(Some(Instant::now())),
        }
        // Media is forwarded all the while.
        alice.send_sound("a", &[1; 60]);
        quiet(&mut [&mut alice, &mut bob]);
        assert!(Instant::now() < until, "the sender was never slowed down; it sent {sent}");
    }
    bob.got.clear();
    while bob.got.is_empty() {
        alice.send_sound("a", &[1; 60]);
        quiet(&mut [&mut alice, &mut bob]);
        assert!(Instant::now() < until, "media stopped");
    }
    assert!(sent > 64, "{sent}");
    assert_eq!(world.snapshot(1)["peers"][0]["data_paused"], true);
    world.run(&mut [&mut alice, &mut bob], "all of it", |world, _| messages(world).len() >= sent as usize);
    assert_eq!(messages(&world), (0..sent).collect::<Vec<_>>());
    assert!(world.metrics.value("stoa_worker_events_delayed_total", None) > 0);
    assert_eq!(world.dropped("event_queue_full"), 0);
}

#[test]
fn a_paused_connection_slows_its_sender_and_nobody_else_and_loses_nothing() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.connect(431, 1), world.connect(432, 2));
    open(&mut world, &mut alice, "_reliable", None);
    open(&mut world, &mut bob, "_reliable", None);
    world.command(Command::PauseData { peer: alice.id, paused: true });
    let mut sent = 0;
    let mut full_since = None;
    let until = Instant::now() + Duration::from_secs(20);
    while full_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(300)) {
        match alice.peer.send_message(Instant::now(), "_reliable", false, &message(sent, 10_000)) {
            Ok(()) => (sent, full_since) = (sent + 1, None),
            Err(_) => full_since = full_since.or(Some(Instant::now())),
        }
        alice.step();
        assert!(Instant::now() < until, "the sender was never slowed down; it sent {sent}");
    }
    let number = 1_000_000;
    let told = bob.peer.send_message(Instant::now(), "_reliable", false, &message(number, 10));
    assert!(told.is_ok());
    world.run(&mut [&mut bob], "bob's", |world, _| messages(world).contains(&number));
    // What was on its way when the worker heard of it; the rest waits.
    assert!(messages(&world).len() < sent as usize);
    world.command(Command::PauseData { peer: alice.id, paused: false });
    world.run(&mut [&mut alice, &mut bob], "all of it", |world, _| messages(world).len() > sent as usize);
    let mut arrived = messages(&world);
    arrived.retain(|arrived| *arrived != number);
    assert_eq!(arrived, (0..sent).collect::<Vec<_>>());
}

fn backlogs(world: &World) -> Vec<DataBacklog> {
    let backlog = |event: &Event| match event {
        Event::DataBacklog { backlog, .. } => Some(*backlog),
        _ => None,
    };
    world.heard.iter().filter_map(backlog).collect()
}

#[test]
fn a_receiver_that_takes_nothing_is_reported_every_second_and_when_it_has_caught_up() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.connect(441, 1), world.connect(442, 1));
    open(&mut world, &mut alice, "_reliable", None);
    open(&mut world, &mut bob, "_reliable", None);
    for number in 0..100 {
        for peer in [alice.id, bob.id] {
            let payload = Bytes::from(message(number, 10_000));
            world.command(Command::SendData { peer, label: "_reliable".into(), text: false, payload });
        }
    }
    // Alice is away; Bob takes what he gets.
    let quiet = |event: &Event| matches!(event, Event::DataBacklog { peer, .. } if peer.0 == 442);
    world.run(&mut [&mut bob], "reported twice", |world, _| {
        backlogs(world).iter().filter(|backlog| matches!(backlog, DataBacklog::Draining { bps: 0 })).count()
            == 2
    });
    world.heard.retain(|event| !quiet(event));
    assert_eq!(backlogs(&world)[0], DataBacklog::Behind);
    world.run(&mut [&mut alice, &mut bob], "caught up", |world, clients| {
        let got = clients.iter().all(|client| {
            let messages = client.events.iter().filter(|event| matches!(event, rtc::Event::Data { .. }));
            messages.count() == 100
        });
        got && backlogs(world).contains(&DataBacklog::CaughtUp)
    });
    assert_eq!(world.dropped("data_channel_not_ready"), 0);
}
