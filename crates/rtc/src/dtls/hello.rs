//! A look at the ClientHello before the DTLS library sees it, to choose the version under which the better SRTP profile
//! results.
//!
//! The library's 1.2 server prefers AES-GCM, its 1.3 server takes the client's first profile, and Chromium lists
//! SHA1_80 first, which costs four times as much per packet. A ClientHello with a post-quantum key share does not fit
//! one datagram, so the message is put together from its fragments (RFC 6347 section 4.2.3), bounded in every way.

/// Datagrams kept until the ClientHello is complete; browsers send it in one or two.
const MAX_DATAGRAMS: usize = 8;
/// Bytes of a ClientHello; browsers send 1,500 at most today.
const MAX_HELLO: usize = 8_192;
/// A datagram that carries a fragment of it.
const MAX_DATAGRAM: usize = 2_048;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const USE_SRTP: u16 = 14;
const SUPPORTED_VERSIONS: u16 = 43;
const DTLS_1_2: u16 = 0xFEFD;
const DTLS_1_3: u16 = 0xFEFC;
const SRTP_AEAD_AES_128_GCM: u16 = 0x0007;
const SRTP_AEAD_AES_256_GCM: u16 = 0x0008;

/// What of a ClientHello decides the version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Offer {
    pub(super) dtls_12: bool,
    pub(super) dtls_13: bool,
    pub(super) aead_first: bool,
}

/// What a datagram led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peek {
    /// It is no ClientHello, nor a part of one; it was not kept.
    Other,
    /// More fragments are needed.
    Incomplete,
    /// The ClientHello is complete.
    Complete(Offer),
    /// It cannot be decided: unreadable, or too much was sent.
    Undecidable,
}

/// Puts a ClientHello together.
#[derive(Default)]
pub(super) struct Assembler {
    datagrams: Vec<Vec<u8>>,
    /// Length of the message as its first fragment says.
    length: usize,
    fragments: Vec<(usize, Vec<u8>)>,
}

impl Assembler {
    pub(super) fn add(&mut self, datagram: &[u8]) -> Peek {
        if datagram.len() > MAX_DATAGRAM {
            return Peek::Other;
        }
        let mut found = false;
        for fragment in fragments(datagram) {
            if fragment.length != self.length {
                // The first, or one of another ClientHello: the newest counts.
                self.fragments.clear();
                self.length = fragment.length;
            }
            self.fragments.push((fragment.offset, fragment.body.to_vec()));
            found = true;
        }
        if !found {
            return Peek::Other;
        }
        self.datagrams.push(datagram.to_vec());
        match self.message() {
            Some(message) => parse_offer(&message).map_or(Peek::Undecidable, Peek::Complete),
            None if self.datagrams.len() == MAX_DATAGRAMS => Peek::Undecidable,
            None => Peek::Incomplete,
        }
    }

    /// The datagrams, for the library.
    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(self).datagrams
    }

    fn message(&self) -> Option<Vec<u8>> {
        let mut message = Vec::with_capacity(self.length);
        while message.len() < self.length {
            let at = message.len();
            let covers = |(offset, body): &&(usize, Vec<u8>)| *offset <= at && at < offset + body.len();
            let (offset, body) = self.fragments.iter().find(covers)?;
            message.extend_from_slice(&body[at - offset..]);
        }
        Some(message)
    }
}

struct Fragment<'a> {
    length: usize,
    offset: usize,
    body: &'a [u8],
}

/// The ClientHello fragments in a datagram's plaintext records.
fn fragments(datagram: &[u8]) -> impl Iterator<Item = Fragment<'_>> {
    let mut reader = Reader(datagram);
    std::iter::from_fn(move || {
        let kind = reader.u8()?;
        reader.bytes(2)?;
        let epoch = reader.u16()?;
        reader.bytes(6)?;
        let len = reader.u16()?;
        let record = reader.bytes(usize::from(len))?;
        Some((kind, epoch, record))
    })
    .filter(|(kind, epoch, _)| *kind == HANDSHAKE && *epoch == 0)
    .filter_map(|(_, _, record)| fragment(record))
}

fn fragment(record: &[u8]) -> Option<Fragment<'_>> {
    let mut reader = Reader(record);
    let kind = reader.u8()?;
    let length = reader.u24()?;
    reader.u16()?;
    let offset = reader.u24()?;
    let fragment_len = reader.u24()?;
    let body = reader.bytes(fragment_len)?;
    let fits = offset + fragment_len <= length && (1..=MAX_HELLO).contains(&length);
    (kind == CLIENT_HELLO && fits).then_some(Fragment { length, offset, body })
}

