//! The choice as tables, and what holds for any.

use super::choose::{Before, Chooser, Class, LARGE, Limits, Stream};
use super::ladder::{Rung, Step, Taste, build};

const TASTE: Taste = Taste { most: (u8::MAX, u8::MAX), rendered: None, screen: false };

/// Simulcast of 180, 360 and 720 lines, and what they cost in kbit/s.
fn simulcast(costs: &[u32]) -> Vec<Rung> {
    let rung = |(level, cost): (usize, &u32)| {
        let (level, height) = (level as u8, 180 << level);
        Rung { level, temporal: 0, halvings: 0, height, cost: cost * 1_000 }
    };
    costs.iter().enumerate().map(rung).collect()
}

/// The same with three temporal layers each, of which the lowest costs half and two cost three quarters.
fn temporal(costs: &[u32]) -> Vec<Rung> {
    let parts = |rung: Rung| {
        [(0, 50), (1, 75), (2, 100)].map(|(temporal, percent)| Rung {
            temporal,
            halvings: 2 - temporal,
            cost: rung.cost / 100 * percent,
            ..rung
        })
    };
    simulcast(costs).into_iter().flat_map(parts).collect()
}

#[derive(Clone)]
struct Case {
    rungs: Vec<Rung>,
    taste: Taste,
    class: Class,
    weight: f32,
    before: Before,
    trusted: bool,
    firm: bool,
}

fn video(rungs: Vec<Rung>) -> Case {
    let (taste, class, before) = (TASTE, Class::default(), Before::New);
    Case { rungs, taste, class, weight: 1.0, before, trusted: false, firm: false }
}

fn camera() -> Case {
    video(simulcast(&[150, 500, 1_700]))
}

impl Case {
    fn priority(mut self, priority: u32) -> Self {
        self.class.priority = priority;
        self
    }

    fn screen(mut self) -> Self {
        (self.class.screen, self.taste.screen) = (true, true);
        self
    }

    fn weight(self, weight: f32) -> Self {
        Self { weight, ..self }
    }

    fn sent(self, step: u8) -> Self {
        Self { before: Before::Sent(step), ..self }
    }

    fn paused(self) -> Self {
        Self { before: Before::Paused, ..self }
    }

    fn firm(self) -> Self {
        Self { firm: true, ..self }
    }

    fn rendered(mut self, height: u32) -> Self {
        self.taste.rendered = Some(height);
        self
    }
}

/// In kbit/s; nothing is trusted.
fn limits(keep: u64, climb: u64) -> Limits {
    let [keep, climb] = [keep, climb].map(|kbps| kbps * 1_000);
    Limits { keep, lowest: keep, climb, resume: climb, trust: 0 }
}

struct Chosen {
    /// Steps sent of each.
    counts: Vec<u8>,
    levels: Vec<Option<(u8, u8)>>,
    /// By the steps themselves.
    cost: u64,
    told: Chooser,
}

fn choose(limits: Limits, cases: &[Case]) -> Chosen {
    let (mut steps, mut streams): (Vec<Step>, Vec<Stream>) = (Vec::new(), Vec::new());
    for case in cases {
        let from = steps.len();
        build(&case.rungs, case.taste, &mut steps);
        streams.push(Stream {
            class: case.class,
            weight: case.weight,
            before: case.before,
            trusted: case.trusted,
            firm: case.firm,
            ladder: from..steps.len(),
        });
    }
    let mut told = Chooser::default();
    told.choose(limits, &streams, &steps);
    let counts = told.chosen.clone();
    let last = |(stream, count): (&Stream, &u8)| {
        count.checked_sub(1).map(|last| steps[stream.ladder.start + usize::from(last)])
    };
    let last: Vec<_> = streams.iter().zip(&counts).map(last).collect();
    let cost = last.iter().flatten().map(|step| u64::from(step.cost)).sum();
    let levels = last.iter().map(|step| step.map(|step| (step.level, step.temporal))).collect();
    Chosen { counts, levels, cost, told }
}

/// Levels; -1 for paused.
fn levels(budget: u64, cases: &[Case]) -> Vec<i32> {
    let chosen = choose(limits(budget, budget), cases).levels;
    chosen.iter().map(|step| step.map_or(-1, |(level, _)| i32::from(level))).collect()
}

