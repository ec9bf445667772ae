//! Who is there: told to who looks, of whom they look at, folded.
//!
//! A connection names whom it shows on its screen; it is told of those alone, and all that changed in a window in one frame. Somebody whose
//! last connection ends is there for ten more seconds: a phone that changes its network, or a page that is loaded again, is no departure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base::{DeviceId, UserId};

/// Whom one connection may look at: what fits on a screen, with room to scroll.
pub const WATCHED: usize = 100;

/// How long somebody is there without a connection.
pub const GRACE: Duration = Duration::from_secs(10);

/// Changes in this time are one frame.
pub const WINDOW: Duration = Duration::from_secs(1);

/// Who is there, as one node, or the node that keeps it for these people, knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Presence {
    people: BTreeMap<UserId, Person>,
    watches: BTreeMap<u64, BTreeSet<UserId>>,
    watchers: BTreeMap<UserId, BTreeSet<u64>>,
    /// What each connection is to be told: what it knew before a change.
    changed: BTreeMap<u64, BTreeMap<UserId, bool>>,
    /// When somebody without a connection is gone.
    leaving: BTreeSet<(Instant, UserId)>,
    due: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Person {
    devices: BTreeSet<DeviceId>,
    leaves: Option<Instant>,
}

/// To one connection: who came, and who went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The connection.
    pub to: u64,
    /// Who, and whether they are there.
    pub changes: Vec<(UserId, bool)>,
}

impl Presence {
    /// Is somebody there?
    pub fn is_there(&self, user: &UserId) -> bool {
        self.people.contains_key(user)
    }

