//! The list of keys: name, meaning, accepted range, default, and how a value is taken over.

use std::time::Duration;

use livekit::Region;

use super::{Config, LogFormat};
use crate::prefix::is_path;

/// Longest name of a region, in characters.
const MAX_REGION: usize = 64;
/// Most servers that a client is told when it has to go: it tries one after the other.
const MAX_REGIONS: usize = 16;

/// One key of the configuration.
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What it does, for the reference file. Lines of at most 110 characters.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference file, which a test writes"))]
    pub about: &'static [&'static str],
    /// The accepted range, as it follows "expected".
    pub accepts: &'static str,
    /// The default in TOML; `None`: unset, with an example for the reference file.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference file, which a test writes"))]
    pub default: Result<&'static str, &'static str>,
    /// Several values: an array in TOML, separated by commas in the environment.
    pub is_list: bool,
    /// Takes the values over; `None` when they are not in the accepted range.
    pub set: fn(&mut Config, &[String]) -> Option<()>,
}

impl Key {
    /// Section and name in it.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').expect("every name in the list has one dot")
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("STOA_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Its value is quoted nowhere.
    pub fn is_secret(&self) -> bool {
        self.name.ends_with("token")
    }

    /// The values in an environment variable's text.
    pub fn split(&self, text: &str) -> Vec<String> {
        if !self.is_list {
            return vec![text.to_owned()];
        }
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }
}

/// The section of API keys, whose keys are the operator's own.
pub const SECRETS: &str = "keys";
/// The same as an environment variable.
pub const SECRETS_VARIABLE: &str = "STOA_KEYS";
/// What the section holds.
pub const SECRETS_ACCEPT: &str = "NAME = \"SECRET\", a secret of 32 characters or more";

/// All keys with fixed names, in the order of the reference file.
pub const KEYS: &[Key] = &[
    Key {
        name: "http.listen",
        about: &[
            "Where HTTP and WebSocket are served: signalling, server API, health, metrics.",
            "Browsers need HTTPS to use a camera: put a proxy with a certificate before it.",
        ],
        accepts: "an IP address and a port, like \"0.0.0.0:7880\" or \"[::]:7880\"",
        default: Ok("\"0.0.0.0:7880\""),
        is_list: false,
        set: |config, values| {
            config.http_listen = values.first()?.parse().ok()?;
            Some(())
        },
    },
    Key {
        name: "http.path_prefix",
        about: &[
            "Everything is served below this path, too, for a proxy that passes on paths as they are:",
            "with \"/calls\" clients may connect to wss://HOST/calls. Empty: at the root alone.",
        ],
        accepts: "nothing, or a path like \"/calls\", without a slash at its end",
        default: Ok("\"\""),
        is_list: false,
        set: |config, values| {
            let path = values.first()?;
            config.http_path_prefix.clone_from(Some(path).filter(|path| path.is_empty() || is_path(path))?);
            Some(())
        },
    },
    Key {
        name: "udp.port",
        about: &[
            "First UDP port for media. Each worker has its own: this one, the next, and so on.",
            OPEN_PORTS,
        ],
        accepts: "a port from 1 to 65535",
        default: Ok("7882"),
        is_list: false,
        set: |config, values| {
            config.udp_port = number(values, 1, u64::from(u16::MAX))?.try_into().ok()?;
            Some(())
        },
    },
    Key {
        name: "udp.workers",
        about: &["Threads that carry media. 0 = one per core."],
        accepts: "a number from 0 to 256",
        default: Ok("0"),
        is_list: false,
        set: |config, values| {
            config.udp_workers = number(values, 0, 256)?.try_into().ok()?;
            Some(())
        },
    },
    Key {
        name: "udp.advertise",
        about: &[
            "Addresses that clients are told to send media to. Empty = the addresses of this machine.",
            "Set it where clients see another address than the machine itself, as behind a cloud provider's NAT.",
        ],
        accepts: "IP addresses, like [\"203.0.113.7\"]",
        default: Ok("[]"),
        is_list: true,
        set: |config, values| {
            config.udp_advertise = values.iter().map(|value| value.parse().ok()).collect::<Option<_>>()?;
            Some(())
        },
    },
    Key {
        name: "region.name",
        about: &["The name of the place where this server is, which clients are told."],
        accepts: "at most 64 characters",
        default: Ok("\"\""),
        is_list: false,
        set: |config, values| {
            config.region_name.clone_from(values.first().filter(|name| name.chars().count() <= MAX_REGION)?);
            Some(())
        },
    },
    Key {
        name: "region.others",
        about: &[
            "Servers elsewhere, the nearest first, to which clients are pointed when this one lets them go. Each has",
            "its own rooms.",
        ],
        accepts: "at most 16 of NAME=URL, with URLs that begin with wss:// or ws://",
        default: Err("[\"eu-west=wss://eu.example.com\"]"),
        is_list: true,
        set: |config, values| {
            let others = values.iter().map(|value| region(value)).collect::<Option<Vec<_>>>()?;
            config.region_others = Some(others).filter(|others| others.len() <= MAX_REGIONS)?;
            Some(())
        },
    },
    Key {
        name: "room.auto_create",
        about: &[
            "Whether joining a room makes it when it is not there. Otherwise rooms are made by the server API, or by",
            "tokens with the grant roomCreate.",
        ],
        accepts: "\"yes\" or \"no\"",
        default: Ok("\"yes\""),
        is_list: false,
        set: |config, values| {
            config.room_auto_create = yes(values)?;
            Some(())
        },
    },
    Key {
        name: "room.empty_timeout",
        about: &["Seconds that a room waits for its first participant before it closes."],
        accepts: "seconds from 1 to 86400",
        default: Ok("300"),
        is_list: false,
        set: |config, values| {
            config.room_empty_timeout = Duration::from_secs(number(values, 1, 86_400)?);
            Some(())
        },
    },
    Key {
        name: "room.departure_timeout",
        about: &["Seconds that a room waits for somebody to come back after the last participant left."],
        accepts: "seconds from 0 to 86400",
        default: Ok("20"),
        is_list: false,
        set: |config, values| {
            config.room_departure_timeout = Duration::from_secs(number(values, 0, 86_400)?);
            Some(())
        },
    },
    Key {
        name: "room.max_participants",
        about: &["Participants in a room. 0 = no limit."],
        accepts: "a number from 0 to 1000000",
        default: Ok("0"),
        is_list: false,
        set: |config, values| {
            config.room_max_participants = number(values, 0, 1_000_000)?.try_into().ok()?;
            Some(())
        },
    },
    Key {
        name: "room.loudest",
        about: &[
            "Microphones of a room that are forwarded where more are open: the loudest. 0 = all.",
            "Who begins to speak is forwarded at once.",
        ],
        accepts: "a number from 0 to 64",
        default: Ok("6"),
        is_list: false,
        set: |config, values| {
            config.room_loudest = number(values, 0, worker::MAX_LOUDEST as u64)?.try_into().ok()?;
            Some(())
        },
    },
    Key {
        name: "room.spread_at",
        about: &[
            "With this many participants of a room on one worker, newcomers may go to another, so that a large room",
            "uses all cores. Every track then crosses to the others, which costs about as much as another receiver.",
        ],
        accepts: "a number from 1 to 1000000",
        default: Ok("16"),
        is_list: false,
        set: |config, values| {
            config.room_spread_at = number(values, 1, 1_000_000)?.try_into().ok()?;
            Some(())
        },
    },
    Key {
        name: "room.remote_unmute",
        about: &[
            "Whether the server API may ask participants to unmute their tracks, which their clients then do.",
            "It may always mute them.",
        ],
        accepts: "\"yes\" or \"no\"",
        default: Ok("\"no\""),
        is_list: false,
        set: |config, values| {
            config.room_remote_unmute = yes(values)?;
            Some(())
        },
    },
    Key {
        name: "room.slow_receiver_kbps",
        about: &[
            "Kilobits per second of reliable messages that a receiver takes at least for whom their senders wait.",
            "One that takes less loses messages and slows nobody. 0 = nobody is waited for.",
        ],
        accepts: "a number from 0 to 1000000",
        default: Ok("250"),
        is_list: false,
        set: |config, values| {
            config.room_slow_receiver_kbps = number(values, 0, 1_000_000)?.try_into().ok()?;
            Some(())
        },
    },
    Key {
        name: "webhook.urls",
        about: &[
            "Addresses to which everything that happens in rooms is posted (docs/webhooks.md). Each gets everything.",
        ],
        accepts: "addresses, each once, like [\"https://example.org/stoa\"]",
        default: Ok("[]"),
        is_list: true,
        set: |config, values| {
            let is_good =
                |(at, url): (usize, &String)| webhook::check_url(url).is_ok() && !values[..at].contains(url);
            values.iter().enumerate().all(is_good).then(|| config.webhook_urls = values.to_vec())
        },
    },
    Key {
        name: "webhook.api_key",
        about: &["Name of the API key that signs webhooks. Without it the first in alphabetical order does."],
        accepts: "the name of a key in the section [keys]",
        default: Err("\"myapp\""),
        is_list: false,
        set: |config, values| {
            config.webhook_api_key = Some(values.first().filter(|key| !key.is_empty())?.clone());
            Some(())
        },
    },
    Key {
        name: "webhook.max_megabytes",
        about: &[
            "Megabytes on the disk that may wait for one address. When it has been away for so long that they are full,",
            "further webhooks to it are dropped and counted.",
        ],
        accepts: "a number from 1 to 1000000",
        default: Ok("1024"),
        is_list: false,
        set: |config, values| {
            config.webhook_megabytes = number(values, 1, 1_000_000)?;
            Some(())
        },
    },
    Key {
        name: "messaging.enabled",
        about: &[
            "Whether channels and messages are served (docs/messaging.md). They are kept in the data directory, which then",
            "belongs to this server alone.",
        ],
        accepts: "\"yes\" or \"no\"",
        default: Ok("\"no\""),
        is_list: false,
        set: |config, values| {
            config.messaging_enabled = yes(values)?;
            Some(())
        },
    },
    Key {
        name: "messaging.rate",
        about: &[
            "Commands (messages, reactions, marks, pages of history …) that one connection may give in a second, over time;",
            "four times as many at once. More are refused with the time after which to try again.",
        ],
        accepts: "a number from 1 to 1000000",
        default: Ok("100"),
        is_list: false,
        set: |config, values| {
            config.messaging_rate = number(values, 1, 1_000_000)? as u32;
            Some(())
        },
    },
    Key {
        name: "data.directory",
        about: &[
            "Directory in which is kept what has to survive a restart: messages, and webhooks that are not delivered.",
        ],
        accepts: "a path; it is made when something is kept",
        default: Ok("\"stoa-data\""),
        is_list: false,
        set: |config, values| {
            config.data_directory = values.first().filter(|path| !path.is_empty())?.into();
            Some(())
        },
    },
    Key {
        name: "admin.debug_token",
        about: &[
            "Opens /debug/rooms/NAME for every room, as `Authorization: Bearer TOKEN`.",
            "Without it, a token with the grant roomAdmin opens that room's.",
        ],
        accepts: "16 characters or more",
        default: Err("\"a long random text\""),
        is_list: false,
        set: |config, values| {
            config.admin_debug_token = Some(values.first().filter(|token| token.len() >= 16)?.clone());
            Some(())
        },
    },
    Key {
        name: "log.level",
        about: &["What is logged: a level, or levels by crate like \"info,livekit=debug\"."],
        accepts: "error, warn, info, debug or trace, or such levels by crate",
        default: Ok("\"info\""),
        is_list: false,
        set: |config, values| {
            let level = values.first().filter(|level| crate::log::is_filter(level))?;
            config.log_level.clone_from(level);
            Some(())
        },
    },
    Key {
        name: "log.format",
        about: &["Form of log lines: text for people, json for machines."],
        accepts: "\"text\" or \"json\"",
        default: Ok("\"text\""),
        is_list: false,
        set: |config, values| {
            config.log_format = match values.first()?.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return None,
            };
            Some(())
        },
    },
];

