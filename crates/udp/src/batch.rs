//! Outgoing datagrams, back to back, grouped into runs that leave as one message each.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// Most datagrams in one message: `UDP_MAX_SEGMENTS` of kernels before 6.9; later ones take 128.
pub const MAX_SEGMENTS: usize = 64;

/// Most bytes in one message: a maximal IPv4 packet less its two headers.
pub const MAX_MESSAGE: usize = 65_507;

/// Datagrams to one destination that may leave as one message: all of `segment` bytes, the last may be shorter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub(crate) destination: SocketAddr,
    pub(crate) source: Option<IpAddr>,
    pub(crate) segment: usize,
    pub(crate) segments: usize,
    pub(crate) range: Range<usize>,
}

impl Run {
    /// May a datagram of `len` bytes follow the last one?
    fn takes(&self, destination: SocketAddr, source: Option<IpAddr>, len: usize) -> bool {
        let full = self.segment * self.segments == self.range.len();
        full && len <= self.segment
            && self.segments < MAX_SEGMENTS
            && self.range.len() + len <= MAX_MESSAGE
            && self.destination == destination
            && self.source == source
    }

    /// The run's datagrams, each as a run of its own.
    pub(crate) fn split(&self) -> impl Iterator<Item = Run> + '_ {
        self.range.clone().step_by(self.segment.max(1)).map(|start| {
            let end = (start + self.segment).min(self.range.end);
            Run { segment: end - start, segments: 1, range: start..end, ..self.clone() }
        })
    }
}

/// Datagrams to send, in order, in one buffer that is reused from flush to flush.
///
/// Append a datagram to [`Batch::buffer`], then [`Batch::commit`] it with its destination. Segments of one size to one
/// destination, committed one after another, become one message.
#[derive(Default)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) runs: Vec<Run>,
    pub(crate) committed: usize,
}

impl Batch {
    /// A batch that holds `bytes` before it has to grow.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), runs: Vec::with_capacity(64), committed: 0 }
    }

    /// Append the next datagram here. What is before the append is committed already and must stay as it is.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Everything appended since the last commit is one datagram to `destination`, leaving from `source` where that is
    /// given. Nothing appended: nothing happens. Returns its length in bytes.
    pub fn commit(&mut self, destination: SocketAddr, source: Option<IpAddr>) -> usize {
        let range = self.committed..self.bytes.len();
        let len = range.len();
        if len == 0 {
            return 0;
        }
        self.committed = range.end;
        match self.runs.last_mut() {
            Some(run) if run.takes(destination, source, len) => {
                run.range.end = range.end;
                run.segments += 1;
            }
            _ => self.runs.push(Run { destination, source, segment: len, segments: 1, range }),
        }
        len
    }

    /// Takes back what was appended since the last commit.
    pub fn rollback(&mut self) {
        self.bytes.truncate(self.committed);
    }

    /// Appends and commits a copy of `datagram`.
    pub fn push(&mut self, destination: SocketAddr, source: Option<IpAddr>, datagram: &[u8]) {
        self.rollback();
        self.bytes.extend_from_slice(datagram);
        self.commit(destination, source);
    }

    /// Committed bytes.
    pub fn len(&self) -> usize {
        self.committed
    }

    /// Nothing committed?
    pub fn is_empty(&self) -> bool {
        self.committed == 0
    }

    /// What was committed, datagram by datagram, each with its destination.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.runs.iter().flat_map(Run::split).map(|run| (run.destination, &self.bytes[run.range]))
    }

    /// Number of messages that will be sent.
    pub fn messages(&self) -> usize {
        self.runs.len()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
        self.committed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn shape(sizes: &[(u16, usize)]) -> Vec<(u16, usize, usize)> {
        let mut batch = Batch::default();
        for (port, len) in sizes {
            batch.push(to(*port), None, &vec![0; *len]);
        }
        batch.runs.iter().map(|r| (r.destination.port(), r.segment, r.segments)).collect()
    }

    #[test]
    fn equal_sizes_to_one_destination_are_one_run() {
        assert_eq!(shape(&[(1, 100), (1, 100), (2, 100), (1, 100)]), [(1, 100, 2), (2, 100, 1), (1, 100, 1)]);
    }

    #[test]
    fn a_shorter_datagram_ends_a_run_and_a_longer_one_starts_another() {
        assert_eq!(shape(&[(1, 100), (1, 60), (1, 60), (1, 61)]), [(1, 100, 2), (1, 60, 1), (1, 61, 1)]);
    }

    #[test]
    fn a_run_respects_the_limits_of_a_message() {
        assert_eq!(shape(&[(1, 10); 65]), [(1, 10, 64), (1, 10, 1)]);
        let large = shape(&[(1, 1_400); 50]);
        assert_eq!(large, [(1, 1_400, 46), (1, 1_400, 4)]);
    }

    #[test]
    fn what_is_not_committed_can_be_taken_back() {
        let mut batch = Batch::default();
        batch.push(to(1), None, b"ab");
        batch.buffer().extend_from_slice(b"half");
        batch.rollback();
        batch.push(to(1), None, b"cd");
        assert_eq!(batch.bytes, b"abcd");
        assert_eq!(batch.messages(), 1);
        assert_eq!(batch.commit(to(1), None), 0);
    }

    #[test]
    fn different_sources_are_different_runs() {
        let mut batch = Batch::default();
        batch.push(to(1), None, b"ab");
        batch.push(to(1), Some(to(1).ip()), b"ab");
        assert_eq!(batch.messages(), 2);
    }
}
