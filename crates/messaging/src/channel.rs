//! One channel as its log says it is: a state that any replica builds from the same events.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use base::{DeviceId, UnixMillis, UserId};

use crate::causal::{Causal, Delivery};
use crate::clock::Hlc;
use crate::event::{Change, Content, Event, Kind, ReadMark, Settings};
use crate::format::encoded_struct;
use crate::place::{EventId, Lineage, Mark, Place, Region, Vector};
use crate::roles::{Action, Role, needed};
use crate::sends::Sends;

/// Mentions that are kept for one person; the count that is shown ends there.
pub const MENTIONS: usize = 999;

/// Members whom a message to everyone is noted for one by one. In larger channels "everyone" is an unread count like any.
const EVERYONE: usize = 1_024;

/// A channel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Channel {
    /// What it is for. `None` until its creation has come here (another region's events may be earlier).
    kind: Option<Kind>,
    home: Option<Region>,
    settings: Settings,
    members: BTreeMap<UserId, Member>,
    /// Who is out: invited, banned, or removed.
    others: BTreeMap<UserId, Outsider>,
    sends: BTreeMap<UserId, BTreeMap<DeviceId, Sends>>,
    marks: BTreeMap<UserId, ReadMark>,
    mentions: BTreeMap<UserId, BTreeSet<EventId>>,
    floor: Vector,
    /// What is applied here, of this region's log too.
    causal: Causal,
}

encoded_struct!(Channel { kind, home, settings, members, others, sends, marks, mentions, floor, causal });

/// Somebody in a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// As what.
    pub role: Role,
    /// What had been applied when this membership began.
    pub since: Vector,
    /// Sends nothing before this time.
    pub muted_until: UnixMillis,
    /// When the last message was, for slow mode.
    pub last_message: Hlc,
}

encoded_struct!(Member { role, since, muted_until, last_message });

/// Somebody who is not in a channel and about whom something is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outsider {
    /// May come in, with this role.
    pub invited: Option<Role>,
    /// Stays out until this time.
    pub banned_until: UnixMillis,
    /// The event that ended the membership, which is the last that person receives.
    pub removed: Option<EventId>,
}

encoded_struct!(Outsider { invited, banned_until, removed });

/// What is asked about a person's right to act.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Yes.
    Yes,
    /// The person is not in the channel.
    NotMember,
    /// The role is not enough, or nobody may.
    Forbidden,
    /// Not before this time.
    Muted(UnixMillis),
}

impl Channel {
    /// What it is for, once that is known here.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Where membership is decided.
    pub fn home(&self) -> Option<Region> {
        self.home
    }

    /// How it is set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who is in it.
    pub fn members(&self) -> &BTreeMap<UserId, Member> {
        &self.members
    }

    /// What is known of somebody who is not in it.
    pub fn outsider(&self, user: &UserId) -> Option<&Outsider> {
        self.others.get(user)
    }

    /// How many people it knows something of who are not in it.
    pub fn outsiders(&self) -> usize {
        self.others.len()
    }

    /// What is applied here.
    pub fn causal(&self) -> &Causal {
        &self.causal
    }

    pub(crate) fn causal_mut(&mut self) -> &mut Causal {
        &mut self.causal
    }

    /// What retention removed.
    pub fn floor(&self) -> &Vector {
        &self.floor
    }

    /// The last event of `region`'s log here.
    pub fn head(&self, region: Region) -> Option<Mark> {
        self.causal.applied().get(region)
    }

    /// The numbers of a device's sends.
    pub fn sends(&self, user: &UserId, device: &DeviceId) -> Option<&Sends> {
        self.sends.get(user)?.get(device)
    }

    /// From how many devices somebody has sent, those silent for too long left out.
    pub fn devices(&self, now: UnixMillis, user: &UserId) -> usize {
        let devices = self.sends.get(user).into_iter().flatten();
        devices.filter(|(_, sends)| !sends.is_forgotten(now)).count()
    }

    /// How far somebody has read and received.
    pub fn mark(&self, user: &UserId) -> ReadMark {
        self.marks.get(user).cloned().unwrap_or_default()
    }

    /// All marks.
    pub fn marks(&self) -> &BTreeMap<UserId, ReadMark> {
        &self.marks
    }

