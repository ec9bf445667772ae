//! DTLS on `dimpl`: role, version, certificate check, keys, application data.
//!
//! The library wants its outputs drained after every call that changes it (its queues are short and an overflow is
//! fatal), so each such call here ends in [`Dtls::drain`].

mod hello;
pub(crate) mod rsa;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dimpl::Output;
use hello::{Assembler, Offer, Peek};

use crate::config::fingerprint_of;
use crate::srtp::{MasterKey, Profile};
use crate::{Config, Counters, DtlsRole, DtlsVersions, Fingerprint};

/// Largest DTLS datagram that we make: fits every path that WebRTC works on (RFC 8261 section 5 allows 1,200).
pub(crate) const MTU: usize = 1_200;
/// Outgoing datagrams that wait for a destination or to be polled; a handshake flight has fewer than ten.
const MAX_OUT: usize = 64;
/// Application data kept until the certificate is checked.
const MAX_EARLY: usize = 8;
/// How often a handshake that broke before it was authenticated is begun anew. What broke it may have been noise; a
/// client that does it over and over is cut off.
const MAX_RESTARTS: u32 = 8;
/// Largest record: 2^14 bytes of text and its overhead.
const MAX_RECORD: usize = 17_000;

/// What DTLS tells the peer.
pub(crate) enum DtlsEvent {
    /// The certificate is the announced one; these are the keys, ours for sending first.
    Connected { send: MasterKey, receive: MasterKey },
    /// Decrypted application data: one SCTP packet.
    Data(Bytes),
    /// The other side said close_notify.
    Closed,
    /// The handshake failed or broke.
    Failed,
    /// The certificate is not the announced one.
    WrongFingerprint,
}

enum State {
    /// Server, until a ClientHello is complete; or role not known yet.
    Listening(Assembler),
    Running(Box<dimpl::Dtls>),
    Ended,
}

/// One side of a DTLS connection.
pub(crate) struct Dtls {
    config: Arc<Config>,
    state: State,
    role: Option<DtlsRole>,
    announced: Option<Fingerprint>,
    presented: Option<Fingerprint>,
    exported: Option<(Profile, Vec<u8>)>,
    finished: bool,
    connected: bool,
    restarts: u32,
    /// Of who has no key for ECDSA.
    asks_for_rsa: bool,
    early: Vec<Bytes>,
    /// Outgoing datagrams that found no room, not yet counted.
    dropped: u64,
    /// The library's next deadline.
    next: Option<Instant>,
    out: VecDeque<Vec<u8>>,
    events: VecDeque<DtlsEvent>,
    scratch: Vec<u8>,
}

