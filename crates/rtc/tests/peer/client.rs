//! Our own full endpoint: against our lite one, and against `str0m` as the lite side.

use std::time::{Duration, Instant};

use base::CodecKind;
use rtc::{DtlsRole, DtlsVersions, IceRole};

use crate::common::net::{BAD, Conditions, GOOD, Network};
use crate::common::ours::{Ours, config, credentials, rewrite};
use crate::common::{
    MS, OUR_SSRC, THEIR_SSRC, VIDEO, address, extensions, mid, payload, receive_section, seeds, send_section,
};

/// A full client and a lite server, both ours.
struct Pair {
    now: Instant,
    network: Network,
    client: Ours,
    server: Ours,
}

impl Pair {
    fn new(seed: u64, conditions: Conditions, client: DtlsVersions, server_role: DtlsRole) -> Self {
        let now = Instant::now();
        let (at_client, at_server) = (address("10.0.0.2:5000"), address("10.0.0.1:7882"));
        let role =
            IceRole::Full { local: credentials("client"), candidates: vec![at_client], controlling: true };
        let mut pair = Self {
            now,
            network: Network::new(seed, conditions),
            client: Ours::new(now, at_client, role, &config(client)),
            server: Ours::lite(now, at_server, DtlsVersions::Automatic),
        };
        let fingerprint = config(client).certificate().fingerprint();
        let client_role = match server_role {
            DtlsRole::Server => DtlsRole::Client,
            DtlsRole::Client => DtlsRole::Server,
        };
        pair.client.peer.set_remote(now, credentials("ours"), fingerprint, client_role);
        pair.client.peer.add_remote_candidate(now, at_server);
        pair.server.peer.set_remote(now, credentials("client"), fingerprint, server_role);
        let receive = [receive_section(VIDEO, CodecKind::Vp8)];
        let send = |ssrcs| [send_section(VIDEO, CodecKind::Vp8, ssrcs)];
        pair.client.peer.set_sections(now, &receive, &send(THEIR_SSRC[1]));
        pair.server.peer.set_sections(now, &receive, &send(OUR_SSRC[1]));
        pair
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
    }

    fn step(&mut self, end: Instant) {
        for side in [&mut self.client, &mut self.server] {
            side.drain(self.now);
            for (to, bytes) in side.out.drain(..) {
                self.network.send(self.now, side.address, to, bytes);
            }
        }
        let timers = [self.client.peer.poll_timeout(), self.server.peer.poll_timeout()];
        let next = timers.into_iter().chain([self.network.next_arrival()]).flatten().min().unwrap_or(end);
        self.now = next.max(self.now + Duration::from_micros(100)).min(end.max(self.now));
        while let Some(mut datagram) = self.network.arrive(self.now) {
            let side = if datagram.to == self.client.address { &mut self.client } else { &mut self.server };
            side.receive(self.now, datagram.from, &mut datagram.bytes);
        }
        for side in [&mut self.client, &mut self.server] {
            if side.peer.poll_timeout().is_some_and(|at| at <= self.now) {
                side.handle_timeout(self.now);
            }
        }
    }

    fn connect(&mut self) {
        let limit = self.now + Duration::from_secs(20);
        while !(self.client.is_connected() && self.server.is_connected()) {
            assert!(self.now < limit, "{:#?}", self.client.peer.snapshot());
            self.step(limit);
        }
    }

    fn exchange(&mut self, first: u64, packets: u64) {
        for number in first..first + packets {
            let rewrite = rewrite(number, number as u32 * 3_000, CodecKind::Vp8);
            for side in [&mut self.client, &mut self.server] {
                side.send(self.now, mid(VIDEO), &rewrite, &payload(number)).expect("connected");
            }
            self.run(20 * MS);
        }
        self.run(Duration::from_secs(1));
    }
}

#[test]
fn our_client_connects_with_either_version_and_in_either_role() {
    for versions in [DtlsVersions::Automatic, DtlsVersions::Only12, DtlsVersions::Only13] {
        for server_role in [DtlsRole::Server, DtlsRole::Client] {
            let mut pair = Pair::new(1, GOOD, versions, server_role);
            pair.connect();
            pair.exchange(10, 20);
            assert_eq!((pair.client.received.len(), pair.server.received.len()), (20, 20));
            let profile = pair.server.peer.snapshot().profile;
            assert_eq!(profile, pair.client.peer.snapshot().profile);
        }
    }
}

