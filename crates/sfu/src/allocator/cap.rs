//! What of a publication one receiver's connection carries.

use crate::select::Layers;
use crate::selector::Wanted;

/// A limit to what a subscription is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Cap {
    /// None: nothing is known of the connection.
    #[default]
    Free,
    /// Not looked at yet. It may begin with the lowest layer if a keyframe of that comes by, for which nobody is asked.
    Waiting,
    /// Simulcast layer (spatial layer where there is one stream), and temporal layer within that.
    UpTo(u8, u8),
    /// The connection does not carry any of it.
    Paused,
}

impl Cap {
    /// The simulcast layer to send, where it would be `best`; `alone`: there is one.
    pub fn layer(self, best: u8, alive: Layers, alone: bool) -> Option<u8> {
        match self {
            Self::Paused => None,
            Self::Free => Some(best),
            _ if alone => Some(best),
            Self::Waiting => (0..=best).find(|layer| alive.has(*layer)),
            Self::UpTo(level, _) if best <= level => Some(best),
            Self::UpTo(level, _) => (0..=level).rev().find(|layer| alive.has(*layer)),
        }
    }

    /// What to send of that layer.
    pub fn within(self, layer: u8, alone: bool, wanted: Wanted) -> Wanted {
        match self {
            Self::Free | Self::Paused => wanted,
            Self::Waiting if alone => Wanted { spatial: 0, ..wanted },
            Self::Waiting => wanted,
            Self::UpTo(level, temporal) => {
                let spatial = if alone { wanted.spatial.min(level) } else { wanted.spatial };
                let at = if alone { spatial } else { layer };
                let most = if at == level { temporal } else { u8::MAX };
                Wanted { spatial, temporal: wanted.temporal.min(most), ..wanted }
            }
        }
    }

    /// Keyframes are asked for it.
    pub fn is_settled(self) -> bool {
        self != Self::Waiting
    }
}
