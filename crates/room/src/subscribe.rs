//! Who receives what: wanted, permitted, and told.

use std::sync::Arc;
use std::time::Instant;

use base::model::Notice;
use base::{Identity, ParticipantId, TrackId};

use crate::member::Audience;
use crate::{Event, Room};

impl Room {
    /// A participant wants tracks, or no longer. Returns the wanted ones that it cannot have: unknown, its own, or not
    /// permitted. What is not permitted starts when it is.
    pub fn update_subscription(
        &mut self,
        now: Instant,
        id: ParticipantId,
        tracks: &[TrackId],
        subscribe: bool,
    ) -> Vec<TrackId> {
        let mut refused = Vec::new();
        for track in tracks {
            if !self.is_on_offer(id, *track) {
                if subscribe {
                    refused.push(*track);
                }
                continue;
            }
            if let Some(member) = self.members.get_mut(&id) {
                member.wishes.insert(*track, subscribe);
            }
            self.reconcile(now, id, *track);
            if subscribe && !self.is_subscribed(id, *track) {
                refused.push(*track);
            }
        }
        refused
    }

    /// A publisher says who may receive its tracks: everybody, or these identities, and of each these tracks (none =
    /// all of them).
    pub fn set_audience(
        &mut self,
        now: Instant,
        id: ParticipantId,
        all: bool,
        allowed: Vec<(Identity, Vec<TrackId>)>,
    ) {
        let (most, most_tracks) = (self.limits.audience, self.limits.tracks);
        let allowed = allowed.into_iter().take(most);
        let allowed =
            allowed.map(|(identity, tracks)| (identity, tracks.into_iter().take(most_tracks).collect()));
        let audience = Arc::new(Audience { all, allowed: allowed.collect() });
        self.change_audience(now, id, audience);
    }

    pub(crate) fn change_audience(&mut self, now: Instant, id: ParticipantId, audience: Arc<Audience>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if Arc::ptr_eq(&member.audience, &audience) {
            return;
        }
        member.audience = audience;
        let tracks: Vec<TrackId> = member.value.tracks.iter().map(|track| track.id).collect();
        for track in tracks {
            self.reconcile_track(now, track);
        }
        self.reconcile_data_publisher(id);
    }

    /// Does the participant receive this track?
    pub fn is_subscribed(&self, id: ParticipantId, track: TrackId) -> bool {
        self.members.get(&id).is_some_and(|member| member.subscribed.contains(&track))
    }

    /// What a participant receives, ordered by id.
    pub fn subscriptions(&self, id: ParticipantId) -> impl Iterator<Item = TrackId> {
        self.members.get(&id).into_iter().flat_map(|member| member.subscribed.iter().copied())
    }

    /// Subscribes a newcomer to what it wants, in the order in which publishers and tracks came.
    pub(crate) fn subscribe_newcomer(&mut self, now: Instant, id: ParticipantId) {
        let mut publishers: Vec<(u64, ParticipantId)> = self
            .members
            .iter()
            .filter(|(_, member)| !member.value.tracks.is_empty())
            .map(|(publisher, member)| (member.joined, *publisher))
            .collect();
        publishers.sort_unstable();
        for (_, publisher) in publishers {
            let tracks = &self.members[&publisher].value.tracks;
            let tracks: Vec<TrackId> = tracks.iter().map(|track| track.id).collect();
            for track in tracks {
                self.reconcile(now, id, track);
            }
        }
    }

    /// Brings what a participant receives in line with what it wants and may.
    pub(crate) fn reconcile_receiver(&mut self, now: Instant, id: ParticipantId) {
        let tracks: Vec<TrackId> = self.tracks.keys().copied().collect();
        for track in tracks {
            self.reconcile(now, id, track);
        }
    }

    /// Brings who receives a track in line with who wants and may.
    pub(crate) fn reconcile_track(&mut self, now: Instant, track: TrackId) {
        let receivers: Vec<ParticipantId> = self.members.keys().copied().collect();
        for receiver in receivers {
            self.reconcile(now, receiver, track);
        }
    }

    /// A track is gone: nobody receives or wants it any more.
    pub(crate) fn drop_publication(&mut self, track: TrackId) {
        let Some(publication) = self.tracks.remove(&track) else { return };
        for (receiver, member) in &mut self.members {
            member.wishes.remove(&track);
            if member.subscribed.remove(&track) {
                member.unhear(publication.publisher);
                self.events.push_back(Event::Notice(*receiver, Notice::Unsubscribe { track }));
            }
        }
    }

    fn reconcile(&mut self, now: Instant, id: ParticipantId, track: TrackId) {
        let wanted = self.members.get(&id).is_some_and(|member| member.wants(track));
        match (self.is_subscribed(id, track), wanted && self.is_permitted(id, track)) {
            (false, true) => self.start(now, id, track),
            (true, false) => self.stop(now, id, track),
            _ => {}
        }
    }

    fn start(&mut self, now: Instant, id: ParticipantId, track: TrackId) {
        let Some(publication) = self.tracks.get_mut(&track) else { return };
        let publisher = publication.publisher;
        let value = Arc::clone(&publication.value);
        let is_first = !std::mem::replace(&mut publication.had_subscriber, true);
        let Some(from) = self.members.get(&publisher).map(|member| Arc::clone(&member.value)) else { return };
        let Some(member) = self.members.get_mut(&id) else { return };
        member.subscribed.insert(track);
        *member.heard.entry(publisher).or_default() += 1;
        self.tell(id, Notice::Subscribe { publisher: from, track: value });
        if is_first {
            self.tell(publisher, Notice::FirstSubscriber { track });
        }
        self.audible_changed(now, id, publisher);
    }

    fn stop(&mut self, now: Instant, id: ParticipantId, track: TrackId) {
        let Some(publisher) = self.publisher(track) else { return };
        let Some(member) = self.members.get_mut(&id) else { return };
        member.subscribed.remove(&track);
        member.unhear(publisher);
        self.tell(id, Notice::Unsubscribe { track });
        self.audible_changed(now, id, publisher);
    }

    /// Somebody else's announced track of a visible publisher.
    fn is_on_offer(&self, id: ParticipantId, track: TrackId) -> bool {
        self.publisher(track)
            .filter(|publisher| *publisher != id)
            .and_then(|publisher| self.members.get(&publisher))
            .is_some_and(|publisher| publisher.is_visible())
    }

    fn is_permitted(&self, id: ParticipantId, track: TrackId) -> bool {
        let Some(receiver) = self.members.get(&id) else { return false };
        let publisher = self.publisher(track).and_then(|publisher| self.members.get(&publisher));
        self.is_on_offer(id, track)
            && !receiver.is_guest
            && receiver.value.permissions.subscribe
            && publisher.is_some_and(|publisher| publisher.audience.admits(&receiver.value.identity, track))
    }
}

impl crate::member::Member {
    fn unhear(&mut self, publisher: ParticipantId) {
        if let Some(tracks) = self.heard.get_mut(&publisher) {
            *tracks = tracks.saturating_sub(1);
            if *tracks == 0 {
                self.heard.remove(&publisher);
            }
        }
    }

    /// Is told about this participant's voice and connection: it receives something of it, or it is itself.
    pub(crate) fn follows(&self, participant: ParticipantId) -> bool {
        self.value.id == participant || self.heard.contains_key(&participant)
    }
}
