//! Cursors and tokens as clients hold them: sealed, so that a position can only come from this deployment and for the same channel.
//!
//! The text is base64url of a MAC (HMAC-SHA-256, cut to 16 bytes) and the value's stored form. Cursors and tokens have keys of their own: a
//! token never passes for a cursor. The channel is under the MAC and not in the text.

use base::ChannelId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use messaging::format::{Encoded, decode, encode};
use messaging::place::{Cursor, Token, Vector};
use ring::hmac;

/// Longest sealed text, in bytes.
pub const MAX_SEALED: usize = 1_024;

/// Bytes of the MAC: nobody who may ask a thousand times a second forges 128 bits.
const TAG: usize = 16;

/// Holes of one region that a sealed cursor carries at most, where all of them would not fit: what fills an older one is not marked late.
const HOLES: usize = 4;

/// The deployment's key.
pub type Key = [u8; 32];

/// Seals and opens.
pub struct Sealer {
    cursors: hmac::Key,
    tokens: hmac::Key,
}

impl Sealer {
    /// With the deployment's key: whoever has the same opens what another sealed.
    pub fn new(key: &Key) -> Self {
        let main = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derived = |domain: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&main, domain).as_ref());
        Self { cursors: derived(b"stoa cursor 1"), tokens: derived(b"stoa token 1") }
    }

    /// Where a stream of `channel` stands.
    pub fn cursor(&self, channel: &ChannelId, cursor: &Cursor) -> String {
        let text = seal(&self.cursors, channel, cursor);
        if text.len() <= MAX_SEALED {
            return text;
        }
        let mut shorter = cursor.clone();
        shorter.holes.values_mut().for_each(|holes| holes.truncate(HOLES));
        seal(&self.cursors, channel, &shorter)
    }

    /// What an answer about `channel` proves to have been seen.
    pub fn token(&self, channel: &ChannelId, token: &Token) -> String {
        seal(&self.tokens, channel, token)
    }

    /// A cursor of `channel`; `None`: it is none of ours, of another channel, or a token.
    pub fn open_cursor(&self, channel: &ChannelId, text: &str) -> Option<Cursor> {
        open(&self.cursors, channel, text)
    }

    /// What a cursor or a token of `channel` reaches; `None`: it is none of ours, or of another channel.
    pub fn open_position(&self, channel: &ChannelId, text: &str) -> Option<Vector> {
        let token = || open::<Token>(&self.tokens, channel, text).map(|token| token.seen);
        self.open_cursor(channel, text).map(|cursor| cursor.at).or_else(token)
    }
}

fn tag(key: &hmac::Key, channel: &ChannelId, value: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(&(channel.as_str().len() as u64).to_be_bytes());
    context.update(channel.as_str().as_bytes());
    context.update(value);
    context.sign()
}

fn seal(key: &hmac::Key, channel: &ChannelId, value: &impl Encoded) -> String {
    let value = encode(value);
    let mut bytes = tag(key, channel, &value).as_ref()[..TAG].to_vec();
    bytes.extend_from_slice(&value);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open<T: Encoded>(key: &hmac::Key, channel: &ChannelId, text: &str) -> Option<T> {
    if text.len() > MAX_SEALED {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (claimed, value) = bytes.split_at_checked(TAG)?;
    let right = tag(key, channel, value);
    // Every byte is looked at, so that the time tells nothing about where they differ.
    let differs = claimed.iter().zip(right.as_ref()).fold(0, |sum, (a, b)| sum | (a ^ b));
    if differs == 0 { decode(value).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use messaging::clock::Hlc;
    use messaging::place::{Mark, Place, Region};

    fn vector(regions: usize, n: u64) -> Vector {
        let region = |index: usize| format!("region-{index:05}").parse::<Region>().expect("a name");
        (0..regions).map(|index| (region(index), Mark { place: Place { epoch: 3, n }, count: n })).collect()
    }

    fn cursor(n: u64) -> Cursor {
        Cursor { at: vector(1, n), clock: Hlc(77), holes: Default::default() }
    }

    fn channel(name: &str) -> ChannelId {
        ChannelId::new(name)
    }

    #[test]
    fn what_was_sealed_is_opened_for_its_channel_alone() {
        let sealer = Sealer::new(&[7; 32]);
        let text = sealer.cursor(&channel("a"), &cursor(9));
        assert_eq!(sealer.open_cursor(&channel("a"), &text), Some(cursor(9)));
        assert_eq!(sealer.open_cursor(&channel("b"), &text), None);
        assert_eq!(Sealer::new(&[8; 32]).open_cursor(&channel("a"), &text), None, "another deployment");
        assert!(text.len() < 100, "{} bytes", text.len());
    }

    #[test]
    fn a_token_is_no_cursor_and_both_are_positions() {
        let sealer = Sealer::new(&[7; 32]);
        let (here, token) = (channel("a"), Token { seen: vector(1, 9) });
        let text = sealer.token(&here, &token);
        assert_eq!(sealer.open_cursor(&here, &text), None);
        assert_eq!(sealer.open_position(&here, &text), Some(token.seen));
        assert_eq!(sealer.open_position(&here, &sealer.cursor(&here, &cursor(4))), Some(vector(1, 4)));
    }

    #[test]
    fn a_changed_bit_or_another_length_opens_nothing() {
        let sealer = Sealer::new(&[7; 32]);
        let text = sealer.cursor(&channel("a"), &cursor(9));
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("it is ASCII");
            // The last character has bits that say nothing; decoding refuses those that are set.
            assert!(sealer.open_cursor(&channel("a"), &forged).is_none(), "at {at}");
        }
        for other in ["", "A", &text[..text.len() - 2], &format!("{text}AA"), "ü", &"A".repeat(5_000)] {
            assert_eq!(sealer.open_position(&channel("a"), other), None, "{}", other.len());
        }
    }

    #[test]
    fn a_cursor_of_many_regions_and_holes_fits() {
        let sealer = Sealer::new(&[7; 32]);
        let mut large = Cursor { at: vector(4, 1 << 40), ..cursor(1) };
        for (region, _) in vector(4, 1).iter() {
            large.holes.insert(region, (0..64).map(|n| Place { epoch: 9, n: (1 << 40) + n }).collect());
        }
        let text = sealer.cursor(&channel("a"), &large);
        assert!(text.len() <= MAX_SEALED, "{} bytes", text.len());
        assert_eq!(sealer.open_cursor(&channel("a"), &text).map(|cursor| cursor.at), Some(large.at));
    }
}
