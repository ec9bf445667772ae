//! A worker with clients. Real sockets need real time: everything waits for a condition, never for a duration.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::ring::Slot;
use base::{
    Codec, CodecKind, Extension, ExtensionMap, MediaKind, Mid, NtpTime, ParticipantId, PeerId, RoomId,
    TrackId,
};
use contract::media::{
    Command, DtlsRole, Event, Fingerprint, IceCredentials, ReceiveSection, Sections, SendSection,
    WorkerHandle,
};
use wire::media::{Received, Rewrite};

use crate::{Metrics, WorkerConfig, spawn};

/// Nothing that is waited for takes this long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn mid(text: &str) -> Mid {
    Mid::new(text.as_bytes()).expect("a mid")
}

pub(super) fn rtc_config() -> Arc<rtc::Config> {
    use std::sync::atomic::{AtomicU8, Ordering};
    static SERIAL: AtomicU8 = AtomicU8::new(1);
    let serial = [SERIAL.fetch_add(1, Ordering::Relaxed); 16];
    let certificate = rtc::Certificate::generate(serial).expect("a certificate");
    Arc::new(rtc::Config::new(certificate).expect("a configuration"))
}

pub(super) fn codec(kind: CodecKind) -> Codec {
    let video = kind.media() == MediaKind::Video;
    Codec {
        kind,
        payload_type: if video { 96 } else { 111 },
        rtx: video.then_some(97),
        nack: video,
        pli: video,
        fir: false,
        transport_cc: true,
        remb: false,
        ccfb: false,
    }
}

pub(super) fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    map.set(Extension::Mid, 4);
    map.set(Extension::TransportSequence, 3);
    map.set(Extension::AudioLevel, 1);
    map.set(Extension::DependencyDescriptor, 8);
    map
}

/// A running worker and what it said.
pub(super) struct World {
    pub(super) handle: WorkerHandle,
    pub(super) metrics: Arc<Metrics>,
    pub(super) events: async_channel::Receiver<Event>,
    pub(super) heard: Vec<Event>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with("127.0.0.1:0", &[], 1_024)
    }

    pub(super) fn with(bind: &str, candidates: &[&str], event_capacity: usize) -> Self {
        Self::spawn(bind, candidates, event_capacity, 0, &crate::Mesh::default())
    }

    /// So many workers of one process.
    pub(super) fn meshed(workers: usize) -> Vec<Self> {
        let mesh = crate::Mesh::default();
        (0..workers).map(|index| Self::spawn("127.0.0.1:0", &[], 1_024, index, &mesh)).collect()
    }

    pub(super) fn spawn(
        bind: &str,
        candidates: &[&str],
        event_capacity: usize,
        index: usize,
        mesh: &crate::Mesh,
    ) -> Self {
        let metrics = Arc::new(Metrics::default());
        let (sender, events) = async_channel::bounded(event_capacity);
        let config = WorkerConfig {
            index,
            bind: bind.parse().expect("an address"),
            candidates: candidates.iter().map(|text| text.parse().expect("an address")).collect(),
            rtc: rtc_config(),
            seed: 7,
            commands: 4_096,
            metrics: metrics.clone(),
            mesh: mesh.clone(),
            loudest: sfu::LOUDEST,
        };
        let (handle, thread) = spawn(config, sender).expect("a worker");
        Self { handle, metrics, events, heard: Vec::new(), thread: Some(thread) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.handle.info.candidates[0]
    }

    pub(super) fn command(&self, command: Command) {
        assert!(self.handle.try_send(command), "the command queue has room");
    }

    /// Takes what the worker said.
    pub(super) fn listen(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.heard.push(event);
        }
    }

    pub(super) fn dropped(&self, reason: &'static str) -> u64 {
        self.metrics.value("stoa_worker_dropped_total", Some(("reason", reason)))
    }

    /// A client of this worker, in this room, connected.
    pub(super) fn connect(&mut self, id: u64, room: u64) -> Client {
        let mut client = self.introduce(id, room);
        self.run(&mut [&mut client], "connected", |world, clients| {
            clients[0].peer.can_send() && world.is_connected(id)
        });
        client
    }

    fn is_connected(&self, id: u64) -> bool {
        self.heard.iter().any(|event| matches!(event, Event::Connected { peer, .. } if peer.0 == id))
    }

    /// The same, before the first datagram.
    pub(super) fn introduce(&mut self, id: u64, room: u64) -> Client {
        let client = self.unknown(id);
        self.make_known(&client, room);
        client
    }

    /// A client of which the worker has not heard yet.
    pub(super) fn unknown(&self, id: u64) -> Client {
        Client::new(id, self.address(), self.handle.info.fingerprint)
    }

    pub(super) fn make_known(&self, client: &Client, room: u64) {
        self.command(Command::AddPeer {
            peer: client.id,
            room: RoomId(room),
            participant: ParticipantId(client.id.0),
            local: client.server.clone(),
        });
        self.command(Command::SetRemote {
            peer: client.id,
            remote: client.own.clone(),
            fingerprint: client.fingerprint,
            role: DtlsRole::Server,
        });
    }

    /// Lets the clients run until the condition holds.
    pub(super) fn run(
        &mut self,
        clients: &mut [&mut Client],
        what: &str,
        mut done: impl FnMut(&Self, &mut [&mut Client]) -> bool,
    ) {
        let until = Instant::now() + PATIENCE;
        loop {
            clients.iter_mut().for_each(|client| client.step());
            self.listen();
            if done(self, clients) {
                return;
            }
            assert!(Instant::now() < until, "never {what}; heard {:?}", self.heard);
        }
    }

    /// Like [`Self::run`], without clients.
    pub(super) fn wait(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        self.run(&mut [], what, |world, _| {
            std::thread::yield_now();
            done(world)
        });
    }

    pub(super) fn join_thread(&mut self) {
        let thread = self.thread.take().expect("joined once");
        thread.join().expect("the worker's thread never panics");
    }

    /// The room's snapshot.
    pub(super) fn snapshot(&self, room: u64) -> serde_json::Value {
        let (reply, answer) = async_channel::bounded(1);
        self.command(Command::Snapshot { room: RoomId(room), reply });
        serde_json::from_str(&answer.recv_blocking().expect("an answer")).expect("JSON")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.handle.try_send(Command::Stop);
            let outcome = thread.join();
            assert!(outcome.is_ok() || std::thread::panicking(), "the worker's thread never panics");
        }
    }
}

