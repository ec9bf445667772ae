//! Our SRTP against a second implementation, byte for byte.

use rtc::srtp::{MasterKey, Profile, Receiver, Sender};
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use crate::common::net::Random;

const PROFILES: [(Profile, ProtectionProfile); 3] = [
    (Profile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
    (Profile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
    (Profile::Aes128CmSha1_80, ProtectionProfile::Aes128CmHmacSha1_80),
];

struct Both {
    sender: Sender,
    receiver: Receiver,
    oracle: Context,
    random: Random,
}

fn both((profile, theirs): (Profile, ProtectionProfile)) -> Both {
    let mut random = Random::new(11);
    let key: Vec<u8> = (0..profile.key_len()).map(|_| random.next() as u8).collect();
    let salt: Vec<u8> = (0..profile.salt_len()).map(|_| random.next() as u8).collect();
    let master = MasterKey::new(profile, &key, &salt).expect("lengths fit");
    let crypto = rtc_srtp::crypto::default_provider().expect("a provider");
    let oracle = Context::new(&key, &salt, theirs, None, None, crypto.crypto()).expect("lengths fit");
    Both { sender: Sender::new(&master), receiver: Receiver::new(&master), oracle, random }
}

fn rtp(random: &mut Random, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x90, 0x60];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(random.next() as u32).to_be_bytes());
    packet.extend_from_slice(&77u32.to_be_bytes());
    packet.extend_from_slice(&[0xBE, 0xDE, 0, 1, 0x10, random.next() as u8, 0, 0]);
    let len = random.below(1_200);
    packet.extend((0..len).map(|_| random.next() as u8));
    packet
}

#[test]
fn rtp_agrees_with_the_oracle_over_the_wrap_of_the_sequence_number() {
    for profile in PROFILES {
        let mut both = both(profile);
        let stream = both.sender.stream(77).expect("the first");
        for sequence in 65_000..66_500u64 {
            let plain = rtp(&mut both.random, sequence as u16);
            let mut ours = plain.clone();
            both.sender.seal_rtp(stream, sequence, &mut ours, 0, 20).expect("a new index");
            let theirs = both.oracle.encrypt_rtp(&plain).expect("sealed");
            assert_eq!(ours, theirs, "{profile:?} {sequence}");
            let opened = both.receiver.open_rtp(77, sequence as u16, 20, &mut ours).expect("authentic");
            assert_eq!((opened.index, &ours[..opened.len]), (sequence, &plain[..]));
        }
    }
}

#[test]
fn rtcp_agrees_with_the_oracle_in_both_directions() {
    for profile in PROFILES {
        let mut both = both(profile);
        for number in 0..500u32 {
            let mut plain = vec![0x81, 201, 0, 7];
            plain.extend_from_slice(&77u32.to_be_bytes());
            plain.extend((0..24 + 4 * both.random.below(40)).map(|_| number as u8));
            let mut ours = plain.clone();
            both.sender.seal_rtcp(&mut ours, 0).expect("a new index");
            assert_eq!(both.oracle.decrypt_rtcp(&ours).expect("authentic"), plain);
            let mut theirs = both.oracle.encrypt_rtcp(&plain).expect("sealed").to_vec();
            let len = both.receiver.open_rtcp(&mut theirs).expect("authentic");
            assert_eq!(theirs[..len], plain);
        }
    }
}