impl Dtls {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            state: State::Listening(Assembler::default()),
            role: None,
            announced: None,
            presented: None,
            exported: None,
            finished: false,
            connected: false,
            restarts: 0,
            asks_for_rsa: false,
            early: Vec::new(),
            dropped: 0,
            next: None,
            out: VecDeque::new(),
            events: VecDeque::new(),
            scratch: vec![0; 2_048],
        }
    }

    /// What was announced of the other side; only the first announcement counts. A handshake that the other side began
    /// before is completed by it.
    pub(crate) fn set_remote(&mut self, announced: Fingerprint, role: DtlsRole) {
        self.announced.get_or_insert(announced);
        self.role.get_or_insert(role);
        self.complete();
    }

    pub(crate) fn role(&self) -> Option<DtlsRole> {
        self.role
    }

    /// In the client role: sends the ClientHello, when ICE has a pair.
    pub(crate) fn start(&mut self, now: Instant) {
        if self.role != Some(DtlsRole::Client) || !matches!(self.state, State::Listening(_)) {
            return;
        }
        let mut dtls = self.instance(now, self.config.versions(), DtlsRole::Client);
        dtls.set_active(true);
        let started = dtls.handle_timeout(now).is_ok();
        self.run(dtls, started);
    }

    /// A datagram of the DTLS class from a validated address.
    pub(crate) fn receive(&mut self, now: Instant, datagram: &[u8], counters: &mut Counters) {
        match &mut self.state {
            State::Ended => counters.dtls_unexpected += 1,
            State::Running(dtls) => {
                let fine = dtls.handle_timeout(now).is_ok() && tolerate(dtls.handle_packet(datagram));
                self.after(fine, counters);
            }
            State::Listening(_) if self.role == Some(DtlsRole::Client) => counters.dtls_unexpected += 1,
            State::Listening(assembler) => match assembler.add(datagram) {
                Peek::Other => counters.dtls_malformed += 1,
                Peek::Incomplete => {}
                Peek::Complete(offer) => {
                    let hello = assembler.take();
                    self.accept(now, choose(self.config.versions(), offer), &hello, counters);
                }
                Peek::Undecidable => {
                    let hello = assembler.take();
                    self.accept(now, self.config.versions(), &hello, counters);
                }
            },
        }
    }

    /// Encrypts one SCTP packet; the result is the next [`Self::poll_transmit`].
    pub(crate) fn send(&mut self, data: &[u8], counters: &mut Counters) {
        let State::Running(dtls) = &mut self.state else { return };
        let fine = dtls.send_application_data(data).is_ok();
        self.after(fine, counters);
    }

    /// Says close_notify.
    pub(crate) fn close(&mut self) {
        if let State::Running(dtls) = &mut self.state {
            let _ = dtls.close();
            self.drain();
        }
        self.end();
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, counters: &mut Counters) {
        let State::Running(dtls) = &mut self.state else { return };
        let fine = dtls.handle_timeout(now).is_ok();
        self.after(fine, counters);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    pub(crate) fn poll_event(&mut self) -> Option<DtlsEvent> {
        self.events.pop_front()
    }

    /// Appends the next datagram to `out`.
    pub(crate) fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        self.out.pop_front().inspect(|datagram| out.extend_from_slice(datagram)).is_some()
    }

    fn accept(&mut self, now: Instant, versions: DtlsVersions, hello: &[Vec<u8>], counters: &mut Counters) {
        self.role = Some(DtlsRole::Server);
        let mut dtls = self.instance(now, versions, DtlsRole::Server);
        self.asks_for_rsa = versions == DtlsVersions::Only12;
        let fine = dtls.handle_timeout(now).is_ok() && hello.iter().all(|d| dtls.handle_packet(d).is_ok());
        self.state = State::Running(Box::new(dtls));
        self.after(fine, counters);
    }

    fn instance(&self, now: Instant, versions: DtlsVersions, role: DtlsRole) -> dimpl::Dtls {
        let (config, certificate) = (self.config.dimpl(), self.config.certificate().dimpl());
        match versions {
            DtlsVersions::Only12 if role == DtlsRole::Server => {
                dimpl::Dtls::new_12(self.config.dimpl_with_rsa(), certificate, now)
            }
            DtlsVersions::Automatic => dimpl::Dtls::new_auto(config, certificate, now),
            DtlsVersions::Only12 => dimpl::Dtls::new_12(config, certificate, now),
            DtlsVersions::Only13 => dimpl::Dtls::new_13(config, certificate, now),
        }
    }

    fn run(&mut self, dtls: dimpl::Dtls, fine: bool) {
        self.state = State::Running(Box::new(dtls));
        self.drain();
        if !fine {
            self.fail(DtlsEvent::Failed);
        }
    }

    /// After every call into the library. Its errors are final for the instance.
    fn after(&mut self, fine: bool, counters: &mut Counters) {
        self.drain();
        counters.dtls_dropped += std::mem::take(&mut self.dropped);
        if fine {
            return;
        }
        let again = self.role == Some(DtlsRole::Server) && !self.finished && self.restarts < MAX_RESTARTS;
        if !again {
            self.fail(DtlsEvent::Failed);
            return;
        }
        self.restarts += 1;
        counters.dtls_restarted += 1;
        self.state = State::Listening(Assembler::default());
        (self.next, self.presented, self.exported) = (None, None, None);
    }

    /// Takes everything the library has to say.
    fn drain(&mut self) {
        while let State::Running(dtls) = &mut self.state {
            match dtls.poll_output(&mut self.scratch) {
                Output::Timeout(at) => {
                    self.next = Some(at);
                    break;
                }
                Output::BufferTooSmall { needed } if needed <= MAX_RECORD => self.scratch.resize(needed, 0),
                Output::BufferTooSmall { .. } => return self.fail(DtlsEvent::Failed),
                Output::Packet(packet) => {
                    if self.out.len() == MAX_OUT {
                        // The oldest: it is the one most likely to be out of date.
                        self.out.pop_front();
                        self.dropped += 1;
                    }
                    let mut packet = packet.to_vec();
                    if self.asks_for_rsa && !self.finished {
                        rsa::ask_for_rsa(&mut packet);
                    }
                    self.out.push_back(packet);
                }
                Output::Connected => self.finished = true,
                Output::PeerCert(certificate) => self.presented = Some(fingerprint_of(certificate)),
                Output::KeyingMaterial(material, profile) => {
                    self.exported = profile_of(profile).map(|profile| (profile, material.to_vec()));
                }
                Output::ApplicationData(data) => {
                    let data = Bytes::copy_from_slice(data);
                    self.complete();
                    self.take_data(data);
                }
                Output::CloseNotify => {
                    self.end();
                    self.events.push_back(DtlsEvent::Closed);
                }
                _ => {}
            }
        }
        self.complete();
    }

    /// Data may come with the last flight of the handshake, and before signalling has told the fingerprint: some of it is
    /// kept until it is known whom it is from, because SCTP repeats its first packet only after a second.
    fn take_data(&mut self, data: Bytes) {
        if self.connected {
            self.events.push_back(DtlsEvent::Data(data));
        } else if self.early.len() < MAX_EARLY {
            self.early.push(data);
        }
    }

    /// Once handshake, certificate, announcement and keys are all there: compares, and hands out the keys.
    fn complete(&mut self) {
        if self.connected || !self.finished || matches!(self.state, State::Ended) {
            return;
        }
        let (Some(announced), Some((profile, exported))) = (self.announced, &self.exported) else { return };
        if self.presented != Some(announced) {
            return self.fail(DtlsEvent::WrongFingerprint);
        }
        let Some((client, server)) = MasterKey::from_dtls(*profile, exported) else {
            return self.fail(DtlsEvent::Failed);
        };
        let (send, receive) = match self.role {
            Some(DtlsRole::Client) => (client, server),
            _ => (server, client),
        };
        self.connected = true;
        self.exported = None;
        self.events.push_back(DtlsEvent::Connected { send, receive });
        self.events.extend(self.early.drain(..).map(DtlsEvent::Data));
    }

    fn fail(&mut self, why: DtlsEvent) {
        if !matches!(self.state, State::Ended) {
            self.end();
            self.events.push_back(why);
        }
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.next = None;
    }
}