    /// May `user` do this at `now`?
    pub fn right(&self, now: UnixMillis, user: &UserId, action: Action) -> Right {
        let Some((member, kind)) = self.members.get(user).zip(self.kind) else { return Right::NotMember };
        if needed(kind, &self.settings, action).is_none_or(|least| member.role < least) {
            return Right::Forbidden;
        }
        let speaks = matches!(action, Action::Send | Action::React | Action::ChangeOwn);
        if speaks && now < member.muted_until { Right::Muted(member.muted_until) } else { Right::Yes }
    }

    /// When a member may send the next message, in slow mode. Who keeps order is not slowed down.
    pub fn next_message(&self, user: &UserId) -> UnixMillis {
        let slowed =
            self.members.get(user).filter(|m| m.role < Role::Moderator && m.last_message > Hlc::default());
        slowed.map_or(UnixMillis(0), |m| {
            UnixMillis(m.last_message.millis().0.saturating_add(self.settings.slow_mode))
        })
    }

    /// Where the stream of somebody who reads from `from` may begin: not before the membership, where the channel says so.
    pub fn readable_from(&self, user: &UserId) -> Option<Vector> {
        let member = self.members.get(user)?;
        let mut from = self.floor.clone();
        if self.settings.since_join {
            from.join(&member.since);
        }
        Some(from)
    }

    /// Messages that somebody has not read: no write per message, a subtraction per region. What retention removed is not counted.
    pub fn unread(&self, user: &UserId) -> u64 {
        let mark = self.marks.get(user).map(|mark| &mark.read);
        let start = self.readable_from(user).unwrap_or_default();
        let count = |(region, head): (Region, Mark)| {
            let read = mark.and_then(|mark| mark.get(region)).map_or(0, |mark| mark.count);
            let kept = start.get(region).map_or(0, |mark| mark.count);
            head.count.saturating_sub(read.max(kept))
        };
        self.causal.applied().iter().map(count).sum()
    }

    /// Mentions that somebody has not read, up to [`MENTIONS`].
    pub fn unread_mentions(&self, user: &UserId) -> usize {
        self.mentions.get(user).map_or(0, BTreeSet::len)
    }

    /// Applies an event that follows everything applied here.
    pub(crate) fn append(&mut self, lineage: &Lineage, event: &Arc<Event>) {
        self.causal.append(lineage, event);
        self.apply(lineage, event);
    }

    /// Applies what the rule let go.
    pub(crate) fn delivered(&mut self, lineage: &Lineage, delivery: &Delivery) {
        self.apply(lineage, &delivery.event);
    }

    fn apply(&mut self, lineage: &Lineage, event: &Event) {
        self.note_send(event);
        match &event.content {
            Content::Created { kind, home, settings, members } => {
                (self.kind, self.home, self.settings) = (Some(*kind), Some(*home), settings.clone());
                for (user, role) in members {
                    self.enter(user, *role);
                }
            }
            Content::Updated { settings } => self.settings = settings.clone(),
            Content::Member { user, change } => self.change(event.id, user, change),
            Content::Message { mentions, everyone, .. } => self.message(event, mentions, *everyone),
            Content::Edit { .. }
            | Content::Delete { .. }
            | Content::Reaction { .. }
            | Content::Custom { .. }
            | Content::Call { .. }
            | Content::Hole { .. } => {}
        }
        self.note_read(lineage, event);
    }

    fn note_send(&mut self, event: &Event) {
        let Some(from) = event.from.as_ref().filter(|from| from.csn > 0) else { return };
        let devices = self.sends.entry(from.user.clone()).or_default();
        let at = event.clock.millis();
        // A device that has been silent for too long leaves when its owner sends from another: the table stays as long as people have
        // devices, and every replica drops the same.
        devices.retain(|_, sends| !sends.is_forgotten(at));
        let sends = devices.entry(from.device.clone()).or_default();
        sends.accept(at, from.csn, event.content.fingerprint(), event.id, event.count);
        self.sweep(&from.user, at);
    }

    /// Forgets the numbers of the next person after this one, where all their devices have been silent for too long: of a huge audience, of
    /// which each says something once, the table would only grow.
    fn sweep(&mut self, after: &UserId, at: UnixMillis) {
        let next = self.sends.range::<UserId, _>((Bound::Excluded(after), Bound::Unbounded)).next();
        if let Some((user, devices)) = next
            && devices.values().all(|sends| sends.is_forgotten(at))
        {
            let user = user.clone();
            self.sends.remove(&user);
        }
    }

