//! Clients with a certificate for RSA, as GStreamer's `webrtcbin` makes them, in DTLS 1.2.
//!
//! The library leaves cryptography to a provider, yet asks clients for ECDSA signatures alone: its CertificateRequest (RFC 5246
//! section 7.4.4) names them with SHA-256 and with SHA-384, and a client that can do neither presents nothing. Whoever has a key for
//! ECDSA can sign with SHA-256. So on its way out the other one becomes RSA with SHA-256, in a message of the same length, and what
//! is hashed and verified of the handshake gets the same change: it is what went over the line. WebRTC trusts fingerprints of
//! certificates (RFC 8827 section 6.5), whatever they are made for.

use dimpl::crypto::{
    Buf, CryptoProvider, HashAlgorithm, HashContext, HashProvider, SignatureAlgorithm, SignatureVerifier,
    aws_lc_rs,
};
use dimpl::{CryptoError, CryptoOperation};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use x509_cert::der::Decode;

const HANDSHAKE: u8 = 22;
const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const ECDSA_SHA256: [u8; 2] = [4, 3];
const ECDSA_SHA384: [u8; 2] = [5, 3];
const RSA_PKCS1_SHA256: [u8; 2] = [4, 1];

/// A provider for a server of DTLS 1.2, whose datagrams [`ask_for_rsa`] changes until the handshake is finished.
pub(crate) fn provider() -> CryptoProvider {
    let default = aws_lc_rs::default_provider();
    CryptoProvider { hash_provider: &AsSent, signature_verification: &Either, ..default }
}

/// Changes the CertificateRequest in a datagram with plain records, if there is one.
pub(super) fn ask_for_rsa(datagram: &mut [u8]) {
    let mut rest = datagram;
    while let Some((header, behind)) = rest.split_first_chunk_mut::<RECORD_HEADER>() {
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let plain = header[0] == HANDSHAKE && header[3..5] == [0, 0];
        let Some((record, next)) = behind.split_at_mut_checked(length) else { return };
        if plain {
            change(record);
        }
        rest = next;
    }
}

/// Changes it in handshake messages, of which each is whole.
fn change(messages: &mut [u8]) {
    let mut rest = messages;
    while let Some((header, behind)) = rest.split_first_chunk_mut::<MESSAGE_HEADER>() {
        let length = u32::from_be_bytes([0, header[9], header[10], header[11]]) as usize;
        let Some((body, next)) = behind.split_at_mut_checked(length) else { return };
        if header[0] == CERTIFICATE_REQUEST {
            change_request(body);
        }
        rest = next;
    }
}

/// One type of certificate, two algorithms in either order, no authorities.
fn change_request(body: &mut [u8]) {
    let Ok([1, _, 0, 4, one @ .., 0, 0]) = <&mut [u8; 10]>::try_from(body) else { return };
    let (one, other) = one.split_at_mut(2);
    if *one == ECDSA_SHA256 && *other == ECDSA_SHA384 {
        other.copy_from_slice(&RSA_PKCS1_SHA256);
    } else if *one == ECDSA_SHA384 && *other == ECDSA_SHA256 {
        one.copy_from_slice(&RSA_PKCS1_SHA256);
    }
}

fn changed(messages: &[u8]) -> Vec<u8> {
    let mut messages = messages.to_vec();
    change(&mut messages);
    messages
}

/// Hashes the handshake as it went over the line. The library hands it over in one piece.
#[derive(Debug)]
struct AsSent;

impl HashProvider for AsSent {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        Box::new(Hash(aws_lc_rs::default_provider().hash_provider.create_hash(algorithm)))
    }
}

#[derive(Debug)]
struct Hash(Box<dyn HashContext>);

impl HashContext for Hash {
    fn update(&mut self, data: &[u8]) {
        self.0.update(&changed(data));
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        self.0.clone_and_finalize(out);
    }
}

/// Verifies signatures for RSA itself, and leaves all others to the library.
#[derive(Debug)]
struct Either;

