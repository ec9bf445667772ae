//! What the client asks.

use std::time::Instant;

use base::model::{LeaveReason, MetadataChange, TrackChange, TrackSettings};
use base::{Identity, TrackId};
use contract::session::Request;
use livekit_protocol as proto;
use livekit_protocol::request_response::{Reason, Request as Echo};
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;
use prost::Message as _;

use crate::metrics::count;
use crate::{ids, translate};

use super::uploads::{Admission, MAX_TRACKS};
use super::{End, Session};

/// Metadata changes that may wait for their answer.
const MAX_CHANGES: usize = 16;
/// Largest AddTrack, in bytes: requests are kept as long as their track. Names and a few layers and codecs stay far below.
const MAX_ADD_TRACK: usize = 8 * 1024;
/// Most codecs or layers that one names.
const MAX_NAMED: usize = 16;

/// An AddTrack that no client sends; kept a hundred times over it would fill the memory.
fn is_excessive(request: &proto::AddTrackRequest) -> bool {
    let codecs = &request.simulcast_codecs;
    // The counts first: an empty entry has two bytes on the wire and a hundred in memory.
    codecs.len() > MAX_NAMED
        || request.layers.len() > MAX_NAMED
        || codecs.iter().any(|codec| codec.layers.len() > MAX_NAMED)
        || request.encoded_len() > MAX_ADD_TRACK
}

impl Session {
    /// One signal request.
    pub fn ask(&mut self, ask: Ask, now: Instant) {
        self.heard_at = now;
        self.pings |= matches!(ask, Ask::Ping(_) | Ask::PingReq(_));
        match ask {
            Ask::Offer(offer) => self.take_offer(offer, now),
            Ask::Answer(answer) => self.take_answer(&answer, now),
            Ask::AddTrack(request) => self.add_track(request, now),
            Ask::Mute(mute) => self.mute(&mute),
            Ask::Subscription(update) => self.update_subscription(&update),
            Ask::TrackSetting(settings) => self.update_track_settings(&settings),
            Ask::Leave(_) => self.client_left(),
            Ask::SubscriptionPermission(permission) => self.subscription_permission(&permission),
            Ask::Simulate(simulate) => self.simulate(&simulate, now),
            Ask::Ping(_) => self.frame(Message::Pong(self.now_millis().0 as i64)),
            Ask::PingReq(ping) => self.pong(&ping),
            Ask::UpdateAudioTrack(update) => {
                let features = translate::parse_audio_features(&update.features);
                self.change_track(&update.track_sid, TrackChange::Audio(features));
            }
            Ask::UpdateVideoTrack(update) => {
                self.change_track(&update.track_sid, TrackChange::Video(update.width, update.height));
            }
            Ask::UpdateMetadata(update) => self.change_metadata(update),
            Ask::PublishDataTrackRequest(request) => self.publish_data_track(request),
            Ask::UnpublishDataTrackRequest(request) => self.unpublish_data_track(&request),
            Ask::UpdateDataSubscription(update) => self.update_data_subscription(&update),
            Ask::StoreDataBlobRequest(request) => self.store_data_blob(&request),
            Ask::GetDataBlobRequest(request) => self.get_data_blob(&request),
            Ask::SyncState(state) => self.sync(&state, now),
            // Our candidates are all in the descriptions, and the client's are learned from its checks.
            Ask::Trickle(_) => {}
            _ => count(&self.metrics().requests_ignored),
        }
    }

    /// One frame without a request that this server knows.
    pub fn unknown_request(&mut self) {
        count(&self.metrics().requests_ignored);
    }

    /// A publication is asked for.
    pub(super) fn add_track(&mut self, request: proto::AddTrackRequest, now: Instant) {
        if is_excessive(&request) {
            // It is not sent back either.
            return self.respond(0, Reason::LimitExceeded, None);
        }
        if !request.sid.is_empty() {
            return self.add_backup(request, now);
        }
        match self.uploads.add(request.clone()) {
            Admission::Publish(track) => self.request(Request::Publish(*track)),
            Admission::Queued => self.respond(0, Reason::Queued, Some(Echo::AddTrack(request))),
            Admission::LimitExceeded => self.respond(0, Reason::LimitExceeded, Some(Echo::AddTrack(request))),
        }
    }

    /// Asks for queued publications whose turn has come.
    pub(super) fn publish_queued(&mut self, now: Instant) {
        // Each turn takes one out of the queue for good.
        while let Some(request) = self.uploads.next_queued() {
            self.add_track(request, now);
        }
    }

    fn mute(&mut self, mute: &proto::MuteTrackRequest) {
        match ids::parse_track(&mute.sid).filter(|track| self.uploads.owns(*track)) {
            Some(track) => {
                self.request(Request::Mute { track, muted: mute.muted });
                if !mute.muted {
                    self.repeat_demand(track);
                }
            }
            None => count(&self.metrics().requests_ignored),
        }
    }

    fn change_track(&mut self, sid: &str, change: TrackChange) {
        match ids::parse_track(sid).filter(|track| self.uploads.owns(*track)) {
            Some(track) => self.request(Request::ChangeTrack { track, change }),
            None => count(&self.metrics().requests_ignored),
        }
    }

