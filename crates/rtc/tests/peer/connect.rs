use std::time::Duration;

use rtc::srtp::Profile;
use rtc::{CloseReason, DtlsRole, DtlsVersions};
use str0m::config::DtlsVersion;

use crate::common::net::{BAD, GOOD};
use crate::common::{MS, World, address, seeds};

fn connected(ours: DtlsVersions, theirs: DtlsVersion) -> World {
    let mut world = World::with_versions(1, GOOD, ours, theirs);
    world.connect();
    world
}

#[test]
fn a_client_that_offers_dtls_12_connects() {
    let world = connected(DtlsVersions::Automatic, DtlsVersion::Dtls12);
    assert_eq!(world.ours.peer.snapshot().profile, Some(Profile::AeadAes256Gcm));
}

#[test]
fn a_client_that_offers_dtls_13_alone_connects() {
    let mut world = connected(DtlsVersions::Automatic, DtlsVersion::Dtls13);
    let version = world.theirs.rtc.direct_api().dtls_protocol_version();
    assert_eq!(format!("{version:?}"), "Some(DTLS1_3)");
}

#[test]
fn a_client_that_offers_both_versions_connects_with_an_aead() {
    let world = connected(DtlsVersions::Automatic, DtlsVersion::Auto);
    assert_ne!(world.ours.peer.snapshot().profile, Some(Profile::Aes128CmSha1_80));
}

#[test]
fn a_client_connects_quickly() {
    let world = connected(DtlsVersions::Automatic, DtlsVersion::Dtls12);
    // One way takes 10 ms: a check and its answer, then two flights of DTLS each way.
    assert!(world.now - world.start < 400 * MS, "{:?}", world.now - world.start);
}

#[test]
fn a_client_connects_over_a_bad_network() {
    for seed in seeds(10) {
        for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto] {
            let mut world = World::with_versions(seed, BAD, DtlsVersions::Automatic, version);
            world.connect();
        }
    }
}

#[test]
fn a_certificate_that_was_not_announced_is_refused() {
    let mut world = World::new(1, GOOD);
    // The first announcement counts, so this is a peer that was told another fingerprint.
    let (remote, mut fingerprint) = world.their_identity();
    fingerprint[0] ^= 1;
    let mut ours = crate::common::ours::Ours::lite(world.now, world.ours.address, DtlsVersions::Automatic);
    ours.peer.set_remote(world.now, remote, fingerprint, DtlsRole::Server);
    world.ours = ours;
    world.run(Duration::from_secs(2));
    assert_eq!(world.ours.closed(), Some(CloseReason::WrongFingerprint));
    assert!(!world.ours.is_connected() && !world.ours.peer.can_send());
}

#[test]
fn a_handshake_that_begins_before_the_announcement_is_completed_by_it() {
    let mut world = World::new(1, GOOD);
    let (remote, fingerprint) = world.their_identity();
    world.ours = crate::common::ours::Ours::lite(world.now, world.ours.address, DtlsVersions::Automatic);
    world.run(Duration::from_secs(1));
    assert!(!world.ours.is_connected());
    world.ours.peer.set_remote(world.now, remote, fingerprint, DtlsRole::Server);
    world.ours.drain(world.now);
    assert!(world.ours.is_connected(), "{:#?}", world.ours.peer.snapshot());
}

#[test]
fn dtls_from_an_address_that_ice_does_not_know_is_dropped() {
    let mut world = World::new(1, GOOD);
    let mut hello = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0];
    world.ours.receive(world.now, address("10.9.9.9:1"), &mut hello);
    assert!(world.ours.out.is_empty());
    assert_eq!(world.ours.peer.counters().unvalidated_source, 1);
}

#[test]
fn a_client_that_falls_silent_is_told_of_after_15_seconds_and_gone_after_30() {
    let mut world = connected(DtlsVersions::Automatic, DtlsVersion::Dtls12);
    world.network.conditions.loss = 1.0;
    world.run(Duration::from_secs(11));
    assert_eq!(world.ours.closed(), None);
    assert!(!world.ours.events.iter().any(|event| matches!(event, rtc::Event::Interrupted)));
    world.run(Duration::from_secs(7));
    assert!(world.ours.events.iter().any(|event| matches!(event, rtc::Event::Interrupted)));
    assert_eq!(world.ours.closed(), None);
    world.run(Duration::from_secs(15));
    assert_eq!(world.ours.closed(), Some(CloseReason::IceTimeout));
    assert_eq!(world.ours.peer.poll_timeout(), None);
}

#[test]
fn a_goodbye_from_the_client_ends_the_peer() {
    let mut world = connected(DtlsVersions::Automatic, DtlsVersion::Dtls12);
    world.run(500 * MS);
    world.theirs.rtc.close().expect("str0m says goodbye");
    world.theirs.drain();
    world.run(500 * MS);
    assert_eq!(world.ours.closed(), Some(CloseReason::Remote));
}

#[test]
fn our_goodbye_reaches_the_client() {
    let mut world = connected(DtlsVersions::Automatic, DtlsVersion::Dtls12);
    world.ours.peer.close(world.now);
    world.ours.drain(world.now);
    assert_eq!(world.ours.closed(), Some(CloseReason::Local));
    assert_eq!(world.ours.out.len(), 1, "close_notify");
}
