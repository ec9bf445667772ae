//! What the adapter is told when it is built.

use std::sync::Arc;
use std::time::Duration;

use auth::ApiKeys;
use base::UnixMillis;
use contract::session::ControlHandle;

use crate::metrics::Metrics;
use crate::registry::Registry;

/// Settings of the adapter.
#[derive(Clone, Debug)]
pub struct Config {
    /// Joining creates the room.
    pub auto_create: bool,
    /// STUN and TURN servers told to clients.
    pub ice_servers: Vec<IceServer>,
    /// Redundancy for audio (RED, RFC 2198) to players that know it; for others it is unwrapped.
    pub red: bool,
    /// How long a session may take to bring up its media connection.
    pub media_deadline: Duration,
    /// Most sessions at a time. Each has a task, a queue and a connection; workers are full before this many are.
    pub max_sessions: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            auto_create: true,
            ice_servers: Vec::new(),
            red: true,
            media_deadline: Duration::from_secs(60),
            max_sessions: 10_000,
        }
    }
}

/// A STUN or TURN server.
#[derive(Clone, Debug, Default)]
pub struct IceServer {
    /// URLs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// For TURN.
    pub username: String,
    /// For TURN.
    pub credential: String,
}

/// Everything the routes need.
#[derive(Clone)]
pub struct State {
    /// The control plane.
    pub control: ControlHandle,
    /// API keys.
    pub keys: Arc<ApiKeys>,
    /// Wall-clock time.
    pub clock: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
    /// Settings.
    pub config: Arc<Config>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    pub(crate) registry: Registry,
}

impl State {
    /// Without sessions, and with counters at zero.
    pub fn new(
        control: ControlHandle,
        keys: ApiKeys,
        clock: impl Fn() -> UnixMillis + Send + Sync + 'static,
        config: Config,
    ) -> Self {
        let registry = Registry::new(config.max_sessions);
        Self {
            control,
            keys: Arc::new(keys),
            clock: Arc::new(clock),
            config: Arc::new(config),
            metrics: Arc::default(),
            registry,
        }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        (self.clock)()
    }
}
