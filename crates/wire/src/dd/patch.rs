//! What is changed in a dependency descriptor for one receiver.

use std::num::NonZeroU16;

use super::{Flags, HEAD_BITS, MANDATORY_LEN, Structure};
use crate::bits::{Reader, Writer};

/// A descriptor grows by so many bytes at most: the flags of the extended fields and the decode targets.
pub const MAX_GROWTH: usize = 3;

/// Which decode targets are sent: those of one structure, at most 15 (three by three layers make nine).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Active(NonZeroU16);

impl Active {
    const MAX_TARGETS: u8 = 15;

    /// Of `targets` in all those in `active`, bit n for target n. `None`: too many for this small value.
    pub fn new(active: u32, targets: u8) -> Option<Self> {
        if targets > Self::MAX_TARGETS {
            return None;
        }
        // The highest bit marks how many there are.
        let end = 1u16 << targets;
        NonZeroU16::new(active as u16 & (end - 1) | end).map(Self)
    }

    /// Decode targets in all, 0..=15.
    pub fn targets(self) -> u8 {
        15 - self.0.leading_zeros() as u8
    }

    /// Bit n for target n.
    pub fn bits(self) -> u32 {
        u32::from(self.0.get()) & !(1 << self.targets())
    }

    /// A small form to be kept; 0 for `None`. Read back by [`Self::unpack`].
    pub fn pack(active: Option<Self>) -> u16 {
        active.map_or(0, |active| active.0.get())
    }

    /// What [`Self::pack`] made.
    pub fn unpack(packed: u16) -> Option<Self> {
        NonZeroU16::new(packed).map(Self)
    }
}

/// New values for a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Patch {
    /// Frame number.
    pub frame_number: u16,
    /// The decode targets that are sent, where that is to be said.
    pub active: Option<Active>,
}

impl Patch {
    /// Writes the changed descriptor to the front of `out` and returns its length; 0 when it does not fit. One that cannot
    /// be read is copied with its new frame number alone.
    pub fn write(&self, descriptor: &[u8], out: &mut [u8]) -> usize {
        let len = match self.active {
            Some(active) => write_active(descriptor, active, out),
            None => None,
        };
        let len = len.or_else(|| {
            out.get_mut(..descriptor.len())?.copy_from_slice(descriptor);
            Some(descriptor.len())
        });
        if let Some(number) = out.get_mut(1..MANDATORY_LEN) {
            number.copy_from_slice(&self.frame_number.to_be_bytes());
        }
        len.unwrap_or(0)
    }

    /// The length that [`Self::write`] gives a descriptor of `len` bytes; up to two less where it told decode targets before.
    pub fn len_of(&self, len: usize) -> usize {
        let told = self.active.map_or(0, |active| usize::from(active.targets()));
        match (told, len) {
            (0, _) => len,
            (_, ..=MANDATORY_LEN) => (HEAD_BITS + told).div_ceil(8),
            _ => len + told.div_ceil(8),
        }
    }
}

/// `None`: it cannot be read, or there is no room.
fn write_active(descriptor: &[u8], active: Active, out: &mut [u8]) -> Option<usize> {
    if out.len() < descriptor.len() + MAX_GROWTH {
        return None;
    }
    let flags = Flags::parse(descriptor);
    let mut rest = Reader::new(descriptor);
    let mut written = Writer::new(out);
    written.put(rest.take(24)?, 24);
    let told = 8 | rest.take(5).unwrap_or(0);
    written.put(told, 5);
    if flags.structure {
        let mut end = rest;
        let structure = Structure::parse(&mut end)?;
        if structure.targets != active.targets() {
            return None;
        }
        copy(&mut rest, &mut written, end.at);
    }
    written.put(active.bits(), usize::from(active.targets()));
    if flags.active {
        rest.take(usize::from(active.targets()))?;
    }
    if descriptor.len() > MANDATORY_LEN {
        copy(&mut rest, &mut written, descriptor.len() * 8);
    }
    Some(written.finish())
}

fn copy(from: &mut Reader<'_>, to: &mut Writer<'_>, end: usize) {
    while from.at < end {
        let Some(bit) = from.take(1) else { return };
        to.put(bit, 1);
    }
}