#[test]
fn one_video_gets_the_best_that_fits() {
    for (budget, level) in
        [(0, -1), (149, -1), (150, 0), (499, 0), (500, 1), (1_699, 1), (1_700, 2), (90_000, 2)]
    {
        assert_eq!(levels(budget, &[camera()]), [level], "{budget}");
    }
}

#[test]
fn everybody_gets_the_lowest_layer_before_anybody_gets_more() {
    let three = [camera(), camera(), camera()];
    for (budget, expected) in [
        (449, [0, 0, -1]),
        (450, [0, 0, 0]),
        (799, [0, 0, 0]),
        (800, [1, 0, 0]),
        (1_500, [1, 1, 1]),
        (2_700, [2, 1, 1]),
        (5_100, [2, 2, 2]),
    ] {
        assert_eq!(levels(budget, &three), expected, "{budget}");
    }
}

#[test]
fn the_order_is_priority_then_screens_then_weight() {
    let budget = 160;
    let cases = [camera(), camera().weight(2.0), camera().screen(), camera().priority(1)];
    assert_eq!(levels(budget, &cases), [-1, -1, -1, 0]);
    assert_eq!(levels(budget, &cases[..3]), [-1, -1, 0]);
    assert_eq!(levels(budget, &cases[..2]), [-1, 0]);
    assert_eq!(
        levels(budget, &[camera(), camera().sent(0)]),
        [-1, 0],
        "rather the one that is shown already"
    );
}

#[test]
fn a_class_gets_all_it_wants_before_the_next_gets_more_than_the_lowest_layer() {
    let cases = [camera(), camera().screen(), camera()];
    assert_eq!(levels(2_300, &cases), [0, 2, 0]);
    assert_eq!(levels(2_350, &cases), [1, 2, 0]);
}

#[test]
fn what_is_firm_is_sent_whatever_there_is_and_no_more_of_it_than_has_to_be() {
    let large = || video(simulcast(&[900]));
    for (budget, cases, expected) in [
        (0, vec![camera().firm(), camera()], vec![0, -1]),
        (100, vec![camera().firm().sent(2), camera().firm().paused()], vec![0, 0]),
        (160, vec![camera().firm(), camera()], vec![0, -1]),
        (320, vec![camera(), camera().firm()], vec![0, 0]),
        (700, vec![camera().firm()], vec![1]),
        (100, vec![large().firm(), large()], vec![0, -1]),
    ] {
        assert_eq!(levels(budget, &cases), expected, "{budget}");
    }
}

#[test]
fn nobody_gets_better_because_somebody_below_was_paused() {
    let cases = [camera().priority(1), camera(), camera()];
    assert_eq!(levels(420, &cases), [0, 0, -1]);
    let small = [video(simulcast(&[100, 140])).priority(1), camera(), camera()];
    assert_eq!(levels(390, &small), [0, 0, -1], "140 would fit, 40 of it belong to the third");
}

#[test]
fn a_large_stream_without_layers_does_not_take_everybodys_lowest_layer() {
    let whole = video(simulcast(&[LARGE / 1_000 + 1_200]));
    assert_eq!(levels(2_500, &[camera().priority(1), whole.clone()]), [2, -1]);
    assert_eq!(levels(3_300, &[camera().priority(1), whole.clone()]), [2, 0]);
    assert_eq!(levels(2_100, &[camera(), whole.screen()]), [1, 0], "unless it is more important");
}

#[test]
fn what_is_rendered_larger_or_speaks_comes_first() {
    assert_eq!(levels(850, &[camera(), camera().weight(1.5)]), [0, 1]);
    let small = camera().rendered(180);
    assert_eq!(levels(900, &[small.clone(), camera()]), [0, 1]);
    assert_eq!(levels(1_850, &[small, camera()]), [0, 2]);
}

#[test]
fn what_is_sent_is_kept_where_a_newcomer_would_not_get_it() {
    for (before, level) in
        [(camera().sent(1), 1), (camera().sent(0), 0), (camera(), 0), (camera().paused(), 0)]
    {
        let chosen = choose(limits(510, 440), &[before]);
        assert_eq!(chosen.levels, [Some((level, u8::MAX))]);
        assert!(!chosen.told.fell);
    }
    let chosen = choose(limits(160, 140), &[camera().paused()]);
    assert_eq!(chosen.levels, [None], "it goes on with headroom");
}

