//! Tracks that the participant receives, and the media sections they are sent in.
//!
//! Who writes sections differs: on one connection the client offers them and tracks are put into free ones; with two
//! connections we offer. What a section goes through is the same: free, carrying a track, draining (its track is gone and
//! the next description says `inactive`, since clients drop a track only then), free again.

use std::collections::HashMap;
use std::sync::Arc;

use base::model::{Encoding, Track, TrackSource};
use base::{MediaKind, Mid, ParticipantId, TrackId};
use contract::media::SendSection;
use sdp::{Accepted, Downlink as WrittenDownlink};

use crate::ids;
use crate::params::Client;

use super::streams::Stream;

/// Most sections in which we send on a connection. Chromium writes 5.4 kB about a video section, so that an offer with all of
/// them has 860 kB, and some room for the client's own tracks is left of what `sdp` reads.
pub(crate) const MAX_SLOTS: usize = 160;

/// A track that is to be received.
#[derive(Debug)]
pub(crate) struct Downlink {
    pub track: Arc<Track>,
    pub publisher: ParticipantId,
    ssrc: u32,
    rtx_ssrc: u32,
    mid: Option<Mid>,
    /// The client does not know its codec.
    refused: bool,
    /// Its publisher was asked for the second codec.
    backup_asked: bool,
    pub(super) stream: Stream,
}

/// A section in which the client can receive.
#[derive(Debug)]
pub(crate) struct Slot {
    pub mid: Mid,
    pub kind: MediaKind,
    /// What the client accepts in it; `None` until it has said so.
    pub accepted: Option<Accepted>,
    pub track: Option<TrackId>,
    /// Its track is gone, and the client has not been told.
    draining: bool,
    /// The description that tells it is on its way.
    told: bool,
    /// It carried another track before.
    pub reused: bool,
}

impl Slot {
    pub fn new(mid: Mid, kind: MediaKind, accepted: Option<Accepted>) -> Self {
        Self { mid, kind, accepted, track: None, draining: false, told: false, reused: false }
    }

    /// Is nothing in it that the client was told of, and may something come into it?
    fn is_free(&self, reuse: bool) -> bool {
        self.track.is_none() && !self.draining && (reuse || !self.reused)
    }

    fn drain(&mut self) {
        self.track = None;
        self.draining = true;
        self.told = false;
        self.reused = true;
    }

    /// Can the track be received in it, if not now then when its publisher sends the second codec?
    fn carries(&self, track: &Track) -> bool {
        self.encoding(track).is_none_or(|encoding| encoding != Encoding::Unknown)
    }

    /// How the track is received in it; `None` as long as the client has not said what it accepts.
    fn encoding(&self, track: &Track) -> Option<Encoding> {
        let accepted = self.accepted.as_ref()?;
        Some(track.encoding_for(|codec| accepted.has(codec)))
    }
}

/// How tracks are grouped into streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Streams {
    /// A stream per track, named after it: understood by every client.
    PerTrack,
    /// A stream for camera and microphone and one for the shared screen: what is in one stream is played in sync.
    Grouped,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Downlinks {
    pub(super) tracks: Vec<Downlink>,
    pub slots: Vec<Slot>,
    knows_trailers: bool,
    /// The client knows sections whose track is replaced.
    reuses: bool,
}

impl Downlinks {
    /// None, of a client that can make something of what publishers append to frames, or cannot, and so on.
    pub fn new(client: &Client) -> Self {
        Self { knows_trailers: client.knows_trailers(), reuses: client.reuses_sections(), ..Self::default() }
    }

    fn strips_trailers(&self, track: &Track) -> bool {
        !self.knows_trailers && !track.trailers.is_empty()
    }

    /// May a section carry one track after the other? Nobody has more sections than there may be.
    fn reuses(&self) -> bool {
        self.reuses || self.slots.len() >= MAX_SLOTS
    }

    /// Adds a track, or refreshes what is known of it. True when it is new.
    pub fn subscribe(&mut self, track: Arc<Track>, publisher: ParticipantId, ssrcs: (u32, u32)) -> bool {
        if let Some(known) = self.tracks.iter_mut().find(|known| known.track.id == track.id) {
            known.track = track;
            return false;
        }
        let (ssrc, rtx_ssrc) = ssrcs;
        let (mid, refused, backup_asked, stream) = (None, false, false, Stream::default());
        self.tracks.push(Downlink { track, publisher, ssrc, rtx_ssrc, mid, refused, backup_asked, stream });
        true
    }

