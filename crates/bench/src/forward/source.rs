//! The publisher's side of the load: plays a pattern as VP8 with a time stamp in every payload.

use std::time::{Duration, Instant};

use base::{CodecKind, Mid};
use client::{Endpoint, Outgoing};

use super::pattern::Pattern;

/// Where the sending time lies in a payload: behind the longest VP8 descriptor and frame header.
const STAMP: usize = 24;
/// What is sent of a packet that is too small to carry a stamp.
const MIN_PAYLOAD: usize = STAMP + 8;
/// A keyframe this often.
const KEYFRAME_EVERY: u64 = 300;

/// Plays a pattern through an endpoint.
pub struct Source {
    pattern: Pattern,
    stream: Outgoing,
    epoch: Instant,
    lap_start: Instant,
    next: usize,
    frame: u64,
    payload: Vec<u8>,
}

impl Source {
    /// Starts at `now`; stamps count from `epoch`.
    pub fn new(pattern: Pattern, mid: Mid, epoch: Instant, now: Instant) -> Self {
        let stream = Outgoing::new(mid, CodecKind::Vp8, 1_000);
        Self { pattern, stream, epoch, lap_start: now, next: 0, frame: 0, payload: Vec::new() }
    }

    /// Plays another pattern from now on.
    pub fn play(&mut self, pattern: Pattern, now: Instant) {
        self.pattern = pattern;
        self.lap_start = now;
        self.next = 0;
    }

    /// Sends what is due. Returns the number of packets.
    pub fn send(&mut self, now: Instant, endpoint: &mut Endpoint) -> usize {
        let mut sent = 0;
        loop {
            let packet = self.pattern.packets[self.next];
            if self.lap_start + packet.at > now {
                break;
            }
            self.write_payload(packet.payload.max(MIN_PAYLOAD), packet.first);
            let timestamp = (self.frame * 3_000) as u32;
            endpoint.send(now, &mut self.stream, timestamp, packet.last, &self.payload);
            sent += 1;
            self.frame += u64::from(packet.last);
            self.advance(now);
        }
        if sent > 0 {
            endpoint.flush(now);
        }
        sent
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

    /// VP8 payload descriptor with 15-bit picture id, TL0PICIDX and TID (RFC 7741 section 4.2), then a frame header.
    fn write_payload(&mut self, len: usize, first: bool) {
        let picture = (self.frame & 0x7fff) as u16;
        let keyframe = self.frame.is_multiple_of(KEYFRAME_EVERY);
        self.payload.clear();
        self.payload.push(0x80 | if first { 0x10 } else { 0 });
        self.payload.push(0xe0);
        self.payload.extend_from_slice(&(picture | 0x8000).to_be_bytes());
        self.payload.push(self.frame as u8);
        self.payload.push(0x20);
        // First byte of the frame: P = 0 on keyframes; then start code and 1280x720.
        let header = [u8::from(!keyframe), 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02];
        self.payload.extend_from_slice(&header);
        self.payload.resize(len, 0x5a);
        let stamp = self.epoch.elapsed().as_nanos() as u64;
        self.payload[STAMP..STAMP + 8].copy_from_slice(&stamp.to_be_bytes());
    }
}

/// How long ago the payload was sent; `None` when it carries no stamp.
pub fn age(payload: &[u8], epoch: Instant) -> Option<Duration> {
    let stamp = payload.get(STAMP..STAMP + 8)?.try_into().ok()?;
    epoch.elapsed().checked_sub(Duration::from_nanos(u64::from_be_bytes(stamp)))
}
