//! A server with one publisher and one subscriber: `sfu::Media` with its allocation forwards a camera under our congestion
//! control, paced by the worker's pacer; its queue and retransmission are modelled on the worker's (`docs/pacing.md`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base::model::TrackSource;
use base::ring::PayloadRing;
use base::{Bitrate, Codec, CodecKind, MediaKind, Mid, ParticipantId, TrackId};
use rtc::cc::{Config, Controller};
use rtc::streams::TransportFeedbackHistory;
use sfu::{Event, Media, PublicationSpec, Sink, TrackKey};
use sim::{Endpoint, Transmit};
use wire::ext::Extensions;
use wire::media::Received;
use wire::rtcp;

use super::camera::{Camera, OVERHEAD, SIZES};
use super::node::{Kind, Payload, SenderLog, Wire};
use super::pacer::{Pacer, Resending};
use super::queue::Queue;
use super::repair::Repair;
use super::viewer::Shown;

const TRACK: TrackId = TrackId(1);
const SOUND: TrackId = TrackId(2);
const FIRST_SEQUENCE: u64 = 1;
/// An estimate is told anew when it has moved by this share, as a peer does.
const TOLD_SHARE: f64 = 0.05;
/// Sound: a payload of so many bytes each 20 ms, 40 kbit/s with what packets add.
const SOUND_INTERVAL: Duration = Duration::from_millis(20);
const SOUND_BYTES: usize = 56;
const PADDING_BYTES: (usize, usize) = (100, 290);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Subscriber {
    Eye,
    Ear,
}

impl Sink for Subscriber {
    type Receiver = ();

    fn receiver(&self) {}
}

/// The server.
pub struct Forwarder {
    begins: Instant,
    camera: Camera,
    media: Media<Subscriber>,
    key: TrackKey,
    sound_key: TrackKey,
    ring: PayloadRing,
    controller: Controller,
    history: TransportFeedbackHistory,
    pacer: Pacer,
    wanted: Bitrate,
    /// The estimate as it was told last.
    told: Bitrate,
    sound_at: Instant,
    sounds: u64,
    /// Bytes of sound that is to leave at once.
    sound: VecDeque<usize>,
    queue: Queue,
    repair: Repair,
    log: SenderLog,
}

impl Forwarder {
    /// # Errors
    /// The room is full, which one track does not do.
    pub fn new(begins: Instant, camera: Camera) -> Result<Self, String> {
        let (mut media, config) = (Media::new(7), Config::default());
        media.set_estimate(begins, (), Some(config.start));
        let sizes = if camera.streams() == 3 { SIZES.to_vec() } else { vec![SIZES[2]] };
        let mut publish = |track, layers, sizes, source| {
            let audio = source == TrackSource::Microphone;
            let kind = if audio { MediaKind::Audio } else { MediaKind::Video };
            let sink = if audio { Subscriber::Ear } else { Subscriber::Eye };
            let spec = PublicationSpec { participant: ParticipantId(1), kind, layers, sizes, source };
            let key = media.set_publication(begins, track, spec)?;
            let codecs = [CodecKind::Vp8, CodecKind::Vp9, CodecKind::Opus].map(codec);
            media.set_subscription(begins, track, sink, &codecs, FIRST_SEQUENCE)?;
            Ok(key)
        };
        let full = |full: sfu::Full| full.to_string();
        let key = publish(TRACK, camera.streams(), sizes, TrackSource::Camera).map_err(full)?;
        let sound_key = publish(SOUND, 1, Vec::new(), TrackSource::Microphone).map_err(full)?;
        Ok(Self {
            begins,
            camera,
            media,
            key,
            sound_key,
            ring: PayloadRing::new(1 << 20, 1 << 12),
            controller: Controller::new(begins, config),
            history: TransportFeedbackHistory::new(begins),
            pacer: Pacer::new(begins, config.start, Bitrate(0)),
            wanted: Bitrate(0),
            told: config.start,
            sound_at: begins,
            sounds: 1_000,
            sound: VecDeque::new(),
            queue: Queue::default(),
            repair: Repair::new(),
            log: SenderLog::default(),
        })
    }

    pub fn log(&self) -> &SenderLog {
        &self.log
    }

    fn note(&mut self, now: Instant) {
        let target = self.controller.target();
        if !self.log.note(now, target) {
            return;
        }
        let moved = target.0.abs_diff(self.told.0) as f64 > TOLD_SHARE * self.told.0 as f64;
        if moved {
            self.told = target;
            self.pacer.set(now, target, self.wanted);
            self.media.set_estimate(now, (), Some(target));
        }
    }

    fn forward(&mut self, now: Instant, received: &Received, payload: &[u8]) {
        let Some(slot) = self.ring.push(payload) else { return };
        let mut out = Vec::new();
        let received = Received { arrival: now, ..received.clone() };
        self.media.forward(now, self.key, &received, (&[], payload), slot, &mut out);
        let spatial = match received.codec {
            CodecKind::Vp9 => payload.get(3).map_or(0, |byte| byte >> 1 & 7),
            _ => received.layer,
        };
        for decision in out {
            let rewrite = decision.rewrite;
            let size = rewrite.payload_len(payload.len()) + OVERHEAD;
            self.queue.push(Shown {
                sequence: rewrite.sequence,
                timestamp: rewrite.timestamp,
                begins: decision.begins,
                ends: rewrite.marker,
                spatial,
                size,
            });
        }
    }

