//! Our peer with a socket address, a payload ring and a memory of what happened.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use base::ring::PayloadRing;
use base::{CodecKind, Mid, NtpTime};
use rtc::{Certificate, CloseReason, Config, DtlsVersions, Event, IceCredentials, IceRole, Peer, WallClock};
use wire::media::{Received, Rewrite};

pub struct Ours {
    pub peer: Peer,
    pub address: SocketAddr,
    pub received: Vec<(Received, Vec<u8>)>,
    /// Dependency descriptors of what was received, empty where there was none.
    pub descriptors: Vec<Vec<u8>>,
    pub events: Vec<Event>,
    pub out: Vec<(SocketAddr, Vec<u8>)>,
    ring: PayloadRing,
}

pub fn config(versions: DtlsVersions) -> Arc<Config> {
    // One key pair for all tests: making one takes longer than a test.
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    let certificate = CERTIFICATE.get_or_init(|| Certificate::generate([7; 16]).expect("a certificate"));
    Arc::new(Config::new(certificate.clone()).expect("a configuration").with_versions(versions))
}

pub fn credentials(name: &str) -> IceCredentials {
    IceCredentials { ufrag: format!("ufrag{name}"), password: format!("password-of-22-characters-{name}") }
}

impl Ours {
    pub fn lite(now: Instant, address: SocketAddr, versions: DtlsVersions) -> Self {
        let role = IceRole::Lite { local: credentials("ours"), candidate: address };
        Self::new(now, address, role, &config(versions))
    }

    pub fn new(now: Instant, address: SocketAddr, role: IceRole, config: &Arc<Config>) -> Self {
        let ntp = NtpTime::from_unix(std::time::Duration::from_secs(1_700_000_000));
        Self {
            peer: Peer::new(now, WallClock { at: now, ntp }, config, role, 99),
            address,
            received: Vec::new(),
            descriptors: Vec::new(),
            events: Vec::new(),
            out: Vec::new(),
            ring: PayloadRing::new(1 << 20, 2_048),
        }
    }

    pub fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &mut [u8]) {
        if let Some(received) = self.peer.receive(now, from, bytes) {
            let payload = bytes[received.payload.clone()].to_vec();
            let descriptor = received.extensions.dependency_descriptor.and_then(|range| range.of(bytes));
            self.descriptors.push(descriptor.unwrap_or_default().to_vec());
            self.received.push((received, payload));
        }
        self.drain(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.peer.handle_timeout(now);
        self.drain(now);
    }

    /// Sends one packet as the worker would: a payload, behind the descriptor that `rewrite` announces.
    pub fn send(&mut self, now: Instant, mid: Mid, rewrite: &Rewrite, stored: &[u8]) -> Option<usize> {
        let index = self.peer.send_index(mid)?;
        let slot = self.ring.push(stored)?;
        let mut out = Vec::new();
        let len = self.peer.send(now, index, rewrite, slot, stored, None, &mut out)?;
        assert_eq!(len, out.len());
        assert_eq!(len, self.peer.packet_len(index, rewrite, stored.len()));
        self.out.push((self.peer.destination()?, out));
        self.drain(now);
        Some(len)
    }

    pub fn drain(&mut self, now: Instant) {
        let mut out = Vec::new();
        while let Some(resend) = self.peer.poll_resend(now) {
            let stored = self.ring.get(resend.slot).expect("the ring is large").to_vec();
            out.clear();
            if self.peer.send_rtx(now, &resend, &stored, &mut out).is_some() {
                let to = self.peer.destination().expect("it was NACKed from somewhere");
                self.out.push((to, out.clone()));
            }
        }
        while let Some(to) = self.peer.poll_transmit(now, &mut out) {
            assert!(out.len() <= 1_232, "{} bytes", out.len());
            self.out.push((to, out.clone()));
        }
        while let Some(event) = self.peer.poll_event() {
            self.events.push(event);
        }
        while let Some(to) = self.peer.poll_transmit(now, &mut out) {
            self.out.push((to, out.clone()));
        }
    }

    pub fn is_connected(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::DtlsConnected))
    }

    pub fn closed(&self) -> Option<CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(*reason),
            _ => None,
        })
    }

    pub fn has_channel(&self, wanted: &str) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::ChannelOpen { label, .. } if **label == *wanted))
    }

    /// How many messages came on a channel.
    pub fn count(&self, wanted: &str) -> usize {
        let of = |event: &&Event| matches!(event, Event::Data { label, .. } if **label == *wanted);
        self.events.iter().filter(of).count()
    }

    /// Messages on a channel, in order of arrival.
    pub fn messages(&self, wanted: &str) -> Vec<Vec<u8>> {
        let of = |event: &Event| match event {
            Event::Data { label, payload, .. } if **label == *wanted => Some(payload.to_vec()),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }
}

pub fn rewrite(sequence: u64, timestamp: u32, codec: CodecKind) -> Rewrite {
    Rewrite::plain(sequence, timestamp, codec)
}
