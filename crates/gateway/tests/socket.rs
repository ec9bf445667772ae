//! People on sockets, over a real log: what they send, hear, and go on with.

mod desk;

use desk::{Client, Desk, message, token};
use serde_json::json;
use wire::messaging::Encoding;

/// A group of these people, made by the first.
async fn group(client: &mut Client, channel: &str, members: &[&str]) {
    let members: Vec<_> = members.iter().map(|user| json!({"user": user})).collect();
    let made =
        client.ask("channel.create", json!({"channel": channel, "kind": "group", "members": members})).await;
    assert_eq!(made["ok"]["state"]["role"], "owner", "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_everybody_in_their_encoding_and_its_sender_too() {
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    group(&mut ann, "room", &["bob"]).await;
    let mut bob = Client::open(desk.address, Encoding::Cbor).await;
    let connected = bob.ask("connect", json!({"token": token("bob"), "device": "desk"})).await;
    assert_eq!(connected["ok"]["limits"]["body"], 32_768, "{connected}");
    for client in [&mut ann, &mut bob] {
        let subscribed = client.ask("subscribe", json!({"channel": "room", "from": "head"})).await;
        assert_eq!(subscribed["ok"]["state"]["members"], 2, "{subscribed}");
        assert_eq!(subscribed["ok"]["csn"], 0);
    }
    let sent = ann
        .ask("send", json!({"channel": "room", "csn": 1, "body": {"text": "hi ü", "n": [1, -2.5, null]}}))
        .await;
    let id = sent["ok"]["event"].as_str().expect("it was accepted").to_owned();
    for client in [&mut ann, &mut bob] {
        let events = client.push("events").await;
        assert_eq!((&events["channel"], &events["items"][0]["id"]), (&json!("room"), &json!(id)));
        assert_eq!(events["items"][0]["body"], json!({"text": "hi ü", "n": [1, -2.5, null]}));
        assert_eq!(events["items"][0]["from"], json!({"user": "ann", "device": "phone"}));
        assert!(events["cursor"].as_str().is_some_and(|cursor| cursor.len() < 120), "{events}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_from_its_cursor_after_the_server_was_away() {
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    group(&mut ann, "room", &["bob"]).await;
    let mut bob = desk.connect("bob", "phone").await;
    bob.ask("subscribe", json!({"channel": "room", "from": "head"})).await;
    ann.ask("send", message("room", 1, "one")).await;
    let cursor = bob.push("events").await["cursor"].clone();
    drop(bob);
    for csn in 2..=250 {
        ann.start("send", message("room", csn, &csn.to_string())).await;
    }
    ann.ask("send", message("room", 251, "last")).await;
    let directory = desk.end().await;
    let desk = Desk::at(directory, gateway::Config::default(), [7; 32]).await;
    let mut bob = Client::open(desk.address, Encoding::Json).await;
    let resume = json!([{"channel": "room", "cursor": cursor}, {"channel": "none", "cursor": cursor}]);
    let connected =
        bob.ask("connect", json!({"token": token("bob"), "device": "phone", "resume": resume})).await;
    let channels = &connected["ok"]["channels"];
    assert_eq!(channels[0]["ok"]["cursor"], cursor, "{connected}");
    assert_eq!(channels[1]["error"]["code"], "bad_cursor", "{connected}");
    let items = bob.items(250).await;
    let csns: Vec<u64> = items.iter().filter_map(|item| item["csn"].as_u64()).collect();
    assert_eq!(csns, (2..=251).collect::<Vec<_>>());
    for pair in items.windows(2) {
        assert_eq!(pair[1]["prev"], pair[0]["id"], "the chain has no gap");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_the_last_messages_or_at_the_head() {
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    group(&mut ann, "room", &[]).await;
    for csn in 1..=40 {
        ann.start("send", message("room", csn, &csn.to_string())).await;
    }
    ann.ask("send", message("room", 41, "41")).await;
    for (from, first) in [(json!({"last": 5}), 37), (json!(null), 12), (json!({"last": 100}), 1)] {
        let mut other = desk.connect("ann", &format!("desk {first}")).await;
        other.ask("subscribe", json!({"channel": "room", "from": from})).await;
        let mut items = other.items(1).await;
        while items.last().is_none_or(|item| item["csn"] != 41) {
            items.extend(other.items(1).await);
        }
        let csns: Vec<u64> = items.iter().filter_map(|item| item["csn"].as_u64()).collect();
        assert_eq!(csns, (first..=41).collect::<Vec<_>>(), "{from}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_hears_it_last_and_is_refused_afterwards() {
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    group(&mut ann, "room", &["bob"]).await;
    let mut bob = desk.connect("bob", "phone").await;
    bob.ask("subscribe", json!({"channel": "room", "from": "head"})).await;
    ann.ask("channel.remove", json!({"channel": "room", "user": "bob"})).await;
    ann.ask("send", message("room", 1, "secret")).await;
    let item = bob.items(1).await.remove(0);
    assert_eq!(
        (&item["kind"], &item["change"], &item["user"]),
        (&json!("member"), &json!("removed"), &json!("bob"))
    );
    assert_eq!(bob.push("removed").await["id"], item["id"]);
    let refused = bob.ask("subscribe", json!({"channel": "room"})).await;
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["id"]),
        (&json!("removed"), &item["id"]),
        "{refused}"
    );
    let refused = bob.ask("send", message("room", 1, "still here")).await;
    assert_eq!(refused["error"]["final"], true, "{refused}");
    assert!(bob.pushes.iter().all(|push| push.get("events").is_none()), "{:?}", bob.pushes);
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_answered_when_they_last_and_told_to_the_persons_other_devices() {
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    group(&mut ann, "room", &["bob"]).await;
    let mut bob = desk.connect("bob", "phone").await;
    let mut desk2 = desk.connect("bob", "desk").await;
    for client in [&mut ann, &mut bob, &mut desk2] {
        client.ask("subscribe", json!({"channel": "room", "from": "head"})).await;
    }
    let first = ann.ask("send", message("room", 1, "one")).await["ok"]["event"].clone();
    ann.ask("send", message("room", 2, "two")).await;
    let mut cursor = json!(null);
    while cursor.is_null() || bob.pushes.iter().any(|push| push.get("events").is_some()) {
        cursor = bob.push("events").await["cursor"].clone();
    }
    let read = bob.ask("read", json!({"channel": "room", "cursor": cursor, "upto": first})).await;
    assert_eq!(read["ok"]["read"]["eu"], first, "{read}");
    let told = desk2.push("receipts").await;
    assert_eq!(
        (&told["marks"][0]["user"], &told["marks"][0]["read"]["eu"]),
        (&json!("bob"), &first),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_not_open_is_touched_and_a_direct_one_is_found_by_both() {
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    let create = json!({"channel": "direct:ann:bob", "kind": "direct", "peer": "bob"});
    let made = ann.ask("channel.create", create.clone()).await;
    assert_eq!(made["ok"]["state"]["kind"], "direct", "{made}");
    let mut bob = desk.connect("bob", "phone").await;
    let again = bob
        .ask("channel.create", json!({"channel": "direct:ann:bob", "kind": "direct", "peer": "ann"}))
        .await;
    assert!(again.get("ok").is_some(), "{again}");
    let wrong = bob
        .ask("channel.create", json!({"channel": "direct:bob:ann", "kind": "direct", "peer": "ann"}))
        .await;
    assert_eq!(wrong["error"]["code"], "malformed", "{wrong}");
    bob.ask("subscribe", json!({"channel": "direct:ann:bob", "open": false})).await;
    ann.ask("send", message("direct:ann:bob", 1, "psst")).await;
    let touched = bob.push("touch").await;
    assert_eq!(touched, json!({"channel": "direct:ann:bob", "unread": 1, "mentions": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_lists_and_searches_have_what_was_said() {
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    group(&mut ann, "room", &["bob"]).await;
    let first = ann.ask("send", message("room", 1, "the first word")).await["ok"]["event"].clone();
    let second = ann.ask("send", message("room", 2, "another")).await["ok"]["event"].clone();
    let edit = json!({"channel": "room", "csn": 3, "event": second, "body": {"text": "changed"}});
    ann.ask("edit", edit).await;
    let react = json!({"channel": "room", "csn": 4, "event": first, "emoji": "+1", "on": true});
    assert!(ann.ask("react", react).await.get("ok").is_some());
    let page = ann.ask("history", json!({"channel": "room", "limit": 2})).await;
    let items = &page["ok"]["items"];
    assert_eq!(
        (&items[0]["id"], &items[0]["edited"], &items[0]["body"]["text"]),
        (&second, &json!(true), &json!("changed"))
    );
    assert_eq!(items[1]["totals"], json!([{"emoji": "+1", "count": 1, "mine": true}]), "{page}");
    let after = ann.ask("history", json!({"channel": "room", "after": first})).await;
    assert_eq!(after["ok"]["items"].as_array().map(Vec::len), Some(1), "{after}");
    let found = ann.ask("search", json!({"query": "first WORD"})).await;
    assert_eq!(
        (&found["ok"]["items"][0]["item"]["id"], &found["ok"]["items"][0]["channel"]),
        (&first, &json!("room")),
        "{found}"
    );
    let members = ann.ask("members", json!({"channel": "room"})).await;
    assert_eq!(
        members["ok"]["members"],
        json!([{"user": "ann", "role": "owner"}, {"user": "bob", "role": "member"}])
    );
    let mut bob = desk.connect("bob", "phone").await;
    let listed = bob.ask("channels", json!({})).await;
    assert_eq!(
        (&listed["ok"]["channels"][0]["unread"], &listed["ok"]["channels"][0]["last"]["id"]),
        (&json!(2), &second),
        "{listed}"
    );
    let reacted = bob.ask("reactions", json!({"channel": "room", "event": first})).await;
    assert_eq!(reacted["ok"]["reactions"], json!([{"emoji": "+1", "user": "ann"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_reach_a_stream_as_totals_and_the_chain_has_no_gap() {
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    group(&mut ann, "room", &["bob"]).await;
    let mut bob = desk.connect("bob", "phone").await;
    bob.ask("subscribe", json!({"channel": "room", "from": "head"})).await;
    let first = ann.ask("send", message("room", 1, "one")).await["ok"]["event"].clone();
    for (csn, emoji) in [(2, "+1"), (3, "-1"), (4, "+1")] {
        let react = json!({"channel": "room", "csn": csn, "event": first, "emoji": emoji, "on": csn != 4});
        ann.ask("react", react).await;
    }
    ann.ask("send", message("room", 5, "two")).await;
    let items = bob.items(3).await;
    assert_eq!(items[1]["kind"], "folded", "{items:?}");
    let totals = json!([{"event": first, "emoji": "+1", "count": 0, "mine": false}, {"event": first, "emoji": "-1", "count": 1, "mine": false}]);
    assert_eq!(items[1]["folded"], json!({"kind": "reactions", "totals": totals}));
    assert_eq!((&items[1]["prev"], &items[2]["prev"]), (&items[0]["id"], &items[1]["id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_server_sent_events_gets_the_same_frames() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    group(&mut ann, "room", &[]).await;
    let mut stream = tokio::net::TcpStream::connect(desk.address).await.expect("it listens");
    let request =
        format!("GET /m/v1/events?channel=room&access_token={} HTTP/1.1\r\nhost: x\r\n\r\n", token("ann"));
    stream.write_all(request.as_bytes()).await.expect("it reads");
    ann.ask("send", message("room", 1, "over there")).await;
    let (mut got, mut buffer) = (String::new(), [0; 4_096]);
    while !got.contains("over there") {
        let count = stream.read(&mut buffer).await.expect("it goes on");
        assert!(count > 0, "{got}");
        got.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(got.contains("text/event-stream") && got.contains("data: {\"v\":1,\"events\":{"), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_rings_on_all_devices_and_stops_when_one_answers() {
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    group(&mut ann, "room", &["bob"]).await;
    let mut phone = desk.connect("bob", "phone").await;
    let mut laptop = desk.connect("bob", "laptop").await;
    let call = json!({"channel": "room", "call": "c1"});
    let invited = ann.ask("call.invite", json!({"channel": "room", "call": "c1", "media": "video"})).await;
    assert_eq!(invited["ok"]["call"]["stage"], "ringing", "{invited}");
    for client in [&mut phone, &mut laptop] {
        let rings = client.push("call").await;
        assert_eq!(
            (&rings["stage"], &rings["from"], &rings["media"]),
            (&json!("ringing"), &json!("ann"), &json!("video"))
        );
        assert!(rings.get("token").is_none(), "{rings}");
    }
    let accepted = phone.ask("call.accept", call.clone()).await;
    assert_eq!(accepted["ok"]["call"]["stage"], "accepted", "{accepted}");
    let stopped = laptop.push("call").await;
    assert_eq!((&stopped["stage"], &stopped["device"]), (&json!("stopped"), &json!("phone")));
    let answered = ann.push("call").await;
    assert_eq!((&answered["stage"], &answered["user"]), (&json!("accepted"), &json!("bob")));
    assert_eq!(answered["room"], "call:room:c1", "{answered}");
    let ended = ann.ask("call.end", call).await;
    assert_eq!(ended["ok"]["call"]["stage"], "ended", "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_and_receipts_reach_who_has_the_channel_open() {
    let desk = Desk::new().await;
    let mut ann = desk.connect("ann", "phone").await;
    group(&mut ann, "room", &["bob"]).await;
    let mut bob = desk.connect("bob", "phone").await;
    for client in [&mut ann, &mut bob] {
        client.ask("subscribe", json!({"channel": "room", "from": "head"})).await;
    }
    bob.ask("typing", json!({"channel": "room"})).await;
    assert_eq!(ann.push("typing").await, json!({"channel": "room", "users": ["bob"], "more": 0}));
    let sent = ann.ask("send", message("room", 1, "one")).await["ok"]["event"].clone();
    let cursor = bob.push("events").await["cursor"].clone();
    bob.ask("read", json!({"channel": "room", "cursor": cursor})).await;
    let told = ann.push("receipts").await;
    assert_eq!(
        (&told["marks"][0]["user"], &told["marks"][0]["read"]["eu"]),
        (&json!("bob"), &sent),
        "{told}"
    );
}
