//! Who may do what: API keys, and the tokens that are signed with them.
//!
//! A token is a JWT (RFC 7519) signed with HMAC-SHA-256 by the application's server. Its claims have the form that
//! LiveKit's SDKs mint, so that an application keeps its token code.
//!
//! This crate knows nothing of HTTP, rooms or clocks: `now` is passed in, and what a token allows comes out as
//! [`base::model::Permissions`]. It never logs or prints a secret.

mod claims;
pub mod fuzz;
mod jwt;
mod keys;
mod messaging;
mod room_config;

pub use claims::{Claims, Denied, SipGrants, VideoGrants};
pub use jwt::{LEEWAY, MAX_TOKEN_LEN, TokenError, Verified, bearer, mint, verify};
pub use keys::{ApiKeys, DEVELOPMENT_KEY, DEVELOPMENT_SECRET, MIN_SECRET_LEN, WeakSecret, check_secret};
pub use messaging::MessagingGrants;
pub use room_config::{BadRoomConfig, RoomConfig};
