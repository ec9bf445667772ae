//! What a native client does in a room: publish, subscribe, talk, leave.

use std::time::Duration;

use base::MediaKind;
use base::model::DataKind;
use client::{Ended, Event, Events, Layer, LocalTrack, Options, PublishError, Room, TrackSettings};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::server::Server;

const ROOM: &str = "talk";

pub async fn join(server: &Server, identity: &str, options: Options) -> (Room, Events) {
    let options = Options { timeout: PATIENCE, ..options };
    Room::connect(&server.socket_url(), &server.token(ROOM, identity), options).await.expect("it lets in")
}

/// Reads events until one is wanted.
pub async fn wait_for<T>(events: &Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let read = async {
        loop {
            let event = events.recv().await.expect("the session goes on");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, read).await.expect("it happens in time")
}

/// Sends frames until told to stop.
pub fn speak(publication: client::Publication) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(20));
        for number in 0u32.. {
            interval.tick().await;
            // Every frame of a video is a keyframe: the lowest bit of its first byte is 0.
            if !publication.send(vec![0x10; 2_500], number.wrapping_mul(1_800)) {
                return;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tracks_that_are_published_later_reach_a_viewer_whose_offer_had_no_room_for_them() {
    let server = Server::start();
    let none = Options { receive: (0, 0), ..Options::default() };
    let (viewer, seen) = join(&server, "viewer", none).await;
    let (publisher, heard) = join(&server, "publisher", Options::default()).await;
    let (mut wanted, mut speaking) = (Vec::new(), Vec::new());
    for track in [LocalTrack::microphone(), LocalTrack::camera(320, 180), LocalTrack::microphone()] {
        let publication = publisher.publish(track).await.expect("the token allows it");
        wanted.push((publication.sid().expect("the server named it").to_string(), publication.kind()));
        speaking.push(speak(publication));
    }
    wanted.sort_unstable();
    let mut arrived: Vec<(String, MediaKind)> = Vec::new();
    let all = wait_for(&seen, |event| {
        if let Event::Packet(packet) = event {
            let track = (packet.track.to_string(), packet.kind);
            if !arrived.contains(&track) {
                arrived.push(track);
            }
        }
        (arrived.len() == 3).then(|| arrived.clone())
    });
    let mut all = all.await;
    all.sort_unstable();
    assert_eq!(all, wanted);
    let asked = |event| matches!(event, Event::KeyframeRequested { .. }).then_some(());
    let asking = async {
        // The server passes on one in a while.
        loop {
            let video = all.iter().find(|(_, kind)| *kind == MediaKind::Video).expect("there is one");
            viewer.request_keyframe(&video.0);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = wait_for(&heard, asked) => {}
        () = asking => {}
    }
    speaking.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_with_the_join_is_heard_and_ends_with_the_subscription() {
    let server = Server::start();
    let speaking = Options { publish: vec![LocalTrack::microphone()], ..Options::default() };
    let (speaker, _events) = join(&server, "speaker", speaking).await;
    let task = speak(speaker.published()[0].clone());
    let (viewer, events) = join(&server, "viewer", Options::default()).await;
    let track = wait_for(&events, |event| match event {
        Event::Packet(packet) => Some(packet.track.to_string()),
        _ => None,
    });
    let track = track.await;
    assert_eq!(speaker.published()[0].sid().as_deref(), Some(track.as_str()));
    assert!(viewer.subscribe(vec![track.clone()], false).await);
    let mut quiet = false;
    for _ in 0..100 {
        let count = viewer.counters().tracks[track.as_str()].packets;
        tokio::time::sleep(Duration::from_millis(200)).await;
        quiet = viewer.counters().tracks[track.as_str()].packets == count;
        if quiet {
            break;
        }
    }
    assert!(quiet, "packets still come");
    while events.try_recv().is_ok() {}
    assert!(viewer.subscribe(vec![track.clone()], true).await);
    wait_for(&events, |event| matches!(event, Event::Packet(_)).then_some(())).await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliable_messages_arrive_complete_and_in_order_and_only_where_they_are_sent() {
    let server = Server::start();
    let (ada, _ada_events) = join(&server, "ada", Options::default()).await;
    let (_bob, bob_events) = join(&server, "bob", Options::default()).await;
    let (_eve, eve_events) = join(&server, "eve", Options::default()).await;
    assert!(ada.send_data(DataKind::Reliable, "secret", "for bob alone", &["bob"]));
    for number in 0..200u32 {
        assert!(ada.send_data(DataKind::Reliable, "count", number.to_be_bytes().to_vec(), &[]));
    }
    assert!(ada.send_data(DataKind::Lossy, "lossy", "now or never", &[]));
    assert!(ada.send_data(DataKind::Reliable, "large", vec![5; 60_000], &[]));
    for (events, secrets) in [(&bob_events, 1), (&eve_events, 0)] {
        let (mut numbers, mut seen, mut lossy) = (Vec::new(), 0, 0);
        let large = wait_for(events, |event| {
            let Event::Data(message) = event else { return None };
            assert_eq!(message.from, "ada");
            match message.topic.as_str() {
                "secret" => seen += 1,
                "count" => {
                    let bytes = message.payload.as_ref().try_into().expect("four bytes");
                    numbers.push(u32::from_be_bytes(bytes));
                }
                "lossy" => {
                    assert_eq!(message.kind, DataKind::Lossy);
                    lossy += 1;
                }
                _ => return Some(message.payload),
            }
            None
        });
        assert_eq!(large.await.len(), 60_000);
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
        assert_eq!(seen, secrets);
        assert!(lossy <= 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_is_gone_for_the_others_and_who_joins_again_replaces_the_first() {
    let server = Server::start();
    let (_ada, events) = join(&server, "ada", Options::default()).await;
    let (first, first_events) = join(&server, "bob", Options::default()).await;
    let came = |event| match event {
        Event::Participant(person) if person.identity == "bob" => Some(person.sid),
        _ => None,
    };
    assert_eq!(wait_for(&events, came).await, first.sid());
    let (second, _second_events) = join(&server, "bob", Options::default()).await;
    let ended = |event| match event {
        Event::Ended(why) => Some(why),
        _ => None,
    };
    assert_eq!(wait_for(&first_events, ended).await, Ended::ByServer("DUPLICATE_IDENTITY".to_owned()));
    let replaced = |event| came(event).filter(|sid| *sid == second.sid());
    wait_for(&events, replaced).await;
    second.leave().await;
    let left = |event| match event {
        Event::ParticipantLeft { identity } => Some(identity),
        _ => None,
    };
    assert_eq!(wait_for(&events, left).await, "bob");
    server.has_peers(1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_without_the_right_is_told_so() {
    let server = Server::start();
    let token = server.token_with(ROOM, "ada", |claims| {
        claims.video.get_or_insert_default().can_publish = Some(false);
    });
    let options = Options { publish: vec![LocalTrack::microphone()], ..Options::default() };
    let (room, events) = Room::connect(&server.socket_url(), &token, options).await.expect("it lets in");
    let refused = |event| match event {
        Event::PublishRefused { name, reason } => Some((name, reason)),
        _ => None,
    };
    let (name, reason) = wait_for(&events, refused).await;
    assert!(name == "microphone" && reason.contains("NOT_ALLOWED"), "{name}: {reason}");
    let outcome = timeout(PATIENCE, room.publish(LocalTrack::camera(320, 180))).await.expect("an answer");
    assert!(matches!(outcome, Err(PublishError::Refused(reason)) if reason.contains("NOT_ALLOWED")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_come_out_as_they_went_in_of_the_layer_that_is_asked_for() {
    let server = Server::start();
    let layers = [Layer::new(320, 180, 100_000), Layer::new(1280, 720, 1_000_000)];
    let publishing = Options { publish: vec![LocalTrack::simulcast(&layers)], ..Options::default() };
    let (publisher, _events) = join(&server, "publisher", publishing).await;
    let camera = publisher.published()[0].clone();
    let task = tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(33));
        for number in 0u32.. {
            interval.tick().await;
            for layer in [0, 1] {
                // Every frame is a keyframe; its length tells the layer.
                let sent =
                    camera.send_layer(layer, vec![0x10; 2_000 * (usize::from(layer) + 1)], number * 3_000);
                if !sent {
                    return;
                }
            }
        }
    });
    let frames = Options { packets: false, frames: true, ..Options::default() };
    let (viewer, events) = join(&server, "viewer", frames).await;
    let of_length = |len| {
        wait_for(&events, move |event| match event {
            Event::Frame(frame) if frame.payload.len() == len => Some(frame),
            _ => None,
        })
    };
    let frame = of_length(4_000).await;
    assert!(frame.keyframe && frame.payload.iter().all(|byte| *byte == 0x10));
    let small = TrackSettings { width: 320, height: 180, ..TrackSettings::default() };
    assert!(viewer.set_track_settings(vec![frame.track.to_string()], small).await);
    of_length(2_000).await;
    task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_publishes_again_and_again_is_heard_each_time() {
    let server = Server::start();
    let (speaker, _events) = join(&server, "speaker", Options::default()).await;
    let hearing = Options { packets: true, ..Options::default() };
    let (_viewer, events) = join(&server, "viewer", hearing).await;
    for round in 0..3u8 {
        let microphone = speaker.publish(LocalTrack::microphone()).await.expect("it may");
        let until = tokio::time::Instant::now() + PATIENCE;
        for number in 0u32.. {
            assert!(tokio::time::Instant::now() < until, "round {round} is not heard");
            microphone.send(vec![round; 50], number * 960);
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut heard = std::iter::from_fn(|| events.try_recv().ok());
            if heard.any(|event| matches!(event, Event::Packet(packet) if packet.payload[0] == round)) {
                break;
            }
        }
        assert!(microphone.unpublish().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_mutes_and_who_unpublishes_is_seen_to() {
    let server = Server::start();
    let speaking = Options { publish: vec![LocalTrack::microphone()], ..Options::default() };
    let (speaker, _events) = join(&server, "speaker", speaking).await;
    let microphone = speaker.published()[0].clone();
    let (viewer, events) = join(&server, "viewer", Options::default()).await;
    assert_eq!(viewer.participants()[0].identity, "speaker");
    for muted in [true, false] {
        assert!(microphone.set_muted(muted).await);
        wait_for(&events, |event| match event {
            Event::Participant(person) if person.tracks.iter().any(|track| track.muted == muted) => Some(()),
            _ => None,
        })
        .await;
    }
    assert!(microphone.unpublish().await);
    wait_for(&events, |event| match event {
        Event::Participant(person) if person.tracks.is_empty() => Some(()),
        _ => None,
    })
    .await;
}
