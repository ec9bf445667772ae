//! SDP fragments with ICE information alone (RFC 8840 section 9), as WHIP and WHEP send them by PATCH.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use base::{MediaKind, Mid};

use crate::description::Ice;
use crate::document::candidate;
use crate::{Error, lines};

/// Longest fragment that is looked at, in bytes: some hundred candidates. Browsers send ten.
pub const MAX_FRAGMENT_LEN: usize = 32 * 1024;

/// What a fragment says that an ICE-lite agent has a use for: not its candidates.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fragment {
    /// The writer's credentials. `None`: it says nothing of them.
    pub ice: Option<Ice>,
}

/// Reads a fragment. Of repeated credentials the first hold: everything is bundled.
///
/// # Errors
/// [`Error::Syntax`] for lines that a fragment may not have, and too many of them; [`Error::NoIce`] for credentials that break
/// the grammar, or half of them.
pub fn parse_fragment(text: &str) -> Result<Fragment, Error> {
    if text.len() > MAX_FRAGMENT_LEN {
        return Err(Error::Syntax(format!("a fragment has at most {MAX_FRAGMENT_LEN} bytes")));
    }
    let (mut ufrag, mut password) = (None, None);
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let attribute = match line.split_once('=') {
            Some(("a", attribute)) => attribute,
            Some(("m", _)) => continue,
            _ => return Err(Error::Syntax("a fragment has lines of a= and m= alone".to_owned())),
        };
        match attribute.split_once(':') {
            Some(("ice-ufrag", value)) => ufrag = ufrag.or(Some(value)),
            Some(("ice-pwd", value)) => password = password.or(Some(value)),
            _ => {}
        }
    }
    match (ufrag, password) {
        (None, None) => Ok(Fragment { ice: None }),
        both => Ok(Fragment { ice: Some(lines::ice(both.0, both.1).ok_or(Error::NoIce)?) }),
    }
}

/// Writes our end of the transport after a restart: credentials and all candidates, under the section that carries them in
/// the answer.
pub fn write_fragment(ice: &Ice, candidates: &[SocketAddr], bundle: &[Mid], kind: MediaKind) -> String {
    let mut text = String::from("a=ice-lite\r\n");
    let mut add = |line: fmt::Arguments<'_>| {
        text.write_fmt(line)
            .and_then(|()| text.write_str("\r\n"))
            .expect("writing to a String does not fail");
    };
    let mids: String = bundle.iter().map(|mid| format!(" {mid}")).collect();
    add(format_args!("a=group:BUNDLE{mids}"));
    let name = if kind == MediaKind::Audio { "audio" } else { "video" };
    // A pseudo section: port and format mean nothing (RFC 8840 section 9.1).
    add(format_args!("m={name} 9 UDP/TLS/RTP/SAVPF 0"));
    if let Some(mid) = bundle.first() {
        add(format_args!("a=mid:{mid}"));
    }
    add(format_args!("a=ice-ufrag:{}", ice.ufrag));
    add(format_args!("a=ice-pwd:{}", ice.password));
    for (index, address) in candidates.iter().enumerate() {
        add(format_args!("a=candidate:{}", candidate(index, *address)));
    }
    add(format_args!("a=end-of-candidates"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_A_BROWSER: &str = "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
        a=end-of-candidates\r\n";

    #[test]
    fn credentials_of_a_fragment_are_found() {
        let ice = parse_fragment(OF_A_BROWSER).expect("good").ice.expect("said");
        assert_eq!((ice.ufrag.as_str(), ice.password.as_str()), ("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1"));
        let bare = "a=candidate:1 1 udp 1 192.0.2.1 61764 typ host\n";
        assert_eq!(parse_fragment(bare), Ok(Fragment { ice: None }));
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        for text in ["v=0\r\n", "hello", "{}", "a=ice-ufrag:EsAw\r\n", "a=ice-ufrag:x\r\na=ice-pwd:y\r\n"] {
            assert!(parse_fragment(text).is_err(), "{text}");
        }
        let long = "a=candidate:1 1 udp 1 192.0.2.1 61764 typ host\n".repeat(1_000);
        assert!(matches!(parse_fragment(&long), Err(Error::Syntax(_))));
    }

    #[test]
    fn what_we_write_we_read() {
        let ice = Ice::from_random([5; 36]);
        let mids = [Mid::new(b"0").expect("a mid"), Mid::new(b"1").expect("a mid")];
        let address = "192.0.2.7:7882".parse().expect("an address");
        let text = write_fragment(&ice, &[address], &mids, MediaKind::Video);
        assert_eq!(parse_fragment(&text).expect("good").ice, Some(ice));
        assert!(
            text.contains("a=group:BUNDLE 0 1\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"),
            "{text}"
        );
        assert!(text.contains("a=candidate:1 1 udp 2130706431 192.0.2.7 7882 typ host\r\n"), "{text}");
    }
}
