//! Congestion control in closed loop: senders, a bottleneck, feedback and competitors, in virtual time.

mod alone;
mod answers;
mod limited;
mod node;
mod receivers;
mod scene;
mod shared;
