//! Who watches what a server forwards: asks for what is missing, decodes in order, and notes what was shown when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rtc::streams::TransportFeedbackGenerator;
use sim::{Endpoint, Transmit};
use wire::rtcp::{write_nack, write_pli};

use super::node::{Arrivals, OVERHEAD, Payload, Wire};

const SENDER: u32 = 1;
const MEDIA: u32 = 2;
/// A missing packet is asked for after so long, then each time again after the second, up to so many times.
const REORDERED: Duration = Duration::from_millis(10);
const RETRY: Duration = Duration::from_millis(130);
const TRIES: u32 = 8;
/// Nothing could be shown for so long although packets came: a keyframe is asked for, and again.
const STUCK: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(10);

/// A packet of video as its receiver sees it.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub sequence: u64,
    pub timestamp: u32,
    /// A decoder can begin here.
    pub begins: bool,
    /// It is the last of its picture.
    pub ends: bool,
    /// Its spatial or simulcast layer.
    pub spatial: u8,
    pub size: usize,
}

/// When a picture was shown, and its layer.
pub type Pictures = Vec<(Instant, u8)>;

/// The receiver.
pub struct Viewer {
    generator: TransportFeedbackGenerator,
    arrivals: Arrivals,
    pictures: Pictures,
    /// Packets that are not decoded yet.
    waiting: BTreeMap<u64, Shown>,
    /// The next packet to decode; `None` before the first keyframe.
    next: Option<u64>,
    newest: u64,
    /// When to ask for a missing packet, and how often it was asked for.
    missing: BTreeMap<u64, (Instant, u32)>,
    stuck_since: Option<Instant>,
    tick: Option<Instant>,
    out: Vec<Vec<u8>>,
}

impl Viewer {
    pub fn new(start: Instant) -> Self {
        Self {
            generator: TransportFeedbackGenerator::new(start),
            arrivals: Vec::new(),
            pictures: Vec::new(),
            waiting: BTreeMap::new(),
            next: None,
            newest: 0,
            missing: BTreeMap::new(),
            stuck_since: None,
            tick: None,
            out: Vec::new(),
        }
    }

    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    pub fn pictures(&self) -> &Pictures {
        &self.pictures
    }

    fn take(&mut self, now: Instant, packet: Shown) {
        self.missing.remove(&packet.sequence);
        if self.next.is_some_and(|next| packet.sequence < next) {
            return;
        }
        if self.newest > 0 {
            for sequence in self.newest + 1..packet.sequence {
                self.missing.insert(sequence, (now + REORDERED, 0));
            }
        }
        self.newest = self.newest.max(packet.sequence);
        self.waiting.insert(packet.sequence, packet);
        while self.show(now) {}
        if self.waiting.is_empty() {
            self.stuck_since = None;
        } else {
            self.stuck_since.get_or_insert(now);
        }
        self.tick.get_or_insert(now + TICK);
    }

    /// Shows the next picture that is complete: the one that follows, or a keyframe.
    fn show(&mut self, now: Instant) -> bool {
        let follows = self.next.and_then(|next| self.complete(next));
        let keyframes = || self.waiting.values().rev().filter(|packet| packet.begins);
        let shown = follows.or_else(|| keyframes().find_map(|packet| self.complete(packet.sequence)));
        let Some((end, spatial)) = shown else { return false };
        self.pictures.push((now, spatial));
        self.next = Some(end + 1);
        self.waiting = self.waiting.split_off(&(end + 1));
        self.missing = self.missing.split_off(&(end + 1));
        self.stuck_since = None;
        true
    }

    /// The last packet of the picture that begins with this one, and its highest layer, if it is complete.
    fn complete(&self, first: u64) -> Option<(u64, u8)> {
        let timestamp = self.waiting.get(&first)?.timestamp;
        let mut spatial = 0;
        for (expected, (sequence, packet)) in (first..).zip(self.waiting.range(first..)) {
            if expected != *sequence || packet.timestamp != timestamp {
                return None;
            }
            spatial = spatial.max(packet.spatial);
            if packet.ends {
                return Some((*sequence, spatial));
            }
        }
        None
    }

    fn ask(&mut self, now: Instant) {
        self.missing.retain(|_, (_, tries)| *tries < TRIES);
        let due: Vec<u64> = self.missing.iter().filter(|(_, (at, _))| *at <= now).map(|(s, _)| *s).collect();
        for sequence in &due {
            if let Some((at, tries)) = self.missing.get_mut(sequence) {
                (*at, *tries) = (now + RETRY, *tries + 1);
            }
        }
        if !due.is_empty() {
            let mut out = Vec::new();
            write_nack(&mut out, SENDER, MEDIA, due.iter().take(100).map(|sequence| *sequence as u16));
            self.out.push(out);
        }
        if self.stuck_since.is_some_and(|since| now >= since + STUCK) {
            self.stuck_since = Some(now);
            let mut out = Vec::new();
            write_pli(&mut out, SENDER, MEDIA);
            self.out.push(out);
        }
        let idle = self.missing.is_empty() && self.stuck_since.is_none();
        self.tick = (!idle).then_some(now + TICK);
    }
}

impl Endpoint for Viewer {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, _: usize, payload: Payload) {
        let Payload::Media { id, wire, .. } = payload else { return };
        self.arrivals.push((id, now));
        match wire {
            Wire::Numbered(number) => self.generator.receive(now, MEDIA, number),
            Wire::Shown(number, packet) => {
                self.generator.receive(now, MEDIA, number);
                self.take(now, packet);
            }
            Wire::Datagram(_) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.tick.is_some_and(|at| at <= now) {
            self.ask(now);
        }
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.generator.poll_timeout().into_iter().chain(self.tick).min()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        let mut out = Vec::new();
        let answer = match self.out.pop() {
            Some(answer) => answer,
            None if self.generator.poll_feedback(now, SENDER, &mut out) => out,
            None => return None,
        };
        Some(Transmit { port: 0, size: answer.len() + OVERHEAD, payload: Payload::Answer(answer.into()) })
    }
}
