//! What stands at the ends of the links.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Bitrate;
use sim::{Endpoint, Random, Transmit, tcp};

use super::forwarder::Forwarder;
use super::viewer::{Pictures, Shown, Viewer};
use super::{ours, reference};

/// Bytes that IP and UDP add.
pub const OVERHEAD: usize = 28;
/// RFC 8868's model of short flows: sizes of the files that they load, in bytes, and the mean of the pauses between.
const FILE_BYTES: (f64, f64) = (30_000.0, 50_000.0);
const IDLE_SECONDS: f64 = 10.0;

/// What travels.
#[derive(Clone)]
pub enum Payload {
    /// Media, padding or whatever else a sender of media sends: its place in the sender's log, when it
    /// left, its size, and what is on the wire.
    Media {
        id: u32,
        sent: Instant,
        size: usize,
        wire: Wire,
    },
    /// What a receiver of media answers.
    Answer(Arc<[u8]>),
    Tcp(tcp::Packet),
}

/// What is on the wire, as far as the receiver needs it.
#[derive(Clone)]
pub enum Wire {
    /// A packet with this transport-wide sequence number.
    Numbered(u16),
    /// The same, and a packet of video that a server forwards.
    Shown(u16, Shown),
    /// A whole datagram.
    Datagram(Arc<[u8]>),
}

/// A packet that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub at: Instant,
    /// With IP and UDP.
    pub size: u32,
    pub kind: Kind,
}

/// What a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Of this frame.
    Media(u32),
    Padding,
    /// It was lost, or so its receiver said.
    Again,
    /// Sound, and everything else that keeps a connection alive.
    Control,
}

/// What a sender did.
#[derive(Default)]
pub struct SenderLog {
    pub sent: Vec<Sent>,
    /// Its target at each change.
    pub targets: Vec<(Instant, Bitrate)>,
}

impl SenderLog {
    /// Notes the target. True when it has changed.
    pub fn note(&mut self, now: Instant, target: Bitrate) -> bool {
        let changed = self.targets.last().is_none_or(|(_, last)| *last != target);
        if changed {
            self.targets.push((now, target));
        }
        changed
    }

    /// A packet of so many bytes without IP and UDP; returns what to put on the link.
    pub fn send(&mut self, at: Instant, size: usize, kind: Kind, wire: Wire) -> Transmit<Payload> {
        let size = size + OVERHEAD;
        let id = self.sent.len() as u32;
        self.sent.push(Sent { at, size: size as u32, kind });
        Transmit { port: 0, size, payload: Payload::Media { id, sent: at, size, wire } }
    }
}

/// What arrived, by its place in the sender's log.
pub type Arrivals = Vec<(u32, Instant)>;

/// Anything at the end of a path.
pub enum Node {
    Ours(Box<ours::Sender>),
    OurReceiver(Box<ours::Receiver>),
    Reference(Box<reference::Sender>),
    ReferenceReceiver(Box<reference::Receiver>),
    Forwarder(Box<Forwarder>),
    Viewer(Box<Viewer>),
    Tcp(Box<tcp::Host>),
    ShortTcp(Box<Files>),
}

impl Node {
    pub fn log(&self) -> Option<&SenderLog> {
        match self {
            Self::Ours(sender) => Some(sender.log()),
            Self::Reference(sender) => Some(sender.log()),
            Self::Forwarder(server) => Some(server.log()),
            _ => None,
        }
    }

    pub fn arrivals(&self) -> Option<&Arrivals> {
        match self {
            Self::OurReceiver(receiver) => Some(receiver.arrivals()),
            Self::ReferenceReceiver(receiver) => Some(receiver.arrivals()),
            Self::Viewer(viewer) => Some(viewer.arrivals()),
            _ => None,
        }
    }

    /// What was shown, where it is watched.
    pub fn pictures(&self) -> Option<&Pictures> {
        match self {
            Self::Viewer(viewer) => Some(viewer.pictures()),
            _ => None,
        }
    }
}

