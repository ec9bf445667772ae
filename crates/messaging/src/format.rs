//! Bytes of what is stored: events, records, cursors, snapshots.
//!
//! Every stored value begins with [`VERSION`]. Numbers are LEB128 of at most ten bytes, texts and lists carry their length. Reading is a
//! total function: what is not whole, or longer than it says, is [`Malformed`]; a version above ours is [`Malformed::Newer`], so that an
//! older program never misreads a newer store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use base::{CallId, ChannelId, DeviceId, UnixMillis, UserId};

/// The version that is written, and the newest that is read.
pub const VERSION: u8 = 1;

/// Bytes that are no value of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// They end early, go on, or say what cannot be.
    Broken,
    /// They are of this version, which is newer than this program.
    Newer(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken => f.write_str("the bytes are damaged or of something else"),
            Self::Newer(version) => {
                write!(f, "written in format {version} by a newer release; this one reads up to {VERSION}")
            }
        }
    }
}

impl std::error::Error for Malformed {}

/// The bytes of a value, its version first.
pub fn encode(value: &impl Encoded) -> Vec<u8> {
    let mut out = vec![VERSION];
    value.put(&mut out);
    out
}

/// The value that [`encode`] wrote.
pub fn decode<T: Encoded>(bytes: &[u8]) -> Result<T, Malformed> {
    let (version, rest) = bytes.split_first().ok_or(Malformed::Broken)?;
    match *version {
        VERSION => {}
        newer if newer > VERSION => return Err(Malformed::Newer(newer)),
        _ => return Err(Malformed::Broken),
    }
    let mut reader = Reader { rest };
    let value = T::get(&mut reader)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(Malformed::Broken) }
}

/// What has a stored form.
pub trait Encoded: Sized {
    /// Appends the form.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes the form off the front.
    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Bytes that are being read from the front.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Broken)?;
        self.rest = rest;
        Ok(head)
    }

    /// How many elements follow. Each takes a byte or more, so that a list can never claim more memory than came in.
    fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(u64::get(self)?).map_err(|_| Malformed::Broken)?;
        if count > self.rest.len() { Err(Malformed::Broken) } else { Ok(count) }
    }
}

impl Encoded for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push((rest as u8 & 0x7f) | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = reader.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::Broken);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Broken)
    }
}

impl Encoded for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        u32::try_from(u64::get(reader)?).map_err(|_| Malformed::Broken)
    }
}

impl Encoded for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.take(1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Broken),
        }
    }
}

impl Encoded for Arc<[u8]> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.count()?;
        Ok(reader.take(count)?.into())
    }
}

impl Encoded for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.count()?;
        std::str::from_utf8(reader.take(count)?).map(Into::into).map_err(|_| Malformed::Broken)
    }
}

macro_rules! encoded_text {
    ($($name:ident)*) => {$(
        impl Encoded for $name {
            fn put(&self, out: &mut Vec<u8>) {
                (self.as_str().len() as u64).put(out);
                out.extend_from_slice(self.as_str().as_bytes());
            }

            fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                Arc::<str>::get(reader).map(Self::new)
            }
        }
    )*};
}

encoded_text!(UserId DeviceId ChannelId CallId);

impl Encoded for UnixMillis {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        u64::get(reader).map(Self)
    }
}

impl<T: Encoded> Encoded for Arc<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        T::get(reader).map(Arc::new)
    }
}

impl<T: Encoded> Encoded for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::get(reader)? { T::get(reader).map(Some) } else { Ok(None) }
    }
}

macro_rules! encoded_list {
    ($($list:ty, $($bound:ident)?;)*) => {$(
        impl<T: Encoded $(+ $bound)?> Encoded for $list {
            fn put(&self, out: &mut Vec<u8>) {
                (self.len() as u64).put(out);
                self.iter().for_each(|value| value.put(out));
            }

            fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                let count = reader.count()?;
                (0..count).map(|_| T::get(reader)).collect()
            }
        }
    )*};
}

encoded_list! {
    Vec<T>, ;
    VecDeque<T>, ;
    BTreeSet<T>, Ord;
}

impl<A: Encoded, B: Encoded> Encoded for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::get(reader)?, B::get(reader)?))
    }
}

impl<K: Encoded + Ord, V: Encoded> Encoded for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.count()?;
        (0..count).map(|_| <(K, V)>::get(reader)).collect()
    }
}

/// The stored form of a structure: its fields in the order given, which is part of the format.
macro_rules! encoded_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::format::Encoded for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            fn get(reader: &mut $crate::format::Reader<'_>) -> Result<Self, $crate::format::Malformed> {
                $(let $field = $crate::format::Encoded::get(reader)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}

/// The stored form of an enumeration: a number that never changes, then the variant's fields in the order given.
macro_rules! encoded_enum {
    ($name:ident { $($tag:literal => $variant:ident { $($field:ident),* $(,)? }),* $(,)? }) => {
        impl $crate::format::Encoded for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($field),* } => {
                        out.push($tag);
                        $($field.put(out);)*
                    })*
                }
            }

            fn get(reader: &mut $crate::format::Reader<'_>) -> Result<Self, $crate::format::Malformed> {
                match reader.take(1)?[0] {
                    $($tag => {
                        $(let $field = $crate::format::Encoded::get(reader)?;)*
                        Ok(Self::$variant { $($field),* })
                    })*
                    _ => Err($crate::format::Malformed::Broken),
                }
            }
        }
    };
}

pub(crate) use {encoded_enum, encoded_struct};

/// A 64-bit fingerprint of bytes (FNV-1a; Fowler, Noll and Vo). It tells a device's resend from another message under the same number;
/// it is no protection against somebody who looks for two messages alike, who would deceive only themselves.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_and_take_as_many_bytes_as_they_need() {
        for (value, length) in [(0u64, 1), (127, 1), (128, 2), (u64::from(u32::MAX), 5), (u64::MAX, 10)] {
            let bytes = encode(&value);
            assert_eq!((decode(&bytes), bytes.len()), (Ok(value), length + 1));
        }
    }

    #[test]
    fn a_newer_version_is_named_and_an_unknown_older_one_refused() {
        assert_eq!(decode::<u64>(&[VERSION + 1, 0]), Err(Malformed::Newer(VERSION + 1)));
        assert_eq!(decode::<u64>(&[0, 0]), Err(Malformed::Broken));
        assert_eq!(decode::<u64>(&[]), Err(Malformed::Broken));
    }

    #[test]
    fn a_list_cannot_claim_more_than_came_in() {
        let mut bytes = encode(&u64::MAX);
        assert_eq!(decode::<Vec<u64>>(&bytes), Err(Malformed::Broken));
        bytes.push(1);
        assert_eq!(decode::<u64>(&bytes), Err(Malformed::Broken), "something follows the value");
    }

    #[test]
    fn a_number_that_overflows_is_refused() {
        let bytes = [&[VERSION][..], &[0xff; 9], &[2]].concat();
        assert_eq!(decode::<u64>(&bytes), Err(Malformed::Broken));
        assert_eq!(decode::<u64>(&[&[VERSION][..], &[0x80; 11]].concat()), Err(Malformed::Broken));
    }
}
