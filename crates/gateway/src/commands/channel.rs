//! Channels and who is in them.

use std::sync::Arc;

use base::{ChannelId, UnixMillis, UserId};
use messaging::command::Ask;
use messaging::event::{Change, Kind};
use messaging::roles::Role;
use wire::messaging::{self as protocol, Changed, Command, Error, Okay};

use super::{Asker, ask, channel, malformed, may_read, named, not_granted, user};
use crate::app::App;
use crate::translate;

/// What is to be asked of the channel's owner.
pub(super) fn prepare(asker: &Asker, command: Command) -> Result<(ChannelId, Ask), Error> {
    match command {
        Command::ChannelCreate(create) => self::create(asker, &create),
        Command::ChannelUpdate(update) => {
            let channel = channel(&update.channel)?;
            may_manage(asker, &channel)?;
            Ok((channel, Ask::Update { settings: settings(&update.settings)? }))
        }
        Command::ChannelJoin(join) => {
            let channel = channel(&join.channel)?;
            may_read(asker, &channel)?;
            Ok((channel, Ask::Join))
        }
        Command::ChannelLeave(leave) => Ok((channel(&leave.channel)?, Ask::Leave)),
        Command::ChannelInvite(member) => {
            let role = translate::role_of(member.role);
            change_of(&member.channel, &member.user, Change::Invited { role })
        }
        Command::ChannelAdd(member) => {
            let role = translate::role_of(member.role);
            change_of(&member.channel, &member.user, Change::Joined { role })
        }
        Command::ChannelRemove(member) => change_of(&member.channel, &member.user, Change::Removed),
        Command::ChannelModerate(moderate) => {
            let change = match (moderate.mute_until, moderate.ban_until, moderate.role) {
                (Some(until), None, None) => Change::Muted { until: UnixMillis(until) },
                (None, Some(until), None) => Change::Banned { until: UnixMillis(until) },
                (None, None, Some(role)) => Change::Role { role: translate::role_of(Some(role)) },
                _ => return Err(malformed("channel.moderate takes one of mute_until, ban_until and role")),
            };
            change_of(&moderate.channel, &moderate.user, change)
        }
        other => Err(malformed(format!("{} is about no channel's members", other.name()))),
    }
}

fn settings(given: &protocol::Settings) -> Result<messaging::event::Settings, Error> {
    if let Some(name) = given.name.as_deref().filter(|name| !name.is_empty()) {
        named(name, "channel (settings.name)")?;
    }
    Ok(translate::settings_of(given))
}

fn change_of(name: &str, whose: &str, change: Change) -> Result<(ChannelId, Ask), Error> {
    Ok((channel(name)?, Ask::Member { user: user(whose)?, change }))
}

fn may_manage(asker: &Asker, channel: &ChannelId) -> Result<(), Error> {
    if asker.grants.may_manage(channel.as_str()) { Ok(()) } else { Err(not_granted("managing")) }
}

fn create(asker: &Asker, create: &protocol::ChannelCreate) -> Result<(ChannelId, Ask), Error> {
    let channel = channel(&create.channel)?;
    let kind = translate::kind_of(create.kind);
    let mut members = Vec::with_capacity(create.members.len());
    for member in &create.members {
        members.push((user(&member.user)?, translate::role_of(member.role)));
    }
    if kind == Kind::Direct {
        members.extend(create.peer.as_deref().map(user).transpose()?.map(|peer| (peer, Role::Member)));
    } else {
        may_manage(asker, &channel)?;
    }
    if let Some(own) = &asker.user {
        may_be_called(&channel, kind, own, &members)?;
    }
    let settings = create.settings.as_ref().map(settings).transpose()?.unwrap_or_default();
    Ok((channel, Ask::Create { kind, settings, members }))
}

/// Nobody takes the names by which two people find each other, or the server somebody's inbox.
fn may_be_called(
    channel: &ChannelId,
    kind: Kind,
    own: &UserId,
    members: &[(UserId, Role)],
) -> Result<(), Error> {
    if kind == Kind::Direct {
        let Some((peer, _)) = members.iter().find(|(member, _)| member != own) else {
            return Err(malformed("a direct channel has two people: name the other as peer"));
        };
        let right = direct(own, peer);
        if channel.as_str() != right {
            return Err(malformed(format!("the direct channel of these two is {right:.300}")));
        }
    } else if ["direct:", "inbox:"].iter().any(|taken| channel.as_str().starts_with(taken)) {
        return Err(malformed("names that begin with direct: or inbox: are given by the server"));
    }
    Ok(())
}

/// The name of the direct channel of two people.
pub(crate) fn direct(one: &UserId, other: &UserId) -> String {
    let (first, second) = if one.as_str() <= other.as_str() { (one, other) } else { (other, one) };
    format!("direct:{}:{}", escaped(first.as_str()), escaped(second.as_str()))
}

/// A name as a part of another, between colons.
pub(super) fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '%' | ':' | '\0'..='\x1f' => out.push_str(&format!("%{:02X}", c as u32)),
            _ => out.push(c),
        }
    }
    out
}

/// Changes a channel, and tells how it is then.
pub(super) async fn change(
    app: Arc<App>,
    asker: Asker,
    channel: ChannelId,
    what: Ask,
) -> Result<Okay, Error> {
    let tells = matches!(what, Ask::Create { .. } | Ask::Update { .. } | Ask::Join | Ask::Leave);
    ask(&app, &asker, channel.clone(), what).await?;
    if !tells {
        return Ok(Okay::done());
    }
    let look = app.handle.look(&channel, asker.user.as_ref(), Some(&asker.device)).await;
    let state = look.ok().map(|look| translate::state(&look));
    Ok(Okay::Changed(Box::new(Changed { state })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_people_find_the_same_direct_channel_whatever_they_are_called() {
        let name = |one: &str, other: &str| direct(&UserId::new(one), &UserId::new(other));
        assert_eq!(name("bob", "ann"), "direct:ann:bob");
        assert_eq!(name("ann", "bob"), "direct:ann:bob");
        assert_eq!(name("a:b", "50%\n"), "direct:50%25%0A:a%3Ab");
        assert_ne!(name("a:b", "c"), name("a", "b:c"));
    }
}
