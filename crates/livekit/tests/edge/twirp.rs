//! The server API.

use base::model::{DataKind, TrackSource};
use contract::session::{AdminRequest, RoomOptions};
use livekit_protocol as proto;
use livekit_protocol::data_packet::Value;
use prost::Message as _;

use super::support::{Server, mint};

const METHODS: &[&str] = &[
    "CreateRoom",
    "ListRooms",
    "DeleteRoom",
    "ListParticipants",
    "GetParticipant",
    "RemoveParticipant",
    "MutePublishedTrack",
    "UpdateParticipant",
    "UpdateSubscriptions",
    "SendData",
    "UpdateRoomMetadata",
    "PerformRpc",
    "MoveParticipant",
    "ForwardParticipant",
];
/// Those for which it does not matter for which room the token is.
const OF_THE_SERVER: &[&str] = &["CreateRoom", "ListRooms", "DeleteRoom"];

fn admin_token() -> String {
    let video = auth::VideoGrants {
        room_list: true,
        room_create: true,
        room_admin: true,
        room: "lobby".to_owned(),
        ..Default::default()
    };
    mint(auth::Claims { video: Some(video), ..Default::default() })
}

async fn call(server: &Server, token: &str, method: &str, kind: &str, body: &[u8]) -> (u16, String, String) {
    let head = format!(
        "POST /twirp/livekit.RoomService/{method} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}"
    );
    server.http(&head, body).await
}

async fn json(server: &Server, method: &str, body: &str) -> (u16, serde_json::Value) {
    let (status, _, text) = call(server, &admin_token(), method, "application/json", body.as_bytes()).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
}

