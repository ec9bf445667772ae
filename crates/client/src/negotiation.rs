//! Media sections, offers and answers of one connection, as a value. The client always offers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use base::{CodecKind, Extension, ExtensionMap, MediaKind, Mid, Rid};
use livekit_protocol as proto;
use rtc::{IceCredentials, ReceiveSection, SendSection};
use sdp::{
    CodecLine, Direction, Document, Downlink, ExtensionLine, Ice, OutBody, OutSection, Policy, Role,
    Transport,
};

use crate::endpoint::Remote;
use crate::options::{LocalTrack, MAX_LAYERS};

/// Largest data-channel message that we take.
const MAX_MESSAGE_SIZE: u64 = 65_536;
/// Id of the audio level's header extension: the others come from `sdp`'s table, which ends below.
const AUDIO_LEVEL_ID: u8 = 8;
/// Most sections, which is what servers read of a description.
const MAX_SECTIONS: usize = 250;

/// Names of simulcast layers, lowest first, as LiveKit's clients write them.
const RIDS: [&str; MAX_LAYERS] = ["q", "h", "f"];

/// A track that we send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Uplink {
    pub cid: Arc<str>,
    pub kind: MediaKind,
    pub codec: CodecKind,
    /// SSRCs of each layer and of its retransmissions, lowest first; one without simulcast.
    pub ssrcs: Vec<(u32, u32)>,
}

impl Uplink {
    /// A track with random ids.
    pub fn random(track: &LocalTrack) -> Self {
        let cid: Arc<str> = format!("{:016x}", rand::random::<u64>()).into();
        // Consecutive odd numbers: they differ, and none is 0, which stands for "unknown" in several places.
        let first = rand::random::<u32>() | 1;
        let layers = track.layers.len().clamp(1, MAX_LAYERS) as u32;
        let ssrcs =
            (0..layers).map(|layer| (first.wrapping_add(4 * layer), first.wrapping_add(4 * layer + 2)));
        Self { cid, kind: track.kind, codec: track.codec, ssrcs: ssrcs.collect() }
    }

    fn rids(&self) -> Vec<Rid> {
        if self.ssrcs.len() < 2 {
            return Vec::new();
        }
        let names = RIDS.iter().take(self.ssrcs.len());
        names.map(|name| Rid::new(name.as_bytes()).expect("a letter is a rid")).collect()
    }
}

enum Body {
    Data,
    Send(Uplink),
    /// We sent something here, and no longer do. `told`: the server has answered an offer that says so, and another track of the kind may
    /// take its place.
    Ended {
        uplink: Uplink,
        told: bool,
    },
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
    /// Of each of `send`: our own id of the track, and which of its layers it is.
    pub layers: Vec<(Arc<str>, u8)>,
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
    offer: Option<proto::SessionDescription>,
    /// The last offer that was answered, and the answer.
    answered: Option<proto::SessionDescription>,
    answer: Option<proto::SessionDescription>,
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
            offer: None,
            answered: None,
            answer: None,
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

    /// Adds a section for a track of ours, or takes one whose track has ended; `None` when there are as many as there may be.
    pub fn add_uplink(&mut self, uplink: Uplink) -> Option<Mid> {
        let free = |section: &&mut Section| matches!(&section.body, Body::Ended { uplink: old, told: true } if old.kind == uplink.kind);
        if let Some(section) = self.sections.iter_mut().find(free) {
            section.body = Body::Send(uplink);
            self.changed = true;
            return Some(section.mid);
        }
        (self.sections.len() < MAX_SECTIONS).then(|| self.add(Body::Send(uplink)))
    }

    /// A track of ours ends.
    pub fn end_uplink(&mut self, cid: &str) {
        for section in &mut self.sections {
            if let Body::Send(uplink) = &section.body
                && *uplink.cid == *cid
            {
                section.body = Body::Ended { uplink: uplink.clone(), told: false };
                self.changed = true;
            }
        }
    }

    /// Our end of the transport is another one: an offer is due, whatever was outstanding, and it restarts ICE (RFC 8445
    /// section 9).
    pub fn restart(&mut self, ice: Ice, candidate: Option<SocketAddr>) {
        self.transport.ice = ice;
        self.transport.candidates = candidate.into_iter().collect();
        (self.outstanding, self.changed) = (false, true);
    }

    /// Where we can be reached.
    pub fn candidate(&self) -> Option<SocketAddr> {
        self.transport.candidates.first().copied()
    }

