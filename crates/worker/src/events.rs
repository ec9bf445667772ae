//! Events towards control: never blocks, folds what can be folded.
//!
//! While the queue has room, events go straight into it. When it is full, they wait here in order; of speakers, quality,
//! backlogs, stream states and wanted layers only the newest state waits. Messages and channels are the only things that a client can make many of: beyond a bound
//! unreliable messages are dropped, and peers are told to leave the rest in the SCTP receive window. All else is a handful
//! per peer.

use std::collections::{BTreeMap, VecDeque};

use async_channel::{Sender, TrySendError};
use base::model::{Quality, Speaker};
use base::{ParticipantId, PeerId, RoomId, TrackId};
use contract::media::{DataBacklog, Event};

/// Messages, opened channels and their bytes that may wait before peers are paused. Small: control is expected to keep up, and what waits
/// here adds latency to everything behind it.
const BACKLOG_MESSAGES: usize = 64;
const BACKLOG_BYTES: usize = 256 << 10;

pub(crate) struct Outgoing {
    queue: Sender<Event>,
    waiting: VecDeque<Event>,
    messages: usize,
    bytes: usize,
    speakers: BTreeMap<RoomId, BTreeMap<ParticipantId, Speaker>>,
    quality: BTreeMap<PeerId, Quality>,
    backlogs: BTreeMap<PeerId, DataBacklog>,
    /// Active?
    streams: BTreeMap<(PeerId, TrackId), bool>,
    /// By index of the worker, for the event's sake.
    wanted: BTreeMap<(RoomId, TrackId), (usize, Option<u8>)>,
    /// Events that had to wait, since the beginning.
    pub(crate) delayed: u64,
}

impl Outgoing {
    pub(crate) fn new(queue: Sender<Event>) -> Self {
        Self {
            queue,
            waiting: VecDeque::new(),
            messages: 0,
            bytes: 0,
            speakers: BTreeMap::new(),
            quality: BTreeMap::new(),
            backlogs: BTreeMap::new(),
            streams: BTreeMap::new(),
            wanted: BTreeMap::new(),
            delayed: 0,
        }
    }

    /// Sends or keeps.
    pub(crate) fn push(&mut self, event: Event) {
        if self.is_clear() {
            match self.queue.try_send(event) {
                // Closed: nobody is interested any more.
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(event)) => self.keep(event),
            }
        } else {
            self.keep(event);
        }
    }

    fn keep(&mut self, event: Event) {
        self.delayed += 1;
        match event {
            Event::Speakers { room, speakers } => {
                let folded = self.speakers.entry(room).or_default();
                folded.extend(speakers.into_iter().map(|speaker| (speaker.participant, speaker)));
            }
            Event::Quality { peer, quality } => {
                self.quality.insert(peer, quality);
            }
            Event::DataBacklog { peer, backlog } => {
                self.backlogs.insert(peer, backlog);
            }
            Event::StreamState { peer, track, active } => {
                self.streams.insert((peer, track), active);
            }
            Event::WantedLayer { worker, room, track, highest } => {
                self.wanted.insert((room, track), (worker, highest));
            }
            event => {
                if let Some(bytes) = size(&event) {
                    self.messages += 1;
                    self.bytes += bytes;
                }
                self.waiting.push_back(event);
            }
        }
    }

    /// Sends what fits now.
    pub(crate) fn flush(&mut self) {
        self.flush_waiting();
        self.flush_folded();
    }

    fn flush_waiting(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            let size = size(&event);
            if let Err(TrySendError::Full(event)) = self.queue.try_send(event) {
                self.waiting.push_front(event);
                return;
            }
            if let Some(bytes) = size {
                self.messages -= 1;
                self.bytes -= bytes;
            }
        }
    }

    /// State by state, each kept until it has found room. They go after what waits in order: a peer's `Closed` among that is
    /// followed by states of a connection that is gone, which control knows not to route.
    fn flush_folded(&mut self) {
        if !self.waiting.is_empty() {
            return;
        }
        while let Some((room, speakers)) = self.speakers.pop_first() {
            let event = Event::Speakers { room, speakers: speakers.values().copied().collect() };
            if self.is_refused(event) {
                self.speakers.insert(room, speakers);
                return;
            }
        }
        while let Some((peer, quality)) = self.quality.pop_first() {
            if self.is_refused(Event::Quality { peer, quality }) {
                self.quality.insert(peer, quality);
                return;
            }
        }
        while let Some((peer, backlog)) = self.backlogs.pop_first() {
            if self.is_refused(Event::DataBacklog { peer, backlog }) {
                self.backlogs.insert(peer, backlog);
                return;
            }
        }
        while let Some(((peer, track), active)) = self.streams.pop_first() {
            if self.is_refused(Event::StreamState { peer, track, active }) {
                self.streams.insert((peer, track), active);
                return;
            }
        }
        while let Some(((room, track), (worker, highest))) = self.wanted.pop_first() {
            if self.is_refused(Event::WantedLayer { worker, room, track, highest }) {
                self.wanted.insert((room, track), (worker, highest));
                return;
            }
        }
    }

    fn is_refused(&self, event: Event) -> bool {
        matches!(self.queue.try_send(event), Err(TrySendError::Full(_)))
    }

    /// Nothing waits.
    pub(crate) fn is_clear(&self) -> bool {
        self.waiting.is_empty()
            && self.speakers.is_empty()
            && self.quality.is_empty()
            && self.backlogs.is_empty()
            && self.streams.is_empty()
            && self.wanted.is_empty()
    }

    /// So many messages wait that no more should be read from peers.
    pub(crate) fn is_backlogged(&self) -> bool {
        self.messages >= BACKLOG_MESSAGES || self.bytes >= BACKLOG_BYTES
    }

    /// Peers may be read again. Below [`Self::is_backlogged`] by a distance, so that they are not toggled all the time.
    pub(crate) fn has_drained(&self) -> bool {
        self.messages == 0
    }

    /// The peer was removed by control, which wants to hear no more of it.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.quality.remove(&peer);
        self.backlogs.remove(&peer);
        self.streams.retain(|(of, _), _| *of != peer);
        self.waiting.retain(|event| event.peer() != Some(peer));
        let sizes = self.waiting.iter().filter_map(size);
        (self.messages, self.bytes) = sizes.fold((0, 0), |(count, sum), len| (count + 1, sum + len));
    }
}

