//! The floor: seal the same bytes, send them to the same destinations in the same segment sizes, and nothing else.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ring::aead;
use udp::{Batch, CpuClock, Options, Socket};

use super::pattern::Pattern;

/// Bytes of the ciphers' tag, behind the payload.
const TAG: usize = 16;
/// Flushed when the batch holds this much, as the worker does.
const FLUSH_BYTES: usize = 256 * 1024;

/// What one run of the floor cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// CPU time, user plus kernel.
    pub cpu: Duration,
    /// Packets sent.
    pub packets: u64,
    /// Messages that the kernel took.
    pub messages: u64,
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

impl Floor {
    /// Plays `pattern` for `length` on the calling thread. Packets that are due at the same moment go out together, to one
    /// receiver after the other, equal sizes of a run in one message.
    pub fn run(&self, ip: IpAddr, pattern: &Pattern, length: Duration) -> Result<Cost, String> {
        let socket = Socket::bind(SocketAddr::new(ip, 0), &Options::default());
        let mut socket = socket.map_err(|error| format!("the floor's socket: {error}"))?;
        let keys: Vec<aead::LessSafeKey> = self.destinations.iter().map(|_| self.key()).collect();
        let clock = CpuClock::current_thread().map_err(|error| error.to_string())?;
        let mut batch = Batch::with_capacity(2 * FLUSH_BYTES);
        let payload = vec![0x5a; 1_500];
        let (start, mut lap) = (Instant::now(), Duration::ZERO);
        let (mut packets, mut nonce) = (0, 0);
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
                let group = &pattern.packets[next..end];
                for (key, to) in keys.iter().zip(&self.destinations) {
                    for packet in group {
                        nonce += 1;
                        self.seal(key, nonce, &payload[..packet.payload], batch.buffer());
                        batch.commit(*to, None);
                        packets += 1;
                    }
                    if batch.len() >= FLUSH_BYTES {
                        socket.send(&batch);
                        batch.clear();
                    }
                }
                socket.send(&batch);
                batch.clear();
                next = end;
            }
            lap += pattern.length;
        }
        let cpu = clock.read().unwrap_or_default().saturating_sub(begin);
        Ok(Cost { cpu, packets, messages: socket.sent().messages })
    }

    fn key(&self) -> aead::LessSafeKey {
        let key = vec![7; self.cipher.key_len()];
        aead::LessSafeKey::new(aead::UnboundKey::new(self.cipher, &key).expect("the length is the cipher's"))
    }

    fn seal(&self, key: &aead::LessSafeKey, counter: u64, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.header, 0x80);
        out.extend_from_slice(payload);
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_be_bytes());
        let (header, body) = out[start..].split_at_mut(self.header);
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, aead::Aad::from(&*header), body)
            .expect("a packet is far below the cipher's limit");
        out.extend_from_slice(tag.as_ref());
        debug_assert_eq!(out.len() - start, self.header + payload.len() + TAG);
    }
}
