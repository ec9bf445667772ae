//! Who has the floor.

use std::time::Duration;

use crate::support::*;
use crate::voices::*;

const SPEECH: Sound = Sound::Speech(0);
const ROOM: Sound = Sound::Level(70);
const SEEDS: u64 = 40;

/// Microphone 0 has spoken for three seconds and has the floor; the others are open.
fn after_a_speech(microphones: usize, seed: u64) -> Voices {
    let mut voices = Voices::new(microphones, seed);
    (1..microphones).for_each(|n| _ = voices.sound(n, ROOM));
    voices.sound(0, SPEECH).play(3_000);
    assert_eq!(voices.dominant(), Some(0), "seed {seed}");
    voices
}

#[test]
fn the_first_to_speak_has_the_floor_within_about_a_second() {
    let mut total = Duration::ZERO;
    for seed in 0..SEEDS {
        let mut voices = Voices::new(3, seed);
        voices.sound(0, ROOM).sound(1, ROOM).sound(2, ROOM).play(1_000 + seed * 20);
        assert_eq!(voices.dominant(), None);
        let took = voices.sound(1, SPEECH).until_dominant(1);
        assert!(took > ms(400) && took < ms(1_300), "seed {seed}: {took:?}");
        total += took;
    }
    assert!(total / (SEEDS as u32) < ms(950), "{:?}", total / SEEDS as u32);
}

#[test]
fn a_new_speaker_takes_the_floor_within_about_a_second() {
    let mut total = Duration::ZERO;
    for seed in 0..SEEDS {
        for before in [ROOM, Sound::Nothing] {
            let mut voices = after_a_speech(3, seed);
            let took = voices.sound(0, before).sound(2, SPEECH).until_dominant(2);
            assert!(took < ms(1_500), "seed {seed}: {took:?}");
            total += took / 2;
        }
    }
    assert!(total / (SEEDS as u32) < ms(1_000), "{:?}", total / SEEDS as u32);
}

#[test]
fn a_quiet_voice_takes_the_floor_as_well() {
    for seed in 0..SEEDS {
        let mut voices = after_a_speech(2, seed);
        let took = voices.sound(0, ROOM).sound(1, Sound::Speech(-14)).until_dominant(1);
        assert!(took < ms(2_500), "seed {seed}: {took:?}");
    }
}

#[test]
fn doors_and_clicks_do_not_take_the_floor() {
    for seed in 0..SEEDS {
        for quiet in [false, true] {
            let mut voices = after_a_speech(2, seed);
            if quiet {
                voices.sound(0, ROOM).play(1_500);
            }
            for _ in 0..4 {
                voices.sound(1, Sound::Door).nobody_takes_the_floor_for(700);
                voices.sound(1, Sound::Level(1)).nobody_takes_the_floor_for(40);
                voices.sound(1, ROOM).nobody_takes_the_floor_for(500);
            }
        }
    }
}

#[test]
fn an_mhm_does_not_take_the_floor() {
    for seed in 0..SEEDS {
        for quiet in [false, true] {
            let mut voices = after_a_speech(2, seed);
            if quiet {
                voices.sound(0, ROOM).play(1_500);
            }
            for _ in 0..4 {
                voices.sound(1, Sound::Mhm).nobody_takes_the_floor_for(1_000 + seed * 20);
            }
        }
    }
}

#[test]
fn in_silence_the_last_to_speak_keeps_the_floor_and_nothing_runs() {
    for silence in [ROOM, Sound::Nothing, Sound::Level(127)] {
        let mut voices = after_a_speech(2, 1);
        voices.sound(0, silence).sound(1, silence);
        voices.nobody_takes_the_floor_for(60_000);
        assert_eq!(voices.dominant(), Some(0));
        assert_eq!(voices.stage.media.poll_timeout(), None);
    }
}

