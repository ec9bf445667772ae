//! The test bench: our peer, the other side, and a network between them, in virtual time.

pub mod net;
pub mod ours;
pub mod theirs;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base::{Codec, CodecKind, Extension, ExtensionMap, MediaKind, Mid};
use net::{Conditions, Network};
use ours::{Ours, config, credentials, rewrite};
use rtc::{DtlsRole, DtlsVersions, IceCredentials, ReceiveSection, SendSection};
use str0m::config::DtlsVersion;
use str0m::rtp::RtpWrite;
use theirs::Theirs;

pub const MS: Duration = Duration::from_millis(1);
pub const AUDIO: &str = "aud";
pub const VIDEO: &str = "vid";
/// What str0m sends with, and what we send with.
pub const THEIR_SSRC: [(u32, u32); 2] = [(1_000, 1_001), (2_000, 2_001)];
pub const OUR_SSRC: [(u32, u32); 2] = [(3_000, 3_001), (4_000, 4_001)];

/// Seeds for a test that is repeated: `short` of them, or as many as `STOA_TEST_SEEDS` says where that is more.
pub fn seeds(short: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("STOA_TEST_SEEDS").ok().and_then(|text| text.parse().ok());
    0..wanted.unwrap_or(short).max(short)
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub fn mid(text: &str) -> Mid {
    Mid::new(text.as_bytes()).expect("a mid")
}

/// str0m's numbering, which it has from Chrome.
pub fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.set(Extension::AudioLevel, 1);
    map.set(Extension::AbsSendTime, 2);
    map.set(Extension::TransportSequence, 3);
    map.set(Extension::Mid, 4);
    map.set(Extension::Rid, 10);
    map.set(Extension::RepairedRid, 11);
    map
}

pub fn codec(kind: CodecKind) -> Codec {
    let video = kind.media() == MediaKind::Video;
    let (payload_type, rtx) = if video { (96, Some(97)) } else { (111, None) };
    Codec {
        kind,
        payload_type,
        rtx,
        nack: video,
        pli: video,
        fir: false,
        transport_cc: true,
        remb: false,
        ccfb: false,
    }
}

pub fn receive_section(name: &str, kind: CodecKind) -> ReceiveSection {
    ReceiveSection {
        mid: mid(name),
        media: kind.media(),
        codecs: vec![codec(kind)],
        extensions: extensions(),
        rids: Vec::new(),
        ssrcs: Vec::new(),
    }
}

pub fn send_section(name: &str, kind: CodecKind, (ssrc, rtx): (u32, u32)) -> SendSection {
    SendSection {
        mid: mid(name),
        media: kind.media(),
        ssrc,
        rtx_ssrc: (kind.media() == MediaKind::Video).then_some(rtx),
        codecs: vec![codec(kind)],
        extensions: extensions(),
        cname: "stream".into(),
        strips_trailers: false,
    }
}

/// Our lite peer and a str0m client with a network between them.
pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub network: Network,
    pub ours: Ours,
    pub theirs: Theirs,
    /// The client's address as the network shows it to us.
    pub outside: SocketAddr,
    /// Everything the client sends, while set.
    pub record: Option<Vec<Vec<u8>>>,
}

