//! Which of a stream's own layers a receiver gets, frame by frame: one small machine for each way in which streams tell
//! their layers. Told in `docs/forwarding.md`.

mod described;
mod memory;
mod pictures;
mod temporal;

use wire::dd::Active;

use crate::packet::{Layering, Packet};
use crate::sublayers::Sublayers;
use described::Described;
use pictures::Pictures;
use temporal::Temporal;

/// What a receiver is to get of a stream: the highest spatial and temporal layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wanted {
    pub spatial: u8,
    pub temporal: u8,
    /// Its connection does not carry what it gets: while a lower spatial layer waits for its keyframe, all that can be left out
    /// of the higher one is.
    pub hasty: bool,
}

impl Wanted {
    fn has(self, (spatial, temporal): (u8, u8)) -> bool {
        spatial <= self.spatial && temporal <= self.temporal
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Forward {
        /// It is the last of what the receiver gets of its picture.
        last: bool,
        /// Decode targets to be told with it.
        active: Option<Active>,
    },
    Withhold {
        /// It is the first packet of its frame that is withheld.
        first: bool,
    },
}

impl Verdict {
    const PASS: Self = Self::Forward { last: false, active: None };
}

/// The layers of one stream that one receiver gets.
#[derive(Debug)]
pub(crate) enum Selector {
    Whole,
    Temporal(Box<Temporal>),
    Pictures(Box<Pictures>),
    Described(Box<Described>),
}

impl Selector {
    /// For a stream of which a receiver gets this packet first.
    pub fn new(packet: &Packet<'_>) -> Self {
        match packet.content.layering {
            Layering::Whole => Self::Whole,
            Layering::Temporal { .. } => Self::Temporal(Box::default()),
            Layering::Pictures(_) => Self::Pictures(Box::default()),
            Layering::Described(_) | Layering::Early { .. } => Self::Described(Box::default()),
        }
    }

    /// The stream is being forwarded, and this packet is of it.
    #[inline]
    pub fn decide(&mut self, packet: &Packet<'_>, wanted: Wanted, within: &Sublayers) -> Verdict {
        match (self, &packet.content.layering) {
            (Self::Temporal(temporal), Layering::Temporal { layer, sync }) => {
                temporal.decide(packet, *layer, *sync, wanted)
            }
            (Self::Pictures(pictures), Layering::Pictures(picture)) => {
                pictures.decide(packet, picture, wanted)
            }
            (Self::Described(described), Layering::Described(frame)) => {
                described.decide(packet, frame, wanted, within)
            }
            (Self::Described(described), Layering::Early { end, .. }) if described.layers().is_some() => {
                described.pass(packet, *end && wanted.spatial == 0)
            }
            // Padding, which has no layer.
            (_, Layering::Whole) => Verdict::PASS,
            _ => Verdict::Withhold { first: false },
        }
    }

    /// The stream was forwarded, and this packet of it comes late.
    pub fn recall(&self, packet: &Packet<'_>) -> Verdict {
        match (self, &packet.content.layering) {
            (Self::Temporal(temporal), Layering::Temporal { layer, .. }) => temporal.recall(packet, *layer),
            (Self::Pictures(pictures), Layering::Pictures(picture)) => pictures.recall(packet, picture),
            (Self::Described(described), Layering::Described(frame)) => described.recall(packet, frame),
            (_, Layering::Whole) => Verdict::PASS,
            _ => Verdict::Withhold { first: false },
        }
    }

    /// The receiver cannot come to what it is to get without a keyframe.
    pub fn needs_keyframe(&self, wanted: Wanted, within: &Sublayers) -> bool {
        match self {
            Self::Whole | Self::Temporal(_) => false,
            Self::Pictures(pictures) => pictures.needs_keyframe(wanted),
            Self::Described(described) => described.needs_keyframe(wanted, within),
        }
    }

    /// Spatial and temporal layer that is sent; `None` when the stream does not tell.
    pub fn layers(&self) -> Option<(u8, u8)> {
        match self {
            Self::Whole => None,
            Self::Temporal(temporal) => temporal.layers(),
            Self::Pictures(pictures) => pictures.layers(),
            Self::Described(described) => described.layers(),
        }
    }
}
