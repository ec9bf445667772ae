//! What forwarding promises, in virtual time, one test for each behaviour.

#![allow(clippy::unwrap_used)]

mod allocation;
mod audio_property;
mod clocks;
mod decoder;
mod dominant;
mod encoder;
mod forwarding;
mod keyframes;
mod late;
mod layers;
mod layers_property;
mod loudest;
mod property;
mod redundancy;
mod relay;
mod speakers;
mod spread_voices;
mod support;
mod switching;
mod sync_property;
mod voices;
