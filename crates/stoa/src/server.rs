//! Wiring: workers, control plane, adapters; and their orderly end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use admin::{Admin, Health, Phase, Source, Visit};
use auth::ApiKeys;
use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use backplane::EmbeddedQueue;
use base::NodeId;
use contract::events::RoomEvents;
use contract::media::{Command, Event, WorkerHandle};
use control::Control;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use webhook::Webhooks;
use worker::WorkerConfig;

use crate::messages::{self, Messages};
use crate::tls::TlsListener;
use crate::{app, hooks, http, page, prefix, time};

/// Commands that wait for one worker: a few for each of the participants that one core can carry.
const COMMANDS: usize = 4_096;
/// Events of all workers that wait for control; what finds no room is folded, or left with its sender.
const EVENTS: usize = 8_192;
/// How long rooms, connections and workers may each take to end after they were told to.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that a server is started with.
pub struct Settings {
    /// Where HTTP is served; port 0 = any.
    pub http: SocketAddr,
    /// Everything is served below this path, too; may be empty.
    pub path_prefix: String,
    /// Signalling.
    pub signal: Signal,
    /// Serve HTTPS with a self-signed certificate for these addresses.
    pub tls: Option<Vec<IpAddr>>,
    /// Media.
    pub media: Media,
    /// Rooms.
    pub rooms: control::Config,
    /// API keys.
    pub keys: ApiKeys,
    /// Webhooks.
    pub hooks: hooks::Settings,
    /// Messaging.
    pub messages: messages::Settings,
    /// Opens `/debug`.
    pub debug_token: Option<String>,
    /// With the meeting page, and a token for everybody who asks.
    pub development: bool,
    /// What to change when a port is taken.
    pub names: Names,
}

/// What clients are told, and may do.
pub struct Signal {
    /// Where this server is; may be empty.
    pub region: String,
    /// Servers elsewhere, the nearest first.
    pub regions: Vec<livekit::Region>,
    /// Joining makes a room.
    pub auto_create: bool,
}

impl Default for Signal {
    fn default() -> Self {
        Self { region: String::new(), regions: Vec::new(), auto_create: true }
    }
}

/// UDP ports and addresses of media.
pub struct Media {
    /// Port of the first worker; each has its own, consecutive. 0: any free ones.
    pub port: u16,
    /// How many workers; 1 or more.
    pub workers: usize,
    /// Addresses that clients are told, best first; at least one.
    pub advertise: Vec<IpAddr>,
    /// Microphones of a room that are forwarded where more are open; 0: all.
    pub loudest: usize,
}

/// Where a person changes a port, for errors.
pub struct Names {
    /// The HTTP port.
    pub http: &'static str,
    /// The first UDP port.
    pub udp: &'static str,
}

/// A running server.
pub struct Running {
    /// Where HTTP is served.
    pub address: SocketAddr,
    /// All addresses that clients are told to send media to.
    pub candidates: Vec<SocketAddr>,
    control: Control,
    hooks: Option<Webhooks<EmbeddedQueue>>,
    messages: Option<Messages>,
    livekit: livekit::State,
    health: Health,
    workers: Workers,
    http: JoinHandle<()>,
    stop_http: watch::Sender<bool>,
}

struct Workers {
    handles: Vec<WorkerHandle>,
    threads: Vec<std::thread::JoinHandle<()>>,
    metrics: Vec<Arc<worker::Metrics>>,
}

