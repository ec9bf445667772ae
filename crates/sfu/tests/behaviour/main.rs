//! What forwarding promises, in virtual time, one test for each behaviour.

#![allow(clippy::unwrap_used)]

mod clocks;
mod decoder;
mod encoder;
mod forwarding;
mod keyframes;
mod layers;
mod layers_property;
mod property;
mod relay;
mod speakers;
mod support;
mod switching;
