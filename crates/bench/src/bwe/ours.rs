//! Our congestion control at one end, our feedback at the other: the send history, RTCP written and read, pacing, probes.

use std::collections::VecDeque;
use std::time::Instant;

use base::Bitrate;
use rtc::cc::{Config, Controller, PacingBudget};
use rtc::streams::{TransportFeedbackGenerator, TransportFeedbackHistory};
use sim::{Endpoint, Transmit};
use wire::rtcp;

use super::encoder::Encoder;
use super::node::{Arrivals, Kind, OVERHEAD, Payload, SenderLog, Wire};

/// Media leaves this much faster than the target.
const PACING: f64 = 1.5;
/// Smallest and largest packet of padding: 255 bytes of it behind header, extensions and authentication tag.
const PADDING_BYTES: (usize, usize) = (100, 290);

/// A source under our congestion control.
pub struct Sender {
    begins: Instant,
    encoder: Encoder,
    wanted: Option<Bitrate>,
    controller: Controller,
    history: TransportFeedbackHistory,
    budget: PacingBudget,
    /// Packets of frames that have not left: the frame and the size.
    waiting: VecDeque<(u32, usize)>,
    log: SenderLog,
}

impl Sender {
    pub fn new(begins: Instant, config: Config, encoder: Encoder) -> Self {
        Self {
            begins,
            encoder,
            wanted: None,
            controller: Controller::new(begins, config),
            history: TransportFeedbackHistory::new(begins),
            budget: PacingBudget::new(begins, paced(config.start)),
            waiting: VecDeque::new(),
            log: SenderLog::default(),
        }
    }

    pub fn log(&self) -> &SenderLog {
        &self.log
    }

    fn note(&mut self, now: Instant) {
        let target = self.controller.target();
        if self.log.note(now, target) {
            self.budget.set_rate(paced(target));
        }
    }

    fn want(&mut self, now: Instant) {
        let wanted = self.encoder.wanted(now);
        if self.wanted != Some(wanted) {
            self.wanted = Some(wanted);
            self.controller.set_wanted(now, wanted);
        }
    }

    fn send(&mut self, now: Instant, size: usize, kind: Kind) -> Transmit<Payload> {
        self.budget.on_sent(now, size);
        let tag = self.controller.on_sent(now, size);
        let number = self.history.register(now, size, tag);
        self.log.send(now, size, kind, Wire::Numbered(number))
    }
}

impl Endpoint for Sender {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, _: usize, payload: Payload) {
        let Payload::Answer(bytes) = payload else { return };
        for packet in rtcp::packets(&bytes) {
            if let rtcp::Packet::TransportFeedback(feedback) = packet {
                let mut results = Vec::new();
                let summary = self.history.receive(now, &feedback, &mut results);
                self.controller.on_feedback(now, &results, summary.rtt);
            }
        }
        self.note(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now < self.begins {
            return;
        }
        self.want(now);
        while self.encoder.poll_timeout() <= now {
            let waiting = self.waiting.iter().map(|(_, size)| size).sum();
            let frame = self.encoder.poll(now, self.controller.target(), waiting);
            let packets = frame.map(|frame| frame.packets.into_iter().map(move |size| (frame.number, size)));
            self.waiting.extend(packets.into_iter().flatten());
        }
        if self.controller.poll_timeout().is_some_and(|at| at <= now) {
            self.controller.handle_timeout(now);
        }
        self.note(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let frame = self.encoder.poll_timeout();
        if self.log.targets.is_empty() {
            return Some(frame);
        }
        let room = (!self.waiting.is_empty()).then(|| self.budget.room_at());
        self.controller.poll_timeout().into_iter().chain(room).chain([frame]).min()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        if now < self.begins {
            return None;
        }
        if self.budget.has_room(now)
            && let Some((frame, size)) = self.waiting.pop_front()
        {
            return Some(self.send(now, size, Kind::Media(frame)));
        }
        let probe = self.controller.poll_probe(now)?;
        let (least, most) = PADDING_BYTES;
        Some(self.send(now, probe.bytes.clamp(least, most), Kind::Padding))
    }
}

fn paced(target: Bitrate) -> Bitrate {
    Bitrate((target.0 as f64 * PACING) as u64)
}

/// Answers with transport-wide feedback, as browsers do.
pub struct Receiver {
    generator: TransportFeedbackGenerator,
    arrivals: Arrivals,
}

impl Receiver {
    pub fn new(start: Instant) -> Self {
        Self { generator: TransportFeedbackGenerator::new(start), arrivals: Vec::new() }
    }

    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

impl Endpoint for Receiver {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, _: usize, payload: Payload) {
        if let Payload::Media { id, wire: Wire::Numbered(number) } = payload {
            self.generator.receive(now, 1, number);
            self.arrivals.push((id, now));
        }
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.generator.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        let mut out = Vec::new();
        let due = self.generator.poll_feedback(now, 1, &mut out);
        due.then(|| Transmit { port: 0, size: out.len() + OVERHEAD, payload: Payload::Answer(out.into()) })
    }
}