/// 1.3 where it yields an AEAD or nothing else is offered; else 1.2, whose server prefers AEADs.
fn choose(versions: DtlsVersions, offer: Offer) -> DtlsVersions {
    match versions {
        DtlsVersions::Automatic if offer.dtls_13 && (offer.aead_first || !offer.dtls_12) => {
            DtlsVersions::Only13
        }
        DtlsVersions::Automatic => DtlsVersions::Only12,
        fixed => fixed,
    }
}

/// The library reports an unreadable first answer to a client that offered both versions, and stays usable.
fn tolerate(outcome: Result<(), dimpl::Error>) -> bool {
    use dimpl::{Error, UnexpectedMessageError};
    let unreadable = Err(Error::UnexpectedMessage(UnexpectedMessageError::UnrecognizedAutoServerResponse));
    outcome.is_ok() || outcome == unreadable
}

fn profile_of(profile: dimpl::SrtpProfile) -> Option<Profile> {
    match profile {
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        dimpl::SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        dimpl::SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Certificate;

    fn side(serial: u8) -> Dtls {
        let certificate = Certificate::generate([serial; 16]).expect("a certificate");
        let config = Config::new(certificate).expect("a configuration").with_versions(DtlsVersions::Only12);
        Dtls::new(Arc::new(config))
    }

    /// Hands over everything that waits; returns it.
    fn carry(now: Instant, from: &mut Dtls, to: &mut Dtls) -> Vec<u8> {
        let (mut all, mut datagram) = (Vec::new(), Vec::new());
        while from.poll_transmit(&mut datagram) {
            to.receive(now, &datagram, &mut Counters::default());
            all.append(&mut datagram);
        }
        all
    }

    /// The library's request has to look as `rsa` expects it.
    #[test]
    fn a_server_of_dtls_12_asks_for_certificates_for_rsa_too_and_connects_with_one_for_ecdsa() {
        let now = Instant::now();
        let (mut client, mut server) = (side(1), side(2));
        client.set_remote(server.config.certificate().fingerprint(), DtlsRole::Client);
        server.set_remote(client.config.certificate().fingerprint(), DtlsRole::Server);
        client.start(now);
        carry(now, &mut client, &mut server);
        let flight = carry(now, &mut server, &mut client);
        let request = [1, 64, 0, 4, 4, 3, 4, 1, 0, 0];
        assert!(flight.windows(request.len()).any(|bytes| bytes == request), "{flight:02x?}");
        carry(now, &mut client, &mut server);
        carry(now, &mut server, &mut client);
        for side in [&mut client, &mut server] {
            assert!(matches!(side.poll_event(), Some(DtlsEvent::Connected { .. })));
        }
    }

    #[test]
    fn the_version_is_chosen_for_the_sake_of_an_aead() {
        let offer = |dtls_12, dtls_13, aead_first| Offer { dtls_12, dtls_13, aead_first };
        for (offer, expected, who) in [
            (offer(true, true, false), DtlsVersions::Only12, "Chromium: SHA1_80 first"),
            (offer(true, true, true), DtlsVersions::Only13, "Firefox: AES-GCM first"),
            (offer(false, true, false), DtlsVersions::Only13, "1.3 alone"),
            (offer(true, false, true), DtlsVersions::Only12, "1.2 alone"),
            (offer(false, false, false), DtlsVersions::Only12, "1.0 alone, which 1.2 refuses"),
        ] {
            assert_eq!(choose(DtlsVersions::Automatic, offer), expected, "{who}");
        }
        assert_eq!(choose(DtlsVersions::Only12, offer(true, true, true)), DtlsVersions::Only12);
    }
}
