//! The AV1 dependency descriptor (RTP payload format for AV1, appendix A): which layers a frame belongs to, what it
//! depends on, and which receivers need it. VP9 and H.264 carry it too.
//!
//! The first packet of a keyframe brings a [`Structure`], by whose templates all descriptors up to the next one are read.

mod patch;
mod structure;
#[cfg(test)]
mod tests;

pub use patch::{Active, MAX_GROWTH, Patch};
pub use structure::{Differences, Indication, Structure, Template};

use crate::bits::Reader;
use crate::bytes::{read_u8, read_u16};

/// Bytes of the mandatory fields.
const MANDATORY_LEN: usize = 3;
/// Bits before the template structure: the mandatory fields and the flags of the extended ones.
const HEAD_BITS: usize = 29;

/// The mandatory fields of a dependency descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mandatory {
    /// First packet of the frame.
    pub start_of_frame: bool,
    /// Last packet of the frame.
    pub end_of_frame: bool,
    /// Frame dependency template, 0..=63.
    pub template: u8,
    /// Running frame number.
    pub frame_number: u16,
    /// A new template structure follows: a coded video sequence begins with this frame.
    pub structure: bool,
}

impl Mandatory {
    /// `None`: shorter than the mandatory three bytes.
    pub fn parse(descriptor: &[u8]) -> Option<Self> {
        let first = read_u8(descriptor, 0)?;
        Some(Self {
            start_of_frame: first & 0x80 != 0,
            end_of_frame: first & 0x40 != 0,
            template: first & 0x3F,
            frame_number: read_u16(descriptor, 1)?,
            structure: descriptor.get(3).is_some_and(|flags| flags & 0x80 != 0),
        })
    }
}

/// A whole descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// What every descriptor has.
    pub mandatory: Mandatory,
    /// The structure that it brings.
    pub structure: Option<Structure>,
    /// Decode targets that are sent from now on, where it says so: bit n for target n. A structure begins with all.
    pub active: Option<u32>,
    /// The frame: its template, with what the descriptor says otherwise. Size in the structure.
    pub frame: Template,
}

/// The flags in front of the extended fields.
#[derive(Clone, Copy, Default)]
struct Flags {
    structure: bool,
    active: bool,
    indications: bool,
    differences: bool,
    chains: bool,
}

impl Flags {
    /// All clear where the descriptor ends behind the mandatory fields.
    fn parse(descriptor: &[u8]) -> Self {
        let bits = descriptor.get(MANDATORY_LEN).copied().unwrap_or(0);
        let has = |bit: u8| bits & bit != 0;
        Self {
            structure: has(0x80),
            active: has(0x40),
            indications: has(0x20),
            differences: has(0x10),
            chains: has(0x08),
        }
    }
}

impl Descriptor {
    /// Reads a descriptor by the structure `known` from before, where it brings none itself. `None`: malformed, without a
    /// structure, or of a template that the structure does not have. Bounds: see [`Structure`].
    pub fn parse(descriptor: &[u8], known: Option<&Structure>) -> Option<Self> {
        let mandatory = Mandatory::parse(descriptor)?;
        let flags = Flags::parse(descriptor);
        let mut bits = Reader::new(descriptor);
        bits.at = HEAD_BITS;
        let own = if flags.structure { Some(Structure::parse(&mut bits)?) } else { None };
        let structure = own.as_ref().or(known)?;
        let active = if flags.active { Some(bits.take(usize::from(structure.targets))?) } else { None };
        let mut frame = *structure.template(mandatory.template)?;
        if flags.indications {
            frame.indications = structure::parse_indications(&mut bits, structure.targets)?;
        }
        if flags.differences {
            frame.differences = parse_differences(&mut bits)?;
        }
        if flags.chains {
            for chain in &mut frame.chains[..usize::from(structure.chains)] {
                *chain = bits.take(8)? as u8;
            }
        }
        Some(Self { mandatory, structure: own, active, frame })
    }
}

/// `frame_fdiffs()`: differences of 4, 8 or 12 bits.
fn parse_differences(bits: &mut Reader<'_>) -> Option<Differences> {
    let mut differences = Differences::default();
    loop {
        let size = bits.take(2)? as usize;
        if size == 0 {
            return Some(differences);
        }
        differences.push(bits.take(4 * size)? as u16 + 1)?;
    }
}
