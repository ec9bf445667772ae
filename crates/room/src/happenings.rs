//! What is told to those who follow the room from outside. Tracks are told of participants that have been told as joined.

use std::sync::Arc;

use base::events::Happening;
use base::model::{LeaveReason, Participant, ParticipantState, Track};
use base::{ParticipantId, TrackId};

use crate::lifecycle::depart;
use crate::{Event, Room};

impl Room {
    pub(crate) fn happened(&mut self, happening: Happening) {
        self.events.push_back(Event::Happened(happening));
    }

    /// It is active now: it has joined, and what it had announced before is published.
    pub(crate) fn tell_joined(&mut self, id: ParticipantId) {
        let Some(participant) = self.participant(id).cloned() else { return };
        self.happened(Happening::ParticipantJoined(Arc::clone(&participant)));
        for track in &participant.tracks {
            self.tell_published(id, track.id);
        }
    }

    pub(crate) fn tell_published(&mut self, id: ParticipantId, track: TrackId) {
        let Some(publisher) = self.participant(id).filter(|one| is_told(one)).cloned() else { return };
        let Some(publication) = self.tracks.get(&track) else { return };
        let track = Arc::clone(&publication.value);
        self.happened(Happening::TrackPublished { publisher, track });
    }

    /// After `track` was taken from its publisher.
    pub(crate) fn tell_unpublished(&mut self, id: ParticipantId, track: Arc<Track>) {
        let Some(publisher) = self.participant(id).filter(|one| is_told(one)).cloned() else { return };
        self.happened(Happening::TrackUnpublished { publisher, track });
    }

    /// `last`: as it was before it went.
    pub(crate) fn tell_gone(&mut self, last: &Arc<Participant>, reason: LeaveReason) {
        let was_told = is_told(last);
        let mut gone = Arc::clone(last);
        depart(Arc::make_mut(&mut gone), reason);
        if !was_told {
            return self.happened(Happening::ConnectionAborted(gone));
        }
        for track in &last.tracks {
            let (publisher, track) = (Arc::clone(&gone), Arc::new(track.clone()));
            self.happened(Happening::TrackUnpublished { publisher, track });
        }
        self.happened(Happening::ParticipantLeft(gone));
    }
}

fn is_told(participant: &Participant) -> bool {
    participant.state == ParticipantState::Active
}
