//! Runs of small events as one item: reactions always, joins and leaves in large channels.
//!
//! They are events in the log like any; what is folded is what a stream is told. One item stands for a run of one region's log, with the
//! `prev` of its first event and the id of its last, so that the chain that a client checks stays whole and cursors pass over it. Any other
//! item ends the run. The item carries totals, not steps: whoever sends it looks them up when it leaves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::UserId;

use crate::causal::Delivery;
use crate::clock::Hlc;
use crate::event::{Content, Event};
use crate::place::{EventId, Place};

/// Up to this many members everybody is told of every join and leave.
pub const JOINS: usize = 512;

/// How long a run may grow.
pub const WINDOW: Duration = Duration::from_secs(1);

/// Totals that one item may carry; one more ends the run.
const TOTALS: usize = 256;

/// What one stream is told instead of runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folder {
    own: UserId,
    run: Option<Fold>,
    due: Option<Instant>,
}

/// Something that a stream is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// An event.
    Event(Delivery),
    /// A run of them.
    Fold(Fold),
}

/// A run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fold {
    /// The event before its first, in the same log.
    pub prev: Option<Place>,
    /// Its last.
    pub id: EventId,
    /// The clock of its last: of two totals the one of the higher clock is right.
    pub clock: Hlc,
    /// It fills a hole.
    pub late: bool,
    /// What it is about.
    pub about: About,
}

/// Which totals a run changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum About {
    /// Of reactions: to which message, with what.
    Reactions(BTreeSet<(EventId, Arc<str>)>),
    /// The number of members.
    Members,
}

impl Folder {
    /// For a stream of this person.
    pub fn new(own: UserId) -> Self {
        Self { own, run: None, due: None }
    }

    /// Takes the next delivery of the stream, in a channel of so many members; gives what is to be told now, in order.
    pub fn push(&mut self, now: Instant, delivery: Delivery, members: usize) -> Vec<Item> {
        let mut out = Vec::new();
        let Some(about) = folded(&self.own, &delivery, members) else {
            out.extend(self.flush());
            out.push(Item::Event(delivery));
            return out;
        };
        if !self.extends(&delivery, &about) {
            out.extend(self.flush());
        }
        let event = &delivery.event;
        match &mut self.run {
            None => {
                let late = delivery.late;
                self.run = Some(Fold { prev: event.prev, id: event.id, clock: event.clock, late, about });
                self.due = Some(now + WINDOW);
            }
            Some(run) => {
                (run.id, run.clock) = (event.id, event.clock);
                if let (About::Reactions(all), About::Reactions(new)) = (&mut run.about, about) {
                    all.extend(new);
                }
            }
        }
        out
    }

    /// When to be called again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The run has grown long enough.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Item> {
        if self.due.is_some_and(|due| due <= now) { self.flush() } else { None }
    }

    fn flush(&mut self) -> Option<Item> {
        self.due = None;
        self.run.take().map(Item::Fold)
    }

    fn extends(&self, delivery: &Delivery, about: &About) -> bool {
        let Some(run) = &self.run else { return true };
        let Event { id, prev, .. } = &*delivery.event;
        let follows = run.id.region == id.region && *prev == Some(run.id.place) && run.late == delivery.late;
        let alike = match (&run.about, about) {
            (About::Reactions(all), About::Reactions(new)) => all.len() < TOTALS || new.is_subset(all),
            (About::Members, About::Members) => true,
            _ => false,
        };
        follows && alike
    }
}

/// Would a delivery be part of a run?
pub fn is_folded(own: &UserId, delivery: &Delivery, members: usize) -> bool {
    folded(own, delivery, members).is_some()
}

