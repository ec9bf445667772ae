//! What a command comes to: values in, a decision out, nothing changed.

use std::sync::Arc;

use base::{CallId, ChannelId, UnixMillis, UserId};

use super::state::State;
use crate::channel::{Channel, Right};
use crate::command::{Answer, Ask, Code, Command, Now, Original, Refusal, Send};
use crate::event::{Body, CallStage, Change, Content, Kind, ReadMark, Sender, Settings};
use crate::limits::Limits;
use crate::place::{EventId, Mark, Region, Token, Vector};
use crate::roles::{Action, Role};
use crate::sends::{Numbered, Sends};

/// What is done about a command.
pub(super) enum Decision {
    Answer(Answer),
    Append(Draft),
    Mark {
        user: UserId,
        mark: ReadMark,
    },
    Tell {
        name: Arc<str>,
        body: Body,
    },
    /// What it stands on has not come from another region.
    Wait,
}

/// An event without its place.
pub(super) struct Draft {
    pub from: Option<Sender>,
    pub read: Vector,
    pub after: Vec<(ChannelId, Vector)>,
    pub content: Content,
    /// What was presented, for the answer's token.
    pub seen: Vector,
}

/// As whom the server sends.
const SERVER: &str = "server";

/// How soon to try again what another region has to decide or bring, in milliseconds.
const ELSEWHERE: u64 = 1_000;

type Verdict = Result<Decision, Refusal>;

/// One decision and all that it is made from.
struct Case<'a> {
    state: &'a State,
    limits: &'a Limits,
    alone: bool,
    now: Now,
    command: &'a Command,
    channel: Option<&'a Channel>,
}

pub(super) fn decide(state: &State, limits: &Limits, alone: bool, now: Now, command: &Command) -> Decision {
    let channel = state.channels.get(&command.channel).filter(|channel| channel.kind().is_some());
    let case = Case { state, limits, alone, now, command, channel };
    case.verdict().unwrap_or_else(|refusal| Decision::Answer(Answer::Refused(refusal)))
}

/// What a command presents as seen.
pub(super) fn presented(command: &Command) -> Vector {
    let mut seen = Vector::default();
    match &command.ask {
        Ask::Send(send) => {
            send.seen.iter().for_each(|token| seen.join(&token.seen));
            seen.join(&send.delivered);
        }
        Ask::Read { read, delivered } => {
            seen.join(&read.at);
            seen.join(&delivered.at);
        }
        _ => {}
    }
    seen
}

/// What of other regions has to be applied before a command.
pub(super) fn wanted(region: Region, command: &Command) -> Vector {
    let mut wanted = presented(command);
    if let Ask::Send(send) = &command.ask {
        for id in send.content.named() {
            wanted.raise(id.region, Mark { place: id.place, count: 0 });
        }
    }
    wanted.remove(region);
    wanted
}

