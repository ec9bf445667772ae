//! What a trace amounts to.

use std::collections::BTreeMap;

use super::case::{Case, Competitor, Habit, Source};
use super::node::Kind;
use super::trace::{FlowTrace, LaneTrace, Packet, Series, Trace};

/// After a change, a case is not steady for this long.
const SETTLING: f64 = 10.0;
/// After a change, queues do not count for this long.
const QUEUE_GRACE: f64 = 2.0;
/// A send rate is that of this span before: nine frames.
const RATE_SPAN: f64 = 0.3;
const RATE_STEP: f64 = 0.01;
/// What counts as having risen to a capacity.
const RISEN: f64 = 0.8;
/// Packets sent this shortly before the end may still be on their way.
const TAIL: f64 = 2.0;
/// Without a picture for so long, a stream was paused.
const PAUSED: f64 = 2.0;
/// From when on the share beside a TCP flow counts.
const SHARE_FROM: f64 = 20.0;

/// A figure of a case. In this order they stand in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Figure {
    /// Share of the capacity in steady phases, padding not counted; of the worst phase.
    Utilisation,
    /// Milliseconds, outside two seconds after a change.
    QueueMean,
    QueueP95,
    /// The longest wait at any time, in milliseconds.
    QueuePeak,
    /// Share of a sender's packets that were lost, in the worst flow.
    Loss,
    /// The same in steady phases.
    SteadyLoss,
    /// The same in the ten seconds after the capacity fell.
    LossAfterFall,
    /// Seconds from the fall of the capacity until no more is sent than it.
    StepDown,
    /// Seconds from the start to the rate that the case names.
    Ramp,
    /// Seconds until media uses 80 % of a capacity that rose; the slowest rise of the case.
    Rise,
    /// Seconds after a pause until the flow sends 80 % of what it sent before.
    Resume,
    /// Seconds until the estimate finds what the case names, from when it says.
    Found,
    /// The highest estimate over the rate that is sent, where the source is the limit.
    Runaway,
    /// The lowest estimate, in kbit/s, of a flow without feedback.
    Least,
    /// Seconds until the highest layer is shown, from when the case says.
    Top,
    /// Jain's index of the flows' rates.
    Fairness,
    /// The slowest flow's rate over the fastest's.
    Slowest,
    /// What media has of all that the link carries, beside a long TCP flow.
    TcpShare,
    /// What media has of the capacity, beside short TCP flows.
    MediaShare,
    /// Milliseconds in which the picture stood still, of the worst flow.
    Freeze,
    /// Changes of the layer that is sent, per minute.
    Switches,
}

impl Figure {
    /// Its key in the JSON, and its name in the table.
    pub fn key(self) -> &'static str {
        match self {
            Self::Utilisation => "utilisation",
            Self::QueueMean => "queue_mean_ms",
            Self::QueueP95 => "queue_p95_ms",
            Self::QueuePeak => "queue_peak_ms",
            Self::Loss => "loss",
            Self::SteadyLoss => "steady_loss",
            Self::LossAfterFall => "fall_loss",
            Self::StepDown => "step_down_s",
            Self::Ramp => "ramp_s",
            Self::Rise => "rise_s",
            Self::Resume => "resume_s",
            Self::Found => "found_s",
            Self::Runaway => "runaway",
            Self::Least => "least_kbps",
            Self::Top => "top_layer_s",
            Self::Fairness => "fairness",
            Self::Slowest => "slowest",
            Self::TcpShare => "tcp_share",
            Self::MediaShare => "media_share",
            Self::Freeze => "freeze_ms",
            Self::Switches => "switches_per_min",
        }
    }

    /// How bad a value is, to find the worst of several.
    pub fn badness(self, value: f64) -> f64 {
        match self {
            Self::Utilisation | Self::Fairness | Self::Slowest | Self::MediaShare | Self::Least => -value,
            // The middle of what is fair.
            Self::TcpShare => (value - 0.425).abs(),
            _ => value,
        }
    }
}

/// The figures that a case defines.
pub type Figures = BTreeMap<Figure, f64>;

