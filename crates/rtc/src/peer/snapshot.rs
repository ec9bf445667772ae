//! The state of a peer in plain values, for a person who debugs a call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Bitrate, Mid};

use super::Peer;
use super::rtcp::FeedbackTotals;
use crate::Counters;
use crate::cc::ControllerSnapshot;
use crate::event::CloseReason;
use crate::srtp::Profile;
use crate::streams::Reception;

/// One peer.
#[derive(Clone, Debug)]
pub struct PeerSnapshot {
    /// Where media goes.
    pub destination: Option<SocketAddr>,
    /// A pair was nominated.
    pub ice_connected: bool,
    /// The negotiated SRTP profile; `None` before DTLS is up.
    pub profile: Option<Profile>,
    /// Why it ended, if it did.
    pub closed: Option<CloseReason>,
    /// Labels of open data channels.
    pub channels: Vec<Arc<str>>,
    /// Received streams.
    pub receive: Vec<ReceiveSnapshot>,
    /// Sent streams.
    pub send: Vec<SendSnapshot>,
    /// The last REMB.
    pub remb: Option<Bitrate>,
    /// Transport-wide feedback on what we sent.
    pub feedback: FeedbackTotals,
    /// Congestion control, where something was negotiated that it can stand on.
    pub congestion: Option<ControllerSnapshot>,
    /// Drop reasons and totals.
    pub counters: Counters,
}

/// One received SSRC.
#[derive(Clone, Debug)]
pub struct ReceiveSnapshot {
    /// Its section.
    pub mid: Mid,
    /// Simulcast layer, lowest 0.
    pub layer: u8,
    /// It carries retransmissions.
    pub rtx: bool,
    /// The SSRC.
    pub ssrc: u32,
    /// Packets that arrived by themselves.
    pub received: u64,
    /// Packets that arrived as retransmissions alone.
    pub repaired: u64,
    /// Packets that stay missing.
    pub given_up: u64,
    /// Interarrival jitter.
    pub jitter: Duration,
}

/// One send section.
#[derive(Clone, Debug)]
pub struct SendSnapshot {
    /// The section.
    pub mid: Mid,
    /// Its SSRC.
    pub ssrc: u32,
    /// Packets sent, without retransmissions.
    pub packets: u64,
    /// Payload bytes sent, without retransmissions.
    pub octets: u64,
    /// Retransmissions sent.
    pub resent: u64,
    /// How it is received.
    pub reception: Reception,
}

impl Peer {
    /// What a person debugging a call wants to see.
    pub fn snapshot(&self) -> PeerSnapshot {
        PeerSnapshot {
            destination: self.destination(),
            ice_connected: self.ice.is_nominated(),
            profile: self.keys.as_ref().map(|keys| keys.send.profile()),
            closed: self.closed,
            channels: self.sctp.iter().flat_map(|sctp| sctp.open_labels().cloned()).collect(),
            receive: self.receive_snapshots(),
            send: self.send_snapshots(),
            remb: self.rtcp.remb,
            feedback: self.rtcp.feedback,
            congestion: self.send.path.snapshot(),
            counters: self.counters,
        }
    }

    fn receive_snapshots(&self) -> Vec<ReceiveSnapshot> {
        let describe = |incoming: &super::receive::Incoming| ReceiveSnapshot {
            mid: incoming.mid,
            layer: incoming.layer,
            rtx: incoming.rtx,
            ssrc: incoming.stream.ssrc(),
            received: incoming.stream.received(),
            repaired: incoming.stream.repaired(),
            given_up: incoming.stream.given_up(),
            jitter: incoming.stream.jitter(),
        };
        self.receive.streams().iter().map(describe).collect()
    }

    fn send_snapshots(&self) -> Vec<SendSnapshot> {
        let describe = |outgoing: &super::send::Outgoing| SendSnapshot {
            mid: outgoing.section.mid,
            ssrc: outgoing.section.ssrc,
            packets: outgoing.stream.sent_packets(),
            octets: outgoing.stream.sent_octets(),
            resent: outgoing.stream.resent_packets(),
            reception: outgoing.stream.reception(),
        };
        self.send.all().map(describe).collect()
    }
}
