//! What arrived and when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use wire::media::Received;

/// A pause that counts as a freeze.
const FREEZE: Duration = Duration::from_millis(500);

/// Tracks of which is told what arrived; of more, those of which nothing has come for longest are forgotten.
const MAX_TRACKS: usize = 4_096;

/// How long the stages of connecting took, from the call of [`crate::Room::connect`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// TCP and TLS are up: the request to join goes out.
    pub requested: Option<Duration>,
    /// The server's JoinResponse arrived.
    pub joined: Option<Duration>,
    /// Its answer to our offer arrived.
    pub answered: Option<Duration>,
    /// ICE and DTLS are up: media can be sent.
    pub connected: Option<Duration>,
    /// Both data channels are open, which is when `connect` returns.
    pub ready: Option<Duration>,
    /// The first media packet arrived.
    pub first_packet: Option<Duration>,
    /// Of the time from the answer to the first packet, what this client worked itself (ICE, DTLS, decryption) rather than waited.
    pub worked: Duration,
}

impl Timing {
    /// How long this client waited for the server until its first packet came: from the request to the answer, and from there on
    /// whenever it had nothing to do itself. The network's round trips are in it, what keeps this process from running, and the wait
    /// for the next frame of a publisher; so it is an upper bound of what the server took. `None` without a first packet.
    pub fn waited(&self) -> Option<Duration> {
        let (requested, answered) = (self.requested?, self.answered?);
        let media = self.first_packet?.checked_sub(answered)?.saturating_sub(self.worked);
        Some(answered.saturating_sub(requested) + media)
    }
}

/// What arrived since the beginning.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// By track id: the last few thousand.
    pub tracks: BTreeMap<Arc<str>, TrackCounters>,
    /// Packets of sections that carry no known track.
    pub unknown_packets: u64,
    /// RTP packets sent.
    pub sent_packets: u64,
    /// Bytes of payload sent.
    pub sent_bytes: u64,
    /// Frames that could not be sent: not connected, or not negotiated.
    pub unsent_frames: u64,
    /// Data messages that could not be sent: too large, or the channel did not take them in time.
    pub unsent_messages: u64,
    /// Events that were dropped because nobody read them.
    pub events_dropped: u64,
    /// Of the transport.
    pub transport: rtc::Counters,
}

impl Counters {
    /// One packet of a track.
    pub(crate) fn count(&mut self, track: &Arc<str>, received: &Received) {
        if self.tracks.len() >= MAX_TRACKS && !self.tracks.contains_key(track) {
            let oldest = self.tracks.iter().min_by_key(|(_, counts)| counts.last);
            if let Some(oldest) = oldest.map(|(track, _)| track.clone()) {
                self.tracks.remove(&oldest);
            }
        }
        self.tracks.entry(track.clone()).or_default().count(received);
    }
}

/// What arrived of one track.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TrackCounters {
    /// Packets, each counted once.
    pub packets: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Packets of the current stream that never came, or have not yet.
    pub missing: u64,
    /// Packets of earlier streams of the track that never came.
    pub lost: u64,
    /// The longest time between two arrivals.
    pub longest_pause: Duration,
    /// Times in which nothing arrived for more than half a second and then went on: what people see as a frozen picture, if the
    /// publisher sends without a pause.
    pub freezes: u64,
    ssrc: u32,
    /// First and highest sequence number of the current stream, and how many came in between.
    first: u64,
    highest: u64,
    stream_packets: u64,
    last: Option<Instant>,
}

impl TrackCounters {
    /// One packet.
    pub(crate) fn count(&mut self, received: &Received) {
        self.packets += 1;
        self.bytes += received.payload.len() as u64;
        if let Some(last) = self.last {
            let pause = received.arrival.saturating_duration_since(last);
            self.longest_pause = self.longest_pause.max(pause);
            self.freezes += u64::from(pause > FREEZE);
        }
        self.last = Some(received.arrival);
        if self.ssrc != received.ssrc || self.stream_packets == 0 {
            // A track that is subscribed anew comes as a new stream, with numbers of its own.
            self.lost += self.missing;
            self.ssrc = received.ssrc;
            (self.first, self.highest, self.stream_packets) = (received.sequence, received.sequence, 0);
        }
        self.stream_packets += 1;
        self.first = self.first.min(received.sequence);
        self.highest = self.highest.max(received.sequence);
        self.missing = (self.highest - self.first + 1).saturating_sub(self.stream_packets);
    }
}

/// What the media thread writes and the room's handle reads.
#[derive(Debug)]
pub(crate) struct Shared {
    started: Instant,
    requested: OnceLock<Duration>,
    joined: OnceLock<Duration>,
    answered: OnceLock<Duration>,
    connected: OnceLock<Duration>,
    ready: OnceLock<Duration>,
    first_packet: OnceLock<Duration>,
    /// Nanoseconds; see [`Timing::worked`].
    worked: AtomicU64,
    counters: Mutex<Counters>,
}

