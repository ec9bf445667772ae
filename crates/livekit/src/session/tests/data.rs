//! Messages on data channels.

use std::sync::Arc;

use base::model::{DataKind, Notice, Permissions};
use base::{Identity, ParticipantId, PeerId};
use bytes::Bytes;
use contract::media::Event as MediaEvent;
use contract::session::{DataTarget, Event, Request};
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::data_packet::Value;
use livekit_protocol::data_stream::header::ContentHeader;
use prost::Message as _;

use super::support::*;

fn send(
    bench: &mut Bench,
    label: &str,
    payload: Vec<u8>,
) -> Option<(DataKind, DataTarget, proto::DataPacket)> {
    let effects = bench.event(Event::Media(MediaEvent::Data {
        peer: PeerId(0),
        label: label.into(),
        text: false,
        payload: Bytes::from(payload),
    }));
    effects.requests.into_iter().find_map(|request| match request {
        Request::Data { kind, target, payload, .. } => {
            Some((kind, target, proto::DataPacket::decode(payload.as_ref()).expect("a packet")))
        }
        _ => None,
    })
}

fn bench(permissions: Permissions) -> Bench {
    let mut bench = Bench::with(params(true, client(Sdk::Js, 17)), permissions, Vec::new());
    bench.begin();
    bench
}

fn chat(sequence: u32) -> proto::DataPacket {
    proto::DataPacket {
        sequence,
        participant_sid: "PA_somebody_else".to_owned(),
        participant_identity: "somebody else".to_owned(),
        destination_identities: vec!["person-2".to_owned()],
        value: Some(Value::User(proto::UserPacket {
            payload: b"hello".to_vec(),
            topic: Some("chat".to_owned()),
            ..Default::default()
        })),
        ..Default::default()
    }
}

#[test]
fn the_sender_is_stamped_and_the_sequence_kept() {
    let mut bench = bench(everything());
    let (kind, target, packet) = send(&mut bench, "_reliable", chat(41).encode_to_vec()).expect("passed on");
    assert_eq!(kind, DataKind::Reliable);
    assert_eq!(target.identities, [Identity::new("person-2")]);
    assert_eq!(packet.sequence, 41);
    assert_eq!(packet.participant_identity, "person-1");
    assert_eq!(packet.participant_sid, format!("PA_{}", ParticipantId(1)));
    assert!(matches!(packet.value, Some(Value::User(user)) if user.payload == b"hello"));
    let (kind, ..) = send(&mut bench, "_lossy", chat(0).encode_to_vec()).expect("passed on");
    assert_eq!(kind, DataKind::Lossy);
}

#[test]
fn a_reliable_message_that_is_sent_again_is_taken_once() {
    let mut bench = bench(everything());
    assert_eq!(bench.session.last_sequence(), 0);
    for (sequence, taken) in [(1, true), (1, false), (3, true), (2, false), (0, true), (0, true), (4, true)] {
        let sent = send(&mut bench, "_reliable", chat(sequence).encode_to_vec());
        assert_eq!(sent.is_some(), taken, "{sequence}");
    }
    assert!(send(&mut bench, "_lossy", chat(4).encode_to_vec()).is_some(), "lossy ones have no order");
    assert_eq!(bench.session.last_sequence(), 4);
}

#[test]
fn hidden_participants_send_as_nobody() {
    let mut bench = bench(Permissions { hidden: true, ..everything() });
    let (_, _, packet) = send(&mut bench, "_reliable", chat(1).encode_to_vec()).expect("passed on");
    assert_eq!((packet.participant_sid.as_str(), packet.participant_identity.as_str()), ("", ""));
}

#[test]
fn messages_without_the_permission_are_dropped_also_when_it_is_taken_later() {
    let mut bench = bench(everything());
    let permissions = Permissions { publish_data: false, ..everything() };
    bench.notice(Notice::Participants(vec![Arc::new(person(1, permissions))]));
    assert!(send(&mut bench, "_reliable", chat(1).encode_to_vec()).is_none());
}

