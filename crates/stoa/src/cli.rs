//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::load::Layout;

/// Real-time voice and video in one binary.
#[derive(Parser)]
#[command(name = "stoa", version, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run everything for development: no configuration, the key "devkey" with the secret "secret", a meeting page.
    Dev(Dev),
    /// Run in production, configured by a file, by environment variables, or both.
    Serve {
        /// The configuration, as docs/reference.toml describes it.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Tell whether a configuration is good, environment variables included.
    CheckConfig {
        /// The configuration.
        file: PathBuf,
    },
    /// Print a token that lets its bearer into a room.
    Token(Token),
    /// Read or replay what webhooks could not deliver within a day.
    #[command(subcommand)]
    Webhooks(Letters),
    /// Let many clients publish and watch, and tell what they see of it.
    Load(Load),
}

/// Options of `stoa dev`.
#[derive(Args)]
pub struct Dev {
    /// Serve HTTPS with a self-signed certificate on all addresses of this machine, for other devices to join from.
    #[arg(long)]
    pub lan: bool,
    /// Port of HTTP and WebSocket; 0 = any free one.
    #[arg(long, default_value_t = 7880)]
    pub port: u16,
    /// First UDP port for media; each worker has its own, one after the other. 0 = any free ones.
    #[arg(long, default_value_t = 7882)]
    pub udp_port: u16,
    /// Threads that carry media [default: one per core].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Participants of a room on one worker before newcomers may go to another [default: 16].
    #[arg(long, value_name = "COUNT")]
    pub spread_at: Option<usize>,
    /// Send webhooks to this address; may be repeated.
    #[arg(long = "webhook", value_name = "URL")]
    pub webhooks: Vec<String>,
    /// Where what is to last is kept; made when something is. Without it webhooks wait in stoa-data, and messages are gone at the end.
    #[arg(long, value_name = "DIRECTORY")]
    pub data: Option<PathBuf>,
}

/// What to do with dead letters.
#[derive(Subcommand)]
pub enum Letters {
    /// Print them, oldest first: id, event, room, what the last attempt came to.
    List {
        /// Of this server.
        #[command(flatten)]
        server: Server,
    },
    /// Send them again: those named by their ids, or all.
    Replay {
        /// Of this server.
        #[command(flatten)]
        server: Server,
        /// Those for this address alone.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Ids as `list` prints them; none = all.
        #[arg(value_name = "ID")]
        ids: Vec<String>,
    },
}

/// A running server, and the right to ask it.
#[derive(Args)]
pub struct Server {
    /// Address of the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7880")]
    pub server: String,
    /// Who asks.
    #[command(flatten)]
    pub signer: Signer,
}

/// The API key that signs.
#[derive(Args)]
pub struct Signer {
    /// The API key that signs it.
    #[arg(long, default_value = auth::DEVELOPMENT_KEY)]
    pub api_key: String,
    /// The secret of the key. Better: --config, or STOA_KEYS=KEY:SECRET, which other users of the machine do not see.
    #[arg(long, conflicts_with = "config")]
    pub api_secret: Option<String>,
    /// Take the secret of the key from this configuration. With one key in it, that key signs.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Options of `stoa token`.
#[derive(Args)]
pub struct Token {
    /// Who the bearer is; without it the token lets nobody in, but may administer.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub identity: String,
    /// The room that it is good for.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub room: String,
    /// The bearer's name, as others see it.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub name: String,
    /// Something more that it allows, or with "=false" does not; may be repeated. With an identity, roomJoin is given.
    #[arg(long = "grant", value_name = "GRANT", long_help = GRANTS)]
    pub grants: Vec<String>,
    /// How long it is good: a number with s, m, h or d.
    #[arg(long, default_value = "6h", value_name = "TIME", value_parser = lifetime)]
    pub valid_for: Duration,
    /// Who signs it.
    #[command(flatten)]
    pub signer: Signer,
}

/// Options of `stoa load`.
#[derive(Args)]
pub struct Load {
    /// The server.
    #[arg(long, default_value = "ws://127.0.0.1:7880")]
    pub url: String,
    /// The room; with several rooms their names begin with it.
    #[arg(long, default_value = "load")]
    pub room: String,
    /// Rooms, each with so many people.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rooms: u32,
    /// Publishers of each room: they play a recording of a camera (three layers, 1.5 Mbit/s) and a voice.
    #[arg(long, default_value_t = 1)]
    pub publishers: u32,
    /// Subscribers of each room.
    #[arg(long, default_value_t = 1)]
    pub subscribers: u32,
    /// What subscribers watch: the number of videos, and their sizes.
    #[arg(long, value_enum, default_value = "speaker")]
    pub layout: Layout,
    /// Publish no voice.
    #[arg(long, conflicts_with = "no_video")]
    pub no_audio: bool,
    /// Publish no camera.
    #[arg(long)]
    pub no_video: bool,
    /// Publish the camera in its largest size alone.
    #[arg(long)]
    pub no_simulcast: bool,
    /// Joins a second.
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub ramp: f64,
    /// How long it lasts once everybody is in: a number with s, m, h or d.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = lifetime)]
    pub duration: Duration,
    /// Print the summary as one line of JSON, and the table where errors go.
    #[arg(long)]
    pub json: bool,
    /// Who signs the clients' tokens.
    #[command(flatten)]
    pub signer: Signer,
}

const GRANTS: &str = "\
Something more that it allows, or with \"=false\" does not; may be repeated. With an identity, roomJoin is given.
  roomJoin roomAdmin roomCreate roomList roomRecord
  canPublish canSubscribe canPublishData canUpdateOwnMetadata canSubscribeMetrics
  hidden recorder agent";

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number, like 10 or 0.5".to_owned())?;
    if (0.01..=10_000.0).contains(&rate) { Ok(rate) } else { Err("it is between 0.01 and 10000".to_owned()) }
}

/// `stoa load` without options.
#[cfg(test)]
pub fn load_defaults() -> Load {
    match Cli::parse_from(["stoa", "load"]).command {
        Command::Load(load) => load,
        _ => unreachable!("that is what was asked for"),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let bad = || "expected a number with s, m, h or d, like 90s or 6h; at most 3650d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(bad)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    let life =
        number.checked_mul(seconds).filter(|life| (1..=3_650 * 86_400).contains(life)).ok_or_else(bad)?;
    Ok(Duration::from_secs(life))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_ramp_is_a_number_that_means_something() {
        assert_eq!((rate("0.5"), rate("20")), (Ok(0.5), Ok(20.0)));
        for bad in ["0", "-1", "NaN", "inf", "fast", ""] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lifetimes_have_a_unit_and_an_end() {
        assert_eq!(lifetime("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(lifetime("2d"), Ok(Duration::from_secs(172_800)));
        for bad in ["", "6", "h", "0s", "-1h", "1.5h", "6 h", "99999999999999999999s", "4000d", "6ä"] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }
}
