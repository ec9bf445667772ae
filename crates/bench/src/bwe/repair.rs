//! Retransmission as a peer and the worker's pacer do it, for one stream.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use base::Bitrate;
use rtc::cc::PacingBudget;

use super::viewer::Shown;

/// A packet is kept for so long after it was sent.
const KEPT: Duration = Duration::from_millis(1_000);
/// It is sent again once in a round trip, if that is not known in so long, and so often at most.
const SPACING: Duration = Duration::from_millis(50);
const MOST: u32 = 8;
/// A stream may repeat a quarter of what it sent, and has so many bytes of that in advance at most.
const PART: i64 = 4;
const CREDIT: i64 = 48_000;
/// The share of the estimate that goes to retransmission, and how far it may run ahead of that.
const SHARE: u64 = 2;
const AHEAD: Duration = Duration::from_millis(500);

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
    budget: PacingBudget,
    credit: i64,
}

impl Repair {
    pub fn new(now: Instant) -> Self {
        let budget = PacingBudget::new(now, Bitrate::kbps(150)).with_ahead(AHEAD);
        Self { kept: BTreeMap::new(), asked: VecDeque::new(), budget, credit: CREDIT }
    }

    pub fn set_estimate(&mut self, estimate: Bitrate) {
        self.budget.set_rate(Bitrate(estimate.0 / SHARE));
    }

    /// A packet leaves for the first time.
    pub fn sent(&mut self, now: Instant, packet: Shown) {
        self.credit = (self.credit + packet.size as i64 / PART).min(CREDIT);
        self.kept.retain(|_, kept| now < kept.sent + KEPT);
        self.kept.insert(packet.sequence, Kept { packet, sent: now, again: None, times: 0 });
    }

    /// The receiver misses the packet with these lower bits.
    pub fn ask(&mut self, now: Instant, low: u16, rtt: Option<Duration>) {
        let Some((newest, _)) = self.kept.last_key_value() else { return };
        let sequence = newest.wrapping_sub(u64::from((*newest as u16).wrapping_sub(low)));
        let Some(kept) = self.kept.get_mut(&sequence).filter(|kept| now < kept.sent + KEPT) else { return };
        let spacing = rtt.unwrap_or(SPACING);
        if kept.times >= MOST || kept.again.is_some_and(|again| now < again + spacing) {
            return;
        }
        kept.again = Some(now);
        kept.times += 1;
        // Beyond the share it is not sent: its receiver asks again.
        if self.credit > 0 && self.budget.has_room(now) {
            self.credit -= kept.packet.size as i64;
            self.budget.on_sent(now, kept.packet.size);
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
}