/// A peer that is connected with nobody.
pub(crate) fn peer() -> rtc::Peer {
    let now = Instant::now();
    let wall = rtc::WallClock { at: now, ntp: NtpTime(0) };
    let local = rtc::IceCredentials { ufrag: "user".into(), password: "password of 22 characters".into() };
    let ice = rtc::IceRole::Lite { local, candidate: SocketAddr::from(([127, 0, 0, 1], 7_882)) };
    rtc::Peer::new(now, wall, &rtc_config(), ice, 1)
}

/// The other side of a connection.
pub(super) struct Client {
    pub(super) id: PeerId,
    pub(super) peer: rtc::Peer,
    pub(super) own: IceCredentials,
    pub(super) server: IceCredentials,
    pub(super) fingerprint: Fingerprint,
    pub(super) socket: UdpSocket,
    pub(super) server_address: SocketAddr,
    /// Decrypted packets with their payloads.
    pub(super) got: Vec<(Received, Vec<u8>)>,
    /// Dependency descriptors by the timestamp of their packet, and whether it was a retransmission.
    pub(super) descriptors: Vec<(u32, bool, Vec<u8>)>,
    pub(super) events: Vec<rtc::Event>,
    /// RTP that is thrown away before it is looked at: how many more.
    pub(super) lose: usize,
    /// Sections as they are wanted now.
    pub(super) sections: Sections,
    sequence: u64,
    timestamp: u32,
}

