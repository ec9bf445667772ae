//! What other estimators have stumbled over, as cases: bugs that were reported, and conditions that are not in RFC 8867.

use super::camera::Layering;
use super::case::{Case, FlowSpec, Goal, Group, Habit, Lane, Source};
use super::cases::{PATH, case, steady, with};
use super::figures::Figure;

/// All of them.
pub fn all() -> Vec<Case> {
    let mut cases = vec![
        limited_source(),
        nearly_nothing(),
        lossy("loss_2", "2 % random loss", 2, 0.9),
        lossy("loss_5", "5 % random loss", 5, 0.85),
        poor_feedback(),
        resume(),
        probes_lost(),
        remb(),
        no_feedback(),
    ];
    cases.extend(odd_feedback());
    cases.extend(Layering::ALL.into_iter().flat_map(forwarded));
    cases
}

fn one(key: &'static str, title: &'static str, seconds: u64, rates: &[(u64, u64)], path: &str) -> Case {
    let flows = vec![FlowSpec::at(0.0)];
    Case { group: Group::Traps, ..case(key, title, seconds, Lane::rates(rates, path), flows) }
}

/// Pion interceptor #299: 784 kbit/s sent, an estimate that rises for ever. Probes may ask for 1.2 times what is wanted, and what
/// arrives bounds the estimate to 1.5 times.
fn limited_source() -> Case {
    let flow = FlowSpec { source: Source::Fixed(784), ..FlowSpec::at(0.0) };
    Case {
        flows: vec![flow],
        goals: vec![Goal::AtMost(Figure::Runaway, 1.8), Goal::AtMost(Figure::QueueP95, 50.0)],
        ..one("limited", "a source of 784 kbit/s on 4 Mbit/s", 120, &[(0, 4_000)], PATH)
    }
}

/// mediasoup #316: too low an estimate for any layer, so nothing was sent, so nothing was learned.
fn nearly_nothing() -> Case {
    let flow = FlowSpec { source: Source::Between(150, 1_500), ..FlowSpec::at(0.0) };
    Case {
        flows: vec![flow],
        found: Some((20.0, 1_000.0)),
        goals: vec![Goal::AtMost(Figure::Found, 8.0)],
        ..one(
            "nothing",
            "50 kbit/s for 10 s, less than any layer",
            60,
            &[(0, 2_000), (10, 50), (20, 2_000)],
            PATH,
        )
    }
}

/// mediasoup #872, and the goal for networks that lose without being full.
fn lossy(key: &'static str, title: &'static str, percent: u64, least: f64) -> Case {
    Case {
        goals: vec![Goal::AtLeast(Figure::Utilisation, least), Goal::AtMost(Figure::QueueP95, 50.0)],
        ..one(key, title, 60, &[(0, 1_000)], &format!("{PATH},loss={percent}%"))
    }
}

fn poor_feedback() -> Case {
    let path = PATH.replace("delay=50ms", "delay=150ms");
    Case {
        backward: Lane::free("delay=150ms,jitter=30ms,loss=10%"),
        goals: vec![Goal::AtLeast(Figure::Utilisation, 0.7)],
        ..one("feedback", "10 % of the feedback lost, 300 ms round trip", 60, &[(0, 2_000)], &path)
    }
}

fn resume() -> Case {
    let flow = FlowSpec { pause: Some((20.0, 40.0)), ..FlowSpec::at(0.0) };
    Case {
        flows: vec![flow],
        goals: vec![Goal::AtMost(Figure::Resume, 3.0), Goal::AtMost(Figure::QueueP95, 50.0)],
        ..one("resume", "a pause of 20 s, alone", 60, &[(0, 2_000)], PATH)
    }
}

fn probes_lost() -> Case {
    let flow = FlowSpec { habit: Habit::ProbesLost(5), ..FlowSpec::at(0.0) };
    Case {
        flows: vec![flow],
        found: Some((0.0, 1_600.0)),
        goals: with(steady(), &[Goal::AtMost(Figure::Found, 15.0)]),
        ..one("probes", "all probes lost for 5 s", 60, &[(0, 2_000)], PATH)
    }
}

