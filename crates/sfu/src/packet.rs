//! What is found out about a received packet, once for all its receivers.

use base::CodecKind;
use wire::media::Received;
use wire::{dd, keyframe, red, vp8, vp9};

use crate::clock::Clock;
use crate::segment::Stream;

/// A frame as its dependency descriptor tells it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Without wraps.
    pub number: u64,
    /// Of the structure that describes it.
    pub generation: u32,
    pub template: dd::Template,
    /// The packet is its last.
    pub end: bool,
    /// The packet brings the structure.
    pub structured: bool,
    /// The packet tells which decode targets are sent.
    pub tells: bool,
}

/// Which of its stream's layers a packet belongs to.
#[derive(Clone, Debug)]
pub(crate) enum Layering {
    /// There is one.
    Whole,
    /// VP8.
    Temporal { layer: u8, sync: bool },
    /// VP9 without a dependency descriptor.
    Pictures(vp9::Descriptor),
    /// With one.
    Described(Frame),
    /// With one that cannot be read yet: the first packet of a keyframe was overtaken by this one.
    Early {
        /// Of its frame, without wraps.
        number: u64,
        /// It is the last of its frame.
        end: bool,
    },
}

impl Layering {
    /// Spatial and temporal layer.
    pub fn layers(&self) -> (u8, u8) {
        match self {
            Self::Whole | Self::Early { .. } => (0, 0),
            Self::Temporal { layer, .. } => (0, *layer),
            Self::Pictures(picture) => (picture.spatial, picture.temporal),
            Self::Described(frame) => (frame.template.spatial, frame.template.temporal),
        }
    }
}

/// Running indices in the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Indices {
    None,
    Vp8(vp8::Patch),
    Vp9(vp9::Patch),
}

/// What a packet tells.
pub(crate) struct Content {
    /// Padding alone.
    pub empty: bool,
    pub indices: Indices,
    pub layering: Layering,
    /// A receiver that has nothing yet can decode from here on: a keyframe starts, or it is audio.
    pub start: bool,
    /// Of redundant audio: where its primary block begins.
    pub primary: Option<u16>,
}

impl Content {
    /// What the payload tells. `None` when it is malformed.
    pub fn read(codec: CodecKind, payload: &[u8]) -> Option<Self> {
        let plain = Self {
            empty: payload.is_empty(),
            indices: Indices::None,
            layering: Layering::Whole,
            start: false,
            primary: None,
        };
        match codec {
            _ if plain.empty => Some(plain),
            CodecKind::Red => {
                let primary = u16::try_from(red::Red::parse(payload)?.primary).ok()?;
                Some(Self { start: true, primary: Some(primary), ..plain })
            }
            CodecKind::Vp8 => {
                let found = vp8::Descriptor::parse(payload)?;
                let patch =
                    vp8::Patch { picture_id: found.picture_id, tl0: found.tl0, key_idx: found.key_idx };
                let layer = found.temporal_layer.unwrap_or(0);
                let layering = Layering::Temporal { layer, sync: found.layer_sync };
                Some(Self { indices: Indices::Vp8(patch), layering, start: found.keyframe, ..plain })
            }
            CodecKind::Vp9 => {
                let found = vp9::Descriptor::parse(payload)?;
                let patch = vp9::Patch { picture_id: found.picture_id, tl0: found.tl0 };
                let start = found.is_keyframe_start();
                Some(Self {
                    indices: Indices::Vp9(patch),
                    layering: Layering::Pictures(found),
                    start,
                    ..plain
                })
            }
            _ => Some(Self { start: keyframe::is_keyframe_start(codec, payload, None), ..plain }),
        }
    }

    /// The frame number of its descriptor.
    pub fn frame_number(&self) -> Option<u16> {
        match &self.layering {
            Layering::Described(Frame { number, .. }) | Layering::Early { number, .. } => {
                Some(*number as u16)
            }
            _ => None,
        }
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