    /// The last answer, and the offer that it answered.
    pub fn settled(&self) -> (Option<proto::SessionDescription>, Option<proto::SessionDescription>) {
        (self.answer.clone(), self.answered.clone())
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
        self.offer = Some(proto::SessionDescription {
            r#type: "offer".to_owned(),
            sdp: document.write(),
            id: self.version,
            ..proto::SessionDescription::default()
        });
        self.offer.clone()
    }

    fn written(&self, section: &Section) -> OutSection {
        let body = match &section.body {
            Body::Data => OutBody::Data { max_message_size: MAX_MESSAGE_SIZE },
            Body::Send(uplink) => self.sent(uplink),
            Body::Ended { uplink, .. } => OutBody::Media {
                kind: uplink.kind,
                direction: Direction::Inactive,
                codecs: sent_codecs(uplink.codec),
                extensions: extensions(uplink.kind),
                rids: Vec::new(),
                downlink: None,
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

    fn sent(&self, uplink: &Uplink) -> OutBody {
        let video = uplink.kind == MediaKind::Video;
        let mut ssrcs = uplink.ssrcs.iter().map(|(ssrc, rtx)| (*ssrc, video.then_some(*rtx)));
        let (ssrc, rtx_ssrc) = ssrcs.next().unwrap_or_default();
        OutBody::Media {
            kind: uplink.kind,
            direction: Direction::SendOnly,
            codecs: sent_codecs(uplink.codec),
            extensions: extensions(uplink.kind),
            rids: uplink.rids(),
            downlink: Some(Downlink {
                stream: self.cname.clone(),
                track: uplink.cid.to_string(),
                ssrc,
                rtx_ssrc,
                layers: ssrcs.collect(),
                cname: self.cname.clone(),
            }),
        }
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
        (self.answered, self.answer) = (self.offer.take(), Some(answer.clone()));
        // With changes waiting it is not known here which of them the offer had in it.
        let all_said = !self.changed;
        for section in &mut self.sections {
            if let Body::Ended { told, .. } = &mut section.body {
                *told |= all_said;
            }
        }
        let mut agreed = Agreed {
            remote: Remote {
                credentials: IceCredentials { ufrag: ice.ufrag, password: ice.password },
                fingerprint,
                candidates: sdp::candidates(&answer.sdp),
            },
            receive: Vec::new(),
            send: Vec::new(),
            tracks: BTreeMap::new(),
            layers: Vec::new(),
        };
        for theirs in description.sections.iter().filter(|section| !section.rejected) {
            let Some(ours) = self.sections.iter().find(|section| section.mid == theirs.mid) else { continue };
            match &ours.body {
                Body::Data | Body::Ended { .. } => {}
                Body::Send(uplink) => self.sends(uplink, theirs, &mut agreed),
                Body::Receive(kind) => receives(*kind, theirs, answer, &mut agreed),
            }
        }
        Ok(Some(agreed))
    }

    /// Nothing, when the server does not receive, or not what we send.
    fn sends(&self, uplink: &Uplink, theirs: &sdp::Section, agreed: &mut Agreed) {
        let mut accepted = sdp::choose(theirs, &Policy::default());
        accepted.codecs.retain(|codec| codec.kind == uplink.codec);
        let (Some(codec), true) = (accepted.codecs.first(), theirs.direction.receives()) else { return };
        let retransmits = codec.rtx.is_some();
        for (layer, (ssrc, rtx)) in uplink.ssrcs.iter().enumerate() {
            agreed.layers.push((uplink.cid.clone(), layer as u8));
            agreed.send.push(SendSection {
                mid: layer_mid(theirs.mid, layer),
                media: uplink.kind,
                ssrc: *ssrc,
                rtx_ssrc: retransmits.then_some(*rtx),
                codecs: accepted.codecs.clone(),
                extensions: match uplink.ssrcs.len() {
                    1 => accepted.map,
                    _ => without_mid(accepted.map),
                },
                cname: self.cname.clone(),
                strips_trailers: false,
            });
        }
    }
}

/// What a layer's stream is called here: the transport knows one stream for each name. The lowest has that of the section.
fn layer_mid(mid: Mid, layer: usize) -> Mid {
    match layer {
        0 => mid,
        layer => Mid::new(format!("{mid}.{layer}").as_bytes()).expect("a small number and a digit are a mid"),
    }
}

/// Layers are known by the SSRCs that the offer names; of their names here only the first means something to the server.
fn without_mid(mut map: ExtensionMap) -> ExtensionMap {
    map.set(Extension::Mid, 0);
    map
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
fn sent_codecs(codec: CodecKind) -> Vec<CodecLine> {
    let mut lines = sdp::offered_codecs(codec.media(), Some(codec));
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
    use sdp::SectionKind;

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
            let codec = if kind == MediaKind::Audio { CodecKind::Opus } else { CodecKind::Vp8 };
            let uplink = Uplink { cid, kind, codec, ssrcs: vec![(ssrc, ssrc + 1)] };
            negotiation.add_uplink(uplink).expect("there is room");
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
                    layers: Vec::new(),
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
    fn a_track_in_layers_is_offered_with_rids_and_sent_as_one_stream_for_each() {
        let mut negotiation = Negotiation::new(transport(1), 5, "me".to_owned());
        let layers = [crate::Layer::new(320, 180, 1), crate::Layer::new(640, 360, 2)];
        let uplink = Uplink::random(&LocalTrack::simulcast(&layers));
        negotiation.add_uplink(uplink.clone()).expect("there is room");
        let offer = negotiation.offer().expect("it is due");
        let read = sdp::parse(&offer.sdp).expect("it parses");
        let rids: Vec<_> = read.sections[1].layers().iter().map(|rid| rid.as_str().to_owned()).collect();
        assert_eq!(rids, ["q", "h"]);
        let pairs: Vec<_> = uplink.ssrcs.iter().map(|(ssrc, rtx)| (*ssrc, Some(*rtx))).collect();
        assert_eq!(read.sections[1].ssrcs, pairs);
        let agreed = negotiation.answer(&answered(&offer)).expect("it parses").expect("it is the one");
        let named: Vec<_> = agreed.send.iter().map(|send| (send.mid.to_string(), send.ssrc)).collect();
        assert_eq!(named, [("1".to_owned(), uplink.ssrcs[0].0), ("1.1".to_owned(), uplink.ssrcs[1].0)]);
        assert_eq!(agreed.layers, [(uplink.cid.clone(), 0), (uplink.cid.clone(), 1)]);
        assert_eq!(agreed.send[1].extensions.id(Extension::Mid), None);
    }

    #[test]
    fn a_restart_offers_anew_though_an_answer_never_came_and_an_ended_track_is_inactive() {
        let mut negotiation = negotiation();
        negotiation.offer().expect("it is due");
        negotiation.end_uplink("cid20");
        let ice = Ice { ufrag: "other".to_owned(), password: "another+password+of+its+own".to_owned() };
        negotiation.restart(ice, Some(([127, 0, 0, 1], 99).into()));
        let offer = negotiation.offer().expect("it is due at once");
        let read = sdp::parse(&offer.sdp).expect("it parses");
        assert_eq!(read.sections[0].ice.as_ref().map(|ice| ice.ufrag.as_str()), Some("other"));
        assert_eq!(sdp::candidates(&offer.sdp), [([127, 0, 0, 1], 99).into()]);
        assert_eq!(read.sections[2].direction, Direction::Inactive);
        let agreed = negotiation.answer(&answered(&offer)).expect("it parses").expect("it is the one");
        assert_eq!(agreed.layers, [("cid10".into(), 0)]);
    }

    #[test]
    fn a_section_is_used_again_once_the_server_knows_that_its_track_has_ended() {
        let mut negotiation = Negotiation::new(transport(1), 5, "me".to_owned());
        let mids: Vec<_> = (0..2 * MAX_SECTIONS)
            .map(|_| {
                let uplink = Uplink::random(&LocalTrack::microphone());
                let mid = negotiation.add_uplink(uplink.clone()).expect("there is room").to_string();
                let offer = negotiation.offer().expect("it is due");
                let agreed =
                    negotiation.answer(&answered(&offer)).expect("it parses").expect("it is the one");
                assert_eq!((agreed.send.len(), agreed.send[0].ssrc), (1, uplink.ssrcs[0].0));
                negotiation.end_uplink(&uplink.cid);
                let offer = negotiation.offer().expect("it is due");
                negotiation.answer(&answered(&offer)).expect("it parses").expect("it is the one");
                mid
            })
            .collect();
        assert!(mids.iter().all(|mid| mid == "1"), "{mids:?}");
        let camera = Uplink::random(&LocalTrack::camera(640, 360));
        assert_eq!(
            negotiation.add_uplink(camera).expect("there is room").to_string(),
            "2",
            "of another kind"
        );
        let offer = negotiation.offer().expect("it is due");
        let voice = Uplink::random(&LocalTrack::microphone());
        negotiation.add_uplink(voice.clone());
        negotiation.end_uplink(&voice.cid);
        negotiation.answer(&answered(&offer)).expect("it parses").expect("it is the one");
        let third = negotiation.add_uplink(Uplink::random(&LocalTrack::microphone()));
        assert_eq!(
            third.expect("there is room").to_string(),
            "3",
            "the end was not in the offer that was answered"
        );
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