/// Starts everything; the error is a sentence that says what to do.
pub async fn start(settings: Settings) -> Result<Running, String> {
    // First what can fail for reasons outside: nothing has to be undone then.
    let listener = TcpListener::bind(settings.http)
        .await
        .map_err(|error| cannot_bind("TCP", settings.http, &error, settings.names.http))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let mut room_events = RoomEvents::default();
    let hooks = hooks::start(&settings.hooks, &settings.keys, &mut room_events).await?;
    let messages = messages::start(&settings.messages, &settings.keys).await?;
    let followed_by_agents = room_events.follow();
    let told_by_agents = room_events.clone();
    let (events, worker_events) = async_channel::bounded(EVENTS);
    let workers = start_workers(&settings.media, settings.names.udp, &events)?;
    let candidates = workers.handles.iter().flat_map(|handle| handle.info.candidates.clone()).collect();

    let (handle, control) =
        control::spawn(settings.rooms, workers.handles.clone(), worker_events, room_events);
    let Signal { region, regions, auto_create } = settings.signal;
    let node = NodeId(rand::random());
    let livekit_config = livekit::Config { node, region, regions, auto_create, ..livekit::Config::default() };
    let livekit =
        livekit::State::new(handle.clone(), settings.keys.clone(), time::unix_millis, livekit_config)
            .with_agents(followed_by_agents, told_by_agents);
    let whip_config = whip::Config { auto_create, ..whip::Config::default() };
    let whip = whip::State::new(handle.clone(), settings.keys.clone(), time::unix_millis, whip_config);
    let health = Health::default();
    let admin = Admin {
        control: handle,
        keys: settings.keys.clone(),
        debug_token: settings.debug_token,
        health: health.clone(),
        sources: sources(
            &workers.metrics,
            control.metrics(),
            &livekit.metrics,
            &whip.metrics,
            hooks.as_ref(),
            messages.as_ref(),
        ),
        now: time::unix_millis,
    };
    let routes = Router::new()
        .merge(livekit::router(livekit.clone()))
        .merge(whip::router(whip))
        .merge(admin::router(admin));
    let routes = match &messages {
        Some(messages) => routes.merge(messages.routes()),
        None => routes,
    };
    let letters = hooks.as_ref().and_then(|hooks| hooks.admin(settings.keys.clone(), time::unix_millis));
    let routes = match letters {
        Some(letters) => routes.merge(webhook::router(letters)),
        None => routes,
    };
    let routes = if settings.development {
        let app = app::App { keys: settings.keys, tls: settings.tls.is_some() };
        routes.merge(app::router(app)).merge(page::router())
    } else {
        // Some monitors ask for the root.
        routes.route("/", get(|| async { "Stoa\n" }))
    };

    let (stop_http, stopped) = watch::channel(false);
    let routes = prefix::below(&settings.path_prefix, routes);
    let http = serve_http(listener, settings.tls, routes, stopped)?;
    health.enter(Phase::Serving);
    Ok(Running { address, candidates, control, hooks, messages, livekit, health, workers, http, stop_http })
}

fn start_workers(
    media: &Media,
    name: &str,
    events: &async_channel::Sender<Event>,
) -> Result<Workers, String> {
    let certificate = rtc::Certificate::generate(rand::random()).map_err(|error| error.to_string())?;
    let rtc = Arc::new(rtc::Config::new(certificate).map_err(|error| error.to_string())?);
    let wildcard = wildcard();
    let mesh = worker::Mesh::default();
    let mut workers = Workers { handles: Vec::new(), threads: Vec::new(), metrics: Vec::new() };
    for index in 0..media.workers {
        let port = port_of(media, index)
            .ok_or_else(|| format!("{name}: {} workers find no ports from {}", media.workers, media.port))?;
        let bind = SocketAddr::new(wildcard, port);
        // Without IPv6 there is no point in telling its addresses.
        let usable = media.advertise.iter().filter(|ip| ip.is_ipv4() || wildcard.is_ipv6());
        let metrics = Arc::new(worker::Metrics::default());
        let config = WorkerConfig {
            index,
            bind,
            candidates: usable.map(|ip| SocketAddr::new(*ip, port)).collect(),
            rtc: Arc::clone(&rtc),
            seed: rand::random(),
            commands: COMMANDS,
            metrics: Arc::clone(&metrics),
            mesh: mesh.clone(),
            loudest: media.loudest,
        };
        let (handle, thread) =
            worker::spawn(config, events.clone()).map_err(|error| cannot_bind("UDP", bind, &error, name))?;
        workers.handles.push(handle);
        workers.threads.push(thread);
        workers.metrics.push(metrics);
    }
    Ok(workers)
}

fn port_of(media: &Media, index: usize) -> Option<u16> {
    if media.port == 0 { Some(0) } else { media.port.checked_add(u16::try_from(index).ok()?) }
}

/// All addresses: IPv6's wildcard takes IPv4 too, but there are machines without IPv6.
fn wildcard() -> IpAddr {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn cannot_bind(protocol: &str, address: SocketAddr, error: &io::Error, name: &str) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "something else uses that port, perhaps another Stoa: stop it, or choose another with {name}"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need the right to use them: choose another with {name}")
        }
        io::ErrorKind::AddrNotAvailable => format!("this machine has no such address: change {name}"),
        _ => format!("see {name}"),
    };
    format!("{protocol} port {} on {} cannot be used ({error}): {advice}", address.port(), address.ip())
}

