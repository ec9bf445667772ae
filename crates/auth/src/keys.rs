//! API keys: a public name and the secret that signs.

use std::collections::BTreeMap;
use std::fmt;

/// Name of the key that development mode accepts.
pub const DEVELOPMENT_KEY: &str = "devkey";
/// Secret of the key that development mode accepts. Public knowledge; never valid in production.
pub const DEVELOPMENT_SECRET: &str = "secret";
/// Shortest secret that production accepts, in bytes: the output of the hash (RFC 7518 section 3.2).
pub const MIN_SECRET_LEN: usize = 32;

/// The keys that this server accepts.
#[derive(Clone, Default)]
pub struct ApiKeys {
    secrets: BTreeMap<String, String>,
}

impl ApiKeys {
    /// From pairs of key and secret; of a repeated key the last secret holds.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { secrets: pairs.into_iter().collect() }
    }

    /// The one key of development mode.
    pub fn development() -> Self {
        Self::new([(DEVELOPMENT_KEY.to_owned(), DEVELOPMENT_SECRET.to_owned())])
    }

    /// The secret of a key.
    pub fn secret(&self, key: &str) -> Option<&str> {
        self.secrets.get(key).map(String::as_str)
    }

    /// The first key in alphabetical order, with its secret: the one the server signs with when it may choose.
    pub fn first(&self) -> Option<(&str, &str)> {
        self.secrets.iter().next().map(|(key, secret)| (key.as_str(), secret.as_str()))
    }

    /// All pairs of key and secret.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.secrets.iter().map(|(key, secret)| (key.as_str(), secret.as_str()))
    }

    /// No key at all.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }
}

/// Names the keys and keeps the secrets.
impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.secrets.keys()).finish()
    }
}

/// A key that production must not accept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WeakSecret {
    /// The secret is shorter than [`MIN_SECRET_LEN`].
    Short {
        /// The key.
        key: String,
        /// Bytes of its secret.
        len: usize,
    },
    /// It is the development key or secret, which everybody knows.
    Development {
        /// The key.
        key: String,
    },
}

impl fmt::Display for WeakSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { key, len } => write!(
                f,
                "the secret of API key \"{key}\" has {len} bytes, at least {MIN_SECRET_LEN} are needed; \
                 make one with: openssl rand -base64 32"
            ),
            Self::Development { key } => write!(
                f,
                "API key \"{key}\" is the development key, which everybody knows; choose another key and secret"
            ),
        }
    }
}

impl std::error::Error for WeakSecret {}

/// Is this pair fit for production?
pub fn check_secret(key: &str, secret: &str) -> Result<(), WeakSecret> {
    if key == DEVELOPMENT_KEY || secret == DEVELOPMENT_SECRET {
        return Err(WeakSecret::Development { key: key.to_owned() });
    }
    if secret.len() < MIN_SECRET_LEN {
        return Err(WeakSecret::Short { key: key.to_owned(), len: secret.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_refuses_short_and_development_secrets() {
        assert!(check_secret("prod", &"x".repeat(32)).is_ok());
        assert_eq!(
            check_secret("prod", &"x".repeat(31)),
            Err(WeakSecret::Short { key: "prod".to_owned(), len: 31 })
        );
        assert!(matches!(check_secret("devkey", &"x".repeat(40)), Err(WeakSecret::Development { .. })));
        assert!(matches!(check_secret("prod", "secret"), Err(WeakSecret::Development { .. })));
    }

    #[test]
    fn printing_keys_does_not_print_secrets() {
        let text = format!("{:?}", ApiKeys::development());
        assert!(text.contains("devkey") && !text.contains("secret"), "{text}");
    }
}
