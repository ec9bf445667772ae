//! Messages on the participant's data channels.

use base::model::{DataKind, ParticipantKind};
use base::{Identity, ParticipantId};
use bytes::Bytes;
use contract::session::{DataTarget, Request};
use livekit_protocol as proto;
use livekit_protocol::data_packet::Value;
use prost::Message as _;

use crate::metrics::count;
use crate::{ids, rpc, translate};

use super::Session;

/// Most receivers that a message names.
const MAX_DESTINATIONS: usize = 1_000;

/// The channel of data tracks, whose packets the control plane passes on itself.
const DATA_TRACK_LABEL: &str = "_data_track";

impl Session {
    pub(super) fn data_message(&mut self, label: &str, text: bool, payload: &[u8]) {
        match self.routed(label, text, payload) {
            Some(request) => {
                count(&self.metrics().data_messages);
                self.request(request);
            }
            None => count(&self.metrics().data_dropped),
        }
    }

    /// The last sequence of its reliable messages that was taken from this client; 0: none, or it does not number them.
    #[allow(dead_code, reason = "told to clients that resume")]
    pub(crate) fn last_sequence(&self) -> u32 {
        self.last_sequence
    }

    /// `None`: malformed, repeated, not allowed, or not served.
    fn routed(&mut self, label: &str, text: bool, payload: &[u8]) -> Option<Request> {
        if label == DATA_TRACK_LABEL {
            return None;
        }
        let (kind, mut packet) = match translate::data_kind(label) {
            Some(kind) if !text => (kind, proto::DataPacket::decode(payload).ok()?),
            Some(_) => return None,
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
        if !self.me.permissions.publish_data {
            return None;
        }
        if matches!(packet.value, Some(Value::Transcription(_))) && !self.is_agent() {
            // It would put words into somebody's mouth.
            return None;
        }
        let target = target(&packet);
        self.stamp(&mut packet);
        let sequence = if kind == DataKind::Reliable { packet.sequence } else { 0 };
        Some(Request::Data { kind, target, sequence, payload: Bytes::from(packet.encode_to_vec()) })
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

    /// The sender is who the token says, never who the message says. Hidden participants send as nobody.
    fn stamp(&self, packet: &mut proto::DataPacket) {
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
        packet.participant_sid = sid;
        packet.participant_identity = identity;
    }
}

fn wrap(payload: &[u8]) -> proto::DataPacket {
    let user = proto::UserPacket { payload: payload.to_vec(), ..proto::UserPacket::default() };
    proto::DataPacket { value: Some(Value::User(user)), ..proto::DataPacket::default() }
}

fn target(packet: &proto::DataPacket) -> DataTarget {
    let mut identities: Vec<&String> = packet.destination_identities.iter().collect();
    let mut participants: Vec<ParticipantId> = Vec::new();
    if let Some(Value::User(user)) = &packet.value {
        #[allow(deprecated, reason = "older clients name receivers here")]
        {
            identities.extend(&user.destination_identities);
            participants.extend(user.destination_sids.iter().filter_map(|sid| ids::parse_participant(sid)));
        }
    }
    identities.truncate(MAX_DESTINATIONS);
    participants.truncate(MAX_DESTINATIONS);
    DataTarget {
        identities: identities.into_iter().map(|identity| Identity::new(identity.as_str())).collect(),
        participants,
        metrics: matches!(packet.value, Some(Value::Metrics(_))),
    }
}
