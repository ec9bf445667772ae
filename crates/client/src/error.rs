//! Why something did not work.

use std::fmt;
use std::io;

use crate::event::Ended;

/// Why a client could not connect.
#[derive(Debug)]
pub enum ConnectError {
    /// The address is not `ws://…` or `wss://…`, or too long with all that goes into it.
    Address(String),
    /// The network or a socket failed.
    Io(io::Error),
    /// TLS failed: most often the certificate is not among those trusted.
    Tls(String),
    /// The server refused with this HTTP status and text.
    Refused {
        /// HTTP status.
        status: u16,
        /// What the server said.
        text: String,
    },
    /// The server's answer is not one of this protocol.
    Protocol(String),
    /// Media could not be set up.
    Media(String),
    /// The session ended while it was being set up.
    Ended(Ended),
    /// It took too long.
    TimedOut,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(reason) => write!(f, "the address cannot be used: {reason}"),
            Self::Io(error) => write!(f, "the network failed: {error}"),
            Self::Tls(reason) => write!(f, "TLS failed: {reason}"),
            Self::Refused { status, text } => write!(f, "the server refused ({status}): {text}"),
            Self::Protocol(reason) => write!(f, "the server answered something unexpected: {reason}"),
            Self::Media(reason) => write!(f, "media could not be set up: {reason}"),
            Self::Ended(ended) => write!(f, "the session ended at once: {ended}"),
            Self::TimedOut => f.write_str("connecting took too long"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Why a track is not published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PublishError {
    /// The server refused, saying this.
    Refused(String),
    /// The session is over.
    Ended,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "the server refused the track: {reason}"),
            Self::Ended => f.write_str("the session is over"),
        }
    }
}

impl std::error::Error for PublishError {}
