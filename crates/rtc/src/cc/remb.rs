//! What receivers without transport-wide feedback tell: REMB, and the loss in their reports.
//!
//! A receiver estimates no more than about 1.5 times what reaches it. While little is sent, a REMB therefore tells of our
//! sending and not of the path; it counts as a limit only when it is below what was sent.

/// A REMB caps a rate of our own for so long.
const VALID_US: i64 = 10_000_000;
/// Growth per second towards the start rate while no REMB shows a limit.
const GROWTH: f64 = 1.15;
/// The classic rule for loss (draft-ietf-rmcat-gcc-02 section 6).
const MUCH: f64 = 0.10;
const LITTLE: f64 = 0.02;
const RECOVERY: f64 = 1.05;

/// The receiver's word.
#[derive(Clone, Debug)]
pub(super) struct Remb {
    last: Option<(i64, f64)>,
    sent_bits: f64,
    rate: Option<f64>,
    /// Share of the estimate that loss leaves.
    loss_factor: f64,
}

impl Remb {
    pub(super) fn new() -> Self {
        Self { last: None, sent_bits: 0.0, rate: None, loss_factor: 1.0 }
    }

    #[inline]
    pub(super) fn on_sent(&mut self, size: usize) {
        self.sent_bits += size as f64 * 8.0;
    }

    /// `floor`: what may be sent as long as nothing shows a limit, in bit/s.
    pub(super) fn on_remb(&mut self, now_us: i64, bps: f64, floor: f64) {
        let elapsed_us = self.last.map_or(1_000_000, |(at, _)| now_us - at).max(1);
        let seconds = elapsed_us as f64 / 1_000_000.0;
        let sent = std::mem::take(&mut self.sent_bits) / seconds;
        let before = self.rate.unwrap_or(floor);
        let explained = bps >= sent && sent < before;
        let grown = (before * GROWTH.powf(seconds.min(1.0))).min(floor);
        self.rate = Some(if explained { bps.max(grown) } else { bps });
        self.last = Some((now_us, bps));
    }

    /// A receiver report.
    pub(super) fn on_loss(&mut self, loss: f64) {
        if loss > MUCH {
            self.loss_factor = (self.loss_factor * (1.0 - 0.5 * loss.min(1.0))).max(0.05);
        } else if loss < LITTLE {
            self.loss_factor = (self.loss_factor * RECOVERY).min(1.0);
        }
    }

    /// The estimate when there is nothing else.
    pub(super) fn fallback(&self) -> Option<f64> {
        self.rate.map(|rate| rate * self.loss_factor)
    }

    /// The cap on an estimate of our own.
    pub(super) fn cap(&self, now_us: i64) -> Option<f64> {
        self.last.filter(|(at, _)| now_us - at < VALID_US).map(|(_, bps)| bps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(remb: &mut Remb, now_s: i64, sent_bps: f64, told_bps: f64) {
        remb.on_sent((sent_bps / 8.0) as usize);
        remb.on_remb(now_s * 1_000_000, told_bps, 300_000.0);
    }

    #[test]
    fn a_receiver_of_audio_alone_does_not_keep_video_out() {
        let mut remb = Remb::new();
        for now in 0..30 {
            second(&mut remb, now, 32_000.0, 58_000.0);
        }
        assert!(remb.fallback().is_some_and(|bps| bps > 290_000.0), "{remb:?}");
    }

    #[test]
    fn a_remb_below_what_is_sent_is_obeyed_at_once() {
        let mut remb = Remb::new();
        second(&mut remb, 0, 290_000.0, 440_000.0);
        second(&mut remb, 1, 290_000.0, 120_000.0);
        assert_eq!(remb.fallback(), Some(120_000.0));
        assert_eq!(remb.cap(1_500_000), Some(120_000.0));
        assert_eq!(remb.cap(60_000_000), None);
    }

    #[test]
    fn loss_of_more_than_10_percent_lowers_it_and_less_does_not() {
        let mut remb = Remb::new();
        second(&mut remb, 0, 1e6, 1e6);
        remb.on_loss(0.05);
        assert_eq!(remb.fallback(), Some(1e6));
        remb.on_loss(0.2);
        assert_eq!(remb.fallback(), Some(0.9e6));
    }
}
