//! What a WHEP player receives: the room's tracks, in as many sections as it offered.
//!
//! Nothing is negotiated after the answer, so every section is answered as sending, whether there is a track for it or not.
//! A track that comes later takes a free section. Each has an SSRC of its own, which is not written into the answer: browsers
//! take a stream for the section whose mid its packets name, but once an SSRC is named they play no other there.

use std::sync::Arc;

use axum::http::StatusCode;
use base::model::{Encoding, Track, TrackSettings};
use base::{MediaKind, ParticipantId, TrackId};
use contract::media::{Sections, SendSection};
use contract::session::Request;
use rand::Rng;
use rand::rngs::StdRng;
use sdp::{Direction, Downlink, OutBody, OutSection};
use serde_json::{Map, Value};

use crate::refusal::Refusal;

use super::layers::{self, Choice};
use super::offer::{Line, Offer};

/// The stream that all sections belong to. Many players show the first stream of the first track, and nothing else.
const STREAM: &str = "stoa";

/// The sections of a session that plays, and the tracks of the room.
#[derive(Debug)]
pub(crate) struct Playing {
    tracks: Vec<Offered>,
    slots: Vec<Slot>,
}

/// A track of the room that may be played.
#[derive(Debug)]
struct Offered {
    track: Arc<Track>,
    publisher: ParticipantId,
    /// Its publisher was asked for the second codec.
    backup_asked: bool,
}

/// A section of the player. It is free while it sends nothing.
#[derive(Debug)]
struct Slot {
    line: Line,
    /// Index of the section in the offer.
    index: usize,
    carries: Option<(ParticipantId, SendSection)>,
    /// Which layer the player wants of whatever is played here.
    choice: Choice,
}

/// What a player is told while it plays.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct News {
    /// Something is played.
    pub active: bool,
    /// The layers that may be chosen, by index of the section.
    pub layers: Map<String, Value>,
}

impl Playing {
    pub fn new(offer: &Offer) -> Self {
        let lines = offer.lines.iter();
        let index =
            |line: &Line| offer.description.sections.iter().position(|section| section.mid == line.mid);
        let slot = |line: &Line| Slot {
            line: line.clone(),
            index: index(line).unwrap_or_default(),
            carries: None,
            choice: Choice::default(),
        };
        Self { tracks: Vec::new(), slots: lines.map(slot).collect() }
    }

