//! Tracks that the participant publishes: asked for by AddTrack, found in its offers, announced when both are known.
//!
//! AddTrack and the offer with the track's section arrive in any order, and neither waits for the other or for media.

use std::sync::Arc;
use std::time::Instant;

use base::model::{BackupStream, Encryption, Track, TrackSource, VideoLayer};
use base::{CodecKind, MediaKind, Mid, Rid, TrackId};
use contract::media::ReceiveSection;
use contract::session::PublishTrack;
use livekit_protocol as proto;
use sdp::Accepted;

use crate::translate;

use super::backup::{self, Second};
use super::dynacast::{self, Demand, Layers};

/// Most tracks of a participant, asked for or published.
pub(crate) const MAX_TRACKS: usize = 100;
/// Most kinds of trailers that a track names; there are three so far.
const MAX_TRAILERS: usize = 16;
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
    /// Its second encoding.
    pub(super) second: Second,
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
    Publish(Box<PublishTrack>),
    /// A track with this client id is still there; its turn comes when that one ends.
    Queued,
    /// Too many.
    LimitExceeded,
}

/// What has just been found in a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Match {
    /// A track.
    Track { track: TrackId, mid: Mid, codec: CodecKind, simulcast: bool, sdp_cid: String },
    /// The second encoding of one.
    Backup { track: TrackId, stream: BackupStream },
}

/// By what a section is taken for a track's, in the order in which they are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The id in its `a=msid`.
    Id,
    /// The codec that was asked for is among its own, and it is the first such section.
    Codec,
    /// It is the first of its kind.
    Order,
}

/// All of a participant's uploads and the sections that its last offer has for them.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    uploads: Vec<Upload>,
    queued: Vec<proto::AddTrackRequest>,
    sections: Vec<UpSection>,
    exact: bool,
    /// A codec that the client is not to send.
    without: Option<CodecKind>,
    /// Client ids of tracks that were sent once, the newest last.
    spent: Vec<String>,
}

impl Uploads {
    /// `exact`: the track ids in the client's offers are the client ids of its AddTracks without exception, so that order
    /// never decides which section belongs to which track.
    /// `without`: a codec that it is not to send.
    pub fn new(exact: bool, without: Option<CodecKind>) -> Self {
        Self { exact, without, ..Self::default() }
    }

    /// What of these is accepted of the client.
    pub fn accept(&self, accepted: Accepted) -> Accepted {
        match self.without {
            Some(codec) => accepted.without(codec),
            None => accepted,
        }
    }

