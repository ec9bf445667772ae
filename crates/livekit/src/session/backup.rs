//! The second codec of a video track, sent on request for receivers that cannot decode the first.
//!
//! A publisher names it in its AddTrack, without an id. When a receiver needs it, the publisher is told by a
//! SubscribedQualityUpdate that names it as wanted, and answers with an AddTrack that has the track's `sid`, and a section of its own.
//! Encrypted tracks have none.

use std::time::{Duration, Instant};

use base::model::{Backup, BackupStream, Encryption, VideoLayer};
use base::{CodecKind, MediaKind, Mid, TrackId};
use livekit_protocol as proto;
use livekit_protocol::request_response::{Reason, Request as Echo};
use livekit_protocol::signal_response::Message;

use crate::{ids, translate};

use super::Session;
use super::dynacast::{ALL, Demand, Layers};
use super::uploads::{UpSection, Uploads, announced, same_id};

/// A client that was told to send the second codec and does not ask for it is told again after this time: browsers ignore what
/// they are told before their own publication is complete.
const TELL_AGAIN: Duration = Duration::from_secs(3);
/// So often it is told.
const TIMES: u8 = 4;

/// The second encoding of an upload, from its need to its end.
#[derive(Debug, Default)]
pub(crate) struct Second {
    /// The client was told so often that it is needed.
    told: u8,
    /// When it is told again, unless it has asked for it by then.
    again: Option<Instant>,
    /// What the client asked for.
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    cid: String,
    size: (u32, u32),
    layers: Vec<VideoLayer>,
    /// Set when its section is known.
    mid: Option<Mid>,
    demand: Demand,
}

impl Second {
    /// Somebody needs it. True when the client is to be told.
    fn need(&mut self, now: Instant) -> bool {
        if self.asked.is_some() || self.again.is_some() {
            return false;
        }
        self.told = 1;
        self.again = Some(now + TELL_AGAIN);
        true
    }

    /// What is sent has others to say what is wanted of it.
    pub fn begin_anew(&mut self, now: Instant) {
        if let Some(asked) = &mut self.asked {
            asked.demand.begin_anew(now);
        }
    }

    /// Does a section with this `a=msid` track id belong to it, that is not there yet?
    pub fn expects(&self, msid: &str) -> bool {
        self.waits_for_section().is_some_and(|cid| same_id(cid, msid))
    }

    /// Its client id, if the client has asked for it and its section is not there yet.
    pub fn waits_for_section(&self) -> Option<&str> {
        self.asked.as_ref().filter(|asked| asked.mid.is_none()).map(|asked| asked.cid.as_str())
    }

    /// Its section is known.
    pub fn begin(&mut self, mid: Mid, simulcast: bool, now: Instant) -> Option<BackupStream> {
        let asked = self.asked.as_mut()?;
        asked.mid = Some(mid);
        asked.demand.begin(now);
        Some(BackupStream { mid, cid: asked.cid.clone(), simulcast, layers: asked.layers.clone() })
    }

    /// Is it sent in this section?
    pub fn is_in(&self, mid: Mid, msid: &str) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.mid == Some(mid) || same_id(&asked.cid, msid))
    }

    /// Its size and layers, if it is sent in this section.
    pub fn shape(&self, mid: Mid) -> Option<((u32, u32), Vec<VideoLayer>)> {
        let asked = self.asked.as_ref().filter(|asked| asked.mid == Some(mid))?;
        Some((asked.size, asked.layers.clone()))
    }

    /// The room says what is wanted of it.
    pub fn want(&mut self, highest: Option<u8>, now: Instant) {
        if let Some(asked) = &mut self.asked {
            asked.demand.want(highest, now);
        }
    }

    /// Is the client to be told something new now?
    pub fn take(&mut self, now: Instant, codec: CodecKind, sections: &[UpSection]) -> bool {
        if self.again.take_if(|again| *again <= now).is_some() {
            if self.told >= TIMES {
                return false;
            }
            self.told += 1;
            self.again = Some(now + TELL_AGAIN);
            return true;
        }
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.demand.due().is_some()) else {
            return false;
        };
        let Some(section) = sections.iter().find(|section| Some(section.mid) == asked.mid) else {
            return false;
        };
        let announced = announced(&asked.layers);
        asked.demand.take(now, &Layers { rids: &section.rids, announced: &announced, codec }).is_some()
    }

    /// How many qualities of it are wanted as far as the client was told; `None`: it has heard nothing of it.
    pub fn level(&self) -> Option<u8> {
        match &self.asked {
            Some(asked) => Some(asked.demand.told().unwrap_or(ALL)),
            None => (self.told > 0).then_some(ALL),
        }
    }

    /// When [`Self::take`] has something to look at.
    pub fn due(&self) -> Option<Instant> {
        let demand = self.asked.as_ref().and_then(|asked| asked.demand.due());
        self.again.into_iter().chain(demand).min()
    }
}