/// Bytes of what a client can make many of.
fn size(event: &Event) -> Option<usize> {
    match event {
        Event::Data { payload, .. } => Some(payload.len()),
        Event::ChannelOpen { channel, .. } => Some(channel.label.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use contract::media::ChannelSpec;

    fn data(peer: u64, number: u8, len: usize) -> Event {
        let mut payload = vec![0; len];
        payload[0] = number;
        Event::Data { peer: PeerId(peer), label: "l".into(), text: false, payload: payload.into() }
    }

    fn speakers(participant: u64, level: f32) -> Event {
        let speaker = Speaker { participant: ParticipantId(participant), level, active: level > 0.0 };
        Event::Speakers { room: RoomId(1), speakers: vec![speaker] }
    }

    fn quality(peer: u64, quality: Quality) -> Event {
        Event::Quality { peer: PeerId(peer), quality }
    }

    fn number(event: Event) -> u8 {
        match event {
            Event::Data { payload, .. } => Bytes::as_ref(&payload)[0],
            event => panic!("{event:?}"),
        }
    }

    #[test]
    fn messages_keep_their_order_through_a_queue_of_one() {
        let (sender, receiver) = async_channel::bounded(1);
        let mut outgoing = Outgoing::new(sender);
        for i in 0..10 {
            outgoing.push(data(1, i, 4));
        }
        for i in 0..10 {
            assert_eq!(number(receiver.try_recv().unwrap()), i);
            outgoing.flush();
        }
        assert!(outgoing.is_clear() && outgoing.has_drained());
        assert_eq!(outgoing.bytes, 0);
    }

    #[test]
    fn of_speakers_and_quality_only_the_newest_waits() {
        let (sender, receiver) = async_channel::bounded(1);
        let mut outgoing = Outgoing::new(sender);
        outgoing.push(data(1, 0, 1));
        for (participant, level) in [(1, 0.5), (2, 0.5), (1, 0.0), (2, 0.7)] {
            outgoing.push(speakers(participant, level));
            outgoing.push(quality(participant, Quality::Poor));
        }
        outgoing.push(quality(1, Quality::Good));
        let mut got = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            got.push(event);
            outgoing.flush();
        }
        let Event::Speakers { speakers, .. } = &got[1] else { panic!("{got:?}") };
        let levels: Vec<_> = speakers.iter().map(|s| (s.participant.0, s.level, s.active)).collect();
        assert_eq!(levels, [(1, 0.0, false), (2, 0.7, true)], "who stopped is told");
        let Event::Quality { quality: Quality::Good, .. } = got[2] else { panic!("{got:?}") };
        assert_eq!(got.len(), 4);
    }

    #[test]
    fn a_stream_that_pauses_and_goes_on_while_nobody_listens_is_told_once_and_as_it_is() {
        let (sender, receiver) = async_channel::bounded(1);
        let mut outgoing = Outgoing::new(sender);
        outgoing.push(data(1, 0, 1));
        for (active, highest) in [(false, Some(2)), (true, None), (false, Some(1))] {
            outgoing.push(Event::StreamState { peer: PeerId(1), track: TrackId(7), active });
            outgoing.push(Event::WantedLayer { worker: 3, room: RoomId(1), track: TrackId(7), highest });
        }
        outgoing.push(Event::StreamState { peer: PeerId(2), track: TrackId(7), active: false });
        outgoing.forget(PeerId(2));
        let mut got = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            got.push(event);
            outgoing.flush();
        }
        assert_eq!(got.len(), 3, "{got:?}");
        assert!(matches!(got[1], Event::StreamState { peer: PeerId(1), active: false, .. }), "{got:?}");
        assert!(matches!(got[2], Event::WantedLayer { worker: 3, highest: Some(1), .. }), "{got:?}");
        assert!(outgoing.is_clear());
    }

    #[test]
    fn a_client_that_opens_and_closes_channels_all_the_time_is_a_backlog_too() {
        let (sender, receiver) = async_channel::bounded(1);
        let mut outgoing = Outgoing::new(sender);
        let open = |peer| {
            let channel = ChannelSpec { label: "c".repeat(256), ordered: true, max_retransmits: None };
            Event::ChannelOpen { peer: PeerId(peer), channel }
        };
        outgoing.push(data(1, 0, 1));
        (0..BACKLOG_MESSAGES as u64).for_each(|number| outgoing.push(open(number % 2)));
        assert!(outgoing.is_backlogged());
        outgoing.forget(PeerId(1));
        assert!(!outgoing.is_backlogged() && !outgoing.has_drained());
        while receiver.try_recv().is_ok() {
            outgoing.flush();
        }
        assert!(outgoing.has_drained());
        assert_eq!(outgoing.bytes, 0);
    }

    #[test]
    fn many_or_large_messages_are_a_backlog() {
        for (count, len) in [(BACKLOG_MESSAGES, 1), (4, 64 << 10)] {
            let (sender, receiver) = async_channel::bounded(1);
            let mut outgoing = Outgoing::new(sender);
            outgoing.push(data(1, 0, 1));
            (0..count).for_each(|_| {
                assert!(!outgoing.is_backlogged());
                outgoing.push(data(1, 0, len));
            });
            assert!(outgoing.is_backlogged());
            while receiver.try_recv().is_ok() {
                outgoing.flush();
            }
            assert!(!outgoing.is_backlogged() && outgoing.has_drained());
        }
    }

    #[test]
    fn of_a_removed_peer_nothing_more_is_told() {
        let (sender, receiver) = async_channel::bounded(1);
        let mut outgoing = Outgoing::new(sender);
        outgoing.push(data(1, 0, 1));
        outgoing.push(data(1, 1, 1));
        outgoing.push(data(2, 2, 1));
        outgoing.push(quality(1, Quality::Poor));
        outgoing.forget(PeerId(1));
        assert_eq!((outgoing.messages, outgoing.bytes), (1, 1));
        assert_eq!(number(receiver.try_recv().unwrap()), 0);
        outgoing.flush();
        assert_eq!(number(receiver.try_recv().unwrap()), 2);
        outgoing.flush();
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn when_control_is_gone_nothing_piles_up() {
        let (sender, receiver) = async_channel::bounded(1);
        let mut outgoing = Outgoing::new(sender);
        outgoing.push(data(1, 0, 1));
        outgoing.push(data(1, 1, 1));
        drop(receiver);
        outgoing.flush();
        outgoing.push(data(1, 2, 1));
        assert!(outgoing.is_clear());
    }
}