impl Case<'_> {
    fn verdict(&self) -> Verdict {
        self.check_names()?;
        match &self.command.ask {
            Ask::Create { kind, settings, members } => self.create(*kind, settings, members),
            Ask::Update { settings } => self.update(settings),
            Ask::Join => self.join(),
            Ask::Leave => self.leave(),
            Ask::Member { user, change } => self.member(user, change),
            Ask::Send(send) => self.send(send),
            Ask::Call { call, stage } => self.call(call, stage),
            Ask::Read { .. } => self.read(),
            Ask::Ephemeral { name, body } => self.ephemeral(name, body),
        }
    }

    fn check_names(&self) -> Result<(), Refusal> {
        let Command { origin, channel, .. } = self.command;
        if origin.user.as_ref().is_some_and(|user| user.as_str() == SERVER) {
            return Err(Refusal::last(Code::Forbidden, "the name of the server is no name of a user"));
        }
        let user = origin.user.as_ref().map_or(SERVER, UserId::as_str);
        let fits = |name: &str| !name.is_empty() && name.len() <= self.limits.name;
        if [user, origin.device.as_str(), channel.as_str()].into_iter().all(fits) {
            Ok(())
        } else {
            Err(Refusal::last(
                Code::TooLarge,
                "a user, device or channel has no name, or one that is too long",
            ))
        }
    }

    fn channel(&self) -> Result<&Channel, Refusal> {
        self.channel.ok_or_else(|| self.refuse(Code::NoChannel, "there is no such channel: create it first"))
    }

    /// Outside of a channel's home, what membership says is only the latest that came from there.
    fn refuse(&self, code: Code, reason: &'static str) -> Refusal {
        let home = self.channel.and_then(Channel::home);
        if self.alone || home == Some(self.state.region) {
            Refusal::last(code, reason)
        } else {
            Refusal::later(code, reason, ELSEWHERE)
        }
    }

    /// The channel, where this region decides about its membership.
    fn at_home(&self) -> Result<&Channel, Refusal> {
        let channel = self.channel()?;
        if channel.home() == Some(self.state.region) {
            return Ok(channel);
        }
        Err(Refusal::later(Code::Busy, "the channel's home decides this: ask there", ELSEWHERE))
    }

    fn check(&self, channel: &Channel, action: Action) -> Result<(), Refusal> {
        let Some(user) = &self.command.origin.user else { return Ok(()) };
        match channel.right(self.now.wall, user, action) {
            Right::Yes => Ok(()),
            Right::NotMember => Err(self.not_member(channel, user)),
            Right::Forbidden => {
                Err(self.refuse(Code::Forbidden, "your role in this channel does not allow this"))
            }
            Right::Muted(_) => Err(self.refuse(Code::Muted, "you are muted in this channel")),
        }
    }

    fn not_member(&self, channel: &Channel, user: &UserId) -> Refusal {
        match channel.outsider(user).and_then(|outsider| outsider.removed) {
            Some(id) => self.refuse(Code::Removed(id), "you are not in this channel any more"),
            None => self.refuse(Code::NotMember, "you are not in this channel: join it first"),
        }
    }

    fn create(&self, kind: Kind, settings: &Settings, members: &[(UserId, Role)]) -> Verdict {
        let user = self.command.origin.user.as_ref();
        if let Some(channel) = self.channel {
            let same = channel.kind() == Some(kind);
            let known = user.is_none_or(|user| channel.members().contains_key(user));
            if same && known {
                return Ok(Decision::Answer(Answer::Done));
            }
            return Err(Refusal::last(
                Code::Exists,
                "there is a channel of this name already: choose another",
            ));
        }
        if self.state.channels.len() >= self.limits.channels {
            return Err(Refusal::later(Code::Busy, "this partition has as many channels as it may", 60_000));
        }
        self.check_settings(settings)?;
        let members = created_members(kind, user, members)?;
        let fits = |name: &str| !name.is_empty() && name.len() <= self.limits.name;
        if members.len() > self.limits.created_members || !members.iter().all(|(user, _)| fits(user.as_str()))
        {
            return Err(Refusal::last(
                Code::TooLarge,
                "too many members at once: create with fewer, invite the others",
            ));
        }
        let home = self.state.region;
        self.append(Content::Created { kind, home, settings: settings.clone(), members })
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), Refusal> {
        if settings.name.len() <= self.limits.name {
            return Ok(());
        }
        Err(Refusal::last(Code::TooLarge, "the name of the channel is too long"))
    }

    fn update(&self, settings: &Settings) -> Verdict {
        let channel = self.at_home()?;
        self.check_settings(settings)?;
        let mut kept = settings.clone();
        // Who keeps order may freeze and slow down; all else is the owner's.
        kept.frozen = channel.settings().frozen;
        kept.slow_mode = channel.settings().slow_mode;
        let action = if kept == *channel.settings() { Action::Moderate } else { Action::Manage };
        self.check(channel, action)?;
        if settings.active_active != channel.settings().active_active {
            let reason = "a channel is active in all regions from its creation on, or never";
            return Err(Refusal::last(Code::Malformed, reason));
        }
        if settings == channel.settings() {
            return Ok(Decision::Answer(Answer::Done));
        }
        self.append(Content::Updated { settings: settings.clone() })
    }

    fn join(&self) -> Verdict {
        let channel = self.at_home()?;
        let Some(user) = &self.command.origin.user else {
            return Err(Refusal::last(Code::Malformed, "a server joins nothing: name the user"));
        };
        if channel.members().contains_key(user) {
            return Ok(Decision::Answer(Answer::Done));
        }
        let outsider = channel.outsider(user).cloned().unwrap_or_default();
        if self.now.wall < outsider.banned_until {
            return Err(Refusal::last(Code::Banned, "you are banned from this channel"));
        }
        let public = channel.settings().public.then_some(match channel.kind() {
            Some(Kind::Live) => Role::Guest,
            _ => Role::Member,
        });
        let Some(role) = outsider.invited.or(public) else {
            return Err(Refusal::last(Code::Forbidden, "this channel is not public: ask for an invitation"));
        };
        self.check_room(channel)?;
        self.append(Content::Member { user: user.clone(), change: Change::Joined { role } })
    }

    fn check_room(&self, channel: &Channel) -> Result<(), Refusal> {
        let most = match channel.kind() {
            Some(Kind::Direct | Kind::Inbox) | None => {
                return Err(Refusal::last(Code::Forbidden, "nobody joins this kind of channel"));
            }
            Some(Kind::Group) => self.limits.group_members,
            Some(Kind::Live) => self.limits.live_members,
        };
        if channel.members().len() < most {
            return Ok(());
        }
        Err(Refusal::later(Code::TooLarge, "the channel is full", 60_000))
    }

    fn leave(&self) -> Verdict {
        let channel = self.at_home()?;
        match &self.command.origin.user {
            Some(user) if channel.members().contains_key(user) => {
                self.append(Content::Member { user: user.clone(), change: Change::Left })
            }
            _ => Ok(Decision::Answer(Answer::Done)),
        }
    }

    fn member(&self, user: &UserId, change: &Change) -> Verdict {
        let channel = self.at_home()?;
        let action = match change {
            Change::Invited { .. } | Change::Joined { .. } => Action::Invite,
            Change::Removed | Change::Muted { .. } | Change::Banned { .. } => Action::Moderate,
            Change::Role { .. } => Action::Manage,
            Change::Left => {
                return Err(Refusal::last(Code::Malformed, "nobody leaves for somebody else: remove them"));
            }
        };
        self.check(channel, action)?;
        self.check_power(channel, user, change)?;
        if is_so(channel, user, change) {
            return Ok(Decision::Answer(Answer::Done));
        }
        match change {
            Change::Joined { .. } => self.check_room(channel)?,
            Change::Invited { .. } | Change::Banned { .. } if self.is_one_too_many(channel, user) => {
                let reason = "the channel remembers as many invitations and bans as it may";
                return Err(Refusal::last(Code::TooLarge, reason));
            }
            Change::Muted { .. } | Change::Role { .. } | Change::Removed
                if !channel.members().contains_key(user) =>
            {
                return Err(Refusal::last(Code::NotMember, "that person is not in this channel"));
            }
            _ => {}
        }
        self.append(Content::Member { user: user.clone(), change: change.clone() })
    }

    /// Somebody of whom nothing is known, beside all those who are not in the channel and of whom something is.
    fn is_one_too_many(&self, channel: &Channel, user: &UserId) -> bool {
        let is_known = channel.outsider(user).is_some() || channel.members().contains_key(user);
        !is_known && channel.outsiders() >= self.limits.outsiders
    }

    /// Nobody acts on somebody who stands as high, or gives more than they have.
    fn check_power(&self, channel: &Channel, user: &UserId, change: &Change) -> Result<(), Refusal> {
        let role = |user: &UserId| channel.members().get(user).map(|member| member.role);
        let Some(own) = self.command.origin.user.as_ref().map(role) else { return Ok(()) };
        if user.as_str().is_empty() || user.as_str().len() > self.limits.name {
            return Err(Refusal::last(Code::TooLarge, "that person's name is empty or too long"));
        }
        let given = match change {
            Change::Joined { role } | Change::Invited { role } | Change::Role { role } => Some(*role),
            _ => None,
        };
        let invites = matches!(change, Change::Invited { .. } | Change::Joined { .. });
        let above = role(user) < own || invites;
        if (above || own == Some(Role::Owner)) && given <= own {
            Ok(())
        } else {
            Err(Refusal::last(
                Code::Forbidden,
                "that person stands as high as you, or you give more than you have",
            ))
        }
    }

    fn send(&self, send: &Send) -> Verdict {
        let channel = self.channel()?;
        let seen = presented(self.command);
        self.check_head(&seen)?;
        let user = self.command.origin.user.clone().unwrap_or_else(|| UserId::new(SERVER));
        let device = self.command.origin.device.clone();
        match self.judge(channel, &user, send)? {
            Numbered::Again(event, count) => {
                let mut token = Token { seen };
                token.seen.raise(event.region, Mark { place: event.place, count });
                return Ok(Decision::Answer(Answer::Sent { event, token }));
            }
            Numbered::Gap(last) => {
                return Err(Refusal::last(
                    Code::CsnGap(last),
                    "a send before this one was not accepted: send again from there",
                ));
            }
            Numbered::Conflict => {
                return Err(Refusal::last(Code::CsnConflict, "this number was used for another message"));
            }
            Numbered::Stale => {
                return Err(Refusal::last(
                    Code::CsnStale,
                    "this number is below what was accepted, and never was",
                ));
            }
            Numbered::Next => {}
        }
        self.check_size(send)?;
        self.check_content(channel, &user, send)?;
        self.check_slow(channel, &user, send)?;
        let causal = channel.causal();
        if causal.unsatisfied(&self.state.lineage, &wanted(self.state.region, self.command)).is_some() {
            return Ok(Decision::Wait);
        }
        let from = Some(Sender { user: user.clone(), device, csn: send.csn });
        let read = self.newly_read(channel, &user, &seen);
        let (after, content) = (send.after.clone(), send.content.clone());
        Ok(Decision::Append(Draft { from, read, after, content, seen }))
    }

    fn judge(&self, channel: &Channel, user: &UserId, send: &Send) -> Result<Numbered, Refusal> {
        let follows = send.follows.unwrap_or(send.csn.saturating_sub(1));
        if send.csn == 0 || follows >= send.csn {
            return Err(Refusal::last(
                Code::Malformed,
                "sends are numbered from 1, and follow a lower number",
            ));
        }
        let device = &self.command.origin.device;
        let unknown = Sends::default();
        let sends = channel.sends(user, device);
        let is_person = self.command.origin.user.is_some();
        if is_person && sends.is_none() && channel.devices(self.now.wall, user) >= self.limits.devices {
            return Err(Refusal::last(Code::TooLarge, "you send from too many devices in this channel"));
        }
        Ok(sends.unwrap_or(&unknown).judge(self.now.wall, send.csn, follows, send.content.fingerprint()))
    }

    /// A place of this log that it has never had: only here can that be judged.
    fn check_head(&self, seen: &Vector) -> Result<(), Refusal> {
        let head = self.state.head;
        match seen.place(self.state.region) {
            Some(place) if place > head => Err(Refusal::last(
                Code::BeyondHead,
                "what you have seen is not in this log: it was lost or is of another one",
            )),
            _ => Ok(()),
        }
    }

    fn check_size(&self, send: &Send) -> Result<(), Refusal> {
        let limits = self.limits;
        let fits = match &send.content {
            Content::Message { body, mentions, .. } => {
                let named = |user: &UserId| user.as_str().len() <= limits.name;
                body.len() <= limits.body && mentions.len() <= limits.mentions && mentions.iter().all(named)
            }
            Content::Edit { body, .. } => body.len() <= limits.body,
            Content::Custom { name, body } => body.len() <= limits.body && name.len() <= limits.name,
            Content::Reaction { emoji, .. } => !emoji.is_empty() && emoji.len() <= limits.name,
            Content::Call { call, .. } => call.as_str().len() <= limits.name,
            _ => true,
        };
        let after = send.after.iter().all(|(channel, _)| channel.as_str().len() <= limits.name);
        if fits && after && send.seen.len() <= limits.seen && send.after.len() <= limits.after {
            return Ok(());
        }
        Err(Refusal::last(
            Code::TooLarge,
            "the body, a name or a list is larger than the limits of this server",
        ))
    }

    fn check_content(&self, channel: &Channel, user: &UserId, send: &Send) -> Result<(), Refusal> {
        if !channel.settings().active_active && channel.home() != Some(self.state.region) {
            return Err(Refusal::later(
                Code::Busy,
                "the channel takes sends in its home region: ask there",
                ELSEWHERE,
            ));
        }
        let beyond = |id: EventId| id.region == self.state.region && id.place > self.state.head;
        if send.content.named().any(beyond) {
            return Err(Refusal::last(Code::NoTarget, "the message named does not exist"));
        }
        self.check_named(channel, send)?;
        match &send.content {
            Content::Message { everyone, .. } => {
                self.check(channel, Action::Send)?;
                if *everyone { self.check(channel, Action::MentionEveryone) } else { Ok(()) }
            }
            Content::Custom { .. } | Content::Call { .. } => self.check(channel, Action::Send),
            Content::Reaction { target, .. } => {
                self.original(send, *target)?;
                self.check(channel, Action::React)
            }
            Content::Edit { target, .. } => {
                let own = self.original(send, *target)?.author.as_ref() == Some(user);
                self.check(channel, Action::ChangeOwn)?;
                if own {
                    Ok(())
                } else {
                    Err(Refusal::last(Code::Forbidden, "only its author edits a message"))
                }
            }
            Content::Delete { target } => {
                let own = self.original(send, *target)?.author.as_ref() == Some(user);
                self.check(channel, if own { Action::ChangeOwn } else { Action::DeleteAny })
            }
            Content::Created { .. }
            | Content::Updated { .. }
            | Content::Member { .. }
            | Content::Hole { .. } => {
                Err(Refusal::last(Code::Malformed, "this is no send: there is a command of its own for it"))
            }
        }
    }

    /// An id is what anybody can write; what a command waits for, and a hole is appended for, is what was proved to have been seen.
    fn check_named(&self, channel: &Channel, send: &Send) -> Result<(), Refusal> {
        let seen = presented(self.command);
        let is_known = |id: EventId| {
            id.region == self.state.region
                || channel.causal().satisfies(&self.state.lineage, id.region, id.place)
                || seen.covers(&self.state.lineage, id)
        };
        if send.content.named().all(is_known) {
            Ok(())
        } else if self.alone {
            Err(Refusal::last(Code::NoTarget, "the message named does not exist"))
        } else {
            let reason = "the message named has not come here: say what you have seen of it, or try again";
            Err(Refusal::later(Code::NoTarget, reason, ELSEWHERE))
        }
    }

    fn original<'a>(&self, send: &'a Send, target: EventId) -> Result<&'a Original, Refusal> {
        let found = send.original.as_ref().filter(|original| original.event == target && original.is_message);
        found.ok_or(Refusal::last(Code::NoTarget, "the message named does not exist in this channel"))
    }

    fn check_slow(&self, channel: &Channel, user: &UserId, send: &Send) -> Result<(), Refusal> {
        let next = channel.next_message(user);
        let slow = channel.settings().slow_mode;
        let wait = next.0.saturating_sub(self.now.wall.0);
        // Longer than the mode's own time: the last message's clock was ahead of the wall here, and says nothing about when it was.
        if slow == 0 || !send.content.is_countable() || wait == 0 || wait > slow {
            return Ok(());
        }
        Err(Refusal::later(Code::SlowMode, "this channel is in slow mode", wait))
    }

    /// What `seen` reaches beyond the sender's mark, as far as it is applied here.
    fn newly_read(&self, channel: &Channel, user: &UserId, seen: &Vector) -> Vector {
        let mark = channel.mark(user).read;
        let applied = channel.causal().applied();
        let lineage = &self.state.lineage;
        let further = |(region, new): &(Region, Mark)| {
            let id = EventId { region: *region, place: new.place };
            applied.covers(lineage, id) && !mark.covers(lineage, id)
        };
        seen.iter().filter(further).collect()
    }

    fn read(&self) -> Verdict {
        let channel = self.channel()?;
        let Some(user) = self.command.origin.user.clone() else {
            return Err(Refusal::last(Code::Malformed, "a server reads nothing: name the user"));
        };
        if !channel.members().contains_key(&user) {
            return Err(self.not_member(channel, &user));
        }
        let seen = presented(self.command);
        self.check_head(&seen)?;
        if channel
            .causal()
            .unsatisfied(&self.state.lineage, &wanted(self.state.region, self.command))
            .is_some()
        {
            return Ok(Decision::Wait);
        }
        let Ask::Read { read, delivered } = &self.command.ask else {
            return Err(Refusal::last(Code::Malformed, "no marks were named"));
        };
        let clip = |to: &Vector| self.newly_read(channel, &user, to);
        let mark = ReadMark { read: clip(&read.at), delivered: clip(&delivered.at) };
        Ok(Decision::Mark { user, mark })
    }

    fn ephemeral(&self, name: &Arc<str>, body: &Body) -> Verdict {
        let channel = self.channel()?;
        self.check(channel, Action::Send)?;
        if name.is_empty() || name.len() > self.limits.name || body.len() > self.limits.body {
            return Err(Refusal::last(
                Code::TooLarge,
                "the body or the name is larger than the limits of this server",
            ));
        }
        Ok(Decision::Tell { name: Arc::clone(name), body: Arc::clone(body) })
    }

    /// What people may is decided when they are rung; how it went on is so.
    fn call(&self, call: &CallId, stage: &CallStage) -> Verdict {
        let channel = self.channel()?;
        if matches!(stage, CallStage::Invited { .. }) {
            self.check(channel, Action::Send)?;
        }
        if call.as_str().is_empty() || call.as_str().len() > self.limits.name {
            return Err(Refusal::last(Code::TooLarge, "the call has no name, or one that is too long"));
        }
        self.append(Content::Call { call: call.clone(), stage: stage.clone() })
    }

    /// An event without a number: asking for it twice is harmless.
    fn append(&self, content: Content) -> Verdict {
        let origin = &self.command.origin;
        let from = origin.user.clone().map(|user| Sender { user, device: origin.device.clone(), csn: 0 });
        let none = Vector::default();
        Ok(Decision::Append(Draft { from, read: none.clone(), after: Vec::new(), content, seen: none }))
    }
}

