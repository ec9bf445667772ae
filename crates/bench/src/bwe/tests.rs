//! A few cases in the ordinary test command, and what the figures are made with. All cases: `cargo xtask bench bwe`.

use super::case::{Case, FlowSpec, Goal, Habit, Lane};
use super::cases::case;
use super::figures::{self, Figure, Figures};
use super::scene::{self, Engine};
use super::trace::Trace;
use super::{cases, plot, report, traps};

fn find(key: &str) -> Case {
    let mut all = cases::all().into_iter().chain(traps::all());
    all.find(|case| case.key == key).expect("a case of that name")
}

fn play(case: &Case, engine: Engine) -> (Trace, Figures) {
    let trace = scene::play(case, engine, 1).expect("conditions that are understood");
    let figures = figures::of(case, &trace);
    (trace, figures)
}

fn assert_met(case: &Case, figures: &Figures, goals: &[Goal]) {
    for goal in goals {
        let value = figures[&goal.figure()];
        assert!(goal.is_met(value), "{}: {goal:?} is missed with {value}", case.key);
    }
}

#[test]
fn a_capacity_that_changes_is_followed_and_the_queue_stays_short() {
    let case = find("5_1");
    let (_, figures) = play(&case, Engine::Ours);
    let goals = [
        Goal::AtLeast(Figure::Utilisation, 0.85),
        Goal::AtMost(Figure::QueueP95, 50.0),
        Goal::AtMost(Figure::SteadyLoss, 0.005),
        Goal::AtMost(Figure::StepDown, 1.5),
    ];
    assert_met(&case, &figures, &goals);
}

#[test]
fn numbers_that_wrap_at_once_change_nothing() {
    let short =
        |habit| Case { seconds: 20, flows: vec![FlowSpec { habit, ..FlowSpec::at(0.0) }], ..find("numbers") };
    let usual = play(&short(Habit::Usual), Engine::Ours).1;
    for habit in [Habit::NumbersFrom(65_000), Habit::NumbersFrom(32_769), Habit::ClockWraps(10)] {
        assert_eq!(play(&short(habit), Engine::Ours).1, usual, "{habit:?}");
    }
}

#[test]
fn an_estimate_does_not_run_away_from_a_source_of_fixed_rate() {
    let case = Case { seconds: 40, ..find("limited") };
    let (_, figures) = play(&case, Engine::Ours);
    assert_met(&case, &figures, &case.goals);
}

#[test]
fn the_same_seed_gives_the_same_picture_and_another_one_another() {
    let short = Case { seconds: 8, ..find("5_4") };
    let draw = |seed| {
        let trace = scene::play(&short, Engine::Ours, seed).expect("it plays");
        let figures = figures::of(&short, &trace);
        let outcome = super::Outcome { case: short.clone(), engine: Engine::Ours, figures, trace };
        plot::draw(&[&outcome])
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn the_reference_connects_and_sends_what_its_estimate_allows() {
    let case = case("x", "x", 8, Lane::rates(&[(0, 1_000)], "delay=20ms"), vec![FlowSpec::at(1.0)]);
    let (trace, _) = play(&case, Engine::Reference);
    let flow = &trace.flows[0];
    assert!(flow.packets.iter().all(|packet| packet.sent >= 1.0));
    let rate = flow.arrived(true).bits(4.0, 8.0) / 4.0;
    assert!((500_000.0..1_000_000.0).contains(&rate), "{rate}");
    assert!(flow.targets.len() > 5);
}

#[test]
fn a_forwarded_camera_is_shown_and_falls_to_its_lowest_layer() {
    let rates = [(0, 5_000), (6, 400)];
    let case = Case { seconds: 12, forward: Lane::rates(&rates, cases::PATH), ..find("simulcast_fall") };
    let (trace, figures) = play(&case, Engine::Ours);
    let pictures = trace.flows[0].pictures.as_ref().expect("a viewer");
    let layer = |from: f64, to: f64| {
        let shown = pictures.iter().filter(|(at, _)| (from..to).contains(at));
        shown.map(|(_, layer)| *layer).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(layer(4.0, 6.0), [2].into());
    assert_eq!(layer(9.0, 12.0), [0].into());
    assert!(figures[&Figure::Freeze] <= 1_500.0, "{figures:?}");
}

#[test]
fn every_case_has_a_key_of_its_own_and_goals_that_it_defines() {
    let all: Vec<Case> = cases::all().into_iter().chain(traps::all()).collect();
    let keys: std::collections::BTreeSet<_> = all.iter().map(|case| case.key).collect();
    assert_eq!(keys.len(), all.len());
    assert!(all.iter().all(|case| !case.goals.is_empty()));
}

#[test]
fn gaps_longer_than_three_frames_and_150_ms_are_freezes() {
    let mut times: Vec<f64> = (0..60).map(|i| f64::from(i) / 30.0).collect();
    assert_eq!(figures::freezes(&times), 0.0);
    times.push(times[59] + 0.17);
    assert_eq!(figures::freezes(&times), 0.0, "not long enough");
    times.push(times[60] + 0.5);
    assert!((figures::freezes(&times) - 0.5).abs() < 1e-9);
}

#[test]
fn of_several_runs_the_worst_counts_figure_by_figure() {
    let run = |utilisation, loss, share| {
        Figures::from([(Figure::Utilisation, utilisation), (Figure::Loss, loss), (Figure::TcpShare, share)])
    };
    let worst = figures::worst(&[run(0.9, 0.0, 0.4), run(0.8, 0.1, 0.7), run(0.95, 0.05, 0.2)]);
    assert_eq!(worst, run(0.8, 0.1, 0.7));
}

#[test]
fn the_last_line_has_our_figures_by_case() {
    let case = Case { seconds: 3, ..find("ramp") };
    let (trace, figures) = play(&case, Engine::Ours);
    let outcome = super::Outcome { case, engine: Engine::Ours, figures, trace };
    let json = report::json(&[outcome]);
    assert_eq!(json["bench"], "bwe");
    assert!(json["cases"]["ramp"]["ramp_s"].is_number());
    assert!(json["cases"]["ramp"]["fairness"].is_null());
}
