//! Large rooms over a bad network, at random: whoever is forwarded when, and however a receiver wants it, each receiver sees
//! numbers without a gap that was not lost, and time as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use base::{CodecKind, TrackId};
use wire::red::Red;

use crate::property::Random;
use crate::support::*;
use crate::voices::*;

const MICROPHONES: usize = 9;
const LISTENERS: u32 = 3;

struct Room {
    random: Random,
    voices: Voices,
    /// Of a thousand: lost and twice; and by how many ms packets are late at most.
    network: (u64, u64, u64),
    /// On their way, by arrival.
    flying: BTreeMap<(Instant, u64), (TrackId, Sent)>,
    count: u64,
    /// What came before, to be sent again as redundancy.
    before: Vec<Vec<Vec<u8>>>,
    /// Input numbers that arrived, and not while muted.
    arrived: BTreeMap<TrackId, BTreeSet<u64>>,
    muted: BTreeSet<usize>,
}

impl Room {
    fn new(seed: u64, network: (u64, u64, u64)) -> Self {
        let mut voices = Voices::new(MICROPHONES, seed);
        voices.stage.media.set_loudest(voices.stage.now, 3);
        let mut room = Self {
            random: Random(seed),
            voices,
            network,
            flying: BTreeMap::new(),
            count: 0,
            before: vec![Vec::new(); MICROPHONES],
            arrived: BTreeMap::new(),
            muted: BTreeSet::new(),
        };
        for n in 0..MICROPHONES {
            for listener in 0..LISTENERS {
                room.listen(n, listener);
            }
        }
        room
    }

    /// One knows no redundancy, one does, and one changes its mind now and then.
    fn listen(&mut self, n: usize, listener: u32) {
        let red = listener == 1 || listener == 2 && self.random.permille(500);
        let mut codecs = vec![codec(CodecKind::Opus)];
        codecs.extend(red.then(|| codec(CodecKind::Red)));
        let stage = &mut self.voices.stage;
        stage.media.set_subscription(stage.now, track(n), To(sink(n, listener)), &codecs, 1_000).unwrap();
    }

    fn run(mut self, frames: usize) -> Self {
        for _ in 0..frames {
            self.upset();
            (0..MICROPHONES).for_each(|n| self.send(n));
            self.arrive(ms(20));
        }
        self.arrive(ms(1_000));
        self
    }

    /// People speak and fall silent, mute and come back.
    fn upset(&mut self) {
        let n = self.random.below(MICROPHONES as u64) as usize;
        if self.random.permille(40) {
            let louder = self.random.below(20) as i32 - 10;
            let sounds =
                [Sound::Speech(louder), Sound::Level(70), Sound::Nothing, Sound::Mhm, Sound::Noise(40, 3)];
            self.voices.sound(n, sounds[self.random.below(5) as usize]);
        }
        if self.random.permille(if self.muted.contains(&n) { 60 } else { 4 }) {
            let muted = self.muted.insert(n) || !self.muted.remove(&n);
            self.voices.stage.mute(track(n), muted);
        }
        if self.random.permille(3) {
            let places = self.random.below(6) as usize;
            self.voices.stage.media.set_loudest(self.voices.stage.now, places);
        }
        if self.random.permille(20) {
            self.listen(n, 2);
        }
    }

    fn send(&mut self, n: usize) {
        let Some(level) = self.voices.next_level(n) else { return };
        let capture = self.voices.stage.elapsed();
        let mut sent = self.voices.microphones[n].source.frame(capture, false, 1).remove(0);
        sent.received.extensions.audio_level = Some(level);
        let plain = sent.payload.clone();
        if self.random.permille(700) {
            sent = redundant(&sent, &self.before[n]);
        }
        self.before[n].push(plain);
        let most = self.random.below(3) as usize;
        let old = self.before[n].len().saturating_sub(most);
        self.before[n].drain(..old);
        let (lost, twice, jitter) = self.network;
        if self.random.permille(lost) {
            return;
        }
        for _ in 0..=u64::from(self.random.permille(twice)) {
            self.count += 1;
            let arrival = self.voices.stage.now + ms(self.random.below(jitter + 1));
            self.flying.insert((arrival, self.count), (track(n), sent.clone()));
        }
    }

