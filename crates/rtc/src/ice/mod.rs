//! ICE behind one small interface: our lite responder for the server, a full agent for clients and tests.

mod full;
mod lite;
mod stun;

use std::net::SocketAddr;
use std::time::Instant;

pub(crate) use full::Full;
pub(crate) use lite::Lite;

use crate::{Counters, IceCredentials, IceRole};

/// What ICE tells the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IceEvent {
    /// Datagrams from this address belong to the peer. A lite agent says it again with every new check.
    Validated(SocketAddr),
    /// Datagrams from this address no longer do.
    Forgotten(SocketAddr),
    /// The first pair was nominated.
    Connected,
    /// No authenticated check for a while: the path is broken, or the other side gone. The agent still answers.
    Interrupted,
    /// No authenticated check for too long; the agent is dead.
    TimedOut,
}

/// Either agent.
pub(crate) enum Ice {
    Lite(Box<Lite>),
    Full(Box<Full>),
}

impl Ice {
    pub(crate) fn new(now: Instant, role: IceRole) -> Self {
        match role {
            IceRole::Lite { local, .. } => Self::Lite(Box::new(Lite::new(local))),
            IceRole::Full { local, candidates, controlling } => {
                Self::Full(Box::new(Full::new(now, local, &candidates, controlling)))
            }
        }
    }

    /// The other side's credentials, at first and after its restart.
    pub(crate) fn set_remote(&mut self, now: Instant, remote: IceCredentials) {
        match self {
            Self::Lite(lite) => lite.set_remote(now),
            Self::Full(full) => full.set_remote(now, remote),
        }
    }

    /// New local credentials (RFC 8445 section 9).
    pub(crate) fn restart(&mut self, now: Instant, local: IceCredentials) {
        match self {
            Self::Lite(lite) => lite.restart(now, local),
            Self::Full(full) => full.restart(now, local),
        }
    }

    /// A STUN datagram.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        counters: &mut Counters,
    ) {
        match self {
            Self::Lite(lite) => lite.receive(now, from, datagram, counters),
            Self::Full(full) => full.receive(now, from, datagram, counters),
        }
    }

    /// Something that only the other side can have sent came from one of its addresses.
    pub(crate) fn heard(&mut self, now: Instant) {
        match self {
            Self::Lite(lite) => lite.heard(now),
            // It checks on its own, and hears the answers.
            Self::Full(_) => {}
        }
    }

    /// May DTLS and SRTP come from this address?
    pub(crate) fn is_valid(&self, from: SocketAddr) -> bool {
        match self {
            Self::Lite(lite) => lite.is_valid(from),
            Self::Full(full) => full.is_valid(from),
        }
    }

    /// Where to send: the latest nominated address, before nomination the latest validated one.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        match self {
            Self::Lite(lite) => lite.destination(),
            Self::Full(full) => full.destination(),
        }
    }

    pub(crate) fn is_nominated(&self) -> bool {
        match self {
            Self::Lite(lite) => lite.is_nominated(),
            Self::Full(full) => full.is_nominated(),
        }
    }

    /// Writes the next STUN message into `out`, which is empty.
    pub(crate) fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        match self {
            Self::Lite(lite) => lite.poll_transmit(out),
            Self::Full(full) => full.poll_transmit(out),
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<IceEvent> {
        match self {
            Self::Lite(lite) => lite.poll_event(),
            Self::Full(full) => full.poll_event(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Lite(lite) => lite.handle_timeout(now),
            Self::Full(full) => full.handle_timeout(now),
        }
    }

    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        match self {
            Self::Lite(lite) => lite.poll_timeout(),
            Self::Full(full) => full.poll_timeout(),
        }
    }
}
