//! The data path allocates nothing: a test binary of its own, because the counting allocator is global.

use std::alloc::System;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::ring::{PayloadRing, Slot};
use base::{Codec, CodecKind, Extension, ExtensionMap, MediaKind, Mid, NtpTime};
use rtc::{
    Certificate, Config, DtlsRole, IceCredentials, IceRole, Peer, ReceiveSection, SendSection, WallClock,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use wire::media::Rewrite;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn credentials(name: &str) -> IceCredentials {
    IceCredentials { ufrag: name.into(), password: format!("a password of 22 characters for {name}") }
}

fn sections(ssrc: u32) -> ([ReceiveSection; 1], [SendSection; 1]) {
    let mid = Mid::new(b"0").expect("a mid");
    let codec = |kind, payload_type| Codec {
        kind,
        payload_type,
        rtx: Some(payload_type + 1),
        nack: true,
        pli: true,
        fir: false,
        transport_cc: true,
        remb: false,
        ccfb: false,
    };
    let mut extensions = ExtensionMap::default();
    extensions.set(Extension::Mid, 1);
    extensions.set(Extension::TransportSequence, 2);
    extensions.set(Extension::AbsSendTime, 3);
    extensions.set(Extension::DependencyDescriptor, 4);
    let (media, codecs) = (MediaKind::Video, vec![codec(CodecKind::Vp8, 96), codec(CodecKind::Av1, 98)]);
    let receive =
        ReceiveSection { mid, media, codecs: codecs.clone(), extensions, rids: vec![], ssrcs: vec![] };
    let send = SendSection {
        mid,
        media,
        ssrc,
        rtx_ssrc: Some(ssrc + 1),
        codecs,
        extensions,
        cname: "cname".into(),
        strips_trailers: false,
    };
    ([receive], [send])
}

/// Hands everything that one peer wants to send to the other.
fn deliver(now: Instant, from: (&mut Peer, SocketAddr), to: &mut Peer) {
    let mut out = Vec::new();
    while from.0.poll_transmit(now, &mut out).is_some() {
        to.receive(now, from.1, &mut out);
    }
    while from.0.poll_event().is_some() {}
}

struct Pair {
    now: Instant,
    client: Peer,
    server: Peer,
}

const CLIENT: &str = "10.0.0.2:5000";
const SERVER: &str = "10.0.0.1:7882";

fn connected() -> Pair {
    let now = Instant::now();
    let (at_client, at_server): (SocketAddr, SocketAddr) =
        (CLIENT.parse().expect("an address"), SERVER.parse().expect("an address"));
    let certificate = Certificate::generate([3; 16]).expect("a certificate");
    let fingerprint = certificate.fingerprint();
    let config = Arc::new(Config::new(certificate).expect("a configuration"));
    let clock = WallClock { at: now, ntp: NtpTime(0) };
    let full = IceRole::Full { local: credentials("client"), candidates: vec![at_client], controlling: true };
    let lite = IceRole::Lite { local: credentials("server"), candidate: at_server };
    let mut client = Peer::new(now, clock, &config, full, 1);
    let mut server = Peer::new(now, clock, &config, lite, 2);
    client.set_remote(now, credentials("server"), fingerprint, DtlsRole::Client);
    client.add_remote_candidate(now, at_server);
    server.set_remote(now, credentials("client"), fingerprint, DtlsRole::Server);
    for (peer, ssrc) in [(&mut client, 100), (&mut server, 200)] {
        let (receive, send) = sections(ssrc);
        peer.set_sections(now, &receive, &send);
    }
    let mut pair = Pair { now, client, server };
    for _ in 0..200 {
        pair.now += Duration::from_millis(10);
        pair.client.handle_timeout(pair.now);
        pair.server.handle_timeout(pair.now);
        deliver(pair.now, (&mut pair.client, at_client), &mut pair.server);
        deliver(pair.now, (&mut pair.server, at_server), &mut pair.client);
    }
    assert!(pair.client.can_send() && pair.server.can_send());
    pair
}

#[test]
fn receiving_and_sending_rtp_allocates_nothing() {
    let setup = Region::new(ALLOCATOR);
    let mut pair = connected();
    assert!(setup.change().allocations > 100, "the allocator counts");
    let mid = Mid::new(b"0").expect("a mid");
    let (at_client, at_server) = (CLIENT.parse().expect("an address"), SERVER.parse().expect("an address"));
    let mut ring = PayloadRing::new(1 << 16, 64);
    let payload = [0x10; 1_100];
    let (mut wire, mut out) = (Vec::with_capacity(2_000), Vec::with_capacity(2_000));
    let mut during = 0;
    for sequence in 0..3_000u64 {
        // Every other packet with a long descriptor, as if both codecs were one track.
        let (codec, descriptor) = [(CodecKind::Vp8, 0), (CodecKind::Av1, 80)][sequence as usize % 2];
        let rewrite = Rewrite {
            descriptor,
            described: Some(wire::dd::Patch::default()),
            ..Rewrite::plain(sequence, sequence as u32 * 300, codec)
        };
        wire.clear();
        out.clear();
        pair.now += Duration::from_millis(1);
        let index = pair.client.send_index(mid).expect("declared");
        pair.client
            .send(pair.now, index, &rewrite, Slot::default(), &payload, None, &mut wire)
            .expect("connected");

        let region = Region::new(ALLOCATOR);
        let received = pair.server.receive(pair.now, at_client, &mut wire).expect("authentic");
        let index = pair.server.send_index(mid).expect("declared");
        let (front, behind) = received.stored(&wire);
        assert_eq!(front.len(), usize::from(descriptor));
        let slot = ring.push_joined(front, behind).expect("it fits");
        let stored = ring.get(slot).expect("just stored");
        pair.server.send(pair.now, index, &rewrite, slot, stored, None, &mut out).expect("connected");
        pair.server.poll_timeout();
        let change = region.change();
        // The first second fills histories, which grow to the rate of the stream.
        if sequence > 2_000 {
            during += change.allocations + change.reallocations;
        }
        // Reports and feedback, which are the control path's, go on meanwhile.
        deliver(pair.now, (&mut pair.server, at_server), &mut pair.client);
        deliver(pair.now, (&mut pair.client, at_client), &mut pair.server);
    }
    assert_eq!(during, 0);
}
