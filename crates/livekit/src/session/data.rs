//! Messages on the participant's data channels.

use base::model::{DataKind, ParticipantKind};
use base::{Identity, ParticipantId};
use bytes::Bytes;
use contract::session::{DataTarget, Request};
use livekit_protocol as proto;
use livekit_protocol::data_packet::Value;
use livekit_protocol::data_stream::header::ContentHeader;
use prost::Message as _;

use crate::metrics::count;
use crate::{ids, rpc, translate};

use super::Session;

/// Most receivers that a message names.
const MAX_DESTINATIONS: usize = 1_000;

/// The channel of data tracks, whose packets the control plane passes on itself.
const DATA_TRACK_LABEL: &str = "_data_track";

impl Session {
    pub(super) fn data_message(&mut self, label: &str, payload: &[u8]) {
        match self.routed(label, payload) {
            Some(request) => {
                count(&self.metrics().data_messages);
                self.request(request);
            }
            None => count(&self.metrics().data_dropped),
        }
    }

    /// The last sequence of its reliable messages that was taken from this client; 0: none, or it does not number them.
    pub(crate) fn last_sequence(&self) -> u32 {
        self.last_sequence
    }

    /// `None`: malformed, repeated, not allowed, or not served.
    fn routed(&mut self, label: &str, payload: &[u8]) -> Option<Request> {
        if label == DATA_TRACK_LABEL {
            return None;
        }
        let (kind, mut packet) = match translate::data_kind(label) {
            Some(kind) => (kind, proto::DataPacket::decode(payload).ok()?),
            // A channel of the application's own: others get its bytes as a message without a topic.
            None => (DataKind::Reliable, wrap(payload)),
        };
        if kind == DataKind::Reliable && self.is_repeated(packet.sequence) {
            return None;
        }
        if let Some((id, outcome)) = rpc::answer(&mut packet) {
            // Also from who may not send data: the server has asked.
            return Some(Request::RpcAnswer { id, outcome });
        }
        if !self.me.permissions.publish_data || !self.may_say(&packet) {
            return None;
        }
        let sequence = if kind == DataKind::Reliable { packet.sequence } else { 0 };
        let target = address(&mut packet);
        self.stamp(&mut packet, kind);
        Some(Request::Data { kind, target, sequence, payload: Bytes::from(packet.encode_to_vec()) })
    }

    /// Who is no agent does not put words into somebody's mouth. A packet without contents, or of a kind that is not known
    /// here, is dropped: it could not be sent on whole.
    fn may_say(&self, packet: &proto::DataPacket) -> bool {
        match &packet.value {
            Some(Value::Transcription(_)) => self.is_agent(),
            value => value.is_some(),
        }
    }

    /// A client that resumes sends again what it does not know to have arrived. Clients that do not number say 0.
    fn is_repeated(&mut self, sequence: u32) -> bool {
        let is_repeated = sequence != 0 && sequence <= self.last_sequence;
        self.last_sequence = self.last_sequence.max(sequence);
        is_repeated
    }

    fn is_agent(&self) -> bool {
        self.me.permissions.agent || self.me.kind == ParticipantKind::Agent
    }

    /// The sender is who the token says, never who the message says, and the channel decides the kind. Hidden participants
    /// send as nobody.
    fn stamp(&self, packet: &mut proto::DataPacket, kind: DataKind) {
        let hidden = self.me.permissions.hidden;
        let (sid, identity) = match hidden {
            true => (String::new(), String::new()),
            false => (ids::participant(self.me.id), self.me.identity.to_string()),
        };
        if let Some(Value::User(user)) = &mut packet.value {
            #[allow(deprecated, reason = "older clients read the sender here")]
            {
                user.participant_sid.clone_from(&sid);
                user.participant_identity.clone_from(&identity);
            }
        }
        #[allow(deprecated, reason = "older clients read it")]
        {
            packet.kind = match kind {
                DataKind::Reliable => proto::data_packet::Kind::Reliable,
                DataKind::Lossy => proto::data_packet::Kind::Lossy,
            } as i32;
        }
        packet.participant_sid = sid;
        if !self.speaks_for_another(packet) {
            packet.participant_identity = identity;
        }
    }

    /// Agents write what others say, in chat and in streams of text. Such messages are marked as made by a program.
    fn speaks_for_another(&self, packet: &mut proto::DataPacket) -> bool {
        let names_another = !packet.participant_identity.is_empty()
            && packet.participant_identity != self.me.identity.as_str();
        if !self.is_agent() || !names_another {
            return false;
        }
        match &mut packet.value {
            Some(Value::ChatMessage(message)) => message.generated = true,
            Some(Value::StreamHeader(header)) => match &mut header.content_header {
                Some(ContentHeader::TextHeader(text)) => text.generated = true,
                _ => return false,
            },
            _ => return false,
        }
        true
    }
}

fn wrap(payload: &[u8]) -> proto::DataPacket {
    let user = proto::UserPacket { payload: payload.to_vec(), ..proto::UserPacket::default() };
    proto::DataPacket { value: Some(Value::User(user)), ..proto::DataPacket::default() }
}

/// Whom the packet is for. Older clients name receivers in the user's message, and look for them there: both places say the
/// same from here on.
fn address(packet: &mut proto::DataPacket) -> DataTarget {
    let mut participants: Vec<ParticipantId> = Vec::new();
    if let Some(Value::User(user)) = &mut packet.value {
        #[allow(deprecated, reason = "older clients name receivers here")]
        {
            match packet.destination_identities.is_empty() {
                true => packet.destination_identities.clone_from(&user.destination_identities),
                false => user.destination_identities.clone_from(&packet.destination_identities),
            }
            participants.extend(user.destination_sids.iter().filter_map(|sid| ids::parse_participant(sid)));
        }
    }
    participants.truncate(MAX_DESTINATIONS);
    let identities = packet.destination_identities.iter().take(MAX_DESTINATIONS);
    DataTarget {
        identities: identities.map(|identity| Identity::new(identity.as_str())).collect(),
        participants,
        metrics: matches!(packet.value, Some(Value::Metrics(_))),
    }
}