#[test]
fn malformed_messages_and_data_tracks_are_dropped() {
    let mut bench = bench(everything());
    assert!(send(&mut bench, "_reliable", vec![0xFF; 40]).is_none());
    assert!(send(&mut bench, "_data_track", vec![0x10; 40]).is_none());
}

#[test]
fn a_channel_of_the_applications_own_reaches_the_others_as_a_user_message() {
    let mut bench = bench(everything());
    let (kind, target, packet) = send(&mut bench, "game", b"\x01\x02".to_vec()).expect("passed on");
    assert_eq!((kind, target), (DataKind::Reliable, DataTarget::default()));
    assert!(matches!(packet.value, Some(Value::User(user)) if user.payload == b"\x01\x02"));
}

#[test]
fn only_agents_say_what_somebody_has_said() {
    let spoken = |who: Permissions| {
        let mut bench = bench(who);
        let transcription = proto::Transcription {
            transcribed_participant_identity: "person-2".to_owned(),
            ..Default::default()
        };
        let packet =
            proto::DataPacket { value: Some(Value::Transcription(transcription)), ..Default::default() };
        send(&mut bench, "_reliable", packet.encode_to_vec()).is_some()
    };
    assert!(!spoken(everything()));
    assert!(spoken(Permissions { agent: true, ..everything() }));
}

fn agent() -> Permissions {
    Permissions { agent: true, ..everything() }
}

fn on_behalf(of: &str, value: Value) -> Vec<u8> {
    let participant_identity = of.to_owned();
    proto::DataPacket { participant_identity, value: Some(value), ..Default::default() }.encode_to_vec()
}

fn text_stream() -> Value {
    let content_header = Some(ContentHeader::TextHeader(proto::data_stream::TextHeader::default()));
    Value::StreamHeader(proto::data_stream::Header { content_header, ..Default::default() })
}

#[test]
fn agents_write_for_others_in_chat_and_streams_of_text_and_are_marked_as_programs() {
    let mut agents = bench(agent());
    let chat = Value::ChatMessage(proto::ChatMessage::default());
    let (_, _, packet) =
        send(&mut agents, "_reliable", on_behalf("person-2", chat.clone())).expect("passed on");
    assert_eq!(packet.participant_identity, "person-2");
    assert_eq!(packet.participant_sid, format!("PA_{}", ParticipantId(1)), "sequences are the sender's");
    assert!(matches!(packet.value, Some(Value::ChatMessage(message)) if message.generated));
    let (_, _, packet) =
        send(&mut agents, "_reliable", on_behalf("person-2", text_stream())).expect("passed on");
    assert_eq!(packet.participant_identity, "person-2");
    let Some(Value::StreamHeader(header)) = packet.value else { panic!("another kind") };
    assert!(matches!(header.content_header, Some(ContentHeader::TextHeader(text)) if text.generated));
    let user = Value::User(proto::UserPacket::default());
    let bytes = Value::StreamHeader(proto::data_stream::Header::default());
    for value in [user, bytes] {
        let (_, _, packet) = send(&mut agents, "_reliable", on_behalf("person-2", value)).expect("passed on");
        assert_eq!(packet.participant_identity, "person-1", "nothing else is said for others");
    }
    for value in [chat, text_stream()] {
        let mut people = bench(everything());
        let (_, _, packet) = send(&mut people, "_reliable", on_behalf("person-2", value)).expect("passed on");
        assert_eq!(packet.participant_identity, "person-1", "who is no agent speaks for itself");
    }
}

