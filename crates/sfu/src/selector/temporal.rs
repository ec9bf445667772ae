//! VP8: temporal layers, told by the payload descriptor (RFC 7741 section 4.2).

use super::memory::Memory;
use super::{Verdict, Wanted};
use crate::packet::Packet;

/// What was decided of a picture.
#[derive(Clone, Copy, Debug)]
struct Decided {
    forwarded: bool,
    /// The highest layer that is sent from then on. What comes late is judged by what held when it was sent, as were those that
    /// refer to it and those that it refers to.
    layer: u8,
}

#[derive(Debug, Default)]
pub(crate) struct Temporal {
    /// The highest layer that is sent; `None` until the first frame.
    layer: Option<u8>,
    memory: Memory<Decided>,
}

impl Temporal {
    pub fn layers(&self) -> Option<(u8, u8)> {
        Some((0, self.layer?))
    }

    pub fn decide(&mut self, packet: &Packet<'_>, layer: u8, sync: bool, wanted: Wanted) -> Verdict {
        let timestamp = packet.received.timestamp;
        if let Some(decided) = self.memory.find(timestamp) {
            return verdict(decided.forwarded, false);
        }
        let decided = if packet.newest && self.memory.is_new(timestamp) {
            let highest = self.next(packet.content.start, layer, sync, wanted);
            self.layer = Some(highest);
            Some(Decided { forwarded: layer <= highest, layer: highest })
        } else {
            self.late(timestamp, layer)
        };
        decided.inspect(|decided| self.memory.add(timestamp, *decided));
        verdict(decided.is_some_and(|decided| decided.forwarded), true)
    }

    pub fn recall(&self, packet: &Packet<'_>, layer: u8) -> Verdict {
        let timestamp = packet.received.timestamp;
        let decided = self.memory.find(timestamp).or_else(|| self.late(timestamp, layer));
        verdict(decided.is_some_and(|decided| decided.forwarded), false)
    }

    /// Of a picture of which nothing came in time.
    fn late(&self, timestamp: u32, layer: u8) -> Option<Decided> {
        let before = self.memory.before(timestamp)?;
        Some(Decided { forwarded: layer <= before.layer, ..before })
    }

    /// The highest layer from this frame on. Down at once: no frame refers to a higher layer. Up by one layer with a frame
    /// that refers to the base layer alone; all the way with a keyframe.
    fn next(&self, keyframe: bool, layer: u8, sync: bool, wanted: Wanted) -> u8 {
        match self.layer {
            Some(highest) if !keyframe => {
                let up = sync && layer == highest.saturating_add(1);
                (if up { layer } else { highest }).min(wanted.temporal)
            }
            _ => wanted.temporal,
        }
    }
}

fn verdict(forwarded: bool, first: bool) -> Verdict {
    if forwarded { Verdict::PASS } else { Verdict::Withhold { first } }
}
