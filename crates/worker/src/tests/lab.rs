//! A worker in virtual time: without sockets, with `rtc`'s full peer behind emulated links as the other sides.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::ring::Slot;
use base::{Codec, CodecKind, ExtensionMap, MediaKind, NtpTime, ParticipantId, PeerId, Rid, RoomId, TrackId};
use contract::media::{
    Command, DtlsRole, Event, Fingerprint, IceCredentials, ReceiveSection, Sections, SendSection,
};
use sim::{Conditions, Link, Schedule};
use wire::media::{Received, Rewrite};

use super::decoder::Decoder;
use super::world::{codec, extensions, mid, mirror_send, rtc_config};
use crate::metrics::Metrics;
use crate::socket::Io;
use crate::tick::{Parts, Worker};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const FRAME: Duration = Duration::from_micros(33_333);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 1], 7_882);
/// What IP and UDP add.
const HEADERS: usize = 28;
/// Rates of the layers of a camera, in kbit/s.
pub(super) const LAYERS: [u64; 3] = [150, 500, 1_700];
/// A keyframe is as long as so many other frames.
const KEYFRAME: usize = 6;

/// What a section of this kind may carry.
fn codecs(media: MediaKind) -> Vec<Codec> {
    if media == MediaKind::Audio {
        return vec![codec(CodecKind::Opus)];
    }
    vec![codec(CodecKind::Vp8), Codec { payload_type: 98, rtx: Some(99), ..codec(CodecKind::H264) }]
}
const PACKET: usize = 1_100;

pub(super) fn link(spec: &str) -> Conditions {
    spec.parse().expect("conditions")
}

pub(super) struct Lab {
    pub(super) now: Instant,
    epoch: Instant,
    pub(super) worker: Worker,
    pub(super) people: Vec<Person>,
    pub(super) events: Vec<Event>,
    /// Messages in which the worker's datagrams would leave.
    pub(super) messages: usize,
    commands: async_channel::Sender<Command>,
    told: async_channel::Receiver<Event>,
    fingerprint: Fingerprint,
}

