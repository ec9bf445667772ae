//! What a publisher's stream costs to send on, by spatial and temporal layer: the bits that a receiver's estimate counts.

use std::time::{Duration, Instant};

/// RTP header (12), extension header (4), transport-wide number, MID, levels and padding of the elements (12), SRTP tag
/// (16 with AES-GCM, RFC 7714). A dependency descriptor comes on top.
pub(crate) const PACKET_OVERHEAD: usize = 44;

/// Spatial layers told apart; higher ones count to the last.
const SPATIAL: usize = 4;
/// Temporal layers told apart; higher ones count to the last.
const TEMPORAL: usize = 4;
/// Keyframes have a column of their own.
const COLUMNS: usize = TEMPORAL + 1;
const KEYFRAMES: usize = TEMPORAL;

/// A rate is looked at this often.
const WINDOW: Duration = Duration::from_millis(500);
/// A stream that paused longer did not send less: it was off.
const OFF: Duration = Duration::from_millis(2_500);
/// How fast rates follow, in seconds: what grows is soon believed, so that the budget holds; what shrinks may be a quiet
/// moment.
const UP: f32 = 1.7;
const DOWN: f32 = 10.0;
/// Keyframes come once in a while, each with a burst.
const SPREAD: f32 = 5.0;

/// One packet's place in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub spatial: u8,
    pub temporal: u8,
    /// It is the first of a keyframe.
    pub key: bool,
    pub timestamp: u32,
}

/// The rates of one stream.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    since: Option<Instant>,
    bytes: [[u32; COLUMNS]; SPATIAL],
    /// Bits per second.
    smooth: [[f32; COLUMNS]; SPATIAL],
    /// A whole window has passed since it began or began anew.
    known: bool,
    /// Temporal layers heard.
    temporal: u8,
    /// The picture that is a keyframe.
    keyframe: Option<u32>,
}

impl Rates {
    /// A packet of so many bytes, payload and descriptor, arrived.
    #[inline]
    pub fn count(&mut self, now: Instant, place: Place, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= WINDOW {
            self.fold(now, since);
        }
        if place.key {
            self.keyframe = Some(place.timestamp);
        }
        let temporal = usize::from(place.temporal).min(TEMPORAL - 1);
        self.temporal = self.temporal.max(temporal as u8 + 1);
        let column = if self.keyframe == Some(place.timestamp) { KEYFRAMES } else { temporal };
        let cell = &mut self.bytes[usize::from(place.spatial).min(SPATIAL - 1)][column];
        *cell = cell.saturating_add((bytes + PACKET_OVERHEAD) as u32);
    }

    #[cold]
    fn fold(&mut self, now: Instant, since: Instant) {
        let elapsed = now.saturating_duration_since(since);
        self.since = Some(now);
        let bytes = std::mem::take(&mut self.bytes);
        if elapsed > OFF {
            return;
        }
        let seconds = elapsed.as_secs_f32();
        let share = |constant: f32| 1.0 - (-seconds / constant).exp();
        let (up, down, spread) = (share(UP), share(DOWN), share(SPREAD));
        let cells = self.smooth.as_flattened_mut().iter_mut().zip(bytes.as_flattened());
        for (at, (smooth, bytes)) in cells.enumerate() {
            let rate = *bytes as f32 * 8.0 / seconds;
            let share = match () {
                () if at % COLUMNS == KEYFRAMES => spread,
                () if !self.known => 1.0,
                () if rate > *smooth => up,
                () => down,
            };
            *smooth += (rate - *smooth) * share;
        }
        self.known = true;
    }

    /// Another stream begins in its place: rates are found out anew, from what is known as a guess.
    pub fn restart(&mut self) {
        (self.since, self.bytes, self.known, self.keyframe) = (None, Default::default(), false, None);
        self.temporal = 0;
    }

    /// Temporal layers, once they were measured, 1..=[`TEMPORAL`]; before, all of it is one.
    pub fn temporal_layers(&self) -> u8 {
        if self.known { self.temporal.max(1) } else { 1 }
    }

    /// What is known of spatial layer `spatial` up to temporal layer `temporal`, with its share of keyframes, in bits per
    /// second; `None` as long as nothing is.
    pub fn of(&self, spatial: u8, temporal: u8) -> Option<f32> {
        let row = self.smooth.get(usize::from(spatial)).filter(|_| self.known)?;
        let temporal = usize::from(temporal).min(TEMPORAL - 1);
        Some(row[..=temporal].iter().sum::<f32>() + row[KEYFRAMES])
    }

    /// The same of all spatial layers together.
    pub fn of_all(&self, temporal: u8) -> Option<f32> {
        self.known.then(|| (0..SPATIAL as u8).filter_map(|spatial| self.of(spatial, temporal)).sum())
    }

