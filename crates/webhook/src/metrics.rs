//! What webhooks count: relaxed atomics, read by whoever renders metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! metrics {
    ($($(#[$doc:meta])* $field:ident => $name:literal $labels:expr;)*) => {
        /// Counters and states of webhooks, over all receivers. Never a room or a person as a label.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[$doc])* pub(crate) $field: AtomicU64,)*
        }

        impl Metrics {
            /// Calls `visit` with each metric: Prometheus name, labels, value. Names that end in `_total` only grow, the
            /// others are states.
            pub fn for_each(&self, mut visit: impl FnMut(&'static str, &'static [(&'static str, &'static str)], u64)) {
                $(visit($name, $labels, self.$field.load(Relaxed));)*
            }
        }
    };
}

metrics! {
    /// Entries on the disk that are not delivered.
    pending => "stoa_webhooks_pending" &[];
    /// Dead letters.
    dead_letters => "stoa_webhooks_dead_letters" &[];
    /// Events put on the disk.
    queued => "stoa_webhooks_total" &[("outcome", "queued")];
    /// Events that their receiver took.
    delivered => "stoa_webhooks_total" &[("outcome", "delivered")];
    /// Events that became dead letters.
    dead => "stoa_webhooks_total" &[("outcome", "dead")];
    /// Dead letters that were queued again.
    replayed => "stoa_webhooks_total" &[("outcome", "replayed")];
    /// Events dropped since the queue was full: its receiver has been gone for too long.
    refused_full => "stoa_webhooks_total" &[("outcome", "queue_full")];
    /// Events lost since the server stopped while the disk did not take them.
    lost => "stoa_webhooks_total" &[("outcome", "lost")];
    /// The oldest dead letters, dropped for newer ones.
    dead_dropped => "stoa_webhooks_total" &[("outcome", "dead_dropped")];
    /// Entries that the disk did not give back as they were.
    unreadable => "stoa_webhooks_total" &[("outcome", "unreadable")];
    /// Attempts that the receiver answered with anything but 2xx.
    answered_badly => "stoa_webhook_attempts_failed_total" &[("reason", "status")];
    /// Attempts without an answer in time.
    timed_out => "stoa_webhook_attempts_failed_total" &[("reason", "timeout")];
    /// Attempts without a connection, or whose connection broke.
    unreachable => "stoa_webhook_attempts_failed_total" &[("reason", "connection")];
    /// Times that the disk did not take events, which then waited.
    disk_failures => "stoa_webhook_disk_failures_total" &[];
}

pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

pub(crate) fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Relaxed);
}

pub(crate) fn take(state: &AtomicU64, number: usize) {
    state.fetch_sub(number as u64, Relaxed);
}