impl Lab {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let (commands, taken) = async_channel::bounded(4_096);
        let (events, told) = async_channel::bounded(65_536);
        let socket = udp::Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &udp::Options::default());
        let config = rtc_config();
        let fingerprint = Fingerprint(config.certificate().fingerprint());
        let worker = Worker::new(Parts {
            index: 0,
            commands: taken,
            events,
            io: Io::new(socket.expect("a socket"), udp::Poller::new().expect("a poller")),
            config,
            wall: rtc::WallClock { at: now, ntp: NtpTime::from_unix(Duration::from_secs(1_800_000_000)) },
            candidate: SERVER.into(),
            metrics: Arc::new(Metrics::default()),
            mesh: crate::Mesh::default(),
            loudest: sfu::LOUDEST,
            seed: 7,
        });
        Self {
            now,
            epoch: now,
            worker,
            people: Vec::new(),
            events: Vec::new(),
            messages: 0,
            commands,
            told,
            fingerprint,
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        self.commands.try_send(command).expect("there is room");
    }

    /// Somebody joins. The link is the one towards them; the other way is as long, and wide.
    pub(super) fn join(&mut self, down: &str) -> usize {
        let (number, conditions) = (self.people.len(), link(down));
        let up = Conditions { delay: conditions.delay, ..Conditions::default() };
        let person = Person::new((self.epoch, self.now), number, self.fingerprint, [up, conditions]);
        let id = person.id;
        self.command(Command::AddPeer {
            peer: id,
            room: RoomId(1),
            participant: ParticipantId(id.0),
            local: person.server.clone(),
        });
        self.command(Command::SetRemote {
            peer: id,
            remote: person.own.clone(),
            fingerprint: person.fingerprint,
            role: DtlsRole::Server,
        });
        self.people.push(person);
        number
    }

    pub(super) fn connect(&mut self, down: &str) -> usize {
        let person = self.join(down);
        for _ in 0..10_000 {
            self.run(MS);
            if self.people[person].peer.can_send() {
                return person;
            }
        }
        panic!("never connected");
    }

    /// A camera with simulcast (or a single layer: the highest), or a microphone.
    pub(super) fn publish(&mut self, person: usize, track: u64, media: MediaKind, rates: &[u64]) {
        let publisher = &mut self.people[person];
        let ssrc = |layer: usize| 0x1000_0000 + (track as u32) * 16 + layer as u32;
        let rids = ["q", "h", "f"].map(|rid| Rid::new(rid.as_bytes()).expect("a rid"));
        publisher.sections.receive.push(ReceiveSection {
            mid: mid(&format!("t{track}")),
            media,
            codecs: codecs(media),
            extensions: extensions(),
            rids: if rates.len() > 1 { rids[..rates.len()].to_vec() } else { Vec::new() },
            sizes: Vec::new(),
            ssrcs: (0..rates.len()).map(|layer| (ssrc(layer), None)).collect(),
            source: base::model::TrackSource::Camera,
            track: Some(TrackId(track)),
        });
        for (layer, rate) in rates.iter().enumerate() {
            publisher.sources.push(Source::new(self.now, track, layer as u8, media, ssrc(layer), *rate));
        }
        self.update(person);
    }

    pub(super) fn subscribe(&mut self, person: usize, track: u64, media: MediaKind) {
        let mut codecs = codecs(media);
        if self.people[person].remb {
            codecs.iter_mut().for_each(|codec| (codec.remb, codec.transport_cc) = (true, false));
        }
        let ssrc = 0x2000_0000 + (person as u32) * 4_096 + track as u32;
        self.people[person].sections.send.push(SendSection {
            mid: mid(&format!("s{track}")),
            media,
            track: TrackId(track),
            ssrc,
            rtx_ssrc: (media == MediaKind::Video).then_some(ssrc + 0x0100_0000),
            codecs,
            extensions: extensions(),
            cname: "lab".to_owned(),
            strips_trailers: false,
        });
        self.update(person);
    }

    pub(super) fn update(&mut self, person: usize) {
        let person = &mut self.people[person];
        person.update(self.now);
        let command = Command::SetSections { peer: person.id, sections: person.sections.clone() };
        self.command(command);
    }

    /// Lets the time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
            let next = self.people.iter_mut().filter_map(Person::next).chain(self.worker.next_tick(self.now));
            self.now = next.min().unwrap_or(until).clamp(self.now + MS / 10, until.max(self.now + MS / 10));
        }
    }

    fn step(&mut self) {
        let now = self.now;
        let mut arrived = Vec::new();
        for person in &mut self.people {
            person.step(now);
            while let Some(datagram) = person.up.poll_deliver(now) {
                if !person.cut {
                    person.heard_at.get_or_insert(now);
                    arrived.push((person.address, datagram));
                }
            }
        }
        self.worker.virtual_tick(now, &mut arrived);
        let (datagrams, messages) = self.worker.io.take();
        self.messages += messages;
        for (to, datagram) in datagrams {
            let was_there = self.people.iter().any(|person| person.before.contains(&to));
            let Some(person) = self.people.iter_mut().find(|person| person.address == to) else {
                assert!(was_there, "the worker knows nobody else");
                continue;
            };
            person.left.push((now, datagram.len()));
            if person.cut {
                continue;
            }
            person.down.send(now, datagram.len() + HEADERS, datagram);
        }
        while let Ok(event) = self.told.try_recv() {
            self.events.push(event);
        }
    }

    /// Somebody comes back over another network: its address changes, and nothing that was under way arrives.
    pub(super) fn change_network(&mut self, person: usize) {
        let person = &mut self.people[person];
        person.before.push(person.address);
        person.address.set_port(person.address.port() + 1);
        (person.cut, person.heard_at) = (false, None);
        person.peer.replace_candidates(self.now, &[person.address]);
    }

    /// Both sides restart ICE, as after a new offer and its answer.
    pub(super) fn restart_ice(&mut self, person: usize) {
        let (now, server) = (self.now, self.fingerprint);
        let person = &mut self.people[person];
        for credentials in [&mut person.own, &mut person.server] {
            credentials.ufrag.push('r');
        }
        person.peer.restart_ice(now, crate::translate::credentials(&person.own));
        let remote = crate::translate::credentials(&person.server);
        person.peer.set_remote(now, remote, server.0, rtc::DtlsRole::Client);
        person.peer.add_remote_candidate(now, SERVER.into());
        let (peer, local, remote) = (person.id, person.server.clone(), person.own.clone());
        let fingerprint = person.fingerprint;
        self.command(Command::RestartIce { peer, local });
        self.command(Command::SetRemote { peer, remote, fingerprint, role: DtlsRole::Server });
    }

    pub(super) fn estimate(&self, person: usize) -> u64 {
        let key = self.worker.peers.find(self.people[person].id).expect("there");
        self.worker
            .peers
            .get(key)
            .and_then(|peer| peer.rtc.estimate())
            .map_or(0, |estimate| estimate.0 / 1_000)
    }

    /// At which video leaves, in kbit/s.
    pub(super) fn pacing(&self, person: usize) -> u64 {
        let key = self.worker.peers.find(self.people[person].id).expect("there");
        let pacer = self.worker.peers.get(key).and_then(|peer| peer.pacer.as_ref());
        pacer.expect("it is paced").rate().0 / 1_000
    }

    /// Packets, and how long their sending takes.
    pub(super) fn waiting(&self, person: usize) -> (usize, Duration) {
        let key = self.worker.peers.find(self.people[person].id).expect("there");
        let peer = self.worker.peers.get(key).expect("there");
        let video = &peer.outbox.video;
        (video.len(), peer.pacer.as_ref().map_or(Duration::ZERO, |pacer| pacer.time(video.bytes())))
    }
}

