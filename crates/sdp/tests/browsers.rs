//! Offers recorded from Chromium 156 and Firefox 153, answered.

use base::{CodecKind, Extension, MediaKind, Mid};
use sdp::{
    Accepted, Description, Direction, Document, Downlink, Ice, OutBody, OutSection, Policy, Role, Section,
    SectionKind, Setup, Transport, choose, parse,
};

const OFFERS: [(&str, &str); 12] = [
    ("chromium_plain", include_str!("offers/chromium_plain.sdp")),
    ("chromium_sdk_first", include_str!("offers/chromium_sdk_first.sdp")),
    ("chromium_stopped", include_str!("offers/chromium_stopped.sdp")),
    ("chromium_svc", include_str!("offers/chromium_svc.sdp")),
    ("chromium_v0_publish", include_str!("offers/chromium_v0_publish.sdp")),
    ("chromium_v1_publish", include_str!("offers/chromium_v1_publish.sdp")),
    ("firefox_plain", include_str!("offers/firefox_plain.sdp")),
    ("firefox_stopped", include_str!("offers/firefox_stopped.sdp")),
    ("firefox_svc", include_str!("offers/firefox_svc.sdp")),
    ("firefox_v0_publish", include_str!("offers/firefox_v0_publish.sdp")),
    ("firefox_v1_first", include_str!("offers/firefox_v1_first.sdp")),
    ("firefox_v1_publish", include_str!("offers/firefox_v1_publish.sdp")),
];

fn offer(name: &str) -> Description {
    let (_, text) = OFFERS.iter().find(|(known, _)| *known == name).expect("a recorded offer");
    parse(text).expect("recorded offers parse")
}

fn section<'a>(offer: &'a Description, mid: &str) -> &'a Section {
    offer.section(Mid::new(mid.as_bytes()).expect("a mid")).expect("a section with this mid")
}

fn names(accepted: &Accepted) -> Vec<String> {
    accepted.lines.iter().map(|line| line.name.to_ascii_lowercase()).collect()
}

#[test]
fn every_recorded_offer_has_a_transport_and_bundled_sections() {
    for (name, text) in OFFERS {
        let offer = parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (ice, _) = offer.remote().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(ice.ufrag.len() >= 4 && ice.password.len() >= 22, "{name}");
        assert_eq!(offer.transport().and_then(|section| section.setup), Some(Setup::ActPass), "{name}");
        for section in offer.sections.iter().filter(|section| !section.rejected) {
            assert!(section.bundled, "{name}: {}", section.mid);
            assert_ne!(section.kind, SectionKind::Other, "{name}: {}", section.mid);
        }
    }
}

#[test]
fn the_fingerprint_that_firefox_writes_for_the_session_holds_for_its_sections() {
    let offer = offer("firefox_v0_publish");
    assert_eq!(
        section(&offer, "0").fingerprint.map(|bytes| bytes[..3].to_vec()),
        Some(vec![0x3D, 0x05, 0xA9])
    );
}

#[test]
fn three_rids_are_read_from_low_to_high() {
    for name in ["chromium_v0_publish", "firefox_v0_publish"] {
        let offer = offer(name);
        let layers = section(&offer, "1").layers();
        let names: Vec<&str> = layers.iter().map(|rid| rid.as_str()).collect();
        assert_eq!(names, ["q", "h", "f"], "{name}");
    }
    let text = include_str!("offers/chromium_v0_publish.sdp").replace("send q;h;f", "send f;~h,x;q");
    let offer = parse(&text).expect("still an offer");
    let layers = section(&offer, "1").layers();
    let names: Vec<&str> = layers.iter().map(|rid| rid.as_str()).collect();
    assert_eq!(names, ["q", "h", "f"], "a client that writes its highest encoding first");
}

#[test]
fn firefox_names_an_rtx_ssrc_for_each_layer() {
    let offer = offer("firefox_v0_publish");
    let video = section(&offer, "1");
    assert_eq!(
        video.ssrcs,
        [(1996127844, Some(1201603788)), (3869450396, Some(3722888873)), (1111646331, Some(4090042235))]
    );
    assert_eq!(section(&offer, "0").ssrcs, [(2031552669, None)]);
}

#[test]
fn fec_and_video_red_are_never_accepted() {
    for (name, text) in OFFERS {
        for section in parse(text).expect("parses").sections {
            let accepted = choose(&section, &Policy { red: true, ..Policy::default() });
            for line in &accepted.lines {
                let fec = ["ulpfec", "flexfec-03"].contains(&line.name.to_ascii_lowercase().as_str());
                let video_red = line.name.eq_ignore_ascii_case("red") && line.clock_rate == 90_000;
                assert!(!fec && !video_red, "{name} {}: {}", section.mid, line.name);
            }
        }
    }
}

