//! Media sections, offers and answers of one connection, as a value. The client always offers.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{CodecKind, Extension, MediaKind, Mid};
use livekit_protocol as proto;
use rtc::{IceCredentials, ReceiveSection, SendSection};
use sdp::{
    CodecLine, Direction, Document, Downlink, ExtensionLine, OutBody, OutSection, Policy, Role, Transport,
};

use crate::endpoint::Remote;

/// Largest data-channel message that we take.
const MAX_MESSAGE_SIZE: u64 = 65_536;
/// Id of the audio level's header extension: the others come from `sdp`'s table, which ends below.
const AUDIO_LEVEL_ID: u8 = 8;
/// Most sections, which is what servers read of a description.
const MAX_SECTIONS: usize = 250;

/// A track that we send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Uplink {
    pub cid: Arc<str>,
    pub kind: MediaKind,
    pub ssrc: u32,
    pub rtx_ssrc: u32,
}

impl Uplink {
    /// What is sent of this kind.
    pub fn codec(kind: MediaKind) -> CodecKind {
        match kind {
            MediaKind::Audio => CodecKind::Opus,
            MediaKind::Video => CodecKind::Vp8,
        }
    }
}

enum Body {
    Data,
    Send(Uplink),
    Receive(MediaKind),
}

struct Section {
    mid: Mid,
    body: Body,
}

/// What an answer settles.
#[derive(Clone, Debug)]
pub(crate) struct Agreed {
    pub remote: Remote,
    pub receive: Vec<ReceiveSection>,
    pub send: Vec<SendSection>,
    /// Track ids of the receive sections.
    pub tracks: BTreeMap<Mid, Arc<str>>,
    /// Our own ids of the tracks in the send sections.
    pub cids: BTreeMap<Mid, Arc<str>>,
}

/// The negotiation of one connection.
pub(crate) struct Negotiation {
    transport: Transport,
    session_id: u64,
    version: u32,
    cname: String,
    sections: Vec<Section>,
    /// An offer waits for its answer.
    outstanding: bool,
    /// Something changed since the last offer.
    changed: bool,
}

impl Negotiation {
    /// With a section for data channels alone. `cname` names us in RTCP.
    pub fn new(transport: Transport, session_id: u64, cname: String) -> Self {
        let mut negotiation = Self {
            transport,
            session_id,
            version: 0,
            cname,
            sections: Vec::new(),
            outstanding: false,
            changed: true,
        };
        negotiation.add(Body::Data);
        negotiation
    }

    fn add(&mut self, body: Body) -> Mid {
        let mid = Mid::new(self.sections.len().to_string().as_bytes()).expect("a small number is a mid");
        self.sections.push(Section { mid, body });
        self.changed = true;
        mid
    }

    /// Adds a section for a track of ours; `None` when there are as many as there may be.
    pub fn add_uplink(&mut self, uplink: Uplink) -> Option<Mid> {
        (self.sections.len() < MAX_SECTIONS).then(|| self.add(Body::Send(uplink)))
    }

    /// Adds sections in which we can receive. Asked for none, the next offer is due nevertheless.
    pub fn add_receivers(&mut self, audios: usize, videos: usize) {
        self.changed = true;
        for (count, kind) in [(audios, MediaKind::Audio), (videos, MediaKind::Video)] {
            for _ in 0..count.min(MAX_SECTIONS.saturating_sub(self.sections.len())) {
                self.add(Body::Receive(kind));
            }
        }
    }

    /// The offer that is due. `None`: nothing changed, or an answer is still on its way.
    pub fn offer(&mut self) -> Option<proto::SessionDescription> {
        if self.outstanding || !self.changed {
            return None;
        }
        self.changed = false;
        self.outstanding = true;
        self.version += 1;
        let document = Document {
            role: Role::ClientOffer,
            session_id: self.session_id,
            version: u64::from(self.version),
            extmap_allow_mixed: true,
            transport: self.transport.clone(),
            sections: self.sections.iter().map(|section| self.written(section)).collect(),
        };
        Some(proto::SessionDescription {
            r#type: "offer".to_owned(),
            sdp: document.write(),
            id: self.version,
            ..proto::SessionDescription::default()
        })
    }

    fn written(&self, section: &Section) -> OutSection {
        let body = match &section.body {
            Body::Data => OutBody::Data { max_message_size: MAX_MESSAGE_SIZE },
            Body::Send(uplink) => OutBody::Media {
                kind: uplink.kind,
                direction: Direction::SendOnly,
                codecs: sent_codecs(uplink.kind),
                extensions: extensions(uplink.kind),
                rids: Vec::new(),
                downlink: Some(Downlink {
                    stream: self.cname.clone(),
                    track: uplink.cid.to_string(),
                    ssrc: uplink.ssrc,
                    rtx_ssrc: (uplink.kind == MediaKind::Video).then_some(uplink.rtx_ssrc),
                    cname: self.cname.clone(),
                }),
            },
            Body::Receive(kind) => OutBody::Media {
                kind: *kind,
                direction: Direction::RecvOnly,
                codecs: sdp::offered_codecs(*kind, None),
                extensions: extensions(*kind),
                rids: Vec::new(),
                downlink: None,
            },
        };
        OutSection { mid: section.mid, body }
    }

