//! Sender-side congestion control: how much the path to one receiver carries.
//!
//! Values in, values out, after draft-ietf-rmcat-gcc-02 and the published behaviour of libwebrtc. The phases, each a file,
//! are explained in `docs/congestion-control.md`:
//!
//! 1. `groups`: packets that left together are one measurement.
//! 2. `trend`: is the queue growing? (`queue`: how long is it?)
//! 3. `rate`: additive increase, multiplicative decrease, around the `capacity` and what is `acked`; `compete`: beside
//!    somebody who keeps the queue full.
//! 4. `loss`: does the loss grow with our rate?
//! 5. `probe` and `cluster`: asking the path for more, unless there is no use for it; `limited`: is it the application
//!    that sends little?
//! 6. `remb`: receivers that give no feedback on single packets.
//!
//! [`Controller`] puts them together. [`PacingBudget`] is what becomes of the target.
//!
//! Nothing here allocates per packet; a feedback of n packets costs O(n log n), whatever it claims.

mod acked;
mod capacity;
mod cluster;
mod compete;
mod controller;
mod groups;
mod limited;
mod loss;
mod pacing;
mod probe;
mod queue;
mod rate;
mod remb;
mod trend;

use base::Bitrate;

pub use controller::{Controller, ControllerSnapshot, Probe};
pub use pacing::{PacingBudget, QUANTUM};
pub use trend::Usage;

/// Bounds of a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The target until something is known.
    pub start: Bitrate,
    /// Never below this: sound gets through, and what recovery begins with.
    pub min: Bitrate,
    /// Never above.
    pub max: Bitrate,
    /// Feedback on single packets was negotiated; without it the receiver's REMB is the estimate.
    pub feedback: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            start: Bitrate::kbps(300),
            min: Bitrate::kbps(30),
            max: Bitrate::kbps(100_000),
            feedback: true,
        }
    }
}

impl Config {
    /// 5 kbit/s <= min <= start <= max <= 10 Gbit/s.
    fn sound(self) -> Self {
        let min = self.min.clamp(Bitrate::kbps(5), Bitrate::kbps(10_000_000));
        let max = self.max.clamp(min, Bitrate::kbps(10_000_000));
        Self { min, max, start: self.start.clamp(min, max), ..self }
    }
}

/// A packet that arrived, as the parts see it. Times in microseconds: sending since the controller began, arrival on the
/// receiver's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Arrived {
    sent_us: i64,
    arrival_us: i64,
    size: u32,
    /// 0: of no probe.
    cluster: u8,
}

#[cfg(test)]
mod tests;
