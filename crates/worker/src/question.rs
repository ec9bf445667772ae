//! Plain Binding requests (RFC 8489 section 14.2): "which address do you see me at?". Anybody may ask, as of any STUN server, so that
//! clients that need one can be told our own address. The answer is at most 24 bytes longer than the question.

use std::net::{IpAddr, SocketAddr};

const HEADER: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0, 1];
const BINDING_SUCCESS: [u8; 2] = [1, 1];
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0, 0x20];
/// Longer questions have more in them than a question (RFC 8489 section 6.1 keeps requests below the smallest MTU).
const LONGEST: usize = 548;

/// Is this a Binding request without any attribute that has to be understood (below 0x8000)? Checks of ICE have some.
pub(crate) fn is_question(datagram: &[u8]) -> bool {
    let Some((header, mut rest)) = datagram.split_first_chunk::<HEADER>() else { return false };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != BINDING_REQUEST
        || header[4..8] != COOKIE
        || length != rest.len()
        || datagram.len() > LONGEST
    {
        return false;
    }
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some(next) = after.get(length.next_multiple_of(4)..) else { return false };
        if head[0] < 0x80 {
            return false;
        }
        rest = next;
    }
    rest.is_empty()
}

/// The answer to a question that came from `source`.
pub(crate) fn answer(question: &[u8], source: SocketAddr) -> Vec<u8> {
    let transaction = question.get(8..HEADER).unwrap_or_default();
    let port = source.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
    let (family, address) = match source.ip().to_canonical() {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let mask = COOKIE.iter().chain(transaction);
    let address: Vec<u8> = address.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    let length = 4 + address.len() as u8;
    let attribute =
        [&XOR_MAPPED_ADDRESS[..], &[0, length, 0, family], &port.to_be_bytes(), &address].concat();
    [&BINDING_SUCCESS[..], &[0, 4 + length], &COOKIE, transaction, &attribute].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 section 2: the request's and the responses' transaction and addresses.
    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn question(attributes: &[u8]) -> Vec<u8> {
        [&[0, 1, 0, attributes.len() as u8][..], &COOKIE, &TRANSACTION, attributes].concat()
    }

    #[test]
    fn a_plain_question_is_answered_with_the_address_that_it_came_from() {
        let v4 = answer(&question(&[]), "192.0.2.1:32853".parse().expect("an address"));
        assert_eq!(v4[..8], [1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42]);
        assert_eq!(v4[8..20], TRANSACTION);
        assert_eq!(v4[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let source = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().expect("an address");
        let v6 = answer(&question(&[]), source);
        let mapped = [
            0, 0x20, 0, 20, 0, 2, 0xa1, 0x47, 1, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4,
            0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        assert_eq!(v6[20..], mapped);
        assert_eq!(v6.len(), question(&[]).len() + 24, "what strangers may get more than they sent");
    }

    #[test]
    fn checks_and_everything_else_are_no_questions() {
        assert!(is_question(&question(&[])));
        assert!(is_question(&question(&[0x80, 0x22, 0, 3, b'a', b'b', b'c', 0])), "SOFTWARE");
        assert!(!is_question(&question(&[0, 6, 0, 3, b'a', b':', b'b', 0])), "a check");
        assert!(!is_question(&question(&[0x80, 0x22, 0, 9, 0])), "cut");
        assert!(!is_question(&question(&[0; 600])), "it says another length, and is too long");
        let mut response = question(&[]);
        response[0] = 1;
        assert!(!is_question(&response) && !is_question(&question(&[])[..19]));
        let mut old = question(&[]);
        old[4] = 0;
        assert!(!is_question(&old), "RFC 3489");
    }
}
