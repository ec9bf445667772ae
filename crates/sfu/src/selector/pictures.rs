//! VP9 without a dependency descriptor: spatial and temporal layers, told by the payload descriptor (RFC 9628).

use wire::vp9::Descriptor;

use super::memory::Memory;
use super::{Verdict, Wanted};
use crate::packet::Packet;

#[derive(Debug, Default)]
pub(crate) struct Pictures {
    /// The highest layers that are sent; `None` until the first picture.
    now: Option<Wanted>,
    /// The highest spatial layer that is sent of a picture; `None`: nothing.
    memory: Memory<Option<u8>>,
}

impl Pictures {
    pub fn layers(&self) -> Option<(u8, u8)> {
        self.now.map(|now| (now.spatial, now.temporal))
    }

    /// Down it goes with the next picture: all layers below are sent as well.
    pub fn needs_keyframe(&self, wanted: Wanted) -> bool {
        self.now.is_none_or(|now| now.spatial < wanted.spatial)
    }

    pub fn decide(&mut self, packet: &Packet<'_>, picture: &Descriptor, wanted: Wanted) -> Verdict {
        let timestamp = packet.received.timestamp;
        if let Some(highest) = self.memory.find(timestamp) {
            return verdict(highest, picture, false);
        }
        if packet.newest && self.memory.is_new(timestamp) {
            self.descend_or_begin(packet.content.start, wanted);
        }
        let highest = self.highest_of(picture);
        self.memory.add(timestamp, highest);
        // What follows in higher temporal layers does without what was withheld of them.
        if highest.is_some() && packet.newest && picture.switching_up {
            self.now = self.now.map(|now| Wanted { temporal: wanted.temporal, ..now });
        }
        verdict(highest, picture, true)
    }

    pub fn recall(&self, packet: &Packet<'_>, picture: &Descriptor) -> Verdict {
        let known = self.memory.find(packet.received.timestamp);
        verdict(known.unwrap_or_else(|| self.highest_of(picture)), picture, false)
    }

    /// Down with any picture: none refers to higher layers. Up with a keyframe, which has all spatial layers.
    fn descend_or_begin(&mut self, keyframe: bool, wanted: Wanted) {
        let now = self.now.filter(|_| !keyframe).unwrap_or(wanted);
        let (spatial, temporal) = (now.spatial.min(wanted.spatial), now.temporal.min(wanted.temporal));
        self.now = Some(Wanted { spatial, temporal, ..now });
    }

    fn highest_of(&self, picture: &Descriptor) -> Option<u8> {
        self.now.filter(|now| picture.temporal <= now.temporal).map(|now| now.spatial)
    }
}

fn verdict(highest: Option<u8>, picture: &Descriptor, first: bool) -> Verdict {
    match highest {
        Some(highest) if picture.spatial <= highest => {
            Verdict::Forward { last: picture.end_of_frame && picture.spatial == highest, active: None }
        }
        _ => Verdict::Withhold { first },
    }
}
