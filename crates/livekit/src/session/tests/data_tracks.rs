//! Data tracks and blobs.

use std::sync::Arc;

use base::model::{DataHandle, DataTrack, Encryption, Notice};
use base::{Identity, ParticipantId, TrackId};
use contract::session::{DataTrackRefused, Event, Request};
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::request_response::{Reason, Request as Echo};
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;

use super::support::*;

fn bench() -> Bench {
    let mut bench = Bench::new(params(true, client(Sdk::Js, 17)));
    bench.begin();
    bench
}

fn publish(handle: u32, name: &str) -> Ask {
    let request =
        proto::PublishDataTrackRequest { pub_handle: handle, name: name.to_owned(), ..Default::default() };
    Ask::PublishDataTrackRequest(request)
}

fn asked(bench: &mut Bench, ask: Ask) -> Option<DataTrack> {
    bench.ask(ask).requests.into_iter().find_map(|request| match request {
        Request::PublishDataTrack(track) => Some(track),
        _ => None,
    })
}

fn response(frames: &[Message]) -> Option<(Reason, Option<u32>)> {
    frames.iter().find_map(|frame| match frame {
        Message::RequestResponse(response) => {
            let handle = match &response.request {
                Some(Echo::PublishDataTrack(request)) => Some(request.pub_handle),
                Some(Echo::UnpublishDataTrack(request)) => Some(request.pub_handle),
                _ => None,
            };
            Some((response.reason(), handle))
        }
        _ => None,
    })
}

fn data_track(handle: u16) -> DataTrack {
    DataTrack {
        id: TrackId(77),
        handle,
        name: "angle".to_owned(),
        encryption: Encryption::None,
        encoding: None,
        schema: None,
    }
}

#[test]
fn a_data_track_is_published_and_taken_down_with_its_own_responses() {
    let mut bench = bench();
    let track = asked(&mut bench, publish(3, "angle")).expect("the room is asked");
    assert_eq!((track.handle, track.name.as_str()), (3, "angle"));
    let outcome = Ok(Arc::new(track.clone()));
    let frames = bench.event(Event::DataTrackPublished { handle: 3, outcome }).frames;
    let [Message::PublishDataTrackResponse(published)] = &frames[..] else { panic!("{frames:?}") };
    let info = published.info.as_ref().expect("told what it is");
    assert_eq!((info.pub_handle, &info.sid), (3, &format!("DTR_{}", track.id)));
    let unpublish = Ask::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle: 3 });
    let requests = bench.ask(unpublish).requests;
    assert!(matches!(requests[..], [Request::UnpublishDataTrack { handle: 3 }]), "{requests:?}");
    let track = Some(Arc::new(track));
    let frames = bench.event(Event::DataTrackUnpublished { handle: 3, track }).frames;
    assert!(matches!(&frames[..], [Message::UnpublishDataTrackResponse(_)]), "{frames:?}");
    let frames = bench.notice(Notice::DataTrackRemoved(Arc::new(data_track(4)))).frames;
    assert!(matches!(&frames[..], [Message::UnpublishDataTrackResponse(_)]), "{frames:?}");
}

#[test]
fn a_refused_data_track_is_answered_with_its_request_since_clients_find_it_by_its_handle() {
    let mut bench = bench();
    let reasons = [
        (DataTrackRefused::NotAllowed, Reason::NotAllowed),
        (DataTrackRefused::DuplicateHandle, Reason::DuplicateHandle),
        (DataTrackRefused::DuplicateName, Reason::DuplicateName),
        (DataTrackRefused::LimitExceeded, Reason::LimitExceeded),
    ];
    for (refused, reason) in reasons {
        asked(&mut bench, publish(9, "angle")).expect("the room is asked");
        let frames = bench.event(Event::DataTrackPublished { handle: 9, outcome: Err(refused) }).frames;
        assert_eq!(response(&frames), Some((reason, Some(9))));
    }
    for (handle, name, reason) in [(0, "x", Reason::InvalidHandle), (1, "", Reason::InvalidName)] {
        let frames = bench.ask(publish(handle, name)).frames;
        assert_eq!(response(&frames), Some((reason, Some(handle))));
    }
    let unpublish =
        |pub_handle| Ask::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle });
    assert_eq!(response(&bench.ask(unpublish(70_000)).frames), Some((Reason::NotFound, Some(70_000))));
    let frames = bench.event(Event::DataTrackUnpublished { handle: 5, track: None }).frames;
    assert_eq!(response(&frames), Some((Reason::NotFound, Some(5))));
}

