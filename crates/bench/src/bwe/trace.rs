//! What happened in a case. Times in seconds from its beginning, rates in bit/s.

use sim::Statistics;

use super::case::FlowSpec;
use super::node::Kind;

/// How often a link's statistics are kept.
pub const STEPS_PER_SECOND: u64 = 10;

/// Everything that figures and pictures are made of.
pub struct Trace {
    pub seconds: u64,
    pub forward: LaneTrace,
    pub backward: LaneTrace,
    pub flows: Vec<FlowTrace>,
}

/// One direction of the bottleneck.
pub struct LaneTrace {
    /// Its capacity from a time on; empty when it is unlimited.
    pub rates: Vec<(f64, f64)>,
    /// When a packet left the queue, and how many milliseconds it had waited.
    pub queue: Vec<(f64, f64)>,
    /// At each step, the first at the beginning.
    pub statistics: Vec<Statistics>,
}

impl LaneTrace {
    /// The capacity then.
    pub fn capacity(&self, at: f64) -> Option<f64> {
        let rate = self.rates.iter().rev().find(|(since, _)| *since <= at);
        rate.map(|(_, rate)| *rate)
    }

    /// What the link did in this span.
    pub fn between(&self, from: f64, to: f64) -> Statistics {
        let step = |at: f64| ((at * STEPS_PER_SECOND as f64) as usize).min(self.statistics.len() - 1);
        self.statistics[step(to)].since(&self.statistics[step(from)])
    }
}

/// One flow of media.
pub struct FlowTrace {
    pub spec: FlowSpec,
    /// In the order of sending.
    pub packets: Vec<Packet>,
    /// The target at each change.
    pub targets: Vec<(f64, f64)>,
    /// When pictures were shown, and their layers, where a server forwards them.
    pub pictures: Option<Vec<(f64, u8)>>,
}

/// A packet that was sent.
#[derive(Clone, Copy)]
pub struct Packet {
    pub sent: f64,
    /// With IP and UDP.
    pub bits: f64,
    pub kind: Kind,
    pub arrived: Option<f64>,
}

impl Packet {
    pub fn is_media(&self) -> bool {
        matches!(self.kind, Kind::Media(_))
    }
}

impl FlowTrace {
    /// All that was sent.
    pub fn sent(&self) -> Series {
        Series::new(self.packets.iter().map(|packet| (packet.sent, packet.bits)))
    }

    /// The media that was sent.
    pub fn media_sent(&self) -> Series {
        let media = self.packets.iter().filter(|packet| packet.is_media());
        Series::new(media.map(|packet| (packet.sent, packet.bits)))
    }

    /// The media that arrived, or what else did.
    pub fn arrived(&self, media: bool) -> Series {
        let some = self.packets.iter().filter(|packet| packet.is_media() == media);
        let mut arrived: Vec<_> = some.filter_map(|p| Some((p.arrived?, p.bits))).collect();
        arrived.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series::new(arrived.into_iter())
    }
}

/// Bits at times, for sums over spans.
pub struct Series {
    at: Vec<f64>,
    /// Up to and without each.
    before: Vec<f64>,
}

impl Series {
    fn new(points: impl Iterator<Item = (f64, f64)>) -> Self {
        let (mut at, mut before, mut sum) = (Vec::new(), vec![0.0], 0.0);
        for (time, bits) in points {
            at.push(time);
            sum += bits;
            before.push(sum);
        }
        Self { at, before }
    }

    /// Bits in a span, its end excluded.
    pub fn bits(&self, from: f64, to: f64) -> f64 {
        let place = |time| self.at.partition_point(|at| *at < time);
        self.before[place(to).max(place(from))] - self.before[place(from)]
    }

    /// Bits per second over the `span` before each `step` of a time, as (time, rate).
    pub fn rates(&self, from: f64, to: f64, span: f64, step: f64) -> impl Iterator<Item = (f64, f64)> {
        let steps = ((to - from) / step) as usize;
        (0..=steps).map(move |i| {
            let at = from + i as f64 * step;
            (at, self.bits(at - span, at) / span)
        })
    }
}
