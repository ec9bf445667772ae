use std::time::Duration;

use base::Bitrate;
use rtc::Event;

use crate::common::net::GOOD;
use crate::common::{MS, World, payload};

/// Runs for a millisecond, and sends the padding that probes ask for, as the worker would. Returns its bytes.
fn probe(world: &mut World) -> usize {
    let mut bytes = 0;
    while let Some(probe) = world.ours.peer.poll_probe(world.now) {
        let mut out = Vec::new();
        let sent = world.ours.peer.send_padding(world.now, probe.bytes, &mut out).expect("an RTX stream");
        assert!(sent == out.len() && sent <= 280, "{sent}");
        bytes += sent;
        world.ours.out.push((world.ours.peer.destination().expect("connected"), out));
    }
    world.run(MS);
    bytes
}

fn send(world: &mut World, first: u64, packets: u64) -> usize {
    let mut padding = 0;
    for number in first..first + packets {
        world.we_send(1, number, &payload(number));
        padding += (0..20).map(|_| probe(world)).sum::<usize>();
    }
    padding
}

#[test]
fn padding_that_a_browser_acknowledges_finds_out_what_the_path_carries() {
    let mut world = World::new(1, GOOD);
    world.connect();
    assert_eq!(world.ours.peer.estimate(), Some(Bitrate::kbps(300)));
    assert_eq!(send(&mut world, 100, 50), 0, "nothing more is wanted");
    world.ours.peer.set_wanted(world.now, Bitrate::kbps(2_000));
    let padding = send(&mut world, 150, 150);
    assert!((2_000..60_000).contains(&padding), "{padding}");
    assert!(world.ours.peer.estimate() >= Some(Bitrate::kbps(2_000)), "{:?}", world.ours.peer.estimate());
    assert_eq!(send(&mut world, 300, 100), 0, "enough is known");
    let told = world.ours.events.iter().rev().find_map(|event| match event {
        Event::Estimate(estimate) => Some(*estimate),
        _ => None,
    });
    assert!(told >= Some(Bitrate::kbps(1_900)), "{told:?}");
    let congestion = world.ours.peer.snapshot().congestion.expect("negotiated");
    assert!(congestion.rtt.is_some_and(|rtt| rtt < Duration::from_millis(300)), "{congestion:?}");
    // The receiver got every packet of media, and padding as nothing.
    let media = world.theirs.packets.iter().filter(|packet| *packet.header.ssrc == 4_000);
    assert_eq!(media.count(), 300);
    assert_eq!(world.ours.peer.counters().srtp_seal_refused, 0);
}

#[test]
fn a_client_that_acknowledges_nothing_any_more_is_sent_less() {
    let mut world = World::new(2, GOOD);
    world.connect();
    send(&mut world, 100, 50);
    let before = world.ours.peer.estimate();
    // What it sends is lost; its checks, too, but for less than the time after which it is given up.
    for number in 150..350 {
        world.we_send(1, number, &payload(number));
        world.ours.out.clear();
        world.run(20 * MS);
    }
    assert!(world.ours.peer.estimate() < before, "{:?} {before:?}", world.ours.peer.estimate());
    assert!(world.ours.peer.estimate() >= Some(Bitrate::kbps(30)));
}
