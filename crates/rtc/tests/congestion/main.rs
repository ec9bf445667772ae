//! Congestion control in closed loop: senders, a bottleneck, feedback and competitors, in virtual time.

mod alone;
mod limited;
mod node;
mod scene;
mod shared;
