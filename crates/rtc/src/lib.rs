//! One peer's transport: ICE, DTLS, SRTP, SCTP data channels, receive and send streams, NACK and RTX, RTCP.
//!
//! Sans-IO. The crate knows nothing of sockets, clocks, threads, rooms, tracks or SDP: a [`Peer`] is given datagrams and
//! the time, and is asked for datagrams, events and its next deadline.
//!
//! The driving contract: **after every call that changes a peer ([`Peer::receive`], [`Peer::handle_timeout`], a setter,
//! a message), drain [`Peer::poll_transmit`], then [`Peer::poll_event`], then read [`Peer::poll_timeout`]; `now` never
//! goes back.** [`Peer::send`] alone is spared that, unless [`Peer::take_deadline_moved`] says so. The data path ([`Peer::receive`] for RTP, [`Peer::send`]) allocates nothing and queues nothing.
//!
//! Bytes from the network never cause an error upward and never a panic: what cannot be used is counted in
//! [`Counters`] and dropped.
//!
//! The only randomness that is not handed in lies in the DTLS library (key exchange), in [`Certificate::generate`], and
//! in the full ICE agent and the SCTP library (transaction ids, tags).

pub mod cc;
mod config;
mod counters;
mod dtls;
mod event;
mod ice;
mod moment;
mod peer;
mod sctp;
mod section;
pub mod srtp;
pub mod streams;

pub use config::{
    Certificate, Config, ConfigError, DtlsRole, DtlsVersions, Fingerprint, IceCredentials, IceRole, WallClock,
};
pub use counters::Counters;
pub use event::{CloseReason, Event};
pub use peer::{FeedbackTotals, Peer, PeerSnapshot, ReceiveSnapshot, Resend, SendSnapshot};
pub use sctp::{ChannelError, MAX_MESSAGE};
pub use section::{ReceiveSection, SendIndex, SendSection};
pub use streams::Clock;
