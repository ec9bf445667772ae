//! Whole workers, ticked by hand, with a publisher and subscribers on sockets of this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::model::TrackSource;
use base::ring::Slot;
use base::{NtpTime, ParticipantId, PeerId, RoomId};
use contract::media::{self, Command, Event, RelayedTrack, Sections, WorkerHandle};
use rig::{AUDIO, Track, VIDEO};
use rtc::{Clock, IceCredentials, IceRole, Peer, WallClock};
use udp::{Batch, Options, Slab, Socket};
use wire::media::Rewrite;
use worker::{ByHand, Mesh, Metrics, WorkerConfig};

use crate::pairs::config;
use crate::paths;

/// Receivers of the publisher's two tracks.
const SUBSCRIBERS: u64 = 10;
const STEP: Duration = Duration::from_millis(1);
/// Steps in a slice.
const STEPS: u64 = 100;
const SOUND_EVERY: u64 = 20;
const FRAME_EVERY: u64 = 33;
const ROOM: RoomId = RoomId(1);
const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A client with a socket.
struct Person {
    peer: Peer,
    socket: Socket,
    batch: Batch,
    scratch: Vec<u8>,
}

/// A worker and what belongs to it.
struct Desk {
    worker: ByHand,
    handle: WorkerHandle,
    metrics: Arc<Metrics>,
    events: async_channel::Receiver<Event>,
}

/// The workers and everybody.
pub struct Hall {
    now: Instant,
    /// Milliseconds since the beginning.
    step: u64,
    /// The publisher is on the first, the subscribers are on the last.
    workers: Vec<Desk>,
    clock: WallClock,
    publisher: Person,
    subscribers: Vec<Person>,
    slab: Slab,
    sequences: [u64; 2],
    frames: u64,
}

impl Hall {
    /// With one worker or two. Of two, one has the publisher and the other all subscribers.
    pub fn new(now: Instant, workers: usize) -> Self {
        let (server, clients) = (config(1), config(2));
        let clock = WallClock { at: now, ntp: NtpTime(1 << 60) };
        let mesh = Mesh::default();
        let workers = (0..workers).map(|index| Desk::new(index, &server, &mesh)).collect();
        let person = |number: u64| Person::new(now, clock, &clients, number);
        let mut hall = Self {
            now,
            step: 0,
            workers,
            clock,
            publisher: person(0),
            subscribers: (1..=SUBSCRIBERS).map(person).collect(),
            slab: Slab::new(),
            sequences: [1_000; 2],
            frames: 0,
        };
        hall.introduce(clients.certificate().fingerprint());
        hall
    }

    fn introduce(&mut self, fingerprint: rtc::Fingerprint) {
        let tracks = [Track::single(1, AUDIO), Track::single(2, VIDEO)];
        let (publish, subscribe) = (rig::publish(&tracks), rig::subscribe(&tracks));
        let last = self.workers.len() - 1;
        for (number, person) in (0..).zip([&mut self.publisher].into_iter().chain(&mut self.subscribers)) {
            let (sections, at) = if number == 0 { (&publish, 0) } else { (&subscribe, last) };
            let desk = &self.workers[at];
            let commands = person.introduce(self.now, number, fingerprint, sections, &desk.handle);
            commands.into_iter().for_each(|command| desk.tell(command));
        }
        for track in tracks.iter().filter(|_| last > 0) {
            let source = RelayedTrack {
                from: 0,
                participant: ParticipantId(1),
                media: track.kind.media,
                source: TrackSource::Camera,
                layers: 1,
                sizes: Vec::new(),
            };
            self.workers[0].tell(Command::SetRelay { room: ROOM, track: track.id, to: vec![last] });
            let (room, track) = (ROOM, track.id);
            self.workers[last].tell(Command::SetRelayed { room, track, source: Some(source) });
        }
    }

    /// A tenth of a second; how many packets of media the workers sent.
    pub fn slice(&mut self) -> usize {
        let before = self.sent();
        for _ in 0..STEPS {
            self.now += STEP;
            self.step += 1;
            self.publish();
            for desk in &mut self.workers {
                paths::counted_in_tick(&mut desk.worker, self.now);
                while desk.events.try_recv().is_ok() {}
            }
            for person in self.subscribers.iter_mut().chain([&mut self.publisher]) {
                person.receive(self.now, &mut self.slab);
            }
        }
        (self.sent() - before) as usize
    }

    fn sent(&self) -> u64 {
        let sent = |desk: &Desk| desk.metrics.value("stoa_worker_media_packets_sent_total", None);
        self.workers.iter().map(sent).sum()
    }