/// Of each figure, the worst of several runs.
pub fn worst(runs: &[Figures]) -> Figures {
    let mut worst = Figures::new();
    for (figure, value) in runs.iter().flatten() {
        let kept = worst.entry(*figure).or_insert(*value);
        if figure.badness(*value) > figure.badness(*kept) {
            *kept = *value;
        }
    }
    worst
}

/// What came out of a case.
pub fn of(case: &Case, trace: &Trace) -> Figures {
    let measure = Measure { case, trace, changes: case.changes() };
    let mut figures = Figures::new();
    measure.queues(&mut figures);
    measure.losses(&mut figures);
    measure.reactions(&mut figures);
    measure.shares(&mut figures);
    measure.estimates(&mut figures);
    measure.layers(&mut figures);
    let freezes = trace.flows.iter().map(freeze_ms);
    figures.insert(Figure::Freeze, freezes.fold(0.0, f64::max));
    if let Some(utilisation) = measure.utilisation() {
        figures.insert(Figure::Utilisation, utilisation);
    }
    figures
}

struct Measure<'a> {
    case: &'a Case,
    trace: &'a Trace,
    changes: Vec<f64>,
}

impl Measure<'_> {
    fn end(&self) -> f64 {
        self.trace.seconds as f64
    }

    /// From when to when nothing changes, less the time that it takes to settle.
    fn steady(&self) -> Vec<(f64, f64)> {
        let ends = self.changes.iter().copied().skip(1).chain([self.end()]);
        let spans = self.changes.iter().zip(ends).map(|(from, to)| (from + SETTLING, to));
        spans.filter(|(from, to)| to - from >= 1.0).collect()
    }

    /// Those that are bottlenecks.
    fn lanes(&self) -> impl Iterator<Item = (bool, &LaneTrace)> {
        let lanes = [(false, &self.trace.forward), (true, &self.trace.backward)];
        lanes.into_iter().filter(|(_, lane)| !lane.rates.is_empty())
    }

    /// What the worst lane carried in its worst steady phase, without padding.
    fn utilisation(&self) -> Option<f64> {
        let of_lane = |(reverse, lane): (bool, &LaneTrace)| {
            let flows = self.trace.flows.iter().filter(move |flow| flow.spec.reverse == reverse);
            let padding: Vec<Series> = flows.map(|flow| flow.arrived(false)).collect();
            let phase = |(from, to): (f64, f64)| {
                let did = lane.between(from, to);
                let padding: f64 = padding.iter().map(|series| series.bits(from, to)).sum();
                (did.carried.bytes as f64 * 8.0 - padding) / did.capacity_bits.max(1) as f64
            };
            let fills = |(from, to): &(f64, f64)| self.fills(reverse, *from, *to);
            self.steady().into_iter().filter(fills).map(phase).reduce(f64::min)
        };
        self.lanes().filter_map(of_lane).reduce(f64::min)
    }

    /// Some flow of this direction would send more than the capacity in all of this span.
    fn fills(&self, reverse: bool, from: f64, to: f64) -> bool {
        let pauses = |flow: &FlowTrace| flow.spec.pause.is_some_and(|(a, b)| a < to && b > from);
        let greedy = |flow: &&FlowTrace| matches!(flow.spec.source, Source::UpTo(_)) && !pauses(flow);
        self.trace.flows.iter().filter(|flow| flow.spec.reverse == reverse).any(|flow| greedy(&flow))
    }

    fn queues(&self, figures: &mut Figures) {
        let counts =
            |at: f64| !self.changes.iter().any(|change| (*change..change + QUEUE_GRACE).contains(&at));
        for (_, lane) in self.lanes() {
            let mut delays: Vec<f64> =
                lane.queue.iter().filter(|(at, _)| counts(*at)).map(|(_, delay)| *delay).collect();
            delays.sort_by(f64::total_cmp);
            let mean = delays.iter().sum::<f64>() / delays.len().max(1) as f64;
            let p95 = delays.get((delays.len() * 95).div_ceil(100).saturating_sub(1));
            let peak = lane.queue.iter().map(|(_, delay)| *delay).fold(0.0, f64::max);
            let found = [
                (Figure::QueueMean, mean),
                (Figure::QueueP95, p95.copied().unwrap_or(0.0)),
                (Figure::QueuePeak, peak),
            ];
            for (figure, value) in found {
                let kept = figures.entry(figure).or_insert(value);
                *kept = kept.max(value);
            }
        }
    }

    fn losses(&self, figures: &mut Figures) {
        let worst = |spans: &[(f64, f64)]| {
            let of_flow = |flow: &FlowTrace| loss(&flow.packets, spans);
            self.trace.flows.iter().map(of_flow).fold(0.0, f64::max)
        };
        let end = self.end() - TAIL;
        figures.insert(Figure::Loss, worst(&[(0.0, end)]));
        let steady: Vec<_> = self.steady().iter().map(|(from, to)| (*from, to.min(end))).collect();
        if !steady.is_empty() {
            figures.insert(Figure::SteadyLoss, worst(&steady));
        }
        if let Some(fall) = self.case.falls_at {
            figures.insert(Figure::LossAfterFall, worst(&[(fall as f64, fall as f64 + 10.0)]));
        }
    }

    /// How fast the flows follow changes. A reaction that never came counts as the time until the end.
    fn reactions(&self, figures: &mut Figures) {
        let first = self.trace.flows.first();
        let Some(flow) = first else { return };
        let lane = &self.trace.forward;
        if let Some(fall) = self.case.falls_at.map(|at| at as f64) {
            let capacity = lane.capacity(fall).unwrap_or(f64::MAX);
            figures.insert(Figure::StepDown, self.until(&flow.sent(), fall, |rate| rate <= capacity));
            let rises = lane.rates.windows(2).filter(|pair| pair[1].1 > pair[0].1);
            let media = flow.media_sent();
            let slowest = rises.map(|pair| self.until(&media, pair[1].0, |rate| rate >= RISEN * pair[1].1));
            if let Some(slowest) = slowest.reduce(f64::max) {
                figures.insert(Figure::Rise, slowest);
            }
        }
        if let Some(kbps) = self.case.started_kbps {
            let media = flow.media_sent();
            figures.insert(Figure::Ramp, self.until(&media, flow.spec.begins, |rate| rate >= kbps * 1e3));
        }
        for flow in &self.trace.flows {
            let Some((pause, resume)) = flow.spec.pause else { continue };
            let media = flow.media_sent();
            let before = media.bits(pause - SETTLING, pause) / SETTLING;
            let back = self.until(&media, resume, |rate| rate >= RISEN * before);
            figures.insert(Figure::Resume, back);
        }
    }

    /// What the viewer of a forwarded camera saw.
    fn layers(&self, figures: &mut Figures) {
        let shown = self.trace.flows.first().and_then(|flow| flow.pictures.as_ref());
        let Some(shown) = shown else { return };
        if let Some(from) = self.case.top_from {
            let top = shown.iter().find(|(at, layer)| *at >= from && *layer == 2);
            figures.insert(Figure::Top, top.map_or(self.end(), |(at, _)| *at) - from);
        }
        if let Some(from) = self.case.switches_from {
            let later: Vec<_> = shown.iter().filter(|(at, _)| *at >= from).collect();
            // A pause counts twice: off and on.
            let changes = |pair: &[&(f64, u8)]| match () {
                () if pair[1].0 - pair[0].0 > PAUSED => 2.0,
                () if pair[1].1 != pair[0].1 => 1.0,
                () => 0.0,
            };
            let count: f64 = later.windows(2).map(changes).sum();
            figures.insert(Figure::Switches, count * 60.0 / (self.end() - from));
        }
    }

    /// What the first flow believed.
    fn estimates(&self, figures: &mut Figures) {
        let Some(flow) = self.trace.flows.first() else { return };
        let (source, habit) = (flow.spec.source, flow.spec.habit);
        if let Some((from, kbps)) = self.case.found {
            let found = flow.targets.iter().find(|(at, target)| *at >= from && *target >= kbps * 1e3);
            figures.insert(Figure::Found, found.map_or(self.end(), |(at, _)| *at) - from);
        }
        let targets = || flow.targets.iter().map(|(_, target)| *target / 1e3);
        if let Source::Fixed(kbps) = source {
            figures.insert(Figure::Runaway, targets().fold(0.0, f64::max) / kbps as f64);
        }
        if habit == Habit::Nothing {
            figures.insert(Figure::Least, targets().fold(f64::MAX, f64::min));
        }
    }

    fn until(&self, series: &Series, from: f64, hit: impl Fn(f64) -> bool) -> f64 {
        let found = series.rates(from, self.end(), RATE_SPAN, RATE_STEP).find(|(_, rate)| hit(*rate));
        found.map_or(self.end(), |(at, _)| at) - from
    }

    fn shares(&self, figures: &mut Figures) {
        let forward: Vec<Series> =
            self.trace.flows.iter().filter(|flow| !flow.spec.reverse).map(|f| f.arrived(true)).collect();
        if let Some(from) = self.case.fair_from.map(|from| from as f64) {
            let spans: Vec<_> = self.steady().into_iter().map(|(a, b)| (a.max(from), b)).collect();
            let rate = |series: &Series| spans.iter().map(|(a, b)| series.bits(*a, *b)).sum::<f64>();
            let rates: Vec<f64> = forward.iter().map(rate).collect();
            figures.insert(Figure::Fairness, jain(&rates));
            let most = rates.iter().copied().fold(1.0, f64::max);
            figures.insert(Figure::Slowest, rates.iter().copied().fold(f64::MAX, f64::min) / most);
        }
        let did = self.trace.forward.between(SHARE_FROM, self.end());
        let media: f64 = forward.iter().map(|series| series.bits(SHARE_FROM, self.end())).sum();
        match self.case.competitor {
            Competitor::Nothing => None,
            Competitor::LongTcp => {
                figures.insert(Figure::TcpShare, media / (did.carried.bytes.max(1) as f64 * 8.0))
            }
            Competitor::ShortTcp => {
                figures.insert(Figure::MediaShare, media / did.capacity_bits.max(1) as f64)
            }
        };
    }
}

