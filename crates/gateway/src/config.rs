//! What the gateway is set up with.

use std::sync::Arc;
use std::time::Duration;

use auth::ApiKeys;
use base::UnixMillis;
use channels::Handle;
use wire::messaging as protocol;

use crate::seal::Key;

/// Limits and times. The defaults are for people's devices; all that a client has to know is announced to it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of a frame: a body of 32 KiB that is all escapes, or the cursors of a thousand channels.
    pub frame: u32,
    /// Channels of a connection.
    pub channels: usize,
    /// Commands of a connection that are not answered yet.
    pub in_flight: usize,
    /// Commands of a connection in a second, over time.
    pub rate: u32,
    /// Commands at once, above that.
    pub burst: u32,
    /// Between two pings. A connection that is silent for two and a half of them is closed.
    pub ping: Duration,
    /// How long a connection may take to say who it is.
    pub patience: Duration,
    /// Connections at a time.
    pub connections: u64,
    /// Places of delivery: each is a task.
    pub shards: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            frame: 256 * 1024,
            channels: 1_000,
            in_flight: 256,
            rate: 100,
            burst: 400,
            ping: Duration::from_secs(25),
            patience: Duration::from_secs(10),
            connections: 1_000_000,
            shards: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Config {
    /// As they are announced.
    pub(crate) fn limits(&self) -> protocol::Limits {
        let limits = messaging::limits::Limits::default();
        protocol::Limits {
            frame: u64::from(self.frame),
            body: limits.body as u64,
            depth: protocol::body::BODY_DEPTH as u64,
            name: limits.name as u64,
            channels: self.channels as u64,
            in_flight: self.in_flight as u64,
            rate: u64::from(self.rate),
            burst: u64::from(self.burst),
            mentions: limits.mentions as u64,
            seen: limits.seen as u64,
            after: limits.after as u64,
            page: messaging::history::PAGE as u64,
            watch: messaging::presence::WATCHED as u64,
            behind: messaging::session::TOO_FAR,
        }
    }
}

/// What the gateway stands on.
pub struct Parts {
    /// The channels.
    pub handle: Handle,
    /// The keys that tokens are signed with.
    pub keys: ApiKeys,
    /// Seals cursors and tokens.
    pub key: Key,
    /// The wall's clock.
    pub now: fn() -> UnixMillis,
    /// Limits and times.
    pub config: Config,
    /// Makes what lets somebody into the room of a call: API key, secret, and the claims that are to be signed are the binary's affair.
    pub rooms: Option<Arc<dyn Rooms>>,
}

/// Lets people of a call into its room.
pub trait Rooms: Send + Sync + 'static {
    /// The token with which `user` joins the room `room`.
    fn token(&self, user: &str, room: &str) -> String;
}
