//! Socket addresses in the kernel's form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Address family of a socket; decides the form of every address that passes through it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    V4,
    /// IPv4 peers appear as mapped addresses (RFC 4291 section 2.5.5.2) in the kernel's interface, never in ours.
    V6,
}

impl Family {
    pub(crate) fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Room for either kind of address.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union RawAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    pub(crate) const SIZE: libc::socklen_t = size_of::<Self>() as libc::socklen_t;

    pub(crate) fn zeroed() -> Self {
        // SAFETY: both members are plain integers, for which all-zero bytes are a value.
        unsafe { std::mem::zeroed() }
    }

    /// `None` when a socket of this family cannot reach the address at all. The length is the kernel's `namelen`.
    pub(crate) fn encode(address: SocketAddr, family: Family) -> Option<(Self, libc::socklen_t)> {
        let mut raw = Self::zeroed();
        match (family, address) {
            (Family::V4, SocketAddr::V4(v4)) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: raw_v4(*v4.ip()),
                    sin_zero: [0; 8],
                };
                Some((raw, size_of::<libc::sockaddr_in>() as libc::socklen_t))
            }
            (Family::V4, SocketAddr::V6(_)) => None,
            (Family::V6, address) => {
                let v6 = match address {
                    SocketAddr::V6(v6) => v6,
                    SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
                };
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: raw_v6(*v6.ip()),
                    sin6_scope_id: v6.scope_id(),
                };
                Some((raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t))
            }
        }
    }

    /// The address, with mapped IPv4 unmapped; `None` for a family that is neither.
    pub(crate) fn decode(&self) -> Option<SocketAddr> {
        // SAFETY: the family comes first in both members and every byte of the union is always initialised (`zeroed`).
        let family = unsafe { self.v4.sin_family };
        match i32::from(family) {
            libc::AF_INET => {
                // SAFETY: as above; the family says that this member was written.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { self.v6 };
                let port = u16::from_be(v6.sin6_port);
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(match ip.to_ipv4_mapped() {
                    Some(v4) => SocketAddr::new(IpAddr::V4(v4), port),
                    None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id)),
                })
            }
            _ => None,
        }
    }
}

pub(crate) fn raw_v4(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from(ip).to_be() }
}

pub(crate) fn raw_v6(ip: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: ip.octets() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for (text, family) in [
            ("192.0.2.7:9", Family::V4),
            ("192.0.2.7:9", Family::V6),
            ("[2001:db8::1]:65535", Family::V6),
            ("[fe80::1%3]:7", Family::V6),
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let (raw, _) = RawAddress::encode(address, family).expect("reachable");
            assert_eq!(raw.decode(), Some(address));
        }
    }

    #[test]
    fn an_ipv4_socket_cannot_reach_ipv6() {
        assert!(RawAddress::encode("[::1]:1".parse().unwrap(), Family::V4).is_none());
        assert_eq!(RawAddress::zeroed().decode(), None);
    }
}