#[test]
fn feedback_that_was_offered_is_accepted_so_that_publishers_can_estimate_their_bandwidth() {
    for name in ["chromium_v0_publish", "firefox_v0_publish"] {
        let accepted = choose(section(&offer(name), "1"), &Policy::default());
        for codec in &accepted.codecs {
            assert!(
                codec.nack && codec.pli && codec.fir && codec.transport_cc && codec.remb,
                "{name} {codec:?}"
            );
            assert!(codec.rtx.is_some(), "{name} {codec:?}");
        }
        let audio = choose(section(&offer(name), "0"), &Policy::default());
        assert!(audio.codecs[0].transport_cc && !audio.codecs[0].nack, "{name}");
        assert!(accepted.map.id(Extension::TransportSequence).is_some(), "{name}");
    }
}

#[test]
fn the_codec_that_was_asked_for_comes_first_and_brings_its_rtx() {
    let offer = offer("chromium_v0_publish");
    let policy = Policy { prefer: Some(CodecKind::Av1), ..Policy::default() };
    let accepted = choose(section(&offer, "1"), &policy);
    assert_eq!(names(&accepted)[..2], ["av1", "rtx"]);
    assert_eq!(accepted.lines[1].apt(), Some(accepted.lines[0].payload_type));
    let policy = Policy { prefer: Some(CodecKind::H264), ..Policy::default() };
    let accepted = choose(section(&offer, "1"), &policy);
    assert_eq!(accepted.lines[0].parameter("profile-level-id"), Some("42e01f"), "baseline before others");
    assert!(accepted.lines.iter().all(|line| line.parameter("packetization-mode") != Some("0")));
}

#[test]
fn red_audio_is_accepted_only_where_wanted() {
    let offer = offer("chromium_v0_publish");
    let audio = section(&offer, "0");
    assert!(!choose(audio, &Policy::default()).has(CodecKind::Red));
    let policy = Policy { red: true, prefer: Some(CodecKind::Red) };
    assert_eq!(names(&choose(audio, &policy)), ["red", "opus"]);
    let fmtp = |fmtp: &str| {
        let mut audio = audio.clone();
        let red = audio.codecs.iter_mut().find(|line| line.name == "red").expect("red is offered");
        red.fmtp = fmtp.to_owned();
        choose(&audio, &policy).has(CodecKind::Red)
    };
    assert!(fmtp("111/111/111"));
    for other in ["", "111/9", "111/", "0/0", "x"] {
        assert!(!fmtp(other), "around something else: {other:?}");
    }
}

/// Chromium offers in a new section the extensions that were accepted in earlier ones, and a camera may follow long after the
/// first sections, in which the browser only receives.
#[test]
fn rid_extensions_are_accepted_also_where_the_browser_receives() {
    let offer = offer("chromium_sdk_first");
    let receiving = offer.sections.iter().find(|section| section.kind == SectionKind::Video);
    let accepted = choose(receiving.expect("a video section"), &Policy::default());
    assert!(accepted.map.id(Extension::Rid).is_some());
    assert!(accepted.map.id(Extension::RepairedRid).is_some());
}

#[test]
fn the_dependency_descriptor_is_negotiated_both_ways_and_may_be_long() {
    let offer = offer("chromium_svc");
    let accepted = choose(section(&offer, "0"), &Policy::default());
    assert_eq!(accepted.map.id(Extension::DependencyDescriptor), Some(13), "the id of the offer");
    let uri = Extension::DependencyDescriptor.uri();
    let text = answer(&offer);
    assert!(text.contains(&format!("a=extmap:13 {uri}\r\n")), "{text}");
    // Descriptors of keyframes need the two-byte form.
    assert!(text.contains("a=extmap-allow-mixed\r\n"), "{text}");
    assert!(
        sdp::offered_extensions(MediaKind::Video).iter().any(|line| line.uri == uri),
        "towards receivers"
    );
}

#[test]
fn a_stopped_section_is_rejected_and_the_bundle_goes_on() {
    for name in ["chromium_stopped", "firefox_stopped"] {
        let offer = offer(name);
        assert!(section(&offer, "1").rejected, "{name}");
        assert_eq!(section(&offer, "0").direction, Direction::Inactive, "{name}");
        assert!(!section(&offer, "2").rejected, "{name}");
    }
}

