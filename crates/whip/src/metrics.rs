//! Counters of the adapter: relaxed atomics, read by whoever renders metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Protocol;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident => $name:literal $labels:expr;)*) => {
        /// What the adapter counts. Never a room or a person as a label.
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
    /// Sessions that publish, begun.
    publishing => "whip_sessions_total" &[("protocol", "whip")];
    /// Sessions that play, begun.
    playing => "whip_sessions_total" &[("protocol", "whep")];
    /// Requests without a good token.
    unauthorized => "whip_refused_total" &[("reason", "token")];
    /// Requests that break the protocol, or ask for what is not served.
    malformed => "whip_refused_total" &[("reason", "malformed")];
    /// Requests that the room refused, or a server without capacity.
    refused => "whip_refused_total" &[("reason", "room")];
    /// Requests about sessions that are not, or for another ICE session.
    stale => "whip_refused_total" &[("reason", "stale")];
    /// PATCH with candidates.
    trickles => "whip_patches_total" &[("kind", "trickle")];
    /// PATCH that restarted ICE.
    restarts => "whip_patches_total" &[("kind", "restart")];
    /// Sessions ended by DELETE.
    deleted => "whip_ended_total" &[("reason", "delete")];
    /// Sessions that the room ended.
    closed => "whip_ended_total" &[("reason", "room")];
    /// Sessions whose media never came up, or ended.
    media_lost => "whip_ended_total" &[("reason", "media")];
}

impl Metrics {
    /// The counter of sessions that begin.
    pub(crate) fn begun(&self, protocol: Protocol) -> &AtomicU64 {
        match protocol {
            Protocol::Whip => &self.publishing,
            Protocol::Whep => &self.playing,
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
