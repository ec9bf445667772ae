//! Sessions over the signal socket.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::TrackId;
use base::model::{LeaveReason, Notice};
use contract::session::{Event, Request};
use futures_util::StreamExt as _;
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message as Told;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::support::{Client, Server, token, two, wrapped};

const JOIN_OF_A_BROWSER: &str = include_str!("join_request.txt");

fn one(room: &str) -> String {
    format!("/rtc/v1?access_token={}&join_request={}", token(room), JOIN_OF_A_BROWSER.trim())
}

async fn first(client: &mut Client) -> proto::JoinResponse {
    match client.told().await {
        Some(Told::Join(join)) => join,
        other => panic!("first frame: {other:?}"),
    }
}

#[tokio::test]
async fn a_recorded_join_of_a_browser_gets_join_and_answer() {
    let server = Server::start().await;
    let mut client = server.connect(&one("lobby")).await;
    let join = first(&mut client).await;
    assert!(!join.subscriber_primary);
    let answer = client.until(|told| match told {
        Told::Answer(answer) => Some(answer),
        _ => None,
    });
    let answer = answer.await;
    assert_eq!(answer.id, 1);
    let description = sdp::parse(&answer.sdp).expect("parses");
    assert_eq!(description.sections.len(), 7);
    let seat = server.joins.recv().await.expect("a join");
    assert!(seat.join.auto_subscribe && seat.join.client.starts_with("js 2.23.0 protocol 17"));
    let sent = description.remote().expect("a transport").0.ufrag;
    let added = seat.request(|request| match request {
        Request::AddPeer { local, .. } => Some(local.ufrag),
        _ => None,
    });
    assert_eq!(added.await, sent, "the worker answers to what the client was told");
}

#[tokio::test]
async fn a_join_request_on_the_older_path_means_one_connection_too() {
    let server = Server::start().await;
    for gzip in [false, true] {
        let request = proto::JoinRequest {
            client_info: Some(proto::ClientInfo { protocol: 17, ..Default::default() }),
            ..Default::default()
        };
        let path = format!("/rtc?access_token={}&join_request={}", token("lobby"), wrapped(&request, gzip));
        let mut client = server.connect(&path).await;
        assert!(!first(&mut client).await.subscriber_primary);
        let seat = server.joins.recv().await.expect("a join");
        assert!(!seat.join.auto_subscribe, "absent means no in a join request");
    }
}

#[tokio::test]
async fn publishing_goes_to_the_room_and_back() {
    let server = Server::start().await;
    let mut client = server.connect(&two("lobby")).await;
    assert!(first(&mut client).await.subscriber_primary);
    let seat = server.joins.recv().await.expect("a join");
    client.ask(Ask::AddTrack(proto::AddTrackRequest { cid: "mic".to_owned(), ..Default::default() })).await;
    let publish = seat.request(|request| match request {
        Request::Publish(publish) => Some(publish),
        _ => None,
    });
    let publish = publish.await;
    let track = base::model::Track {
        source: publish.source,
        name: publish.name,
        cid: publish.cid.clone(),
        encryption: publish.encryption,
        ..base::model::Track::new(TrackId(77), publish.kind, publish.codec)
    };
    let event = Event::Published { cid: publish.cid, outcome: Ok(Arc::new(track)) };
    seat.events.send(event).await.expect("the session listens");
    let published = client.until(|told| match told {
        Told::TrackPublished(published) => Some(published),
        _ => None,
    });
    let published = published.await;
    let info = published.track.expect("a track");
    assert_eq!((published.cid.as_str(), info.mime_type.as_str()), ("mic", "audio/opus"));
    assert_eq!(info.codecs[0].cid, "mic");
}

#[tokio::test]
async fn gotcha_15_a_leave_comes_before_the_socket_closes_with_1000() {
    let server = Server::start().await;
    let mut client = server.connect(&two("lobby")).await;
    first(&mut client).await;
    let seat = server.joins.recv().await.expect("a join");
    seat.events.send(Event::Notice(Notice::Closed(LeaveReason::RoomDeleted))).await.expect("listens");
    let leave = client.until(|told| match told {
        Told::Leave(leave) => Some(leave),
        _ => None,
    });
    assert_eq!(leave.await.reason(), proto::DisconnectReason::RoomDeleted);
    assert!(client.told().await.is_none(), "closed");
}

#[tokio::test]
async fn a_client_that_leaves_is_gone_at_once() {
    let server = Server::start().await;
    let mut client = server.connect(&two("lobby")).await;
    first(&mut client).await;
    let seat = server.joins.recv().await.expect("a join");
    client.ask(Ask::Leave(proto::LeaveRequest::default())).await;
    assert_eq!(seat.left().await, LeaveReason::ClientInitiated);
}

