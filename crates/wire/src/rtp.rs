//! The RTP header (RFC 3550 section 5.1).

use std::ops::Range;

use crate::bytes::{read_u8, read_u16, read_u32};

/// Bytes of the fixed part of the header.
pub const FIXED_LEN: usize = 12;
/// Profile word of one-byte header extensions (RFC 8285 section 4.2).
pub const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// Profile word of two-byte header extensions; the low four bits are free (RFC 8285 section 4.3).
pub const TWO_BYTE_PROFILE: u16 = 0x1000;

/// A parsed RTP header. Ranges are positions in the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// The payload without padding.
    pub payload: Range<usize>,
    /// Bytes of padding at the end, the count itself included.
    pub padding: u8,
    /// Fixed header, contributing sources and extension together.
    pub header_len: usize,
    /// The extension's profile word and the place of its data (without the four bytes that introduce it).
    pub extension: Option<(u16, Range<usize>)>,
    padded: bool,
}

impl Header {
    /// Parses a plaintext packet. `None`: not RTP version 2, too short for what it announces, or impossible padding.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        Self::parse_protected(packet)?.unprotected(packet)
    }

    /// Parses the header of a packet whose payload is still encrypted. SRTP encrypts the padding together with the
    /// payload (RFC 3711 section 3.1), so the payload range reaches to the end of the packet and the padding is not
    /// known before [`Self::unprotected`].
    pub fn parse_protected(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; FIXED_LEN] = packet.first_chunk()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut header_len = FIXED_LEN + 4 * usize::from(fixed[0] & 0x0F);
        let mut extension = None;
        if fixed[0] & 0x10 != 0 {
            let profile = read_u16(packet, header_len)?;
            let words = read_u16(packet, header_len + 2)?;
            let start = header_len + 4;
            header_len = start + 4 * usize::from(words);
            extension = Some((profile, start..header_len));
        }
        if header_len > packet.len() {
            return None;
        }
        Some(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7F,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            payload: header_len..packet.len(),
            padding: 0,
            header_len,
            extension,
            padded: fixed[0] & 0x20 != 0,
        })
    }

    /// Completes a header from [`Self::parse_protected`] once `packet` is decrypted and its tag cut off. `None` when
    /// the padding is larger than the payload or counts nothing.
    pub fn unprotected(mut self, packet: &[u8]) -> Option<Self> {
        let mut end = packet.len();
        if self.padded {
            self.padding = *packet.last()?;
            if self.padding == 0 {
                return None;
            }
            end = end.checked_sub(usize::from(self.padding))?;
        }
        if end < self.header_len {
            return None;
        }
        self.payload = self.header_len..end;
        Some(self)
    }

    /// The P bit is set.
    pub fn is_padded(&self) -> bool {
        self.padded
    }
}

/// The fixed header of a packet to be written; contributing sources are never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// A header extension follows.
    pub extension: bool,
    /// Padding ends the packet.
    pub padding: bool,
}

impl FixedHeader {
    /// The twelve bytes.
    #[inline]
    pub fn to_bytes(&self) -> [u8; FIXED_LEN] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [i0, i1, i2, i3] = self.ssrc.to_be_bytes();
        let flags = 0x80 | u8::from(self.padding) << 5 | u8::from(self.extension) << 4;
        let kind = u8::from(self.marker) << 7 | self.payload_type & 0x7F;
        [flags, kind, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]
    }
}

/// Writes the fixed header to the front of `out` and returns its length; 0 when `out` is too short.
#[inline]
pub fn write_header(out: &mut [u8], header: &FixedHeader) -> usize {
    match out.first_chunk_mut::<FIXED_LEN>() {
        Some(place) => {
            *place = header.to_bytes();
            FIXED_LEN
        }
        None => 0,
    }
}

/// First byte of RTP or RTCP among the protocols that share a WebRTC port (RFC 7983 section 7).
#[inline]
pub fn is_media(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(128..=191))
}

/// RTCP, told from RTP by its packet type (RFC 5761 section 4).
#[inline]
pub fn is_rtcp(packet: &[u8]) -> bool {
    is_media(packet) && matches!(packet.get(1), Some(192..=223))
}

/// Where an RTX packet's original sequence number ends and the original payload begins (RFC 4588 section 4).
pub const RTX_HEADER_LEN: usize = 2;

