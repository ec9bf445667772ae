//! Packet trailers: what publishers of LiveKit's protocol 17 append to each encoded frame for receivers that know it (a frame's number, when
//! it was captured, an application's bytes). It stands behind the frame's last byte, in its last packet and outside of end-to-end
//! encryption, and ends with its length and a mark:
//!
//! ```text
//! | entries … | length of all of this, inverted (1 byte) | "LKTS" |
//! ```
//!
//! To a decoder it is rubbish behind the frame, which most bear and some do not.

/// What ends a trailer.
const MARK: &[u8] = b"LKTS";

/// The last packet of a frame without the trailer, if it has one.
#[inline]
pub fn strip(payload: &[u8]) -> &[u8] {
    let stripped = || {
        let (length, rest) = payload.strip_suffix(MARK)?.split_last()?;
        let length = usize::from(!length);
        // It covers itself and the mark, at least.
        let least = payload.len() - rest.len();
        payload.get(..payload.len().checked_sub(length)?).filter(|_| length >= least)
    };
    stripped().unwrap_or(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailer_is_taken_off_with_its_length_and_mark() {
        assert_eq!(strip(b"frame\x11\x22\xf8LKTS"), b"frame");
        assert_eq!(strip(b"frame\xfaLKTS"), b"frame", "without an entry");
        assert_eq!(strip(b"\xfaLKTS"), b"", "nothing else in the packet");
    }

    #[test]
    fn what_is_no_trailer_stays() {
        for payload in [
            &b""[..],
            b"frame",
            b"LKTS",
            b"frame\xf8LKTs",
            // Shorter than itself, and longer than the packet.
            b"frame\xfbLKTS",
            b"frame\xffLKTS",
            b"frame\x00LKTS",
        ] {
            assert_eq!(strip(payload), payload);
        }
    }
}