    fn arrive(&mut self, time: std::time::Duration) {
        let until = self.voices.stage.now + time;
        while let Some(next) = self.flying.first_entry().filter(|next| next.key().0 <= until) {
            let ((arrival, _), (track, sent)) = next.remove_entry();
            let stage = &mut self.voices.stage;
            stage.advance(arrival.saturating_duration_since(stage.now));
            if !self.muted.contains(&(track.0 as usize)) {
                self.arrived.entry(track).or_default().insert(sent.received.sequence);
            }
            stage.deliver(track, &sent);
        }
        let stage = &mut self.voices.stage;
        stage.advance(until - stage.now);
    }

    fn check(&self) -> usize {
        let mut interruptions = 0;
        for n in 0..MICROPHONES {
            for listener in 0..LISTENERS {
                let raw = self.voices.stage.raw.get(&sink(n, listener));
                interruptions += self.check_one(track(n), listener, raw.map_or(&[][..], Vec::as_slice));
            }
        }
        interruptions
    }

    /// How often it was interrupted.
    fn check_one(&self, track: TrackId, listener: u32, raw: &[Raw]) -> usize {
        let mut got: Vec<(&Raw, Truth)> = raw.iter().map(|raw| (raw, read(raw))).collect();
        if self.network == (0, 0, 0) {
            let gap_free = |pair: &[Raw]| pair[1].sequence == pair[0].sequence + 1;
            assert!(raw.windows(2).all(gap_free), "in order of arrival");
        }
        got.sort_by_key(|(raw, _)| raw.sequence);
        let arrived = &self.arrived.get(&track);
        let mut interruptions = 0;
        for pair in got.windows(2) {
            let ((was, before), (is, after)) = (pair[0], pair[1]);
            let gap = is.sequence.checked_sub(was.sequence + 1).expect("no number twice");
            assert!(before.input < after.input, "in the order in which it was said: {before:?} {after:?}");
            let between = before.input + 1..after.input;
            let missing = between
                .clone()
                .filter(|input| !arrived.is_some_and(|arrived| arrived.contains(input)))
                .count();
            assert!(gap <= missing as u64, "a gap of {gap} where {missing} were lost: {before:?} {after:?}");
            interruptions += usize::from(gap < between.count() as u64);
            let ticks = u128::from(is.timestamp.wrapping_sub(was.timestamp));
            assert_eq!(ticks, (after.capture - before.capture).as_millis() * 48, "{before:?} {after:?}");
        }
        let red = got.iter().filter(|(raw, _)| raw.codec == CodecKind::Red).count();
        assert!(listener != 0 || red == 0);
        assert!(listener != 1 || red * 2 >= got.len().saturating_sub(100), "most come with redundancy");
        interruptions
    }
}

fn sink(n: usize, listener: u32) -> u32 {
    100 * (listener + 1) + n as u32
}

fn read(raw: &Raw) -> Truth {
    let start = match raw.codec {
        CodecKind::Red => Red::parse(&raw.payload).expect("as it came").primary,
        _ => 0,
    };
    truth(&raw.payload[start + 1..]).expect("the primary block is whole")
}

#[test]
fn on_a_perfect_network_no_receiver_sees_a_gap() {
    let mut interruptions = 0;
    for seed in 0..15 {
        interruptions += Room::new(seed, (0, 0, 0)).run(1_000).check();
    }
    assert!(interruptions > 250, "{interruptions}");
}

#[test]
fn on_a_bad_network_gaps_are_what_was_lost() {
    let mut interruptions = 0;
    for seed in 100..120 {
        interruptions += Room::new(seed, (60, 20, 70)).run(1_000).check();
    }
    assert!(interruptions > 250, "{interruptions}");
}
