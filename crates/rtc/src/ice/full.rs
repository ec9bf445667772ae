//! A full ICE agent for clients and tests, on the `is` crate.
//!
//! One socket per address family is assumed: a datagram is taken to have arrived at the first candidate of its sender's
//! family, which is what a client with one UDP socket has.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceConnectionState, IceCreds, Protocol};

use super::{IceEvent, stun};
use crate::{Counters, IceCredentials};

/// How long no pair may work before the connection is given up. Meanwhile the application may restart ICE.
const LOST_TIMEOUT: Duration = Duration::from_secs(15);
/// Addresses that may belong to the other side.
const MAX_SOURCES: usize = 16;

/// The agent.
pub(crate) struct Full {
    agent: IceAgent,
    candidates: Vec<SocketAddr>,
    sources: VecDeque<SocketAddr>,
    nominated: Option<SocketAddr>,
    events: VecDeque<IceEvent>,
    /// The agent evaluates itself only when time is handed to it, and hands out one check at a time.
    next: Option<Instant>,
    /// Since when no pair works; the application may still restart ICE.
    lost_since: Option<Instant>,
}

impl Full {
    pub(crate) fn new(
        now: Instant,
        local: IceCredentials,
        candidates: &[SocketAddr],
        controlling: bool,
    ) -> Self {
        let mut agent = IceAgent::new(creds(local));
        agent.set_controlling(controlling);
        for address in candidates {
            if let Ok(candidate) = Candidate::host(*address, Protocol::Udp) {
                agent.add_local_candidate(candidate);
            }
        }
        Self {
            agent,
            candidates: candidates.to_vec(),
            sources: VecDeque::new(),
            nominated: None,
            events: VecDeque::new(),
            next: Some(now),
            lost_since: None,
        }
    }

    pub(crate) fn set_remote(&mut self, now: Instant, remote: IceCredentials) {
        let remote = creds(remote);
        if self.agent.remote_credentials() != Some(&remote) {
            self.agent.set_remote_credentials(remote);
            self.next = Some(now);
        }
    }

    /// An address at which the other side may be reached.
    pub(crate) fn add_remote_candidate(&mut self, now: Instant, address: SocketAddr) {
        if let Ok(candidate) = Candidate::host(address, Protocol::Udp) {
            self.agent.add_remote_candidate(candidate);
            self.next = Some(now);
        }
    }

    pub(crate) fn restart(&mut self, now: Instant, local: IceCredentials) {
        self.agent.ice_restart(creds(local), true);
        self.next = Some(now);
    }

    /// Our socket moved: checks go out from the new address and nominate anew (for clients that change networks).
    pub(crate) fn replace_candidates(&mut self, now: Instant, candidates: &[SocketAddr]) {
        for old in self.agent.local_candidates().collect::<Vec<_>>() {
            self.agent.invalidate_candidate(&old);
        }
        for address in candidates {
            if let Ok(candidate) = Candidate::host(*address, Protocol::Udp) {
                self.agent.add_local_candidate(candidate);
            }
        }
        self.candidates = candidates.to_vec();
        self.next = Some(now);
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        counters: &mut Counters,
    ) {
        if !stun::has_valid_fingerprint(datagram) {
            counters.stun_bad_fingerprint += 1;
            return;
        }
        let Ok(message) = StunMessage::parse(datagram) else {
            counters.stun_malformed += 1;
            return;
        };
        let family = |candidate: &&SocketAddr| candidate.is_ipv4() == from.is_ipv4();
        let Some(destination) = self.candidates.iter().find(family).copied() else {
            counters.stun_unexpected += 1;
            return;
        };
        let packet = StunPacket { proto: Protocol::Udp, source: from, destination, message };
        if self.agent.handle_packet(now, packet) {
            counters.stun_checks += 1;
        } else {
            counters.stun_unauthenticated += 1;
        }
        self.handle_timeout(now);
    }

    pub(crate) fn is_valid(&self, from: SocketAddr) -> bool {
        self.nominated == Some(from) || self.sources.contains(&from)
    }

    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        self.nominated.or(self.sources.back().copied())
    }

    pub(crate) fn is_nominated(&self) -> bool {
        self.nominated.is_some()
    }

    pub(crate) fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let transmit = self.agent.poll_transmit()?;
        out.extend_from_slice(&transmit.contents);
        Some(transmit.destination)
    }

    pub(crate) fn poll_event(&mut self) -> Option<IceEvent> {
        self.events.pop_front()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        while let Some(event) = self.agent.poll_event() {
            self.handle_event(now, event);
        }
        if self.lost_since.is_some_and(|since| now >= since + LOST_TIMEOUT) {
            self.lost_since = None;
            self.events.push_back(IceEvent::TimedOut);
        }
        self.next = self.agent.poll_timeout();
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    fn handle_event(&mut self, now: Instant, event: IceAgentEvent) {
        match event {
            IceAgentEvent::DiscoveredRecv { source, .. } => self.validate(source),
            IceAgentEvent::NominatedSend { destination, .. } => {
                if self.nominated.replace(destination).is_none() {
                    self.events.push_back(IceEvent::Connected);
                }
            }
            IceAgentEvent::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.lost_since.get_or_insert(now);
            }
            IceAgentEvent::IceConnectionStateChange(
                IceConnectionState::Connected | IceConnectionState::Completed,
            ) => self.lost_since = None,
            IceAgentEvent::IceConnectionStateChange(_) | IceAgentEvent::IceRestart(_) => {}
        }
    }

    fn validate(&mut self, source: SocketAddr) {
        if self.sources.contains(&source) {
            return;
        }
        if self.sources.len() == MAX_SOURCES {
            self.sources.pop_front();
        }
        self.sources.push_back(source);
        self.events.push_back(IceEvent::Validated(source));
    }
}

fn creds(credentials: IceCredentials) -> IceCreds {
    IceCreds { ufrag: credentials.ufrag, pass: credentials.password }
}
