//! The VP9 payload descriptor (RFC 9628 section 4.2): read, and rewritten in place.

use crate::bytes::{read_u8, read_u16};

/// References that a picture names in flexible mode, at most (RFC 9628 section 4.2).
const MAX_REFERENCES: usize = 3;

/// A parsed payload descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Descriptor {
    /// Picture id, of 7 or 15 bits: one for all spatial layers of a picture.
    pub picture_id: Option<u16>,
    /// The picture id has 15 bits.
    pub long_picture_id: bool,
    /// P bit: predicted from earlier pictures.
    pub predicted: bool,
    /// L bit: the layer indices are there.
    pub layered: bool,
    /// Temporal layer, 0..=7; 0 when not said.
    pub temporal: u8,
    /// U bit: pictures of higher temporal layers that follow depend on none of them that came before.
    pub switching_up: bool,
    /// Spatial layer, 0..=7; 0 when not said.
    pub spatial: u8,
    /// D bit: predicted from the spatial layer below, of the same picture.
    pub inter_layer: bool,
    /// Running index of pictures of the lowest temporal layer; absent in flexible mode.
    pub tl0: Option<u8>,
    /// F bit: the picture names what it refers to.
    pub flexible: bool,
    /// B bit: first packet of the layer's frame.
    pub start_of_frame: bool,
    /// E bit: last packet of the layer's frame.
    pub end_of_frame: bool,
    /// Z bit: no higher spatial layer refers to it.
    pub not_for_higher: bool,
    /// Distances to the pictures that it refers to, in picture ids; in flexible mode only.
    pub references: [u8; MAX_REFERENCES],
    /// So many of them.
    pub reference_count: u8,
    /// What the scalability structure says, where the packet brings one.
    pub structure: Option<Sizes>,
    /// Bytes of the descriptor; the VP9 data follows.
    pub len: usize,
}

/// The spatial layers that a scalability structure announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Spatial layers, 1..=8.
    pub layers: u8,
    /// Width and height in pixels, lowest layer first; zeros when not said.
    pub sizes: [(u16, u16); 8],
}

/// Where the rewritable fields lie, and where the descriptor goes on behind the layer indices.
struct Places {
    picture_id: Option<usize>,
    long: bool,
    layer: Option<usize>,
    tl0: Option<usize>,
    rest: usize,
}

const I: u8 = 0x80;
const P: u8 = 0x40;
const L: u8 = 0x20;
const F: u8 = 0x10;
const B: u8 = 0x08;
const E: u8 = 0x04;
const V: u8 = 0x02;
const Z: u8 = 0x01;

impl Places {
    fn find(payload: &[u8]) -> Option<Self> {
        let first = read_u8(payload, 0)?;
        let mut places = Self { picture_id: None, long: false, layer: None, tl0: None, rest: 1 };
        if first & I != 0 {
            places.long = read_u8(payload, 1)? & 0x80 != 0;
            places.picture_id = Some(1);
            places.rest = if places.long { 3 } else { 2 };
        }
        if first & L != 0 {
            places.layer = Some(places.rest);
            places.rest += 1;
            if first & F == 0 {
                places.tl0 = Some(places.rest);
                places.rest += 1;
            }
        }
        (places.rest <= payload.len()).then_some(places)
    }
}

impl Descriptor {
    /// Parses the descriptor at the front of an RTP payload. `None`: cut off, or more references than there may be.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let places = Places::find(payload)?;
        let first = read_u8(payload, 0)?;
        let layer = match places.layer {
            Some(at) => read_u8(payload, at)?,
            None => 0,
        };
        let picture_id = match places.picture_id {
            Some(at) if places.long => Some(read_u16(payload, at)? & 0x7FFF),
            Some(at) => Some(u16::from(read_u8(payload, at)? & 0x7F)),
            None => None,
        };
        let mut found = Self {
            picture_id,
            long_picture_id: places.long,
            predicted: first & P != 0,
            layered: places.layer.is_some(),
            temporal: layer >> 5,
            switching_up: layer & 0x10 != 0,
            spatial: layer >> 1 & 7,
            inter_layer: layer & 1 != 0,
            tl0: places.tl0.and_then(|at| read_u8(payload, at)),
            flexible: first & F != 0,
            start_of_frame: first & B != 0,
            end_of_frame: first & E != 0,
            not_for_higher: first & Z != 0,
            len: places.rest,
            ..Self::default()
        };
        if found.flexible && found.predicted {
            found.read_references(payload)?;
        }
        if first & V != 0 {
            found.structure = Some(found.read_structure(payload)?);
        }
        (found.len <= payload.len()).then_some(found)
    }

    /// The first packet of a picture with which decoding may begin.
    pub fn is_keyframe_start(&self) -> bool {
        !self.predicted && self.start_of_frame && self.spatial == 0
    }

    fn read_references(&mut self, payload: &[u8]) -> Option<()> {
        loop {
            let byte = read_u8(payload, self.len)?;
            self.len += 1;
            *self.references.get_mut(usize::from(self.reference_count))? = byte >> 1;
            self.reference_count += 1;
            if byte & 1 == 0 {
                return Some(());
            }
        }
    }

    fn read_structure(&mut self, payload: &[u8]) -> Option<Sizes> {
        let head = read_u8(payload, self.len)?;
        self.len += 1;
        let mut found = Sizes { layers: (head >> 5) + 1, ..Sizes::default() };
        if head & 0x10 != 0 {
            for size in &mut found.sizes[..usize::from(found.layers)] {
                *size = (read_u16(payload, self.len)?, read_u16(payload, self.len + 2)?);
                self.len += 4;
            }
        }
        if head & 0x08 != 0 {
            let pictures = read_u8(payload, self.len)?;
            self.len += 1;
            for _ in 0..pictures {
                let references = read_u8(payload, self.len)? >> 2 & 3;
                self.len += 1 + usize::from(references);
            }
        }
        Some(found)
    }
}