/// The second codec that an AddTrack names. What is encrypted has none: which of two encodings a receiver gets, and when it goes over
/// from one to the other, could not be told to its decryption.
pub(super) fn parse(request: &proto::AddTrackRequest, first: CodecKind) -> Option<Backup> {
    if translate::parse_encryption(request.encryption) != Encryption::None {
        return None;
    }
    let named =
        request.simulcast_codecs.iter().skip(1).filter_map(|codec| translate::parse_codec(&codec.codec));
    let codec = named.into_iter().find(|codec| codec.media() == MediaKind::Video && *codec != first)?;
    let policy = translate::parse_backup_policy(request.backup_codec_policy);
    (first.media() == MediaKind::Video).then_some(Backup { codec, policy, stream: None })
}

impl Uploads {
    /// Somebody needs the second encoding of a track. True when the client is to be told.
    fn need_second(&mut self, track: TrackId, now: Instant) -> bool {
        let Some(upload) = self.find_mut(track) else { return false };
        upload.publish.backup.is_some() && upload.second.need(now)
    }

    /// The client asks to send the second encoding of a track.
    fn add_second(&mut self, request: &proto::AddTrackRequest) -> Result<TrackId, Reason> {
        let track = ids::parse_track(&request.sid).ok_or(Reason::NotFound)?;
        let upload = self.find_mut(track).ok_or(Reason::NotFound)?;
        let named = request.simulcast_codecs.first();
        let codec = named.and_then(|named| translate::parse_codec(&named.codec));
        if codec.is_none() || upload.publish.backup.as_ref().map(|backup| backup.codec) != codec {
            return Err(Reason::UnsupportedType);
        }
        if upload.second.asked.as_ref().is_some_and(|asked| asked.mid.is_some()) {
            return Err(Reason::LimitExceeded);
        }
        let layers = match named {
            Some(named) if request.layers.is_empty() => &named.layers,
            _ => &request.layers,
        };
        upload.second.again = None;
        upload.second.asked = Some(Asked {
            cid: request.cid.clone(),
            size: (request.width, request.height),
            layers: layers.iter().take(3).map(translate::parse_layer).collect(),
            mid: None,
            demand: Demand::default(),
        });
        Ok(track)
    }
}

impl Session {
    /// Somebody needs the second encoding of an own track.
    pub(super) fn backup_needed(&mut self, track: TrackId, now: Instant) {
        if self.uploads.need_second(track, now) {
            self.tell_levels(track);
        }
    }

    /// The client asks to publish the second encoding of a track of its own. The room is asked when its section is there.
    pub(super) fn add_backup(&mut self, request: proto::AddTrackRequest, now: Instant) {
        match self.uploads.add_second(&request) {
            Ok(track) => {
                let known = self.me.tracks.iter().find(|known| known.id == track);
                let info = known.map(translate::track);
                let published = proto::TrackPublishedResponse { cid: request.cid, track: info };
                self.frame(Message::TrackPublished(published));
                self.match_tracks(now);
            }
            Err(reason) => self.respond(0, reason, Some(Echo::AddTrack(request))),
        }
    }
}