fn loss(packets: &[Packet], spans: &[(f64, f64)]) -> f64 {
    let counts = |packet: &&Packet| spans.iter().any(|(from, to)| (*from..*to).contains(&packet.sent));
    let (mut sent, mut lost) = (0, 0);
    for packet in packets.iter().filter(counts) {
        sent += 1;
        lost += u32::from(packet.arrived.is_none());
    }
    f64::from(lost) / f64::from(sent.max(1))
}

/// Jain's index: 1 when all are equal, 1/n when one has everything.
fn jain(rates: &[f64]) -> f64 {
    let (sum, squares) = rates.iter().fold((0.0, 0.0), |(sum, squares), r| (sum + r, squares + r * r));
    if squares > 0.0 { sum * sum / (rates.len() as f64 * squares) } else { 0.0 }
}

/// When each frame was complete: all its packets have arrived. A frame that lost one is never shown, but costs no other
/// (without a server, retransmission is not modelled).
fn completed(packets: &[Packet]) -> Vec<f64> {
    let mut frames: BTreeMap<u32, Option<f64>> = BTreeMap::new();
    for packet in packets {
        let Kind::Media(frame) = packet.kind else { continue };
        let complete = frames.entry(frame).or_insert(Some(0.0));
        *complete = complete.zip(packet.arrived).map(|(until, arrived)| f64::max(until, arrived));
    }
    let mut times: Vec<f64> = frames.into_values().flatten().collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Time in which pictures stood still, as webrtc-stats' `totalFreezesDuration` counts it: gaps between frames longer than
/// three times the average of the last 30, and longer than it by 150 ms.
pub fn freezes(times: &[f64]) -> f64 {
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut frozen = 0.0;
    for (i, gap) in gaps.iter().enumerate().skip(1) {
        let last = &gaps[i.saturating_sub(30)..i];
        let average = last.iter().sum::<f64>() / last.len() as f64;
        if *gap > f64::max(3.0 * average, average + 0.15) {
            frozen += gap;
        }
    }
    frozen
}

fn freeze_ms(flow: &FlowTrace) -> f64 {
    let times = match &flow.pictures {
        Some(pictures) => pictures.iter().map(|(at, _)| *at).collect(),
        None => completed(&flow.packets),
    };
    // The pause of a source is no freeze: what comes after is another viewing.
    let split = flow.spec.pause.map_or(times.len(), |(_, to)| times.partition_point(|at| *at < to));
    (freezes(&times[..split]) + freezes(&times[split..])) * 1e3
}
