//! Units: a number that crosses a function boundary says what it counts.

use std::fmt;
use std::time::Duration;

/// Bits per second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Bitrate(pub u64);

impl Bitrate {
    /// From thousands of bits per second.
    pub const fn kbps(kilobits: u64) -> Self {
        Self(kilobits * 1_000)
    }

    /// How many whole bytes this rate carries in `time`.
    pub fn bytes_in(self, time: Duration) -> u64 {
        (u128::from(self.0) * time.as_micros() / 8_000_000) as u64
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bit/s", self.0)
    }
}

/// NTP timestamp: seconds since 1900 in the upper 32 bits, the fraction in the lower (RFC 5905 section 6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    const UNIX_EPOCH_SECONDS: u64 = 2_208_988_800;

    /// From time since the Unix epoch.
    pub fn from_unix(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs() + Self::UNIX_EPOCH_SECONDS;
        let fraction = (u64::from(since_epoch.subsec_nanos()) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// The middle 32 bits, as sender and receiver reports carry them (RFC 3550 section 6.4.1), in 1/65,536 s.
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// This much later; wraps with the NTP era.
    pub fn plus(self, time: Duration) -> Self {
        let fraction = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        Self(self.0.wrapping_add((time.as_secs() << 32).wrapping_add(fraction)))
    }

    /// Signed difference `self - other` in microseconds.
    pub fn micros_since(self, other: Self) -> i64 {
        let difference = self.0.wrapping_sub(other.0) as i64;
        ((i128::from(difference) * 1_000_000) >> 32) as i64
    }
}

/// Wall-clock time in milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct UnixMillis(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_time_moves_and_measures() {
        let start = NtpTime::from_unix(Duration::from_millis(1_700_000_000_250));
        let later = start.plus(Duration::from_micros(1_500_000));
        assert!((later.micros_since(start) - 1_500_000).abs() <= 1);
        assert!((start.micros_since(later) + 1_500_000).abs() <= 1);
    }

    #[test]
    fn a_rate_carries_bytes() {
        assert_eq!(Bitrate::kbps(800).bytes_in(Duration::from_millis(5)), 500);
    }
}
