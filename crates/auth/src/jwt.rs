//! JSON Web Tokens in compact form (RFC 7515 section 3.1), HMAC-SHA-256 alone.

use std::fmt;
use std::time::Duration;

use base::UnixMillis;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::Deserialize;

use crate::{ApiKeys, Claims};

/// Clocks of the application's server and ours may differ by this much.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// Longest token that is looked at, in bytes: 64 kB of metadata in base64, and some room for grants.
pub const MAX_TOKEN_LEN: usize = 96 * 1024;

/// A token whose signature and times are good. It may still not allow what is asked; see [`Claims::check_join`].
#[derive(Clone, PartialEq, Debug)]
pub struct Verified {
    /// The key that signed it.
    pub api_key: String,
    /// What it says.
    pub claims: Claims,
}

/// Why a token is not accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_LEN`].
    TooLong,
    /// Not a JWT, or its JSON is not that of a token.
    Malformed,
    /// Signed with something other than HS256, or not at all.
    Algorithm,
    /// This server has no such API key.
    UnknownKey,
    /// The signature is not that of the key.
    Signature,
    /// It has no `exp`.
    NoExpiry,
    /// It was valid once.
    Expired,
    /// It will be valid later.
    NotYetValid,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "invalid token: it is too long",
            Self::Malformed => "invalid token: it is not a signed JSON Web Token",
            Self::Algorithm => "invalid token: it must be signed with HS256",
            Self::UnknownKey => "invalid token: this server does not know the API key that issued it",
            Self::Signature => {
                "invalid token: its signature does not match; was it signed with another secret?"
            }
            Self::NoExpiry => "invalid token: it has no expiry (claim exp)",
            Self::Expired => "invalid token: it has expired",
            Self::NotYetValid => "invalid token: it is not valid yet; are the clocks right?",
        })
    }
}

impl std::error::Error for TokenError {}

/// The token in the value of an `Authorization` header, when it is a bearer's (RFC 6750 section 2.1).
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Signs `claims` with an API key. The key becomes the issuer; everything else is written as it is.
pub fn mint(api_key: &str, secret: &str, claims: &Claims) -> String {
    let claims = Claims { iss: api_key.to_owned(), ..claims.clone() };
    let json =
        serde_json::to_vec(&claims).expect("claims have string keys only, which JSON can always write");
    sign(secret, &json)
}

/// The token with these claims, which are not looked at.
pub(crate) fn sign(secret: &str, json: &[u8]) -> String {
    let mut token = URL_SAFE_NO_PAD.encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(json, &mut token);
    let tag = hmac::sign(&signing_key(secret), token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(tag, &mut token);
    token
}

/// Checks signature and times of a token.
///
/// # Errors
/// See [`TokenError`]; all of them are the client's to mend.
pub fn verify(keys: &ApiKeys, token: &str, now: UnixMillis) -> Result<Verified, TokenError> {
    if token.len() > MAX_TOKEN_LEN {
        return Err(TokenError::TooLong);
    }
    let (signed, tag) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    check_header(header)?;
    let payload = decode(payload)?;
    let issuer: Issuer = serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed)?;
    let secret = keys.secret(&issuer.iss).ok_or(TokenError::UnknownKey)?;
    // Compares in constant time.
    hmac::verify(&signing_key(secret), signed.as_bytes(), &decode(tag)?)
        .map_err(|_| TokenError::Signature)?;
    // Only what our key signed is read in full.
    let claims: Claims = serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed)?;
    check_times(&claims, now)?;
    Ok(Verified { api_key: issuer.iss, claims })
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// The one claim that is read before the signature is checked: it names the key.
#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

fn check_header(header: &str) -> Result<(), TokenError> {
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
    // Exactly this one: a header that names another algorithm, or none, must not choose how it is checked.
    if header.alg == "HS256" { Ok(()) } else { Err(TokenError::Algorithm) }
}

