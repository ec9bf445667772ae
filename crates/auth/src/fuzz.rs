//! Entry point for fuzzing: takes any bytes, and panics when something that must hold does not.

use base::UnixMillis;

use crate::{ApiKeys, DEVELOPMENT_KEY, DEVELOPMENT_SECRET, bearer, jwt, mint, verify};

const NOW: UnixMillis = UnixMillis(1_760_000_000_123);

/// The bytes as a token and as an `Authorization` header, and as claims that our key has signed.
pub fn token(bytes: &[u8]) {
    let keys = ApiKeys::development();
    let text = String::from_utf8_lossy(bytes);
    let _ = verify(&keys, &text, NOW);
    if let Some(token) = bearer(&text) {
        let _ = verify(&keys, token, NOW);
    }
    // Who has the secret may sign anything, and must not be able to end the process.
    if let Ok(verified) = verify(&keys, &jwt::sign(DEVELOPMENT_SECRET, bytes), NOW) {
        let claims = &verified.claims;
        let _ = (claims.identity(), claims.participant_kind(), claims.permissions());
        let _ = (claims.check_join(), claims.check_create(), claims.check_list(), claims.check_server());
        let _ = (claims.check_admin("room"), claims.check_destination("room", "other"));
        let _ =
            (claims.check_record(), claims.check_ingress(), claims.check_sip_call(), claims.room_config());
        let again = mint(DEVELOPMENT_KEY, DEVELOPMENT_SECRET, claims);
        let read = verify(&keys, &again, NOW);
        assert!(
            again.len() > crate::MAX_TOKEN_LEN || read.is_ok_and(|read| read.claims == *claims),
            "what is written says what was read"
        );
    }
}
