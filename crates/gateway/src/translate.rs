//! Values of messaging as the protocol writes them, and back.

use base::{ChannelId, UserId};
use channels::Look;
use channels::history::{Shown, Total};
use channels::lists::Listed;
use messaging::causal::{Delivery, Reset};
use messaging::command::{Code, Refusal};
use messaging::event::{CallStage, Change, Content, Event, Kind, ReadMark, Settings};
use messaging::place::{EventId, Place, Region, Vector};
use messaging::receipts;
use messaging::roles::Role;
use wire::messaging as protocol;

/// A body as it is stored. What is no JSON was not stored by this gateway, and is shown as nothing.
pub fn body(stored: &[u8]) -> protocol::Body {
    let null = || protocol::Body::parse(b"null").expect("null is JSON");
    protocol::Body::parse(stored).unwrap_or_else(null)
}

/// An event of a stream.
pub fn item(delivery: &Delivery) -> protocol::Item {
    protocol::Item { late: delivery.late, unmet: delivery.unmet, ..event(&delivery.event) }
}

/// An event as it was appended.
pub fn event(event: &Event) -> protocol::Item {
    let from = event.from.as_ref();
    let id = |place: Place| EventId { region: event.id.region, place }.to_string();
    let mut item = protocol::Item {
        id: event.id.to_string(),
        prev: event.prev.map(id),
        t: event.clock.to_string(),
        count: event.count,
        from: from.map(|from| protocol::Sender {
            user: from.user.as_str().to_owned(),
            device: from.device.as_str().to_owned(),
        }),
        csn: from.map(|from| from.csn).filter(|csn| *csn > 0),
        ..protocol::Item::default()
    };
    content(&event.content, &mut item);
    item
}

fn content(content: &Content, item: &mut protocol::Item) {
    use protocol::ItemKind;
    let text = |id: &EventId| Some(id.to_string());
    item.kind = match content {
        Content::Created { kind: of, settings: given, .. } => {
            (item.channel_kind, item.settings) = (Some(kind(*of)), Some(settings(given)));
            ItemKind::Created
        }
        Content::Updated { settings: given } => {
            item.settings = Some(settings(given));
            ItemKind::Updated
        }
        Content::Member { user, change } => {
            item.user = Some(user.as_str().to_owned());
            membership(change, item);
            ItemKind::Member
        }
        Content::Message { body: said, reply_to, thread, mentions, everyone } => {
            item.body = Some(body(said));
            (item.reply_to, item.thread) = (reply_to.as_ref().and_then(text), thread.as_ref().and_then(text));
            (item.mentions, item.everyone) = (names(mentions), *everyone);
            ItemKind::Message
        }
        Content::Edit { target, body: said } => {
            (item.target, item.body) = (text(target), Some(body(said)));
            ItemKind::Edit
        }
        Content::Delete { target } => {
            item.target = text(target);
            ItemKind::Delete
        }
        Content::Custom { name, body: said } => {
            (item.name, item.body) = (Some(name.to_string()), Some(body(said)));
            ItemKind::Custom
        }
        // It reaches streams in runs; one that came alone changed one total, which whoever shows it asks for.
        Content::Reaction { target, .. } => {
            item.target = text(target);
            item.folded = Some(protocol::Folded::Reactions { totals: Vec::new() });
            ItemKind::Folded
        }
        Content::Call { call, stage } => {
            item.call = Some(call.as_str().to_owned());
            call_stage(stage, item);
            ItemKind::Call
        }
        Content::Hole { region, known, upto } => {
            item.hole = Some(hole(*region, *known, *upto));
            ItemKind::Hole
        }
    };
}

fn call_stage(stage: &CallStage, item: &mut protocol::Item) {
    item.stage = Some(match stage {
        CallStage::Invited { .. } => protocol::CallStage::Invited,
        CallStage::Accepted => protocol::CallStage::Accepted,
        CallStage::Ended { talked } => {
            item.talked = Some(*talked);
            protocol::CallStage::Ended
        }
        CallStage::Missed { users } => {
            item.mentions = names(users);
            protocol::CallStage::Missed
        }
    });
}

fn hole(region: Region, known: Option<Place>, upto: Place) -> protocol::Hole {
    let known = known.map(|place| format!("{}.{}", place.epoch, place.n));
    protocol::Hole { region: region.to_string(), epoch: upto.epoch, known, upto: upto.n }
}

