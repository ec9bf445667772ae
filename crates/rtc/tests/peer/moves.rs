use std::time::Duration;

use rtc::{DtlsVersions, Event};
use str0m::IceCreds;
use str0m::config::DtlsVersion;

use crate::common::net::GOOD;
use crate::common::ours::credentials;
use crate::common::{MS, World, address, payload, str0m_credentials};

fn connected() -> World {
    let mut world = World::with_versions(1, GOOD, DtlsVersions::Automatic, DtlsVersion::Dtls12);
    world.connect();
    world
}

/// A second of media both ways; how many packets arrived at each side.
fn talk(world: &mut World, first: u64) -> (usize, usize) {
    let before = (world.ours.received.len(), world.theirs.packets.len());
    for number in first..first + 50 {
        world.they_send(0, number, &payload(number));
        world.we_send(0, number, &payload(number));
        world.run(20 * MS);
    }
    world.run(100 * MS);
    (world.ours.received.len() - before.0, world.theirs.packets.len() - before.1)
}

#[test]
fn media_follows_a_client_whose_address_changes_in_mid_call() {
    let mut world = connected();
    assert_eq!(talk(&mut world, 100), (50, 50));
    // The NAT forgets its binding: what the client sends comes from another port, what we send to the old one is lost.
    world.outside = address("10.0.0.2:6000");
    world.run_until("the next check moves the destination", Duration::from_secs(6), |w| {
        w.ours.peer.destination() == Some(address("10.0.0.2:6000"))
    });
    assert_eq!(talk(&mut world, 200), (50, 50));
    assert_eq!(world.ours.closed(), None);
    let validated = world.ours.events.iter().filter_map(|event| match event {
        Event::SourceValidated(address) => Some(*address),
        _ => None,
    });
    assert_eq!(validated.collect::<std::collections::BTreeSet<_>>().len(), 2);
}

#[test]
fn media_from_an_address_that_was_not_validated_yet_is_dropped() {
    let mut world = connected();
    world.outside = address("10.6.6.6:6000");
    let dropped = world.ours.peer.counters().unvalidated_source;
    world.they_send(0, 100, &payload(100));
    world.run(15 * MS);
    assert_eq!(world.ours.peer.counters().unvalidated_source, dropped + 1);
    assert!(world.ours.received.is_empty());
}

#[test]
fn media_flows_on_through_an_ice_restart() {
    let mut world = connected();
    assert_eq!(talk(&mut world, 100), (50, 50));
    // We announce new credentials; until the client has them it goes on checking with the old ones.
    let new = credentials("second");
    world.ours.peer.restart_ice(world.now, new.clone());
    assert_eq!(talk(&mut world, 200), (50, 50));
    world.run(Duration::from_secs(16));
    assert_eq!(world.ours.closed(), None, "checks with the old credentials keep the peer alive");

    let theirs = IceCreds::new();
    let mut changes = world.theirs.rtc.sdp_api();
    let _ = changes.ice_restart(true);
    let _ = changes.apply();
    world.theirs.rtc.direct_api().set_local_ice_credentials(theirs.clone());
    world.theirs.rtc.direct_api().set_remote_ice_credentials(str0m_credentials(&new));
    let candidate = str0m::Candidate::host(world.ours.address, "udp").expect("a candidate");
    world.theirs.rtc.add_remote_candidate(candidate);
    world.theirs.handle_timeout(world.now);
    let (remote, fingerprint) = world.their_identity();
    world.ours.peer.set_remote(world.now, remote, fingerprint, rtc::DtlsRole::Server);
    world.run(Duration::from_secs(1));
    assert_eq!(talk(&mut world, 300), (50, 50));
    world.run(Duration::from_secs(20));
    assert_eq!(world.ours.closed(), None);
    assert_eq!(talk(&mut world, 400), (50, 50));
}
