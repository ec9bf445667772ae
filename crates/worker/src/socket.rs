//! Hop 1 (a batch is read) and the end of hop 5 (a batch is flushed).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use udp::{Batch, Poller, Slab};

use crate::metrics::Counts;

/// Bytes and messages at which the batch goes out before all is sealed: a quarter of a millisecond of work. What was just
/// sealed should still be in the core's second level cache when the kernel copies it; a message is at most 64 KB.
const FLUSH_AT: usize = 128 << 10;
const FLUSH_AT_MESSAGES: usize = 32;
/// Room beyond that for the run that is being appended.
const RESERVE: usize = 80 << 10;

pub(crate) struct Io {
    socket: udp::Socket,
    poller: Poller,
    batch: Batch,
    /// The slab's count of datagrams dropped by the kernel, which wraps, as last seen.
    overflow: u32,
    /// The batch was full since it was flushed from outside.
    filled: bool,
    /// Nothing leaves: a test takes it.
    #[cfg(test)]
    pub(crate) held: bool,
}

impl Io {
    pub(crate) fn new(socket: udp::Socket, poller: Poller) -> Self {
        Self {
            socket,
            poller,
            batch: Batch::with_capacity(FLUSH_AT + RESERVE),
            overflow: 0,
            filled: false,
            #[cfg(test)]
            held: false,
        }
    }

    /// Hop 1: reads what has arrived, up to one slab.
    pub(crate) fn receive(&mut self, slab: &mut Slab, counts: &mut Counts) {
        if let Err(error) = self.socket.receive(slab) {
            tracing::warn!(%error, "receiving failed");
            // A broken socket stays readable: without a pause this would spin.
            std::thread::sleep(Duration::from_millis(10));
        }
        counts.datagrams_in += slab.len() as u64;
        counts.dropped_overflow += u64::from(slab.overflow().wrapping_sub(self.overflow));
        self.overflow = slab.overflow();
        counts.dropped_truncated = slab.truncated();
    }

    /// Where the next outgoing datagram is appended; see [`Self::commit`].
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.batch.buffer()
    }

    /// What was appended since the last commit is one datagram.
    #[inline]
    pub(crate) fn commit(&mut self, destination: SocketAddr, source: Option<IpAddr>) {
        self.batch.commit(destination, source);
    }

    /// What was appended since the last commit is nothing.
    pub(crate) fn rollback(&mut self) {
        self.batch.rollback();
    }

    pub(crate) fn push(&mut self, destination: SocketAddr, source: Option<IpAddr>, datagram: &[u8]) {
        self.batch.push(destination, source, datagram);
    }

    /// Between two runs: sends when enough has come together.
    pub(crate) fn flush_if_full(&mut self) {
        if self.is_full() {
            self.flush();
            self.filled = true;
        }
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= FLUSH_AT || self.batch.messages() >= FLUSH_AT_MESSAGES
    }

    /// A batch came together since [`Self::flush`].
    pub(crate) fn is_slice_full(&self) -> bool {
        self.filled || self.is_full()
    }

    /// The end of hop 5: everything leaves, one message per run, many messages per call.
    pub(crate) fn flush(&mut self) {
        self.filled = false;
        #[cfg(test)]
        if self.held {
            return;
        }
        if !self.batch.is_empty() {
            self.socket.send(&self.batch);
            self.batch.clear();
        }
    }

    /// What would be sent, and as how many messages.
    #[cfg(test)]
    pub(crate) fn take(&mut self) -> (Vec<(SocketAddr, Vec<u8>)>, usize) {
        let datagrams = self.batch.datagrams().map(|(to, bytes)| (to, bytes.to_vec())).collect();
        let messages = self.batch.messages();
        self.batch.clear();
        (datagrams, messages)
    }

    /// Sleeps until a datagram, a command or the time.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) {
        if let Err(error) = self.poller.wait(&self.socket, timeout) {
            tracing::warn!(%error, "waiting failed");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn count(&self, counts: &mut Counts) {
        let sent = self.socket.sent();
        counts.datagrams_out = sent.datagrams;
        counts.bytes_out = sent.bytes;
        counts.messages_out = sent.messages;
        counts.coalesced_out = sent.coalesced;
        counts.split_out = sent.split;
        counts.dropped_send_full = sent.dropped_full;
        counts.dropped_send_refused = sent.dropped_refused;
    }
}
