//! What the adapter is told when it is built.

use std::sync::Arc;
use std::time::Duration;

use auth::ApiKeys;
use base::{NodeId, UnixMillis};
use contract::events::{Follower, RoomEvents};
use contract::session::ControlHandle;

use crate::jobs;
use crate::living::Living;
use crate::metrics::Metrics;
use crate::sessions::Sessions;

/// The server version told to clients: the release of LiveKit's server whose protocol this crate follows.
///
/// Clients gate features on it: up to 1.13.6 browsers send scalable codecs as one stream, which is what Stoa forwards;
/// from 1.8.0 remote procedure calls carry errors. Absent or unparsable, browsers refuse to connect.
pub const SERVER_VERSION: &str = "1.13.5";

/// The protocol number told to clients.
///
/// 17 rather than the newest: from 18 native clients open data channels without negotiating them, which is not served here.
pub const SERVER_PROTOCOL: i32 = 17;

/// Settings of the adapter.
#[derive(Clone, Debug)]
pub struct Config {
    /// This process.
    pub node: NodeId,
    /// Region told to clients; may be empty.
    pub region: String,
    /// Servers to which clients that leave this one may go, best first.
    pub regions: Vec<Region>,
    /// Joining creates the room.
    pub auto_create: bool,
    /// STUN and TURN servers told to clients. Only ones that answer: a dead one delays native clients by seconds.
    pub ice_servers: Vec<IceServer>,
    /// Redundancy for audio (RED, RFC 2198), from publishers that can and want it to receivers that know it; for others it is
    /// unwrapped.
    pub red: bool,
    /// How long a participant whose media broke keeps its place, for a client that resumes. Also one whose page said that it
    /// goes away, and did not leave.
    pub linger: Duration,
    /// How long a participant whose socket broke keeps its place while its media is alive. Browsers try to come back for 45 s.
    pub resume_window: Duration,
    /// How long a participant may take to bring up its media connection.
    pub media_deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: NodeId(0),
            region: String::new(),
            regions: Vec::new(),
            auto_create: true,
            ice_servers: Vec::new(),
            red: true,
            linger: Duration::from_secs(5),
            resume_window: Duration::from_secs(60),
            media_deadline: Duration::from_secs(60),
        }
    }
}

/// Another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its region's name.
    pub name: String,
    /// Where its signalling is (`wss://…`).
    pub url: String,
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
    /// What runs now.
    pub sessions: Sessions,
    /// What can be resumed.
    pub(crate) living: Living,
    /// Agents; `None`: none are served.
    pub(crate) jobs: Option<jobs::Handle>,
}

impl State {
    /// With counters at zero.
    pub fn new(
        control: ControlHandle,
        keys: ApiKeys,
        clock: impl Fn() -> UnixMillis + Send + Sync + 'static,
        config: Config,
    ) -> Self {
        Self {
            control,
            keys: Arc::new(keys),
            clock: Arc::new(clock),
            config: Arc::new(config),
            metrics: Arc::default(),
            sessions: Sessions::default(),
            living: Living::default(),
            jobs: None,
        }
    }

    /// The same, serving agents: `events` is what happens in rooms; through `told`, others learn of jobs. To be called within a
    /// tokio runtime, once.
    #[must_use]
    pub fn with_agents(self, events: Follower, told: RoomEvents) -> Self {
        let jobs = Some(jobs::spawn(&self, events, told));
        Self { jobs, ..self }
    }

    /// Sends away the programs that run agents, when all that has happened until now is told. Their sockets count as [`Self::sessions`] until they are closed.
    pub async fn stop_agents(&self) {
        if let Some(jobs) = &self.jobs {
            jobs.stop().await;
        }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        (self.clock)()
    }
}
