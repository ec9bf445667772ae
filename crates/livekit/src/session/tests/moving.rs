//! Going on in another room.

use std::sync::Arc;
use std::time::Duration;

use base::model::{LeaveReason, Notice};
use base::{CodecKind, MediaKind, ParticipantId, RoomName, TrackId};
use contract::session::{Event, Moved, Request, Session as RoomHandle};
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;

use super::support::*;

pub fn moving() -> Event {
    Event::Moving { room: RoomName::new("lounge") }
}

pub fn moved() -> Event {
    let (requests, _) = async_channel::bounded(1);
    Event::Moved(Box::new(Moved {
        participant: Arc::new(person(1, everything())),
        room: base::model::RoomInfo { name: RoomName::new("lounge"), ..room() },
        others: vec![Arc::new(person(3, everything()))],
        session: RoomHandle::new(ParticipantId(1), requests),
    }))
}

/// What a token says, unverified.
fn claims(token: &str) -> auth::Claims {
    auth::verify(&auth::ApiKeys::development(), token, NOW).expect("our own token").claims
}

/// On one connection, receiving track 20 of person 2.
fn watching(protocol: i32) -> Bench {
    let mut params = params(true, client(Sdk::Js, protocol));
    params.offer = Some(offer(CHROMIUM_V1_FIRST, 1));
    let mut bench = Bench::new(params);
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    bench.begin();
    bench
}

#[test]
fn a_client_that_knows_moves_is_told_the_room_the_people_and_a_token_for_it() {
    let mut bench = watching(16);
    let effects = bench.event(moving());
    assert!(matches!(effects.requests[..], [Request::MoveOn]), "{:?}", effects.requests);
    assert!(effects.frames.is_empty() && effects.end.is_none());
    let waits = bench.notice(Notice::Unsubscribe { track: TrackId(20) });
    assert!(waits.requests.is_empty(), "what is for the next room waits: {:?}", waits.requests);
    let mute = proto::MuteTrackRequest { sid: "TR_nothing".to_owned(), muted: true };
    assert!(bench.ask(Ask::Mute(mute)).requests.is_empty());

    let effects = bench.event(moved());
    assert!(effects.room.is_some());
    let sent = sections(&effects).expect("what waited goes to the new room");
    assert!(sent.send.is_empty(), "nothing of the old room is sent any more");
    let [Message::RoomMoved(told)] = &effects.frames[..] else { panic!("{:?}", effects.frames) };
    assert_eq!(told.room.as_ref().map(|room| room.name.as_str()), Some("lounge"));
    assert_eq!(told.participant.as_ref().map(|own| own.identity.as_str()), Some("person-1"));
    assert_eq!(told.other_participants.len(), 1);
    let claims = claims(&told.token);
    assert_eq!(claims.video.expect("grants").room, "lounge");
    assert_eq!((claims.sub.as_str(), claims.extra.contains_key("kindDetails")), ("person-1", true));

    bench.subscribe(3, track(30, MediaKind::Audio, CodecKind::Opus));
    let effects = bench.pass(Duration::from_millis(20));
    let asks = |message: &Message| matches!(message, Message::MediaSectionsRequirement(_));
    assert!(position(&effects, asks).is_some(), "the old track's section is to go inactive");
}

#[test]
fn a_client_that_does_not_know_moves_gets_a_token_for_the_room_and_is_told_to_join_again() {
    for (protocol, can_reconnect) in [(15, false), (12, true)] {
        let mut bench = watching(protocol);
        let effects = bench.event(moving());
        assert!(effects.requests.is_empty());
        let [Message::RefreshToken(token)] = &effects.frames[..] else { panic!("{:?}", effects.frames) };
        assert_eq!(claims(token).video.expect("grants").room, "lounge");
        let end = effects.end.expect("an end");
        assert_eq!(end.reason, Some(LeaveReason::Moved));
        let leave = end.leave.expect("told");
        assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
        assert_eq!(
            (leave.reason(), leave.can_reconnect),
            (proto::DisconnectReason::Migration, can_reconnect)
        );
    }
}