#[tokio::test]
async fn a_socket_that_breaks_before_media_is_up_ends_the_participant() {
    let server = Server::start().await;
    let mut client = server.connect(&two("lobby")).await;
    first(&mut client).await;
    let seat = server.joins.recv().await.expect("a join");
    drop(client);
    assert_eq!(seat.left().await, LeaveReason::SignalClosed);
    assert_eq!(server.metrics.severed.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn text_frames_are_json_and_turn_the_replies_until_a_binary_frame_comes() {
    let server = Server::start().await;
    let mut client = server.connect(&two("lobby")).await;
    first(&mut client).await;
    client.send(Frame::Text(r#"{"pingReq":{"timestamp":"5","rtt":"1"},"unknown":1}"#.into())).await;
    let text = loop {
        match client.socket.next().await.expect("open").expect("a frame") {
            Frame::Text(text) => break text.to_string(),
            _ => continue,
        }
    };
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["pongResp"]["lastPingTimestamp"], "5");
    client.ask(Ask::Ping(1)).await;
    let pong = client.until(|told| match told {
        Told::Pong(millis) => Some(millis),
        _ => None,
    });
    assert_eq!(pong.await, super::support::NOW.0 as i64);
}

#[tokio::test]
async fn gotcha_18_unknown_requests_are_ignored_and_garbage_is_counted() {
    let server = Server::start().await;
    let mut client = server.connect(&two("lobby")).await;
    first(&mut client).await;
    // Field 900, a string: a request of a newer client.
    client.send(Frame::Binary(vec![0xA2, 0x38, 0x01, b'x'].into())).await;
    client.send(Frame::Binary(vec![0xFF; 9].into())).await;
    client.ask(Ask::Ping(1)).await;
    client.until(|told| matches!(told, Told::Pong(_)).then_some(())).await;
    assert_eq!(server.metrics.requests_ignored.load(Ordering::Relaxed), 1);
    assert_eq!(server.metrics.frames_malformed.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_flood_of_garbage_ends_with_a_leave() {
    let server = Server::start().await;
    let mut client = server.connect(&two("lobby")).await;
    first(&mut client).await;
    let seat = server.joins.recv().await.expect("a join");
    for _ in 0..11 {
        client.send(Frame::Binary(vec![0xFF; 9].into())).await;
    }
    let leave = client.until(|told| match told {
        Told::Leave(leave) => Some(leave),
        _ => None,
    });
    assert_eq!(leave.await.action(), proto::leave_request::Action::Disconnect);
    assert_eq!(seat.left().await, LeaveReason::StateMismatch);
}

#[tokio::test]
async fn a_message_over_two_megabytes_breaks_the_socket_and_nothing_else() {
    let server = Server::start().await;
    let mut client = server.connect(&two("lobby")).await;
    first(&mut client).await;
    let seat = server.joins.recv().await.expect("a join");
    // The server may close while the client still writes.
    let _ =
        futures_util::SinkExt::send(&mut client.socket, Frame::Binary(vec![0; 3 * 1_048_576].into())).await;
    assert_eq!(seat.left().await, LeaveReason::SignalClosed);
    first(&mut server.connect(&two("lobby")).await).await;
}

#[tokio::test]
async fn a_client_whose_request_meets_a_closing_room_hears_the_rooms_reason() {
    let server = Server::start().await;
    let mut client = server.connect(&two("lobby")).await;
    first(&mut client).await;
    let seat = server.joins.recv().await.expect("a join");
    // The session waits for the room's queue; meanwhile the room ends, and says so.
    let track_sids = vec![format!("TR_{}", TrackId(7))];
    for _ in 0..300 {
        let update = proto::UpdateSubscription {
            track_sids: track_sids.clone(),
            subscribe: true,
            ..Default::default()
        };
        client.ask(Ask::Subscription(update)).await;
    }
    while !seat.requests.is_full() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let closed = Event::Notice(Notice::Closed(LeaveReason::RoomDeleted));
    seat.events.send(closed).await.expect("it will be read");
    seat.requests.close();
    let leave = client.until(|told| match told {
        Told::Leave(leave) => Some(leave),
        _ => None,
    });
    assert_eq!(leave.await.reason(), proto::DisconnectReason::RoomDeleted);
}

#[tokio::test]
async fn a_server_that_stops_can_wait_until_its_clients_have_been_told() {
    let server = Server::start().await;
    server.sessions.ended().await;
    let mut client = server.connect(&two("lobby")).await;
    first(&mut client).await;
    let seat = server.joins.recv().await.expect("a join");
    let soon = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, server.sessions.ended()).await.is_err(), "one runs");
    let closed = Event::Notice(Notice::Closed(LeaveReason::ServerShutdown));
    seat.events.send(closed).await.expect("it reads");
    let reading = tokio::spawn(async move {
        let leave = client.until(|told| match told {
            Told::Leave(leave) => Some(leave),
            _ => None,
        });
        let reason = leave.await.reason();
        (reason, client.told().await)
    });
    server.sessions.ended().await;
    let (reason, after) = reading.await.expect("it does not panic");
    assert_eq!((reason, after), (proto::DisconnectReason::ServerShutdown, None));
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_read_more_slowly_and_loses_nothing() {
    let server = Server::start().await;
    let mut client = server.connect(&two("lobby")).await;
    let began = std::time::Instant::now();
    for timestamp in 0..1_100 {
        client.ask(Ask::PingReq(proto::Ping { timestamp, rtt: 0 })).await;
    }
    for timestamp in 0..1_100 {
        let answered = client.until(|told| match told {
            Told::PongResp(pong) => Some(pong.last_ping_timestamp),
            _ => None,
        });
        assert_eq!(answered.await, timestamp);
    }
    assert!(began.elapsed().as_millis() >= 450, "100 more than may come at once, 5 ms each");
}
