//! Dynacast: a publisher is told which of its video layers anybody wants, and stops sending the others.
//!
//! LiveKit has three qualities, LOW, MEDIUM and HIGH, and an update says of each whether it is on. The room's word holds over all
//! workers and has its own delay before it takes a layer back (`sfu`); what is added here is patience with a track that is new:
//! its publisher may not know it yet (browsers ignore an update for a track whose publication is not complete), receivers begin
//! small and say what they render a moment later, and people who are about to join are better off with a stream that flows.
//! So until then the publisher sends everything, as it does without a word.

use std::time::{Duration, Instant};

use base::{CodecKind, Rid, TrackId};
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message;

use crate::{ids, translate};

use super::Session;

/// No layer of a track that is new is switched off before.
const SETTLING: Duration = Duration::from_secs(5);
/// Nor is all of it, for want of subscribers: what LiveKit's own server waits.
const VACANT: Duration = Duration::from_secs(10);

/// The qualities there are.
const QUALITIES: [proto::VideoQuality; 3] =
    [proto::VideoQuality::Low, proto::VideoQuality::Medium, proto::VideoQuality::High];
/// All of them.
pub(super) const ALL: u8 = 3;

/// What the publisher of a video track is told of the demand for it. Levels count the qualities that are on, lowest first.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// Since when the track is negotiated.
    since: Option<Instant>,
    /// The highest wanted layer as the room last said it; `None`: not a word yet.
    wanted: Option<Option<u8>>,
    told: Option<u8>,
    /// When to look again.
    due: Option<Instant>,
}

impl Demand {
    /// The track's section is known.
    pub fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.due = Some(now);
    }

    /// Others are asked what they want of the track: all of it goes on until they have said.
    pub fn begin_anew(&mut self, now: Instant) {
        if self.since.is_some() {
            (self.since, self.wanted) = (Some(now), None);
        }
    }

    /// The room says what is wanted.
    pub fn want(&mut self, highest: Option<u8>, now: Instant) {
        self.wanted = Some(highest);
        self.due = Some(now);
    }

    /// The level that is to be told now, for a track that is sent so.
    pub fn take(&mut self, now: Instant, layers: &Layers<'_>) -> Option<u8> {
        self.due.take_if(|due| *due <= now)?;
        let (since, level) = (self.since?, layers.level(self.wanted?));
        if self.told == Some(level) {
            return None;
        }
        let patience = if level == 0 { VACANT } else { SETTLING };
        if level < self.told.unwrap_or(ALL) && now < since + patience {
            self.due = Some(since + patience);
            return None;
        }
        self.told = Some(level);
        self.told
    }

    /// The level that was told.
    pub fn told(&self) -> Option<u8> {
        self.told
    }

    /// When [`Self::take`] has something to say.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// The layers that a publisher sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layers<'a> {
    /// Lowest first.
    pub rids: &'a [Rid],
    /// Qualities as announced, lowest first.
    pub announced: &'a [u8],
    pub codec: CodecKind,
}

impl Layers<'_> {
    fn is_simulcast(&self) -> bool {
        self.rids.len() > 1
    }

    fn count(&self) -> usize {
        let scalable = matches!(self.codec, CodecKind::Vp9 | CodecKind::Av1);
        match (self.is_simulcast(), scalable, self.announced.len()) {
            (true, _, _) => self.rids.len(),
            (false, true, 0) => QUALITIES.len(),
            (false, true, announced) => announced,
            (false, false, _) => 1,
        }
    }

    /// How many qualities are on when nobody wants more than this layer. Who wants the highest layer wants all there is, whatever
    /// the client calls it.
    fn level(&self, highest: Option<u8>) -> u8 {
        let Some(layer) = highest.map(usize::from) else { return 0 };
        if layer + 1 >= self.count() {
            return ALL;
        }
        // Clients go by the rid, and announce what it stands for.
        let named = self.is_simulcast().then(|| self.rids.get(layer).and_then(quality)).flatten();
        let announced = self.announced.get(layer).copied().filter(|_| self.announced.len() == self.count());
        named.or(announced).unwrap_or(layer as u8).min(ALL - 1) + 1
    }
}