const OPEN_PORTS: &str = "Firewalls have to let them through.";

/// `NAME:SECRET`, separated by commas.
pub fn secrets_from_variable(config: &mut Config, text: &str, errors: &mut Vec<String>) {
    for (at, pair) in text.split(',').enumerate() {
        match pair.split_once(':').map(|(key, secret)| (key.trim(), secret.trim())) {
            Some((key, secret)) if !key.is_empty() && !secret.is_empty() => {
                config.keys.insert(key.to_owned(), secret.to_owned());
            }
            // The text holds secrets: it is not quoted.
            _ => errors.push(format!(
                "environment variable {SECRETS_VARIABLE}, part {}: expected NAME:SECRET, separated by commas",
                at + 1
            )),
        }
    }
}

fn yes(values: &[String]) -> Option<bool> {
    match values.first()?.as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// `NAME=URL`.
fn region(text: &str) -> Option<Region> {
    let (name, url) = text.split_once('=')?;
    let (name, url) = (name.trim(), url.trim());
    let host = url.strip_prefix("wss://").or_else(|| url.strip_prefix("ws://"))?;
    let fits =
        !name.is_empty() && name.chars().count() <= MAX_REGION && !host.is_empty() && url.len() <= 1_024;
    fits.then(|| Region { name: name.to_owned(), url: url.to_owned() })
}

fn number(values: &[String], least: u64, most: u64) -> Option<u64> {
    values.first()?.parse().ok().filter(|number| (least..=most).contains(number))
}
