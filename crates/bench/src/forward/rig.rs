//! A worker with real sockets, one publisher and many subscribers, connected and subscribed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base::model::Quality;
use base::{
    Codec, CodecKind, Extension, ExtensionMap, MediaKind, Mid, NtpTime, ParticipantId, PeerId, RoomId,
    TrackId,
};
use client::{Endpoint, Remote};
use contract::media::{self, Command, Event, WorkerHandle};
use rtc::{Certificate, Config, IceCredentials, WallClock};
use udp::{Options, Slab};
use worker::{Metrics, WorkerConfig};

/// Where everything runs.
pub const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ROOM: RoomId = RoomId(1);
const TRACK: TrackId = TrackId(1);
const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// A running worker and its clients.
pub struct Rig {
    pub worker: WorkerHandle,
    pub metrics: Arc<Metrics>,
    pub publisher: Endpoint,
    pub subscribers: Vec<Endpoint>,
    events: async_channel::Receiver<Event>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The mid of the one media section of every connection.
pub fn mid() -> Mid {
    Mid::new(b"0").expect("one printable byte")
}

impl Rig {
    /// Starts the worker and connects everybody, telling how far it is.
    pub fn start(subscribers: usize) -> Result<Self, String> {
        let now = Instant::now();
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let clock = WallClock { at: now, ntp: NtpTime::from_unix(since_epoch) };
        let (tell, events) = async_channel::bounded(65_536);
        let metrics = Arc::new(Metrics::default());
        let (worker, thread) = worker::spawn(worker_config(config(1)?, metrics.clone()), tell)
            .map_err(|error| format!("the worker does not start: {error}"))?;
        // One certificate for all clients: two hundred key generations would only lengthen the set-up.
        let client_config = config(2)?;
        let bind = |seed| {
            Endpoint::bind(IP, &client_options(), clock, &client_config, seed)
                .map_err(|error| format!("a client's socket: {error}"))
        };
        let publisher = bind(1_000)?;
        let subscribers = (0..subscribers as u64).map(|i| bind(2_000 + i)).collect::<Result<Vec<_>, _>>()?;
        let mut rig = Self { worker, metrics, publisher, subscribers, events, thread: Some(thread) };
        rig.introduce(client_config.certificate().fingerprint())?;
        rig.connect()?;
        Ok(rig)
    }