    /// Other encodings of a track are sent than before.
    pub fn encodings_changed(&mut self, track: &Arc<Track>) {
        if let Some(known) = self.tracks.iter_mut().find(|known| known.track.id == track.id) {
            known.track = track.clone();
            known.backup_asked &= track.backup_stream().is_none();
        }
    }

    /// Tracks that the client can decode only in their second codec, which is not sent: each once.
    pub fn need_backup(&mut self) -> Vec<TrackId> {
        let slots = &self.slots;
        let waits = |known: &&mut Downlink| {
            let slot = slots.iter().find(|slot| slot.track == Some(known.track.id));
            slot.is_some_and(|slot| slot.encoding(&known.track) == Some(Encoding::OnRequest))
        };
        let waiting = self.tracks.iter_mut().filter(|known| !known.backup_asked).filter(waits);
        waiting
            .map(|known| {
                known.backup_asked = true;
                known.track.id
            })
            .collect()
    }

    /// Drops a track. True when a description has to say so.
    pub fn unsubscribe(&mut self, track: TrackId) -> bool {
        self.tracks.retain(|known| known.track.id != track);
        let slot = self.slots.iter_mut().find(|slot| slot.track == Some(track));
        slot.map(Slot::drain).is_some()
    }

    /// Is this SSRC in use?
    pub fn uses(&self, ssrc: u32) -> bool {
        self.tracks.iter().any(|known| known.ssrc == ssrc || known.rtx_ssrc == ssrc)
    }

    /// Puts waiting tracks into free sections that carry their codec, in order.
    pub fn assign(&mut self) {
        let reuse = self.reuses();
        for known in self.tracks.iter_mut().filter(|known| known.mid.is_none() && !known.refused) {
            let fits = |slot: &&mut Slot| {
                slot.is_free(reuse) && slot.kind == known.track.kind && slot.carries(&known.track)
            };
            if let Some(slot) = self.slots.iter_mut().find(fits) {
                slot.track = Some(known.track.id);
                known.mid = Some(slot.mid);
            }
        }
    }

    /// Takes the sections that a client's offer has for us, keeping what they carry. Tracks of sections that are gone
    /// wait again.
    pub fn take_offered(&mut self, offered: Vec<Slot>) {
        let mut old = std::mem::replace(&mut self.slots, offered);
        for slot in &mut self.slots {
            if let Some(before) =
                old.iter_mut().find(|before| before.mid == slot.mid && before.kind == slot.kind)
            {
                slot.track = before.track.take();
                slot.draining = before.draining;
                slot.told = before.told;
                slot.reused = before.reused;
            }
        }
        for lost in old.iter().filter_map(|slot| slot.track) {
            self.release(lost);
        }
    }

    fn release(&mut self, track: TrackId) {
        for known in self.tracks.iter_mut().filter(|known| known.track.id == track) {
            known.mid = None;
            known.stream = Stream::default();
        }
    }

