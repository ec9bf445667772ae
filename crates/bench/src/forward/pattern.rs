//! What a publisher sends, and when.

use std::time::Duration;

use base::MediaKind;

/// One packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// When it leaves, from the start of the pattern.
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
    /// Sound or picture.
    pub media: MediaKind,
    /// In order of time.
    pub packets: Vec<Packet>,
    /// When it starts over.
    pub length: Duration,
}

/// Made by `tests/e2e/tools/record-publisher.mjs`, which takes header, extensions and tag off each packet.
const RECORDING: &str = include_str!("../../recordings/chromium-720p-vp8.csv");

impl Pattern {
    /// Frames of ten packets of 1,100 bytes, so many a second, each frame sent at once.
    pub fn frames_of_ten(a_second: u32) -> Self {
        Self::frames(10, Duration::from_secs(1) / a_second)
    }

    /// Frames of so many packets of 1,100 bytes, each sent at once, this far apart.
    pub fn frames(packets: usize, interval: Duration) -> Self {
        let last = packets - 1;
        let packet = |i| Packet { at: Duration::ZERO, payload: 1_100, first: i == 0, last: i == last };
        Self { media: MediaKind::Video, packets: (0..packets).map(packet).collect(), length: interval }
    }

    /// Opus at 32 kbit/s, a packet each 20 ms.
    pub fn sound() -> Self {
        let packet = Packet { at: Duration::ZERO, payload: 80, first: true, last: true };
        Self { media: MediaKind::Audio, packets: vec![packet], length: Duration::from_millis(20) }
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
        Ok(Self { media: MediaKind::Video, packets, length: last + Duration::from_millis(33) })
    }

    /// The same frames with so many packets each, of the same size: a lower simulcast layer.
    pub fn scaled(&self, packets: usize) -> Self {
        let firsts = self.packets.iter().filter(|packet| packet.first);
        let frame = |first: &Packet| {
            let at = first.at;
            (0..packets).map(move |i| Packet { at, payload: 900, first: i == 0, last: i + 1 == packets })
        };
        Self { packets: firsts.flat_map(frame).collect(), ..self.clone() }
    }
}
