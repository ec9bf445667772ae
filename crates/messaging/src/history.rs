//! What people see of a channel's events: one order, edits and deletes applied, reactions counted, pages.
//!
//! [`History`] is what a client, a store's index or a checker builds from events. **The order in which they are applied does not matter**:
//! who has the same events shows the same, also when an edit came before what it edits (its message was in a hole).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::{DeviceId, UserId};

use crate::event::{Body, Content, DisplayKey, Event};
use crate::place::{Cursor, EventId, Lineage, Mark, Region, Token, Vector};

/// Most items of a page.
pub const PAGE: usize = 100;

/// A channel's events, as they are displayed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// Everything, in the displayed order.
    order: BTreeMap<DisplayKey, Arc<Event>>,
    keys: BTreeMap<EventId, DisplayKey>,
    regions: BTreeSet<Region>,
    /// What was done to a message, by the id that was named.
    overlays: BTreeMap<EventId, Overlay>,
    /// The events of a device's number: more than one when it was accepted in two regions.
    numbered: BTreeMap<(UserId, DeviceId, u64), Vec<DisplayKey>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Overlay {
    /// The last edit in the displayed order.
    edit: Option<(DisplayKey, Body)>,
    deleted: bool,
    /// The last word of each person on each emoji.
    reactions: BTreeMap<(Arc<str>, UserId), (DisplayKey, bool)>,
}

/// Something shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The event.
    pub event: Arc<Event>,
    /// Other ids of the same message: its number was accepted in more regions than one.
    pub aliases: Vec<EventId>,
    /// What it says now, if that was changed.
    pub edited: Option<Body>,
    /// It says nothing any more.
    pub deleted: bool,
    /// Who reacts with what.
    pub reactions: BTreeMap<Arc<str>, Vec<UserId>>,
}

/// From where a page is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Anchor {
    /// What is displayed before this event, newest first.
    BeforeId(EventId),
    /// What is displayed after this event, oldest first.
    AfterId(EventId),
    /// This event in the middle, oldest first.
    AroundId(EventId),
    /// What the cursor covers, newest first.
    Before(Cursor),
    /// What it does not, oldest first.
    After(Cursor),
}

/// A run of what is displayed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The items.
    pub items: Vec<Item>,
    /// Proves that they were seen.
    pub token: Token,
}

impl History {
    /// Adds an event; one that is there already changes nothing.
    pub fn apply(&mut self, event: &Arc<Event>) {
        let key = event.key();
        if self.keys.insert(event.id, key).is_some() {
            return;
        }
        self.order.insert(key, Arc::clone(event));
        self.regions.insert(event.id.region);
        if let Some(from) = event.from.as_ref().filter(|from| from.csn > 0) {
            let number = (from.user.clone(), from.device.clone(), from.csn);
            let keys = self.numbered.entry(number).or_default();
            keys.push(key);
            keys.sort_unstable();
        }
        let Some(target) = event.content.target() else { return };
        let overlay = self.overlays.entry(target).or_default();
        match &event.content {
            Content::Edit { body, .. } if overlay.edit.as_ref().is_none_or(|(last, _)| *last < key) => {
                overlay.edit = Some((key, Arc::clone(body)));
            }
            Content::Delete { .. } => overlay.deleted = true,
            Content::Reaction { emoji, on, .. } => {
                let Some(user) = event.user() else { return };
                let word = overlay.reactions.entry((Arc::clone(emoji), user.clone())).or_insert((key, *on));
                if word.0 < key {
                    *word = (key, *on);
                }
            }
            _ => {}
        }
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The event of an id.
    pub fn event(&self, id: EventId) -> Option<&Arc<Event>> {
        self.order.get(self.keys.get(&id)?)
    }

    /// Which event an id is displayed as: the first, by clock and region, of those that are one message.
    pub fn shown_as(&self, id: EventId) -> EventId {
        let first = self.event(id).and_then(|event| self.alike(event)).and_then(|keys| keys.first());
        first.and_then(|key| self.order.get(key)).map_or(id, |event| event.id)
    }

    fn alike(&self, event: &Event) -> Option<&Vec<DisplayKey>> {
        let from = event.from.as_ref().filter(|from| from.csn > 0)?;
        self.numbered.get(&(from.user.clone(), from.device.clone(), from.csn))
    }

    /// Everything displayed, oldest first.
    pub fn items(&self) -> impl DoubleEndedIterator<Item = Item> + '_ {
        self.order.values().filter_map(|event| self.item(event))
    }

