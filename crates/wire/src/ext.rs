//! RTP header extensions (RFC 8285): the one-byte and the two-byte form, parsed and written.

use base::{Extension, ExtensionMap, Mid, NtpTime, Rid};

use crate::bytes::{read_u8, read_u16, read_u24, read_u64};
use crate::rtp::{Header, ONE_BYTE_PROFILE, TWO_BYTE_PROFILE};

/// A stretch of a packet that is passed on unread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByteRange {
    /// First byte, from the front of the packet.
    pub start: u16,
    /// How many.
    pub len: u16,
}

impl ByteRange {
    /// Those bytes of `packet`.
    pub fn of(self, packet: &[u8]) -> Option<&[u8]> {
        let start = usize::from(self.start);
        packet.get(start..start + usize::from(self.len))
    }
}

/// The extensions of one packet that Stoa reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extensions {
    /// Media section (RFC 8843).
    pub mid: Option<Mid>,
    /// Simulcast layer (RFC 8852).
    pub rid: Option<Rid>,
    /// Simulcast layer that this RTX packet repairs (RFC 8852).
    pub repaired_rid: Option<Rid>,
    /// Transport-wide sequence number.
    pub transport_sequence: Option<u16>,
    /// V bit (0x80: voice) and level in -dBov, 0 (loudest) to 127 (RFC 6464).
    pub audio_level: Option<u8>,
    /// 24 bits, seconds in 6.18 fixed point.
    pub abs_send_time: Option<u32>,
    /// NTP timestamp of the capture; the optional clock offset is not kept.
    pub abs_capture_time: Option<u64>,
    /// AV1 dependency descriptor, unread.
    pub dependency_descriptor: Option<ByteRange>,
}

impl Extensions {
    /// Reads what `map` names. Unknown ids, values of a wrong size and anything after a malformed element are left out.
    pub fn parse(packet: &[u8], header: &Header, map: &ExtensionMap) -> Self {
        let mut found = Self::default();
        for element in elements(packet, header) {
            if let Some(extension) = map.extension(element.id) {
                found.take(extension, element.value, element.at);
            }
        }
        found
    }

    fn take(&mut self, extension: Extension, value: &[u8], at: usize) {
        match extension {
            Extension::Mid => self.mid = Mid::new(value),
            Extension::Rid => self.rid = Rid::new(value),
            Extension::RepairedRid => self.repaired_rid = Rid::new(value),
            // Version 2 of the extension appends a feedback request, which we never ask for.
            Extension::TransportSequence => self.transport_sequence = read_u16(value, 0),
            Extension::AudioLevel => self.audio_level = read_u8(value, 0),
            Extension::AbsSendTime => self.abs_send_time = read_u24(value, 0),
            Extension::AbsCaptureTime => self.abs_capture_time = read_u64(value, 0),
            Extension::DependencyDescriptor => {
                self.dependency_descriptor = u16::try_from(at)
                    .ok()
                    .filter(|_| !value.is_empty())
                    .map(|start| ByteRange { start, len: value.len() as u16 });
            }
        }
    }
}

/// One element of a header extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element<'a> {
    /// Local id: 1..=14 in the one-byte form, 1..=255 in the two-byte form.
    pub id: u8,
    /// Its value: 1..=16 bytes in the one-byte form, 0..=255 in the two-byte form.
    pub value: &'a [u8],
    /// Where the value begins in the packet.
    pub at: usize,
}

/// All elements of a packet's header extension, known or not; none when the profile is another.
pub fn elements<'a>(packet: &'a [u8], header: &Header) -> Elements<'a> {
    let (profile, range) = header.extension.clone().unwrap_or((0, 0..0));
    let two_byte = profile & 0xFFF0 == TWO_BYTE_PROFILE;
    let known = two_byte || profile == ONE_BYTE_PROFILE;
    let end = if known { range.end } else { range.start };
    Elements { packet: packet.get(..end).unwrap_or_default(), at: range.start, two_byte }
}

/// Iterator over a header extension's elements.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    packet: &'a [u8],
    at: usize,
    two_byte: bool,
}

impl<'a> Elements<'a> {
    fn end(&mut self) -> Option<Element<'a>> {
        self.at = self.packet.len();
        None
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        loop {
            let first = *self.packet.get(self.at)?;
            if first == 0 {
                self.at += 1;
                continue;
            }
            let (id, len, head) = if self.two_byte {
                let Some(len) = self.packet.get(self.at + 1) else { return self.end() };
                (first, usize::from(*len), 2)
            } else {
                (first >> 4, usize::from(first & 0x0F) + 1, 1)
            };
            // One-byte form: id 15 ends the extension, and so does a padding id with a length (RFC 8285 section 4.2).
            if !self.two_byte && (id == 0 || id == 15) {
                return self.end();
            }
            let at = self.at + head;
            let Some(value) = self.packet.get(at..at + len) else { return self.end() };
            self.at = at + len;
            return Some(Element { id, value, at });
        }
    }
}

