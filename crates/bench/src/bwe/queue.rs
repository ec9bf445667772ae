//! Video that waits for its receiver's budget, for one stream: what `worker::queue` does, told in `docs/pacing.md`.

use std::collections::VecDeque;
use std::time::Duration;

use super::viewer::Shown;

/// A keyframe makes older frames useless; they are dropped when this much waits.
const SUPERSEDED: Duration = Duration::from_millis(100);
/// More than this does not wait, keyframes apart, which may take so much in all.
const MAX_WAIT: Duration = Duration::from_millis(600);
const MAX_WAIT_FOR_KEYFRAMES: Duration = Duration::from_secs(2);

/// What waits, in order.
#[derive(Default)]
pub struct Queue {
    packets: VecDeque<Shown>,
    /// The picture of which a part has left.
    leaving: Option<u32>,
    /// Beyond [`MAX_WAIT`], what a keyframe takes, until nothing waits any more.
    raised: Duration,
}

impl Queue {
    pub fn push(&mut self, packet: Shown) {
        self.packets.push_back(packet);
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Where the newest keyframe begins that waits.
    pub fn keyframe(&self) -> Option<u64> {
        self.packets.iter().rfind(|packet| packet.begins).map(|packet| packet.sequence)
    }

    /// The next to leave, if one may.
    pub fn pop(&mut self, may: bool) -> Option<Shown> {
        let packet = if may { self.packets.pop_front()? } else { return None };
        self.leaving = Some(packet.timestamp);
        if self.packets.is_empty() {
            (self.leaving, self.raised) = (None, Duration::ZERO);
        }
        Some(packet)
    }

    /// Drops what takes too long. True when what comes next needs what was dropped.
    pub fn trim(&mut self, time: impl Fn(usize) -> Duration) -> bool {
        let wait = |packets: &VecDeque<Shown>| time(packets.iter().map(|packet| packet.size).sum());
        if wait(&self.packets) <= SUPERSEDED {
            return false;
        }
        let begins = self.packets.iter().rfind(|packet| packet.begins).copied();
        if let Some(begins) = begins {
            self.retain(|packet| packet.sequence >= begins.sequence);
        }
        if wait(&self.packets) <= MAX_WAIT + self.raised {
            return false;
        }
        let of_keyframe = |packet: &Shown| begins.is_some_and(|begins| begins.timestamp == packet.timestamp);
        let keyframe = self.packets.iter().filter(|packet| of_keyframe(packet)).map(|packet| packet.size);
        self.raised = self.raised.max(time(keyframe.sum()).min(MAX_WAIT_FOR_KEYFRAMES - MAX_WAIT));
        wait(&self.packets) > MAX_WAIT + self.raised && self.retain(of_keyframe)
    }

    /// Keeps these, and the rest of the picture that is leaving. True when something was dropped.
    fn retain(&mut self, stays: impl Fn(&Shown) -> bool) -> bool {
        let (before, leaving) = (self.packets.len(), self.leaving);
        self.packets.retain(|packet| leaving == Some(packet.timestamp) || stays(packet));
        self.packets.len() < before
    }
}
