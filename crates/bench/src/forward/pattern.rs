//! What the publisher sends: when, how much, in which frames.

use std::time::Duration;

/// One RTP packet of a video stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// When it is sent, from the start of the pattern.
    pub at: Duration,
    /// Payload bytes.
    pub payload: usize,
    /// First of its frame.
    pub first: bool,
    /// Last of its frame.
    pub last: bool,
}

/// A stream of packets that is played in a loop.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// In order of time.
    pub packets: Vec<Packet>,
    /// When it starts over.
    pub length: Duration,
}

/// Made by `tests/e2e/tools/record-publisher.mjs`, which takes header, extensions and tag off each packet.
const RECORDING: &str = include_str!("../../recordings/chromium-720p-vp8.csv");

impl Pattern {
    /// Frames of ten packets of 1,100 bytes, 30 a second, each frame sent at once.
    pub fn frames_of_ten() -> Self {
        let packet = |i| Packet { at: Duration::ZERO, payload: 1_100, first: i == 0, last: i == 9 };
        Self { packets: (0..10).map(packet).collect(), length: Duration::from_nanos(33_333_333) }
    }

    /// Sizes and timings recorded from a Chromium publisher. Each line: microseconds since the first packet, payload
    /// bytes, marker bit.
    pub fn recorded() -> Result<Self, String> {
        let mut packets: Vec<Packet> = Vec::new();
        for (number, line) in RECORDING.lines().enumerate() {
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let fields: Vec<u64> = line.split(',').filter_map(|field| field.trim().parse().ok()).collect();
            let [at, payload, marker] = fields[..] else {
                return Err(format!("the recording's line {} is not three numbers: {line}", number + 1));
            };
            let first = packets.last().is_none_or(|previous| previous.last);
            packets.push(Packet {
                at: Duration::from_micros(at),
                payload: payload as usize,
                first,
                last: marker == 1,
            });
        }
        let last = packets.last().ok_or("the recording is empty")?.at;
        Ok(Self { packets, length: last + Duration::from_millis(33) })
    }
}