    pub fn add(&mut self, request: proto::AddTrackRequest) -> Admission {
        if self.uploads.iter().any(|upload| upload.publish.cid == request.cid) {
            return self.queue(request);
        }
        let pending = self.uploads.iter().filter(|upload| upload.track.is_none()).count();
        if self.uploads.len() >= MAX_TRACKS || pending >= MAX_PENDING {
            return Admission::LimitExceeded;
        }
        let publish = parse_add_track(&request, self.without);
        self.uploads.push(Upload {
            request,
            publish: publish.clone(),
            track: None,
            mid: None,
            demand: Demand::default(),
            second: Second::default(),
        });
        Admission::Publish(Box::new(publish))
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

    /// Forgets a track, or its second encoding alone. Its sections stay, feeding nothing.
    pub fn remove(&mut self, track: TrackId) -> bool {
        let before = self.uploads.len();
        if track.is_backup() {
            let upload = self.uploads.iter_mut().find(|upload| upload.is(track.primary()));
            upload.into_iter().for_each(|upload| upload.second = Second::default());
        } else {
            for gone in self.uploads.extract_if(.., |upload| upload.is(track)) {
                self.spent.push(gone.publish.cid);
            }
            let many = self.spent.len().saturating_sub(MAX_TRACKS);
            self.spent.drain(..many);
        }
        let feeds = |fed: TrackId| fed == track || fed.primary() == track;
        for section in self.sections.iter_mut().filter(|section| section.track.is_some_and(feeds)) {
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

    /// Tracks that the room has accepted, with the client's ids for them.
    pub fn accepted_tracks(&self) -> impl Iterator<Item = (&str, &Arc<Track>)> {
        self.uploads.iter().filter_map(|upload| Some((upload.publish.cid.as_str(), upload.track.as_ref()?)))
    }

    /// Own track?
    pub fn owns(&self, track: TrackId) -> bool {
        self.uploads.iter().any(|upload| upload.is(track))
    }

    pub(super) fn find_mut(&mut self, track: TrackId) -> Option<&mut Upload> {
        self.uploads.iter_mut().find(|upload| upload.is(track))
    }

    /// Is there a track asked for that a section with this `a=msid` track id would feed?
    pub fn expects(&self, msid: &str) -> bool {
        self.uploads
            .iter()
            .any(|upload| upload.mid.is_none() && names(upload, msid) || upload.second.expects(msid))
    }

    /// The codec that was asked for what will be sent in this section.
    pub fn wanted_codec(&self, kind: MediaKind, msid: &str, mid: Mid) -> Option<CodecKind> {
        if let Some(upload) = self.uploads.iter().find(|upload| upload.second.is_in(mid, msid)) {
            return upload.publish.backup.as_ref().map(|backup| backup.codec);
        }
        Some(self.destined(kind, msid, mid)?.publish.codec)
    }

    /// Is the track of this section to come with redundancy? Not when its publisher says so, and not encrypted: for receivers
    /// without RED it must be taken apart.
    pub fn wants_red(&self, msid: &str, mid: Mid) -> bool {
        self.destined(MediaKind::Audio, msid, mid).is_some_and(|upload| {
            !upload.publish.disable_red && upload.publish.encryption == Encryption::None
        })
    }

    /// The track of a section: the one that it feeds, that it names, or that would be taken by order.
    fn destined(&self, kind: MediaKind, msid: &str, mid: Mid) -> Option<&Upload> {
        let found = self.uploads.iter().find(|upload| upload.mid == Some(mid) || names(upload, msid));
        found.or_else(|| {
            let open = |upload: &&Upload| upload.mid.is_none() && upload.publish.kind == kind;
            self.uploads.iter().filter(open).find(|upload| self.may_differ(&upload.publish.cid, msid))
        })
    }

    /// May what has this client id come in a section that names another one? Browsers name the sections of a track that is sent for
    /// the second time as they like.
    fn may_differ(&self, cid: &str, msid: &str) -> bool {
        !self.exact || msid.is_empty() || self.spent.iter().any(|spent| spent == cid)
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

    /// Brings together sections and accepted tracks: by id first, then, for clients whose ids differ, by kind and codec in order.
    pub fn match_up(&mut self, now: Instant) -> Vec<Match> {
        let mut matches = Vec::new();
        let mut sections = std::mem::take(&mut self.sections);
        for by in [By::Id, By::Codec, By::Order] {
            for section in sections.iter_mut().filter(|section| section.track.is_none()) {
                matches.extend(self.match_track(section, by, now));
            }
        }
        for by in [By::Id, By::Codec] {
            for section in sections.iter_mut().filter(|section| section.track.is_none()) {
                matches.extend(self.match_second(section, by, now));
            }
        }
        self.sections = sections;
        matches
    }

    /// The track that a section feeds, if it is one that waits for it.
    fn match_track(&mut self, section: &mut UpSection, by: By, now: Instant) -> Option<Match> {
        let fits = |upload: &Upload| {
            let open = upload.mid.is_none() && upload.track.is_some() && upload.publish.kind == section.kind;
            let by_order = || self.may_differ(&upload.publish.cid, &section.msid);
            open && match by {
                By::Id => names(upload, &section.msid),
                By::Codec => by_order() && section.accepted.has(upload.publish.codec),
                By::Order => by_order(),
            }
        };
        let at = self.uploads.iter().position(fits)?;
        let upload = &mut self.uploads[at];
        let track = upload.track.as_ref()?.id;
        upload.mid = Some(section.mid);
        upload.demand.begin(now);
        section.track = Some(track);
        let own = same_id(&upload.publish.cid, &section.msid);
        Some(Match::Track {
            track,
            mid: section.mid,
            codec: sent_codec(&section.accepted, upload.publish.codec),
            simulcast: section.rids.len() > 1,
            sdp_cid: if own { String::new() } else { section.msid.clone() },
        })
    }

    /// The second encoding that a section feeds, if it is one that waits for it.
    fn match_second(&mut self, section: &mut UpSection, by: By, now: Instant) -> Option<Match> {
        let fits = |upload: &Upload| {
            let codec = upload.publish.backup.as_ref().map(|backup| backup.codec);
            let cid = upload.second.waits_for_section().filter(|cid| match by {
                By::Id => same_id(cid, &section.msid),
                _ => self.may_differ(cid, &section.msid),
            });
            // What is not announced itself has no second encoding.
            let open = upload.mid.is_some() && section.kind == MediaKind::Video && cid.is_some();
            open && codec.is_some_and(|codec| section.accepted.has(codec))
        };
        let at = self.uploads.iter().position(fits)?;
        let upload = &mut self.uploads[at];
        let track = upload.track.as_ref()?.id;
        let stream = upload.second.begin(section.mid, section.rids.len() > 1, now)?;
        section.track = Some(track.backup());
        Some(Match::Backup { track, stream })
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
        let Some(track) = track else { return TrackSource::default() };
        let fed = |upload: &&Upload| upload.is(track.primary());
        self.uploads.iter().find(fed).map(|upload| upload.publish.source).unwrap_or_default()
    }

    /// Announced sizes of the section's layers, lowest first; empty when they do not fit its rids.
    fn sizes(&self, section: &UpSection) -> Vec<(u32, u32)> {
        let shape = |upload: &Upload| {
            let first = (upload.mid == Some(section.mid))
                .then(|| ((upload.publish.width, upload.publish.height), upload.publish.layers.clone()));
            first.or_else(|| upload.second.shape(section.mid))
        };
        let Some((size, mut layers)) = self.uploads.iter().find_map(shape).filter(|(size, _)| size.0 > 0)
        else {
            return Vec::new();
        };
        if section.rids.len() <= 1 {
            return vec![size];
        }
        layers.sort_by_key(|layer| (layer.quality, layer.spatial));
        let sizes: Vec<_> = layers.iter().map(|layer| (layer.width, layer.height)).collect();
        if sizes.len() == section.rids.len() { sizes } else { Vec::new() }
    }

    /// The room says which layer of an encoding is the highest that anybody wants.
    pub fn want(&mut self, encoding: TrackId, highest: Option<u8>, now: Instant) {
        let own = |upload: &&mut Upload| upload.is(encoding.primary());
        let Some(upload) = self.uploads.iter_mut().filter(|upload| is_video(upload)).find(own) else {
            return;
        };
        if encoding.is_backup() {
            upload.second.want(highest, now);
        } else {
            upload.demand.want(highest, now);
        }
    }

    /// What is sent has others to say what is wanted of it.
    pub fn begin_anew(&mut self, now: Instant) {
        for upload in &mut self.uploads {
            upload.demand.begin_anew(now);
            upload.second.begin_anew(now);
        }
    }

    /// Tracks of which the client is to be told now what is wanted, see [`Self::levels`].
    pub fn take_demand(&mut self, now: Instant) -> Vec<TrackId> {
        let sections = &self.sections;
        let mut news = Vec::new();
        for upload in &mut self.uploads {
            let Some(id) = upload.track.as_ref().map(|track| track.id) else { continue };
            let first = upload.demand.due().is_some() && {
                let section = sections.iter().find(|section| Some(section.mid) == upload.mid);
                let announced = announced(&upload.publish.layers);
                section.is_some_and(|section| {
                    let codec = sent_codec(&section.accepted, upload.publish.codec);
                    let layers = Layers { rids: &section.rids, announced: &announced, codec };
                    upload.demand.take(now, &layers).is_some()
                })
            };
            let backup = upload.publish.backup.as_ref().map(|backup| backup.codec);
            let second = backup.is_some_and(|codec| upload.second.take(now, codec, sections));
            if first || second {
                news.push(id);
            }
        }
        news
    }

    /// What the client was last told of each encoding of a track that it sends, or is to send: how many qualities of it are
    /// wanted, where anything has been said yet.
    pub fn levels(&self, track: TrackId) -> Vec<(CodecKind, u8)> {
        let Some(upload) = self.uploads.iter().find(|upload| upload.is(track)) else { return Vec::new() };
        let section = self.sections.iter().find(|section| section.track == Some(track));
        let backup = upload.publish.backup.as_ref();
        let second = backup.and_then(|backup| Some((backup.codec, upload.second.level()?)));
        let first = section.and_then(|section| {
            let told = upload.demand.told().or(second.map(|_| dynacast::ALL))?;
            Some((sent_codec(&section.accepted, upload.publish.codec), told))
        });
        first.into_iter().chain(second).collect()
    }

    /// When [`Self::take_demand`] has something to look at.
    pub fn demand_due(&self) -> Option<Instant> {
        let due = |upload: &Upload| [upload.demand.due(), upload.second.due()];
        self.uploads.iter().flat_map(due).flatten().min()
    }

    pub fn section(&self, mid: Mid) -> Option<&UpSection> {
        self.sections.iter().find(|section| section.mid == mid)
    }
}

impl Upload {
    /// Is it this track?
    pub(super) fn is(&self, track: TrackId) -> bool {
        self.track.as_ref().is_some_and(|known| known.id == track)
    }
}

/// Does the track id of an `a=msid` name this upload?
fn names(upload: &Upload, msid: &str) -> bool {
    let cids = upload.request.simulcast_codecs.iter().map(|codec| codec.cid.as_str());
    std::iter::once(upload.publish.cid.as_str()).chain(cids).any(|cid| same_id(cid, msid))
}

/// Are these the same id of a track? Firefox writes ids in braces in some places and not in others.
pub(super) fn same_id(cid: &str, msid: &str) -> bool {
    let bare = |text: &str| text.trim_start_matches('{').trim_end_matches('}').to_owned();
    !cid.is_empty() && bare(cid) == bare(msid)
}

fn is_video(upload: &Upload) -> bool {
    upload.publish.kind == MediaKind::Video
}

/// Qualities of the announced layers, lowest first.
pub(super) fn announced(layers: &[VideoLayer]) -> Vec<u8> {
    let mut qualities: Vec<u8> = layers.iter().map(|layer| layer.quality).collect();
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

fn parse_add_track(request: &proto::AddTrackRequest, without: Option<CodecKind>) -> PublishTrack {
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
    let can =
        |codec: &CodecKind| codec.media() == kind && *codec != CodecKind::Red && Some(*codec) != without;
    let codec = named.filter(can).unwrap_or(default);
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
        codec,
        disable_red: request.disable_red,
        stereo: stereo || feature(proto::AudioTrackFeature::TfStereo),
        no_dtx: no_dtx || feature(proto::AudioTrackFeature::TfNoDtx),
        features: translate::parse_audio_features(&request.audio_features),
        backup: backup::parse(request, codec).filter(|backup| Some(backup.codec) != without),
        encryption: translate::parse_encryption(request.encryption),
        stream: request.stream.clone(),
        trailers: request.packet_trailer_features.iter().copied().take(MAX_TRAILERS).collect(),
    }
}
