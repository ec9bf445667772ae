//! One OS thread per core: a UDP socket, the peers and rooms on it, and the way a packet takes through them.
//!
//! This crate decides nothing about media and knows no protocol: `rtc` speaks to one peer, `sfu` decides who gets what,
//! `udp` does the system calls. It gives them time, addresses and buffers. It knows nothing of signalling or SDP.
//!
//! A room may spread over several workers of the process: its tracks cross between them through rings (`relay`).
//!
//! Everything on the thread is owned by it; control speaks through one bounded queue in each direction and is never
//! waited for. A panic ends one peer (inside `sfu`: one room's media), never the worker. An idle worker sleeps.
//!
//! The five hops of an RTP packet, on one thread, without lock or allocation:
//!
//! | hop | where |
//! |---|---|
//! | 1. a batch is read into slab buffers | `socket` |
//! | 2. the peer is found, by address or by ICE user fragment | `demux` |
//! | 3. `rtc::Peer::receive` authenticates and decrypts in place | `tick` |
//! | 4. the payload goes into its layer's ring, `sfu::Media::forward` decides who gets it | `tick`, `rooms` |
//! | 5. `rtc::Peer::send` writes and encrypts into the batch, receiver by receiver, slice by slice | `flush`, `outbox`, `socket` |

mod bandwidth;
mod by_hand;
mod commands;
mod copies;
mod demux;
mod drain;
mod early;
mod events;
mod flush;
mod guard;
mod metrics;
mod outbox;
mod pacer;
mod peers;
mod question;
mod queue;
mod relay;
mod rooms;
mod slots;
mod snapshot;
mod socket;
mod tick;
mod timers;
mod translate;
mod waiting;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use contract::media::{Event, Fingerprint, WorkerHandle, WorkerInfo};

pub use by_hand::{ByHand, by_hand};
pub use metrics::Metrics;
pub use relay::Mesh;
pub use sfu::{LOUDEST, MAX_LOUDEST};

use crate::socket::Io;
use crate::tick::{Parts, Worker};

/// What a worker is to be.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Index in the process, from 0; names the thread.
    pub index: usize,
    /// Where its UDP socket is bound. A wildcard address is fine: answers leave from the address that was asked.
    pub bind: SocketAddr,
    /// Host candidates to announce, best first; port 0 stands for the bound port. Empty: the bound address, which then must
    /// not be a wildcard.
    pub candidates: Vec<SocketAddr>,
    /// Certificate and DTLS settings of the process.
    pub rtc: Arc<rtc::Config>,
    /// Random; decides the worker's random numbers.
    pub seed: u64,
    /// Commands that wait at most, before their senders do.
    pub commands: usize,
    /// Its metrics, to be read from elsewhere.
    pub metrics: Arc<Metrics>,
    /// Where it finds the other workers of the process: the same for all of them.
    pub mesh: Mesh,
    /// Microphones of a room that are forwarded where more are open, at most [`sfu::MAX_LOUDEST`]; 0: all.
    pub loudest: usize,
}

/// Binds the socket and starts the thread. Events go to `events`, whose capacity bounds what waits there: when it is full,
/// state is folded and reliable data is left with its senders.
///
/// The thread ends with [`contract::media::Command::Stop`], or when the last clone of the handle is dropped.
///
/// # Errors
/// The address cannot be bound, no candidate can be announced, or the process has no descriptors or threads left.
pub fn spawn(
    config: WorkerConfig,
    events: async_channel::Sender<Event>,
) -> io::Result<(WorkerHandle, JoinHandle<()>)> {
    let (handle, parts) = prepare(config, events)?;
    let thread = std::thread::Builder::new()
        .name(format!("media-{}", parts.index))
        .spawn(move || Worker::new(parts).run())?;
    Ok((handle, thread))
}

/// Binds the socket; what a worker is made of, and what control gets of it.
fn prepare(config: WorkerConfig, events: async_channel::Sender<Event>) -> io::Result<(WorkerHandle, Parts)> {
    let socket = udp::Socket::bind(config.bind, &udp::Options::default())?;
    let candidates = candidates(&config.candidates, socket.local_addr())?;
    let candidate = candidates[0];
    let poller = udp::Poller::new()?;
    let info = WorkerInfo {
        index: config.index,
        candidates,
        fingerprint: Fingerprint(config.rtc.certificate().fingerprint()),
    };
    let (sender, commands) = async_channel::bounded(config.commands.max(1));
    let wake = WakeOnDrop(poller.waker());
    config.mesh.join(config.index, poller.waker());
    let parts = Parts {
        index: config.index,
        commands,
        events,
        io: Io::new(socket, poller),
        config: config.rtc,
        wall: wall_clock(),
        candidate,
        metrics: config.metrics,
        mesh: config.mesh,
        loudest: config.loudest,
        seed: config.seed,
    };
    // The handle drops its queue before this closure, so the last drop wakes a worker that sees the queue closed.
    let handle = WorkerHandle::new(info, sender, Arc::new(move || wake.0.wake()));
    Ok((handle, parts))
}

struct WakeOnDrop(udp::Waker);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}

fn candidates(wanted: &[SocketAddr], bound: SocketAddr) -> io::Result<Vec<SocketAddr>> {
    let mut candidates = wanted.to_vec();
    if candidates.is_empty() {
        candidates.push(bound);
    }
    for candidate in &mut candidates {
        if candidate.port() == 0 {
            candidate.set_port(bound.port());
        }
    }
    if candidates.iter().any(|candidate| candidate.ip().is_unspecified()) {
        let reason = "a media socket on all addresses needs to be told which of them to announce";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(candidates)
}

/// Both clocks, read together: peers compute wall-clock time from it for their reports.
fn wall_clock() -> rtc::WallClock {
    // A clock before 1970 reads as 1970: reports need only be consistent with each other.
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    rtc::WallClock { at: Instant::now(), ntp: base::NtpTime::from_unix(since_epoch) }
}
