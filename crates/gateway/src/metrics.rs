//! Counters of the gateway: relaxed atomics, read by whoever renders metrics. Never a channel or a person as a label.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident => $name:literal $labels:expr;)*) => {
        /// What the gateway counts.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[$doc])* pub $field: AtomicU64,)*
        }

        impl Metrics {
            /// Calls `visit` with name, labels and value of every counter.
            pub fn for_each(&self, mut visit: impl FnMut(&'static str, &'static [(&'static str, &'static str)], u64)) {
                $(visit($name, $labels, self.$field.load(Ordering::Relaxed));)*
            }
        }
    };
}

counters! {
    /// Connections that are open now.
    open => "messaging_connections" &[];
    /// Connections that were let in.
    connected => "messaging_connected_total" &[];
    /// Connections closed for a bad token.
    unauthorized => "messaging_closed_total" &[("reason", "unauthorized")];
    /// Connections closed for bytes that are no frame, or too many.
    broken => "messaging_closed_total" &[("reason", "malformed")];
    /// Connections closed because they took too little.
    slow => "messaging_closed_total" &[("reason", "slow")];
    /// Connections closed because they said nothing.
    silent => "messaging_closed_total" &[("reason", "silent")];
    /// Connections closed for a newer one of the same device.
    replaced => "messaging_closed_total" &[("reason", "replaced")];
    /// Connections closed because their token ended.
    expired => "messaging_closed_total" &[("reason", "expired")];
    /// Commands.
    commands => "messaging_commands_total" &[];
    /// Commands over HTTP.
    requests => "messaging_requests_total" &[];
    /// Commands answered with an error.
    errors => "messaging_errors_total" &[];
    /// Events handed to connections.
    delivered => "messaging_delivered_total" &[];
    /// Frames of events that were encoded; less than were handed out, where many receive the same.
    encoded => "messaging_encoded_total" &[];
    /// Streams that began anew because a log was lost or restored.
    reset_epoch => "messaging_resets_total" &[("reason", "epoch")];
    /// Streams that began anew because what comes next was removed.
    reset_retention => "messaging_resets_total" &[("reason", "retention")];
    /// Streams that began anew because they were too far behind.
    reset_too_far => "messaging_resets_total" &[("reason", "too_far")];
    /// Streams that began anew because their connection was slow.
    reset_slow => "messaging_resets_total" &[("reason", "slow")];
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Takes one away.
pub(crate) fn uncount(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}
