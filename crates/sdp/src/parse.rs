//! Text to [`Description`].

use std::collections::BTreeSet;

use base::Mid;
use sdp_types::{Media, Session};

use crate::description::{CodecLine, Description, Direction, Feedback, Ice, Section, SectionKind};
use crate::{Error, MAX_CODECS, MAX_EXTENSIONS, MAX_LEN, MAX_RIDS, MAX_SECTIONS, MAX_SSRCS, lines};

/// Reads an offer or an answer.
///
/// Lines and attributes that Stoa does not know are ignored; of repeated single-valued attributes the first holds.
///
/// # Errors
/// See [`Error`]; all of them are the writer's to mend. Missing ICE credentials or fingerprints are found by
/// [`Description::remote`], since a description that changes nothing may go without.
pub fn parse(text: &str) -> Result<Description, Error> {
    if text.len() > MAX_LEN {
        return Err(Error::TooLong { len: text.len() });
    }
    let session = Session::parse(text.as_bytes()).map_err(|error| Error::Syntax(error.to_string()))?;
    if session.medias.len() > MAX_SECTIONS {
        return Err(Error::TooManySections { count: session.medias.len() });
    }
    let defaults = Defaults::of(&session);
    let mut mids = BTreeSet::new();
    let mut sections = Vec::with_capacity(session.medias.len());
    for (index, media) in session.medias.iter().enumerate() {
        let section = section(media, &defaults, index)?;
        if !mids.insert(section.mid) {
            return Err(Error::DuplicateMid { mid: section.mid.to_string() });
        }
        sections.push(section);
    }
    Ok(Description {
        ice_lite: session.has_attribute("ice-lite"),
        extmap_allow_mixed: session.has_attribute("extmap-allow-mixed"),
        sections,
    })
}

/// What the session says for all sections that do not say it themselves. Firefox puts its fingerprint here.
struct Defaults<'a> {
    bundle: BTreeSet<&'a str>,
    direction: Direction,
    ufrag: Option<&'a str>,
    password: Option<&'a str>,
    fingerprint: Option<[u8; 32]>,
    setup: Option<&'a str>,
}

impl<'a> Defaults<'a> {
    fn of(session: &'a Session) -> Self {
        let value = |name: &'a str| session.get_first_attribute_value(name).flatten();
        let groups = session.get_attribute_values("group").flatten();
        let bundle = groups
            .filter_map(|group| group.strip_prefix("BUNDLE"))
            .flat_map(str::split_ascii_whitespace)
            .take(MAX_SECTIONS)
            .collect();
        let mut fingerprints = session.get_attribute_values("fingerprint").flatten();
        Self {
            bundle,
            direction: direction(&session.attributes).unwrap_or_default(),
            ufrag: value("ice-ufrag"),
            password: value("ice-pwd"),
            fingerprint: fingerprints.find_map(lines::parse_fingerprint),
            setup: value("setup"),
        }
    }
}

fn section(media: &Media, defaults: &Defaults<'_>, index: usize) -> Result<Section, Error> {
    let value = |name: &'static str| media.get_first_attribute_value(name).flatten();
    let mid_text = value("mid").map(str::trim).unwrap_or_default();
    let mid = Mid::new(mid_text.as_bytes()).ok_or(Error::NoMid { index })?;
    let extensions = values(media, "extmap").filter_map(lines::extmap).take(MAX_EXTENSIONS).collect();
    let rids = values(media, "rid").filter_map(lines::rid).take(MAX_RIDS).collect();
    Ok(Section {
        mid,
        kind: kind(media),
        rejected: media.port == 0 && !media.has_attribute("bundle-only"),
        bundled: defaults.bundle.contains(mid_text),
        media: media.media.clone(),
        proto: media.proto.clone(),
        formats: media.fmt.clone(),
        direction: direction(&media.attributes).unwrap_or(defaults.direction),
        setup: value("setup").or(defaults.setup).and_then(lines::setup),
        ice: ice(media, defaults),
        fingerprint: values(media, "fingerprint").find_map(lines::parse_fingerprint).or(defaults.fingerprint),
        codecs: codecs(media),
        extensions,
        rids,
        simulcast_send: value("simulcast").map(lines::simulcast_send).unwrap_or_default(),
        ssrcs: ssrcs(media),
        msid: value("msid").and_then(lines::msid),
        sctp_port: value("sctp-port").and_then(|port| port.trim().parse().ok()),
        max_message_size: value("max-message-size").and_then(|size| size.trim().parse().ok()),
    })
}