    fn update_subscription(&mut self, update: &proto::UpdateSubscription) {
        let grouped = update.participant_tracks.iter().flat_map(|tracks| &tracks.track_sids);
        let tracks = self.known_tracks(update.track_sids.iter().chain(grouped));
        if !tracks.is_empty() {
            self.request(Request::UpdateSubscription { tracks, subscribe: update.subscribe });
        }
    }

    fn update_track_settings(&mut self, update: &proto::UpdateTrackSettings) {
        let tracks = self.known_tracks(update.track_sids.iter());
        let off = update.quality() == proto::VideoQuality::Off;
        let size = (update.width > 0 && update.height > 0).then_some((update.width, update.height));
        // Who says a size leaves the quality at its default, which is LOW. Where the sizes of the layers are not known, and the
        // quality counts, the best is right.
        let quality = if size.is_some() { 2 } else { update.quality.clamp(0, 2) as u8 };
        let settings = TrackSettings {
            disabled: update.disabled || off,
            size,
            quality,
            fps: update.fps,
            priority: update.priority,
            ..self.first_settings()
        };
        if !tracks.is_empty() {
            self.request(Request::TrackSettings { tracks, settings });
        }
    }

    /// Ids of tracks, at most as many as a room may sensibly have; what is not an id is answered as not found.
    fn known_tracks<'a>(&mut self, sids: impl Iterator<Item = &'a String>) -> Vec<TrackId> {
        let mut tracks = Vec::new();
        for sid in sids.take(10 * MAX_TRACKS) {
            match ids::parse_track(sid) {
                Some(track) => tracks.push(track),
                None => self.subscription_error(sid.clone(), proto::SubscriptionError::SeTrackNotfound),
            }
        }
        tracks
    }

    pub(super) fn subscription_error(&mut self, track_sid: String, error: proto::SubscriptionError) {
        let response = proto::SubscriptionResponse { track_sid, err: error as i32 };
        self.frame(Message::SubscriptionResponse(response));
    }

    fn client_left(&mut self) {
        count(&self.metrics().left);
        self.finish(End { leave: None, reason: Some(LeaveReason::ClientInitiated) });
    }

    fn subscription_permission(&mut self, permission: &proto::SubscriptionPermission) {
        let entries = permission.track_permissions.iter().take(10 * MAX_TRACKS);
        let allowed = entries.filter_map(|entry| self.parse_permission(entry)).collect();
        self.request(Request::SubscriptionPermission { all: permission.all_participants, allowed });
    }

    /// `None` for somebody unknown, and for an entry that allows nothing.
    fn parse_permission(&self, entry: &proto::TrackPermission) -> Option<(Identity, Vec<TrackId>)> {
        let identity = if entry.participant_identity.is_empty() {
            let id = ids::parse_participant(&entry.participant_sid)?;
            self.others.get(&id)?.identity.clone()
        } else {
            Identity::new(entry.participant_identity.as_str())
        };
        if entry.all_tracks {
            return Some((identity, Vec::new()));
        }
        let any = |sid: &String| ids::parse_track(sid).or_else(|| ids::parse_data_track(sid));
        let tracks: Vec<TrackId> = entry.track_sids.iter().filter_map(any).collect();
        (!tracks.is_empty()).then_some((identity, tracks))
    }

    fn pong(&mut self, ping: &proto::Ping) {
        let timestamp = self.now_millis().0 as i64;
        let pong = proto::Pong { last_ping_timestamp: ping.timestamp, timestamp };
        self.frame(Message::PongResp(pong));
    }

    fn change_metadata(&mut self, update: proto::UpdateParticipantMetadata) {
        if self.changes.len() >= MAX_CHANGES {
            let id = update.request_id;
            return self.respond(id, Reason::LimitExceeded, Some(Echo::UpdateMetadata(update)));
        }
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let change = MetadataChange {
            name: given(&update.name),
            metadata: given(&update.metadata),
            attributes: update.attributes.clone().into_iter().collect(),
        };
        self.request(Request::ChangeMetadata { request_id: update.request_id, change });
        self.changes.push_back(update);
    }

    pub(super) fn metadata_changed(&mut self, request_id: u32, allowed: bool) {
        let index = self.changes.iter().position(|change| change.request_id == request_id);
        let echo = index.and_then(|index| self.changes.remove(index)).map(Echo::UpdateMetadata);
        if !allowed {
            // With the permission, the room refuses what is too large and nothing else.
            let may = self.me.permissions.update_own_metadata;
            let reason = if may { Reason::LimitExceeded } else { Reason::NotAllowed };
            self.respond(request_id, reason, echo);
        } else if self.params.client.protocol >= 15 {
            self.respond(request_id, Reason::Ok, echo);
        }
    }

    pub(super) fn respond(&mut self, request_id: u32, reason: Reason, request: Option<Echo>) {
        let message = match reason {
            Reason::NotAllowed => "the token does not allow this",
            Reason::LimitExceeded => "too large, or too many of these at once",
            Reason::InvalidHandle => "the handle is not between 1 and 65,535",
            Reason::InvalidName => "the name is empty or longer than 256 bytes",
            Reason::DuplicateHandle => "a data track with this handle is published already",
            Reason::DuplicateName => "a data track of this name is published already",
            Reason::NotFound => "there is none",
            Reason::UnsupportedType => "this server does not do this",
            _ => "",
        };
        self.frame(Message::RequestResponse(proto::RequestResponse {
            request_id,
            reason: reason as i32,
            message: message.to_owned(),
            request,
        }));
    }
}
