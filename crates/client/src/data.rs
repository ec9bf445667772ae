//! User messages on data channels.

use std::collections::VecDeque;

use base::model::DataKind;
use bytes::Bytes;
use livekit_protocol as proto;
use livekit_protocol::data_packet::Value;
use prost::Message as _;

use crate::event::Message;

/// Bytes and number of reliable messages that are kept for a resume: some seconds of them.
const MAX_SENT_BYTES: usize = 512 * 1024;
const MAX_SENT: usize = 1_024;

/// The channel of a kind.
pub(crate) fn label(kind: DataKind) -> &'static str {
    match kind {
        DataKind::Reliable => "_reliable",
        DataKind::Lossy => "_lossy",
    }
}

/// A message to send.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub kind: DataKind,
    pub topic: String,
    /// Identities; empty = everybody else.
    pub to: Vec<String>,
    pub payload: Bytes,
}

/// `sequence`: grows by one with every reliable message, since receivers drop what they have seen; 0 on the lossy channel.
pub(crate) fn encode(message: Outgoing, sequence: u32) -> Vec<u8> {
    let user = proto::UserPacket {
        payload: message.payload.to_vec(),
        topic: (!message.topic.is_empty()).then_some(message.topic),
        ..proto::UserPacket::default()
    };
    let packet = proto::DataPacket {
        destination_identities: message.to,
        sequence,
        value: Some(Value::User(user)),
        ..proto::DataPacket::default()
    };
    packet.encode_to_vec()
}

/// A message that came, and what tells repetitions apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Incoming {
    pub message: Message,
    /// The session that sent it; empty for the server.
    pub sender: String,
    /// Grows with every reliable message of a session; 0 = not counted.
    pub sequence: u32,
}

/// `None`: not on a channel of ours, malformed, or no user message.
pub(crate) fn decode(label: &str, payload: &[u8]) -> Option<Incoming> {
    let kind = [DataKind::Reliable, DataKind::Lossy].into_iter().find(|kind| self::label(*kind) == label)?;
    let packet = proto::DataPacket::decode(payload).ok()?;
    let Some(Value::User(user)) = packet.value else { return None };
    let message = Message {
        from: packet.participant_identity,
        kind,
        topic: user.topic.unwrap_or_default(),
        payload: user.payload.into(),
    };
    let sequence = if kind == DataKind::Reliable { packet.sequence } else { 0 };
    Some(Incoming { message, sender: packet.participant_sid, sequence })
}

/// Reliable messages that were sent, for a session that is resumed: the latest, as far as they fit.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    messages: VecDeque<(u32, Bytes)>,
    bytes: usize,
}

impl Sent {
    pub fn push(&mut self, sequence: u32, encoded: Bytes) {
        self.bytes += encoded.len();
        self.messages.push_back((sequence, encoded));
        while self.bytes > MAX_SENT_BYTES || self.messages.len() > MAX_SENT {
            let Some((_, oldest)) = self.messages.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    /// Those that came after the one with this number, which are what the server has not got.
    pub fn after(&self, sequence: u32) -> Vec<Bytes> {
        let missing = self.messages.iter().filter(|(sent, _)| *sent > sequence);
        missing.map(|(_, encoded)| encoded.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back_and_others_are_none() {
        let message = Outgoing {
            kind: DataKind::Lossy,
            topic: "chat".to_owned(),
            to: vec!["bob".to_owned()],
            payload: Bytes::from_static(b"hello"),
        };
        let bytes = encode(message, 7);
        let read = decode("_lossy", &bytes).expect("a message");
        assert_eq!(read.sequence, 0, "lossy messages are not counted");
        let read = read.message;
        assert_eq!(
            (read.topic.as_str(), read.payload.as_ref(), read.kind),
            ("chat", &b"hello"[..], DataKind::Lossy)
        );
        assert_eq!(decode("_other", &bytes), None);
        assert_eq!(decode("_reliable", &[0xff; 9]), None);
    }

    #[test]
    fn what_the_server_has_not_got_is_sent_again_as_far_as_it_is_kept() {
        let mut sent = Sent::default();
        for sequence in 1..=5 {
            sent.push(sequence, Bytes::from(vec![sequence as u8; 10]));
        }
        assert_eq!(sent.after(3).iter().map(|message| message[0]).collect::<Vec<_>>(), [4, 5]);
        sent.push(6, Bytes::from(vec![6; MAX_SENT_BYTES]));
        assert_eq!(sent.after(0).len(), 1, "the latest alone fits");
        sent.push(7, Bytes::from(vec![7; MAX_SENT_BYTES + 1]));
        assert!(sent.after(0).is_empty());
    }
}
