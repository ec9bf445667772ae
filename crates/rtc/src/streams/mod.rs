//! RTP streams without their encryption: what a stream counts, remembers and reports.
//!
//! - [`ReceiveStream`], one per SSRC: duplicates, loss, jitter, reports, and which packets to ask for again.
//! - [`SendStream`], one per send section: plaintext packets, the memory for retransmission, sender reports, and what
//!   the receiver says about it.
//! - [`TransportFeedbackGenerator`] and [`TransportFeedbackHistory`]: the two ends of transport-wide feedback, one of
//!   each per connection. The second is what congestion control stands on; [`StreamFeedbackHistory`] leads feedback by
//!   stream (RFC 8888) to it.
//!
//! Nothing here knows keys, addresses or rooms; `now` never goes back. Everything that the other side can drive is
//! bounded, by the constant named at the place.

mod front;
pub mod fuzz;
mod history;
mod missing;
mod packet;
mod padding;
mod receive;
mod report;
mod send;
mod sequence;
mod stream_history;
mod transport_generator;
mod transport_history;

pub use packet::{Stamp, Written};
pub use receive::{ReceiveStream, unwrap_rtx};
pub use report::{Clock, Reception};
pub use send::{Resend, SendStream};
pub use sequence::{Arrival, SequenceWindow};
pub use stream_history::StreamFeedbackHistory;
pub use transport_generator::TransportFeedbackGenerator;
pub use transport_history::{FeedbackSummary, PacketResult, TransportFeedbackHistory};

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod transport_tests;
