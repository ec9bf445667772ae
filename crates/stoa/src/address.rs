//! The addresses of this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The addresses at which others may reach this machine, the one towards the internet first, then IPv4 before IPv6.
/// Loopback and link-local addresses are left out: nobody else reaches the one, and the other needs an interface's name.
pub fn of_machine() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the addresses of this machine cannot be listed");
        Vec::new()
    });
    ordered(interfaces.into_iter().map(|interface| interface.ip()).collect(), towards_internet())
}

/// Loopback, as an address for media.
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn ordered(mut addresses: Vec<IpAddr>, first: Option<IpAddr>) -> Vec<IpAddr> {
    addresses.retain(is_reachable);
    addresses.sort_by_key(|ip| (Some(*ip) != first, ip.is_ipv6()));
    addresses.dedup();
    addresses
}

fn is_reachable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

/// The address from which the kernel would send to the internet. Connecting a UDP socket sends nothing.
fn towards_internet() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address for documentation (RFC 5737): any would do.
    socket.connect(SocketAddr::from(([203, 0, 113, 1], 9))).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(is_reachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_address_towards_the_internet_is_first_and_those_nobody_reaches_are_left_out() {
        let all = ["127.0.0.1", "172.17.0.1", "fe80::1", "2001:db8::5", "192.168.1.5", "169.254.1.1", "::1"];
        let ordered = ordered(all.map(ip).to_vec(), Some(ip("192.168.1.5")));
        assert_eq!(ordered, ["192.168.1.5", "172.17.0.1", "2001:db8::5"].map(ip));
    }
}