fn membership(change: &Change, item: &mut protocol::Item) {
    use protocol::MemberChange;
    item.change = Some(match change {
        Change::Joined { role: to } => {
            item.role = Some(role(*to));
            MemberChange::Joined
        }
        Change::Left => MemberChange::Left,
        Change::Invited { role: to } => {
            item.role = Some(role(*to));
            MemberChange::Invited
        }
        Change::Removed => MemberChange::Removed,
        Change::Role { role: to } => {
            item.role = Some(role(*to));
            MemberChange::Role
        }
        Change::Muted { until } => {
            item.until = Some(until.0);
            MemberChange::Muted
        }
        Change::Banned { until } => {
            item.until = Some(until.0);
            MemberChange::Banned
        }
    });
}

/// Something displayed.
pub fn displayed(shown: &Shown) -> protocol::Item {
    let mut item = event(&shown.event);
    item.edited = shown.edited.is_some();
    if let Some(now) = &shown.edited {
        item.body = Some(body(now));
    }
    if shown.deleted {
        (item.deleted, item.body) = (true, None);
    }
    item.totals = shown.totals.iter().map(|total| self::total(None, total)).collect();
    item
}

/// How many react to a message with something.
pub fn total(event: Option<EventId>, total: &Total) -> protocol::Total {
    protocol::Total {
        event: event.map(|event| event.to_string()),
        emoji: total.emoji.to_string(),
        count: total.count,
        mine: total.mine,
    }
}

/// A channel in somebody's list.
pub fn listed(one: &Listed) -> protocol::Listed {
    let state = protocol::State {
        kind: kind(one.kind),
        settings: settings(&one.settings),
        role: Some(role(one.role)),
        members: one.members as u64,
        tier: tier(receipts::Tier::of(one.members)),
        unread: one.unread,
        mentions: one.mentions as u64,
        marks: Vec::new(),
        head: None,
    };
    protocol::Listed {
        channel: one.channel.as_str().to_owned(),
        kind: state.kind,
        name: state.settings.name.clone(),
        unread: one.unread,
        mentions: state.mentions,
        last: one.last.as_ref().map(displayed),
        peer: one.peer.as_ref().map(|peer| peer.as_str().to_owned()),
        state,
    }
}

fn tier(tier: receipts::Tier) -> protocol::Tier {
    match tier {
        receipts::Tier::Small => protocol::Tier::S,
        receipts::Tier::Medium => protocol::Tier::M,
        receipts::Tier::Large => protocol::Tier::L,
    }
}

/// Names of people.
pub fn names(users: &[UserId]) -> Vec<String> {
    users.iter().map(|user| user.as_str().to_owned()).collect()
}

/// Positions by region.
pub fn positions(vector: &Vector) -> protocol::Positions {
    let id = |(region, mark): (Region, messaging::place::Mark)| {
        (region.to_string(), EventId { region, place: mark.place }.to_string())
    };
    vector.iter().map(id).collect()
}

/// Somebody's marks.
pub fn marks((user, mark): &(UserId, ReadMark)) -> protocol::Marks {
    protocol::Marks {
        user: user.as_str().to_owned(),
        read: positions(&mark.read),
        delivered: positions(&mark.delivered),
    }
}

/// Marks and counts.
pub fn receipts(channel: &ChannelId, frame: &receipts::Frame) -> protocol::Receipts {
    let count = |count: &receipts::Count| protocol::Count {
        event: count.event.to_string(),
        read: count.read as u64,
        delivered: count.delivered as u64,
        names: names(&count.names),
        approx: count.approx,
    };
    protocol::Receipts {
        channel: channel.as_str().to_owned(),
        marks: frame.marks.iter().map(marks).collect(),
        counts: frame.counts.iter().map(count).collect(),
    }
}

/// How a channel is.
pub fn state(look: &Look) -> protocol::State {
    let head = look.head.at.iter().max_by_key(|(_, mark)| mark.place);
    protocol::State {
        kind: kind(look.kind),
        settings: settings(&look.settings),
        role: look.role.map(role),
        members: look.members as u64,
        tier: tier(look.tier),
        unread: look.unread,
        mentions: look.mentions as u64,
        marks: look.marks.iter().map(marks).collect(),
        head: head.map(|(region, mark)| EventId { region, place: mark.place }.to_string()),
    }
}

/// What a channel is for.
pub fn kind(kind: Kind) -> protocol::ChannelKind {
    match kind {
        Kind::Direct => protocol::ChannelKind::Direct,
        Kind::Group => protocol::ChannelKind::Group,
        Kind::Live => protocol::ChannelKind::Live,
        Kind::Inbox => protocol::ChannelKind::Inbox,
    }
}

