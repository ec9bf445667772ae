//! Keyframe requests of many receivers merged into few towards the publisher.

use std::time::{Duration, Instant};

/// A publisher is asked for a keyframe of one layer at most this often: keyframes are large, and one serves all.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

/// The requests for one layer.
#[derive(Debug, Default)]
pub(crate) struct KeyframeRequests {
    /// Set by each request sent. When it comes, whether to ask again is looked at once more.
    quiet_until: Option<Instant>,
    /// Somebody asked in the meantime.
    pending: bool,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe. True: send the request now. False: one was sent a moment ago; it may serve this one too,
    /// and if no keyframe comes, another follows.
    #[must_use]
    pub fn ask(&mut self, now: Instant) -> bool {
        let quiet = self.quiet_until.is_some_and(|until| now < until);
        if quiet {
            self.pending = true
        } else {
            self.sent(now)
        }
        !quiet
    }

    /// What was asked so far needs no answer any more: a keyframe begins, or nothing is forwarded from now on.
    pub fn served(&mut self) {
        self.pending = false;
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.quiet_until
    }

    /// True: send a request now, because somebody asked since the last or `waited_for` says that somebody still cannot
    /// begin.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Instant, waited_for: impl FnOnce() -> bool) -> bool {
        if self.quiet_until.is_none_or(|until| now < until) {
            return false;
        }
        self.quiet_until = None;
        let again = std::mem::take(&mut self.pending) || waited_for();
        if again {
            self.sent(now);
        }
        again
    }

    fn sent(&mut self, now: Instant) {
        self.pending = false;
        self.quiet_until = Some(now + INTERVAL);
    }
}
