//! What arrives on one simulcast layer of a publication.

use std::time::{Duration, Instant};

use base::Bitrate;
use base::model::TrackSettings;
use wire::media::Received;

use crate::clock::Clock;
use crate::drops::Dropped;
use crate::keyframes::KeyframeRequests;
use crate::rates::Rates;
use crate::relay::LayerState;
use crate::segment::Stream;
use crate::select::{self, Layers};
use crate::selector::Wanted;
use crate::sublayers::Sublayers;

/// A layer is dead when no media of it arrived for this long while another layer of the publication was heard: longer than
/// the second between two frames of a screen on which nothing moves. Slower layers have three of their frame intervals,
/// but no more than [`DEAD_AFTER_MOST`].
const DEAD_AFTER: Duration = Duration::from_millis(1_200);
const DEAD_AFTER_MOST: Duration = Duration::from_secs(4);

/// A jump of sequence numbers this large is a new stream under the old SSRC, not loss: receivers tell order from 16 bits,
/// and half of those must never be reached.
const MAX_JUMP: u64 = 1 << 14;

/// Sender reports closer together than this are ignored. Browsers send one or two a second.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// How a packet arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// Ahead of all others.
    Newest,
    /// Behind others, for the first time.
    Late,
    /// The first of a new stream: SSRC or numbering changed, or the layer was never heard.
    Restart,
}

/// One simulcast layer, or the only one.
#[derive(Debug)]
pub(crate) struct Layer {
    pub stream: Stream,
    pub keyframes: KeyframeRequests,
    pub meter: Meter,
    /// What it costs to send on.
    pub rates: Rates,
    /// The layers within it.
    pub within: Sublayers,
    ssrc: Option<u32>,
    heard: Window,
    last: Option<Instant>,
    clock: Option<Clock>,
}

impl Layer {
    pub fn new(layer: u8) -> Self {
        Self {
            stream: Stream { layer, epoch: 0 },
            keyframes: KeyframeRequests::default(),
            meter: Meter::default(),
            rates: Rates::default(),
            within: Sublayers::default(),
            ssrc: None,
            heard: Window::default(),
            last: None,
            clock: None,
        }
    }

    /// Notes the packet with `bytes` of payload.
    pub fn receive(&mut self, received: &Received, bytes: usize) -> Result<Arrival, Dropped> {
        let jumped = received.sequence.abs_diff(self.heard.newest) > MAX_JUMP;
        let arrival = if self.ssrc != Some(received.ssrc) || jumped {
            // What was heard first may be a sender report: only a stream that was known takes its clock along.
            if self.ssrc.is_some() {
                self.restart();
            }
            self.ssrc = Some(received.ssrc);
            self.heard = Window::starting_at(received.sequence);
            Arrival::Restart
        } else {
            self.heard.note(received.sequence)?
        };
        if arrival != Arrival::Late && bytes > 0 {
            self.last = Some(received.arrival);
            self.meter.count(received, bytes);
        }
        Ok(arrival)
    }

    /// The worker from which it is relayed tells what is sent of it, whether it comes here or not; `None`: nothing.
    pub fn hear(&mut self, now: Instant, told: Option<LayerState>) {
        match told {
            Some(state) => {
                self.last = Some(now);
                self.meter.hear(now, state);
            }
            None => self.last = None,
        }
    }

    /// What comes next has nothing to do with what came before.
    pub fn restart(&mut self) {
        self.begin_anew();
        self.within.forget();
        self.rates.restart();
        self.ssrc = None;
        self.clock = None;
        self.keyframes.served();
    }

    /// What comes next cannot be decoded with what came before, though numbers and clock go on.
    pub fn begin_anew(&mut self) {
        self.stream.epoch = self.stream.epoch.wrapping_add(1);
    }

    /// What a receiver with these settings is to get of it. It is `alone` unless receivers may be given another layer of
    /// the publication: then its own spatial layers are not chosen among.
    pub fn wanted(&self, settings: &TrackSettings, alone: bool) -> Wanted {
        let (count, sizes) = self.within.spatial();
        let most = if alone { select::wanted(settings, count, sizes).unwrap_or(0) } else { u8::MAX };
        let alive: Layers = self.within.alive();
        Wanted {
            spatial: select::best(most, alive, count).unwrap_or(0),
            temporal: select::temporal(settings, self.within.frame_rates()),
            hasty: false,
        }
    }

    /// When media of it came last.
    pub fn heard_at(&self) -> Option<Instant> {
        self.last
    }

    /// Was it heard of late, as seen in a moment in which some layer of the publication was?
    pub fn is_alive(&self, now: Instant) -> bool {
        let frames = self.meter.frame_interval().unwrap_or_default() * 3;
        let limit = frames.clamp(DEAD_AFTER, DEAD_AFTER_MOST);
        self.last.is_some_and(|last| now.saturating_duration_since(last) < limit)
    }

    /// The publisher's clock, as its newest sender report for this stream tells it.
    pub fn clock(&self) -> Option<Clock> {
        self.clock
    }

    /// A sender report. False when it comes too soon after the last and is ignored.
    pub fn set_clock(&mut self, clock: Clock) -> bool {
        let soon = |last: Clock| clock.at.saturating_duration_since(last.at) < REPORT_INTERVAL;
        let ignored = self.clock.is_some_and(soon);
        if !ignored {
            self.clock = Some(clock);
        }
        !ignored
    }
}

