//! What a subscriber watches: how many videos, and how large.

use std::collections::BTreeSet;

use clap::ValueEnum;
use client::{MediaKind, Participant, Track, TrackSettings};

/// How a subscriber shows a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Layout {
    /// One large (1280x720) and five small (320x180).
    Speaker,
    /// Nine of 640x360.
    #[value(name = "3x3")]
    Nine,
    /// Sixteen of 320x180.
    #[value(name = "4x4")]
    Sixteen,
    /// Twenty-five of 320x180.
    #[value(name = "5x5")]
    TwentyFive,
    /// All, in the best quality.
    All,
}

impl Layout {
    fn places(self) -> usize {
        match self {
            Self::Speaker => 6,
            Self::Nine => 9,
            Self::Sixteen => 16,
            Self::TwentyFive => 25,
            Self::All => usize::MAX,
        }
    }

    /// In which size the video in this place is shown.
    fn settings(self, place: usize) -> TrackSettings {
        let (width, height) = match (self, place) {
            (Self::All, _) => (0, 0),
            (Self::Speaker, 0) => (1280, 720),
            (Self::Nine, _) => (640, 360),
            _ => (320, 180),
        };
        TrackSettings { width, height, ..TrackSettings::default() }
    }
}

/// What one subscriber watches.
pub struct Watch {
    layout: Layout,
    /// Tracks by publisher.
    sounds: BTreeSet<(String, String)>,
    /// The same by place; `None`: it is free.
    pictures: Vec<Option<(String, String)>>,
}

/// A track to subscribe, and what is wanted of it if it is a video.
pub type Wish = (String, Option<TrackSettings>);

impl Watch {
    pub fn new(layout: Layout) -> Self {
        Self { layout, sounds: BTreeSet::new(), pictures: Vec::new() }
    }

    /// Somebody came or changed: tracks that are to be subscribed now. All sounds, and as many pictures as there are places for.
    pub fn see(&mut self, participant: &Participant) -> Vec<Wish> {
        let of = |track: &Track| (participant.identity.clone(), track.sid.clone());
        self.keep(&participant.identity, &participant.tracks.iter().map(of).collect());
        let mut wishes = Vec::new();
        for track in &participant.tracks {
            match track.kind {
                MediaKind::Audio if self.sounds.insert(of(track)) => wishes.push((track.sid.clone(), None)),
                MediaKind::Video => wishes.extend(self.picture(of(track))),
                MediaKind::Audio => {}
            }
        }
        wishes
    }

    /// Somebody left, whose places are free.
    pub fn lose(&mut self, identity: &str) {
        self.keep(identity, &BTreeSet::new());
    }

    /// Of this publisher's tracks there are only these any more.
    fn keep(&mut self, identity: &str, there: &BTreeSet<(String, String)>) {
        let stays = |track: &(String, String)| track.0 != identity || there.contains(track);
        self.sounds.retain(stays);
        for place in &mut self.pictures {
            place.take_if(|track| !stays(track));
        }
    }

    fn picture(&mut self, track: (String, String)) -> Option<Wish> {
        if self.pictures.iter().flatten().any(|known| *known == track) {
            return None;
        }
        let free = self.pictures.iter().position(Option::is_none).unwrap_or(self.pictures.len());
        if free >= self.layout.places() {
            return None;
        }
        self.pictures.resize(self.pictures.len().max(free + 1), None);
        let sid = track.1.clone();
        self.pictures[free] = Some(track);
        Some((sid, Some(self.layout.settings(free))))
    }

    /// Every track has another id: the session of ours or of the room is another one.
    pub fn forget(&mut self) {
        *self = Self::new(self.layout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(number: usize) -> Participant {
        let track = |kind, letter| Track {
            sid: format!("TR_{letter}{number}"),
            kind,
            name: String::new(),
            muted: false,
        };
        Participant {
            sid: format!("PA_{number}"),
            identity: number.to_string(),
            name: String::new(),
            metadata: String::new(),
            attributes: Default::default(),
            tracks: vec![track(MediaKind::Audio, 'a'), track(MediaKind::Video, 'v')],
        }
    }

    #[test]
    fn all_sounds_are_heard_and_as_many_pictures_seen_as_there_are_places() {
        for (layout, places) in [(Layout::Speaker, 6), (Layout::Nine, 9), (Layout::All, 30)] {
            let mut watch = Watch::new(layout);
            let wishes: Vec<Wish> = (0..30).flat_map(|number| watch.see(&publisher(number))).collect();
            assert_eq!(wishes.iter().filter(|(_, settings)| settings.is_none()).count(), 30);
            let sizes: Vec<u32> =
                wishes.iter().filter_map(|(_, settings)| Some(settings.as_ref()?.width)).collect();
            assert_eq!(sizes.len(), places);
            assert_eq!(
                sizes[0],
                match layout {
                    Layout::Speaker => 1280,
                    Layout::Nine => 640,
                    _ => 0,
                }
            );
            assert!(watch.see(&publisher(0)).is_empty(), "each once");
        }
    }
    #[test]
    fn the_place_of_who_leaves_or_comes_back_with_other_tracks_is_free() {
        let mut watch = Watch::new(Layout::Speaker);
        let pictures = |wishes: Vec<Wish>| -> Vec<(String, u32)> {
            let sized = |(sid, settings): Wish| Some((sid, settings?.width));
            wishes.into_iter().filter_map(sized).collect()
        };
        let first: Vec<_> = (0..6).flat_map(|number| pictures(watch.see(&publisher(number)))).collect();
        assert_eq!(first.len(), 6);
        let mut anew = publisher(3);
        anew.tracks[1].sid = "TR_anew".to_owned();
        assert_eq!(pictures(watch.see(&anew)), [("TR_anew".to_owned(), 320)]);
        assert!(pictures(watch.see(&publisher(7))).is_empty(), "all places are taken");
        watch.lose("0");
        assert_eq!(pictures(watch.see(&publisher(7))), [("TR_v7".to_owned(), 1280)], "the large one");
    }
}