/// A stage of connecting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Requested,
    Joined,
    Answered,
    Connected,
    Ready,
    FirstPacket,
}

impl Shared {
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            requested: OnceLock::new(),
            joined: OnceLock::new(),
            answered: OnceLock::new(),
            connected: OnceLock::new(),
            ready: OnceLock::new(),
            first_packet: OnceLock::new(),
            worked: AtomicU64::new(0),
            counters: Mutex::default(),
        }
    }

    /// A stage is reached; the first time counts.
    pub fn reached(&self, stage: Stage, at: Instant) {
        let cell = match stage {
            Stage::Requested => &self.requested,
            Stage::Joined => &self.joined,
            Stage::Answered => &self.answered,
            Stage::Connected => &self.connected,
            Stage::Ready => &self.ready,
            Stage::FirstPacket => &self.first_packet,
        };
        cell.get_or_init(|| at.saturating_duration_since(self.started));
    }

    pub fn timing(&self) -> Timing {
        Timing {
            requested: self.requested.get().copied(),
            joined: self.joined.get().copied(),
            answered: self.answered.get().copied(),
            connected: self.connected.get().copied(),
            ready: self.ready.get().copied(),
            first_packet: self.first_packet.get().copied(),
            worked: Duration::from_nanos(self.worked.load(Relaxed)),
        }
    }

    /// The media thread worked for this long. What counts is what lies between the answer and the first packet.
    pub fn worked(&self, time: Duration) {
        if self.answered.get().is_some() && self.first_packet.get().is_none() {
            self.worked.fetch_add(time.as_nanos() as u64, Relaxed);
        }
    }

    /// Numbers stay numbers when a thread panicked over them.
    pub fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{CodecKind, MediaKind, Mid};

    fn received(ssrc: u32, sequence: u64, arrival: Instant) -> Received {
        Received {
            mid: Mid::new(b"0").unwrap(),
            media: MediaKind::Audio,
            layer: 0,
            simulcast: false,
            codec: CodecKind::Opus,
            ssrc,
            sequence,
            timestamp: 0,
            marker: false,
            retransmitted: false,
            extensions: Default::default(),
            payload: 12..22,
            arrival,
        }
    }

    #[test]
    fn of_more_tracks_than_are_told_the_silent_ones_are_forgotten() {
        let (mut counters, now) = (Counters::default(), Instant::now());
        let at = |ms: u64| received(1, ms, now + Duration::from_millis(ms));
        let id = |number: u64| -> Arc<str> { format!("TR_{number}").into() };
        (0..MAX_TRACKS as u64).for_each(|number| counters.count(&id(number), &at(number)));
        counters.count(&id(0), &at(10_000));
        counters.count(&id(9_999), &at(10_001));
        assert_eq!(counters.tracks.len(), MAX_TRACKS);
        assert!(counters.tracks.contains_key(&id(0)) && !counters.tracks.contains_key(&id(1)));
    }

    #[test]
    fn a_packet_that_comes_late_is_missing_until_then() {
        let (mut track, now) = (TrackCounters::default(), Instant::now());
        for (sequence, missing) in [(10, 0), (11, 0), (14, 2), (13, 1), (9, 1), (12, 0)] {
            track.count(&received(1, sequence, now));
            assert_eq!(track.missing, missing, "after {sequence}");
        }
        assert_eq!((track.packets, track.bytes), (6, 60));
    }

    #[test]
    fn what_a_client_does_itself_is_not_the_servers_share() {
        let ms = Duration::from_millis;
        let started = Instant::now();
        let shared = Shared::new(started);
        shared.worked(ms(50));
        for (stage, at) in [(Stage::Requested, 3), (Stage::Joined, 8), (Stage::Answered, 10)] {
            shared.reached(stage, started + ms(at));
        }
        shared.worked(ms(6));
        assert_eq!(shared.timing().waited(), None, "nothing has come yet");
        shared.reached(Stage::FirstPacket, started + ms(30));
        shared.worked(ms(50));
        assert_eq!(shared.timing().waited(), Some(ms(7 + 14)));
    }

    #[test]
    fn a_new_stream_of_a_track_starts_its_own_numbering() {
        let (mut track, now) = (TrackCounters::default(), Instant::now());
        track.count(&received(1, 10, now));
        track.count(&received(2, 50_000, now + Duration::from_secs(2)));
        track.count(&received(2, 50_001, now + Duration::from_secs(3)));
        assert_eq!((track.packets, track.missing), (3, 0));
        assert_eq!((track.longest_pause, track.freezes), (Duration::from_secs(2), 2));
    }
}
