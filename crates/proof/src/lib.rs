//! The evidence for the messaging plane: a model of its delivery rule, explored state by state; the real owner and the real delivery under
//! simulated failures, by seed; a checker over what clients recorded; exact counts of frames.
//!
//! `cargo xtask model` and `cargo xtask sim` run it at length; its tests, within a bound.

pub mod counting;
pub mod explore;
pub mod history;
pub mod model;
pub mod simulation;