/// The same, from a client.
pub fn kind_of(kind: protocol::ChannelKind) -> Kind {
    match kind {
        protocol::ChannelKind::Direct => Kind::Direct,
        protocol::ChannelKind::Group => Kind::Group,
        protocol::ChannelKind::Live => Kind::Live,
        protocol::ChannelKind::Inbox => Kind::Inbox,
    }
}

/// What somebody is in a channel.
pub fn role(role: Role) -> protocol::Role {
    match role {
        Role::Owner => protocol::Role::Owner,
        Role::Moderator => protocol::Role::Moderator,
        Role::Member => protocol::Role::Member,
        Role::Guest => protocol::Role::Guest,
    }
}

/// The same, from a client; a member where nothing is said.
pub fn role_of(role: Option<protocol::Role>) -> Role {
    match role {
        Some(protocol::Role::Owner) => Role::Owner,
        Some(protocol::Role::Moderator) => Role::Moderator,
        Some(protocol::Role::Member) | None => Role::Member,
        Some(protocol::Role::Guest) => Role::Guest,
    }
}

/// How a channel is set up.
pub fn settings(given: &Settings) -> protocol::Settings {
    protocol::Settings {
        name: (!given.name.is_empty()).then(|| given.name.to_string()),
        public: given.public,
        since_join: given.since_join,
        guests_send: given.guests_send,
        frozen: given.frozen,
        slow_mode: given.slow_mode,
        active_active: given.active_active,
    }
}

/// The same, from a client.
pub fn settings_of(given: &protocol::Settings) -> Settings {
    Settings {
        name: given.name.as_deref().unwrap_or_default().into(),
        public: given.public,
        since_join: given.since_join,
        guests_send: given.guests_send,
        frozen: given.frozen,
        slow_mode: given.slow_mode,
        active_active: given.active_active,
        ..Settings::default()
    }
}

/// Why a stream begins anew.
pub fn reset(why: Reset) -> protocol::ResetWhy {
    match why {
        Reset::Epoch => protocol::ResetWhy::Epoch,
        Reset::Retention => protocol::ResetWhy::Retention,
        Reset::TooFar => protocol::ResetWhy::TooFar,
        Reset::Slow => protocol::ResetWhy::Slow,
    }
}

/// Why not.
pub fn error(refusal: &Refusal) -> protocol::Error {
    use protocol::ErrorCode;
    let (mut last, mut id) = (None, None);
    let code = match refusal.code {
        Code::NoChannel => ErrorCode::NoChannel,
        Code::Exists => ErrorCode::Exists,
        Code::NotMember => ErrorCode::NotMember,
        Code::Removed(event) => {
            id = Some(event.to_string());
            ErrorCode::Removed
        }
        Code::Forbidden => ErrorCode::Forbidden,
        Code::Muted => ErrorCode::Muted,
        Code::Banned => ErrorCode::Banned,
        Code::SlowMode => ErrorCode::SlowMode,
        Code::TooLarge => ErrorCode::TooLarge,
        Code::Malformed => ErrorCode::Malformed,
        Code::NoTarget => ErrorCode::NoTarget,
        Code::CsnGap(accepted) => {
            last = Some(accepted);
            ErrorCode::CsnGap
        }
        Code::CsnConflict => ErrorCode::CsnConflict,
        Code::CsnStale => ErrorCode::CsnStale,
        Code::BeyondHead => ErrorCode::BeyondHead,
        Code::Busy => ErrorCode::Busy,
    };
    protocol::Error {
        is_final: refusal.retry_after.is_none(),
        retry_after: refusal.retry_after,
        last,
        id,
        ..protocol::Error::last(code, refusal.reason)
    }
}

/// A run of small events. Totals of reactions are put in by whoever has looked them up.
pub fn fold(fold: &messaging::fold::Fold, members: usize) -> protocol::Item {
    use messaging::fold::About;
    let folded = match &fold.about {
        About::Members => protocol::Folded::Members { members: members as u64 },
        About::Reactions(_) => protocol::Folded::Reactions { totals: Vec::new() },
    };
    protocol::Item {
        id: fold.id.to_string(),
        prev: fold.prev.map(|place| EventId { region: fold.id.region, place }.to_string()),
        t: fold.clock.to_string(),
        kind: protocol::ItemKind::Folded,
        folded: Some(folded),
        late: fold.late,
        ..protocol::Item::default()
    }
}