#[test]
fn a_microphone_that_hisses_never_has_the_floor() {
    for seed in 0..SEEDS {
        for (level, spread, lost) in [(20, 0, 0), (30, 2, 0), (35, 3, 0), (30, 2, 50), (40, 3, 20)] {
            let mut voices = Voices::new(2, seed);
            voices.lost = lost;
            voices.sound(0, Sound::Noise(level, spread)).sound(1, ROOM);
            voices.nobody_takes_the_floor_for(6_000);
            voices.sound(1, SPEECH).until_dominant(1);
            voices.sound(1, ROOM).nobody_takes_the_floor_for(6_000);
        }
    }
}

#[test]
fn a_fan_that_is_switched_on_does_not_take_the_floor() {
    for seed in 0..SEEDS {
        let mut voices = after_a_speech(2, seed);
        voices.sound(0, ROOM).sound(1, Sound::Noise(30, 2));
        voices.nobody_takes_the_floor_for(8_000);
    }
}

#[test]
fn who_speaks_over_the_noise_of_a_bad_microphone_has_the_floor() {
    for seed in 0..SEEDS {
        let mut voices = Voices::new(2, seed);
        voices.sound(0, Sound::Noise(48, 2)).sound(1, ROOM).play(3_000);
        voices.sound(0, Sound::Speech(6)).until_dominant(0);
    }
}

#[test]
fn the_floor_does_not_flutter_while_one_speaks_and_another_agrees() {
    for seed in 0..SEEDS {
        let mut voices = after_a_speech(3, seed);
        for n in 0..12 {
            voices.sound(1 + n % 2, Sound::Mhm).nobody_takes_the_floor_for(1_300);
        }
    }
}

#[test]
fn two_who_speak_at_once_take_the_floor_from_each_other_seldom() {
    let (mut changes, mut last) = (0, None);
    for seed in 0..SEEDS {
        let mut voices = after_a_speech(2, seed);
        voices.sound(1, SPEECH);
        for _ in 0..30_000 / 20 {
            voices.frame();
            changes += u32::from(last.is_some() && last != voices.dominant());
            last = voices.dominant();
        }
    }
    let every = 30 * SEEDS as u32 / changes.max(1);
    assert!(every >= 5, "every {every} s");
}

#[test]
fn who_mutes_or_leaves_has_the_floor_no_more() {
    let mut voices = after_a_speech(2, 1);
    voices.stage.mute(track(0), true);
    assert_eq!(voices.dominant(), None);
    let mut voices = after_a_speech(2, 1);
    voices.stage.media.remove_publication(voices.stage.now, track(0));
    assert_eq!(voices.dominant(), None);
    voices.sound(0, Sound::Nothing).sound(1, SPEECH).until_dominant(1);
}

/// Clients order speakers by level.
#[test]
fn nobody_is_told_louder_than_the_dominant_speaker() {
    let mut voices = after_a_speech(2, 1);
    voices.told();
    voices.sound(0, Sound::Speech(-6)).sound(1, Sound::Level(5)).play(3_000);
    assert_eq!(voices.dominant(), Some(0), "the other one is a tone");
    let told: Vec<_> = voices.told().into_iter().flat_map(|(_, speakers)| speakers).collect();
    let level = |n| told.iter().rfind(|speaker| speaker.participant == participant(n)).unwrap().level;
    assert!(level(0) > level(1), "{told:?}");
}

#[test]
fn it_is_known_who_spoke_when() {
    let mut voices = after_a_speech(2, 1);
    let end = voices.stage.now;
    voices.sound(0, ROOM).play(5_000);
    let spoke = voices.stage.media.spoke(participant(0)).unwrap();
    assert!(spoke + ms(300) > end && spoke < end + ms(1_200), "{:?}", spoke - voices.stage.begin);
    assert_eq!(voices.stage.media.spoke(participant(1)), None);
    voices.stage.mute(track(0), true);
    assert_eq!(voices.stage.media.spoke(participant(0)), Some(spoke), "also when it is muted by now");
    voices.stage.media.remove_publication(voices.stage.now, track(0));
    assert_eq!(voices.stage.media.spoke(participant(0)), None);
}
