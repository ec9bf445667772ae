//! Descriptions from people who mean harm, or from broken programs.

use sdp::{Error, MAX_LEN, MAX_RIDS, MAX_SECTIONS, MAX_SSRCS, Policy, choose, parse};

const OFFER: &str = include_str!("offers/firefox_v1_publish.sdp");

fn section(mid: usize) -> String {
    format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{mid}\r\na=rtpmap:111 opus/48000/2\r\n")
}

fn session(sections: impl Iterator<Item = String>) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{}", sections.collect::<String>())
}

#[test]
fn a_description_of_one_megabyte_is_refused_unread() {
    let text = session((0..10).map(section)) + &"a=x:".repeat(262_144);
    assert!(matches!(parse(&text), Err(Error::TooLong { len }) if len > MAX_LEN));
}

#[test]
fn ten_thousand_sections_are_refused() {
    let text = session((0..MAX_SECTIONS + 1).map(section));
    assert_eq!(parse(&text), Err(Error::TooManySections { count: MAX_SECTIONS + 1 }));
}

#[test]
fn sections_without_or_with_the_same_mid_are_refused() {
    let text = session((0..2).map(section)).replace("a=mid:1\r\n", "");
    assert_eq!(parse(&text), Err(Error::NoMid { index: 1 }));
    let text = session((0..2).map(|_| section(5)));
    assert_eq!(parse(&text), Err(Error::DuplicateMid { mid: "5".to_owned() }));
    let text = session((0..1).map(section)).replace("a=mid:0", "a=mid:12345678901234567");
    assert_eq!(parse(&text), Err(Error::NoMid { index: 0 }));
}

#[test]
fn credentials_that_break_the_grammar_are_no_credentials() {
    for (good, bad) in [("a=ice-ufrag:", "a=ice-ufrag:!"), ("a=ice-pwd:", "a=ice-pwd:short\r\na=x:")] {
        let offer = parse(&OFFER.replace(good, bad)).expect("still SDP");
        assert_eq!(offer.remote(), Err(Error::NoIce));
    }
    let offer = parse(&OFFER.replace("a=fingerprint:sha-256", "a=fingerprint:sha-1")).expect("still SDP");
    assert_eq!(offer.remote(), Err(Error::NoFingerprint));
}

#[test]
fn lists_inside_a_section_are_cut_at_their_bounds() {
    let rids: String = (0..1_000).map(|n| format!("a=rid:r{n} send\r\n")).collect();
    let names: Vec<String> = (0..1_000).map(|n| format!("r{n}")).collect();
    let ssrcs: String =
        (0..1_000).map(|n| format!("a=ssrc:{n} cname:x\r\na=ssrc-group:FID {n} {}\r\n", n + 5_000)).collect();
    let text =
        session((0..1).map(section)) + &rids + &format!("a=simulcast:send {}\r\n", names.join(";")) + &ssrcs;
    let offer = parse(&text).expect("parses");
    assert_eq!(offer.sections[0].rids.len(), MAX_RIDS);
    assert_eq!(offer.sections[0].layers().len(), MAX_RIDS);
    assert_eq!(offer.sections[0].ssrcs.len(), MAX_SSRCS);
}

#[test]
fn an_extension_id_serves_one_extension_and_an_extension_has_one_id() {
    let text = session((0..1).map(section))
        + "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
           a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
           a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
           a=extmap:0 urn:ietf:params:rtp-hdrext:toffset\r\n\
           a=extmap:999 urn:ietf:params:rtp-hdrext:toffset\r\n";
    let accepted = choose(&parse(&text).expect("parses").sections[0], &Policy::default());
    assert_eq!(accepted.extensions.len(), 1);
}

/// Every prefix, and every line dropped, doubled or damaged: an answer or an error, never a panic.
#[test]
fn damaged_offers_are_answered_or_refused_without_panic() {
    let lines: Vec<&str> = OFFER.split_inclusive("\r\n").collect();
    for cut in (0..OFFER.len()).step_by(7).filter(|cut| OFFER.is_char_boundary(*cut)) {
        exercise(&OFFER[..cut]);
    }
    for index in 0..lines.len() {
        let mut without = lines.clone();
        let line = without.remove(index);
        exercise(&without.concat());
        let mut twice = lines.clone();
        twice.insert(index, line);
        exercise(&twice.concat());
        for damage in [":", "=", " ", "/", "99999999999", "\u{e9}", "-1", ";"] {
            let damaged = line.replacen([':', '=', ' ', '/'], damage, 2);
            let mut with = lines.clone();
            with[index] = &damaged;
            exercise(&with.concat());
        }
    }
}

fn exercise(text: &str) {
    match parse(text) {
        Ok(description) => {
            let _ = description.remote();
            for section in &description.sections {
                let _ = (choose(section, &Policy { red: true, ..Policy::default() }), section.layers());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
