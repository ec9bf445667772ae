//! Why received packets are forwarded to nobody.

/// One reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dropped {
    Duplicate,
    TooLate,
    UnknownLayer,
    Malformed,
    Unwanted,
    Withheld,
}

/// Received packets of a publication that were forwarded to nobody, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Drops {
    /// Heard before.
    pub duplicate: u64,
    /// So late that nobody knows their place.
    pub too_late: u64,
    /// Of a layer that was not announced.
    pub unknown_layer: u64,
    /// With a codec header that is cut off.
    pub malformed: u64,
    /// While the track was muted or not published.
    pub unwanted: u64,
    /// While others of the room were louder.
    pub withheld: u64,
}

impl Drops {
    pub(crate) fn count(&mut self, reason: Dropped) {
        let count = match reason {
            Dropped::Duplicate => &mut self.duplicate,
            Dropped::TooLate => &mut self.too_late,
            Dropped::UnknownLayer => &mut self.unknown_layer,
            Dropped::Malformed => &mut self.malformed,
            Dropped::Unwanted => &mut self.unwanted,
            Dropped::Withheld => &mut self.withheld,
        };
        *count += 1;
    }
}