    /// Takes an answer. `None`: it is not the one that is waited for.
    ///
    /// # Errors
    /// It cannot be read or lacks what a transport needs.
    pub fn answer(&mut self, answer: &proto::SessionDescription) -> Result<Option<Agreed>, sdp::Error> {
        if !self.outstanding || (answer.id != 0 && answer.id != self.version) {
            return Ok(None);
        }
        let description = sdp::parse(&answer.sdp)?;
        let (ice, fingerprint) = description.remote()?;
        self.outstanding = false;
        let mut agreed = Agreed {
            remote: Remote {
                credentials: IceCredentials { ufrag: ice.ufrag, password: ice.password },
                fingerprint,
                candidates: sdp::candidates(&answer.sdp),
            },
            receive: Vec::new(),
            send: Vec::new(),
            tracks: BTreeMap::new(),
            cids: BTreeMap::new(),
        };
        for theirs in description.sections.iter().filter(|section| !section.rejected) {
            let Some(ours) = self.sections.iter().find(|section| section.mid == theirs.mid) else { continue };
            match &ours.body {
                Body::Data => {}
                Body::Send(uplink) => {
                    if let Some(section) = self.sends(uplink, theirs) {
                        agreed.cids.insert(section.mid, uplink.cid.clone());
                        agreed.send.push(section);
                    }
                }
                Body::Receive(kind) => receives(*kind, theirs, answer, &mut agreed),
            }
        }
        Ok(Some(agreed))
    }

    /// `None`: the server does not receive, or not what we send.
    fn sends(&self, uplink: &Uplink, theirs: &sdp::Section) -> Option<SendSection> {
        let mut accepted = sdp::choose(theirs, &Policy::default());
        accepted.codecs.retain(|codec| codec.kind == Uplink::codec(uplink.kind));
        let codec = accepted.codecs.first()?;
        let rtx_ssrc = codec.rtx.map(|_| uplink.rtx_ssrc);
        theirs.direction.receives().then(|| SendSection {
            mid: theirs.mid,
            media: uplink.kind,
            ssrc: uplink.ssrc,
            rtx_ssrc,
            codecs: accepted.codecs,
            extensions: accepted.map,
            cname: self.cname.clone(),
        })
    }
}

fn receives(kind: MediaKind, theirs: &sdp::Section, answer: &proto::SessionDescription, agreed: &mut Agreed) {
    if !theirs.direction.sends() {
        return;
    }
    // The mapping is the server's word; the stream's own id is what other clients of this protocol go by.
    let named = answer.mid_to_track_id.get(theirs.mid.as_str()).map(String::as_str);
    let track = named.or_else(|| theirs.msid.as_ref().map(|msid| msid.track.as_str()));
    agreed.tracks.extend(track.map(|track| (theirs.mid, Arc::from(track))));
    let accepted = sdp::choose(theirs, &Policy::default());
    agreed.receive.push(ReceiveSection {
        mid: theirs.mid,
        media: kind,
        codecs: accepted.codecs,
        extensions: accepted.map,
        rids: Vec::new(),
        ssrcs: theirs.ssrcs.clone(),
    });
}

/// The codec that we send, and its retransmissions.
fn sent_codecs(kind: MediaKind) -> Vec<CodecLine> {
    let codec = Uplink::codec(kind);
    let mut lines = sdp::offered_codecs(kind, Some(codec));
    let sent = lines.iter().find(|line| sdp::codec_kind(line) == Some(codec)).map(|line| line.payload_type);
    lines.retain(|line| Some(line.payload_type) == sent || line.apt().is_some_and(|apt| Some(apt) == sent));
    lines
}

