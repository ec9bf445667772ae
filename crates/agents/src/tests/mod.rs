//! Behaviour, in virtual time.

mod dispatches;
mod losses;
mod offers;
mod world;
