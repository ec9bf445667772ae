//! VP8: temporal layers, told by the payload descriptor (RFC 7741 section 4.2).

use super::memory::Memory;
use super::{Verdict, Wanted};
use crate::packet::Packet;

#[derive(Debug, Default)]
pub(crate) struct Temporal {
    /// The highest layer that is sent; `None` until the first frame.
    layer: Option<u8>,
    /// Whether a picture is forwarded.
    memory: Memory<bool>,
}

impl Temporal {
    pub fn layers(&self) -> Option<(u8, u8)> {
        Some((0, self.layer?))
    }

    pub fn decide(&mut self, packet: &Packet<'_>, layer: u8, sync: bool, wanted: Wanted) -> Verdict {
        let timestamp = packet.received.timestamp;
        if let Some(forwarded) = self.memory.find(timestamp) {
            return verdict(forwarded, false);
        }
        if packet.newest && self.memory.is_new(timestamp) {
            self.layer = Some(self.next(packet.content.start, layer, sync, wanted));
        }
        let forwarded = self.layer.is_some_and(|highest| layer <= highest);
        self.memory.add(timestamp, forwarded);
        verdict(forwarded, true)
    }

    pub fn recall(&self, packet: &Packet<'_>, layer: u8) -> Verdict {
        let unknown = || self.layer.is_some_and(|highest| layer <= highest);
        verdict(self.memory.find(packet.received.timestamp).unwrap_or_else(unknown), false)
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