#[test]
fn every_kind_of_packet_is_passed_on_as_it_is() {
    let kinds = [
        Value::SipDtmf(proto::SipDtmf { code: 5, digit: "5".to_owned() }),
        Value::ChatMessage(proto::ChatMessage { id: "1".to_owned(), ..Default::default() }),
        Value::RpcRequest(proto::RpcRequest { id: "2".to_owned(), ..Default::default() }),
        Value::RpcAck(proto::RpcAck { request_id: "3".to_owned() }),
        Value::RpcResponse(proto::RpcResponse { request_id: "4".to_owned(), value: None }),
        text_stream(),
        Value::StreamChunk(proto::data_stream::Chunk { content: vec![7; 15_000], ..Default::default() }),
        Value::StreamTrailer(proto::data_stream::Trailer::default()),
        Value::EncryptedPacket(proto::EncryptedPacket { encrypted_value: vec![9; 30], ..Default::default() }),
    ];
    for value in kinds {
        let mut bench = bench(everything());
        let sent = proto::DataPacket { value: Some(value.clone()), sequence: 3, ..Default::default() };
        let (_, _, packet) = send(&mut bench, "_reliable", sent.encode_to_vec()).expect("passed on");
        assert_eq!((packet.value, packet.sequence), (Some(value), 3));
    }
    let mut bench = bench(everything());
    assert!(
        send(&mut bench, "_reliable", proto::DataPacket::default().encode_to_vec()).is_none(),
        "no contents"
    );
}

#[test]
#[allow(deprecated, reason = "that is what older clients read")]
fn the_channel_decides_the_kind_and_receivers_are_named_where_older_clients_look() {
    let mut bench = bench(everything());
    let mut lying = chat(0);
    lying.kind = proto::data_packet::Kind::Reliable as i32;
    let (_, _, packet) = send(&mut bench, "_lossy", lying.encode_to_vec()).expect("passed on");
    assert_eq!(packet.kind(), proto::data_packet::Kind::Lossy);
    let Some(Value::User(user)) = packet.value else { panic!("another kind") };
    assert_eq!(user.destination_identities, ["person-2"]);
    let user =
        proto::UserPacket { destination_identities: vec!["person-3".to_owned()], ..Default::default() };
    let old = proto::DataPacket { value: Some(Value::User(user)), ..Default::default() };
    let (_, target, packet) = send(&mut bench, "_reliable", old.encode_to_vec()).expect("passed on");
    assert_eq!(target.identities, [Identity::new("person-3")]);
    assert_eq!(packet.destination_identities, ["person-3"]);
}

#[test]
fn metrics_go_to_those_alone_who_may_have_them() {
    let mut bench = bench(everything());
    let packet = proto::DataPacket { value: Some(Value::Metrics(Default::default())), ..Default::default() };
    let (_, target, _) = send(&mut bench, "_lossy", packet.encode_to_vec()).expect("passed on");
    assert!(target.metrics);
    let (_, target, _) = send(&mut bench, "_lossy", chat(1).encode_to_vec()).expect("passed on");
    assert!(!target.metrics);
}

#[test]
fn who_may_not_send_data_answers_calls_of_the_server_and_nothing_else() {
    let mut bench = bench(Permissions { publish_data: false, ..everything() });
    let (id, call) = crate::rpc::call(7, "greet".to_owned(), String::new(), 1_000);
    let caller = proto::DataPacket::decode(call.as_slice()).expect("a packet").participant_identity;
    let outcome = proto::rpc_response::Value::Payload("hello".to_owned());
    let response = proto::RpcResponse { request_id: id.clone(), value: Some(outcome) };
    let mut answers = |to: String| {
        let packet = proto::DataPacket {
            destination_identities: vec![to],
            value: Some(Value::RpcResponse(response.clone())),
            ..Default::default()
        };
        let message = MediaEvent::Data {
            peer: PeerId(0),
            label: "_reliable".into(),
            text: false,
            payload: Bytes::from(packet.encode_to_vec()),
        };
        bench.event(Event::Media(message)).requests
    };
    let requests = answers(caller);
    assert!(
        matches!(&requests[..], [Request::RpcAnswer { id: told, outcome: Ok(result) }] if *told == id && result == "hello"),
        "{requests:?}"
    );
    assert!(answers("person-2".to_owned()).is_empty());
}