    /// How many of these are there; for channels too large to name.
    pub fn count<'a>(&self, users: impl IntoIterator<Item = &'a UserId>) -> usize {
        users.into_iter().filter(|user| self.is_there(user)).count()
    }

    /// A device connected.
    pub fn connected(&mut self, now: Instant, user: &UserId, device: DeviceId) {
        if !self.is_there(user) {
            self.tell(now, user, false);
        }
        let person = self.people.entry(user.clone()).or_default();
        person.devices.insert(device);
        if let Some(at) = person.leaves.take() {
            self.leaving.remove(&(at, user.clone()));
        }
    }

    /// A device's connection ended.
    pub fn disconnected(&mut self, now: Instant, user: &UserId, device: &DeviceId) {
        let Some(person) = self.people.get_mut(user) else { return };
        person.devices.remove(device);
        if person.devices.is_empty() && person.leaves.is_none() {
            person.leaves = Some(now + GRACE);
            self.leaving.insert((now + GRACE, user.clone()));
        }
    }

    /// A connection looks at these from now on, instead of whom it looked at before. The answer says who of them is there. `None`: they
    /// are too many, and nothing changed.
    pub fn watch(&mut self, connection: u64, users: BTreeSet<UserId>) -> Option<Vec<(UserId, bool)>> {
        if users.len() > WATCHED {
            return None;
        }
        self.closed(connection);
        for user in &users {
            self.watchers.entry(user.clone()).or_default().insert(connection);
        }
        let there = users.iter().map(|user| (user.clone(), self.is_there(user))).collect();
        if !users.is_empty() {
            self.watches.insert(connection, users);
        }
        Some(there)
    }

    /// A connection looks at nobody any more.
    pub fn closed(&mut self, connection: u64) {
        self.changed.remove(&connection);
        for user in self.watches.remove(&connection).into_iter().flatten() {
            if let Some(watchers) = self.watchers.get_mut(&user) {
                watchers.remove(&connection);
                if watchers.is_empty() {
                    self.watchers.remove(&user);
                }
            }
        }
    }

    /// When to be called again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.leaving.first().map(|(at, _)| *at)).min()
    }

    /// Its time has come: what is to be told.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Frame> {
        while let Some((at, user)) = self.leaving.first().cloned().filter(|(at, _)| *at <= now) {
            self.leaving.remove(&(at, user.clone()));
            self.people.remove(&user);
            self.tell(now, &user, true);
        }
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = None;
        let frames = std::mem::take(&mut self.changed).into_iter().filter_map(|(to, before)| {
            // Who came and went, or went and came, within the window did nothing.
            let news =
                |(user, was): (UserId, bool)| (self.is_there(&user) != was).then(|| (user.clone(), !was));
            let changes: Vec<(UserId, bool)> = before.into_iter().filter_map(news).collect();
            (!changes.is_empty()).then_some(Frame { to, changes })
        });
        frames.collect()
    }

    /// Somebody comes or goes, who `was` there or not before.
    fn tell(&mut self, now: Instant, user: &UserId, was: bool) {
        for connection in self.watchers.get(user).into_iter().flatten() {
            self.changed.entry(*connection).or_default().entry(user.clone()).or_insert(was);
            self.due.get_or_insert(now + WINDOW);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device, user};

    fn set(names: &[&str]) -> BTreeSet<UserId> {
        names.iter().map(|name| user(name)).collect()
    }

    fn all(presence: &mut Presence) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(due) = presence.poll_timeout() {
            frames.extend(presence.handle_timeout(due));
        }
        frames
    }

    #[test]
    fn many_who_come_in_a_window_are_one_frame_to_who_looks() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        presence.watch(1, set(&["ann", "bob"]));
        for name in ["ann", "bob", "eve"] {
            presence.connected(now, &user(name), device("phone"));
        }
        let changes = vec![(user("ann"), true), (user("bob"), true)];
        assert_eq!(all(&mut presence), [Frame { to: 1, changes }]);
    }

    #[test]
    fn who_changes_the_network_never_left() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        presence.connected(now, &user("ann"), device("phone"));
        presence.watch(1, set(&["ann"]));
        presence.disconnected(now, &user("ann"), &device("phone"));
        presence.connected(now + Duration::from_secs(9), &user("ann"), device("phone"));
        assert_eq!((all(&mut presence), presence.is_there(&user("ann"))), (Vec::new(), true));
    }

    #[test]
    fn who_stays_away_has_left_after_ten_seconds() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        presence.connected(now, &user("ann"), device("phone"));
        presence.connected(now, &user("ann"), device("desk"));
        presence.watch(1, set(&["ann"]));
        presence.disconnected(now, &user("ann"), &device("phone"));
        assert_eq!(presence.poll_timeout(), None, "the other device is there");
        presence.disconnected(now, &user("ann"), &device("desk"));
        assert_eq!(presence.poll_timeout(), Some(now + GRACE));
        assert_eq!(all(&mut presence), [Frame { to: 1, changes: vec![(user("ann"), false)] }]);
    }

    #[test]
    fn nobody_hears_of_people_they_do_not_look_at_or_after_they_closed() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        presence.watch(1, set(&["ann"]));
        presence.watch(1, set(&["bob"]));
        presence.watch(2, set(&["ann"]));
        presence.connected(now, &user("ann"), device("phone"));
        presence.closed(2);
        assert_eq!(all(&mut presence), []);
        assert_eq!(presence.watchers.len(), 1, "nothing is left of what was closed");
    }

    #[test]
    fn a_screen_has_a_hundred_people() {
        let many: BTreeSet<UserId> = (0..=WATCHED).map(|index| user(&index.to_string())).collect();
        assert_eq!(Presence::default().watch(1, many), None);
    }

    #[test]
    fn ten_thousand_who_come_at_once_are_one_frame_for_each_who_looks() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        for connection in 0..50 {
            let looks = (0..100).map(|index| user(&(connection * 100 + index).to_string())).collect();
            presence.watch(connection, looks);
        }
        (0..10_000u64).for_each(|index| presence.connected(now, &user(&index.to_string()), device("phone")));
        assert_eq!(all(&mut presence).len(), 50);
    }
}
