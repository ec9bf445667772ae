//! A source of video that follows its target.

use std::time::{Duration, Instant};

use base::Bitrate;
use sim::Random;

use super::case::Source;

/// 30 frames a second.
const INTERVAL: Duration = Duration::from_nanos(33_333_333);
/// What one packet carries at most, RTP header and authentication tag included.
const PACKET_BYTES: usize = 1_150;
/// A frame is never smaller; at rates so low that the mean is, fewer frames are made.
const LEAST_BYTES: f64 = 300.0;
/// Standard deviation of the frames' sizes, as a share of their mean (RFC 8593 section 5 models more of an encoder).
const DEVIATION: f64 = 0.1;
/// An encoder makes no frame while more than this waits to be sent.
const MOST_WAITING: Duration = Duration::from_millis(250);

/// A picture, in packets.
#[derive(Debug)]
pub struct Frame {
    /// Counted from 0.
    pub number: u32,
    /// Bytes of each packet, as they are on the wire without IP and UDP.
    pub packets: Vec<usize>,
}

/// Makes 30 frames a second, whose sizes vary around what the target allows and equal it over several frames.
pub struct Encoder {
    random: Random,
    source: Source,
    next: Instant,
    /// From when to when nothing is made.
    pause: Option<(Instant, Instant)>,
    /// Bytes that the target allowed and frames did not use; below zero when they used more.
    unused: f64,
    made: u32,
}

impl Encoder {
    /// The first frame is due at `begins`; a seed decides the sizes.
    pub fn new(begins: Instant, seed: u64, source: Source, pause: Option<(Instant, Instant)>) -> Self {
        Self { random: Random::new(seed), source, next: begins, pause, unused: 0.0, made: 0 }
    }

    /// When the next frame is due.
    pub fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// What it would send now if it could.
    pub fn wanted(&self, now: Instant) -> Bitrate {
        if self.is_paused(now) { Bitrate(0) } else { Bitrate::kbps(self.source.most()) }
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.pause.is_some_and(|(from, to)| (from..to).contains(&now))
    }

    /// The frame that is due, unless it is left out. `waiting`: bytes of frames before that have not left.
    pub fn poll(&mut self, now: Instant, target: Bitrate, waiting: usize) -> Option<Frame> {
        if self.next > now {
            return None;
        }
        self.next += INTERVAL;
        let target = self.rate(target);
        // Drawn for every frame, made or not, so that the same numbers go to the same frames.
        let noise = self.random.normal() * DEVIATION;
        if target.0 == 0 || self.is_paused(now) || waiting as u64 > target.bytes_in(MOST_WAITING) {
            self.unused = 0.0;
            return None;
        }
        let mean = target.0 as f64 * INTERVAL.as_secs_f64() / 8.0;
        let bytes = mean * (1.0 + noise).clamp(0.5, 1.5) + self.unused.clamp(-mean, LEAST_BYTES) * 0.5;
        if bytes < LEAST_BYTES && mean + self.unused < LEAST_BYTES {
            self.unused += mean;
            return None;
        }
        let bytes = bytes.max(LEAST_BYTES);
        self.unused = (self.unused + mean - bytes).clamp(-2.0 * mean, 2.0 * mean);
        Some(self.packetise(bytes as usize))
    }

    /// What it sends when it may send `target`.
    fn rate(&self, target: Bitrate) -> Bitrate {
        match self.source {
            Source::UpTo(most) => target.min(Bitrate::kbps(most)),
            Source::Fixed(rate) => Bitrate::kbps(rate),
            Source::Between(least, most) if target >= Bitrate::kbps(least) => target.min(Bitrate::kbps(most)),
            Source::Between(..) | Source::Layers(_) => Bitrate(0),
        }
    }

    fn packetise(&mut self, bytes: usize) -> Frame {
        let count = bytes.div_ceil(PACKET_BYTES);
        let packets = (0..count).map(|i| bytes * (i + 1) / count - bytes * i / count).collect();
        self.made += 1;
        Frame { number: self.made - 1, packets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_a_second_are_what_the_target_allows() {
        let start = Instant::now();
        for kbps in [40, 300, 2_000] {
            let mut encoder = Encoder::new(start, 1, Source::UpTo(5_000), None);
            let mut bytes = 0;
            for _ in 0..300 {
                let now = encoder.poll_timeout();
                let frame = encoder.poll(now, Bitrate::kbps(kbps), 0);
                bytes += frame.map_or(0, |frame| frame.packets.iter().sum());
            }
            let share = bytes as f64 * 8.0 / 10_000.0 / kbps as f64;
            assert!((0.95..1.02).contains(&share), "{share} of {kbps}");
        }
    }
}
