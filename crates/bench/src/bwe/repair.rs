//! Retransmission as a peer does it, for one stream. What of it leaves is for the pacer to say.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::viewer::Shown;

/// A packet is kept for so long after it was sent.
const KEPT: Duration = Duration::from_millis(1_000);
/// It is sent again once in a round trip, if that is not known in so long, and so often at most.
const SPACING: Duration = Duration::from_millis(50);
const MOST: u32 = 8;
/// A stream may repeat a quarter of what it sent, and has so many bytes of that in advance at most.
const PART: i64 = 4;
const CREDIT: i64 = 48_000;

struct Kept {
    packet: Shown,
    sent: Instant,
    again: Option<Instant>,
    times: u32,
}

/// What was sent lately, and what of it is to be sent again.
pub struct Repair {
    kept: BTreeMap<u64, Kept>,
    asked: VecDeque<u64>,
    credit: i64,
    /// The first packet of the newest keyframe that has left.
    keyframe: Option<u64>,
}

impl Repair {
    pub fn new() -> Self {
        Self { kept: BTreeMap::new(), asked: VecDeque::new(), credit: CREDIT, keyframe: None }
    }

    /// A packet leaves for the first time.
    pub fn sent(&mut self, now: Instant, packet: Shown) {
        self.credit = (self.credit + packet.size as i64 / PART).min(CREDIT);
        if packet.begins {
            self.keyframe = Some(packet.sequence);
        }
        self.kept.retain(|_, kept| now < kept.sent + KEPT);
        self.kept.insert(packet.sequence, Kept { packet, sent: now, again: None, times: 0 });
    }

    /// The receiver misses the packet with these lower bits.
    pub fn ask(&mut self, now: Instant, low: u16, rtt: Option<Duration>) {
        let Some((newest, _)) = self.kept.last_key_value() else { return };
        let sequence = newest.wrapping_sub(u64::from((*newest as u16).wrapping_sub(low)));
        let Some(kept) = self.kept.get_mut(&sequence).filter(|kept| now < kept.sent + KEPT) else { return };
        let spacing = rtt.unwrap_or(SPACING);
        let again = kept.again.is_none_or(|again| now >= again + spacing);
        if self.credit > 0 && kept.times < MOST && again {
            kept.again = Some(now);
            kept.times += 1;
            self.asked.push_back(sequence);
        }
    }

    pub fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The next packet to send again.
    pub fn poll(&mut self) -> Option<Shown> {
        let sequence = self.asked.pop_front()?;
        self.kept.get(&sequence).map(|kept| kept.packet)
    }

    /// Where the newest keyframe begins that has left.
    pub fn keyframe(&self) -> Option<u64> {
        self.keyframe
    }

    /// It is sent again.
    pub fn sent_again(&mut self, packet: &Shown) {
        self.credit -= packet.size as i64;
    }
}
