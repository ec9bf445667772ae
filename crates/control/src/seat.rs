//! What the control plane holds for one participant: its adapter's event queue and its connections.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base::model::{LeaveReason, Notice, Quality, TrackSettings};
use base::{ParticipantId, PeerId, TrackId};
use contract::media::{Event as MediaEvent, Sections};
use contract::session::Event;

use crate::history::Progress;
use crate::journey::Journey;
use crate::metrics::{Metrics, count, uncount};
use crate::placement::Place;
use crate::routes::{Credit, is_lossy};

/// Events that may wait for an adapter, beyond those of its join. One that falls further behind is closed.
const EVENT_QUEUE: usize = 1_024;
/// With this many events waiting the adapter is behind with data, of which a message may have 64 kB: lossy messages are
/// dropped, and reliable ones wait here and with the worker until it has caught up.
const DATA_QUEUE: usize = 256;
/// It has caught up when no more than this many wait; below [`DATA_QUEUE`] by a distance, so that connections are not
/// paused and resumed with every message.
const CAUGHT_UP: usize = DATA_QUEUE / 2;
/// Connections of one participant: two are in use, two more while they are replaced.
pub(crate) const MAX_PEERS: usize = 4;

/// How an event fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// It is in the queue or waits for it, or nobody reads any more.
    Done,
    /// It may be lost, and was.
    Dropped,
    /// The adapter is too far behind to be served.
    Slow,
}

pub(crate) struct Seat {
    events: async_channel::Sender<Event>,
    /// Most events that may wait.
    capacity: usize,
    pub peers: BTreeMap<PeerId, Peer>,
    /// The connection that makes the participant active and carries data to it.
    pub primary: Option<PeerId>,
    pub settings: Settings,
    /// The reliable messages that it has been given.
    pub progress: Progress,
    /// What it says it has of each sender, until its channel for reliable messages is open.
    pub received: BTreeMap<ParticipantId, u32>,
    /// What its connections said while its adapter was behind, in order. Their credit bounds it.
    held: VecDeque<(MediaEvent, Option<Credit>)>,
    pub journey: Journey,
    metrics: Arc<Metrics>,
    /// The worker of all its connections.
    pub place: Place,
}

/// One connection.
#[derive(Default)]
pub(crate) struct Peer {
    /// The sections that the adapter asked for.
    pub wanted: Sections,
    /// What of them the worker was told.
    pub granted: Sections,
    pub quality: Option<Quality>,
    /// Its channel for reliable messages is open.
    pub reliable_open: bool,
    /// The worker reads no messages from it.
    pub paused: bool,
}

impl Seat {
    /// Counts a participant in. `initial` events are about to be queued for the join itself.
    pub fn new(
        events: async_channel::Sender<Event>,
        initial: usize,
        journey: Journey,
        metrics: Arc<Metrics>,
        place: Place,
        progress: Progress,
    ) -> Self {
        count(&metrics.participants);
        Self {
            events,
            capacity: EVENT_QUEUE + initial,
            peers: BTreeMap::new(),
            primary: None,
            settings: Settings::default(),
            progress,
            received: BTreeMap::new(),
            held: VecDeque::new(),
            journey,
            metrics,
            place,
        }
    }

    /// Where its adapter's events go in.
    pub fn events(&self) -> async_channel::Sender<Event> {
        self.events.clone()
    }

    /// So many events are about to be queued for the arrival in a room.
    pub fn expect(&mut self, initial: usize) {
        self.capacity = EVENT_QUEUE + self.events.len() + initial;
    }

    /// Queues an event for the adapter.
    pub fn deliver(&self, event: Event) -> Delivery {
        if self.events.len() >= self.capacity {
            return Delivery::Slow;
        }
        // The queue itself has no bound; it fails only when nobody reads, which is noticed elsewhere.
        let _ = self.events.try_send(event);
        Delivery::Done
    }