fn extensions(kind: MediaKind) -> Vec<ExtensionLine> {
    let mut lines = sdp::offered_extensions(kind);
    if kind == MediaKind::Audio {
        let uri = Extension::AudioLevel.uri().to_owned();
        lines.push(ExtensionLine { id: AUDIO_LEVEL_ID, direction: None, uri });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdp::{Ice, SectionKind};

    fn transport(port: u16) -> Transport {
        Transport {
            ice: Ice { ufrag: "ufrag".to_owned(), password: "a password of 22 chars".replace(' ', "+") },
            fingerprint: [7; 32],
            candidates: vec![([127, 0, 0, 1], port).into()],
        }
    }

    fn negotiation() -> Negotiation {
        let mut negotiation = Negotiation::new(transport(1), 5, "me".to_owned());
        let kinds = [(MediaKind::Audio, 10), (MediaKind::Video, 20)];
        for (kind, ssrc) in kinds {
            let cid = format!("cid{ssrc}").into();
            negotiation.add_uplink(Uplink { cid, kind, ssrc, rtx_ssrc: ssrc + 1 }).expect("there is room");
        }
        negotiation.add_receivers(1, 1);
        negotiation
    }

    /// Answers as a server does: takes what is sent, and sends a track in every section in which it may.
    fn answered(offer: &proto::SessionDescription) -> proto::SessionDescription {
        let offered = sdp::parse(&offer.sdp).expect("our offer parses");
        let mut mid_to_track_id = std::collections::HashMap::new();
        let section = |section: &sdp::Section| {
            let accepted = sdp::choose(section, &Policy::default());
            let downlink = section.direction.receives().then(|| {
                mid_to_track_id.insert(section.mid.to_string(), format!("TR_{}", section.mid));
                Downlink {
                    stream: "s".to_owned(),
                    track: "t".to_owned(),
                    ssrc: 99,
                    rtx_ssrc: None,
                    cname: "c".to_owned(),
                }
            });
            let body = match section.kind {
                SectionKind::Data => OutBody::Data { max_message_size: 1 },
                kind => OutBody::Media {
                    kind: if kind == SectionKind::Audio { MediaKind::Audio } else { MediaKind::Video },
                    direction: Direction::of(section.direction.receives(), section.direction.sends()),
                    codecs: accepted.lines,
                    extensions: accepted.extensions,
                    rids: Vec::new(),
                    downlink,
                },
            };
            OutSection { mid: section.mid, body }
        };
        let sections = offered.sections.iter().map(section).collect();
        let document = Document {
            role: Role::Answer,
            session_id: 1,
            version: 1,
            extmap_allow_mixed: true,
            transport: transport(7882),
            sections,
        };
        let sdp = document.write();
        proto::SessionDescription { r#type: "answer".to_owned(), sdp, id: offer.id, mid_to_track_id }
    }

    #[test]
    fn an_offer_is_of_a_full_agent_and_names_what_it_sends() {
        let offer = negotiation().offer().expect("it is due");
        let read = sdp::parse(&offer.sdp).expect("it parses");
        assert!(!read.ice_lite);
        let audio = &read.sections[1];
        assert_eq!((audio.direction, audio.codecs.len()), (Direction::SendOnly, 1));
        assert_eq!(audio.msid.as_ref().map(|msid| msid.track.as_str()), Some("cid10"));
        let video = &read.sections[2];
        assert_eq!(video.ssrcs, [(20, Some(21))]);
        assert_eq!(video.codecs.iter().map(|codec| codec.name.as_str()).collect::<Vec<_>>(), ["VP8", "rtx"]);
        assert_eq!(read.sections[4].direction, Direction::RecvOnly);
    }

    #[test]
    fn an_answer_settles_what_flows() {
        let mut negotiation = negotiation();
        let offer = negotiation.offer().expect("it is due");
        let agreed = negotiation.answer(&answered(&offer)).expect("it parses").expect("it is the one");
        assert_eq!(agreed.remote.candidates, [([127, 0, 0, 1], 7882).into()]);
        assert_eq!(agreed.send.iter().map(|send| send.ssrc).collect::<Vec<_>>(), [10, 20]);
        assert_eq!(agreed.send[1].rtx_ssrc, Some(21));
        assert!(agreed.send[0].extensions.id(Extension::AudioLevel).is_some());
        let tracks: Vec<&str> = agreed.tracks.values().map(AsRef::as_ref).collect();
        assert_eq!(tracks, ["TR_3", "TR_4"]);
        assert_eq!(agreed.receive[1].ssrcs, [(99, None)]);
    }

    #[test]
    fn one_offer_is_under_way_at_a_time_and_changes_wait_for_its_answer() {
        let mut negotiation = negotiation();
        let first = negotiation.offer().expect("it is due");
        assert!(negotiation.offer().is_none());
        negotiation.add_receivers(0, 0);
        assert!(negotiation.offer().is_none(), "the first is not answered");
        let mut stale = answered(&first);
        stale.id = 77;
        assert!(negotiation.answer(&stale).expect("it parses").is_none());
        negotiation.answer(&answered(&first)).expect("it parses").expect("it is the one");
        let second = negotiation.offer().expect("asked for none, it is due nevertheless");
        assert_eq!(second.id, first.id + 1);
        negotiation.answer(&answered(&second)).expect("it parses").expect("it is the one");
        assert!(negotiation.offer().is_none(), "nothing changed");
    }

    #[test]
    fn an_answer_that_is_no_sdp_is_an_error_and_sections_have_an_end() {
        let mut negotiation = negotiation();
        negotiation.offer().expect("it is due");
        let garbage = proto::SessionDescription { sdp: "garbage".to_owned(), ..Default::default() };
        assert!(negotiation.answer(&garbage).is_err());
        negotiation.add_receivers(usize::MAX, usize::MAX);
        assert!(negotiation.sections.len() <= MAX_SECTIONS);
    }
}
