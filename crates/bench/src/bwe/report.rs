//! Results as people and as programs read them.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Outcome;
use super::figures::Figure;
use super::scene::Engine;

/// The columns of the table.
const COLUMNS: [(Figure, &str); 16] = [
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
    (Figure::Fairness, "Jain"),
    (Figure::Slowest, "min/max"),
    (Figure::TcpShare, "vs TCP"),
    (Figure::Freeze, "freeze"),
    (Figure::Switches, "sw/min"),
];

const WIDTH: usize = 9;

/// One line per case and engine; `!` marks a goal that is missed.
pub fn table(results: &[Outcome]) -> String {
    let mut text = format!("{:<12}{:<7}", "case", "by");
    COLUMNS.iter().for_each(|(_, name)| _ = write!(text, "{name:>WIDTH$}"));
    text.push('\n');
    for outcome in results {
        _ = write!(text, "{:<12}{:<7}", outcome.case.key, outcome.engine.name());
        for (figure, _) in COLUMNS {
            let cell = outcome.figures.get(&figure).map(|value| {
                let mark = if is_met(outcome, figure, *value) { "" } else { "!" };
                format!("{}{mark}", shown(figure, *value))
            });
            _ = write!(text, "{:>WIDTH$}", cell.unwrap_or_default());
        }
        text.push('\n');
    }
    text.push_str(
        "use: share of the capacity in the worst steady phase; queue, p95, peak, freeze: ms; down, ramp, rise, resume: s; \
         each figure is that of its worst seed; !: goal missed\n",
    );
    text
}

fn is_met(outcome: &Outcome, figure: Figure, value: f64) -> bool {
    outcome.case.goals.iter().filter(|goal| goal.figure() == figure).all(|goal| goal.is_met(value))
}

fn shown(figure: Figure, value: f64) -> String {
    match figure {
        Figure::Utilisation | Figure::TcpShare | Figure::Fairness | Figure::Slowest => format!("{value:.3}"),
        Figure::Loss | Figure::SteadyLoss | Figure::LossAfterFall => format!("{:.2}%", value * 100.0),
        Figure::StepDown | Figure::Ramp | Figure::Rise | Figure::Resume => format!("{value:.2}"),
        Figure::QueueMean | Figure::QueueP95 | Figure::QueuePeak | Figure::Freeze => format!("{value:.0}"),
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
