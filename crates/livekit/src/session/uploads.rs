//! Tracks that the participant publishes: asked for by AddTrack, found in its offers, announced when both are known.
//!
//! AddTrack and the offer with the track's section arrive in any order, and neither waits for the other or for media.

use std::sync::Arc;
use std::time::Instant;

use base::model::{Encryption, Track, TrackSource};
use base::{CodecKind, MediaKind, Mid, Rid, TrackId};
use contract::media::ReceiveSection;
use contract::session::PublishTrack;
use livekit_protocol as proto;
use sdp::Accepted;

use crate::translate;

use super::dynacast::{Demand, Layers};

/// Most tracks of a participant, asked for or published.
pub(crate) const MAX_TRACKS: usize = 100;
/// Most tracks that wait for the room's answer.
const MAX_PENDING: usize = 20;
/// Most requests that wait until a track with the same client id ends, over all client ids.
const MAX_QUEUED: usize = 20;
/// Most of them for one client id.
const MAX_QUEUED_PER_CID: usize = 3;

/// A track on its way to or in publication.
#[derive(Debug)]
pub(crate) struct Upload {
    /// What was asked for; echoed when it is refused.
    pub request: proto::AddTrackRequest,
    pub publish: PublishTrack,
    /// Set when the room has accepted it.
    pub track: Option<Arc<Track>>,
    /// Set when its section is known.
    pub mid: Option<Mid>,
    /// Video: what its publisher is told of the demand for it.
    demand: Demand,
}

/// A section in which the participant sends.
#[derive(Debug)]
pub(crate) struct UpSection {
    pub mid: Mid,
    pub kind: MediaKind,
    pub accepted: Accepted,
    pub rids: Vec<Rid>,
    pub ssrcs: Vec<(u32, Option<u32>)>,
    /// Track id of its `a=msid`.
    pub msid: String,
    /// What it feeds.
    pub track: Option<TrackId>,
}

/// What to do with an AddTrack.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Ask the room.
    Publish(PublishTrack),
    /// A track with this client id is still there; its turn comes when that one ends.
    Queued,
    /// Too many.
    LimitExceeded,
}

/// A track whose section has just been found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Match {
    pub track: TrackId,
    pub mid: Mid,
    pub codec: CodecKind,
    pub simulcast: bool,
}

/// All of a participant's uploads and the sections that its last offer has for them.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    uploads: Vec<Upload>,
    queued: Vec<proto::AddTrackRequest>,
    sections: Vec<UpSection>,
    exact: bool,
}

impl Uploads {
    /// `exact`: the track ids in the client's offers are the client ids of its AddTracks without exception, so that order
    /// never decides which section belongs to which track.
    pub fn new(exact: bool) -> Self {
        Self { exact, ..Self::default() }
    }

    pub fn add(&mut self, request: proto::AddTrackRequest) -> Admission {
        if self.uploads.iter().any(|upload| upload.publish.cid == request.cid) {
            return self.queue(request);
        }
        let pending = self.uploads.iter().filter(|upload| upload.track.is_none()).count();
        if self.uploads.len() >= MAX_TRACKS || pending >= MAX_PENDING {
            return Admission::LimitExceeded;
        }
        let publish = parse_add_track(&request);
        self.uploads.push(Upload {
            request,
            publish: publish.clone(),
            track: None,
            mid: None,
            demand: Demand::default(),
        });
        Admission::Publish(publish)
    }

    fn queue(&mut self, request: proto::AddTrackRequest) -> Admission {
        let same = self.queued.iter().filter(|queued| queued.cid == request.cid).count();
        if same >= MAX_QUEUED_PER_CID || self.queued.len() >= MAX_QUEUED {
            return Admission::LimitExceeded;
        }
        self.queued.push(request);
        Admission::Queued
    }

    /// The room accepted a track.
    pub fn accepted(&mut self, cid: &str, track: &Arc<Track>) {
        if let Some(upload) = self.pending(cid) {
            upload.track = Some(track.clone());
        }
    }

    /// The room refused a track: forgets it and returns its request.
    pub fn refused(&mut self, cid: &str) -> Option<proto::AddTrackRequest> {
        let index =
            self.uploads.iter().position(|upload| upload.publish.cid == cid && upload.track.is_none())?;
        Some(self.uploads.remove(index).request)
    }

    fn pending(&mut self, cid: &str) -> Option<&mut Upload> {
        self.uploads.iter_mut().find(|upload| upload.publish.cid == cid && upload.track.is_none())
    }

    /// Forgets a track. Its section stays, feeding nothing.
    pub fn remove(&mut self, track: TrackId) -> bool {
        let before = self.uploads.len();
        self.uploads.retain(|upload| upload.track.as_ref().is_none_or(|known| known.id != track));
        for section in self.sections.iter_mut().filter(|section| section.track == Some(track)) {
            section.track = None;
        }
        self.uploads.len() != before
    }

    /// The next queued request whose client id has become free.
    pub fn next_queued(&mut self) -> Option<proto::AddTrackRequest> {
        let free = |request: &proto::AddTrackRequest| {
            self.uploads.iter().all(|upload| upload.publish.cid != request.cid)
        };
        let index = self.queued.iter().position(free)?;
        Some(self.queued.remove(index))
    }

