//! Sessions without a network: what they ask of the room, and what they answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::model::{
    Backup, BackupPolicy, BackupStream, Permissions, Track, TrackSettings, TrackSource, VideoLayer,
};
use base::{CodecKind, Identity, ParticipantId, TrackId};
use contract::media::{Fingerprint, Sections, SetupTimes};
use contract::session::{PublishRefused, PublishTrack};
use rand::SeedableRng as _;

use super::*;

const PUBLISH: &str = include_str!("../../tests/publish.sdp");
const PLAY: &str = include_str!("../../tests/play.sdp");
const DEADLINE: Duration = Duration::from_secs(60);

fn read(protocol: Protocol, text: &str) -> Result<Offer, u16> {
    Offer::read(protocol, text, true).map_err(|refusal| refusal.status.as_u16())
}

fn person(id: u64, permissions: Permissions) -> Participant {
    Participant { permissions, ..Participant::new(ParticipantId(id), Identity::new("ada")) }
}

fn everything() -> Permissions {
    Permissions { publish: true, subscribe: true, ..Permissions::default() }
}

fn session(protocol: Protocol, text: &str, permissions: Permissions, now: Instant) -> Session {
    let offer = read(protocol, text).expect("a good offer");
    let worker = WorkerInfo {
        index: 0,
        candidates: vec!["192.0.2.7:7882".parse().expect("an address")],
        fingerprint: Fingerprint([7; 32]),
    };
    let rng = StdRng::seed_from_u64(1);
    Session::new(protocol, offer, &person(1, permissions), worker, now + DEADLINE, rng)
}

fn track(id: u64, kind: MediaKind, codec: CodecKind) -> Arc<Track> {
    Arc::new(Track::new(TrackId(id), kind, codec))
}

fn asked(requests: &[Request]) -> Vec<PublishTrack> {
    let asked = |request: &Request| match request {
        Request::Publish(track) => Some(track.clone()),
        _ => None,
    };
    requests.iter().filter_map(asked).collect()
}

fn last_sections(requests: &[Request]) -> Option<Sections> {
    let sections = |request: &Request| match request {
        Request::SetSections { sections, .. } => Some(sections.clone()),
        _ => None,
    };
    requests.iter().rev().find_map(sections)
}

/// A publisher whose tracks (11 and 12) the room has accepted, and what it asked for since.
fn publisher(now: Instant) -> (Session, Vec<Request>) {
    let mut session = session(Protocol::Whip, PUBLISH, everything(), now);
    session.begin();
    session.take_requests();
    for (cid, id, kind) in [("0", 11, MediaKind::Audio), ("1", 12, MediaKind::Video)] {
        assert_eq!(session.outcome(), None, "not answered yet");
        session.event(Event::Published { cid: cid.to_owned(), outcome: Ok(track(id, kind, CodecKind::Vp8)) });
    }
    let requests = session.take_requests();
    (session, requests)
}

fn subscribe(session: &mut Session, publisher: u64, track: Arc<Track>) {
    let publisher = Arc::new(person(publisher, everything()));
    session.event(Event::Notice(Notice::Subscribe { publisher, track }));
}

fn fragment(ufrag: &str) -> Fragment {
    let password = "P2uYro0UCOQ4zxjKXaWCBui1".to_owned();
    Fragment { ice: Some(Ice { ufrag: ufrag.to_owned(), password }) }
}

fn status(outcome: Result<Patched, Refusal>) -> u16 {
    match outcome {
        Ok(Patched::Trickled) => 204,
        Ok(Patched::Restarted { .. }) => 200,
        Err(refusal) => refusal.status.as_u16(),
    }
}

#[test]
fn what_is_published_is_described_by_the_offer_alone() {
    let mut session = session(Protocol::Whip, PUBLISH, everything(), Instant::now());
    session.begin();
    let tracks = asked(&session.take_requests());
    let [audio, video] = &tracks[..] else { panic!("{tracks:?}") };
    assert_eq!((audio.codec, audio.source, audio.stereo), (CodecKind::Opus, TrackSource::Microphone, true));
    assert!(audio.no_dtx && audio.disable_red);
    assert_eq!((video.codec, video.source), (CodecKind::H264, TrackSource::Camera));
    let qualities: Vec<u8> = video.layers.iter().map(|layer| layer.quality).collect();
    assert_eq!(qualities, [0, 1]);
}

