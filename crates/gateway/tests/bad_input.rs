//! What a stranger, a broken client or a forger sends: typed errors or a close code, and nothing lost or blocked for others.

mod desk;

use auth::MessagingGrants;
use desk::{Client, Desk, message, token, token_with};
use gateway::Config;
use serde_json::{Value, json};
use std::time::Duration;
use wire::messaging::Encoding;
use wire::websocket::Opcode;

/// Ann's group with Bob, and Ann's connection, which is subscribed.
async fn room(desk: &Desk) -> Client {
    let mut ann = desk.connect("ann", "phone").await;
    let create = json!({"channel": "room", "kind": "group", "members": [{"user": "bob"}]});
    assert!(ann.ask("channel.create", create).await.get("ok").is_some());
    assert!(ann.ask("subscribe", json!({"channel": "room", "from": "head"})).await.get("ok").is_some());
    ann
}

fn code(answer: &Value) -> (&str, bool) {
    let error = &answer["error"];
    (error["code"].as_str().unwrap_or("ok"), error["final"].as_bool().unwrap_or(true))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_closes_the_connection_with_its_code_and_no_other() {
    let desk = Desk::new().await;
    let mut ann = room(&desk).await;
    let frame = Config::default().frame as usize;
    let large = format!("{{\"id\":1,\"tell\":{{\"channel\":\"{}\"}}}}", "x".repeat(frame));
    for (encoding, opcode, payload, expected) in [
        (Encoding::Json, Opcode::Text, &b"nonsense"[..], 4502),
        (Encoding::Json, Opcode::Text, b"{}", 4502),
        (Encoding::Json, Opcode::Text, b"\xff", 4502),
        (Encoding::Json, Opcode::Binary, b"{}", 4502),
        (Encoding::Json, Opcode::Continuation, b"{}", 4502),
        (Encoding::Json, Opcode::Text, large.as_bytes(), 4502),
        (Encoding::Cbor, Opcode::Binary, b"\xbf\xff", 4502),
        (Encoding::Cbor, Opcode::Binary, b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", 4502),
        (Encoding::Json, Opcode::Text, br#"{"id":1,"typing":{"channel":"room"}}"#, 4502),
        (Encoding::Json, Opcode::Text, br#"{"v":2,"id":1,"connect":{}}"#, 4503),
    ] {
        let mut client = Client::open(desk.address, encoding).await;
        client.send_raw(opcode, payload).await;
        assert_eq!(client.closing().await, Some(expected), "{:?}", &payload[..payload.len().min(30)]);
    }
    let mut unknown = Client::open_as(desk.address, Encoding::Json, Some("mqtt")).await;
    assert_eq!(unknown.closing().await, Some(4503));
    assert_eq!(code(&ann.ask("send", message("room", 1, "still here")).await), ("ok", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_good_lets_nobody_in() {
    let desk = Desk::new().await;
    let good = token("ann");
    let forged = format!("{}x", &good[..good.len() - 1]);
    for (token, device, expected) in [
        ("", "phone", "unauthorized"),
        (&forged, "phone", "unauthorized"),
        (&token_with("ann", None, 600), "phone", "unauthorized"),
        (&token_with("", Some(MessagingGrants::default()), 600), "phone", "unauthorized"),
        (&good, "", "malformed"),
        (&good, &"x".repeat(129), "malformed"),
    ] {
        let mut client = Client::open(desk.address, Encoding::Json).await;
        let refused = client.ask("connect", json!({"token": token, "device": device})).await;
        assert_eq!(code(&refused), (expected, true), "{refused}");
        assert_eq!(client.closing().await, Some(4501));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_token_or_the_channel_does_not_allow_is_refused_for_good() {
    let desk = Desk::new().await;
    let mut ann = room(&desk).await;
    let mut eve = desk.connect("eve", "phone").await;
    let read = json!({"channel": "room"});
    assert_eq!(code(&eve.ask("subscribe", read.clone()).await), ("not_member", true));
    assert_eq!(code(&eve.ask("history", read.clone()).await), ("not_member", true));
    assert_eq!(code(&eve.ask("members", read.clone()).await), ("not_member", true));
    assert_eq!(code(&eve.ask("send", message("room", 1, "hi")).await), ("not_member", true));
    assert!(code(&eve.ask("channel.join", read.clone()).await).1);
    assert_eq!(code(&eve.ask("subscribe", json!({"channel": "nowhere"})).await), ("no_channel", true));
    assert_eq!(code(&eve.ask("dance", json!({})).await), ("unknown", true));
    for (name, kind, members) in [
        ("direct:ann:bob", "direct", json!([{"user": "bob"}])),
        ("inbox:bob", "direct", json!([{"user": "joe"}])),
        ("direct:eve:joe", "direct", json!([])),
        ("direct:ann:bob", "group", json!([])),
        ("inbox:bob", "live", json!([])),
    ] {
        let create = json!({"channel": name, "kind": kind, "members": members});
        assert_eq!(code(&eve.ask("channel.create", create).await), ("malformed", true), "{name} {kind}");
    }
    let grants = MessagingGrants { publish: vec![], manage: vec!["own-*".to_owned()], ..Default::default() };
    let mut bob = Client::open(desk.address, Encoding::Json).await;
    let token = token_with("bob", Some(grants), 600);
    assert_eq!(code(&bob.ask("connect", json!({"token": token, "device": "d"})).await).0, "ok");
    assert_eq!(code(&bob.ask("subscribe", read).await).0, "ok");
    assert_eq!(code(&bob.ask("send", message("room", 1, "hi")).await), ("unauthorized", true));
    let create = json!({"channel": "other", "kind": "group"});
    assert_eq!(code(&bob.ask("channel.create", create).await), ("unauthorized", true));
    assert_eq!(code(&ann.ask("send", message("room", 1, "still here")).await).0, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_foreign_cursors_open_nothing() {
    let desk = Desk::new().await;
    let mut ann = room(&desk).await;
    ann.ask("channel.create", json!({"channel": "other", "kind": "group"})).await;
    let other = ann.ask("subscribe", json!({"channel": "other"})).await["ok"]["cursor"].clone();
    let sent = ann.ask("send", message("room", 1, "one")).await;
    let token = sent["ok"]["token"].clone();
    let cursor = ann.push("events").await["cursor"].as_str().expect("a cursor").to_owned();
    let forged = format!("{}{}", if cursor.starts_with('A') { 'B' } else { 'A' }, &cursor[1..]);
    for bad in [other.clone(), token.clone(), json!(forged), json!(""), json!("x".repeat(2_000))] {
        let from = json!({"channel": "room", "from": {"cursor": bad}});
        assert_eq!(code(&ann.ask("subscribe", from).await), ("bad_cursor", true), "{bad}");
        assert_eq!(
            code(&ann.ask("read", json!({"channel": "room", "cursor": bad})).await),
            ("bad_cursor", true)
        );
    }
    for bad in [other, json!(forged)] {
        let mut send = message("room", 2, "two");
        send["seen"] = json!([bad]);
        assert_eq!(code(&ann.ask("send", send.clone()).await), ("bad_cursor", true));
        send["seen"] = json!([token]);
        send["after"] = json!([["room", bad]]);
        assert_eq!(code(&ann.ask("send", send).await), ("bad_cursor", true));
    }
    let mut send = message("room", 2, "two");
    send["seen"] = json!(vec![token.clone(); 9]);
    assert_eq!(code(&ann.ask("send", send.clone()).await), ("too_large", true));
    send["seen"] = json!(vec![token; 8]);
    assert_eq!(code(&ann.ask("send", send).await), ("ok", true));
    // The same store with another key: another deployment.
    let directory = desk.end().await;
    let desk = Desk::at(directory, Config::default(), [8; 32]).await;
    let mut ann = desk.connect("ann", "phone").await;
    let from = json!({"channel": "room", "from": {"cursor": cursor}});
    assert_eq!(code(&ann.ask("subscribe", from).await), ("bad_cursor", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_jump_or_are_used_twice_are_told_where_to_go_on() {
    let desk = Desk::new().await;
    let mut ann = room(&desk).await;
    assert_eq!(code(&ann.ask("send", message("room", 0, "zero")).await), ("malformed", true));
    let first = ann.ask("send", message("room", 1, "one")).await;
    let again = ann.ask("send", message("room", 1, "one")).await;
    assert_eq!(first["ok"]["event"], again["ok"]["event"], "a retry is stored once");
    assert_eq!(code(&ann.ask("send", message("room", 1, "other")).await).0, "csn_conflict");
    let gap = ann.ask("send", message("room", 5, "five")).await;
    assert_eq!((code(&gap).0, &gap["error"]["last"]), ("csn_gap", &json!(1)));
    let mut after_refusal = message("room", 6, "six");
    after_refusal["follows"] = json!(1);
    assert_eq!(code(&ann.ask("send", after_refusal).await).0, "ok");
    assert_eq!(code(&ann.ask("send", message("room", 3, "three")).await).0, "csn_stale");
    let big = json!({"channel": "room", "csn": 7, "body": "x".repeat(33_000)});
    assert_eq!(code(&ann.ask("send", big).await), ("too_large", true));
    let edit = json!({"channel": "room", "csn": 7, "event": "eu.1.999999", "body": 1});
    assert_eq!(code(&ann.ask("edit", edit).await), ("no_target", true));
    let edit = json!({"channel": "room", "csn": 7, "event": "EU.1", "body": 1});
    assert_eq!(code(&ann.ask("edit", edit).await), ("malformed", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_commands_and_too_many_errors_are_held_back() {
    let config = Config { rate: 5, burst: 20, channels: 1, ..Config::default() };
    let desk = Desk::with(config).await;
    let mut ann = room(&desk).await;
    ann.ask("channel.create", json!({"channel": "other", "kind": "group"})).await;
    assert_eq!(code(&ann.ask("subscribe", json!({"channel": "other"})).await), ("too_many", true));
    let mut refused = 0;
    for _ in 0..40 {
        let answer = ann.ask("unsubscribe", json!({"channel": "none"})).await;
        if code(&answer).0 == "rate" {
            assert!(answer["error"]["retry_after"].as_u64().is_some_and(|millis| millis <= 200), "{answer}");
            refused += 1;
        }
    }
    assert!(refused >= 15, "{refused}");
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(desk.post(&token("bob"), "history", json!({"channel": "room"})).await.0);
    }
    assert!(statuses[..20].iter().all(|status| *status == 200), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    let mut eve = desk.connect("eve", "phone").await;
    for id in 0..200 {
        eve.send_text(&format!("{{\"id\":{},\"dance\":{{}}}}", id + 100)).await;
    }
    assert_eq!(eve.closing().await, Some(4504));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_an_expired_and_an_older_connection_end_with_their_codes() {
    let config = Config {
        ping: Duration::from_millis(500),
        patience: Duration::from_millis(300),
        ..Config::default()
    };
    let desk = Desk::with(config).await;
    let mut nobody = Client::open(desk.address, Encoding::Json).await;
    assert_eq!(nobody.closing().await, Some(4501), "who does not say who they are");
    let mut silent = desk.connect("ann", "silent").await;
    silent.answers_pings = false;
    assert_eq!(silent.closing().await, Some(4002));
    let mut lively = desk.connect("ann", "lively").await;
    let mut newer = desk.connect("ann", "lively").await;
    assert_eq!(lively.closing().await, Some(4500));
    assert_eq!(code(&newer.ask("unsubscribe", json!({"channel": "none"})).await).0, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_http_a_server_acts_for_anybody_and_a_person_for_nobody_else() {
    let desk = Desk::new().await;
    let mut ann = room(&desk).await;
    let server = MessagingGrants { server: true, ..MessagingGrants::default() };
    let server = token_with("", Some(server), 600);
    let mut send = message("room", 1, "from the server, for bob");
    (send["as_user"], send["as_device"]) = (json!("bob"), json!("bot"));
    let (status, sent) = desk.post(&server, "send", send.clone()).await;
    assert_eq!((status, sent["event"].is_string()), (200, true), "{sent}");
    let item = ann.items(1).await.remove(0);
    assert_eq!(item["from"], json!({"user": "bob", "device": "bot"}));
    let (status, page) = desk.post(&token("ann"), "history", json!({"channel": "room", "limit": 1})).await;
    assert_eq!((status, &page["items"][0]["id"]), (200, &item["id"]), "{page}");
    let (status, error) = desk.post(&token("eve"), "send", send).await;
    assert_eq!((status, error["code"].as_str()), (401, Some("unauthorized")));
    for (token, command, map, expected) in [
        (token("eve"), "history", json!({"channel": "room"}), (403, "not_member")),
        (token("eve"), "history", json!({"channel": "none"}), (404, "no_channel")),
        (token("eve"), "subscribe", json!({"channel": "room"}), (400, "malformed")),
        (token("eve"), "dance", json!({}), (404, "unknown")),
        (token("eve"), "send", json!([]), (400, "malformed")),
        (server.clone(), "history", json!({"channel": "room", "as_user": 42}), (400, "malformed")),
        ("x".to_owned(), "history", json!({"channel": "room"}), (401, "unauthorized")),
    ] {
        let (status, error) = desk.post(&token, command, map).await;
        assert_eq!((status, error["code"].as_str().unwrap_or("?")), expected, "{error}");
    }
}
