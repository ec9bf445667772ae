//! Why a description is refused.

use std::fmt;

/// Why a description is refused. `Display` is a sentence for the client's developer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// Longer than [`crate::MAX_LEN`].
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Not SDP.
    Syntax(String),
    /// More than [`crate::MAX_SECTIONS`].
    TooManySections {
        /// How many.
        count: usize,
    },
    /// A section has no `a=mid`, or one of more than 16 characters.
    NoMid {
        /// Which section, from 0.
        index: usize,
    },
    /// Two sections have the same mid.
    DuplicateMid {
        /// The mid.
        mid: String,
    },
    /// No section says `a=ice-ufrag` and `a=ice-pwd` that keep to the grammar.
    NoIce,
    /// No section says `a=fingerprint:sha-256`.
    NoFingerprint,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => {
                write!(f, "the session description has {len} bytes; at most {} are read", crate::MAX_LEN)
            }
            Self::Syntax(reason) => write!(f, "the session description is not valid SDP: {reason}"),
            Self::TooManySections { count } => write!(
                f,
                "the session description has {count} media sections; at most {} are read",
                crate::MAX_SECTIONS
            ),
            Self::NoMid { index } => {
                write!(f, "media section {index} has no usable a=mid (1 to 16 printable characters)")
            }
            Self::DuplicateMid { mid } => write!(f, "the mid \"{mid}\" names two media sections"),
            Self::NoIce => {
                f.write_str("no media section has usable ICE credentials (a=ice-ufrag, a=ice-pwd)")
            }
            Self::NoFingerprint => f.write_str("no media section has a certificate fingerprint of SHA-256"),
        }
    }
}

impl std::error::Error for Error {}
