//! Results as people and as programs read them.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Outcome;
use super::case::Group;
use super::figures::Figure;
use super::scene::Engine;

/// The columns of the table.
const COLUMNS: [(Figure, &str); 21] = [
    (Figure::Utilisation, "use"),
    (Figure::QueueMean, "queue"),
    (Figure::QueueP95, "p95"),
    (Figure::QueuePeak, "peak"),
    (Figure::Loss, "loss"),
    (Figure::SteadyLoss, "steady"),
    (Figure::LossAfterFall, "fall"),
    (Figure::StepDown, "down"),
    (Figure::Ramp, "ramp"),
    (Figure::Rise, "rise"),
    (Figure::Resume, "resume"),
    (Figure::Found, "found"),
    (Figure::Runaway, "runaway"),
    (Figure::Least, "least"),
    (Figure::Top, "top"),
    (Figure::Fairness, "Jain"),
    (Figure::Slowest, "min/max"),
    (Figure::TcpShare, "vs TCP"),
    (Figure::MediaShare, "media"),
    (Figure::Freeze, "freeze"),
    (Figure::Switches, "sw/min"),
];

const WIDTH: usize = 9;

/// One line per case and engine, group by group; `!` marks a goal that is missed, `<` a figure in which the other is better.
pub fn table(results: &[Outcome]) -> String {
    let mut text = String::new();
    for (group, outcomes) in groups(results) {
        let columns = columns(&outcomes);
        _ = writeln!(text, "{}", group.title());
        _ = write!(text, "{:<16}{:<7}", "case", "by");
        columns.iter().for_each(|(_, name)| _ = write!(text, "{name:>WIDTH$}"));
        text.push('\n');
        for outcome in outcomes {
            _ = write!(text, "{:<16}{:<7}", outcome.case.key, outcome.engine.name());
            for (figure, _) in &columns {
                let cell = outcome.figures.get(figure).map(|value| {
                    let missed = if is_met(outcome, *figure, *value) { "" } else { "!" };
                    let beaten = if is_beaten(results, outcome, *figure, *value) { "<" } else { "" };
                    format!("{}{missed}{beaten}", shown(*figure, *value))
                });
                _ = write!(text, "{:>WIDTH$}", cell.unwrap_or_default());
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text.push_str(
        "use: share of the capacity in the worst steady phase; queue, p95, peak, freeze: ms; down, ramp, rise, resume, found, top: s;\n\
         each figure is that of its worst seed; !: goal missed; <: str0m does better\n",
    );
    text
}

/// The groups that have results.
fn groups(results: &[Outcome]) -> impl Iterator<Item = (Group, Vec<&Outcome>)> {
    let of = |group| results.iter().filter(move |outcome| outcome.case.group == group).collect::<Vec<_>>();
    Group::ALL.into_iter().map(move |group| (group, of(group))).filter(|(_, outcomes)| !outcomes.is_empty())
}

/// Those that have a value.
fn columns(outcomes: &[&Outcome]) -> Vec<(Figure, &'static str)> {
    let used = |figure: &Figure| outcomes.iter().any(|outcome| outcome.figures.contains_key(figure));
    COLUMNS.into_iter().filter(|(figure, _)| used(figure)).collect()
}

fn is_met(outcome: &Outcome, figure: Figure, value: f64) -> bool {
    outcome.case.goals.iter().filter(|goal| goal.figure() == figure).all(|goal| goal.is_met(value))
}

fn shown(figure: Figure, value: f64) -> String {
    match figure {
        Figure::Utilisation | Figure::TcpShare | Figure::MediaShare | Figure::Fairness | Figure::Slowest => {
            format!("{value:.3}")
        }
        Figure::Loss | Figure::SteadyLoss | Figure::LossAfterFall => format!("{:.2}%", value * 100.0),
        Figure::StepDown
        | Figure::Ramp
        | Figure::Rise
        | Figure::Resume
        | Figure::Found
        | Figure::Top
        | Figure::Runaway => {
            format!("{value:.2}")
        }
        Figure::QueueMean | Figure::QueueP95 | Figure::QueuePeak | Figure::Least | Figure::Freeze => {
            format!("{value:.0}")
        }
        Figure::Switches => format!("{value:.1}"),
    }
}

/// How many goals we miss.
pub fn missed(results: &[Outcome]) -> usize {
    let ours = results.iter().filter(|outcome| outcome.engine == Engine::Ours);
    let goals = ours.flat_map(|outcome| outcome.case.goals.iter().map(move |goal| (outcome, goal)));
    goals
        .filter(|(outcome, goal)| !outcome.figures.get(&goal.figure()).is_some_and(|v| goal.is_met(*v)))
        .count()
}

/// The last line of the output: our own figures.
pub fn json(results: &[Outcome]) -> Value {
    let mut cases = Map::new();
    for outcome in results.iter().filter(|outcome| outcome.engine == Engine::Ours) {
        let figures = outcome.figures.iter().map(|(figure, value)| {
            let rounded = (value * 10_000.0).round() / 10_000.0;
            (figure.key().to_owned(), json!(rounded))
        });
        cases.insert(outcome.case.key.to_owned(), Value::Object(figures.collect()));
    }
    json!({"bench": "bwe", "cases": cases})
}

/// The page in the documentation.
pub fn page(results: &[Outcome]) -> String {
    let mut text = String::from(INTRODUCTION);
    for (group, outcomes) in groups(results) {
        let columns = columns(&outcomes);
        _ = write!(text, "## {}\n\n| case | by |", group.title());
        columns.iter().for_each(|(_, name)| _ = write!(text, " {name} |"));
        _ = writeln!(text, "\n|---|---|{}", "--:|".repeat(columns.len()));
        for outcome in outcomes {
            _ = write!(text, "| {} | {} |", name(outcome), outcome.engine.name());
            for (figure, _) in &columns {
                let cell = outcome.figures.get(figure).map(|value| cell(results, outcome, *figure, *value));
                _ = write!(text, " {} |", cell.unwrap_or_default());
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text.push_str(LEGEND);
    for outcome in results.iter().filter(|outcome| outcome.engine == Engine::Ours) {
        let (key, title) = (outcome.case.key, outcome.case.title);
        _ = write!(text, "\n## {}: {title}\n\n![{title}](bwe-{key}.svg)\n", name(outcome));
    }
    text
}

/// A case's name for people.
pub fn name(outcome: &Outcome) -> String {
    match outcome.case.group {
        Group::Rfc8867 => outcome.case.key.replace('_', "."),
        _ => outcome.case.key.replace('_', " "),
    }
}

fn cell(results: &[Outcome], outcome: &Outcome, figure: Figure, value: f64) -> String {
    let text = shown(figure, value);
    let text = if is_met(outcome, figure, value) { text } else { format!("**{text}**") };
    if is_beaten(results, outcome, figure, value) { format!("{text} <") } else { text }
}

/// The other engine is better than ours by more than a hundredth.
fn is_beaten(results: &[Outcome], outcome: &Outcome, figure: Figure, value: f64) -> bool {
    let other = results.iter().find(|o| o.case.key == outcome.case.key && o.engine != outcome.engine);
    let theirs = other.and_then(|other| other.figures.get(&figure));
    let better =
        |theirs: &f64| figure.badness(value) - figure.badness(*theirs) > 0.01 * value.abs().max(0.01);
    outcome.engine == Engine::Ours && theirs.is_some_and(better)
}

const INTRODUCTION: &str = "\
# Congestion control in the cases of RFC 8867

Written by `cargo xtask bench bwe --write`; do not edit. Everything runs in virtual time on the
[network emulator](../network-emulator.md), so that the same code gives the same figures on any machine. Each figure is that of the
worst of five seeds; the pictures show the first.

- `stoa` is [`rtc::cc`](../congestion-control.md) with its send history, RTCP as bytes, pacing budget and probes.
- `str0m` is the whole of str0m 0.25, which follows libwebrtc's GoogCC: its own pacer at one end, its own feedback at the other. The
  same source writes all that its estimate allows; an application that stays below it would see shorter queues and use less.
- A source makes 30 frames a second whose sizes vary by 10 % around what the target allows, from 300 kbit/s up to 5 Mbit/s. Losses are not
  repaired.
- Unless the case says otherwise, a path has 50 ms each way, jitter up to 30 ms in both directions, in order, and a drop-tail queue of 300 ms.
- In the cases with a forwarded camera, publisher, room and allocation are real (`sfu::Media`), and so are estimate and feedback;
  [pacing](../pacing.md); what waits and what is sent again are modelled on the worker's. The camera sends 150, 500 and 1,700 kbit/s, 10 % noise on each
  second and each frame; a decoder shows what is complete and in order.

";

const LEGEND: &str = "**Bold**: a goal is missed. **<**: str0m does better in this figure.

- use: share of the capacity carried without padding, in the worst steady phase (from 10 s after a change to the next).
- queue, p95: mean and 95th percentile of the wait in the bottleneck, in ms, outside the 2 s after a change; peak: at any time.
- loss: share of packets lost; steady: in steady phases; fall: in the 10 s after the capacity fell.
- down: seconds from the fall of the capacity until no more is sent than it. ramp: from the start to the rate that the case names
  (5.1: 80 % of the capacity). rise: from a rise of the capacity until media uses 80 % of it, the slowest. resume: after a pause,
  until the flow sends 80 % of what it sent before. Rates are those of the last 300 ms.
- found: seconds until the estimate finds a rate that the case names. runaway: the highest estimate over what a source of fixed rate sends.
  least: the lowest estimate, in kbit/s. top: seconds until the highest layer is shown, from the start or from when there is room again.
- Jain: Jain's index of the flows' rates, 1 when equal. min/max: the slowest flow's rate over the fastest's.
- vs TCP: what media has of all that the bottleneck carries beside a long TCP flow. media: of the capacity, beside short ones, which
  load files of 30 to 50 kB with pauses of 10 s on average.
- freeze: ms in which the picture stood still (webrtc-stats' definition), of the worst flow; a lost packet costs its frame.
- sw/min: changes of the layer that is sent, per minute.
";
