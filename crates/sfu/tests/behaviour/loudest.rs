//! Whose microphones are forwarded in a large room.

use base::model::TrackSource;
use base::{CodecKind, TrackId};
use sfu::{LOUDEST, Layers};

use crate::support::*;
use crate::voices::*;

const SPEECH: Sound = Sound::Speech(0);
const ROOM: Sound = Sound::Level(70);

/// A room of so many open microphones in which nobody speaks, and Ben, who listens to all of them.
fn large_room(microphones: usize) -> Voices {
    let mut voices = Voices::new(microphones, 3);
    for n in 0..microphones {
        voices.sound(n, ROOM);
        voices.stage.subscribe(track(n), ear(n));
    }
    voices.play(3_000);
    (0..microphones).for_each(|n| _ = voices.stage.take(ear(n)));
    voices
}

/// Where Ben hears microphone `n`.
fn ear(n: usize) -> u32 {
    1_000 + n as u32
}

/// What a receiver that allows no loss makes of it: every number once and in order, and timestamps that tell when each
/// packet was captured.
fn assert_sound(got: &[Got]) {
    assert_gap_free(got);
    for pair in got.windows(2) {
        let [was, is] = [pair[0], pair[1]].map(|got| got.truth.unwrap().capture);
        let ticks = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert_eq!(u128::from(ticks), (is - was).as_millis() * 48, "{pair:?}");
    }
}

#[test]
fn a_small_room_forwards_everybody() {
    let mut voices = large_room(LOUDEST);
    voices.sound(2, SPEECH).play(2_000);
    for n in 0..LOUDEST {
        assert_eq!(voices.stage.take(ear(n)).len(), 100, "{n}");
    }
}

#[test]
fn a_large_room_forwards_so_many_and_no_more() {
    let mut voices = large_room(20);
    voices.play(1_000);
    let heard = (0..20).filter(|n| !voices.stage.take(ear(*n)).is_empty()).count();
    assert_eq!(heard, LOUDEST);
    for n in 0..20 {
        voices.sound(n, SPEECH);
    }
    // Twenty at once: who loses its place and who takes it may both be heard in one frame, and that is all.
    voices.play(4_000);
    let heard: usize = (0..20).map(|n| voices.stage.take(ear(n)).len()).sum();
    assert!((200 * LOUDEST..200 * LOUDEST + 40).contains(&heard), "{heard}");
}

#[test]
fn who_begins_to_speak_is_heard_from_the_first_word_on() {
    let mut voices = large_room(20);
    for n in [19, 3, 12, 7] {
        voices.stage.take(ear(n));
        voices.sound(n, SPEECH);
        // Its first packet of speech: until there it is the room.
        while voices.microphones[n].level.is_none_or(|level| level > 50) {
            voices.frame();
        }
        let got = voices.stage.take(ear(n));
        let first = got.last().expect("the first word is there").truth.unwrap().capture;
        assert_eq!(first, voices.stage.elapsed() - ms(20));
        voices.play(1_000);
        assert!(voices.stage.take(ear(n)).len() == 50, "and all that follows");
        voices.sound(n, ROOM).play(100);
    }
}

#[test]
fn who_joins_and_speaks_is_not_heard_while_all_places_are_held_by_others_as_loud() {
    let mut voices = large_room(LOUDEST);
    (0..LOUDEST).for_each(|n| _ = voices.sound(n, Sound::Level(25)));
    voices.play(100);
    voices.open(3);
    voices.stage.subscribe(track(LOUDEST), ear(LOUDEST));
    voices.sound(LOUDEST, Sound::Level(25)).play(100);
    assert_eq!(voices.stage.take(ear(LOUDEST)).len(), 0, "not its first packet either");
    assert_eq!(voices.forwarded(), (0..LOUDEST).collect::<Vec<_>>());
    voices.sound(LOUDEST, Sound::Level(18)).play(100);
    assert_eq!(voices.stage.take(ear(LOUDEST)).len(), 5, "until it is clearly louder");
}

#[test]
fn who_unmutes_and_speaks_at_once_is_heard() {
    let mut voices = large_room(20);
    for n in 0..LOUDEST - 1 {
        voices.sound(n, SPEECH);
    }
    voices.play(2_000);
    voices.stage.mute(track(19), true);
    voices.play(1_000);
    voices.stage.mute(track(19), false);
    voices.stage.take(ear(19));
    voices.sound(19, Sound::Level(25)).play(200);
    assert_eq!(voices.stage.take(ear(19)).len(), 10);
}

