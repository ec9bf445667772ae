//! Roles, and what each may do.

use crate::event::{Kind, Settings};
use crate::format::encoded_enum;

/// What somebody is in a channel. The order is that of power.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Reads; sends where the channel lets guests.
    Guest,
    /// Takes part.
    Member,
    /// Keeps order.
    Moderator,
    /// Decides everything.
    Owner,
}

encoded_enum!(Role { 1 => Guest {}, 2 => Member {}, 3 => Moderator {}, 4 => Owner {} });

/// What somebody wants to do in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send a message or something of the application's; call.
    Send,
    /// React to a message.
    React,
    /// Change or delete an own message.
    ChangeOwn,
    /// Delete somebody else's message.
    DeleteAny,
    /// Name everybody in a message.
    MentionEveryone,
    /// Let somebody in.
    Invite,
    /// Send somebody out, mute, ban; freeze the channel, slow it down.
    Moderate,
    /// Change the settings and the roles.
    Manage,
}

/// The least role that may do `action` in a channel like this; `None`: nobody may.
pub fn needed(kind: Kind, settings: &Settings, action: Action) -> Option<Role> {
    let talk = if settings.guests_send { Role::Guest } else { Role::Member };
    let talk = if settings.frozen { Role::Moderator } else { talk };
    match (kind, action) {
        // The server alone sends into an inbox; its owner reads.
        (Kind::Inbox, _) => None,
        (_, Action::Send) => Some(talk),
        // In a huge audience reactions are what most people do.
        (Kind::Live, Action::React) if !settings.frozen => Some(Role::Guest),
        (_, Action::React | Action::ChangeOwn) => Some(talk),
        // Two people have no moderator: nobody deletes the other's words or sends the other out.
        (Kind::Direct, Action::DeleteAny | Action::Moderate | Action::Invite) => None,
        (Kind::Direct, Action::MentionEveryone | Action::Manage) => Some(Role::Member),
        (Kind::Group, Action::Invite) => Some(Role::Member),
        (Kind::Group | Kind::Live, Action::Manage) => Some(Role::Owner),
        (Kind::Group, Action::MentionEveryone) => Some(Role::Member),
        (_, _) => Some(Role::Moderator),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_the_server_writes_into_an_inbox() {
        assert_eq!(needed(Kind::Inbox, &Settings::default(), Action::Send), None);
    }

    #[test]
    fn a_frozen_channel_is_silent_for_members_and_guests() {
        let settings = Settings { frozen: true, guests_send: true, ..Settings::default() };
        for kind in [Kind::Group, Kind::Live, Kind::Direct] {
            for action in [Action::Send, Action::React, Action::ChangeOwn] {
                assert_eq!(needed(kind, &settings, action), Some(Role::Moderator), "{kind:?} {action:?}");
            }
        }
    }

    #[test]
    fn in_a_direct_channel_nobody_sends_the_other_out() {
        assert_eq!(needed(Kind::Direct, &Settings::default(), Action::Moderate), None);
        assert_eq!(needed(Kind::Direct, &Settings::default(), Action::DeleteAny), None);
    }

    #[test]
    fn an_audience_reacts_and_does_not_send_unless_it_is_let() {
        let quiet = Settings::default();
        assert_eq!(needed(Kind::Live, &quiet, Action::React), Some(Role::Guest));
        assert_eq!(needed(Kind::Live, &quiet, Action::Send), Some(Role::Member));
        let open = Settings { guests_send: true, ..quiet };
        assert_eq!(needed(Kind::Live, &open, Action::Send), Some(Role::Guest));
    }
}
