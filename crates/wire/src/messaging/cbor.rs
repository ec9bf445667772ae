//! CBOR (RFC 8949) as another way to write the same JSON values.
//!
//! Both encodings have one schema, so that one is the other, value by value: maps with text keys, lists, texts, numbers, booleans, null. What
//! JSON has no word for (byte strings, tags, numbers that are none, keys that are no text) is refused. Lengths that a stranger claims are
//! held against the bytes that are there before anything is allocated, and depth against [`super::DEPTH`].

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use super::DEPTH;

/// The bytes are no CBOR, or hold what JSON cannot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotJson;

/// Appends the one CBOR item that `bytes` is to `out`, as JSON without spaces.
///
/// # Errors
/// [`NotJson`]; what was appended until then is of no use.
pub fn to_json(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NotJson> {
    let mut reader = Reader { rest: bytes };
    reader.item(DEPTH, out)?;
    if reader.rest.is_empty() { Ok(()) } else { Err(NotJson) }
}

/// Appends the JSON text `json` to `out`, as CBOR with definite lengths.
///
/// # Errors
/// [`NotJson`]: it is none; what was appended until then is of no use.
pub fn from_json(json: &[u8], out: &mut Vec<u8>) -> Result<(), NotJson> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    Writer { out, depth: DEPTH }.deserialize(&mut reader).map_err(|_| NotJson)?;
    reader.end().map_err(|_| NotJson)
}

struct Reader<'a> {
    rest: &'a [u8],
}

/// The first byte of an item, and its argument (RFC 8949 section 3).
struct Head {
    major: u8,
    info: u8,
    /// `None`: of indefinite length, or the end of such.
    argument: Option<u64>,
}

const BREAK: u8 = 0xff;

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], NotJson> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(NotJson)?;
        self.rest = rest;
        Ok(head)
    }

    fn head(&mut self) -> Result<Head, NotJson> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
            }
            31 => None,
            _ => return Err(NotJson),
        };
        Ok(Head { major, info, argument })
    }

    fn item(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), NotJson> {
        let head = self.head()?;
        match head.major {
            0 => write(out, &head.argument.ok_or(NotJson)?),
            1 => {
                let value = -1 - i128::from(head.argument.ok_or(NotJson)?);
                out.extend_from_slice(value.to_string().as_bytes());
                Ok(())
            }
            3 => self.text(head.argument, out),
            4 => self.list(head.argument, depth.checked_sub(1).ok_or(NotJson)?, out),
            5 => self.map(head.argument, depth.checked_sub(1).ok_or(NotJson)?, out),
            7 => simple(&head, out),
            _ => Err(NotJson),
        }
    }

    fn text(&mut self, length: Option<u64>, out: &mut Vec<u8>) -> Result<(), NotJson> {
        match length {
            Some(length) => write(out, self.chunk(length)?),
            None => {
                let mut whole = String::new();
                while self.rest.first() != Some(&BREAK) {
                    let head = self.head()?;
                    let length = head.argument.filter(|_| head.major == 3).ok_or(NotJson)?;
                    whole.push_str(self.chunk(length)?);
                }
                self.take(1)?;
                write(out, &whole)
            }
        }
    }

    fn chunk(&mut self, length: u64) -> Result<&'a str, NotJson> {
        let bytes = self.take(usize::try_from(length).map_err(|_| NotJson)?)?;
        std::str::from_utf8(bytes).map_err(|_| NotJson)
    }

    /// Is there another element? Each takes a byte or more, so that a claimed number never runs beyond what came in.
    fn more(&mut self, left: &mut Option<u64>) -> Result<bool, NotJson> {
        match left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.rest.first() == Some(&BREAK) => self.take(1).map(|_| false),
            None => Ok(true),
        }
    }

    fn list(&mut self, mut left: Option<u64>, depth: usize, out: &mut Vec<u8>) -> Result<(), NotJson> {
        out.push(b'[');
        let start = out.len();
        while self.more(&mut left)? {
            if out.len() > start {
                out.push(b',');
            }
            self.item(depth, out)?;
        }
        out.push(b']');
        Ok(())
    }

    fn map(&mut self, mut left: Option<u64>, depth: usize, out: &mut Vec<u8>) -> Result<(), NotJson> {
        out.push(b'{');
        let start = out.len();
        while self.more(&mut left)? {
            if out.len() > start {
                out.push(b',');
            }
            let key = self.head()?;
            if key.major != 3 {
                return Err(NotJson);
            }
            self.text(key.argument, out)?;
            out.push(b':');
            self.item(depth, out)?;
        }
        out.push(b'}');
        Ok(())
    }
}

fn write<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), NotJson> {
    serde_json::to_writer(out, value).map_err(|_| NotJson)
}

fn simple(head: &Head, out: &mut Vec<u8>) -> Result<(), NotJson> {
    let argument = head.argument.ok_or(NotJson)?;
    let number = match head.info {
        20 => return write(out, &false),
        21 => return write(out, &true),
        // `undefined` is absent, as null is.
        22 | 23 => return write(out, &()),
        25 => half(argument as u16),
        26 => f64::from(f32::from_bits(argument as u32)),
        27 => f64::from_bits(argument),
        _ => return Err(NotJson),
    };
    if number.is_finite() { write(out, &number) } else { Err(NotJson) }
}

