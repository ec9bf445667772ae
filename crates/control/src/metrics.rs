//! What the control plane counts: relaxed atomics, read by whoever renders metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use contract::session::JoinError;

macro_rules! metrics {
    ($($(#[$doc:meta])* $field:ident => $name:literal $(, $label:literal = $value:literal)*;)*) => {
        /// Counters and states of the control plane. Never a room or a person as a label.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[$doc])* pub(crate) $field: AtomicU64,)*
        }

        impl Metrics {
            /// Calls `visit` with each metric: Prometheus name, labels, value. Names that end in `_total` only grow, the
            /// others are states.
            pub fn for_each(&self, mut visit: impl FnMut(&'static str, &[(&'static str, &'static str)], u64)) {
                $(visit($name, &[$(($label, $value)),*], self.$field.load(Relaxed));)*
            }
        }
    };
}

metrics! {
    /// Rooms now.
    rooms => "stoa_rooms";
    /// Participants now.
    participants => "stoa_participants";
    /// Let into their room.
    admitted => "stoa_joins_total", "stage" = "admission", "outcome" = "ok";
    /// The room does not exist and may not be made.
    refused_no_room => "stoa_joins_total", "stage" = "admission", "outcome" = "no_such_room";
    /// The room is full.
    refused_full => "stoa_joins_total", "stage" = "admission", "outcome" = "room_full";
    /// Names or metadata are too large.
    refused_limit => "stoa_joins_total", "stage" = "admission", "outcome" = "limit_exceeded";
    /// The token was taken back.
    refused_revoked => "stoa_joins_total", "stage" = "admission", "outcome" = "revoked";
    /// No capacity, or stopping.
    refused_unavailable => "stoa_joins_total", "stage" = "admission", "outcome" = "unavailable";
    /// The primary connection passed its ICE checks.
    ice_ok => "stoa_joins_total", "stage" = "ice", "outcome" = "ok";
    /// No ICE check arrived.
    ice_failed => "stoa_joins_total", "stage" = "ice", "outcome" = "failed";
    /// Left before the first ICE check.
    ice_abandoned => "stoa_joins_total", "stage" = "ice", "outcome" = "abandoned";
    /// The primary connection is encrypted and up.
    dtls_ok => "stoa_joins_total", "stage" = "dtls", "outcome" = "ok";
    /// The DTLS handshake failed or never ended.
    dtls_failed => "stoa_joins_total", "stage" = "dtls", "outcome" = "failed";
    /// The first media packet of a participant arrived.
    media_ok => "stoa_joins_total", "stage" = "first_media", "outcome" = "ok";
    /// Adapters that did not drain their events.
    slow_adapters => "stoa_slow_sessions_closed_total";
    /// Participants that sent more messages than could be passed on.
    floods => "stoa_flooding_sessions_closed_total";
    /// Messages from participants, passed on.
    data_messages => "stoa_data_messages_total", "outcome" = "sent";
    /// Messages of participants that may not send.
    data_forbidden => "stoa_data_messages_total", "outcome" = "forbidden";
    /// Copies of messages queued for receivers' connections.
    data_copies => "stoa_data_copies_total", "outcome" = "sent";
    /// Lossy copies dropped since the worker's queue was full.
    data_dropped => "stoa_data_copies_total", "outcome" = "worker_queue_full";
    /// Reliable messages that were forgotten before the channel of somebody was open that some of them may have been for.
    data_backlog_full => "stoa_data_copies_total", "outcome" = "backlog_full";
    /// Reliable copies dropped since the receiver is behind and takes too little.
    data_slow_dropped => "stoa_data_copies_total", "outcome" = "slow_receiver";
    /// Receivers that were found to be too slow.
    data_receivers_slow => "stoa_data_slow_receivers_total";
    /// Senders that had to wait for a receiver.
    data_senders_held => "stoa_data_senders_held_total";
    /// Messages from a connection dropped since its adapter or its room was behind: lossy ones, and those of a flood.
    data_in_dropped => "stoa_data_received_dropped_total";
    /// Packets of data tracks that their sender does not publish, or that are none.
    data_track_unknown => "stoa_data_track_packets_unknown_total";
    /// Media sections that a connection asked for and may not have.
    sections_refused => "stoa_sections_refused_total";
    /// Events of workers about connections and rooms that are gone.
    unrouted => "stoa_worker_events_unrouted_total";
    /// Events of rooms, told to those who follow them.
    room_events => "stoa_room_events_total";
    /// Arrivals and publications refused since a follower of the rooms' events is behind.
    held_back => "stoa_room_events_held_back_total";
    /// Rooms whose task panicked; the others did not notice.
    room_panics => "stoa_recovered_panics_total", "scope" = "room_task";
    /// Rooms whose media state was lost.
    rooms_lost => "stoa_rooms_lost_total";
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Counts a join that was refused.
pub(crate) fn count_refused(metrics: &Metrics, error: JoinError) {
    count(match error {
        JoinError::NoSuchRoom => &metrics.refused_no_room,
        JoinError::RoomFull => &metrics.refused_full,
        JoinError::LimitExceeded => &metrics.refused_limit,
        JoinError::Revoked => &metrics.refused_revoked,
        JoinError::Unavailable => &metrics.refused_unavailable,
    });
}

/// Takes one from a state.
pub(crate) fn uncount(counter: &AtomicU64) {
    counter.fetch_sub(1, Relaxed);
}