fn check_times(claims: &Claims, now: UnixMillis) -> Result<(), TokenError> {
    let expires = claims.exp.ok_or(TokenError::NoExpiry)?;
    let (now, leeway) = (now.0 / 1_000, LEEWAY.as_secs());
    if now >= expires.saturating_add(leeway) {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|start| start > now.saturating_add(leeway)) {
        return Err(TokenError::NotYetValid);
    }
    Ok(())
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

fn signing_key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
    const SECRET: &str = "a secret of at least thirty-two bytes";

    fn keys() -> ApiKeys {
        ApiKeys::new([("key".to_owned(), SECRET.to_owned()), ("other".to_owned(), "x".repeat(32))])
    }

    fn claims() -> Claims {
        Claims::join("ann", "lobby").valid_for(NOW, Duration::from_secs(3_600))
    }

    fn token_of(header: &str, payload: &str, secret: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let tag = hmac::sign(&signing_key(secret), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis(NOW.0.saturating_add_signed(seconds * 1_000))
    }

    #[test]
    fn a_minted_token_verifies_and_says_what_was_put_in() {
        let mut wanted = claims();
        wanted.attributes.insert("color".to_owned(), "blue \u{1F600}".to_owned());
        let verified = verify(&keys(), &mint("key", SECRET, &wanted), NOW).expect("it is valid");
        assert_eq!(verified.api_key, "key");
        wanted.iss = "key".to_owned();
        assert_eq!(verified.claims, wanted);
    }

    /// The token of RFC 7515 appendix A.1, whose key is not UTF-8, cannot be used; this one is from jwt.io's debugger.
    #[test]
    fn a_token_of_another_implementation_verifies() {
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
            eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
            SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
        let (signed, tag) = token.rsplit_once('.').expect("three parts");
        let tag = URL_SAFE_NO_PAD.decode(tag).expect("base64");
        assert!(hmac::verify(&signing_key("your-256-bit-secret"), signed.as_bytes(), &tag).is_ok());
        // It has no issuer.
        assert_eq!(verify(&keys(), token, NOW), Err(TokenError::Malformed));
    }

    #[test]
    fn an_expired_token_is_refused_after_a_minute_of_grace() {
        let token = mint("key", SECRET, &claims());
        assert!(verify(&keys(), &token, at(3_600 + 59)).is_ok());
        assert_eq!(verify(&keys(), &token, at(3_600 + 60)), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_from_the_future_is_refused_beyond_a_minute() {
        let token = mint("key", SECRET, &claims());
        assert!(verify(&keys(), &token, at(-60)).is_ok());
        assert_eq!(verify(&keys(), &token, at(-61)), Err(TokenError::NotYetValid));
    }

    #[test]
    fn a_token_without_expiry_is_refused() {
        let token = mint("key", SECRET, &Claims::join("ann", "lobby"));
        assert_eq!(verify(&keys(), &token, NOW), Err(TokenError::NoExpiry));
    }

    #[test]
    fn unsigned_tokens_and_other_algorithms_are_refused() {
        let payload = r#"{"iss":"key","sub":"ann","exp":9999999999}"#;
        for alg in ["none", "None", "hs256", "HS512", "RS256", ""] {
            let header = format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#);
            let signed = token_of(&header, payload, SECRET);
            assert_eq!(verify(&keys(), &signed, NOW), Err(TokenError::Algorithm), "{alg}");
            let stripped = &signed[..=signed.rfind('.').expect("has parts")];
            assert_eq!(verify(&keys(), stripped, NOW), Err(TokenError::Algorithm), "{alg} without signature");
        }
        let good = token_of(r#"{"alg":"HS256"}"#, payload, SECRET);
        assert!(verify(&keys(), &good, NOW).is_ok());
        let stripped = &good[..=good.rfind('.').expect("has parts")];
        assert_eq!(verify(&keys(), stripped, NOW), Err(TokenError::Signature));
    }

    #[test]
    fn a_token_signed_with_the_secret_of_another_key_is_refused() {
        let token = mint("key", &"x".repeat(32), &claims());
        assert_eq!(verify(&keys(), &token, NOW), Err(TokenError::Signature));
        let token = mint("nobody", SECRET, &claims());
        assert_eq!(verify(&keys(), &token, NOW), Err(TokenError::UnknownKey));
    }

    #[test]
    fn changing_any_part_of_a_token_breaks_it() {
        let token = mint("key", SECRET, &claims());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(verify(&keys(), &changed, NOW).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = "a".repeat(MAX_TOKEN_LEN + 1);
        assert_eq!(verify(&keys(), &long, NOW), Err(TokenError::TooLong));
        for text in ["", ".", "..", "...", "a.b", "a.b.c", "e30.e30.e30", "\u{1F600}.\u{1F600}.x"] {
            assert_eq!(verify(&keys(), text, NOW), Err(TokenError::Malformed), "{text}");
        }
        for payload in [
            "[]",
            "null",
            "{\"iss\":7}",
            "{\"iss\":\"key\",\"exp\":\"soon\"}",
            "{\"iss\":\"key\",\"video\":3}",
        ] {
            let token = token_of(r#"{"alg":"HS256"}"#, payload, SECRET);
            assert_eq!(verify(&keys(), &token, NOW), Err(TokenError::Malformed), "{payload}");
        }
    }

    #[test]
    fn deeply_nested_claims_do_not_overflow_the_stack() {
        let payload = format!("{{\"iss\":\"key\",\"x\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
        let token = token_of(r#"{"alg":"HS256"}"#, &payload, SECRET);
        assert_eq!(verify(&keys(), &token, NOW), Err(TokenError::Malformed));
    }
}
