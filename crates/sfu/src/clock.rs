//! The publisher's clock, as its sender reports tell it (RFC 3550 section 6.4.1).

use std::time::{Duration, Instant};

use base::NtpTime;

/// RTP timestamp `rtp` belongs to the publisher's wall-clock time `ntp`; the report that said so arrived at `at`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// The publisher's wall-clock time. The same for all tracks of a publisher, which is what lip sync stands on.
    pub ntp: NtpTime,
    /// The RTP timestamp that belongs to it.
    pub rtp: u32,
    /// When the report arrived, in our own time.
    pub at: Instant,
}

impl Clock {
    /// The same clock, in timestamps that are larger by `shift`.
    pub(crate) fn shifted(self, shift: u32) -> Self {
        Self { rtp: self.rtp.wrapping_add(shift), ..self }
    }

    /// The timestamp that this clock shows in the instant in which `other` shows `timestamp`. Both count `rate` ticks a
    /// second and come from one publisher.
    pub(crate) fn translate(&self, other: &Self, timestamp: u32, rate: u32) -> u32 {
        let apart = i128::from(other.ntp.micros_since(self.ntp));
        // Truncation is the modulo arithmetic of RTP timestamps.
        let ticks = (apart * i128::from(rate)).div_euclid(1_000_000) as u32;
        self.rtp.wrapping_add(ticks).wrapping_add(timestamp.wrapping_sub(other.rtp))
    }
}

/// `time` in ticks of an RTP clock, modulo 2^32.
pub(crate) fn ticks(time: Duration, rate: u32) -> u32 {
    (time.as_micros() * u128::from(rate) / 1_000_000) as u32
}

/// Signed distance from `b` to `a` in the modulo arithmetic of RTP timestamps: positive when `a` is newer.
pub(crate) fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clocks_of_one_publisher_agree_on_an_instant() {
        let at = Instant::now();
        let ntp = NtpTime::from_unix(Duration::from_secs(1_800_000_000));
        let low = Clock { ntp, rtp: u32::MAX - 10, at };
        let high = Clock { ntp: ntp.plus(Duration::from_millis(200)), rtp: 1_000, at };
        // 300 ms after `low`'s report is 100 ms after `high`'s.
        assert!(
            ahead(low.translate(&high, 1_000 + 9_000, 90_000), (u32::MAX - 10).wrapping_add(27_000)).abs()
                <= 1
        );
        assert!(ahead(high.translate(&low, (u32::MAX - 10).wrapping_add(27_000), 90_000), 10_000).abs() <= 1);
    }

    #[test]
    fn reports_half_an_era_apart_do_not_overflow() {
        let at = Instant::now();
        let a = Clock { ntp: NtpTime(0), rtp: 0, at };
        let b = Clock { ntp: NtpTime(1 << 63), rtp: 7, at };
        a.translate(&b, 9, 90_000);
        b.translate(&a, 9, 90_000);
    }
}