/// What a delivery would change the totals of; `None`: it is told as it is.
fn folded(own: &UserId, delivery: &Delivery, members: usize) -> Option<About> {
    match &delivery.event.content {
        _ if delivery.unmet => None,
        Content::Reaction { target, emoji, .. } => {
            Some(About::Reactions(BTreeSet::from([(*target, Arc::clone(emoji))])))
        }
        Content::Member { user, .. } if members > JOINS && user != own => Some(About::Members),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Change, Sender};
    use crate::roles::Role;
    use crate::testing::{at, device, id, message, user};

    fn delivered(region: &str, n: u64, who: &str, content: Content) -> Delivery {
        let from = Some(Sender { user: user(who), device: device("phone"), csn: n });
        let event = Arc::new(Event { from, content, ..message(region, 1, n) });
        Delivery { event, late: false, unmet: false, shown: true }
    }

    fn reaction(region: &str, n: u64) -> Delivery {
        delivered(
            region,
            n,
            &format!("u{n}"),
            Content::Reaction { target: id("eu.1.1"), emoji: "+1".into(), on: true },
        )
    }

    fn joined(n: u64, who: &str) -> Delivery {
        delivered(
            "eu",
            n,
            who,
            Content::Member { user: user(who), change: Change::Joined { role: Role::Guest } },
        )
    }

    /// What a stream is told of these, one every millisecond, and at the end.
    fn told(deliveries: Vec<Delivery>, members: usize) -> Vec<Item> {
        let (mut folder, mut now) = (Folder::new(user("me")), Instant::now());
        let mut out = Vec::new();
        for delivery in deliveries {
            now += Duration::from_millis(1);
            out.extend(folder.handle_timeout(now));
            out.extend(folder.push(now, delivery, members));
        }
        out.extend(folder.handle_timeout(now + WINDOW));
        out
    }

    #[test]
    fn ten_thousand_reactions_in_ten_seconds_are_ten_items() {
        let items = told((1..=10_000).map(|n| reaction("eu", n)).collect(), 10_000);
        assert_eq!(items.len(), 10);
        let Some(Item::Fold(last)) = items.last() else { panic!("they are folded") };
        assert_eq!(last.id, id("eu.1.10000"));
        assert_eq!(last.about, About::Reactions(BTreeSet::from([(id("eu.1.1"), "+1".into())])));
    }

    #[test]
    fn ten_thousand_joins_in_ten_seconds_are_ten_items_and_the_own_is_told_as_it_is() {
        let mut joins: Vec<Delivery> = (1..=10_000).map(|n| joined(n, &format!("u{n}"))).collect();
        assert_eq!(told(joins.clone(), 10_000).len(), 10);
        joins[4_999] = joined(5_000, "me");
        let items = told(joins, 10_000);
        assert_eq!(items.iter().filter(|item| matches!(item, Item::Event(_))).count(), 1);
    }

    #[test]
    fn in_a_small_channel_every_join_is_told() {
        assert_eq!(told((1..=5).map(|n| joined(n, &format!("u{n}"))).collect(), JOINS).len(), 5);
    }

    #[test]
    fn the_chain_stays_whole_over_folds() {
        let mut deliveries: Vec<Delivery> = (1..=6).map(|n| reaction("eu", n)).collect();
        deliveries[3] = delivered("eu", 4, "ann", crate::testing::text("hello"));
        deliveries.insert(2, reaction("us", 1));
        let mut last = std::collections::BTreeMap::new();
        for item in told(deliveries, 10) {
            let (prev, id) = match item {
                Item::Event(delivery) => (delivery.event.prev, delivery.event.id),
                Item::Fold(fold) => (fold.prev, fold.id),
            };
            assert_eq!(last.insert(id.region, id.place), prev, "at {id}");
        }
        assert_eq!(last.values().copied().collect::<Vec<_>>(), [at(1, 6), at(1, 1)]);
    }

    #[test]
    fn what_fills_a_hole_is_no_run_with_what_does_not() {
        let late = Delivery { late: true, ..reaction("eu", 1) };
        assert_eq!(told(vec![late, reaction("eu", 2)], 10).len(), 2);
    }
}
