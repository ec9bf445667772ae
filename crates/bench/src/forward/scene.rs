//! Who is there: rooms, publishers with what they play, subscribers with what they want.

use base::model::TrackSettings;
use base::{MediaKind, ParticipantId, RoomId, TrackId};
use rig::{AUDIO, Track, VIDEO};

use super::pattern::Pattern;

/// Everybody, in the order in which they connect.
#[derive(Clone, Default)]
pub struct Scene {
    pub connections: Vec<Connection>,
    tracks: u64,
}

/// One connection. Who publishes and subscribes has two.
#[derive(Clone)]
pub struct Connection {
    pub room: RoomId,
    pub participant: ParticipantId,
    pub role: Role,
}

/// What a connection is for.
#[derive(Clone)]
pub enum Role {
    Publishes(Vec<Published>),
    Subscribes(Subscriber),
}

/// A track and what is played on each of its layers, lowest first.
#[derive(Clone)]
pub struct Published {
    pub track: Track,
    pub patterns: Vec<Pattern>,
}

/// What a receiver gets.
#[derive(Clone, Default)]
pub struct Subscriber {
    pub wants: Vec<Want>,
    /// Its line loses packets.
    pub lossy: bool,
}

/// A subscription.
#[derive(Clone)]
pub struct Want {
    pub track: Track,
    pub settings: TrackSettings,
    /// The layer that these settings get; `None`: nothing.
    pub layer: Option<usize>,
}

impl Want {
    /// All that is published of a track.
    pub fn all(track: &Track) -> Self {
        let layer = Some(track.layers.len() - 1);
        Self { track: track.clone(), settings: TrackSettings::default(), layer }
    }

    /// A track shown at this size, or not shown.
    pub fn shown(track: &Track, size: Option<(u32, u32)>) -> Self {
        let settings = TrackSettings { disabled: size.is_none(), size, ..TrackSettings::default() };
        let fills = |size: (u32, u32)| track.layers.iter().position(|layer| layer.1 >= size.1);
        let layer = size.map(|size| fills(size).unwrap_or(track.layers.len() - 1));
        Self { track: track.clone(), settings, layer }
    }
}

impl Scene {
    /// A track of one layer that plays `pattern`.
    pub fn track(&mut self, pattern: &Pattern) -> Published {
        self.tracks += 1;
        let kind = if pattern.media == MediaKind::Audio { AUDIO } else { VIDEO };
        Published { track: Track::single(self.tracks, kind), patterns: vec![pattern.clone()] }
    }

    /// A track of three simulcast layers.
    pub fn simulcast(&mut self, patterns: [Pattern; 3]) -> Published {
        self.tracks += 1;
        Published { track: Track::simulcast(self.tracks), patterns: patterns.into() }
    }

    /// Somebody publishes in `room`.
    pub fn publisher(&mut self, room: u64, published: Vec<Published>) {
        self.connection(room, Role::Publishes(published));
    }

    /// `count` receivers in `room` who all want the same; of all connections every `lossy_every`-th has a bad line (0: none).
    pub fn subscribers(&mut self, room: u64, count: usize, wants: &[Want], lossy_every: usize) {
        for _ in 0..count {
            let lossy = lossy_every > 0 && self.connections.len().is_multiple_of(lossy_every);
            self.connection(room, Role::Subscribes(Subscriber { wants: wants.to_vec(), lossy }));
        }
    }

    fn connection(&mut self, room: u64, role: Role) {
        let participant = ParticipantId(self.connections.len() as u64 + 1);
        self.connections.push(Connection { room: RoomId(room), participant, role });
    }

    /// How many receive this layer of this track.
    pub fn receivers(&self, track: TrackId, layer: usize) -> usize {
        let wants = self.connections.iter().filter_map(|connection| match &connection.role {
            Role::Subscribes(subscriber) => Some(&subscriber.wants),
            Role::Publishes(_) => None,
        });
        wants.flatten().filter(|want| want.track.id == track && want.layer == Some(layer)).count()
    }

    /// One publisher of one track, and its receivers, of whom one in twenty has a bad line.
    pub fn one_to_many(pattern: &Pattern, subscribers: usize) -> Self {
        let mut scene = Self::default();
        let published = scene.track(pattern);
        let wants = [Want::all(&published.track)];
        scene.publisher(1, vec![published]);
        scene.subscribers(1, subscribers, &wants, 20);
        scene
    }
}
