//! What is kept of an event: one line of JSON about it, then its body, byte for byte as it is sent.

use base::UnixMillis;
use bytes::Bytes;
use contract::events::Written;
use serde::{Deserialize, Serialize};

/// Version of the form.
const VERSION: u8 = 1;

/// An event as it is kept and sent.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub head: Head,
    pub body: Bytes,
}

/// What is known of an event without reading its body.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    version: u8,
    pub id: String,
    pub event: String,
    pub room: String,
    /// When it happened, in milliseconds since 1970.
    pub at: u64,
    /// It is no event yet: what is to be told if the process dies before it can tell better. Things that are part of others end
    /// before them: the lowest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub will: Option<u8>,
    /// Of a dead letter: what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<Death>,
}

/// Why an event became a dead letter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Death {
    /// In milliseconds since 1970.
    pub at: u64,
    /// Attempts since the server had started.
    pub attempts: u32,
    /// What the last one came to.
    pub error: String,
}

impl Entry {
    pub fn new(room: &str, at: UnixMillis, written: Written) -> Self {
        let Written { id, event, body } = written;
        let head = Head {
            version: VERSION,
            id,
            event: event.to_owned(),
            room: room.to_owned(),
            at: at.0,
            will: None,
            death: None,
        };
        Self { head, body: body.into() }
    }

    /// A will as the event that it is when it is carried out.
    pub fn executed(&self, at: UnixMillis, body: Bytes) -> Self {
        Self { head: Head { at: at.0, will: None, ..self.head.clone() }, body }
    }

    pub fn encode(&self) -> Bytes {
        // A head has text and numbers only, which JSON can always write.
        let mut bytes = serde_json::to_vec(&self.head).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }

    /// `None`: another version, or nothing of ours.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
        (head.version == VERSION).then(|| Self { head, body: bytes.slice(end + 1..) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_being_kept_and_others_are_not_taken_for_one() {
        let written = Written { id: "EV_1".to_owned(), event: "room_started", body: b"{\n}\n".to_vec() };
        let entry = Entry::new("a\nroom", UnixMillis(7), written);
        assert_eq!(Entry::decode(&entry.encode()), Some(entry.clone()));
        let later = String::from_utf8(entry.encode().to_vec())
            .expect("text")
            .replace("\"version\":1", "\"version\":2");
        assert_eq!(Entry::decode(&later.into()), None);
        assert_eq!(Entry::decode(&Bytes::from_static(b"nonsense")), None);
    }
}
