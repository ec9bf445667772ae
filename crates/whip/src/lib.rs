//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep), as an adapter: one HTTP request with an offer makes a participant that
//! publishes, or one that plays.
//!
//! It translates and never decides: who may do what and who hears of it is decided behind [`contract::session`]. Everything
//! beyond the protocol's own rules is told in `docs/whip.md`.
//!
//! | file | what it does |
//! |---|---|
//! | `http` | routes and headers: requests to calls, outcomes to statuses |
//! | `extensions` | choosing a layer, and events for players |
//! | `admission` | who may, from the token |
//! | `registry` | sessions by the last segment of their URL, bounded |
//! | `task` | one task per session: its room, its timers, its calls |
//! | `session` | the session as a value: offers, events and PATCH in, answers and requests out |
//! | `precondition` | which ICE session a PATCH is meant for |
//! | `fuzz` | entry points for fuzzing |

mod admission;
mod config;
mod extensions;
pub mod fuzz;
mod http;
mod metrics;
mod precondition;
mod refusal;
mod registry;
mod session;
mod task;

pub use config::{Config, IceServer, State};
pub use http::router;
pub use metrics::Metrics;

/// Publish or play.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// The client publishes.
    Whip,
    /// The client plays.
    Whep,
}

impl Protocol {
    /// The first segment of its paths.
    fn name(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }
}