#[test]
fn what_does_not_fit_any_more_is_cut_and_nothing_climbs_meanwhile() {
    let cases = [camera().sent(2), camera().sent(0)];
    let chosen = choose(limits(1_800, 1_700), &cases);
    assert!(chosen.told.fell);
    assert_eq!(chosen.counts, [2, 1], "there would be room for the second to climb");
    let chosen = choose(limits(1_800, 1_700), &[camera().sent(1), camera().sent(0)]);
    assert!(!chosen.told.fell);
    assert_eq!(chosen.counts, [2, 2]);
}

#[test]
fn equals_do_not_change_places_by_noise() {
    let cheaper = video(simulcast(&[150, 480, 1_500]));
    let chosen = choose(limits(2_250, 2_000), &[camera().sent(2), cheaper.sent(1)]);
    assert_eq!(chosen.counts, [3, 2]);
}

#[test]
fn frames_are_left_out_where_that_looks_better_than_fewer_pixels() {
    let of = |budget: u64, case: Case| choose(limits(budget, budget), &[case]).levels[0];
    let camera = || video(temporal(&[150, 500, 1_700]));
    for (budget, expected) in [
        (74, None),
        (75, Some((0, 0))),
        (120, Some((0, 1))),
        (150, Some((0, u8::MAX))),
        (374, Some((0, u8::MAX))),
        (375, Some((1, 1))),
        (500, Some((1, u8::MAX))),
        (1_274, Some((1, u8::MAX))),
        (1_275, Some((2, 1))),
        (1_700, Some((2, u8::MAX))),
    ] {
        assert_eq!(of(budget, camera()), expected, "{budget}");
    }
    assert_eq!(of(260, camera().screen()), Some((1, 0)), "a screen is to be read");
    assert_eq!(of(260, camera()), Some((0, u8::MAX)), "a face is to move");
}

#[test]
fn a_better_layer_that_costs_less_takes_the_place_of_a_worse_one() {
    let throttled = video(simulcast(&[150, 500, 300]));
    assert_eq!(levels(300, std::slice::from_ref(&throttled)), [2]);
    assert_eq!(levels(299, &[throttled]), [0]);
}

