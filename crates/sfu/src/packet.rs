//! What is found out about a received packet, once for all its receivers.

use base::CodecKind;
use wire::keyframe;
use wire::media::Received;
use wire::vp8::{self, Patch};

use crate::clock::Clock;
use crate::segment::Stream;

/// What a payload tells.
pub(crate) struct Content {
    /// Padding alone.
    pub empty: bool,
    /// The running indices of VP8.
    pub vp8: Option<Patch>,
    /// A receiver that has nothing yet can decode from here on: a keyframe starts, or it is audio.
    pub start: bool,
}

impl Content {
    /// `None` when it is malformed.
    pub fn read(codec: CodecKind, payload: &[u8]) -> Option<Self> {
        if payload.is_empty() {
            return Some(Self { empty: true, vp8: None, start: false });
        }
        if codec != CodecKind::Vp8 {
            let start = keyframe::is_keyframe_start(codec, payload, None);
            return Some(Self { empty: false, vp8: None, start });
        }
        let found = vp8::Descriptor::parse(payload)?;
        let indices = Patch { picture_id: found.picture_id, tl0: found.tl0, key_idx: found.key_idx };
        Some(Self { empty: false, vp8: Some(indices), start: found.keyframe })
    }
}

/// A packet as the rows of the subscription table see it.
pub(crate) struct Packet<'a> {
    pub received: &'a Received,
    pub content: Content,
    pub stream: Stream,
    /// The publisher's clock for that stream.
    pub clock: Option<Clock>,
    /// Ahead of all others of its stream.
    pub newest: bool,
}

impl Packet<'_> {
    /// A receiver may begin with it. A start that comes late will not do: what followed it was not forwarded then, and
    /// would be missing.
    pub fn begins(&self) -> bool {
        self.content.start && self.newest
    }

    pub fn sequence(&self) -> u64 {
        self.received.sequence
    }
}