impl World {
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self::with_versions(seed, conditions, DtlsVersions::Automatic, DtlsVersion::Dtls12)
    }

    pub fn with_versions(
        seed: u64,
        conditions: Conditions,
        our_versions: DtlsVersions,
        their_version: DtlsVersion,
    ) -> Self {
        let now = Instant::now();
        let inside = address("10.0.0.2:5000");
        let mut world = Self {
            now,
            start: now,
            network: Network::new(seed, conditions),
            ours: Ours::lite(now, address("10.0.0.1:7882"), our_versions),
            theirs: Theirs::new(now, inside, their_version),
            outside: inside,
            record: None,
        };
        world.introduce();
        world.declare_media();
        world
    }

    /// What signalling would carry.
    fn introduce(&mut self) {
        let api = &mut self.theirs.rtc.direct_api();
        api.set_ice_controlling(true);
        let our_credentials = str0m_credentials(&credentials("ours"));
        api.set_remote_ice_credentials(our_credentials);
        let fingerprint = config(DtlsVersions::Automatic).certificate().fingerprint();
        api.set_remote_fingerprint(str0m::crypto::Fingerprint {
            hash_func: "sha-256".into(),
            bytes: fingerprint.to_vec(),
        });
        let (remote, fingerprint) = self.their_identity();
        self.ours.peer.set_remote(self.now, remote, fingerprint, DtlsRole::Server);
        let candidate = str0m::Candidate::host(self.ours.address, "udp").expect("a candidate");
        self.theirs.rtc.add_remote_candidate(candidate);
        let mut api = self.theirs.rtc.direct_api();
        api.start_dtls(true).expect("DTLS starts");
        api.start_sctp(true);
    }

    pub fn their_identity(&mut self) -> (IceCredentials, [u8; 32]) {
        let api = self.theirs.rtc.direct_api();
        let creds = api.local_ice_credentials();
        let fingerprint = api.local_dtls_fingerprint().bytes.clone();
        let remote = IceCredentials { ufrag: creds.ufrag, password: creds.pass };
        (remote, fingerprint.try_into().expect("SHA-256"))
    }

    fn declare_media(&mut self) {
        let mut api = self.theirs.rtc.direct_api();
        api.enable_twcc_feedback();
        let kinds = [(AUDIO, str0m::media::MediaKind::Audio), (VIDEO, str0m::media::MediaKind::Video)];
        for (i, (name, kind)) in kinds.into_iter().enumerate() {
            let rtx = |ssrc: u32| (i == 1).then(|| ssrc.into());
            api.declare_media(name.into(), kind);
            // Without its cap of retransmissions, which a bad network reaches now and then.
            api.declare_stream_tx(THEIR_SSRC[i].0.into(), rtx(THEIR_SSRC[i].1), name.into(), None)
                .set_rtx_cache(1_000, Duration::from_secs(3), None);
            api.expect_stream_rx(OUR_SSRC[i].0.into(), rtx(OUR_SSRC[i].1), name.into(), None);
        }
        let receive = [receive_section(AUDIO, CodecKind::Opus), receive_section(VIDEO, CodecKind::Vp8)];
        let send = [
            send_section(AUDIO, CodecKind::Opus, OUR_SSRC[0]),
            send_section(VIDEO, CodecKind::Vp8, OUR_SSRC[1]),
        ];
        self.ours.peer.set_sections(self.now, &receive, &send);
    }

    /// Runs for `time`.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
    }

    /// Runs until `done`, or fails after `limit`.
    pub fn run_until(&mut self, what: &str, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.now < end, "not within {limit:?}: {what}\n{:#?}", self.ours.peer.snapshot());
            self.step(end);
        }
    }

    pub fn connect(&mut self) {
        self.run_until("connect", Duration::from_secs(20), |w| w.ours.is_connected() && w.theirs.connected);
    }

    /// To the next thing that happens, `end` at the latest.
    fn step(&mut self, end: Instant) {
        self.collect();
        let times = [self.network.next_arrival(), self.ours.peer.poll_timeout(), Some(self.theirs.timeout)];
        let next = times.into_iter().flatten().min().unwrap_or(end);
        // A little at least, so that a peer that asks to be called again at once does not stop the clock.
        self.now = next.max(self.now + Duration::from_micros(100)).min(end.max(self.now));
        while let Some(datagram) = self.network.arrive(self.now) {
            let mut bytes = datagram.bytes;
            if datagram.to == self.ours.address {
                self.ours.receive(self.now, datagram.from, &mut bytes);
            } else if datagram.to == self.outside {
                self.theirs.receive(self.now, datagram.from, &bytes);
            }
            self.collect();
        }
        if self.ours.peer.poll_timeout().is_some_and(|at| at <= self.now) {
            self.ours.handle_timeout(self.now);
        }
        if self.theirs.timeout <= self.now {
            self.theirs.handle_timeout(self.now);
        }
        self.collect();
    }

    /// Puts what both sides want to send onto the network.
    pub fn collect(&mut self) {
        self.ours.drain(self.now);
        for (to, bytes) in self.ours.out.drain(..) {
            self.network.send(self.now, self.ours.address, to, bytes);
        }
        for (to, bytes) in self.theirs.out.drain(..) {
            if let Some(record) = &mut self.record {
                record.push(bytes.clone());
            }
            self.network.send(self.now, self.outside, to, bytes);
        }
    }

    /// str0m sends packet `number` of its stream: audio 0, video 1.
    pub fn they_send(&mut self, stream: usize, sequence: u64, payload: &[u8]) {
        let (name, pt) = [(AUDIO, 111), (VIDEO, 96)][stream];
        let time = (sequence as u32).wrapping_mul(960);
        let write =
            RtpWrite::new(pt.into(), sequence.into(), time, self.now, payload.to_vec()).nackable(stream == 1);
        let mut api = self.theirs.rtc.direct_api();
        api.stream_tx_by_mid(name.into(), None).expect("declared").write_rtp(write);
        self.theirs.handle_timeout(self.now);
    }

    /// We send packet `number` of our stream.
    pub fn we_send(&mut self, stream: usize, sequence: u64, payload: &[u8]) {
        let (name, kind) = [(AUDIO, CodecKind::Opus), (VIDEO, CodecKind::Vp8)][stream];
        let rewrite = rewrite(sequence, (sequence as u32).wrapping_mul(960), kind);
        self.ours.send(self.now, mid(name), &rewrite, payload).expect("connected");
    }
}

pub fn str0m_credentials(credentials: &IceCredentials) -> str0m::IceCreds {
    str0m::IceCreds { ufrag: credentials.ufrag.clone(), pass: credentials.password.clone() }
}

/// A payload that tells its number, of a length that depends on it. Its first byte is a valid VP8 descriptor.
pub fn payload(number: u64) -> Vec<u8> {
    let mut payload = vec![0x10; 20 + (number as usize * 37) % 1_000];
    payload[1..9].copy_from_slice(&number.to_be_bytes());
    payload
}
