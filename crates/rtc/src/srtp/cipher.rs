//! The transforms: AES-GCM (RFC 7714) and AES counter mode with HMAC-SHA1 (RFC 3711), in place.

use aes::Aes128;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ring::{aead, hmac};

use super::kdf::{Label, derive};
use super::{MasterKey, Profile};

/// Fixed header of an RTCP packet: its first word and the sender's SSRC stay in the clear.
pub(super) const RTCP_HEADER: usize = 8;
/// The E flag of SRTCP: the packet is encrypted.
const ENCRYPTED: u32 = 0x8000_0000;
const GCM_TAG: usize = 16;
const SHA1_TAG: usize = 10;

/// An authenticated cipher with a fixed key: the seam at which another implementation is plugged in (`ring` is fastest
/// where there is no AVX-512).
pub(super) trait Aead: Send {
    /// Encrypts in place and returns the tag.
    fn seal(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; GCM_TAG];

    /// Decrypts `text` (ciphertext, then tag) in place; `false` when it was not sealed so.
    fn open(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> bool;
}

struct Ring(aead::LessSafeKey);

impl Aead for Ring {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; GCM_TAG] {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), text);
        // ring refuses only texts of 2^36 bytes.
        let tag = tag.expect("a packet is far below AES-GCM's limit");
        tag.as_ref().try_into().expect("AES-GCM tags have 16 bytes")
    }

    fn open(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> bool {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, aead::Aad::from(aad), text).is_ok()
    }
}

/// One direction's transform for RTP or for RTCP.
pub(super) enum Cipher {
    Gcm(Gcm),
    CmHmac(Box<CmHmac>),
}

pub(super) struct Gcm {
    key: Box<dyn Aead>,
    salt: [u8; 12],
}

pub(super) struct CmHmac {
    aes: Aes128,
    salt: [u8; 14],
    auth: hmac::Key,
}

impl Cipher {
    pub(super) fn rtp(master: &MasterKey) -> Self {
        Self::new(master, Label::RtpKey, Label::RtpAuth, Label::RtpSalt)
    }

    pub(super) fn rtcp(master: &MasterKey) -> Self {
        Self::new(master, Label::RtcpKey, Label::RtcpAuth, Label::RtcpSalt)
    }

    fn new(master: &MasterKey, key_label: Label, auth_label: Label, salt_label: Label) -> Self {
        let mut key = [0; 32];
        let key = &mut key[..master.profile.key_len()];
        derive(master, key_label, key);
        let algorithm = match master.profile {
            Profile::AeadAes128Gcm => &aead::AES_128_GCM,
            Profile::AeadAes256Gcm => &aead::AES_256_GCM,
            Profile::Aes128CmSha1_80 => {
                return Self::CmHmac(Box::new(CmHmac::new(master, key, auth_label, salt_label)));
            }
        };
        let mut salt = [0; 12];
        derive(master, salt_label, &mut salt);
        let key = aead::UnboundKey::new(algorithm, key).expect("the profile decides both lengths");
        Self::Gcm(Gcm { key: Box::new(Ring(aead::LessSafeKey::new(key))), salt })
    }

    /// Protects the packet that begins at `start`; its first `header_len` bytes stay in the clear.
    pub(super) fn seal_rtp(
        &self,
        ssrc: u32,
        index: u64,
        packet: &mut Vec<u8>,
        start: usize,
        header_len: usize,
    ) {
        match self {
            Self::Gcm(gcm) => {
                let (header, payload) = packet[start..].split_at_mut(header_len);
                let tag = gcm.key.seal(gcm.rtp_nonce(ssrc, index), header, payload);
                packet.extend_from_slice(&tag);
            }
            Self::CmHmac(cm) => {
                cm.crypt(ssrc, index, &mut packet[start + header_len..]);
                let tag = cm.tag(&packet[start..], &roc(index));
                packet.extend_from_slice(&tag);
            }
        }
    }

