//! What a WHIP client publishes: tracks that no message describes, so that all that is known of them comes from SDP.

use std::sync::Arc;

use axum::http::StatusCode;
use base::model::{Encryption, Permissions, Track, TrackSource, VideoLayer};
use base::{MediaKind, Mid, TrackId};
use contract::media::{ReceiveSection, Sections};
use contract::session::{PublishRefused, PublishTrack, Request};
use sdp::{Direction, OutBody, OutSection, Section};

use crate::refusal::Refusal;

use super::offer::{Line, Offer};

/// Layers that are announced: as many qualities as there are.
const MAX_LAYERS: usize = 3;

/// The tracks of a session that publishes.
#[derive(Debug)]
pub(crate) struct Publishing {
    uploads: Vec<Upload>,
}

#[derive(Debug)]
struct Upload {
    receive: ReceiveSection,
    publish: PublishTrack,
    outcome: Option<Result<Arc<Track>, PublishRefused>>,
}

impl Publishing {
    pub fn new(offer: &Offer, permissions: &Permissions) -> Self {
        let upload = |line: &Line| {
            let section = offer.description.section(line.mid)?;
            let publish = describe(section, line, permissions);
            let receive = ReceiveSection {
                mid: line.mid,
                media: line.kind,
                codecs: line.accepted.codecs.clone(),
                extensions: line.accepted.map,
                rids: section.layers(),
                sizes: Vec::new(),
                ssrcs: section.ssrcs.clone(),
                source: publish.source,
                track: None,
            };
            Some(Upload { receive, publish, outcome: None })
        };
        Self { uploads: offer.lines.iter().filter_map(upload).collect() }
    }

    /// Asks the room for all tracks.
    pub fn publish(&self) -> impl Iterator<Item = Request> {
        self.uploads.iter().map(|upload| Request::Publish(upload.publish.clone()))
    }

    /// The room's answer for one track.
    pub fn published(&mut self, cid: &str, outcome: Result<Arc<Track>, PublishRefused>) {
        let asked = |upload: &&mut Upload| upload.publish.cid == cid && upload.outcome.is_none();
        let Some(upload) = self.uploads.iter_mut().find(asked) else { return };
        upload.receive.track = outcome.as_ref().ok().map(|track| track.id);
        upload.outcome = Some(outcome);
    }

    /// The room has answered for all tracks.
    pub fn is_answered(&self) -> bool {
        self.uploads.iter().all(|upload| upload.outcome.is_some())
    }

    /// Why the session cannot be, once the room has answered: one track that may not be published is too many.
    pub fn refused(&self) -> Option<Refusal> {
        self.uploads.iter().find_map(|upload| match upload.outcome {
            Some(Err(PublishRefused::NotAllowed)) => Some(Refusal::new(
                StatusCode::FORBIDDEN,
                format!("the token does not allow publishing the {}", name(upload.receive.media)),
            )),
            Some(Err(PublishRefused::LimitExceeded)) => {
                Some(Refusal::new(StatusCode::CONFLICT, "the room has as many tracks as it may have"))
            }
            _ => None,
        })
    }

    /// Announces all tracks to the others: their sections are known from the start.
    pub fn announce(&self) -> impl Iterator<Item = Request> {
        self.uploads.iter().filter_map(|upload| {
            let section = &upload.receive;
            Some(Request::TrackNegotiated {
                track: section.track?,
                mid: section.mid,
                codec: upload.publish.codec,
                simulcast: section.rids.len() > 1,
                sdp_cid: String::new(),
            })
        })
    }

    /// The room took a track down. What comes in its section goes nowhere from now on.
    pub fn removed(&mut self, track: TrackId) -> bool {
        let fed = |upload: &&mut Upload| upload.receive.track == Some(track);
        self.uploads.iter_mut().find(fed).map(|upload| upload.receive.track = None).is_some()
    }

    pub fn sections(&self) -> Sections {
        Sections {
            receive: self.uploads.iter().map(|upload| upload.receive.clone()).collect(),
            send: Vec::new(),
        }
    }

    pub fn answer(&self, offer: &Offer) -> Vec<OutSection> {
        offer.answer(|section, line| {
            let mut body = line.body(Direction::RecvOnly);
            if let OutBody::Media { rids, .. } = &mut body {
                *rids = section.layers();
            }
            body
        })
    }
}

fn describe(section: &Section, line: &Line, permissions: &Permissions) -> PublishTrack {
    let parameter = |name: &str, value: &str| {
        line.accepted.lines.first().is_some_and(|line| line.parameter(name) == Some(value))
    };
    let audio = line.kind == MediaKind::Audio;
    PublishTrack {
        cid: cid(line.mid),
        kind: line.kind,
        source: source(line.kind, permissions),
        name: String::new(),
        muted: false,
        width: 0,
        height: 0,
        layers: layers(section),
        // An offer whose sections accept nothing is refused before.
        codec: line.accepted.codecs.first().map(|codec| codec.kind).unwrap_or(base::CodecKind::Vp8),
        disable_red: true,
        stereo: audio && (parameter("sprop-stereo", "1") || parameter("stereo", "1")),
        no_dtx: audio && !parameter("usedtx", "1"),
        features: Default::default(),
        backup: None,
        encryption: Encryption::None,
        stream: String::new(),
        trailers: Default::default(),
    }
}

/// The publisher's own name for a track. Sections have mids in any case, ids of tracks only sometimes.
fn cid(mid: Mid) -> String {
    mid.to_string()
}

/// Camera and microphone, unless the token allows the screen alone.
fn source(kind: MediaKind, permissions: &Permissions) -> TrackSource {
    let candidates = match kind {
        MediaKind::Audio => [TrackSource::Microphone, TrackSource::ScreenShareAudio],
        MediaKind::Video => [TrackSource::Camera, TrackSource::ScreenShare],
    };
    candidates.into_iter().find(|source| permissions.may_publish(*source)).unwrap_or(candidates[0])
}

/// Layers of simulcast by their rids. Nobody says how large they are.
fn layers(section: &Section) -> Vec<VideoLayer> {
    let rids = section.layers().len().min(MAX_LAYERS);
    if rids <= 1 {
        return Vec::new();
    }
    let layer =
        |index: u8| VideoLayer { quality: index, width: 0, height: 0, bitrate: 0, ssrc: 0, spatial: index };
    (0..rids as u8).map(layer).collect()
}

fn name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}
