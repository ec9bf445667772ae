//! The VP8 payload descriptor (RFC 7741 section 4.2): read, and rewritten in place.

use crate::bytes::{read_u8, read_u16};

/// A parsed payload descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Descriptor {
    /// S bit: a VP8 partition begins here.
    pub start_of_partition: bool,
    /// Partition index, 0..=7.
    pub partition: u8,
    /// N bit: nothing refers to this frame.
    pub non_reference: bool,
    /// Picture id, of 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// The picture id has 15 bits.
    pub long_picture_id: bool,
    /// Running index of base-layer frames.
    pub tl0: Option<u8>,
    /// Temporal layer, 0..=3.
    pub temporal_layer: Option<u8>,
    /// Y bit: this frame depends on the base layer alone, so that one may switch up to its layer here.
    pub layer_sync: bool,
    /// Running index of keyframes, 0..=31.
    pub key_idx: Option<u8>,
    /// The first packet of a keyframe.
    pub keyframe: bool,
    /// Bytes of the descriptor; the VP8 data follows.
    pub len: usize,
}

/// Where the rewritable fields lie; 0 = absent (byte 0 is never one of them).
#[derive(Default)]
struct Places {
    picture_id: usize,
    long: bool,
    tl0: usize,
    layer: usize,
    has_tid: bool,
    has_key_idx: bool,
    len: usize,
}

impl Places {
    fn find(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut places = Self { len: 1, ..Self::default() };
        if first & 0x80 == 0 {
            return Some(places);
        }
        let present = read_u8(payload, 1)?;
        let mut at = 2;
        if present & 0x80 != 0 {
            places.picture_id = at;
            places.long = read_u8(payload, at)? & 0x80 != 0;
            at += if places.long { 2 } else { 1 };
        }
        if present & 0x40 != 0 {
            places.tl0 = at;
            at += 1;
        }
        places.has_tid = present & 0x20 != 0;
        places.has_key_idx = present & 0x10 != 0;
        if places.has_tid || places.has_key_idx {
            places.layer = at;
            at += 1;
        }
        places.len = at;
        (at <= payload.len()).then_some(places)
    }
}

impl Descriptor {
    /// Parses the descriptor at the front of an RTP payload. `None`: cut off.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let places = Places::find(payload)?;
        let first = *payload.first()?;
        let start_of_partition = first & 0x10 != 0;
        let partition = first & 0x07;
        let layer = if places.layer == 0 { 0 } else { read_u8(payload, places.layer)? };
        let picture_id = match (places.picture_id, places.long) {
            (0, _) => None,
            (at, true) => Some(read_u16(payload, at)? & 0x7FFF),
            (at, false) => Some(u16::from(read_u8(payload, at)? & 0x7F)),
        };
        let begins_frame = start_of_partition && partition == 0;
        Some(Self {
            start_of_partition,
            partition,
            non_reference: first & 0x20 != 0,
            picture_id,
            long_picture_id: places.long,
            tl0: if places.tl0 == 0 { None } else { read_u8(payload, places.tl0) },
            temporal_layer: places.has_tid.then_some(layer >> 6),
            layer_sync: places.has_tid && layer & 0x20 != 0,
            key_idx: places.has_key_idx.then_some(layer & 0x1F),
            // The inverse key frame flag is the lowest bit of the VP8 frame tag (RFC 6386 section 9.1).
            keyframe: begins_frame && payload.get(places.len).is_some_and(|tag| tag & 1 == 0),
            len: places.len,
        })
    }

    /// The first packet of a frame.
    pub fn starts_frame(&self) -> bool {
        self.start_of_partition && self.partition == 0
    }
}

/// New values for the running indices of a descriptor. Fields that the descriptor lacks are not added: the length of
/// the payload never changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Patch {
    /// Picture id; the low 7 bits go into a short one.
    pub picture_id: Option<u16>,
    /// Base-layer index.
    pub tl0: Option<u8>,
    /// Keyframe index, modulo 32.
    pub key_idx: Option<u8>,
}

impl Patch {
    /// Rewrites the descriptor at the front of `payload`; a malformed one is left as it is.
    #[inline]
    pub fn apply(&self, payload: &mut [u8]) {
        let Some(places) = Places::find(payload) else { return };
        match self.picture_id {
            Some(id) if places.picture_id != 0 && places.long => {
                let [high, low] = (id | 0x8000).to_be_bytes();
                payload[places.picture_id] = high;
                payload[places.picture_id + 1] = low;
            }
            Some(id) if places.picture_id != 0 => payload[places.picture_id] = (id & 0x7F) as u8,
            _ => {}
        }
        if let Some(tl0) = self.tl0.filter(|_| places.tl0 != 0) {
            payload[places.tl0] = tl0;
        }
        if let Some(key_idx) = self.key_idx.filter(|_| places.has_key_idx) {
            let byte = &mut payload[places.layer];
            *byte = *byte & 0xE0 | key_idx & 0x1F;
        }
    }
}

