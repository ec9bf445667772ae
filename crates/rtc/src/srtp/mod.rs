//! SRTP and SRTCP (RFC 3711, RFC 7714): protecting and unprotecting packets in place.
//!
//! - [`Sender`] refuses an index that it sealed before: **no (key, SSRC, index) is ever sealed twice**, whatever the
//!   caller does. With AES-GCM a repeated index would give away the authentication key.
//! - [`Receiver`] looks for a duplicate before it decrypts, and learns an SSRC only from an authenticated packet.

mod cipher;
mod kdf;
mod receiver;
mod sender;
mod table;
mod window;

pub use receiver::{OpenError, Opened, Receiver};
pub use sender::{Refused, Sender, StreamHandle};

/// An SRTP protection profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// RFC 7714, 128-bit keys.
    AeadAes128Gcm,
    /// RFC 7714, 256-bit keys.
    AeadAes256Gcm,
    /// RFC 3711, with the 80-bit tag on RTP and RTCP.
    Aes128CmSha1_80,
}

impl Profile {
    /// Bytes of the master key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// Bytes that protection adds to an RTP packet.
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::Aes128CmSha1_80 => 10,
        }
    }

    /// Bytes that protection adds to an RTCP packet.
    pub const fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + 4
    }
}

/// The master key and salt of one direction.
#[derive(Clone)]
pub struct MasterKey {
    profile: Profile,
    key: Vec<u8>,
    salt: Vec<u8>,
}

