//! The signature of a body: a token that vouches for its hash.

use std::time::Duration;

use auth::Claims;
use base::UnixMillis;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

/// How long a signature is good.
const LIFE: Duration = Duration::from_secs(300);

/// Signs with one API key.
#[derive(Clone)]
pub struct Signer {
    key: String,
    secret: String,
}

impl Signer {
    /// Signs with this key.
    pub fn new(key: &str, secret: &str) -> Self {
        Self { key: key.to_owned(), secret: secret.to_owned() }
    }

    /// The value of `Authorization` for a body that is sent `now`.
    pub(crate) fn sign(&self, body: &[u8], now: UnixMillis) -> String {
        let sha256 = STANDARD.encode(digest(&SHA256, body));
        let claims = Claims { sha256, ..Claims::default() }.valid_for(now, LIFE);
        // Without a beginning, so that receivers whose clocks are behind take it.
        auth::mint(&self.key, &self.secret, &Claims { nbf: None, ..claims })
    }
}

/// A name for the directory of what is kept for `url`: the same every time, and another for another.
pub fn directory_name(url: &str) -> String {
    digest(&SHA256, url.as_bytes()).as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use auth::ApiKeys;

    use super::*;

    #[test]
    fn a_signature_vouches_for_its_body_for_five_minutes() {
        let now = UnixMillis(1_700_000_000_000);
        let signer = Signer::new(auth::DEVELOPMENT_KEY, auth::DEVELOPMENT_SECRET);
        let token = signer.sign(b"abc", now);
        let verified = auth::verify(&ApiKeys::development(), &token, now).expect("it is signed");
        // FIPS 180-2, appendix B.1, in base 64.
        assert_eq!(verified.claims.sha256, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!((verified.claims.nbf, verified.claims.exp), (None, Some(1_700_000_300)));
    }
}
