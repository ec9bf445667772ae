//! Data tracks that the participant publishes and receives, and blobs of data, which this server does not keep.

use base::TrackId;
use base::model::{DataHandle, DataTrack};
use contract::session::{DataTrackRefused, Request};
use livekit_protocol as proto;
use livekit_protocol::request_response::{Reason, Request as Echo};
use livekit_protocol::signal_response::Message;
use rand::Rng as _;
use std::sync::Arc;

use crate::{data_tracks, ids};

use super::Session;

/// Publications that may wait for the room's answer.
const MAX_PENDING: usize = 100;
/// Subscriptions that one request changes.
const MAX_UPDATES: usize = 1_000;

impl Session {
    pub(super) fn publish_data_track(&mut self, request: proto::PublishDataTrackRequest) {
        let id = TrackId(self.rng.random());
        let refused = match data_tracks::parse(&request, id) {
            Ok(_) if self.data_pending.len() >= MAX_PENDING => Reason::LimitExceeded,
            Ok(track) if self.data_pending.contains_key(&track.handle) => Reason::DuplicateHandle,
            Ok(track) => {
                self.data_pending.insert(track.handle, request);
                return self.request(Request::PublishDataTrack(track));
            }
            Err(reason) => reason,
        };
        // What is out of bounds is not sent back whole.
        let name = if request.name.len() > 256 { String::new() } else { request.name };
        let echo =
            proto::PublishDataTrackRequest { pub_handle: request.pub_handle, name, ..Default::default() };
        self.respond(0, refused, Some(Echo::PublishDataTrack(echo)));
    }

    pub(super) fn data_track_published(
        &mut self,
        handle: u16,
        outcome: Result<Arc<DataTrack>, DataTrackRefused>,
    ) {
        let asked = self.data_pending.remove(&handle);
        match outcome {
            Ok(track) => {
                let info = Some(data_tracks::info(&track));
                let response = proto::PublishDataTrackResponse { info };
                self.frame(Message::PublishDataTrackResponse(response));
            }
            Err(refused) => {
                let reason = match refused {
                    DataTrackRefused::NotAllowed => Reason::NotAllowed,
                    DataTrackRefused::DuplicateHandle => Reason::DuplicateHandle,
                    DataTrackRefused::DuplicateName => Reason::DuplicateName,
                    DataTrackRefused::LimitExceeded => Reason::LimitExceeded,
                };
                self.respond(0, reason, asked.map(Echo::PublishDataTrack));
            }
        }
    }

    pub(super) fn unpublish_data_track(&mut self, request: &proto::UnpublishDataTrackRequest) {
        match u16::try_from(request.pub_handle) {
            Ok(handle) => self.request(Request::UnpublishDataTrack { handle }),
            Err(_) => self.no_such_data_track(request.pub_handle),
        }
    }

    pub(super) fn data_track_unpublished(&mut self, handle: u16, track: Option<&DataTrack>) {
        match track {
            Some(track) => self.data_track_removed(track),
            None => self.no_such_data_track(handle.into()),
        }
    }

    pub(super) fn data_track_removed(&mut self, track: &DataTrack) {
        let info = Some(data_tracks::info(track));
        self.frame(Message::UnpublishDataTrackResponse(proto::UnpublishDataTrackResponse { info }));
    }

    fn no_such_data_track(&mut self, pub_handle: u32) {
        let echo = Echo::UnpublishDataTrack(proto::UnpublishDataTrackRequest { pub_handle });
        self.respond(0, Reason::NotFound, Some(echo));
    }

    pub(super) fn update_data_subscription(&mut self, update: &proto::UpdateDataSubscription) {
        let updates = update.updates.iter().take(MAX_UPDATES);
        let updates = updates.filter_map(|one| Some((ids::parse_data_track(&one.track_sid)?, one.subscribe)));
        let updates: Vec<(TrackId, bool)> = updates.collect();
        if !updates.is_empty() {
            self.request(Request::UpdateDataSubscription { updates });
        }
    }

    pub(super) fn data_handles(&mut self, handles: Vec<DataHandle>) {
        self.frame(Message::DataTrackSubscriberHandles(data_tracks::handles(&handles)));
        self.data_told = handles;
    }

    /// The client is back: what it was told last may not have arrived.
    pub(super) fn repeat_data_handles(&mut self) {
        if !self.data_told.is_empty() {
            self.frame(Message::DataTrackSubscriberHandles(data_tracks::handles(&self.data_told)));
        }
    }

    /// What the client takes for published: it is told the rest, and what is published no more.
    pub(super) fn sync_data_tracks(&mut self, published: &[proto::PublishDataTrackResponse]) {
        let infos = published.iter().take(MAX_UPDATES).filter_map(|published| published.info.as_ref());
        let (here, gone): (Vec<_>, Vec<_>) = infos.partition(|info| {
            let id = ids::parse_data_track(&info.sid);
            self.me.data_tracks.iter().any(|track| Some(track.id) == id)
        });
        let known = |track: &&DataTrack| here.iter().any(|info| info.pub_handle == u32::from(track.handle));
        let untold: Vec<_> =
            self.me.data_tracks.iter().filter(|track| !known(track)).map(data_tracks::info).collect();
        for info in untold {
            let response = proto::PublishDataTrackResponse { info: Some(info) };
            self.frame(Message::PublishDataTrackResponse(response));
        }
        for info in gone {
            let response = proto::UnpublishDataTrackResponse { info: Some(info.clone()) };
            self.frame(Message::UnpublishDataTrackResponse(response));
        }
    }

    pub(super) fn store_data_blob(&mut self, request: &proto::StoreDataBlobRequest) {
        self.refuse_blob(request.request_id, Reason::NotAllowed, "this server keeps no blobs of data");
    }

    pub(super) fn get_data_blob(&mut self, request: &proto::GetDataBlobRequest) {
        let (reason, message) = match request.key {
            Some(_) => (Reason::NotAllowed, "this server keeps no blobs of data"),
            None => (Reason::InvalidRequest, "the request names no key"),
        };
        self.refuse_blob(request.request_id, reason, message);
    }

    fn refuse_blob(&mut self, request_id: u32, reason: Reason, message: &str) {
        let (reason, message) = (reason as i32, message.to_owned());
        self.frame(Message::RequestResponse(proto::RequestResponse {
            request_id,
            reason,
            message,
            request: None,
        }));
    }
}
