//! The frames of the messaging protocol (`docs/messaging-protocol.md`), both directions, in JSON and in CBOR.
//!
//! There is one schema: CBOR is read into JSON and written from it ([`cbor`]), so that the encodings cannot drift apart. Reading is a total
//! function of the bytes: what is no frame is [`NotAFrame`], what is a frame with a command that is none is a [`BadCommand`] that can be
//! answered. Nothing here knows what a frame means.

mod answer;
pub mod body;
pub mod cbor;
mod command;
mod item;
mod push;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

pub use answer::*;
pub use body::Body;
pub use command::*;
pub use item::*;
pub use push::*;

/// The version of the format.
pub const VERSION: u32 = 1;

/// Levels of lists and maps in a frame: those of a body, and the ones around it.
pub const DEPTH: usize = body::BODY_DEPTH + 16;

/// The highest number of a request: numbers of JavaScript are exact up to there.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// How frames are written on a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Encoding {
    /// RFC 8259, in text messages.
    #[default]
    Json,
    /// RFC 8949, in binary messages.
    Cbor,
}

impl Encoding {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Json, Self::Cbor];

    /// The WebSocket subprotocol that chooses it.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "stoa.v1.json",
            Self::Cbor => "stoa.v1.cbor",
        }
    }

    /// The frame as JSON.
    fn to_json(self, bytes: &[u8]) -> Result<Cow<'_, [u8]>, NotAFrame> {
        match self {
            Self::Json => Ok(bytes.into()),
            Self::Cbor => {
                let mut json = Vec::with_capacity(bytes.len() + bytes.len() / 2);
                cbor::to_json(bytes, &mut json).map_err(|cbor::NotJson| NotAFrame::Malformed)?;
                Ok(json.into())
            }
        }
    }

    /// Appends the frame `value` to `out`.
    fn write(self, value: &impl Serialize, out: &mut Vec<u8>) {
        match self {
            Self::Json => json(value, out),
            Self::Cbor => {
                let mut text = Vec::new();
                json(value, &mut text);
                cbor::from_json(&text, out).expect("what is written as JSON can be read as JSON");
            }
        }
    }
}

fn json(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value)
        .expect("frames have text keys and finite numbers, which JSON can always write");
}

/// Why bytes are no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAFrame {
    /// No value of the encoding, or no map with the keys of a frame.
    Malformed,
    /// Of this version, which is not known here.
    Version(u32),
}

fn version(v: Option<u32>) -> Result<(), NotAFrame> {
    match v {
        None | Some(VERSION) => Ok(()),
        Some(other) => Err(NotAFrame::Version(other)),
    }
}

/// `null` is as good as nothing.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn is_false(value: &bool) -> bool {
    !value
}

fn yes() -> bool {
    true
}