    /// What is known of keyframes of one spatial layer.
    pub fn keyframes(&self, spatial: u8) -> f32 {
        self.smooth.get(usize::from(spatial)).map_or(0.0, |row| row[KEYFRAMES])
    }

    /// All of it while no whole window has passed: what came so far, completed by what it had before or else by `guess`.
    /// `None` when a window has passed or nothing came.
    pub fn beginning(&self, now: Instant, guess: f32) -> Option<f32> {
        let since = self.since.filter(|_| !self.known)?;
        let before: f32 = self.smooth.as_flattened().iter().sum();
        let guess = if before > 0.0 { before } else { guess };
        let window = WINDOW.as_secs_f32();
        let elapsed = now.saturating_duration_since(since).as_secs_f32().min(window);
        let steady = self.bytes.iter().flat_map(|row| &row[..KEYFRAMES]);
        let bits = steady.sum::<u32>() as f32 * 8.0;
        Some((bits + guess * (window - elapsed)) / window)
    }
}

/// What a picture of this size may cost: LiveKit's presets, 160 kbit/s for 320x180 and 1.7 Mbit/s for 1280x720, and what
/// lies between and beyond.
pub(crate) fn guess(pixels: f32) -> f32 {
    160_000.0 * (pixels.max(1.0) / 57_600.0).powf(0.85)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(33);

    fn place(temporal: u8, key: bool, timestamp: u32) -> Place {
        Place { spatial: 0, temporal, key, timestamp }
    }

    /// `frames` of so many bytes each, in three temporal layers; returns the time after.
    fn play(rates: &mut Rates, mut now: Instant, frames: u32, bytes: usize) -> Instant {
        for n in 0..frames {
            rates.count(now, place([0, 2, 1, 2][n as usize % 4], false, n), bytes - PACKET_OVERHEAD);
            now += FRAME;
        }
        now
    }

    #[test]
    fn rates_are_by_temporal_layer_and_with_overhead() {
        let mut rates = Rates::default();
        play(&mut rates, Instant::now(), 300, 1_000);
        let full = 1_000.0 * 8.0 / 0.033;
        for (temporal, share) in [(0, 0.25), (1, 0.5), (2, 1.0), (3, 1.0)] {
            let rate = rates.of(0, temporal).unwrap();
            assert!((rate / full - share).abs() < 0.06, "{temporal}: {rate} of {full}");
        }
        assert_eq!(rates.temporal_layers(), 3);
    }

    #[test]
    fn a_new_layer_has_a_rate_before_a_window_has_passed() {
        let mut rates = Rates::default();
        let begin = Instant::now();
        rates.count(begin, place(0, true, 0), 30_000);
        assert_eq!(rates.of(0, 0), None);
        assert!((rates.beginning(begin, 500_000.0).unwrap() - 500_000.0).abs() < 1.0);
        let now = play(&mut rates, begin + FRAME, 10, 1_000);
        let rate = rates.beginning(now, 500_000.0).unwrap();
        assert!((280_000.0..350_000.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_keyframe_moves_the_rate_little() {
        let mut rates = Rates::default();
        let now = play(&mut rates, Instant::now(), 300, 2_000);
        let before = rates.of(0, 2).unwrap();
        rates.count(now, place(0, true, 77), 30_000);
        play(&mut rates, now + FRAME, 32, 2_000);
        let after = rates.of(0, 2).unwrap();
        assert!((1.0..1.13).contains(&(after / before)), "{before} {after}");
    }

    #[test]
    fn growth_is_soon_believed_and_a_quiet_moment_is_not() {
        let mut rates = Rates::default();
        let now = play(&mut rates, Instant::now(), 300, 1_000);
        let before = rates.of(0, 2).unwrap();
        let now = play(&mut rates, now, 90, 2_000);
        let grown = rates.of(0, 2).unwrap();
        assert!(grown > before * 1.7, "{before} {grown}");
        play(&mut rates, now, 60, 200);
        assert!(rates.of(0, 2).unwrap() > grown * 0.75);
    }

    #[test]
    fn who_was_off_has_the_rate_it_had() {
        let mut rates = Rates::default();
        let now = play(&mut rates, Instant::now(), 300, 1_000);
        let before = rates.of(0, 2).unwrap();
        play(&mut rates, now + Duration::from_secs(60), 1, 1_000);
        assert_eq!(rates.of(0, 2).unwrap(), before);
    }

    #[test]
    fn guesses_are_those_of_common_encoders() {
        for (width, height, low, high) in [
            (320.0, 180.0, 0.15e6, 0.17e6),
            (640.0, 360.0, 0.45e6, 0.55e6),
            (1280.0, 720.0, 1.5e6, 1.9e6),
            (1920.0, 1080.0, 2.8e6, 4e6),
        ] {
            assert!((low..high).contains(&guess(width * height)), "{width} {}", guess(width * height));
        }
    }
}