    /// Queues what a connection said. While the adapter is behind with messages, it waits.
    pub fn hear(&mut self, event: MediaEvent, credit: Option<Credit>) -> Delivery {
        let is_data = matches!(event, MediaEvent::Data { .. });
        if self.held.is_empty() && !(is_data && self.is_full()) {
            return self.deliver(Event::Media(event));
        }
        if is_lossy(&event) {
            return Delivery::Dropped;
        }
        self.held.push_back((event, credit));
        Delivery::Done
    }

    /// Queues what waited, as far as the adapter has room. `false`: it has none, so it has read nothing since the last time.
    pub fn catch_up(&mut self) -> bool {
        let was_full = self.is_full();
        while !self.is_full()
            && let Some((event, _)) = self.held.pop_front()
        {
            let _ = self.events.try_send(Event::Media(event));
        }
        !was_full
    }

    /// The adapter has so much to read that messages of its connections should not follow.
    pub fn is_behind(&self) -> bool {
        !self.held.is_empty() || self.is_full()
    }

    /// The adapter has read enough of it.
    pub fn has_caught_up(&self) -> bool {
        self.held.is_empty() && (self.events.len() <= CAUGHT_UP || self.events.is_closed())
    }

    /// The adapter lives, and has much to read.
    fn is_full(&self) -> bool {
        self.events.len() >= DATA_QUEUE && !self.events.is_closed()
    }

    /// Nothing follows but this; what waited for the adapter goes before it.
    pub fn close(&mut self, reason: LeaveReason) {
        for (event, _) in self.held.drain(..) {
            let _ = self.events.try_send(Event::Media(event));
        }
        let _ = self.deliver(Event::Notice(Notice::Closed(reason)));
    }

    /// The primary connection, when its channel for reliable messages is open.
    pub fn reliable_peer(&self) -> Option<PeerId> {
        self.primary.filter(|peer| self.peers.get(peer).is_some_and(|peer| peer.reliable_open))
    }

    /// Counts what its connections are sent now.
    pub fn count_streams(&mut self) {
        self.place.set_streams(self.peers.values().map(|peer| peer.granted.send.len()).sum());
    }

    /// The worst of its connections.
    pub fn quality(&self) -> Option<Quality> {
        self.peers.values().filter_map(|peer| peer.quality).min()
    }
}

/// Counts the participant out. Nothing follows for its adapter; what is queued can still be read. Also when the room's task
/// panics: others hold a sender of the queue, so that dropping ours would not end it.
impl Drop for Seat {
    fn drop(&mut self) {
        self.events.close();
        uncount(&self.metrics.participants);
    }
}

/// What a participant wants of tracks that it receives, or received before and may again.
#[derive(Default)]
pub(crate) struct Settings {
    tracks: BTreeMap<TrackId, TrackSettings>,
    /// With so many it was last seen which tracks are gone.
    kept: usize,
}

impl Settings {
    /// Tracks beyond twice those that were there when it was last looked are looked at again; and some more, so that
    /// a small number is not looked at all the time.
    const SPARE: usize = 64;

    pub fn get(&self, track: TrackId) -> Option<TrackSettings> {
        self.tracks.get(&track).copied()
    }

    /// `false`: no news. Forgets tracks that do not exist any more, once in a while.
    pub fn set(&mut self, track: TrackId, settings: TrackSettings, exists: impl Fn(TrackId) -> bool) -> bool {
        if self.tracks.len() > 2 * self.kept + Self::SPARE {
            self.tracks.retain(|track, _| exists(*track));
            self.kept = self.tracks.len();
        }
        self.tracks.insert(track, settings) != Some(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_tracks_that_are_gone_do_not_pile_up() {
        let mut settings = Settings::default();
        for n in 0..10_000u64 {
            // Ten at a time, and one that stays.
            let exists = |track: TrackId| track.0 + 10 > n || track.0 == 0;
            assert!(settings.set(TrackId(n), TrackSettings::default(), exists));
        }
        assert!(settings.tracks.len() < 120, "{}", settings.tracks.len());
        assert!(settings.get(TrackId(0)).is_some());
        assert!(!settings.set(TrackId(0), TrackSettings::default(), |_| true), "no news");
    }
}