fn serve_http(
    listener: TcpListener,
    tls: Option<Vec<IpAddr>>,
    routes: Router,
    stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, String> {
    Ok(match tls {
        Some(addresses) => {
            let listener =
                TlsListener::new(listener, &addresses).map_err(|error| format!("HTTPS: {error}"))?;
            tokio::spawn(http::serve(listener, routes, stopped))
        }
        None => {
            // Signal messages are small and wait for each other.
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            tokio::spawn(http::serve(listener, routes, stopped))
        }
    })
}

/// Where the numbers of `/metrics` come from.
fn sources(
    workers: &[Arc<worker::Metrics>],
    control: &Arc<control::Metrics>,
    livekit: &Arc<livekit::Metrics>,
    whip: &Arc<whip::Metrics>,
    hooks: Option<&Webhooks<EmbeddedQueue>>,
    messages: Option<&Messages>,
) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for (index, metrics) in workers.iter().enumerate() {
        let (index, metrics) = (index.to_string(), Arc::clone(metrics));
        sources.push(Box::new(move |visit: &mut Visit<'_>| {
            metrics.for_each(|name, labels, value| {
                let mut all = vec![("worker", index.as_str())];
                all.extend_from_slice(labels);
                visit(name, &all, value as f64);
            });
        }));
    }
    let control = Arc::clone(control);
    sources.push(Box::new(move |visit| {
        control.for_each(|name, labels, value| visit(name, labels, value as f64))
    }));
    let livekit = Arc::clone(livekit);
    sources.push(Box::new(move |visit| {
        livekit.for_each(|name, labels, value| visit(&format!("stoa_{name}"), labels, value as f64));
    }));
    let whip = Arc::clone(whip);
    sources.push(Box::new(move |visit| {
        whip.for_each(|name, labels, value| visit(&format!("stoa_{name}"), labels, value as f64));
    }));
    if let Some(hooks) = hooks.map(|hooks| Arc::clone(hooks.metrics())) {
        sources.push(Box::new(move |visit| {
            hooks.for_each(|name, labels, value| visit(name, labels, value as f64));
        }));
    }
    if let Some(messages) = messages.map(|messages| Arc::clone(messages.metrics())) {
        sources.push(Box::new(move |visit| {
            messages.for_each(|name, labels, value| visit(&format!("stoa_{name}"), labels, value as f64));
        }));
    }
    let started = time::since_epoch().as_secs_f64();
    sources.push(Box::new(move |visit| {
        visit("stoa_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        visit("process_start_time_seconds", &[], started);
    }));
    sources
}

impl Running {
    /// Serves until the process is told to stop (SIGINT, SIGTERM), then ends in order: nobody is let in any more, the
    /// participants are told, HTTP ends, then media. A second signal ends it at once.
    pub async fn until_stopped(mut self) -> Result<(), String> {
        tokio::select! {
            signal = signalled() => signal?,
            ended = &mut self.http => return Err(format!("HTTP ended by itself: {ended:?}")),
            why = failed(self.messages.as_ref()) => return Err(format!("messages cannot be kept any more: {why}")),
        }
        eprintln!("stopping");
        tokio::select! {
            () = self.stop() => Ok(()),
            signal = signalled() => {
                signal?;
                Err("stopped at once".into())
            }
        }
    }

    async fn stop(self) {
        self.health.enter(Phase::Draining);
        if timeout(PATIENCE, self.control.shutdown()).await.is_err() {
            tracing::warn!("rooms did not end in time");
        }
        // They have heard of the end of their rooms, and what that ends is told, too.
        if timeout(PATIENCE, self.livekit.stop_agents()).await.is_err() {
            tracing::warn!("workers of agents were not sent away in time");
        }
        if let Some(messages) = self.messages
            && timeout(PATIENCE, messages.stop()).await.is_err()
        {
            tracing::warn!("messaging did not end in time; what was acknowledged is on the disk");
        }
        if let Some(hooks) = self.hooks
            && timeout(PATIENCE, hooks.stop()).await.is_err()
        {
            tracing::error!("webhooks could not be put on the disk in time: the last ones may be lost");
        }
        if timeout(PATIENCE, self.livekit.sessions.ended()).await.is_err() {
            tracing::warn!("not every client could be told in time");
        }
        self.stop_http.send_replace(true);
        if timeout(PATIENCE, self.http).await.is_err() {
            tracing::warn!("connections did not end in time");
        }
        for handle in &self.workers.handles {
            // A queue that stays full belongs to a worker that does not work any more.
            let _ = timeout(PATIENCE, handle.send(Command::Stop)).await;
        }
        let threads = self.workers.threads;
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        if timeout(PATIENCE, joined).await.is_err() {
            tracing::warn!("workers did not end in time");
        }
    }
}

/// Never, where there is no messaging.
async fn failed(messages: Option<&Messages>) -> String {
    match messages {
        Some(messages) => messages.failed().await,
        None => std::future::pending().await,
    }
}

#[cfg(unix)]
async fn signalled() -> Result<(), String> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| format!("signals cannot be received: {error}"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}
