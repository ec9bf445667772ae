//! Counters of the adapter: relaxed atomics, read by whoever renders metrics.

use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Joins that led to a session.
    joins => "livekit_joins_total" &[("outcome", "ok")];
    /// Refused for their token.
    joins_unauthorized => "livekit_joins_total" &[("outcome", "unauthorized")];
    /// Refused as malformed.
    joins_malformed => "livekit_joins_total" &[("outcome", "malformed")];
    /// Refused by the control plane.
    joins_refused => "livekit_joins_total" &[("outcome", "refused")];
    /// Sessions that ended with a Leave of the client.
    left => "livekit_sessions_ended_total" &[("reason", "client")];
    /// Sessions that the room ended.
    closed => "livekit_sessions_ended_total" &[("reason", "room")];
    /// Sessions whose socket broke and did not come back.
    severed => "livekit_sessions_ended_total" &[("reason", "socket")];
    /// Sessions ended for breaking the protocol.
    expelled => "livekit_sessions_ended_total" &[("reason", "protocol")];
    /// Sessions ended since their media never came up or broke.
    media_lost => "livekit_sessions_ended_total" &[("reason", "media")];
    /// Sessions that went on over another socket.
    resumed => "livekit_resumes_total" &[("outcome", "ok")];
    /// Clients that wanted to go on with a session that is over or does not match, and were told to join anew.
    resumes_refused => "livekit_resumes_total" &[("outcome", "refused")];
    /// Signal frames received.
    frames_in => "livekit_frames_total" &[("direction", "in")];
    /// Signal frames sent.
    frames_out => "livekit_frames_total" &[("direction", "out")];
    /// Frames that could not be decoded.
    frames_malformed => "livekit_frames_malformed_total" &[];
    /// Requests that are ignored since this server does not know them or has nothing to do for them.
    requests_ignored => "livekit_requests_ignored_total" &[];
    /// Offers answered.
    offers_answered => "livekit_negotiations_total" &[("kind", "offer_answered")];
    /// Offers made.
    offers_made => "livekit_negotiations_total" &[("kind", "offer_made")];
    /// Descriptions refused.
    descriptions_refused => "livekit_negotiations_total" &[("kind", "refused")];
    /// Data messages passed on.
    data_messages => "livekit_data_messages_total" &[("outcome", "passed")];
    /// Data messages dropped: malformed, too large, not allowed, or on a channel that is not served.
    data_dropped => "livekit_data_messages_total" &[("outcome", "dropped")];
    /// Calls of the server API.
    api_calls => "livekit_api_calls_total" &[("outcome", "ok")];
    /// Calls of the server API that were refused.
    api_refused => "livekit_api_calls_total" &[("outcome", "refused")];
    /// Programs that run agents: let in.
    agent_workers_registered => "livekit_agent_registrations_total" &[("outcome", "ok")];
    /// Programs that run agents: refused for their token, for what they said, or since there are too many.
    agent_workers_refused => "livekit_agent_registrations_total" &[("outcome", "refused")];
    /// Programs that run agents: sent away for breaking the protocol.
    agent_workers_expelled => "livekit_agent_workers_expelled_total" &[];
    /// Programs that run agents and are connected.
    agent_workers => "livekit_agent_workers" &[];
    /// Agents that are running.
    agent_jobs_running => "livekit_agent_jobs" &[];
    /// Agents' jobs given to workers.
    agent_jobs_assigned => "livekit_agent_jobs_total" &[("event", "assigned")];
    /// Offers of jobs that a worker refused.
    agent_jobs_refused => "livekit_agent_jobs_total" &[("event", "refused")];
    /// Offers of jobs that a worker did not answer.
    agent_jobs_unanswered => "livekit_agent_jobs_total" &[("event", "unanswered")];
    /// Jobs taken from a worker that was lost.
    agent_jobs_handed_on => "livekit_agent_jobs_total" &[("event", "handed_on")];
    /// Jobs that ended well.
    agent_jobs_succeeded => "livekit_agent_jobs_total" &[("event", "succeeded")];
    /// Jobs that ended otherwise.
    agent_jobs_failed => "livekit_agent_jobs_total" &[("event", "failed")];
    /// What workers said of jobs that are not theirs.
    agent_jobs_out_of_place => "livekit_agent_jobs_total" &[("event", "out_of_place")];
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
