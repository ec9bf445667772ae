//! Redundancy for audio (RFC 2198).

use base::{CodecKind, MediaKind};
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::signal_request::Message as Ask;

use crate::config::Config;
use crate::params::Params;

use super::super::Effects;
use super::support::*;

fn with_red(red: bool, params: Params) -> Bench {
    let config = Config { red, ..Config::default() };
    Bench::configured(config, params, everything(), Vec::new())
}

/// Names of the codecs of a section, in order.
fn codecs(description: &proto::SessionDescription, mid: &str) -> Vec<String> {
    let description = sdp::parse(&description.sdp).expect("parses");
    let section = description.sections.iter().find(|section| section.mid.as_str() == mid).expect("this mid");
    section.codecs.iter().map(|line| line.name.clone()).collect()
}

/// A browser publishes its microphone as this request says.
fn publish(mut bench: Bench, request: impl FnOnce(&mut proto::AddTrackRequest)) -> Effects {
    bench.begin();
    let mut asked = add_track(&msid(CHROMIUM_V0_PUBLISH, "0"), proto::TrackType::Audio);
    request(&mut asked);
    let publication = published(&bench.ask(Ask::AddTrack(asked))).expect("a publication");
    bench.accept(&publication, 30);
    bench.ask(Ask::Offer(offer(CHROMIUM_V0_PUBLISH, 2)))
}

#[test]
fn a_microphone_comes_with_redundancy_unless_its_publisher_says_no_or_encrypts() {
    let browser = || with_red(true, params(false, client(Sdk::Js, 17)));
    let effects = publish(browser(), |_| {});
    let answer = answer(&effects).expect("an answer");
    assert_eq!(codecs(&answer, "0"), ["red", "opus"], "what is first is sent");
    assert!(answer.sdp.contains("a=fmtp:63 111/111\r\n"));
    assert!(answer.sdp.contains("a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1\r\n"), "silence is not sent");
    let received = &sections(&effects).expect("sections").receive[0];
    let kinds: Vec<_> = received.codecs.iter().map(|codec| (codec.kind, codec.payload_type)).collect();
    assert_eq!(kinds, [(CodecKind::Red, 63), (CodecKind::Opus, 111)]);
    let announced = effects.requests.iter().any(|request| {
        matches!(request, contract::session::Request::TrackNegotiated { codec: CodecKind::Opus, .. })
    });
    assert!(announced, "receivers without RED can have it too");

    let refused = publish(browser(), |request| request.disable_red = true);
    assert_eq!(codecs(&super::support::answer(&refused).expect("an answer"), "0"), ["opus"]);
    let encrypted = publish(browser(), |request| request.encryption = proto::encryption::Type::Gcm as i32);
    assert_eq!(codecs(&super::support::answer(&encrypted).expect("an answer"), "0"), ["opus"]);
    let off = publish(with_red(false, params(false, client(Sdk::Js, 17))), |_| {});
    assert_eq!(codecs(&super::support::answer(&off).expect("an answer"), "0"), ["opus"]);
}

#[test]
fn only_receivers_that_know_redundancy_are_sent_it() {
    for (client, first, expected) in [
        (client(Sdk::Js, 17), CHROMIUM_V1_FIRST, vec![CodecKind::Opus, CodecKind::Red]),
        (firefox(), FIREFOX_V1_FIRST, vec![CodecKind::Opus]),
    ] {
        let mut params = params(true, client);
        params.offer = Some(offer(first, 1));
        let mut bench = with_red(true, params);
        bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
        let sent = sections(&bench.begin()).expect("sections").send;
        let kinds: Vec<_> = sent[0].codecs.iter().map(|codec| codec.kind).collect();
        assert_eq!(kinds, expected);
    }
}

#[test]
fn where_we_offer_redundancy_is_offered_and_sent_if_it_is_taken() {
    for red in [true, false] {
        let mut bench = with_red(true, params(false, client(Sdk::Js, 17)));
        bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
        let offer = offered(&bench.begin()).expect("an offer");
        assert_eq!(codecs(&offer, "1"), ["opus", "red"]);
        assert!(offer.sdp.contains("a=fmtp:63 111/111\r\n"));
        let mut answer = client_answer(&offer);
        if !red {
            let lines = answer.sdp.lines().filter(|line| !line.starts_with("a=") || !line.contains(":63 "));
            answer.sdp = lines.map(|line| format!("{}\r\n", line.replace(" 111 63", " 111"))).collect();
        }
        let sent = sections(&bench.ask(Ask::Answer(answer))).expect("sections").send;
        assert_eq!(sent[0].codecs.iter().any(|codec| codec.kind == CodecKind::Red), red);
    }
}