#[test]
fn the_pauses_and_ends_of_words_are_held() {
    let mut voices = large_room(LOUDEST + 1);
    let newcomer = (0..=LOUDEST).find(|n| !voices.forwarded().contains(n)).unwrap();
    let others: Vec<usize> = voices.forwarded();
    for round in 0..6 {
        for (sound, millis) in [(Sound::Level(25), 400), (ROOM, 440)] {
            others.iter().for_each(|n| _ = voices.sound(*n, sound));
            voices.sound(newcomer, if round < 2 { ROOM } else { Sound::Noise(24, 2) });
            voices.play(millis);
        }
    }
    for n in others.clone() {
        assert_eq!(voices.stage.take(ear(n)).len(), 6 * 42, "{n}");
    }
    assert!(voices.stage.take(ear(newcomer)).is_empty());
    others.iter().for_each(|n| _ = voices.sound(*n, ROOM));
    voices.sound(newcomer, SPEECH).play(700);
    assert!(!voices.stage.take(ear(newcomer)).is_empty(), "the hold is over");
}

#[test]
fn who_is_clearly_louder_takes_the_place_of_the_softest_at_once() {
    let mut voices = large_room(LOUDEST + 1);
    let newcomer = (0..=LOUDEST).find(|n| !voices.forwarded().contains(n)).unwrap();
    for (at, n) in voices.forwarded().into_iter().enumerate() {
        voices.sound(n, Sound::Level(20 + at as u8));
    }
    let softest = *voices.forwarded().last().unwrap();
    voices.play(100);
    voices.sound(newcomer, Sound::Level(22)).play(40);
    assert!(!voices.forwarded().contains(&newcomer), "louder, not clearly");
    voices.sound(newcomer, Sound::Level(17)).play(20);
    assert!(voices.forwarded().contains(&newcomer));
    voices.play(20);
    assert!(!voices.forwarded().contains(&softest));
}

#[test]
fn a_hissing_microphone_does_not_keep_others_out() {
    let mut voices = large_room(20);
    (0..16).for_each(|n| _ = voices.sound(n, Sound::Noise(25, 2)));
    voices.play(4_000);
    for n in 16..20 {
        voices.sound(n, SPEECH);
    }
    voices.play(1_000);
    let forwarded = voices.forwarded();
    assert!((16..20).all(|n| forwarded.contains(&n)), "{forwarded:?}");
    voices.play(20_000);
    let forwarded = voices.forwarded();
    assert!((16..20).all(|n| forwarded.contains(&n)), "{forwarded:?}");
}

#[test]
fn an_interruption_leaves_no_gap_and_time_goes_on() {
    let mut voices = large_room(20);
    // They speak one after the other, in two rounds.
    for n in (0..20).chain(0..20) {
        voices.sound(n, SPEECH).play(900).sound(n, ROOM);
    }
    for n in 0..20 {
        let got = voices.stage.take(ear(n));
        assert!(got.len() > 45 && got.len() < 1_000, "{n} was interrupted: {}", got.len());
        assert_sound(&got);
    }
}

#[test]
fn a_straggler_from_before_the_interruption_finds_its_place_and_one_from_after_it_does_not() {
    let mut voices = large_room(LOUDEST + 1);
    let newcomer = (0..=LOUDEST).find(|n| !voices.forwarded().contains(n)).unwrap();
    // The one that is longest silent goes first: of those who never spoke, the last.
    let loser = *voices.forwarded().last().unwrap();
    let next = |voices: &mut Voices| {
        let capture = voices.stage.elapsed();
        let mut sent = voices.microphones[loser].source.frame(capture, false, 1).remove(0);
        sent.received.extensions.audio_level = Some(70);
        voices.stage.advance(ms(20));
        sent
    };
    let [before, missing, after, withheld, late] = std::array::from_fn(|_| next(&mut voices));
    voices.sound(loser, Sound::Nothing);
    voices.stage.take(ear(loser));
    for sent in [&before, &after] {
        voices.stage.deliver(track(loser), sent);
    }
    voices.sound(newcomer, SPEECH).play(400);
    let end = next(&mut voices);
    for sent in [&withheld, &end, &late, &missing] {
        voices.stage.deliver(track(loser), sent);
    }
    let got = voices.stage.take(ear(loser));
    let numbers: Vec<u64> = got.iter().map(|each| each.sequence - got[0].sequence).collect();
    let inputs: Vec<u64> = got.iter().map(|got| got.truth.unwrap().input).collect();
    let first = before.received.sequence;
    assert_eq!(inputs, [first, first + 2, first + 1]);
    assert_eq!(numbers, [0, 2, 1]);
}

#[test]
fn stragglers_of_a_stream_that_begins_while_it_is_withheld_are_withheld_too() {
    let mut voices = large_room(LOUDEST + 1);
    let n = (0..=LOUDEST).find(|n| !voices.forwarded().contains(n)).unwrap();
    voices.sound(n, Sound::Nothing);
    voices.stage.media.set_relay(track(n), 1, Some(Layers::default().with(0)));
    // Its sender is replaced, and numbers begin anew.
    let source = &mut voices.microphones[n].source;
    (source.ssrc, source.sequence) = (77, 1_000);
    let mut sent: Vec<Sent> =
        (0..4).map(|at| source.frame(ms(4_000 + at * 20), false, 1).remove(0)).collect();
    sent.iter_mut().for_each(|sent| sent.received.extensions.audio_level = Some(70));
    sent.swap(1, 2);
    for sent in &sent {
        voices.stage.deliver(track(n), sent);
        assert!(voices.stage.relayed.is_empty(), "{}", sent.received.sequence);
    }
}

