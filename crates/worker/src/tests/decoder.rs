//! What a person sees of a VP8 stream: frames of which each packet came, behind a keyframe and without a gap.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::media::Received;

#[derive(Clone, Copy)]
struct Packet {
    timestamp: u32,
    first: bool,
    keyframe: bool,
    marker: bool,
    layer: u8,
}

/// A frame that was shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) at: Instant,
    pub(super) layer: u8,
}

#[derive(Default)]
pub(super) struct Decoder {
    packets: BTreeMap<u64, Packet>,
    next: Option<u64>,
    pub(super) shown: Vec<Shown>,
    /// Packets that came and were of no use.
    pub(super) useless: usize,
    newest: u32,
}

impl Decoder {
    pub(super) fn receive(&mut self, now: Instant, received: &Received, payload: &[u8]) {
        if payload.len() < 6 {
            return;
        }
        let packet = Packet {
            timestamp: received.timestamp,
            first: payload[0] & 0x10 != 0,
            keyframe: payload[4] & 1 == 0,
            marker: received.marker,
            layer: payload[5],
        };
        if self.next.is_none_or(|next| received.sequence >= next) {
            self.packets.insert(received.sequence, packet);
        }
        while self.show(now) {}
    }

    fn show(&mut self, now: Instant) -> bool {
        let continued = self.next.and_then(|next| self.whole(next));
        // A keyframe that is whole is shown whatever is missing before it.
        let keyframe = || {
            let starts = self.packets.iter().rev().filter(|(_, p)| p.first && p.keyframe);
            starts.map(|(sequence, _)| *sequence).find_map(|sequence| self.whole(sequence))
        };
        let Some((end, frame)) = continued.or_else(keyframe) else { return false };
        assert!(self.shown.is_empty() || frame.timestamp.wrapping_sub(self.newest) < 1 << 31, "a step back");
        self.newest = frame.timestamp;
        let rest = self.packets.split_off(&end);
        self.useless += self.packets.values().filter(|packet| packet.timestamp != frame.timestamp).count();
        self.packets = rest;
        self.next = Some(end);
        self.shown.push(Shown { at: now, layer: frame.layer });
        true
    }

    /// The frame that begins with this packet, and the number behind it.
    fn whole(&self, begin: u64) -> Option<(u64, Packet)> {
        let first = *self.packets.get(&begin).filter(|packet| packet.first)?;
        let mut sequence = begin;
        loop {
            let packet = self.packets.get(&sequence).filter(|p| p.timestamp == first.timestamp)?;
            sequence += 1;
            if packet.marker {
                return Some((sequence, first));
            }
        }
    }

    /// The longest time without a new picture, from `from` to `until`.
    pub(super) fn longest_freeze(&self, from: Instant, until: Instant) -> Duration {
        let inside = self.shown.iter().map(|shown| shown.at).filter(|at| (from..until).contains(at));
        let times: Vec<Instant> = [from].into_iter().chain(inside).chain([until]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// When a picture of this layer was shown first from `from` on.
    pub(super) fn first_of(&self, layer: u8, from: Instant) -> Option<Instant> {
        self.shown.iter().find(|shown| shown.at >= from && shown.layer == layer).map(|shown| shown.at)
    }
}
