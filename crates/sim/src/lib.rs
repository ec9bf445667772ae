//! A network as plain values in virtual time: links, routes over shared bottlenecks, the loop that drives endpoints over
//! them, and TCP as a competitor. `docs/network-emulator.md` describes the model.
//!
//! This crate knows no socket, no clock and no randomness of its own: `now` is a parameter, and one seed decides everything.
//! The same [`Link`] carries real datagrams in `cargo xtask netem`.
//!
//! > Time only goes forward. Whoever drives a [`Link`] or a [`Network`] calls `poll_deliver` until it gives nothing, and
//! > then lets time pass to `poll_timeout` at most. A call with an earlier `now` counts as made at the latest one.
//!
//! ```
//! # use std::time::{Duration, Instant};
//! let start = Instant::now();
//! let mut link = sim::Link::new(start, 1, "rate=1mbit,delay=50ms,queue=300ms".parse().unwrap());
//! link.send(start, 1250, "hello");
//! let sent = link.poll_timeout().unwrap(); // it leaves the queue, and flies for 50 ms more
//! assert_eq!(sent - start, Duration::from_millis(10));
//! assert_eq!(link.poll_deliver(sent), None);
//! let arrives = link.poll_timeout().unwrap();
//! assert_eq!(arrives - start, Duration::from_millis(60));
//! assert_eq!(link.poll_deliver(arrives), Some("hello"));
//! ```

mod conditions;
mod link;
mod network;
mod random;
mod schedule;
mod spec;
mod statistics;
pub mod tcp;
mod world;

pub use conditions::{Conditions, GilbertElliott, Queue, Reorder, Setting};
pub use link::Link;
pub use network::{Arrival, Duplex, LinkId, Network, Path, RouteId};
pub use random::Random;
pub use schedule::Schedule;
pub use spec::{ParseSpecError, parse_duration, parse_settings};
pub use statistics::{Count, QueueSample, Statistics, percentile};
pub use world::{Endpoint, EndpointId, Transmit, World};
