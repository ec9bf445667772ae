//! What forwarding promises, in virtual time, one test for each behaviour.

#![allow(clippy::unwrap_used)]

mod clocks;
mod forwarding;
mod keyframes;
mod property;
mod speakers;
mod support;
mod switching;