impl Endpoint for Node {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, port: usize, payload: Payload) {
        match (self, payload) {
            (Self::Ours(node), payload) => node.receive(now, port, payload),
            (Self::OurReceiver(node), payload) => node.receive(now, port, payload),
            (Self::Reference(node), payload) => node.receive(now, port, payload),
            (Self::ReferenceReceiver(node), payload) => node.receive(now, port, payload),
            (Self::Forwarder(node), payload) => node.receive(now, port, payload),
            (Self::Viewer(node), payload) => node.receive(now, port, payload),
            (Self::Tcp(host), Payload::Tcp(packet)) => host.receive(now, port, packet),
            (Self::ShortTcp(files), Payload::Tcp(tcp::Packet::Ack(ack))) => files.receive(now, &ack),
            (Self::Tcp(_) | Self::ShortTcp(_), _) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Ours(node) => node.handle_timeout(now),
            Self::OurReceiver(node) => node.handle_timeout(now),
            Self::Reference(node) => node.handle_timeout(now),
            Self::ReferenceReceiver(node) => node.handle_timeout(now),
            Self::Forwarder(node) => node.handle_timeout(now),
            Self::Viewer(node) => node.handle_timeout(now),
            Self::Tcp(host) => host.handle_timeout(now),
            Self::ShortTcp(files) => files.handle_timeout(now),
        }
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        match self {
            Self::Ours(node) => node.poll_timeout(),
            Self::OurReceiver(node) => node.poll_timeout(),
            Self::Reference(node) => node.poll_timeout(),
            Self::ReferenceReceiver(node) => node.poll_timeout(),
            Self::Forwarder(node) => node.poll_timeout(),
            Self::Viewer(node) => node.poll_timeout(),
            Self::Tcp(host) => host.poll_timeout(),
            Self::ShortTcp(files) => files.poll_timeout(),
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        let wrap =
            |payload: tcp::Packet| Transmit { port: 0, size: payload.size(), payload: Payload::Tcp(payload) };
        match self {
            Self::Ours(node) => node.poll_transmit(now),
            Self::OurReceiver(node) => node.poll_transmit(now),
            Self::Reference(node) => node.poll_transmit(now),
            Self::ReferenceReceiver(node) => node.poll_transmit(now),
            Self::Forwarder(node) => node.poll_transmit(now),
            Self::Viewer(node) => node.poll_transmit(now),
            Self::Tcp(host) => host.poll_transmit(now).map(|transmit| wrap(transmit.payload)),
            Self::ShortTcp(files) => {
                files.sender.poll_transmit(now).map(|segment| wrap(tcp::Packet::Segment(segment)))
            }
        }
    }
}

/// A TCP connection that loads files, with pauses between.
pub struct Files {
    sender: tcp::Sender,
    random: Random,
    /// When the next file begins; `None` while one is loaded.
    next: Option<Instant>,
}

impl Files {
    /// `busy`: it begins with a file, else with a pause.
    pub fn new(start: Instant, seed: u64, busy: bool) -> Self {
        let mut random = Random::new(seed);
        let idle = if busy { 0.0 } else { random.exponential(IDLE_SECONDS) };
        Self { sender: tcp::Sender::new(), random, next: Some(start + Duration::from_secs_f64(idle)) }
    }

    fn receive(&mut self, now: Instant, ack: &tcp::Ack) {
        self.sender.receive(now, ack);
        if self.sender.is_idle() && self.next.is_none() {
            self.next = Some(now + Duration::from_secs_f64(self.random.exponential(IDLE_SECONDS)));
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.next.is_some_and(|at| at <= now) {
            self.next = None;
            let (least, most) = FILE_BYTES;
            self.sender.offer((least + self.random.share() * (most - least)) as u64);
        }
        self.sender.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.sender.poll_timeout().into_iter().chain(self.next).min()
    }
}
