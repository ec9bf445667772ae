//! Which simulcast layer a subscription receives: values in, value out.
//!
//! Bandwidth allocation (`crate::allocator`) lowers what comes out of it to what the receiver's connection carries.

use base::model::TrackSettings;

/// A set of layers, of which there are at most eight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layers(u8);

impl Layers {
    pub(crate) const ALL: Self = Self(u8::MAX);

    /// There is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Is it one of them?
    pub fn has(self, layer: u8) -> bool {
        1u8.checked_shl(u32::from(layer)).is_some_and(|bit| self.0 & bit != 0)
    }

    /// And this one.
    #[must_use]
    pub fn with(self, layer: u8) -> Self {
        Self(self.0 | 1u8.checked_shl(u32::from(layer)).unwrap_or(0))
    }

    /// Lowest first.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |layer| self.has(*layer))
    }
}

/// The layer that the receiver asks for, of `layers` in all, lowest first; `None` when it wants nothing sent.
///
/// A rendered size asks for the smallest layer that fills it, and counts before a quality, when the publisher announced
/// the `sizes` of all layers. Only the shorter sides are compared: a telephone's picture may be turned by the time it is
/// sent, and a picture that covers its frame is cut at the longer side.
pub(crate) fn wanted(settings: &TrackSettings, layers: u8, sizes: &[(u32, u32)]) -> Option<u8> {
    if settings.disabled {
        return None;
    }
    let top = layers.saturating_sub(1);
    let known = sizes.len() == usize::from(layers);
    Some(match settings.size.filter(|_| known) {
        Some(size) => {
            let fills = |layer: &(u32, u32)| layer.0.min(layer.1) >= size.0.min(size.1);
            sizes.iter().position(fills).map_or(top, |layer| layer as u8)
        }
        None => settings.quality.min(top),
    })
}

/// The best layer alive that is not above `wanted`, else the lowest alive; `None` when nothing is.
pub(crate) fn best(wanted: u8, alive: Layers, layers: u8) -> Option<u8> {
    let below = (0..=wanted.min(layers.saturating_sub(1))).rev();
    below.chain(wanted.saturating_add(1)..layers).find(|layer| alive.has(*layer))
}

/// The highest temporal layer that a receiver asks for: the lowest that brings the frames per second it wants, where the
/// `rates` up to each layer are known, else all.
pub(crate) fn temporal(settings: &TrackSettings, rates: &[f32]) -> u8 {
    // Cameras are a little slower than they say.
    let enough = settings.fps as f32 * 0.85;
    let full = rates.last().copied().unwrap_or(0.0);
    if settings.fps == 0 || full < enough {
        return u8::MAX;
    }
    rates.iter().position(|rate| *rate >= enough).map_or(u8::MAX, |layer| layer as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [(u32, u32); 3] = [(320, 180), (640, 360), (1280, 720)];

    fn sized(width: u32, height: u32) -> TrackSettings {
        TrackSettings { size: Some((width, height)), ..TrackSettings::default() }
    }

    #[test]
    fn a_rendered_size_gets_the_smallest_layer_that_fills_it() {
        for (size, layer) in [
            ((160, 90), 0),
            ((320, 180), 0),
            ((321, 181), 1),
            ((640, 360), 1),
            ((800, 450), 2),
            ((3840, 2160), 2),
            ((0, 0), 0),
        ] {
            assert_eq!(wanted(&sized(size.0, size.1), 3, &SIZES), Some(layer), "{size:?}");
        }
    }

    #[test]
    fn a_portrait_frame_is_compared_by_its_shorter_side() {
        assert_eq!(wanted(&sized(360, 640), 3, &SIZES), Some(1));
        assert_eq!(wanted(&sized(180, 4000), 3, &SIZES), Some(0));
    }

    #[test]
    fn without_announced_sizes_the_quality_decides() {
        let settings = TrackSettings { quality: 1, ..sized(100, 100) };
        assert_eq!(wanted(&settings, 3, &[]), Some(1));
        assert_eq!(wanted(&settings, 3, &SIZES[..2]), Some(1));
    }

    #[test]
    fn high_quality_of_two_layers_is_the_second() {
        assert_eq!(wanted(&TrackSettings::default(), 2, &[]), Some(1));
        assert_eq!(wanted(&TrackSettings::default(), 1, &[]), Some(0));
    }

    #[test]
    fn a_frame_rate_gets_the_lowest_temporal_layer_that_brings_it() {
        let rates = [7.4, 14.9, 29.8, 29.8];
        let of = |fps| temporal(&TrackSettings { fps, ..TrackSettings::default() }, &rates);
        assert_eq!([7, 8, 12, 15, 20, 30].map(of), [0, 0, 1, 1, 2, 2]);
        assert_eq!(of(60), u8::MAX, "there is no more");
        assert_eq!(of(0), u8::MAX, "any");
        let unknown = TrackSettings { fps: 15, ..TrackSettings::default() };
        assert_eq!(temporal(&unknown, &[0.0; 8]), u8::MAX);
    }

    #[test]
    fn a_disabled_track_wants_nothing() {
        let settings = TrackSettings { disabled: true, ..TrackSettings::default() };
        assert_eq!(wanted(&settings, 3, &SIZES), None);
    }

    #[test]
    fn the_best_alive_layer_up_to_the_wanted_one_else_the_lowest_alive() {
        let alive = |layers: &[u8]| layers.iter().fold(Layers::default(), |all, layer| all.with(*layer));
        assert_eq!(best(2, alive(&[0, 1, 2]), 3), Some(2));
        assert_eq!(best(2, alive(&[0, 1]), 3), Some(1));
        assert_eq!(best(1, alive(&[0, 2]), 3), Some(0));
        assert_eq!(best(0, alive(&[1, 2]), 3), Some(1));
        assert_eq!(best(0, alive(&[2]), 3), Some(2));
        assert_eq!(best(7, alive(&[0]), 1), Some(0));
        assert_eq!(best(2, alive(&[]), 3), None);
    }
}