/// New values for the running indices of a descriptor. Fields that the descriptor lacks are not added: the length of
/// the payload never changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Patch {
    /// Picture id; the low 7 bits go into a short one.
    pub picture_id: Option<u16>,
    /// Index of pictures of the lowest temporal layer.
    pub tl0: Option<u8>,
}

impl Patch {
    /// Rewrites the descriptor at the front of `payload`; a malformed one is left as it is.
    #[inline]
    pub fn apply(&self, payload: &mut [u8]) {
        let Some(places) = Places::find(payload) else { return };
        match (self.picture_id, places.picture_id) {
            (Some(id), Some(at)) if places.long => {
                payload[at..at + 2].copy_from_slice(&(id | 0x8000).to_be_bytes());
            }
            (Some(id), Some(at)) => payload[at] = (id & 0x7F) as u8,
            _ => {}
        }
        if let (Some(tl0), Some(at)) = (self.tl0, places.tl0) {
            payload[at] = tl0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, damaged};

    const STRUCTURE: [u8; 16] = [0x58, 1, 0x40, 0, 0xB4, 2, 0x80, 1, 0x68, 5, 0, 2, 0xD0, 1, 0x14, 2];

    /// Layers, long id, flexible with two references, structure: everything at once.
    fn everything() -> Vec<u8> {
        let mut bytes = vec![I | P | L | F | B | E | V | Z, 0x92, 0x34, 0x40 | 0x10 | 0x04 | 1, 0x03, 0x04];
        bytes.extend(STRUCTURE);
        bytes.extend([9, 9]);
        bytes
    }

    #[test]
    fn every_field_is_read() {
        let found = Descriptor::parse(&everything()).expect("well formed");
        assert_eq!((found.picture_id, found.long_picture_id), (Some(0x1234), true));
        assert_eq!(
            (found.temporal, found.spatial, found.switching_up, found.inter_layer),
            (2, 2, true, true)
        );
        assert!(found.predicted && found.start_of_frame && found.end_of_frame && found.not_for_higher);
        assert_eq!((&found.references[..2], found.reference_count, found.tl0), (&[1, 2][..], 2, None));
        let structure = found.structure.expect("it is there");
        assert_eq!(structure.layers, 3);
        assert_eq!(structure.sizes[..3], [(320, 180), (640, 360), (1280, 720)]);
        assert_eq!(found.len, everything().len() - 2);
    }

    #[test]
    fn a_picture_that_is_not_flexible_has_an_index_of_the_lowest_layer() {
        let found = Descriptor::parse(&[I | L | B, 0x05, 0x20, 77, 1]).expect("well formed");
        assert_eq!((found.picture_id, found.temporal, found.tl0, found.len), (Some(5), 1, Some(77), 4));
        assert!(!found.long_picture_id && found.is_keyframe_start());
        assert_eq!(Descriptor::parse(&[B]).map(|found| (found.layered, found.len)), Some((false, 1)));
    }

    #[test]
    fn a_patch_changes_its_fields_and_nothing_else() {
        let patch = Patch { picture_id: Some(0x2FF3), tl0: Some(200) };
        for before in [everything(), vec![I | L | B, 0x05, 0x20, 77, 1], vec![L, 0x20, 3, 1], vec![B, 4]] {
            let mut after = before.clone();
            patch.apply(&mut after);
            let (old, new) = (Descriptor::parse(&before).unwrap(), Descriptor::parse(&after).unwrap());
            let id = |long: bool| if long { 0x2FF3 } else { 0x73 };
            let expected = Descriptor {
                picture_id: old.picture_id.map(|_| id(old.long_picture_id)),
                tl0: old.tl0.map(|_| 200),
                ..old
            };
            assert_eq!(new, expected);
            assert_eq!(after[new.len..], before[old.len..]);
        }
    }

    #[test]
    fn more_references_than_there_may_be_are_malformed() {
        assert!(Descriptor::parse(&[P | F, 3, 5, 6, 1]).is_some());
        assert_eq!(Descriptor::parse(&[P | F, 3, 5, 7, 8, 1]), None);
        assert_eq!(Descriptor::parse(&[P | F, 3]), None, "cut off");
    }

    #[test]
    fn nothing_that_is_damaged_panics() {
        damaged(&everything(), crate::fuzz::payload);
        let mut rng = Rng::new(9);
        for round in 0..20_000 {
            crate::fuzz::payload(&rng.bytes(round % 40));
        }
    }
}
