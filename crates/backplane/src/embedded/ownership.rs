//! Records of one process, which last: each is an entry of a durable queue, and its number there is its version. A change appends the new
//! entry and finishes the old one at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, watch};

use crate::ownership::{Changed, KEYS, NAME_BYTES, Ownership, Record, Watcher};
use crate::{Failed, Queue};

/// Records in a durable queue of their own.
pub struct EmbeddedOwnership<Q>(Arc<Inner<Q>>);

struct Inner<Q> {
    queue: Q,
    records: Mutex<Records>,
    /// Rises with every change.
    changes: watch::Sender<u64>,
}

struct Records {
    by_key: BTreeMap<String, Record>,
    /// What is on the disk is not known any more.
    failed: Option<Failed>,
}

impl<Q> Clone for EmbeddedOwnership<Q> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Q: Queue> EmbeddedOwnership<Q> {
    /// Takes over the records in `queue`, in which nothing else may be.
    ///
    /// # Errors
    /// When it cannot be read, or something else is in it.
    pub async fn open(queue: Q) -> Result<Self, Failed> {
        let mut by_key = BTreeMap::new();
        for version in queue.pending().await? {
            let Some(payload) = queue.read(version).await? else { continue };
            let strange =
                || Failed(format!("entry {version} is no record of who owns what: name the right directory"));
            let (key, owner) = read(&payload).ok_or_else(strange)?;
            by_key.insert(key, Record { owner, version });
        }
        let records = Mutex::new(Records { by_key, failed: None });
        Ok(Self(Arc::new(Inner { queue, records, changes: watch::Sender::new(0) })))
    }

    /// Replaces a record that is locked.
    async fn replace(&self, records: &mut Records, key: &str, old: u64, owner: Option<&str>) -> Changed {
        let finished = if old == 0 { Vec::new() } else { vec![old] };
        match self.0.queue.exchange(vec![bytes(key, owner)], finished).await {
            Ok(numbers) => match numbers.first() {
                Some(version) => {
                    let record = Record { owner: owner.map(str::to_owned), version: *version };
                    records.by_key.insert(key.to_owned(), record);
                    self.0.changes.send_modify(|changes| *changes += 1);
                    Changed::Done(*version)
                }
                None => Changed::Refused(Failed("there is no room for the record".to_owned())),
            },
            Err(failed) => {
                // The old record may be gone and the new one not there: nothing is said until all is read again.
                records.failed = Some(failed.clone());
                self.0.changes.send_modify(|changes| *changes += 1);
                Changed::Unknown(failed)
            }
        }
    }
}

impl<Q: Queue> Ownership for EmbeddedOwnership<Q> {
    type Watcher = EmbeddedWatcher<Q>;

    async fn get(&self, key: &str) -> Result<Record, Failed> {
        let records = self.0.records.lock().await;
        match &records.failed {
            Some(failed) => Err(failed.clone()),
            None => Ok(records.by_key.get(key).cloned().unwrap_or_default()),
        }
    }

    async fn change(&self, key: &str, expected: u64, owner: Option<&str>) -> Changed {
        if key.len() > NAME_BYTES || owner.is_some_and(|owner| owner.len() > NAME_BYTES) {
            return Changed::Refused(Failed(format!(
                "keys and nodes have names of up to {NAME_BYTES} bytes"
            )));
        }
        let this = self.clone();
        let (key, owner) = (key.to_owned(), owner.map(str::to_owned));
        // In a task of its own, so that a caller who gives up does not leave it half done.
        let change = tokio::spawn(async move {
            let mut records = this.0.records.lock().await;
            if let Some(failed) = &records.failed {
                return Changed::Refused(failed.clone());
            }
            let record = records.by_key.get(&key).cloned().unwrap_or_default();
            if record.version != expected {
                return Changed::Conflict(record);
            }
            if expected == 0 && records.by_key.len() >= KEYS {
                return Changed::Refused(Failed(format!("there are {KEYS} records, and no more may be")));
            }
            this.replace(&mut records, &key, expected, owner.as_deref()).await
        });
        change
            .await
            .unwrap_or_else(|error| Changed::Unknown(Failed(format!("the change did not end: {error}"))))
    }

    fn watch(&self, key: &str, known: u64) -> EmbeddedWatcher<Q> {
        let changes = self.0.changes.subscribe();
        EmbeddedWatcher { records: self.clone(), key: key.to_owned(), known, changes }
    }
}

/// Shows changes of a record of an [`EmbeddedOwnership`].
pub struct EmbeddedWatcher<Q> {
    records: EmbeddedOwnership<Q>,
    key: String,
    known: u64,
    changes: watch::Receiver<u64>,
}

impl<Q: Queue> Watcher for EmbeddedWatcher<Q> {
    async fn changed(&mut self) -> Result<Record, Failed> {
        loop {
            self.changes.mark_unchanged();
            let record = self.records.get(&self.key).await?;
            if record.version > self.known {
                self.known = record.version;
                return Ok(record);
            }
            self.changes.changed().await.map_err(|_| Failed("the records are closed".to_owned()))?;
        }
    }
}

/// `version: 1 (1) | length of the key (2) | key | is there an owner? (1) | owner`
fn bytes(key: &str, owner: Option<&str>) -> Bytes {
    let mut out = vec![1];
    out.extend_from_slice(&(key.len() as u16).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.push(u8::from(owner.is_some()));
    out.extend_from_slice(owner.unwrap_or_default().as_bytes());
    out.into()
}

fn read(payload: &[u8]) -> Option<(String, Option<String>)> {
    let (1, rest) = payload.split_first().map(|(version, rest)| (*version, rest))? else { return None };
    let (length, rest) = rest.split_at_checked(2)?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([length[0], length[1]])))?;
    let text = |bytes: &[u8]| Some(std::str::from_utf8(bytes).ok()?.to_owned());
    let owner = match rest.split_first()? {
        (0, []) => None,
        (1, owner) => Some(text(owner)?),
        _ => return None,
    };
    Some((text(key)?, owner))
}
