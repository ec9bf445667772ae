//! The part of STUN that the codec crate leaves out: FINGERPRINT verification, HMAC, and our answers.

use std::net::SocketAddr;

use is::stun::{StunMessage, StunMessageBuilder, TransId};
use ring::hmac;

/// Longest answer we write: header, XOR-MAPPED-ADDRESS of IPv6, MESSAGE-INTEGRITY, FINGERPRINT.
const MAX_ANSWER: usize = 20 + 24 + 24 + 8;
const FINGERPRINT: [u8; 4] = [0x80, 0x28, 0x00, 0x04];
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// FINGERPRINT's checksum; static, because its table takes longer to make than a check to read.
pub(crate) static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Does the message end in a correct FINGERPRINT (RFC 8489 section 14.7)? RFC 8445 section 7.1 demands one on checks.
pub(crate) fn has_valid_fingerprint(message: &[u8]) -> bool {
    let Some((covered, attribute)) = message.split_last_chunk::<8>() else { return false };
    let (head, value) = attribute.split_at(4);
    let crc = CRC.checksum(covered) ^ FINGERPRINT_XOR;
    head == FINGERPRINT && value == crc.to_be_bytes()
}

/// HMAC-SHA1 as the codec crate wants it.
pub(crate) fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().try_into().expect("SHA-1 has 20 bytes")
}

/// A success response, integrity-protected with our password (RFC 8445 section 7.3.1.2).
pub(crate) fn success(transaction: TransId, mapped: SocketAddr, password: &str) -> Vec<u8> {
    write(StunMessage::binding_reply(transaction, mapped), Some(password.as_bytes()))
}

/// A 401 without integrity: we and the sender share no key (RFC 8489 section 9.1.3).
pub(crate) fn unauthorized(transaction: TransId) -> Vec<u8> {
    let message =
        StunMessageBuilder::new().binding().failure().error_code(401, "Unauthorized").build(transaction);
    write(message, None)
}

fn write(message: StunMessage<'_>, password: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = vec![0; MAX_ANSWER];
    // The writer fails only when the buffer is too small, which MAX_ANSWER rules out for both messages.
    let len = message.to_bytes(password, &mut bytes, hmac_sha1).unwrap_or(0);
    bytes.truncate(len);
    bytes
}
