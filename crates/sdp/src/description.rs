//! What a description says, as plain values.

use base::{MediaKind, Mid, Rid};

/// Which way media flows, seen from the side that wrote it (RFC 3264 section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// Both ways; the default when nothing is said.
    #[default]
    SendRecv,
    /// From the writer.
    SendOnly,
    /// To the writer.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// The writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// From what the writer does.
    pub fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// The name of the attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// Who starts the DTLS handshake (RFC 4145, RFC 8842).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setup {
    /// The answerer decides.
    ActPass,
    /// The writer starts.
    Active,
    /// The writer waits.
    Passive,
}

impl Setup {
    /// The attribute's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

/// ICE credentials (RFC 8839 section 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Ice {
    /// User fragment, 4 to 256 characters.
    pub ufrag: String,
    /// Password, 22 to 256 characters.
    pub password: String,
}

impl Ice {
    /// Credentials from random bytes: 72 bits of user fragment, since servers find connections by it, and 144 of password
    /// (RFC 8445 section 5.3 asks for 24 and 128).
    pub fn from_random(bytes: [u8; 36]) -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let text =
            |bytes: &[u8]| bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect();
        let (ufrag, password) = bytes.split_at(12);
        Self { ufrag: text(ufrag), password: text(password) }
    }
}

/// Keeps the password out of logs.
impl std::fmt::Debug for Ice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ice({})", self.ufrag)
    }
}

/// What a media section carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// SCTP data channels (`webrtc-datachannel`).
    Data,
    /// Something else; always refused.
    Other,
}

/// RTCP feedback of a codec (RFC 4585, RFC 5104, REMB and transport-wide drafts).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Feedback {
    /// `nack`
    pub nack: bool,
    /// `nack pli`
    pub pli: bool,
    /// `ccm fir`
    pub fir: bool,
    /// `transport-cc`
    pub transport_cc: bool,
    /// `goog-remb`
    pub remb: bool,
}

/// One payload type: `a=rtpmap`, `a=fmtp`, `a=rtcp-fb` together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodecLine {
    /// 0..=127
    pub payload_type: u8,
    /// Encoding name as written.
    pub name: String,
    /// Hz.
    pub clock_rate: u32,
    /// Channels, where written.
    pub channels: Option<u8>,
    /// Format parameters, unparsed; empty when there are none.
    pub fmtp: String,
    /// Feedback.
    pub feedback: Feedback,
}

impl CodecLine {
    /// Value of a parameter of `fmtp`; names are compared without case (RFC 8866 leaves it to the format; codecs agree).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp.split(';').find_map(|part| {
            let (key, value) = part.trim().split_once('=')?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The payload type that this one retransmits (RFC 4588), for `rtx`.
    pub fn apt(&self) -> Option<u8> {
        self.name.eq_ignore_ascii_case("rtx").then(|| self.parameter("apt")?.parse().ok()).flatten()
    }
}

/// `a=extmap` (RFC 8285 section 8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtensionLine {
    /// Local id, 1..=255.
    pub id: u8,
    /// What follows the slash, if anything: `sendonly`, `recvonly`, …
    pub direction: Option<String>,
    /// URI.
    pub uri: String,
}

/// `a=rid` (RFC 8851).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RidLine {
    /// Its name.
    pub rid: Rid,
    /// True for `send`.
    pub send: bool,
}

/// `a=msid` (RFC 8830).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Msid {
    /// Stream id; `-` for none.
    pub stream: String,
    /// Track id; may be empty.
    pub track: String,
}

