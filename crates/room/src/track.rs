//! Tracks: asked for, negotiated, muted, taken down.

use std::sync::Arc;
use std::time::Instant;

use base::model::{
    AudioFeature, BackupStream, Notice, Permissions, PublishRefused, Track, TrackChange, TrackSource,
};
use base::{CodecKind, MediaKind, Mid, ParticipantId, TrackId};

use crate::member::Member;
use crate::{Event, Limits, Room};

/// What the negotiation of a track's media section came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// The section.
    pub mid: Mid,
    /// The codec that the publisher sends.
    pub codec: CodecKind,
    /// More than one rid.
    pub simulcast: bool,
    /// The id of the media in the session description, where it is not the track's `cid`.
    pub sdp_cid: String,
}

/// Why the server may not mute or unmute a track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MuteRefused {
    /// The participant has no such track.
    NoSuchTrack,
    /// [`Limits::remote_unmute`] is off.
    UnmuteDisabled,
}

/// An announced track.
pub(crate) struct Publication {
    pub publisher: ParticipantId,
    /// As it is told to others.
    pub value: Arc<Track>,
    /// Somebody has received it.
    pub had_subscriber: bool,
}

impl Room {
    /// A participant asks to publish a track. It waits, known to nobody else, until [`Room::negotiated`].
    ///
    /// # Errors
    /// See [`PublishRefused`].
    pub fn publish(&mut self, id: ParticipantId, track: Track) -> Result<Arc<Track>, PublishRefused> {
        let member = self.members.get_mut(&id).ok_or(PublishRefused::NotAllowed)?;
        if !is_allowed(&member.value.permissions, &track) {
            return Err(PublishRefused::NotAllowed);
        }
        if !has_room(member, &track, &self.limits) {
            return Err(PublishRefused::LimitExceeded);
        }
        member.pending.push(track.clone());
        Ok(Arc::new(track))
    }

    /// The track's media section is negotiated: the others are told and those who want it are subscribed. Said again,
    /// it updates the track. `false`: the participant has no such track.
    pub fn negotiated(&mut self, now: Instant, id: ParticipantId, track: TrackId, found: Negotiated) -> bool {
        let most = self.limits.name_bytes;
        let settle = |track: &mut Track| {
            track.mid = Some(found.mid);
            track.codec = found.codec;
            track.simulcast = found.simulcast;
            track.sdp_cid = Some(found.sdp_cid).filter(|cid| cid.len() <= most).unwrap_or_default();
            // What turned out to be the only codec needs no second one.
            track.backup.take_if(|backup| backup.codec == track.codec);
        };
        if self.publisher(track) == Some(id) {
            self.update_track(now, track, settle);
            return true;
        }
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some(pending) = member.pending.iter_mut().find(|pending| pending.id == track) else {
            return false;
        };
        let is_first = pending.mid.is_none();
        settle(pending);
        if is_first {
            self.announce_track_soon(now, id, track);
        }
        true
    }

    /// The second encoding of an announced track is negotiated, or not sent any more: its receivers are told. `false`: the
    /// participant has no such track, or none with a second codec.
    pub fn backup_negotiated(
        &mut self,
        now: Instant,
        id: ParticipantId,
        track: TrackId,
        stream: Option<BackupStream>,
    ) -> bool {
        let most = self.limits.layers;
        let stream = stream.filter(|stream| stream.layers.len() <= most);
        let pending = self.members.get_mut(&id).map(|member| member.pending.iter_mut());
        if let Some(waiting) = pending.and_then(|mut pending| pending.find(|pending| pending.id == track)) {
            // Negotiated together with the first, which waits to be announced.
            let backup = waiting.backup.as_mut().filter(|_| waiting.mid.is_some());
            return backup.map(|backup| backup.stream = stream).is_some();
        }
        if self.publisher(track) != Some(id) || !self.offers_backup(track) {
            return false;
        }
        self.update_track(now, track, |track| {
            if let Some(backup) = &mut track.backup {
                backup.stream = stream;
            }
        });
        self.tell_encodings(track);
        true
    }

