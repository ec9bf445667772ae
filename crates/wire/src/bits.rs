//! Bits in network order, read and written without a panic.

/// Reads bits from the front of bytes.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    /// The next bit.
    pub(crate) at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, at most 32. `None`: there are not so many.
    pub(crate) fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0u32;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        Some(self.take(1)? == 1)
    }

    /// A value below `end`, in the fewest bits that tell them apart (`ns(n)` of the AV1 specification, section 4.10.7).
    pub(crate) fn below(&mut self, end: u32) -> Option<u32> {
        let bits = (u32::BITS - end.leading_zeros()) as usize;
        let short = (1u32 << bits) - end;
        let value = self.take(bits.checked_sub(1)?)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.take(1)?)
    }
}

/// Writes bits to the front of bytes; what does not fit is left out.
pub(crate) struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The lowest `count` bits of `value`.
    pub(crate) fn put(&mut self, value: u32, count: usize) {
        for bit in (0..count).rev() {
            let Some(byte) = self.bytes.get_mut(self.at / 8) else { return };
            let mask = 0x80 >> (self.at % 8);
            *byte = if value >> bit & 1 == 1 { *byte | mask } else { *byte & !mask };
            self.at += 1;
        }
    }

    /// Bytes begun; the unwritten bits of the last are cleared.
    pub(crate) fn finish(mut self) -> usize {
        self.put(0, self.at.next_multiple_of(8) - self.at);
        self.at / 8
    }
}