#[test]
fn tracks_are_announced_when_the_room_has_accepted_all_of_them() {
    let (mut session, requests) = publisher(Instant::now());
    assert_eq!(session.outcome(), Some(Ok(())));
    let sections = last_sections(&requests).expect("told to the worker");
    let tracks: Vec<_> = sections.receive.iter().map(|section| section.track).collect();
    assert_eq!(tracks, [Some(TrackId(11)), Some(TrackId(12))]);
    let rids: Vec<&str> = sections.receive[1].rids.iter().map(|rid| rid.as_str()).collect();
    assert_eq!(rids, ["q", "f"], "lowest first");
    let simulcast = requests.iter().filter_map(|request| match request {
        Request::TrackNegotiated { codec, simulcast, .. } => Some((*codec, *simulcast)),
        _ => None,
    });
    assert_eq!(simulcast.collect::<Vec<_>>(), [(CodecKind::Opus, false), (CodecKind::H264, true)]);

    let answer = session.answer();
    for line in
        ["a=simulcast:recv q;f", "a=recvonly", "a=setup:passive", "m=video 9 UDP/TLS/RTP/SAVPF 102 103"]
    {
        assert!(answer.contains(&format!("{line}\r\n")), "{line} is missing:\n{answer}");
    }
    assert!(!answer.contains("VP8") && !answer.contains("red/48000"), "one codec only:\n{answer}");
}

#[test]
fn one_refused_track_refuses_the_session() {
    for (refused, expected) in [(PublishRefused::NotAllowed, 403), (PublishRefused::LimitExceeded, 409)] {
        let mut session = session(Protocol::Whip, PUBLISH, everything(), Instant::now());
        session.begin();
        session.take_requests();
        let accepted = Ok(track(11, MediaKind::Audio, CodecKind::Opus));
        session.event(Event::Published { cid: "0".to_owned(), outcome: accepted });
        session.event(Event::Published { cid: "1".to_owned(), outcome: Err(refused) });
        let refusal = session.outcome().expect("answered").expect_err("refused");
        assert_eq!(refusal.status.as_u16(), expected);
        assert!(session.take_requests().is_empty(), "nothing is announced");
    }
}

#[test]
fn a_token_for_the_screen_alone_publishes_a_screen() {
    let sources = vec![TrackSource::ScreenShare, TrackSource::ScreenShareAudio];
    let permissions = Permissions { publish_sources: Some(sources.clone()), ..everything() };
    let mut session = session(Protocol::Whip, PUBLISH, permissions, Instant::now());
    session.begin();
    let found: Vec<_> = asked(&session.take_requests()).iter().map(|track| track.source).collect();
    assert_eq!(found, [TrackSource::ScreenShareAudio, TrackSource::ScreenShare]);
}

#[test]
fn offers_that_break_a_rule_are_refused_before_anybody_joins() {
    let second_video =
        format!("{PUBLISH}{}", PUBLISH[PUBLISH.find("m=video").expect("there")..].replace("mid:1", "mid:2"))
            .replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    for (protocol, text, expected) in [
        (Protocol::Whip, "hello".to_owned(), 400),
        (Protocol::Whip, String::new(), 400),
        (Protocol::Whip, PLAY.to_owned(), 422),
        (Protocol::Whep, PUBLISH.to_owned(), 422),
        (Protocol::Whip, second_video, 422),
        (Protocol::Whip, PUBLISH.replace("a=group:BUNDLE 0 1\n", ""), 422),
        (Protocol::Whip, PUBLISH.replace("BUNDLE 0 1", "BUNDLE 0"), 422),
        (Protocol::Whip, PUBLISH.replace("actpass", "passive"), 422),
        (Protocol::Whip, PUBLISH.replace("opus", "speex"), 422),
        (Protocol::Whip, PUBLISH.replace("a=ice-ufrag:EsAw\n", ""), 422),
        (Protocol::Whip, PUBLISH.replace("sha-256", "sha-1"), 422),
        (Protocol::Whip, PUBLISH.split("m=audio").next().unwrap_or_default().to_owned(), 422),
    ] {
        assert_eq!(read(protocol, &text).err(), Some(expected), "{text}");
    }
}

