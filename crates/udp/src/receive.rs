//! Receiving many datagrams per call.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::SystemTime;

use crate::Socket;
use crate::address::RawAddress;
use crate::control::{self, Control};

/// Messages in a slab. More hardly pays: the kernel's cost per message dominates that of the call.
const MESSAGES: usize = 32;
/// Messages that are asked for first: mostly there are fewer, and then room for many need not be laid out.
const FEW: usize = 4;
/// The largest (coalesced) message.
const MESSAGE_SIZE: usize = 65_536;
/// An odd number of cache lines apart, so that the beginnings of the buffers do not all fall on the same cache sets.
const STRIDE: usize = MESSAGE_SIZE + 25 * 64;

/// One received datagram.
pub struct Datagram<'a> {
    /// Where it came from.
    pub source: SocketAddr,
    /// Our address to which it was sent; known on sockets bound to a wildcard address.
    pub local: Option<IpAddr>,
    /// Its payload, to be worked on in place.
    pub bytes: &'a mut [u8],
}

struct Meta {
    source: SocketAddr,
    local: Option<IpAddr>,
    arrived: Option<SystemTime>,
    range: Range<usize>,
}

/// Receive buffers, reused from call to call: 2 MB of address space, of which only what was ever used is memory.
pub struct Slab {
    bytes: Box<[u8]>,
    addresses: Box<[RawAddress]>,
    controls: Box<[Control]>,
    datagrams: Vec<Meta>,
    overflow: u32,
    truncated: u64,
}

impl Default for Slab {
    fn default() -> Self {
        Self::new()
    }
}

impl Slab {
    /// Empty buffers.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; MESSAGES * STRIDE].into_boxed_slice(),
            addresses: vec![RawAddress::zeroed(); MESSAGES].into_boxed_slice(),
            controls: vec![Control::new(); MESSAGES].into_boxed_slice(),
            datagrams: Vec::with_capacity(MESSAGES * 4),
            overflow: 0,
            truncated: 0,
        }
    }

    /// Number of datagrams that the last [`Socket::receive`] brought.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Did it bring none?
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// One of them, in order of arrival; `None` beyond [`Slab::len`].
    pub fn get(&mut self, index: usize) -> Option<Datagram<'_>> {
        let meta = self.datagrams.get(index)?;
        let bytes = self.bytes.get_mut(meta.range.clone())?;
        Some(Datagram { source: meta.source, local: meta.local, bytes })
    }

    /// When one of them arrived at the machine, where the socket was asked to tell ([`crate::Options::timestamps`]).
    pub fn arrived(&self, index: usize) -> Option<SystemTime> {
        self.datagrams.get(index)?.arrived
    }

    /// Datagrams that the kernel dropped because the socket's queue was full: the newest count (wraps).
    pub fn overflow(&self) -> u32 {
        self.overflow
    }

    /// Messages dropped because they were larger than any buffer or came without an address.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    fn take(&mut self, index: usize, len: usize, flags: libc::c_int, info: control::Info) {
        self.overflow = info.overflow.unwrap_or(self.overflow);
        let Some(source) = self.addresses[index].decode() else {
            self.truncated += 1;
            return;
        };
        if flags & libc::MSG_TRUNC != 0 || len > MESSAGE_SIZE {
            self.truncated += 1;
            return;
        }
        let arrived = info.arrived.map(|since_epoch| SystemTime::UNIX_EPOCH + since_epoch);
        let start = index * STRIDE;
        let step = info.segment.unwrap_or(len).max(1);
        for at in (0..len).step_by(step) {
            let range = start + at..start + (at + step).min(len);
            self.datagrams.push(Meta { source, local: info.local, arrived, range });
        }
    }
}

impl Socket {
    /// Reads what is there, up to one slab full, replacing what the slab held. Returns the number of datagrams: 0 when
    /// there is nothing to read. Empty datagrams are skipped. Never blocks.
    pub fn receive(&self, slab: &mut Slab) -> io::Result<usize> {
        slab.datagrams.clear();
        if self.receive_into::<FEW>(slab, 0)? == FEW {
            self.receive_into::<{ MESSAGES - FEW }>(slab, FEW)?;
        }
        Ok(slab.len())
    }

    /// Reads up to so many messages into the slab's buffers from `first` on; returns how many came.
    fn receive_into<const N: usize>(&self, slab: &mut Slab, first: usize) -> io::Result<usize> {
        // SAFETY: plain integers and pointers, for which all-zero bytes (null) are a value.
        let mut headers: [libc::mmsghdr; N] = unsafe { std::mem::zeroed() };
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; N];
        let buffers = slab.bytes.chunks_exact_mut(STRIDE).skip(first);
        let around = slab.addresses.iter_mut().zip(slab.controls.iter_mut()).skip(first);
        for (((header, vector), buffer), (address, control)) in
            headers.iter_mut().zip(&mut vectors).zip(buffers).zip(around)
        {
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: MESSAGE_SIZE };
            header.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
            header.msg_hdr.msg_namelen = RawAddress::SIZE;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr();
            header.msg_hdr.msg_controllen = Control::SIZE as _;
        }
        let count = self.receive_messages(&mut headers)?;
        for (index, header) in headers.iter().enumerate().take(count) {
            // SAFETY: the kernel wrote this header's control buffer, which lives in the slab.
            let info = unsafe { control::decode(&header.msg_hdr) };
            slab.take(first + index, header.msg_len as usize, header.msg_hdr.msg_flags, info);
        }
        Ok(count)
    }

    /// `recvmmsg(2)`; 0 when it would block.
    fn receive_messages(&self, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
        // A pending error of an earlier datagram (ICMP) is reported once and cleared: look past a few of them.
        for _ in 0..4 {
            // SAFETY: each header names live buffers with their true lengths (set by the only caller); the count is the
            // slice's; no timeout.
            let count = unsafe {
                libc::recvmmsg(
                    self.as_raw_fd(),
                    headers.as_mut_ptr(),
                    headers.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if count >= 0 {
                return Ok(count as usize);
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(0),
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => {}
                _ => return Err(error),
            }
        }
        Ok(0)
    }
}
