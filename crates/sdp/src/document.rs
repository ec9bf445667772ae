//! [`Document`]: what Stoa answers or offers, to text.

use std::net::SocketAddr;

use base::{MediaKind, Mid, Rid};
use sdp_types::{Connection, Media, Origin, Session, Time};

use crate::description::{CodecLine, Direction, ExtensionLine, Ice, Section, Setup};
use crate::lines::format_fingerprint;

/// Offer or answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Written first; the other side may choose the DTLS role.
    Offer,
    /// An answer. We wait for the handshake, which lets us choose the SRTP profile.
    Answer,
    /// An answer to who waits for our handshake (`a=setup:passive`).
    ActiveAnswer,
    /// An offer of a client of ours, which is a full ICE agent.
    ClientOffer,
}

/// Our end of the transport. One for all sections: everything is bundled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transport {
    /// Our ICE credentials.
    pub ice: Ice,
    /// SHA-256 of our certificate.
    pub fingerprint: [u8; 32],
    /// Host candidates over UDP, best first. All of them: nothing is trickled.
    pub candidates: Vec<SocketAddr>,
}

/// What we send in a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Downlink {
    /// Stream id: tracks of one stream are played in sync.
    pub stream: String,
    /// Track id.
    pub track: String,
    /// Our SSRC. 0: not said, since the section may carry one stream after another; packets are then known by its mid.
    pub ssrc: u32,
    /// Our SSRC for retransmissions.
    pub rtx_ssrc: Option<u32>,
    /// SSRCs of the further simulcast layers, each with that of its retransmissions, lowest layer first; `ssrc` is that of the
    /// lowest.
    pub layers: Vec<(u32, Option<u32>)>,
    /// RTCP canonical name.
    pub cname: String,
}

/// Body of a section.
#[derive(Clone, PartialEq, Debug)]
pub enum OutBody {
    /// Switched off: port 0. Media type, transport and formats repeat the offer's.
    Rejected {
        /// Media type.
        media: String,
        /// Transport.
        proto: String,
        /// Formats.
        formats: String,
    },
    /// Audio or video.
    Media {
        /// Audio or video.
        kind: MediaKind,
        /// Which way it flows, seen from us.
        direction: Direction,
        /// Payload types in order of preference. Must not be empty.
        codecs: Vec<CodecLine>,
        /// Header extensions.
        extensions: Vec<ExtensionLine>,
        /// Rids that we receive; in an offer of a client of ours, those in which it sends.
        rids: Vec<Rid>,
        /// What we send.
        downlink: Option<Downlink>,
    },
    /// Data channels.
    Data {
        /// Largest message that we take, in bytes.
        max_message_size: u64,
    },
}

impl OutBody {
    /// The answer to a section of an offer that is not taken.
    pub fn rejected(section: &Section) -> Self {
        Self::Rejected {
            media: section.media.clone(),
            proto: section.proto.clone(),
            formats: section.formats.clone(),
        }
    }
}

/// A section to write.
#[derive(Clone, PartialEq, Debug)]
pub struct OutSection {
    /// Its mid.
    pub mid: Mid,
    /// Its body.
    pub body: OutBody,
}

/// An answer or offer of ours.
#[derive(Clone, PartialEq, Debug)]
pub struct Document {
    /// Which of the two.
    pub role: Role,
    /// Session id of the `o=` line: random, the same for all descriptions of a connection.
    pub session_id: u64,
    /// Grows by one with every description of a connection.
    pub version: u64,
    /// Header extensions of both forms may be mixed; in an answer only where the offer says so.
    pub extmap_allow_mixed: bool,
    /// Our end of the transport.
    pub transport: Transport,
    /// The sections; in an answer those of the offer in its order.
    pub sections: Vec<OutSection>,
}

