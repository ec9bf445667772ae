//! Connected pairs of peers without a network between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::NtpTime;
use contract::media::Sections;
use rig::mirrored;
use rtc::{Certificate, Config, DtlsRole, IceCredentials, IceRole, Peer, WallClock};

/// Datagrams of the client that the server has not taken yet, with the time at which they were sent.
pub type Datagrams = Vec<(Instant, Vec<u8>)>;

/// A client and its peer at the server.
pub struct Pair {
    pub client: Peer,
    pub server: Peer,
    pub at_client: SocketAddr,
    at_server: SocketAddr,
    scratch: Vec<u8>,
}

/// Certificate and DTLS settings of one side.
pub fn config(serial: u8) -> Arc<Config> {
    let certificate = Certificate::generate([serial; 16]).expect("a certificate");
    Arc::new(Config::new(certificate).expect("the provider passes its own test"))
}

/// What all pairs share.
pub struct Plant {
    server: Arc<Config>,
    client: Arc<Config>,
    pub clock: WallClock,
}

impl Plant {
    pub fn new(now: Instant) -> Self {
        Self { server: config(1), client: config(2), clock: WallClock { at: now, ntp: NtpTime(1 << 60) } }
    }

    /// A pair with ICE and DTLS done; it takes 2 s from `now`.
    pub fn pair(&self, now: Instant, number: u16, sections: &Sections) -> Pair {
        let at_client = SocketAddr::from(([10, 0, 1, 1], 5_000 + number));
        let at_server = SocketAddr::from(([10, 0, 0, 1], 7_882));
        let credentials = |name: &str| IceCredentials {
            ufrag: format!("{name}{number:05}"),
            password: format!("a password of 22 characters for {name}"),
        };
        let full =
            IceRole::Full { local: credentials("client"), candidates: vec![at_client], controlling: true };
        let lite = IceRole::Lite { local: credentials("server"), candidate: at_server };
        let mut client = Peer::new(now, self.clock, &self.client, full, 2 * u64::from(number) + 1);
        let mut server = Peer::new(now, self.clock, &self.server, lite, 2 * u64::from(number) + 2);
        let (fingerprint, theirs) = (self.server.certificate().fingerprint(), self.client.certificate());
        client.set_remote(now, credentials("server"), fingerprint, DtlsRole::Client);
        client.add_remote_candidate(now, at_server);
        server.set_remote(now, credentials("client"), theirs.fingerprint(), DtlsRole::Server);
        let (receive, send) = mirrored(sections);
        client.set_sections(now, &receive, &send);
        let (receive, send) = at_server_side(sections);
        server.set_sections(now, &receive, &send);
        let mut pair = Pair { client, server, at_client, at_server, scratch: Vec::new() };
        pair.connect(now);
        pair
    }
}

impl Pair {
    fn connect(&mut self, start: Instant) {
        for step in 0..=200 {
            let now = start + Duration::from_millis(10 * step);
            self.client.handle_timeout(now);
            self.server.handle_timeout(now);
            let mut to_server = Vec::new();
            self.drain_client(now, &mut to_server);
            for (_, mut datagram) in to_server {
                self.server.receive(now, self.at_client, &mut datagram);
            }
            self.drain_server(now);
        }
        assert!(self.client.can_send() && self.server.can_send(), "a pair without a network connects");
    }

    /// What the client has to say.
    pub fn drain_client(&mut self, now: Instant, out: &mut Datagrams) {
        while self.client.poll_transmit(now, &mut self.scratch).is_some() {
            out.push((now, self.scratch.clone()));
        }
        while self.client.poll_event().is_some() {}
    }

    /// What the server has to say goes to the client.
    pub fn drain_server(&mut self, now: Instant) {
        while self.server.poll_transmit(now, &mut self.scratch).is_some() {
            self.client.receive(now, self.at_server, &mut self.scratch);
        }
        while self.server.poll_event().is_some() {}
    }

    /// The client takes a packet of media.
    pub fn deliver(&mut self, now: Instant, datagram: &mut [u8]) {
        self.client.receive(now, self.at_server, datagram);
    }
}

/// The sections as the worker hands them to its peers.
fn at_server_side(sections: &Sections) -> (Vec<rtc::ReceiveSection>, Vec<rtc::SendSection>) {
    let receive = sections.receive.iter().map(|section| rtc::ReceiveSection {
        mid: section.mid,
        media: section.media,
        codecs: section.codecs.clone(),
        extensions: section.extensions,
        rids: section.rids.clone(),
        ssrcs: section.ssrcs.clone(),
    });
    let send = sections.send.iter().map(|section| rtc::SendSection {
        mid: section.mid,
        media: section.media,
        ssrc: section.ssrc,
        rtx_ssrc: section.rtx_ssrc,
        codecs: section.codecs.clone(),
        extensions: section.extensions,
        cname: section.cname.clone(),
        strips_trailers: section.strips_trailers,
    });
    (receive.collect(), send.collect())
}
