//! Sockets around two links.
//!
//! ```text
//!  client A ─┐            ┌─ up ───▶ socket of A ─┐
//!            ├─ listener ─┤         socket of B ──┼─ server
//!  client B ─┘            └─ down ◀───────────────┘
//! ```
//!
//! Each socket has a thread that reads it and puts what it reads, with the time, into one bounded channel. One thread owns
//! the links and everything else, and sleeps in that channel until the next packet is due.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use sim::Link;

use super::Options;
use super::order::{Change, Order, Timetable};
use super::status::Reporter;

/// Events that wait for the links. When it is full the kernel's buffers fill, and then the kernel drops.
const EVENTS: usize = 4_096;
/// Packets inside one link: two seconds at 200 Mbit/s, so that a mistaken delay does not take the machine's memory.
const MAX_INSIDE: usize = 40_000;
/// Clients at a time; each has a socket and a thread. A browser has two addresses for each connection at most.
const MAX_CLIENTS: usize = 128;
/// A client that was silent for so long is forgotten. ICE sends checks far more often.
const IDLE: Duration = Duration::from_secs(120);
/// How often readers look whether they are still wanted.
const READ_TIMEOUT: Duration = Duration::from_millis(250);
/// Headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// What the threads tell the one that owns the links.
pub enum Event {
    /// From a client.
    Up(Datagram),
    /// From the server, for a client.
    Down(Datagram),
    /// A line from a person.
    Order(String),
}

/// A datagram with the time at which it was read.
pub struct Datagram {
    at: Instant,
    client: SocketAddr,
    bytes: Vec<u8>,
}

type Packet = (SocketAddr, Vec<u8>);

pub struct Proxy {
    server: SocketAddr,
    listener: Arc<UdpSocket>,
    clients: BTreeMap<SocketAddr, Client>,
    down: Link<Packet>,
    up: Link<Packet>,
    timetable: Option<Timetable>,
    events: Receiver<Event>,
    sender: SyncSender<Event>,
    ended: Arc<AtomicBool>,
    start: Instant,
    /// Down and up.
    reporters: (Reporter, Reporter),
    /// Not taken because a link or the table of clients was full.
    overflow: u64,
}

