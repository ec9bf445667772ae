//! The front of a stream's packets, fixed header and extension, as nearly all of them have it: laid out once, so that only
//! numbers are written per packet.

use base::{Extension, ExtensionMap, Mid};
use wire::ext::{self, Values};
use wire::media::Rewrite;
use wire::rtp::{FIXED_LEN, FixedHeader, Header, write_header};

use super::packet::Stamp;

/// Room for the fixed header, a mid of 16 bytes, and the numbers of a packet in either form of extension.
const ROOM: usize = 64;

/// One layout: which extensions are there, and where.
#[derive(Clone, Copy)]
pub(super) struct Front {
    bytes: [u8; ROOM],
    len: u8,
    /// Where values begin; 0: not there.
    transport_sequence: u8,
    abs_send_time: u8,
    audio_level: u8,
    /// Negotiated, so that packets that bring one are laid out one by one if the front has no place for it.
    levels: bool,
    descriptors: bool,
    capture_times: bool,
}

impl Front {
    /// For the packets of a stream; those of audio carry its level where it is negotiated. `None`: it has no room.
    pub(super) fn new(ssrc: u32, mid: Option<Mid>, extensions: &ExtensionMap, audio: bool) -> Option<Self> {
        let has = |extension| extensions.id(extension).is_some();
        let values = Values {
            mid,
            transport_sequence: Some(0),
            abs_send_time: Some(0),
            audio_level: audio.then_some(0),
            ..Values::default()
        };
        let mut long = [0; 2 * ROOM];
        let extension = ext::write(&mut long[FIXED_LEN..], &values, extensions);
        let header = FixedHeader {
            marker: false,
            payload_type: 0,
            sequence: 0,
            timestamp: 0,
            ssrc,
            extension: extension > 0,
            padding: false,
        };
        write_header(&mut long, &header);
        let len = FIXED_LEN + extension;
        let bytes = *long.first_chunk().filter(|_| len <= ROOM)?;
        let written = Header::parse(&long[..len])?;
        let place = |extension| {
            let of_id = |element: &ext::Element<'_>| Some(element.id) == extensions.id(extension);
            ext::elements(&long[..len], &written).find(of_id).map_or(0, |element| element.at as u8)
        };
        Some(Self {
            bytes,
            len: len as u8,
            transport_sequence: place(Extension::TransportSequence),
            abs_send_time: place(Extension::AbsSendTime),
            audio_level: place(Extension::AudioLevel),
            levels: has(Extension::AudioLevel),
            descriptors: has(Extension::DependencyDescriptor),
            capture_times: has(Extension::AbsCaptureTime),
        })
    }

    /// Is this the front of a packet with this rewrite?
    #[inline]
    pub(super) fn fits(&self, rewrite: &Rewrite) -> bool {
        (self.audio_level != 0) == (self.levels && rewrite.audio_level.is_some())
            && !(self.descriptors && rewrite.descriptor_len() > 0)
            && !(self.capture_times && rewrite.abs_capture_time.is_some())
    }

    /// Has the packet what the front has places for?
    #[inline]
    pub(super) fn takes(&self, stamp: &Stamp) -> bool {
        (self.transport_sequence != 0) == stamp.transport_sequence.is_some()
            && (self.abs_send_time != 0) == stamp.abs_send_time.is_some()
    }

    /// Bytes of header and extension.
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Appends it for a packet that it fits and whose stamp it takes. `padded`: the packet will have padding.
    #[inline]
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        payload_type: u8,
        rewrite: &Rewrite,
        stamp: &Stamp,
        padded: bool,
    ) {
        let mut bytes = self.bytes;
        bytes[0] |= u8::from(padded) << 5;
        bytes[1] = payload_type | u8::from(rewrite.marker) << 7;
        bytes[2..4].copy_from_slice(&(rewrite.sequence as u16).to_be_bytes());
        bytes[4..8].copy_from_slice(&rewrite.timestamp.to_be_bytes());
        let mut put = |at: u8, value: &[u8]| {
            // `takes` and `fits` have seen that there is a place.
            for (at, byte) in (usize::from(at)..).zip(value) {
                bytes[at % ROOM] = *byte;
            }
        };
        if let Some(sequence) = stamp.transport_sequence {
            put(self.transport_sequence, &sequence.to_be_bytes());
        }
        if let Some(time) = stamp.abs_send_time {
            put(self.abs_send_time, &time.to_be_bytes()[1..]);
        }
        if let Some(level) = rewrite.audio_level.filter(|_| self.audio_level != 0) {
            put(self.audio_level, &[level]);
        }
        out.extend_from_slice(&bytes[..usize::from(self.len).min(ROOM)]);
    }
}