/// A number of 16 bits (RFC 8949 appendix D).
fn half(bits: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let value = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1_024.0) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

/// Writes a value as it is read.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
}

fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

impl Writer<'_> {
    /// Writes elements, then their number before them: how many there are is known at the end alone.
    fn counted<E>(
        self,
        major: u8,
        mut elements: impl FnMut(&mut Vec<u8>, usize) -> Result<bool, E>,
        too_deep: impl FnOnce() -> E,
    ) -> Result<(), E> {
        let Some(depth) = self.depth.checked_sub(1) else { return Err(too_deep()) };
        let start = self.out.len();
        let mut count = 0;
        while elements(self.out, depth)? {
            count += 1;
        }
        let mut length = Vec::with_capacity(9);
        head(&mut length, major, count);
        self.out.splice(start..start, length);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.out.push(0xf6);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.out.push(if value { 0xf5 } else { 0xf4 });
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        head(self.out, 0, value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        match u64::try_from(value) {
            Ok(value) => head(self.out, 0, value),
            Err(_) => head(self.out, 1, !value as u64),
        }
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.out.push(0xfb);
        self.out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        head(self.out, 3, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let next = |out: &mut Vec<u8>, depth| Ok(list.next_element_seed(Writer { out, depth })?.is_some());
        self.counted(4, next, || A::Error::custom("too deep"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let next = |out: &mut Vec<u8>, depth| {
            let key = map.next_key_seed(Writer { out: &mut *out, depth })?;
            if key.is_some() {
                map.next_value_seed(Writer { out, depth })?;
            }
            Ok(key.is_some())
        };
        self.counted(5, next, || A::Error::custom("too deep"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        to_json(bytes, &mut out).ok()?;
        Some(String::from_utf8(out).expect("JSON is text"))
    }

    fn cbor(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        from_json(text.as_bytes(), &mut out).expect("it is JSON");
        out
    }

    /// From RFC 8949, appendix A.
    #[test]
    fn the_examples_of_the_specification_are_read() {
        for (bytes, expected) in [
            (&[0x00][..], "0"),
            (&[0x18, 0x64], "100"),
            (&[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "18446744073709551615"),
            (&[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "-18446744073709551616"),
            (&[0x20], "-1"),
            (&[0x39, 0x03, 0xe7], "-1000"),
            (&[0xf9, 0x3e, 0x00], "1.5"),
            (&[0xf9, 0x7b, 0xff], "65504.0"),
            (&[0xf9, 0x00, 0x01], "5.960464477539063e-8"),
            (&[0xfa, 0x47, 0xc3, 0x50, 0x00], "100000.0"),
            (&[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a], "1.1"),
            (&[0xf4], "false"),
            (&[0xf6], "null"),
            (&[0xf7], "null"),
            (&[0x62, 0xc3, 0xbc], "\"ü\""),
            (&[0x62, 0x22, 0x5c], r#""\"\\""#),
            (&[0x83, 1, 2, 3], "[1,2,3]"),
            (&[0xa2, 0x61, b'a', 1, 0x61, b'b', 0x82, 2, 3], r#"{"a":1,"b":[2,3]}"#),
            (
                &[0x7f, 0x65, b's', b't', b'r', b'e', b'a', 0x64, b'm', b'i', b'n', b'g', 0xff],
                "\"streaming\"",
            ),
            (&[0x9f, 1, 0x82, 2, 3, 0x9f, 4, 5, 0xff, 0xff], "[1,[2,3],[4,5]]"),
            (&[0xbf, 0x61, b'a', 1, 0x61, b'b', 0x9f, 2, 3, 0xff, 0xff], r#"{"a":1,"b":[2,3]}"#),
        ] {
            assert_eq!(json(bytes).as_deref(), Some(expected), "{bytes:x?}");
        }
    }

    #[test]
    fn what_json_has_no_word_for_is_refused_and_so_are_lengths_that_lie() {
        for bytes in [
            &[][..],
            &[0x40],
            &[0xc1, 0x1a, 0, 0, 0, 0],
            &[0xf9, 0x7c, 0x00],
            &[0xf9, 0x7e, 0x00],
            &[0xf8, 0xff],
            &[0xe0],
            &[0xa1, 0x01, 0x02],
            &[0x1c],
            &[0x61, 0xff],
            &[0x7f, 0x41, 0x00, 0xff],
            &[0x9f],
            &[0xff],
            &[0x01, 0x01],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x61],
            &[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x61],
            &[0x81; 100],
            &[0x9f; 4_000],
        ] {
            assert_eq!(json(bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let long = format!("[{}0]", "1,".repeat(300));
        for text in
            ["null", "[]", "{}", r#"{"a":[1,-5,1.5,"é\n",true,null],"b":{"":-9007199254740993}}"#, &long]
        {
            assert_eq!(json(&cbor(text)).as_deref(), Some(text));
        }
        assert_eq!(cbor(r#"{"v":1,"id":300}"#), [0xa2, 0x61, b'v', 1, 0x62, b'i', b'd', 0x19, 1, 44]);
        let deep = format!("{}{}", "[".repeat(DEPTH + 1), "]".repeat(DEPTH + 1));
        assert_eq!(from_json(deep.as_bytes(), &mut Vec::new()), Err(NotJson));
        assert_eq!(from_json(b"[1] 2", &mut Vec::new()), Err(NotJson));
    }
}
