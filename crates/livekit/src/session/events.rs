//! What the control plane tells.

use std::sync::Arc;
use std::time::Instant;

use base::model::{LeaveReason, Notice, Participant, ParticipantState, Track, TrackSettings};
use base::{MediaKind, ParticipantId, PeerId, TrackId};
use contract::media::{Event as MediaEvent, PeerEnd};
use contract::session::{Event, PublishRefused, Request};
use livekit_protocol as proto;
use livekit_protocol::request_response::{Reason, Request as Echo};
use livekit_protocol::signal_response::Message;

use crate::metrics::count;
use crate::{ids, translate};

use super::subscriber::Subscriber;
use super::{CLOSED_MEDIA_GRACE, End, Session, action};

impl Session {
    /// One event of the control plane.
    pub fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Notice(notice) => self.notice(notice, now),
            Event::Published { cid, outcome } => self.published(&cid, outcome, now),
            Event::MetadataChanged { request_id, allowed } => self.metadata_changed(request_id, allowed),
            Event::DataTrackPublished { handle, outcome } => self.data_track_published(handle, outcome),
            Event::DataTrackUnpublished { handle, track } => {
                self.data_track_unpublished(handle, track.as_deref());
            }
            Event::SubscriptionRefused { track } => self.subscription_refused(track),
            Event::BackupNeeded { track } => self.backup_needed(track, now),
            Event::WantedLayer { track, highest } => self.layer_wanted(track, highest, now),
            Event::Moving { room } => self.moving(&room),
            Event::Moved(moved) => self.moved(*moved, now),
            Event::Media(event) => self.media_event(event, now),
        }
    }

    /// The room is gone without a word, or this session was too far behind to be told: the client is to come again.
    pub fn room_gone(&mut self) {
        self.notice_closed(LeaveReason::StateMismatch);
    }

    fn notice(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Participants(participants) => self.participants(&participants, now),
            Notice::Room(info) => {
                let room = Some(translate::room(&info));
                self.room = info;
                self.frame(Message::RoomUpdate(proto::RoomUpdate { room }));
            }
            Notice::Subscribe { publisher, track } => self.subscribe(publisher, track, now),
            Notice::Unsubscribe { track } => self.unsubscribe(track, now),
            Notice::EncodingsChanged { track } => {
                self.downlinks.encodings_changed(&track);
                self.ask_for_backups();
                self.set_downlink_sections();
            }
            Notice::FirstSubscriber { track } => self.first_subscriber(track),
            Notice::TrackRemoved { track } => self.track_removed(track, now),
            Notice::DataHandles(handles) => self.data_handles(handles),
            Notice::DataTrackRemoved(track) => self.data_track_removed(&track),
            Notice::MuteRequested { track, muted } => {
                self.frame(Message::Mute(proto::MuteTrackRequest { sid: ids::track(track), muted }));
            }
            Notice::PermissionsChanged => self.refresh_token(),
            Notice::Speakers(speakers) => {
                self.frame(Message::SpeakersChanged(translate::speakers(&speakers)))
            }
            Notice::Quality(qualities) => {
                let update = translate::qualities(self.me.id, self.params.client.knows_lost(), &qualities);
                self.frame(Message::ConnectionQuality(update));
            }
            Notice::Closed(reason) => self.notice_closed(reason),
        }
    }

    fn participants(&mut self, participants: &[Arc<Participant>], now: Instant) {
        let mut changed = false;
        for participant in participants {
            if participant.id == self.me.id {
                let before = std::mem::replace(&mut self.me, participant.clone());
                let claims = |me: &Participant| (me.name.clone(), me.metadata.clone(), me.attributes.clone());
                changed |= claims(&before) != claims(participant);
            } else if participant.state == ParticipantState::Disconnected {
                self.others.remove(&participant.id);
                self.departures.add(participant.clone(), now);
            } else {
                self.others.insert(participant.id, participant.clone());
            }
        }
        self.frame(Message::Update(translate::update(participants)));
        if changed {
            self.refresh_token();
        }
    }

    /// Somebody receives a track of ours for the first time. Of sound its codec is told to be wanted, too; that it is not any more
    /// is never said: silence costs next to nothing, and the first word is not to be missed.
    fn first_subscriber(&mut self, track: TrackId) {
        let track_sid = ids::track(track);
        let own = self.me.tracks.iter().find(|own| own.id == track && own.kind == MediaKind::Audio);
        let codec = own.map(|own| translate::codec_name(own.codec));
        self.frame(Message::TrackSubscribed(proto::TrackSubscribed { track_sid: track_sid.clone() }));
        if let Some(codec) = codec.filter(|_| self.params.client.knows_audio_codecs()) {
            let subscribed_audio_codecs = vec![proto::SubscribedAudioCodec { codec, enabled: true }];
            let update = proto::SubscribedAudioCodecUpdate { track_sid, subscribed_audio_codecs };
            self.frame(Message::SubscribedAudioCodecUpdate(update));
        }
    }

    fn subscribe(&mut self, publisher: Arc<Participant>, track: Arc<Track>, now: Instant) {
        let ssrcs = self.fresh_ssrcs();
        let (id, kind) = (track.id, track.kind);
        if !self.downlinks.subscribe(track, publisher.id, ssrcs) {
            return;
        }
        self.tell_allowed(publisher.id, id, true);
        let mut settings = self.first_settings();
        if self.params.adaptive_stream {
            // The client says what it renders as soon as it does; until then the lowest layer is enough.
            settings.quality = 0;
        }
        if settings != TrackSettings::default() && kind == MediaKind::Video {
            self.request(Request::TrackSettings { tracks: vec![id], settings });
        }
        self.negotiate_soon(now);
    }

    /// What is wanted of a video of which the client has said nothing.
    pub(super) fn first_settings(&self) -> TrackSettings {
        TrackSettings { firm: self.params.allow_pause == Some(false), ..TrackSettings::default() }
    }

    fn unsubscribe(&mut self, track: TrackId, now: Instant) {
        if self.downlinks.unsubscribe(track) {
            self.set_downlink_sections();
            self.negotiate_soon(now);
        }
    }

    /// Asks for the second codec of tracks whose first the client does not know.
    pub(super) fn ask_for_backups(&mut self) {
        for track in self.downlinks.need_backup() {
            self.request(Request::NeedBackup { track });
        }
    }

    /// Tells the client about tracks whose codecs it does not know. They stay listed.
    pub(super) fn refuse_unknown_codecs(&mut self) {
        for track in self.downlinks.refuse_unknown_codecs() {
            self.subscription_error(ids::track(track), proto::SubscriptionError::SeCodecUnsupported);
        }
    }

    fn subscription_refused(&mut self, track: TrackId) {
        let has = |participant: &&Arc<Participant>| participant.tracks.iter().any(|known| known.id == track);
        match self.others.values().find(has).map(|participant| participant.id) {
            Some(publisher) => self.tell_allowed(publisher, track, false),
            None => self.subscription_error(ids::track(track), proto::SubscriptionError::SeTrackNotfound),
        }
    }

    fn tell_allowed(&mut self, publisher: ParticipantId, track: TrackId, allowed: bool) {
        let update = proto::SubscriptionPermissionUpdate {
            participant_sid: ids::participant(publisher),
            track_sid: ids::track(track),
            allowed,
        };
        self.frame(Message::SubscriptionPermissionUpdate(update));
    }

    fn published(&mut self, cid: &str, outcome: Result<Arc<Track>, PublishRefused>, now: Instant) {
        match outcome {
            Ok(track) => {
                self.uploads.accepted(cid, &track);
                self.frame(Message::TrackPublished(translate::published(cid, &track)));
                self.match_tracks(now);
            }
            Err(refused) => {
                let reason = match refused {
                    PublishRefused::NotAllowed => Reason::NotAllowed,
                    PublishRefused::LimitExceeded => Reason::LimitExceeded,
                };
                let echo = self.uploads.refused(cid).map(Echo::AddTrack);
                self.respond(0, reason, echo);
                self.publish_queued(now);
            }
        }
    }

    fn track_removed(&mut self, track: TrackId, now: Instant) {
        if self.uploads.remove(track) {
            self.note_taken_down(track);
            self.tell_unpublished(track);
            self.set_publisher_sections();
            self.publish_queued(now);
        }
    }

    pub(super) fn tell_unpublished(&mut self, track: TrackId) {
        let track_sid = ids::track(track);
        self.frame(Message::TrackUnpublished(proto::TrackUnpublishedResponse { track_sid }));
    }

    fn notice_closed(&mut self, reason: LeaveReason) {
        count(&self.metrics().closed);
        let leave = self.leave(reason, action(reason));
        self.finish(End { leave: Some(leave), reason: None });
    }

    fn media_event(&mut self, event: MediaEvent, now: Instant) {
        match event {
            MediaEvent::Connected { peer, times } if peer == self.primary() => {
                self.media_deadline = None;
                tracing::debug!(participant = %self.me.id, ?times, "media connected");
            }
            MediaEvent::Data { label, payload, .. } => self.data_message(&label, &payload),
            MediaEvent::StreamState { track, active, .. } => self.downlinks.set_stream(track, active, now),
            MediaEvent::Interrupted { .. } => self.media_interrupted(now),
            MediaEvent::Closed { peer, end, .. } => self.media_closed(peer, end, now),
            _ => {}
        }
    }

    fn media_closed(&mut self, peer: PeerId, end: PeerEnd, now: Instant) {
        let reason = match end {
            // Usually the first half of leaving. The publishing one of two connections may come and go.
            PeerEnd::ClosedByRemote if peer == self.primary() => {
                self.closed_media = Some(now + CLOSED_MEDIA_GRACE);
                return;
            }
            PeerEnd::ClosedByRemote => return,
            PeerEnd::IceTimeout => LeaveReason::ConnectionTimeout,
            PeerEnd::DtlsFailed | PeerEnd::SctpFailed | PeerEnd::Panicked => LeaveReason::MediaFailure,
        };
        count(&self.metrics().media_lost);
        self.end(reason);
    }

    pub(super) fn primary(&self) -> PeerId {
        let subscriber = self.subscriber.as_ref().filter(|_| self.subscriber_primary);
        subscriber.map_or(self.publisher.peer, Subscriber::peer)
    }
}
