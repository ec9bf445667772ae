//! The publisher's side of the load: plays a pattern with a time stamp in every payload.

use std::time::{Duration, Instant, SystemTime};

use base::{MediaKind, Mid};
use client::{Endpoint, Outgoing};
use rig::Kind;
use rtc::{Clock, WallClock};

use super::pattern::Pattern;

/// Where the sending time lies in a payload: behind the longest VP8 descriptor and frame header.
const STAMP: usize = 24;
/// What is sent of a packet that is too small to carry a stamp.
const MIN_PAYLOAD: usize = STAMP + 8;
/// V bit, and -30 dBov.
const LOUD: u8 = 0x80 | 30;

/// Plays a pattern through an endpoint.
pub struct Source {
    pattern: Pattern,
    kind: Kind,
    stream: Outgoing,
    epoch: Instant,
    lap_start: Instant,
    next: usize,
    frame: u64,
    timestamp: u32,
    keyframe: bool,
    payload: Vec<u8>,
    /// How many receive it.
    receivers: usize,
    /// Packets sent, times their receivers.
    expected: u64,
}

impl Source {
    /// Starts at `start`.
    pub fn new(pattern: Pattern, kind: Kind, mid: Mid, receivers: usize, start: Instant) -> Self {
        let mut stream = Outgoing::new(mid, kind.codec, 1_000);
        stream.audio_level = (kind.media == MediaKind::Audio).then_some(LOUD);
        Self {
            pattern,
            kind,
            stream,
            epoch: start,
            lap_start: start,
            next: 0,
            frame: 0,
            timestamp: 0,
            keyframe: true,
            payload: Vec::new(),
            receivers,
            expected: 0,
        }
    }

    /// Plays another pattern, or the same one anew, from `start` on.
    pub fn play(&mut self, pattern: Pattern, start: Instant) {
        self.pattern = pattern;
        self.restart(start);
    }

    /// Goes on at `start` with a new frame.
    pub fn restart(&mut self, start: Instant) {
        self.lap_start = start;
        self.next = 0;
        self.frame += 1;
        self.keyframe = true;
    }

    /// What it plays.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The section by which it is sent.
    pub fn mid(&self) -> Mid {
        self.stream.mid
    }

    /// Its next frame is a keyframe.
    pub fn ask_for_keyframe(&mut self) {
        self.keyframe = true;
    }

    /// Packets that its receivers should have got so far, together.
    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// When the next packet is due.
    pub fn due(&self) -> Instant {
        self.lap_start + self.pattern.packets[self.next].at
    }

    /// Queues what is due; the endpoint is flushed by the caller.
    pub fn send(&mut self, now: Instant, wall: &WallClock, endpoint: &mut Endpoint) {
        while self.due() <= now {
            let packet = self.pattern.packets[self.next];
            if packet.first {
                self.begin_frame(now, wall, endpoint);
            }
            self.write_payload(packet.payload.max(MIN_PAYLOAD), packet.first);
            let marker = packet.last && self.kind.media == MediaKind::Video;
            if endpoint.send(now, &mut self.stream, self.timestamp, marker, &self.payload) {
                self.expected += self.receivers as u64;
            }
            if packet.last {
                self.frame += 1;
                self.keyframe = false;
            }
            self.advance(now);
        }
    }

    fn begin_frame(&mut self, now: Instant, wall: &WallClock, endpoint: &mut Endpoint) {
        let elapsed = now.saturating_duration_since(self.epoch);
        self.timestamp = (elapsed.as_micros() * u128::from(self.kind.codec.clock_rate()) / 1_000_000) as u32;
        if let Some(index) = endpoint.peer().send_index(self.stream.mid) {
            let clock = Clock { ntp: wall.ntp(now), rtp: self.timestamp, at: now };
            endpoint.peer().set_clock(index, clock);
        }
    }

    fn advance(&mut self, now: Instant) {
        self.next += 1;
        if self.next == self.pattern.packets.len() {
            self.next = 0;
            self.lap_start += self.pattern.length;
            // A sender that fell behind by laps does not send them all at once.
            self.lap_start = self.lap_start.max(now - self.pattern.length);
        }
    }

    fn write_payload(&mut self, len: usize, first: bool) {
        self.payload.clear();
        match self.kind.media {
            MediaKind::Audio => rig::opus(len, &mut self.payload),
            MediaKind::Video => rig::vp8(self.frame, first, self.keyframe, len, &mut self.payload),
        }
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.payload[STAMP..STAMP + 8].copy_from_slice(&(since_epoch.as_nanos() as u64).to_be_bytes());
    }
}

/// How long before `arrived` the payload was sent; `None` when it carries no stamp.
pub fn age(payload: &[u8], arrived: SystemTime) -> Option<Duration> {
    let stamp = payload.get(STAMP..STAMP + 8)?.try_into().ok()?;
    let sent = Duration::from_nanos(u64::from_be_bytes(stamp));
    arrived.duration_since(SystemTime::UNIX_EPOCH).ok()?.checked_sub(sent)
}