/// A layer of a camera at 30 frames a second, or a microphone.
pub(super) struct Source {
    pub(super) track: u64,
    pub(super) layer: u8,
    media: MediaKind,
    pub(super) ssrc: u32,
    pub(super) kbps: u64,
    pub(super) keyframe: bool,
    pub(super) keyframes: usize,
    /// A keyframe is as long as so many other frames.
    pub(super) factor: usize,
    pub(super) codec: CodecKind,
    /// When it sends next.
    pub(super) next: Instant,
    number: u64,
    sequence: u64,
    /// Not sent at all.
    pub(super) off: bool,
}

impl Source {
    fn new(now: Instant, track: u64, layer: u8, media: MediaKind, ssrc: u32, kbps: u64) -> Self {
        let codec = if media == MediaKind::Audio { CodecKind::Opus } else { CodecKind::Vp8 };
        Self {
            track,
            layer,
            media,
            ssrc,
            kbps,
            keyframe: true,
            keyframes: 0,
            factor: KEYFRAME,
            codec,
            next: now,
            number: 0,
            sequence: 100,
            off: false,
        }
    }

    fn mid(&self) -> base::Mid {
        mid(&format!("{}x{}", self.track, self.layer))
    }

    fn section(&self) -> rtc::SendSection {
        let mut extensions = ExtensionMap::default();
        extensions.set(base::Extension::TransportSequence, 3);
        rtc::SendSection {
            mid: self.mid(),
            media: self.media,
            ssrc: self.ssrc,
            rtx_ssrc: None,
            codecs: codecs(self.media),
            extensions,
            cname: "lab".to_owned(),
            strips_trailers: false,
        }
    }

    /// Sends what is due.
    fn step(&mut self, (epoch, now): (Instant, Instant), peer: &mut rtc::Peer, up: &mut Link<Vec<u8>>) {
        while self.next <= now {
            if self.off || !peer.can_send() {
                self.next = now + FRAME;
            } else if self.media == MediaKind::Audio {
                let sent = (now - epoch).as_micros() as u64;
                let payload = [&sent.to_be_bytes()[..], &[1; 82]].concat();
                self.send(now, peer, up, (self.number * 960) as u32, true, &payload);
                self.next += 20 * MS;
                self.number += 1;
            } else {
                self.send_frame(now, peer, up);
                self.next += FRAME;
                self.number += 1;
            }
        }
    }

