//! The real binary and native clients.

mod bad_input;
mod call;
mod files;
mod forwarded;
mod join;
mod reconnect;
mod server;
mod spread;
mod talk;

use std::time::Duration;

/// Long enough for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