    fn publish(&mut self) {
        if self.step.is_multiple_of(SOUND_EVERY) {
            let mut payload = Vec::new();
            rig::opus(100, &mut payload);
            let timestamp = 48 * self.step as u32;
            let rewrite = Rewrite {
                audio_level: Some(0x80 | 30),
                ..Rewrite::plain(self.sequences[0], timestamp, AUDIO.codec)
            };
            self.send(0, &rewrite, &payload);
        }
        if self.step.is_multiple_of(FRAME_EVERY) {
            for packet in 0..10 {
                let mut payload = Vec::new();
                // A keyframe now and then, for those whose path has only just become wide enough.
                let keyframe = self.frames.is_multiple_of(30);
                rig::vp8(self.frames, packet == 0, keyframe, 1_100, &mut payload);
                let rewrite = Rewrite {
                    marker: packet == 9,
                    ..Rewrite::plain(self.sequences[1], 90 * self.step as u32, VIDEO.codec)
                };
                self.send(1, &rewrite, &payload);
            }
            self.frames += 1;
        }
        self.publisher.flush(self.now);
    }

    fn send(&mut self, track: usize, rewrite: &Rewrite, payload: &[u8]) {
        let (now, person) = (self.now, &mut self.publisher);
        let Some(to) = person.peer.destination().filter(|_| person.peer.can_send()) else { return };
        let section = person.peer.send_index(rig::mids(track, 1)[0]).expect("it was negotiated");
        let clock = Clock { ntp: self.clock.ntp(now), rtp: rewrite.timestamp, at: now };
        person.peer.set_clock(section, clock);
        let buffer = person.batch.buffer();
        person.peer.send(now, section, rewrite, Slot::default(), payload, None, buffer);
        person.batch.commit(to, None);
        self.sequences[track] += 1;
    }
}

impl Desk {
    fn new(index: usize, server: &Arc<rtc::Config>, mesh: &Mesh) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (tell, events) = async_channel::bounded(10_000);
        let config = WorkerConfig {
            index,
            bind: SocketAddr::new(IP, 0),
            candidates: Vec::new(),
            rtc: server.clone(),
            seed: 1,
            commands: 1_000,
            metrics: metrics.clone(),
            mesh: mesh.clone(),
            loudest: 0,
        };
        let (handle, worker) = worker::by_hand(config, tell).expect("a socket on this machine");
        Self { worker, handle, metrics, events }
    }

    fn tell(&self, command: Command) {
        assert!(self.handle.try_send(command), "the queue has room");
    }
}

impl Person {
    fn new(now: Instant, clock: WallClock, config: &Arc<rtc::Config>, number: u64) -> Self {
        let options = Options { coalesce: false, ..Options::default() };
        let socket = Socket::bind(SocketAddr::new(IP, 0), &options).expect("a socket on this machine");
        let role = IceRole::Full {
            local: credentials('c', number),
            candidates: vec![socket.local_addr()],
            controlling: true,
        };
        let peer = Peer::new(now, clock, config, role, number);
        Self { peer, socket, batch: Batch::default(), scratch: Vec::new() }
    }

    /// Tells it about the worker; returns what the worker is to be told about it.
    fn introduce(
        &mut self,
        now: Instant,
        number: u64,
        fingerprint: rtc::Fingerprint,
        sections: &Sections,
        worker: &WorkerHandle,
    ) -> [Command; 3] {
        let plain = |credentials: IceCredentials| media::IceCredentials {
            ufrag: credentials.ufrag,
            password: credentials.password,
        };
        let (receive, send) = rig::mirrored(sections);
        self.peer.set_sections(now, &receive, &send);
        let theirs = worker.info.fingerprint.0;
        self.peer.set_remote(now, credentials('s', number), theirs, rtc::DtlsRole::Client);
        self.peer.add_remote_candidate(now, worker.info.candidates[0]);
        let peer = PeerId(number + 1);
        [
            Command::AddPeer {
                peer,
                room: ROOM,
                participant: ParticipantId(number + 1),
                local: plain(credentials('s', number)),
            },
            Command::SetRemote {
                peer,
                remote: plain(credentials('c', number)),
                fingerprint: media::Fingerprint(fingerprint),
                role: media::DtlsRole::Server,
            },
            Command::SetSections { peer, sections: sections.clone() },
        ]
    }

    fn receive(&mut self, now: Instant, slab: &mut Slab) {
        let count = self.socket.receive(slab).expect("a socket that works");
        for index in 0..count {
            if let Some(datagram) = slab.get(index) {
                self.peer.receive(now, datagram.source, datagram.bytes);
            }
        }
        if count > 0 || self.peer.poll_timeout().is_some_and(|due| due <= now) {
            self.peer.handle_timeout(now);
            self.flush(now);
        }
        while self.peer.poll_event().is_some() {}
    }

    fn flush(&mut self, now: Instant) {
        while let Some(to) = self.peer.poll_transmit(now, &mut self.scratch) {
            self.batch.push(to, None, &self.scratch);
        }
        self.socket.send(&self.batch);
        self.batch.clear();
    }
}

fn credentials(side: char, number: u64) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{side}{number:05}"),
        password: format!("a password of side {side} {number:08}"),
    }
}