impl SignatureVerifier for Either {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        let data = changed(data);
        match (algorithm, hash) {
            (SignatureAlgorithm::RSA, HashAlgorithm::SHA256) => verify_rsa(certificate, &data, signature),
            _ => aws_lc_rs::default_provider().signature_verification.verify_signature(
                certificate,
                &data,
                signature,
                hash,
                algorithm,
            ),
        }
    }
}

/// Keys of 2,048 to 8,192 bits.
fn verify_rsa(certificate: &[u8], data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    let certificate = x509_cert::Certificate::from_der(certificate);
    let certificate = certificate.map_err(|_| CryptoError::CertificateParseFailed)?;
    let key = &certificate.tbs_certificate().subject_public_key_info().subject_public_key;
    let key = key.as_bytes().ok_or(CryptoError::InvalidSubjectPublicKey)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
        .verify(data, signature)
        .map_err(|_| CryptoError::OperationFailed(CryptoOperation::VerifySignature))
}

#[cfg(test)]
mod tests {
    use rcgen::SigningKey;

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = [0, 0, body.len() as u8];
        [&[kind][..], &length, &[0, 3, 0, 0, 0], &length, body].concat()
    }

    fn record(epoch: u8, messages: &[u8]) -> Vec<u8> {
        let header = [22, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 3, 0, messages.len() as u8];
        [&header[..], messages].concat()
    }

    #[test]
    fn one_of_two_algorithms_of_a_certificate_request_becomes_rsa_wherever_it_stands() {
        for (asked, sent) in
            [([4, 3, 5, 3], [4, 3, 4, 1]), ([5, 3, 4, 3], [4, 1, 4, 3]), ([4, 3, 6, 3], [4, 3, 6, 3])]
        {
            let request = |algorithms: [u8; 4]| {
                let body = [&[1, 64, 0, 4][..], &algorithms, &[0, 0]].concat();
                [message(12, &[1, 64, 0, 4, 4, 3, 5, 3, 0, 0]), message(13, &body), message(14, &[])].concat()
            };
            assert_eq!(changed(&request(asked)), request(sent));
            let datagram = |algorithms| {
                let request = request(algorithms);
                [record(0, &message(11, &[7; 40])), record(0, &request)].concat()
            };
            let mut on_its_way = datagram(asked);
            ask_for_rsa(&mut on_its_way);
            assert_eq!(on_its_way, datagram(sent));
        }
    }

    #[test]
    fn protected_records_and_other_requests_stay_as_they_are() {
        let one = message(13, &[1, 64, 0, 2, 4, 3, 0, 0]);
        let two = message(13, &[1, 64, 0, 4, 4, 3, 5, 3, 0, 0]);
        let cut = &record(0, &two)[..30];
        for bytes in [record(0, &one), record(1, &two), cut.to_vec(), vec![22; 40], Vec::new()] {
            let mut after = bytes.clone();
            ask_for_rsa(&mut after);
            assert_eq!(after, bytes);
        }
    }

    #[test]
    fn a_signature_for_rsa_is_verified_over_what_was_sent() {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
        let key = key.expect("a key");
        let params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        let certificate = params.self_signed(&key).expect("a certificate");
        let asked = message(13, &[1, 64, 0, 4, 4, 3, 5, 3, 0, 0]);
        let verify = |signature: &[u8], hash| {
            Either.verify_signature(certificate.der(), &asked, signature, hash, SignatureAlgorithm::RSA)
        };
        let good = key.sign(&changed(&asked)).expect("a signature");
        assert_eq!(verify(&good, HashAlgorithm::SHA256), Ok(()));
        assert!(verify(&good, HashAlgorithm::SHA384).is_err());
        assert!(verify(&key.sign(&asked).expect("a signature"), HashAlgorithm::SHA256).is_err());
        assert!(verify(&[], HashAlgorithm::SHA256).is_err());
    }
}
