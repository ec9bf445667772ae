//! A worker with real sockets and its clients, connected and subscribed as a scene says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Once};
use std::time::{Duration, Instant, SystemTime};

use base::model::Quality;
use base::{NtpTime, PeerId};
use client::{Endpoint, Remote};
use contract::media::{self, Command, Event, Sections, WorkerHandle};
use rtc::{Certificate, Config, IceCredentials, WallClock};
use udp::thread::{self, Urgency};
use udp::{Options, Slab};
use worker::{Mesh, Metrics, WorkerConfig};

use super::scene::{Connection, Role, Scene};

/// Where everything runs.
pub const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CONNECT_WITHIN: Duration = Duration::from_secs(60);

/// What a thread is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The worker, or the floor that it is held against.
    Server,
    /// Publishers and receivers.
    Load,
}

/// Puts the calling thread where it belongs: each of the two has a core of its own, and comes before all other programs. Else
/// their wake-ups land on each other's core, and latency is what the scheduler makes of it. Where the process may not do
/// that, or there is but one core, figures of a machine that does nothing else are little worse.
pub fn take(place: Place) {
    static CORES: LazyLock<Vec<usize>> = LazyLock::new(thread::cores);
    let (core, urgency) = match place {
        Place::Server => (CORES.first(), Urgency::AtOnce),
        Place::Load => (CORES.get(1), Urgency::Most),
    };
    let Some(core) = core.filter(|_| CORES.len() > 1) else { return };
    if let Err(error) = thread::stay_on(*core).and_then(|()| thread::set_urgency(urgency)) {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| println!("  (cores are shared with other programs: {error})"));
    }
}

/// A running worker and its clients.
pub struct Rig {
    pub metrics: Arc<Metrics>,
    /// In the order of the scene's connections.
    pub endpoints: Vec<Endpoint>,
    pub wall: WallClock,
    /// The moment of `wall` on the system's clock.
    pub since: SystemTime,
    worker: WorkerHandle,
    events: async_channel::Receiver<Event>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Rig {
    /// Starts the worker and connects everybody.
    pub fn start(scene: &Scene) -> Result<Self, String> {
        let (now, since) = (Instant::now(), SystemTime::now());
        let since_epoch = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = WallClock { at: now, ntp: NtpTime::from_unix(since_epoch) };
        let (tell, events) = async_channel::bounded(65_536);
        let metrics = Arc::new(Metrics::default());
        // What this thread starts inherits its place.
        take(Place::Server);
        let (worker, thread) = worker::spawn(worker_config(config(1)?, metrics.clone()), tell)
            .map_err(|error| format!("the worker does not start: {error}"))?;
        take(Place::Load);
        // One certificate for all clients: hundreds of key generations would only lengthen the set-up.
        let client_config = config(2)?;
        let bind = |seed| {
            Endpoint::bind(IP, &client_options(), wall, &client_config, seed)
                .map_err(|error| format!("a client's socket: {error}"))
        };
        let numbers = 0..scene.connections.len() as u64;
        let endpoints = numbers.map(|number| bind(1_000 + number)).collect::<Result<Vec<_>, _>>()?;
        let mut rig = Self { metrics, endpoints, wall, since, worker, events, thread: Some(thread) };
        for (number, connection) in scene.connections.iter().enumerate() {
            rig.introduce(number, connection, client_config.certificate().fingerprint())?;
        }
        rig.connect()?;
        Ok(rig)
    }

    /// Tells the worker about a client, and the client about the worker.
    fn introduce(
        &mut self,
        number: usize,
        connection: &Connection,
        fingerprint: rtc::Fingerprint,
    ) -> Result<(), String> {
        let now = Instant::now();
        let (info, peer, sections) = (self.worker.info.clone(), peer(number), sections(connection));
        let endpoint = &mut self.endpoints[number];
        let local = media::IceCredentials {
            ufrag: format!("s{number:08}"),
            password: format!("server-password-{number:08}"),
        };
        let theirs = endpoint.credentials();
        let remote = media::IceCredentials { ufrag: theirs.ufrag.clone(), password: theirs.password.clone() };
        let Connection { room, participant, .. } = *connection;
        let (receive, send) = rig::mirrored(&sections);
        endpoint.peer().set_sections(now, &receive, &send);
        endpoint.connect(
            now,
            &Remote {
                credentials: IceCredentials { ufrag: local.ufrag.clone(), password: local.password.clone() },
                fingerprint: info.fingerprint.0,
                candidates: info.candidates.clone(),
            },
        );
        self.command(Command::AddPeer { peer, room, participant, local })?;
        let fingerprint = media::Fingerprint(fingerprint);
        self.command(Command::SetRemote { peer, remote, fingerprint, role: media::DtlsRole::Server })?;
        if let Role::Subscribes(subscriber) = &connection.role {
            for want in &subscriber.wants {
                let (track, settings) = (want.track.id, want.settings);
                self.command(Command::SetTrackSettings { peer, track, settings })?;
            }
        }
        self.command(Command::SetSections { peer, sections })
    }

    fn connect(&mut self) -> Result<(), String> {
        let (deadline, total) = (Instant::now() + CONNECT_WITHIN, self.endpoints.len());
        let (mut slab, mut connected) = (Slab::new(), 0);
        while connected < total {
            let now = Instant::now();
            for endpoint in &mut self.endpoints {
                endpoint.receive(now, &mut slab, |_, _| {}).map_err(|error| error.to_string())?;
                while endpoint.peer().poll_event().is_some() {}
            }
            connected += self.drain_events();
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

    /// The server forgets a connection.
    pub fn remove(&mut self, number: usize) -> Result<(), String> {
        self.command(Command::RemovePeer { peer: peer(number) })
    }

    /// The server ends all that a connection receives and sends.
    pub fn clear_sections(&mut self, number: usize) -> Result<(), String> {
        self.command(Command::SetSections { peer: peer(number), sections: Sections::default() })
    }

    fn command(&self, command: Command) -> Result<(), String> {
        for _ in 0..10_000 {
            if self.worker.try_send(command.clone()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err("the worker does not take commands".to_owned())
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

fn peer(number: usize) -> PeerId {
    PeerId(number as u64 + 1)
}

fn sections(connection: &Connection) -> Sections {
    match &connection.role {
        Role::Publishes(published) => {
            rig::publish(&published.iter().map(|each| each.track.clone()).collect::<Vec<_>>())
        }
        Role::Subscribes(subscriber) => rig::subscribe(subscriber.wants.iter().map(|want| &want.track)),
    }
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
        mesh: Mesh::default(),
        // All microphones, as in the published scenarios.
        loudest: 0,
    }
}

/// As the budget says: receivers without coalescing, so that every datagram is delivered on its own. They are told when a
/// datagram came, so that neither latency nor feedback suffers when this program reads it late.
fn client_options() -> Options {
    Options { receive_buffer: 1 << 20, send_buffer: 1 << 18, coalesce: false, timestamps: true }
}
