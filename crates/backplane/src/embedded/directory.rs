//! The directory of one process: there is one node to be on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Failed;
use crate::directory::Directory;

/// A directory in which one node is.
#[derive(Clone)]
pub struct EmbeddedDirectory {
    node: Arc<str>,
    /// How many announcements are held, by user.
    held: Arc<Mutex<BTreeMap<Arc<str>, usize>>>,
}

impl EmbeddedDirectory {
    /// Where this node is the only one.
    pub fn new(node: &str) -> Self {
        Self { node: node.into(), held: Arc::default() }
    }
}

impl Directory for EmbeddedDirectory {
    type Announcement = EmbeddedAnnouncement;

    fn announce(&self, user: &str) -> EmbeddedAnnouncement {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let user = held.get_key_value(user).map_or_else(|| Arc::from(user), |(user, _)| Arc::clone(user));
        *held.entry(Arc::clone(&user)).or_insert(0) += 1;
        drop(held);
        EmbeddedAnnouncement { directory: self.clone(), user }
    }

    async fn locate(&self, user: &str) -> Result<Vec<String>, Failed> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(held.get(user).map(|_| self.node.to_string()).into_iter().collect())
    }
}

/// A user is on this node.
pub struct EmbeddedAnnouncement {
    directory: EmbeddedDirectory,
    user: Arc<str>,
}

impl Drop for EmbeddedAnnouncement {
    fn drop(&mut self) {
        let mut held = self.directory.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.user);
            }
        }
    }
}
