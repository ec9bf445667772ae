//! What a peer tells its owner.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Bitrate, Mid, NtpTime};
use bytes::Bytes;

/// Control-path events, drained with [`crate::Peer::poll_event`]. At most [`crate::Peer::MAX_EVENTS`] wait: data
/// messages stay in SCTP's receive window beyond that.
#[derive(Clone, Debug)]
pub enum Event {
    /// An authenticated ICE check came from this address: datagrams from it belong to this peer. A lite peer says it again
    /// with every new check, because of two peers that claim one address the later has it.
    SourceValidated(SocketAddr),
    /// This address no longer belongs to the peer: it has used too many.
    SourceForgotten(SocketAddr),
    /// The first pair was nominated: media can be sent once DTLS is up.
    IceConnected,
    /// DTLS is up and the certificate is the announced one; SRTP keys are known.
    DtlsConnected,
    /// The first authenticated RTP packet arrived.
    FirstMedia,
    /// A data channel is open in both directions.
    ChannelOpen {
        /// Its label.
        label: Arc<str>,
        /// In order?
        ordered: bool,
        /// `None` = reliable, or limited by time.
        max_retransmits: Option<u16>,
    },
    /// A data channel is gone; its label may be opened again.
    ChannelClosed {
        /// Its label.
        label: Arc<str>,
    },
    /// A message arrived.
    Data {
        /// The channel's label.
        label: Arc<str>,
        /// It was a text message.
        text: bool,
        /// The message, at most [`crate::MAX_MESSAGE`] bytes.
        payload: Bytes,
    },
    /// The receiver of a send section asks for a keyframe (PLI or FIR).
    KeyframeRequest {
        /// The send section.
        mid: Mid,
    },
    /// No authenticated ICE check for 15 s: the path is broken, or the other side gone. Unless it checks again, perhaps after
    /// a restart, the peer ends 15 s later. Said by lite peers, again after every check that follows.
    Interrupted,
    /// A publisher's clock.
    SenderReport {
        /// The receive section.
        mid: Mid,
        /// Simulcast layer, lowest 0.
        layer: u8,
        /// The sender's wall-clock time.
        ntp: NtpTime,
        /// The same moment as RTP timestamp of that stream.
        rtp: u32,
        /// When the report arrived.
        at: Instant,
    },
    /// How the connection does, at most once a second, when reports of the other side came in.
    Quality {
        /// Fraction of our packets that were lost on the way, 0.0 to 1.0, over all send sections.
        loss: f32,
        /// Round trip, when known.
        rtt: Option<Duration>,
        /// Interarrival jitter, the worst of all send sections.
        jitter: Duration,
    },
    /// What the path to the other side carries has changed by more than a twentieth ([`crate::Peer::estimate`]).
    Estimate(Bitrate),
    /// The peer is over; nothing follows.
    Closed(CloseReason),
}

/// Why a peer ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CloseReason {
    /// [`crate::Peer::close`] was called.
    Local,
    /// The other side said goodbye (DTLS close_notify).
    Remote,
    /// No authenticated ICE check for too long.
    IceTimeout,
    /// The handshake failed, or did not end in time.
    DtlsFailed,
    /// The certificate is not the announced one.
    WrongFingerprint,
    /// The association broke a rule of SCTP beyond repair.
    SctpFailed,
}