/// The original sequence number at the front of an RTX payload. `None`: shorter than that, which is what padding sent
/// on the RTX stream looks like.
pub fn original_sequence(rtx_payload: &[u8]) -> Option<u16> {
    read_u16(rtx_payload, 0)
}

/// SSRC without parsing the rest: of RTP at byte 8, of RTCP at byte 4 (its sender).
pub fn peek_ssrc(packet: &[u8]) -> Option<u32> {
    read_u8(packet, 0)?;
    if is_rtcp(packet) { read_u32(packet, 4) } else { read_u32(packet, 8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![first, 0xE0, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8];
        packet.extend_from_slice(rest);
        packet
    }

    #[test]
    fn every_field_of_the_header_is_read() {
        // Two CSRCs, an extension of one word, three bytes of payload, two of padding.
        let bytes =
            packet(0xB2, &[9, 9, 9, 9, 8, 8, 8, 8, 0xBE, 0xDE, 0, 1, 0x10, 0xAA, 0, 0, 1, 2, 3, 0, 2]);
        let header = Header::parse(&bytes).expect("well formed");
        assert!(header.marker && header.is_padded());
        assert_eq!(header.payload_type, 0x60);
        assert_eq!(header.sequence, 0x1234);
        assert_eq!(header.timestamp, 0x0102_0304);
        assert_eq!(header.ssrc, 0x0506_0708);
        assert_eq!(header.header_len, 28);
        assert_eq!(header.extension, Some((0xBEDE, 24..28)));
        assert_eq!(header.payload, 28..31);
        assert_eq!(header.padding, 2);
    }

    #[test]
    fn an_encrypted_packet_is_parsed_without_looking_at_its_padding() {
        let bytes = packet(0xA0, &[7, 7, 250]);
        let header = Header::parse_protected(&bytes).expect("header is fine");
        assert_eq!(header.payload, 12..15);
        assert_eq!(header.clone().unprotected(&packet(0xA0, &[7, 2, 2])).expect("padding 2").payload, 12..13);
        assert!(header.unprotected(&bytes).is_none(), "250 bytes of padding in 3");
    }

    #[test]
    fn what_is_malformed_is_none() {
        assert!(Header::parse(&[]).is_none());
        assert!(Header::parse(&packet(0x80, &[])[..11]).is_none(), "short");
        assert!(Header::parse(&packet(0x40, &[])).is_none(), "version 1");
        assert!(Header::parse(&packet(0x81, &[1, 2, 3])).is_none(), "CSRC cut off");
        assert!(Header::parse(&packet(0x90, &[0xBE, 0xDE, 0, 2, 0, 0, 0, 0])).is_none(), "extension cut off");
        assert!(Header::parse(&packet(0x90, &[0xBE])).is_none(), "extension header cut off");
        assert!(Header::parse(&packet(0xA0, &[1, 0])).is_none(), "padding of nothing");
        assert!(Header::parse(&packet(0xA0, &[1, 3])).is_none(), "padding reaches into the header");
        assert!(Header::parse(&packet(0xA0, &[0, 2])).is_some_and(|h| h.payload.is_empty()), "all padding");
    }

    #[test]
    fn a_written_header_reads_back() {
        let fixed = FixedHeader {
            marker: true,
            payload_type: 111,
            sequence: 65_535,
            timestamp: u32::MAX - 1,
            ssrc: 0xDEAD_BEEF,
            extension: false,
            padding: false,
        };
        let mut out = [0; 20];
        assert_eq!(write_header(&mut out, &fixed), 12);
        let header = Header::parse(&out).expect("just written");
        assert!(header.marker);
        assert_eq!((header.payload_type, header.sequence), (111, 65_535));
        assert_eq!((header.timestamp, header.ssrc), (u32::MAX - 1, 0xDEAD_BEEF));
        assert_eq!(peek_ssrc(&out), Some(0xDEAD_BEEF));
        assert_eq!(write_header(&mut out[..11], &fixed), 0);
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_second_byte() {
        assert!(is_rtcp(&[0x80, 200, 0, 0]));
        assert!(is_rtcp(&[0x8F, 206]));
        assert!(!is_rtcp(&[0x80, 96 | 0x80]));
        assert!(!is_rtcp(&[0x80, 111]));
        assert!(!is_rtcp(&[0x16, 200]), "DTLS");
        assert!(!is_rtcp(&[0x80]));
    }
}
