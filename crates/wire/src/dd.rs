//! The AV1 dependency descriptor (AV1 RTP specification, appendix A): its mandatory fields, and whether it carries a
//! template structure.

use crate::bytes::{read_u8, read_u16};

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