/// RFC 6347 section 4.2.1, RFC 8446 section 4.2.1, RFC 5764 section 4.1.1.
fn parse_offer(message: &[u8]) -> Option<Offer> {
    let mut reader = Reader(message);
    let legacy_version = reader.u16()?;
    reader.bytes(32)?;
    reader.vector8()?;
    reader.vector8()?;
    reader.vector16()?;
    reader.vector8()?;
    let mut offer = Offer { dtls_12: legacy_version == DTLS_1_2, ..Offer::default() };
    let mut extensions = Reader(reader.vector16()?);
    while let Some(kind) = extensions.u16() {
        let mut body = Reader(extensions.vector16()?);
        match kind {
            SUPPORTED_VERSIONS => {
                let mut versions = Reader(body.vector8()?);
                offer.dtls_12 = false;
                while let Some(version) = versions.u16() {
                    offer.dtls_12 |= version == DTLS_1_2;
                    offer.dtls_13 |= version == DTLS_1_3;
                }
            }
            USE_SRTP => {
                let first = Reader(body.vector16()?).u16();
                offer.aead_first = matches!(first, Some(SRTP_AEAD_AES_128_GCM | SRTP_AEAD_AES_256_GCM));
            }
            _ => {}
        }
    }
    Some(offer)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.bytes(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn u24(&mut self) -> Option<usize> {
        self.bytes(3).map(|b| usize::from(b[0]) << 16 | usize::from(b[1]) << 8 | usize::from(b[2]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.bytes(usize::from(len))
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(versions: &[u16], srtp: &[u16]) -> Vec<u8> {
        let list = |values: &[u16]| values.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>();
        let mut extensions = vec![0x33, 0x33, 0, 1, 7];
        if !versions.is_empty() {
            extensions.extend_from_slice(&[0, 43, 0, 1 + 2 * versions.len() as u8]);
            extensions.push(2 * versions.len() as u8);
            extensions.extend(list(versions));
        }
        extensions.extend_from_slice(&[0, 14, 0, 3 + 2 * srtp.len() as u8, 0, 2 * srtp.len() as u8]);
        extensions.extend(list(srtp));
        extensions.push(0);
        let mut message = vec![0xfe, 0xfd];
        message.extend_from_slice(&[9; 32]);
        message.extend_from_slice(&[0, 0, 0, 2, 0x13, 0x01, 1, 0]);
        message.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        message.extend(extensions);
        message
    }

    fn datagram(message: &[u8], offset: usize, len: usize) -> Vec<u8> {
        let u24 = |n: usize| (n as u32).to_be_bytes()[1..].to_vec();
        let mut handshake = vec![1];
        handshake.extend(u24(message.len()));
        handshake.extend([0, 0]);
        handshake.extend(u24(offset));
        handshake.extend(u24(len));
        handshake.extend_from_slice(&message[offset..offset + len]);
        let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend((handshake.len() as u16).to_be_bytes());
        record.extend(handshake);
        record
    }

    #[test]
    fn a_hello_in_one_datagram_is_read() {
        for (versions, srtp, expected) in [
            (&[][..], &[1u16, 8, 7][..], (true, false, false)),
            (&[0xfefc, 0xfefd], &[1, 8, 7], (true, true, false)),
            (&[0xfefc, 0xfefd], &[7, 8, 1], (true, true, true)),
            (&[0xfefc], &[1], (false, true, false)),
        ] {
            let message = hello(versions, srtp);
            let peek = Assembler::default().add(&datagram(&message, 0, message.len()));
            let (dtls_12, dtls_13, aead_first) = expected;
            assert_eq!(peek, Peek::Complete(Offer { dtls_12, dtls_13, aead_first }));
        }
    }

    #[test]
    fn a_hello_in_pieces_that_overlap_and_overtake_each_other_is_read() {
        let message = hello(&[0xfefc, 0xfefd], &[7]);
        let mut assembler = Assembler::default();
        assert_eq!(assembler.add(&datagram(&message, 40, message.len() - 40)), Peek::Incomplete);
        assert_eq!(assembler.add(&datagram(&message, 40, message.len() - 40)), Peek::Incomplete);
        let complete = Peek::Complete(Offer { dtls_12: true, dtls_13: true, aead_first: true });
        assert_eq!(assembler.add(&datagram(&message, 0, 50)), complete);
        assert_eq!(assembler.take().len(), 3);
    }

    #[test]
    fn a_hello_that_never_ends_is_undecidable_and_bounded() {
        let message = hello(&[0xfefc], &[7]);
        let mut assembler = Assembler::default();
        for _ in 1..MAX_DATAGRAMS {
            assert_eq!(assembler.add(&datagram(&message, 0, 20)), Peek::Incomplete);
        }
        assert_eq!(assembler.add(&datagram(&message, 0, 20)), Peek::Undecidable);
    }

    #[test]
    fn nothing_is_kept_of_datagrams_that_are_too_large_to_count() {
        let message = hello(&[0xfefc], &[7]);
        let mut assembler = Assembler::default();
        let large = datagram(&message, 0, 20).repeat(60);
        assert!(large.len() > MAX_DATAGRAM);
        for _ in 0..MAX_DATAGRAMS {
            assert_eq!(assembler.add(&large), Peek::Other);
        }
        assert_eq!((assembler.fragments.len(), assembler.datagrams.len()), (0, 0));
    }

    #[test]
    fn any_bytes_are_survived() {
        let message = hello(&[0xfefc, 0xfefd], &[7, 8]);
        let valid = datagram(&message, 0, message.len());
        for len in 0..valid.len() {
            assert_eq!(Assembler::default().add(&valid[..len]), Peek::Other, "{len}");
        }
        for bit in 0..valid.len() * 8 {
            let mut changed = valid.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            Assembler::default().add(&changed);
        }
    }
}