    /// Own track?
    pub fn owns(&self, track: TrackId) -> bool {
        self.uploads.iter().any(|upload| upload.track.as_ref().is_some_and(|known| known.id == track))
    }

    /// Is there a track asked for that a section with this `a=msid` track id would feed?
    pub fn expects(&self, msid: &str) -> bool {
        self.uploads.iter().any(|upload| upload.mid.is_none() && names(upload, msid))
    }

    /// The codec that was asked for the section with this `a=msid` track id.
    pub fn wanted_codec(&self, msid: &str, mid: Mid) -> Option<CodecKind> {
        let upload = self.uploads.iter().find(|upload| upload.mid == Some(mid) || names(upload, msid))?;
        Some(upload.publish.codec)
    }

    /// Is the track of this section to come with redundancy? Not when its publisher says so, and not encrypted: for receivers
    /// without RED it must be taken apart.
    pub fn wants_red(&self, msid: &str, mid: Mid) -> bool {
        let is_it = |upload: &&Upload| upload.mid == Some(mid) || names(upload, msid);
        let is_next = |upload: &&Upload| upload.mid.is_none() && upload.publish.kind == MediaKind::Audio;
        let found = self.uploads.iter().find(is_it);
        let upload = found.or_else(|| self.uploads.iter().filter(|_| !self.exact).find(is_next));
        upload.is_some_and(|upload| {
            !upload.publish.disable_red && upload.publish.encryption == Encryption::None
        })
    }

    /// Some track is in stereo.
    pub fn any_stereo(&self) -> bool {
        self.uploads.iter().any(|upload| upload.publish.stereo)
    }

    /// Some track forbids discontinuous transmission.
    pub fn any_without_dtx(&self) -> bool {
        self.uploads.iter().any(|upload| upload.publish.no_dtx)
    }

    /// Replaces the sections with those of a new offer. Returns tracks that are not sent any more, already forgotten.
    pub fn take_sections(&mut self, mut sections: Vec<UpSection>) -> Vec<TrackId> {
        let mut ended = Vec::new();
        for old in &self.sections {
            let Some(track) = old.track else { continue };
            match sections.iter_mut().find(|section| section.mid == old.mid) {
                // The same section may be given to another track, which is known by its id.
                Some(new) if new.msid == old.msid || !self.expects(&new.msid) => new.track = Some(track),
                _ => ended.push(track),
            }
        }
        self.sections = sections;
        ended.iter().for_each(|track| {
            self.remove(*track);
        });
        ended
    }

    /// Brings together sections and accepted tracks: by id first, then, for clients whose ids differ, by kind in order.
    pub fn match_up(&mut self, now: Instant) -> Vec<Match> {
        let mut matches = Vec::new();
        for by_id in [true, false] {
            for section in self.sections.iter_mut().filter(|section| section.track.is_none()) {
                let open = |upload: &&mut Upload| {
                    upload.mid.is_none() && upload.track.is_some() && upload.publish.kind == section.kind
                };
                let by_order = !self.exact || section.msid.is_empty();
                let fits = |upload: &Upload| if by_id { names(upload, &section.msid) } else { by_order };
                let found = self.uploads.iter_mut().filter(open).find(|upload| fits(upload));
                if let Some(upload) = found
                    && let Some(track) = &upload.track
                {
                    upload.mid = Some(section.mid);
                    upload.demand.begin(now);
                    section.track = Some(track.id);
                    matches.push(Match {
                        track: track.id,
                        mid: section.mid,
                        codec: sent_codec(&section.accepted, upload.publish.codec),
                        simulcast: section.rids.len() > 1,
                    });
                }
            }
        }
        matches
    }

    /// What the worker is to receive.
    pub fn receive_sections(&self) -> Vec<ReceiveSection> {
        let receive = |section: &UpSection| ReceiveSection {
            mid: section.mid,
            media: section.kind,
            codecs: section.accepted.codecs.clone(),
            extensions: section.accepted.map,
            rids: section.rids.clone(),
            sizes: self.sizes(section),
            ssrcs: section.ssrcs.clone(),
            source: self.source(section.track),
            track: section.track,
        };
        self.sections.iter().map(receive).collect()
    }

    fn source(&self, track: Option<TrackId>) -> TrackSource {
        let fed = |upload: &&Upload| upload.track.as_ref().is_some_and(|known| Some(known.id) == track);
        self.uploads.iter().find(fed).map(|upload| upload.publish.source).unwrap_or_default()
    }

    /// Announced sizes of the section's layers, lowest first; empty when they do not fit its rids.
    fn sizes(&self, section: &UpSection) -> Vec<(u32, u32)> {
        let upload = self.uploads.iter().find(|upload| upload.mid == Some(section.mid));
        let Some(publish) = upload.map(|upload| &upload.publish).filter(|publish| publish.width > 0) else {
            return Vec::new();
        };
        if section.rids.len() <= 1 {
            return vec![(publish.width, publish.height)];
        }
        let mut layers = publish.layers.clone();
        layers.sort_by_key(|layer| (layer.quality, layer.spatial));
        let sizes: Vec<_> = layers.iter().map(|layer| (layer.width, layer.height)).collect();
        if sizes.len() == section.rids.len() { sizes } else { Vec::new() }
    }