/// The values that go into an outgoing packet; those that the map has no id for are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Values<'a> {
    /// Media section.
    pub mid: Option<Mid>,
    /// Simulcast layer.
    pub rid: Option<Rid>,
    /// Simulcast layer that this RTX packet repairs.
    pub repaired_rid: Option<Rid>,
    /// Transport-wide sequence number.
    pub transport_sequence: Option<u16>,
    /// RFC 6464 byte.
    pub audio_level: Option<u8>,
    /// 24 bits, 6.18 fixed point.
    pub abs_send_time: Option<u32>,
    /// NTP timestamp of the capture.
    pub abs_capture_time: Option<u64>,
    /// Passed-through dependency descriptor, 1..=255 bytes.
    pub dependency_descriptor: Option<&'a [u8]>,
}

/// The longest value of the one-byte form, in bytes.
pub const ONE_BYTE_MAX: usize = 16;

/// Room that [`write`] is sure to have enough of: every value at its largest, two-byte form, padded.
pub const MAX_LEN: usize = 4 + 3 * 18 + 4 + 3 + 5 + 10 + 257 + 3;

/// Writes the whole header extension (profile word, length, elements, padding) to the front of `out` and returns its
/// length: a multiple of four, 0 when there is nothing to write (the X bit then stays clear). The one-byte form is
/// used unless an id above 14 or a value over 16 bytes needs the other. What does not fit into `out` is left out.
pub fn write(out: &mut [u8], values: &Values<'_>, map: &ExtensionMap) -> usize {
    let descriptor = values.dependency_descriptor.filter(|d| !d.is_empty() && d.len() <= 255);
    let long = descriptor.is_some_and(|d| d.len() > ONE_BYTE_MAX)
        && map.id(Extension::DependencyDescriptor).is_some();
    let mut writer = Writer::new(out, long || map.needs_two_byte());
    let mut put = |extension, value: &[u8]| {
        if let Some(id) = map.id(extension) {
            writer.put(id, value);
        }
    };
    if let Some(mid) = values.mid {
        put(Extension::Mid, mid.as_bytes());
    }
    if let Some(rid) = values.rid {
        put(Extension::Rid, rid.as_bytes());
    }
    if let Some(rid) = values.repaired_rid {
        put(Extension::RepairedRid, rid.as_bytes());
    }
    if let Some(sequence) = values.transport_sequence {
        put(Extension::TransportSequence, &sequence.to_be_bytes());
    }
    if let Some(level) = values.audio_level {
        put(Extension::AudioLevel, &[level]);
    }
    if let Some(time) = values.abs_send_time {
        let [_, a, b, c] = time.to_be_bytes();
        put(Extension::AbsSendTime, &[a, b, c]);
    }
    if let Some(time) = values.abs_capture_time {
        put(Extension::AbsCaptureTime, &time.to_be_bytes());
    }
    if let Some(descriptor) = descriptor {
        put(Extension::DependencyDescriptor, descriptor);
    }
    writer.finish()
}

/// The abs-send-time value of a moment: its seconds modulo 64 in 6.18 fixed point.
pub fn abs_send_time(now: NtpTime) -> u32 {
    (now.0 >> 14) as u32 & 0xFF_FFFF
}

/// Writes elements one by one; [`write`] is the usual way.
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    two_byte: bool,
}

impl<'a> Writer<'a> {
    /// Begins a header extension at the front of `out`, whose length is a multiple of four (the rest is not used).
    pub fn new(out: &'a mut [u8], two_byte: bool) -> Self {
        let len = out.len() & !3;
        Self { out: &mut out[..len], at: 4, two_byte }
    }

    /// Adds an element. `false`, and nothing is written: no room, or the form cannot express it.
    #[inline]
    pub fn put(&mut self, id: u8, value: &[u8]) -> bool {
        let head = if self.two_byte { 2 } else { 1 };
        let (start, end) = (self.at + head, self.at + head + value.len());
        let fits_form = if self.two_byte {
            id != 0 && value.len() <= 255
        } else {
            (1..=14).contains(&id) && (1..=ONE_BYTE_MAX).contains(&value.len())
        };
        if !fits_form || end > self.out.len() {
            return false;
        }
        if self.two_byte {
            self.out[self.at] = id;
            self.out[self.at + 1] = value.len() as u8;
        } else {
            self.out[self.at] = id << 4 | (value.len() - 1) as u8;
        }
        self.out[start..end].copy_from_slice(value);
        self.at = end;
        true
    }