    /// The publisher's next packet of sound arrives.
    fn hear(&mut self, now: Instant) {
        self.sound_at += SOUND_INTERVAL;
        self.sounds += 1;
        let payload = [0; SOUND_BYTES];
        let Some(slot) = self.ring.push(&payload) else { return };
        let received = Received {
            mid: Mid::new(b"1").expect("one letter"),
            media: MediaKind::Audio,
            layer: 0,
            simulcast: false,
            codec: CodecKind::Opus,
            ssrc: 200,
            sequence: self.sounds,
            timestamp: (self.sounds * 960) as u32,
            marker: false,
            retransmitted: false,
            extensions: Extensions::default(),
            payload: 0..payload.len(),
            arrival: now,
        };
        let mut out = Vec::new();
        self.media.forward(now, self.sound_key, &received, (&[], &payload), slot, &mut out);
        let sizes = out.iter().map(|decision| decision.rewrite.payload_len(payload.len()) + OVERHEAD);
        self.sound.extend(sizes);
    }

    /// Whole frames that wait too long are dropped.
    fn trim(&mut self, now: Instant) {
        self.pacer.review(now);
        let Self { pacer, queue, .. } = self;
        if queue.trim(|bytes| pacer.time(bytes)) {
            self.media.interrupt(now, TRACK, Subscriber::Eye);
        }
    }

    /// What is to be sent again, if any of it may leave.
    fn resend(&mut self, now: Instant) -> Option<Shown> {
        while self.repair.is_asked() {
            let resending = self.pacer.resending(now, !self.queue.is_empty());
            if resending == Resending::Later {
                return None;
            }
            let shown = self.repair.poll()?;
            if self.pacer.is_narrow() && self.is_superseded(&shown) {
                continue;
            }
            if resending == Resending::Now {
                self.repair.sent_again(&shown);
                return Some(shown);
            }
            self.media.keyframe_wanted(now, TRACK, Subscriber::Eye);
        }
        None
    }

    /// A keyframe has left since, or waits.
    fn is_superseded(&self, packet: &Shown) -> bool {
        self.repair.keyframe().max(self.queue.keyframe()).is_some_and(|keyframe| packet.sequence < keyframe)
    }

    fn drive_media(&mut self, now: Instant) {
        while self.media.poll_timeout().is_some_and(|at| at <= now) {
            self.media.handle_timeout(now);
        }
        while let Some(event) = self.media.poll_event() {
            match event {
                Event::RequestKeyframe { layer, .. } => self.camera.ask(now, layer),
                Event::Wanted { bitrate, .. } => {
                    self.wanted = bitrate;
                    self.pacer.set(now, self.told, bitrate);
                    self.controller.set_wanted(now, bitrate);
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, now: Instant, size: usize, kind: Kind, shown: Option<Shown>) -> Transmit<Payload> {
        match kind {
            Kind::Padding => {}
            Kind::Again => self.pacer.on_resent(now, size),
            _ => self.pacer.on_sent(now, size),
        }
        let tag = self.controller.on_sent(now, size);
        let number = self.history.register(now, size, tag);
        let wire = shown.map_or(Wire::Numbered(number), |shown| Wire::Shown(number, shown));
        self.log.send(now, size, kind, wire)
    }
}

fn codec(kind: CodecKind) -> Codec {
    Codec {
        kind,
        payload_type: 96,
        rtx: None,
        nack: true,
        pli: true,
        fir: false,
        transport_cc: true,
        remb: false,
        ccfb: false,
    }
}

impl Endpoint for Forwarder {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, _: usize, payload: Payload) {
        let Payload::Answer(bytes) = payload else { return };
        for packet in rtcp::packets(&bytes) {
            match packet {
                rtcp::Packet::TransportFeedback(feedback) => {
                    let mut results = Vec::new();
                    let summary = self.history.receive(now, &feedback, &mut results);
                    self.controller.on_feedback(now, &results, summary.rtt);
                }
                rtcp::Packet::Nack(nack) => {
                    let rtt = self.controller.rtt();
                    nack.sequences().for_each(|low| self.repair.ask(now, low, rtt));
                }
                rtcp::Packet::Pli { .. } => self.media.keyframe_wanted(now, TRACK, Subscriber::Eye),
                _ => {}
            }
        }
        self.note(now);
        self.drive_media(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now < self.begins {
            return;
        }
        while self.sound_at <= now {
            self.hear(now);
        }
        while self.camera.poll_timeout() <= now {
            for (received, payload) in self.camera.poll(now) {
                self.forward(now, &received, &payload);
            }
            self.trim(now);
        }
        if self.controller.poll_timeout().is_some_and(|at| at <= now) {
            self.controller.handle_timeout(now);
        }
        self.note(now);
        self.drive_media(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        if self.log.targets.is_empty() {
            return Some(self.begins);
        }
        let waiting = !self.queue.is_empty() || self.repair.is_asked();
        self.pacer.settle(waiting);
        let room = self.pacer.poll_timeout();
        let own = [self.controller.poll_timeout(), self.media.poll_timeout(), room];
        own.into_iter().flatten().chain([self.camera.poll_timeout(), self.sound_at]).min()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        if now < self.begins {
            return None;
        }
        if let Some(size) = self.sound.pop_front() {
            return Some(self.send(now, size, Kind::Control, None));
        }
        if let Some(shown) = self.resend(now) {
            return Some(self.send(now, shown.size, Kind::Again, Some(shown)));
        }
        let probe = self.controller.poll_probe(now);
        let open = self.pacer.is_open(now) && self.pacer.has_room(now);
        if let Some(shown) = self.queue.pop(open || probe.is_some()) {
            self.repair.sent(now, shown);
            return Some(self.send(now, shown.size, Kind::Media(shown.timestamp), Some(shown)));
        }
        let (least, most) = PADDING_BYTES;
        Some(self.send(now, probe?.bytes.clamp(least, most), Kind::Padding, None))
    }
}
