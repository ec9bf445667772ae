//! Endpoints: a media sender under congestion control, its receiver, and TCP.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base::Bitrate;
use rtc::cc::{Config, Controller, PacingBudget};
use rtc::streams::{StreamFeedbackHistory, TransportFeedbackGenerator, TransportFeedbackHistory};
use sim::{Endpoint, Transmit, tcp};
use wire::rtcp::{self, Packet};

use crate::answers::{Answers, Arrived};

/// Bytes that IP and UDP add.
const OVERHEAD: usize = 28;
const MEDIA_BYTES: usize = 1_100;
/// What a padding packet can have at most: 255 bytes behind header, extensions and authentication tag.
const PADDING_BYTES: usize = 290;
const FRAME: Duration = Duration::from_nanos(33_333_333);
/// Media leaves this much faster than the target.
const PACING: f64 = 1.5;

/// How much there is to send, of a target.
#[derive(Clone, Copy)]
pub enum Source {
    /// All that the target allows.
    Greedy,
    /// This much, in kbit/s, whatever the target.
    Fixed(u64),
    /// Nothing.
    Silent,
}

#[derive(Clone)]
pub enum Payload {
    Media(Arrived),
    Feedback(Vec<u8>),
    Tcp(tcp::Packet),
}

/// A target at a time.
pub type Log = Vec<(Instant, Bitrate)>;

pub struct Sender {
    pub controller: Controller,
    pub source: Source,
    pub log: Log,
    history: TransportFeedbackHistory,
    by_stream: StreamFeedbackHistory,
    budget: PacingBudget,
    begins: Instant,
    next_frame: Instant,
    waiting: VecDeque<usize>,
    left_over: f64,
    pub sent_bytes: u64,
    pub padding_bytes: u64,
}

impl Sender {
    pub fn new(start: Instant, begins: Duration, config: Config, source: Source) -> Self {
        let begins = start + begins;
        Self {
            controller: Controller::new(begins, config),
            source,
            log: Vec::new(),
            history: TransportFeedbackHistory::new(begins),
            by_stream: StreamFeedbackHistory::default(),
            budget: PacingBudget::new(begins, config.start),
            begins,
            next_frame: begins,
            waiting: VecDeque::new(),
            left_over: 0.0,
            sent_bytes: 0,
            padding_bytes: 0,
        }
    }

    fn note(&mut self, now: Instant) {
        let target = self.controller.target();
        if self.log.last().is_none_or(|(_, last)| *last != target) {
            self.log.push((now, target));
            self.budget.set_rate(Bitrate((target.0 as f64 * PACING) as u64));
        }
    }

    fn frame(&mut self) {
        let bps = match self.source {
            Source::Greedy => self.controller.target().0,
            Source::Fixed(kbps) => kbps * 1_000,
            Source::Silent => 0,
        };
        // An encoder makes frames smaller when the last ones have not left.
        let late: usize = self.waiting.iter().sum();
        let bytes = bps as f64 * FRAME.as_secs_f64() / 8.0 + self.left_over - late as f64 * 0.1;
        let packets = (bytes / MEDIA_BYTES as f64).max(0.0) as usize;
        self.left_over = (bytes - (packets * MEDIA_BYTES) as f64).clamp(0.0, MEDIA_BYTES as f64);
        let packets = packets.min(1_000_usize.saturating_sub(self.waiting.len()));
        self.waiting.extend(std::iter::repeat_n(MEDIA_BYTES, packets));
    }

    fn send(&mut self, now: Instant, size: usize) -> Transmit<Payload> {
        self.budget.on_sent(now, size);
        self.sent_bytes += size as u64;
        let tag = self.controller.on_sent(now, size);
        let sequence = self.history.register(now, size, tag);
        self.by_stream.register(&self.history, 1, sequence);
        let payload = Payload::Media(Arrived { sequence, sent: now, size });
        Transmit { port: 0, size: size + OVERHEAD, payload }
    }
}