/// The payload is the first packet of a keyframe.
pub fn is_keyframe(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_some_and(|d| d.keyframe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use crate::testing::{Rng, damaged};

    /// A descriptor with the given optional fields, and a frame tag behind it.
    fn payload(
        id: Option<u16>,
        long: bool,
        tl0: Option<u8>,
        tid: Option<u8>,
        key_idx: Option<u8>,
    ) -> Vec<u8> {
        let mut bytes = vec![0x10];
        let present = |bit, set: bool| if set { bit } else { 0 };
        let flags = present(0x80, id.is_some())
            | present(0x40, tl0.is_some())
            | present(0x20, tid.is_some())
            | present(0x10, key_idx.is_some());
        if flags != 0 {
            bytes[0] |= 0x80;
            bytes.push(flags);
        }
        match id {
            Some(id) if long => bytes.extend_from_slice(&(id | 0x8000).to_be_bytes()),
            Some(id) => bytes.push(id as u8 & 0x7F),
            None => {}
        }
        bytes.extend(tl0);
        if tid.is_some() || key_idx.is_some() {
            bytes.push(tid.unwrap_or(0) << 6 | 0x20 | key_idx.unwrap_or(0));
        }
        bytes.extend_from_slice(&[0x50, 1, 2, 3]);
        bytes
    }

    fn every_form() -> impl Iterator<Item = Vec<u8>> {
        (0..48).map(|form: u8| {
            let id = [None, Some(0x7F), Some(0x1234)][usize::from(form % 3)];
            let has = |bit: u8| (form / 3) & bit != 0;
            payload(id, id == Some(0x1234), has(1).then_some(9), has(2).then_some(2), has(4).then_some(31))
        })
    }

    #[test]
    fn every_form_of_the_descriptor_is_read() {
        let d = Descriptor::parse(&[0x10, 0x50]).expect("one byte");
        assert_eq!((d.len, d.picture_id, d.tl0, d.temporal_layer, d.key_idx), (1, None, None, None, None));
        assert!(d.keyframe && d.starts_frame());
        let d = Descriptor::parse(&payload(Some(0x7F), false, None, None, None)).expect("short id");
        assert_eq!((d.len, d.picture_id, d.long_picture_id), (3, Some(127), false));
        let d = Descriptor::parse(&payload(Some(0x1234), true, Some(9), Some(2), Some(31))).expect("all");
        assert_eq!((d.len, d.picture_id, d.long_picture_id), (6, Some(0x1234), true));
        assert_eq!((d.tl0, d.temporal_layer, d.layer_sync, d.key_idx), (Some(9), Some(2), true, Some(31)));
        let d = Descriptor::parse(&payload(None, false, Some(9), None, Some(3))).expect("no id, no tid");
        assert_eq!((d.len, d.tl0, d.temporal_layer, d.key_idx), (4, Some(9), None, Some(3)));
        assert!(!d.layer_sync, "means nothing without a layer");
    }

    #[test]
    fn a_keyframe_begins_with_its_first_partition() {
        assert!(is_keyframe(&[0x10, 0x50]));
        assert!(!is_keyframe(&[0x10, 0x51]), "an interframe");
        assert!(!is_keyframe(&[0x00, 0x50]), "not the beginning of a partition");
        assert!(!is_keyframe(&[0x11, 0x50]), "the second partition");
        assert!(!is_keyframe(&[0x10]), "no data");
        assert!(!is_keyframe(&[]));
    }

    #[test]
    fn a_patch_changes_its_fields_and_nothing_else() {
        let patch = Patch { picture_id: Some(0x2FF3), tl0: Some(200), key_idx: Some(33) };
        for before in every_form() {
            let mut after = before.clone();
            patch.apply(&mut after);
            let (old, new) = (
                Descriptor::parse(&before).expect("well formed"),
                Descriptor::parse(&after).expect("still well formed"),
            );
            let expected = Descriptor {
                picture_id: old.picture_id.map(|_| if old.long_picture_id { 0x2FF3 } else { 0x73 }),
                tl0: old.tl0.map(|_| 200),
                key_idx: old.key_idx.map(|_| 1),
                ..old
            };
            assert_eq!(new, expected);
            assert_eq!(after[new.len..], before[old.len..]);
        }
    }

    #[test]
    fn an_empty_patch_changes_nothing() {
        for before in every_form() {
            let mut after = before.clone();
            Patch::default().apply(&mut after);
            assert_eq!(after, before);
        }
    }

    #[test]
    fn nothing_that_is_damaged_panics() {
        for form in every_form() {
            damaged(&form, fuzz::payload);
        }
        let mut rng = Rng::new(2);
        for round in 0..20_000 {
            fuzz::all(&rng.bytes(round % 24));
        }
    }
}
