//! Which codecs and header extensions of a section Stoa accepts.
//!
//! Accepted: Opus, RED around Opus where the policy says so, VP8, VP9 profile 0, H.264, AV1 profile 0, and RTX for
//! each. Refused: ulpfec, flexfec and video RED (Firefox sends VP8 inside RED whenever it may), comfort noise,
//! telephone events, G.711, G.722.
//!
//! Feedback is mirrored: whatever the other side offers of nack, nack pli, ccm fir, transport-cc and goog-remb is accepted.
//! Without transport-cc a publisher cannot estimate its own bandwidth and stays at its lowest rate.

use base::{Codec, CodecKind, Extension, ExtensionMap};

use crate::description::{CodecLine, ExtensionLine, Section};

/// What the answering side wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// Put this codec first, so that the other side sends it.
    pub prefer: Option<CodecKind>,
    /// Accept RED (RFC 2198) around Opus. `prefer` decides which of the two the other side sends.
    pub red: bool,
}

/// What is accepted of a section.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Accepted {
    /// Accepted codecs, preferred first.
    pub codecs: Vec<Codec>,
    /// The lines to write, in order, RTX after what it repeats.
    pub lines: Vec<CodecLine>,
    /// Accepted header extensions by kind.
    pub map: ExtensionMap,
    /// The lines to write, as the other side wrote them.
    pub extensions: Vec<ExtensionLine>,
}

impl Accepted {
    /// Is this codec among them?
    pub fn has(&self, kind: CodecKind) -> bool {
        self.codecs.iter().any(|codec| codec.kind == kind)
    }

    /// Only the first codec, so that it is certain what the other side sends.
    #[must_use]
    pub fn first_alone(mut self) -> Self {
        self.codecs.truncate(1);
        let kept = |line: &CodecLine| {
            self.codecs
                .iter()
                .any(|codec| codec.payload_type == line.payload_type || codec.rtx == Some(line.payload_type))
        };
        self.lines.retain(kept);
        self
    }

    /// Everything but this codec and its RTX.
    #[must_use]
    pub fn without(mut self, kind: CodecKind) -> Self {
        let mut gone = Vec::new();
        for codec in self.codecs.extract_if(.., |codec| codec.kind == kind) {
            gone.extend(std::iter::once(codec.payload_type).chain(codec.rtx));
        }
        self.lines.retain(|line| !gone.contains(&line.payload_type));
        self
    }

    /// Retransmissions were accepted for some codec.
    pub fn has_rtx(&self) -> bool {
        self.codecs.iter().any(|codec| codec.rtx.is_some())
    }
}

/// The codec that a line names, when it is one that Stoa knows and accepts in principle.
pub fn codec_kind(line: &CodecLine) -> Option<CodecKind> {
    let zero = |name: &str| line.parameter(name).is_none_or(|profile| profile == "0");
    let name = line.name.to_ascii_lowercase();
    let kind = match name.as_str() {
        "opus" if line.channels == Some(2) => CodecKind::Opus,
        "red" if line.clock_rate == 48_000 => CodecKind::Red,
        "vp8" => CodecKind::Vp8,
        // Other profiles are 10 bit or 4:4:4, which not every receiver decodes.
        "vp9" if zero("profile-id") => CodecKind::Vp9,
        "av1" if zero("profile") => CodecKind::Av1,
        "h264" => CodecKind::H264,
        _ => return None,
    };
    (line.clock_rate == kind.clock_rate()).then_some(kind)
}

/// Chooses what to accept of `section`.
pub fn choose(section: &Section, policy: &Policy) -> Accepted {
    let mut kept: Vec<(CodecKind, &CodecLine)> = section
        .codecs
        .iter()
        .filter_map(|line| Some((codec_kind(line)?, line)))
        .filter(|(kind, line)| *kind != CodecKind::Red || policy.red && is_around_opus(line, section))
        .collect();
    keep_one_packetization(&mut kept);
    kept.sort_by_key(|(kind, line)| rank(*kind, line, policy));
    let mut accepted = Accepted::default();
    for (kind, line) in kept {
        let rtx = section.codecs.iter().find(|other| other.apt() == Some(line.payload_type));
        accepted.codecs.push(codec(kind, line, rtx));
        accepted.lines.push(line.clone());
        accepted.lines.extend(rtx.cloned());
    }
    choose_extensions(section, &mut accepted);
    accepted
}

/// Are all blocks of this RED said to be Opus of the same section (RFC 2198 section 5)? Browsers do not take it otherwise.
fn is_around_opus(red: &CodecLine, section: &Section) -> bool {
    let is_opus = |block: &str| {
        let number: Option<u8> = block.trim().parse().ok();
        let mut lines = section.codecs.iter();
        lines.any(|line| Some(line.payload_type) == number && codec_kind(line) == Some(CodecKind::Opus))
    };
    red.fmtp.split('/').all(is_opus)
}

/// Of H.264 only packetisation mode 1 is kept where it is offered: mode 0 cannot carry large pictures.
fn keep_one_packetization(kept: &mut Vec<(CodecKind, &CodecLine)>) {
    let mode_1 = |line: &CodecLine| line.parameter("packetization-mode") == Some("1");
    if kept.iter().any(|(kind, line)| *kind == CodecKind::H264 && mode_1(line)) {
        kept.retain(|(kind, line)| *kind != CodecKind::H264 || mode_1(line));
    }
}

/// Smaller is earlier. The sort is stable: the other side's order decides between equals.
fn rank(kind: CodecKind, line: &CodecLine, policy: &Policy) -> u8 {
    let preferred = policy.prefer == Some(kind);
    // The constrained baseline profile is what every receiver decodes.
    let baseline = line
        .parameter("profile-level-id")
        .is_some_and(|id| id.get(..4).is_some_and(|profile| profile.eq_ignore_ascii_case("42e0")));
    match (preferred, kind) {
        (true, CodecKind::H264) if !baseline => 1,
        (true, _) => 0,
        (false, CodecKind::H264) if !baseline => 3,
        (false, _) => 2,
    }
}

fn codec(kind: CodecKind, line: &CodecLine, rtx: Option<&CodecLine>) -> Codec {
    Codec {
        kind,
        payload_type: line.payload_type,
        rtx: rtx.map(|rtx| rtx.payload_type),
        nack: line.feedback.nack,
        pli: line.feedback.pli,
        fir: line.feedback.fir,
        transport_cc: line.feedback.transport_cc,
        remb: line.feedback.remb,
        ccfb: false,
    }
}

/// Accepts what we know, in whichever direction the section goes. Also the rid extensions, which only come from the other side:
/// Chromium offers in a new section what was accepted in the earlier ones of its kind, and cannot publish layers without them.
fn choose_extensions(section: &Section, accepted: &mut Accepted) {
    for line in &section.extensions {
        let Some(extension) = Extension::ALL.into_iter().find(|extension| extension.uri() == line.uri) else {
            continue;
        };
        let free = accepted.map.id(extension).is_none() && accepted.map.extension(line.id).is_none();
        if free {
            accepted.map.set(extension, line.id);
            accepted.extensions.push(line.clone());
        }
    }
}
