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

/// Room that [`write`] is sure to have enough of: every value at its largest, two-byte form, padded.
pub const MAX_LEN: usize = 4 + 3 * 18 + 4 + 3 + 5 + 10 + 257 + 3;

/// Writes the whole header extension (profile word, length, elements, padding) to the front of `out` and returns its
/// length: a multiple of four, 0 when there is nothing to write (the X bit then stays clear). The one-byte form is
/// used unless an id above 14 or a value over 16 bytes needs the other. What does not fit into `out` is left out.
pub fn write(out: &mut [u8], values: &Values<'_>, map: &ExtensionMap) -> usize {
    let descriptor = values.dependency_descriptor.filter(|d| !d.is_empty() && d.len() <= 255);
    let long = descriptor.is_some_and(|d| d.len() > 16) && map.id(Extension::DependencyDescriptor).is_some();
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
            (1..=14).contains(&id) && (1..=16).contains(&value.len())
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