    /// Which layer the player wants in one of its sections, from now on.
    ///
    /// # Errors
    /// 400 for a section that is not; 422 for a layer that what is played there does not have.
    pub fn choose(&mut self, choice: Choice) -> Result<Option<Request>, Refusal> {
        let wanted = |slot: &&mut Slot| match &choice.media_id {
            Some(id) => *id == slot.index.to_string(),
            None => slot.line.kind == MediaKind::Video,
        };
        let slot = self.slots.iter_mut().find(wanted).ok_or_else(|| {
            let which = choice.media_id.as_deref().unwrap_or("with pictures");
            let text = format!("mediaId: the offer has no media section {which}");
            Refusal::new(StatusCode::BAD_REQUEST, text)
        })?;
        let played = self.tracks.iter().find(|known| slot.track() == Some(known.track.id));
        let settings = played.map(|known| choice.settings(&known.track)).transpose();
        let settings = settings.map_err(|text| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, text))?;
        slot.choice = choice;
        Ok(played.zip(settings).map(|(known, settings)| request(known.track.id, settings)))
    }

    /// What is wanted of the tracks that are played: what was chosen in their sections. A layer that a track does not have is left to
    /// the server.
    pub fn wanted(&self) -> impl Iterator<Item = Request> {
        self.slots.iter().filter_map(|slot| {
            let track = self.played(slot)?;
            let settings = slot.choice.kept(track);
            (settings != TrackSettings::default()).then(|| request(track.id, settings))
        })
    }

    /// What the player is told.
    pub fn news(&self) -> News {
        let layers = self
            .slots
            .iter()
            .filter_map(|slot| Some((slot.index.to_string(), layers::describe(self.played(slot)?)?)));
        News { active: self.slots.iter().any(|slot| slot.carries.is_some()), layers: layers.collect() }
    }

    fn played(&self, slot: &Slot) -> Option<&Track> {
        let known = self.tracks.iter().find(|known| slot.track() == Some(known.track.id))?;
        Some(&known.track)
    }

    /// A track to play, or news of one.
    pub fn subscribe(&mut self, track: Arc<Track>, publisher: ParticipantId) {
        match self.tracks.iter_mut().find(|known| known.track.id == track.id) {
            Some(known) => known.track = track,
            None => self.tracks.push(Offered { track, publisher, backup_asked: false }),
        }
    }

    /// Other encodings of a track are sent than before. True when one is played here.
    pub fn encodings_changed(&mut self, track: Arc<Track>) -> bool {
        let id = track.id;
        if let Some(known) = self.tracks.iter_mut().find(|known| known.track.id == id) {
            known.backup_asked &= track.backup_stream().is_none();
            known.track = track;
        }
        self.slots.iter().any(|slot| slot.track() == Some(id))
    }

    /// Tracks that are played here as soon as their publishers send the second codec: each once.
    pub fn need_backup(&mut self) -> Vec<Request> {
        let slots = &self.slots;
        let waits = |known: &&mut Offered| {
            let slot = slots.iter().find(|slot| slot.track() == Some(known.track.id));
            slot.is_some_and(|slot| slot.line.encoding(&known.track) == Encoding::OnRequest)
        };
        let waiting = self.tracks.iter_mut().filter(|known| !known.backup_asked).filter(waits);
        waiting
            .map(|known| {
                known.backup_asked = true;
                Request::NeedBackup { track: known.track.id }
            })
            .collect()
    }

    /// A track is gone. True when a section has become free.
    pub fn unsubscribe(&mut self, track: TrackId) -> bool {
        self.tracks.retain(|known| known.track.id != track);
        let slot = self.slots.iter_mut().find(|slot| slot.track() == Some(track));
        slot.map(|slot| slot.carries = None).is_some()
    }

    /// Puts tracks into free sections. Pictures first, and to a picture its own sound: who has one section of each wants one
    /// person in both. True when something has changed.
    pub fn assign(&mut self, rng: &mut StdRng) -> bool {
        let mut changed = false;
        for kind in [MediaKind::Video, MediaKind::Audio] {
            for index in 0..self.slots.len() {
                let slot = &self.slots[index];
                if slot.carries.is_some() || slot.line.kind != kind {
                    continue;
                }
                if let Some(carries) = self.next(&slot.line, rng) {
                    self.slots[index].carries = Some(carries);
                    changed = true;
                }
            }
        }
        changed
    }

    /// The track for a free section: of somebody who is seen or heard already before others, else the oldest.
    fn next(&self, line: &Line, rng: &mut StdRng) -> Option<(ParticipantId, SendSection)> {
        let is_played = |track: TrackId| self.slots.iter().any(|slot| slot.track() == Some(track));
        let fits = |known: &&Offered| {
            known.track.kind == line.kind
                && line.encoding(&known.track) != Encoding::Unknown
                && !is_played(known.track.id)
        };
        let is_present = |known: &&Offered| {
            self.slots.iter().filter_map(|slot| slot.carries.as_ref()).any(|(who, _)| *who == known.publisher)
        };
        let known = self.tracks.iter().filter(fits).find(is_present);
        let known = known.or_else(|| self.tracks.iter().find(fits))?;
        Some((known.publisher, line.send(known.track.id, rng)))
    }

    pub fn sections(&self) -> Sections {
        let section = |slot: &Slot| {
            let (_, section) = slot.carries.as_ref()?;
            let played = self.played(slot)?;
            let Encoding::Sent(track) = slot.line.encoding(played) else { return None };
            Some(SendSection { track, strips_trailers: !played.trailers.is_empty(), ..section.clone() })
        };
        Sections { receive: Vec::new(), send: self.slots.iter().filter_map(section).collect() }
    }

    pub fn answer(&self, offer: &Offer) -> Vec<OutSection> {
        offer.answer(|_, line| {
            let mut body = line.body(Direction::SendOnly);
            if let OutBody::Media { downlink, .. } = &mut body {
                *downlink = Some(Downlink {
                    stream: STREAM.to_owned(),
                    track: format!("{STREAM}-{}", line.mid),
                    ssrc: 0,
                    rtx_ssrc: None,
                    layers: Vec::new(),
                    cname: String::new(),
                });
            }
            body
        })
    }
}

fn request(track: TrackId, settings: TrackSettings) -> Request {
    Request::TrackSettings { tracks: vec![track], settings }
}

impl Slot {
    fn track(&self) -> Option<TrackId> {
        self.carries.as_ref().map(|(_, section)| section.track)
    }
}

impl Line {
    /// How a track is received in it.
    fn encoding(&self, track: &Track) -> Encoding {
        track.encoding_for(|codec| self.accepted.has(codec))
    }

    fn send(&self, track: TrackId, rng: &mut StdRng) -> SendSection {
        // Random 32 bits: that a session's few streams collide is less likely than that its packets are lost for good.
        // 0 stands for "unknown" in several places of the protocol stack.
        let mut ssrc = || rng.random_range(1..=u32::MAX);
        SendSection {
            mid: self.mid,
            media: self.kind,
            track,
            ssrc: ssrc(),
            rtx_ssrc: self.accepted.has_rtx().then(ssrc),
            codecs: self.accepted.codecs.clone(),
            extensions: self.accepted.map,
            cname: STREAM.to_owned(),
            strips_trailers: false,
        }
    }
}