/// A media section.
#[derive(Clone, PartialEq, Debug)]
pub struct Section {
    /// Its mid.
    pub mid: Mid,
    /// What it carries.
    pub kind: SectionKind,
    /// Port 0 and not `a=bundle-only`: switched off by its writer.
    pub rejected: bool,
    /// It is in the BUNDLE group.
    pub bundled: bool,
    /// Media type as written in the `m=` line.
    pub media: String,
    /// Transport as written.
    pub proto: String,
    /// Formats as written.
    pub formats: String,
    /// Which way media flows, seen from the writer.
    pub direction: Direction,
    /// DTLS role.
    pub setup: Option<Setup>,
    /// ICE credentials, its own or the session's.
    pub ice: Option<Ice>,
    /// SHA-256 fingerprint of the writer's certificate, its own or the session's.
    pub fingerprint: Option<[u8; 32]>,
    /// Payload types, in the order of the `m=` line.
    pub codecs: Vec<CodecLine>,
    /// Header extensions, in the order written.
    pub extensions: Vec<ExtensionLine>,
    /// Rids in the order written.
    pub rids: Vec<RidLine>,
    /// Rids of `a=simulcast:send`, first alternative of each stream, in the order written.
    pub simulcast_send: Vec<Rid>,
    /// Primary SSRCs with their RTX SSRC, in the order written.
    pub ssrcs: Vec<(u32, Option<u32>)>,
    /// Stream and track id.
    pub msid: Option<Msid>,
    /// Port of the SCTP association.
    pub sctp_port: Option<u16>,
    /// Largest SCTP message that the writer takes, in bytes; 0 = any.
    pub max_message_size: Option<u64>,
}

impl Section {
    /// In use, and in the bundle: a section outside it would need a transport of its own, which Stoa does not offer.
    pub fn is_live(&self) -> bool {
        !self.rejected && self.bundled
    }

    /// Audio or video; `None` for anything else.
    pub fn media_kind(&self) -> Option<MediaKind> {
        match self.kind {
            SectionKind::Audio => Some(MediaKind::Audio),
            SectionKind::Video => Some(MediaKind::Video),
            SectionKind::Data | SectionKind::Other => None,
        }
    }

    /// Rids in which the writer sends, lowest layer first; empty without simulcast.
    ///
    /// The order written is that of the writer's encodings, which some clients give highest first. LiveKit's clients name
    /// layers `q`, `h`, `f` or `2`, `1`, `0` from low to high; those names decide, others keep the order written.
    pub fn layers(&self) -> Vec<Rid> {
        let mut rids = self.simulcast_send.clone();
        if rids.is_empty() {
            rids.extend(self.rids.iter().filter(|line| line.send).map(|line| line.rid));
        }
        let rank = |rid: &Rid| match rid.as_str() {
            "q" | "2" => Some(0),
            "h" | "1" => Some(1),
            "f" | "0" => Some(2),
            _ => None,
        };
        if rids.iter().all(|rid| rank(rid).is_some()) {
            rids.sort_by_key(rank);
        }
        rids
    }
}

/// An offer or an answer.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Description {
    /// The writer is an ICE-lite agent.
    pub ice_lite: bool,
    /// The writer takes one-byte and two-byte header extensions in one stream (RFC 8285 section 4.1.2).
    pub extmap_allow_mixed: bool,
    /// Its media sections, in order.
    pub sections: Vec<Section>,
}

impl Description {
    /// The section that describes the transport: the first that is bundled and not switched off.
    pub fn transport(&self) -> Option<&Section> {
        self.sections.iter().find(|section| section.bundled && !section.rejected)
    }

    /// The section with this mid.
    pub fn section(&self, mid: Mid) -> Option<&Section> {
        self.sections.iter().find(|section| section.mid == mid)
    }

    /// ICE credentials and fingerprint of the transport.
    ///
    /// # Errors
    /// [`crate::Error::NoIce`], [`crate::Error::NoFingerprint`].
    pub fn remote(&self) -> Result<(Ice, [u8; 32]), crate::Error> {
        let section = self.transport().ok_or(crate::Error::NoIce)?;
        let ice = section.ice.clone().ok_or(crate::Error::NoIce)?;
        let fingerprint = section.fingerprint.ok_or(crate::Error::NoFingerprint)?;
        Ok((ice, fingerprint))
    }
}
