//! What an application says: any value of the JSON data model, which nobody between sender and receiver reads.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Levels of lists and maps in a body.
pub const BODY_DEPTH: usize = 32;

/// A value as compact JSON text: it is checked when it comes in, stored as it is, and goes out without being taken apart.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Body(Arc<str>);

impl Body {
    /// The text without spaces; `None`: it is no JSON, or too deep.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let body = Self::deserialize(&mut reader).ok()?;
        reader.end().ok().map(|()| body)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Body {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Body".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "description": "Any value of JSON, up to 32 KiB and 32 levels." })
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        <&RawValue>::deserialize(&mut serde_json::Deserializer::from_str(&self.0))
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut out = Vec::new();
        Copy { out: &mut out, depth: BODY_DEPTH }.deserialize(deserializer)?;
        Ok(Self(String::from_utf8(out).map_err(D::Error::custom)?.into()))
    }
}

/// Writes a value as JSON while it is read.
struct Copy<'a> {
    out: &'a mut Vec<u8>,
    /// Levels that may still be opened.
    depth: usize,
}

impl Copy<'_> {
    fn write<T: Serialize + ?Sized, E: serde::de::Error>(self, value: &T) -> Result<(), E> {
        serde_json::to_writer(self.out, value).map_err(E::custom)
    }

    fn inner<E: serde::de::Error>(depth: usize) -> Result<usize, E> {
        depth.checked_sub(1).ok_or_else(|| E::custom("a body has at most 32 levels"))
    }
}

impl<'de> DeserializeSeed<'de> for Copy<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Copy<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.write(&())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.write(&value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.write(&value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.write(&value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.write(&value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.write(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let depth = Self::inner(self.depth)?;
        self.out.push(b'[');
        let start = self.out.len();
        loop {
            let before = self.out.len();
            if before > start {
                self.out.push(b',');
            }
            if list.next_element_seed(Copy { out: &mut *self.out, depth })?.is_none() {
                self.out.truncate(before);
                self.out.push(b']');
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = Self::inner(self.depth)?;
        self.out.push(b'{');
        let start = self.out.len();
        loop {
            let before = self.out.len();
            if before > start {
                self.out.push(b',');
            }
            // Keys of JSON are texts: nothing else comes here.
            if map.next_key_seed(Copy { out: &mut *self.out, depth: 0 })?.is_none() {
                self.out.truncate(before);
                self.out.push(b'}');
                return Ok(());
            }
            self.out.push(b':');
            map.next_value_seed(Copy { out: &mut *self.out, depth })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Option<String> {
        Body::parse(json.as_bytes()).map(|body| body.as_str().to_owned())
    }

    #[test]
    fn a_body_is_kept_without_its_spaces_and_otherwise_as_it_was() {
        let text = " { \"b\" : [ 1 , -2, 1.50, \"\\u00e9\\n\" , {} , [ ] ],\n\"a\":null, \"\": true } ";
        assert_eq!(parse(text).as_deref(), Some("{\"b\":[1,-2,1.5,\"é\\n\",{},[]],\"a\":null,\"\":true}"));
        assert_eq!(parse("\"hi\"").as_deref(), Some("\"hi\""));
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_no_body() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(BODY_DEPTH)).is_some());
        for text in [
            &nested(BODY_DEPTH + 1),
            &nested(100_000),
            "",
            "[",
            "[1,]",
            "{} {}",
            "\"\\ud800\"",
            "1e999",
            "NaN",
        ] {
            assert_eq!(parse(text), None, "{}", &text[..text.len().min(40)]);
        }
    }

    #[test]
    fn a_body_goes_out_as_it_is() {
        let body = Body::parse(br#"{"text":"a \"b\"","n":18446744073709551615}"#).expect("it is JSON");
        assert_eq!(serde_json::to_string(&[&body]).ok(), Some(format!("[{}]", body.as_str())));
    }
}
