//! STUN Binding requests (RFC 8489) written by hand, so that they can be wrong in one way at a time.

use ring::hmac;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLING: u16 = 0x802a;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// What a request claims.
pub struct Check<'a> {
    /// `server:client` user fragments.
    pub username: &'a str,
    /// Key of MESSAGE-INTEGRITY; `None` leaves it out.
    pub password: Option<&'a str>,
    /// FINGERPRINT is right.
    pub fingerprint: bool,
    pub transaction: [u8; 12],
}

impl Check<'_> {
    pub fn write(&self) -> Vec<u8> {
        let mut message = vec![0x00, 0x01, 0, 0];
        message.extend(COOKIE);
        message.extend(self.transaction);
        attribute(&mut message, USERNAME, self.username.as_bytes());
        attribute(&mut message, PRIORITY, &0x6e00_01ffu32.to_be_bytes());
        attribute(&mut message, ICE_CONTROLLING, &[9; 8]);
        attribute(&mut message, USE_CANDIDATE, &[]);
        if let Some(password) = self.password {
            // The length counts the attribute that is to come (RFC 8489 section 14.5).
            set_length(&mut message, 24);
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
            let tag = hmac::sign(&key, &message);
            attribute(&mut message, MESSAGE_INTEGRITY, tag.as_ref());
        }
        set_length(&mut message, 8);
        let crc = CRC.checksum(&message) ^ 0x5354_554e ^ u32::from(!self.fingerprint);
        attribute(&mut message, FINGERPRINT, &crc.to_be_bytes());
        message
    }
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    set_length(message, 0);
}

/// Length of what is there and `more`.
fn set_length(message: &mut [u8], more: usize) {
    let len = (message.len() - 20 + more) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
}
