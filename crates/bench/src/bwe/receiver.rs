//! What receivers answer.

use std::time::{Duration, Instant};

use base::Bitrate;
use rtc::streams::TransportFeedbackGenerator;
use wire::rtcp::{self, write_remb};

use super::case::Habit;

const SENDER: u32 = 1;
const MEDIA: u32 = 2;
/// 2^23 units of 64 ms: the reference time of feedback has 24 bits, one of them the sign.
const CLOCK_RANGE: Duration = Duration::from_secs((1 << 23) * 64 / 1_000);
/// How often a receiver that has a habit of it says that nothing arrived, and of how many packets.
const LIE_INTERVAL: Duration = Duration::from_millis(500);
const LIE_PACKETS: u16 = 20;

/// The answers of one receiver.
pub enum Answers {
    Transport { generator: TransportFeedbackGenerator, lies: Option<Lies> },
    Remb(Estimator),
    None,
}

impl Answers {
    pub fn new(start: Instant, habit: Habit) -> Self {
        let epoch = match habit {
            Habit::ClockWraps(after) => start + Duration::from_secs(after) - CLOCK_RANGE,
            _ => start,
        };
        match habit {
            Habit::Remb => Self::Remb(Estimator::new(start)),
            Habit::Nothing => Self::None,
            _ => Self::Transport {
                generator: TransportFeedbackGenerator::new(epoch),
                lies: (habit == Habit::NothingArrived).then_some(Lies { newest: 0, next: start }),
            },
        }
    }

    /// A packet has arrived that was sent then, so many bytes on the wire, with this transport-wide number.
    pub fn receive(&mut self, now: Instant, sent: Instant, size: usize, number: u16) {
        match self {
            Self::Transport { generator, lies } => {
                generator.receive(now, MEDIA, number);
                if let Some(lies) = lies {
                    lies.newest = number;
                }
            }
            Self::Remb(estimator) => estimator.receive(now, sent, size),
            Self::None => {}
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Transport { generator, lies } => {
                generator.poll_timeout().into_iter().chain(lies.as_ref().map(|lies| lies.next)).min()
            }
            Self::Remb(estimator) => Some(estimator.next),
            Self::None => None,
        }
    }

    /// The next RTCP packet that is due.
    pub fn poll(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Transport { generator, lies } => {
                if generator.poll_feedback(now, SENDER, &mut out) {
                    return Some(out);
                }
                lies.as_mut().filter(|lies| lies.next <= now)?.tell(now)
            }
            Self::Remb(estimator) => {
                let rate = estimator.poll(now)?;
                write_remb(&mut out, SENDER, rate, &[MEDIA]);
                Some(out)
            }
            Self::None => None,
        }
    }
}

/// Feedback that calls the newest packets lost, with nothing received in it at all.
pub struct Lies {
    newest: u16,
    next: Instant,
}

impl Lies {
    fn tell(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.next = now + LIE_INTERVAL;
        let base = self.newest.wrapping_sub(LIE_PACKETS / 2);
        let reference = [0, 0, 1];
        let mut out = vec![0x80 | rtcp::FORMAT_TRANSPORT_CC, rtcp::TRANSPORT_FEEDBACK, 0, 5];
        out.extend(SENDER.to_be_bytes());
        out.extend(MEDIA.to_be_bytes());
        out.extend(base.to_be_bytes());
        out.extend(LIE_PACKETS.to_be_bytes());
        out.extend(reference);
        out.push(0);
        // One run length chunk of packets that did not arrive, and padding to four bytes.
        out.extend(LIE_PACKETS.to_be_bytes());
        out.extend([0, 0]);
        Some(out)
    }
}

/// How receivers without feedback on packets estimate, roughly: what arrives may grow by 8 % a second, up to 1.5 times, and
/// falls to 85 % when packets take longer than they need.
pub struct Estimator {
    next: Instant,
    bytes: usize,
    rate: Option<f64>,
    /// The shortest way so far, and that of the last second.
    shortest: Option<Duration>,
    recent: Option<Duration>,
}

impl Estimator {
    const INTERVAL: Duration = Duration::from_millis(500);
    const QUEUED: Duration = Duration::from_millis(60);

    fn new(start: Instant) -> Self {
        Self { next: start + Self::INTERVAL, bytes: 0, rate: None, shortest: None, recent: None }
    }

    fn receive(&mut self, now: Instant, sent: Instant, size: usize) {
        let way = now - sent;
        self.bytes += size;
        self.shortest = Some(self.shortest.map_or(way, |shortest| shortest.min(way)));
        self.recent = Some(self.recent.map_or(way, |recent| recent.min(way)));
    }

    fn poll(&mut self, now: Instant) -> Option<Bitrate> {
        if self.next > now {
            return None;
        }
        self.next = now + Self::INTERVAL;
        let arrived = std::mem::take(&mut self.bytes) as f64 * 8.0 / Self::INTERVAL.as_secs_f64();
        let queue = self.recent.take()?.saturating_sub(self.shortest?);
        let most = 1.5 * arrived + 10_000.0;
        let rate = match self.rate {
            _ if queue > Self::QUEUED => 0.85 * arrived,
            Some(rate) => (rate * 1.04).min(most),
            None => most,
        };
        self.rate = Some(rate);
        Some(Bitrate(rate as u64))
    }
}