#[test]
fn a_player_gets_a_picture_with_its_own_sound_in_the_sections_that_it_has() {
    let mut session = session(Protocol::Whep, PLAY, everything(), Instant::now());
    subscribe(&mut session, 2, track(21, MediaKind::Audio, CodecKind::Opus));
    subscribe(&mut session, 3, track(31, MediaKind::Audio, CodecKind::Opus));
    subscribe(&mut session, 3, track(32, MediaKind::Video, CodecKind::Vp8));
    subscribe(&mut session, 4, track(42, MediaKind::Video, CodecKind::Vp8));
    assert!(session.take_requests().is_empty(), "there is no connection yet");
    session.begin();
    let sections = last_sections(&session.take_requests()).expect("told to the worker");
    let tracks: Vec<_> = sections.send.iter().map(|section| section.track).collect();
    assert_eq!(tracks, [TrackId(31), TrackId(32)]);
    let answer = session.answer();
    assert_eq!(answer.matches("a=sendonly\r\n").count(), 2, "{answer}");
    assert_eq!(answer.matches("a=msid:stoa ").count(), 2, "one stream:\n{answer}");
    assert!(!answer.contains("a=ssrc"), "a section may carry one stream after another:\n{answer}");
}

#[test]
fn tracks_that_come_later_take_sections_that_are_free() {
    let mut session = session(Protocol::Whep, PLAY, everything(), Instant::now());
    session.begin();
    session.take_requests();
    subscribe(&mut session, 2, track(22, MediaKind::Video, CodecKind::Vp8));
    let first = last_sections(&session.take_requests()).expect("it plays").send;
    subscribe(&mut session, 3, track(32, MediaKind::Video, CodecKind::Vp8));
    assert!(session.take_requests().is_empty(), "there is no room for it");
    session.event(Event::Notice(Notice::Unsubscribe { track: TrackId(22) }));
    let second = last_sections(&session.take_requests()).expect("the other plays").send;
    assert_eq!((first[0].track, second[0].track), (TrackId(22), TrackId(32)));
    assert_ne!(first[0].ssrc, second[0].ssrc, "another stream");
    session.event(Event::Notice(Notice::Unsubscribe { track: TrackId(32) }));
    assert_eq!(last_sections(&session.take_requests()), Some(Sections::default()));
}

#[test]
fn a_track_that_the_player_cannot_decode_leaves_the_section_to_others() {
    let mut session = session(Protocol::Whep, PLAY, everything(), Instant::now());
    subscribe(&mut session, 2, track(22, MediaKind::Video, CodecKind::Av1));
    subscribe(&mut session, 3, track(32, MediaKind::Video, CodecKind::H264));
    session.begin();
    let sections = last_sections(&session.take_requests()).expect("told to the worker");
    assert_eq!(sections.send.len(), 1);
    assert_eq!(sections.send[0].track, TrackId(32));
}

#[test]
fn a_player_without_the_first_codec_gets_the_second() {
    let mut session = session(Protocol::Whep, PLAY, everything(), Instant::now());
    session.begin();
    session.take_requests();
    let plain = track(32, MediaKind::Video, CodecKind::Av1);
    let with = |sent: bool| {
        let mid = Mid::new(b"9").expect("a mid");
        let stream = BackupStream { mid, cid: String::new(), simulcast: false, layers: Vec::new() };
        let backup =
            Backup { codec: CodecKind::Vp8, policy: BackupPolicy::Simulcast, stream: sent.then_some(stream) };
        Arc::new(Track { backup: Some(backup), ..(*plain).clone() })
    };
    subscribe(&mut session, 3, with(false));
    let requests = session.take_requests();
    let asks = |request: &Request| matches!(request, Request::NeedBackup { track: TrackId(32) });
    assert_eq!(requests.iter().filter(|request| asks(request)).count(), 1);
    assert_eq!(last_sections(&requests).expect("told").send, []);
    session.event(Event::Notice(Notice::EncodingsChanged { track: with(true) }));
    let requests = session.take_requests();
    assert!(!requests.iter().any(asks));
    assert_eq!(last_sections(&requests).expect("told").send[0].track, TrackId(32).backup());
    session.event(Event::Notice(Notice::Unsubscribe { track: TrackId(32) }));
    assert_eq!(last_sections(&session.take_requests()).expect("told").send, []);
}

