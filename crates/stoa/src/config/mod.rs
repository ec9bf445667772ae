//! The configuration of `stoa serve`: one TOML file, every key also as an environment variable, which wins.
//!
//! [`keys::KEYS`] is the one list of keys. The reference file `docs/reference.toml` is made from it, errors quote it, and
//! a test holds the file against it.

mod file;
mod keys;
#[cfg(test)]
mod reference;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use keys::SECRETS_VARIABLE;

/// Where what is to last is kept unless something else is said.
pub const DATA_DIRECTORY: &str = "stoa-data";

/// Everything that can be configured.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Where HTTP and WebSocket are served.
    pub http_listen: SocketAddr,
    /// Everything is served below this path, too; may be empty.
    pub http_path_prefix: String,
    /// First UDP port for media; the workers have consecutive ports.
    pub udp_port: u16,
    /// Media workers; 0 = one per core.
    pub udp_workers: usize,
    /// Addresses that clients are told to send media to; empty = those of the machine.
    pub udp_advertise: Vec<IpAddr>,
    /// API keys and their secrets.
    pub keys: BTreeMap<String, String>,
    /// The name of the place where this server is.
    pub region_name: String,
    /// Servers elsewhere, the nearest first.
    pub region_others: Vec<livekit::Region>,
    /// Joining makes a room.
    pub room_auto_create: bool,
    /// How long an empty room waits for its first participant.
    pub room_empty_timeout: Duration,
    /// How long a room waits after its last participant left.
    pub room_departure_timeout: Duration,
    /// Participants in a room; 0 = no limit.
    pub room_max_participants: u32,
    /// Microphones of a room that are forwarded where more are open; 0 = all.
    pub room_loudest: usize,
    /// Participants of a room on one worker before newcomers may go to another.
    pub room_spread_at: usize,
    /// The server API may ask participants to unmute.
    pub room_remote_unmute: bool,
    /// Kilobits per second below which a receiver of reliable messages loses some.
    pub room_slow_receiver_kbps: u32,
    /// Receivers of webhooks.
    pub webhook_urls: Vec<String>,
    /// API key that signs webhooks; `None`: the first.
    pub webhook_api_key: Option<String>,
    /// Most megabytes (2^20 bytes) that wait for one receiver.
    pub webhook_megabytes: u64,
    /// Messaging is served.
    pub messaging_enabled: bool,
    /// Commands a second of one connection, over time.
    pub messaging_rate: u32,
    /// Where what is to last is kept.
    pub data_directory: PathBuf,
    /// Bearer token that opens `/debug`.
    pub admin_debug_token: Option<String>,
    /// Filter of log lines, as `tracing-subscriber` reads it.
    pub log_level: String,
    /// Form of log lines.
    pub log_format: LogFormat,
}

/// Form of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7880),
            http_path_prefix: String::new(),
            udp_port: 7882,
            udp_workers: 0,
            udp_advertise: Vec::new(),
            keys: BTreeMap::new(),
            region_name: String::new(),
            region_others: Vec::new(),
            room_auto_create: true,
            room_empty_timeout: Duration::from_secs(300),
            room_departure_timeout: Duration::from_secs(20),
            room_max_participants: 0,
            room_loudest: worker::LOUDEST,
            room_spread_at: control::Config::default().spread_at,
            room_remote_unmute: false,
            room_slow_receiver_kbps: 250,
            webhook_urls: Vec::new(),
            webhook_api_key: None,
            webhook_megabytes: 1_024,
            messaging_enabled: false,
            messaging_rate: 100,
            data_directory: PathBuf::from(DATA_DIRECTORY),
            admin_debug_token: None,
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

/// Everything that is wrong with a configuration, one sentence each.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file, if any, then the environment, and checks the whole for use in production.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match file {
            None => None,
            Some(path) => Some((path.display().to_string(), read(path)?)),
        };
        // Variables that are no text cannot be ours: names and values of ours are.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_sources(text.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), environment)
    }

    fn from_sources(
        file: Option<(&str, &str)>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut errors = Vec::new();
        if let Some((name, text)) = file {
            file::apply(&mut config, name, text, &mut errors);
        }
        apply_environment(&mut config, environment, &mut errors);
        // What does not hold together is only worth telling of values that are good on their own.
        if errors.is_empty() {
            config.check(&mut errors);
        }
        if errors.is_empty() { Ok(config) } else { Err(ConfigError(errors)) }
    }

    /// The number of workers, with the default filled in.
    pub fn workers(&self) -> usize {
        match self.udp_workers {
            0 => cores(),
            n => n,
        }
    }

    /// What no single key can tell.
    fn check(&self, errors: &mut Vec<String>) {
        if self.keys.is_empty() {
            errors.push(
                "there is no API key: add one to the section [keys] as NAME = \"SECRET\", or set STOA_KEYS=NAME:SECRET"
                    .to_owned(),
            );
        }
        for (key, secret) in &self.keys {
            if let Err(weak) = auth::check_secret(key, secret) {
                errors.push(format!("keys: {weak}"));
            }
        }
        if let Some(key) = self.webhook_api_key.as_ref().filter(|key| !self.keys.contains_key(*key)) {
            errors.push(format!("webhook.api_key = {key:?}: there is no such key in the section [keys]"));
        }
        let last = usize::from(self.udp_port) + self.workers() - 1;
        if last > usize::from(u16::MAX) {
            errors.push(format!(
                "udp.port = {}: {} workers need as many consecutive ports, and the last one would be {last}",
                self.udp_port,
                self.workers()
            ));
        }
    }
}

/// Cores that this process may use; 1 where that cannot be told.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| ConfigError(vec![format!("{} cannot be read: {error}", path.display())]))
}

/// `STOA_SECTION_KEY`. Variables that begin like one of ours and are none are errors, as unknown keys are in the file;
/// those without a second underscore (`STOA_BIN`) are other programs' affair.
fn apply_environment(
    config: &mut Config,
    environment: impl Iterator<Item = (String, String)>,
    errors: &mut Vec<String>,
) {
    let mut ours: Vec<_> = environment.filter(|(name, _)| name.starts_with("STOA_")).collect();
    // The order of the environment is nobody's choice; errors come in the same order every time.
    ours.sort();
    for (name, value) in ours {
        if name == SECRETS_VARIABLE {
            keys::secrets_from_variable(config, &value, errors);
        } else if let Some(key) = keys::KEYS.iter().find(|key| key.variable() == name) {
            if (key.set)(config, &key.split(&value)).is_none() {
                let shown = if key.is_secret() { "(not shown)".to_owned() } else { format!("{value:?}") };
                errors.push(format!("environment variable {name}={shown}: expected {}", key.accepts));
            }
        } else if name["STOA_".len()..].contains('_') {
            errors
                .push(format!("environment variable {name} is not one of Stoa's; they are {}", variables()));
        }
    }
}

fn variables() -> String {
    let mut names: Vec<String> = keys::KEYS.iter().map(keys::Key::variable).collect();
    names.push(SECRETS_VARIABLE.to_owned());
    names.join(", ")
}

#[cfg(test)]
mod tests;
