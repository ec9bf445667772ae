//! A small model checker: every state that a model can reach, breadth first, each once, and the shortest way to the first bad one.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Something to explore.
pub trait Model {
    /// All that matters at a moment.
    type State: Clone + Hash;
    /// A step.
    type Action: Clone + Debug;

    /// Where it begins.
    fn start(&self) -> Self::State;

    /// What may happen next. None at all: the state has to satisfy [`Model::at_rest`].
    fn actions(&self, state: &Self::State) -> Vec<Self::Action>;

    /// What comes of it, or what is wrong with it.
    fn step(&self, state: &Self::State, action: &Self::Action) -> Result<Self::State, String>;

    /// What is wrong with a state in which nothing can happen any more: something waits for ever.
    fn at_rest(&self, state: &Self::State) -> Result<(), String>;
}

/// What exploring found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Different states seen.
    pub states: usize,
    /// Steps on the longest of the shortest ways.
    pub depth: usize,
    /// All states were seen.
    pub complete: bool,
    /// The first violation, and the way to it.
    pub violation: Option<(String, Vec<String>)>,
}

/// Explores at most `limit` states, and ends at the first violation. States are told apart by a hash of 64 bits: of ten million, the chance
/// that two are taken for one is below 10⁻⁵.
pub fn explore<M: Model>(model: &M, limit: usize) -> Found {
    let start = model.start();
    let mut ways: HashMap<u64, Option<(u64, M::Action)>> = HashMap::new();
    let mut queue = VecDeque::from([(hash(&start), start, 0)]);
    ways.insert(queue[0].0, None);
    let mut found = Found { states: 1, depth: 0, complete: true, violation: None };
    while let Some((key, state, depth)) = queue.pop_front() {
        found.depth = depth;
        let actions = model.actions(&state);
        if actions.is_empty()
            && let Err(wrong) = model.at_rest(&state)
        {
            found.violation = Some((wrong, way(&ways, key, None)));
            break;
        }
        for action in actions {
            let next = match model.step(&state, &action) {
                Ok(next) => next,
                Err(wrong) => {
                    found.violation = Some((wrong, way(&ways, key, Some(&action))));
                    return found;
                }
            };
            let next_key = hash(&next);
            if ways.contains_key(&next_key) {
                continue;
            }
            if found.states >= limit {
                found.complete = false;
                continue;
            }
            found.states += 1;
            ways.insert(next_key, Some((key, action)));
            queue.push_back((next_key, next, depth + 1));
        }
    }
    found
}

/// The same hash for the same state in every run: `DefaultHasher::new` has no random key.
fn hash(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn way<A: Debug>(ways: &HashMap<u64, Option<(u64, A)>>, to: u64, last: Option<&A>) -> Vec<String> {
    let mut steps: Vec<String> = last.into_iter().map(|action| format!("{action:?}")).collect();
    let mut at = to;
    while let Some(Some((before, action))) = ways.get(&at) {
        steps.push(format!("{action:?}"));
        at = *before;
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two counters up to 3; the pair (2, 3) is bad, or nothing is.
    struct Counters(bool);

    impl Model for Counters {
        type State = (u8, u8);
        type Action = bool;

        fn start(&self) -> (u8, u8) {
            (0, 0)
        }

        fn actions(&self, state: &(u8, u8)) -> Vec<bool> {
            [(true, state.0), (false, state.1)]
                .into_iter()
                .filter(|(_, n)| *n < 3)
                .map(|(first, _)| first)
                .collect()
        }

        fn step(&self, state: &(u8, u8), first: &bool) -> Result<(u8, u8), String> {
            let next = if *first { (state.0 + 1, state.1) } else { (state.0, state.1 + 1) };
            if self.0 && next == (2, 3) { Err("bad".into()) } else { Ok(next) }
        }

        fn at_rest(&self, state: &(u8, u8)) -> Result<(), String> {
            if *state == (3, 3) { Ok(()) } else { Err("it rests too early".into()) }
        }
    }

    #[test]
    fn every_state_is_seen_once() {
        let found = explore(&Counters(false), 1_000);
        assert_eq!((found.states, found.depth, found.complete, found.violation), (16, 6, true, None));
    }

    #[test]
    fn a_bad_state_is_found_by_a_shortest_way() {
        let (wrong, way) = explore(&Counters(true), 1_000).violation.expect("there is one");
        assert_eq!((wrong.as_str(), way.len()), ("bad", 5));
    }

    #[test]
    fn a_limit_is_kept_and_said() {
        let found = explore(&Counters(false), 5);
        assert_eq!((found.states, found.complete), (5, false));
    }
}
