//! The JSON forms of requests and answers.
//!
//! Requests are read as the protobuf JSON mapping says (<https://protobuf.dev/programming-guides/json/>): both spellings of
//! names, numbers as numbers or text, `null` for what is not set; unknown fields are ignored. Answers are as Twirp's generated
//! servers write them: names of the protocol definition, and fields that have their default are there, too.

use livekit_protocol as proto;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// What the fields of a message are, by name, for those that the serializer leaves out.
pub(super) type Fields = [(&'static str, Field)];

/// A field. The serializer writes what is set; this is for what is not, and for what is inside.
#[derive(Clone, Copy)]
pub(super) enum Field {
    Text,
    Number,
    /// 64 bits: text in JSON.
    Long,
    Bool,
    /// Its first variant.
    Enum(&'static str),
    List,
    Map,
    Message(&'static Fields),
    Messages(&'static Fields),
    /// One of several: nothing where it is another one.
    Choice,
}

/// A message that answers a call.
pub(super) trait Answer: prost::Message + serde::Serialize {
    const FIELDS: &'static Fields;
}

/// Reads a request.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    T::deserialize(without_nulls(serde_json::from_slice(body)?))
}

/// Writes an answer.
pub(super) fn write<T: Answer>(message: &T) -> serde_json::Result<Value> {
    Ok(complete(T::FIELDS, serde_json::to_value(message)?))
}

/// `null` is the same as nothing there. The parser bounds the depth.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let set = object.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(set.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn complete(fields: &Fields, value: Value) -> Value {
    let Value::Object(mut object) = value else { return value };
    let named = |(name, field): &(&str, Field)| {
        let value = object.remove(&camel_case(name));
        let is_other = matches!(field, Field::Choice) && value.is_none();
        (!is_other).then(|| ((*name).to_owned(), field.complete(value)))
    };
    Value::Object(fields.iter().filter_map(named).collect::<Map<_, _>>())
}

impl Field {
    fn complete(self, value: Option<Value>) -> Value {
        match (self, value) {
            (Self::Message(fields), Some(value)) => complete(fields, value),
            (Self::Messages(fields), Some(Value::Array(values))) => {
                values.into_iter().map(|value| complete(fields, value)).collect()
            }
            (_, Some(value)) => value,
            (Self::Text, None) => "".into(),
            (Self::Number, None) => 0.into(),
            (Self::Long, None) => "0".into(),
            (Self::Bool, None) => false.into(),
            (Self::Enum(first), None) => first.into(),
            (Self::List | Self::Messages(_), None) => json!([]),
            (Self::Map, None) => json!({}),
            (Self::Message(_) | Self::Choice, None) => Value::Null,
        }
    }
}

/// As the serializer writes names.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (first, rest) = part.split_at(part.len().min(1));
        out.push_str(&first.to_ascii_uppercase());
        out.push_str(rest);
    }
    out
}

macro_rules! answers {
    ($($message:ident $fields:expr;)*) => {
        $(impl Answer for proto::$message {
            const FIELDS: &'static Fields = $fields;
        })*
    };
}

use Field::{Bool, Choice, Enum, List, Long, Message, Messages, Number, Text};

answers! {
    Room ROOM;
    ListRoomsResponse &[("rooms", Messages(ROOM))];
    DeleteRoomResponse &[];
    SendDataResponse &[];
    ParticipantInfo PARTICIPANT;
    ListParticipantsResponse &[("participants", Messages(PARTICIPANT))];
    RemoveParticipantResponse &[];
    MuteRoomTrackResponse &[("track", Message(TRACK))];
    UpdateSubscriptionsResponse &[];
    MoveParticipantResponse &[];
    ForwardParticipantResponse &[];
    PerformRpcResponse &[("payload", Text)];
    AgentDispatch DISPATCH;
    ListAgentDispatchResponse &[("agent_dispatches", Messages(DISPATCH))];
}

const ROOM: &Fields = &[
    ("sid", Text),
    ("name", Text),
    ("empty_timeout", Number),
    ("departure_timeout", Number),
    ("max_participants", Number),
    ("creation_time", Long),
    ("creation_time_ms", Long),
    ("turn_password", Text),
    ("enabled_codecs", Messages(&[("mime", Text), ("fmtp_line", Text)])),
    ("metadata", Text),
    ("num_participants", Number),
    ("num_publishers", Number),
    ("active_recording", Bool),
    ("version", Message(VERSION)),
];

const VERSION: &Fields = &[("unix_micro", Long), ("ticks", Number)];

const PARTICIPANT: &Fields = &[
    ("sid", Text),
    ("identity", Text),
    ("state", Enum("JOINING")),
    ("tracks", Messages(TRACK)),
    ("metadata", Text),
    ("joined_at", Long),
    ("joined_at_ms", Long),
    ("name", Text),
    ("version", Number),
    ("permission", Message(PERMISSION)),
    ("region", Text),
    ("is_publisher", Bool),
    ("kind", Enum("STANDARD")),
    ("attributes", Field::Map),
    ("disconnect_reason", Enum("UNKNOWN_REASON")),
    ("kind_details", List),
    ("data_tracks", Messages(DATA_TRACK)),
    ("client_protocol", Number),
    ("capabilities", List),
];

const DATA_TRACK: &Fields = &[
    ("pub_handle", Number),
    ("sid", Text),
    ("name", Text),
    ("encryption", Enum("NONE")),
    ("frame_encoding", Message(ENCODING)),
    ("schema", Message(&[("name", Text), ("encoding", Message(ENCODING))])),
];

const ENCODING: &Fields = &[("well_known", Choice), ("custom", Choice)];

const PERMISSION: &Fields = &[
    ("can_subscribe", Bool),
    ("can_publish", Bool),
    ("can_publish_data", Bool),
    ("can_publish_sources", List),
    ("hidden", Bool),
    ("recorder", Bool),
    ("can_update_metadata", Bool),
    ("agent", Bool),
    ("can_subscribe_metrics", Bool),
    ("can_manage_agent_session", Bool),
];

const TRACK: &Fields = &[
    ("sid", Text),
    ("type", Enum("AUDIO")),
    ("name", Text),
    ("muted", Bool),
    ("width", Number),
    ("height", Number),
    ("simulcast", Bool),
    ("disable_dtx", Bool),
    ("source", Enum("UNKNOWN")),
    ("layers", Messages(LAYER)),
    ("mime_type", Text),
    ("mid", Text),
    ("codecs", Messages(CODEC)),
    ("stereo", Bool),
    ("disable_red", Bool),
    ("encryption", Enum("NONE")),
    ("stream", Text),
    ("version", Message(VERSION)),
    ("audio_features", List),
    ("backup_codec_policy", Enum("PREFER_REGRESSION")),
    ("packet_trailer_features", List),
];

const CODEC: &Fields = &[
    ("mime_type", Text),
    ("mid", Text),
    ("cid", Text),
    ("layers", Messages(LAYER)),
    ("video_layer_mode", Enum("MODE_UNUSED")),
    ("sdp_cid", Text),
];

const LAYER: &Fields = &[
    ("quality", Enum("LOW")),
    ("width", Number),
    ("height", Number),
    ("bitrate", Number),
    ("ssrc", Number),
    ("spatial_layer", Number),
    ("rid", Text),
    ("repair_ssrc", Number),
];

const DISPATCH: &Fields = &[
    ("id", Text),
    ("agent_name", Text),
    ("room", Text),
    ("metadata", Text),
    ("state", Message(&[("jobs", Messages(JOB)), ("created_at", Long), ("deleted_at", Long)])),
    ("restart_policy", Enum("JRP_ON_FAILURE")),
    ("deployment", Text),
    ("attributes", Field::Map),
];

const JOB: &Fields = &[
    ("id", Text),
    ("dispatch_id", Text),
    ("type", Enum("JT_ROOM")),
    ("room", Message(ROOM)),
    ("participant", Message(PARTICIPANT)),
    ("namespace", Text),
    ("metadata", Text),
    ("agent_name", Text),
    ("state", Message(JOB_STATE)),
    ("enable_recording", Bool),
    ("deployment", Text),
    ("attributes", Field::Map),
    ("enable_redaction", Bool),
];

const JOB_STATE: &Fields = &[
    ("status", Enum("JS_PENDING")),
    ("error", Text),
    ("started_at", Long),
    ("ended_at", Long),
    ("updated_at", Long),
    ("participant_identity", Text),
    ("worker_id", Text),
    ("agent_id", Text),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(value: &Value) -> Value {
        let is_default = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => {
                ["", "0", "JOINING", "STANDARD", "UNKNOWN_REASON", "AUDIO", "UNKNOWN", "NONE"]
                    .into_iter()
                    .chain(["PREFER_REGRESSION", "MODE_UNUSED", "LOW", "JRP_ON_FAILURE", "JT_ROOM"])
                    .any(|default| default == text)
            }
            Value::Number(number) => number.as_u64() == Some(0),
            Value::Array(values) => values.is_empty(),
            Value::Object(object) => object.is_empty(),
            Value::Bool(true) => false,
        };
        match value {
            Value::Object(object) => object
                .iter()
                .filter(|(_, value)| !is_default(value))
                .map(|(key, value)| (key.clone(), strip(value)))
                .collect::<Map<_, _>>()
                .into(),
            Value::Array(values) => values.iter().map(strip).collect(),
            other => other.clone(),
        }
    }

    /// What is written reads back as the same message, whose serializer knows all names and defaults.
    fn assert_reads_back<T: Answer + DeserializeOwned + PartialEq>(message: &T) {
        let written = write(message).expect("it is JSON");
        let back: T = serde_json::from_value(written.clone()).expect("it reads");
        assert!(back == *message, "{written}");
        // Nothing of it is a name that the protocol does not have: those would be ignored silently.
        let again = write(&back).expect("it is JSON");
        assert_eq!(strip(&again), strip(&written));
    }

    /// Every field is set, by name: a field that the protocol adds stops this from being compiled, and one that is
    /// missing in the tables does not read back.
    #[allow(deprecated, reason = "all fields")]
    fn layer() -> proto::VideoLayer {
        let (quality, width, height, bitrate, ssrc) = (2, 1, 2, 3, 4);
        proto::VideoLayer {
            quality,
            width,
            height,
            bitrate,
            ssrc,
            spatial_layer: 5,
            rid: "h".to_owned(),
            repair_ssrc: 6,
        }
    }

    #[allow(deprecated, reason = "all fields")]
    fn track() -> proto::TrackInfo {
        let text = |text: &str| text.to_owned();
        let codec = proto::SimulcastCodecInfo {
            mime_type: text("a"),
            mid: text("b"),
            cid: text("c"),
            layers: vec![layer()],
            video_layer_mode: 1,
            sdp_cid: text("d"),
        };
        proto::TrackInfo {
            sid: text("a"),
            r#type: 1,
            name: text("b"),
            muted: true,
            width: 1,
            height: 2,
            simulcast: true,
            disable_dtx: true,
            source: 1,
            layers: vec![layer()],
            mime_type: text("c"),
            mid: text("d"),
            codecs: vec![codec],
            stereo: true,
            disable_red: true,
            encryption: 1,
            stream: text("e"),
            version: Some(proto::TimedVersion { unix_micro: 7, ticks: 8 }),
            audio_features: vec![1],
            backup_codec_policy: 1,
            packet_trailer_features: vec![1],
        }
    }

    fn data_track() -> proto::DataTrackInfo {
        use livekit_protocol::data_track_frame_encoding::Value as Frames;
        use livekit_protocol::data_track_schema_encoding::Value as Schemas;
        let custom = Schemas::Custom("own".to_owned());
        let encoding = Some(proto::DataTrackSchemaEncoding { value: Some(custom) });
        proto::DataTrackInfo {
            pub_handle: 7,
            sid: "DTR_a".to_owned(),
            name: "a".to_owned(),
            encryption: 1,
            frame_encoding: Some(proto::DataTrackFrameEncoding { value: Some(Frames::WellKnown(1)) }),
            schema: Some(proto::DataTrackSchemaId { name: "s".to_owned(), encoding }),
        }
    }

    #[test]
    fn a_data_track_has_the_names_of_the_protocol_inside_too() {
        let participant = proto::ParticipantInfo {
            data_tracks: vec![data_track(), proto::DataTrackInfo::default()],
            ..Default::default()
        };
        let written = write(&participant).expect("it is JSON");
        let [first, second] = [0, 1].map(|at| &written["data_tracks"][at]);
        assert_eq!((&first["pub_handle"], &second["pub_handle"]), (&json!(7), &json!(0)));
        assert_eq!(first["frame_encoding"], json!({"well_known": "WELL_KNOWN_FRAME_ENCODING_ROS1"}));
        assert_eq!(first["schema"], json!({"name": "s", "encoding": {"custom": "own"}}));
        assert_eq!(second["schema"], Value::Null);
    }

    #[allow(deprecated, reason = "all fields")]
    fn participant() -> proto::ParticipantInfo {
        let text = |text: &str| text.to_owned();
        let permission = proto::ParticipantPermission {
            can_subscribe: true,
            can_publish: true,
            can_publish_data: true,
            can_publish_sources: vec![1, 2],
            hidden: true,
            recorder: true,
            can_update_metadata: true,
            agent: true,
            can_subscribe_metrics: true,
            can_manage_agent_session: true,
        };
        proto::ParticipantInfo {
            sid: text("a"),
            identity: text("b"),
            state: 2,
            tracks: vec![track(), proto::TrackInfo::default()],
            metadata: text("c"),
            joined_at: 1,
            joined_at_ms: i64::MAX,
            name: text("d"),
            version: 3,
            permission: Some(permission),
            region: text("e"),
            is_publisher: true,
            kind: 4,
            attributes: [(text("someKey"), String::new())].into(),
            disconnect_reason: 1,
            kind_details: vec![1],
            data_tracks: vec![data_track(), proto::DataTrackInfo::default()],
            client_protocol: 4,
            capabilities: vec![1],
        }
    }

    #[allow(deprecated, reason = "all fields")]
    fn dispatch(room: proto::Room) -> proto::AgentDispatch {
        let text = |text: &str| text.to_owned();
        let attributes = || [(text("someKey"), text("v"))].into();
        let state = proto::JobState {
            status: 1,
            error: text("a"),
            started_at: 1,
            ended_at: 2,
            updated_at: 3,
            participant_identity: text("b"),
            worker_id: text("c"),
            agent_id: text("d"),
        };
        let job = proto::Job {
            id: text("a"),
            dispatch_id: text("b"),
            r#type: 2,
            room: Some(room),
            participant: Some(participant()),
            namespace: text("c"),
            metadata: text("d"),
            agent_name: text("e"),
            state: Some(state),
            enable_recording: true,
            deployment: text("f"),
            attributes: attributes(),
            enable_redaction: true,
        };
        let state = proto::AgentDispatchState { jobs: vec![job], created_at: 1, deleted_at: 2 };
        proto::AgentDispatch {
            id: text("a"),
            agent_name: text("b"),
            room: text("c"),
            metadata: text("d"),
            state: Some(state),
            restart_policy: 1,
            deployment: text("e"),
            attributes: attributes(),
        }
    }

    #[test]
    fn every_field_of_an_answer_is_written_and_reads_back() {
        assert_reads_back(&participant());
        assert_reads_back(&proto::ListParticipantsResponse { participants: vec![participant()] });
        assert_reads_back(&proto::MuteRoomTrackResponse { track: Some(track()) });
        let room = proto::Room {
            sid: "a".to_owned(),
            name: "b".to_owned(),
            empty_timeout: 1,
            departure_timeout: 2,
            max_participants: 3,
            creation_time: 4,
            creation_time_ms: 5,
            turn_password: "c".to_owned(),
            enabled_codecs: vec![proto::Codec { mime: "d".to_owned(), fmtp_line: "e".to_owned() }],
            metadata: "f".to_owned(),
            num_participants: 6,
            num_publishers: 7,
            active_recording: true,
            version: Some(proto::TimedVersion { unix_micro: 7, ticks: 8 }),
        };
        assert_reads_back(&room);
        assert_reads_back(&proto::PerformRpcResponse { payload: "x".to_owned() });
        assert_reads_back(&proto::ListAgentDispatchResponse { agent_dispatches: vec![dispatch(room)] });
    }

    #[test]
    fn fields_that_are_not_set_are_written_with_their_defaults_and_read_back_as_not_set() {
        let written = write(&proto::ParticipantInfo::default()).expect("it is JSON");
        assert_eq!(written.as_object().map(Map::len), Some(PARTICIPANT.len()));
        assert_eq!((&written["state"], &written["joined_at"]), (&json!("JOINING"), &json!("0")));
        assert_eq!((&written["permission"], &written["attributes"]), (&Value::Null, &json!({})));
        let tracks = vec![proto::TrackInfo { codecs: vec![Default::default()], ..Default::default() }];
        let inside = proto::ParticipantInfo { tracks, ..Default::default() };
        let written = write(&inside).expect("it is JSON");
        assert_eq!(written["tracks"][0]["muted"], json!(false), "inside, too");
        assert_eq!(written["tracks"][0]["codecs"][0]["video_layer_mode"], json!("MODE_UNUSED"));
        let back: proto::ParticipantInfo = read(written.to_string().as_bytes()).expect("it reads");
        assert_eq!(back, inside);
    }

    #[test]
    fn requests_are_read_in_both_spellings_with_nulls_and_unknown_fields() {
        for body in [
            r#"{"name":"a","emptyTimeout":7,"maxParticipants":"9","metadata":null,"egress":null,"later":{"x":1}}"#,
            r#"{"name":"a","empty_timeout":"7","max_participants":9,"agents":null}"#,
        ] {
            let request: proto::CreateRoomRequest = read(body.as_bytes()).expect(body);
            assert_eq!((request.empty_timeout, request.max_participants), (7, 9), "{body}");
        }
        assert!(read::<proto::CreateRoomRequest>(br#"{"emptyTimeout":"soon"}"#).is_err());
        assert!(read::<proto::CreateRoomRequest>(&b"[".repeat(100_000)).is_err(), "deep, and no overflow");
    }
}