    /// The room says which layer of a track is the highest that anybody wants.
    pub fn want(&mut self, track: TrackId, highest: Option<u8>, now: Instant) {
        let own = |upload: &&mut Upload| upload.track.as_ref().is_some_and(|known| known.id == track);
        if let Some(upload) = self.uploads.iter_mut().filter(|upload| is_video(upload)).find(own) {
            upload.demand.want(highest, now);
        }
    }

    /// How many qualities of which tracks, sent with which codecs, the client is to be told are wanted.
    pub fn take_demand(&mut self, now: Instant) -> Vec<(TrackId, CodecKind, u8)> {
        let sections = &self.sections;
        let each = self.uploads.iter_mut().filter(|upload| upload.demand.due().is_some());
        each.filter_map(|upload| {
            let section = sections.iter().find(|section| Some(section.mid) == upload.mid)?;
            let codec = sent_codec(&section.accepted, upload.publish.codec);
            let announced = announced(&upload.publish);
            let layers = Layers { rids: &section.rids, announced: &announced, codec };
            Some((upload.track.as_ref()?.id, codec, upload.demand.take(now, &layers)?))
        })
        .collect()
    }

    /// What the client was last told of a track, and the codec that it is sent with.
    pub fn told_demand(&self, track: TrackId) -> Option<(CodecKind, u8)> {
        let section = self.sections.iter().find(|section| section.track == Some(track))?;
        let upload = self.uploads.iter().find(|upload| upload.mid == Some(section.mid))?;
        Some((sent_codec(&section.accepted, upload.publish.codec), upload.demand.told()?))
    }

    /// When [`Self::take_demand`] has something to look at.
    pub fn demand_due(&self) -> Option<Instant> {
        self.uploads.iter().filter_map(|upload| upload.demand.due()).min()
    }

    pub fn section(&self, mid: Mid) -> Option<&UpSection> {
        self.sections.iter().find(|section| section.mid == mid)
    }
}

/// Does the track id of an `a=msid` name this upload? Firefox writes ids in braces in some places and not in others.
fn names(upload: &Upload, msid: &str) -> bool {
    let bare = |text: &str| text.trim_start_matches('{').trim_end_matches('}').to_owned();
    let cids = upload.request.simulcast_codecs.iter().map(|codec| codec.cid.as_str());
    !msid.is_empty()
        && std::iter::once(upload.publish.cid.as_str())
            .chain(cids)
            .any(|cid| !cid.is_empty() && bare(cid) == bare(msid))
}

fn is_video(upload: &Upload) -> bool {
    upload.publish.kind == MediaKind::Video
}

/// Qualities of the announced layers, lowest first.
fn announced(publish: &PublishTrack) -> Vec<u8> {
    let mut qualities: Vec<u8> = publish.layers.iter().map(|layer| layer.quality).collect();
    qualities.sort_unstable();
    qualities
}

/// The codec a publisher sends: what it asked for where accepted, else the first that is accepted.
fn sent_codec(accepted: &Accepted, wanted: CodecKind) -> CodecKind {
    if accepted.has(wanted) {
        return wanted;
    }
    let plain = accepted.codecs.iter().map(|codec| codec.kind).find(|kind| *kind != CodecKind::Red);
    plain.unwrap_or(wanted)
}

fn parse_add_track(request: &proto::AddTrackRequest) -> PublishTrack {
    let kind = match request.r#type() {
        proto::TrackType::Audio => MediaKind::Audio,
        _ => MediaKind::Video,
    };
    let first = request.simulcast_codecs.first();
    let named = first.and_then(|codec| translate::parse_codec(&codec.codec));
    let default = if kind == MediaKind::Audio { CodecKind::Opus } else { CodecKind::Vp8 };
    let layers = match first {
        Some(codec) if request.layers.is_empty() => &codec.layers,
        _ => &request.layers,
    };
    let feature = |feature: proto::AudioTrackFeature| request.audio_features.contains(&(feature as i32));
    #[allow(deprecated, reason = "clients still say it in the older fields")]
    let (stereo, no_dtx) = (request.stereo, request.disable_dtx);
    PublishTrack {
        cid: request.cid.clone(),
        kind,
        source: translate::parse_source(request.source),
        name: request.name.clone(),
        muted: request.muted,
        width: request.width,
        height: request.height,
        // Three spatial layers are the most that clients send.
        layers: layers.iter().take(3).map(translate::parse_layer).collect(),
        codec: named.filter(|codec| codec.media() == kind && *codec != CodecKind::Red).unwrap_or(default),
        disable_red: request.disable_red,
        stereo: stereo || feature(proto::AudioTrackFeature::TfStereo),
        no_dtx: no_dtx || feature(proto::AudioTrackFeature::TfNoDtx),
        encryption: translate::parse_encryption(request.encryption),
        stream: request.stream.clone(),
    }
}
