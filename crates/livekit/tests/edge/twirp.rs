//! The server API.

use livekit_protocol as proto;
use prost::Message as _;

use super::support::{Server, mint};

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
    for method in ["ListRooms", "DeleteRoom", "ListParticipants", "RemoveParticipant"] {
        let (status, _, text) =
            call(&server, &weak, method, "application/json", br#"{"room":"lobby"}"#).await;
        assert_eq!(status, 401, "{method}");
        assert!(text.contains(r#""code":"unauthenticated""#), "{text}");
    }
    let (status, _, text) = call(&server, "garbage", "ListRooms", "application/json", b"{}").await;
    assert_eq!(status, 401);
    assert!(!text.starts_with('{'), "plain text: {text}");
    let (status, value) = json(&server, "ListParticipants", r#"{"room":"another"}"#).await;
    assert_eq!((status, &value["code"]), (401, &"unauthenticated".into()));
}

#[tokio::test]
async fn other_methods_formats_and_bodies_are_twirp_errors() {
    let server = Server::start().await;
    let (status, value) = json(&server, "CreateRoom", "{}").await;
    assert_eq!((status, &value["code"]), (501, &"unimplemented".into()));
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
async fn a_room_that_is_too_busy_to_answer_does_not_say_that_the_server_stops() {
    let server = Server::start().await;
    let (status, value) = json(&server, "RemoveParticipant", r#"{"room":"lobby","identity":"busy"}"#).await;
    assert_eq!((status, &value["code"]), (503, &"unavailable".into()));
    assert!(!value["msg"].as_str().expect("a sentence").contains("stopping"), "{value}");
}
