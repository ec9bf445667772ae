use std::time::Duration;

use rtc::{ChannelError, DtlsVersions, Event, MAX_MESSAGE};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::config::DtlsVersion;

use crate::common::net::{BAD, GOOD};
use crate::common::{MS, World, seeds};

fn open(world: &mut World, label: &str, ordered: bool, reliability: Reliability) -> ChannelId {
    let config = ChannelConfig { label: label.into(), ordered, reliability, ..ChannelConfig::default() };
    let id = world.theirs.rtc.direct_api().create_data_channel(config);
    world.theirs.handle_timeout(world.now);
    id
}

fn message(number: u32, len: usize) -> Vec<u8> {
    let mut message: Vec<u8> = (0..len).map(|i| (i as u32).wrapping_mul(number + 1) as u8).collect();
    message[..4].copy_from_slice(&number.to_be_bytes());
    message
}

fn from_us(world: &mut World, label: &str) {
    world.ours.peer.open_channel(world.now, label, true, None);
    let wanted = label.to_owned();
    world.run_until("the channel opens", Duration::from_secs(10), |w| {
        w.ours.has_channel(&wanted) && w.theirs.channel(&wanted).is_some()
    });
}

fn they_write(world: &mut World, id: ChannelId, bytes: &[u8]) -> bool {
    let written = match world.theirs.rtc.channel(id) {
        Some(mut channel) => channel.write(true, bytes).expect("open"),
        None => false,
    };
    world.theirs.handle_timeout(world.now);
    world.collect();
    written
}

#[test]
fn large_messages_arrive_in_order_over_a_bad_network() {
    for seed in seeds(3) {
        let mut world = World::new(seed, GOOD);
        world.connect();
        from_us(&mut world, "_reliable");
        let id = world.theirs.channel("_reliable").expect("open");
        world.network.conditions = BAD;
        let expected: Vec<_> = (0..12).map(|number| message(number, MAX_MESSAGE)).collect();
        let (mut sent, mut written) = (0, 0);
        world.run_until("all messages arrive", Duration::from_secs(120), |w| {
            let next = expected.get(sent);
            if next.is_some_and(|m| w.ours.peer.send_message(w.now, "_reliable", false, m).is_ok()) {
                sent += 1;
            }
            if expected.get(written).is_some_and(|m| they_write(w, id, m)) {
                written += 1;
            }
            w.theirs.messages.len() == 12 && w.ours.count("_reliable") == 12
        });
        assert!(world.ours.messages("_reliable") == expected, "ours, seed {seed}");
        let theirs: Vec<_> = world.theirs.messages.iter().map(|(_, bytes)| bytes.clone()).collect();
        assert!(theirs == expected, "theirs, seed {seed}");
    }
}

#[test]
fn a_channel_that_they_open_unordered_and_lossy_is_announced_as_such() {
    let mut world = World::new(1, GOOD);
    world.connect();
    let id = open(&mut world, "_lossy", false, Reliability::MaxRetransmits { retransmits: 0 });
    world.run_until("the channel opens", Duration::from_secs(5), |w| w.ours.has_channel("_lossy"));
    let spec = world.ours.events.iter().find_map(|event| match event {
        Event::ChannelOpen { ordered, max_retransmits, .. } => Some((*ordered, *max_retransmits)),
        _ => None,
    });
    assert_eq!(spec, Some((false, Some(0))));
    world.run(200 * MS);
    world.network.conditions = BAD;
    for number in 0..200 {
        they_write(&mut world, id, &message(number, 100));
        world.ours.peer.send_message(world.now, "_lossy", false, &message(number, 100)).expect("open");
        world.run(10 * MS);
    }
    world.run(Duration::from_secs(2));
    for count in [world.ours.messages("_lossy").len(), world.theirs.messages.len()] {
        assert!((120..=199).contains(&count), "{count} of 200 over 8 % loss, none repaired");
    }
    assert!(world.ours.messages("_lossy").iter().all(|bytes| bytes.len() == 100));
}

#[test]
fn empty_and_text_messages_are_told_apart() {
    let mut world = World::new(1, GOOD);
    world.connect();
    from_us(&mut world, "chat");
    let id = world.theirs.channel("chat").expect("open");
    for (text, bytes) in [(true, &b"hello"[..]), (true, b""), (false, b""), (false, b"\x00")] {
        world.ours.peer.send_message(world.now, "chat", text, bytes).expect("open");
    }
    world.theirs.rtc.channel(id).expect("open").write(false, b"text").expect("open");
    world.run(500 * MS);
    let theirs: Vec<_> = world.theirs.messages.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    assert_eq!(theirs, [&b"hello"[..], b"", b"", b"\x00"]);
    let ours = world.ours.events.iter().find_map(|event| match event {
        Event::Data { text, payload, .. } => Some((*text, payload.clone())),
        _ => None,
    });
    assert_eq!(ours, Some((true, bytes_of("text"))));
}