    /// Unprotects in place; returns the length without the tag, `None` when it is not authentic (the bytes are then
    /// unspecified).
    pub(super) fn open_rtp(
        &self,
        ssrc: u32,
        index: u64,
        packet: &mut [u8],
        header_len: usize,
    ) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => {
                let len = packet.len().checked_sub(GCM_TAG).filter(|len| *len >= header_len)?;
                let (header, text) = packet.split_at_mut(header_len);
                gcm.key.open(gcm.rtp_nonce(ssrc, index), header, text).then_some(len)
            }
            Self::CmHmac(cm) => {
                let len = packet.len().checked_sub(SHA1_TAG).filter(|len| *len >= header_len)?;
                let (text, tag) = packet.split_at_mut(len);
                if !equal(&cm.tag(text, &roc(index)), tag) {
                    return None;
                }
                cm.crypt(ssrc, index, &mut text[header_len..]);
                Some(len)
            }
        }
    }

    /// Protects the compound packet that begins at `start` and has at least [`RTCP_HEADER`] bytes.
    pub(super) fn seal_rtcp(&self, ssrc: u32, index: u32, packet: &mut Vec<u8>, start: usize) {
        let trailer = (ENCRYPTED | index).to_be_bytes();
        match self {
            Self::Gcm(gcm) => {
                let (header, text) = packet[start..].split_at_mut(RTCP_HEADER);
                let aad = rtcp_aad(header, trailer);
                let tag = gcm.key.seal(gcm.rtcp_nonce(ssrc, index), &aad, text);
                packet.extend_from_slice(&tag);
                packet.extend_from_slice(&trailer);
            }
            Self::CmHmac(cm) => {
                cm.crypt(ssrc, u64::from(index), &mut packet[start + RTCP_HEADER..]);
                packet.extend_from_slice(&trailer);
                let tag = cm.tag(&packet[start..], &[]);
                packet.extend_from_slice(&tag);
            }
        }
    }

    /// The index that an SRTCP packet names; `None` when it is too short to be one.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let after = match self {
            Self::Gcm(_) => 0,
            Self::CmHmac(_) => SHA1_TAG,
        };
        let (_, trailer) = packet[..packet.len().checked_sub(after)?].split_last_chunk::<4>()?;
        Some(u32::from_be_bytes(*trailer) & !ENCRYPTED)
    }

    /// Unprotects a compound packet in place; returns its length, `None` when it is not authentic. A packet that is
    /// authenticated but not encrypted is legal in SRTCP and read too.
    pub(super) fn open_rtcp(&self, ssrc: u32, index: u32, packet: &mut [u8]) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => {
                let (packet, trailer) = packet.split_last_chunk_mut::<4>()?;
                let trailer = *trailer;
                let len = packet.len().checked_sub(GCM_TAG).filter(|len| *len >= RTCP_HEADER)?;
                if u32::from_be_bytes(trailer) & ENCRYPTED == 0 {
                    return gcm.open_clear_rtcp(ssrc, index, packet, trailer).then_some(len);
                }
                let (header, text) = packet.split_at_mut(RTCP_HEADER);
                let aad = rtcp_aad(header, trailer);
                gcm.key.open(gcm.rtcp_nonce(ssrc, index), &aad, text).then_some(len)
            }
            Self::CmHmac(cm) => {
                let len = packet.len().checked_sub(SHA1_TAG + 4).filter(|len| *len >= RTCP_HEADER)?;
                let (signed, tag) = packet.split_at_mut(len + 4);
                if !equal(&cm.tag(signed, &[]), tag) {
                    return None;
                }
                if signed[len] & 0x80 != 0 {
                    cm.crypt(ssrc, u64::from(index), &mut signed[RTCP_HEADER..len]);
                }
                Some(len)
            }
        }
    }
}

impl Gcm {
    /// RFC 7714 section 8.1.
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let mut nonce = self.salt;
        xor(&mut nonce[2..6], &ssrc.to_be_bytes());
        xor(&mut nonce[6..], &index.to_be_bytes()[2..]);
        nonce
    }

    /// RFC 7714 section 9.1.
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> [u8; 12] {
        let mut nonce = self.salt;
        xor(&mut nonce[2..6], &ssrc.to_be_bytes());
        xor(&mut nonce[8..], &index.to_be_bytes());
        nonce
    }

    /// RFC 7714 section 9.3: everything is associated data, and the ciphertext is the tag alone.
    fn open_clear_rtcp(&self, ssrc: u32, index: u32, packet: &[u8], trailer: [u8; 4]) -> bool {
        let (text, tag) = packet.split_at(packet.len() - GCM_TAG);
        let mut aad = text.to_vec();
        aad.extend_from_slice(&trailer);
        let mut tag: [u8; GCM_TAG] = tag.try_into().expect("split at the tag's length");
        self.key.open(self.rtcp_nonce(ssrc, index), &aad, &mut tag)
    }
}

impl CmHmac {
    fn new(master: &MasterKey, key: &[u8], auth_label: Label, salt_label: Label) -> Self {
        let (mut auth, mut salt) = ([0; 20], [0; 14]);
        derive(master, auth_label, &mut auth);
        derive(master, salt_label, &mut salt);
        let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth);
        Self { aes: Aes128::new_from_slice(key).expect("the profile has 16 bytes"), salt, auth }
    }

    /// RFC 3711 section 4.1.1: encrypts or decrypts.
    fn crypt(&self, ssrc: u32, index: u64, text: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        xor(&mut iv[4..8], &ssrc.to_be_bytes());
        xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
        let core = ctr::CtrCore::<&Aes128, ctr::flavors::Ctr128BE>::inner_iv_init(&self.aes, &iv.into());
        StreamCipherCoreWrapper::from_core(core).apply_keystream(text);
    }

    /// RFC 3711 section 4.2: RTP is signed with its rollover counter behind it.
    fn tag(&self, signed: &[u8], roc: &[u8]) -> [u8; SHA1_TAG] {
        let mut context = hmac::Context::with_key(&self.auth);
        context.update(signed);
        context.update(roc);
        *context.sign().as_ref().first_chunk().expect("SHA-1 has 20 bytes")
    }
}

