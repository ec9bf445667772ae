//! Control messages (`cmsg(3)`): segment sizes and local addresses that travel beside a datagram.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::address::{Family, raw_v4, raw_v6};

/// Room for what we send (segment size, packet info) and what we ask for (segment size, packet info, drop count, time).
const ROOM: usize = 128;

/// Buffer for control messages, aligned as the kernel's headers want it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control {
    bytes: [u8; ROOM],
}

/// What the kernel said beside a received message.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Info {
    /// Size of the datagrams that were coalesced; `None`: there was one.
    pub(crate) segment: Option<usize>,
    /// Our address to which it was sent.
    pub(crate) local: Option<IpAddr>,
    /// Datagrams that found the socket's queue full, since it was made.
    pub(crate) overflow: Option<u32>,
    /// When it arrived, since the Unix epoch.
    pub(crate) arrived: Option<Duration>,
}

impl Control {
    pub(crate) const SIZE: usize = ROOM;

    pub(crate) const fn new() -> Self {
        Self { bytes: [0; ROOM] }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    /// Writes what an outgoing message needs; returns the bytes used.
    pub(crate) fn encode(&mut self, family: Family, segment: Option<u16>, source: Option<IpAddr>) -> usize {
        let mut used = 0;
        if let Some(segment) = segment {
            self.append(&mut used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        match (family, source) {
            (_, None) | (Family::V4, Some(IpAddr::V6(_))) => {}
            (Family::V4, Some(IpAddr::V4(ip))) => {
                let info =
                    libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: raw_v4(ip), ipi_addr: raw_v4(ip) };
                self.append(&mut used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            (Family::V6, Some(ip)) => {
                let ip = match ip {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let info = libc::in6_pktinfo { ipi6_addr: raw_v6(ip), ipi6_ifindex: 0 };
                self.append(&mut used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
        used
    }

    fn append<T: Copy>(&mut self, used: &mut usize, level: libc::c_int, kind: libc::c_int, value: T) {
        // SAFETY: both only compute sizes.
        let (space, len) = unsafe {
            (libc::CMSG_SPACE(size_of::<T>() as u32) as usize, libc::CMSG_LEN(size_of::<T>() as u32))
        };
        assert!(*used + space <= ROOM, "ROOM holds every combination we send");
        // SAFETY: `used` is a sum of CMSG_SPACEs, hence aligned for a header inside the aligned buffer, and the assertion
        // keeps header and value inside it. The value is written without assuming its alignment.
        unsafe {
            let header = self.bytes.as_mut_ptr().add(*used).cast::<libc::cmsghdr>();
            (*header).cmsg_len = len as _;
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        *used += space;
    }
}

/// Reads the control messages of a received message.
///
/// # Safety
/// `header.msg_control` and `msg_controllen` are as the kernel left them and the buffer is alive.
pub(crate) unsafe fn decode(header: &libc::msghdr) -> Info {
    let mut info = Info::default();
    // SAFETY: the caller vouches for the buffer; the kernel wrote well-formed messages into it.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return headers inside the buffer or null.
        let message = unsafe { &*next };
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: the kernel puts an int here (udp_cmsg_recv).
                let size = unsafe { value::<libc::c_int>(next) };
                info.segment = usize::try_from(size).ok().filter(|size| *size > 0);
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel puts an in_pktinfo here (ip(7)).
                let packet = unsafe { value::<libc::in_pktinfo>(next) };
                let ip = Ipv4Addr::from(u32::from_be(packet.ipi_spec_dst.s_addr));
                info.local = Some(IpAddr::V4(ip)).filter(|ip| !ip.is_unspecified());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel puts an in6_pktinfo here (ipv6(7)).
                let packet = unsafe { value::<libc::in6_pktinfo>(next) };
                let ip = Ipv6Addr::from(packet.ipi6_addr.s6_addr);
                let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
                info.local = Some(ip).filter(|ip| !ip.is_unspecified());
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: the kernel puts a u32 here (socket(7)).
                info.overflow = Some(unsafe { value::<u32>(next) });
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: the kernel puts a timespec here (socket(7)).
                let time = unsafe { value::<libc::timespec>(next) };
                info.arrived = Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32));
            }
            _ => {}
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    info
}

/// # Safety
/// `message` is a header that the kernel wrote and its value is a `T`.
unsafe fn value<T: Copy>(message: *const libc::cmsghdr) -> T {
    // SAFETY: by the contract; alignment is not assumed.
    unsafe { libc::CMSG_DATA(message).cast::<T>().read_unaligned() }
}