    fn send_frame(&mut self, now: Instant, peer: &mut rtc::Peer, up: &mut Link<Vec<u8>>) {
        let average = (self.kbps * 1_000 / 8 / 30) as usize;
        let keyframe = std::mem::take(&mut self.keyframe);
        self.keyframes += usize::from(keyframe);
        let bytes = average * if keyframe { self.factor } else { 1 };
        let packets = bytes.div_ceil(PACKET).max(1);
        for index in 0..packets {
            let (first, last) = (index == 0, index + 1 == packets);
            let mut payload = frame_start(self.codec, first, keyframe, self.number);
            payload.push(self.layer);
            payload.resize((bytes / packets).max(payload.len()), index as u8);
            self.send(now, peer, up, (self.number * 3_000) as u32, last, &payload);
        }
    }

    fn send(
        &mut self,
        now: Instant,
        peer: &mut rtc::Peer,
        up: &mut Link<Vec<u8>>,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
    ) {
        let Some(index) = peer.send_index(self.mid()) else { return };
        let rewrite = Rewrite { marker, ..Rewrite::plain(self.sequence, timestamp, self.codec) };
        let mut out = Vec::new();
        self.sequence += 1;
        if peer.send(now, index, &rewrite, Slot::default(), payload, None, &mut out).is_some() {
            up.send(now, out.len() + HEADERS, out);
        }
    }
}

/// What a payload begins with: VP8's descriptor with a picture id, and its frame tag; else a NAL unit of H.264.
fn frame_start(codec: CodecKind, first: bool, keyframe: bool, number: u64) -> Vec<u8> {
    if codec == CodecKind::H264 {
        return vec![if keyframe && first { 0x67 } else { 0x41 }, u8::from(!keyframe)];
    }
    let start = if first { 0x90 } else { 0x80 };
    vec![start, 0x80, 0x80 | (number >> 8) as u8 & 0x7f, number as u8, u8::from(!keyframe)]
}

/// One connection's other side.
pub(super) struct Person {
    pub(super) id: PeerId,
    pub(super) peer: rtc::Peer,
    pub(super) up: Link<Vec<u8>>,
    pub(super) down: Link<Vec<u8>>,
    pub(super) sources: Vec<Source>,
    pub(super) sections: Sections,
    /// It sends no feedback on packets.
    pub(super) silent: bool,
    /// It has negotiated REMB alone, and sends none.
    pub(super) remb: bool,
    /// Of a thousand packets that arrive, so many are thrown away.
    pub(super) deaf: u32,
    /// When, and what.
    pub(super) got: Vec<(Instant, Received)>,
    /// When sound arrived, and how long it took from its source.
    pub(super) delays: Vec<(Instant, Duration)>,
    /// By track.
    pub(super) decoders: BTreeMap<u64, Decoder>,
    /// Datagrams that left the worker for it: when, and their bytes.
    pub(super) left: Vec<(Instant, usize)>,
    address: SocketAddr,
    /// Its addresses before.
    before: Vec<SocketAddr>,
    /// Nothing goes in or out.
    pub(super) cut: bool,
    /// When the worker first heard from its present address.
    pub(super) heard_at: Option<Instant>,
    epoch: Instant,
    own: IceCredentials,
    server: IceCredentials,
    fingerprint: Fingerprint,
    random: sim::Random,
}

impl Person {
    fn new(
        (epoch, now): (Instant, Instant),
        number: usize,
        server: Fingerprint,
        [up, down]: [Conditions; 2],
    ) -> Self {
        let address = SocketAddr::from(([10, 0, 1, number as u8], 5_000));
        let credentials = |side: &str| IceCredentials {
            ufrag: format!("{side}{number}x"),
            password: format!("{side}-password-of-the-person-{number}"),
        };
        let (own, local) = (credentials("c"), credentials("s"));
        let config = rtc_config();
        let wall = rtc::WallClock { at: now, ntp: NtpTime::from_unix(Duration::from_secs(1_800_000_000)) };
        let ice = rtc::IceRole::Full {
            local: crate::translate::credentials(&own),
            candidates: vec![address],
            controlling: true,
        };
        let mut peer = rtc::Peer::new(now, wall, &config, ice, number as u64);
        peer.set_remote(now, crate::translate::credentials(&local), server.0, rtc::DtlsRole::Client);
        peer.add_remote_candidate(now, SERVER.into());
        Self {
            id: PeerId(number as u64 + 1),
            peer,
            up: Link::new(now, 1, up),
            down: Link::new(now, 2, down),
            sources: Vec::new(),
            sections: Sections::default(),
            silent: false,
            remb: false,
            deaf: 0,
            got: Vec::new(),
            delays: Vec::new(),
            decoders: BTreeMap::new(),
            left: Vec::new(),
            address,
            before: Vec::new(),
            cut: false,
            heard_at: None,
            epoch,
            own,
            server: local,
            fingerprint: Fingerprint(config.certificate().fingerprint()),
            random: sim::Random::new(9),
        }
    }