#[tokio::test]
async fn rooms_are_listed_in_both_formats() {
    let server = Server::start().await;
    let (status, value) = json(&server, "ListRooms", "{}").await;
    assert_eq!(status, 200);
    assert_eq!(value["rooms"][0]["name"], "lobby");
    assert_eq!(value["rooms"][0]["num_participants"], 2, "names of the protocol definition");
    let (_, value) = json(&server, "ListRooms", r#"{"names":["nowhere"],"later":true}"#).await;
    assert_eq!(value, serde_json::json!({ "rooms": [] }));
    let body = proto::ListRoomsRequest { names: vec!["lobby".to_owned()] }.encode_to_vec();
    let (status, head, _) = call(&server, &admin_token(), "ListRooms", "application/protobuf", &body).await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/protobuf"));
}

#[tokio::test]
async fn keys_of_attributes_stay_as_the_application_wrote_them() {
    let server = Server::start().await;
    let (_, value) = json(&server, "ListParticipants", r#"{"room":"lobby"}"#).await;
    assert_eq!(value["participants"][0]["attributes"]["someKey"], "aValue");
    assert_eq!(value["participants"][0]["joined_at"], "1760000000");
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let server = Server::start().await;
    assert_eq!(json(&server, "DeleteRoom", r#"{"room":"lobby"}"#).await, (200, serde_json::json!({})));
    let (status, value) = json(&server, "DeleteRoom", r#"{"room":"nowhere"}"#).await;
    assert_eq!((status, &value["code"]), (404, &"not_found".into()));
    let (status, _) = json(&server, "RemoveParticipant", r#"{"room":"lobby","identity":"ada"}"#).await;
    assert_eq!(status, 200);
    let (status, value) = json(&server, "RemoveParticipant", r#"{"room":"lobby","identity":"bob"}"#).await;
    assert_eq!((status, &value["code"]), (404, &"not_found".into()));
}

#[tokio::test]
async fn a_missing_grant_is_unauthenticated_and_a_bad_token_does_not_reach_the_api() {
    let server = Server::start().await;
    let weak = mint(auth::Claims::join("ada", "lobby"));
    for method in METHODS {
        let (status, _, text) =
            call(&server, &weak, method, "application/json", br#"{"room":"lobby"}"#).await;
        assert_eq!(status, 401, "{method}");
        assert!(text.contains(r#""code":"unauthenticated""#), "{text}");
    }
    let (status, _, text) = call(&server, "garbage", "ListRooms", "application/json", b"{}").await;
    assert_eq!(status, 401);
    assert!(!text.starts_with('{'), "plain text: {text}");
    for method in METHODS.iter().filter(|method| !OF_THE_SERVER.contains(method)) {
        let (status, value) = json(&server, method, r#"{"room":"another"}"#).await;
        assert_eq!((status, &value["code"]), (401, &"unauthenticated".into()), "{method}");
    }
    assert!(server.asked.is_empty(), "nothing of it was asked of the rooms");
}

#[tokio::test]
async fn each_grant_opens_its_own_methods_and_no_others() {
    let server = Server::start().await;
    let grants = |change: fn(&mut auth::VideoGrants)| {
        let mut video = auth::VideoGrants { room: "lobby".to_owned(), ..Default::default() };
        change(&mut video);
        mint(auth::Claims { video: Some(video), ..Default::default() })
    };
    let tokens = [
        (grants(|video| video.room_create = true), &["CreateRoom", "DeleteRoom"][..]),
        (grants(|video| video.room_list = true), &["ListRooms"][..]),
        (
            grants(|video| video.room_admin = true),
            &METHODS.iter().filter(|method| !OF_THE_SERVER.contains(method)).copied().collect::<Vec<_>>(),
        ),
    ];
    for (token, opened) in tokens {
        for method in METHODS {
            let body = br#"{"room":"lobby","name":"lobby","identity":"ada"}"#;
            let (status, _, text) = call(&server, &token, method, "application/json", body).await;
            assert_eq!(status != 401, opened.contains(method), "{method}: {status} {text}");
        }
    }
}

#[tokio::test]
async fn other_methods_formats_and_bodies_are_twirp_errors() {
    let server = Server::start().await;
    for (service, status, code) in [
        ("livekit.Egress/PaintEgress", 404, "bad_route"),
        ("livekit.CloudAgent/ListAgents", 501, "unimplemented"),
        ("livekit.Nonsense/List", 404, "bad_route"),
        ("RoomService/ListRooms", 404, "bad_route"),
        ("livekit.RoomService/PaintRoom", 404, "bad_route"),
    ] {
        let head = format!(
            "POST /twirp/{service} HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Type: application/json",
            admin_token()
        );
        let (told, _, text) = server.http(&head, b"{}").await;
        assert_eq!(told, status, "{service}: {text}");
        assert!(text.contains(&format!(r#""code":"{code}""#)), "{service}: {text}");
    }
    let (status, value) = json(&server, "ListRooms", "{").await;
    assert_eq!((status, &value["code"]), (400, &"malformed".into()));
    let (status, _, text) = call(&server, &admin_token(), "ListRooms", "text/plain", b"{}").await;
    assert_eq!(status, 404);
    assert!(text.contains("bad_route"), "{text}");
    let (status, _, text) =
        call(&server, &admin_token(), "ListRooms", "application/protobuf", &[0xFF; 5]).await;
    assert_eq!(status, 400, "{text}");
}

#[tokio::test]
async fn people_are_moved_and_forwarded_into_the_one_room_that_the_token_names() {
    let server = Server::start().await;
    let token = token_with(r#"{"video":{"roomAdmin":true,"room":"lobby","destinationRoom":"lounge"}}"#);
    let nowhere = token_with(r#"{"video":{"roomAdmin":true,"room":"lobby"}}"#);
    for method in ["MoveParticipant", "ForwardParticipant"] {
        for (body, status) in [
            (r#"{"room":"lobby","identity":"ada","destinationRoom":"lounge"}"#, 200),
            (r#"{"room":"lobby","identity":"bob","destination_room":"lounge"}"#, 404),
            (r#"{"room":"lobby","identity":"ada","destinationRoom":"elsewhere"}"#, 401),
            (r#"{"room":"elsewhere","identity":"ada","destinationRoom":"lounge"}"#, 401),
        ] {
            let (told, _, text) = call(&server, &token, method, "application/json", body.as_bytes()).await;
            assert_eq!(told, status, "{method} {body}: {text}");
        }
        let body = br#"{"room":"lobby","identity":"ada"}"#;
        let (status, _, text) = call(&server, &nowhere, method, "application/json", body).await;
        assert_eq!(status, 400, "{text}");
    }
}

/// A token with these grants in JSON.
fn token_with(claims: &str) -> String {
    mint(serde_json::from_str(claims).expect("claims"))
}

#[tokio::test]
async fn services_that_are_not_there_yet_say_so_to_who_may_use_them() {
    let server = Server::start().await;
    let (record, ingress) = (r#"{"video":{"roomRecord":true}}"#, r#"{"video":{"ingressAdmin":true}}"#);
    let (sip, call) = (r#"{"sip":{"admin":true}}"#, r#"{"sip":{"call":true}}"#);
    for (path, grant) in [
        ("Egress/StartRoomCompositeEgress", record),
        ("Egress/ListEgress", record),
        ("Ingress/CreateIngress", ingress),
        ("SIP/CreateSIPInboundTrunk", sip),
        ("SIP/ListSIPDispatchRule", sip),
        ("SIP/CreateSIPParticipant", call),
    ] {
        for other in [record, ingress, sip, call] {
            for kind in ["application/json", "application/protobuf"] {
                let head = format!(
                    "POST /twirp/livekit.{path} HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}",
                    token_with(other)
                );
                let (status, head, text) = server.http(&head, b"").await;
                let (wanted, code) =
                    if other == grant { (501, "unimplemented") } else { (401, "unauthenticated") };
                assert_eq!(status, wanted, "{path} {other}: {text}");
                assert!(text.contains(&format!(r#""code":"{code}""#)), "{path} {other}: {text}");
                assert!(head.contains("content-type: application/json"), "errors are JSON: {head}");
            }
        }
    }
}

#[tokio::test]
async fn a_room_that_is_too_busy_to_answer_does_not_say_that_the_server_stops() {
    let server = Server::start().await;
    let (status, value) = json(&server, "RemoveParticipant", r#"{"room":"lobby","identity":"busy"}"#).await;
    assert_eq!((status, &value["code"]), (503, &"unavailable".into()));
    assert!(!value["msg"].as_str().expect("a sentence").contains("stopping"), "{value}");
}

/// The last thing that was asked of the control plane.
async fn asked(server: &Server) -> AdminRequest {
    let mut last = server.asked.recv().await.expect("something was asked");
    while let Ok(next) = server.asked.try_recv() {
        last = next;
    }
    last
}

#[tokio::test]
async fn a_room_is_made_with_the_options_that_are_given() {
    let server = Server::start().await;
    let body =
        r#"{"name":"lobby","emptyTimeout":7,"departure_timeout":8,"maxParticipants":"9","metadata":"m"}"#;
    let (status, value) = json(&server, "CreateRoom", body).await;
    assert_eq!((status, &value["metadata"], &value["num_participants"]), (200, &"m".into(), &0.into()));
    let AdminRequest::CreateRoom { room, options, .. } = asked(&server).await else { panic!("another") };
    let wanted = RoomOptions {
        empty_timeout_s: Some(7),
        departure_timeout_s: Some(8),
        max_participants: Some(9),
        metadata: "m".to_owned(),
        agents: Vec::new(),
    };
    assert_eq!((room.as_str(), options), ("lobby", wanted));
    let request = proto::CreateRoomRequest { name: "lobby".to_owned(), ..Default::default() };
    let body = request.encode_to_vec();
    let (status, ..) = call(&server, &admin_token(), "CreateRoom", "application/protobuf", &body).await;
    assert_eq!(status, 200);
    let AdminRequest::CreateRoom { options, .. } = asked(&server).await else { panic!("another") };
    assert_eq!(options, RoomOptions::default(), "zeros are the server's defaults");
}

#[tokio::test]
async fn options_of_a_room_that_would_be_missed_are_refused_and_hints_are_not() {
    let server = Server::start().await;
    for (options, status) in [
        (r#""name":"""#, 400),
        (r#""name":"a","roomPreset":"big""#, 400),
        (r#""name":"a","egress":{}"#, 501),
        (r#""name":"a","minPlayoutDelay":200"#, 501),
        (r#""name":"a","agents":[{"agentName":"x","deployment":"a b"}]"#, 400),
        (r#""name":"a","agents":[{"agentName":"x","deployment":"a"},{}]"#, 200),
        (r#""name":"a","syncStreams":true,"nodeId":"ND_x","tags":{"a":"b"}"#, 200),
    ] {
        let (told, value) = json(&server, "CreateRoom", &format!("{{{options}}}")).await;
        assert_eq!(told, status, "{options}: {value}");
    }
}

#[tokio::test]
async fn answers_in_json_have_the_fields_that_are_not_set_too() {
    let server = Server::start().await;
    let (status, ada) = json(&server, "GetParticipant", r#"{"room":"lobby","identity":"ada"}"#).await;
    assert_eq!((status, &ada["identity"], &ada["joined_at"]), (200, &"ada".into(), &"1760000000".into()));
    assert_eq!((&ada["tracks"], &ada["kind"]), (&serde_json::json!([]), &"STANDARD".into()));
    assert_eq!(ada["permission"]["can_publish"], false);
    let (_, rooms) = json(&server, "ListRooms", "{}").await;
    assert_eq!(rooms["rooms"][0]["max_participants"], 0);
    let (status, value) = json(&server, "GetParticipant", r#"{"room":"lobby","identity":"bob"}"#).await;
    assert_eq!((status, &value["code"]), (404, &"not_found".into()));
}

#[tokio::test]
async fn an_update_of_a_participant_leaves_alone_what_is_empty() {
    let server = Server::start().await;
    let update = async |fields: &str| {
        let body = format!(r#"{{"room":"lobby","identity":"ada",{fields}}}"#);
        assert_eq!(json(&server, "UpdateParticipant", &body).await.0, 200, "{body}");
        match asked(&server).await {
            AdminRequest::UpdateParticipant { change, permissions, .. } => (change, permissions),
            other => panic!("{other:?}"),
        }
    };
    let (change, permissions) =
        update(r#""name":"","metadata":"m","attributes":{"someKey":"","b_c":"1"}"#).await;
    assert_eq!((change.name, change.metadata, permissions), (None, Some("m".to_owned()), None));
    let attributes: Vec<_> = change.attributes.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(attributes, [("b_c", "1"), ("someKey", "")], "as they are written; empty ones delete");
    let (_, permissions) =
        update(r#""permission":{"canPublish":true,"canPublishSources":["MICROPHONE",1]}"#).await;
    let permissions = permissions.expect("given");
    assert!(permissions.publish && !permissions.subscribe && !permissions.publish_data, "{permissions:?}");
    assert_eq!(permissions.publish_sources, Some(vec![TrackSource::Microphone, TrackSource::Camera]));
    let (_, permissions) = update(r#""permission":{"can_publish":true,"can_publish_sources":[]}"#).await;
    assert_eq!(permissions.expect("given").publish_sources, None, "an empty list is all of them");
}

#[tokio::test]
async fn a_track_is_muted_and_unmuting_is_refused_with_its_own_code() {
    let server = Server::start().await;
    let sid = format!("TR_{}", base::TrackId(7));
    let mute = async |sid: &str, muted: bool| {
        let body = format!(r#"{{"room":"lobby","identity":"ada","trackSid":"{sid}","muted":{muted}}}"#);
        json(&server, "MutePublishedTrack", &body).await
    };
    let (status, value) = mute(&sid, true).await;
    let track = &value["track"];
    assert_eq!((status, &track["sid"], &track["muted"]), (200, &sid.as_str().into(), &true.into()));
    assert_eq!((&track["type"], &track["source"]), (&"AUDIO".into(), &"MICROPHONE".into()));
    let (status, value) = mute(&sid, false).await;
    assert_eq!((status, &value["code"]), (412, &"failed_precondition".into()));
    let (status, value) = mute("TR_nonsense", true).await;
    assert_eq!((status, &value["code"]), (404, &"not_found".into()));
}

#[tokio::test]
async fn subscriptions_are_named_alone_or_by_participant() {
    let server = Server::start().await;
    let sid = |id| format!("TR_{}", base::TrackId(id));
    let body = format!(
        r#"{{"room":"lobby","identity":"ada","trackSids":["{}","nonsense"],"subscribe":true,
             "participantTracks":[{{"participantSid":"PA_x","trackSids":["{}"]}}]}}"#,
        sid(1),
        sid(2)
    );
    assert_eq!(json(&server, "UpdateSubscriptions", &body).await, (200, serde_json::json!({})));
    let AdminRequest::UpdateSubscriptions { tracks, subscribe, .. } = asked(&server).await else {
        panic!("another")
    };
    assert_eq!((tracks, subscribe), (vec![base::TrackId(1), base::TrackId(2)], true));
}

#[tokio::test]
async fn data_is_sent_as_a_message_from_nobody() {
    let server = Server::start().await;
    let sid = format!("PA_{}", base::ParticipantId(7));
    let body = format!(
        r#"{{"room":"lobby","data":"aGVsbG8=","kind":"LOSSY","destinationIdentities":["ada"],
             "destination_sids":["{sid}"],"topic":"t","nonce":"AAAA"}}"#
    );
    assert_eq!(json(&server, "SendData", &body).await, (200, serde_json::json!({})));
    let AdminRequest::SendData { kind, target, payload, .. } = asked(&server).await else {
        panic!("another")
    };
    assert_eq!(kind, DataKind::Lossy);
    assert_eq!((target.identities[0].as_str(), target.participants[0]), ("ada", base::ParticipantId(7)));
    let packet = proto::DataPacket::decode(payload).expect("a packet");
    assert!(packet.participant_identity.is_empty() && packet.participant_sid.is_empty());
    let Some(Value::User(user)) = packet.value else { panic!("another") };
    assert_eq!((user.payload.as_slice(), user.topic.as_deref()), (&b"hello"[..], Some("t")));
    let body = r#"{"room":"lobby","data":"aGVsbG8=","destinationSids":["nonsense"]}"#;
    let (status, value) = json(&server, "SendData", body).await;
    assert_eq!((status, &value["code"]), (400, &"invalid_argument".into()), "and not to everybody");
}

#[tokio::test]
async fn what_names_a_call_and_what_takes_tokens_back_reaches_the_room() {
    let server = Server::start().await;
    let body = r#"{"room":"lobby","data":"aGVsbG8=","nonce":"AQID"}"#;
    assert_eq!(json(&server, "SendData", body).await.0, 200);
    let AdminRequest::SendData { nonce, .. } = asked(&server).await else { panic!("another") };
    assert_eq!(nonce, [1, 2, 3]);
    for (said, before) in [("\"1760000000\"", 1_760_000_000), ("0", 0), ("-5", 0)] {
        let body = format!(r#"{{"room":"lobby","identity":"ada","revokeTokenTs":{said}}}"#);
        assert_eq!(json(&server, "RemoveParticipant", &body).await.0, 200);
        let AdminRequest::RemoveParticipant { revoke_before_s, .. } = asked(&server).await else {
            panic!("another")
        };
        assert_eq!(revoke_before_s, before);
    }
}

#[tokio::test]
async fn metadata_that_is_too_large_is_an_invalid_argument() {
    let server = Server::start().await;
    let (status, value) = json(&server, "UpdateRoomMetadata", r#"{"room":"lobby","metadata":"m"}"#).await;
    assert_eq!((status, &value["code"]), (400, &"invalid_argument".into()));
}

#[tokio::test]
async fn a_procedure_call_ends_with_the_result_or_the_reason() {
    let server = Server::start().await;
    for (identity, status, code) in [
        ("ada", 200, None),
        ("bob", 404, Some("not_found")),
        ("cid", 409, Some("aborted")),
        ("dan", 412, Some("failed_precondition")),
        ("eve", 408, Some("deadline_exceeded")),
    ] {
        let body = format!(
            r#"{{"room":"lobby","destinationIdentity":"{identity}","method":"m","payload":"p","responseTimeoutMs":50}}"#
        );
        let (told, value) = json(&server, "PerformRpc", &body).await;
        assert_eq!((told, value["code"].as_str()), (status, code), "{identity}: {value}");
        match identity {
            "ada" => assert_eq!(value["payload"], "result"),
            "dan" => assert_eq!(value["meta"]["rpc_code"], "1400"),
            _ => {}
        }
    }
    let long = format!(r#"{{"room":"lobby","method":"m","payload":"{}"}}"#, "x".repeat(15_361));
    assert_eq!(json(&server, "PerformRpc", &long).await.0, 400);
    assert_eq!(json(&server, "PerformRpc", r#"{"room":"lobby","method":""}"#).await.0, 400);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_one_of_a_participant_is_not_read() {
    let server = Server::start().await;
    let large = vec![b' '; 10 * 1024 * 1024 + 1];
    let (status, _, text) = call(&server, &admin_token(), "ListRooms", "application/json", &large).await;
    assert_eq!(status, 413, "{text}");
    let weak = mint(auth::Claims::join("ada", "lobby"));
    let (status, _, text) = call(&server, &weak, "ListRooms", "application/json", b"no JSON").await;
    assert_eq!(status, 401, "{text}");
}