/// The rollover counter of a 48-bit index, as it is signed.
fn roc(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn rtcp_aad(header: &[u8], trailer: [u8; 4]) -> [u8; RTCP_HEADER + 4] {
    let mut aad = [0; RTCP_HEADER + 4];
    aad[..RTCP_HEADER].copy_from_slice(header);
    aad[RTCP_HEADER..].copy_from_slice(&trailer);
    aad
}

fn xor(into: &mut [u8], with: &[u8]) {
    into.iter_mut().zip(with).for_each(|(into, with)| *into ^= with);
}

/// In constant time, so that a forger learns nothing from how long a refusal takes.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// The vectors of RFC 7714 give the session key itself.
    fn gcm(key_len: u8) -> Cipher {
        let key: Vec<u8> = (0..key_len).collect();
        let algorithm = if key_len == 16 { &aead::AES_128_GCM } else { &aead::AES_256_GCM };
        let key = aead::UnboundKey::new(algorithm, &key).unwrap();
        let salt = *b"Quid pro quo";
        Cipher::Gcm(Gcm { key: Box::new(Ring(aead::LessSafeKey::new(key))), salt })
    }

    const RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 \
                       696e2070 61727465 73207472 6573";
    const RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef \
                        deadbeef deadbeef deadbeef deadbeef";

    fn check_rtp(cipher: &Cipher, expected: &str) {
        let plain = hex(RTP);
        let mut packet = plain.clone();
        cipher.seal_rtp(0x5501_a0b2, 0xf17b, &mut packet, 0, 12);
        assert_eq!(packet, hex(expected));
        assert_eq!(cipher.open_rtp(0x5501_a0b2, 0xf17b, &mut packet, 12), Some(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }

    fn check_rtcp(cipher: &Cipher, expected: &str) {
        let plain = hex(RTCP);
        let mut packet = plain.clone();
        cipher.seal_rtcp(0x4d61_7273, 0x5d4, &mut packet, 0);
        assert_eq!(packet, hex(expected));
        assert_eq!(cipher.rtcp_index(&packet), Some(0x5d4));
        assert_eq!(cipher.open_rtcp(0x4d61_7273, 0x5d4, &mut packet), Some(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }

    #[test]
    fn rtp_with_aead_aes_128_gcm_as_in_rfc_7714_section_16_1() {
        check_rtp(
            &gcm(16),
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a \
             51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        );
    }

    #[test]
    fn rtp_with_aead_aes_256_gcm_as_in_rfc_7714_section_16_2() {
        check_rtp(
            &gcm(32),
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 \
             76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        );
    }

    #[test]
    fn rtcp_with_aead_aes_128_gcm_as_in_rfc_7714_section_17_1() {
        check_rtcp(
            &gcm(16),
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda \
             4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        );
    }

    #[test]
    fn rtcp_with_aead_aes_256_gcm_as_in_rfc_7714_section_17_2() {
        check_rtcp(
            &gcm(32),
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be \
             8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
        );
    }

    /// RFC 3711 appendix B.2: with SSRC and index 0 the keystream depends on the salt alone.
    #[test]
    fn the_keystream_of_rfc_3711_appendix_b2() {
        let cm = CmHmac {
            aes: Aes128::new_from_slice(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap(),
            salt: hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap(),
            auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[]),
        };
        let mut keystream = [0; 48];
        cm.crypt(0, 0, &mut keystream);
        let expected = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB \
                        41E95B3BB0A2E8DD477901E4FCA894C0";
        assert_eq!(keystream[..], hex(expected));
    }

    /// RFC 7714 section 9.3: SRTCP may be signed without being encrypted.
    #[test]
    fn rtcp_that_is_signed_but_not_encrypted_is_read() {
        let cipher = gcm(16);
        let Cipher::Gcm(gcm) = &cipher else { unreachable!() };
        let plain = hex(RTCP);
        let mut aad = plain.clone();
        aad.extend_from_slice(&7u32.to_be_bytes());
        let tag = gcm.key.seal(gcm.rtcp_nonce(0x4d61_7273, 7), &aad, &mut []);
        let mut packet = plain.clone();
        packet.extend_from_slice(&tag);
        packet.extend_from_slice(&7u32.to_be_bytes());
        assert_eq!(cipher.open_rtcp(0x4d61_7273, 7, &mut packet), Some(plain.len()));
        packet[9] ^= 1;
        assert_eq!(cipher.open_rtcp(0x4d61_7273, 7, &mut packet), None);
    }
}