    /// An event as an item; `None`: it is not displayed by itself.
    fn item(&self, event: &Arc<Event>) -> Option<Item> {
        if event.content.target().is_some() || self.shown_as(event.id) != event.id {
            return None;
        }
        let others = self.alike(event).into_iter().flatten().filter_map(|key| self.order.get(key));
        let aliases: Vec<EventId> = others.map(|other| other.id).filter(|id| *id != event.id).collect();
        let overlays = || {
            std::iter::once(event.id).chain(aliases.iter().copied()).filter_map(|id| self.overlays.get(&id))
        };
        let edit = overlays().filter_map(|overlay| overlay.edit.as_ref()).max_by_key(|(key, _)| *key);
        let deleted = overlays().any(|overlay| overlay.deleted);
        let edited = edit.filter(|_| !deleted).map(|(_, body)| Arc::clone(body));
        let reactions = reactions(overlays());
        Some(Item { event: Arc::clone(event), aliases, edited, deleted, reactions })
    }

    /// A run of at most `limit` items, [`PAGE`] at the most.
    pub fn page(&self, lineage: &Lineage, anchor: &Anchor, limit: usize) -> Page {
        let limit = limit.min(PAGE);
        let covered = |item: &Item, cursor: &Cursor| cursor.at.covers(lineage, item.event.id);
        let key = |id: &EventId| self.keys.get(&self.shown_as(*id)).copied();
        let items: Vec<Item> = match anchor {
            Anchor::BeforeId(id) => key(id).map_or(Vec::new(), |key| self.before(key).take(limit).collect()),
            Anchor::AfterId(id) => {
                key(id).map_or(Vec::new(), |key| self.from(key).skip(1).take(limit).collect())
            }
            Anchor::AroundId(id) => key(id).map_or(Vec::new(), |key| self.around(key, limit)),
            Anchor::Before(cursor) => {
                self.items().rev().filter(|item| covered(item, cursor)).take(limit).collect()
            }
            Anchor::After(cursor) => self.items().filter(|item| !covered(item, cursor)).take(limit).collect(),
        };
        let last = items.iter().map(|item| item.event.key()).max();
        Page { token: Token { seen: last.map(|key| self.upto(key)).unwrap_or_default() }, items }
    }

    fn before(&self, key: DisplayKey) -> impl Iterator<Item = Item> + '_ {
        self.order.range(..key).rev().filter_map(|(_, event)| self.item(event))
    }

    fn from(&self, key: DisplayKey) -> impl Iterator<Item = Item> + '_ {
        self.order.range(key..).filter_map(|(_, event)| self.item(event))
    }

    fn around(&self, key: DisplayKey, limit: usize) -> Vec<Item> {
        let mut items: Vec<Item> = self.before(key).take(limit / 2).collect();
        items.reverse();
        let rest = limit - items.len();
        items.extend(self.from(key).take(rest));
        items
    }

    /// By region, the last event at or below a place of the displayed order.
    fn upto(&self, key: DisplayKey) -> Vector {
        let mut reached = Vector::default();
        let mut found = 0;
        for event in self.order.range(..=key).rev().map(|(_, event)| event) {
            if found == self.regions.len() {
                break;
            }
            if reached.get(event.id.region).is_none() {
                reached.set(event.id.region, Mark { place: event.id.place, count: event.count });
                found += 1;
            }
        }
        reached
    }

    /// Of what a cursor covers, that at or before `upto` in the displayed order: what "read up to this message" means.
    pub fn read_upto(&self, lineage: &Lineage, cursor: &Cursor, upto: EventId) -> Vector {
        let Some(key) = self.keys.get(&self.shown_as(upto)) else { return Vector::default() };
        let lower = |(region, mark): (Region, Mark)| {
            let covered = cursor.at.get(region)?;
            let id = EventId { region, place: mark.place };
            Some((region, if cursor.at.covers(lineage, id) { mark } else { covered }))
        };
        self.upto(*key).iter().filter_map(lower).collect()
    }
}