/// Who is in a new channel: as many as its kind allows, who asks among them.
fn created_members(
    kind: Kind,
    creator: Option<&UserId>,
    members: &[(UserId, Role)],
) -> Result<Vec<(UserId, Role)>, Refusal> {
    let own = match kind {
        Kind::Direct | Kind::Inbox => Role::Member,
        Kind::Group | Kind::Live => Role::Owner,
    };
    let mut all: std::collections::BTreeMap<UserId, Role> = members.iter().cloned().collect();
    if kind == Kind::Direct {
        all.values_mut().for_each(|role| *role = Role::Member);
    }
    if let Some(creator) = creator {
        all.insert(creator.clone(), own);
    }
    let fits = match kind {
        Kind::Direct => all.len() == 2,
        Kind::Inbox => all.len() == 1 && creator.is_none(),
        Kind::Group | Kind::Live => true,
    };
    if fits {
        Ok(all.into_iter().collect())
    } else {
        Err(Refusal::last(
            Code::Malformed,
            "a direct channel has two members; an inbox has one, and the server creates it",
        ))
    }
}

/// Would the change change nothing?
fn is_so(channel: &Channel, user: &UserId, change: &Change) -> bool {
    let member = channel.members().get(user);
    let outsider = channel.outsider(user);
    match change {
        Change::Joined { .. } => member.is_some(),
        Change::Invited { role } => {
            member.is_some() || outsider.is_some_and(|other| other.invited == Some(*role))
        }
        Change::Left => member.is_none(),
        Change::Removed => outsider.is_some_and(|other| other.removed.is_some()),
        Change::Role { role } => member.is_some_and(|member| member.role == *role),
        Change::Muted { until } => member.is_some_and(|member| member.muted_until == *until),
        Change::Banned { until } => {
            let banned = outsider.map_or(UnixMillis(0), |other| other.banned_until);
            (member.is_none() || until.0 == 0) && banned == *until
        }
    }
}
