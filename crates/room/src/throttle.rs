//! Telling at once what comes alone, and together what comes in a burst.

use std::time::{Duration, Instant};

/// The first request after a quiet time is due at once, further ones when the interval since the last is over.
#[derive(Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Throttle {
    /// Something is to be told.
    pub fn request(&mut self, now: Instant, interval: Duration) {
        if self.due.is_none() {
            self.due = Some(self.last.map_or(now, |last| (last + interval).max(now)));
        }
    }

    /// When it is to be told.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// True when it is time; the caller tells it now.
    pub fn take(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
            self.last = Some(now);
        }
        is_due
    }
}
