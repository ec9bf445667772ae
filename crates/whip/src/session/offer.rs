//! A client's offer, held against the rules of its protocol before anything is made for it.

use axum::http::StatusCode;
use base::{MediaKind, Mid};
use contract::media::Fingerprint;
use sdp::{Accepted, Description, Direction, Ice, OutBody, OutSection, Policy, Section, Setup, choose};

use crate::Protocol;
use crate::refusal::Refusal;

/// Most sections in which a player may receive: a page with more pictures than this shows none of them well.
const MAX_LINES: usize = 64;

/// An offer that can be answered.
#[derive(Debug)]
pub(crate) struct Offer {
    pub description: Description,
    pub remote: Ice,
    pub fingerprint: Fingerprint,
    pub lines: Vec<Line>,
}

/// A section with media, and what is accepted of it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub mid: Mid,
    pub kind: MediaKind,
    pub accepted: Accepted,
}

impl Offer {
    /// Reads an offer. Nothing is accepted in part: who is told that it publishes must not find half of it missing
    /// (RFC 9725 section 4.4.3).
    ///
    /// # Errors
    /// 400 when it is not SDP; 422 when it breaks a rule of the protocol or has a section without a codec that is served.
    pub fn read(protocol: Protocol, text: &str, red: bool) -> Result<Self, Refusal> {
        let description =
            sdp::parse(text).map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        let mut lines = Vec::new();
        for section in description.sections.iter().filter(|section| !section.rejected) {
            if let Some(kind) = section.media_kind() {
                lines.push(line(protocol, section, kind, red)?);
            }
        }
        check_number(protocol, &lines)?;
        let (remote, fingerprint) =
            description.remote().map_err(|error| Refusal::offer(error.to_string()))?;
        Ok(Self { description, remote, fingerprint: Fingerprint(fingerprint), lines })
    }

    /// All sections of the answer, in the offer's order; `body` writes those with media. Others, data channels for one, are
    /// refused: that takes no media away.
    pub fn answer(&self, mut body: impl FnMut(&Section, &Line) -> OutBody) -> Vec<OutSection> {
        let section = |section: &Section| {
            let line = self.lines.iter().find(|line| line.mid == section.mid);
            let body = line.map_or_else(|| OutBody::rejected(section), |line| body(section, line));
            OutSection { mid: section.mid, body }
        };
        self.description.sections.iter().map(section).collect()
    }
}

impl Line {
    /// The body of its answer.
    pub fn body(&self, direction: Direction) -> OutBody {
        OutBody::Media {
            kind: self.kind,
            direction,
            codecs: self.accepted.lines.clone(),
            extensions: self.accepted.extensions.clone(),
            rids: Vec::new(),
            downlink: None,
        }
    }
}

fn line(protocol: Protocol, section: &Section, kind: MediaKind, red: bool) -> Result<Line, Refusal> {
    let mid = section.mid;
    let refuse = |why: &str| Err(Refusal::offer(format!("media section \"{mid}\" {why}")));
    if !section.bundled {
        return refuse("is not in the BUNDLE group");
    }
    if section.setup == Some(Setup::Passive) {
        return refuse("says a=setup:passive, but it is the client that must begin the DTLS handshake");
    }
    let accepted = match protocol {
        Protocol::Whip if !section.direction.sends() => return refuse("does not send, as WHIP asks"),
        Protocol::Whep if !section.direction.receives() => return refuse("does not receive, as WHEP asks"),
        // One codec, so that what is announced to the others is what comes.
        Protocol::Whip => choose(section, &Policy::default()).first_alone(),
        Protocol::Whep => choose(section, &Policy { prefer: None, red }),
    };
    if accepted.codecs.is_empty() {
        return refuse("has no codec that is served (Opus; VP8, H.264, VP9, AV1)");
    }
    Ok(Line { mid, kind, accepted })
}

fn check_number(protocol: Protocol, lines: &[Line]) -> Result<(), Refusal> {
    let number = |kind: MediaKind| lines.iter().filter(|line| line.kind == kind).count();
    match protocol {
        _ if lines.is_empty() => Err(Refusal::offer("the offer has no media section")),
        Protocol::Whip if number(MediaKind::Audio) > 1 || number(MediaKind::Video) > 1 => {
            Err(Refusal::offer("a WHIP session has at most one audio and one video track"))
        }
        Protocol::Whep if lines.len() > MAX_LINES => {
            Err(Refusal::offer(format!("a WHEP session has at most {MAX_LINES} media sections")))
        }
        _ => Ok(()),
    }
}
