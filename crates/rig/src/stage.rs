//! One publisher of sound and picture and its subscribers, as values: what happens in a tenth of a second.

use std::time::{Duration, Instant};

use base::model::TrackSource;
use base::ring::{PayloadRing, Slot};
use base::{MediaKind, ParticipantId};
use rig::{AUDIO, Track, VIDEO};
use rtc::{Clock, SendIndex, WallClock};
use sfu::{Media, PublicationSpec, TrackKey};
use wire::media::{Decision, Received, Rewrite};

use crate::pairs::{Datagrams, Pair, Plant};

/// Receivers of the publisher's two tracks.
pub const SUBSCRIBERS: usize = 20;
/// What is done at a time.
pub const SLICE: Duration = Duration::from_millis(100);
const FRAME: Duration = Duration::from_nanos(33_333_333);
const PACKETS_PER_FRAME: usize = 10;
const VIDEO_BYTES: usize = 1_100;
const SOUND: Duration = Duration::from_millis(20);
const SOUND_BYTES: usize = 100;
/// Every so many-th packet of picture is lost on its way to a subscriber.
const LOSE_EVERY: usize = 50;

/// A receiving stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sink {
    pub subscriber: usize,
    pub section: SendIndex,
}

impl sfu::Sink for Sink {
    type Receiver = usize;

    fn receiver(&self) -> usize {
        self.subscriber
    }
}

/// A packet that the server has decrypted, with its datagram.
pub struct Opened {
    pub received: Received,
    pub datagram: Vec<u8>,
}

/// What one receiver gets of one frame or packet of sound.
pub struct Run {
    pub at: Instant,
    pub subscriber: usize,
    pub entries: Vec<(SendIndex, Slot, Rewrite)>,
}

/// A sealed packet. `media` is `None` of a retransmission.
pub struct Sealed {
    pub at: Instant,
    pub subscriber: usize,
    pub media: Option<MediaKind>,
    pub bytes: std::ops::Range<usize>,
}

/// Everything.
pub struct Stage {
    pub now: Instant,
    pub publisher: Pair,
    pub subscribers: Vec<Pair>,
    pub media: Media<Sink>,
    pub tracks: [TrackKey; 2],
    pub rings: [PayloadRing; 2],
    /// Where packets are sealed.
    pub out: Vec<u8>,
    pub lengths: Vec<usize>,
    pub decisions: Vec<Decision<Sink>>,
    frames: u64,
    sounds: u64,
    epoch: Instant,
    wall: WallClock,
}

/// Index of a track by what it is.
pub fn index(media: MediaKind) -> usize {
    match media {
        MediaKind::Audio => 0,
        MediaKind::Video => 1,
    }
}

impl Stage {
    pub fn new(start: Instant) -> Self {
        let tracks = [Track::single(1, AUDIO), Track::single(2, VIDEO)];
        let plant = Plant::new(start);
        let publisher = plant.pair(start, 0, &rig::publish(&tracks));
        let subscribe = |number| plant.pair(start, number, &rig::subscribe(&tracks));
        let subscribers: Vec<Pair> = (1..=SUBSCRIBERS as u16).map(subscribe).collect();
        let now = start + Duration::from_secs(2);
        let mut media = Media::new(7);
        let keys = tracks.clone().map(|track| {
            let spec = PublicationSpec {
                participant: ParticipantId(1),
                kind: track.kind.media,
                layers: 1,
                sizes: Vec::new(),
                source: TrackSource::Camera,
            };
            media.set_publication(now, track.id, spec).expect("there is room")
        });
        for (subscriber, pair) in subscribers.iter().enumerate() {
            for (section, track) in rig::subscribe(&tracks).send.iter().zip(&tracks) {
                let sink = Sink {
                    subscriber,
                    section: pair.server.send_index(section.mid).expect("it was negotiated"),
                };
                media.set_subscription(now, track.id, sink, &section.codecs, 1_000).expect("there is room");
            }
        }
        let rings = [PayloadRing::with_id(1, 16 << 10, 128), PayloadRing::with_id(2, 1 << 20, 1_024)];
        Self {
            now,
            publisher,
            subscribers,
            media,
            tracks: keys,
            rings,
            out: Vec::with_capacity(4 << 20),
            lengths: Vec::new(),
            decisions: Vec::new(),
            frames: 0,
            sounds: 0,
            epoch: now,
            wall: plant.clock,
        }
    }

    /// What the publisher sends in the next slice.
    pub fn publish(&mut self) -> Datagrams {
        let (mut datagrams, end) = (Vec::new(), self.now + SLICE);
        loop {
            let frame = self.epoch + FRAME * self.frames as u32;
            let sound = self.epoch + SOUND * self.sounds as u32;
            if frame.min(sound) >= end {
                return datagrams;
            }
            if sound <= frame {
                self.publish_sound(sound, &mut datagrams);
            } else {
                self.publish_frame(frame, &mut datagrams);
            }
        }
    }

