//! One large room over several workers: everybody hears the same few, and is told of each speaker once.

use std::collections::BTreeMap;

use base::model::TrackSource;
use sfu::{LOUDEST, Layers};

use crate::support::*;
use crate::voices::*;

const WORKERS: usize = 3;
/// Microphones on each.
const EACH: usize = 8;
const ALL: usize = WORKERS * EACH;
const SPEECH: Sound = Sound::Speech(0);

struct Spread {
    /// Who has which microphone: number `n` is on worker `n % WORKERS`.
    voices: Voices,
    workers: Vec<Stage>,
    /// What is on its way to another worker: how often its track was interrupted, and the packet.
    crossing: Vec<(usize, usize, u8, Sent)>,
    crossed: BTreeMap<usize, usize>,
}

fn ear(n: usize) -> u32 {
    1_000 + n as u32
}

fn home(n: usize) -> usize {
    n % WORKERS
}

impl Spread {
    /// Everybody has a microphone open, nobody speaks, and on every worker somebody listens to all.
    fn new(seed: u64) -> Self {
        let voices = Voices::new(ALL, seed);
        let mut workers: Vec<Stage> = (0..WORKERS).map(|_| Stage::new()).collect();
        for (at, worker) in workers.iter_mut().enumerate() {
            (worker.begin, worker.now) = (voices.stage.begin, voices.stage.now);
            for n in 0..ALL {
                let spec = spec(n, TrackSource::Microphone);
                if home(n) == at {
                    worker.media.set_publication(worker.now, track(n), spec).unwrap();
                    let others = (0..WORKERS).filter(|other| *other != at);
                    let all = Some(Layers::default().with(0));
                    others.for_each(|other| worker.media.set_relay(track(n), other as u8, all));
                } else {
                    worker.media.set_relayed(worker.now, track(n), spec).unwrap();
                }
                worker.subscribe(track(n), ear(n));
            }
        }
        let mut spread = Self { voices, workers, crossing: Vec::new(), crossed: BTreeMap::new() };
        (0..ALL).for_each(|n| _ = spread.voices.sound(n, Sound::Level(70)));
        spread.play(3_000);
        spread
    }

    fn play(&mut self, millis: u64) {
        (0..millis / 20).for_each(|_| self.frame());
    }

    fn frame(&mut self) {
        // What was sent in the frame before arrives: in the other order, by turns.
        let crossing = std::mem::take(&mut self.crossing);
        for (to, n, interruptions, sent) in crossing {
            let worker = &mut self.workers[to];
            let key = worker.media.key(track(n)).unwrap();
            worker.media.hear_interruptions(key, interruptions);
            worker.deliver(track(n), &sent);
        }
        for n in 0..ALL {
            let Some(level) = self.voices.next_level(n) else { continue };
            let worker = &mut self.workers[home(n)];
            let mut sent = self.voices.microphones[n].source.frame(worker.elapsed(), false, 1).remove(0);
            sent.received.extensions.audio_level = Some(level);
            worker.deliver(track(n), &sent);
            let interruptions = worker.media.interruptions(worker.media.key(track(n)).unwrap());
            for to in worker.relayed.iter() {
                *self.crossed.entry(n).or_default() += 1;
                self.crossing.push((usize::from(to), n, interruptions, sent.clone()));
            }
        }
        self.workers.iter_mut().for_each(|worker| worker.advance(ms(20)));
    }

    /// Whom a listener on each worker hears in the next half second.
    fn heard(&mut self) -> Vec<Vec<usize>> {
        self.workers.iter_mut().for_each(|worker| worker.got.clear());
        self.play(500);
        let heard = |worker: &Stage| worker.got.keys().map(|ear| *ear as usize - 1_000).collect();
        self.workers.iter().map(heard).collect()
    }
}

#[test]
fn who_speaks_is_heard_on_every_worker() {
    for seed in 0..3 {
        let mut spread = Spread::new(seed);
        let mut before = Vec::new();
        for round in 0..6 {
            let speakers: Vec<usize> = (0..3).map(|at| (round * 5 + at * 7) % ALL).collect();
            before.iter().for_each(|n| _ = spread.voices.sound(*n, Sound::Level(70)));
            speakers.iter().for_each(|n| _ = spread.voices.sound(*n, SPEECH));
            spread.play(1_000);
            for heard in spread.heard() {
                assert!(speakers.iter().all(|n| heard.contains(n)), "{speakers:?} {heard:?}");
                assert!(heard.len() <= LOUDEST + 3, "{heard:?}");
            }
            before = speakers;
        }
    }
}

#[test]
fn of_many_who_speak_the_same_are_heard_on_every_worker() {
    for seed in 0..3 {
        let mut spread = Spread::new(seed);
        for n in 0..12 {
            // Six are loud, on all workers, and six are not.
            let louder = if (n as u64 + seed).is_multiple_of(2) { 8 } else { -10 };
            spread.voices.sound(n, Sound::Speech(louder));
        }
        spread.play(4_000);
        spread.workers.iter_mut().for_each(|worker| worker.got.clear());
        spread.crossed.clear();
        spread.play(10_000);
        for worker in &mut spread.workers {
            let packets: Vec<usize> = (0..ALL).map(|n| worker.take(ear(n)).len()).collect();
            let loud = |n: &usize| *n < 12 && (*n as u64 + seed).is_multiple_of(2);
            // Who pauses for longer than the hold lets one of the others in for a moment.
            assert!((0..ALL).filter(loud).all(|n| packets[n] > 470), "{packets:?}");
            assert!(packets.iter().sum::<usize>() < LOUDEST * 500 + 60, "{packets:?}");
        }
        let crossed: usize = spread.crossed.values().sum();
        assert!(crossed < (LOUDEST * 500 + 60) * (WORKERS - 1), "and nothing else crosses: {crossed}");
    }
}

#[test]
fn behind_a_relay_an_interruption_is_no_gap_either() {
    let mut spread = Spread::new(1);
    for n in (0..ALL).chain(0..ALL) {
        spread.voices.sound(n, SPEECH);
        spread.play(700);
        spread.voices.sound(n, Sound::Level(70));
    }
    for worker in &mut spread.workers {
        for n in 0..ALL {
            let got = worker.take(ear(n));
            assert!(got.len() > 40, "{n}");
            assert_gap_free(&got);
        }
    }
}

#[test]
fn a_speaker_is_told_by_its_own_worker_and_is_dominant_on_all() {
    let mut spread = Spread::new(1);
    spread.voices.sound(4, SPEECH);
    spread.play(3_000);
    for (at, worker) in spread.workers.iter_mut().enumerate() {
        assert_eq!(worker.media.dominant(), Some(participant(4)));
        assert!(worker.media.spoke(participant(4)).is_some());
        let told = worker.events.iter().any(|(_, event)| matches!(event, sfu::Event::Speakers(_)));
        assert_eq!(told, at == home(4));
    }
}
