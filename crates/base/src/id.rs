//! Newtyped identifiers.
//!
//! Numeric ids are 64 random bits handed in by the shell that creates the thing (pure crates have no randomness).
//! Their text form is 13 characters of Crockford's base 32, which adapters prefix as their protocol wants (`TR_…`); 12 for
//! participants, whose ids have 60 bits.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TEXT_LEN: usize = 13;
/// LiveKit's client for microcontrollers keeps 15 characters of a participant's id, three of which are the prefix, and drops every
/// message with a longer one.
const PARTICIPANT_TEXT_LEN: usize = 12;

/// The text is not that many characters of the id alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id is 13 characters of Crockford's base 32, a participant's 12")
    }
}

impl std::error::Error for ParseIdError {}

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident) => {
        numeric_id!($(#[$doc])* $name, TEXT_LEN);
    };
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_id::<{ $len }>(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_id(text, $len).map(Self)
            }
        }
    };
}

numeric_id!(
    /// One life of a room: a name that ends and is used again gets a new id.
    RoomId
);
numeric_id!(
    /// One session of a participant: a person who joins again gets a new id under the same [`Identity`].
    ParticipantId,
    PARTICIPANT_TEXT_LEN
);
numeric_id!(
    /// A published track.
    TrackId
);
numeric_id!(
    /// One WebRTC connection of a participant. Unique in the process.
    PeerId
);
numeric_id!(
    /// A running server process.
    NodeId
);
numeric_id!(
    /// A program that runs agents, while it is connected.
    AgentWorkerId
);
numeric_id!(
    /// The order to have an agent in a room.
    DispatchId
);
numeric_id!(
    /// What one agent does in one room. Workers name it to go on with it, so it must not be guessable.
    JobId
);

/// Set in the id of a track's second encoding and never in that of a track.
const BACKUP: u64 = 1 << 63;

impl ParticipantId {
    /// The id of a new session. `random`: 64 random bits, of which 60 are used.
    pub fn fresh(random: u64) -> Self {
        Self(random >> 4)
    }
}

impl TrackId {
    /// The id of a new track. `random`: 64 random bits.
    pub fn fresh(random: u64) -> Self {
        Self(random & !BACKUP)
    }

    /// Under which the second encoding of this track is forwarded. Media of the two has nothing in common, so that it is carried
    /// like that of another track, of which only the control plane knows whose it is.
    #[must_use]
    pub fn backup(self) -> Self {
        Self(self.0 | BACKUP)
    }

    /// The track of which this is an encoding: itself, or the one that it is the [`TrackId::backup`] of.
    #[must_use]
    pub fn primary(self) -> Self {
        Self(self.0 & !BACKUP)
    }

    /// Is it the id of a second encoding?
    pub fn is_backup(self) -> bool {
        self.0 & BACKUP != 0
    }
}

fn write_id<const LEN: usize>(value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0u8; LEN];
    for (i, out) in text.iter_mut().enumerate() {
        let shift = 5 * (LEN - 1 - i);
        *out = ALPHABET[((value >> shift) & 31) as usize];
    }
    f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

fn parse_id(text: &str, len: usize) -> Result<u64, ParseIdError> {
    if text.len() != len {
        return Err(ParseIdError);
    }
    let mut value: u64 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|a| *a == byte).ok_or(ParseIdError)? as u64;
        // The first character carries 4 bits only: 13 x 5 = 65.
        value = value.checked_mul(32).ok_or(ParseIdError)? | digit;
    }
    Ok(value)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; length limits are the control plane's.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// The name under which people find a room.
    RoomName
);
text_id!(
    /// Who a participant is to the application; unique in a room at any time.
    Identity
);
text_id!(
    /// A person in the messaging plane.
    UserId
);
text_id!(
    /// One installation of a messaging client; a browser tab is one.
    DeviceId
);
text_id!(
    /// An ordered conversation.
    ChannelId
);
text_id!(
    /// One call, from its invitation to its end.
    CallId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text_form() {
        for value in [0, 1, 31, 32, u64::MAX, u64::MAX / 3] {
            let id = TrackId(value);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn the_client_for_microcontrollers_has_room_for_a_participants_id() {
        for random in [0, 15, 16, u64::MAX, u64::MAX / 3] {
            let id = ParticipantId::fresh(random);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert!(format!("PA_{id}").len() <= 15);
        }
        assert_eq!("0000000000001".parse::<ParticipantId>(), Err(ParseIdError));
    }

    #[test]
    fn the_second_encoding_of_a_track_leads_back_to_it() {
        let track = TrackId::fresh(u64::MAX);
        assert!(!track.is_backup() && track.backup().is_backup());
        assert_eq!((track.backup().primary(), track.primary()), (track, track));
        assert_ne!(track.backup(), track);
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", "0", "000000000000l", "G000000000000", "0000000000000000"] {
            assert_eq!(text.parse::<PeerId>(), Err(ParseIdError), "{text}");
        }
    }
}
