//! Making and configuring the socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use crate::address::Family;
use crate::send::SendStats;

/// Sizes of the kernel's buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Bytes that wait to be received. The kernel grants at most `net.core.rmem_max`.
    pub receive_buffer: usize,
    /// Bytes that wait to be sent. The kernel grants at most `net.core.wmem_max`.
    pub send_buffer: usize,
    /// Take coalesced messages (`UDP_GRO`), where the kernel can.
    pub coalesce: bool,
    /// Be told when each datagram arrived at the machine (`SO_TIMESTAMPNS`).
    pub timestamps: bool,
}

impl Default for Options {
    /// 4 MB each: a quarter of a second of 130 Mbit/s, which rides out a stall of the thread.
    fn default() -> Self {
        Self { receive_buffer: 4 << 20, send_buffer: 4 << 20, coalesce: true, timestamps: false }
    }
}

/// A non-blocking UDP socket, bound and unconnected.
///
/// Bound to a wildcard address it tells for each datagram to which of our addresses it was sent. An IPv6 wildcard takes
/// IPv4 too; such peers appear with their plain IPv4 address.
pub struct Socket {
    inner: UdpSocket,
    local: SocketAddr,
    pub(crate) family: Family,
    /// Segmentation by the kernel works here, as far as is known.
    pub(crate) segmentation: bool,
    pub(crate) sent: SendStats,
}

impl Socket {
    /// Binds. Fails when the address is not ours or taken; everything that only makes it faster may be missing.
    pub fn bind(address: SocketAddr, options: &Options) -> io::Result<Self> {
        let inner = UdpSocket::bind(address)?;
        inner.set_nonblocking(true)?;
        let local = inner.local_addr()?;
        let socket =
            Self { family: Family::of(local), segmentation: true, sent: SendStats::default(), inner, local };
        let (receive, send) = (options.receive_buffer, options.send_buffer);
        let _ = socket.set(libc::SOL_SOCKET, libc::SO_RCVBUF, clamp(receive));
        let _ = socket.set(libc::SOL_SOCKET, libc::SO_SNDBUF, clamp(send));
        let _ = socket.set(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        if options.coalesce {
            let _ = socket.set(libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        if options.timestamps {
            let _ = socket.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
        }
        if local.ip().is_unspecified() {
            match socket.family {
                Family::V4 => socket.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
                Family::V6 => socket.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?,
            }
        }
        Ok(socket)
    }

    /// The bound address, with the port that the kernel chose where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Bound to all addresses of the machine?
    pub fn is_wildcard(&self) -> bool {
        self.local.ip().is_unspecified()
    }

    /// The full local address of a datagram that arrived with this packet info.
    pub fn local_for(&self, info: Option<IpAddr>) -> SocketAddr {
        info.map_or(self.local, |ip| SocketAddr::new(ip, self.local.port()))
    }

    /// What was sent and what was not, since the socket was made.
    pub fn sent(&self) -> &SendStats {
        &self.sent
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the pointer and length describe one live int; the descriptor is open as long as `self`.
        let result = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                level,
                name,
                std::ptr::from_ref(&value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

fn clamp(bytes: usize) -> libc::c_int {
    // The kernel doubles what is asked for.
    libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX / 2).min(libc::c_int::MAX / 2)
}
