//! Data tracks: named streams of small frames, published and subscribed without negotiation.
//!
//! Packets name their track by a number, its handle. A publisher chooses its own; receivers are told one that the room chose,
//! the same for all of them, so that a packet is rewritten once however many receive it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use base::model::{DataHandle, DataTrack, DataTrackRefused, Notice};
use base::{ParticipantId, TrackId};

use crate::{Event, Room};

/// Where the packets of a data track go.
#[derive(Clone, Copy, Debug)]
pub struct DataRoute<'a> {
    /// What they are called for receivers.
    pub handle: u16,
    /// Who receives them.
    pub receivers: &'a BTreeSet<ParticipantId>,
}

/// A published data track.
struct Publication {
    id: TrackId,
    publisher: ParticipantId,
    /// The publisher's handle.
    own: u16,
    receivers: BTreeSet<ParticipantId>,
}

/// All data tracks of a room.
#[derive(Default)]
pub(crate) struct DataTracks {
    /// By the handle that receivers know.
    published: BTreeMap<u16, Publication>,
    by_publisher: BTreeMap<(ParticipantId, u16), u16>,
    by_id: BTreeMap<TrackId, u16>,
    /// The handle that was given last. The next ones follow it, so that one is used again as late as possible: packets of
    /// the track that had it before may still be on the way.
    pub last: u16,
    /// Receivers whose handles have changed since they were told.
    stale: BTreeSet<ParticipantId>,
}

impl DataTracks {
    /// A handle that no track has; `None`: all are in use.
    fn fresh_handle(&self) -> Option<u16> {
        let after = (self.last..=u16::MAX).skip(1);
        let before = 1..=self.last;
        after.chain(before).find(|handle| !self.published.contains_key(handle))
    }

    fn insert(&mut self, handle: u16, publication: Publication) {
        self.by_id.insert(publication.id, handle);
        self.by_publisher.insert((publication.publisher, publication.own), handle);
        self.published.insert(handle, publication);
        self.last = handle;
    }

    fn remove(&mut self, handle: u16) {
        let Some(publication) = self.published.remove(&handle) else { return };
        self.by_id.remove(&publication.id);
        self.by_publisher.remove(&(publication.publisher, publication.own));
        self.stale.extend(publication.receivers);
    }

    /// `true`: that is news.
    fn set_receiver(&mut self, handle: u16, receiver: ParticipantId, receives: bool) -> bool {
        let Some(publication) = self.published.get_mut(&handle) else { return false };
        let is_news = match receives {
            true => publication.receivers.insert(receiver),
            false => publication.receivers.remove(&receiver),
        };
        if is_news {
            self.stale.insert(receiver);
        }
        is_news
    }

    fn of(&self, publisher: ParticipantId) -> Vec<u16> {
        self.by_publisher.range((publisher, 0)..=(publisher, u16::MAX)).map(|(_, handle)| *handle).collect()
    }
}

impl Room {
    /// A participant publishes a data track, which the others are told as soon as other tracks.
    ///
    /// # Errors
    /// See [`DataTrackRefused`].
    pub fn publish_data_track(
        &mut self,
        now: Instant,
        id: ParticipantId,
        track: DataTrack,
    ) -> Result<Arc<DataTrack>, DataTrackRefused> {
        let member = self.members.get(&id).ok_or(DataTrackRefused::NotAllowed)?;
        if !member.value.permissions.publish_data {
            return Err(DataTrackRefused::NotAllowed);
        }
        let published = &member.value.data_tracks;
        if published.iter().any(|other| other.handle == track.handle) {
            return Err(DataTrackRefused::DuplicateHandle);
        }
        if published.iter().any(|other| other.name == track.name) {
            return Err(DataTrackRefused::DuplicateName);
        }
        let has_room =
            published.len() < self.limits.data_tracks && track.name.len() <= self.limits.name_bytes;
        let handle = self.data.fresh_handle().filter(|_| has_room).ok_or(DataTrackRefused::LimitExceeded)?;
        let (receivers, own) = (BTreeSet::new(), track.handle);
        self.data.insert(handle, Publication { id: track.id, publisher: id, own, receivers });
        let value = Arc::new(track.clone());
        self.change(id, |participant| participant.data_tracks.push(track));
        self.recount(now);
        let receivers: Vec<ParticipantId> = self.members.keys().copied().collect();
        for receiver in receivers {
            self.reconcile_data(receiver, handle);
        }
        // Handles follow the tracks that they stand for.
        self.announce_tracks(now, id);
        Ok(value)
    }

    /// A participant takes its data track down. `None`: it has none with this handle of its own.
    pub fn unpublish_data_track(&mut self, now: Instant, id: ParticipantId, own: u16) -> Option<DataTrack> {
        let handle = *self.data.by_publisher.get(&(id, own))?;
        self.drop_data_track(handle);
        let member = self.members.get(&id)?;
        let track = member.value.data_tracks.iter().find(|track| track.handle == own).cloned();
        self.change(id, |participant| participant.data_tracks.retain(|track| track.handle != own));
        self.recount(now);
        self.tell_data_handles();
        self.announce_tracks(now, id);
        track
    }

    /// A participant wants data tracks (`true`), or no longer. What it may not have is left out, and starts when it may.
    pub fn update_data_subscription(&mut self, id: ParticipantId, updates: &[(TrackId, bool)]) {
        for (track, wanted) in updates {
            let Some(handle) = self.data.by_id.get(track).copied() else { continue };
            if self.data_publisher(handle).is_none_or(|publisher| publisher == id) {
                continue;
            }
            let Some(member) = self.members.get_mut(&id) else { return };
            member.data_wishes.insert(*track, *wanted);
            self.reconcile_data(id, handle);
        }
        self.tell_data_handles();
    }