impl Client {
    fn new(id: u64, server_address: SocketAddr, server_fingerprint: Fingerprint) -> Self {
        let socket = UdpSocket::bind((server_address.ip(), 0)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        let address = socket.local_addr().expect("an address");
        let config = rtc_config();
        let credentials = |side: &str| IceCredentials {
            ufrag: format!("{side}{id}x"),
            password: format!("{side}-password-of-the-client-{id}"),
        };
        let (own, server) = (credentials("c"), credentials("s"));
        let now = Instant::now();
        let wall = rtc::WallClock { at: now, ntp: NtpTime::from_unix(Duration::from_secs(1_800_000_000)) };
        let ice = rtc::IceRole::Full {
            local: crate::translate::credentials(&own),
            candidates: vec![address],
            controlling: true,
        };
        let mut peer = rtc::Peer::new(now, wall, &config, ice, id);
        let remote = crate::translate::credentials(&server);
        peer.set_remote(now, remote, server_fingerprint.0, rtc::DtlsRole::Client);
        peer.add_remote_candidate(now, server_address);
        Self {
            id: PeerId(id),
            peer,
            own,
            server,
            fingerprint: Fingerprint(config.certificate().fingerprint()),
            socket,
            server_address,
            got: Vec::new(),
            descriptors: Vec::new(),
            events: Vec::new(),
            lose: 0,
            sections: Sections::default(),
            sequence: id * 1_000,
            timestamp: 90_000,
        }
    }

    /// Receives what is there, does what is due, sends what there is to send.
    pub(super) fn step(&mut self) {
        let mut buffer = [0; 2_048];
        for _ in 0..200 {
            let Ok((len, from)) = self.socket.recv_from(&mut buffer) else { break };
            self.receive(from, &mut buffer[..len]);
        }
        let now = Instant::now();
        if self.peer.poll_timeout().is_some_and(|at| at <= now) {
            self.peer.handle_timeout(now);
        }
        self.transmit();
    }

    fn receive(&mut self, from: SocketAddr, datagram: &mut [u8]) {
        let is_rtp = (128..=191).contains(&datagram[0]) && !wire::rtp::is_rtcp(datagram);
        if is_rtp && self.lose > 0 {
            self.lose -= 1;
            return;
        }
        if let Some(received) = self.peer.receive(Instant::now(), from, datagram) {
            if let Some(range) = received.extensions.dependency_descriptor {
                let bytes = range.of(datagram).expect("within the packet").to_vec();
                self.descriptors.push((received.timestamp, received.retransmitted, bytes));
            }
            let payload = datagram[received.payload.clone()].to_vec();
            self.got.push((received, payload));
        }
        self.transmit();
    }

    pub(super) fn transmit(&mut self) {
        let mut out = Vec::new();
        while let Some(to) = self.peer.poll_transmit(Instant::now(), &mut out) {
            self.socket.send_to(&out, to).expect("loopback takes it");
        }
        while let Some(event) = self.peer.poll_event() {
            self.events.push(event);
        }
    }

    /// Publishes: tells its own peer to send and the worker to receive.
    pub(super) fn publish(&mut self, world: &World, name: &str, kind: CodecKind, track: u64) {
        let ssrc = 0x1000_0000 + (self.id.0 as u32) * 256 + track as u32;
        let rtx = (kind.media() == MediaKind::Video).then_some(ssrc + 0x0100_0000);
        self.sections.receive.push(ReceiveSection {
            mid: mid(name),
            media: kind.media(),
            codecs: vec![codec(kind)],
            extensions: extensions(),
            rids: Vec::new(),
            sizes: Vec::new(),
            ssrcs: vec![(ssrc, rtx)],
            source: base::model::TrackSource::Unknown,
            track: Some(TrackId(track)),
        });
        self.update(world);
    }

    /// Publishes three simulcast layers. The client sends them in sections of their own, named after the layer; the worker
    /// tells them by their SSRCs.
    pub(super) fn publish_layers(&mut self, world: &World, name: &str, track: u64) {
        let ssrc = 0x3000_0000 + (self.id.0 as u32) * 256;
        let layers: Vec<(u32, Option<u32>)> =
            (0..3).map(|n| (ssrc + n, Some(ssrc + 0x0100_0000 + n))).collect();
        let section = ReceiveSection {
            mid: mid(name),
            media: MediaKind::Video,
            codecs: vec![codec(CodecKind::Vp8)],
            extensions: extensions(),
            rids: ["q", "h", "f"].iter().filter_map(|rid| base::Rid::new(rid.as_bytes())).collect(),
            sizes: Vec::new(),
            ssrcs: layers.clone(),
            source: base::model::TrackSource::Camera,
            track: Some(TrackId(track)),
        };
        let own = layers.iter().enumerate().map(|(layer, ssrc)| ReceiveSection {
            mid: mid(&format!("{name}{layer}")),
            rids: Vec::new(),
            ssrcs: vec![*ssrc],
            ..section.clone()
        });
        let own: Vec<_> = own.map(|section| mirror_receive(&section)).collect();
        self.peer.set_sections(Instant::now(), &[], &own);
        self.sections.receive.push(section);
        world.command(Command::SetSections { peer: self.id, sections: self.sections.clone() });
    }

    /// Subscribes: the other way round.
    pub(super) fn subscribe(&mut self, world: &World, name: &str, kind: CodecKind, track: u64) {
        let ssrc = 0x2000_0000 + (self.id.0 as u32) * 256 + track as u32;
        let rtx = (kind.media() == MediaKind::Video).then_some(ssrc + 0x0100_0000);
        self.sections.send.push(SendSection {
            mid: mid(name),
            media: kind.media(),
            track: TrackId(track),
            ssrc,
            rtx_ssrc: rtx,
            codecs: vec![codec(kind)],
            extensions: extensions(),
            cname: "world".to_owned(),
            strips_trailers: false,
        });
        self.update(world);
    }

    /// Sets `sections` on both sides.
    pub(super) fn update(&mut self, world: &World) {
        let mirrored_send: Vec<_> = self.sections.receive.iter().map(mirror_receive).collect();
        let mirrored_receive: Vec<_> = self.sections.send.iter().map(mirror_send).collect();
        self.peer.set_sections(Instant::now(), &mirrored_receive, &mirrored_send);
        world.command(Command::SetSections { peer: self.id, sections: self.sections.clone() });
    }

    /// Sends one packet of a published section.
    fn send(&mut self, name: &str, kind: CodecKind, timestamp: u32, marker: bool, payload: &[u8]) {
        self.send_described(name, kind, (timestamp, marker), &[], payload);
    }

    /// The same, with a dependency descriptor unless that is empty.
    fn send_described(
        &mut self,
        name: &str,
        kind: CodecKind,
        (timestamp, marker): (u32, bool),
        descriptor: &[u8],
        payload: &[u8],
    ) {
        let index = self.peer.send_index(mid(name)).expect("published");
        self.sequence += 1;
        let rewrite = Rewrite {
            marker,
            descriptor: descriptor.len() as u8,
            described: wire::dd::Mandatory::parse(descriptor)
                .map(|read| wire::dd::Patch { frame_number: read.frame_number, active: None }),
            ..Rewrite::plain(self.sequence, timestamp, kind)
        };
        let stored = [descriptor, payload].concat();
        let mut out = Vec::new();
        let now = Instant::now();
        let sent = self.peer.send(now, index, &rewrite, Slot::default(), &stored, None, &mut out);
        assert!(sent.is_some(), "the client can send");
        self.socket.send_to(&out, self.server_address).expect("loopback takes it");
    }

    /// Sends 20 ms of sound.
    pub(super) fn send_sound(&mut self, name: &str, payload: &[u8]) {
        self.timestamp += 960;
        self.send(name, CodecKind::Opus, self.timestamp, false, payload);
    }

    /// A packet of sound that is numbered, and lost on its way.
    pub(super) fn lose_sound(&mut self) {
        self.timestamp += 960;
        self.sequence += 1;
    }

    /// Sends 20 ms of sound with this level, in -dBov.
    pub(super) fn send_loud(&mut self, name: &str, kind: CodecKind, level: u8, payload: &[u8]) {
        self.timestamp += 960;
        self.sequence += 1;
        let index = self.peer.send_index(mid(name)).expect("published");
        let rewrite =
            Rewrite { audio_level: Some(level), ..Rewrite::plain(self.sequence, self.timestamp, kind) };
        let (now, mut out) = (Instant::now(), Vec::new());
        let sent = self.peer.send(now, index, &rewrite, Slot::default(), payload, None, &mut out);
        assert!(sent.is_some(), "the client can send");
        self.socket.send_to(&out, self.server_address).expect("loopback takes it");
    }

    /// Sends a keyframe of one packet with a dependency descriptor, a thirtieth of a second after the last one.
    pub(super) fn send_described_frame(&mut self, name: &str, kind: CodecKind, descriptor: &[u8]) {
        self.timestamp += 3_000;
        // VP8: S bit, then the frame tag of a keyframe. AV1: N bit, a new coded video sequence.
        let start: &[u8] = if kind == CodecKind::Vp8 { &[0x10, 0] } else { &[0x08, 0x0a] };
        let payload = [start, &[7; 700]].concat();
        self.send_described(name, kind, (self.timestamp, true), descriptor, &payload);
    }

    /// Sends a VP8 keyframe of these packet sizes (over 8 bytes each), a thirtieth of a second after the last one.
    /// Payloads end in their number.
    pub(super) fn send_frame(&mut self, name: &str, sizes: &[usize]) {
        self.timestamp += 3_000;
        let timestamp = self.timestamp;
        for (index, len) in sizes.iter().enumerate() {
            let first = index == 0;
            // RFC 7741: X and S bits; I bit; a picture id of 15 bits; then the frame tag of a keyframe.
            let start = if first { 0x90 } else { 0x80 };
            let mut payload = vec![start, 0x80, 0x80 | (timestamp >> 8) as u8 & 0x7f, timestamp as u8, 0];
            payload.resize(*len, index as u8);
            self.send(name, CodecKind::Vp8, timestamp, index + 1 == sizes.len(), &payload);
        }
    }
}

pub(super) fn mirror_receive(section: &ReceiveSection) -> rtc::SendSection {
    rtc::SendSection {
        mid: section.mid,
        media: section.media,
        ssrc: section.ssrcs[0].0,
        rtx_ssrc: section.ssrcs[0].1,
        codecs: section.codecs.clone(),
        extensions: section.extensions,
        cname: "client".to_owned(),
        strips_trailers: false,
    }
}

pub(super) fn mirror_send(section: &SendSection) -> rtc::ReceiveSection {
    rtc::ReceiveSection {
        mid: section.mid,
        media: section.media,
        codecs: section.codecs.clone(),
        extensions: section.extensions,
        rids: Vec::new(),
        ssrcs: vec![(section.ssrc, section.rtx_ssrc)],
    }
}