    /// Receivers of an announced track are told that another encoding came or went.
    fn tell_encodings(&mut self, track: TrackId) {
        let Some(publication) = self.tracks.get(&track) else { return };
        let value = Arc::clone(&publication.value);
        let receivers: Vec<ParticipantId> =
            self.members.keys().copied().filter(|id| self.is_subscribed(*id, track)).collect();
        for receiver in receivers {
            self.tell(receiver, Notice::EncodingsChanged { track: Arc::clone(&value) });
        }
        if value.muted && value.backup_stream().is_some() {
            self.events.push_back(Event::SetMuted { track, muted: true });
        }
    }

    /// An announced track is this from now on.
    pub(crate) fn replace_track(&mut self, now: Instant, track: &Track) {
        let id = track.id;
        let stream =
            |room: &Self| room.tracks.get(&id).and_then(|known| known.value.backup_stream().cloned());
        let before = stream(self);
        self.update_track(now, id, |known| known.clone_from(track));
        if before != stream(self) {
            self.tell_encodings(id);
        }
    }

    /// Can its publisher send this announced track with a second codec?
    pub fn offers_backup(&self, track: TrackId) -> bool {
        self.tracks.get(&track).is_some_and(|publication| publication.value.backup.is_some())
    }

    /// Does it?
    pub fn has_backup(&self, track: TrackId) -> bool {
        self.tracks.get(&track).is_some_and(|publication| publication.value.backup_stream().is_some())
    }

    /// A publisher says that its track is not any more what it was. `false`: it has no such track, or it is of another kind.
    pub fn change_track(
        &mut self,
        now: Instant,
        id: ParticipantId,
        track: TrackId,
        change: TrackChange,
    ) -> bool {
        let fits = |own: &Track| match &change {
            TrackChange::Audio(_) => own.kind == MediaKind::Audio,
            TrackChange::Video(..) => own.kind == MediaKind::Video,
        };
        if !self.own_track(id, track).is_some_and(fits) {
            return false;
        }
        let apply = |track: &mut Track| match change {
            TrackChange::Audio(features) => {
                track.stereo = features.contains(&AudioFeature::Stereo);
                track.no_dtx = features.contains(&AudioFeature::NoDtx);
                track.features = features;
            }
            TrackChange::Video(width, height) => (track.width, track.height) = (width, height),
        };
        let pending = self.members.get_mut(&id).map(|member| &mut member.pending);
        match pending.and_then(|pending| pending.iter_mut().find(|pending| pending.id == track)) {
            Some(pending) => apply(pending),
            None => self.update_track(now, track, apply),
        }
        true
    }