fn transport() -> Transport {
    Transport {
        ice: Ice { ufrag: "server".to_owned(), password: "0123456789abcdef01234567".to_owned() },
        fingerprint: [0xAB; 32],
        candidates: vec![
            "192.0.2.7:7882".parse().expect("an address"),
            "[2001:db8::7]:7882".parse().expect("an address"),
        ],
    }
}

fn answer(offer: &Description) -> String {
    let body = |section: &Section| match section.kind {
        _ if section.rejected => OutBody::Rejected {
            media: section.media.clone(),
            proto: section.proto.clone(),
            formats: section.formats.clone(),
        },
        SectionKind::Data => OutBody::Data { max_message_size: 65_536 },
        _ => media(section),
    };
    let sections = offer.sections.iter().map(|section| OutSection { mid: section.mid, body: body(section) });
    let document = Document {
        role: Role::Answer,
        session_id: u64::MAX,
        version: 1,
        extmap_allow_mixed: offer.extmap_allow_mixed,
        transport: transport(),
        sections: sections.collect(),
    };
    document.write()
}

fn media(section: &Section) -> OutBody {
    let accepted = choose(section, &Policy::default());
    let downlink = Downlink {
        stream: "PA_1|TR_2".to_owned(),
        track: "TR_2".to_owned(),
        ssrc: 7,
        rtx_ssrc: Some(8),
        layers: Vec::new(),
        cname: "PA_1".to_owned(),
    };
    OutBody::Media {
        kind: if section.kind == SectionKind::Audio { MediaKind::Audio } else { MediaKind::Video },
        direction: Direction::of(section.direction.receives(), section.direction.sends()),
        codecs: accepted.lines,
        extensions: accepted.extensions,
        rids: section.layers(),
        downlink: section.direction.receives().then_some(downlink),
    }
}

#[test]
fn answers_mirror_sections_ids_and_layers_of_every_recorded_offer() {
    for (name, text) in OFFERS {
        let offer = parse(text).expect("parses");
        let answer = parse(&answer(&offer)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(answer.ice_lite, "{name}");
        assert_eq!(answer.sections.len(), offer.sections.len(), "{name}");
        for (ours, theirs) in answer.sections.iter().zip(&offer.sections) {
            assert_eq!(
                (ours.mid, ours.kind, ours.rejected),
                (theirs.mid, theirs.kind, theirs.rejected),
                "{name}"
            );
            for extension in &ours.extensions {
                assert!(theirs.extensions.contains(extension), "{name} {}: {extension:?}", ours.mid);
            }
            for line in &ours.codecs {
                let same = theirs.codecs.iter().find(|other| other.payload_type == line.payload_type);
                assert_eq!(same, Some(line), "{name} {}", ours.mid);
            }
            if !ours.rejected {
                assert_eq!(ours.setup, Some(Setup::Passive), "{name}");
                assert_eq!(ours.fingerprint, Some([0xAB; 32]), "{name}");
                let received: Vec<_> = ours.rids.iter().filter(|rid| !rid.send).map(|rid| rid.rid).collect();
                assert_eq!(received, theirs.layers(), "{name}");
            }
        }
    }
}

#[test]
fn an_answer_reads_as_browsers_expect_it() {
    let text = answer(&offer("chromium_v0_publish"));
    for line in [
        "o=- 9223372036854775807 1 IN IP4 127.0.0.1",
        "a=group:BUNDLE 0 1 2",
        "a=ice-lite",
        "a=extmap-allow-mixed",
        "a=candidate:1 1 udp 2130706431 192.0.2.7 7882 typ host",
        "a=candidate:2 1 udp 2130706175 2001:db8::7 7882 typ host",
        "a=end-of-candidates",
        "a=setup:passive",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:97 apt=96",
        "a=rtcp-fb:96 transport-cc",
        "a=rtcp-fb:96 nack pli",
        "a=rid:q recv",
        "a=simulcast:recv q;h;f",
        "a=sctp-port:5000",
        "a=max-message-size:65536",
    ] {
        assert!(text.contains(&format!("{line}\r\n")), "missing {line} in\n{text}");
    }
    assert_eq!(
        text.matches("a=end-of-candidates").count(),
        1,
        "candidates belong to the first section alone"
    );
}

#[test]
fn what_we_send_is_named_with_its_retransmissions() {
    let text = answer(&offer("firefox_v1_first"));
    assert!(text.contains("a=msid:PA_1|TR_2 TR_2\r\n"));
    assert!(text.contains("a=ssrc-group:FID 7 8\r\n"));
    assert!(text.contains("a=ssrc:7 cname:PA_1\r\n"));
}