/// Which of the last sequence numbers were heard.
#[derive(Debug, Default)]
struct Window {
    newest: u64,
    bits: [u64; Self::LEN as usize / 64],
}

impl Window {
    /// Four times the packets of a second of 720p video: longer than anything is retransmitted.
    const LEN: u64 = 1024;

    fn starting_at(sequence: u64) -> Self {
        let mut window = Self { newest: sequence, bits: Default::default() };
        window.set(sequence);
        window
    }

    fn note(&mut self, sequence: u64) -> Result<Arrival, Dropped> {
        if sequence > self.newest {
            self.advance(sequence);
            return Ok(Arrival::Newest);
        }
        if self.newest - sequence >= Self::LEN {
            return Err(Dropped::TooLate);
        }
        if self.has(sequence) {
            return Err(Dropped::Duplicate);
        }
        self.set(sequence);
        Ok(Arrival::Late)
    }

    fn advance(&mut self, sequence: u64) {
        if sequence - self.newest >= Self::LEN {
            self.bits = Default::default();
        } else {
            for skipped in self.newest + 1..sequence {
                let (word, bit) = Self::place(skipped);
                self.bits[word] &= !bit;
            }
        }
        self.newest = sequence;
        self.set(sequence);
    }

    fn place(sequence: u64) -> (usize, u64) {
        let at = sequence % Self::LEN;
        ((at / 64) as usize, 1 << (at % 64))
    }

    fn has(&self, sequence: u64) -> bool {
        let (word, bit) = Self::place(sequence);
        self.bits[word] & bit != 0
    }

    fn set(&mut self, sequence: u64) {
        let (word, bit) = Self::place(sequence);
        self.bits[word] |= bit;
    }
}

/// Bit rate and frame rate, over windows of about a second. What comes late is not counted.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    since: Option<Instant>,
    bytes: u64,
    frames: u32,
    timestamp: Option<u32>,
    bitrate: Bitrate,
    frame_rate: f32,
}

impl Meter {
    const WINDOW: Duration = Duration::from_secs(1);

    /// `bytes` of payload arrived.
    fn count(&mut self, received: &Received, bytes: usize) {
        let since = *self.since.get_or_insert(received.arrival);
        let elapsed = received.arrival.saturating_duration_since(since);
        if elapsed >= Self::WINDOW {
            let seconds = elapsed.as_secs_f32();
            self.bitrate = Bitrate((self.bytes as f32 * 8.0 / seconds) as u64);
            self.frame_rate = self.frames as f32 / seconds;
            (self.bytes, self.frames, self.since) = (0, 0, Some(received.arrival));
        }
        self.bytes += bytes as u64;
        if self.timestamp != Some(received.timestamp) {
            self.timestamp = Some(received.timestamp);
            self.frames += 1;
        }
    }

    /// What is sent, as the worker says that it comes from.
    fn hear(&mut self, now: Instant, state: LayerState) {
        (self.bitrate, self.frame_rate) = (state.bitrate, state.frame_rate);
        // A window that counts begins with its first packet.
        if self.bytes == 0 || !self.is_current(now) {
            (self.bytes, self.frames, self.since) = (0, 0, Some(now));
        }
    }

    /// Payload bits per second of the last whole window; nothing while nothing arrives.
    pub fn bitrate(&self, now: Instant) -> Bitrate {
        if self.is_current(now) { self.bitrate } else { Bitrate::default() }
    }

    /// Frames per second of the last whole window; nothing while nothing arrives.
    pub fn frame_rate(&self, now: Instant) -> f32 {
        if self.is_current(now) { self.frame_rate } else { 0.0 }
    }

    /// Seconds between frames, once known.
    fn frame_interval(&self) -> Option<Duration> {
        (self.frame_rate > 0.0).then(|| Duration::from_secs_f32(1.0 / self.frame_rate.max(0.1)))
    }

    fn is_current(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < 3 * Self::WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_number_is_heard_once() {
        let mut window = Window::starting_at(5);
        assert_eq!(window.note(5), Err(Dropped::Duplicate));
        assert_eq!(window.note(8), Ok(Arrival::Newest));
        assert_eq!(window.note(7), Ok(Arrival::Late));
        assert_eq!(window.note(7), Err(Dropped::Duplicate));
        assert_eq!(window.note(3), Ok(Arrival::Late), "from before the start");
    }

    #[test]
    fn a_jump_over_the_whole_window_forgets_what_lay_before() {
        let mut window = Window::starting_at(10);
        assert_eq!(window.note(10 + Window::LEN), Ok(Arrival::Newest));
        assert_eq!(window.note(10), Err(Dropped::TooLate));
        assert_eq!(window.note(11), Ok(Arrival::Late), "its place held number 1,035 of the lap before");
    }

    #[test]
    fn places_of_a_former_lap_are_cleared() {
        let mut window = Window::starting_at(0);
        for sequence in 1..Window::LEN {
            assert_eq!(window.note(sequence), Ok(Arrival::Newest));
        }
        assert_eq!(window.note(Window::LEN + 9), Ok(Arrival::Newest));
        assert_eq!(window.note(Window::LEN + 4), Ok(Arrival::Late));
    }
}
