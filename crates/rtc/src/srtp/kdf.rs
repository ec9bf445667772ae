//! Session keys from the master key (RFC 3711 section 4.3; RFC 6188 for 256-bit keys; RFC 7714 section 11 for GCM).
//! The key derivation rate is 0, as DTLS-SRTP has it.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};

use super::MasterKey;

/// What the derived bytes are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Label {
    RtpKey = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// Fills `out`, at most 65,536 blocks of 16 bytes.
pub(super) fn derive(master: &MasterKey, label: Label, out: &mut [u8]) {
    let mut counter = [0u8; 16];
    // GCM's 12 bytes of salt are padded on the right to 14.
    counter[..master.salt.len()].copy_from_slice(&master.salt);
    counter[7] ^= label as u8;
    match master.key.len() {
        16 => keystream(&Aes128::new_from_slice(&master.key).expect("16 bytes"), counter, out),
        _ => {
            keystream(&Aes256::new_from_slice(&master.key).expect("checked by MasterKey::new"), counter, out)
        }
    }
}

fn keystream<C>(cipher: &C, mut counter: [u8; 16], out: &mut [u8])
where
    C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    for (index, chunk) in out.chunks_mut(16).enumerate() {
        counter[14..].copy_from_slice(&(index as u16).to_be_bytes());
        let mut block = counter.into();
        cipher.encrypt_block(&mut block);
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::*;
    use crate::srtp::cipher::tests::hex;

    /// RFC 3711 appendix B.3.
    #[test]
    fn the_key_derivation_of_rfc_3711_appendix_b3() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let master = MasterKey::new(Profile::Aes128CmSha1_80, &key, &salt).unwrap();
        let mut out = [0; 16];
        derive(&master, Label::RtpKey, &mut out);
        assert_eq!(out[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        let mut out = [0; 14];
        derive(&master, Label::RtpSalt, &mut out);
        assert_eq!(out[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        let mut out = [0; 20];
        derive(&master, Label::RtpAuth, &mut out);
        assert_eq!(out[..], hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    /// RFC 6188 section 7.3.
    #[test]
    fn the_key_derivation_of_rfc_6188_section_7_3() {
        let key = hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6");
        // That RFC has 112-bit salts; the derivation itself does not depend on the profile.
        let salt = hex("3b04803de51ee7c96423ab5b78d2");
        let master = MasterKey { profile: Profile::AeadAes256Gcm, key, salt };
        let mut out = [0; 32];
        derive(&master, Label::RtpKey, &mut out);
        assert_eq!(out[..], hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"));
        let mut out = [0; 14];
        derive(&master, Label::RtpSalt, &mut out);
        assert_eq!(out[..], hex("fa31791685ca444a9e07c6c64e93"));
    }
}
