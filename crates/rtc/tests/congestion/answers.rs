//! What receivers answer: transport-wide feedback, feedback by stream, or REMB.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use base::Bitrate;
use rtc::streams::TransportFeedbackGenerator;
use wire::rtcp::write_remb;

const MS: Duration = Duration::from_millis(1);

/// A packet that has arrived.
#[derive(Clone, Copy)]
pub struct Arrived {
    pub sequence: u16,
    pub sent: Instant,
    pub size: usize,
}

/// How a receiver answers.
pub enum Answers {
    Transport(TransportFeedbackGenerator),
    ByStream(ByStream),
    Remb(Estimator),
    Nothing,
}

impl Answers {
    pub fn receive(&mut self, now: Instant, packet: Arrived) {
        match self {
            Self::Transport(generator) => generator.receive(now, 1, packet.sequence),
            Self::ByStream(reports) => reports.receive(now, packet.sequence),
            Self::Remb(estimator) => estimator.receive(now, packet),
            Self::Nothing => {}
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Transport(generator) => generator.poll_timeout(),
            Self::ByStream(reports) => reports.due,
            Self::Remb(estimator) => Some(estimator.due),
            Self::Nothing => None,
        }
    }

    /// One packet of RTCP that is due.
    pub fn poll(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Transport(generator) => generator.poll_feedback(now, 1, &mut out).then_some(out),
            Self::ByStream(reports) => reports.poll(now),
            Self::Remb(estimator) => {
                let rate = estimator.poll(now)?;
                write_remb(&mut out, 1, Bitrate(rate as u64), &[1]);
                Some(out)
            }
            Self::Nothing => None,
        }
    }
}

/// Reports of RFC 8888 each 50 ms, of one stream.
pub struct ByStream {
    start: Instant,
    arrivals: BTreeMap<u16, Instant>,
    from: Option<u16>,
    newest: u16,
    due: Option<Instant>,
}

impl ByStream {
    pub fn new(start: Instant) -> Self {
        Self { start, arrivals: BTreeMap::new(), from: None, newest: 0, due: None }
    }

    fn receive(&mut self, now: Instant, sequence: u16) {
        self.from.get_or_insert(sequence);
        if self.arrivals.is_empty() || sequence.wrapping_sub(self.newest) < 0x8000 {
            self.newest = sequence;
        }
        self.arrivals.insert(sequence, now);
        self.due.get_or_insert(now + 50 * MS);
    }

    fn poll(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.due.take_if(|due| *due <= now)?;
        let from = self.from.replace(self.newest.wrapping_add(1))?;
        let count = self.newest.wrapping_sub(from).wrapping_add(1);
        let mut body = [&[0, 0, 0, 9, 0, 0, 0, 1][..], &from.to_be_bytes(), &count.to_be_bytes()].concat();
        for i in 0..count {
            let arrived = self.arrivals.remove(&from.wrapping_add(i));
            let age = |at: Instant| ((now - at).as_micros() * 1_024 / 1_000_000) as u16;
            body.extend(arrived.map_or(0, |at| 0x8000 | age(at)).to_be_bytes());
        }
        self.arrivals.clear();
        body.resize(body.len().next_multiple_of(4), 0);
        let timestamp = ((now - self.start).as_micros() * 65_536 / 1_000_000) as u32;
        body.extend(timestamp.to_be_bytes());
        Some([&[0x8B, 205], &(body.len() as u16 / 4).to_be_bytes()[..], &body].concat())
    }
}

/// The estimate of a receiver, in the manner of libwebrtc before transport-wide feedback: by the delay, no more than
/// one and a half times what arrives, told each second, and at once when it falls.
pub struct Estimator {
    due: Instant,
    arrived: VecDeque<(Instant, usize)>,
    least: Option<i64>,
    /// One-way delay over the least, smoothed, in microseconds.
    queue_us: f64,
    estimate: f64,
    told: f64,
    updated: Instant,
    fell: Instant,
    start: Instant,
}

impl Estimator {
    pub fn new(start: Instant) -> Self {
        Self {
            due: start + 1_000 * MS,
            arrived: VecDeque::new(),
            least: None,
            queue_us: 0.0,
            estimate: 300_000.0,
            told: 300_000.0,
            updated: start,
            fell: start,
            start,
        }
    }

    fn receive(&mut self, now: Instant, packet: Arrived) {
        let delay = (now - self.start).as_micros() as i64 - (packet.sent - self.start).as_micros() as i64;
        let least = *self.least.insert(self.least.map_or(delay, |least| least.min(delay)));
        self.queue_us += ((delay - least) as f64 - self.queue_us) * 0.1;
        self.arrived.push_back((now, packet.size));
        while self.arrived.front().is_some_and(|(at, _)| now - *at > 500 * MS) {
            self.arrived.pop_front();
        }
        let incoming = self.arrived.iter().map(|(_, size)| *size as f64 * 16.0).sum::<f64>();
        let seconds = (now - self.updated).as_secs_f64();
        self.updated = now;
        if self.queue_us > 60_000.0 && now - self.fell > 300 * MS {
            self.estimate = self.estimate.min(0.85 * incoming);
            self.fell = now;
        } else if self.queue_us < 20_000.0 {
            let most = (1.5 * incoming).max(self.estimate.min(300_000.0));
            self.estimate = (self.estimate * 1.08f64.powf(seconds)).min(most);
        }
        if self.estimate < 0.97 * self.told {
            self.due = now;
        }
    }

    fn poll(&mut self, now: Instant) -> Option<f64> {
        if self.due > now {
            return None;
        }
        self.due = now + 1_000 * MS;
        self.told = self.estimate;
        Some(self.estimate)
    }
}
