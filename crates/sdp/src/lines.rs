//! Values of single attributes. Every function is total: `None` means that the value is not of its form.

use base::Rid;

use crate::description::{Direction, ExtensionLine, Ice, Msid, RidLine, Setup};

/// `sha-256 AA:BB:…` (RFC 8122 section 5). `None` for another hash or a malformed value.
pub fn parse_fingerprint(value: &str) -> Option<[u8; 32]> {
    let (hash, hex) = value.trim().split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0u8; 32];
    let mut pairs = hex.trim().split(':');
    for byte in &mut bytes {
        let pair = pairs.next()?;
        if pair.len() != 2 || !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(bytes)
}

/// The inverse of [`parse_fingerprint`].
pub fn format_fingerprint(bytes: &[u8; 32]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("sha-256 {}", hex.join(":"))
}

pub(crate) fn setup(value: &str) -> Option<Setup> {
    match value.trim() {
        "actpass" => Some(Setup::ActPass),
        "active" => Some(Setup::Active),
        "passive" => Some(Setup::Passive),
        _ => None,
    }
}

pub(crate) fn direction(name: &str) -> Option<Direction> {
    match name {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

/// Both halves, when they keep to the lengths and the alphabet of RFC 8839 section 5.4.
pub(crate) fn ice(ufrag: Option<&str>, password: Option<&str>) -> Option<Ice> {
    let fits = |text: &str, min: usize| {
        (min..=256).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/' || b == b'-' || b == b'_')
    };
    let (ufrag, password) = (ufrag?.trim(), password?.trim());
    (fits(ufrag, 4) && fits(password, 22))
        .then(|| Ice { ufrag: ufrag.to_owned(), password: password.to_owned() })
}

pub(crate) fn extmap(value: &str) -> Option<ExtensionLine> {
    let mut words = value.split_ascii_whitespace();
    let (entry, uri) = (words.next()?, words.next()?);
    let (id, direction) = match entry.split_once('/') {
        Some((id, direction)) => (id, Some(direction.to_owned())),
        None => (entry, None),
    };
    let id = id.parse().ok().filter(|id| *id != 0)?;
    Some(ExtensionLine { id, direction, uri: uri.to_owned() })
}

pub(crate) fn rid(value: &str) -> Option<RidLine> {
    let mut words = value.split_ascii_whitespace();
    let rid = Rid::new(words.next()?.as_bytes())?;
    match words.next()? {
        "send" => Some(RidLine { rid, send: true }),
        "recv" => Some(RidLine { rid, send: false }),
        _ => None,
    }
}

/// The send list of `a=simulcast` (RFC 8853 section 5.1): first alternative of each stream, without the pause mark.
pub(crate) fn simulcast_send(value: &str) -> Vec<Rid> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let list = words.chunks(2).find_map(|pair| match pair {
        ["send", list] => Some(*list),
        _ => None,
    });
    let streams = list.into_iter().flat_map(|list| list.split(';'));
    streams
        .filter_map(|stream| stream.split(',').next())
        .filter_map(|name| Rid::new(name.trim_start_matches('~').as_bytes()))
        .take(crate::MAX_RIDS)
        .collect()
}

pub(crate) fn msid(value: &str) -> Option<Msid> {
    let mut words = value.split_ascii_whitespace();
    let stream = words.next()?.to_owned();
    Some(Msid { stream, track: words.next().unwrap_or_default().to_owned() })
}

/// `a=ssrc:NUMBER …`
pub(crate) fn ssrc(value: &str) -> Option<u32> {
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// `a=ssrc-group:FID primary rtx` (RFC 5576, RFC 4588 section 8.1)
pub(crate) fn fid(value: &str) -> Option<(u32, u32)> {
    let mut words = value.split_ascii_whitespace();
    if words.next()? != "FID" {
        return None;
    }
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
