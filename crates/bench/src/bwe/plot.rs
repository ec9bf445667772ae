//! A case as a picture: what is sent and what waits, as SVG that reads on light and on dark ground. The same trace gives the
//! same bytes.

use std::fmt::Write as _;

use super::Outcome;
use super::case::Competitor;
use super::report;
use super::trace::{LaneTrace, Trace};

const WIDTH: f64 = 920.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TITLE: f64 = 58.0;
const RATES: f64 = 190.0;
const QUEUE: f64 = 80.0;
/// Between the two panels of one engine, and below them for the times.
const GAP: f64 = 12.0;
const FOOT: f64 = 40.0;
/// Points of a line at most.
const POINTS: f64 = 500.0;
/// A send rate is that of this span before, in seconds, at least.
const SPAN: f64 = 0.5;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#334155}\
.title{font-size:15px;font-weight:600}.ground{fill:#fff}\
.grid{stroke:#e2e8f0}.frame{stroke:#94a3b8;fill:none}\
path{fill:none;stroke-width:1.4;stroke-linejoin:round}\
.capacity{stroke:#0f172a;stroke-width:1.8}.back{stroke-dasharray:6 4}\
.f0{stroke:#2563eb}.f1{stroke:#ea580c}.f2{stroke:#059669}.f3{stroke:#9333ea}.f4{stroke:#dc2626}\
.tcp{stroke:#94a3b8}.queue{stroke:#0891b2}.queue2{stroke:#ca8a04}\
@media (prefers-color-scheme:dark){text{fill:#cbd5e1}.ground{fill:#0f172a}.grid{stroke:#1e293b}.frame{stroke:#64748b}\
.capacity{stroke:#f1f5f9}.f0{stroke:#60a5fa}.f1{stroke:#fb923c}.f2{stroke:#34d399}.f3{stroke:#c084fc}.f4{stroke:#f87171}\
.tcp{stroke:#64748b}.queue{stroke:#22d3ee}.queue2{stroke:#facc15}}";

/// One case, one engine above the other.
pub fn draw(outcomes: &[&Outcome]) -> String {
    let block = RATES + QUEUE + GAP + FOOT;
    let height = TITLE + block * outcomes.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    if let Some(first) = outcomes.first() {
        let (name, title) = (report::name(first), first.case.title);
        _ = writeln!(svg, "<text class=\"title\" x=\"{LEFT}\" y=\"20\">{name}: {title}</text>");
    }
    // The same scale for all, so that they compare.
    let most = outcomes.iter().map(|outcome| highest(&outcome.trace)).fold(0.0, f64::max);
    let longest = outcomes.iter().map(|outcome| longest(&outcome.trace)).fold(0.0, f64::max);
    for (index, outcome) in outcomes.iter().enumerate() {
        let top = TITLE + block * index as f64;
        rates(&mut svg, outcome, top, most);
        queue(&mut svg, &outcome.trace, top + RATES + GAP, longest);
    }
    svg.push_str("</svg>\n");
    svg
}

/// What a vertical axis must reach, in Mbit/s: the capacity, and sending beyond it up to a point.
fn highest(trace: &Trace) -> f64 {
    let lanes = [&trace.forward, &trace.backward];
    lanes.iter().flat_map(|lane| &lane.rates).map(|(_, rate)| rate * 1.3e-6).fold(0.0, f64::max)
}

fn longest(trace: &Trace) -> f64 {
    let lanes = [&trace.forward, &trace.backward];
    let limited = lanes.iter().filter(|lane| !lane.rates.is_empty());
    limited.flat_map(|lane| &lane.queue).map(|(_, delay)| *delay).fold(50.0, f64::max).min(1_000.0)
}

/// Where values lie on the page.
struct Panel {
    top: f64,
    height: f64,
    seconds: f64,
    most: f64,
}

impl Panel {
    fn x(&self, at: f64) -> f64 {
        LEFT + at / self.seconds * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - (value / self.most).clamp(0.0, 1.0))
    }

    fn axes(&self, svg: &mut String, unit: &str, marks: usize, times: bool) {
        let step = round_step(self.most / marks as f64);
        let count = (self.most / step) as usize;
        for i in 0..=count {
            let value = i as f64 * step;
            let y = self.y(value);
            let right = WIDTH - RIGHT;
            _ = writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>");
            let text = if step < 1.0 { format!("{value:.1}") } else { format!("{value:.0}") };
            let unit = if i == count { unit } else { "" };
            _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}{unit}</text>",
                LEFT - 5.0,
                y + 4.0
            );
        }
        let step = round_step(self.seconds / 10.0);
        for i in 0..=(self.seconds / step) as usize {
            let at = i as f64 * step;
            let (x, bottom) = (self.x(at), self.top + self.height);
            _ = writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {:.1}V{bottom:.1}\"/>", self.top);
            // The last would stick out.
            if times && x < WIDTH - RIGHT - 1.0 {
                _ = writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at:.0} s</text>",
                    bottom + 15.0
                );
            }
        }
        let (width, height) = (WIDTH - LEFT - RIGHT, self.height);
        _ = writeln!(
            svg,
            "<rect class=\"frame\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{width}\" height=\"{height}\"/>",
            self.top
        );
    }

    fn line(&self, svg: &mut String, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (at, value) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            _ = write!(path, "{command}{:.1} {:.1}", self.x(at), self.y(value));
        }
        if !path.is_empty() {
            _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
        }
    }

    /// What the lines are, from the right.
    fn legend(&self, svg: &mut String, entries: &[(String, String)]) {
        let mut x = WIDTH - RIGHT - 6.0;
        let y = self.top - 6.0;
        for (class, name) in entries.iter().rev() {
            x -= 7.0 * name.len() as f64;
            _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{name}</text>");
            _ = writeln!(
                svg,
                "<path class=\"{class}\" d=\"M{:.1} {:.1}h16\" stroke-width=\"2\"/>",
                x - 20.0,
                y - 4.0
            );
            x -= 34.0;
        }
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * 0.999);
    factor.unwrap_or(10.0) * power
}

fn step(trace: &Trace) -> f64 {
    (trace.seconds as f64 / POINTS).max(0.1)
}

fn rates(svg: &mut String, outcome: &Outcome, top: f64, most: f64) {
    let trace = &outcome.trace;
    let seconds = trace.seconds as f64;
    let panel = Panel { top, height: RATES, seconds, most };
    panel.axes(svg, " M", 5, false);
    let (step, span) = (step(trace), step(trace).max(SPAN));
    let mut entries = vec![("capacity".to_owned(), "capacity".to_owned())];
    if outcome.case.competitor != Competitor::Nothing {
        panel.line(svg, "tcp", tcp(trace, step, span).into_iter());
        entries.push(("tcp".into(), "TCP".into()));
    }
    for (index, flow) in trace.flows.iter().enumerate() {
        let sent = flow.sent();
        let points = sent.rates(flow.spec.begins + step, seconds, span, step);
        panel.line(svg, &format!("f{}", index % 5), points.map(|(at, rate)| (at, rate * 1e-6)));
        entries.push((format!("f{}", index % 5), format!("flow {}", index + 1)));
    }
    panel.line(svg, "capacity", capacity(&trace.forward, seconds));
    panel.line(svg, "capacity back", capacity(&trace.backward, seconds));
    panel.legend(svg, &entries);
    let name = outcome.engine.name();
    _ = writeln!(svg, "<text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">{name}</text>", top - 6.0);
}

/// What the link carried besides media.
fn tcp(trace: &Trace, step: f64, span: f64) -> Vec<(f64, f64)> {
    let arrived: Vec<_> =
        trace.flows.iter().flat_map(|flow| [flow.arrived(true), flow.arrived(false)]).collect();
    let steps = (trace.seconds as f64 / step) as usize;
    let points = (1..=steps).map(|i| {
        let at = i as f64 * step;
        let carried = trace.forward.between((at - span).max(0.0), at).carried.bytes as f64 * 8.0;
        let media: f64 = arrived.iter().map(|series| series.bits(at - span, at)).sum();
        (at, (carried - media).max(0.0) / span * 1e-6)
    });
    points.collect()
}

fn capacity(lane: &LaneTrace, seconds: f64) -> impl Iterator<Item = (f64, f64)> {
    let ends = lane.rates.iter().skip(1).map(|(at, _)| *at).chain([seconds]);
    lane.rates.iter().zip(ends).flat_map(|((from, rate), to)| [(*from, rate * 1e-6), (to, rate * 1e-6)])
}

fn queue(svg: &mut String, trace: &Trace, top: f64, most: f64) {
    let panel = Panel { top, height: QUEUE, seconds: trace.seconds as f64, most: most * 1.05 };
    panel.axes(svg, " ms", 3, true);
    let both = !trace.backward.rates.is_empty();
    let mut entries = vec![("queue".to_owned(), "queue".to_owned())];
    panel.line(svg, "queue", longest_waits(&trace.forward, step(trace)).into_iter());
    if both {
        panel.line(svg, "queue2", longest_waits(&trace.backward, step(trace)).into_iter());
        entries.push(("queue2".into(), "queue back".into()));
    }
    let inside = Panel { top: top + 20.0, ..panel };
    inside.legend(svg, &entries);
}

/// The longest wait in each step.
fn longest_waits(lane: &LaneTrace, step: f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (at, delay) in &lane.queue {
        let bucket = (at / step).floor() * step;
        match points.last_mut() {
            Some((last, most)) if *last == bucket => *most = most.max(*delay),
            _ => points.push((bucket, *delay)),
        }
    }
    points
}