    /// Where packets go that this participant sends with this handle of its own.
    pub fn data_route(&self, id: ParticipantId, own: u16) -> Option<DataRoute<'_>> {
        let handle = *self.data.by_publisher.get(&(id, own))?;
        let receivers = &self.data.published.get(&handle)?.receivers;
        Some(DataRoute { handle, receivers })
    }

    /// Subscribes a newcomer to the data tracks that it wants.
    pub(crate) fn subscribe_newcomer_to_data(&mut self, id: ParticipantId) {
        if self.members.get(&id).is_some_and(|member| member.auto_subscribe_data) {
            self.reconcile_data_receiver(id);
        }
    }

    /// Brings what data tracks a participant receives in line with what it wants and may.
    pub(crate) fn reconcile_data_receiver(&mut self, id: ParticipantId) {
        let handles: Vec<u16> = self.data.published.keys().copied().collect();
        for handle in handles {
            self.reconcile_data(id, handle);
        }
        self.tell_data_handles();
    }

    /// Brings who receives the data tracks of this participant in line with who wants and may.
    pub(crate) fn reconcile_data_publisher(&mut self, id: ParticipantId) {
        let receivers: Vec<ParticipantId> = self.members.keys().copied().collect();
        for handle in self.data.of(id) {
            for receiver in &receivers {
                self.reconcile_data(*receiver, handle);
            }
        }
        self.tell_data_handles();
    }

    /// A participant may no longer send data: its data tracks go, and it is told.
    pub(crate) fn take_down_data_tracks(&mut self, now: Instant, id: ParticipantId) {
        for handle in self.data.of(id) {
            let Some(own) = self.data.published.get(&handle).map(|publication| publication.own) else {
                continue;
            };
            if let Some(track) = self.unpublish_data_track(now, id, own) {
                self.tell(id, Notice::DataTrackRemoved(Arc::new(track)));
            }
        }
    }

    /// A participant that is out of the room publishes and receives no data tracks any more.
    pub(crate) fn forget_data_tracks(&mut self, id: ParticipantId) {
        for handle in self.data.of(id) {
            self.drop_data_track(handle);
        }
        for publication in self.data.published.values_mut() {
            publication.receivers.remove(&id);
        }
        self.tell_data_handles();
    }

    /// A participant that goes on in another room receives no data tracks of this one any more, and is told.
    pub(crate) fn take_data_handles(&mut self, id: ParticipantId) {
        if !self.data_handles(id).is_empty() {
            self.tell(id, Notice::DataHandles(Vec::new()));
        }
    }

    /// A participant came with data tracks that it publishes already. Without a handle left, one of them is nobody's. Receivers are
    /// told their handles after the tracks.
    pub(crate) fn take_in_data_tracks(&mut self, id: ParticipantId, tracks: &[DataTrack]) {
        for track in tracks {
            let Some(handle) = self.data.fresh_handle() else { break };
            let (receivers, own) = (BTreeSet::new(), track.handle);
            self.data.insert(handle, Publication { id: track.id, publisher: id, own, receivers });
            let receivers: Vec<ParticipantId> = self.members.keys().copied().collect();
            for receiver in receivers {
                self.reconcile_data(receiver, handle);
            }
        }
    }

    fn drop_data_track(&mut self, handle: u16) {
        let Some(track) = self.data.published.get(&handle).map(|publication| publication.id) else { return };
        self.data.remove(handle);
        for member in self.members.values_mut() {
            member.data_wishes.remove(&track);
        }
    }

    fn data_publisher(&self, handle: u16) -> Option<ParticipantId> {
        self.data.published.get(&handle).map(|publication| publication.publisher)
    }

    fn reconcile_data(&mut self, receiver: ParticipantId, handle: u16) {
        let receives = self.may_receive_data(receiver, handle);
        self.data.set_receiver(handle, receiver, receives);
    }

    /// Wanted and permitted.
    fn may_receive_data(&self, receiver: ParticipantId, handle: u16) -> bool {
        let Some(publication) = self.data.published.get(&handle) else { return false };
        let track = publication.id;
        let (Some(member), Some(publisher)) =
            (self.members.get(&receiver), self.members.get(&publication.publisher))
        else {
            return false;
        };
        let wanted = member.data_wishes.get(&track).copied().unwrap_or(member.auto_subscribe_data);
        wanted
            && receiver != publication.publisher
            && publisher.is_visible()
            && !member.is_guest
            && member.value.permissions.subscribe
            && publisher.audience.admits(&member.value.identity, track)
    }

    /// Tells all handles to those of whom any has changed.
    pub(crate) fn tell_data_handles(&mut self) {
        for receiver in std::mem::take(&mut self.data.stale) {
            if self.members.contains_key(&receiver) {
                let handles = self.data_handles(receiver);
                self.events.push_back(Event::Notice(receiver, Notice::DataHandles(handles)));
            }
        }
    }

    fn data_handles(&self, receiver: ParticipantId) -> Vec<DataHandle> {
        let received = self.data.published.iter();
        let received = received.filter(|(_, publication)| publication.receivers.contains(&receiver));
        let handle = |(handle, publication): (&u16, &Publication)| {
            let publisher = self.members.get(&publication.publisher)?;
            Some(DataHandle {
                handle: *handle,
                track: publication.id,
                publisher: publication.publisher,
                identity: publisher.value.identity.clone(),
            })
        };
        received.filter_map(handle).collect()
    }
}