/// What a rid stands for.
fn quality(rid: &Rid) -> Option<u8> {
    match rid.as_str() {
        "q" | "2" => Some(0),
        "h" | "1" => Some(1),
        "f" | "0" => Some(2),
        _ => None,
    }
}

impl Session {
    /// The room says what is wanted of a track of ours.
    pub(super) fn layer_wanted(&mut self, track: TrackId, highest: Option<u8>, now: Instant) {
        self.uploads.want(track, highest, now);
        self.tell_demand(now);
    }

    /// Tells what is due.
    pub(super) fn tell_demand(&mut self, now: Instant) {
        for track in self.uploads.take_demand(now) {
            self.tell_levels(track);
        }
    }

    /// An own track goes on after a mute, for which some clients make their encoders anew: what they were told is said again.
    pub(super) fn repeat_demand(&mut self, track: TrackId) {
        self.tell_levels(track);
    }

    /// Says of every encoding of a track which of its qualities are wanted.
    pub(super) fn tell_levels(&mut self, track: TrackId) {
        let levels = self.uploads.levels(track);
        let Some((_, first)) = levels.first() else { return };
        let subscribed_codecs = levels.iter().map(|(codec, level)| proto::SubscribedCodec {
            codec: translate::codec_name(*codec),
            qualities: qualities(*level),
        });
        #[allow(deprecated, reason = "older clients read the qualities of the first codec here")]
        let update = proto::SubscribedQualityUpdate {
            track_sid: ids::track(track),
            subscribed_qualities: qualities(*first),
            subscribed_codecs: subscribed_codecs.collect(),
        };
        self.frame(Message::SubscribedQualityUpdate(update));
    }
}

/// The qualities of an encoding, of which so many are wanted.
fn qualities(level: u8) -> Vec<proto::SubscribedQuality> {
    let is_on = |at: usize| at < usize::from(level);
    let each = QUALITIES.iter().enumerate();
    each.map(|(at, quality)| proto::SubscribedQuality { quality: *quality as i32, enabled: is_on(at) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rids(names: &[&str]) -> Vec<Rid> {
        names.iter().filter_map(|name| Rid::new(name.as_bytes())).collect()
    }

    #[test]
    fn a_layer_is_the_quality_that_the_client_calls_it() {
        for (names, announced, codec, expected) in [
            (vec!["q", "h", "f"], vec![0, 1, 2], CodecKind::Vp8, vec![1, 2, 3]),
            (vec!["q", "h"], vec![0, 1], CodecKind::Vp8, vec![1, 3]),
            (vec!["q", "f"], vec![0, 2], CodecKind::H264, vec![1, 3]),
            (vec!["a", "b", "c"], vec![0, 1, 2], CodecKind::Vp8, vec![1, 2, 3]),
            (vec!["a", "b"], vec![], CodecKind::Vp8, vec![1, 3]),
            (vec![], vec![2], CodecKind::Vp8, vec![3]),
            (vec![], vec![0], CodecKind::H264, vec![3]),
            (vec![], vec![0, 1, 2], CodecKind::Vp9, vec![1, 2, 3]),
            (vec![], vec![0, 1], CodecKind::Av1, vec![1, 3]),
            (vec![], vec![], CodecKind::Av1, vec![1, 2, 3]),
        ] {
            let rids = rids(&names);
            let layers = Layers { rids: &rids, announced: &announced, codec };
            let levels: Vec<u8> = (0..expected.len() as u8).map(|layer| layers.level(Some(layer))).collect();
            assert_eq!(levels, expected, "{names:?} {codec:?}");
            assert_eq!((layers.level(None), layers.level(Some(200))), (0, 3));
        }
    }
}