    /// Pads and completes it. Returns the length, 0 when no element was put.
    pub fn finish(self) -> usize {
        if self.at <= 4 || self.out.len() < 4 {
            return 0;
        }
        let len = self.at.next_multiple_of(4);
        self.out[self.at..len].fill(0);
        let profile = if self.two_byte { TWO_BYTE_PROFILE } else { ONE_BYTE_PROFILE };
        self.out[..2].copy_from_slice(&profile.to_be_bytes());
        self.out[2..4].copy_from_slice(&((len / 4 - 1) as u16).to_be_bytes());
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, damaged};
    use crate::{fuzz, rtp};

    fn packet(profile: u16, data: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend_from_slice(&profile.to_be_bytes());
        packet.extend_from_slice(&((data.len() / 4) as u16).to_be_bytes());
        packet.extend_from_slice(data);
        packet.extend_from_slice(b"payload");
        packet
    }

    fn found(packet: &[u8]) -> Vec<(u8, &[u8])> {
        let header = Header::parse(packet).expect("well formed");
        elements(packet, &header).map(|e| (e.id, e.value)).collect()
    }

    fn map(ids: [u8; 8]) -> ExtensionMap {
        let mut map = ExtensionMap::default();
        for (extension, id) in Extension::ALL.into_iter().zip(ids) {
            map.set(extension, id);
        }
        map
    }

    #[test]
    fn the_one_byte_example_of_the_rfc_is_read() {
        // RFC 8285 section 4.2: an element of one byte, one of two, padding, one of four.
        let data = [0x10, 0xA1, 0x21, 0xB1, 0xB2, 0, 0, 0x33, 0xC1, 0xC2, 0xC3, 0xC4];
        let packet = packet(0xBEDE, &data);
        let expected: [(u8, &[u8]); 3] = [(1, &[0xA1]), (2, &[0xB1, 0xB2]), (3, &[0xC1, 0xC2, 0xC3, 0xC4])];
        assert_eq!(found(&packet), expected);
    }

    #[test]
    fn the_two_byte_example_of_the_rfc_is_read() {
        // RFC 8285 section 4.3: an empty element, one of one byte, padding, one of four.
        let data = [1, 0, 2, 1, 0xB1, 0, 3, 4, 0xC1, 0xC2, 0xC3, 0xC4];
        for profile in [0x1000, 0x100F] {
            let packet = packet(profile, &data);
            let expected: [(u8, &[u8]); 3] = [(1, &[]), (2, &[0xB1]), (3, &[0xC1, 0xC2, 0xC3, 0xC4])];
            assert_eq!(found(&packet), expected);
        }
        assert!(found(&packet(0x1010, &data)).is_empty(), "another profile");
    }

    #[test]
    fn what_follows_a_malformed_element_is_not_read() {
        let expected: [(u8, &[u8]); 1] = [(1, &[7])];
        assert_eq!(found(&packet(0xBEDE, &[0x10, 7, 0xF0, 1, 0x20, 8, 0, 0])), expected, "id 15");
        assert_eq!(
            found(&packet(0xBEDE, &[0x10, 7, 0x02, 1, 2, 3, 0x20, 8])),
            expected,
            "padding with length"
        );
        assert_eq!(found(&packet(0xBEDE, &[0x10, 7, 0x23, 1])), expected, "reaches beyond the extension");
        assert_eq!(found(&packet(0x1000, &[1, 1, 7, 2])), expected, "cut off after the id");
        assert_eq!(found(&packet(0x1000, &[1, 1, 7, 2, 9, 0, 0, 0])), expected, "longer than the extension");
    }

    #[test]
    fn values_of_a_wrong_size_are_left_out() {
        let map = map([1, 2, 3, 4, 5, 6, 7, 8]);
        let data = [0x11, b'a', 0x07, 0x40, 1, 0x51, 0x80 | 20, 9, 0x61, 1, 2, 0x72, 1, 2, 3, 0];
        let packet = packet(0xBEDE, &data);
        let header = Header::parse(&packet).expect("well formed");
        let found = Extensions::parse(&packet, &header, &map);
        assert_eq!(found, Extensions { audio_level: Some(0x80 | 20), ..Extensions::default() });
    }

    #[test]
    fn an_extension_without_id_is_neither_read_nor_written() {
        let mut out = [0xEE; 64];
        let values = Values { audio_level: Some(3), ..Values::default() };
        assert_eq!(write(&mut out, &values, &map([1, 0, 0, 3, 0, 0, 0, 0])), 0);
        let packet = packet(0xBEDE, &[0x10, b'm', 0, 0]);
        let header = Header::parse(&packet).expect("well formed");
        assert_eq!(Extensions::parse(&packet, &header, &ExtensionMap::default()), Extensions::default());
    }

