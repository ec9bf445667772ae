//! What every implementation of the traits has to do. A violation panics and says which promise is broken.

pub mod bus;
pub mod directory;
pub mod log;
pub mod ownership;
pub mod queue;
