//! One client: a publisher that plays the recording, or a subscriber that watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use client::{ConnectError, Event, Events, MediaKind, Options, Publication, Room, Timing, clip};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::Crowd;
use super::watch::Watch;

/// How long joining may take, and each attempt to come back.
const PATIENCE: Duration = Duration::from_secs(15);
/// The voice, in -dBov.
const LOUD: u8 = 30;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Publisher,
    Subscriber,
}

/// How a join went.
pub struct Outcome {
    pub joined: Result<Person, ConnectError>,
}

/// The recording, taken apart once.
pub struct Media {
    /// By layer.
    pictures: Vec<Vec<Bytes>>,
    voice: Vec<Bytes>,
}

impl Media {
    pub fn new() -> Self {
        Self { pictures: (0..clip::LAYERS.len()).map(clip::pictures).collect(), voice: clip::voice() }
    }
}

/// A client that is in its room.
pub struct Person {
    pub role: Role,
    room: Arc<Room>,
    seen: Arc<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

/// What its events told.
#[derive(Default)]
pub struct Seen {
    pub reconnects: AtomicU64,
    /// The session is over, which nobody asked for.
    pub ended: AtomicBool,
}

/// What a publisher is asked for.
struct Wanted {
    /// A keyframe, by layer.
    keyframes: [AtomicBool; clip::LAYERS.len()],
    layers: [AtomicBool; clip::LAYERS.len()],
}

pub async fn join(crowd: &Crowd, token: &str, role: Role) -> Outcome {
    let options = Options {
        publish: if role == Role::Publisher { crowd.tracks() } else { Vec::new() },
        auto_subscribe: false,
        packets: false,
        transport: Some(crowd.transport.clone()),
        timeout: PATIENCE,
        ..Options::default()
    };
    let joined = Room::connect(&crowd.url, token, options).await;
    Outcome { joined: joined.map(|(room, events)| Person::start(crowd, role, room, events)) }
}

impl Person {
    fn start(crowd: &Crowd, role: Role, room: Room, events: Events) -> Self {
        let (room, seen) = (Arc::new(room), Arc::<Seen>::default());
        let mut tasks = Vec::new();
        match role {
            Role::Publisher => {
                let wanted = Arc::new(Wanted {
                    keyframes: Default::default(),
                    layers: std::array::from_fn(|_| AtomicBool::new(true)),
                });
                for publication in room.published() {
                    let (publication, media) = (publication.clone(), crowd.media.clone());
                    let (wanted, single) = (wanted.clone(), crowd.options.no_simulcast);
                    tasks.push(match publication.kind() {
                        MediaKind::Audio => tokio::spawn(speak(publication, media)),
                        MediaKind::Video => tokio::spawn(show(publication, media, wanted, single)),
                    });
                }
                tasks.push(tokio::spawn(obey(events, wanted, seen.clone())));
            }
            Role::Subscriber => {
                let watch = Watch::new(crowd.options.layout);
                tasks.push(tokio::spawn(look(room.clone(), events, watch, seen.clone())));
            }
        }
        Self { role, room, seen, tasks }
    }

    pub fn timing(&self) -> Timing {
        self.room.timing()
    }

    pub fn counters(&self) -> client::Counters {
        self.room.counters()
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Leaves; who does not get an answer is gone with the process.
    pub async fn leave(self) {
        for task in self.tasks {
            task.abort();
            // It was aborted.
            let _ = task.await;
        }
        if let Ok(room) = Arc::try_unwrap(self.room) {
            let _ = timeout(GOODBYE, room.leave()).await;
        }
    }
}

async fn speak(publication: Publication, media: Arc<Media>) {
    let mut tick = interval(clip::SOUND);
    let mut timestamp = rand::random::<u32>();
    for packet in media.voice.iter().cycle() {
        tick.tick().await;
        publication.send_with_level(packet.clone(), timestamp, Some(LOUD));
        timestamp = timestamp.wrapping_add(clip::SOUND_UNITS);
    }
}

/// `single`: only the largest layer, as the only one.
async fn show(publication: Publication, media: Arc<Media>, wanted: Arc<Wanted>, single: bool) {
    let begin = Instant::now();
    let mut timestamp = rand::random::<u32>();
    let top = clip::LAYERS.len() - 1;
    let layers: Vec<usize> = if single { vec![top] } else { (0..=top).collect() };
    let mut places = vec![0; layers.len()];
    for number in 0u32.. {
        sleep_until(begin + clip::PICTURE * number).await;
        for (layer, (recorded, place)) in layers.iter().zip(&mut places).enumerate() {
            // The recording has one keyframe, at its beginning.
            if wanted.keyframes[layer].swap(false, Relaxed) {
                *place = 0;
            }
            if !wanted.layers[layer].load(Relaxed) {
                *place = 0;
                continue;
            }
            let pictures = &media.pictures[*recorded];
            publication.send_layer(layer as u8, pictures[*place].clone(), timestamp);
            *place = (*place + 1) % pictures.len();
        }
        timestamp = timestamp.wrapping_add(clip::PICTURE_UNITS);
    }
}

/// What a publisher is told.
async fn obey(events: Events, wanted: Arc<Wanted>, seen: Arc<Seen>) {
    while let Ok(event) = events.recv().await {
        match event {
            Event::KeyframeRequested { layer, .. } => {
                if let Some(keyframe) = wanted.keyframes.get(usize::from(layer)) {
                    keyframe.store(true, Relaxed);
                }
            }
            Event::LayersWanted { layers, .. } => {
                for (layer, on) in wanted.layers.iter().zip(layers) {
                    layer.store(on, Relaxed);
                }
            }
            event => seen.note(&event),
        }
    }
}

/// What a subscriber does with what it is told.
async fn look(room: Arc<Room>, events: Events, mut watch: Watch, seen: Arc<Seen>) {
    while let Ok(event) = events.recv().await {
        match &event {
            Event::Participant(participant) => {
                let wishes = watch.see(participant);
                let tracks: Vec<String> = wishes.iter().map(|(track, _)| track.clone()).collect();
                if !tracks.is_empty() {
                    room.subscribe(tracks, true).await;
                }
                for (track, settings) in wishes {
                    if let Some(settings) = settings {
                        room.set_track_settings(vec![track], settings).await;
                    }
                }
            }
            Event::ParticipantLeft { identity } => watch.lose(identity),
            Event::Reconnecting { full: true, .. } => watch.forget(),
            _ => {}
        }
        seen.note(&event);
    }
}

impl Seen {
    fn note(&self, event: &Event) {
        match event {
            Event::Reconnected { .. } => {
                self.reconnects.fetch_add(1, Relaxed);
            }
            Event::Ended(_) => self.ended.store(true, Relaxed),
            _ => {}
        }
    }
}