    /// Sections as its own peer has them.
    pub(super) fn update(&mut self, now: Instant) {
        let receive = self.sections.send.iter().map(|section| {
            let mut mirrored = mirror_send(section);
            if self.silent {
                mirrored.extensions = ExtensionMap::default();
                mirrored.codecs.iter_mut().for_each(|codec| codec.transport_cc = false);
            }
            mirrored
        });
        let receive: Vec<_> = receive.collect();
        let send: Vec<_> = self.sources.iter().map(Source::section).collect();
        self.peer.set_sections(now, &receive, &send);
    }

    /// The most bytes that left for it within so much time.
    pub(super) fn most_within(&self, length: Duration) -> usize {
        let from = |(at, _): &(Instant, usize)| {
            let inside = self.left.iter().skip_while(|(other, _)| other < at);
            inside.take_while(|(other, _)| *other < *at + length).map(|(_, bytes)| bytes).sum()
        };
        self.left.iter().map(from).max().unwrap_or_default()
    }

    pub(super) fn follow(&mut self, now: Instant, schedule: &Schedule) {
        self.down.follow(now, schedule);
    }

    pub(super) fn source(&mut self, track: u64, layer: u8) -> &mut Source {
        let source = self.sources.iter_mut().find(|each| each.track == track && each.layer == layer);
        source.expect("published")
    }

    fn next(&mut self) -> Option<Instant> {
        let sources = self.sources.iter().map(|source| source.next).min();
        let links = [self.up.poll_timeout(), self.down.poll_timeout()];
        links.into_iter().chain([self.peer.poll_timeout(), sources]).flatten().min()
    }

    fn step(&mut self, now: Instant) {
        while let Some(datagram) = self.down.poll_deliver(now) {
            self.receive(now, datagram);
        }
        if self.peer.poll_timeout().is_some_and(|at| at <= now) {
            self.peer.handle_timeout(now);
        }
        for source in &mut self.sources {
            source.step((self.epoch, now), &mut self.peer, &mut self.up);
        }
        let mut out = Vec::new();
        while self.peer.poll_transmit(now, &mut out).is_some() {
            self.up.send(now, out.len() + HEADERS, out.clone());
        }
        while let Some(event) = self.peer.poll_event() {
            if let rtc::Event::KeyframeRequest { mid } = event {
                let asked = self.sources.iter_mut().find(|source| source.mid() == mid);
                asked.expect("published").keyframe = true;
            }
        }
    }

    fn receive(&mut self, now: Instant, mut datagram: Vec<u8>) {
        let is_rtp = (128..=191).contains(&datagram[0]) && !wire::rtp::is_rtcp(&datagram);
        if is_rtp && self.deaf > 0 && self.random.chance(f64::from(self.deaf) / 1_000.0) {
            return;
        }
        let Some(received) = self.peer.receive(now, SERVER.into(), &mut datagram) else { return };
        let payload = &datagram[received.payload.clone()];
        let track: u64 = received.mid.as_str()[1..].parse().expect("a section of ours");
        if received.media == MediaKind::Audio {
            let sent = u64::from_be_bytes(payload[..8].try_into().expect("as sent"));
            self.delays.push((now, now - (self.epoch + Duration::from_micros(sent))));
        } else {
            let decoder = self.decoders.entry(track).or_default();
            decoder.receive(now, &received, payload);
        }
        self.got.push((now, received));
    }
}