fn bytes_of(text: &str) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn a_message_that_cannot_be_sent_is_an_error() {
    let mut world = World::new(1, GOOD);
    let peer = &mut world.ours.peer;
    assert_eq!(peer.send_message(world.now, "none", true, b"x"), Err(ChannelError::NoSuchChannel));
    world.connect();
    from_us(&mut world, "chat");
    let peer = &mut world.ours.peer;
    let large = vec![1; MAX_MESSAGE + 1];
    assert_eq!(peer.send_message(world.now, "chat", false, &large), Err(ChannelError::TooLarge));
    assert_eq!(peer.send_message(world.now, "other", true, b"x"), Err(ChannelError::NoSuchChannel));
    let outcomes: Vec<_> =
        (0..10).map(|_| peer.send_message(world.now, "chat", false, &large[1..])).collect();
    // Four less what else is in the buffer.
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3, "{outcomes:?}");
    assert_eq!(outcomes[9], Err(ChannelError::Full));
    world.run(Duration::from_secs(5));
    assert_eq!(world.theirs.messages.len(), 3);
    assert_eq!(world.ours.peer.send_message(world.now, "chat", false, b"again"), Ok(()));
}

#[test]
fn a_paused_receiver_slows_its_sender_and_loses_nothing() {
    let mut world = World::new(1, GOOD);
    world.connect();
    from_us(&mut world, "bulk");
    let id = world.theirs.channel("bulk").expect("open");
    world.ours.peer.pause_data(world.now, true);
    let mut written = 0;
    for _ in 0..200 {
        if they_write(&mut world, id, &message(written, 30_000)) {
            written += 1;
        }
        world.run(10 * MS);
    }
    assert!(world.ours.messages("bulk").is_empty());
    assert!(written < 100, "{written} messages of 30 kB went into a window of 512 kB");
    world.ours.peer.pause_data(world.now, false);
    world
        .run_until("the rest arrives", Duration::from_secs(60), |w| w.ours.count("bulk") == written as usize);
    let expected: Vec<_> = (0..written).map(|number| message(number, 30_000)).collect();
    assert!(world.ours.messages("bulk") == expected);
}

#[test]
fn a_closed_channel_can_be_opened_again_from_either_side() {
    let mut world = World::new(1, GOOD);
    world.connect();
    for round in 0..3 {
        let id = open(&mut world, "theirs", true, Reliability::Reliable);
        world.run_until("it opens", Duration::from_secs(5), |w| w.ours.has_channel("theirs"));
        world.run(200 * MS);
        they_write(&mut world, id, b"hello");
        world.run(200 * MS);
        assert_eq!(world.ours.messages("theirs").len(), 1, "round {round}");
        world.theirs.rtc.direct_api().close_data_channel(id);
        world.theirs.handle_timeout(world.now);
        let gone = |e: &Event| matches!(e, Event::ChannelClosed { label } if **label == *"theirs");
        world.run_until("it closes", Duration::from_secs(5), |w| w.ours.events.iter().any(gone));
        world.run(500 * MS);
        world.ours.events.clear();
    }
    for round in 0..3 {
        from_us(&mut world, "ours");
        world.ours.peer.send_message(world.now, "ours", true, b"hello").expect("open");
        world.run(200 * MS);
        assert_eq!(world.theirs.messages.len(), round + 1);
        world.ours.peer.close_channel(world.now, "ours");
        world.run(500 * MS);
        assert_eq!(world.theirs.closed_channels.len(), 4 + round, "round {round}");
        let gone = |e: &Event| matches!(e, Event::ChannelClosed { label } if **label == *"ours");
        assert!(world.ours.events.iter().any(gone));
        world.ours.events.clear();
        world.theirs.opened.clear();
    }
}

#[test]
fn a_channel_is_open_a_few_round_trips_after_the_connection() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto] {
        let mut world = World::with_versions(1, GOOD, DtlsVersions::Automatic, version);
        world.ours.peer.open_channel(world.now, "_reliable", true, None);
        world.connect();
        // Three round trips of 20 ms: INIT, COOKIE, OPEN. A first packet that gets lost would cost half a second.
        world.run(150 * MS);
        assert!(world.ours.has_channel("_reliable"), "{version:?}");
    }
}

#[test]
fn channels_that_are_wanted_before_the_connection_open_with_it() {
    let mut world = World::new(1, GOOD);
    world.ours.peer.open_channel(world.now, "_reliable", true, None);
    world.ours.peer.open_channel(world.now, "_lossy", false, Some(0));
    world.connect();
    world.run(Duration::from_secs(1));
    assert!(world.theirs.channel("_reliable").is_some() && world.theirs.channel("_lossy").is_some());
    assert_eq!(world.ours.peer.snapshot().channels.len(), 2);
}