struct Client {
    socket: Arc<UdpSocket>,
    heard: Instant,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// Takes the port and begins to listen. The error is a sentence.
    pub fn bind(options: &Options) -> Result<Self, String> {
        let cannot = |error| format!("cannot listen on UDP {}: {error}", options.listen);
        let listener = Arc::new(UdpSocket::bind(options.listen).map_err(cannot)?);
        let (sender, events) = sync_channel(EVENTS);
        let ended = Arc::new(AtomicBool::new(false));
        let to_links = sender.clone();
        read(&listener, &ended, move |at, client, bytes| {
            to_links.send(Event::Up(Datagram { at, client, bytes })).is_ok()
        })
        .map_err(cannot)?;
        let start = Instant::now();
        Ok(Self {
            server: options.to,
            listener,
            clients: BTreeMap::new(),
            down: Link::new(start, options.seed, options.down),
            // Another seed: the directions do not lose in step.
            up: Link::new(start, options.seed.wrapping_add(1 << 32), options.up),
            timetable: Some(options.timetable.clone()),
            events,
            sender,
            ended,
            start,
            reporters: (Reporter::default(), Reporter::default()),
            overflow: 0,
        })
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.server)
    }

    /// Where orders go in.
    pub fn events(&self) -> SyncSender<Event> {
        self.sender.clone()
    }

    /// Forwards until it is told to quit, and tells each second, and after each order, what there is to tell.
    pub fn run(mut self, mut tell: impl FnMut(&str)) {
        let mut next_report = self.start + Duration::from_secs(1);
        loop {
            let now = Instant::now();
            self.deliver(now);
            if now >= next_report {
                next_report += Duration::from_secs(1);
                self.forget_idle(now);
                tell(&self.report(now));
            }
            let due = [self.down.poll_timeout(), self.up.poll_timeout()].into_iter().flatten().min();
            let wake = due.map_or(next_report, |due| due.min(next_report));
            match self.events.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Event::Order(line)) => match line.parse() {
                    Ok(Order::Quit) => return,
                    Ok(Order::Change(change)) => tell(&self.change(&change)),
                    Err(reason) => tell(&reason),
                },
                Ok(Event::Up(datagram)) => self.receive_up(datagram),
                Ok(Event::Down(datagram)) => self.receive_down(datagram),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn receive_up(&mut self, Datagram { at, client, bytes }: Datagram) {
        if let Some(timetable) = self.timetable.take() {
            self.down.follow(at, &timetable.down);
            self.up.follow(at, &timetable.up);
        }
        if !self.clients.contains_key(&client) && !self.admit(at, client) {
            self.overflow += 1;
            return;
        }
        self.clients.entry(client).and_modify(|known| known.heard = at);
        push(&mut self.up, &mut self.overflow, at, (client, bytes));
    }

    fn receive_down(&mut self, Datagram { at, client, bytes }: Datagram) {
        push(&mut self.down, &mut self.overflow, at, (client, bytes));
    }

    /// What is due goes out. What the kernel does not take is lost, as on any network.
    fn deliver(&mut self, now: Instant) {
        while let Some((client, bytes)) = self.up.poll_deliver(now) {
            if let Some(client) = self.clients.get(&client) {
                let _ = client.socket.send(&bytes);
            }
        }
        while let Some((client, bytes)) = self.down.poll_deliver(now) {
            let _ = self.listener.send_to(&bytes, client);
        }
    }

    /// A socket towards the server for a new client. False: there is none left.
    fn admit(&mut self, now: Instant, client: SocketAddr) -> bool {
        if self.clients.len() >= MAX_CLIENTS {
            return false;
        }
        let any: IpAddr =
            if self.server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let Ok(socket) = UdpSocket::bind((any, 0)) else { return false };
        let (socket, ended) = (Arc::new(socket), Arc::new(AtomicBool::new(false)));
        let to_links = self.sender.clone();
        let reading = socket.connect(self.server).and_then(|()| {
            read(&socket, &ended, move |at, _, bytes| {
                to_links.send(Event::Down(Datagram { at, client, bytes })).is_ok()
            })
        });
        if reading.is_ok() {
            self.clients.insert(client, Client { socket, heard: now, ended });
        }
        reading.is_ok()
    }

    fn forget_idle(&mut self, now: Instant) {
        self.clients.retain(|_, client| now.saturating_duration_since(client.heard) < IDLE);
    }

    fn report(&mut self, now: Instant) -> String {
        let down = self.reporters.0.report(now, &mut self.down);
        let up = self.reporters.1.report(now, &mut self.up);
        let seconds = (now - self.start).as_secs();
        let refused = if self.overflow > 0 { format!("; {} refused", self.overflow) } else { String::new() };
        format!("{seconds} s, {} clients; down {down}; up {up}{refused}", self.clients.len())
    }

    /// Returns what is so now.
    fn change(&mut self, change: &Change) -> String {
        let now = Instant::now();
        for (wanted, link) in [(change.down, &mut self.down), (change.up, &mut self.up)] {
            for setting in change.settings.iter().filter(|_| wanted) {
                link.set(now, *setting);
            }
        }
        format!("down {}; up {}", self.down.conditions(), self.up.conditions())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn push(link: &mut Link<Packet>, overflow: &mut u64, at: Instant, packet: Packet) {
    if link.len() < MAX_INSIDE {
        link.send(at, packet.1.len() + HEADERS, packet);
    } else {
        *overflow += 1;
    }
}

/// Hands every datagram that comes to `socket` to `give`, on a thread of its own, until that returns false or `ended` is true.
fn read(
    socket: &Arc<UdpSocket>,
    ended: &Arc<AtomicBool>,
    mut give: impl FnMut(Instant, SocketAddr, Vec<u8>) -> bool + Send + 'static,
) -> std::io::Result<()> {
    socket.set_read_timeout(Some(READ_TIMEOUT))?;
    let (socket, ended) = (Arc::clone(socket), Arc::clone(ended));
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while !ended.load(Ordering::Relaxed) {
            match socket.recv_from(&mut buffer) {
                Ok((size, from)) => {
                    if !give(Instant::now(), from, buffer[..size].to_vec()) {
                        return;
                    }
                }
                // Nothing came, or the server's port was closed when we last sent.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => thread::sleep(READ_TIMEOUT),
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
