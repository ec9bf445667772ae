//! LiveKit's client for microcontrollers (ESP32): protocol 1, little memory, a DTLS library that only waits.

use std::time::Duration;

use base::{CodecKind, MediaKind, ParticipantId};
use contract::media::DtlsRole;
use contract::session::Request;
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::signal_request::Message as Ask;

use super::super::Effects;
use super::support::*;
use crate::config::{Config, IceServer};

const OFFER: &str = include_str!("../../../../sdp/tests/offers/esp32_publish.sdp");
const SOON: Duration = Duration::from_millis(20);

fn device() -> Bench {
    let mut params = params(false, client(Sdk::Esp32, 1));
    params.auto_subscribe = false;
    Bench::new(params)
}

fn roles(effects: &Effects) -> Vec<DtlsRole> {
    let role = |request: &Request| match request {
        Request::SetRemote { role, .. } => Some(*role),
        _ => None,
    };
    effects.requests.iter().filter_map(role).collect()
}

#[test]
fn its_offer_waits_for_the_handshake_which_the_answer_begins() {
    let mut bench = device();
    let cid = |cid: &str, kind| Ask::AddTrack(add_track(cid, kind));
    bench.ask(cid("a0", proto::TrackType::Audio));
    bench.ask(cid("v0", proto::TrackType::Video));
    bench.begin();
    let effects = bench.ask(Ask::Offer(offer(OFFER, 0)));
    let sdp = answer(&effects).expect("an answer").sdp;
    let description = sdp::parse(&sdp).expect("parses");
    assert!(description.sections.iter().all(|section| section.setup == Some(sdp::Setup::Active)), "{sdp}");
    assert!(description.sections.iter().all(sdp::Section::is_live), "{sdp}");
    assert_eq!(roles(&effects), [DtlsRole::Client]);
    let published = effects.requests.iter().filter(|request| matches!(request, Request::Publish(_))).count();
    let received = sections(&effects).map(|sections| sections.receive.len()).unwrap_or_default();
    assert_eq!((published, received), (0, 2), "both were asked for before");
}

#[test]
fn its_answer_waits_for_the_handshake_too() {
    let mut bench = device();
    bench.begin();
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    let offer = offered(&bench.pass(SOON)).expect("an offer");
    let mut answer = client_answer(&offer);
    answer.sdp = answer.sdp.replace("a=setup:active", "a=setup:passive").replace("a=recvonly", "a=sendrecv");
    let effects = bench.ask(Ask::Answer(answer));
    assert_eq!(roles(&effects), [DtlsRole::Client]);
    assert_eq!(sections(&effects).expect("sections").send.len(), 1);
}

#[test]
fn it_has_room_for_fifteen_characters_of_a_participants_id() {
    let sid = join(&device().begin()).participant.expect("oneself").sid;
    assert!(sid.len() <= 15, "{sid}");
    assert!(crate::ids::participant(ParticipantId::fresh(u64::MAX)).len() <= 15);
}

#[test]
fn it_is_told_of_an_ice_server_without_which_it_gives_up_and_of_no_more_than_are_set_up() {
    let urls = |bench: &mut Bench| -> Vec<String> {
        let join = join(&bench.begin());
        join.ice_servers.into_iter().flat_map(|server| server.urls).collect()
    };
    assert_eq!(urls(&mut device()), ["stun:192.0.2.7:7882"]);
    assert!(urls(&mut Bench::new(params(false, client(Sdk::Android, 13)))).is_empty(), "others need none");
    let own = IceServer { urls: vec!["stun:stun.example.org".to_owned()], ..IceServer::default() };
    let config = Config { ice_servers: vec![own], ..Config::default() };
    let mut bench = Bench::configured(config, params(false, client(Sdk::Esp32, 1)), everything(), Vec::new());
    assert_eq!(urls(&mut bench), ["stun:stun.example.org"]);
}
