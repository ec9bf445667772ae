//! TCP as a competitor: Cubic, in segments, for flows beside media (RFC 8867 sections 5.6 and 5.7).
//!
//! What it does, and where that is written:
//!
//! | | |
//! |---|---|
//! | slow start from ten segments, congestion avoidance, restart after idle | RFC 5681, RFC 6928 |
//! | the window in congestion avoidance and after a loss | RFC 9438 (Cubic, with its Reno-friendly region and fast convergence) |
//! | which segments are lost | three selectively acknowledged above them (RFC 6675); a retransmission, by the time of what arrived after it (RFC 8985) |
//! | how fast recovery sends | RFC 6937 (proportional rate reduction) |
//! | retransmission timeout | RFC 6298, with Linux' least of 200 ms in place of 1 s |
//! | delayed acknowledgements | RFC 5681 section 4.2, 40 ms |
//!
//! What it leaves out: the handshake, the receiver's window, HyStart, pacing, ECN, and bytes: a segment is the unit, and the
//! last of a transfer is as large as any.

mod cubic;
mod receiver;
mod round_trip;
mod scoreboard;
mod sender;

use std::ops::Range;
use std::time::Instant;

pub use receiver::Receiver;
pub use sender::Sender;

use crate::{Endpoint, Transmit};

/// Payload of a segment in bytes: an Ethernet frame less the headers of IPv4 and of TCP with time stamps.
pub const SEGMENT_PAYLOAD: u64 = 1_448;
/// A segment on the wire.
const SEGMENT_SIZE: usize = 1_500;
/// An acknowledgement on the wire: both headers, with time stamps and two selective blocks.
const ACK_SIZE: usize = 72;
/// Ranges that an acknowledgement tells of besides the first gap (RFC 2018 section 3: what fits beside time stamps).
const SELECTIVE_RANGES: usize = 3;

/// A packet of a TCP connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// From the sender.
    Segment(Segment),
    /// From the receiver.
    Ack(Ack),
}

impl Packet {
    /// Bytes on the wire, headers included.
    pub fn size(&self) -> usize {
        match self {
            Self::Segment(_) => SEGMENT_SIZE,
            Self::Ack(_) => ACK_SIZE,
        }
    }
}

/// A segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its place among all segments of the connection, from 0.
    pub number: u64,
    /// When it was sent (RFC 7323's time stamp).
    pub sent: Instant,
}

/// An acknowledgement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ack {
    /// Everything below has arrived.
    pub next: u64,
    /// What else has arrived, newest first.
    pub selective: Vec<Range<u64>>,
    /// When the segment was sent that it answers (RFC 7323 section 4.3).
    pub echo: Instant,
}

/// Either end of a connection, as an endpoint with one port.
pub enum Host {
    /// The end that sends segments.
    Sender(Sender),
    /// The end that acknowledges them.
    Receiver(Receiver),
}

impl Endpoint for Host {
    type Payload = Packet;

    fn receive(&mut self, now: Instant, _: usize, packet: Packet) {
        match (self, packet) {
            (Self::Sender(sender), Packet::Ack(ack)) => sender.receive(now, &ack),
            (Self::Receiver(receiver), Packet::Segment(segment)) => receiver.receive(now, &segment),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Sender(sender) => sender.handle_timeout(now),
            Self::Receiver(receiver) => receiver.handle_timeout(now),
        }
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        match self {
            Self::Sender(sender) => sender.poll_timeout(),
            Self::Receiver(receiver) => receiver.poll_timeout(),
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Packet>> {
        let payload = match self {
            Self::Sender(sender) => Packet::Segment(sender.poll_transmit(now)?),
            Self::Receiver(receiver) => Packet::Ack(receiver.poll_transmit()?),
        };
        Some(Transmit { port: 0, size: payload.size(), payload })
    }
}

#[cfg(test)]
mod tests;
