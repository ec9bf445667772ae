//! One message to ten thousand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use wire::messaging::{ChannelCreate, ChannelKind, Command, Connect, From, OfChannel, Settings, Subscribe};

use super::floor::Floor;
use super::process::Server;
use super::publish::message;
use super::rounded;
use super::socket::{PATIENCE, Socket, for_each};

pub const PEOPLE: usize = 10_000;
/// Messages, one after the other: each when the one before is everywhere.
const MESSAGES: u64 = 60;
/// That many are not measured: buffers grow.
const WARM_UP: u64 = 10;
const AT_ONCE: usize = 200;
const CHANNEL: &str = "everybody";

/// What everybody's arrivals are told to.
#[derive(Clone)]
pub struct Arrivals {
    /// When the message left that is on its way, in microseconds since `epoch`.
    left: Arc<AtomicU64>,
    epoch: Instant,
    /// A permit for each arrival.
    count: Arc<Semaphore>,
}

impl Arrivals {
    pub fn new() -> Self {
        Self { left: Arc::default(), epoch: Instant::now(), count: Arc::new(Semaphore::new(0)) }
    }

    pub fn leaves(&self) {
        self.left.store(self.epoch.elapsed().as_micros() as u64, Ordering::Release);
    }

    /// How long it was on its way.
    pub fn arrived(&self) -> u32 {
        let took =
            (self.epoch.elapsed().as_micros() as u64).saturating_sub(self.left.load(Ordering::Acquire));
        self.count.add_permits(1);
        took as u32
    }

    /// Waits until so many have arrived.
    pub async fn all(&self, count: usize) -> Result<(), String> {
        let all = self.count.acquire_many(count as u32);
        let permits =
            tokio::time::timeout(PATIENCE, all).await.map_err(|_| "a message did not reach everybody")?;
        permits.map_err(|error| error.to_string())?.forget();
        Ok(())
    }
}

/// The server, then the floor.
pub async fn run(out: &mut Map<String, Value>) -> Result<(), String> {
    println!("fanout: one message of 200 bytes to {PEOPLE} who have its channel open, {MESSAGES} times");
    let (server, bytes) = deliver(out).await?;
    let floor = Floor::measure(bytes, PEOPLE, MESSAGES, WARM_UP).await?;
    println!(
        "  CPU time for one delivery of {bytes} bytes: server {:.0} ns, bare writes {:.0} ns, ratio {:.3}",
        server.as_nanos(),
        floor.as_nanos(),
        server.as_secs_f64() / floor.as_secs_f64()
    );
    out.insert("fanout_ratio".into(), json!(rounded(server.as_secs_f64() / floor.as_secs_f64())));
    Ok(())
}

/// The server's CPU time for one delivery, and its bytes.
async fn deliver(out: &mut Map<String, Value>) -> Result<(Duration, usize), String> {
    let server = Server::start()?;
    let mut sender = enter(&server, 0).await?;
    let listeners = for_each(PEOPLE, AT_ONCE, |number| enter(&server, number + 1)).await?;
    println!("  everybody is there");
    let arrivals = Arrivals::new();
    let bytes = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = listeners
        .into_iter()
        .map(|socket| tokio::spawn(listen(socket, arrivals.clone(), Arc::clone(&bytes))))
        .collect();
    let (mut began, mut cpu) = (Instant::now(), Duration::ZERO);
    for csn in 1..=WARM_UP + MESSAGES {
        if csn == WARM_UP + 1 {
            (began, cpu) = (Instant::now(), server.process().cpu()?);
        }
        arrivals.leaves();
        sender.ask(&message(CHANNEL, csn)).await?;
        arrivals.all(PEOPLE).await?;
    }
    let (took, cpu) = (began.elapsed(), server.process().cpu()?.saturating_sub(cpu));
    let mut delays = Vec::new();
    for task in tasks {
        delays.extend(task.await.map_err(|error| error.to_string())??.into_iter().skip(WARM_UP as usize));
    }
    delays.sort_unstable();
    let deliveries = MESSAGES as f64 * PEOPLE as f64;
    let p99 = f64::from(delays[delays.len() * 99 / 100]) / 1_000.0;
    println!(
        "  {:.0} deliveries/s; {:.1} ms median, {p99:.1} ms p99",
        deliveries / took.as_secs_f64(),
        f64::from(delays[delays.len() / 2]) / 1_000.0
    );
    out.insert("fanout_per_s".into(), json!((deliveries / took.as_secs_f64()).round()));
    out.insert("fanout_p99_ms".into(), json!(rounded(p99)));
    let each = cpu / (MESSAGES as u32 * PEOPLE as u32);
    Ok((each, bytes.load(Ordering::Relaxed) as usize))
}

/// Connects somebody and opens the channel; the first makes it.
fn enter(server: &Server, number: usize) -> impl Future<Output = Result<Socket, String>> + Send + use<> {
    let (address, token) = (server.address, server.token(&format!("user {number}")));
    async move {
        let mut socket = Socket::open(address, number).await?;
        let connect = Connect { token, device: "bench".to_owned(), resume: Vec::new() };
        socket.ask(&Command::Connect(connect)).await?;
        if number == 0 {
            let create = ChannelCreate {
                channel: CHANNEL.to_owned(),
                kind: ChannelKind::Live,
                settings: Some(Settings { public: true, ..Settings::default() }),
                members: Vec::new(),
                peer: None,
            };
            socket.ask(&Command::ChannelCreate(create)).await?;
        } else {
            socket.ask(&Command::ChannelJoin(OfChannel { channel: CHANNEL.to_owned() })).await?;
            let subscribe =
                Subscribe { channel: CHANNEL.to_owned(), from: Some(From::Head), open: Some(true) };
            socket.ask(&Command::Subscribe(subscribe)).await?;
        }
        Ok(socket)
    }
}

/// How long each message took.
async fn listen(mut socket: Socket, arrivals: Arrivals, bytes: Arc<AtomicU64>) -> Result<Vec<u32>, String> {
    let mut delays = Vec::with_capacity((WARM_UP + MESSAGES) as usize);
    socket
        .read_until(|text| {
            // Joins of others come too, folded.
            if text.contains(r#""kind":"message""#) {
                delays.push(arrivals.arrived());
                bytes.store(text.len() as u64, Ordering::Relaxed);
            }
            delays.len() as u64 == WARM_UP + MESSAGES
        })
        .await?;
    Ok(delays)
}
