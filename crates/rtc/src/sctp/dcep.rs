//! Data Channel Establishment Protocol (RFC 8832).

const OPEN: u8 = 0x03;
const ACK: u8 = 0x02;
const UNORDERED: u8 = 0x80;
const OPEN_HEADER: usize = 12;
/// Longest label that is accepted. Labels name channels of an application; none is longer than a line.
pub(super) const MAX_LABEL: usize = 256;

/// How hard a channel tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reliability {
    Reliable,
    /// This many retransmissions at most.
    Retransmits(u32),
    /// For this many milliseconds.
    Lifetime(u32),
}

/// A DCEP message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message {
    Open { label: String, ordered: bool, reliability: Reliability },
    Ack,
}

impl Message {
    /// `None`: malformed, an unknown kind, or a label that is too long or no text.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            ACK => Some(Self::Ack),
            OPEN => Self::parse_open(bytes),
            _ => None,
        }
    }

    fn parse_open(bytes: &[u8]) -> Option<Self> {
        let (header, names) = bytes.split_first_chunk::<OPEN_HEADER>()?;
        let parameter = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let reliability = match header[1] & !UNORDERED {
            0 => Reliability::Reliable,
            1 => Reliability::Retransmits(parameter),
            2 => Reliability::Lifetime(parameter),
            _ => return None,
        };
        let label_len = usize::from(u16::from_be_bytes([header[8], header[9]]));
        let label = names.get(..label_len).filter(|label| label.len() <= MAX_LABEL)?;
        let label = std::str::from_utf8(label).ok()?.to_owned();
        Some(Self::Open { label, ordered: header[1] & UNORDERED == 0, reliability })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self::Open { label, ordered, reliability } = self else { return vec![ACK] };
        let (kind, parameter) = match reliability {
            Reliability::Reliable => (0, 0),
            Reliability::Retransmits(count) => (1, *count),
            Reliability::Lifetime(millis) => (2, *millis),
        };
        let kind = if *ordered { kind } else { kind | UNORDERED };
        let mut bytes = vec![OPEN, kind, 0, 0];
        bytes.extend_from_slice(&parameter.to_be_bytes());
        bytes.extend_from_slice(&(label.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(label.as_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_their_bytes() {
        for reliability in [Reliability::Reliable, Reliability::Retransmits(3), Reliability::Lifetime(500)] {
            for ordered in [true, false] {
                let open = Message::Open { label: "_lossy".into(), ordered, reliability };
                assert_eq!(Message::parse(&open.to_bytes()), Some(open));
            }
        }
        assert_eq!(Message::parse(&Message::Ack.to_bytes()), Some(Message::Ack));
    }

    #[test]
    fn what_is_malformed_is_none() {
        let open = Message::Open { label: "x".repeat(20), ordered: true, reliability: Reliability::Reliable };
        let bytes = open.to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(Message::parse(&bytes[..len]), None, "{len}");
        }
        let long =
            Message::Open { label: "x".repeat(257), ordered: true, reliability: Reliability::Reliable };
        assert_eq!(Message::parse(&long.to_bytes()), None);
        let mut unknown = bytes.clone();
        unknown[1] = 3;
        assert_eq!(Message::parse(&unknown), None);
        let mut no_text = bytes;
        no_text[12] = 0xff;
        assert_eq!(Message::parse(&no_text), None);
    }
}
