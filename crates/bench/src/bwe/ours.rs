//! Our congestion control at one end, our feedback at the other: the send history, RTCP written and read, pacing, probes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base::Bitrate;
use rtc::cc::{Config, Controller, PacingBudget};
use rtc::streams::TransportFeedbackHistory;
use sim::{Endpoint, Transmit};
use wire::rtcp;

use super::case::Habit;
use super::encoder::Encoder;
use super::node::{Arrivals, Kind, OVERHEAD, Payload, SenderLog, Wire};
use super::receiver::Answers;

/// Media leaves this much faster than the target.
const PACING: f64 = 1.5;
/// Smallest and largest packet of padding: 255 bytes of it behind header, extensions and authentication tag.
const PADDING_BYTES: (usize, usize) = (100, 290);
/// A port that leads nowhere: what leaves by it is lost.
const NOWHERE: usize = usize::MAX;

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
    /// When the own clock jumps, and by how much.
    jump: Option<(Instant, Duration)>,
    padding_lost_until: Option<Instant>,
}

impl Sender {
    /// The case begins at `start`, the flow at `begins`.
    pub fn new(start: Instant, begins: Instant, habit: Habit, encoder: Encoder) -> Self {
        let after = |seconds| start + Duration::from_secs(seconds);
        let feedback = !matches!(habit, Habit::Remb | Habit::Nothing);
        let config = Config { feedback, ..Config::default() };
        let mut history = TransportFeedbackHistory::new(begins);
        if let Habit::NumbersFrom(first) = habit {
            (1..first).for_each(|_| _ = history.register(begins, 0, 0));
        }
        Self {
            begins,
            encoder,
            wanted: None,
            controller: Controller::new(begins, config),
            history,
            budget: PacingBudget::new(begins, paced(config.start)),
            waiting: VecDeque::new(),
            log: SenderLog::default(),
            jump: match habit {
                Habit::ClockJumps(at, by) => Some((after(at), Duration::from_secs(by))),
                _ => None,
            },
            padding_lost_until: match habit {
                Habit::ProbesLost(until) => Some(after(until)),
                _ => None,
            },
        }
    }

    pub fn log(&self) -> &SenderLog {
        &self.log
    }

    /// The own clock.
    fn local(&self, now: Instant) -> Instant {
        match self.jump {
            Some((at, by)) if now >= at => now + by,
            _ => now,
        }
    }

    /// When the own clock shows this. What it jumps over is when it jumps.
    fn world(&self, local: Instant) -> Instant {
        match self.jump {
            Some((at, by)) if local >= at => at.max(local - by),
            _ => local,
        }
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
            self.controller.set_wanted(self.local(now), wanted);
        }
    }

    fn send(&mut self, now: Instant, size: usize, kind: Kind) -> Transmit<Payload> {
        let local = self.local(now);
        self.budget.on_sent(local, size);
        let tag = self.controller.on_sent(local, size);
        let number = self.history.register(local, size, tag);
        let transmit = self.log.send(now, size, kind, Wire::Numbered(number));
        let lost = kind == Kind::Padding && self.padding_lost_until.is_some_and(|until| now < until);
        if lost { Transmit { port: NOWHERE, ..transmit } } else { transmit }
    }
}

impl Endpoint for Sender {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, _: usize, payload: Payload) {
        let Payload::Answer(bytes) = payload else { return };
        let local = self.local(now);
        for packet in rtcp::packets(&bytes) {
            match packet {
                rtcp::Packet::TransportFeedback(feedback) => {
                    let mut results = Vec::new();
                    let summary = self.history.receive(local, &feedback, &mut results);
                    self.controller.on_feedback(local, &results, summary.rtt);
                }
                rtcp::Packet::Remb(remb) => self.controller.on_remb(local, remb.bitrate),
                _ => {}
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
        let local = self.local(now);
        if self.controller.poll_timeout().is_some_and(|at| at <= local) {
            self.controller.handle_timeout(local);
        }
        self.note(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let frame = self.encoder.poll_timeout();
        if self.log.targets.is_empty() {
            return Some(frame);
        }
        let room = (!self.waiting.is_empty()).then(|| self.budget.room_at());
        let own = self.controller.poll_timeout().into_iter().chain(room).min();
        own.map(|at| self.world(at)).into_iter().chain([frame]).min()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        if now < self.begins {
            return None;
        }
        let local = self.local(now);
        if self.budget.has_room(local)
            && let Some((frame, size)) = self.waiting.pop_front()
        {
            return Some(self.send(now, size, Kind::Media(frame)));
        }
        let probe = self.controller.poll_probe(local)?;
        let (least, most) = PADDING_BYTES;
        Some(self.send(now, probe.bytes.clamp(least, most), Kind::Padding))
    }
}

fn paced(target: Bitrate) -> Bitrate {
    Bitrate((target.0 as f64 * PACING) as u64)
}

/// Notes what arrives and answers.
pub struct Receiver {
    answers: Answers,
    arrivals: Arrivals,
}

impl Receiver {
    pub fn new(start: Instant, habit: Habit) -> Self {
        Self { answers: Answers::new(start, habit), arrivals: Vec::new() }
    }

    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

impl Endpoint for Receiver {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, _: usize, payload: Payload) {
        if let Payload::Media { id, sent, size, wire: Wire::Numbered(number) } = payload {
            self.answers.receive(now, sent, size, number);
            self.arrivals.push((id, now));
        }
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.answers.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        let out = self.answers.poll(now)?;
        Some(Transmit { port: 0, size: out.len() + OVERHEAD, payload: Payload::Answer(out.into()) })
    }
}
