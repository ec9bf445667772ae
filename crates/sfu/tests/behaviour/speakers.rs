//! Who is said to speak.

use std::time::Duration;

use base::model::{Speaker, TrackSource};
use base::{MediaKind, ParticipantId, TrackId};
use sfu::{Event, PublicationSpec};

use crate::support::*;

const SPEECH: u8 = 20;
const SILENCE: u8 = 127;

/// A room with a microphone of Anna, and one of somebody else.
struct Voices {
    stage: Stage,
    sources: Vec<(TrackId, Source)>,
}

const DORA: ParticipantId = ParticipantId(11);

impl Voices {
    fn new() -> Self {
        let mut stage = Stage::new();
        let mut sources = Vec::new();
        for (track, participant) in [(TrackId(1), ANNA), (TrackId(2), DORA)] {
            let spec = PublicationSpec {
                participant,
                kind: MediaKind::Audio,
                layers: 1,
                sizes: vec![],
                source: TrackSource::Microphone,
            };
            stage.media.set_publication(stage.now, track, spec).unwrap();
            sources.push((track, Source::audio(stage.begin)));
        }
        Self { stage, sources }
    }

    /// Both send for so long, at these levels; `None` sends nothing.
    fn sound(&mut self, time: Duration, levels: [Option<u8>; 2]) -> &mut Self {
        for _ in 0..time.as_millis() / 20 {
            for ((track, source), level) in self.sources.iter_mut().zip(levels) {
                let Some(level) = level else { continue };
                let mut sent = source.frame(self.stage.now - self.stage.begin, false, 1).remove(0);
                sent.received.extensions.audio_level = Some(level);
                self.stage.deliver(*track, &sent);
            }
            self.stage.advance(ms(20));
        }
        self
    }

    fn told(&mut self) -> Vec<(Duration, Vec<Speaker>)> {
        let events = std::mem::take(&mut self.stage.events);
        let told = events.into_iter().filter_map(|(at, event)| match event {
            Event::Speakers(speakers) => Some((at, speakers)),
            _ => None,
        });
        told.collect()
    }
}

#[test]
fn speech_is_told_soon_and_its_end_is_told() {
    let mut voices = Voices::new();
    voices.sound(ms(1_000), [Some(SPEECH), Some(SILENCE)]);
    let told = voices.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0 < ms(300), "{:?}", told[0].0);
    assert_eq!((told[0].1[0].participant, told[0].1[0].active), (ANNA, true));
    assert!(told[0].1[0].level > 0.5 && told[0].1[0].level <= 1.0);
    voices.sound(ms(2_000), [Some(SILENCE), Some(SILENCE)]);
    let told = voices.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].1, [Speaker { participant: ANNA, level: 0.0, active: false }]);
    assert!(told[0].0 > ms(1_400) && told[0].0 < ms(2_200), "{:?}", told[0].0);
}

#[test]
fn a_click_is_not_speech() {
    let mut voices = Voices::new();
    for _ in 0..5 {
        voices.sound(ms(40), [Some(2), Some(SILENCE)]).sound(ms(960), [Some(SILENCE), Some(SILENCE)]);
    }
    assert!(voices.told().is_empty());
}

#[test]
fn the_pauses_between_words_end_nothing() {
    let mut voices = Voices::new();
    for _ in 0..10 {
        voices.sound(ms(300), [Some(SPEECH), None]).sound(ms(300), [Some(70), None]);
    }
    assert_eq!(voices.told().len(), 1);
}

#[test]
fn a_microphone_that_stops_sending_stops_speaking() {
    let mut voices = Voices::new();
    voices.sound(ms(600), [Some(SPEECH), None]);
    voices.sound(ms(2_000), [None, None]);
    let told = voices.told();
    assert!(!told.last().unwrap().1[0].active);
    assert_eq!(voices.stage.media.poll_timeout(), None, "and then nothing is left to do");
}

#[test]
fn a_muted_speaker_stops_with_the_next_telling() {
    let mut voices = Voices::new();
    voices.sound(ms(1_000), [Some(SPEECH), None]);
    voices.told();
    voices.stage.mute(TrackId(1), true);
    voices.sound(ms(500), [Some(SPEECH), None]);
    let told = voices.told();
    assert_eq!(told[0].1, [Speaker { participant: ANNA, level: 0.0, active: false }]);
    assert_eq!(told.len(), 1);
}

#[test]
fn a_speaker_that_unpublishes_stops() {
    let mut voices = Voices::new();
    voices.sound(ms(1_000), [Some(SPEECH), None]);
    voices.told();
    voices.stage.media.remove_publication(voices.stage.now, TrackId(1));
    voices.stage.advance(ms(500));
    assert!(!voices.told()[0].1[0].active);
}

#[test]
fn speakers_are_told_at_most_every_half_second_and_only_on_change() {
    let mut voices = Voices::new();
    for n in 0..20u8 {
        voices.sound(ms(250), [Some(SPEECH + n % 3 * 6), Some(if n % 8 < 4 { SPEECH } else { SILENCE })]);
    }
    let told = voices.told();
    assert!(told.len() > 3);
    for pair in told.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= ms(500), "{pair:?}");
    }
    voices.sound(ms(3_000), [Some(SPEECH), Some(SILENCE)]);
    voices.told();
    voices.sound(ms(3_000), [Some(SPEECH), Some(SILENCE)]);
    assert!(voices.told().is_empty(), "nothing changed");
}

#[test]
fn the_louder_voice_has_the_higher_level() {
    let mut voices = Voices::new();
    voices.sound(ms(1_500), [Some(30), Some(10)]);
    let speakers: Vec<Speaker> = voices.told().into_iter().flat_map(|(_, speakers)| speakers).collect();
    let level = |who| speakers.iter().rfind(|speaker| speaker.participant == who).unwrap().level;
    assert!(level(DORA) > level(ANNA) + 0.2, "{speakers:?}");
}

#[test]
fn the_level_byte_is_passed_on_with_its_voice_bit() {
    let mut stage = Stage::new();
    let key = stage.publish(MICROPHONE, MediaKind::Audio, 1);
    stage.subscribe(MICROPHONE, BEN);
    let mut sent = Source::audio(stage.begin).frame(ms(0), false, 1).remove(0);
    sent.received.extensions.audio_level = Some(0x80 | 42);
    sent.received.extensions.abs_capture_time = Some(99);
    let mut out = Vec::new();
    stage.media.forward(stage.now, key, &sent.received, (&[], &sent.payload), Default::default(), &mut out);
    assert_eq!((out[0].rewrite.audio_level, out[0].rewrite.abs_capture_time), (Some(0x80 | 42), Some(99)));
}
