//! What all peers of a process share, and the small values a peer is made from.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::NtpTime;

/// ICE user fragment and password (RFC 8445 section 5.3). Its `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IceCredentials {
    /// 4 to 256 ICE characters.
    pub ufrag: String,
    /// 22 to 256 ICE characters.
    pub password: String,
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceCredentials({})", self.ufrag)
    }
}

/// Which side starts the DTLS handshake; the same side opens SCTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtlsRole {
    /// We wait (`a=setup:passive`), and choose the SRTP profile.
    Server,
    /// We start (`a=setup:active`).
    Client,
}

/// How a peer does ICE.
#[derive(Clone, Debug)]
pub enum IceRole {
    /// ICE-lite (RFC 8445 section 2.5): answers checks, never sends one. What the server does.
    Lite {
        /// Our credentials.
        local: IceCredentials,
        /// The address that the other side reaches us at. Information for snapshots: a lite agent needs no other.
        candidate: SocketAddr,
    },
    /// A full agent, for clients and tests.
    Full {
        /// Our credentials.
        local: IceCredentials,
        /// Addresses of our sockets.
        candidates: Vec<SocketAddr>,
        /// Our role; true against a lite agent.
        controlling: bool,
    },
}

/// A moment on both clocks, from which the peer computes wall-clock time for sender reports.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// The moment on the monotonic clock.
    pub at: Instant,
    /// The same moment as wall-clock time.
    pub ntp: NtpTime,
}

impl WallClock {
    /// Wall-clock time at `now`.
    pub fn ntp(&self, now: Instant) -> NtpTime {
        self.ntp.plus(now.saturating_duration_since(self.at))
    }
}

/// SHA-256 of a DER certificate, as `a=fingerprint:sha-256` carries it.
pub type Fingerprint = [u8; 32];

/// A self-signed DTLS certificate with its private key. Its `Debug` shows no key.
#[derive(Clone)]
pub struct Certificate {
    der: dimpl::DtlsCertificate,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// A fresh ECDSA P-256 certificate. `serial` must be random: Firefox refuses a second certificate that has the same
    /// issuer and serial, even from another machine.
    ///
    /// The validity is wide and fixed, because WebRTC trusts the fingerprint alone (RFC 8827 section 6.5) and a pure
    /// crate has no calendar.
    pub fn generate(serial: [u8; 16]) -> Result<Self, ConfigError> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = rcgen::CertificateParams::new(Vec::new()).map_err(failed)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "WebRTC");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2049, 12, 31);
        // The first bit is cleared so that the DER integer stays positive without a padding byte.
        let mut serial = serial;
        serial[0] = (serial[0] & 0x7f) | 1;
        params.serial_number = Some(serial.to_vec().into());
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self::from_der(certificate.der().to_vec(), key.serialize_der()))
    }

    /// From a DER certificate and its PKCS #8 DER private key (ECDSA P-256 or P-384).
    pub fn from_der(certificate: Vec<u8>, private_key: Vec<u8>) -> Self {
        let fingerprint = fingerprint_of(&certificate);
        Self { der: dimpl::DtlsCertificate { certificate, private_key }, fingerprint }
    }

    /// What SDP announces of it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) fn dimpl(&self) -> dimpl::DtlsCertificate {
        self.der.clone()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:02x?})", &self.fingerprint[..4])
    }
}

/// SHA-256 of a DER certificate.
pub(crate) fn fingerprint_of(certificate: &[u8]) -> Fingerprint {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The certificate could not be made, or the cryptography provider failed its own test.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DTLS cannot be set up: {}", self.0)
    }
}

impl std::error::Error for ConfigError {}

fn failed(error: impl fmt::Display) -> ConfigError {
    ConfigError(error.to_string())
}

/// What all peers of a process share. Make one and hand it to every [`crate::Peer`] in an `Arc`.
#[derive(Debug)]
pub struct Config {
    certificate: Certificate,
    dtls: Arc<dimpl::Config>,
    dtls_with_rsa: Arc<dimpl::Config>,
    versions: DtlsVersions,
}

/// Which DTLS versions a client offers, and a server takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DtlsVersions {
    /// The server picks the version under which the better SRTP profile results; a client offers both.
    #[default]
    Automatic,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

fn builder() -> dimpl::ConfigBuilder {
    dimpl::Config::builder()
        // Sources are validated by ICE before a byte of DTLS is answered: a cookie would cost a round trip for
        // nothing.
        .use_server_cookie(false)
        .mtu(crate::dtls::MTU)
        .max_queue_tx(64)
        .max_queue_rx(64)
        .flight_start_rto(Duration::from_millis(200))
        .flight_retries(8)
        .handshake_timeout(Duration::from_secs(30))
}

impl Config {
    /// Checks the cryptography provider (takes about two milliseconds).
    pub fn new(certificate: Certificate) -> Result<Self, ConfigError> {
        let with_rsa = builder().with_crypto_provider(crate::dtls::rsa::provider());
        Ok(Self {
            certificate,
            dtls: Arc::new(builder().build().map_err(failed)?),
            dtls_with_rsa: Arc::new(with_rsa.build().map_err(failed)?),
            versions: DtlsVersions::Automatic,
        })
    }

    /// The same, restricted to some DTLS versions.
    pub fn with_versions(mut self, versions: DtlsVersions) -> Self {
        self.versions = versions;
        self
    }

    /// The process's certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(crate) fn versions(&self) -> DtlsVersions {
        self.versions
    }

    pub(crate) fn dimpl(&self) -> Arc<dimpl::Config> {
        self.dtls.clone()
    }

    /// For a server of DTLS 1.2.
    pub(crate) fn dimpl_with_rsa(&self) -> Arc<dimpl::Config> {
        self.dtls_with_rsa.clone()
    }
}