/// A track in three layers, of rids or within one stream.
fn layered(id: u64, simulcast: bool) -> Arc<Track> {
    let layer = |quality: u8| VideoLayer {
        quality,
        width: 320 << quality,
        height: 180 << quality,
        bitrate: 100_000 << quality,
        ssrc: 0,
        spatial: quality,
    };
    let plain = track(id, MediaKind::Video, CodecKind::Vp8);
    Arc::new(Track { layers: (0..3).map(layer).collect(), simulcast, ..(*plain).clone() })
}

fn settings(requests: &[Request]) -> Vec<(TrackId, TrackSettings)> {
    let asked = |request: &Request| match request {
        Request::TrackSettings { tracks, settings } => Some((tracks[0], *settings)),
        _ => None,
    };
    requests.iter().filter_map(asked).collect()
}

/// Any layer, and never none.
fn unchosen() -> TrackSettings {
    TrackSettings { firm: true, ..TrackSettings::default() }
}

fn choose(session: &mut Session, json: &str) -> Result<Vec<(TrackId, TrackSettings)>, u16> {
    let choice = serde_json::from_str(json).expect("a choice");
    session.choose(choice).map_err(|refusal| refusal.status.as_u16())?;
    Ok(settings(&session.take_requests()))
}

#[test]
fn a_player_chooses_a_layer_by_its_name_its_number_or_its_size() {
    let auto = unchosen();
    for (simulcast, json, expected) in [
        (true, r#"{"rid": "q"}"#, TrackSettings { quality: 0, ..auto }),
        (true, r#"{"mediaId": "1", "encodingId": "h"}"#, TrackSettings { quality: 1, ..auto }),
        (true, r#"{"maxHeight": 400}"#, TrackSettings { quality: 1, ..auto }),
        (true, r#"{"maxWidth": 100}"#, TrackSettings { quality: 0, ..auto }),
        (false, r#"{"spatialLayerId": 1}"#, TrackSettings { quality: 1, ..auto }),
        (
            false,
            r#"{"maxSpatialLayerId": 0, "temporalLayerId": 1}"#,
            TrackSettings { quality: 0, fps: 15, ..auto },
        ),
        (true, r#"{"paused": true, "of": "a newer draft"}"#, TrackSettings { disabled: true, ..auto }),
        (true, "{}", auto),
    ] {
        let mut session = session(Protocol::Whep, PLAY, everything(), Instant::now());
        session.begin();
        subscribe(&mut session, 3, layered(32, simulcast));
        session.take_requests();
        assert_eq!(choose(&mut session, json), Ok(vec![(TrackId(32), expected)]), "{json}");
    }
}

#[test]
fn no_connection_is_too_slow_for_the_lowest_layer_of_a_picture_that_a_player_wants() {
    let mut session = session(Protocol::Whep, PLAY, everything(), Instant::now());
    session.begin();
    session.take_requests();
    subscribe(&mut session, 3, track(31, MediaKind::Audio, CodecKind::Opus));
    assert_eq!(settings(&session.take_requests()), []);
    subscribe(&mut session, 4, layered(32, true));
    assert_eq!(settings(&session.take_requests()), [(TrackId(32), unchosen())]);
}

#[test]
fn what_a_player_chose_holds_for_the_section_whoever_is_played_there() {
    let mut session = session(Protocol::Whep, PLAY, everything(), Instant::now());
    session.begin();
    session.take_requests();
    assert_eq!(
        choose(&mut session, r#"{"maxHeight": 200, "temporalLayerId": 0}"#),
        Ok(vec![]),
        "nothing is played yet"
    );
    subscribe(&mut session, 3, layered(32, true));
    let low = TrackSettings { quality: 0, fps: 8, ..unchosen() };
    assert_eq!(settings(&session.take_requests()), [(TrackId(32), low)]);
    assert_eq!(choose(&mut session, r#"{"mediaId": "7"}"#), Err(400), "no such section");
    assert_eq!(choose(&mut session, r#"{"rid": "x"}"#), Err(422), "no such layer");
    session.event(Event::Notice(Notice::Unsubscribe { track: TrackId(32) }));
    subscribe(&mut session, 4, track(42, MediaKind::Video, CodecKind::Vp8));
    let asked = settings(&session.take_requests());
    assert_eq!(asked, [(TrackId(42), TrackSettings { fps: 8, ..unchosen() })], "it has one layer");
}

#[test]
fn a_player_is_told_what_it_may_choose_from() {
    let mut session = session(Protocol::Whep, PLAY, everything(), Instant::now());
    session.begin();
    assert_eq!(session.news(), News::default());
    subscribe(&mut session, 3, layered(32, true));
    let news = session.news();
    assert!(news.active);
    let layers = serde_json::Value::Object(news.layers);
    assert_eq!(layers["1"][0]["rid"], "f", "the best first: {layers}");
    assert_eq!(
        layers["1"][2],
        serde_json::json!({"rid": "q", "encodingId": "q", "bitrate": 100_000, "width": 320, "height": 180})
    );
    session.event(Event::Notice(Notice::Unsubscribe { track: TrackId(32) }));
    subscribe(&mut session, 3, layered(33, false));
    assert_eq!(session.news().layers["1"][0]["spatialLayerId"], 2);
}

#[test]
fn candidates_are_taken_for_the_current_ice_session_only() {
    let (mut session, _) = publisher(Instant::now());
    let etag = format!("\"{}\"", session.etag());
    let candidates = Fragment { ice: None };
    assert_eq!(status(session.patch(None, candidates.clone())), 428);
    assert_eq!(status(session.patch(Some("\"old\""), candidates.clone())), 412);
    assert_eq!(status(session.patch(Some(&etag), candidates.clone())), 204);
    let same = Fragment { ice: Some(session.remote.clone()) };
    assert_eq!(status(session.patch(Some(&etag), same.clone())), 204);
    assert_eq!(status(session.patch(Some("*"), same)), 204, "nothing was restarted");
    assert!(session.take_requests().is_empty(), "candidates are of no use to us");
}

#[test]
fn new_credentials_restart_ice_with_a_new_entity_tag() {
    let (mut session, _) = publisher(Instant::now());
    let old = format!("\"{}\"", session.etag());
    let Ok(Patched::Restarted { etag, fragment: told }) = session.patch(Some("*"), fragment("newu")) else {
        panic!("no restart");
    };
    assert_ne!(format!("\"{etag}\""), old);
    let requests = session.take_requests();
    let [Request::RestartIce { local, .. }, Request::SetRemote { remote, .. }] = &requests[..] else {
        panic!("{requests:?}");
    };
    assert_eq!(remote.ufrag, "newu");
    let ours = sdp::parse_fragment(&told).expect("a fragment").ice.expect("credentials");
    assert_eq!((&ours.ufrag, &ours.password), (&local.ufrag, &local.password));
    assert!(told.contains("192.0.2.7 7882"), "{told}");
    assert_eq!(status(session.patch(Some(&old), Fragment { ice: None })), 412, "a late PATCH of before");
}

#[test]
fn a_restart_whose_answer_was_lost_may_be_asked_for_again() {
    let (mut session, _) = publisher(Instant::now());
    let first = session.patch(Some("*"), fragment("newu"));
    session.take_requests();
    assert_eq!(session.patch(Some("*"), fragment("newu")), first);
    assert!(session.take_requests().is_empty(), "ICE is not restarted twice");
    assert_ne!(session.patch(Some("*"), fragment("next")), first);
}

#[test]
fn a_session_whose_media_never_comes_ends() {
    let now = Instant::now();
    let (mut session, _) = publisher(now);
    session.handle_timeout(now + DEADLINE / 2);
    assert_eq!(session.end(), None);
    session.handle_timeout(session.poll_timeout().expect("it waits"));
    assert_eq!(session.end(), Some(End::Media(LeaveReason::JoinFailure)));
}

#[test]
fn a_session_ends_with_its_media() {
    let now = Instant::now();
    let (mut session, _) = publisher(now);
    let (peer, times) = (session.peer, SetupTimes::default());
    session.event(Event::Media(MediaEvent::Connected { peer, times }));
    assert_eq!(session.poll_timeout(), None, "it may last");
    session.event(Event::Media(MediaEvent::Closed { peer: PeerId(5), end: PeerEnd::IceTimeout, times }));
    assert_eq!(session.end(), None, "another connection");
    session.event(Event::Media(MediaEvent::Closed { peer, end: PeerEnd::IceTimeout, times }));
    assert_eq!(session.end(), Some(End::Media(LeaveReason::ConnectionTimeout)));
}

#[test]
fn a_session_ends_when_its_path_is_broken() {
    let (mut session, _) = publisher(Instant::now());
    session.event(Event::Media(MediaEvent::Interrupted { peer: PeerId(5) }));
    assert_eq!(session.end(), None, "another connection");
    let peer = session.peer;
    session.event(Event::Media(MediaEvent::Interrupted { peer }));
    assert_eq!(session.end(), Some(End::Media(LeaveReason::ConnectionTimeout)));
}

#[test]
fn a_track_that_the_room_takes_down_or_mutes_is_not_forwarded() {
    let (mut session, _) = publisher(Instant::now());
    session.event(Event::Notice(Notice::MuteRequested { track: TrackId(11), muted: true }));
    let requests = session.take_requests();
    assert!(matches!(requests[..], [Request::Mute { track: TrackId(11), muted: true }]), "{requests:?}");
    session.event(Event::Notice(Notice::TrackRemoved { track: TrackId(12) }));
    let sections = last_sections(&session.take_requests()).expect("told to the worker");
    assert_eq!(sections.receive[1].track, None);
}

#[test]
fn no_offer_however_broken_makes_a_session_panic() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut answered = 0;
    for (protocol, good) in [(Protocol::Whip, PUBLISH), (Protocol::Whep, PLAY)] {
        for _ in 0..2_000 {
            let mut lines: Vec<&str> = good.lines().collect();
            for _ in 0..rng.random_range(1..4) {
                let (from, to) = (rng.random_range(0..lines.len()), rng.random_range(0..lines.len()));
                match rng.random_range(0..3) {
                    0 => drop(lines.remove(from)),
                    1 => lines.insert(to, lines[from]),
                    _ => lines.swap(from, to),
                }
            }
            let mut text = lines.join("\r\n").into_bytes();
            if rng.random_bool(0.3) {
                let at = rng.random_range(0..text.len());
                text[at] = rng.random_range(b' '..=b'~');
            }
            let Ok(offer) = read(protocol, &String::from_utf8_lossy(&text)) else { continue };
            let lines = offer.lines.len();
            let worker = WorkerInfo { index: 0, candidates: Vec::new(), fingerprint: Fingerprint([7; 32]) };
            let me = person(1, everything());
            let mut session =
                Session::new(protocol, offer, &me, worker, Instant::now(), StdRng::seed_from_u64(1));
            session.begin();
            subscribe(&mut session, 2, track(22, MediaKind::Video, CodecKind::Vp8));
            let answer = sdp::parse(&session.answer()).expect("we read what we write");
            let live = answer.sections.iter().filter(|section| section.is_live()).count();
            assert_eq!(live, lines, "every section with media is answered");
            answered += 1;
        }
    }
    assert!(answered > 200, "the test is about offers that pass, too: {answered}");
}