#[cfg(test)]
mod tests {
    use base::CodecKind;
    use wire::vp8::Patch;

    use super::super::packet::{Target, write, write_behind};
    use super::*;

    fn map(ids: [u8; 8]) -> ExtensionMap {
        let mut map = ExtensionMap::default();
        for (extension, id) in Extension::ALL.into_iter().zip(ids) {
            map.set(extension, id);
        }
        map
    }

    /// Every way in which a packet can differ, as bits of a number.
    fn rewrite(bits: u32) -> Rewrite {
        let vp8 = Some(Patch { picture_id: Some(0x777), tl0: Some(3), key_idx: None });
        Rewrite {
            marker: bits & 1 != 0,
            vp8: vp8.filter(|_| bits & 2 != 0),
            audio_level: Some(0x8a).filter(|_| bits & 4 != 0),
            abs_capture_time: Some(9).filter(|_| bits & 8 != 0),
            blank: bits & 16 != 0,
            ..Rewrite::plain(0x1_fffe, 0xffff_fff0, CodecKind::Vp8)
        }
    }

    #[test]
    fn a_packet_behind_a_front_is_the_packet_laid_out_by_itself() {
        let stored = [0x90, 0xc0, 0x81, 0x00, 0x07, 0x50, 1, 2, 3];
        let (mut used, mid) = (0, Mid::new(b"video-17"));
        let maps = [[1, 0, 0, 2, 3, 4, 5, 6], [0; 8], [0, 0, 0, 14, 0, 0, 0, 0], [20, 0, 0, 2, 3, 4, 0, 0]];
        for (bits, ids) in (0..512u32).flat_map(|bits| maps.map(|ids| (bits, ids))) {
            let (extensions, rewrite) = (map(ids), rewrite(bits));
            let mid = mid.filter(|_| bits & 32 != 0);
            let front = Front::new(7, mid, &extensions, bits & 64 != 0).expect("it has room");
            let numbered = extensions.id(Extension::TransportSequence).is_some();
            let timed = extensions.id(Extension::AbsSendTime).is_some();
            let stamp = Stamp {
                transport_sequence: Some(0xfffe).filter(|_| numbered),
                abs_send_time: Some(0x12_3456).filter(|_| timed),
            };
            let target = Target {
                ssrc: 7,
                payload_type: 96,
                sequence: rewrite.sequence,
                original: None,
                blocks: None,
                mid,
                extensions: &extensions,
            };
            let pad_to = [None, Some(80), Some(10)][bits as usize / 128 % 3];
            let parts = rewrite.split(&stored);
            let mut laid_out = b"before".to_vec();
            let expected = write(&mut laid_out, &target, &rewrite, parts, &stamp, pad_to);
            if front.fits(&rewrite) && front.takes(&stamp) {
                let mut found = b"before".to_vec();
                let written = write_behind(&mut found, &front, &target, &rewrite, parts.1, &stamp, pad_to);
                assert_eq!((found, written), (laid_out, expected), "{bits:#b} {ids:?}");
                used += 1;
            }
        }
        assert!(used > 1_000, "{used}");
    }

    #[test]
    fn the_longest_mid_has_room_and_a_missing_number_is_not_written() {
        let mid = Mid::new(b"sixteen-bytes-16");
        assert!(Front::new(7, mid, &map([200, 0, 0, 201, 202, 203, 0, 0]), true).is_some());
        let extensions = map([1, 0, 0, 2, 3, 4, 0, 0]);
        let front = Front::new(7, None, &extensions, true).expect("it has room");
        let numberless = Stamp { transport_sequence: None, abs_send_time: Some(1) };
        assert!(!front.takes(&numberless));
    }
}