fn values<'a>(media: &'a Media, name: &'static str) -> impl Iterator<Item = &'a str> {
    media
        .attributes
        .iter()
        .filter(move |attribute| attribute.attribute == name)
        .filter_map(|attribute| attribute.value.as_deref())
}

fn direction(attributes: &[sdp_types::Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|attribute| lines::direction(&attribute.attribute))
}

fn ice(media: &Media, defaults: &Defaults<'_>) -> Option<Ice> {
    let own = |name: &'static str| media.get_first_attribute_value(name).flatten();
    lines::ice(own("ice-ufrag").or(defaults.ufrag), own("ice-pwd").or(defaults.password))
}

fn kind(media: &Media) -> SectionKind {
    let rtp = media.proto.contains("RTP/SAVP");
    let data = media.proto.contains("DTLS/SCTP") && media.fmt.trim() == "webrtc-datachannel";
    match media.media.as_str() {
        "audio" if rtp => SectionKind::Audio,
        "video" if rtp => SectionKind::Video,
        "application" if data => SectionKind::Data,
        _ => SectionKind::Other,
    }
}

/// The payload types of the `m=` line with their attributes. Static types without `a=rtpmap` are left out: Stoa
/// accepts no codec that has one.
fn codecs(media: &Media) -> Vec<CodecLine> {
    let mut table: [Option<CodecLine>; 128] = [const { None }; 128];
    for value in values(media, "rtpmap") {
        if let Some(line) = rtpmap(value) {
            let slot = &mut table[usize::from(line.payload_type)];
            if slot.is_none() {
                *slot = Some(line);
            }
        }
    }
    for value in values(media, "fmtp") {
        if let Some((number, parameters)) = value.split_once(' ')
            && let Some(line) = entry(&mut table, number)
            && line.fmtp.is_empty()
        {
            line.fmtp = parameters.trim().to_owned();
        }
    }
    feedback(media, &mut table);
    let listed = media.fmt.split_ascii_whitespace().filter_map(|number| number.parse::<u8>().ok());
    listed.filter_map(|number| table.get_mut(usize::from(number))?.take()).take(MAX_CODECS).collect()
}

fn entry<'a>(table: &'a mut [Option<CodecLine>; 128], number: &str) -> Option<&'a mut CodecLine> {
    table.get_mut(number.parse::<usize>().ok()?)?.as_mut()
}

fn rtpmap(value: &str) -> Option<CodecLine> {
    let (number, encoding) = value.trim().split_once(' ')?;
    let payload_type = number.parse().ok().filter(|number| *number < 128)?;
    let mut parts = encoding.trim().split('/');
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let clock_rate = parts.next()?.parse().ok()?;
    let channels = parts.next().and_then(|channels| channels.parse().ok());
    Some(CodecLine {
        payload_type,
        name,
        clock_rate,
        channels,
        fmtp: String::new(),
        feedback: Feedback::default(),
    })
}

fn feedback(media: &Media, table: &mut [Option<CodecLine>; 128]) {
    for value in values(media, "rtcp-fb") {
        let Some((number, what)) = value.trim().split_once(' ') else { continue };
        if number == "*" {
            table.iter_mut().flatten().for_each(|line| add_feedback(&mut line.feedback, what.trim()));
        } else if let Some(line) = entry(table, number) {
            add_feedback(&mut line.feedback, what.trim());
        }
    }
}

fn add_feedback(feedback: &mut Feedback, what: &str) {
    match what {
        "nack" => feedback.nack = true,
        "nack pli" => feedback.pli = true,
        "ccm fir" => feedback.fir = true,
        "transport-cc" => feedback.transport_cc = true,
        "goog-remb" => feedback.remb = true,
        _ => {}
    }
}

/// SSRCs that are nobody's retransmission, each with its retransmission. Bounded before the quadratic part.
fn ssrcs(media: &Media) -> Vec<(u32, Option<u32>)> {
    let pairs: Vec<(u32, u32)> = values(media, "ssrc-group").filter_map(lines::fid).take(MAX_SSRCS).collect();
    let mut primaries: Vec<u32> = Vec::new();
    for ssrc in values(media, "ssrc").filter_map(lines::ssrc) {
        let known = primaries.contains(&ssrc) || pairs.iter().any(|(_, rtx)| *rtx == ssrc);
        if !known && primaries.len() < MAX_SSRCS {
            primaries.push(ssrc);
        }
    }
    let rtx_of = |ssrc: u32| pairs.iter().find(|(primary, _)| *primary == ssrc).map(|(_, rtx)| *rtx);
    primaries.into_iter().map(|ssrc| (ssrc, rtx_of(ssrc))).collect()
}