fn remb() -> Case {
    let flow = FlowSpec { habit: Habit::Remb, ..FlowSpec::at(0.0) };
    Case {
        flows: vec![flow],
        falls_at: Some(40),
        goals: vec![Goal::AtLeast(Figure::Utilisation, 0.6), Goal::AtMost(Figure::StepDown, 4.0)],
        ..one("remb", "a receiver that has REMB alone", 80, &[(0, 1_500), (40, 700)], PATH)
    }
}

/// mediasoup #1400: a connection with sound alone, for which no feedback is negotiated, kept at 16 kbit/s for ever.
fn no_feedback() -> Case {
    let flow = FlowSpec { source: Source::Fixed(32), habit: Habit::Nothing, ..FlowSpec::at(0.0) };
    Case {
        flows: vec![flow],
        goals: vec![Goal::AtLeast(Figure::Least, 64.0)],
        ..one("sound", "sound alone, no feedback", 60, &[(0, 1_000)], PATH)
    }
}

/// Feedback that is legal and rare, or comes of clocks: each must change nothing.
fn odd_feedback() -> Vec<Case> {
    let odd = [
        ("numbers", "transport-wide numbers from 65,000 on", Habit::NumbersFrom(65_000)),
        ("numbers_high", "transport-wide numbers from 32,769 on", Habit::NumbersFrom(32_769)),
        ("clock_wrap", "the receiver's clock turns over", Habit::ClockWraps(20)),
        ("clock_jump", "the sender's clock jumps by 30 s", Habit::ClockJumps(20, 30)),
        ("unheard", "feedback that nothing arrived, among honest ones", Habit::NothingArrived),
    ];
    let mut cases: Vec<Case> = odd
        .into_iter()
        .map(|(key, title, habit)| Case {
            flows: vec![FlowSpec { habit, ..FlowSpec::at(0.0) }],
            ..one(key, title, 60, &[(0, 2_000)], PATH)
        })
        .collect();
    let path = format!("{PATH},order=free,reorder=2%/40ms,duplicate=1%");
    cases.push(one("reordered", "packets overtake each other: negative deltas", 60, &[(0, 2_000)], &path));
    cases
}

/// What a server makes of it: a camera in three layers, forwarded by allocation, with sound beside it.
fn forwarded(layering: Layering) -> [Case; 4] {
    let (keys, freeze) = match layering {
        Layering::Simulcast => {
            (["simulcast_fall", "simulcast_600", "simulcast_240", "simulcast_start"], 1_000.0)
        }
        Layering::Svc => (["svc_fall", "svc_600", "svc_240", "svc_start"], 500.0),
    };
    let flow = FlowSpec { source: Source::Layers(layering), ..FlowSpec::at(0.0) };
    let server = |key, title, seconds, rates: &[(u64, u64)], goals: &[Goal]| Case {
        group: Group::Server,
        flows: vec![flow],
        goals: goals.to_vec(),
        ..one(key, title, seconds, rates, PATH)
    };
    let few = [
        Goal::AtMost(Figure::Switches, 6.0),
        Goal::AtMost(Figure::Freeze, 1_200.0),
        Goal::AtMost(Figure::QueueP95, 50.0),
    ];
    let fall = [Goal::AtMost(Figure::Freeze, freeze), Goal::AtMost(Figure::Top, 10.0)];
    let start = [Goal::AtMost(Figure::Found, 2.0), Goal::AtMost(Figure::Freeze, 0.0)];
    let rates = [(0, 5_000), (20, 400), (40, 5_000)];
    [
        Case {
            top_from: Some(40.0),
            ..server(keys[0], "5 Mbit/s fall to 400 kbit/s for 20 s", 60, &rates, &fall)
        },
        Case {
            switches_from: Some(15.0),
            ..server(keys[1], "room for the second layer, sometimes", 120, &[(0, 600)], &few)
        },
        // mediasoup #1069: the lowest layer came and went.
        Case {
            switches_from: Some(15.0),
            ..server(keys[2], "room for the lowest layer, just", 120, &[(0, 240)], &few)
        },
        Case {
            found: Some((0.0, 1_800.0)),
            top_from: Some(0.0),
            ..server(keys[3], "a new subscriber on 2.5 Mbit/s", 30, &[(0, 2_500)], &start)
        },
    ]
}
