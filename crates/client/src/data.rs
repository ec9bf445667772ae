//! User messages on data channels.

use base::model::DataKind;
use bytes::Bytes;
use livekit_protocol as proto;
use livekit_protocol::data_packet::Value;
use prost::Message as _;

use crate::event::Message;

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

/// `None`: not on a channel of ours, malformed, or no user message.
pub(crate) fn decode(label: &str, payload: &[u8]) -> Option<Message> {
    let kind = [DataKind::Reliable, DataKind::Lossy].into_iter().find(|kind| self::label(*kind) == label)?;
    let packet = proto::DataPacket::decode(payload).ok()?;
    let Some(Value::User(user)) = packet.value else { return None };
    Some(Message {
        from: packet.participant_identity,
        kind,
        topic: user.topic.unwrap_or_default(),
        payload: user.payload.into(),
    })
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
        assert_eq!(
            (read.topic.as_str(), read.payload.as_ref(), read.kind),
            ("chat", &b"hello"[..], DataKind::Lossy)
        );
        assert_eq!(decode("_other", &bytes), None);
        assert_eq!(decode("_reliable", &[0xff; 9]), None);
    }
}
