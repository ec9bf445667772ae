//! Data channels.

use std::fmt;

/// Largest message that is sent or accepted, in bytes. Announce it in SDP (`a=max-message-size`).
pub const MAX_MESSAGE: usize = 65_536;

/// Why a message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelError {
    /// No channel with this label is open.
    NoSuchChannel,
    /// Larger than [`MAX_MESSAGE`].
    TooLarge,
    /// The channel's send buffer is full: the receiver is slower than the sender.
    Full,
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchChannel => "no channel with this label is open",
            Self::TooLarge => "the message is larger than 65,536 bytes",
            Self::Full => "the channel's send buffer is full",
        })
    }
}

impl std::error::Error for ChannelError {}
