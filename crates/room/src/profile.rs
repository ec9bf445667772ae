//! Names, metadata, attributes and permissions.

use std::collections::BTreeMap;
use std::time::Instant;

use base::model::{MetadataChange, Notice, Permissions};
use base::{ParticipantId, TrackId};

use crate::Room;

impl Room {
    /// A participant changes its own name, metadata or attributes. `false`: it may not, or it would be too large.
    pub fn change_metadata(&mut self, now: Instant, id: ParticipantId, change: MetadataChange) -> bool {
        let allowed =
            self.members.get(&id).is_some_and(|member| member.value.permissions.update_own_metadata);
        allowed && self.update_participant(now, id, change)
    }

    /// The server changes a participant's name, metadata or attributes; an empty attribute value deletes the attribute.
    /// `false`: there is no such participant, or it would be too large.
    pub fn update_participant(&mut self, now: Instant, id: ParticipantId, change: MetadataChange) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        let name = change.name.unwrap_or_else(|| member.value.name.clone());
        let metadata = change.metadata.unwrap_or_else(|| member.value.metadata.clone());
        let mut attributes = member.value.attributes.clone();
        attributes.extend(change.attributes);
        attributes.retain(|_, value| !value.is_empty());
        if name.len() > self.limits.name_bytes || !self.fits(&metadata, &attributes) {
            return false;
        }
        let old = &member.value;
        if (&old.name, &old.metadata, &old.attributes) == (&name, &metadata, &attributes) {
            return true;
        }
        self.change(id, |participant| {
            participant.name = name;
            participant.metadata = metadata;
            participant.attributes = attributes;
        });
        self.announce_change(now, id);
        // Its token says who it is, too: with the old one it would join anew as what it was.
        self.tell(id, Notice::PermissionsChanged);
        true
    }

    /// The server changes what a participant may do. What it no longer may publish is taken down, what it no longer may
    /// receive is stopped, what it may receive from now on is started. Whether it is hidden is settled when it joins
    /// and does not change. `false`: there is no such participant.
    pub fn set_permissions(&mut self, now: Instant, id: ParticipantId, permissions: Permissions) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        let permissions = Permissions { hidden: member.value.permissions.hidden, ..permissions };
        if member.value.permissions == permissions {
            return true;
        }
        self.change(id, |participant| participant.permissions = permissions);
        self.take_down_forbidden(now, id);
        self.reconcile_receiver(now, id);
        self.reconcile_data_receiver(id);
        self.recount(now);
        self.announce_change(now, id);
        self.tell(id, Notice::PermissionsChanged);
        true
    }

    /// The server changes the room's metadata. `false`: too large.
    pub fn set_metadata(&mut self, now: Instant, metadata: String) -> bool {
        if metadata.len() > self.limits.metadata_bytes {
            return false;
        }
        if self.info.metadata != metadata {
            self.info.metadata = metadata;
            self.announce_info(now, true);
        }
        true
    }

    pub(crate) fn fits(&self, metadata: &str, attributes: &BTreeMap<String, String>) -> bool {
        let attributes: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        metadata.len().saturating_add(attributes) <= self.limits.metadata_bytes
    }

    fn take_down_forbidden(&mut self, now: Instant, id: ParticipantId) {
        let Some(member) = self.members.get(&id) else { return };
        let permissions = &member.value.permissions;
        let may_send_data = permissions.publish_data;
        let tracks = member.pending.iter().chain(&member.value.tracks);
        let forbidden: Vec<TrackId> =
            tracks.filter(|track| !permissions.may_publish(track.source)).map(|track| track.id).collect();
        for track in forbidden {
            self.tell(id, Notice::TrackRemoved { track });
            self.unpublish(now, id, track);
        }
        if !may_send_data {
            self.take_down_data_tracks(now, id);
        }
    }
}