    fn some<T>(rng: &mut Rng, value: T) -> Option<T> {
        rng.chance(60).then_some(value)
    }

    #[test]
    fn everything_written_reads_back_in_either_form() {
        let mut rng = Rng::new(11);
        let name = |rng: &mut Rng| Mid::new(&b"abcdefghijklmnop"[..1 + rng.below(16) as usize]);
        for round in 0..3_000 {
            let mut ids = [1, 2, 3, 4, 5, 6, 7, 8];
            if round % 3 == 0 {
                ids[rng.below(8) as usize] = 15 + rng.below(240) as u8;
            }
            let descriptor = {
                let longest = if rng.chance(50) { 16 } else { 255 };
                let len = 1 + rng.below(longest) as usize;
                rng.bytes(len)
            };
            let values = Values {
                mid: name(&mut rng),
                rid: name(&mut rng).filter(|_| round % 2 == 0),
                repaired_rid: name(&mut rng).filter(|_| round % 5 == 0),
                transport_sequence: some(&mut rng, round as u16),
                audio_level: some(&mut rng, 0x80 | 5),
                abs_send_time: some(&mut rng, 0xAB_CDEF),
                abs_capture_time: some(&mut rng, u64::MAX - 5),
                dependency_descriptor: some(&mut rng, &descriptor[..]),
            };
            let map = map(ids);
            let mut extension = [0xEE; MAX_LEN];
            let len = write(&mut extension, &values, &map);
            let fixed = rtp::FixedHeader {
                marker: false,
                payload_type: 96,
                sequence: 1,
                timestamp: 2,
                ssrc: 3,
                extension: len > 0,
                padding: false,
            };
            let packet = [&fixed.to_bytes(), &extension[..len], b"payload"].concat();
            let header = Header::parse(&packet).expect("just written");
            assert_eq!(&packet[header.payload.clone()], b"payload");
            let long = values.dependency_descriptor.is_some_and(|d| d.len() > 16);
            let two_byte = header.extension.as_ref().is_some_and(|(profile, _)| *profile == TWO_BYTE_PROFILE);
            assert_eq!(two_byte, long || map.needs_two_byte());
            let read = Extensions::parse(&packet, &header, &map);
            assert_eq!(read.dependency_descriptor.and_then(|d| d.of(&packet)), values.dependency_descriptor);
            let expected = Extensions {
                mid: values.mid,
                rid: values.rid,
                repaired_rid: values.repaired_rid,
                transport_sequence: values.transport_sequence,
                audio_level: values.audio_level,
                abs_send_time: values.abs_send_time,
                abs_capture_time: values.abs_capture_time,
                dependency_descriptor: read.dependency_descriptor,
            };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn what_finds_no_room_is_left_out_whole() {
        let values = Values { mid: Mid::new(b"mid"), abs_capture_time: Some(1), ..Values::default() };
        let map = map([1, 2, 3, 4, 5, 6, 7, 8]);
        for room in 0..24 {
            let mut out = vec![0xEE; room];
            let len = write(&mut out, &values, &map);
            assert!(len <= room && len.is_multiple_of(4));
            assert_eq!(
                len,
                if room < 8 {
                    0
                } else if room < 20 {
                    8
                } else {
                    20
                },
                "{room}"
            );
        }
    }

    #[test]
    fn abs_send_time_is_seconds_modulo_64_in_18_bit_fractions() {
        let at = NtpTime((64 + 3) << 32 | 1 << 31);
        assert_eq!(abs_send_time(at), 3 << 18 | 1 << 17);
    }

    #[test]
    fn nothing_that_is_damaged_panics() {
        damaged(&packet(0xBEDE, &[0x10, 0xA1, 0x21, 0xB1, 0xB2, 0, 0, 0x33, 1, 2, 3, 4]), fuzz::rtp_packet);
        damaged(&packet(0x1000, &[1, 0, 2, 1, 0xB1, 0, 3, 4, 1, 2, 3, 4]), fuzz::rtp_packet);
        let mut rng = Rng::new(5);
        for round in 0..20_000 {
            let mut bytes = rng.bytes(round % 80);
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | *first & 0x3F;
            }
            if let Some(profile) = bytes.get_mut(12..16).filter(|_| round % 2 == 0) {
                profile.copy_from_slice(&[
                    if round % 4 == 0 { 0x10 } else { 0xBE },
                    0xDE,
                    0,
                    (round % 9) as u8,
                ]);
                bytes[0] &= 0xF0;
            }
            fuzz::rtp_packet(&bytes);
        }
    }
}