#[test]
fn only_microphones_with_levels_take_part() {
    let mut voices = large_room(20);
    let rest = [
        (TrackSource::ScreenShareAudio, Some(5)),
        (TrackSource::Unknown, Some(5)),
        (TrackSource::Microphone, None),
    ];
    for (at, (source, level)) in rest.into_iter().enumerate() {
        let n = 50 + at;
        let stage = &mut voices.stage;
        stage.media.set_publication(stage.now, track(n), spec(n, source)).unwrap();
        stage.subscribe(track(n), ear(n));
        let mut sender = Source::audio(stage.begin);
        for _ in 0..100 {
            let mut sent = sender.frame(voices.stage.elapsed(), false, 1).remove(0);
            sent.received.extensions.audio_level = level;
            voices.stage.deliver(track(n), &sent);
            voices.frame();
        }
        assert_eq!(voices.stage.take(ear(n)).len(), 100, "{source:?}");
        let microphones = voices.forwarded().into_iter().filter(|n| *n < 50).count();
        assert_eq!(microphones, LOUDEST, "{source:?} takes no place");
    }
}

#[test]
fn a_stream_whose_levels_begin_later_is_interrupted_without_a_gap() {
    let mut voices = large_room(20);
    let n = 50;
    let stage = &mut voices.stage;
    stage.media.set_publication(stage.now, track(n), spec(n, TrackSource::Microphone)).unwrap();
    stage.subscribe(track(n), ear(n));
    let mut sender = Source::audio(stage.begin);
    for at in 0..100 {
        let mut sent = sender.frame(voices.stage.elapsed(), false, 1).remove(0);
        sent.received.extensions.audio_level = match at {
            0..40 => None,
            40..80 => Some(70),
            _ => Some(15),
        };
        voices.stage.deliver(track(n), &sent);
        voices.frame();
    }
    let got = voices.stage.take(ear(n));
    assert_eq!(got.len(), 60);
    assert_sound(&got);
}

#[test]
fn a_free_place_goes_to_who_spoke_last() {
    let mut voices = large_room(20);
    for n in 0..10 {
        voices.sound(n, SPEECH).play(900).sound(n, ROOM);
    }
    voices.play(1_000);
    assert_eq!(voices.forwarded(), [4, 5, 6, 7, 8, 9]);
    voices.stage.mute(track(6), true);
    voices.play(40);
    assert_eq!(voices.forwarded(), [3, 4, 5, 7, 8, 9]);
    voices.stage.media.remove_publication(voices.stage.now, track(8));
    voices.play(40);
    assert_eq!(voices.forwarded(), [2, 3, 4, 5, 7, 9]);
}

#[test]
fn the_number_of_places_can_be_changed() {
    let mut voices = large_room(20);
    for places in [2, 10, 64, 1, 0, 3] {
        voices.stage.media.set_loudest(voices.stage.now, places);
        voices.play(40);
        let expected = if places == 0 { 20 } else { places.min(20) };
        assert_eq!(voices.forwarded().len(), expected);
    }
}

#[test]
fn silence_of_those_without_a_place_costs_nobody_anything_and_no_timer_runs() {
    let mut voices = large_room(20);
    voices.sound(0, SPEECH).play(1_000).sound(0, ROOM).play(3_000);
    assert_eq!(voices.stage.media.poll_timeout(), None);
    let drops = voices.stage.media.snapshot(voices.stage.now).publications[19].drops;
    assert!(drops.withheld > 300, "{drops:?}");
}

#[test]
fn a_muted_place_is_free_and_saying_it_again_changes_nothing() {
    let mut voices = large_room(20);
    voices.sound(19, SPEECH).play(500).sound(19, ROOM).play(100);
    for _ in 0..5 {
        voices.stage.mute(track(19), false);
        voices.play(20);
        assert!(voices.forwarded().contains(&19));
    }
}

#[test]
fn redundant_packets_take_part_as_well() {
    let mut voices = large_room(20);
    let mut sent = voices.microphones[19].source.frame(voices.stage.elapsed(), false, 1).remove(0);
    sent.received.extensions.audio_level = Some(20);
    let sent = redundant(&sent, &[vec![1; 50]]);
    assert_eq!(sent.received.codec, CodecKind::Red);
    voices.stage.deliver(track(19), &sent);
    assert_eq!(voices.stage.take(ear(19)).len(), 1);
    assert_eq!(voices.stage.media.key(TrackId(19)), voices.stage.media.key(track(19)));
}