impl Endpoint for Sender {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, _: usize, payload: Payload) {
        let Payload::Feedback(bytes) = payload else { return };
        for packet in rtcp::packets(&bytes) {
            match packet {
                Packet::TransportFeedback(feedback) => {
                    let mut results = Vec::new();
                    let summary = self.history.receive(now, &feedback, &mut results);
                    self.controller.on_feedback(now, &results, summary.rtt);
                }
                Packet::CongestionFeedback(feedback) => {
                    let mut results = Vec::new();
                    let summary = self.by_stream.receive(now, &feedback, &mut self.history, &mut results);
                    self.controller.on_feedback(now, &results, summary.rtt);
                }
                Packet::Remb(remb) => self.controller.on_remb(now, remb.bitrate),
                _ => {}
            }
        }
        self.note(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        while self.next_frame <= now {
            self.frame();
            self.next_frame += FRAME;
        }
        if self.controller.poll_timeout().is_some_and(|at| at <= now) {
            self.controller.handle_timeout(now);
        }
        self.note(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        if self.log.is_empty() {
            return Some(self.begins);
        }
        let room = (!self.waiting.is_empty()).then(|| self.budget.room_at());
        let at = self.controller.poll_timeout().into_iter().chain(room).min();
        Some(at.map_or(self.next_frame, |at| at.min(self.next_frame)))
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        if now < self.begins {
            return None;
        }
        if self.budget.has_room(now)
            && let Some(size) = self.waiting.pop_front()
        {
            return Some(self.send(now, size));
        }
        let probe = self.controller.poll_probe(now)?;
        let size = probe.bytes.clamp(100, PADDING_BYTES);
        self.padding_bytes += size as u64;
        Some(self.send(now, size))
    }
}

/// What a receiver makes of what arrives.
#[derive(Clone, Copy, Default)]
pub struct Habits {
    /// Share of the feedbacks that are never sent: one of so many.
    pub drop_one_of: Option<u64>,
    /// Nothing is ever acknowledged.
    pub mute: bool,
}

pub struct Receiver {
    pub answers: Answers,
    pub habits: Habits,
    made: u64,
}

impl Receiver {
    pub fn new(start: Instant) -> Self {
        let answers = Answers::Transport(TransportFeedbackGenerator::new(start));
        Self { answers, habits: Habits::default(), made: 0 }
    }
}

impl Endpoint for Receiver {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, _: usize, payload: Payload) {
        if let Payload::Media(packet) = payload {
            self.answers.receive(now, packet);
        }
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.answers.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        loop {
            let out = self.answers.poll(now)?;
            self.made += 1;
            let dropped = self.habits.drop_one_of.is_some_and(|n| self.made.is_multiple_of(n));
            if !dropped && !self.habits.mute {
                return Some(Transmit {
                    port: 0,
                    size: out.len() + OVERHEAD,
                    payload: Payload::Feedback(out),
                });
            }
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "a handful of them")]
pub enum Node {
    Sender(Sender),
    Receiver(Receiver),
    Tcp(tcp::Host),
}

impl Node {
    pub fn sender(&mut self) -> &mut Sender {
        match self {
            Self::Sender(sender) => sender,
            _ => panic!("not a sender"),
        }
    }

    pub fn receiver(&mut self) -> &mut Receiver {
        match self {
            Self::Receiver(receiver) => receiver,
            _ => panic!("not a receiver"),
        }
    }
}

impl Endpoint for Node {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, port: usize, payload: Payload) {
        match (self, payload) {
            (Self::Sender(node), payload) => node.receive(now, port, payload),
            (Self::Receiver(node), payload) => node.receive(now, port, payload),
            (Self::Tcp(host), Payload::Tcp(packet)) => host.receive(now, port, packet),
            (Self::Tcp(_), _) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Sender(node) => node.handle_timeout(now),
            Self::Receiver(node) => node.handle_timeout(now),
            Self::Tcp(host) => host.handle_timeout(now),
        }
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        match self {
            Self::Sender(node) => node.poll_timeout(),
            Self::Receiver(node) => node.poll_timeout(),
            Self::Tcp(host) => host.poll_timeout(),
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        match self {
            Self::Sender(node) => node.poll_transmit(now),
            Self::Receiver(node) => node.poll_transmit(now),
            Self::Tcp(host) => host.poll_transmit(now).map(|t| Transmit {
                port: t.port,
                size: t.size,
                payload: Payload::Tcp(t.payload),
            }),
        }
    }
}
