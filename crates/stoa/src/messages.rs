//! Messaging: its log, index and owners in the data directory, and the gateway before them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use auth::{ApiKeys, Claims};
use backplane::{EmbeddedLog, EmbeddedOwnership, EmbeddedQueue, Limits, Log as _};
use channels::Node;
use gateway::{Config, Gateway, Key, Parts, Rooms};

use crate::time;

/// In every event's id. One machine is one region.
const REGION: &str = "home";
/// In the data directory.
const DIRECTORY: &str = "messaging";
/// How long what lets into a call's room is good.
const CALL: Duration = Duration::from_secs(6 * 3_600);
/// The file of the key that seals cursors and tokens.
const KEY: &str = "seal.key";

/// How messaging is served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where messages are kept.
    pub place: Place,
    /// Commands that one connection may give in a second, over time; four times as many at once.
    pub rate: u32,
}

/// Where messages are kept.
#[derive(Clone, Debug)]
pub enum Place {
    /// There is no messaging.
    Off,
    /// Below this directory.
    Kept(PathBuf),
    /// In a directory that is removed at the end.
    Temporary,
}

/// Running messaging.
pub struct Messages {
    node: Node,
    log: EmbeddedLog,
    gateway: Gateway,
    temporary: Option<PathBuf>,
}

/// Starts what is configured. The error is a sentence that says what to do.
pub async fn start(settings: &Settings, keys: &ApiKeys) -> Result<Option<Messages>, String> {
    let (directory, temporary) = match &settings.place {
        Place::Off => return Ok(None),
        Place::Kept(directory) => (directory.join(DIRECTORY), None),
        Place::Temporary => {
            let directory = std::env::temp_dir().join(format!(
                "stoa-{}-{:08x}",
                std::process::id(),
                rand::random::<u32>()
            ));
            (directory.clone(), Some(directory))
        }
    };
    fs::create_dir_all(&directory).map_err(|error| unusable(&directory, &error))?;
    let key = key(&directory.join(KEY))?;
    // An epoch that has never been, also where an older log was lost.
    let epoch = (time::unix_millis().0 / 1_000) as u32;
    let log =
        EmbeddedLog::open(&directory.join("log"), store::log::Settings { epoch, ..Default::default() })?;
    let owners = EmbeddedQueue::open(&directory.join("owners"), Limits::default())
        .map_err(|error| format!("messaging: {error}"))?;
    let ownership = EmbeddedOwnership::open(owners).await.map_err(|error| format!("messaging: {error}"))?;
    let index = channels::open_index(&log, &directory.join("index")).await?;
    let region = REGION.parse().expect("it is the name of a region");
    let node = Node::start(log.clone(), ownership, index, channels::Settings::new(region));
    let gateway = Gateway::start(Parts {
        handle: node.handle(),
        keys: keys.clone(),
        key,
        now: time::unix_millis,
        config: Config { rate: settings.rate, burst: 4 * settings.rate, ..Config::default() },
        rooms: Some(Arc::new(CallRooms(keys.clone()))),
    });
    Ok(Some(Messages { node, log, gateway, temporary }))
}

/// Lets people of a call into its room, with the first key.
struct CallRooms(ApiKeys);

impl Rooms for CallRooms {
    fn token(&self, user: &str, room: &str) -> String {
        let claims = Claims::join(user, room).valid_for(time::unix_millis(), CALL);
        self.0.first().map(|(key, secret)| auth::mint(key, secret, &claims)).unwrap_or_default()
    }
}

/// The key of this store: made when there is none.
fn key(path: &Path) -> Result<Key, String> {
    match fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| {
            format!("{} is no key of 32 bytes: put back the one that was there, or remove it; clients then begin their streams anew", path.display())
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key: Key = rand::random();
            write_key(path, &key).map_err(|error| unusable(path, &error))?;
            Ok(key)
        }
        Err(error) => Err(unusable(path, &error)),
    }
}

/// For the eyes of its owner: who has it makes positions up.
fn write_key(path: &Path, key: &Key) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(key)?;
    file.sync_all()
}

fn unusable(path: &Path, error: &io::Error) -> String {
    format!("messaging cannot use {} ({error}): see data.directory", path.display())
}

impl Messages {
    /// What is served.
    pub fn routes(&self) -> axum::Router {
        gateway::router(&self.gateway)
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<gateway::Metrics> {
        self.gateway.metrics()
    }

    /// Waits until nothing can be kept any more, and says why: the process should end then.
    pub async fn failed(&self) -> String {
        tokio::select! {
            failed = self.node.stopped() => failed.to_string(),
            failed = self.log.stopped() => failed.to_string(),
        }
    }

    /// Connections end, then what was taken is put on the disk.
    pub async fn stop(self) {
        self.gateway.stop().await;
        self.node.close().await;
        self.log.close().await;
        if let Some(directory) = self.temporary {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_a_damaged_one_is_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(KEY);
        let made = key(&path).expect("it is made");
        assert_eq!(key(&path), Ok(made));
        fs::write(&path, b"short").expect("it is written");
        assert!(key(&path).is_err_and(|error| error.contains("32 bytes")));
    }
}
