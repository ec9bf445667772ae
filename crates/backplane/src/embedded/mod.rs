//! What is behind the traits on one machine.

pub(crate) mod log;
pub(crate) mod queue;
