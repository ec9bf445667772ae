//! Small media values that cross rings: kinds, codecs, mid and rid, header extension numbering.

use std::fmt;

/// Audio or video.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// What a payload type carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum CodecKind {
    /// Opus (RFC 7587).
    Opus,
    /// Redundant audio (RFC 2198) around Opus.
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// H.264 (RFC 6184).
    H264,
    /// AV1 (AOMedia RTP specification).
    Av1,
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl CodecKind {
    /// Audio or video.
    pub fn media(self) -> MediaKind {
        match self {
            Self::Opus | Self::Red | Self::Pcmu | Self::Pcma => MediaKind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 => MediaKind::Video,
        }
    }

    /// RTP clock rate in Hz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus | Self::Red => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 => 90_000,
        }
    }

    /// Lower-case MIME type.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Opus => "audio/opus",
            Self::Red => "audio/red",
            Self::Pcmu => "audio/pcmu",
            Self::Pcma => "audio/pcma",
            Self::Vp8 => "video/vp8",
            Self::Vp9 => "video/vp9",
            Self::H264 => "video/h264",
            Self::Av1 => "video/av1",
        }
    }
}

/// A codec as negotiated for one media section: its payload type, that of its retransmissions, its feedback.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Codec {
    /// What the payload is.
    pub kind: CodecKind,
    /// RTP payload type, 0..=127.
    pub payload_type: u8,
    /// Payload type of RTX (RFC 4588) for it, where negotiated.
    pub rtx: Option<u8>,
    /// Generic NACK was negotiated (RFC 4585).
    pub nack: bool,
    /// PLI was negotiated.
    pub pli: bool,
    /// FIR was negotiated (RFC 5104).
    pub fir: bool,
    /// Transport-wide feedback was negotiated.
    pub transport_cc: bool,
    /// REMB was negotiated.
    pub remb: bool,
    /// Feedback by stream was negotiated (RFC 8888). No session description asks for it yet.
    pub ccfb: bool,
}

/// Up to 16 ASCII bytes, copied by value: what mids and rids are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShortName {
    len: u8,
    bytes: [u8; 16],
}

impl ShortName {
    /// `None` when empty, over 16 bytes or not printable ASCII.
    pub fn new(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > 16 || !text.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { len: text.len() as u8, bytes })
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // `new` admits printable ASCII alone.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Debug for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Identification of a media section (RFC 8843).
pub type Mid = ShortName;
/// Identification of a simulcast layer (RFC 8851).
pub type Rid = ShortName;

/// RTP header extensions that Stoa reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Extension {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    Mid,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`
    Rid,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`
    RepairedRid,
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportSequence,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464)
    AudioLevel,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    AbsSendTime,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`
    AbsCaptureTime,
    /// AV1 RTP specification, appendix A.
    DependencyDescriptor,
}

impl Extension {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 8] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::TransportSequence,
        Self::AudioLevel,
        Self::AbsSendTime,
        Self::AbsCaptureTime,
        Self::DependencyDescriptor,
    ];

    /// The URI in SDP.
    pub fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::TransportSequence => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }
}

/// Which local id (1..=255) each header extension has in one media section; 0 means not negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ExtensionMap {
    ids: [u8; Extension::ALL.len()],
}

impl ExtensionMap {
    /// Gives `extension` the id; 0 removes it.
    pub fn set(&mut self, extension: Extension, id: u8) {
        self.ids[extension as usize] = id;
    }

    /// The id, where negotiated.
    pub fn id(&self, extension: Extension) -> Option<u8> {
        match self.ids[extension as usize] {
            0 => None,
            id => Some(id),
        }
    }

    /// The extension that has this id.
    pub fn extension(&self, id: u8) -> Option<Extension> {
        Extension::ALL.into_iter().find(|e| id != 0 && self.ids[*e as usize] == id)
    }

    /// True when some id needs the two-byte form (RFC 8285 section 4.3).
    pub fn needs_two_byte(&self) -> bool {
        self.ids.iter().any(|id| *id > 14)
    }
}