impl Document {
    /// The text.
    pub fn write(&self) -> String {
        // RFC 8829 section 5.2.1: the id must fit a signed 64-bit number.
        let id = self.session_id & (i64::MAX as u64);
        let origin = Origin::with_ip_addr(id, self.version, std::net::Ipv4Addr::LOCALHOST);
        let mut session = Session::new(origin, "-");
        session.times.push(Time::new(0, 0));
        let live = self.sections.iter().filter(|section| !matches!(section.body, OutBody::Rejected { .. }));
        let bundle: String = live.clone().map(|section| format!(" {}", section.mid)).collect();
        session.add_attribute_with_value("group", format!("BUNDLE{bundle}"));
        if self.role != Role::ClientOffer {
            session.add_attribute_from_str("ice-lite");
        }
        if self.extmap_allow_mixed {
            session.add_attribute_from_str("extmap-allow-mixed");
        }
        session.add_attribute_with_value("msid-semantic", "WMS *");
        let first = live.map(|section| section.mid).next();
        for section in &self.sections {
            session.medias.push(self.media(section, first == Some(section.mid)));
        }
        let mut text = Vec::new();
        session.write(&mut text).expect("writing to a Vec does not fail");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// `first`: the section that carries the candidates of the bundle.
    fn media(&self, section: &OutSection, first: bool) -> Media {
        let mut media = match &section.body {
            OutBody::Rejected { media, proto, formats } => {
                return rejected(section.mid, media, proto, formats);
            }
            OutBody::Media { kind, codecs, .. } => {
                let types: Vec<String> = codecs.iter().map(|line| line.payload_type.to_string()).collect();
                let name = if *kind == MediaKind::Audio { "audio" } else { "video" };
                line(name, 9, "UDP/TLS/RTP/SAVPF", &types.join(" "))
            }
            OutBody::Data { .. } => line("application", 9, "UDP/DTLS/SCTP", "webrtc-datachannel"),
        };
        media.add_attribute_with_value("mid", section.mid);
        self.write_transport(&mut media, first);
        match &section.body {
            OutBody::Data { max_message_size } => {
                media.add_attribute_with_value("sctp-port", 5000);
                media.add_attribute_with_value("max-message-size", max_message_size);
            }
            body => write_body(&mut media, body, self.role),
        }
        media
    }

    fn write_transport(&self, media: &mut Media, first: bool) {
        let transport = &self.transport;
        media.add_attribute_with_value("ice-ufrag", &transport.ice.ufrag);
        media.add_attribute_with_value("ice-pwd", &transport.ice.password);
        media.add_attribute_with_value("fingerprint", format_fingerprint(&transport.fingerprint));
        let setup = match self.role {
            Role::Answer => Setup::Passive,
            Role::ActiveAnswer => Setup::Active,
            Role::Offer | Role::ClientOffer => Setup::ActPass,
        };
        media.add_attribute_with_value("setup", setup.name());
        if first {
            for (index, address) in transport.candidates.iter().enumerate() {
                media.add_attribute_with_value("candidate", candidate(index, *address));
            }
            media.add_attribute_from_str("end-of-candidates");
        }
    }
}

fn line(name: &str, port: u16, proto: &str, formats: &str) -> Media {
    Media {
        media: name.to_owned(),
        port,
        num_ports: None,
        proto: proto.to_owned(),
        fmt: formats.to_owned(),
        media_title: None,
        connections: vec![Connection::from_ip_addr(std::net::Ipv4Addr::UNSPECIFIED)],
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}

fn rejected(mid: Mid, name: &str, proto: &str, formats: &str) -> Media {
    let mut media = line(name, 0, proto, formats);
    media.add_attribute_with_value("mid", mid);
    media.add_attribute_from_str("inactive");
    media
}

/// A host candidate (RFC 8839 section 5.1) with the recommended priority (RFC 8445 section 5.1.2.1).
pub(crate) fn candidate(index: usize, address: SocketAddr) -> String {
    let local_preference = 65_535u32.saturating_sub(index as u32);
    let priority = (126 << 24) | (local_preference << 8) | 255;
    format!("{} 1 udp {priority} {} {} typ host", index + 1, address.ip(), address.port())
}

fn write_body(media: &mut Media, body: &OutBody, role: Role) {
    let OutBody::Media { direction, codecs, extensions, rids, downlink, .. } = body else { return };
    for extension in extensions {
        let direction = extension.direction.as_ref().map(|direction| format!("/{direction}"));
        let direction = direction.unwrap_or_default();
        media.add_attribute_with_value("extmap", format!("{}{direction} {}", extension.id, extension.uri));
    }
    media.add_attribute_from_str(direction.name());
    if let Some(downlink) = downlink {
        media.add_attribute_with_value("msid", format!("{} {}", downlink.stream, downlink.track));
    }
    media.add_attribute_from_str("rtcp-mux");
    media.add_attribute_from_str("rtcp-rsize");
    codecs.iter().for_each(|codec| write_codec(media, codec));
    let word = if role == Role::ClientOffer { "send" } else { "recv" };
    for rid in rids {
        media.add_attribute_with_value("rid", format!("{rid} {word}"));
    }
    if rids.len() > 1 {
        let names: Vec<&str> = rids.iter().map(Rid::as_str).collect();
        media.add_attribute_with_value("simulcast", format!("{word} {}", names.join(";")));
    }
    if let Some(downlink) = downlink.as_ref().filter(|downlink| downlink.ssrc != 0) {
        write_ssrcs(media, downlink);
    }
}

fn write_codec(media: &mut Media, line: &CodecLine) {
    let number = line.payload_type;
    let channels = line.channels.filter(|channels| *channels > 1).map(|channels| format!("/{channels}"));
    let channels = channels.unwrap_or_default();
    media.add_attribute_with_value("rtpmap", format!("{number} {}/{}{channels}", line.name, line.clock_rate));
    if !line.fmtp.is_empty() {
        media.add_attribute_with_value("fmtp", format!("{number} {}", line.fmtp));
    }
    let feedback = &line.feedback;
    let all = [
        (feedback.remb, "goog-remb"),
        (feedback.transport_cc, "transport-cc"),
        (feedback.fir, "ccm fir"),
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
    ];
    for (_, name) in all.into_iter().filter(|(wanted, _)| *wanted) {
        media.add_attribute_with_value("rtcp-fb", format!("{number} {name}"));
    }
}

fn write_ssrcs(media: &mut Media, downlink: &Downlink) {
    let first = (downlink.ssrc, downlink.rtx_ssrc);
    for (ssrc, rtx) in std::iter::once(&first).chain(&downlink.layers) {
        if let Some(rtx) = rtx {
            media.add_attribute_with_value("ssrc-group", format!("FID {ssrc} {rtx}"));
        }
        for ssrc in std::iter::once(ssrc).chain(rtx) {
            media.add_attribute_with_value("ssrc", format!("{ssrc} cname:{}", downlink.cname));
        }
    }
}