impl MasterKey {
    /// `None` when a length does not fit the profile.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        let fits = key.len() == profile.key_len() && salt.len() == profile.salt_len();
        fits.then(|| Self { profile, key: key.to_vec(), salt: salt.to_vec() })
    }

    /// Splits what DTLS exports: client key, server key, client salt, server salt (RFC 5764 section 4.2). Returns the
    /// client's and the server's; `None` when the length does not fit.
    pub fn from_dtls(profile: Profile, exported: &[u8]) -> Option<(Self, Self)> {
        let (key, salt) = (profile.key_len(), profile.salt_len());
        if exported.len() != 2 * (key + salt) {
            return None;
        }
        let (keys, salts) = exported.split_at(2 * key);
        let client = Self::new(profile, &keys[..key], &salts[..salt])?;
        let server = Self::new(profile, &keys[key..], &salts[salt..])?;
        Some((client, server))
    }

    /// The profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PROFILES: [Profile; 3] = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80];

    fn pair(profile: Profile) -> (Sender, Receiver) {
        let key: Vec<u8> = (0..profile.key_len() as u8).collect();
        let salt: Vec<u8> = (100..100 + profile.salt_len() as u8).collect();
        let master = MasterKey::new(profile, &key, &salt).unwrap();
        (Sender::new(&master), Receiver::new(&master))
    }

    fn packet(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, 96];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn packets_survive_the_wrap_of_the_sequence_number() {
        for profile in PROFILES {
            let (mut sender, mut receiver) = pair(profile);
            let stream = sender.stream(7).unwrap();
            for sequence in (65_000..200_000u64).step_by(7) {
                let mut sealed = packet(7, sequence as u16, b"payload");
                sender.seal_rtp(stream, sequence, &mut sealed, 0, 12).unwrap();
                assert_eq!(sealed.len(), 12 + 7 + profile.rtp_overhead());
                let opened = receiver.open_rtp(7, sequence as u16, 12, &mut sealed).unwrap();
                assert_eq!((opened.index, &sealed[12..opened.len]), (sequence, &b"payload"[..]));
            }
        }
    }

    #[test]
    fn a_packet_that_comes_twice_is_refused_before_decryption() {
        for profile in PROFILES {
            let (mut sender, mut receiver) = pair(profile);
            let stream = sender.stream(7).unwrap();
            let mut sealed = packet(7, 9, b"payload");
            sender.seal_rtp(stream, 9, &mut sealed, 0, 12).unwrap();
            let copy = sealed.clone();
            assert!(receiver.open_rtp(7, 9, 12, &mut sealed).is_ok());
            let mut again = copy.clone();
            assert_eq!(receiver.open_rtp(7, 9, 12, &mut again), Err(OpenError::Replayed));
            assert_eq!(again, copy, "not touched");
        }
    }

    #[test]
    fn a_forged_packet_changes_nothing() {
        for profile in PROFILES {
            let (mut sender, mut receiver) = pair(profile);
            let stream = sender.stream(7).unwrap();
            let mut sealed = packet(7, 9, b"payload");
            sender.seal_rtp(stream, 9, &mut sealed, 0, 12).unwrap();
            for bit in 0..sealed.len() * 8 {
                let mut forged = sealed.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                let ssrc = u32::from_be_bytes(*forged[8..].first_chunk().unwrap());
                let sequence = u16::from_be_bytes([forged[2], forged[3]]);
                let outcome = receiver.open_rtp(ssrc, sequence, 12, &mut forged);
                assert_eq!(outcome, Err(OpenError::Unauthenticated), "bit {bit}");
            }
            assert!(receiver.open_rtp(7, 9, 12, &mut sealed).is_ok());
        }
    }

    #[test]
    fn rtcp_survives_and_is_refused_when_it_comes_twice_or_changed() {
        for profile in PROFILES {
            let (mut sender, mut receiver) = pair(profile);
            for i in 0..2_000u32 {
                let mut sealed = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
                sealed.extend_from_slice(&i.to_be_bytes());
                let plain = sealed.clone();
                sender.seal_rtcp(&mut sealed, 0).unwrap();
                assert_eq!(sealed.len(), plain.len() + profile.rtcp_overhead());
                let mut copy = sealed.clone();
                let mut forged = sealed.clone();
                forged[i as usize % sealed.len()] ^= 0x10;
                assert!(receiver.open_rtcp(&mut forged).is_err());
                let len = receiver.open_rtcp(&mut sealed).unwrap();
                assert_eq!(sealed[..len], plain);
                assert_eq!(receiver.open_rtcp(&mut copy), Err(OpenError::Replayed));
            }
        }
    }

    #[test]
    fn short_packets_are_refused_without_a_panic() {
        for profile in PROFILES {
            let (_, mut receiver) = pair(profile);
            for len in 0..64 {
                assert!(receiver.open_rtcp(&mut vec![0x80; len]).is_err());
                if len >= 12 {
                    assert!(receiver.open_rtp(1, 1, 12, &mut vec![0x80; len]).is_err());
                }
            }
        }
    }

    /// Whatever order of sequence numbers, repetitions and jumps the caller tries: what was sealed once is not sealed again,
    /// and what is sealed is what the receiver can open.
    #[test]
    fn no_key_ssrc_and_index_is_sealed_twice() {
        for seed in 1..40u64 {
            let mut state = seed;
            let mut random = move |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let (mut sender, _) = pair(PROFILES[seed as usize % 3]);
            let mut sealed = BTreeSet::new();
            let mut ciphertexts = BTreeSet::new();
            let mut at = random(1 << 20);
            for _ in 0..3_000 {
                let ssrc = random(3) as u32;
                at += [0, 1, 1, 1, 2, 700, 5_000][random(7) as usize];
                let sequence = at.saturating_sub([0, 0, 1, 3, 1_000, 1_100, 65_536][random(7) as usize]);
                let stream = sender.stream(ssrc).unwrap();
                let mut bytes = packet(ssrc, sequence as u16, &[0; 32]);
                let outcome = sender.seal_rtp(stream, sequence, &mut bytes, 0, 12);
                let first = sealed.insert((ssrc, sequence));
                assert!(first || outcome == Err(Refused), "{ssrc} {sequence} was sealed twice");
                if outcome.is_ok() {
                    // Equal plaintext under a repeated index would give equal ciphertext.
                    assert!(ciphertexts.insert(bytes[12..].to_vec()));
                }
            }
            assert!(ciphertexts.len() > 1_000);
        }
    }

    #[test]
    fn a_stream_that_starts_after_a_wrap_is_readable() {
        let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm);
        let stream = sender.stream(7).unwrap();
        let mut sealed = packet(7, 5, b"payload");
        sender.seal_rtp(stream, 3 * 65_536 + 5, &mut sealed, 0, 12).unwrap();
        assert_eq!(receiver.open_rtp(7, 5, 12, &mut sealed).unwrap().index, 5);
        let mut before = packet(7, 65_535, b"payload");
        assert_eq!(sender.seal_rtp(stream, 3 * 65_536 - 1, &mut before, 0, 12), Err(Refused));
    }

    #[test]
    fn exported_keys_are_split_in_the_order_of_rfc_5764() {
        let exported: Vec<u8> = (0..56).collect();
        let (client, server) = MasterKey::from_dtls(Profile::AeadAes128Gcm, &exported).unwrap();
        assert_eq!((client.key[0], client.salt[0]), (0, 32));
        assert_eq!((server.key[0], server.salt[0]), (16, 44));
        assert!(MasterKey::from_dtls(Profile::AeadAes128Gcm, &exported[1..]).is_none());
    }
}