    fn publish_sound(&mut self, at: Instant, out: &mut Datagrams) {
        let mut payload = Vec::new();
        rig::opus(SOUND_BYTES, &mut payload);
        let rewrite = Rewrite {
            audio_level: Some(0x80 | 30),
            ..Rewrite::plain(1_000 + self.sounds, 960 * self.sounds as u32, AUDIO.codec)
        };
        self.publish_packet(at, 0, &rewrite, &payload, out);
        self.sounds += 1;
    }

    fn publish_frame(&mut self, at: Instant, out: &mut Datagrams) {
        for packet in 0..PACKETS_PER_FRAME {
            let mut payload = Vec::new();
            rig::vp8(self.frames, packet == 0, self.frames == 0, VIDEO_BYTES, &mut payload);
            let sequence = 1_000 + self.frames * PACKETS_PER_FRAME as u64 + packet as u64;
            let rewrite = Rewrite {
                marker: packet == PACKETS_PER_FRAME - 1,
                ..Rewrite::plain(sequence, 3_000 * self.frames as u32, VIDEO.codec)
            };
            self.publish_packet(at, 1, &rewrite, &payload, out);
        }
        self.frames += 1;
    }

    fn publish_packet(
        &mut self,
        at: Instant,
        track: usize,
        rewrite: &Rewrite,
        payload: &[u8],
        out: &mut Datagrams,
    ) {
        let client = &mut self.publisher.client;
        let section = client.send_index(rig::mids(track, 1)[0]).expect("it was negotiated");
        client.set_clock(section, Clock { ntp: self.wall.ntp(at), rtp: rewrite.timestamp, at });
        let mut datagram = Vec::new();
        let sent = client.send(at, section, rewrite, Slot::default(), payload, None, &mut datagram);
        assert!(sent.is_some(), "the publisher is connected");
        out.push((at, datagram));
    }

    /// Decided packets by receiver: those of one frame are one run.
    pub fn runs(&self, decided: &[(Instant, Decision<Sink>)]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for moment in decided.chunk_by(|a, b| a.0 == b.0) {
            for subscriber in 0..SUBSCRIBERS {
                let of_subscriber = moment.iter().filter(|(_, d)| d.sink.subscriber == subscriber);
                let entries = of_subscriber.map(|(_, d)| (d.sink.section, d.slot, d.rewrite)).collect();
                runs.push(Run { at: moment[0].0, subscriber, entries });
            }
        }
        runs
    }

    /// The subscribers receive what was sealed, except some packets of picture, and answer. Returns what their clients sent,
    /// each with its subscriber.
    pub fn answer(&mut self, sealed: &[Sealed]) -> Vec<(usize, Datagrams)> {
        let end = self.now + SLICE;
        let mut answers = Vec::new();
        for (subscriber, pair) in self.subscribers.iter_mut().enumerate() {
            let mut said = Vec::new();
            let mut of_pair = sealed.iter().filter(|sealed| sealed.subscriber == subscriber).peekable();
            let (mut at, mut number) = (self.now, subscriber);
            while at <= end {
                while let Some(sealed) = of_pair.next_if(|sealed| sealed.at <= at) {
                    number += 1;
                    let lost = sealed.media == Some(MediaKind::Video) && number.is_multiple_of(LOSE_EVERY);
                    if !lost {
                        pair.deliver(at, &mut self.out[sealed.bytes.clone()]);
                    }
                }
                pair.client.handle_timeout(at);
                pair.drain_client(at, &mut said);
                at += Duration::from_millis(5);
            }
            answers.push((subscriber, said));
        }
        answers
    }

    /// Timers, and what the server and its publisher have to say.
    pub fn finish(&mut self) {
        self.now += SLICE;
        let mut said = Vec::new();
        self.publisher.client.handle_timeout(self.now);
        self.publisher.drain_client(self.now, &mut said);
        for (at, mut datagram) in said {
            self.publisher.server.receive(at, self.publisher.at_client, &mut datagram);
        }
        while let Some(event) = self.publisher.server.poll_event() {
            if let rtc::Event::SenderReport { mid, layer, ntp, rtp, at } = event {
                let track = usize::from(rig::mids(1, 1)[0] == mid);
                self.media.sender_report(self.tracks[track], layer, ntp, rtp, at);
            }
        }
        self.media.handle_timeout(self.now);
        while let Some(event) = self.media.poll_event() {
            if let sfu::Event::Clock { sink, clock: sfu::Clock { ntp, rtp, at } } = event {
                let peer = &mut self.subscribers[sink.subscriber].server;
                peer.set_clock(sink.section, rtc::Clock { ntp, rtp, at });
            }
        }
        for pair in self.subscribers.iter_mut().chain([&mut self.publisher]) {
            pair.server.handle_timeout(self.now);
            pair.drain_server(self.now);
        }
    }
}