#[test]
fn our_client_holds_a_call_over_a_bad_network() {
    for seed in seeds(5) {
        let mut pair = Pair::new(seed, BAD, DtlsVersions::Automatic, DtlsRole::Server);
        pair.server.peer.open_channel(pair.now, "events", true, None);
        pair.connect();
        pair.network.conditions = GOOD;
        pair.exchange(10, 10);
        pair.network.conditions = BAD;
        pair.exchange(20, 200);
        pair.network.conditions = GOOD;
        pair.exchange(220, 10);
        assert_eq!((pair.client.received.len(), pair.server.received.len()), (220, 220), "seed {seed}");
        for number in 0..20u8 {
            pair.server.peer.send_message(pair.now, "events", false, &[number; 500]).expect("open");
        }
        pair.run(Duration::from_secs(5));
        let expected: Vec<_> = (0..20u8).map(|number| vec![number; 500]).collect();
        assert_eq!(pair.client.messages("events"), expected);
    }
}

#[test]
fn our_client_notices_that_the_server_is_gone() {
    let mut pair = Pair::new(1, GOOD, DtlsVersions::Automatic, DtlsRole::Server);
    pair.connect();
    pair.network.conditions.loss = 1.0;
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.client.closed(), Some(rtc::CloseReason::IceTimeout));
    assert_eq!(pair.server.closed(), Some(rtc::CloseReason::IceTimeout));
}

#[test]
fn simulcast_layers_are_told_apart_by_rid_and_by_ssrc() {
    let mut pair = Pair::new(1, GOOD, DtlsVersions::Automatic, DtlsRole::Server);
    let rid = |text: &str| base::Rid::new(text.as_bytes()).expect("a rid");
    let mut section = receive_section(VIDEO, CodecKind::Vp8);
    section.rids = vec![rid("q"), rid("h"), rid("f")];
    section.extensions = extensions();
    section.ssrcs = vec![(501, None), (502, None), (THEIR_SSRC[1].0, None)];
    pair.server.peer.set_sections(pair.now, &[section], &[]);
    pair.connect();
    let rewrite = rewrite(5, 5, CodecKind::Vp8);
    pair.client.send(pair.now, mid(VIDEO), &rewrite, &payload(5)).expect("connected");
    pair.run(100 * MS);
    assert_eq!(pair.server.received[0].0.layer, 2);
}

#[test]
fn dependency_descriptors_arrive_with_their_new_frame_numbers_also_on_retransmissions() {
    let mut pair = Pair::new(3, GOOD, DtlsVersions::Automatic, DtlsRole::Server);
    let (mut receive, mut send) =
        (receive_section(VIDEO, CodecKind::Av1), send_section(VIDEO, CodecKind::Av1, OUR_SSRC[1]));
    for extensions in [&mut receive.extensions, &mut send.extensions] {
        extensions.set(base::Extension::DependencyDescriptor, 13);
    }
    pair.client.peer.set_sections(pair.now, &[receive], &[]);
    pair.server.peer.set_sections(pair.now, &[], &[send]);
    pair.connect();
    let descriptor = |number: u64| vec![number as u8; 3 + number as usize % 40];
    for number in 10..210 {
        // Nobody can miss the first and the last packets of a stream.
        pair.network.conditions = if (20..200).contains(&number) { BAD } else { GOOD };
        let descriptor = descriptor(number);
        let mut rewrite = rewrite(number, number as u32 * 3_000, CodecKind::Av1);
        rewrite.descriptor = descriptor.len() as u8;
        rewrite.described = Some(wire::dd::Patch { frame_number: number as u16 + 7_000, active: None });
        let stored = [descriptor, payload(number)].concat();
        pair.server.send(pair.now, mid(VIDEO), &rewrite, &stored).expect("connected");
        pair.run(20 * MS);
    }
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.client.received.len(), 200);
    for ((received, bytes), arrived) in pair.client.received.iter().zip(&pair.client.descriptors) {
        let number = received.sequence & 0xffff;
        let mut expected = descriptor(number);
        expected[1..3].copy_from_slice(&(number as u16 + 7_000).to_be_bytes());
        assert_eq!((bytes, arrived), (&payload(number), &expected), "packet {number}");
    }
    let again = pair.client.received.iter().filter(|(received, _)| received.retransmitted).count();
    assert!(again > 5, "{again} retransmissions");
}
