//! What Stoa offers when it is the one that offers: a fixed table of payload types and extension ids, the same in every
//! section, so that a bundle never gives one number two meanings.

use base::{CodecKind, Extension, MediaKind};

use crate::description::{CodecLine, ExtensionLine, Feedback};

/// Codecs of an offered section in which we send: `prefer` first, each followed by its RTX.
pub fn offered_codecs(kind: MediaKind, prefer: Option<CodecKind>) -> Vec<CodecLine> {
    let mut table = match kind {
        MediaKind::Audio => vec![AUDIO.to_vec()],
        MediaKind::Video => VIDEO.iter().map(|pair| pair.to_vec()).collect(),
    };
    table.sort_by_key(|entries| Some(entries[0].kind) != prefer.map(Some));
    table.concat().iter().map(Entry::line).collect()
}

/// RED around the Opus of [`offered_codecs`], for the end of an audio section's codecs.
pub fn offered_red() -> CodecLine {
    RED.line()
}

/// Header extensions of an offered section in which we send.
pub fn offered_extensions(kind: MediaKind) -> Vec<ExtensionLine> {
    let extensions: &[(u8, Extension)] = match kind {
        MediaKind::Audio => &[
            (3, Extension::Mid),
            (4, Extension::AbsSendTime),
            (5, Extension::TransportSequence),
            (6, Extension::AbsCaptureTime),
        ],
        MediaKind::Video => &[
            (3, Extension::Mid),
            (4, Extension::AbsSendTime),
            (5, Extension::TransportSequence),
            (6, Extension::AbsCaptureTime),
            (7, Extension::DependencyDescriptor),
        ],
    };
    let line = |(id, extension): &(u8, Extension)| ExtensionLine {
        id: *id,
        direction: None,
        uri: extension.uri().to_owned(),
    };
    extensions.iter().map(line).collect()
}

#[derive(Clone, Copy)]
struct Entry {
    payload_type: u8,
    /// `None`: RTX of the entry before.
    kind: Option<CodecKind>,
    name: &'static str,
    fmtp: &'static str,
}

const AUDIO: [Entry; 1] = [Entry {
    payload_type: 111,
    kind: Some(CodecKind::Opus),
    name: "opus",
    fmtp: "minptime=10;useinbandfec=1",
}];

/// Each block is Opus (RFC 2198 section 5). The payload type is the one that Chromium uses.
const RED: Entry = Entry { payload_type: 63, kind: Some(CodecKind::Red), name: "red", fmtp: "111/111" };

const VIDEO: [[Entry; 2]; 4] = [
    pair(CodecKind::Vp8, "VP8", 96, "", "apt=96"),
    pair(
        CodecKind::H264,
        "H264",
        102,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        "apt=102",
    ),
    pair(CodecKind::Vp9, "VP9", 98, "profile-id=0", "apt=98"),
    pair(CodecKind::Av1, "AV1", 104, "", "apt=104"),
];

const fn pair(
    kind: CodecKind,
    name: &'static str,
    payload_type: u8,
    fmtp: &'static str,
    apt: &'static str,
) -> [Entry; 2] {
    [
        Entry { payload_type, kind: Some(kind), name, fmtp },
        Entry { payload_type: payload_type + 1, kind: None, name: "rtx", fmtp: apt },
    ]
}

impl Entry {
    fn line(&self) -> CodecLine {
        let audio = self.kind.is_some_and(|kind| kind.media() == MediaKind::Audio);
        let feedback = match (self.kind, audio) {
            (None, _) => Feedback::default(),
            // What it is for makes up for losses without being asked.
            (Some(CodecKind::Red), _) => Feedback { transport_cc: true, ..Feedback::default() },
            (Some(_), true) => Feedback { nack: true, transport_cc: true, ..Feedback::default() },
            (Some(_), false) => Feedback { nack: true, pli: true, fir: true, transport_cc: true, remb: true },
        };
        CodecLine {
            payload_type: self.payload_type,
            name: self.name.to_owned(),
            clock_rate: if audio { 48_000 } else { 90_000 },
            channels: audio.then_some(2),
            fmtp: self.fmtp.to_owned(),
            feedback,
        }
    }
}