    /// A participant takes its track down. `false`: it has no such track.
    pub fn unpublish(&mut self, now: Instant, id: ParticipantId, track: TrackId) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        if let Some(at) = member.pending.iter().position(|pending| pending.id == track) {
            member.pending.remove(at);
            return true;
        }
        if self.publisher(track) != Some(id) {
            return false;
        }
        let gone = self.tracks.get(&track).map(|publication| Arc::clone(&publication.value));
        self.drop_publication(track);
        self.change(id, |participant| participant.tracks.retain(|announced| announced.id != track));
        gone.into_iter().for_each(|track| self.tell_unpublished(id, track));
        self.recount(now);
        self.announce_tracks(now, id);
        true
    }

    /// A participant mutes or unmutes its own track. `false`: it has no such track.
    pub fn mute(&mut self, now: Instant, id: ParticipantId, track: TrackId, muted: bool) -> bool {
        if self.publisher(track) == Some(id) {
            self.update_track(now, track, |track| track.muted = muted);
            return true;
        }
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some(pending) = member.pending.iter_mut().find(|pending| pending.id == track) else {
            return false;
        };
        pending.muted = muted;
        true
    }

    /// The server mutes a track, which holds at once, or asks its publisher to unmute it, which only the publisher can
    /// do: nobody's microphone is opened from afar. Returns the track as it is then.
    ///
    /// # Errors
    /// See [`MuteRefused`]; nothing has changed then.
    pub fn server_mute(
        &mut self,
        now: Instant,
        id: ParticipantId,
        track: TrackId,
        muted: bool,
    ) -> Result<Track, MuteRefused> {
        if !muted && !self.limits.remote_unmute {
            return Err(MuteRefused::UnmuteDisabled);
        }
        if muted {
            self.mute(now, id, track, true);
        }
        let value = self.own_track(id, track).cloned().ok_or(MuteRefused::NoSuchTrack)?;
        self.tell(id, Notice::MuteRequested { track, muted });
        Ok(value)
    }

    /// Does the participant publish this track, announced or not?
    pub fn owns(&self, id: ParticipantId, track: TrackId) -> bool {
        self.own_track(id, track).is_some()
    }

    fn own_track(&self, id: ParticipantId, track: TrackId) -> Option<&Track> {
        let member = self.members.get(&id)?;
        member.value.tracks.iter().chain(&member.pending).find(|own| own.id == track)
    }

    /// Who publishes an announced track.
    pub fn publisher(&self, track: TrackId) -> Option<ParticipantId> {
        self.tracks.get(&track).map(|publication| publication.publisher)
    }

    /// Is this announced track muted?
    pub fn is_muted(&self, track: TrackId) -> bool {
        self.tracks.get(&track).is_some_and(|publication| publication.value.muted)
    }

    /// A negotiated track becomes one that others may receive. `false`: it was taken down before.
    pub(crate) fn publish_track(&mut self, id: ParticipantId, track: TrackId) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some(at) = member.pending.iter().position(|pending| pending.id == track) else { return false };
        let value = member.pending.remove(at);
        let published = Publication { publisher: id, value: Arc::new(value.clone()), had_subscriber: false };
        self.tracks.insert(track, published);
        if value.muted {
            self.events.push_back(Event::SetMuted { track, muted: true });
        }
        self.change(id, |participant| participant.tracks.push(value));
        self.tell_published(id, track);
        true
    }

    fn update_track(&mut self, now: Instant, track: TrackId, update: impl FnOnce(&mut Track)) {
        let Some(publication) = self.tracks.get_mut(&track) else { return };
        let publisher = publication.publisher;
        let mut value = Track::clone(&publication.value);
        update(&mut value);
        if value == *publication.value {
            return;
        }
        if value.muted != publication.value.muted {
            self.events.push_back(Event::SetMuted { track, muted: value.muted });
        }
        publication.value = Arc::new(value.clone());
        self.change(publisher, |participant| {
            if let Some(announced) = participant.tracks.iter_mut().find(|announced| announced.id == track) {
                *announced = value;
            }
        });
        self.announce_change(now, publisher);
    }
}

/// Where sources are limited, a track must also be of its source's kind: who may use the microphone alone sends no pictures
/// by calling them sound.
fn is_allowed(permissions: &Permissions, track: &Track) -> bool {
    let fits = match track.source {
        TrackSource::Unknown => true,
        TrackSource::Camera | TrackSource::ScreenShare => track.kind == MediaKind::Video,
        TrackSource::Microphone | TrackSource::ScreenShareAudio => track.kind == MediaKind::Audio,
    };
    permissions.may_publish(track.source) && (fits || permissions.publish_sources.is_none())
}

fn has_room(member: &Member, track: &Track, limits: &Limits) -> bool {
    let names = [&track.name, &track.stream, &track.cid];
    // Negotiated ones wait for nobody but us.
    let waiting = member.pending.iter().filter(|pending| pending.mid.is_none()).count();
    waiting < limits.pending_tracks
        && member.pending.len() + member.value.tracks.len() < limits.tracks
        && names.iter().all(|name| name.len() <= limits.name_bytes)
        && track.layers.len() <= limits.layers
}
