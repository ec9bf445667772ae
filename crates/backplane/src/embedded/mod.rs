//! What is behind the traits on one machine.

pub(crate) mod bus;
pub(crate) mod directory;
pub(crate) mod log;
pub(crate) mod ownership;
pub(crate) mod queue;
