//! The wall clock, read here and handed to those who may not look.

use std::time::{Duration, SystemTime};

use base::UnixMillis;

/// Now.
pub fn unix_millis() -> UnixMillis {
    UnixMillis(since_epoch().as_millis().try_into().unwrap_or(u64::MAX))
}

/// Time since 1970; a clock that is set before that reads as 1970.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