#[test]
fn publications_that_wait_for_the_room_are_bounded_and_each_handle_waits_once() {
    let mut bench = bench();
    for handle in 1..=100 {
        asked(&mut bench, publish(handle, &handle.to_string())).expect("the room is asked");
    }
    assert_eq!(response(&bench.ask(publish(101, "more")).frames), Some((Reason::LimitExceeded, Some(101))));
    bench.event(Event::DataTrackPublished { handle: 7, outcome: Ok(Arc::new(data_track(7))) });
    assert_eq!(response(&bench.ask(publish(8, "more")).frames), Some((Reason::DuplicateHandle, Some(8))));
    assert!(asked(&mut bench, publish(101, "more")).is_some());
}

#[test]
fn subscriptions_reach_the_room_and_handles_the_client() {
    let mut bench = bench();
    let update = |track_sid: &str, subscribe| proto::update_data_subscription::Update {
        track_sid: track_sid.to_owned(),
        subscribe,
        options: None,
    };
    let sid = format!("DTR_{}", TrackId(77));
    let updates = vec![update(&sid, true), update("TR_nonsense", true), update(&sid, false)];
    let requests = bench.ask(Ask::UpdateDataSubscription(proto::UpdateDataSubscription { updates })).requests;
    let [Request::UpdateDataSubscription { updates }] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(updates[..], [(TrackId(77), true), (TrackId(77), false)]);
    let publisher = ParticipantId(2);
    let identity = Identity::new("person-2");
    let handles = vec![DataHandle { handle: 12, track: TrackId(77), publisher, identity }];
    let frames = bench.notice(Notice::DataHandles(handles)).frames;
    let [Message::DataTrackSubscriberHandles(handles)] = &frames[..] else { panic!("{frames:?}") };
    let handle = &handles.sub_handles[&12];
    assert_eq!((handle.publisher_identity.as_str(), &handle.track_sid), ("person-2", &sid));
    assert_eq!(handle.publisher_sid, format!("PA_{publisher}"));
}

#[test]
fn others_are_told_of_data_tracks_with_their_participant() {
    let mut bench = bench();
    let mut other = person(2, everything());
    other.data_tracks.push(data_track(6));
    let frames = bench.notice(Notice::Participants(vec![Arc::new(other)])).frames;
    let [Message::Update(update)] = &frames[..] else { panic!("{frames:?}") };
    let info = &update.participants[0];
    assert!(info.is_publisher);
    assert_eq!(info.data_tracks[0].sid, format!("DTR_{}", TrackId(77)));
}

#[test]
fn blobs_of_data_are_off_and_every_request_is_answered() {
    let mut bench = bench();
    let answer = |bench: &mut Bench, ask| {
        let frames = bench.ask(ask).frames;
        let [Message::RequestResponse(response)] = &frames[..] else { panic!("{frames:?}") };
        (response.request_id, response.reason())
    };
    let store = proto::StoreDataBlobRequest { request_id: 4, blob: None };
    assert_eq!(answer(&mut bench, Ask::StoreDataBlobRequest(store)), (4, Reason::NotAllowed));
    let get = |request_id, key| {
        Ask::GetDataBlobRequest(proto::GetDataBlobRequest { request_id, key, ..Default::default() })
    };
    assert_eq!(answer(&mut bench, get(5, Some(Default::default()))), (5, Reason::NotAllowed));
    assert_eq!(answer(&mut bench, get(6, None)), (6, Reason::InvalidRequest));
}
