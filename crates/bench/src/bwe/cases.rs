//! The cases of RFC 8867 section 5, and the goals that Stoa sets itself.

use super::case::{Case, Competitor, FlowSpec, Goal, Group, Lane};
use super::figures::Figure;

/// RFC 8867 section 5.1.2 and following: 50 ms each way, jitter up to 30 ms, drop-tail queue of 300 ms.
pub const PATH: &str = "delay=50ms,jitter=30ms,queue=300ms";

/// Goals for queues and use, where no TCP fills the queue.
pub fn steady() -> Vec<Goal> {
    vec![
        Goal::AtLeast(Figure::Utilisation, 0.9),
        Goal::AtMost(Figure::QueueP95, 50.0),
        Goal::AtMost(Figure::SteadyLoss, 0.005),
    ]
}

pub fn with(mut goals: Vec<Goal>, more: &[Goal]) -> Vec<Goal> {
    goals.extend_from_slice(more);
    goals
}

/// A case without anything special; what is special is set by who calls.
pub fn case(
    key: &'static str,
    title: &'static str,
    seconds: u64,
    forward: Lane,
    flows: Vec<FlowSpec>,
) -> Case {
    Case {
        key,
        title,
        group: Group::Rfc8867,
        seconds,
        forward,
        backward: Lane::free("delay=50ms,jitter=30ms"),
        flows,
        competitor: Competitor::Nothing,
        falls_at: None,
        started_kbps: None,
        found: None,
        top_from: None,
        switches_from: None,
        fair_from: None,
        goals: steady(),
    }
}

/// All cases of section 5, in its order, and the start.
pub fn all() -> Vec<Case> {
    vec![
        variable_one(),
        variable_two(),
        both_ways(),
        three_equal(),
        unequal_round_trips(),
        long_tcp("5_6", "against a long TCP flow", PATH),
        long_tcp(
            "5_6_1000ms",
            "against a long TCP flow, queue of 1 s",
            "delay=50ms,jitter=30ms,queue=1000ms",
        ),
        short_tcp(),
        pause_and_resume(),
        ramp(),
    ]
}

fn variable_one() -> Case {
    let rates = [(0, 1_000), (40, 2_500), (60, 600), (80, 1_000)];
    let rise = [
        Goal::AtMost(Figure::StepDown, 1.5),
        Goal::AtMost(Figure::LossAfterFall, 0.05),
        Goal::AtMost(Figure::Rise, 10.0),
    ];
    Case {
        falls_at: Some(60),
        started_kbps: Some(800.0),
        goals: with(steady(), &rise),
        ..case("5_1", "variable capacity, one flow", 100, Lane::rates(&rates, PATH), vec![FlowSpec::at(0.0)])
    }
}

fn variable_two() -> Case {
    let rates = [(0, 4_000), (25, 2_000), (50, 3_500), (75, 1_000), (100, 2_000)];
    let flows = vec![FlowSpec::at(0.0), FlowSpec::at(0.0)];
    Case {
        fair_from: Some(10),
        goals: with(steady(), &[Goal::AtLeast(Figure::Fairness, 0.9)]),
        ..case("5_2", "variable capacity, two flows", 125, Lane::rates(&rates, PATH), flows)
    }
}

fn both_ways() -> Case {
    let forward = [(0, 2_000), (20, 1_000), (40, 500), (60, 2_000)];
    let backward = [(0, 2_000), (35, 800), (70, 2_000)];
    let flows = vec![FlowSpec::at(0.0), FlowSpec { reverse: true, ..FlowSpec::at(0.0) }];
    Case {
        backward: Lane::rates(&backward, PATH),
        ..case("5_3", "congested feedback, media both ways", 100, Lane::rates(&forward, PATH), flows)
    }
}

fn three_equal() -> Case {
    let flows = [0.0, 20.0, 40.0].map(FlowSpec::at).to_vec();
    Case {
        fair_from: Some(60),
        goals: with(steady(), &[Goal::AtLeast(Figure::Fairness, 0.9)]),
        ..case("5_4", "three equal flows", 120, Lane::rates(&[(0, 3_500)], PATH), flows)
    }
}

fn unequal_round_trips() -> Case {
    let delays = [10, 25, 50, 100, 150];
    let flow = |(i, access_ms)| FlowSpec { access_ms, ..FlowSpec::at(10.0 * i as f64) };
    let flows = delays.into_iter().enumerate().map(flow).collect();
    Case {
        backward: Lane::free("jitter=30ms"),
        fair_from: Some(60),
        goals: with(steady(), &[Goal::AtLeast(Figure::Slowest, 0.5)]),
        ..case(
            "5_5",
            "five flows of unequal round trips",
            300,
            Lane::rates(&[(0, 4_000)], "jitter=30ms,queue=300ms"),
            flows,
        )
    }
}

fn long_tcp(key: &'static str, title: &'static str, path: &str) -> Case {
    Case {
        competitor: Competitor::LongTcp,
        goals: vec![Goal::Within(Figure::TcpShare, 0.25, 0.6)],
        ..case(key, title, 120, Lane::rates(&[(0, 2_000)], path), vec![FlowSpec::at(0.0)])
    }
}

fn short_tcp() -> Case {
    Case {
        competitor: Competitor::ShortTcp,
        goals: vec![Goal::AtLeast(Figure::MediaShare, 0.6), Goal::AtLeast(Figure::Fairness, 0.9)],
        fair_from: Some(20),
        ..case(
            "5_7",
            "two flows against ten short TCP flows",
            300,
            Lane::rates(&[(0, 2_000)], PATH),
            vec![FlowSpec::at(0.0), FlowSpec::at(0.0)],
        )
    }
}

fn pause_and_resume() -> Case {
    let flows = vec![
        FlowSpec { pause: Some((40.0, 60.0)), ..FlowSpec::at(0.0) },
        FlowSpec::at(0.0),
        FlowSpec::at(0.0),
    ];
    Case {
        fair_from: Some(80),
        goals: with(steady(), &[Goal::AtLeast(Figure::Fairness, 0.9)]),
        ..case("5_8", "three flows, one pauses", 120, Lane::rates(&[(0, 3_500)], PATH), flows)
    }
}

/// Not of the RFC: how fast a receiver gets good pictures.
fn ramp() -> Case {
    Case {
        started_kbps: Some(2_000.0),
        goals: with(steady(), &[Goal::AtMost(Figure::Ramp, 2.0)]),
        ..case(
            "ramp",
            "300 kbit/s to 2 Mbit/s",
            40,
            Lane::rates(&[(0, 2_500)], PATH),
            vec![FlowSpec::at(0.0)],
        )
    }
}
