//! Webhooks: their queues in the data directory, and their part in starting and stopping.

use std::path::{Path, PathBuf};
use std::time::Duration;

use auth::ApiKeys;
use backplane::{EmbeddedQueue, Limits};
use contract::events::RoomEvents;
use webhook::{Client, Config, Endpoint, Retry, Signer, Webhooks};

use crate::time;

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a receiver's dead letters; beyond, the oldest go. Some 50,000.
const DEAD_BYTES: u64 = 64 << 20;
/// In the directory of a receiver: whose it is.
const URL_FILE: &str = "url";

/// What is told to whom.
pub struct Settings {
    /// Receivers.
    pub urls: Vec<String>,
    /// The API key that signs; `None`: the first.
    pub api_key: Option<String>,
    /// Most bytes that wait for one receiver.
    pub bytes: u64,
    /// Where what is to last is kept.
    pub directory: PathBuf,
}

/// Starts what is configured; `None`: nothing is. The error is a sentence that says what to do.
pub async fn start(
    settings: &Settings,
    keys: &ApiKeys,
    events: &mut RoomEvents,
) -> Result<Option<Webhooks<EmbeddedQueue>>, String> {
    let directory = settings.directory.join("webhooks");
    tell_left_behind(&directory, &settings.urls);
    if settings.urls.is_empty() {
        return Ok(None);
    }
    let chosen = match &settings.api_key {
        Some(key) => keys.secret(key).map(|secret| (key.as_str(), secret)),
        None => keys.first(),
    };
    let (key, secret) = chosen.ok_or("webhook.api_key: there is no such API key")?;
    let config = Config {
        signer: Signer::new(key, secret),
        retry: Retry::default(),
        timeout: TIMEOUT,
        write: livekit::write_event,
        restamp: livekit::restamp_event,
        now: time::unix_millis,
    };
    let client = Client::new()?;
    let endpoints: Result<Vec<_>, String> =
        settings.urls.iter().map(|url| open(&directory, url, settings.bytes, events)).collect();
    let running = webhook::start(&config, &client, endpoints?).await;
    running.map(Some).map_err(|error| format!("webhooks: {error}"))
}

fn open(
    directory: &Path,
    url: &str,
    bytes: u64,
    events: &mut RoomEvents,
) -> Result<Endpoint<EmbeddedQueue>, String> {
    webhook::check_url(url).map_err(|error| format!("webhook: {error}"))?;
    let own = directory.join(webhook::directory_name(url));
    let queue = |name, total_bytes| {
        EmbeddedQueue::open(&own.join(name), Limits { total_bytes, ..Limits::default() })
            .map_err(|error| format!("webhooks to {url}: {error}"))
    };
    let (pending, dead) = (queue("pending", bytes)?, queue("dead", DEAD_BYTES)?);
    // For people, and for the day on which the address is not configured any more.
    let _ = std::fs::write(own.join(URL_FILE), format!("{url}\n"));
    Ok(Endpoint { url: url.to_owned(), pending, dead, events: events.follow() })
}

/// An address that is not configured any more may have left events behind, which nobody sends.
fn tell_left_behind(directory: &Path, urls: &[String]) {
    // No directory, or none that can be read: whoever needs it says so.
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Ok(url) = std::fs::read_to_string(path.join(URL_FILE)) else { continue };
        let url = url.trim();
        if !urls.iter().any(|configured| configured == url) {
            let directory = path.display();
            tracing::warn!(url, %directory, "webhooks to this address are not configured any more; what waits for it stays here");
        }
    }
}
