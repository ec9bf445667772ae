//! How many sessions run: whoever ends the process waits until their clients have been told.

use std::sync::Arc;

use tokio::sync::watch;

/// The sessions that run now.
#[derive(Clone)]
pub struct Sessions(Arc<watch::Sender<usize>>);

/// Counts one session until it is dropped.
pub(crate) struct Running(Sessions);

impl Default for Sessions {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Sessions {
    pub(crate) fn enter(&self) -> Running {
        self.0.send_modify(|running| *running += 1);
        Running(self.clone())
    }

    /// Returns when no session runs: what they had to say to their clients has been handed to the sockets.
    pub async fn ended(&self) {
        // An error means that the sender is gone, and we hold it.
        let _ = self.0.subscribe().wait_for(|running| *running == 0).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|running| *running -= 1);
    }
}
