//! One connection on one UDP socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use base::ring::PayloadRing;
use base::{CodecKind, Mid};
use rtc::{Config, DtlsRole, Fingerprint, IceCredentials, IceRole, Peer, SendIndex, WallClock};
use udp::{Batch, Datagram, Options, Slab, Socket};
use wire::media::{Received, Rewrite};

/// Sent payloads kept for retransmission: about a second of 2 Mbit/s.
const RING_BYTES: usize = 256 * 1024;
const RING_PAYLOADS: usize = 512;

/// What the server said about itself.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its ICE credentials.
    pub credentials: IceCredentials,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// Where it can be reached.
    pub candidates: Vec<SocketAddr>,
}

/// A datagram that has come.
pub struct Arrival<'a> {
    /// When it arrived at the machine, where the socket was asked to tell.
    pub at: Option<SystemTime>,
    /// The datagram.
    pub datagram: Datagram<'a>,
}

/// The numbering of one outgoing stream.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// Its send section.
    pub mid: Mid,
    /// What it carries.
    pub codec: CodecKind,
    /// Loudness of the next packets (RFC 6464: V bit and level), where that extension was negotiated.
    pub audio_level: Option<u8>,
    sequence: u64,
    index: Option<SendIndex>,
}

impl Outgoing {
    /// A stream that starts at `sequence` (the lower half of 16 bits leaves room before the first wrap).
    pub fn new(mid: Mid, codec: CodecKind, sequence: u16) -> Self {
        Self { mid, codec, audio_level: None, sequence: u64::from(sequence), index: None }
    }
}

/// One connection: a UDP socket and the peer behind it. Nothing happens unless it is driven: call [`Endpoint::receive`]
/// when the socket may have something or a deadline passed, and [`Endpoint::flush`] after sending.
pub struct Endpoint {
    socket: Socket,
    peer: Peer,
    local: IceCredentials,
    batch: Batch,
    scratch: Vec<u8>,
    ring: PayloadRing,
}

impl Endpoint {
    /// Binds a socket on `ip` and makes a controlling full-ICE peer of it. `seed` decides its random numbers and its ICE
    /// credentials, which name it uniquely among the peers of a server.
    pub fn bind(
        ip: IpAddr,
        options: &Options,
        clock: WallClock,
        config: &Arc<Config>,
        seed: u64,
    ) -> io::Result<Self> {
        let socket = Socket::bind(SocketAddr::new(ip, 0), options)?;
        let local = credentials(seed);
        let role =
            IceRole::Full { local: local.clone(), candidates: vec![socket.local_addr()], controlling: true };
        let peer = Peer::new(clock.at, clock, config, role, seed);
        Ok(Self {
            socket,
            peer,
            local,
            batch: Batch::default(),
            scratch: Vec::new(),
            ring: PayloadRing::new(RING_BYTES, RING_PAYLOADS),
        })
    }

    /// Our ICE credentials, for the description that the server gets.
    pub fn credentials(&self) -> &IceCredentials {
        &self.local
    }

    /// Starts connecting; we take the DTLS client's part.
    pub fn connect(&mut self, now: Instant, remote: &Remote) {
        self.peer.set_remote(now, remote.credentials.clone(), remote.fingerprint, DtlsRole::Client);
        for candidate in &remote.candidates {
            self.peer.add_remote_candidate(now, *candidate);
        }
    }

    /// Restarts ICE, on another socket if there is one: the credentials change with `seed`, DTLS and everything above it go
    /// on. Once the server has been told and has answered, [`Self::connect`] is called again.
    pub fn restart(&mut self, now: Instant, seed: u64, socket: Option<Socket>) {
        self.local = credentials(seed);
        if let Some(socket) = socket {
            self.socket = socket;
            self.peer.replace_candidates(now, &[self.socket.local_addr()]);
        }
        self.peer.restart_ice(now, self.local.clone());
    }

    /// The peer: events, sections, data channels, counters.
    pub fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    /// The socket, to wait on.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Takes what the socket has, hands RTP (with its payload) to `media`, does what is due, and sends what that made.
    /// Returns the number of datagrams. `slab` may be shared by many endpoints.
    pub fn receive(
        &mut self,
        now: Instant,
        slab: &mut Slab,
        mut media: impl FnMut(&Received, &[u8]),
    ) -> io::Result<usize> {
        self.receive_by(now, slab, |peer, Arrival { datagram, .. }| {
            if let Some(received) = peer.receive(now, datagram.source, datagram.bytes) {
                media(&received, &datagram.bytes[received.payload.clone()]);
            }
        })
    }

    /// The same, where `take` hands each datagram to the peer, or does not: for measurements.
    pub fn receive_by(
        &mut self,
        now: Instant,
        slab: &mut Slab,
        mut take: impl FnMut(&mut Peer, Arrival<'_>),
    ) -> io::Result<usize> {
        let count = self.socket.receive(slab)?;
        for index in 0..count {
            let at = slab.arrived(index);
            let Some(datagram) = slab.get(index) else { break };
            take(&mut self.peer, Arrival { at, datagram });
        }
        if count > 0 || self.peer.poll_timeout().is_some_and(|due| due <= now) {
            self.peer.handle_timeout(now);
            self.resend(now);
            self.flush(now);
        }
        Ok(count)
    }

    /// Queues one RTP packet; [`Self::flush`] sends it. `false`: not connected, or the section is not there.
    pub fn send(
        &mut self,
        now: Instant,
        stream: &mut Outgoing,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
    ) -> bool {
        stream.index = stream.index.or_else(|| self.peer.send_index(stream.mid));
        let (Some(index), Some(to)) = (stream.index, self.peer.destination()) else { return false };
        let rewrite = Rewrite {
            marker,
            audio_level: stream.audio_level,
            ..Rewrite::plain(stream.sequence, timestamp, stream.codec)
        };
        let slot = self.ring.push(payload).unwrap_or_default();
        let sent = self.peer.send(now, index, &rewrite, slot, payload, None, self.batch.buffer()).is_some();
        if sent {
            stream.sequence += 1;
            self.batch.commit(to, None);
        } else {
            self.batch.rollback();
            stream.index = None;
        }
        sent
    }

    /// Sends everything that is queued, and what the peer has to say.
    pub fn flush(&mut self, now: Instant) {
        while let Some(to) = self.peer.poll_transmit(now, &mut self.scratch) {
            self.batch.push(to, None, &self.scratch);
        }
        self.socket.send(&self.batch);
        self.batch.clear();
    }

    fn resend(&mut self, now: Instant) {
        let Some(to) = self.peer.destination() else { return };
        while let Some(resend) = self.peer.poll_resend(now) {
            let Some(payload) = self.ring.get(resend.slot) else { continue };
            if self.peer.send_rtx(now, &resend, payload, self.batch.buffer()).is_some() {
                self.batch.commit(to, None);
            } else {
                self.batch.rollback();
            }
        }
    }
}

/// ICE credentials that name an endpoint uniquely among the peers of a server.
pub(crate) fn credentials(seed: u64) -> IceCredentials {
    IceCredentials {
        ufrag: format!("c{seed:016x}"),
        password: format!("{:016x}{:016x}", seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15, seed),
    }
}
