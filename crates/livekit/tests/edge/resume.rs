//! Clients that come back on another socket.

use std::sync::atomic::Ordering;

use base::PeerId;
use base::model::{LeaveReason, Notice};
use contract::media::{Event as MediaEvent, SetupTimes};
use contract::session::{Event, Request};
use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message as Told;

use super::support::{Client, NOW, Seat, Server, token, two, wrapped};

/// The sid of whoever joins the invented control plane.
const SID: &str = "PA_000000000001";

fn again(room: &str) -> String {
    format!("{}&reconnect=1&sid={SID}", two(room))
}

/// Joins and brings media up.
async fn join(server: &Server, path: &str) -> (Client, Seat) {
    let mut client = server.connect(path).await;
    assert!(matches!(client.told().await, Some(Told::Join(_))));
    let seat = server.joins.recv().await.expect("a join");
    let peer = seat.request(|request| match request {
        Request::AddPeer { peer, primary: true, .. } => Some(peer),
        _ => None,
    });
    connected(&seat, peer.await).await;
    (client, seat)
}

async fn connected(seat: &Seat, peer: PeerId) {
    let event = Event::Media(MediaEvent::Connected { peer, times: SetupTimes::default() });
    seat.events.send(event).await.expect("the session listens");
    while !seat.events.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

async fn ping(client: &mut Client) {
    client.ask(Ask::Ping(1)).await;
    client.until(|told| matches!(told, Told::Pong(_)).then_some(())).await;
}

async fn refusal(client: &mut Client) -> (Action, proto::DisconnectReason) {
    let Some(Told::Leave(leave)) = client.told().await else { panic!("the first frame is a leave") };
    assert!(client.told().await.is_none(), "closed");
    (leave.action(), leave.reason())
}

#[tokio::test]
async fn gotcha_14_a_client_whose_session_is_unknown_is_told_to_join_anew() {
    let server = Server::start().await;
    for sid in [SID, "PA_nonsense", ""] {
        let path = format!("{}&reconnect=1&sid={sid}", two("lobby"));
        let mut client = server.connect(&path).await;
        assert_eq!(refusal(&mut client).await, (Action::Reconnect, proto::DisconnectReason::StateMismatch));
    }
    assert!(server.joins.try_recv().is_err());
}

#[tokio::test]
async fn a_client_of_an_old_protocol_is_told_in_its_words() {
    let server = Server::start().await;
    let path = format!("/rtc?access_token={}&sdk=android&protocol=12&reconnect=1&sid={SID}", token("lobby"));
    let Some(Told::Leave(leave)) = server.connect(&path).await.told().await else { panic!("a leave") };
    assert!(leave.can_reconnect);
}

#[tokio::test]
async fn a_cut_socket_is_replaced_and_the_room_hears_nothing() {
    let server = Server::start().await;
    let (client, seat) = join(&server, &two("lobby")).await;
    drop(client);
    let mut client = server.connect(&again("lobby")).await;
    let Some(Told::Reconnect(reconnect)) = client.told().await else { panic!("reconnect comes first") };
    assert!(!reconnect.server_info.expect("of the server").version.is_empty());
    assert!(matches!(client.told().await, Some(Told::Update(update)) if update.participants[0].sid == SID));
    ping(&mut client).await;
    let restart = seat.request(|request| matches!(request, Request::RestartIce { .. }).then_some(()));
    restart.await;
    client.ask(Ask::Leave(proto::LeaveRequest::default())).await;
    assert_eq!(seat.left().await, LeaveReason::ClientInitiated);
    assert_eq!(server.metrics.resumed.load(Ordering::Relaxed), 1);
    assert_eq!(server.metrics.severed.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_client_that_comes_back_before_its_old_socket_is_known_to_be_dead_gets_no_leave_on_that() {
    let server = Server::start().await;
    let (mut old, _seat) = join(&server, &two("lobby")).await;
    let mut client = server.connect(&again("lobby")).await;
    assert!(matches!(client.told().await, Some(Told::Reconnect(_))));
    while let Some(told) = old.told().await {
        assert!(!matches!(told, Told::Leave(_)));
    }
    ping(&mut client).await;
}

#[tokio::test]
async fn one_connection_resumes_with_a_join_request() {
    let server = Server::start().await;
    let request = |reconnect| proto::JoinRequest {
        client_info: Some(proto::ClientInfo { protocol: 17, ..Default::default() }),
        reconnect,
        participant_sid: if reconnect { SID.to_owned() } else { String::new() },
        ..Default::default()
    };
    let path = |reconnect| {
        let request = wrapped(&request(reconnect), true);
        format!("/rtc/v1?access_token={}&join_request={request}", token("lobby"))
    };
    let (client, _seat) = join(&server, &path(false)).await;
    drop(client);
    let mut client = server.connect(&path(true)).await;
    assert!(matches!(client.told().await, Some(Told::Reconnect(_))));
    ping(&mut client).await;
}

#[tokio::test]
async fn nobody_resumes_the_session_of_somebody_else() {
    let server = Server::start().await;
    let (_client, _seat) = join(&server, &two("lobby")).await;
    let other = auth::Claims::join("bob", "lobby");
    let path =
        format!("/rtc?access_token={}&sdk=go&protocol=17&reconnect=1&sid={SID}", super::support::mint(other));
    assert_eq!(refusal(&mut server.connect(&path).await).await.1, proto::DisconnectReason::StateMismatch);
    assert_eq!(
        refusal(&mut server.connect(&again("another")).await).await.1,
        proto::DisconnectReason::StateMismatch
    );
}

#[tokio::test]
async fn a_token_that_has_expired_resumes_nothing() {
    let server = Server::start().await;
    let (_client, _seat) = join(&server, &two("lobby")).await;
    let long_ago = base::UnixMillis(NOW.0 - 3_600_000);
    let claims = auth::Claims::join("ada", "lobby").valid_for(long_ago, std::time::Duration::from_secs(600));
    let expired = auth::mint(auth::DEVELOPMENT_KEY, auth::DEVELOPMENT_SECRET, &claims);
    let path = format!("/rtc?access_token={expired}&sdk=go&protocol=17&reconnect=1&sid={SID}");
    let Err((status, _)) = server.try_connect(&path).await else { panic!("let in") };
    assert_eq!(status, 401);
}

#[tokio::test]
async fn who_was_replaced_is_told_so_when_it_comes_back_and_the_new_session_goes_on() {
    let server = Server::start().await;
    let (client, seat) = join(&server, &two("lobby")).await;
    drop(client);
    let path = format!("{}&reconnect=1&sid=PA_000000000007", two("lobby"));
    let told = refusal(&mut server.connect(&path).await).await;
    assert_eq!(told, (Action::Disconnect, proto::DisconnectReason::DuplicateIdentity));
    let mut client = server.connect(&again("lobby")).await;
    assert!(matches!(client.told().await, Some(Told::Reconnect(_))));
    drop(seat);
}

#[tokio::test]
async fn who_comes_back_to_a_session_that_ended_meanwhile_joins_anew() {
    let server = Server::start().await;
    let (client, seat) = join(&server, &two("lobby")).await;
    drop(client);
    seat.events.send(Event::Notice(Notice::Closed(LeaveReason::ParticipantRemoved))).await.expect("listens");
    server.sessions.ended().await;
    let told = refusal(&mut server.connect(&again("lobby")).await).await;
    assert_eq!(told, (Action::Reconnect, proto::DisconnectReason::StateMismatch));
}