    /// Tells the worker about everybody, and everybody about the worker.
    fn introduce(&mut self, client_fingerprint: [u8; 32]) -> Result<(), String> {
        let now = Instant::now();
        let info = self.worker.info.clone();
        for index in 0..=self.subscribers.len() {
            let endpoint = if index == 0 { &mut self.publisher } else { &mut self.subscribers[index - 1] };
            let peer = PeerId(index as u64 + 1);
            let local = media::IceCredentials {
                ufrag: format!("s{index:08}"),
                password: format!("server-password-{index:08}"),
            };
            let theirs = endpoint.credentials();
            let remote =
                media::IceCredentials { ufrag: theirs.ufrag.clone(), password: theirs.password.clone() };
            let sections = if index == 0 { publish() } else { subscribe(index as u32) };
            let participant = ParticipantId(index as u64 + 1);
            let commands = [
                Command::AddPeer { peer, room: ROOM, participant, local: local.clone() },
                Command::SetRemote {
                    peer,
                    remote,
                    fingerprint: media::Fingerprint(client_fingerprint),
                    role: media::DtlsRole::Server,
                },
                Command::SetSections { peer, sections: sections.clone() },
            ];
            commands.into_iter().try_for_each(|command| send(&self.worker, command))?;
            let (receive, send) = mirrored(&sections);
            endpoint.peer().set_sections(now, &receive, &send);
            endpoint.connect(
                now,
                &Remote {
                    credentials: IceCredentials { ufrag: local.ufrag, password: local.password },
                    fingerprint: info.fingerprint.0,
                    candidates: info.candidates.clone(),
                },
            );
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<(), String> {
        let (deadline, total) = (Instant::now() + CONNECT_WITHIN, self.subscribers.len() + 1);
        let (mut slab, mut connected, mut shown) = (Slab::new(), 0, 0);
        while connected < total {
            let now = Instant::now();
            for endpoint in self.subscribers.iter_mut().chain([&mut self.publisher]) {
                endpoint.receive(now, &mut slab, |_, _| {}).map_err(|error| error.to_string())?;
                while endpoint.peer().poll_event().is_some() {}
            }
            connected += self.drain_events();
            if connected >= shown + 50 || connected == total {
                shown = connected;
                eprintln!("  {connected} of {total} connected");
            }
            if now > deadline {
                return Err(format!("{connected} of {total} connections came up in {CONNECT_WITHIN:?}"));
            }
        }
        Ok(())
    }

    /// Reads the worker's events; returns how many connections came up.
    pub fn drain_events(&mut self) -> usize {
        let mut connected = 0;
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Connected { .. } => connected += 1,
                Event::Closed { peer, end, .. } => eprintln!("  connection {peer} ended: {end:?}"),
                Event::Quality { quality: Quality::Lost, peer } => eprintln!("  {peer} receives nothing"),
                _ => {}
            }
        }
        connected
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.worker.try_send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn send(worker: &WorkerHandle, command: Command) -> Result<(), String> {
    for _ in 0..1_000 {
        if worker.try_send(command.clone()) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("the worker does not take commands".to_owned())
}

fn config(serial: u8) -> Result<Arc<Config>, String> {
    let certificate = Certificate::generate([serial; 16]).map_err(|error| error.to_string())?;
    Config::new(certificate).map(Arc::new).map_err(|error| error.to_string())
}

fn worker_config(config: Arc<Config>, metrics: Arc<Metrics>) -> WorkerConfig {
    WorkerConfig {
        index: 0,
        bind: SocketAddr::new(IP, 0),
        candidates: Vec::new(),
        rtc: config,
        seed: 1,
        commands: 1_024,
        metrics,
        mesh: worker::Mesh::default(),
        // Every packet that is read is to be forwarded.
        loudest: 0,
    }
}

/// As the budget says: receivers without coalescing, so that every datagram is delivered on its own.
fn client_options() -> Options {
    Options { receive_buffer: 1 << 20, send_buffer: 1 << 18, coalesce: false }
}

fn vp8() -> Codec {
    Codec {
        kind: CodecKind::Vp8,
        payload_type: 96,
        rtx: Some(97),
        nack: true,
        pli: true,
        fir: true,
        transport_cc: true,
        remb: false,
        ccfb: false,
    }
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::default();
    for (id, extension) in
        [(1, Extension::Mid), (2, Extension::TransportSequence), (3, Extension::AbsSendTime)]
    {
        map.set(extension, id);
    }
    map
}

fn publish() -> media::Sections {
    let receive = media::ReceiveSection {
        mid: mid(),
        media: MediaKind::Video,
        codecs: vec![vp8()],
        extensions: extensions(),
        rids: Vec::new(),
        ssrcs: vec![(10, Some(11))],
        sizes: Vec::new(),
        source: base::model::TrackSource::Camera,
        track: Some(TRACK),
    };
    media::Sections { receive: vec![receive], send: Vec::new() }
}

fn subscribe(index: u32) -> media::Sections {
    let send = media::SendSection {
        mid: mid(),
        media: MediaKind::Video,
        track: TRACK,
        ssrc: 1_000 + 2 * index,
        rtx_ssrc: Some(1_001 + 2 * index),
        codecs: vec![vp8()],
        extensions: extensions(),
        cname: "bench".to_owned(),
    };
    media::Sections { receive: Vec::new(), send: vec![send] }
}

/// The same sections seen from the other side.
fn mirrored(sections: &media::Sections) -> (Vec<rtc::ReceiveSection>, Vec<rtc::SendSection>) {
    let receive = sections.send.iter().map(|section| rtc::ReceiveSection {
        mid: section.mid,
        media: section.media,
        codecs: section.codecs.clone(),
        extensions: section.extensions,
        rids: Vec::new(),
        ssrcs: vec![(section.ssrc, section.rtx_ssrc)],
    });
    let send = sections.receive.iter().map(|section| rtc::SendSection {
        mid: section.mid,
        media: section.media,
        ssrc: section.ssrcs[0].0,
        rtx_ssrc: section.ssrcs[0].1,
        codecs: section.codecs.clone(),
        extensions: section.extensions,
        cname: "bench".to_owned(),
    });
    (receive.collect(), send.collect())
}
