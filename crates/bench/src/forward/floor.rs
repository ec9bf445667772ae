//! The floor: seal the same bytes, send them to the same destinations in the same segment sizes, and nothing else.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use ring::aead;
use udp::{Batch, CpuClock, Options, Socket};

use super::load::Load;
use super::pattern::{Packet, Pattern};
use super::rig::{self, IP, Place};

/// Flushed when the batch holds this much, as the worker does.
const FLUSH_BYTES: usize = 192 * 1024;

/// What a run cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// CPU time, user plus kernel.
    pub cpu: Duration,
    /// Packets sent.
    pub packets: u64,
    /// Messages that the kernel took.
    pub messages: u64,
}

impl Cost {
    /// CPU time of one packet in nanoseconds.
    pub fn per_packet_ns(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.packets.max(1) as f64
    }

    /// Packets in a message, on average.
    pub fn segments(&self) -> f64 {
        self.packets as f64 / self.messages.max(1) as f64
    }

    /// Both together.
    pub fn add(&mut self, other: Cost) {
        self.cpu += other.cpu;
        self.packets += other.packets;
        self.messages += other.messages;
    }
}

/// Who the floor sends to, and how large a packet is around its payload.
pub struct Floor {
    /// One per receiver.
    pub destinations: Vec<SocketAddr>,
    /// Header and header extensions in bytes, as measured on the forwarded packets.
    pub header: usize,
    /// Cipher of the measured run.
    pub cipher: &'static aead::Algorithm,
}

/// Cuts bursts so that messages have so many segments on average as those of the measured run: pacing may have spread a
/// frame over several.
struct Cutter {
    /// Messages for each message of an uncut burst, at least 1.
    factor: f64,
    owed: f64,
}

impl Cutter {
    /// `segments`: per message of the measured run.
    fn new(pattern: &Pattern, segments: f64) -> Self {
        let bursts = pattern.packets.chunk_by(|a, b| a.payload == b.payload && !a.last).count();
        let uncut = pattern.packets.len() as f64 / bursts.max(1) as f64;
        Self { factor: (uncut / segments.max(1.0)).max(1.0), owed: 0.0 }
    }

    /// The parts in which a burst of so many packets is sent.
    fn parts(&mut self, packets: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        self.owed += self.factor;
        let count = (self.owed as usize).clamp(1, packets.max(1));
        self.owed -= self.owed.trunc();
        (0..count).map(move |part| part * packets / count..(part + 1) * packets / count)
    }
}

impl Floor {
    /// The same destinations, cipher and sizes as the packets forwarded so far.
    pub fn below(load: &mut Load) -> Result<Self, String> {
        let header = load.header();
        let profile = load.subscribers().next().and_then(|first| first.peer().snapshot().profile);
        let cipher = match profile {
            Some(rtc::srtp::Profile::AeadAes256Gcm) => &aead::AES_256_GCM,
            Some(rtc::srtp::Profile::AeadAes128Gcm) => &aead::AES_128_GCM,
            other => return Err(format!("the floor has no cipher for {other:?}")),
        };
        let destinations = load.subscribers().map(|endpoint| endpoint.socket().local_addr()).collect();
        Ok(Self { destinations, header, cipher })
    }

    /// Runs on a thread of its own, while this one goes on reading the same sockets.
    pub fn measure(
        &self,
        load: &mut Load,
        pattern: &Pattern,
        length: Duration,
        segments: f64,
    ) -> Result<Cost, String> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                rig::take(Place::Server);
                self.run(IP, pattern, length, segments)
            });
            load.listen_while(|_| !thread.is_finished())?;
            thread.join().map_err(|_| "the floor panicked".to_owned())?
        })
    }

    /// Plays `pattern` for `length` on the calling thread. Packets that are due at the same moment go out together, to one
    /// receiver after the other, equal sizes of a run in one message, as far as messages have `segments` on average.
    fn run(&self, ip: IpAddr, pattern: &Pattern, length: Duration, segments: f64) -> Result<Cost, String> {
        let socket = Socket::bind(SocketAddr::new(ip, 0), &Options::default());
        let mut socket = socket.map_err(|error| format!("the floor's socket: {error}"))?;
        let keys: Vec<aead::LessSafeKey> = self.destinations.iter().map(|_| self.key()).collect();
        let clock = CpuClock::current_thread().map_err(|error| error.to_string())?;
        let mut sender = Sender {
            floor: self,
            keys: &keys,
            batch: Batch::with_capacity(2 * FLUSH_BYTES),
            payload: vec![0x5a; 1_500],
            packets: 0,
        };
        let mut cutter = Cutter::new(pattern, segments);
        let (start, mut lap) = (Instant::now(), Duration::ZERO);
        let begin = clock.read().unwrap_or_default();
        'run: loop {
            let mut next = 0;
            while next < pattern.packets.len() {
                let due = lap + pattern.packets[next].at;
                if due > length {
                    break 'run;
                }
                std::thread::sleep((start + due).saturating_duration_since(Instant::now()));
                let late = start.elapsed().saturating_sub(lap);
                let end = next + pattern.packets[next..].iter().take_while(|p| p.at <= late).count().max(1);
                for part in cutter.parts(end - next) {
                    sender.send(&mut socket, &pattern.packets[next..end][part]);
                }
                next = end;
            }
            lap += pattern.length;
        }
        let cpu = clock.read().unwrap_or_default().saturating_sub(begin);
        Ok(Cost { cpu, packets: sender.packets, messages: socket.sent().messages })
    }

    fn key(&self) -> aead::LessSafeKey {
        let key = vec![7; self.cipher.key_len()];
        aead::LessSafeKey::new(aead::UnboundKey::new(self.cipher, &key).expect("the length is the cipher's"))
    }
}

/// What is sealed and sent with.
struct Sender<'a> {
    floor: &'a Floor,
    keys: &'a [aead::LessSafeKey],
    batch: Batch,
    payload: Vec<u8>,
    packets: u64,
}

impl Sender<'_> {
    /// These packets to every receiver.
    fn send(&mut self, socket: &mut Socket, packets: &[Packet]) {
        for (key, to) in self.keys.iter().zip(&self.floor.destinations) {
            for packet in packets {
                self.packets += 1;
                let payload = &self.payload[..packet.payload];
                seal(key, self.packets, self.floor.header, payload, self.batch.buffer());
                self.batch.commit(*to, None);
            }
            if self.batch.len() >= FLUSH_BYTES {
                socket.send(&self.batch);
                self.batch.clear();
            }
        }
        socket.send(&self.batch);
        self.batch.clear();
    }
}

fn seal(key: &aead::LessSafeKey, counter: u64, header: usize, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + header, 0x80);
    out.extend_from_slice(payload);
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    let (header, body) = out[start..].split_at_mut(header);
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let tag = key
        .seal_in_place_separate_tag(nonce, aead::Aad::from(&*header), body)
        .expect("a packet is far below the cipher's limit");
    out.extend_from_slice(tag.as_ref());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_cut_as_the_measured_run_was() {
        let pattern = Pattern::frames_of_ten(30);
        for segments in [10.0, 9.8, 7.0, 5.0, 3.3, 1.0] {
            let mut cutter = Cutter::new(&pattern, segments);
            let (mut packets, mut messages) = (0, 0);
            for _ in 0..1_000 {
                for part in cutter.parts(10) {
                    packets += part.len();
                    messages += 1;
                }
            }
            assert_eq!(packets, 10_000);
            let found = packets as f64 / messages as f64;
            assert!((found - segments).abs() < 0.02 * segments, "{found} for {segments}");
        }
    }
}