fn reactions<'a>(overlays: impl Iterator<Item = &'a Overlay>) -> BTreeMap<Arc<str>, Vec<UserId>> {
    let mut words: BTreeMap<&(Arc<str>, UserId), (DisplayKey, bool)> = BTreeMap::new();
    for (who, word) in overlays.flat_map(|overlay| &overlay.reactions) {
        let last = words.entry(who).or_insert(*word);
        *last = (*last).max(*word);
    }
    let mut shown: BTreeMap<Arc<str>, Vec<UserId>> = BTreeMap::new();
    for ((emoji, user), _) in words.into_iter().filter(|(_, (_, on))| *on) {
        shown.entry(Arc::clone(emoji)).or_default().push(user.clone());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Hlc;
    use crate::event::Sender;
    use crate::testing::{device, id, message, user, vector};

    fn by(who: &str, region: &str, n: u64, clock: u64, content: Content) -> Arc<Event> {
        let from = Some(Sender { user: user(who), device: device("phone"), csn: n });
        Arc::new(Event { from, clock: Hlc(clock), content, ..message(region, 1, n) })
    }

    fn said(who: &str, region: &str, n: u64, clock: u64, body: &str) -> Arc<Event> {
        by(who, region, n, clock, crate::testing::text(body))
    }

    fn edit(target: &str, body: &str) -> Content {
        Content::Edit { target: id(target), body: Arc::from(body.as_bytes()) }
    }

    fn react(target: &str, on: bool) -> Content {
        Content::Reaction { target: id(target), emoji: "+1".into(), on }
    }

    /// Applies in this order and in the reverse, which has to give the same.
    fn history(events: &[Arc<Event>]) -> History {
        let (mut forth, mut back) = (History::default(), History::default());
        events.iter().for_each(|event| forth.apply(event));
        events.iter().rev().for_each(|event| back.apply(event));
        assert_eq!(forth.items().collect::<Vec<_>>(), back.items().collect::<Vec<_>>());
        forth
    }

    fn shown(items: &[Item]) -> Vec<String> {
        let text = |item: &Item| match &item.edited {
            _ if item.deleted => format!("{} deleted", item.event.id),
            Some(body) => format!("{} {}", item.event.id, String::from_utf8_lossy(body)),
            None => item.event.id.to_string(),
        };
        items.iter().map(text).collect()
    }

    fn all(history: &History) -> Vec<String> {
        shown(&history.items().collect::<Vec<_>>())
    }

    #[test]
    fn a_late_concurrent_message_slots_in_by_its_clock() {
        let history = history(&[
            said("ann", "eu", 1, 10, ""),
            said("ann", "eu", 2, 30, ""),
            said("bob", "us", 1, 20, ""),
        ]);
        assert_eq!(all(&history), ["eu.1.1", "us.1.1", "eu.1.2"]);
    }

    #[test]
    fn the_last_edit_in_the_displayed_order_shows_and_a_delete_always_wins() {
        let mut events = vec![
            said("ann", "eu", 1, 10, "hello"),
            by("ann", "eu", 2, 30, edit("eu.1.1", "late")),
            by("ann", "us", 1, 20, edit("eu.1.1", "early")),
        ];
        assert_eq!(all(&history(&events)), ["eu.1.1 late"]);
        events.push(by("ann", "us", 2, 25, Content::Delete { target: id("eu.1.1") }));
        assert_eq!(all(&history(&events)), ["eu.1.1 deleted"]);
    }

    #[test]
    fn the_last_word_of_each_person_counts() {
        let events = [
            said("ann", "eu", 1, 10, "hello"),
            by("bob", "eu", 2, 20, react("eu.1.1", true)),
            by("eve", "eu", 3, 21, react("eu.1.1", true)),
            by("bob", "us", 1, 30, react("eu.1.1", false)),
        ];
        let item = history(&events).items().next().expect("there is one");
        assert_eq!(item.reactions[&Arc::from("+1")], [user("eve")]);
    }

    #[test]
    fn a_message_that_two_regions_accepted_is_one_and_both_its_names_lead_to_it() {
        let twin = |region: &str, clock| {
            let from = Some(Sender { user: user("ann"), device: device("phone"), csn: 7 });
            Arc::new(Event { from, clock: Hlc(clock), ..message(region, 1, 1) })
        };
        let events = [twin("us", 20), twin("eu", 10), by("bob", "eu", 2, 30, edit("us.1.1", "edited"))];
        let history = history(&events);
        assert_eq!(all(&history), ["eu.1.1 edited"]);
        assert_eq!(history.items().next().map(|item| item.aliases), Some(vec![id("us.1.1")]));
        assert_eq!(history.shown_as(id("us.1.1")), id("eu.1.1"));
    }

    #[test]
    fn pages_are_runs_of_the_displayed_order() {
        let events: Vec<_> = (1..=9).map(|n| said("ann", "eu", n, n, "")).collect();
        let history = history(&events);
        let page = |anchor: Anchor| shown(&history.page(&Lineage::default(), &anchor, 3).items);
        let cursor = Cursor { at: vector(&["eu.1.4"]), ..Cursor::default() };
        assert_eq!(page(Anchor::BeforeId(id("eu.1.5"))), ["eu.1.4", "eu.1.3", "eu.1.2"]);
        assert_eq!(page(Anchor::AfterId(id("eu.1.5"))), ["eu.1.6", "eu.1.7", "eu.1.8"]);
        assert_eq!(page(Anchor::AroundId(id("eu.1.5"))), ["eu.1.4", "eu.1.5", "eu.1.6"]);
        assert_eq!(page(Anchor::AroundId(id("eu.1.1"))), ["eu.1.1", "eu.1.2", "eu.1.3"]);
        assert_eq!(page(Anchor::Before(cursor.clone())), ["eu.1.4", "eu.1.3", "eu.1.2"]);
        assert_eq!(page(Anchor::After(cursor)), ["eu.1.5", "eu.1.6", "eu.1.7"]);
        assert_eq!(page(Anchor::AfterId(id("eu.1.77"))), [""; 0]);
    }

    #[test]
    fn a_pages_token_covers_what_is_at_or_below_its_last_item_in_every_region() {
        let events =
            [said("ann", "eu", 1, 10, ""), said("bob", "us", 1, 20, ""), said("ann", "eu", 2, 30, "")];
        let history = history(&events);
        let token = |anchor| history.page(&Lineage::default(), &anchor, 1).token.seen;
        assert_eq!(token(Anchor::AroundId(id("us.1.1"))), vector(&["eu.1.1", "us.1.1"]));
        assert_eq!(token(Anchor::AroundId(id("eu.1.1"))), vector(&["eu.1.1"]));
    }

    #[test]
    fn read_up_to_a_message_marks_neither_what_is_below_it_nor_what_was_not_delivered() {
        let events = [
            said("ann", "eu", 1, 10, ""),
            said("bob", "us", 1, 20, ""),
            said("bob", "us", 2, 25, ""),
            said("ann", "eu", 2, 30, ""),
        ];
        let cursor = Cursor { at: vector(&["eu.1.2", "us.1.1"]), ..Cursor::default() };
        let read = |upto| history(&events).read_upto(&Lineage::default(), &cursor, id(upto));
        assert_eq!(read("us.1.1"), vector(&["eu.1.1", "us.1.1"]));
        assert_eq!(read("eu.1.2"), vector(&["eu.1.2", "us.1.1"]));
    }
}