    fn message(&mut self, event: &Event, mentions: &[UserId], everyone: bool) {
        let sender = event.user();
        if let Some(member) = sender.and_then(|sender| self.members.get_mut(sender)) {
            member.last_message = member.last_message.max(event.clock);
        }
        let all = everyone && self.members.len() <= EVERYONE;
        let named: Vec<UserId> = if all { self.members.keys().cloned().collect() } else { mentions.to_vec() };
        for user in named.into_iter().filter(|user| Some(user) != sender && self.members.contains_key(user)) {
            let list = self.mentions.entry(user).or_default();
            if list.len() < MENTIONS {
                list.insert(event.id);
            }
        }
    }

    /// The sender had read what the event says, and its own words at once.
    fn note_read(&mut self, lineage: &Lineage, event: &Event) {
        let Some(user) = event.user().cloned() else { return };
        let EventId { region, place } = event.id;
        let mut moved = ReadMark { read: event.read.clone(), delivered: Vector::default() };
        let before = self.marks.get(&user).and_then(|mark| mark.read.place(region));
        let before = moved.read.place(region).max(before);
        let steps =
            before == event.prev || before.zip(event.prev).is_some_and(|(b, p)| lineage.covers(region, b, p));
        if steps {
            moved.read.raise(region, Mark { place, count: event.count });
        }
        if !moved.read.is_empty() {
            self.raise_mark(lineage, &user, &moved);
        }
    }

    /// Moves somebody's marks; a lower one changes nothing. A mark never passes what is applied here.
    pub(crate) fn raise_mark(&mut self, lineage: &Lineage, user: &UserId, to: &ReadMark) {
        if !self.members.contains_key(user) {
            return;
        }
        let mark = self.marks.entry(user.clone()).or_default();
        mark.join(to);
        if let Some(list) = self.mentions.get_mut(user) {
            list.retain(|id| !mark.read.covers(lineage, *id));
            if list.is_empty() {
                self.mentions.remove(user);
            }
        }
    }

    fn change(&mut self, event: EventId, user: &UserId, change: &Change) {
        match change {
            Change::Joined { role } => self.enter(user, *role),
            Change::Left | Change::Removed => self.exit(event, user),
            Change::Invited { role } => self.others.entry(user.clone()).or_default().invited = Some(*role),
            Change::Role { role } => {
                if let Some(member) = self.members.get_mut(user) {
                    member.role = *role;
                }
            }
            Change::Muted { until } => {
                if let Some(member) = self.members.get_mut(user) {
                    member.muted_until = *until;
                }
            }
            Change::Banned { until } => {
                if until.0 > 0 {
                    self.exit(event, user);
                }
                self.others.entry(user.clone()).or_default().banned_until = *until;
            }
        }
    }

    /// A person who comes in has read what was there before: what nobody could have shown does not count as unread.
    fn enter(&mut self, user: &UserId, role: Role) {
        if self.members.contains_key(user) {
            return;
        }
        self.others.remove(user);
        let since = self.causal.applied().clone();
        let mark = self.marks.entry(user.clone()).or_default();
        mark.join(&ReadMark { read: since.clone(), delivered: Vector::default() });
        let member = Member { role, since, muted_until: UnixMillis(0), last_message: Hlc::default() };
        self.members.insert(user.clone(), member);
    }

    fn exit(&mut self, event: EventId, user: &UserId) {
        if self.members.remove(user).is_some() {
            self.marks.remove(user);
            self.mentions.remove(user);
            let other = self.others.entry(user.clone()).or_default();
            other.removed = Some(event);
            other.invited = None;
        }
    }

    /// Retention removed everything up to `floor`, which a checkpoint covers.
    pub(crate) fn forget(&mut self, lineage: &Lineage, floor: &Vector) {
        for (region, mark) in floor.iter() {
            if self.causal.applied().covers(lineage, EventId { region, place: mark.place }) {
                self.floor.raise(region, mark);
            }
        }
        let floor = &self.floor;
        for list in self.mentions.values_mut() {
            list.retain(|id| !floor.covers(lineage, *id));
        }
        self.mentions.retain(|_, list| !list.is_empty());
    }

    /// The place before which the next event of `region` has to go.
    pub(crate) fn prev(&self, region: Region) -> Option<Place> {
        self.causal.applied().place(region)
    }
}
