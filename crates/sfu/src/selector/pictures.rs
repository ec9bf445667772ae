//! VP9 without a dependency descriptor: spatial and temporal layers, told by the payload descriptor (RFC 9628).

use wire::vp9::Descriptor;

use super::memory::Memory;
use super::{Verdict, Wanted};
use crate::packet::Packet;

/// What was decided of a picture.
#[derive(Clone, Copy, Debug)]
struct Decided {
    /// The highest spatial layer that is sent of it; `None`: nothing.
    highest: Option<u8>,
    /// The highest layers that are sent from then on. What comes late is judged by what held when it was sent, as were those that
    /// refer to it and those that it refers to.
    after: Wanted,
}

#[derive(Debug, Default)]
pub(crate) struct Pictures {
    /// The highest layers that are sent; `None` until the first picture.
    now: Option<Wanted>,
    memory: Memory<Decided>,
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
        if let Some(decided) = self.memory.find(timestamp) {
            return verdict(decided.highest, picture, false);
        }
        let decided = if packet.newest && self.memory.is_new(timestamp) {
            Some(self.turn(packet.content.start, picture, wanted))
        } else {
            self.late(timestamp, picture)
        };
        decided.inspect(|decided| self.memory.add(timestamp, *decided));
        verdict(decided.and_then(|decided| decided.highest), picture, true)
    }

    pub fn recall(&self, packet: &Packet<'_>, picture: &Descriptor) -> Verdict {
        let timestamp = packet.received.timestamp;
        let decided = self.memory.find(timestamp).or_else(|| self.late(timestamp, picture));
        verdict(decided.and_then(|decided| decided.highest), picture, false)
    }

    /// A picture ahead of all others. Down with any: none refers to higher layers. Up with a keyframe, which has all spatial
    /// layers, and behind pictures from which temporal layers can be climbed.
    fn turn(&mut self, keyframe: bool, picture: &Descriptor, wanted: Wanted) -> Decided {
        let now = self.now.filter(|_| !keyframe).unwrap_or(wanted);
        let (spatial, temporal) = (now.spatial.min(wanted.spatial), now.temporal.min(wanted.temporal));
        let now = Wanted { spatial, temporal, ..now };
        let highest = highest(now, picture);
        // What follows in higher temporal layers does without what was withheld of them.
        let climbs = highest.is_some() && picture.switching_up;
        let after = if climbs { Wanted { temporal: wanted.temporal, ..now } } else { now };
        self.now = Some(after);
        Decided { highest, after }
    }

    /// Of a picture of which nothing came in time.
    fn late(&self, timestamp: u32, picture: &Descriptor) -> Option<Decided> {
        let before = self.memory.before(timestamp)?;
        Some(Decided { highest: highest(before.after, picture), ..before })
    }
}

/// The highest spatial layer that is sent of a picture.
fn highest(now: Wanted, picture: &Descriptor) -> Option<u8> {
    (picture.temporal <= now.temporal).then_some(now.spatial)
}

fn verdict(highest: Option<u8>, picture: &Descriptor, first: bool) -> Verdict {
    match highest {
        Some(highest) if picture.spatial <= highest => {
            Verdict::Forward { last: picture.end_of_frame && picture.spatial == highest, active: None }
        }
        _ => Verdict::Withhold { first },
    }
}
