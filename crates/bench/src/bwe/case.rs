//! What a case is: links, flows, competitors, what is measured and what is to come out.

use super::camera::{COSTS, Layering};
use super::figures::Figure;

/// One direction of the bottleneck.
#[derive(Clone)]
pub struct Lane {
    /// As `sim` reads them; the rate in it counts unless [`Self::rates`] says another.
    pub conditions: String,
    /// Kbit/s from a second on. Empty: what `conditions` say.
    pub rates: Vec<(u64, u64)>,
}

impl Lane {
    /// A bottleneck that changes: kbit/s, each from its second on.
    pub fn rates(rates: &[(u64, u64)], conditions: &str) -> Self {
        Self { conditions: conditions.to_owned(), rates: rates.to_vec() }
    }

    /// No bottleneck.
    pub fn free(conditions: &str) -> Self {
        Self::rates(&[], conditions)
    }
}

/// A flow of media. Times in seconds from the beginning of the case.
#[derive(Clone, Copy)]
pub struct FlowSpec {
    pub begins: f64,
    /// From when to when the source sends nothing.
    pub pause: Option<(f64, f64)>,
    /// Delay of the flow's own link, each way.
    pub access_ms: u64,
    /// It goes against the others, over the way back.
    pub reverse: bool,
    pub source: Source,
    pub habit: Habit,
}

/// How much a source sends, in kbit/s.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// What it may, up to this.
    UpTo(u64),
    /// This, whatever it may.
    Fixed(u64),
    /// What it may, up to the second, but nothing below the first.
    Between(u64, u64),
    /// What a server forwards of a publisher's layers.
    Layers(Layering),
}

impl Source {
    /// What it would send if it could.
    pub fn most(self) -> u64 {
        match self {
            Self::UpTo(most) | Self::Fixed(most) | Self::Between(_, most) => most,
            Self::Layers(_) => COSTS[2],
        }
    }
}

/// What is odd about a flow or its receiver. Only we play these: they reach into sender and receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Habit {
    Usual,
    /// Transport-wide numbers begin here.
    NumbersFrom(u16),
    /// The 24 bits of the receiver's clock turn over after this many seconds.
    ClockWraps(u64),
    /// Between the honest ones, feedback that says that nothing of the newest arrived.
    NothingArrived,
    /// After so many seconds the sender's clock jumps ahead by so many.
    ClockJumps(u64, u64),
    /// All padding is lost until this second.
    ProbesLost(u64),
    /// The receiver gives no feedback on packets, but REMB.
    Remb,
    /// No feedback at all, as none was negotiated.
    Nothing,
}

impl FlowSpec {
    /// One that begins at this second and sends all that it may, up to what a good encoder makes use of.
    pub fn at(begins: f64) -> Self {
        Self {
            begins,
            pause: None,
            access_ms: 0,
            reverse: false,
            source: Source::UpTo(5_000),
            habit: Habit::Usual,
        }
    }
}

/// What else is on the bottleneck, in the direction of the media.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Competitor {
    Nothing,
    /// One TCP connection that never runs out, from the beginning.
    LongTcp,
    /// Ten TCP connections that load files and pause in turn (RFC 8867 section 5.7).
    ShortTcp,
}

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    AtLeast(Figure, f64),
    AtMost(Figure, f64),
    Within(Figure, f64, f64),
}

impl Goal {
    pub fn figure(&self) -> Figure {
        let (Self::AtLeast(figure, _) | Self::AtMost(figure, _) | Self::Within(figure, ..)) = *self;
        figure
    }

    /// Up to what rounding in the table hides.
    pub fn is_met(&self, value: f64) -> bool {
        match *self {
            Self::AtLeast(_, least) => value >= least,
            Self::AtMost(_, most) => value <= most,
            Self::Within(_, least, most) => (least..=most).contains(&value),
        }
    }
}

/// Which cases stand together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    Rfc8867,
    Traps,
    Server,
}

impl Group {
    pub const ALL: [Self; 3] = [Self::Rfc8867, Self::Traps, Self::Server];

    pub fn title(self) -> &'static str {
        match self {
            Self::Rfc8867 => "RFC 8867, and the start",
            Self::Traps => "What others stumbled over",
            Self::Server => "A camera in three layers, forwarded",
        }
    }
}

/// A case of the bench.
#[derive(Clone)]
pub struct Case {
    /// Its name in the JSON and in file names.
    pub key: &'static str,
    pub title: &'static str,
    pub group: Group,
    pub seconds: u64,
    pub forward: Lane,
    pub backward: Lane,
    pub flows: Vec<FlowSpec>,
    pub competitor: Competitor,
    /// When the only flow must get below a capacity that fell, and what it falls to is that of the forward lane.
    pub falls_at: Option<u64>,
    /// The rate at which the first flow counts as started, in kbit/s.
    pub started_kbps: Option<f64>,
    /// From when on the first flow's estimate should find a rate, and which: seconds and kbit/s.
    pub found: Option<(f64, f64)>,
    /// From when on the highest layer should come to be shown.
    pub top_from: Option<f64>,
    /// Changes of layers count from then on: what came before is the start.
    pub switches_from: Option<f64>,
    /// From when on the flows are compared with each other, in seconds.
    pub fair_from: Option<u64>,
    pub goals: Vec<Goal>,
}

impl Case {
    /// Nothing in it needs our own sender or receiver.
    pub fn is_for_all(&self) -> bool {
        let usual = |flow: &FlowSpec| flow.habit == Habit::Usual && !matches!(flow.source, Source::Layers(_));
        self.flows.iter().all(usual)
    }

    /// When something changes: capacities, and flows that come, go or come back. Sorted, in seconds.
    pub fn changes(&self) -> Vec<f64> {
        let lanes = [&self.forward, &self.backward];
        let rates = lanes.iter().flat_map(|lane| lane.rates.iter().map(|(at, _)| *at as f64));
        let begins = self.flows.iter().map(|flow| flow.begins);
        let pauses = self.flows.iter().filter_map(|flow| flow.pause).flat_map(|(from, to)| [from, to]);
        let mut changes: Vec<f64> = rates.chain(begins).chain(pauses).collect();
        changes.sort_by(f64::total_cmp);
        changes.dedup();
        changes
    }
}
