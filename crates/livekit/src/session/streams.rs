//! Stream states: a receiver is told which videos are paused since its connection does not carry them.
//!
//! Some clients (Swift, Flutter) take a video for paused until they are told that it is not, and browsers ignore what is said
//! before they have the track. So a video is told active, or paused, a moment after it was negotiated. Changes are collected for a
//! moment, and only where a stream ends up otherwise than told is anything said.

use std::time::{Duration, Instant};

use base::{MediaKind, ParticipantId, TrackId};
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message;

use crate::ids;

use super::downlinks::{Downlink, Downlinks};
use super::{DEBOUNCE, Session};

/// How long after its section was negotiated the state of a stream is first told. By then the client has taken the description.
const FIRST: Duration = Duration::from_millis(200);

/// What a receiver is told of one stream.
#[derive(Debug)]
pub(crate) struct Stream {
    active: bool,
    told: Option<bool>,
    /// When it is told, unless that is no news then.
    due: Option<Instant>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { active: true, told: None, due: None }
    }
}

impl Downlinks {
    /// Sections have been negotiated: the states of videos that are new in them are told soon.
    pub(super) fn begin_streams(&mut self, now: Instant) {
        let carried: Vec<TrackId> = self
            .slots
            .iter()
            .filter(|slot| slot.kind == MediaKind::Video && slot.accepted.is_some())
            .filter_map(|slot| slot.track)
            .collect();
        let is_new = |known: &&mut Downlink| {
            known.stream.told.is_none() && known.stream.due.is_none() && carried.contains(&known.track.id)
        };
        self.tracks.iter_mut().filter(is_new).for_each(|known| known.stream.due = Some(now + FIRST));
    }

    /// The client may not have heard the last of it: all is told again.
    pub(super) fn forget_told_streams(&mut self) {
        self.tracks.iter_mut().for_each(|known| known.stream.told = None);
    }

    /// A stream is paused or goes on.
    pub(super) fn set_stream(&mut self, track: TrackId, active: bool, now: Instant) {
        let track = track.primary();
        let Some(known) = self.tracks.iter_mut().find(|known| known.track.id == track) else { return };
        let stream = &mut known.stream;
        stream.active = active;
        let wait = if stream.told.is_some() { DEBOUNCE } else { FIRST };
        stream.due.get_or_insert(now + wait);
    }

    pub(super) fn stream_due(&self) -> Option<Instant> {
        self.tracks.iter().filter_map(|known| known.stream.due).min()
    }

    /// What is to be told now: whose tracks, and whether they flow.
    fn take_streams(&mut self, now: Instant) -> Vec<(ParticipantId, TrackId, bool)> {
        let mut news = Vec::new();
        for known in &mut self.tracks {
            let stream = &mut known.stream;
            if stream.due.take_if(|due| *due <= now).is_some() && stream.told != Some(stream.active) {
                stream.told = Some(stream.active);
                news.push((known.publisher, known.track.id, stream.active));
            }
        }
        news
    }
}

impl Session {
    /// Tells what is due.
    pub(super) fn tell_streams(&mut self, now: Instant) {
        let state = |(publisher, track, active): (ParticipantId, TrackId, bool)| proto::StreamStateInfo {
            participant_sid: ids::participant(publisher),
            track_sid: ids::track(track),
            state: if active { proto::StreamState::Active } else { proto::StreamState::Paused } as i32,
        };
        let stream_states: Vec<_> = self.downlinks.take_streams(now).into_iter().map(state).collect();
        if !stream_states.is_empty() {
            self.frame(Message::StreamStateUpdate(proto::StreamStateUpdate { stream_states }));
        }
    }
}
