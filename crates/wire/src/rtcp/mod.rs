//! RTCP (RFC 3550 section 6, RFC 4585, RFC 5104, transport-wide feedback, REMB): compound packets taken apart, and
//! single packets appended to a buffer.

mod ccfb;
mod feedback;
mod report;
mod transport;
mod write;

pub use ccfb::{CongestionFeedback, FeedbackBlock, FeedbackBlocks, FeedbackReport, FeedbackReports};
pub use feedback::{Fir, FirEntries, FirEntry, Nack, NackSequences, Remb};
pub use report::{Bye, ReceiverReport, ReportBlock, ReportBlocks, SenderReport, SourceDescription, Ssrcs};
pub use transport::{
    MAX_STATUSES, PacketStatus, Statuses, TICK, TransportFeedback, write_transport_feedback,
};
pub use write::{
    MAX_BLOCKS, SenderInfo, write_bye, write_fir, write_nack, write_pli, write_receiver_report, write_remb,
    write_sdes, write_sender_report,
};

use crate::bytes::read_u32;

/// RTCP packet type of sender reports.
pub const SENDER_REPORT: u8 = 200;
/// RTCP packet type of receiver reports.
pub const RECEIVER_REPORT: u8 = 201;
/// RTCP packet type of source descriptions.
pub const SOURCE_DESCRIPTION: u8 = 202;
/// RTCP packet type of goodbyes.
pub const BYE: u8 = 203;
/// RTCP packet type of transport-layer feedback.
pub const TRANSPORT_FEEDBACK: u8 = 205;
/// RTCP packet type of payload-specific feedback.
pub const PAYLOAD_FEEDBACK: u8 = 206;

/// Format of generic NACK, under [`TRANSPORT_FEEDBACK`].
pub const FORMAT_NACK: u8 = 1;
/// Format of congestion control feedback by RTP stream (RFC 8888), under [`TRANSPORT_FEEDBACK`].
pub const FORMAT_CONGESTION: u8 = 11;
/// Format of transport-wide congestion control feedback, under [`TRANSPORT_FEEDBACK`].
pub const FORMAT_TRANSPORT_CC: u8 = 15;
/// Format of picture loss indication, under [`PAYLOAD_FEEDBACK`].
pub const FORMAT_PLI: u8 = 1;
/// Format of full intra request, under [`PAYLOAD_FEEDBACK`].
pub const FORMAT_FIR: u8 = 4;
/// Format of application-layer feedback (REMB), under [`PAYLOAD_FEEDBACK`].
pub const FORMAT_APPLICATION: u8 = 15;

/// One packet of a compound.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    /// SR.
    SenderReport(SenderReport<'a>),
    /// RR.
    ReceiverReport(ReceiverReport<'a>),
    /// SDES.
    SourceDescription(SourceDescription<'a>),
    /// BYE.
    Bye(Bye<'a>),
    /// Generic NACK (RFC 4585 section 6.2.1).
    Nack(Nack<'a>),
    /// Picture loss indication (RFC 4585 section 6.3.1).
    Pli {
        /// Who asks.
        sender: u32,
        /// Of which stream.
        media: u32,
    },
    /// Full intra request (RFC 5104 section 4.3.1).
    Fir(Fir<'a>),
    /// Transport-wide congestion control feedback.
    TransportFeedback(TransportFeedback<'a>),
    /// Congestion control feedback by RTP stream (RFC 8888).
    CongestionFeedback(CongestionFeedback<'a>),
    /// Receiver estimated maximum bitrate.
    Remb(Remb<'a>),
    /// Well-formed, but nothing we read.
    Other {
        /// RTCP packet type.
        packet_type: u8,
        /// The count or format field.
        format: u8,
    },
    /// Its content breaks the format it announces, or the compound ends in the middle of it.
    Malformed,
}

/// Takes a compound packet apart (RFC 3550 section 6.1; reduced-size packets of RFC 5506 too).
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

/// Iterator over the packets of a compound. Ends after a packet whose header cannot be trusted.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((flags, packet_type, body, rest)) = split(self.rest) else {
            self.rest = &[];
            return Some(Packet::Malformed);
        };
        self.rest = rest;
        Some(parse(flags & 0x1F, packet_type, body).unwrap_or(Packet::Malformed))
    }
}

/// First byte, packet type, body without header and padding, and what follows.
fn split(bytes: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let [flags, packet_type, len_high, len_low] = *bytes.first_chunk()?;
    if flags >> 6 != 2 {
        return None;
    }
    let end = 4 + 4 * usize::from(u16::from_be_bytes([len_high, len_low]));
    let (packet, rest) = bytes.split_at_checked(end)?;
    let mut body = packet.get(4..)?;
    if flags & 0x20 != 0 {
        let padding = usize::from(*body.last()?);
        if padding == 0 {
            return None;
        }
        body = body.get(..body.len().checked_sub(padding)?)?;
    }
    Some((flags, packet_type, body, rest))
}

fn parse(format: u8, packet_type: u8, body: &[u8]) -> Option<Packet<'_>> {
    let packet = match (packet_type, format) {
        (SENDER_REPORT, count) => Packet::SenderReport(SenderReport::parse(count, body)?),
        (RECEIVER_REPORT, count) => Packet::ReceiverReport(ReceiverReport::parse(count, body)?),
        (SOURCE_DESCRIPTION, count) => Packet::SourceDescription(SourceDescription::parse(count, body)),
        (BYE, count) => Packet::Bye(Bye::parse(count, body)?),
        (TRANSPORT_FEEDBACK, FORMAT_NACK) => Packet::Nack(Nack::parse(body)?),
        (TRANSPORT_FEEDBACK, FORMAT_TRANSPORT_CC) => {
            Packet::TransportFeedback(TransportFeedback::parse(body)?)
        }
        (TRANSPORT_FEEDBACK, FORMAT_CONGESTION) => {
            Packet::CongestionFeedback(CongestionFeedback::parse(body)?)
        }
        (PAYLOAD_FEEDBACK, FORMAT_PLI) => {
            Packet::Pli { sender: read_u32(body, 0)?, media: read_u32(body, 4)? }
        }
        (PAYLOAD_FEEDBACK, FORMAT_FIR) => Packet::Fir(Fir::parse(body)?),
        (PAYLOAD_FEEDBACK, FORMAT_APPLICATION) if body.get(8..12) == Some(b"REMB") => {
            Packet::Remb(Remb::parse(body)?)
        }
        _ => Packet::Other { packet_type, format },
    };
    Some(packet)
}

#[cfg(test)]
mod tests;