#[test]
fn a_trusted_stream_begins_beyond_the_estimate_and_takes_nothing_from_others() {
    let whole = Case { trusted: true, ..video(simulcast(&[1_700])) };
    let trusting = Limits { trust: 2_000_000, ..limits(285, 240) };
    let chosen = choose(trusting, &[camera().sent(0), whole.clone()]);
    assert_eq!(chosen.counts, [1, 1]);
    assert_eq!((chosen.told.cost, chosen.told.trusted, chosen.told.fell), (150_000, 1_700_000, false));
    let chosen = choose(trusting, &[camera().sent(0), whole.clone(), whole]);
    assert_eq!(chosen.counts, [1, 1, 0], "not any number of them");
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn any_cases(random: &mut Random) -> Vec<Case> {
    let case = |random: &mut Random| {
        let mut cost = 40 + random.below(300) as u32;
        let costs: Vec<u32> = (0..1 + random.below(3))
            .map(|_| {
                let this = cost;
                cost = cost * (100 + random.below(350) as u32) / 100 + 1;
                this
            })
            .collect();
        let rungs = if random.below(2) == 0 { simulcast(&costs) } else { temporal(&costs) };
        let mut case = video(rungs).weight([0.5, 1.0, 1.0, 1.5, 2.0][random.below(5) as usize]);
        case.class = Class { priority: random.below(3) as u32, screen: random.below(4) == 0 };
        case.taste.screen = case.class.screen;
        case.before = match random.below(4) {
            0 => Before::New,
            1 => Before::Paused,
            _ => Before::Sent(random.below(case.rungs.len() as u64) as u8),
        };
        // Only steps that its ladder has.
        let mut steps = Vec::new();
        build(&case.rungs, case.taste, &mut steps);
        if let Before::Sent(step) = &mut case.before {
            *step = (*step).min(steps.len() as u8 - 1);
        }
        case
    };
    (0..1 + random.below(8)).map(|_| case(random)).collect()
}

#[test]
fn a_camera_goes_over_to_a_higher_layer_for_all_of_its_frames_alone() {
    let of = |before, budget| {
        let case = Case { before, ..video(temporal(&[150, 500, 1_700])) };
        choose(limits(budget, budget), &[case]).levels[0]
    };
    let whole = Before::Sent(2);
    assert_eq!(of(whole, 450), Some((0, u8::MAX)), "a part of the second would fit");
    assert_eq!(of(whole, 500), Some((1, u8::MAX)));
    assert_eq!(of(Before::New, 450), Some((1, 1)), "who begins has to wait for a keyframe anyway");
    assert_eq!(of(Before::Sent(4), 450), Some((1, 1)), "who is there stays");
    let screen = Case { before: whole, ..video(temporal(&[150, 500, 1_700])).screen() };
    assert_eq!(choose(limits(300, 300), &[screen]).levels[0], Some((1, 0)));
}

#[test]
fn whatever_is_chosen_fits_into_the_budget() {
    let mut random = Random(1);
    for round in 0..6_000 {
        let cases = any_cases(&mut random);
        let keep = random.below(6_000);
        let climb = keep * (50 + random.below(51)) / 100;
        let chosen = choose(limits(keep, climb), &cases);
        assert!(chosen.cost <= keep * 1_000, "{round}: {} of {keep}k: {:?}", chosen.cost, chosen.levels);
        assert_eq!(chosen.cost, chosen.told.cost, "{round}");
        let climbed = cases.iter().zip(&chosen.counts).any(|(case, count)| match case.before {
            Before::Sent(step) => *count > step + 1,
            _ => false,
        });
        assert!(!(climbed && chosen.told.fell), "{round}: nothing climbs while something falls");
    }
}

#[test]
fn what_was_chosen_is_chosen_again() {
    let mut random = Random(2);
    for round in 0..6_000 {
        let mut cases = any_cases(&mut random);
        let keep = random.below(6_000);
        let limits = limits(keep, keep * 87 / 100);
        let mut counts = Vec::new();
        // What is taken from one for the sake of another may lead to one more change.
        for _ in 0..8 {
            let chosen = choose(limits, &cases);
            let same = counts == chosen.counts;
            counts = chosen.counts;
            for (case, count) in cases.iter_mut().zip(&counts) {
                case.before = count.checked_sub(1).map_or(Before::Paused, Before::Sent);
            }
            if same {
                break;
            }
        }
        assert_eq!(choose(limits, &cases).counts, counts, "{round}: it never settles");
    }
}

/// In order of importance, the first class of streams whose parts differ gets more of a larger budget.
#[test]
fn more_bandwidth_never_makes_an_important_stream_worse_for_one_less_important() {
    let mut random = Random(3);
    for round in 0..6_000 {
        let mut cases = any_cases(&mut random);
        cases.iter_mut().for_each(|case| case.before = Before::New);
        // One stream for each class.
        cases.sort_by_key(|case| std::cmp::Reverse(case.class));
        cases.dedup_by_key(|case| case.class);
        let less = random.below(5_000);
        let more = less + random.below(1_000);
        let few = choose(limits(less, less), &cases).counts;
        let many = choose(limits(more, more), &cases).counts;
        // As if written one behind the other: first everybody's lowest step, then the rest.
        let key = |counts: &[u8]| {
            let lowest: Vec<u8> = counts.iter().map(|count| (*count).min(1)).collect();
            (lowest, counts.to_vec())
        };
        assert!(key(&many) >= key(&few), "{round}: {less} {few:?}, {more} {many:?}");
    }
}

#[test]
fn with_enough_bandwidth_everybody_gets_everything() {
    let mut random = Random(4);
    for _ in 0..2_000 {
        let cases = any_cases(&mut random);
        let chosen = choose(limits(1_000_000, 900_000), &cases);
        let again: Vec<Case> = cases
            .iter()
            .zip(&chosen.counts)
            .map(|(case, count)| case.clone().sent(count.saturating_sub(1)))
            .collect();
        let chosen = choose(limits(1_000_000, 900_000), &again);
        for (case, level) in cases.iter().zip(chosen.levels) {
            let best = case.rungs.iter().map(|rung| rung.level).max();
            assert_eq!(level.map(|level| level.0), best);
        }
    }
}