    /// A description is being written: it says `inactive` for draining sections.
    pub fn tell_draining(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.told = slot.draining);
    }

    /// The client has taken that description. Sections that began to drain since then wait for the next one.
    pub fn drained(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.told) {
            slot.told = false;
            slot.draining = false;
        }
    }

    /// Some section waits to be told `inactive`.
    fn is_draining(&self) -> bool {
        self.slots.iter().any(|slot| slot.draining)
    }

    /// Another description would change something: tell of a section that drains, or give a waiting track a section.
    pub fn need_description(&self) -> bool {
        let (room, reuse) = (self.slots.len() < MAX_SLOTS, self.reuses());
        let fits = |slot: &Slot, known: &Downlink| {
            slot.is_free(reuse) && slot.kind == known.track.kind && slot.carries(&known.track)
        };
        let free = |known: &Downlink| self.slots.iter().any(|slot| fits(slot, known));
        self.is_draining() || self.waiting().any(|known| room || free(known))
    }

    /// Tracks that wait for a section.
    pub fn waiting(&self) -> impl Iterator<Item = &Downlink> {
        self.tracks.iter().filter(|known| known.mid.is_none() && !known.refused)
    }

    /// How many sections of each kind (audio, video) are missing for those that wait.
    pub fn shortage(&self) -> (u32, u32) {
        let reuse = self.reuses();
        let missing = |kind: MediaKind| {
            let waiting = self.waiting().filter(|known| known.track.kind == kind).count();
            // A draining section is free once the next description has said so, where it may be used again.
            let free = |slot: &&Slot| slot.track.is_none() && (reuse || !slot.reused);
            let free = self.slots.iter().filter(|slot| slot.kind == kind).filter(free).count();
            let room = MAX_SLOTS.saturating_sub(self.slots.len());
            waiting.saturating_sub(free).min(room) as u32
        };
        (missing(MediaKind::Audio), missing(MediaKind::Video))
    }

    /// Refuses tracks whose codec the client does not accept; returns them.
    pub fn refuse_unknown_codecs(&mut self) -> Vec<TrackId> {
        let mut refused = Vec::new();
        for known in self.tracks.iter_mut().filter(|known| !known.refused) {
            if !accepts(&self.slots, known) {
                known.refused = true;
                known.mid = None;
                refused.push(known.track.id);
            }
        }
        let affected = |slot: &&mut Slot| slot.track.is_some_and(|track| refused.contains(&track));
        self.slots.iter_mut().filter(affected).for_each(Slot::drain);
        refused
    }

    /// Some track has two channels.
    pub fn any_stereo(&self) -> bool {
        self.tracks.iter().any(|known| known.track.stereo)
    }

    /// What carries what, for `mid_to_track_id`.
    pub fn mid_to_track_id(&self) -> HashMap<String, String> {
        let carrying = self.slots.iter().filter_map(|slot| Some((slot.mid, slot.track?)));
        carrying.map(|(mid, track)| (mid.to_string(), ids::track(track))).collect()
    }

    /// The track in this section.
    pub fn in_slot(&self, slot: &Slot) -> Option<&Downlink> {
        let track = slot.track?;
        self.tracks.iter().find(|known| known.track.id == track)
    }

    /// What the worker is to send, in sections whose codecs the client has said.
    pub fn send_sections(&self) -> Vec<SendSection> {
        let section = |slot: &Slot| {
            let (known, accepted) = (self.in_slot(slot)?, slot.accepted.as_ref()?);
            let Some(Encoding::Sent(encoding)) = slot.encoding(&known.track) else { return None };
            Some(SendSection {
                mid: slot.mid,
                media: slot.kind,
                track: encoding,
                ssrc: known.ssrc,
                rtx_ssrc: accepted.has_rtx().then_some(known.rtx_ssrc),
                codecs: accepted.codecs.clone(),
                extensions: accepted.map,
                cname: cname(known),
                strips_trailers: self.strips_trailers(&known.track),
            })
        };
        self.slots.iter().filter_map(section).collect()
    }
}

/// Its own section decides; without one, some section that the client has spoken about, or none at all.
fn accepts(slots: &[Slot], known: &Downlink) -> bool {
    if let Some(own) = slots.iter().find(|slot| slot.track == Some(known.track.id)) {
        return own.carries(&known.track);
    }
    let mut said =
        slots.iter().filter(|slot| slot.kind == known.track.kind && slot.accepted.is_some()).peekable();
    said.peek().is_none() || said.any(|slot| slot.carries(&known.track))
}

impl Downlink {
    /// What a description says about it.
    pub fn written(&self, streams: Streams, rtx: bool) -> WrittenDownlink {
        let participant = ids::participant(self.publisher);
        let track = ids::track(self.track.id);
        let stream = match streams {
            Streams::PerTrack => format!("{participant}|{track}"),
            Streams::Grouped => format!("{participant}|{}", stream_name(&self.track)),
        };
        WrittenDownlink {
            stream,
            track,
            ssrc: self.ssrc,
            rtx_ssrc: rtx.then_some(self.rtx_ssrc),
            layers: Vec::new(),
            cname: cname(self),
        }
    }
}

fn cname(known: &Downlink) -> String {
    ids::participant(known.publisher)
}

/// The publisher's name for the stream where it is fit for SDP, else one by source.
fn stream_name(track: &Track) -> &str {
    let fit = |name: &str| {
        !name.is_empty()
            && name.len() <= 64
            && !name.starts_with("TR")
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    match track.source {
        _ if fit(&track.stream) => &track.stream,
        TrackSource::ScreenShare | TrackSource::ScreenShareAudio => "screen",
        _ => "camera",
    }
}
