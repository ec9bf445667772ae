//! ICE candidates of the other side, for a full agent. Servers do without: they answer to wherever checks come from.

use std::net::SocketAddr;

/// Most candidates of a description that are looked at. A server has one for each of its addresses.
pub const MAX_CANDIDATES: usize = 64;

/// All candidates over UDP in a description, in order, whichever section they stand in: everything is bundled.
pub fn candidates(text: &str) -> Vec<SocketAddr> {
    let values = text.lines().filter_map(|line| line.trim_end().strip_prefix("a=candidate:"));
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in values.filter_map(parse_candidate).take(MAX_CANDIDATES) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The value of a candidate attribute (RFC 8839 section 5.1), with or without `candidate:` in front. `None`: not over
/// UDP, not of the first component, not an address (host names are not looked up), or malformed.
pub fn parse_candidate(value: &str) -> Option<SocketAddr> {
    let value = value.trim();
    let mut words = value.strip_prefix("candidate:").unwrap_or(value).split_ascii_whitespace();
    let (_foundation, component, transport) = (words.next()?, words.next()?, words.next()?);
    if component != "1" || !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    let (_priority, ip, port) = (words.next()?, words.next()?, words.next()?);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some(SocketAddr::new(ip.parse().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_over_udp_are_found_once_and_in_order() {
        let text = "v=0\r\na=candidate:1 1 udp 2130706431 10.0.0.5 7882 typ host\r\n\
                    a=candidate:2 1 tcp 1 10.0.0.5 7881 typ host tcptype passive\r\n\
                    a=candidate:3 2 udp 1 10.0.0.5 7883 typ host\r\n\
                    a=candidate:4 1 UDP 1 ::1 7882 typ host generation 0\r\n\
                    a=candidate:1 1 udp 2130706431 10.0.0.5 7882 typ host\r\n";
        let found: Vec<String> = candidates(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.5:7882", "[::1]:7882"]);
    }

    #[test]
    fn what_is_no_candidate_is_left_out() {
        for text in
            ["", "candidate:", "1 1 udp 1 x.local 9 typ host", "1 1 udp 1 1.2.3.4 0 typ host", "1 1 udp"]
        {
            assert_eq!(parse_candidate(text), None, "{text}");
        }
        assert!(parse_candidate("candidate:1 1 udp 1 1.2.3.4 9 typ host").is_some());
        let many = "a=candidate:1 1 udp 1 1.2.3.4 9 typ host\n".repeat(1_000);
        assert_eq!(candidates(&many).len(), 1);
    }
}
